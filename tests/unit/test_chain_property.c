/* Chains with hooks, pushed rules and remembered verdicts against a plain interpreter (CH2, CH3,
 * CH4, X3). PIGEON_TEST_SEED repeats a run. */
#include "hooks/client_slots.h"
#include "hooks_support.h"
#include "mqtt/topic.h"
#include "mqtt_random.h"

#define N_HOOKED  3 /* p0, p1, p2: puppets, with a hook for everything */
#define N_ENTRIES 6 /* and r0, r1, r2: rules only */
#define RULES_MAX 5
#define QUESTIONS 10 /* about one client: not more than it has verdicts remembered */

static const char *const names[N_ENTRIES] = { "p0", "p1", "p2", "r0", "r1", "r2" };

/* ---- the model: everything in lists, looked through from the front ------------------------- */

enum verdict { NEXT, ALLOW, DENY, SKIP };

struct rule {
    char filter[RANDOM_TEXT];
    uint32_t access;
    enum verdict verdict;
};

struct remembered {
    uint32_t hook;
    char topic[RANDOM_TEXT], orders[8];
    enum verdict verdict;
};

struct entry {
    uint32_t name; /* index of names */
    enum config_control control;
    struct rule rules[RULES_MAX];
    uint32_t n_rules;
    bool is_armed, is_revoked;
    struct remembered cache[QUESTIONS];
    uint32_t n_cached;
};

struct model {
    struct entry entries[N_ENTRIES]; /* in the order of the chain */
    uint32_t n;
    bool default_allow;
};

struct asked {
    uint32_t hook, access;
    char topic[RANDOM_TEXT]; /* or filter */
    char orders[8];          /* what p0, p1, p2 say */
};

static bool is_hooked(const struct entry *e)
{
    return e->name < N_HOOKED;
}

static enum verdict by_publish_rules(const struct entry *e, const struct asked *q)
{
    for (uint32_t i = 0; i < e->n_rules; i++)
        if ((e->rules[i].access & PIGEON_ACL_PUBLISH) &&
            topic_matches(str_from(e->rules[i].filter), str_from(q->topic)))
            return e->rules[i].verdict;
    return NEXT;
}

static enum verdict by_subscribe_rules(const struct entry *e, const struct asked *q)
{
    for (uint32_t i = 0; i < e->n_rules; i++)
        if ((e->rules[i].access & PIGEON_ACL_SUBSCRIBE) &&
            topic_covers(str_from(e->rules[i].filter), str_from(q->topic)))
            return e->rules[i].verdict;
    return NEXT;
}

/* Two questions put together: what do its rules for deliveries say, and, once armed, would its
 * rules for SUBSCRIBE have denied this topic? Whichever rule stands first of those that say
 * something. */
static enum verdict by_deliver_rules(const struct entry *e, const struct asked *q)
{
    uint32_t deliver = RULES_MAX, subscribe = RULES_MAX;

    for (uint32_t i = e->n_rules; i-- > 0;) {
        if (!topic_matches(str_from(e->rules[i].filter), str_from(q->topic)))
            continue;
        if (e->rules[i].access & PIGEON_ACL_DELIVER)
            deliver = i;
        else if (e->is_armed && (e->rules[i].access & PIGEON_ACL_SUBSCRIBE))
            subscribe = i;
    }
    if (subscribe < deliver && e->rules[subscribe].verdict == DENY)
        return DENY;
    return deliver < RULES_MAX ? e->rules[deliver].verdict : NEXT;
}

static bool has_deliver_rules(const struct entry *e)
{
    for (uint32_t i = 0; i < e->n_rules; i++)
        if (e->rules[i].access & PIGEON_ACL_DELIVER)
            return true;
    return false;
}

static const struct remembered *find(const struct entry *e, const struct asked *q)
{
    for (uint32_t i = 0; i < e->n_cached; i++) {
        const struct remembered *r = &e->cache[i];

        if (r->hook != q->hook || strcmp(r->topic, q->topic) != 0)
            continue;
        if (q->access != PIGEON_ACL_SUBSCRIBE || strcmp(r->orders, q->orders) == 0)
            return r;
    }
    return NULL;
}

