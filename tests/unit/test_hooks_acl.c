/* Pushed rules and remembered verdicts (X3). */
#include "hooks/client_slots.h"
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

static void take_back(struct world *w, const char *plugin)
{
    clients_revoke(hooks_loop(w->hooks, 0), hooks_find(w->hooks, plugin), STR_NULL, STR_NULL);
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
    take_back(&w, "p0");
    assert_true(identity_is_revoked(who));
    assert_int_equal(publish(&w, who, "own/1"), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_DELIVER, who, "own/x", "aa"), PIGEON_DENY);
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
    take_back(&w, "p0");
    assert_false(identity_is_revoked(who)); /* there were no rules */
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "t", "dn"), PIGEON_DENY);
    identity_unref(&who);
    world_fini(&w);
}

static void a_remembered_denial_keeps_its_reason_and_text(void **state)
{
    struct identity *who = client_new(0);
    struct world w;

    (void)state;
    start(&w, NULL);
    for (int i = 0; i < 3; i++) {
        struct question q;

        question_init(&q, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "t", "Kn");
        assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_DONE);
        assert_int_equal(q.ask.verdict, PIGEON_DENY);
        assert_int_equal(q.ask.reason, 0x8a);
        assert_string_equal(q.ask.text, "for a while");
        assert_string_equal(q.ask.plugin, "p0");
        ask_fini(&q.ask);
    }
    assert_int_equal(metric_value(&w, "p0", "asked"), 1);
    identity_unref(&who);
    world_fini(&w);
}

/* What was asked before the plugin took everything back is not remembered, though it decides. */
static void a_verdict_under_way_while_it_is_taken_back_is_not_remembered(void **state)
{
    struct identity *who = client_new(0);
    struct question q;
    struct world w;

    (void)state;
    start(&w, NULL);
    question_init(&q, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "t", "Ln");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_WAIT);
    take_back(&w, "p0");
    wait_until(&w, &q.n_done, 1);
    assert_int_equal(q.ask.verdict, PIGEON_ALLOW);
    ask_fini(&q.ask);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "t", "dn"), PIGEON_DENY);
    /* The same without: it is. */
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "u", "Ln"), PIGEON_ALLOW);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "u", "dn"), PIGEON_ALLOW);
    identity_unref(&who);
    world_fini(&w);
}

static void rules_of_an_authenticate_that_began_before_do_not_let_in(void **state)
{
    struct identity *who = client_new(0);
    struct question q;
    struct world w;

    (void)state;
    start(&w, NULL);
    /* p0 has pushed and said NEXT; p1 is slow. */
    question_init(&q, PIGEON_HOOK_AUTHENTICATE, who, "", "gA");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_WAIT);
    take_back(&w, "p0");
    wait_until(&w, &q.n_done, 1);
    assert_int_equal(q.ask.verdict, PIGEON_DENY);
    assert_int_equal(q.ask.reason, 0x89);
    ask_fini(&q.ask);
    assert_false(acl_checks_deliver(who));
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "gA"), PIGEON_ALLOW);
    assert_int_equal(publish(&w, who, "own/1"), PIGEON_ALLOW);
    identity_unref(&who);
    world_fini(&w);
}

/* `require` stands for "not without it": a plugin that only pushes rules, and none for this client,
 * has not allowed anything. */
static void a_required_plugin_without_rules_for_the_client_denies(void **state)
{
    struct config_chain_entry entries[] = { { .plugin = "r0", .control = CONFIG_REQUIRE },
                                            { .plugin = "p0" } };
    struct identity *who = client_new(0), *other = client_new(0);
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "p0.so", "p0.so");
    world_link(&w, "r0.so", "r0.so");
    w.config->chains.of[CONFIG_AUTHORIZE] =
        (struct config_chain){ .written = true, .entries = entries, .n_entries = 2 };
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "own/1", "a"), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_WILL, who, "own/1", "a"), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_WILL, NULL, "own/1", "a"), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, who, "own/1", "a"), PIGEON_DENY);
    /* Deliveries are filtered by who has something to say about them. */
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_DELIVER, who, "own/1", "a"), PIGEON_ALLOW);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, other, "", "a"), PIGEON_ALLOW);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, other, "own/1", "a"), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "rules"), PIGEON_DENY);
    identity_unref(&who);
    identity_unref(&other);
    world_fini(&w);
}

