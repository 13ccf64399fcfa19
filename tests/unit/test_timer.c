#include "base/timer.h"
#include "unit.h"
#include <stdbool.h>
#include <stdlib.h>

#define N_PROBES 200

/* A timer that checks itself: when it fires, and that it fires in order of tick. */
struct probe {
    struct timer timer;
    struct bench *bench;
    uint64_t due_ms;
    bool armed;
    unsigned n_fired;
};

struct bench {
    struct timers wheel;
    struct probe probe[N_PROBES];
    uint64_t now_ms, last_due_ms, previous_run_ms;
    unsigned n_armed;
};

static void on_probe(struct timer *t, uint64_t now_ms)
{
    struct probe *p = container_of(t, struct probe, timer);
    struct bench *b = p->bench;
    assert_true(p->armed);
    assert_false(timer_armed(t));
    assert_true(now_ms == b->now_ms);
    assert_true(p->due_ms <= now_ms);
    /* What had passed when it was armed counts as due at the run before. */
    uint64_t tick = p->due_ms > b->previous_run_ms ? p->due_ms : b->previous_run_ms;
    assert_true(tick >= b->last_due_ms);
    b->last_due_ms = tick;
    p->armed = false;
    p->n_fired++;
    b->n_armed--;
}

static struct bench *bench_new(uint64_t now_ms)
{
    struct bench *b = calloc(1, sizeof(*b));
    assert_non_null(b);
    timers_init(&b->wheel, now_ms);
    b->now_ms = now_ms;
    for (unsigned i = 0; i < N_PROBES; i++) {
        timer_init(&b->probe[i].timer, on_probe);
        b->probe[i].bench = b;
    }
    return b;
}

static void bench_arm(struct bench *b, unsigned i, uint64_t due_ms)
{
    struct probe *p = &b->probe[i];
    timer_arm(&b->wheel, &p->timer, due_ms);
    b->n_armed += !p->armed;
    p->armed = true;
    p->due_ms = due_ms;
}

static void bench_stop(struct bench *b, unsigned i)
{
    struct probe *p = &b->probe[i];
    timer_stop(&b->wheel, &p->timer);
    b->n_armed -= p->armed;
    p->armed = false;
}

static uint64_t bench_earliest(const struct bench *b)
{
    uint64_t earliest = UINT64_MAX;
    for (unsigned i = 0; i < N_PROBES; i++)
        if (b->probe[i].armed && b->probe[i].due_ms < earliest)
            earliest = b->probe[i].due_ms;
    return earliest;
}

static void bench_run(struct bench *b, uint64_t now_ms)
{
    b->previous_run_ms = b->now_ms;
    b->now_ms = now_ms;
    b->last_due_ms = 0;
    timers_run(&b->wheel, now_ms);
    for (unsigned i = 0; i < N_PROBES; i++) {
        assert_true(!b->probe[i].armed || b->probe[i].due_ms > now_ms);
        assert_int_equal(!!timer_armed(&b->probe[i].timer), b->probe[i].armed);
    }
    assert_int_equal(b->wheel.n_armed, b->n_armed);
}

/* A span of at most `max_bits` bits, small ones as likely as large ones. */
static uint64_t random_span(uint64_t *seed, unsigned max_bits)
{
    uint64_t bits = unit_random(seed) % (max_bits + 1);
    return bits ? unit_random(seed) >> (64 - bits) : 0;
}

static void bench_exercise(uint64_t start_ms, uint64_t seed, unsigned due_bits, unsigned jump_bits,
                           unsigned n_steps)
{
    struct bench *b = bench_new(start_ms);
    for (unsigned step = 0; step < n_steps; step++) {
        for (unsigned i = unit_random(&seed) % 8; i > 0; i--) {
            uint64_t span = random_span(&seed, due_bits);
            uint64_t due_ms = b->now_ms + span < b->now_ms ? UINT64_MAX : b->now_ms + span;
            if (unit_random(&seed) % 16 == 0)
                due_ms = b->now_ms - (span < b->now_ms ? span : b->now_ms);
            bench_arm(b, unit_random(&seed) % N_PROBES, due_ms);
        }
        bench_stop(b, unit_random(&seed) % N_PROBES);
        assert_true(timers_next_ms(&b->wheel) <= bench_earliest(b) ||
                    bench_earliest(b) <= b->now_ms);
        uint64_t jump = random_span(&seed, jump_bits);
        bench_run(b, b->now_ms + jump < b->now_ms ? UINT64_MAX : b->now_ms + jump);
        assert_true(timers_next_ms(&b->wheel) > b->now_ms);
        assert_true(timers_next_ms(&b->wheel) <= bench_earliest(b));
    }
    free(b);
}

