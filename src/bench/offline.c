#include "bench/publisher.h"
#include "bench/subscriber.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct offline {
    struct bench *bench;
    struct publisher publisher;
    struct subscriber *subscribers;
    struct client **set; /* of the subscribers */
    uint32_t n_subscribers;
    uint32_t n_drained; /* the first n_drained have everything */
};

static int offline_init(struct offline *o, struct bench *b)
{
    const struct options *opt = b->opt;
    char topic[TOPIC_MAX];
    snprintf(topic, sizeof(topic), "%s/o", b->prefix);
    struct publisher_conf conf = { .topic = topic,
                                   .payload = opt->payload,
                                   .window = opt->window,
                                   .batch = opt->batch,
                                   .qos = opt->qos };
    *o = (struct offline){ .bench = b };
    o->subscribers = calloc(opt->subscribers, sizeof(*o->subscribers));
    o->set = calloc(opt->subscribers, sizeof(struct client *));
    if (!o->subscribers || !o->set) {
        bench_fail(b, "out of memory");
        return -EIO;
    }
    for (uint32_t i = 0; i < opt->subscribers; i++) {
        o->n_subscribers++;
        o->set[i] = &o->subscribers[i].client;
        if (subscriber_init(&o->subscribers[i], b, i, 0, 1, opt->count) < 0)
            return -EIO;
        o->set[i]->clean = false;
    }
    return publisher_init(&o->publisher, b, 0, &conf);
}

static void offline_fini(struct offline *o)
{
    for (uint32_t i = 0; i < o->n_subscribers; i++)
        subscriber_fini(&o->subscribers[i]);
    publisher_fini(&o->publisher);
    free(o->subscribers);
    free(o->set);
}

static bool is_sent(void *ctx)
{
    return publisher_is_idle(ctx);
}

static bool is_drained(void *ctx)
{
    struct offline *o = ctx;
    while (o->n_drained < o->n_subscribers &&
           o->subscribers[o->n_drained].n_unique == o->bench->opt->count)
        o->n_drained++;
    return o->n_drained == o->n_subscribers;
}

static int leave_sessions(struct offline *o)
{
    struct bench *b = o->bench;
    char text[TOPIC_MAX];
    snprintf(text, sizeof(text), "%s/o", b->prefix);
    struct str filter = str_from(text);
    if (clients_connect(b, o->set, o->n_subscribers) < 0)
        return -EIO;
    for (uint32_t i = 0; i < o->n_subscribers; i++)
        client_subscribe(o->set[i], &filter, 1, b->opt->qos);
    if (clients_await_subacks(b) < 0)
        return -EIO;
    return clients_disconnect(b, o->set, o->n_subscribers);
}

static int store(struct offline *o)
{
    struct bench *b = o->bench;
    struct client *client = &o->publisher.client;
    if (clients_connect(b, &client, 1) < 0 || bench_phase_begin(b, "store", "message") < 0)
        return -EIO;
    publisher_allow(&o->publisher, b->opt->count);
    if (bench_expect(b, "publishing", is_sent, &o->publisher) < 0)
        return -EIO;
    b->result.phase[b->result.n_phases].shows_memory = true;
    return bench_phase_end(b, o->publisher.n_sent * o->n_subscribers);
}

static int drain(struct offline *o)
{
    struct bench *b = o->bench;
    uint64_t before = b->n_delivered;
    if (bench_phase_begin(b, "drain", "delivery") < 0 ||
        clients_connect(b, o->set, o->n_subscribers) < 0)
        return -EIO;
    if (bench_until(b, is_drained, o) == -EIO) /* what does not come is lost */
        return -EIO;
    if (clients_disconnect(b, o->set, o->n_subscribers) < 0)
        return -EIO;
    return bench_phase_end(b, b->n_delivered - before);
}

int shape_offline(struct bench *b)
{
    struct offline o;
    int r = offline_init(&o, b);
    if (r == 0)
        r = leave_sessions(&o);
    if (r == 0)
        r = store(&o);
    if (r == 0)
        r = drain(&o);
    if (r == 0)
        r = clients_discard_sessions(b, o.set, o.n_subscribers);
    b->result.n_published = o.publisher.n_sent;
    b->result.n_expected = o.publisher.n_sent * o.n_subscribers;
    for (uint32_t i = 0; i < o.n_subscribers; i++)
        subscriber_tell(&o.subscribers[i], true);
    offline_fini(&o);
    return r;
}