/* An order finds no client that is between two loops: neither of them has it. */
static void rules_that_change_loops_do_not_miss_an_order(void **state)
{
    struct identity *who = client_new(0), *there = client_new(1), *back = client_new(0);
    const pigeon_str other = { .ptr = "another", .len = 7 }, none = { .ptr = "", .len = 0 };
    struct instance *p0;
    struct world w;

    (void)state;
    world_init(&w, 2);
    world_link(&w, "p0.so", "p0.so");
    assert_int_equal(world_start(&w), 0);
    p0 = plugin_instance(hooks_find(w.hooks, "p0"), 0);
    /* Orders that were carried out before it left are no reason. */
    assert_int_equal(p0->host.invalidate(p0, other, none), PIGEON_OK);
    for (uint32_t i = 0; i < 2; i++)
        loop_turn(loop_group_at(w.loops, i), false);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "G"), PIGEON_ALLOW);
    assert_int_equal(identity_move_rules(there, who), 0);
    assert_int_equal(identity_arrive(there, hooks_loop(w.hooks, 1)), 0);
    assert_true(acl_checks_deliver(there));
    assert_false(identity_is_revoked(there));
    assert_int_equal(identity_move_rules(back, there), 0);
    assert_int_equal(p0->host.invalidate(p0, none, none), PIGEON_OK);
    for (uint32_t i = 0; i < 2; i++)
        loop_turn(loop_group_at(w.loops, i), false);
    assert_false(identity_is_revoked(back));
    assert_int_equal(identity_arrive(back, hooks_loop(w.hooks, 0)), 0);
    assert_true(identity_is_revoked(back));
    identity_unref(&who);
    identity_unref(&there);
    identity_unref(&back);
    world_fini(&w);
}

/* ---- the rules alone ----------------------------------------------------------------- */

static int32_t decide(const struct acl *acl, uint32_t access, const char *topic)
{
    const struct acl_entry *e = acl_entry_of(acl, 0);

    return e ? acl_decide(e, access, str_from(topic)) : PIGEON_NEXT;
}

static void a_deny_that_only_intersects_a_filter_arms_the_deliver_check(void **state)
{
    struct acl acl;

    (void)state;
    acl_init(&acl);
    acl_push(&acl, 0, STR("secret/#"), PIGEON_ACL_SUBSCRIBE, PIGEON_DENY);
    acl_push(&acl, 0, STR("#"), PIGEON_ACL_SUBSCRIBE, PIGEON_ALLOW);
    assert_int_equal(decide(&acl, PIGEON_ACL_DELIVER, "secret/1"), PIGEON_NEXT);
    assert_int_equal(decide(&acl, PIGEON_ACL_SUBSCRIBE, "secret/+"), PIGEON_DENY);
    assert_int_equal(decide(&acl, PIGEON_ACL_SUBSCRIBE, "#"), PIGEON_ALLOW);
    assert_false(acl.checks_deliver);
    acl_arm(&acl, 0, STR("public/#"));
    assert_false(acl.checks_deliver);
    acl_arm(&acl, 0, STR("#"));
    assert_true(acl.checks_deliver);
    assert_int_equal(decide(&acl, PIGEON_ACL_DELIVER, "secret/1"), PIGEON_DENY);
    assert_int_equal(decide(&acl, PIGEON_ACL_DELIVER, "public"), PIGEON_NEXT);
    acl_fini(&acl);
}