/* Topics and orders both fit into what they are copied to. */
static void copy(char *to, const char *from)
{
    memcpy(to, from, strlen(from) + 1);
}

static void remember(struct entry *e, const struct asked *q, enum verdict v)
{
    struct remembered *r = &e->cache[e->n_cached++];

    assert_true(e->n_cached <= QUESTIONS);
    *r = (struct remembered){ .hook = q->hook, .verdict = v };
    copy(r->topic, q->topic);
    copy(r->orders, q->orders);
}

static enum verdict by_hook(struct entry *e, const struct asked *q)
{
    switch (q->orders[e->name]) {
    case 'a':
    case 'A':
    case 'E':
    case 'T': return ALLOW;
    case 'C': remember(e, q, ALLOW); return ALLOW;
    case 'K': remember(e, q, DENY); return DENY;
    case 'k': remember(e, q, NEXT); return NEXT;
    case 'd':
    case 'D':
    case 'W':
    case 'x':
    case 'X':
    case 'm':
    case 'F': return DENY;
    default: return NEXT;
    }
}

static enum verdict evaluate(struct entry *e, const struct asked *q)
{
    bool is_deliver = q->access == PIGEON_ACL_DELIVER;
    enum verdict v = e->is_revoked                       ? DENY
                     : is_deliver                        ? by_deliver_rules(e, q)
                     : q->access == PIGEON_ACL_SUBSCRIBE ? by_subscribe_rules(e, q)
                                                         : by_publish_rules(e, q);

    if (v != NEXT)
        return v;
    if (!is_hooked(e))
        return is_deliver && !has_deliver_rules(e) ? SKIP : NEXT;
    return find(e, q) ? find(e, q)->verdict : by_hook(e, q);
}

static void arm(struct entry *e, const struct asked *q)
{
    for (uint32_t i = 0; i < e->n_rules; i++) {
        if (!(e->rules[i].access & PIGEON_ACL_SUBSCRIBE))
            continue;
        if (topic_covers(str_from(e->rules[i].filter), str_from(q->topic)))
            return;
        if (e->rules[i].verdict == DENY &&
            topic_intersects(str_from(e->rules[i].filter), str_from(q->topic)))
            e->is_armed = true;
    }
}

static bool end_of_chain(const struct model *m, const struct asked *q)
{
    if (q->access == PIGEON_ACL_DELIVER)
        return true;
    for (uint32_t i = 0; i < m->n; i++) {
        const struct entry *e = &m->entries[i];

        if (is_hooked(e))
            return false;
        for (uint32_t k = 0; k < e->n_rules; k++)
            if (e->rules[k].verdict == ALLOW && (e->rules[k].access & q->access))
                return false;
    }
    return m->default_allow;
}

/* Nobody writes to topics of the server whom nobody allows it. */
static bool is_reserved(const struct asked *q)
{
    return q->access == PIGEON_ACL_PUBLISH && q->topic[0] == '$';
}

static bool interpret(struct model *m, const struct asked *q)
{
    bool passed = false, is_allowed = false, is_decided = false;
    uint32_t i;

    for (i = 0; i < m->n && !is_decided; i++) {
        struct entry *e = &m->entries[i];
        enum verdict v = evaluate(e, q);

        if (v == SKIP)
            continue;
        if (v == DENY || (v == NEXT && e->control == CONFIG_REQUIRE)) {
            is_decided = true;
        } else if (v == ALLOW && e->control == CONFIG_DECIDE) {
            is_decided = is_allowed = true;
        } else if (v == ALLOW && e->control == CONFIG_REQUIRE) {
            passed = true;
        }
    }
    if (!is_decided)
        is_allowed = !is_reserved(q) && (passed || end_of_chain(m, q));
    for (uint32_t k = 0; k < i && is_allowed && q->access == PIGEON_ACL_SUBSCRIBE; k++)
        arm(&m->entries[k], q);
    return is_allowed;
}

/* ---- the same in the broker ---------------------------------------------------------------- */

