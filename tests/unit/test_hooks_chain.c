#include "hooks_support.h"

#define N_PUPPETS 5

static const char *const names[N_PUPPETS] = { "p0", "p1", "p2", "p3", "p4" };

/* ---- CH2 and CH3, as an obvious interpreter
 * ------------------------------------------------------ */

enum outcome { NEXT, ALLOW, DENY };

static enum outcome verdict_of(char order)
{
    switch (order) {
    case 'a':
    case 'A':
    case 'T':
    case 'E': return ALLOW;
    case 'd':
    case 'D':
    case 'W':
    case 'V':
    case 'x':
    case 'X':
    case 'm':
    case 'F': return DENY;
    default: return NEXT;
    }
}

static bool interpret(const struct config_chain_entry *entries, uint32_t n, const char *orders,
                      bool at_the_end)
{
    bool passed = false;

    for (uint32_t i = 0; i < n; i++) {
        enum outcome v = verdict_of(orders[entries[i].plugin[1] - '0']);

        if (v == DENY)
            return false;
        if (entries[i].control == CONFIG_REQUIRE) {
            if (v != ALLOW)
                return false;
            passed = true;
        } else if (entries[i].control == CONFIG_DECIDE && v == ALLOW) {
            return true;
        }
    }
    return passed || at_the_end;
}

static void start_with_puppets(struct world *w, uint32_t n_loops, const struct config_chain *chain)
{
    world_init(w, n_loops);
    for (uint32_t i = 0; i < N_PUPPETS; i++) {
        char file[16];

        snprintf(file, sizeof(file), "%s.so", names[i]);
        world_link(w, file, file);
    }
    for (int f = 0; chain && f < CONFIG_EVENTS; f++)
        w->config->chains.of[f] = *chain;
    assert_int_equal(world_start(w), 0);
}

/* Every puppet once, in random order, under random control words. */
static void random_chain(uint64_t *seed, struct config_chain_entry *entries)
{
    for (uint32_t i = 0; i < N_PUPPETS; i++)
        entries[i] =
            (struct config_chain_entry){ .plugin = names[i],
                                         .control = (enum config_control)(unit_random(seed) % 3) };
    for (uint32_t i = N_PUPPETS; i-- > 1;) {
        uint32_t k = (uint32_t)(unit_random(seed) % (i + 1));
        struct config_chain_entry swap = entries[i];

        entries[i] = entries[k];
        entries[k] = swap;
    }
}

static void random_orders(uint64_t *seed, char *orders)
{
    static const char all[] = "nnnnnaaddxmNADXETWF";

    for (uint32_t i = 0; i < N_PUPPETS; i++)
        orders[i] = all[unit_random(seed) % (sizeof(all) - 1)];
    orders[N_PUPPETS] = '\0';
}

static void check_orders(struct world *w, const struct config_chain_entry *entries,
                         const char *orders)
{
    static const struct {
        uint32_t hook;
        bool at_the_end;
    } hooks[] = {
        { PIGEON_HOOK_PRE_CONNECT, true },
        { PIGEON_HOOK_AUTHENTICATE, false },
        { PIGEON_HOOK_AUTHORIZE_PUBLISH, false },
        { PIGEON_HOOK_AUTHORIZE_WILL, false },
        { PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, false },
        { PIGEON_HOOK_INBOUND, true },
        { PIGEON_HOOK_PUBLISHED, true },
        { PIGEON_HOOK_EXCHANGE, false },
    };
    struct identity *who = client_new(0);

    for (size_t i = 0; i < sizeof(hooks) / sizeof(hooks[0]); i++) {
        bool want = interpret(entries, N_PUPPETS, orders, hooks[i].at_the_end);
        int32_t got = ask_now(w, hooks[i].hook, who, "a/b", orders);

        if (got != (want ? PIGEON_ALLOW : PIGEON_DENY))
            print_error("hook %u, orders %s, chain %s%d %s%d %s%d %s%d %s%d\n", hooks[i].hook,
                        orders, entries[0].plugin, entries[0].control, entries[1].plugin,
                        entries[1].control, entries[2].plugin, entries[2].control,
                        entries[3].plugin, entries[3].control, entries[4].plugin,
                        entries[4].control);
        assert_int_equal(got, want ? PIGEON_ALLOW : PIGEON_DENY);
    }
    identity_unref(&who);
}