/* Filters that were granted are asked about again one by one, and that may take its time. */
static void new_deny_rules_hold_until_live_filters_have_been_asked_about(void **state)
{
    struct acl acl;

    (void)state;
    acl_init(&acl);
    acl_push(&acl, 1, STR("secret/#"), PIGEON_ACL_SUBSCRIBE, PIGEON_DENY); /* at CONNECT */
    acl_hold(&acl, 0);
    assert_false(acl.checks_deliver);
    acl_unhold(&acl);
    assert_int_equal(acl_replace(&acl, 0, 7), 0);
    acl_push(&acl, 0, STR("open/#"), PIGEON_ACL_SUBSCRIBE, PIGEON_ALLOW);
    acl_hold(&acl, 6); /* nothing is forbidden */
    assert_false(acl.checks_deliver);
    acl_unhold(&acl);
    acl_push(&acl, 0, STR("secret/#"), PIGEON_ACL_SUBSCRIBE, PIGEON_DENY);
    acl_hold(&acl, 7); /* live filters have been asked about with them */
    assert_false(acl.checks_deliver);
    acl_hold(&acl, 6);
    assert_true(acl.checks_deliver);
    assert_int_equal(decide(&acl, PIGEON_ACL_DELIVER, "secret/1"), PIGEON_DENY);
    assert_int_equal(decide(&acl, PIGEON_ACL_DELIVER, "open/1"), PIGEON_NEXT);
    acl_unhold(&acl);
    assert_int_equal(decide(&acl, PIGEON_ACL_DELIVER, "secret/1"), PIGEON_DENY);
    acl_unhold(&acl);
    assert_int_equal(decide(&acl, PIGEON_ACL_DELIVER, "secret/1"), PIGEON_NEXT);
    assert_false(acl.checks_deliver);
    acl_fini(&acl);
}

static void rules_that_replace_armed_ones_are_armed(void **state)
{
    struct acl acl;

    (void)state;
    acl_init(&acl);
    acl_push(&acl, 0, STR("secret/#"), PIGEON_ACL_SUBSCRIBE, PIGEON_DENY);
    acl_arm(&acl, 0, STR("#"));
    assert_int_equal(acl_replace(&acl, 0, 1), 0);
    acl_push(&acl, 0, STR("secret/#"), PIGEON_ACL_SUBSCRIBE, PIGEON_DENY);
    assert_true(acl.checks_deliver);
    assert_int_equal(decide(&acl, PIGEON_ACL_DELIVER, "secret/1"), PIGEON_DENY);
    assert_int_equal(decide(&acl, PIGEON_ACL_DELIVER, "public"), PIGEON_NEXT);
    acl_fini(&acl);
}

static void rules_about_topics_of_the_server_must_name_them(void **state)
{
    struct acl acl;

    (void)state;
    acl_init(&acl);
    acl_push(&acl, 0, STR("#"), PIGEON_ACL_ALL, PIGEON_DENY);
    acl_push(&acl, 0, STR("+/x/#"), PIGEON_ACL_ALL, PIGEON_DENY);
    assert_int_equal(decide(&acl, PIGEON_ACL_SUBSCRIBE, "$SYS/#"), PIGEON_NEXT);
    assert_int_equal(decide(&acl, PIGEON_ACL_SUBSCRIBE, "$SYS/x/y"), PIGEON_NEXT);
    assert_int_equal(decide(&acl, PIGEON_ACL_DELIVER, "$SYS/x"), PIGEON_NEXT);
    acl_push(&acl, 0, STR("$SYS/+/x"), PIGEON_ACL_ALL, PIGEON_DENY);
    assert_int_equal(decide(&acl, PIGEON_ACL_SUBSCRIBE, "$SYS/#"), PIGEON_NEXT);
    acl_arm(&acl, 0, STR("$SYS/#"));
    assert_true(acl_entry_of(&acl, 0)->is_armed);
    acl_fini(&acl);
}

static void an_allow_must_cover_the_filter(void **state)
{
    struct acl acl;

    (void)state;
    acl_init(&acl);
    acl_push(&acl, 0, STR("a/+/c"), PIGEON_ACL_ALL, PIGEON_ALLOW);
    assert_int_equal(decide(&acl, PIGEON_ACL_SUBSCRIBE, "a/b/c"), PIGEON_ALLOW);
    assert_int_equal(decide(&acl, PIGEON_ACL_SUBSCRIBE, "a/+/c"), PIGEON_ALLOW);
    assert_int_equal(decide(&acl, PIGEON_ACL_SUBSCRIBE, "a/#"), PIGEON_NEXT);
    assert_int_equal(decide(&acl, PIGEON_ACL_SUBSCRIBE, "a/+/+"), PIGEON_NEXT);
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
    assert_int_equal(decide(&acl, PIGEON_ACL_PUBLISH, "a/1"), PIGEON_DENY);
    assert_int_equal(decide(&acl, PIGEON_ACL_PUBLISH, "a/2"), PIGEON_ALLOW);
    assert_int_equal(decide(&acl, PIGEON_ACL_PUBLISH, "b"), PIGEON_NEXT);
    assert_int_equal(decide(&acl, PIGEON_ACL_SUBSCRIBE, "a/2"), PIGEON_NEXT);
    assert_int_equal(acl_replace(&acl, 0, 1), 0);
    assert_int_equal(decide(&acl, PIGEON_ACL_PUBLISH, "a/1"), PIGEON_NEXT);
    acl_push(&acl, 0, STR("a/1"), PIGEON_ACL_PUBLISH, PIGEON_ALLOW);
    assert_int_equal(decide(&acl, PIGEON_ACL_PUBLISH, "a/1"), PIGEON_ALLOW);
    acl_fini(&acl);
}

