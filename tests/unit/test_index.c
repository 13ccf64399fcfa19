#include "index_model.h"
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#define N_SESSIONS 24

struct fixture {
    struct epoch epoch;
    struct hash_key key;
    struct index *ix;
    struct match match;
    struct model model;
    uint64_t seed;
    int64_t n_live;
};

static struct fixture *fixture_new(void)
{
    int64_t n_live = failalloc_n_live();
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->n_live = n_live;
    f->key = (struct hash_key){ 1, 2 };
    epoch_init(&f->epoch, MODEL_LOOPS);
    assert_int_equal(index_new(&f->epoch, MODEL_LOOPS, &f->key, &f->ix), 0);
    assert_int_equal(match_init(&f->match, f->ix), 0);
    return f;
}

/* Also checks that nothing is left over. */
static void fixture_free(struct fixture *f)
{
    int64_t n_live = f->n_live;
    match_fini(&f->match);
    index_free(&f->ix);
    epoch_fini(&f->epoch);
    free(f);
    assert_int_equal(failalloc_n_live(), n_live);
}

static int put(struct fixture *f, const char *filter, const char *share, uint64_t session,
               uint64_t opts)
{
    return index_put(f->ix, 0, str_from(filter), str_from(share), model_who(session), opts, 0);
}

static int take(struct fixture *f, const char *filter, const char *share, uint64_t session)
{
    return index_remove(f->ix, 0, str_from(filter), str_from(share), session);
}

static uint32_t match_n(struct fixture *f, const char *topic)
{
    assert_int_equal(index_match(f->ix, 0, str_from(topic), 0, 0, &f->match), 0);
    assert_int_equal(index_any(f->ix, str_from(topic)), f->match.n > 0);
    return f->match.n;
}

static uint64_t random_opts(uint64_t *seed)
{
    uint64_t opts = random_below(seed, 3);
    for (uint64_t bit = SUB_NO_LOCAL; bit <= SUB_CHECK_DELIVER; bit <<= 1)
        if (random_below(seed, 3) == 0)
            opts |= bit;
    if (random_below(seed, 2))
        opts |= (uint64_t)(1 + random_below(seed, 9)) << SUB_ID_SHIFT;
    return opts;
}

static const char *random_share(uint64_t *seed)
{
    static const char *const names[] = { "", "", "", "g", "h" };
    return names[random_below(seed, 5)];
}

/* One random change of both; true: it was refused for lack of memory. */
static bool random_step(struct fixture *f, bool grow)
{
    char text[RANDOM_TEXT];
    struct model *m = &f->model;
    struct str filter = random_filter(&f->seed, text);
    const char *share = random_share(&f->seed);
    uint64_t session = 1 + random_below(&f->seed, N_SESSIONS);
    uint32_t what = random_below(&f->seed, 10);
    if (m->n && what < 6 && !(grow && what > 1)) { /* something that is there */
        const struct model_sub *sub = &m->subs[random_below(&f->seed, m->n)];
        memcpy(text, sub->filter, sub->filter_len);
        filter.len = sub->filter_len;
        share = sub->share[0] == 'g' ? "g" : sub->share[0] == 'h' ? "h" : "";
        session = sub->session;
    }
    uint64_t opts = random_opts(&f->seed), version = random_below(&f->seed, 9);
    uint32_t loop = random_below(&f->seed, MODEL_LOOPS);
    if (what == 0 || what > 6 || (grow && m->n < MODEL_MAX)) {
        if (m->n == MODEL_MAX)
            return false;
        int r = index_put(f->ix, loop, filter, str_from(share), model_who(session), opts, version);
        if (r == -ENOMEM)
            return true;
        assert_int_equal(r, model_put(m, filter, share, session, opts, version) ? INDEX_REPLACED
                                                                                : INDEX_NEW);
    } else if (what == 1) {
        struct model_sub *sub = model_find(m, filter, share, session);
        uint64_t set = opts & SUB_ONLINE, clear = ~opts & (SUB_ONLINE | SUB_DURABLE);
        assert_int_equal(index_set(f->ix, filter, str_from(share), session, set, clear),
                         sub ? 0 : -ENOENT);
        if (sub)
            sub->opts = (sub->opts & ~clear) | set;
    } else {
        int r = index_remove(f->ix, loop, filter, str_from(share), session);
        assert_int_equal(r, model_remove(m, filter, share, session) ? 0 : -ENOENT);
    }
    return false;
}

