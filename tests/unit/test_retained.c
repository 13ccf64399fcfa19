#include "mqtt/retained.h"
#include "mqtt/topic.h"
#include "mqtt_random.h"
#include <errno.h>
#include <stdio.h>

#define N_LOOPS   2
#define MODEL_MAX 600

static const struct retained_limits unlimited = { 0, 0 };

struct model_topic {
    char text[RANDOM_TEXT];
    uint32_t len;
    uint64_t version; /* 0: nothing is retained */
    bool permanent;   /* not changed while a scan runs */
    uint32_t n_seen;
};

struct fixture {
    struct epoch epoch;
    struct hash_key key;
    struct retained *r;
    struct model_topic topics[MODEL_MAX];
    uint32_t n_topics;
    uint64_t seed, version;
    int64_t n_live;
};

static struct fixture *fixture_new(void)
{
    int64_t n_live = failalloc_n_live();
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    f->n_live = n_live;
    f->key = (struct hash_key){ 1, 2 };
    epoch_init(&f->epoch, N_LOOPS);
    assert_int_equal(retained_new(&f->epoch, &f->key, &f->r), 0);
    return f;
}

static void fixture_free(struct fixture *f)
{
    int64_t n_live = f->n_live;
    retained_free(&f->r);
    epoch_fini(&f->epoch);
    free(f);
    assert_int_equal(failalloc_n_live(), n_live);
}

static struct str model_text(const struct model_topic *t)
{
    return str_make(t->text, t->len);
}

static int put(struct fixture *f, struct str topic, struct str payload,
               const struct retained_limits *limits)
{
    struct message_parts parts = { .topic = topic, .payload = payload };
    struct message *m = message_new(&parts);
    assert_non_null(m);
    uint64_t version = 0;
    int r = retained_put(f->r, 0, m, limits, &version);
    message_unref(&m);
    assert_int_equal(version, r == 0 ? f->version + 1 : 0);
    f->version += r == 0;
    assert_int_equal(retained_version(f->r), f->version);
    return r;
}

static struct model_topic *model_find(struct fixture *f, struct str topic)
{
    for (uint32_t i = 0; i < f->n_topics; i++)
        if (str_eq(model_text(&f->topics[i]), topic))
            return &f->topics[i];
    return NULL;
}

/* A topic of the model, mostly a known one. */
static struct model_topic *random_model(struct fixture *f)
{
    char text[RANDOM_TEXT];
    struct str topic = random_topic(&f->seed, text);
    struct model_topic *t = model_find(f, topic);
    if (t)
        return t;
    if (f->n_topics == MODEL_MAX || (f->n_topics > 50 && random_below(&f->seed, 2)))
        return &f->topics[random_below(&f->seed, f->n_topics)];
    t = &f->topics[f->n_topics++];
    *t = (struct model_topic){ .len = topic.len };
    memcpy(t->text, topic.ptr, topic.len);
    return t;
}

/* One random write to both; permanent topics are left alone. -ENOMEM is passed on. */
static int random_step(struct fixture *f)
{
    struct model_topic *t = random_model(f);
    struct str topic = model_text(t);
    if (t->permanent)
        return 0;
    uint32_t what = random_below(&f->seed, 5);
    if (what == 0) {
        uint64_t version = random_below(&f->seed, 2) ? t->version : 0;
        bool wrong = t->version && random_below(&f->seed, 4) == 0;
        assert_int_equal(retained_delete(f->r, 0, topic, wrong ? t->version + 1 : version),
                         t->version && !wrong);
        if (t->version && !wrong) {
            f->version++;
            t->version = 0;
        }
        return 0;
    }
    int r = put(f, topic, what < 3 ? STR("payload") : STR_NULL, &unlimited);
    if (r == 0)
        t->version = what < 3 ? f->version : 0;
    return r;
}

static void check_get(struct fixture *f)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < f->n_topics; i++) {
        struct model_topic *t = &f->topics[i];
        struct message *m = retained_get(f->r, model_text(t));
        assert_int_equal(m != NULL, t->version != 0);
        if (m)
            assert_true(str_eq(message_topic(m), model_text(t)));
        message_unref(&m);
        n += t->version != 0;
    }
    assert_int_equal(retained_count(f->r), n);
}

