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
        cmocka_unit_test(a_status_of_a_command_survives_the_word_of_a_slot),
        cmocka_unit_test(a_pattern_has_stars_and_question_marks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
