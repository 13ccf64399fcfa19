#include "mqtt/topic.h"
#include "mqtt_random.h"
#include <stdio.h>

#define MANY 65536u

static void a_name_has_a_character_and_no_wildcard(void **state)
{
    (void)state;
    static const char *const good[] = { "a", "/", "a/b", "$SYS/x", "a//b", " ", "a/" };
    static const char *const bad[] = { "", "+", "#", "a/+", "a/#", "a+b", "a#" };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(topic_is_name(str_from(good[i]), MANY));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(topic_is_name(str_from(bad[i]), MANY));
}

static void wildcards_stand_alone_and_hash_is_last(void **state)
{
    (void)state;
    static const char *const good[] = { "#", "+",       "a/#", "+/#", "a/+/b", "/+", "+/+",
                                        "/", "sport/+", "a",   "//#", "+/a/#", "+/", "$SYS/#" };
    static const char *const bad[] = { "",   "a#",   "a/b#", "#/a", "a/#/b", "a+",
                                       "+a", "a/+b", "##",   "++",  "a/#/",  "+#" };
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(topic_is_filter(str_from(good[i]), MANY));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(topic_is_filter(str_from(bad[i]), MANY));
}

static void more_levels_than_allowed_are_refused(void **state)
{
    (void)state;
    assert_int_equal(topic_levels(STR("a/b/c")), 3);
    assert_int_equal(topic_levels(STR("/")), 2);
    assert_true(topic_is_name(STR("a/b/c"), 3));
    assert_false(topic_is_name(STR("a/b/c"), 2));
    assert_true(topic_is_filter(STR("a/+/#"), 3));
    assert_false(topic_is_filter(STR("a/+/#"), 2));
}