static void check_some(struct fixture *f, uint32_t n)
{
    uint64_t n_shared = 0;
    for (uint32_t i = 0; i < f->model.n; i++)
        n_shared += f->model.subs[i].share[0] != 0;
    assert_int_equal(index_count(f->ix), f->model.n);
    assert_int_equal(index_count_shared(f->ix), n_shared);
    for (; n > 0; n--) {
        char text[RANDOM_TEXT];
        struct str topic = random_topic(&f->seed, text);
        uint64_t from = random_below(&f->seed, 3) ? 1 + random_below(&f->seed, N_SESSIONS) : 0;
        uint64_t version = random_below(&f->seed, 2) ? random_below(&f->seed, 10) : 0;
        epoch_enter(&f->epoch, 0);
        model_check(&f->model, f->ix, &f->match, topic, N_SESSIONS, from, version);
        epoch_leave(&f->epoch, 0);
    }
    for (uint32_t loop = 0; loop < MODEL_LOOPS; loop++)
        epoch_reclaim(&f->epoch, loop);
}

static void remove_all(struct fixture *f)
{
    while (f->model.n) {
        const struct model_sub sub = f->model.subs[random_below(&f->seed, f->model.n)];
        assert_int_equal(
            index_remove(f->ix, 0, model_filter(&sub), str_from(sub.share), sub.session), 0);
        assert_true(model_remove(&f->model, model_filter(&sub), sub.share, sub.session));
        if (f->model.n % 8 == 0)
            check_some(f, 2);
    }
}

static void the_index_agrees_with_a_list_of_subscriptions(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    f->seed = random_seed();
    check_some(f, 1);
    int64_t empty = failalloc_n_live();
    for (int round = 0; round < 6; round++) {
        for (int i = 0; i < 1500; i++) {
            random_step(f, i < 300);
            check_some(f, 2);
        }
        remove_all(f);
        assert_int_equal(index_count(f->ix), 0);
        match_fini(&f->match); /* its scratch memory is not the index's */
        assert_int_equal(match_init(&f->match, f->ix), 0);
        check_some(f, 1);
        assert_in_range(failalloc_n_live(), 1, empty + 8);
    }
    fixture_free(f);
}

static void a_change_without_memory_changes_nothing(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    f->seed = random_seed();
    uint32_t n_refused = 0;
    for (int i = 0; i < 6000; i++) {
        failalloc_after(random_below(&f->seed, 5));
        bool refused = random_step(f, f->model.n < 150);
        failalloc_disarm();
        n_refused += refused;
        if (refused || i % 4 == 0)
            check_some(f, 3);
    }
    assert_true(n_refused > 100);
    remove_all(f);
    fixture_free(f);
}

static void a_match_without_memory_yields_nobody_and_works_later(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    for (uint64_t s = 1; s <= 100; s++) {
        assert_int_equal(put(f, "a/+", "", s, (s << SUB_ID_SHIFT) | 1), INDEX_NEW);
        assert_int_equal(put(f, "a/b", "", s, 2), INDEX_NEW);
        assert_int_equal(put(f, "#", "g", s, SUB_ONLINE), INDEX_NEW);
    }
    for (uint32_t n = 0;; n++) {
        struct match m;
        assert_int_equal(match_init(&m, f->ix), 0);
        failalloc_after(n);
        int r = index_match(f->ix, 0, STR("a/b"), 0, 0, &m);
        bool failed = failalloc_disarm();
        assert_int_equal(r, failed ? -ENOMEM : 0);
        assert_int_equal(m.n, failed ? 0 : 101);
        assert_int_equal(m.first[MODEL_LOOPS], m.n);
        assert_int_equal(index_match(f->ix, 0, STR("a/b"), 0, 0, &m), 0);
        assert_int_equal(m.n, 101);
        match_fini(&m);
        if (!failed)
            break;
        assert_true(n < 50);
    }
    fixture_free(f);
}

