/* Questions with somebody who looks on, and small parts of pigeon.admin/1. */
#include "hooks/control.h"
#include "hooks/host_admin.h"
#include "hooks_support.h"

struct seen_log {
    struct ask_observer observer;
    struct ask_seen seen[8];
    uint32_t n;
};

static void note(struct ask_observer *observer, const struct ask *ask, const struct ask_seen *seen)
{
    struct seen_log *log = container_of(observer, struct seen_log, observer);

    assert_true(log->n < 8);
    assert_ptr_equal(seen->step, &ask->chain->steps[ask->entry]);
    log->seen[log->n++] = *seen;
}

static int32_t ask_seen(struct world *w, struct seen_log *log, uint32_t hook, struct identity *who,
                        const char *topic, const char *orders, struct question *q)
{
    question_init(q, hook, who, topic, orders);
    if (log) {
        log->n = 0;
        q->ask.observer = &log->observer;
    }
    if (ask_run(w->hooks->loop[0], &q->ask) == ASK_WAIT)
        wait_until(w, &q->n_done, 1);
    ask_fini(&q->ask);
    return q->ask.verdict;
}

static void three_puppets(struct world *w)
{
    world_init(w, 1);
    world_link(w, "p0.so", "0-p.so");
    world_link(w, "p1.so", "1-q.so");
    world_link(w, "p2.so", "2-r.so");
    assert_int_equal(world_start(w), 0);
}

static void an_observer_changes_no_outcome_and_sees_each_entry_in_order(void **state)
{
    static const char orders[] = "nnadxmNAVEWR";
    static const uint32_t hooks[] = { PIGEON_HOOK_AUTHORIZE_PUBLISH, PIGEON_HOOK_INBOUND,
                                      PIGEON_HOOK_AUTHENTICATE, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE };
    struct identity *who = client_new(0);
    struct seen_log log = { .observer = { .seen = note } };
    struct question q;
    struct world w;
    uint32_t dice = 1;

    (void)state;
    three_puppets(&w);
    for (uint32_t i = 0; i < 2000; i++) {
        uint32_t hook = hooks[i % 4];
        char text[4] = { 0 };
        int32_t plain, seen;

        for (uint32_t k = 0; k < 3; k++) {
            dice = dice * 1664525u + 1013904223u;
            text[k] = orders[(dice >> 16) % (sizeof(orders) - 1)];
        }
        log.observer.is_dry = i % 3 == 0;
        plain = ask_seen(&w, NULL, hook, who, "t", text, &q);
        seen = ask_seen(&w, &log, hook, who, "t", text, &q);
        assert_int_equal(seen, plain);
        assert_true(log.n >= 1 && log.n <= 3);
        for (uint32_t k = 0; k + 1 < log.n; k++) {
            assert_false(log.seen[k].is_final);
            assert_int_equal(log.seen[k].how, ASK_BY_HOOK);
        }
        assert_int_equal(log.seen[log.n - 1].is_final, q.ask.decided);
        if (q.ask.decided)
            assert_int_equal(log.seen[log.n - 1].verdict, plain);
    }
    identity_unref(&who);
    world_fini(&w);
}

static void a_dry_question_remembers_nothing(void **state)
{
    struct identity *who = client_new(0);
    struct seen_log log = { .observer = { .is_dry = true, .seen = note } };
    struct question q;
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "p0.so", "p.so");
    assert_int_equal(world_start(&w), 0);
    for (int i = 0; i < 3; i++) {
        ask_seen(&w, &log, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "t", "C", &q);
        assert_int_equal(log.seen[0].how, ASK_BY_HOOK);
    }
    assert_int_equal(metric_value(&w, "p", "asked"), 3);
    for (int i = 0; i < 2; i++)
        ask_seen(&w, NULL, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "t", "C", &q);
    assert_int_equal(metric_value(&w, "p", "asked"), 4);
    ask_seen(&w, &log, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "t", "C", &q);
    assert_int_equal(log.seen[0].how, ASK_BY_CACHE);
    identity_unref(&who);
    world_fini(&w);
}

static void a_dry_question_keeps_no_rule_and_arms_no_delivery_check(void **state)
{
    struct identity *who = client_new(0);
    struct seen_log log = { .observer = { .is_dry = true, .seen = note } };
    struct question q;
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "p0.so", "p.so");
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(ask_seen(&w, &log, PIGEON_HOOK_AUTHENTICATE, who, "", "G", &q), PIGEON_ALLOW);
    ask_seen(&w, &log, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "own/x", "a", &q);
    assert_int_equal(log.seen[0].how, ASK_BY_HOOK);
    assert_int_equal(acl_push(&client_slots_of(who, w.hooks)->acl, 0, STR("a/b"),
                              PIGEON_ACL_SUBSCRIBE, PIGEON_DENY),
                     0);
    ask_seen(&w, &log, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, who, "a/#", "a/#", &q);
    assert_false(acl_checks_deliver(who));
    ask_seen(&w, NULL, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, who, "a/#", "a/#", &q);
    assert_true(acl_checks_deliver(who));
    identity_unref(&who);
    world_fini(&w);
}