static void start(struct world *w, struct model *m)
{
    struct config_chain_entry written[N_ENTRIES];

    world_init(w, 1);
    for (uint32_t i = 0; i < m->n; i++) {
        char file[16];

        snprintf(file, sizeof(file), "%s.so", names[m->entries[i].name]);
        world_link(w, file, file);
        written[i] = (struct config_chain_entry){ .plugin = names[m->entries[i].name],
                                                  .control = m->entries[i].control };
    }
    w->config->chains.of[CONFIG_AUTHORIZE] =
        (struct config_chain){ .written = true, .entries = written, .n_entries = m->n };
    w->config->default_access = m->default_allow ? CONFIG_ALLOW : CONFIG_DENY;
    assert_int_equal(world_start(w), 0);
}

static uint32_t index_of(const struct world *w, const struct entry *e)
{
    return hooks_find(w->hooks, names[e->name])->index;
}

static void push_rules(struct world *w, struct identity *who, const struct entry *e)
{
    struct client_slots *cs = client_slots_of(who, w->hooks);

    assert_non_null(cs);
    for (uint32_t i = 0; i < e->n_rules; i++)
        assert_int_equal(acl_push(&cs->acl, index_of(w, e), str_from(e->rules[i].filter),
                                  e->rules[i].access,
                                  e->rules[i].verdict == ALLOW ? PIGEON_ALLOW : PIGEON_DENY),
                         0);
}

static int32_t ask_with(struct world *w, struct identity *who, const struct asked *q,
                        struct ask_observer *observer, uint8_t *r_reason)
{
    struct question question;
    int32_t verdict;

    question_init(&question, q->hook, who, q->topic, q->orders);
    question.ask.observer = observer;
    if (ask_run(hooks_loop(w->hooks, 0), &question.ask) == ASK_WAIT)
        wait_until(w, &question.n_done, 1);
    verdict = question.ask.verdict;
    *r_reason = question.ask.reason;
    ask_fini(&question.ask);
    return verdict;
}

/* Nobody waits for the answer any more. */
static void ask_and_leave(struct world *w, const struct asked *q)
{
    struct hook_loop *hl = hooks_loop(w->hooks, 0);
    struct identity *who = client_new(0);
    struct question question;

    question_init(&question, q->hook, who, q->topic, q->orders);
    if (ask_run(hl, &question.ask) == ASK_WAIT)
        ask_abandon(hl, &question.ask);
    else
        ask_fini(&question.ask);
    assert_int_equal(question.n_done, 0);
    identity_unref(&who);
}

static void seen(struct ask_observer *observer, const struct ask *ask, const struct ask_seen *s)
{
    (void)observer;
    (void)ask;
    (void)s;
}

/* ---- random -------------------------------------------------------------------------------- */

/* One to three levels of few words, so that rules and questions often meet. */
static void random_text(uint64_t *seed, bool is_filter, char out[RANDOM_TEXT])
{
    static const char *const words[] = { "a", "b", "$x", "+", "#" };
    uint32_t n = 1 + random_below(seed, 3), len = 0;

    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = random_below(seed, is_filter ? 9 : 4);
        const char *word = words[k < 3 ? 0 : k < 5 ? 1 : k < 7 ? 3 : 4];

        if (k == 3 && i == 0 && random_below(seed, 2))
            word = words[2];
        len += (uint32_t)snprintf(out + len, RANDOM_TEXT - len, "%s%s", i ? "/" : "", word);
        if (word[0] == '#')
            break;
    }
}

static void random_chain(uint64_t *seed, struct model *m)
{
    uint32_t order[N_ENTRIES] = { 0, 1, 2, 3, 4, 5 }, n = N_ENTRIES;

    *m = (struct model){ .n = 1 + random_below(seed, N_ENTRIES),
                         .default_allow = random_below(seed, 2) };
    if (random_below(seed, 3) == 0) { /* nobody needs to be called */
        n = N_ENTRIES - N_HOOKED;
        for (uint32_t i = 0; i < n; i++)
            order[i] = N_HOOKED + i;
        m->n = 1 + random_below(seed, n);
    }
    for (uint32_t i = n; i-- > 1;) {
        uint32_t k = random_below(seed, i + 1), swap = order[i];

        order[i] = order[k];
        order[k] = swap;
    }
    for (uint32_t i = 0; i < m->n; i++)
        m->entries[i] = (struct entry){ .name = order[i],
                                        .control = (enum config_control)random_below(seed, 3) };
}

