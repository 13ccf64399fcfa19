#include "bench/client.h"
#include "net/loop.h"
#include "wire/ack.h"
#include "wire/connack.h"
#include "wire/connect.h"
#include "wire/disconnect.h"
#include "wire/ping.h"
#include "wire/reason.h"
#include "wire/suback.h"
#include "wire/subscribe.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SESSION_EXPIRY_S 3600u

void client_init(struct client *c, struct bench *b, const struct client_ops *ops, const char *kind,
                 uint32_t nth)
{
    *c = (struct client){ .bench = b, .ops = ops, .clean = true };
    snprintf(c->id, sizeof(c->id), "pb%s%s%u", b->run, kind, nth);
}

static void leave_state(struct client *c)
{
    if (c->state == CLIENT_CONNECTING)
        c->bench->n_connecting--;
    if (c->state != CLIENT_DOWN)
        c->bench->n_open--;
    c->state = CLIENT_DOWN;
}

void client_fini(struct client *c)
{
    leave_state(c);
    if (c->stream)
        stream_abort(&c->stream);
}

static void flush_acks(struct client *c)
{
    struct bench *b = c->bench;
    if (b->n_acks)
        stream_write(c->stream, b->acks, b->n_acks);
    b->n_acks = 0;
}

static void put_ack(struct client *c, enum packet_type type, uint16_t packet_id)
{
    struct bench *b = c->bench;
    if (b->n_acks + ACK_SIZE_SMALL > BENCH_ACKS_MAX)
        flush_acks(c);
    b->n_acks += ack_write_small(b->acks + b->n_acks, type, b->opt->version, packet_id, 0);
}

static void malformed(struct client *c, const struct frame *f)
{
    bench_fail(c->bench, "the broker sent %s a malformed or unexpected %s", c->id,
               packet_type_name(f->type));
}

/* The hot path: only what is needed is looked at. */
static void take_publish(struct client *c, const struct frame *f)
{
    uint8_t qos = f->flags >> 1 & 3;
    struct cursor cursor;
    cursor_init(&cursor, f->body, f->len);
    cursor_take(&cursor, cursor_u16(&cursor));
    uint16_t packet_id = qos ? cursor_u16(&cursor) : 0;
    if (c->bench->opt->version == MQTT_5)
        cursor_props(&cursor);
    if (cursor.failed || (qos && packet_id == 0)) {
        malformed(c, f);
        return;
    }
    if (qos)
        put_ack(c, qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, packet_id);
    struct delivery d = { .payload = str_make(cursor.at, cursor_left(&cursor)),
                          .dup = f->flags & 8,
                          .retain = f->flags & 1 };
    if (c->ops->on_message)
        c->ops->on_message(c, &d);
}

static void take_ack(struct client *c, const struct frame *f)
{
    uint8_t reason = c->bench->opt->version == MQTT_5 && f->len > 2 ? f->body[2] : 0;
    if (f->len < 2) {
        malformed(c, f);
        return;
    }
    uint16_t packet_id = (uint16_t)(f->body[0] << 8 | f->body[1]);
    if (f->type == PACKET_PUBREL) {
        put_ack(c, PACKET_PUBCOMP, packet_id);
        return;
    }
    if (c->n_unacked == 0) {
        malformed(c, f);
        return;
    }
    if (f->type == PACKET_PUBREC && !reason_is_error(reason)) {
        put_ack(c, PACKET_PUBREL, packet_id);
        return;
    }
    if (reason_is_error(reason))
        c->bench->result.n_refused++;
    c->n_unacked--;
    if (c->ops->on_acked)
        c->ops->on_acked(c);
}

static void take_connack(struct client *c, const struct frame *f)
{
    struct bench *b = c->bench;
    struct connack_packet ack;
    if (c->state != CLIENT_CONNECTING || connack_decode(f, b->opt->version, &ack) < 0) {
        malformed(c, f);
        return;
    }
    if (ack.reason != REASON_SUCCESS) {
        bench_fail(b, "the broker refuses %s: %s", c->id, reason_name(ack.reason));
        return;
    }
    c->receive_max =
        ack.receive_maximum < CLIENT_UNACKED_MAX ? ack.receive_maximum : CLIENT_UNACKED_MAX;
    c->state = CLIENT_UP;
    b->n_connecting--;
    if (c->ops->on_up)
        c->ops->on_up(c);
}

