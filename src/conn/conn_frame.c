/* conn_frame.c - from bytes to packets: which may come in which state, and which have to wait.
 *
 * While a packet of the client is under way, its later ones wait in order (A6). They are copied
 * whole into `deferred`; when that is full, they stay with the stream and reading stops. */
#include "conn/conn_priv.h"
#include "conn/conn_trace.h"

#define DEFERRED_MAX (256u * 1024) /* bytes; reading stops beyond */

enum rule {
    NEVER, /* closes the connection */
    NOW,
    ORDER, /* now, unless an earlier packet is under way */
    WAIT,  /* until CONNACK */
    LAST,  /* as WAIT, but with enhanced authentication it is the client's way out */
};

static const struct {
    int (*run)(struct conn *c, const struct frame *f);
    uint8_t connecting, online; /* enum rule */
} packets[16] = {
    [PACKET_CONNECT] = { conn_on_connect, NEVER, NEVER }, /* [MQTT-3.1.0-2] */
    [PACKET_PUBLISH] = { conn_on_publish, WAIT, ORDER },
    [PACKET_PUBACK] = { conn_on_ack, WAIT, NOW },
    [PACKET_PUBREC] = { conn_on_ack, WAIT, NOW },
    [PACKET_PUBREL] = { conn_on_ack, WAIT, NOW },
    [PACKET_PUBCOMP] = { conn_on_ack, WAIT, NOW },
    [PACKET_SUBSCRIBE] = { conn_on_subscribe, WAIT, ORDER },
    [PACKET_UNSUBSCRIBE] = { conn_on_unsubscribe, WAIT, ORDER },
    [PACKET_PINGREQ] = { conn_on_pingreq, WAIT, NOW },
    [PACKET_DISCONNECT] = { conn_on_disconnect, LAST, ORDER },
    [PACKET_AUTH] = { conn_on_auth, NOW, ORDER },
};

/* ---- one frame ---------------------------------------------------------------------------------
 */

static enum rule rule_of(const struct conn *c, uint8_t type)
{
    if (c->state == CONN_NEW)
        return type == PACKET_CONNECT ? NOW : NEVER; /* [MQTT-3.1.0-1] */
    if (c->state == CONN_ONLINE)
        return (enum rule)packets[type].online;
    enum rule rule = (enum rule)packets[type].connecting;
    if (!c->auth_method.ptr)
        return rule == LAST ? WAIT : rule;
    if (rule == LAST)
        return NOW;
    return rule == WAIT ? NEVER : rule; /* [MQTT-3.1.2-30] */
}

/* Is a packet with this first byte possible now? Asked before the rest of it is there. */
static int check_first(struct conn *c, const struct frame *f)
{
    if (c->state == CONN_NEW && f->type != PACKET_CONNECT)
        return conn_fault(c, REASON_PROTOCOL_ERROR, "the first packet is not CONNECT");
    int r = frame_check_first((uint8_t)(f->type << 4 | f->flags), conn_version(c));
    if (r)
        return r;
    if (rule_of(c, f->type) == NEVER)
        return conn_fault(c, REASON_PROTOCOL_ERROR, "this packet may not come now");
    return 0;
}

static void log_frame(const struct conn *c, const struct frame *f)
{
    log_debug(conn_shard(c)->log, "packet_in", LZ("type", packet_type_name(f->type)),
              LS("client", c->client.who ? identity_id(c->client.who) : STR("-")),
              LU("size", f->total));
}

/* 0: dealt with, even if the connection has ended; CONN_LATER. */
static int run(struct conn *c, const struct frame *f)
{
    log_frame(c, f);
    c->fault = NULL;
    if (conn_is_traced(c) && !c->trace_seen)
        conn_trace_in(c, f);
    int r = packets[f->type].run(c, f);
    c->trace_seen = r == CONN_LATER;
    if (r == CONN_LATER)
        return r;
    shard_count(conn_shard(c), N_PACKETS_IN, 1);
    if (r < 0)
        conn_fail(c, (uint8_t)-r, c->fault);
    return 0;
}

static bool must_wait(const struct conn *c, enum rule rule)
{
    if (rule == WAIT)
        return true;
    return rule == ORDER && (c->client.n_blocking || buf_len(&c->deferred));
}

/* ---- waiting -----------------------------------------------------------------------------------
 */

/* 0; CONN_LATER: not taken; or negative reason. */
static int defer(struct conn *c, const struct frame *f)
{
    const struct config *config = conn_config(c);
    if (buf_len(&c->deferred) + f->total > DEFERRED_MAX) {
        conn_pause(c, PAUSE_BYTES);
        return CONN_LATER;
    }
    if (!f->body)
        return CONN_LATER; /* the rest of it may come */
    if (c->state == CONN_CONNECTING && c->n_deferred >= (uint64_t)config->queue_limit)
        return conn_fault(c, REASON_QUOTA_EXCEEDED, "too many packets before CONNACK");
    if (buf_append(&c->deferred, f->body - f->head_len, f->total))
        return conn_fault(c, REASON_SERVER_BUSY, "out of memory");
    c->n_deferred++;
    return 0;
}