static void a_match_allocates_nothing_once_it_is_warm(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    for (uint64_t s = 1; s <= 50; s++) {
        assert_int_equal(put(f, "a/#", "", s, (s << SUB_ID_SHIFT) | 1), INDEX_NEW);
        assert_int_equal(put(f, "a/b", "", s, 2), INDEX_NEW);
    }
    assert_int_equal(match_n(f, "a/b"), 50);
    failalloc_after(0);
    for (int i = 0; i < 100; i++)
        assert_int_equal(match_n(f, "a/b"), 50);
    assert_false(failalloc_disarm());
    fixture_free(f);
}

static void a_leading_wildcard_does_not_match_a_leading_dollar(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    static const char *const hidden[] = { "#", "+/x", "+/#", "+/+", "+" };
    for (uint64_t s = 1; s <= 5; s++) {
        assert_int_equal(put(f, hidden[s - 1], "", s, 0), INDEX_NEW);
        assert_int_equal(put(f, hidden[s - 1], "g", s, SUB_ONLINE), INDEX_NEW);
    }
    assert_int_equal(match_n(f, "$SYS/x"), 0);
    assert_int_equal(match_n(f, "$SYS"), 0);
    assert_int_equal(match_n(f, "a/x"), 8);
    assert_int_equal(put(f, "$SYS/+", "", 9, 0), INDEX_NEW);
    assert_int_equal(put(f, "$SYS/#", "", 10, 0), INDEX_NEW);
    assert_int_equal(match_n(f, "$SYS/x"), 2);
    assert_int_equal(match_n(f, "$SYS"), 1);
    fixture_free(f);
}

static void no_local_leaves_out_only_the_publisher(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    put(f, "a", "", 1, SUB_NO_LOCAL);
    put(f, "a", "", 2, SUB_NO_LOCAL);
    assert_int_equal(index_match(f->ix, 0, STR("a"), 1, 0, &f->match), 0);
    assert_int_equal(f->match.n, 1);
    assert_int_equal(f->match.rcpts[0].who.session, 2);
    put(f, "+", "", 1, 1); /* this one has no such option */
    assert_int_equal(index_match(f->ix, 0, STR("a"), 1, 0, &f->match), 0);
    assert_int_equal(f->match.n, 2);
    fixture_free(f);
}

static void a_share_group_serves_its_members_in_turn(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    uint32_t got[6] = { 0 };
    for (uint64_t s = 1; s <= 5; s++)
        put(f, "a", "g", s, s == 3 ? SUB_DURABLE : SUB_ONLINE | SUB_DURABLE | 1);
    for (int i = 0; i < 40; i++) {
        assert_int_equal(match_n(f, "a"), 1);
        got[f->match.rcpts[0].who.session]++;
    }
    assert_int_equal(got[3], 0); /* it is not online */
    for (uint64_t s = 1; s <= 5; s++)
        assert_true(s == 3 || got[s] == 10);
    for (uint64_t s = 1; s <= 5; s++)
        assert_int_equal(index_set(f->ix, STR("a"), STR("g"), s, 0, SUB_ONLINE), 0);
    memset(got, 0, sizeof(got));
    for (int i = 0; i < 50; i++) {
        assert_int_equal(match_n(f, "a"), 1);
        got[f->match.rcpts[0].who.session]++;
    }
    for (uint64_t s = 1; s <= 5; s++)
        assert_int_equal(got[s], 10); /* nobody is online: the durable ones */
    for (uint64_t s = 1; s <= 5; s++)
        assert_int_equal(index_set(f->ix, STR("a"), STR("g"), s, 0, SUB_DURABLE), 0);
    assert_int_equal(index_match(f->ix, 0, STR("a"), 0, 0, &f->match), 0);
    assert_int_equal(f->match.n, 0);
    fixture_free(f);
}