static void any_chain_decides_as_the_plain_interpreter(void **state)
{
    uint64_t seed = 0x9e3779b97f4a7c15u;

    (void)state;
    for (int round = 0; round < 40; round++) {
        struct config_chain_entry entries[N_PUPPETS];
        struct config_chain chain = { .written = true, .entries = entries, .n_entries = N_PUPPETS };
        struct world w;

        random_chain(&seed, entries);
        start_with_puppets(&w, 1, &chain);
        for (int k = 0; k < 25; k++) {
            char orders[N_PUPPETS + 1];

            random_orders(&seed, orders);
            check_orders(&w, entries, orders);
        }
        world_fini(&w);
    }
}

/* A chain of three that decide, and two that abstain put in anywhere. */
static void plugins_that_abstain_never_change_the_outcome(void **state)
{
    uint64_t seed = 0x2545f4914f6cdd1du;

    (void)state;
    for (int round = 0; round < 30; round++) {
        struct config_chain_entry entries[N_PUPPETS], few[3];
        struct config_chain chain = { .written = true, .entries = entries, .n_entries = N_PUPPETS };
        struct world w;
        uint32_t n = 0;

        random_chain(&seed, entries);
        for (uint32_t i = 0; i < N_PUPPETS; i++)
            if (entries[i].plugin[1] < '3')
                few[n++] = entries[i];
            else
                entries[i].control = unit_random(&seed) % 2 ? CONFIG_DECIDE : CONFIG_VETO;
        start_with_puppets(&w, 1, &chain);
        for (int k = 0; k < 20; k++) {
            struct identity *who = client_new(0);
            char orders[N_PUPPETS + 1];
            bool want;

            random_orders(&seed, orders);
            orders[3] = unit_random(&seed) % 2 ? 'n' : 'N';
            orders[4] = unit_random(&seed) % 2 ? 'n' : 'N';
            want = interpret(few, 3, orders, false);
            assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", orders),
                             want ? PIGEON_ALLOW : PIGEON_DENY);
            identity_unref(&who);
        }
        world_fini(&w);
    }
}

static void numbers_that_are_no_verdict_deny_and_are_counted(void **state)
{
    struct identity *who = client_new(0);
    struct world w;

    (void)state;
    start_with_puppets(&w, 1, NULL);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "xaaaa"), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "maaaa"), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "Xaaaa"), PIGEON_DENY);
    assert_int_equal(metric_value(&w, "p0", "hook_bad_verdicts"), 3);
    assert_true(world_logged(&w, "plugin_bad_verdict"));
    identity_unref(&who);
    world_fini(&w);
}

static void a_setter_that_failed_fails_the_request(void **state)
{
    struct identity *who = client_new(0);
    struct world w;

    (void)state;
    start_with_puppets(&w, 1, NULL);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_INBOUND, who, "a", "Faaaa"), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "a", "Faaaa"), PIGEON_DENY);
    assert_int_equal(metric_value(&w, "p0", "hook_refused"), 2);
    identity_unref(&who);
    world_fini(&w);
}

static void a_denial_carries_reason_text_and_plugin(void **state)
{
    struct identity *who = client_new(0);
    struct question q;
    struct world w;

    (void)state;
    start_with_puppets(&w, 1, NULL);
    question_init(&q, PIGEON_HOOK_AUTHENTICATE, who, "", "nVaaa");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_DONE);
    assert_int_equal(q.ask.verdict, PIGEON_DENY);
    assert_int_equal(q.ask.reason, 0x8a);
    assert_string_equal(q.ask.text, "because I say so");
    assert_string_equal(q.ask.plugin, "p1");
    assert_true(q.ask.decided);
    ask_fini(&q.ask);
    question_init(&q, PIGEON_HOOK_AUTHENTICATE, who, "", "nnnnn");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_DONE);
    assert_int_equal(q.ask.verdict, PIGEON_DENY);
    assert_int_equal(q.ask.reason, 0x87);
    assert_null(q.ask.plugin);
    assert_false(q.ask.decided);
    ask_fini(&q.ask);
    identity_unref(&who);
    world_fini(&w);
}