static void timers_fire_at_their_tick_in_order_whatever_is_armed_and_stopped(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        bench_exercise(0, seed, 8, 4, 2000);
        bench_exercise(1000000, seed, 20, 16, 2000);
        bench_exercise(UINT64_C(1764000000000), seed, 45, 38, 1000);
        bench_exercise(12345, seed, 64, 60, 100);
    }
}

static void every_distance_and_every_start_within_the_low_levels_is_exact(void **state)
{
    (void)state;
    struct bench *b = bench_new(4000);
    for (uint64_t start = 4000; start < 4200; start++) {
        bench_run(b, start);
        for (uint64_t due = start + 1; due < start + 5000; due += 37) {
            struct timers copy;
            timers_init(&copy, start);
            struct probe p = { .bench = b, .armed = true, .due_ms = due };
            timer_init(&p.timer, on_probe);
            timer_arm(&copy, &p.timer, due);
            b->n_armed++;
            b->now_ms = due - 1;
            timers_run(&copy, due - 1);
            assert_int_equal(p.n_fired, 0);
            assert_true(timers_next_ms(&copy) == due);
            b->now_ms = due;
            b->last_due_ms = 0;
            timers_run(&copy, due);
            assert_int_equal(p.n_fired, 1);
            assert_true(timers_next_ms(&copy) == UINT64_MAX);
        }
        b->now_ms = start;
    }
    free(b);
}

static void sleeping_until_timers_next_ms_reaches_the_due_time_in_few_steps(void **state)
{
    (void)state;
    static const uint64_t distance[] = { 1,
                                         63,
                                         64,
                                         65,
                                         4095,
                                         4096,
                                         86400000,
                                         UINT64_C(1) << 36,
                                         UINT64_C(4294967294000),
                                         UINT64_MAX / 2 };
    for (unsigned i = 0; i < sizeof(distance) / sizeof(*distance); i++) {
        struct bench *b = bench_new(777777);
        uint64_t due_ms = 777777 + distance[i];
        unsigned n_steps = 0;
        bench_arm(b, 0, due_ms);
        for (; b->n_armed; n_steps++) {
            assert_true(timers_next_ms(&b->wheel) <= due_ms);
            bench_run(b, timers_next_ms(&b->wheel));
        }
        assert_true(b->now_ms == due_ms);
        assert_true(n_steps <= TIMER_LEVELS);
        free(b);
    }
}

static void a_jump_to_the_end_of_time_fires_everything_once_without_visiting_each_tick(void **state)
{
    (void)state;
    struct bench *b = bench_new(5);
    for (unsigned i = 0; i < 63; i++)
        bench_arm(b, i, 5 + (UINT64_C(1) << i));
    bench_arm(b, 63, UINT64_MAX);
    bench_arm(b, 64, UINT64_MAX - 1);
    bench_run(b, UINT64_MAX - 1);
    assert_true(timers_next_ms(&b->wheel) == UINT64_MAX);
    assert_int_equal(b->n_armed, 1);
    bench_run(b, UINT64_MAX);
    for (unsigned i = 0; i < 65; i++)
        assert_int_equal(b->probe[i].n_fired, 1);
    free(b);
}

static void a_time_that_has_passed_fires_at_the_next_run_even_at_the_same_time(void **state)
{
    (void)state;
    struct bench *b = bench_new(100);
    bench_arm(b, 0, 100);
    bench_arm(b, 1, 3);
    assert_true(timers_next_ms(&b->wheel) == 100);
    bench_run(b, 100);
    assert_int_equal(b->probe[0].n_fired, 1);
    assert_int_equal(b->probe[1].n_fired, 1);
    free(b);
}

static void a_clock_that_goes_back_fires_nothing_early(void **state)
{
    (void)state;
    struct bench *b = bench_new(1000);
    bench_arm(b, 0, 1010);
    timers_run(&b->wheel, 500);
    assert_int_equal(b->probe[0].n_fired, 0);
    assert_true(timers_next_ms(&b->wheel) > 1000);
    bench_arm(b, 1, 700);
    bench_run(b, 1009);
    assert_int_equal(b->probe[0].n_fired, 0);
    bench_run(b, 1010);
    assert_int_equal(b->probe[0].n_fired, 1);
    assert_int_equal(b->probe[1].n_fired, 1);
    free(b);
}