/* Every packet may have an answer: none is looked at while too many of them are not read. Only
 * above the high mark, for on_low_water ends the pause. */
static bool has_room(struct conn *c)
{
    uint64_t max = (uint64_t)conn_config(c)->limits.write_buffer;
    if (stream_queued_bytes(c->stream) < max || !stream_is_above_high(c->stream))
        return true;
    conn_pause(c, PAUSE_OUT);
    return false;
}

void conn_run_deferred(struct conn *c)
{
    struct frame f;
    while (c->state == CONN_ONLINE && has_room(c) && !(c->paused & (PAUSE_CREDIT | PAUSE_RATE)) &&
           frame_next((const uint8_t *)buf_ptr(&c->deferred), buf_len(&c->deferred), 0, &f) ==
               FRAME_OK) {
        if (c->client.n_blocking && packets[f.type].online == ORDER)
            return;
        if (run(c, &f) == CONN_LATER || c->state != CONN_ONLINE)
            return; /* the memory stays: somebody may still look at the frame */
        buf_consume(&c->deferred, f.total);
        c->n_deferred--;
        if (buf_len(&c->deferred) == 0)
            buf_fini(&c->deferred);
    }
}

/* ---- the stream --------------------------------------------------------------------------------
 */

static uint32_t max_packet(const struct conn *c)
{
    if (c->state == CONN_NEW)
        return (uint32_t)conn_config(c)->limits.connect_size;
    uint64_t own = c->client.limits.packet_size;
    return own && own < FRAME_TOTAL_MAX ? (uint32_t)own : 0;
}

/* A whole frame, or the head of one. 0: taken; CONN_LATER: not; negative reason. */
static int take(struct conn *c, const struct frame *f)
{
    int r = check_first(c, f);
    if (r)
        return r;
    if (must_wait(c, rule_of(c, f->type)))
        return f->total ? defer(c, f) : CONN_LATER;
    return f->body ? run(c, f) : CONN_LATER;
}

static void count_in(struct conn *c)
{
    struct shard *s = conn_shard(c);
    uint64_t n = stream_bytes_in(c->stream);
    shard_count(s, N_BYTES_IN, (int64_t)(n - c->bytes_in));
    c->bytes_in = n;
    c->last_in_ms = shard_now_ms(s);
}

static size_t on_data(void *ctx, const uint8_t *data, size_t len)
{
    struct conn *c = ctx;
    size_t used = 0;
    SHARD_ASSERT(conn_shard(c));
    count_in(c);
    conn_run_deferred(c);
    while (used < len && !c->paused && c->state != CONN_CLOSED && has_room(c)) {
        struct frame f;
        c->fault = NULL;
        int r = frame_next(data + used, len - used, max_packet(c), &f);
        if (r < 0 && c->state == CONN_NEW && f.type == PACKET_CONNECT)
            conn_guess_version(c, data + used, len - used, &f);
        if (r >= 0)
            r = take(c, &f);
        if (r < 0)
            conn_fail(c, (uint8_t)-r, c->fault);
        if (r)
            break;
        used += f.total;
    }
    return used;
}

static void on_eof(void *ctx)
{
    conn_end_of_input(ctx);
}

static void on_low_water(void *ctx)
{
    struct conn *c = ctx;
    conn_resume(c, PAUSE_OUT);
    if (c->eof || buf_len(&c->deferred))
        conn_post_work(c);
    if (c->state == CONN_ONLINE)
        client_writable(&c->client);
}

static void on_closed(void *ctx, int err)
{
    struct conn *c = ctx;
    char text[64];
    snprintf(text, sizeof(text), "connection lost (error %d)", -err);
    struct client_cause cause = { .reason = REASON_UNSPECIFIED_ERROR,
                                  .send_will = true,
                                  .text = text };
    const char *fault = stream_fault(c->stream);
    if (!fault) {
        conn_end(c, &cause, CONN_LOST);
        return;
    }
    cause.reason = REASON_PROTOCOL_ERROR;
    cause.text = fault;
    shard_count(conn_shard(c), N_PROTOCOL_ERRORS, 1);
    if (c->state != CONN_ONLINE)
        shard_count(conn_shard(c), N_REFUSED, 1);
    conn_end(c, &cause, CONN_LOST | CONN_FAULT);
}

const struct stream_ops conn_stream_ops = {
    .on_data = on_data,
    .on_eof = on_eof,
    .on_low_water = on_low_water,
    .on_closed = on_closed,
    .on_peer = conn_on_peer,
};