static void without_plugins_the_defaults_of_the_hook_decide(void **state)
{
    struct identity *who = client_new(0);
    struct question q;
    struct world w;

    (void)state;
    world_init(&w, 1);
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_PRE_CONNECT, who, "", ""), PIGEON_ALLOW);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", ""), PIGEON_ALLOW);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_EXCHANGE, who, "", ""), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "a", ""), PIGEON_ALLOW);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_DELIVER, who, "a", ""), PIGEON_ALLOW);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_INBOUND, who, "a", ""), PIGEON_ALLOW);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "$a", ""), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_WILL, who, "$a", ""), PIGEON_DENY);
    w.config->default_access = CONFIG_DENY;
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "a", ""), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, who, "a", "a"), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, who, "$SYS/#", "$SYS/#"),
                     PIGEON_ALLOW);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_DELIVER, who, "a", ""), PIGEON_ALLOW);
    question_init(&q, PIGEON_HOOK_AUTHENTICATE, who, "", "");
    q.ask.denied_by_default = true;
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_DONE);
    assert_int_equal(q.ask.verdict, PIGEON_DENY);
    ask_fini(&q.ask);
    assert_false(hooks_wants(hooks_loop(w.hooks, 0), PIGEON_HOOK_AUTHENTICATE));
    identity_unref(&who);
    world_fini(&w);
}

static void rewritten_values_reach_the_next_plugin_and_the_caller(void **state)
{
    struct identity *who = client_new(0);
    struct sub_info *sub;
    struct question q;
    struct world w;

    (void)state;
    start_with_puppets(&w, 1, NULL);
    question_init(&q, PIGEON_HOOK_INBOUND, who, "a/b", "RnBna");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_WAIT);
    wait_until(&w, &q.n_done, 1);
    assert_int_equal(q.ask.verdict, PIGEON_ALLOW);
    assert_true(str_eq(message_topic(q.ask.message), STR("rewritten")));
    assert_int_equal(q.ask.message->view.qos, 2);
    assert_int_equal(q.ask.message->view.retain, 1);
    assert_true(str_eq(message_payload(q.ask.message), STR("RnBna")));
    ask_fini(&q.ask);
    /* p1's payload is what p2 is asked with: its order there is 'n' (no text at its place). */
    question_init(&q, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "a/b", "nRdda");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_DONE);
    assert_true(str_eq(message_payload(q.ask.message), STR("p1")));
    assert_false(q.ask.decided);
    ask_fini(&q.ask);
    question_init(&q, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, who, "Rnnna", "Rnnna");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_DONE);
    assert_int_equal(q.ask.verdict, PIGEON_ALLOW);
    sub = (struct sub_info *)q.ask.subject;
    assert_string_equal(sub->view.effective.ptr, "rewritten/+");
    assert_string_equal(sub->view.filter.ptr, "Rnnna");
    assert_int_equal(sub->view.qos, 0);
    ask_fini(&q.ask);
    identity_unref(&who);
    world_fini(&w);
}

static void a_rewritten_client_id_reaches_the_caller_and_the_connect(void **state)
{
    struct identity *who = client_new(0);
    struct connect_info *connect;
    struct question q;
    struct world w;

    (void)state;
    start_with_puppets(&w, 1, NULL);
    question_init(&q, PIGEON_HOOK_PRE_CONNECT, who, "", "nRnnn");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_DONE);
    assert_true(str_eq(ask_value_last(&q.ask, VALUE_CLIENTID)->a, STR("p1")));
    assert_true(str_eq(ask_value_last(&q.ask, VALUE_USERNAME)->a, STR("user")));
    assert_int_equal(ask_value_last(&q.ask, VALUE_KEEPALIVE)->num, 7);
    connect = (struct connect_info *)q.ask.subject;
    assert_true(str_eq(connect->id, STR("p1")));
    assert_int_equal(connect->view.keepalive_s, 7);
    assert_int_equal(connect->view.password.len, 5);
    ask_fini(&q.ask);
    identity_unref(&who);
    world_fini(&w);
}

static void only_restricts_flow_hooks_to_its_topics(void **state)
{
    const char *filters[] = { "only/#" };
    struct config_plugin block;
    struct identity *who = client_new(0);
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "p0.so", "p0.so");
    block = w.config->plugin_preset;
    block.name = "p0";
    block.only = (struct config_list){ filters, 1 };
    w.config->plugins = &block;
    w.config->n_plugins = 1;
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_INBOUND, who, "only/this", "d"), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_INBOUND, who, "other", "d"), PIGEON_ALLOW);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "other", "d"), PIGEON_DENY);
    identity_unref(&who);
    world_fini(&w);
}

