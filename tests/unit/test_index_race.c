#include "mqtt/index.h"
#include "mqtt_random.h"
#include <pthread.h>
#include <stdio.h>

/* One writer, who holds the tree lock by being alone, and readers on loops of their own. Worth
 * most under ThreadSanitizer and AddressSanitizer. */
#define N_READERS   3
#define N_LOOPS     (N_READERS + 1)
#define N_CHANGES   40000
#define N_PERMANENT 6

struct race {
    struct epoch epoch;
    struct hash_key key;
    struct index *ix;
    uint64_t seed;
    _Atomic bool stop;
    _Atomic uint32_t next_reader;
    _Atomic uint64_t n_matches, n_wrong;
};

/* All of these match PERMANENT_TOPIC; the sessions are 1, 2, ... */
static const char *const permanent[N_PERMANENT] = {
    "a/b/c", "a/b/c", "a/+/c", "a/b/#", "a/b/c/#", "+/b/+",
};
#define PERMANENT_TOPIC STR("a/b/c")

static struct index_who who(uint64_t session)
{
    return (struct index_who){ .session = session,
                               .slot = (uint32_t)session * 5,
                               .loop = (uint32_t)session % N_LOOPS };
}

/* QoS and id agree in every word that is ever written. */
static uint64_t opts_make(uint64_t *seed)
{
    uint64_t id = 1 + random_below(seed, 1000);
    return id << SUB_ID_SHIFT | id % 3 | SUB_DURABLE;
}

static void put_permanent(struct race *race, uint32_t i, int expect)
{
    int r = index_put(race->ix, 0, str_from(permanent[i]), STR_NULL, who(i + 1),
                      opts_make(&race->seed), 0);
    assert_int_equal(r, expect);
}

/* cmocka cannot fail on another thread, so this says it. */
static bool match_is_right(const struct match *m)
{
    uint32_t n_seen[N_PERMANENT + 1] = { 0 };
    uint32_t n_shared = 0;
    bool right = true;
    for (uint32_t i = 0; i < m->n; i++) {
        const struct receiver *rcpt = &m->rcpts[i];
        right = right && rcpt->who.slot == rcpt->who.session * 5 &&
                rcpt->who.loop == rcpt->who.session % N_LOOPS;
        if (rcpt->share) {
            n_shared += str_eq(share_name(rcpt->share), STR("$share/g/a/b/c"));
        } else if (rcpt->who.session <= N_PERMANENT) {
            n_seen[rcpt->who.session]++;
            right = right && rcpt->n_ids == 1 && rcpt->qos == m->ids[rcpt->first_id] % 3;
        }
    }
    for (uint32_t i = 1; i <= N_PERMANENT; i++)
        right = right && n_seen[i] == 1;
    return right && n_shared == 1;
}

static void *reader_run(void *arg)
{
    struct race *race = arg;
    uint32_t loop = 1 + atomic_fetch_add(&race->next_reader, 1);
    uint64_t seed = loop;
    struct match m;
    if (match_init(&m, race->ix) < 0)
        return race;
    while (!atomic_load(&race->stop)) {
        epoch_enter(&race->epoch, loop);
        for (int i = 0; i < 4; i++) {
            if (index_match(race->ix, loop, PERMANENT_TOPIC, 0, 0, &m) < 0 || !match_is_right(&m))
                atomic_fetch_add(&race->n_wrong, 1);
            struct receiver rcpt;
            for (uint32_t k = 0; k < m.n; k++)
                if (m.rcpts[k].share)
                    (void)index_choose(race->ix, loop, m.rcpts[k].share, NULL, 0, &rcpt);
            char text[RANDOM_TEXT];
            struct str topic = random_topic(&seed, text);
            (void)index_match(race->ix, loop, topic, 0, 0, &m);
            (void)index_any(race->ix, topic);
        }
        epoch_leave(&race->epoch, loop);
        atomic_fetch_add(&race->n_matches, 8);
    }
    match_fini(&m);
    return NULL;
}

/* Others come and go, on the same filters and around them. */
static void change_others(struct race *race)
{
    char text[RANDOM_TEXT];
    struct str filter = random_filter(&race->seed, text);
    if (random_below(&race->seed, 2))
        filter = str_from(permanent[random_below(&race->seed, N_PERMANENT)]);
    static const char *const shares[] = { "", "", "g", "h" };
    struct str share = str_from(shares[random_below(&race->seed, 4)]);
    uint64_t session = 100 + random_below(&race->seed, 60);
    if (random_below(&race->seed, 2))
        assert_true(index_put(race->ix, 0, filter, share, who(session),
                              opts_make(&race->seed) | SUB_ONLINE, 0) >= 0);
    else
        (void)index_remove(race->ix, 0, filter, share, session);
}

static void change_wide_level(struct race *race)
{
    char text[RANDOM_TEXT];
    snprintf(text, sizeof(text), "%s%u/x", random_below(&race->seed, 2) ? "a/" : "",
             random_below(&race->seed, 40));
    if (random_below(&race->seed, 2))
        assert_true(index_put(race->ix, 0, str_from(text), STR_NULL, who(99), 0, 0) >= 0);
    else
        (void)index_remove(race->ix, 0, str_from(text), STR_NULL, 99);
}

static void a_permanent_subscriber_is_never_missed_and_never_doubled(void **state)
{
    (void)state;
    struct race *race = calloc(1, sizeof(*race));
    pthread_t threads[N_READERS];
    race->seed = random_seed();
    race->key = (struct hash_key){ 3, 4 };
    epoch_init(&race->epoch, N_LOOPS);
    assert_int_equal(index_new(&race->epoch, N_LOOPS, &race->key, &race->ix), 0);
    for (uint32_t i = 0; i < N_PERMANENT; i++)
        put_permanent(race, i, INDEX_NEW);
    assert_int_equal(index_put(race->ix, 0, STR("a/b/c"), STR("g"), who(98), SUB_ONLINE, 0), 0);
    for (int i = 0; i < N_READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader_run, race), 0);
    for (int i = 0; i < N_CHANGES || atomic_load(&race->n_matches) < 1000; i++) {
        put_permanent(race, random_below(&race->seed, N_PERMANENT), INDEX_REPLACED);
        change_others(race);
        change_wide_level(race);
        epoch_reclaim(&race->epoch, 0);
    }
    atomic_store(&race->stop, true);
    for (int i = 0; i < N_READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&race->n_wrong), 0);
    index_free(&race->ix);
    epoch_fini(&race->epoch);
    free(race);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_permanent_subscriber_is_never_missed_and_never_doubled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