/* Rules that only forbid: without them the client could do more, not less. */
static void rules_taken_back_deny_until_there_are_new_ones(void **state)
{
    struct acl acl;

    (void)state;
    acl_init(&acl);
    acl_revoke(&acl, 0); /* nothing was said */
    assert_false(acl.is_revoked);
    acl_push(&acl, 0, STR("a"), PIGEON_ACL_PUBLISH, PIGEON_DENY);
    acl_revoke(&acl, 0);
    assert_true(acl.is_revoked && acl.checks_deliver);
    assert_int_equal(decide(&acl, PIGEON_ACL_PUBLISH, "b"), PIGEON_DENY);
    assert_int_equal(decide(&acl, PIGEON_ACL_DELIVER, "b"), PIGEON_DENY);
    acl_revoke(&acl, 0);
    assert_true(acl.is_revoked);
    assert_int_equal(acl_replace(&acl, 0, 1), 0);
    acl_push(&acl, 0, STR("a"), PIGEON_ACL_PUBLISH, PIGEON_DENY);
    assert_false(acl.is_revoked || acl.checks_deliver);
    assert_int_equal(decide(&acl, PIGEON_ACL_PUBLISH, "b"), PIGEON_NEXT);
    acl_fini(&acl);
}

/* ---- remembered verdicts alone ----------------------------------------------------------- */

static const struct acl_verdict allow = { .verdict = PIGEON_ALLOW, .text = "" };

static pigeon_str z(const char *text)
{
    return (pigeon_str){ .ptr = text, .len = (uint32_t)strlen(text) };
}

static bool recalls(struct acl *acl, const struct acl_key *key, uint64_t now_ms)
{
    struct acl_verdict v;

    return acl_recall(acl, key, now_ms, &v) && v.verdict == PIGEON_ALLOW;
}

static void remembered_verdicts_end_with_their_time_and_make_room(void **state)
{
    pigeon_msg msg = { .topic = z("t") };
    struct acl_key key;
    struct acl acl;
    uint32_t n = 0;

    (void)state;
    acl_init(&acl);
    assert_true(acl_key_of_message(&key, 0, PIGEON_HOOK_AUTHORIZE_PUBLISH, &msg));
    acl_remember(&acl, &key, &allow, 100);
    assert_true(recalls(&acl, &key, 99));
    assert_false(recalls(&acl, &key, 100));
    assert_false(recalls(&acl, &key, 99)); /* gone for good */
    for (int i = 0; i < 60; i++) {
        char c = (char)('A' + i);

        msg.topic = (pigeon_str){ .ptr = &c, .len = 1 };
        assert_true(acl_key_of_message(&key, 0, PIGEON_HOOK_AUTHORIZE_PUBLISH, &msg));
        acl_remember(&acl, &key, &allow, 1000);
        assert_true(recalls(&acl, &key, 0));
    }
    for (int i = 0; i < 60; i++) {
        char c = (char)('A' + i);

        msg.topic = (pigeon_str){ .ptr = &c, .len = 1 };
        acl_key_of_message(&key, 0, PIGEON_HOOK_AUTHORIZE_PUBLISH, &msg);
        n += recalls(&acl, &key, 0);
    }
    assert_int_equal(n, ACL_CACHE_MAX);
    acl_fini(&acl);
}