struct seen {
    struct fixture *f;
    struct str filter;
    uint64_t version;
    uint32_t n, refuse; /* refuse: one in so many is not consumed; 0: none */
};

static bool on_message(void *ctx, struct message *m, uint64_t version)
{
    struct seen *seen = ctx;
    struct model_topic *t = model_find(seen->f, message_topic(m));
    if (seen->refuse && random_below(&seen->f->seed, seen->refuse) == 0)
        return false;
    assert_non_null(t);
    assert_true(topic_matches(seen->filter, message_topic(m)));
    assert_true(version <= seen->version);
    assert_int_equal(t->version,
                     version); /* no turn ends within a call, so it is the present one */
    t->n_seen++;
    seen->n++;
    return true;
}

/* Scans in pieces, with `n_writes` random writes between two of them. */
static void scan(struct fixture *f, struct str filter, uint32_t max, uint32_t refuse,
                 uint32_t n_writes)
{
    struct retained_scan s;
    struct seen seen = { f, filter, f->version, 0, refuse };
    for (uint32_t i = 0; i < f->n_topics; i++) {
        f->topics[i].n_seen = 0;
        f->topics[i].permanent = n_writes == 0 || random_below(&f->seed, 2);
    }
    retained_scan_init(&s, filter, f->version);
    for (uint32_t calls = 0; !s.done; calls++) {
        uint32_t before = seen.n;
        assert_true(calls < 100000);
        epoch_enter(&f->epoch, 0);
        assert_int_equal(retained_scan_run(f->r, &s, max, on_message, &seen), 0);
        epoch_leave(&f->epoch, 0);
        assert_true(seen.n - before <= max);
        for (uint32_t i = 0; i < n_writes && !s.done; i++)
            assert_int_equal(random_step(f), 0);
        epoch_reclaim(&f->epoch, 0);
    }
    retained_scan_fini(&s);
    for (uint32_t i = 0; i < f->n_topics; i++) {
        struct model_topic *t = &f->topics[i];
        bool must = t->permanent && t->version && topic_matches(filter, model_text(t));
        assert_in_range(t->n_seen, must, 1);
        if (t->permanent && !t->version)
            assert_int_equal(t->n_seen, 0);
        t->permanent = false;
    }
}

static void a_scan_reports_each_matching_topic_exactly_once(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    char text[RANDOM_TEXT];
    f->seed = random_seed();
    for (int round = 0; round < 400; round++) {
        for (int i = 0; i < 10; i++)
            assert_int_equal(random_step(f), 0);
        uint32_t refuse = random_below(&f->seed, 2) ? 3 : 0;
        scan(f, random_filter(&f->seed, text), 1 + random_below(&f->seed, 40), refuse, 0);
        scan(f, STR("#"), 1 + random_below(&f->seed, 40), refuse, 0);
        if (round % 20 == 0)
            check_get(f);
    }
    fixture_free(f);
}

static void a_scan_is_not_led_astray_by_writes_between_its_pieces(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    char text[RANDOM_TEXT];
    f->seed = random_seed();
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < 10; i++)
            assert_int_equal(random_step(f), 0);
        scan(f, random_filter(&f->seed, text), 1 + random_below(&f->seed, 5), 3, 4);
        scan(f, STR("#"), 1 + random_below(&f->seed, 30), 0, 20);
        scan(f, STR("+/#"), 1 + random_below(&f->seed, 30), 5, 50);
    }
    check_get(f);
    fixture_free(f);
}

static void a_write_without_memory_changes_nothing(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    uint32_t n_refused = 0;
    f->seed = random_seed();
    for (int i = 0; i < 4000; i++) {
        failalloc_after(1 + random_below(&f->seed, 6)); /* the first one is the message */
        n_refused += random_step(f) == -ENOMEM;
        failalloc_disarm();
        if (i % 16 == 0) {
            check_get(f);
            scan(f, STR("#"), 100, 0, 0);
        }
    }
    assert_true(n_refused > 50);
    fixture_free(f);
}

