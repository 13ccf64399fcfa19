#include "mqtt/retained.h"
#include "mqtt_random.h"
#include <pthread.h>
#include <stdio.h>

/* One writer, who holds the tree lock by being alone, and readers on loops of their own. Worth
 * most under ThreadSanitizer and AddressSanitizer. */
#define N_READERS   3
#define N_LOOPS     (N_READERS + 1)
#define N_CHANGES   60000
#define N_PERMANENT 40

struct race {
    struct epoch epoch;
    struct hash_key key;
    struct retained *r;
    uint64_t seed;
    _Atomic bool stop;
    _Atomic uint32_t next_reader;
    _Atomic uint64_t n_scans, n_wrong;
};

static const struct retained_limits unlimited = { 0, 0 };

/* Permanent topics carry their number as payload; all lie under p/ and next to others. */
static struct str permanent_topic(uint32_t i, char text[RANDOM_TEXT])
{
    snprintf(text, RANDOM_TEXT, "p/%u%s", i / 2, i % 2 ? "/x/y" : "");
    return str_from(text);
}

static void put(struct race *race, struct str topic, struct str payload)
{
    struct message_parts parts = { .topic = topic, .payload = payload };
    struct message *m = message_new(&parts);
    uint64_t version;
    assert_non_null(m);
    assert_int_equal(retained_put(race->r, 0, m, &unlimited, &version), 0);
    message_unref(&m);
}

static void put_permanent(struct race *race, uint32_t i)
{
    char text[RANDOM_TEXT], number[16];
    snprintf(number, sizeof(number), "%u", i);
    put(race, permanent_topic(i, text), str_from(number));
}

struct seen {
    uint32_t n[N_PERMANENT];
    uint64_t seed;
};

static bool on_message(void *ctx, struct message *m, uint64_t version)
{
    struct seen *seen = ctx;
    (void)version;
    if (random_below(&seen->seed, 10) == 0)
        return false;
    struct message *mine = message_ref(m);
    if (message_topic(mine).ptr[0] == 'p') {
        uint32_t number = (uint32_t)strtoul(message_payload(mine).ptr, NULL, 10);
        if (number < N_PERMANENT)
            seen->n[number]++;
    }
    message_unref(&mine);
    return true;
}

static bool scan_is_right(struct race *race, uint32_t loop, struct seen *seen, bool every)
{
    struct retained_scan s;
    bool right = true;
    memset(seen->n, 0, sizeof(seen->n));
    retained_scan_init(&s, every ? STR("#") : STR("p/+/x/y"), UINT64_MAX);
    while (!s.done && right) {
        epoch_enter(&race->epoch, loop);
        right = retained_scan_run(race->r, &s, 20, on_message, seen) == 0;
        epoch_leave(&race->epoch, loop);
    }
    retained_scan_fini(&s);
    for (uint32_t i = 0; i < N_PERMANENT; i++)
        right = right && seen->n[i] == (every || i % 2);
    return right;
}

static bool get_is_right(struct race *race, uint32_t loop, uint32_t i)
{
    char text[RANDOM_TEXT];
    epoch_enter(&race->epoch, loop);
    struct message *m = retained_get(race->r, permanent_topic(i, text));
    epoch_leave(&race->epoch, loop);
    bool right = m && strtoul(message_payload(m).ptr, NULL, 10) == i;
    message_unref(&m);
    return right;
}

static void *reader_run(void *arg)
{
    struct race *race = arg;
    uint32_t loop = 1 + atomic_fetch_add(&race->next_reader, 1);
    struct seen seen = { .seed = loop };
    while (!atomic_load(&race->stop)) {
        uint32_t i = random_below(&seen.seed, N_PERMANENT);
        if (!scan_is_right(race, loop, &seen, random_below(&seen.seed, 2)) ||
            !get_is_right(race, loop, i))
            atomic_fetch_add(&race->n_wrong, 1);
        atomic_fetch_add(&race->n_scans, 1);
    }
    return NULL;
}

static void change_others(struct race *race)
{
    char text[RANDOM_TEXT];
    uint32_t what = random_below(&race->seed, 4);
    uint32_t n = random_below(&race->seed, random_below(&race->seed, 2) ? 10 : 200);
    /* The payload is no number of a permanent topic. */
    struct str payload = random_below(&race->seed, 2) ? STR("9999") : STR_NULL;
    switch (what) {
    case 0: snprintf(text, sizeof(text), "p/o%u", n); break;
    case 1: snprintf(text, sizeof(text), "p/%u/y", n); break;
    case 2: snprintf(text, sizeof(text), "p/o%u/x/y", n); break;
    default: snprintf(text, sizeof(text), "%u", n); break;
    }
    put(race, str_from(text), payload);
}

static void a_topic_that_stays_is_reported_exactly_once_by_every_scan(void **state)
{
    (void)state;
    struct race *race = calloc(1, sizeof(*race));
    pthread_t threads[N_READERS];
    race->seed = random_seed();
    race->key = (struct hash_key){ 3, 4 };
    epoch_init(&race->epoch, N_LOOPS);
    assert_int_equal(retained_new(&race->epoch, &race->key, &race->r), 0);
    for (uint32_t i = 0; i < N_PERMANENT; i++)
        put_permanent(race, i);
    for (int i = 0; i < N_READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader_run, race), 0);
    for (int i = 0; i < N_CHANGES || atomic_load(&race->n_scans) < 300; i++) {
        put_permanent(race, random_below(&race->seed, N_PERMANENT));
        change_others(race);
        epoch_reclaim(&race->epoch, 0);
    }
    atomic_store(&race->stop, true);
    for (int i = 0; i < N_READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&race->n_wrong), 0);
    retained_free(&race->r);
    epoch_fini(&race->epoch);
    free(race);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_topic_that_stays_is_reported_exactly_once_by_every_scan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