static void take_suback(struct client *c, const struct frame *f)
{
    struct suback_packet ack;
    if (suback_decode(f, c->bench->opt->version, &ack) < 0 || c->bench->n_subscribing == 0) {
        malformed(c, f);
        return;
    }
    for (uint32_t i = 0; i < ack.codes.len; i++) {
        uint8_t code = (uint8_t)ack.codes.ptr[i];
        if (reason_is_error(code))
            bench_fail(c->bench, "the broker refuses a subscription: %s", reason_name(code));
    }
    c->bench->n_subscribing--;
}

static void take_disconnect(struct client *c, const struct frame *f)
{
    struct disconnect_packet packet;
    if (disconnect_decode(f, c->bench->opt->version, WIRE_FROM_SERVER, &packet) < 0)
        malformed(c, f);
    else
        bench_fail(c->bench, "the broker disconnects %s: %s", c->id, reason_name(packet.reason));
}

static void take_frame(struct client *c, const struct frame *f)
{
    switch (f->type) {
    case PACKET_PUBLISH: take_publish(c, f); break;
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBREL:
    case PACKET_PUBCOMP: take_ack(c, f); break;
    case PACKET_CONNACK: take_connack(c, f); break;
    case PACKET_SUBACK: take_suback(c, f); break;
    case PACKET_PINGRESP:
        if (c->ops->on_pong)
            c->ops->on_pong(c);
        break;
    case PACKET_DISCONNECT: take_disconnect(c, f); break;
    default: malformed(c, f); break;
    }
}

static size_t on_data(void *ctx, const uint8_t *data, size_t len)
{
    struct client *c = ctx;
    size_t at = 0;
    c->bench->now_ns = bench_clock_ns();
    c->bench->n_received++;
    while (at < len && !c->bench->failed) {
        struct frame f;
        int r = frame_next(data + at, len - at, 0, &f);
        if (r == FRAME_NEED_MORE)
            break;
        if (r < 0) {
            malformed(c, &f);
            break;
        }
        take_frame(c, &f);
        at += f.total;
    }
    flush_acks(c);
    return at;
}

static void gone(struct client *c, int err)
{
    bool expected = c->state == CLIENT_LEAVING;
    leave_state(c);
    c->stream = NULL;
    c->bench->n_received++;
    if (!expected)
        bench_fail(c->bench, "the broker closed the connection of %s%s%s", c->id, err ? ": " : "",
                   err ? strerror(-err) : "");
    else if (c->ops->on_gone)
        c->ops->on_gone(c);
}

static void on_eof(void *ctx)
{
    struct client *c = ctx;
    stream_abort(&c->stream);
    gone(c, 0);
}

static void on_closed(void *ctx, int err)
{
    gone(ctx, err);
}

static const struct stream_ops stream_ops = { .on_data = on_data,
                                              .on_eof = on_eof,
                                              .on_closed = on_closed };

/* Room in the stream for a packet of that size, or NULL. */
static uint8_t *packet_begin(struct client *c, size_t size, struct writer *w)
{
    uint8_t *out = size ? stream_reserve(c->stream, size) : NULL;
    if (out)
        writer_init(w, out, size);
    else
        bench_fail(c->bench, "out of memory, or a packet that is too large");
    return out;
}

static void send_connect(struct client *c)
{
    const struct options *opt = c->bench->opt;
    struct connect_packet p;
    struct writer w;
    connect_packet_init(&p, opt->version);
    p.clean_start = c->clean;
    p.client_id = str_from(c->id);
    p.user_name = str_from(opt->user);
    p.password = str_from(opt->password);
    if (opt->version == MQTT_5 && !c->clean) {
        p.session_expiry_s = SESSION_EXPIRY_S;
        p.present |= PROPERTY_BIT(PROPERTY_SESSION_EXPIRY);
    }
    if (packet_begin(c, connect_size(&p), &w)) {
        connect_encode(&p, &w);
        stream_commit(c->stream, w.len);
    }
}

