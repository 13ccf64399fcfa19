/* bench_index.c - what a match and a subscription cost: nanoseconds and bytes. Not a test: nothing
 * fails here. */
#include "mqtt/index.h"
#include "mqtt/retained.h"
#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define N_TOPICS 4096

struct bench {
    struct epoch epoch;
    struct hash_key key;
    struct index *ix;
    struct match match;
    char topics[N_TOPICS][32];
};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void must(int r)
{
    if (r < 0) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
}

static struct bench *bench_new(uint32_t n_loops)
{
    struct bench *b = calloc(1, sizeof(*b));
    must(b ? 0 : -1);
    must(hash_key_init(&b->key));
    epoch_init(&b->epoch, n_loops);
    must(index_new(&b->epoch, n_loops, &b->key, &b->ix));
    must(match_init(&b->match, b->ix));
    return b;
}

static void bench_free(struct bench *b)
{
    match_fini(&b->match);
    index_free(&b->ix);
    epoch_fini(&b->epoch);
    free(b);
}

static void subscribe(struct bench *b, const char *filter, uint64_t session, uint32_t loop)
{
    struct index_who who = { .session = session, .slot = (uint32_t)session, .loop = loop };
    must(index_put(b->ix, 0, str_from(filter), STR_NULL, who, 1, 0));
    epoch_reclaim(&b->epoch, 0);
}

/* Matches the topics of the bench in turn. */
static void run_matches(struct bench *b, const char *what, uint32_t n_topics, uint32_t n)
{
    uint64_t n_rcpts = 0;
    double from = 0;
    epoch_enter(&b->epoch, 0);
    for (uint32_t i = 0; i < n + n / 10; i++) {
        if (i == n / 10) { /* warm */
            from = now_ns();
            n_rcpts = 0;
        }
        must(index_match(b->ix, 0, str_from(b->topics[i % n_topics]), 0, 0, &b->match));
        n_rcpts += b->match.n;
    }
    double each = (now_ns() - from) / n;
    epoch_leave(&b->epoch, 0);
    printf("%-44s %8.0f ns per match, %6.1f receivers\n", what, each, (double)n_rcpts / n);
}

static void exact_among(uint32_t n)
{
    struct bench *b = bench_new(1);
    char text[32];
    for (uint32_t i = 0; i < n; i++) {
        snprintf(text, sizeof(text), "site/%u/state", i);
        subscribe(b, text, i + 1, 0);
    }
    for (uint32_t i = 0; i < N_TOPICS; i++)
        snprintf(b->topics[i], sizeof(b->topics[i]), "site/%u/state", (i * 7919u) % n);
    run_matches(b, "exact, 100k filters, one topic", 1, 2000000);
    run_matches(b, "exact, 100k filters, 4096 topics", N_TOPICS, 2000000);
    bench_free(b);
}

static void wildcards(uint32_t n)
{
    struct bench *b = bench_new(1);
    char text[32];
    size_t before = mallinfo2().uordblks;
    double from = now_ns();
    for (uint32_t i = 0; i < n; i++) {
        snprintf(text, sizeof(text), "dev/%u/+/x", i);
        subscribe(b, text, i + 1, 0);
    }
    printf("%-44s %8.0f ns per subscription\n", "subscribe to dev/N/+/x", (now_ns() - from) / n);
    printf("%-44s %8zu bytes per subscription\n", "1M filters dev/N/+/x",
           (mallinfo2().uordblks - before) / n);
    for (uint32_t i = 0; i < N_TOPICS; i++)
        snprintf(b->topics[i], sizeof(b->topics[i]), "dev/%u/y/x", (i * 104729u) % n);
    run_matches(b, "1M filters dev/N/+/x, one topic", 1, 2000000);
    run_matches(b, "1M filters dev/N/+/x, 4096 topics", N_TOPICS, 2000000);
    from = now_ns();
    for (uint32_t i = 0; i < n; i++) {
        snprintf(text, sizeof(text), "dev/%u/+/x", i);
        must(index_remove(b->ix, 0, str_from(text), STR_NULL, i + 1));
        epoch_reclaim(&b->epoch, 0);
    }
    printf("%-44s %8.0f ns per subscription\n", "unsubscribe from dev/N/+/x",
           (now_ns() - from) / n);
    bench_free(b);
}

static void fan_out(uint32_t n, uint32_t n_loops, const char *other, const char *what)
{
    struct bench *b = bench_new(n_loops);
    for (uint32_t i = 0; i < n; i++)
        subscribe(b, "news/sport", i + 1, i % n_loops);
    if (other)
        subscribe(b, other, 1, 1 % n_loops);
    snprintf(b->topics[0], sizeof(b->topics[0]), "news/sport");
    run_matches(b, what, 1, 200000);
    bench_free(b);
}

static bool on_message(void *ctx, struct message *m, uint64_t version)
{
    (void)version;
    struct message *mine = message_ref(m);
    *(uint64_t *)ctx += message_payload(mine).len;
    message_unref(&mine);
    return true;
}

static void retained(uint32_t n)
{
    struct bench *b = bench_new(1);
    struct retained *r;
    struct retained_limits limits = { 0, 0 };
    must(retained_new(&b->epoch, &b->key, &r));
    double from = now_ns();
    for (uint32_t i = 0; i < n; i++) {
        char text[32];
        snprintf(text, sizeof(text), "dev/%u/state", i);
        struct message_parts parts = { .topic = str_from(text), .payload = STR("0123456789") };
        struct message *m = message_new(&parts);
        uint64_t version;
        must(m ? 0 : -1);
        must(retained_put(r, 0, m, &limits, &version));
        message_unref(&m);
        epoch_reclaim(&b->epoch, 0);
    }
    printf("%-44s %8.0f ns per message\n", "retain dev/N/state, 100k", (now_ns() - from) / n);
    struct retained_scan s;
    uint64_t sum = 0;
    retained_scan_init(&s, STR("#"), UINT64_MAX);
    from = now_ns();
    while (!s.done) {
        epoch_enter(&b->epoch, 0);
        must(retained_scan_run(r, &s, 64, on_message, &sum));
        epoch_leave(&b->epoch, 0);
    }
    printf("%-44s %8.0f ns per message\n", "scan # of 100k, 64 a call", (now_ns() - from) / n);
    retained_scan_fini(&s);
    retained_free(&r);
    bench_free(b);
}

int main(void)
{
    exact_among(100000);
    wildcards(1000000);
    fan_out(500, 1, NULL, "fan-out 500");
    fan_out(500, 2, NULL, "fan-out 500 on 2 loops");
    fan_out(500, 1, "news/#", "fan-out 500 and an overlapping filter");
    retained(100000);
    return 0;
}