static void two_loops_take_turns_of_their_own(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    put(f, "a", "g", 1, SUB_ONLINE);
    put(f, "a", "g", 2, SUB_ONLINE);
    for (int i = 0; i < 4; i++) {
        for (uint32_t loop = 0; loop < 2; loop++) {
            assert_int_equal(index_match(f->ix, loop, STR("a"), 0, 0, &f->match), 0);
            assert_int_equal(f->match.rcpts[0].who.session, 1 + i % 2);
        }
    }
    fixture_free(f);
}

static void what_came_from_another_node_stays_here_and_with_the_groups_it_names(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct str groups[] = { STR("$share/g/a"), STR("$share/none/a") };
    put(f, "a", "", 1, 1);
    put(f, "+", "", 9, SUB_REMOTE);
    put(f, "a", "g", 2, SUB_ONLINE);
    put(f, "a", "g", 9, SUB_ONLINE | SUB_REMOTE);
    put(f, "a", "h", 3, SUB_ONLINE);
    assert_int_equal(match_n(f, "a"), 4); /* 1, the node, and one of each group */
    for (int i = 0; i < 4; i++) {
        assert_int_equal(index_match_from_bus(f->ix, 0, STR("a"), 0, true, groups, 2, &f->match),
                         0);
        assert_int_equal(f->match.n, 2);
        assert_int_equal(f->match.rcpts[0].who.session, 1);
        assert_int_equal(f->match.rcpts[1].who.session, 2);
    }
    assert_int_equal(index_match_from_bus(f->ix, 0, STR("a"), 0, false, groups, 1, &f->match), 0);
    assert_int_equal(f->match.n, 1);
    assert_int_equal(f->match.rcpts[0].who.session, 2);
    struct share *share = share_ref(f->match.rcpts[0].share);
    struct receiver rcpt;
    uint64_t not_these = 2;
    assert_int_equal(index_choose(f->ix, 0, share, &not_these, 1, &rcpt), 0);
    assert_int_equal(rcpt.who.session, 9);
    assert_true(rcpt.flags & SUB_REMOTE);
    assert_int_equal(index_choose_here(f->ix, 0, share, &not_these, 1, &rcpt), -ENOENT);
    share_unref(&share);
    fixture_free(f);
}

static void a_bounced_message_goes_to_another_member_while_there_is_one(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    for (uint64_t s = 1; s <= 3; s++)
        put(f, "a/#", "g", s, s == 3 ? SUB_DURABLE : SUB_ONLINE);
    assert_int_equal(match_n(f, "a/b"), 1);
    struct share *share = share_ref(f->match.rcpts[0].share);
    assert_true(str_eq(share_name(share), STR("$share/g/a/#")));
    uint64_t not_these[3] = { 1, 2, 3 };
    struct receiver rcpt;
    assert_int_equal(index_choose(f->ix, 0, share, not_these, 1, &rcpt), 0);
    assert_int_equal(rcpt.who.session, 2);
    assert_int_equal(index_choose(f->ix, 0, share, not_these, 2, &rcpt), 0);
    assert_int_equal(rcpt.who.session, 3);
    assert_ptr_equal(rcpt.share, share);
    assert_int_equal(index_choose(f->ix, 0, share, not_these, 3, &rcpt), -ENOENT);
    for (uint64_t s = 1; s <= 3; s++)
        assert_int_equal(take(f, "a/#", "g", s), 0);
    assert_int_equal(index_choose(f->ix, 0, share, not_these, 0, &rcpt), -ENOENT);
    epoch_reclaim(&f->epoch, 0);
    assert_true(str_eq(share_name(share), STR("$share/g/a/#")));
    put(f, "a/#", "g", 7, SUB_ONLINE); /* a new group of that name takes over */
    assert_int_equal(index_choose(f->ix, 0, share, not_these, 0, &rcpt), 0);
    assert_int_equal(rcpt.who.session, 7);
    share_unref(&share);
    fixture_free(f);
}