static void a_listener_may_have_a_chain_of_its_own(void **state)
{
    struct config_chain_entry entry = { .plugin = "p1" };
    struct identity *who = client_new(0);
    struct question q;
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "p0.so", "p0.so");
    world_link(&w, "p1.so", "p1.so");
    w.config->listeners[0].chains.of[CONFIG_AUTHENTICATE] =
        (struct config_chain){ .written = true, .entries = &entry, .n_entries = 1 };
    assert_int_equal(world_start(&w), 0);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "da"), PIGEON_DENY);
    question_init(&q, PIGEON_HOOK_AUTHENTICATE, who, "", "da");
    q.ask.listener = 1;
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_DONE);
    assert_int_equal(q.ask.verdict, PIGEON_ALLOW);
    ask_fini(&q.ask);
    identity_unref(&who);
    world_fini(&w);
}

static void an_exchange_goes_on_with_who_began_it_and_is_freed_once(void **state)
{
    struct identity *who = client_new(0);
    void *handle = NULL;
    struct question q;
    struct world w;

    (void)state;
    start_with_puppets(&w, 1, NULL);
    question_init(&q, PIGEON_HOOK_EXCHANGE, who, "", "nncda");
    q.ask.exchange_slot = &handle;
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_DONE);
    assert_int_equal(q.ask.verdict, PIGEON_CONTINUE);
    assert_true(str_eq(ask_value_last(&q.ask, VALUE_AUTH_DATA)->a, STR("more")));
    assert_non_null(handle);
    ask_fini(&q.ask);
    /* p0 and p1 would deny, but the exchange is p2's. */
    question_init(&q, PIGEON_HOOK_EXCHANGE, who, "", "ddaaa");
    ((struct exchange_info *)q.ask.subject)->view.stage = PIGEON_STAGE_CONTINUE;
    q.ask.exchange_slot = &handle;
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_DONE);
    assert_int_equal(q.ask.verdict, PIGEON_ALLOW);
    assert_null(handle);
    assert_int_equal(metric_value(&w, "p2", "exchange_freed"), 1);
    ask_fini(&q.ask);
    /* The connection goes in the middle of one. */
    question_init(&q, PIGEON_HOOK_EXCHANGE, who, "", "nnncn");
    q.ask.exchange_slot = &handle;
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_DONE);
    ask_fini(&q.ask);
    ask_exchange_end(&handle);
    assert_int_equal(metric_value(&w, "p3", "exchange_freed"), 1);
    identity_unref(&who);
    world_fini(&w);
}

static void out_of_memory_within_a_question_denies_and_leaks_nothing(void **state)
{
    struct identity *who = client_new(0);
    struct world w;

    (void)state;
    start_with_puppets(&w, 1, NULL);
    for (uint32_t n = 0;; n++) {
        struct question q;
        bool failed;

        question_init(&q, PIGEON_HOOK_INBOUND, who, "a/b", "RnRna");
        failalloc_after(n);
        assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_DONE);
        failed = failalloc_disarm();
        assert_int_equal(q.ask.verdict, failed ? PIGEON_DENY : PIGEON_ALLOW);
        ask_fini(&q.ask);
        if (!failed)
            break;
    }
    identity_unref(&who);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_chain_decides_as_the_plain_interpreter),
        cmocka_unit_test(plugins_that_abstain_never_change_the_outcome),
        cmocka_unit_test(numbers_that_are_no_verdict_deny_and_are_counted),
        cmocka_unit_test(a_setter_that_failed_fails_the_request),
        cmocka_unit_test(a_denial_carries_reason_text_and_plugin),
        cmocka_unit_test(without_plugins_the_defaults_of_the_hook_decide),
        cmocka_unit_test(rewritten_values_reach_the_next_plugin_and_the_caller),
        cmocka_unit_test(a_rewritten_client_id_reaches_the_caller_and_the_connect),
        cmocka_unit_test(only_restricts_flow_hooks_to_its_topics),
        cmocka_unit_test(a_listener_may_have_a_chain_of_its_own),
        cmocka_unit_test(an_exchange_goes_on_with_who_began_it_and_is_freed_once),
        cmocka_unit_test(out_of_memory_within_a_question_denies_and_leaks_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