static void arming_again_moves_and_stopping_twice_is_harmless(void **state)
{
    (void)state;
    struct bench *b = bench_new(0);
    bench_arm(b, 0, 10);
    bench_arm(b, 0, 5000);
    bench_run(b, 4999);
    assert_int_equal(b->probe[0].n_fired, 0);
    bench_arm(b, 0, 5001);
    bench_run(b, 5001);
    assert_int_equal(b->probe[0].n_fired, 1);
    bench_arm(b, 0, 6000);
    bench_stop(b, 0);
    bench_stop(b, 0);
    assert_true(timers_next_ms(&b->wheel) == UINT64_MAX);
    bench_run(b, 10000);
    assert_int_equal(b->probe[0].n_fired, 1);
    free(b);
}

struct act {
    struct timer timer;
    struct timers *wheel;
    struct timer *victim;
    uint64_t again_ms;
    unsigned n_fired;
};

static void on_act(struct timer *t, uint64_t now_ms)
{
    struct act *a = container_of(t, struct act, timer);
    a->n_fired++;
    if (a->victim)
        timer_stop(a->wheel, a->victim);
    if (a->again_ms)
        timer_arm(a->wheel, t, a->again_ms > now_ms ? now_ms : a->again_ms);
}

static void on_free(struct timer *t, uint64_t now_ms)
{
    (void)now_ms;
    free(container_of(t, struct act, timer));
}

static void a_callback_may_stop_a_timer_of_the_same_tick(void **state)
{
    (void)state;
    struct timers w;
    timers_init(&w, 0);
    struct act a = { .wheel = &w }, b = { .wheel = &w };
    timer_init(&a.timer, on_act);
    timer_init(&b.timer, on_act);
    a.victim = &b.timer;
    timer_arm(&w, &a.timer, 5000);
    timer_arm(&w, &b.timer, 5000);
    timers_run(&w, 9000);
    assert_int_equal(a.n_fired, 1);
    assert_int_equal(b.n_fired, 0);
    assert_int_equal(w.n_armed, 0);
    assert_true(timers_next_ms(&w) == UINT64_MAX);
}

static void what_a_callback_arms_for_now_waits_for_the_next_run(void **state)
{
    (void)state;
    struct timers w;
    timers_init(&w, 0);
    struct act a = { .wheel = &w, .again_ms = UINT64_MAX };
    timer_init(&a.timer, on_act);
    timer_arm(&w, &a.timer, 10);
    for (unsigned run = 1; run <= 5; run++) {
        timers_run(&w, 20);
        assert_int_equal(a.n_fired, run);
        assert_true(timers_next_ms(&w) == 20);
    }
    timer_stop(&w, &a.timer);
    timers_run(&w, 21);
    assert_int_equal(a.n_fired, 5);
}

static void a_callback_may_free_its_timer(void **state)
{
    (void)state;
    struct timers w;
    int64_t n_live = failalloc_n_live();
    timers_init(&w, 0);
    for (unsigned i = 0; i < 100; i++) {
        struct act *a = calloc(1, sizeof(*a));
        timer_init(&a->timer, on_free);
        timer_arm(&w, &a->timer, i * 50);
    }
    timers_run(&w, 5000);
    assert_int_equal(failalloc_n_live(), n_live);
    assert_int_equal(w.n_armed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_at_their_tick_in_order_whatever_is_armed_and_stopped),
        cmocka_unit_test(every_distance_and_every_start_within_the_low_levels_is_exact),
        cmocka_unit_test(sleeping_until_timers_next_ms_reaches_the_due_time_in_few_steps),
        cmocka_unit_test(
            a_jump_to_the_end_of_time_fires_everything_once_without_visiting_each_tick),
        cmocka_unit_test(a_time_that_has_passed_fires_at_the_next_run_even_at_the_same_time),
        cmocka_unit_test(a_clock_that_goes_back_fires_nothing_early),
        cmocka_unit_test(arming_again_moves_and_stopping_twice_is_harmless),
        cmocka_unit_test(a_callback_may_stop_a_timer_of_the_same_tick),
        cmocka_unit_test(what_a_callback_arms_for_now_waits_for_the_next_run),
        cmocka_unit_test(a_callback_may_free_its_timer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
