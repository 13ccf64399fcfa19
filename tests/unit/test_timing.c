/* What is counted and measured of calls, and what the monitor says of them, by a clock of the test.
 */
#include "hooks_support.h"
#include "hooks/watchdog.h"

#define MS   UINT64_C(1000000)
#define WARN (50 * MS)

static void buckets_double_from_256_ns_and_the_last_one_takes_the_rest(void **state)
{
    (void)state;
    assert_int_equal(timing_bucket(0), 0);
    assert_int_equal(timing_bucket(256), 0);
    assert_int_equal(timing_bucket(257), 1);
    assert_int_equal(timing_bucket(512), 1);
    assert_int_equal(timing_bucket(UINT64_C(1) << 30), 22);
    assert_int_equal(timing_bucket((UINT64_C(1) << 30) + 1), 23);
    assert_int_equal(timing_bucket(UINT64_MAX), 23);
}

static void the_first_call_of_64_is_timed(void **state)
{
    struct timing t = { 0 };
    uint32_t n = 0;

    (void)state;
    assert_true(timing_count(&t));
    for (uint32_t i = 1; i < 64 * 10; i++)
        n += timing_count(&t);
    assert_int_equal(n, 9);
    assert_int_equal(t.n_calls, 640);
}

static void what_was_measured_adds_up(void **state)
{
    struct timing t = { 0 };

    (void)state;
    timing_note(&t, 300);
    timing_note(&t, 100);
    timing_note(&t, 200);
    assert_int_equal(t.n_timed, 3);
    assert_int_equal(t.sum_ns, 600);
    assert_int_equal(t.max_ns, 300);
    assert_int_equal(t.buckets[0], 2);
    assert_int_equal(t.buckets[1], 1);
}

static void every_call_and_denial_is_counted_and_some_are_measured(void **state)
{
    static const uint32_t hooks[] = { PIGEON_HOOK_AUTHENTICATE, PIGEON_HOOK_AUTHORIZE_PUBLISH,
                                      PIGEON_HOOK_AUTHORIZE_SUBSCRIBE,
                                      PIGEON_HOOK_AUTHORIZE_DELIVER, PIGEON_HOOK_INBOUND };
    /* by return, late, and no verdict at all: each a denial */
    static const char *const denials[] = { "d", "D", "x" };
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "p0.so", "p.so");
    assert_int_equal(world_start(&w), 0);
    for (uint32_t h = 0; h < sizeof(hooks) / sizeof(hooks[0]); h++) {
        struct identity *who = client_new(0);
        struct timing_sum sum;

        for (uint32_t i = 0; i < 128; i++)
            ask_now(&w, hooks[h], who, "a", i % 2 ? "a" : "n");
        for (uint32_t i = 0; i < 3; i++)
            ask_now(&w, hooks[h], who, "a", denials[i]);
        timing_sum(w.hooks, &w.hooks->plugins[0], hooks[h], &sum);
        assert_int_equal(sum.n_calls, 131);
        /* "D" is a late answer, which a delivery cannot have: the host refuses it. */
        assert_int_equal(sum.n_denials, hooks[h] == PIGEON_HOOK_AUTHORIZE_DELIVER ? 2 : 3);
        assert_int_equal(sum.n_timed, 3);
        identity_unref(&who);
    }
    assert_int_equal(metric_value(&w, "p", "hook_calls/inbound"), 131);
    assert_int_equal(metric_value(&w, "p", "hook_denials/inbound"), 3);
    assert_int_equal(metric_value(&w, "p", "hook_seconds/inbound"), 3);
    assert_int_equal(metric_value(&w, "p", "hook_calls/exchange"), -1);
    world_fini(&w);
}

/* ---- the monitor ----------------------------------------------------------------------------- */

struct stall {
    struct world w;
    struct crumb *crumb;
    struct watched watched;
    pigeon_client client;
};

static void stall_init(struct stall *s)
{
    memset(s, 0, sizeof(*s));
    world_init(&s->w, 1);
    world_link(&s->w, "p0.so", "p.so");
    assert_int_equal(world_start(&s->w), 0);
    s->crumb = &hooks_loop(s->w.hooks, 0)->crumb;
    s->watched.crumb = s->crumb;
    s->client.conn_id = 17;
}

static void enter(struct stall *s)
{
    crumb_enter(s->crumb, &s->w.hooks->plugins[0].instances[0], PIGEON_HOOK_AUTHENTICATE,
                &s->client);
}

static bool look(struct stall *s, uint64_t now_ns)
{
    return watched_look(&s->watched, now_ns, WARN, s->w.log);
}

static uint32_t lines_with(struct stall *s, const char *text)
{
    char line[8192];
    uint32_t n = 0;

    rewind(s->w.log_file);
    while (fgets(line, sizeof(line), s->w.log_file))
        n += strstr(line, text) != NULL;
    fseek(s->w.log_file, 0, SEEK_END);
    return n;
}

