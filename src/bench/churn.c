#include "bench/client.h"
#include <errno.h>
#include <stdlib.h>

struct churn {
    struct bench *bench;
    uint64_t n_begun, n_max; /* cycles */
    uint64_t n_ended;
    uint64_t end_ns;
};

/* Client of a churn; the run is found through it. */
struct churner {
    struct client client;
    struct churn *churn;
};

static void begin_cycle(struct churner *one)
{
    struct churn *churn = one->churn;
    if (churn->n_begun == churn->n_max || bench_clock_ns() >= churn->end_ns)
        return;
    churn->n_begun++;
    client_connect(&one->client);
}

static void on_up(struct client *c)
{
    client_disconnect(c);
}

static void on_gone(struct client *c)
{
    struct churner *one = container_of(c, struct churner, client);
    one->churn->n_ended++;
    begin_cycle(one);
}

static const struct client_ops client_ops = { .on_up = on_up, .on_gone = on_gone };

static bool is_over(void *ctx)
{
    const struct churn *churn = ctx;
    return churn->n_ended == churn->n_begun;
}

int shape_churn(struct bench *b)
{
    uint32_t n = b->opt->connections;
    struct churn churn = { .bench = b,
                           .n_max = b->opt->count ? b->opt->count : UINT64_MAX,
                           .end_ns = UINT64_MAX };
    struct churner *all = calloc(n, sizeof(*all));
    if (!all) {
        bench_fail(b, "out of memory");
        return -EIO;
    }
    for (uint32_t i = 0; i < n; i++) {
        client_init(&all[i].client, b, &client_ops, "c", i);
        all[i].churn = &churn;
    }
    int r = bench_phase_begin(b, "cycle", "cycle");
    if (b->opt->count == 0)
        churn.end_ns = bench_clock_ns() + (uint64_t)(b->opt->duration_s * 1e9);
    for (uint32_t i = 0; i < n && r == 0; i++)
        begin_cycle(&all[i]);
    if (r == 0)
        r = bench_expect(b, "connecting and disconnecting", is_over, &churn);
    if (r == 0)
        r = bench_phase_end(b, churn.n_ended);
    for (uint32_t i = 0; i < n; i++)
        client_fini(&all[i].client);
    free(all);
    return r;
}
