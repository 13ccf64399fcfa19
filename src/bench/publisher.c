#include "bench/publisher.h"
#include "bench/payload.h"
#include "wire/publish.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RESERVE_MAX 16000u /* fits into one chunk of a stream's queue */
#define FILL        0x5a

static uint64_t under_way(const struct publisher *p)
{
    return p->n_sent - p->n_done;
}

static void want_pump(struct publisher *p)
{
    if (!list_linked(&p->pump))
        list_append(&p->client.bench->pumps, &p->pump);
}

static void on_acked(struct client *c)
{
    struct publisher *p = container_of(c, struct publisher, client);
    if (p->conf.n_receivers == 0)
        p->n_done = p->n_sent - c->n_unacked;
    want_pump(p);
}

static void on_pong(struct client *c)
{
    struct publisher *p = container_of(c, struct publisher, client);
    p->is_pinging = false;
    p->n_done = p->ping_at;
    want_pump(p);
}

static const struct client_ops client_ops = { .on_acked = on_acked, .on_pong = on_pong };

static int make_frame(struct publisher *p)
{
    const struct publisher_conf *conf = &p->conf;
    enum mqtt_version version = p->client.bench->opt->version;
    struct publish_head head = { .topic = str_from(conf->topic),
                                 .payload_len = conf->payload,
                                 .qos = conf->qos,
                                 .retain = conf->retain,
                                 .packet_id = conf->qos ? 1 : 0 };
    struct publish_size size;
    if (publish_head_measure(&head, version, &size) < 0)
        return -1;
    p->frame = malloc((size_t)size.total);
    if (!p->frame)
        return -1;
    publish_head_write(&head, version, &size, p->frame);
    memset(p->frame + size.head_len, FILL, conf->payload);
    p->frame_len = size.total;
    p->id_at = size.packet_id_at;
    p->topic_at = size.head_len - (version == MQTT_5) - (conf->qos ? 2 : 0) - head.topic.len;
    p->payload_at = size.head_len;
    return 0;
}

int publisher_init(struct publisher *p, struct bench *b, uint32_t index,
                   const struct publisher_conf *conf)
{
    *p = (struct publisher){ .conf = *conf, .index = index };
    client_init(&p->client, b, &client_ops, "p", index);
    list_init(&p->pump);
    p->left_mask = 63;
    while (p->left_mask + 1 < conf->window)
        p->left_mask = p->left_mask * 2 + 1;
    if (conf->n_receivers)
        p->left = calloc(p->left_mask + 1, sizeof(*p->left));
    if ((conf->n_receivers && !p->left) || make_frame(p) < 0) {
        bench_fail(b, "out of memory, or a message that is too large");
        return -EIO;
    }
    return 0;
}

void publisher_fini(struct publisher *p)
{
    if (list_linked(&p->pump))
        list_remove(&p->pump);
    client_fini(&p->client);
    free(p->left);
    free(p->frame);
}

void publisher_allow(struct publisher *p, uint64_t limit)
{
    p->limit = limit;
    want_pump(p);
}

void publisher_delivered(struct publisher *p, uint64_t number)
{
    if (number < p->n_done || number >= p->n_sent)
        return; /* given up */
    uint64_t at = number & p->left_mask;
    if (p->left[at] > 0)
        p->left[at]--;
    if (number != p->n_done)
        return;
    while (p->n_done < p->n_sent && p->left[p->n_done & p->left_mask] == 0)
        p->n_done++;
    want_pump(p);
}

bool publisher_is_idle(const struct publisher *p)
{
    return p->n_sent == p->limit && p->n_done == p->n_sent && p->client.n_unacked == 0;
}

void publisher_give_up(struct publisher *p)
{
    p->n_done = p->n_sent;
    want_pump(p);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How many may be sent now; 0 also when it is better to wait for more. */
static uint64_t room(const struct publisher *p)
{
    const struct client *c = &p->client;
    uint64_t wanted = p->limit - p->n_sent;
    uint64_t max = p->conf.window - min_u64(p->conf.window, under_way(p));
    uint64_t batch = p->conf.batch;
    if (p->conf.qos) {
        max = min_u64(max, c->receive_max - min_u64(c->receive_max, c->n_unacked));
        batch = min_u64(batch, (c->receive_max + 1) / 2);
    }
    uint64_t n = min_u64(wanted, max);
    bool is_idle = under_way(p) == 0 && c->n_unacked == 0;
    return n >= batch || n == wanted || is_idle ? n : 0;
}

static uint64_t due_ns(const struct publisher *p, uint64_t number, uint64_t now_ns)
{
    if (p->due_step_ns == 0)
        return now_ns;
    return p->due_ns + (uint64_t)((double)(number - p->due_from) * p->due_step_ns);
}

static void put_message(struct publisher *p, uint8_t *out, uint64_t now_ns)
{
    uint64_t number = p->n_sent++;
    memcpy(out, p->frame, p->frame_len);
    if (p->conf.retopic)
        p->conf.retopic(p, number, (char *)out + p->topic_at);
    if (p->conf.qos) {
        uint16_t id = client_next_id(&p->client);
        out[p->id_at] = (uint8_t)(id >> 8);
        out[p->id_at + 1] = (uint8_t)id;
        p->client.n_unacked++;
    }
    if (p->conf.payload) {
        struct payload head = { .publisher = p->index,
                                .number = (uint32_t)number,
                                .due_ns = due_ns(p, number, now_ns) };
        payload_put(out + p->payload_at, &head);
    }
    if (p->left)
        p->left[number & p->left_mask] = p->conf.n_receivers;
}

static void send_messages(struct publisher *p, uint64_t n)
{
    uint64_t per_chunk = RESERVE_MAX / p->frame_len;
    uint64_t now_ns = bench_clock_ns();
    per_chunk = per_chunk ? per_chunk : 1;
    while (n > 0) {
        uint64_t some = min_u64(n, per_chunk);
        uint8_t *out = stream_reserve(p->client.stream, some * p->frame_len);
        if (!out)
            return; /* the connection is lost, which fails the run */
        for (uint64_t i = 0; i < some; i++)
            put_message(p, out + i * p->frame_len, now_ns);
        stream_commit(p->client.stream, some * p->frame_len);
        n -= some;
    }
}

static bool pump(struct publisher *p)
{
    if (p->client.state != CLIENT_UP)
        return false;
    uint64_t n = room(p);
    if (n > 0)
        send_messages(p, n);
    if (p->conf.n_receivers == 0 && p->conf.qos == 0 && !p->is_pinging && under_way(p) > 0) {
        p->is_pinging = true;
        p->ping_at = p->n_sent;
        client_ping(&p->client);
    }
    return n > 0;
}

bool publisher_pump_all(struct bench *b)
{
    struct list now;
    struct list *link;
    bool any = false;
    list_init(&now);
    list_splice(&now, &b->pumps);
    while ((link = list_pop(&now)))
        any |= pump(container_of(link, struct publisher, pump));
    return any;
}