static void a_long_call_is_said_once_then_every_second_and_when_it_is_over(void **state)
{
    struct stall s;

    (void)state;
    stall_init(&s);
    enter(&s);
    look(&s, 100 * MS);
    look(&s, 149 * MS);
    assert_int_equal(lines_with(&s, "plugin_slow"), 0);
    look(&s, 150 * MS);
    look(&s, 160 * MS);
    look(&s, 1149 * MS);
    assert_int_equal(lines_with(&s, "plugin_slow"), 1);
    assert_true(world_logged(&s.w, "plugin=p hook=authenticate connection=17 thread=loop index=0 "
                                   "state=running ms=50"));
    look(&s, 1150 * MS);
    assert_int_equal(lines_with(&s, "plugin_slow"), 2);
    crumb_leave(s.crumb);
    look(&s, 1200 * MS);
    assert_true(world_logged(&s.w, "state=returned ms=1100"));
    look(&s, 5000 * MS);
    assert_int_equal(lines_with(&s, "plugin_slow"), 3);
    world_fini(&s.w);
}

static void many_short_calls_are_not_one_long_one(void **state)
{
    struct stall s;

    (void)state;
    stall_init(&s);
    for (uint64_t now = 0; now < 1000 * MS; now += 10 * MS) {
        enter(&s);
        look(&s, now);
        crumb_leave(s.crumb);
    }
    assert_int_equal(lines_with(&s, "plugin_slow"), 0);
    world_fini(&s.w);
}

static void a_turn_that_does_not_end_is_a_stalled_loop(void **state)
{
    struct stall s;

    (void)state;
    stall_init(&s);
    assert_false(look(&s, 0));
    crumb_turn_begin(s.crumb);
    assert_true(look(&s, 10 * MS));
    look(&s, 509 * MS);
    assert_int_equal(lines_with(&s, "loop_stalled"), 0);
    look(&s, 510 * MS);
    assert_int_equal(lines_with(&s, "loop_stalled"), 1);
    crumb_turn_end(s.crumb);
    assert_true(look(&s, 600 * MS));
    assert_true(world_logged(&s.w, "state=over ms=590"));
    assert_false(look(&s, 9000 * MS));
    assert_int_equal(lines_with(&s, "loop_stalled"), 2);
    world_fini(&s.w);
}

static void turns_that_follow_each_other_are_no_stall(void **state)
{
    struct stall s;

    (void)state;
    stall_init(&s);
    for (uint64_t now = 0; now < 3000 * MS; now += 100 * MS) {
        crumb_turn_begin(s.crumb);
        assert_true(look(&s, now));
        crumb_turn_end(s.crumb);
    }
    assert_int_equal(lines_with(&s, "loop_stalled"), 0);
    world_fini(&s.w);
}

static void a_turn_wakes_the_monitor_whatever_it_does(void **state)
{
    struct watchdog *dog;
    struct stall s;

    (void)state;
    stall_init(&s);
    assert_int_equal(watchdog_new(s.w.hooks, 1, &dog), 0);
    for (uint32_t i = 0; i < 100000; i++) {
        crumb_turn_begin(s.crumb);
        crumb_turn_end(s.crumb);
    }
    watchdog_set_warn(dog, 0);
    watchdog_set_warn(dog, 50);
    watchdog_free(&dog);
    assert_null(dog);
    assert_null(s.crumb->watchdog);
    world_fini(&s.w);
}

static void a_call_within_a_call_leaves_the_outer_one_as_it_was(void **state)
{
    struct identity *who = client_new(0);
    struct instance *inst;
    struct crumb *crumb;
    struct timing *outer;
    struct crumb_call inner;
    uint64_t began_ns;
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "p0.so", "p.so");
    assert_int_equal(world_start(&w), 0);
    inst = &w.hooks->plugins[0].instances[0];
    crumb = &w.hooks->loop[0]->crumb;
    outer = crumb_timing(crumb, inst->plugin->index, PIGEON_HOOK_INBOUND);
    crumb_set_here(crumb);
    crumb_enter(crumb, inst, PIGEON_HOOK_INBOUND, &who->view); /* the first call: timed */
    began_ns = crumb->began_ns;
    assert_true(began_ns > 0);
    for (int i = 0; i < 2; i++) { /* timed and not */
        inner = crumb_begin(inst, PIGEON_HOOK_EVENT);
        assert_ptr_not_equal(atomic_load(&crumb->call), outer);
        crumb_end(inner);
        assert_ptr_equal(atomic_load(&crumb->call), outer);
        assert_int_equal(atomic_load(&crumb->conn_id), 1);
        assert_int_equal(crumb->began_ns, began_ns);
    }
    crumb_leave(crumb);
    assert_null(atomic_load(&crumb->call));
    assert_int_equal(outer->n_timed, 1);
    crumb_set_here(NULL);
    identity_unref(&who);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_double_from_256_ns_and_the_last_one_takes_the_rest),
        cmocka_unit_test(the_first_call_of_64_is_timed),
        cmocka_unit_test(what_was_measured_adds_up),
        cmocka_unit_test(every_call_and_denial_is_counted_and_some_are_measured),
        cmocka_unit_test(a_long_call_is_said_once_then_every_second_and_when_it_is_over),
        cmocka_unit_test(many_short_calls_are_not_one_long_one),
        cmocka_unit_test(a_turn_that_does_not_end_is_a_stalled_loop),
        cmocka_unit_test(turns_that_follow_each_other_are_no_stall),
        cmocka_unit_test(a_call_within_a_call_leaves_the_outer_one_as_it_was),
        cmocka_unit_test(a_turn_wakes_the_monitor_whatever_it_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
