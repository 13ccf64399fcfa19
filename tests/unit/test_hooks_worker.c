/* Run mode `worker`: every kind of answer of every hook from a thread of the plugin's own, and what
 * is left of it when the broker goes. */
#include "hooks_support.h"

static void start_with(struct world *w, uint32_t n_loops, const char *file, uint32_t workers,
                       struct config_plugin *b)
{
    struct config_plugin block;

    world_init(w, n_loops);
    world_link(w, file, "p.so");
    block = w->config->plugin_preset;
    block.name = "p";
    block.run = CONFIG_WORKER;
    block.workers = workers;
    block.deadline_ms = b->deadline_ms;
    *b = block;
    w->config->plugins = b;
    w->config->n_plugins = 1;
    assert_int_equal(world_start(w), 0);
    assert_int_equal(hooks_start(w->hooks), 0);
}

static void turn_until(struct world *w, const char *metric, int64_t value)
{
    uint64_t end = (uint64_t)time(NULL) + 10;

    while (metric_value(w, "p", metric) < value && (uint64_t)time(NULL) < end) {
        for (uint32_t i = 0; i < loop_group_count(w->loops); i++)
            loop_turn(loop_group_at(w->loops, i), false);
        sched_yield();
    }
    assert_int_equal(metric_value(w, "p", metric), value);
}

static void turn_until_none_pends(struct world *w)
{
    uint64_t end = (uint64_t)time(NULL) + 10;

    while (metric_value(w, "p", "hook_pending") > 0 && (uint64_t)time(NULL) < end) {
        loop_turn(loop_group_at(w->loops, 0), false);
        sched_yield();
    }
    assert_int_equal(metric_value(w, "p", "hook_pending"), 0);
}

/* ---- answers --------------------------------------------------------------------------------- */

static const struct {
    const char *order;
    int32_t verdict; /* of a chain with this plugin alone, that nobody else decides */
} answers[] = {
    { "a", PIGEON_ALLOW }, { "d", PIGEON_DENY },  { "A", PIGEON_ALLOW }, { "D", PIGEON_DENY },
    { "E", PIGEON_ALLOW }, { "T", PIGEON_ALLOW }, { "x", PIGEON_DENY },  { "m", PIGEON_DENY },
    { "X", PIGEON_DENY },  { "V", PIGEON_DENY },  { "W", PIGEON_DENY },
};
static const uint32_t waiting_hooks[] = {
    PIGEON_HOOK_AUTHENTICATE,        PIGEON_HOOK_EXCHANGE,    PIGEON_HOOK_AUTHORIZE_PUBLISH,
    PIGEON_HOOK_AUTHORIZE_WILL,      PIGEON_HOOK_INBOUND,     PIGEON_HOOK_PUBLISHED,
    PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, PIGEON_HOOK_PRE_CONNECT,
};

static void every_answer_of_every_hook_comes_from_a_worker(void **state)
{
    static const char *const files[] = { "worker-puppet.so", "worker-single.so",
                                         "worker-shared.so" };

    (void)state;
    for (size_t f = 0; f < sizeof(files) / sizeof(files[0]); f++) {
        struct config_plugin b = { .deadline_ms = 60000 };
        struct identity *who = client_new(0);
        struct world w;

        start_with(&w, 1, files[f], f == 1 ? 1 : 3, &b);
        for (size_t h = 0; h < sizeof(waiting_hooks) / sizeof(waiting_hooks[0]); h++)
            for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
                assert_int_equal(ask_now(&w, waiting_hooks[h], who, "a", answers[i].order),
                                 answers[i].verdict);
        turn_until_none_pends(&w);
        assert_int_equal(metric_value(&w, "p", "hook_answered_twice"),
                         sizeof(waiting_hooks) / sizeof(waiting_hooks[0]));
        identity_unref(&who);
        world_fini(&w);
    }
}

static void rewrites_of_a_worker_are_taken_over(void **state)
{
    struct config_plugin b = { .deadline_ms = 60000 };
    struct identity *who = client_new(0);
    struct question q;
    struct world w;

    (void)state;
    start_with(&w, 1, "worker-puppet.so", 2, &b);
    for (int late = 0; late < 2; late++) {
        question_init(&q, PIGEON_HOOK_INBOUND, who, "a", late ? "B" : "R");
        assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_WAIT);
        wait_until(&w, &q.n_done, 1);
        assert_true(str_eq(message_topic(q.ask.message), STR("rewritten")));
        assert_int_equal(q.ask.message->view.qos, 2);
        ask_fini(&q.ask);
    }
    identity_unref(&who);
    world_fini(&w);
}