static void matching_follows_the_specification(void **state)
{
    (void)state;
    static const struct {
        const char *filter, *topic;
        bool matches;
    } rows[] = {
        { "sport/tennis/player1/#", "sport/tennis/player1", true },
        { "sport/tennis/player1/#", "sport/tennis/player1/ranking", true },
        { "sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", true },
        { "sport/tennis/player1/#", "sport/tennis/player10", false },
        { "sport/#", "sport", true },
        { "sport/#", "sports", false },
        { "#", "a", true },
        { "#", "/", true },
        { "#", "a/b/c", true },
        { "sport/tennis/+", "sport/tennis/player1", true },
        { "sport/tennis/+", "sport/tennis/player1/ranking", false },
        { "sport/+", "sport", false },
        { "sport/+", "sport/", true },
        { "+/+", "/finance", true },
        { "/+", "/finance", true },
        { "+", "/finance", false },
        { "+/tennis/#", "sport/tennis", true },
        { "a", "A", false },
        { "a/b", "a/b/", false },
        { "a/", "a", false },
        { "a//b", "a//b", true },
        { "a/+/b", "a//b", true },
        { "#", "$SYS/x", false },
        { "+/x", "$SYS/x", false },
        { "+/#", "$SYS", false },
        { "$SYS/#", "$SYS/x", true },
        { "$SYS/+", "$SYS/x", true },
        { "a/+", "a/$x", true },
        { "a/#", "a/$x", true },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (topic_matches(str_from(rows[i].filter), str_from(rows[i].topic)) != rows[i].matches)
            fail_msg("%s against %s", rows[i].filter, rows[i].topic);
}

static void a_share_has_a_name_without_wildcards_and_a_filter(void **state)
{
    (void)state;
    struct str name, filter;
    assert_int_equal(topic_split_share(STR("$share/g/a/+"), &name, &filter), TOPIC_SHARED);
    assert_true(str_eq(name, STR("g")) && str_eq(filter, STR("a/+")));
    assert_int_equal(topic_split_share(STR("$share/g//"), &name, &filter), TOPIC_SHARED);
    assert_true(str_eq(filter, STR("/")));
    assert_int_equal(topic_split_share(STR("$shared/a"), &name, &filter), TOPIC_NOT_SHARED);
    assert_true(name.len == 0 && str_eq(filter, STR("$shared/a")));
    assert_int_equal(topic_split_share(STR("$share"), &name, &filter), TOPIC_NOT_SHARED);
    static const char *const bad[] = { "$share/",   "$share/g",   "$share/g/",
                                       "$share//a", "$share/+/a", "$share/a#/b" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(topic_split_share(str_from(bad[i]), &name, &filter), TOPIC_SHARE_BAD);
}

/* All topics up to 4 and all filters up to 3 levels (and '#') over a few words. "c" and the fourth
 * level stand for what no filter names. */
#define N_TOPICS  1024
#define N_FILTERS 512
struct world {
    char topics[N_TOPICS][24], filters[N_FILTERS][24];
    uint32_t n_topics, n_filters;
    uint64_t matched[N_FILTERS][N_TOPICS / 64];
};

static void world_topics(struct world *w)
{
    static const char *const words[] = { "a", "b", "c", "$x", "" };
    for (uint32_t n = 1, count = 5; n <= 4; n++, count *= 5) {
        for (uint32_t i = 0; i < count; i++) {
            char *out = w->topics[w->n_topics];
            int len = 0;
            out[0] = '\0';
            for (uint32_t k = 0, v = i; k < n; k++, v /= 5)
                len += snprintf(out + len, 24 - (size_t)len, "%s%s", k ? "/" : "", words[v % 5]);
            w->n_topics++; /* the empty level counts as a topic: the functions go by levels */
        }
    }
}

static void world_filters(struct world *w)
{
    static const char *const words[] = { "a", "b", "+", "$x", "" };
    for (uint32_t n = 0, count = 1; n <= 3; n++, count *= 5) {
        for (uint32_t i = 0; i < count * 2; i++) {
            char *out = w->filters[w->n_filters];
            int len = 0;
            for (uint32_t k = 0, v = i / 2; k < n; k++, v /= 5)
                len += snprintf(out + len, 24 - (size_t)len, "%s%s", k ? "/" : "", words[v % 5]);
            if (i % 2)
                len += snprintf(out + len, 24 - (size_t)len, n ? "/#" : "#");
            if (len > 0)
                w->n_filters++;
        }
    }
}

static struct world *world_new(void)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    world_topics(w);
    world_filters(w);
    for (uint32_t f = 0; f < w->n_filters; f++) {
        assert_true(topic_is_filter(str_from(w->filters[f]), MANY));
        for (uint32_t t = 0; t < w->n_topics; t++)
            if (topic_matches(str_from(w->filters[f]), str_from(w->topics[t])))
                w->matched[f][t / 64] |= UINT64_C(1) << t % 64;
    }
    return w;
}

static void covers_means_that_no_topic_of_the_inner_escapes_the_outer(void **state)
{
    (void)state;
    struct world *w = world_new();
    for (uint32_t o = 0; o < w->n_filters; o++) {
        for (uint32_t i = 0; i < w->n_filters; i++) {
            bool covers = true;
            for (uint32_t k = 0; k < N_TOPICS / 64; k++)
                covers = covers && !(w->matched[i][k] & ~w->matched[o][k]);
            if (topic_covers(str_from(w->filters[o]), str_from(w->filters[i])) != covers)
                fail_msg("outer %s, inner %s: expected %d", w->filters[o], w->filters[i], covers);
        }
    }
    free(w);
}

static void intersects_means_that_some_topic_is_matched_by_both(void **state)
{
    (void)state;
    struct world *w = world_new();
    for (uint32_t a = 0; a < w->n_filters; a++) {
        for (uint32_t b = 0; b < w->n_filters; b++) {
            bool meets = false;
            for (uint32_t k = 0; k < N_TOPICS / 64; k++)
                meets = meets || (w->matched[a][k] & w->matched[b][k]);
            if (topic_intersects(str_from(w->filters[a]), str_from(w->filters[b])) != meets)
                fail_msg("%s and %s: expected %d", w->filters[a], w->filters[b], meets);
        }
    }
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_has_a_character_and_no_wildcard),
        cmocka_unit_test(wildcards_stand_alone_and_hash_is_last),
        cmocka_unit_test(more_levels_than_allowed_are_refused),
        cmocka_unit_test(matching_follows_the_specification),
        cmocka_unit_test(a_share_has_a_name_without_wildcards_and_a_filter),
        cmocka_unit_test(covers_means_that_no_topic_of_the_inner_escapes_the_outer),
        cmocka_unit_test(intersects_means_that_some_topic_is_matched_by_both),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