static void offline_members_take_turns_when_those_online_are_left_out(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    for (uint64_t s = 1; s <= 4; s++)
        put(f, "a", "g", s, s < 2 ? SUB_ONLINE : SUB_DURABLE);
    assert_int_equal(match_n(f, "a"), 1);
    uint64_t not_these = 1;
    struct receiver rcpt;
    uint32_t got[5] = { 0 };
    for (int i = 0; i < 30; i++) {
        assert_int_equal(index_choose(f->ix, 0, f->match.rcpts[0].share, &not_these, 1, &rcpt), 0);
        got[rcpt.who.session]++;
    }
    for (uint64_t s = 2; s <= 4; s++)
        assert_int_equal(got[s], 10);
    fixture_free(f);
}

static void a_crowd_on_one_filter_comes_and_goes(void **state)
{
    (void)state;
    enum { N = 20000 };
    struct fixture *f = fixture_new();
    for (uint64_t s = 1; s <= N; s++)
        assert_int_equal(put(f, "news", "", s, 1), INDEX_NEW);
    assert_int_equal(match_n(f, "news"), N);
    for (uint64_t s = 1; s <= N; s++)
        assert_int_equal(put(f, "news", "", s, 2), INDEX_REPLACED);
    assert_int_equal(match_n(f, "news"), N);
    for (uint64_t s = 1; s <= N; s++) {
        if (s % 97) {
            assert_int_equal(take(f, "news", "", s), 0);
            assert_int_equal(take(f, "news", "", s), -ENOENT);
        }
    }
    assert_int_equal(match_n(f, "news"), N / 97);
    for (uint32_t i = 0; i < f->match.n; i++) {
        assert_int_equal(f->match.rcpts[i].who.session % 97, 0);
        assert_int_equal(f->match.rcpts[i].qos, 2);
    }
    fixture_free(f);
}

static void a_wide_level_grows_and_shrinks(void **state)
{
    (void)state;
    enum { N = 20000 };
    struct fixture *f = fixture_new();
    char text[32];
    for (int step = 0; step < 2; step++) {
        for (uint32_t i = 0; i < N; i++) {
            snprintf(text, sizeof(text), "dev/%u/+/x", i);
            assert_int_equal(step ? take(f, text, "", i + 1) : put(f, text, "", i + 1, 0), 0);
            if (i % 1000)
                continue;
            for (uint32_t k = 0; k < N; k += 501) {
                snprintf(text, sizeof(text), "dev/%u/y/x", k);
                assert_int_equal(match_n(f, text), step ? k > i : k <= i);
            }
            epoch_reclaim(&f->epoch, 0);
        }
    }
    assert_int_equal(index_count(f->ix), 0);
    fixture_free(f);
}

/* "+/+/.../+" with n levels, or another level text. */
static struct str deep_text(const char *level, uint32_t n, char *out)
{
    size_t len = strlen(level);
    char *at = out;
    for (uint32_t i = 0; i < n; i++) {
        if (i)
            *at++ = '/';
        memcpy(at, level, len);
        at += len;
    }
    return str_make(out, (size_t)(at - out));
}

enum { DEEP = 32767, DEEP_STEP = 331, N_DEEP = DEEP / DEEP_STEP };

/* The i-th of a family of deep filters; the last two are as deep as a filter can be. */
static struct str deep_filter(uint32_t i, char *out)
{
    if (i == N_DEEP)
        return deep_text("", 65536, out);
    if (i == N_DEEP + 1)
        return deep_text("+", DEEP, out);
    struct str filter = deep_text(i % 2 ? "+" : "a", (i + 1) * DEEP_STEP, out);
    if (i % 3 == 0) {
        memcpy(out + filter.len, "/#", 2);
        filter.len += 2;
    }
    return filter;
}