static void a_scan_without_memory_goes_on_when_there_is_some(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    f->seed = random_seed();
    for (int i = 0; i < 200; i++)
        assert_int_equal(random_step(f), 0);
    struct retained_scan s;
    struct seen seen = { f, STR("#"), f->version, 0, 0 };
    retained_scan_init(&s, STR("#"), f->version);
    failalloc_after(0);
    assert_int_equal(retained_scan_run(f->r, &s, 1000, on_message, &seen), -ENOMEM);
    assert_true(failalloc_disarm());
    assert_int_equal(seen.n, 0);
    while (!s.done)
        assert_int_equal(retained_scan_run(f->r, &s, 1000, on_message, &seen), 0);
    for (uint32_t i = 0; i < f->n_topics; i++)
        assert_int_equal(f->topics[i].n_seen,
                         f->topics[i].version != 0 && f->topics[i].text[0] != '$');
    retained_scan_fini(&s);
    fixture_free(f);
}

static void an_empty_payload_deletes_and_takes_a_version_all_the_same(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    int64_t empty = failalloc_n_live();
    assert_int_equal(put(f, STR("a/b/c"), STR_NULL, &unlimited), 0);
    assert_int_equal(put(f, STR("a/b/c"), STR("1"), &unlimited), 0);
    assert_int_equal(put(f, STR("a/b"), STR("1"), &unlimited), 0);
    assert_int_equal(put(f, STR("a/b/c"), STR("22"), &unlimited), 0);
    assert_int_equal(retained_count(f->r), 2);
    assert_int_equal(put(f, STR("a/b"), STR_NULL, &unlimited), 0);
    assert_int_equal(put(f, STR("a"), STR_NULL, &unlimited), 0);
    assert_int_equal(put(f, STR("a/b/c"), STR_NULL, &unlimited), 0);
    assert_int_equal(retained_version(f->r), 7);
    assert_int_equal(retained_count(f->r), 0);
    assert_int_equal(retained_bytes(f->r), 0);
    epoch_reclaim(&f->epoch, 0);
    assert_int_equal(failalloc_n_live(), empty);
    fixture_free(f);
}

static void limits_hold_for_what_grows(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    struct retained_limits two = { .max_messages = 2 };
    assert_int_equal(put(f, STR("a"), STR("1"), &two), 0);
    assert_int_equal(put(f, STR("b"), STR("1"), &two), 0);
    assert_int_equal(put(f, STR("c"), STR("1"), &two), -ENOSPC);
    assert_int_equal(put(f, STR("b"), STR("replaced"), &two), 0);
    assert_int_equal(put(f, STR("a"), STR_NULL, &two), 0);
    assert_int_equal(put(f, STR("c"), STR("1"), &two), 0);
    uint64_t bytes = retained_bytes(f->r);
    struct retained_limits full = { .max_bytes = bytes };
    assert_int_equal(put(f, STR("c"), STR("22"), &full), -ENOSPC);
    assert_int_equal(put(f, STR("d"), STR("1"), &full), -ENOSPC);
    assert_int_equal(put(f, STR("c"), STR("2"), &full), 0);
    full.max_bytes = 1; /* was lowered: nothing may grow, but may shrink */
    assert_int_equal(put(f, STR("b"), STR("r"), &full), 0);
    assert_int_equal(retained_bytes(f->r), bytes - strlen("eplaced"));
    fixture_free(f);
}

static bool count_message(void *ctx, struct message *m, uint64_t version)
{
    (void)m;
    (void)version;
    ++*(uint32_t *)ctx;
    return true;
}

static uint32_t count_matches(struct fixture *f, const char *filter)
{
    struct retained_scan s;
    uint32_t n = 0;
    retained_scan_init(&s, str_from(filter), f->version);
    while (!s.done)
        assert_int_equal(retained_scan_run(f->r, &s, 7, count_message, &n), 0);
    retained_scan_fini(&s);
    return n;
}

