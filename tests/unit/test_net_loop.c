#include "net/loop.h"
#include "net/watch.h"
#include "unit.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct turn_log {
    char text[256];
    uint32_t rounds; /* turn_round reports progress this many times per turn */
    uint32_t done;
    struct loop *loop;
    bool current_is_right;
};

static void log_add(struct turn_log *log, const char *word)
{
    size_t n = strlen(log->text);
    snprintf(log->text + n, sizeof(log->text) - n, "%s ", word);
}

static void on_turn_begin(void *ctx)
{
    struct turn_log *log = ctx;
    log->done = 0;
    log->current_is_right = loop_current() == log->loop;
    log_add(log, "begin");
}

static bool on_turn_round(void *ctx)
{
    struct turn_log *log = ctx;
    log_add(log, "round");
    return log->done++ < log->rounds;
}

static void on_turn_end(void *ctx)
{
    log_add(ctx, "end");
}

static const struct loop_ops log_ops = { on_turn_begin, on_turn_round, on_turn_end };

static struct loop_group *group_of(uint32_t n_loops, uint32_t rounds_max)
{
    struct loop_group *g;
    struct loop_conf conf = { .n_loops = n_loops, .rounds_max = rounds_max };
    assert_int_equal(loop_group_new(&conf, &g), 0);
    return g;
}

static void a_turn_begins_makes_rounds_until_nothing_is_left_and_ends(void **state)
{
    (void)state;
    struct loop_group *g = group_of(1, 0);
    struct turn_log log = { .rounds = 2, .loop = loop_group_at(g, 0) };
    loop_set_ops(log.loop, &log_ops, &log);
    loop_turn(log.loop, false);
    assert_string_equal(log.text, "begin round round round end ");
    assert_true(log.current_is_right);
    assert_null(loop_current());
    assert_ptr_equal(loop_ctx(log.loop), &log);
    loop_group_free(&g);
    assert_null(g);
}

static void a_loop_whose_rounds_never_end_goes_on_without_waiting(void **state)
{
    (void)state;
    struct loop_group *g = group_of(1, 3);
    struct turn_log log = { .rounds = UINT32_MAX, .loop = loop_group_at(g, 0) };
    loop_set_ops(log.loop, &log_ops, &log);
    loop_turn(log.loop, false);
    assert_string_equal(log.text, "begin round round round end ");
    log.text[0] = 0;
    loop_turn(log.loop, true); /* would wait for ever */
    assert_string_equal(log.text, "begin round round round end ");
    loop_group_free(&g);
}

struct timer_log {
    struct timer t;
    uint64_t fired_ms;
};

static void on_timer_log(struct timer *t, uint64_t now_ms)
{
    container_of(t, struct timer_log, t)->fired_ms = now_ms;
}

static void a_timer_ends_the_wait_and_is_never_early(void **state)
{
    (void)state;
    struct loop_group *g = group_of(1, 0);
    struct loop *loop = loop_group_at(g, 0);
    struct timer_log log = { .fired_ms = 0 };
    loop_turn(loop, false);
    uint64_t due_ms = loop_now_ms(loop) + 7;
    timer_init(&log.t, on_timer_log);
    timer_arm(loop_timers(loop), &log.t, due_ms);
    loop_turn(loop, false);
    uint32_t turns = 0;
    while (log.fired_ms == 0) {
        loop_turn(loop, true);
        turns++;
    }
    assert_true(log.fired_ms >= due_ms);
    assert_true(turns < 8); /* it waited */
    assert_true(loop_wall_ms(loop) > UINT64_C(1600000000000));
    loop_group_free(&g);
}

struct order {
    struct timer_log timer;
    bool called, timer_was_first;
};

static void on_readable_order(struct watch *w, uint32_t events, void *arg)
{
    struct order *order = arg;
    (void)w;
    assert_int_equal(events, WATCH_READ);
    order->called = true;
    order->timer_was_first = order->timer.fired_ms != 0;
}

static void data_that_came_in_time_is_seen_before_the_timer(void **state)
{
    (void)state;
    struct loop_group *g = group_of(1, 0);
    struct loop *loop = loop_group_at(g, 0);
    struct order order = { .called = false };
    struct watch *w;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(write(fd[1], "x", 1), 1);
    timer_init(&order.timer.t, on_timer_log);
    timer_arm(loop_timers(loop), &order.timer.t, 1); /* long due */
    assert_int_equal(watch_fd(loop, fd[0], WATCH_READ, on_readable_order, &order, &w), 0);
    loop_turn(loop, false);
    assert_true(order.called);
    assert_false(order.timer_was_first);
    assert_true(order.timer.fired_ms > 0);
    watch_free(&w);
    assert_null(w);
    close(fd[0]);
    close(fd[1]);
    loop_group_free(&g);
}

struct ticks {
    uint32_t n;
    struct watch *w;
};

static void on_tick(struct watch *w, uint32_t events, void *arg)
{
    struct ticks *ticks = arg;
    (void)w;
    assert_int_equal(events, 0);
    if (++ticks->n == 3)
        watch_free(&ticks->w);
}

static void a_repeating_watch_ticks_until_it_is_freed_in_its_own_callback(void **state)
{
    (void)state;
    struct loop_group *g = group_of(1, 0);
    struct loop *loop = loop_group_at(g, 0);
    struct ticks ticks = { 0, NULL };
    assert_int_equal(watch_timer(loop, 1, 1, on_tick, &ticks, &ticks.w), 0);
    uint64_t start_ms = loop_now_ms(loop);
    while (ticks.w)
        loop_turn(loop, true);
    assert_int_equal(ticks.n, 3);
    assert_true(loop_now_ms(loop) - start_ms < 30000); /* the timer ended the wait */
    assert_int_equal(loop_timers(loop)->n_armed, 0);
    loop_group_free(&g);
}

