#include "bench/subscriber.h"
#include <errno.h>
#include <stdlib.h>

static void on_message(struct client *c, const struct delivery *d)
{
    struct subscriber *s = container_of(c, struct subscriber, client);
    struct bench *b = c->bench;
    struct payload p;
    if (d->payload.len < PAYLOAD_MIN) {
        bench_fail(b, "%s received a message that is not from here", c->id);
        return;
    }
    p = payload_get((const uint8_t *)d->payload.ptr);
    if (p.publisher - s->first >= s->n_flows) {
        bench_fail(b, "%s received a message of publisher %u, which it did not ask for", c->id,
                   p.publisher);
        return;
    }
    if (!flow_take(&s->flows[p.publisher - s->first], p.number))
        return;
    s->n_unique++;
    b->n_delivered++;
    histogram_add(&b->result.latency, b->now_ns > p.due_ns ? b->now_ns - p.due_ns : 0);
    if (s->on_message)
        s->on_message(s, &p);
}

static const struct client_ops client_ops = { .on_message = on_message };

int subscriber_init(struct subscriber *s, struct bench *b, uint32_t index, uint32_t first,
                    uint32_t n_flows, uint64_t n_recent)
{
    *s = (struct subscriber){ .first = first };
    client_init(&s->client, b, &client_ops, "s", index);
    s->flows = calloc(n_flows, sizeof(*s->flows));
    if (!s->flows)
        goto out;
    for (; s->n_flows < n_flows; s->n_flows++)
        if (flow_init(&s->flows[s->n_flows], n_recent) < 0)
            goto out;
    return 0;
out:
    bench_fail(b, "out of memory");
    return -EIO;
}

void subscriber_tell(const struct subscriber *s, bool with_order)
{
    struct result *result = &s->client.bench->result;
    for (uint32_t i = 0; i < s->n_flows; i++) {
        result->n_delivered += s->flows[i].n_unique;
        result->n_duplicated += s->flows[i].n_duplicated;
        if (with_order)
            result->n_reordered += s->flows[i].n_reordered;
    }
}

void subscriber_fini(struct subscriber *s)
{
    client_fini(&s->client);
    for (uint32_t i = 0; i < s->n_flows; i++)
        flow_fini(&s->flows[i]);
    free(s->flows);
}