static void random_rules(uint64_t *seed, struct entry *e)
{
    e->n_rules = random_below(seed, 3) ? random_below(seed, RULES_MAX + 1) : 0;
    e->is_armed = e->is_revoked = false;
    e->n_cached = 0;
    for (uint32_t i = 0; i < e->n_rules; i++) {
        struct rule *r = &e->rules[i];

        r->access =
            random_below(seed, 2) ? PIGEON_ACL_SUBSCRIBE : 1 + random_below(seed, PIGEON_ACL_ALL);
        r->verdict = random_below(seed, 2) ? ALLOW : DENY;
        if (random_below(seed, 4) == 0)
            copy(r->filter, "#");
        else
            random_text(seed, random_below(seed, 3), r->filter);
    }
}

static void random_question(uint64_t *seed, struct asked *q)
{
    static const uint32_t hooks[] = { PIGEON_HOOK_AUTHORIZE_PUBLISH, PIGEON_HOOK_AUTHORIZE_WILL,
                                      PIGEON_HOOK_AUTHORIZE_SUBSCRIBE,
                                      PIGEON_HOOK_AUTHORIZE_DELIVER };
    static const char at_once[] = "nnnnaadxmFCKk", all[] = "nnnnaadxmFCKkNADXETW";

    q->hook = hooks[random_below(seed, 4)];
    q->access = acl_access(q->hook);
    random_text(seed, q->access == PIGEON_ACL_SUBSCRIBE, q->topic);
    for (uint32_t i = 0; i < N_HOOKED; i++)
        q->orders[i] = q->access == PIGEON_ACL_DELIVER
                           ? at_once[random_below(seed, sizeof(at_once) - 1)]
                           : all[random_below(seed, sizeof(all) - 1)];
    q->orders[N_HOOKED] = '\0';
}

static void explain_failure(const struct model *m, const struct asked *q)
{
    for (uint32_t i = 0; i < m->n; i++) {
        const struct entry *e = &m->entries[i];

        print_error("%s control %d armed %d revoked %d cached %u\n", names[e->name], e->control,
                    e->is_armed, e->is_revoked, e->n_cached);
        for (uint32_t k = 0; k < e->n_rules; k++)
            print_error("    %s %s access %u\n", e->rules[k].verdict == ALLOW ? "allow" : "deny",
                        e->rules[k].filter, e->rules[k].access);
    }
    print_error("hook %u, %s, orders %s, default %d\n", q->hook, q->topic, q->orders,
                m->default_allow);
}

static void check_question(struct world *w, struct model *m, struct identity *who,
                           const struct asked *q)
{
    struct ask_observer walk = { .is_dry = true, .seen = seen };
    uint8_t reason;
    /* An observer makes every entry be evaluated, and a dry question changes nothing. */
    int32_t walked = ask_with(w, who, q, &walk, &reason);
    int32_t got = ask_with(w, who, q, NULL, &reason);
    bool want = interpret(m, q);

    if (got != (want ? PIGEON_ALLOW : PIGEON_DENY) || walked != got) {
        print_error("wanted %d, got %d, walked %d\n", want, got, walked);
        explain_failure(m, q);
    }
    assert_int_equal(got, want ? PIGEON_ALLOW : PIGEON_DENY);
    assert_int_equal(walked, got);
    assert_int_equal(reason >= 0x80, got == PIGEON_DENY);
}

static void take_back(struct world *w, struct model *m, uint32_t at)
{
    struct entry *e = &m->entries[at];

    clients_revoke(hooks_loop(w->hooks, 0), hooks_find(w->hooks, names[e->name]), STR_NULL,
                   STR_NULL);
    e->is_revoked = e->is_revoked || e->n_rules > 0;
    e->n_rules = e->n_cached = 0;
    e->is_armed = false;
}

