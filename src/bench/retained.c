#include "bench/publisher.h"
#include "bench/subscriber.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct retained {
    struct bench *bench;
    struct publisher publisher; /* of the messages */
    struct publisher eraser;    /* of what clears them */
    struct subscriber *reader;  /* who reads them now */
};

#define DIGITS 8

static void set_topic(struct publisher *p, uint64_t number, char *topic)
{
    char *at = topic + strlen(p->client.bench->prefix) + 3 + DIGITS;
    for (int i = 0; i < DIGITS; i++) {
        *--at = (char)('0' + number % 10);
        number /= 10;
    }
}

static int init_publisher(struct publisher *p, struct bench *b, uint32_t index, uint32_t payload)
{
    char topic[TOPIC_MAX];
    snprintf(topic, sizeof(topic), "%s/r/%0*u", b->prefix, DIGITS, 0u);
    struct publisher_conf conf = { .topic = topic,
                                   .retopic = set_topic,
                                   .payload = payload,
                                   .window = b->opt->window,
                                   .batch = b->opt->batch,
                                   .qos = b->opt->qos,
                                   .retain = true };
    return publisher_init(p, b, index, &conf);
}

static bool is_sent(void *ctx)
{
    return publisher_is_idle(ctx);
}

static int publish_all(struct publisher *p)
{
    struct bench *b = p->client.bench;
    struct client *client = &p->client;
    if (clients_connect(b, &client, 1) < 0)
        return -EIO;
    publisher_allow(p, b->opt->topics);
    return bench_expect(b, "publishing retained messages", is_sent, p);
}

static bool is_read(void *ctx)
{
    const struct retained *r = ctx;
    return r->reader->n_unique == r->bench->opt->topics;
}

/* One new subscriber. Messages that do not come are counted as lost. */
static int read_all(struct retained *r, uint32_t nth)
{
    struct bench *b = r->bench;
    struct subscriber s;
    struct client *client = &s.client;
    char text[TOPIC_MAX];
    snprintf(text, sizeof(text), "%s/r/#", b->prefix);
    struct str filter = str_from(text);
    int result = subscriber_init(&s, b, nth, 0, 1, b->opt->topics);
    r->reader = &s;
    if (result == 0)
        result = clients_connect(b, &client, 1);
    if (result == 0) {
        client_subscribe(client, &filter, 1, b->opt->qos);
        result = bench_until(b, is_read, r);
        result = result == -EIO ? -EIO : clients_disconnect(b, &client, 1);
        b->result.n_expected += b->opt->topics;
        subscriber_tell(&s, false);
    }
    subscriber_fini(&s);
    return result;
}

static int play(struct retained *r)
{
    struct bench *b = r->bench;
    if (bench_phase_begin(b, "store", "message") < 0 || publish_all(&r->publisher) < 0)
        return -EIO;
    b->result.phase[b->result.n_phases].shows_memory = true;
    b->result.n_published = r->publisher.n_sent;
    if (bench_phase_end(b, b->opt->topics) < 0 || bench_phase_begin(b, "deliver", "delivery") < 0)
        return -EIO;
    uint64_t before = b->n_delivered;
    for (uint32_t i = 0; i < b->opt->subscribers; i++)
        if (read_all(r, i) < 0)
            return -EIO;
    if (bench_phase_end(b, b->n_delivered - before) < 0)
        return -EIO;
    if (bench_phase_begin(b, "clear", "message") < 0 || publish_all(&r->eraser) < 0)
        return -EIO;
    return bench_phase_end(b, b->opt->topics);
}

int shape_retained(struct bench *b)
{
    struct retained r = { .bench = b };
    int result = init_publisher(&r.publisher, b, 0, b->opt->payload);
    if (result == 0)
        result = init_publisher(&r.eraser, b, 1, 0);
    if (result == 0)
        result = play(&r);
    publisher_fini(&r.publisher);
    publisher_fini(&r.eraser);
    return result;
}