static void on_writable(struct watch *w, uint32_t events, void *arg)
{
    uint32_t *n = arg;
    assert_int_equal(events, WATCH_WRITE);
    ++*n;
    watch_set_events(w, 0);
}

static void a_watch_without_events_is_silent(void **state)
{
    (void)state;
    struct loop_group *g = group_of(1, 0);
    struct loop *loop = loop_group_at(g, 0);
    struct watch *w;
    uint32_t n = 0;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    assert_int_equal(watch_fd(loop, fd[1], WATCH_WRITE, on_writable, &n, &w), 0);
    for (int i = 0; i < 5; i++)
        loop_turn(loop, false);
    assert_int_equal(n, 1);
    watch_set_events(w, WATCH_WRITE);
    loop_turn(loop, false);
    loop_turn(loop, false);
    assert_int_equal(n, 2);
    watch_free(&w);
    close(fd[0]);
    close(fd[1]);
    loop_group_free(&g);
}

struct thread_log {
    struct loop *loop, *seen;
    bool signals_blocked;
};

static void on_thread_begin(void *ctx)
{
    struct thread_log *log = ctx;
    sigset_t mask;
    if (log->seen)
        return;
    log->seen = loop_current();
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    log->signals_blocked = sigismember(&mask, SIGTERM) == 1;
}

static bool on_round_stop_all(void *ctx)
{
    struct thread_log *log = ctx;
    if (loop_index(log->loop) == 1)
        loop_group_stop(loop_get_group(log->loop));
    return false;
}

static const struct loop_ops thread_ops = { on_thread_begin, on_round_stop_all, NULL };

static void every_loop_has_its_thread_and_stops_from_any_thread(void **state)
{
    (void)state;
    struct loop_group *g = group_of(3, 0);
    struct thread_log log[3] = { 0 };
    assert_int_equal(loop_group_count(g), 3);
    for (uint32_t i = 0; i < 3; i++) {
        log[i].loop = loop_group_at(g, i);
        loop_set_ops(log[i].loop, &thread_ops, &log[i]);
    }
    assert_int_equal(loop_start_threads(g), 0);
    loop_run(loop_group_at(g, 0)); /* until loop 1 stops it */
    loop_join(g);
    for (uint32_t i = 0; i < 3; i++) {
        assert_ptr_equal(log[i].seen, log[i].loop);
        assert_int_equal(log[i].signals_blocked, i > 0);
        assert_true(loop_turns(log[i].loop) > 0);
    }
    loop_group_free(&g);
}

static void a_loop_stopped_before_it_runs_makes_one_turn(void **state)
{
    (void)state;
    struct loop_group *g = group_of(1, 0);
    struct turn_log log = { .loop = loop_group_at(g, 0) };
    loop_set_ops(log.loop, &log_ops, &log);
    loop_stop(log.loop);
    loop_run(log.loop);
    assert_string_equal(log.text, "begin round end ");
    loop_group_free(&g);
}

struct signal_log {
    int signo;
    bool in_turn;
};

static void on_usr1(struct loop *loop, int signo, void *ctx)
{
    struct signal_log *log = ctx;
    log->signo = signo;
    log->in_turn = loop_current() == loop;
}

static void a_signal_is_delivered_inside_a_turn_and_has_one_loop(void **state)
{
    (void)state;
    struct loop_group *g = group_of(2, 0);
    struct loop *loop = loop_group_at(g, 0);
    struct signal_log log = { 0, false };
    assert_int_equal(loop_on_signal(loop, SIGUSR1, on_usr1, &log), 0);
    assert_int_equal(loop_on_signal(loop_group_at(g, 1), SIGUSR1, on_usr1, &log), -EBUSY);
    raise(SIGUSR1);
    while (!log.signo)
        loop_turn(loop, true);
    assert_int_equal(log.signo, SIGUSR1);
    assert_true(log.in_turn);
    loop_group_free(&g);
}

static void too_many_loops_are_refused(void **state)
{
    (void)state;
    struct loop_group *g = NULL;
    struct loop_conf conf = { .n_loops = LOOP_MAX + 1 };
    assert_int_equal(loop_group_new(&conf, &g), -EINVAL);
    assert_null(g);
}

static void a_group_that_finds_no_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    struct loop_conf conf = { .n_loops = 2 };
    for (uint32_t n = 0;; n++) {
        struct loop_group *g = NULL;
        failalloc_after(n);
        int r = loop_group_new(&conf, &g);
        if (!failalloc_disarm()) {
            assert_int_equal(r, 0);
            loop_group_free(&g);
            break;
        }
        assert_int_equal(r, -ENOMEM);
        assert_null(g);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_turn_begins_makes_rounds_until_nothing_is_left_and_ends),
        cmocka_unit_test(a_loop_whose_rounds_never_end_goes_on_without_waiting),
        cmocka_unit_test(a_timer_ends_the_wait_and_is_never_early),
        cmocka_unit_test(data_that_came_in_time_is_seen_before_the_timer),
        cmocka_unit_test(a_repeating_watch_ticks_until_it_is_freed_in_its_own_callback),
        cmocka_unit_test(a_watch_without_events_is_silent),
        cmocka_unit_test(every_loop_has_its_thread_and_stops_from_any_thread),
        cmocka_unit_test(a_loop_stopped_before_it_runs_makes_one_turn),
        cmocka_unit_test(a_signal_is_delivered_inside_a_turn_and_has_one_loop),
        cmocka_unit_test(too_many_loops_are_refused),
        cmocka_unit_test(a_group_that_finds_no_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