static void on_reply(void *self, void *arg, pigeon_job job, int32_t status, pigeon_str json,
                     pigeon_str text)
{
    int32_t *r_status = arg;

    (void)self;
    (void)job;
    (void)json;
    (void)text;
    *r_status = status;
}

/* To a plugin that answers it never. */
static int32_t call_never(struct world *w, int32_t *r_status, pigeon_job *r_job)
{
    static const pigeon_call call = { .size = sizeof(call),
                                      .plugin = { .ptr = "commands", .len = 8 },
                                      .command = { .ptr = "never", .len = 5 } };
    int32_t r =
        host_admin_table.call(&w->hooks->plugins[0].instances[0], &call, on_reply, r_status, r_job);

    for (int i = 0; i < 4; i++)
        loop_turn(loop_group_at(w->loops, 0), false);
    return r;
}

/* Who looks for leaks sees the job otherwise. */
static void a_cancelled_call_that_waits_is_given_up_at_the_stop(void **state)
{
    int32_t status = 1;
    struct world w;
    struct instance *inst;
    pigeon_job job;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "commands.so", "commands.so");
    assert_int_equal(world_start(&w), 0);
    inst = &w.hooks->plugins[0].instances[0];
    assert_int_equal(call_never(&w, &status, &job), PIGEON_OK);
    assert_int_equal(slots_count_pending(w.hooks->loop[0]), 1);
    assert_int_equal(host_admin_table.cancel(inst, job), PIGEON_OK);
    assert_int_equal(host_admin_table.cancel(inst, job), PIGEON_E_GONE);
    assert_false(list_empty(&w.hooks->admin->jobs));
    world_fini(&w);
    assert_int_equal(status, 1);
}

static void a_call_is_bound_by_what_is_configured_now(void **state)
{
    struct config_plugin block;
    struct config now;
    int32_t status[2] = { 1, 1 };
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "commands.so", "commands.so");
    assert_int_equal(world_start(&w), 0);
    block = w.config->plugin_preset;
    block.name = "commands";
    block.max_pending = 1;
    now = *w.config;
    now.plugins = &block;
    now.n_plugins = 1;
    w.hooks->config = &now;
    assert_int_equal(call_never(&w, &status[0], NULL), PIGEON_OK);
    assert_int_equal(call_never(&w, &status[1], NULL), PIGEON_OK);
    w.hooks->config = w.config;
    assert_int_equal(status[0], 1);
    assert_int_equal(status[1], PIGEON_E_BUSY);
    world_fini(&w);
}

static void a_status_of_a_command_survives_the_word_of_a_slot(void **state)
{
    (void)state;
    for (int32_t status = 0; status > -127; status--)
        assert_int_equal(control_unpack(control_pack(status)), status);
    assert_int_equal(control_unpack(control_pack(77)), PIGEON_E_INVAL);
    assert_int_equal(control_unpack(control_pack(-1000)), PIGEON_E_INVAL);
    assert_int_equal(control_unpack(control_pack(PIGEON_PENDING)), PIGEON_E_INVAL);
}

static void a_pattern_has_stars_and_question_marks(void **state)
{
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        { "", "", true },          { "", "a", false },       { "*", "", true },
        { "*", "abc", true },      { "a*c", "abbbc", true }, { "a*c", "abbbd", false },
        { "a?c", "abc", true },    { "a?c", "ac", false },   { "*b*", "abc", true },
        { "**", "x", true },       { "a*", "ba", false },    { "*ab", "aab", true },
        { "*a*b*a", "aba", true }, { "?", "", false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        assert_int_equal(admin_glob(str_from(cases[i].pattern), str_from(cases[i].text)),
                         cases[i].matches);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_observer_changes_no_outcome_and_sees_each_entry_in_order),
        cmocka_unit_test(a_dry_question_remembers_nothing),
        cmocka_unit_test(a_dry_question_keeps_no_rule_and_arms_no_delivery_check),
        cmocka_unit_test(a_cancelled_call_that_waits_is_given_up_at_the_stop),
        cmocka_unit_test(a_call_is_bound_by_what_is_configured_now),
        cmocka_unit_test(a_status_of_a_command_survives_the_word_of_a_slot),
        cmocka_unit_test(a_pattern_has_stars_and_question_marks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