static void who_has_gone_is_cancelled_and_told_so(void **state)
{
    struct config_plugin b = { .deadline_ms = 60000 };
    struct identity *who = client_new(0);
    struct question q;
    struct world w;

    (void)state;
    start_with(&w, 1, "worker-puppet.so", 1, &b);
    question_init(&q, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "a", "H");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_WAIT);
    turn_until(&w, "asked", 1);
    /* asked is counted before the hook returns PENDING: the next answer comes after that. */
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "a", "a"), PIGEON_ALLOW);
    ask_abandon(hooks_loop(w.hooks, 0), &q.ask);
    turn_until(&w, "cancelled", 1);
    ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "a", "r");
    turn_until(&w, "gone", 1);
    turn_until_none_pends(&w);
    assert_int_equal(q.n_done, 0);
    identity_unref(&who);
    world_fini(&w);
}

static void the_slots_of_a_client_are_freed_by_its_worker(void **state)
{
    struct config_plugin b = { .deadline_ms = 60000 };
    struct world w;

    (void)state;
    start_with(&w, 1, "worker-puppet.so", 3, &b);
    for (int i = 0; i < 20; i++) {
        struct identity *who = client_new(0);

        ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "S");
        ask_now(&w, PIGEON_HOOK_EXCHANGE, who, "", "c");
        identity_unref(&who);
    }
    turn_until(&w, "slots_freed", 20);
    turn_until(&w, "exchange_freed", 20);
    world_fini(&w);
}

static void facts_go_to_workers(void **state)
{
    struct config_plugin b = { .deadline_ms = 60000 };
    struct identity *who = client_new(0);
    struct world w;

    (void)state;
    start_with(&w, 2, "worker-puppet.so", 2, &b);
    for (int i = 0; i < 10; i++)
        events_client(hooks_loop(w.hooks, 0), who);
    for (uint32_t i = 0; i < 2; i++)
        events_heartbeat(hooks_loop(w.hooks, i));
    turn_until(&w, "events", 12);
    identity_unref(&who);
    loop_turn(loop_group_at(w.loops, 0), false);
    world_fini(&w);
}

static void what_is_never_answered_does_not_keep_the_hooks(void **state)
{
    struct config_plugin b = { .deadline_ms = 60000 };
    struct identity *who = client_new(0);
    struct question q[3];
    struct world w;

    (void)state;
    start_with(&w, 1, "worker-shared.so", 2, &b);
    for (int i = 0; i < 3; i++) {
        question_init(&q[i], PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "a", "H");
        assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q[i].ask), ASK_WAIT);
    }
    turn_until(&w, "asked", 3);
    for (int i = 0; i < 3; i++)
        ask_abandon(hooks_loop(w.hooks, 0), &q[i].ask);
    identity_unref(&who);
    world_fini(&w);
}

static void on_quiesced(void *arg)
{
    ++*(uint32_t *)arg;
}

static void every_instance_is_quiesced_on_its_worker(void **state)
{
    struct config_plugin b = { .deadline_ms = 60000 };
    uint32_t n_done = 0;
    struct world w;

    (void)state;
    start_with(&w, 1, "worker-puppet.so", 3, &b);
    hooks_quiesce(w.hooks, on_quiesced, &n_done);
    wait_until(&w, &n_done, 1);
    assert_int_equal(metric_value(&w, "p", "quiesced"), 3);
    assert_int_equal(hooks_stop_workers(w.hooks, 5000), 0);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_answer_of_every_hook_comes_from_a_worker),
        cmocka_unit_test(rewrites_of_a_worker_are_taken_over),
        cmocka_unit_test(who_has_gone_is_cancelled_and_told_so),
        cmocka_unit_test(the_slots_of_a_client_are_freed_by_its_worker),
        cmocka_unit_test(facts_go_to_workers),
        cmocka_unit_test(what_is_never_answered_does_not_keep_the_hooks),
        cmocka_unit_test(every_instance_is_quiesced_on_its_worker),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