void client_connect(struct client *c)
{
    struct bench *b = c->bench;
    int fd = dial_connect(&b->dial);
    if (fd < 0) {
        bench_fail(b, "cannot connect to %s port %u: %s", b->opt->host, b->opt->port,
                   strerror(-fd));
        return;
    }
    if (stream_new(fd, NULL, &c->stream) < 0) {
        bench_fail(b, "out of memory");
        return;
    }
    c->state = CLIENT_CONNECTING;
    c->n_unacked = 0;
    b->n_connecting++;
    b->n_open++;
    stream_attach(c->stream, b->loop, &stream_ops, c);
    send_connect(c);
}

void client_subscribe(struct client *c, const struct str *filters, uint32_t n, uint8_t qos)
{
    enum mqtt_version version = c->bench->opt->version;
    struct subscribe_packet p = { .packet_id = client_next_id(c), .n_filters = n };
    struct subscribe_filter *list = calloc(n, sizeof(*list));
    struct writer w;
    for (uint32_t i = 0; list && i < n; i++)
        list[i] = (struct subscribe_filter){ .filter = filters[i], .qos = qos };
    if (!list) {
        bench_fail(c->bench, "out of memory");
    } else if (packet_begin(c, subscribe_size(&p, list, version), &w)) {
        subscribe_encode(&p, list, version, &w);
        stream_commit(c->stream, w.len);
        c->bench->n_subscribing++;
    }
    free(list);
}

void client_ping(struct client *c)
{
    struct writer w;
    if (packet_begin(c, PING_SIZE, &w)) {
        ping_encode(PACKET_PINGREQ, &w);
        stream_commit(c->stream, w.len);
    }
}

void client_disconnect(struct client *c)
{
    enum mqtt_version version = c->bench->opt->version;
    struct disconnect_packet p = { .reason = REASON_SUCCESS };
    struct writer w;
    if (packet_begin(c, disconnect_size(&p, version), &w)) {
        disconnect_encode(&p, version, &w);
        stream_commit(c->stream, w.len);
        c->state = CLIENT_LEAVING;
    }
}

static bool is_room_to_connect(void *ctx)
{
    return ((struct bench *)ctx)->n_connecting < CONNECTING_MAX;
}

static bool is_nobody_connecting(void *ctx)
{
    return ((struct bench *)ctx)->n_connecting == 0;
}

static bool is_all_subscribed(void *ctx)
{
    return ((struct bench *)ctx)->n_subscribing == 0;
}

int clients_connect(struct bench *b, struct client *const *set, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        int r = bench_expect(b, "connecting", is_room_to_connect, b);
        if (r < 0)
            return r;
        client_connect(set[i]);
    }
    return bench_expect(b, "connecting", is_nobody_connecting, b);
}

struct leaving {
    struct client *const *set;
    uint32_t n, n_gone; /* the first n_gone are down */
};

static bool is_all_down(void *ctx)
{
    struct leaving *l = ctx;
    while (l->n_gone < l->n && l->set[l->n_gone]->state == CLIENT_DOWN)
        l->n_gone++;
    return l->n_gone == l->n;
}

int clients_disconnect(struct bench *b, struct client *const *set, uint32_t n)
{
    struct leaving leaving = { .set = set, .n = n };
    for (uint32_t i = 0; i < n; i++)
        if (set[i]->state == CLIENT_UP)
            client_disconnect(set[i]);
    return bench_expect(b, "disconnecting", is_all_down, &leaving);
}

int clients_await_subacks(struct bench *b)
{
    return bench_expect(b, "subscribing", is_all_subscribed, b);
}

int clients_discard_sessions(struct bench *b, struct client *const *set, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        set[i]->clean = true;
    int r = clients_connect(b, set, n);
    return r < 0 ? r : clients_disconnect(b, set, n);
}