static void a_leading_wildcard_does_not_match_a_leading_dollar(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    static const char *const topics[] = { "$SYS/a", "$SYS", "a/$SYS", "b/a" };
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(put(f, str_from(topics[i]), STR("1"), &unlimited), 0);
    assert_int_equal(count_matches(f, "#"), 2);
    assert_int_equal(count_matches(f, "+/a"), 1);
    assert_int_equal(count_matches(f, "+"), 0);
    assert_int_equal(count_matches(f, "+/#"), 2);
    assert_int_equal(count_matches(f, "$SYS/#"), 2);
    assert_int_equal(count_matches(f, "$SYS/+"), 1);
    assert_int_equal(count_matches(f, "a/+"), 1);
    fixture_free(f);
}

static void a_scan_reports_no_version_later_than_its_own(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    put(f, STR("a"), STR("1"), &unlimited);
    put(f, STR("b"), STR("1"), &unlimited);
    uint64_t version = f->version;
    put(f, STR("a"), STR("2"), &unlimited);
    put(f, STR("c"), STR("2"), &unlimited);
    f->version = version;
    assert_int_equal(count_matches(f, "#"), 1);
    fixture_free(f);
}

static void a_wide_level_is_scanned_in_pieces_that_find_nothing(void **state)
{
    (void)state;
    enum { N = 30000 };
    struct fixture *f = fixture_new();
    char text[32];
    for (uint32_t i = 0; i < N; i++) {
        snprintf(text, sizeof(text), "w/%u/x", i);
        assert_int_equal(put(f, str_from(text), STR("1"), &unlimited), 0);
    }
    assert_int_equal(count_matches(f, "#"), N);
    assert_int_equal(count_matches(f, "w/+/x"), N);
    assert_int_equal(count_matches(f, "+/77/#"), 1);
    struct retained_scan s;
    uint32_t n = 0, n_calls = 0;
    retained_scan_init(&s, STR("w/+/y"), f->version);
    for (; !s.done; n_calls++)
        assert_int_equal(retained_scan_run(f->r, &s, 10, count_message, &n), 0);
    assert_int_equal(n, 0);
    assert_true(n_calls > 10); /* no turn takes all of it */
    retained_scan_fini(&s);
    for (uint32_t i = 0; i < N; i++) {
        snprintf(text, sizeof(text), "w/%u/x", i);
        assert_int_equal(put(f, str_from(text), STR_NULL, &unlimited), 0);
        if (i % 5000 == 0)
            assert_int_equal(count_matches(f, "w/#"), N - 1 - i);
    }
    assert_int_equal(retained_bytes(f->r), 0);
    fixture_free(f);
}

static void a_topic_of_65535_levels_is_kept_found_and_freed(void **state)
{
    (void)state;
    struct fixture *f = fixture_new();
    char *text = malloc(65535);
    memset(text, '/', 65535);
    struct str topic = str_make(text, 65535);
    assert_int_equal(put(f, topic, STR("1"), &unlimited), 0);
    assert_int_equal(count_matches(f, "#"), 1);
    assert_int_equal(count_matches(f, "/+//#"), 1);
    assert_true(retained_bytes(f->r) > 65535 * 64); /* the limit counts what it really takes */
    assert_true(retained_delete(f->r, 0, topic, 0));
    f->version++;
    assert_int_equal(retained_bytes(f->r), 0);
    assert_int_equal(put(f, topic, STR("1"), &unlimited), 0);
    free(text);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scan_reports_each_matching_topic_exactly_once),
        cmocka_unit_test(a_scan_is_not_led_astray_by_writes_between_its_pieces),
        cmocka_unit_test(a_write_without_memory_changes_nothing),
        cmocka_unit_test(a_scan_without_memory_goes_on_when_there_is_some),
        cmocka_unit_test(an_empty_payload_deletes_and_takes_a_version_all_the_same),
        cmocka_unit_test(limits_hold_for_what_grows),
        cmocka_unit_test(a_leading_wildcard_does_not_match_a_leading_dollar),
        cmocka_unit_test(a_scan_reports_no_version_later_than_its_own),
        cmocka_unit_test(a_wide_level_is_scanned_in_pieces_that_find_nothing),
        cmocka_unit_test(a_topic_of_65535_levels_is_kept_found_and_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