static void filters_of_tens_of_thousands_of_levels_are_matched(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    char *text = malloc(65540), *topic_text = malloc(65540);
    struct str topics[2] = { deep_text("a", DEEP, topic_text), { NULL, 0 } };
    for (uint32_t i = 0; i < N_DEEP + 2; i++)
        assert_int_equal(
            index_put(f->ix, 0, deep_filter(i, text), STR_NULL, model_who(i + 1), 0, 0), INDEX_NEW);
    for (int k = 0; k < 2; k++) {
        if (k == 1)
            topics[1] = deep_text("", 65536, topic_text);
        uint32_t n = 0;
        for (uint32_t i = 0; i < N_DEEP + 2; i++)
            n += topic_matches(deep_filter(i, text), topics[k]);
        assert_true(n > 10);
        assert_int_equal(index_match(f->ix, 0, topics[k], 0, 0, &f->match), 0);
        assert_int_equal(f->match.n, n);
        assert_true(index_any(f->ix, topics[k]));
    }
    for (uint32_t i = 0; i < N_DEEP + 2; i += 2)
        assert_int_equal(index_remove(f->ix, 0, deep_filter(i, text), STR_NULL, i + 1), 0);
    assert_int_equal(index_count(f->ix), (N_DEEP + 2) / 2);
    free(text);
    free(topic_text);
    fixture_free(f);
}

static void a_chain_of_branches_is_freed_without_recursion(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    char *text = malloc(65536);
    for (uint32_t levels = 1; levels <= 3000; levels++)
        assert_int_equal(
            index_put(f->ix, 0, deep_text("+", levels, text), STR_NULL, model_who(levels), 0, 0),
            INDEX_NEW);
    int64_t with_all = failalloc_n_live();
    for (uint32_t levels = 1; levels < 3000; levels += 2)
        assert_int_equal(index_remove(f->ix, 0, deep_text("+", levels, text), STR_NULL, levels), 0);
    epoch_reclaim(&f->epoch, 0);
    assert_true(failalloc_n_live() < with_all - 2000); /* no branch stays for nothing */
    free(text);
    fixture_free(f);
}

static void a_subscription_of_its_own_takes_less_than_300_bytes(void **state)
{
    (void)state;
    enum { N = 100000 };
    struct fixture *f = fixture_new();
    char text[32];
    size_t before = mallinfo2().uordblks;
    for (uint32_t i = 0; i < N; i++) {
        snprintf(text, sizeof(text), "dev/%u/+/x", i);
        assert_int_equal(put(f, text, "", i + 1, 0), INDEX_NEW);
    }
    epoch_reclaim(&f->epoch, 0);
    size_t each = (mallinfo2().uordblks - before) / N;
    print_message("%zu bytes per subscription\n", each);
    assert_true(each < 300); /* 0 with a sanitizer's allocator, which keeps no such statistics */
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_index_agrees_with_a_list_of_subscriptions),
        cmocka_unit_test(a_change_without_memory_changes_nothing),
        cmocka_unit_test(a_match_without_memory_yields_nobody_and_works_later),
        cmocka_unit_test(a_match_allocates_nothing_once_it_is_warm),
        cmocka_unit_test(a_leading_wildcard_does_not_match_a_leading_dollar),
        cmocka_unit_test(no_local_leaves_out_only_the_publisher),
        cmocka_unit_test(a_share_group_serves_its_members_in_turn),
        cmocka_unit_test(two_loops_take_turns_of_their_own),
        cmocka_unit_test(what_came_from_another_node_stays_here_and_with_the_groups_it_names),
        cmocka_unit_test(a_bounced_message_goes_to_another_member_while_there_is_one),
        cmocka_unit_test(offline_members_take_turns_when_those_online_are_left_out),
        cmocka_unit_test(a_crowd_on_one_filter_comes_and_goes),
        cmocka_unit_test(a_wide_level_grows_and_shrinks),
        cmocka_unit_test(filters_of_tens_of_thousands_of_levels_are_matched),
        cmocka_unit_test(a_chain_of_branches_is_freed_without_recursion),
        cmocka_unit_test(a_subscription_of_its_own_takes_less_than_300_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
