#include "bench/client.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void on_up(struct client *c)
{
    char text[TOPIC_MAX];
    snprintf(text, sizeof(text), "%s/i/%s", c->bench->prefix, c->id);
    struct str filter = str_from(text);
    client_subscribe(c, &filter, 1, c->bench->opt->qos);
}

static const struct client_ops client_ops = { .on_up = on_up };

static int play(struct bench *b, struct client *const *set, uint32_t n)
{
    if (bench_phase_begin(b, "connect", "connection") < 0 || clients_connect(b, set, n) < 0 ||
        clients_await_subacks(b) < 0)
        return -EIO;
    b->result.phase[b->result.n_phases].shows_memory = true;
    if (bench_phase_end(b, n) < 0 || bench_phase_begin(b, "hold", "connection") < 0 ||
        bench_sleep(b, b->opt->hold_s) < 0 || bench_phase_end(b, n) < 0)
        return -EIO;
    if (bench_phase_begin(b, "disconnect", "connection") < 0 || clients_disconnect(b, set, n) < 0)
        return -EIO;
    return bench_phase_end(b, n);
}

int shape_idle(struct bench *b)
{
    uint32_t n = b->opt->connections;
    uint64_t limit = dial_raise_limit();
    struct client *clients = calloc(n, sizeof(*clients));
    struct client **set = calloc(n, sizeof(struct client *));
    int r = -EIO;
    if (n + 16 > limit) {
        bench_fail(b, "%u connections need more than the %llu descriptors allowed (ulimit -n)", n,
                   (unsigned long long)limit);
    } else if (!clients || !set) {
        bench_fail(b, "out of memory");
    } else {
        for (uint32_t i = 0; i < n; i++) {
            client_init(&clients[i], b, &client_ops, "i", i);
            set[i] = &clients[i];
        }
        r = play(b, set, n);
        for (uint32_t i = 0; i < n; i++)
            client_fini(&clients[i]);
    }
    free(clients);
    free(set);
    return r;
}
