/* Pushed rules and remembered verdicts (X3). */
#include "hooks/acl.h"
#include "hooks_support.h"

static void start(struct world *w, const struct config_chain *authorize)
{
    world_init(w, 1);
    world_link(w, "p0.so", "p0.so");
    world_link(w, "p1.so", "p1.so");
    if (authorize)
        w->config->chains.of[CONFIG_AUTHORIZE] = *authorize;
    assert_int_equal(world_start(w), 0);
}

static int32_t subscribe(struct world *w, struct identity *who, const char *filter)
{
    return ask_now(w, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, who, filter, "nn");
}

static int32_t publish(struct world *w, struct identity *who, const char *topic)
{
    return ask_now(w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, topic, "nn");
}

static void rules_answer_in_the_place_of_their_plugin(void **state)
{
    struct identity *who = client_new(0);
    struct world w;

    (void)state;
    start(&w, NULL);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "Ga"), PIGEON_ALLOW);
    assert_int_equal(publish(&w, who, "own/1"), PIGEON_ALLOW);
    assert_int_equal(publish(&w, who, "other"), PIGEON_DENY);
    assert_int_equal(subscribe(&w, who, "own/+"), PIGEON_ALLOW);
    assert_int_equal(subscribe(&w, who, "#"), PIGEON_DENY);
    /* The plugin was called at authentication only. */
    assert_int_equal(metric_value(&w, "p0", "asked"), 1);
    assert_true(acl_checks_deliver(who));
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_DELIVER, who, "other", "aa"), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_DELIVER, who, "own/x", "dd"), PIGEON_ALLOW);
    identity_drop_rules(who, "p0");
    assert_false(acl_checks_deliver(who));
    assert_int_equal(publish(&w, who, "own/1"), PIGEON_DENY); /* both say NEXT: end of chain */
    identity_unref(&who);
    world_fini(&w);
}

static void a_pushed_allow_never_skips_a_veto(void **state)
{
    struct config_chain_entry entries[] = { { .plugin = "p1", .control = CONFIG_VETO },
                                            { .plugin = "p0" } };
    struct config_chain chain = { .written = true, .entries = entries, .n_entries = 2 };
    struct identity *who = client_new(0);
    struct world w;

    (void)state;
    start(&w, &chain);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "Gn"), PIGEON_ALLOW);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "own/1", "nd"), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "own/1", "nn"), PIGEON_ALLOW);
    identity_unref(&who);
    world_fini(&w);
}

static void rules_of_a_refused_connect_are_not_kept(void **state)
{
    struct config_chain_entry entries[] = { { .plugin = "p0", .control = CONFIG_REQUIRE },
                                            { .plugin = "p1" } };
    struct identity *who = client_new(0);
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "p0.so", "p0.so");
    world_link(&w, "p1.so", "p1.so");
    w.config->chains.of[CONFIG_AUTHENTICATE] =
        (struct config_chain){ .written = true, .entries = entries, .n_entries = 2 };
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "Gd"), PIGEON_DENY);
    assert_false(acl_checks_deliver(who));
    identity_unref(&who);
    world_fini(&w);
}

static void a_remembered_verdict_saves_the_call_until_it_is_dropped(void **state)
{
    struct identity *who = client_new(0);
    struct world w;

    (void)state;
    start(&w, NULL);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "t", "Cn"), PIGEON_ALLOW);
    assert_int_equal(metric_value(&w, "p0", "asked"), 1);
    /* Another topic is another question. */
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "u", "dn"), PIGEON_DENY);
    identity_drop_rules(who, "p0");
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "t", "dn"), PIGEON_DENY);
    identity_unref(&who);
    world_fini(&w);
}

/* ---- the rules alone ----------------------------------------------------------------- */

static int32_t decide(struct acl *acl, uint32_t hook, const char *topic)
{
    return acl_decide(acl, 0, hook, str_from(topic));
}