/* Whatever differs in what the plugin is shown is another question. */
static void every_part_of_a_question_is_part_of_its_key(void **state)
{
    const pigeon_msg msg = { .topic = z("t"), .publisher = z("p"), .publisher_user = z("u") };
    const pigeon_sub sub = { .filter = z("f"), .effective = z("e"), .share = z("s") };
    pigeon_msg msgs[7] = { msg, msg, msg, msg, msg, msg, msg };
    pigeon_sub subs[9] = { sub, sub, sub, sub, sub, sub, sub, sub, sub };
    struct acl_key key;
    struct acl acl;

    (void)state;
    msgs[0].qos = msgs[1].retain = msgs[2].dup = msgs[3].origin = 1;
    msgs[4].topic = msgs[5].publisher = msgs[6].publisher_user = z("other");
    subs[0].qos = subs[1].no_local = subs[2].retain_as_published = subs[3].retain_handling = 1;
    subs[4].restored = 1;
    subs[5].id = 1;
    subs[6].filter = subs[7].effective = subs[8].share = z("other");
    acl_init(&acl);
    assert_true(acl_key_of_message(&key, 1, PIGEON_HOOK_AUTHORIZE_PUBLISH, &msg));
    acl_remember(&acl, &key, &allow, 100);
    assert_true(recalls(&acl, &key, 0));
    for (size_t i = 0; i < sizeof(msgs) / sizeof(msgs[0]); i++) {
        acl_key_of_message(&key, 1, PIGEON_HOOK_AUTHORIZE_PUBLISH, &msgs[i]);
        assert_false(recalls(&acl, &key, 0));
    }
    acl_key_of_message(&key, 2, PIGEON_HOOK_AUTHORIZE_PUBLISH, &msg);
    assert_false(recalls(&acl, &key, 0));
    acl_key_of_message(&key, 1, PIGEON_HOOK_AUTHORIZE_WILL, &msg);
    assert_false(recalls(&acl, &key, 0));
    assert_true(acl_key_of_sub(&key, 1, &sub));
    acl_remember(&acl, &key, &allow, 100);
    assert_true(recalls(&acl, &key, 0));
    for (size_t i = 0; i < sizeof(subs) / sizeof(subs[0]); i++) {
        acl_key_of_sub(&key, 1, &subs[i]);
        assert_false(recalls(&acl, &key, 0));
    }
    acl_fini(&acl);
}

static void a_question_that_is_too_long_is_asked_again(void **state)
{
    char topic[ACL_KEY_MAX + 1];
    pigeon_msg msg = { .topic = { .ptr = topic, .len = ACL_KEY_MAX } };
    struct acl_key key;

    (void)state;
    memset(topic, 'x', sizeof(topic));
    assert_false(acl_key_of_message(&key, 0, PIGEON_HOOK_AUTHORIZE_PUBLISH, &msg));
    msg.topic.len = ACL_KEY_MAX - 64;
    assert_true(acl_key_of_message(&key, 0, PIGEON_HOOK_AUTHORIZE_PUBLISH, &msg));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_answer_in_the_place_of_their_plugin),
        cmocka_unit_test(a_pushed_allow_never_skips_a_veto),
        cmocka_unit_test(rules_of_a_refused_connect_are_not_kept),
        cmocka_unit_test(a_remembered_verdict_saves_the_call_until_it_is_dropped),
        cmocka_unit_test(a_remembered_denial_keeps_its_reason_and_text),
        cmocka_unit_test(a_verdict_under_way_while_it_is_taken_back_is_not_remembered),
        cmocka_unit_test(rules_of_an_authenticate_that_began_before_do_not_let_in),
        cmocka_unit_test(rules_that_change_loops_do_not_miss_an_order),
        cmocka_unit_test(a_required_plugin_without_rules_for_the_client_denies),
        cmocka_unit_test(a_deny_that_only_intersects_a_filter_arms_the_deliver_check),
        cmocka_unit_test(new_deny_rules_hold_until_live_filters_have_been_asked_about),
        cmocka_unit_test(rules_that_replace_armed_ones_are_armed),
        cmocka_unit_test(rules_about_topics_of_the_server_must_name_them),
        cmocka_unit_test(an_allow_must_cover_the_filter),
        cmocka_unit_test(the_first_rule_that_matches_wins),
        cmocka_unit_test(rules_taken_back_deny_until_there_are_new_ones),
        cmocka_unit_test(remembered_verdicts_end_with_their_time_and_make_room),
        cmocka_unit_test(every_part_of_a_question_is_part_of_its_key),
        cmocka_unit_test(a_question_that_is_too_long_is_asked_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