static void check_client(struct world *w, struct model *m, uint64_t *seed)
{
    struct identity *who = client_new(0);
    struct asked q[QUESTIONS], *again = &q[0];

    for (uint32_t i = 0; i < m->n; i++) {
        random_rules(seed, &m->entries[i]);
        push_rules(w, who, &m->entries[i]);
    }
    for (uint32_t i = 0; i < QUESTIONS; i++) {
        random_question(seed, &q[i]);
        if (i >= QUESTIONS / 2) { /* what the filters granted by now let through */
            q[i].hook = PIGEON_HOOK_AUTHORIZE_DELIVER;
            q[i].access = PIGEON_ACL_DELIVER;
            random_text(seed, false, q[i].topic);
            memset(q[i].orders, "nnad"[random_below(seed, 4)], N_HOOKED);
        } else if (i > 0 && random_below(seed, 3) == 0) { /* known topic, other orders */
            copy(q[i].topic, again->topic);
            q[i].hook = again->hook;
            q[i].access = again->access;
            if (again->access == PIGEON_ACL_PUBLISH && random_below(seed, 2))
                q[i].hook =
                    PIGEON_HOOK_AUTHORIZE_PUBLISH + PIGEON_HOOK_AUTHORIZE_WILL - again->hook;
            if (again->access == PIGEON_ACL_DELIVER)
                copy(q[i].orders, again->orders);
            if (again->access == PIGEON_ACL_SUBSCRIBE && random_below(seed, 2))
                copy(q[i].orders, again->orders);
            again = &q[i];
        }
        check_question(w, m, who, &q[i]);
        if (random_below(seed, 12) == 0)
            take_back(w, m, random_below(seed, m->n));
        if (random_below(seed, 12) == 0)
            ask_and_leave(w, &q[i]);
    }
    identity_unref(&who);
}

static void rules_caches_and_hooks_decide_as_the_plain_interpreter(void **state)
{
    uint64_t seed = random_seed();

    (void)state;
    for (int round = 0; round < 150; round++) {
        struct model *m = calloc(1, sizeof(*m));
        struct world w;

        assert_non_null(m);
        random_chain(&seed, m);
        start(&w, m);
        for (int k = 0; k < 40; k++)
            check_client(&w, m, &seed);
        world_fini(&w);
        free(m);
    }
}

/* CH4: the others, in the same order, decide what they decide without it. */
static void an_entry_that_abstains_never_changes_the_outcome(void **state)
{
    uint64_t seed = random_seed();

    (void)state;
    for (int round = 0; round < 25; round++) {
        struct model *m = calloc(2, sizeof(*m)), *without = m + 1;
        uint32_t at;
        struct world w;

        assert_non_null(m);
        do
            random_chain(&seed, m);
        while (m->n < 3);
        at = random_below(&seed, m->n);
        if (m->entries[at].control == CONFIG_REQUIRE)
            m->entries[at].control = CONFIG_VETO;
        start(&w, m);
        for (int k = 0; k < 40; k++) {
            struct identity *who = client_new(0);
            struct asked q;
            uint8_t reason;
            bool want;

            for (uint32_t i = 0; i < m->n; i++) {
                random_rules(&seed, &m->entries[i]);
                if (i == at)
                    m->entries[i].n_rules = 0;
                push_rules(&w, who, &m->entries[i]);
            }
            random_question(&seed, &q);
            if (is_hooked(&m->entries[at]))
                q.orders[m->entries[at].name] = random_below(&seed, 2) ? 'n' : 'k';
            *without = *m;
            memmove(&without->entries[at], &without->entries[at + 1],
                    (m->n - at - 1) * sizeof(m->entries[0]));
            without->n--;
            /* It says by its hook that not everybody may do everything: that is its only effect. */
            without->default_allow = m->default_allow && !is_hooked(&m->entries[at]);
            want = interpret(without, &q);
            assert_int_equal(ask_with(&w, who, &q, NULL, &reason),
                             want ? PIGEON_ALLOW : PIGEON_DENY);
            identity_unref(&who);
        }
        world_fini(&w);
        free(m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rules_caches_and_hooks_decide_as_the_plain_interpreter),
        cmocka_unit_test(an_entry_that_abstains_never_changes_the_outcome),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