static void a_deny_that_only_intersects_a_filter_arms_the_deliver_check(void **state)
{
    struct acl acl;

    (void)state;
    acl_init(&acl);
    acl_push(&acl, 0, STR("secret/#"), PIGEON_ACL_SUBSCRIBE, PIGEON_DENY);
    acl_push(&acl, 0, STR("#"), PIGEON_ACL_SUBSCRIBE, PIGEON_ALLOW);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_DELIVER, "secret/1"), PIGEON_NEXT);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, "secret/+"), PIGEON_DENY);
    assert_false(acl.armed);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, "#"), PIGEON_ALLOW);
    assert_true(acl.armed);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_DELIVER, "secret/1"), PIGEON_DENY);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_DELIVER, "public"), PIGEON_NEXT);
    acl_fini(&acl);
}

static void an_allow_must_cover_the_filter(void **state)
{
    struct acl acl;

    (void)state;
    acl_init(&acl);
    acl_push(&acl, 0, STR("a/+/c"), PIGEON_ACL_ALL, PIGEON_ALLOW);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, "a/b/c"), PIGEON_ALLOW);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, "a/+/c"), PIGEON_ALLOW);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, "a/#"), PIGEON_NEXT);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, "a/+/+"), PIGEON_NEXT);
    acl_fini(&acl);
}

static void the_first_rule_that_matches_wins(void **state)
{
    struct acl acl;

    (void)state;
    acl_init(&acl);
    acl_push(&acl, 0, STR("a/1"), PIGEON_ACL_PUBLISH, PIGEON_DENY);
    acl_push(&acl, 0, STR("a/+"), PIGEON_ACL_PUBLISH, PIGEON_ALLOW);
    acl_push(&acl, 1, STR("#"), PIGEON_ACL_PUBLISH, PIGEON_DENY);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_PUBLISH, "a/1"), PIGEON_DENY);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_WILL, "a/2"), PIGEON_ALLOW);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_PUBLISH, "b"), PIGEON_NEXT);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, "a/2"), PIGEON_NEXT);
    acl_drop(&acl, 0);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_PUBLISH, "a/1"), PIGEON_NEXT);
    acl_push(&acl, 0, STR("a/1"), PIGEON_ACL_PUBLISH, PIGEON_ALLOW);
    assert_int_equal(decide(&acl, PIGEON_HOOK_AUTHORIZE_PUBLISH, "a/1"), PIGEON_ALLOW);
    acl_fini(&acl);
}

static void remembered_verdicts_end_with_their_time_and_make_room(void **state)
{
    struct acl_key key = { .hook = PIGEON_HOOK_AUTHORIZE_PUBLISH, .topic = STR("t") };
    bool hit;
    struct acl acl;

    (void)state;
    acl_init(&acl);
    acl_remember(&acl, &key, PIGEON_ALLOW, 100);
    assert_int_equal(acl_recall(&acl, &key, 99, &hit), PIGEON_ALLOW);
    assert_true(hit);
    acl_recall(&acl, &key, 100, &hit);
    assert_false(hit);
    key.retain = 1;
    acl_recall(&acl, &key, 99, &hit);
    assert_false(hit);
    for (int i = 0; i < 60; i++) {
        char c = (char)('A' + i);

        key.topic = str_make(&c, 1);
        acl_remember(&acl, &key, PIGEON_DENY, 1000);
        assert_int_equal(acl_recall(&acl, &key, 0, &hit), PIGEON_DENY);
        assert_true(hit);
    }
    acl_fini(&acl);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_answer_in_the_place_of_their_plugin),
        cmocka_unit_test(a_pushed_allow_never_skips_a_veto),
        cmocka_unit_test(rules_of_a_refused_connect_are_not_kept),
        cmocka_unit_test(a_remembered_verdict_saves_the_call_until_it_is_dropped),
        cmocka_unit_test(a_deny_that_only_intersects_a_filter_arms_the_deliver_check),
        cmocka_unit_test(an_allow_must_cover_the_filter),
        cmocka_unit_test(the_first_rule_that_matches_wins),
        cmocka_unit_test(remembered_verdicts_end_with_their_time_and_make_room),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
