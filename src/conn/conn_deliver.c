/* conn_deliver.c - packets to the client; PUBLISH is the hottest path of the broker. */
#include "conn/conn_priv.h"
#include "conn/conn_trace.h"
#include "wire/ack.h"
#include "wire/publish.h"
#include <errno.h>
#include <stdlib.h>

#define COPY_MAX  2048u /* bytes of payload; larger ones go by reference */
#define ALIAS_MIN 5u    /* bytes of a topic; a shorter one is not worth its alias */

/* ---- writing -----------------------------------------------------------------------------------
 */

uint8_t *conn_reserve(struct conn *c, size_t n)
{
    if (!n || (c->max_packet_out && n > c->max_packet_out)) /* [MQTT-3.1.2-24] */
        return NULL;
    c->reserved = stream_reserve(c->stream, n);
    return c->reserved;
}

static void count_out(struct conn *c, enum packet_type type, size_t n)
{
    struct shard *s = conn_shard(c);
    shard_count(s, N_PACKETS_OUT, 1);
    shard_count(s, N_BYTES_OUT, (int64_t)n);
    log_debug(s->log, "packet_out", LZ("type", packet_type_name((uint8_t)type)),
              LS("client", c->client.who ? identity_id(c->client.who) : STR("-")), LU("size", n));
    if (stream_is_above_high(c->stream))
        conn_watch_drain(c);
}

void conn_wrote(struct conn *c, enum packet_type type, size_t n)
{
    if (conn_is_traced(c))
        conn_trace_out(c, c->reserved, n, NULL);
    stream_commit(c->stream, n);
    count_out(c, type, n);
}

struct str conn_reason_string(const struct conn *c, enum packet_type type, const char *text)
{
    bool always = type == PACKET_CONNACK || type == PACKET_DISCONNECT || type == PACKET_PUBLISH;
    if (!text || !conn_is_v5(c) || (!c->client.problem_info && !always))
        return STR_NULL;
    return str_from(text);
}

bool conn_is_congested(const struct client *client)
{
    const struct conn *c = conn_of(client);
    return c->state != CONN_ONLINE || stream_is_above_high(c->stream);
}

/* ---- acknowledgements --------------------------------------------------------------------------
 */

static void send_long_ack(struct conn *c, struct ack_packet *p)
{
    struct writer w;
    size_t n = ack_fit(p, MQTT_5, c->max_packet_out);
    uint8_t *out = conn_reserve(c, n);
    if (!out)
        return;
    writer_init(&w, out, n);
    ack_encode(p, MQTT_5, &w);
    conn_wrote(c, (enum packet_type)p->type, n);
}

uint8_t conn_reason(uint8_t reason, enum packet_type type)
{
    return !reason_is_error(reason) || reason_is_allowed(reason, type) ? reason
                                                                       : REASON_NOT_AUTHORIZED;
}

void conn_send_ack(struct client *client, uint8_t type, uint16_t packet_id, uint8_t reason,
                   const char *text)
{
    struct conn *c = conn_of(client);
    if (c->state != CONN_ONLINE)
        return;
    reason = conn_reason(reason, (enum packet_type)type);
    struct ack_packet p = { .type = type, .reason = reason, .packet_id = packet_id };
    p.reason_string = conn_reason_string(c, (enum packet_type)type, text);
    if (p.reason_string.ptr) {
        send_long_ack(c, &p);
        return;
    }
    uint8_t bytes[ACK_SIZE_SMALL];
    uint32_t n = ack_write_small(bytes, (enum packet_type)type, conn_version(c), packet_id, reason);
    uint8_t *out = conn_reserve(c, n);
    if (!out)
        return;
    memcpy(out, bytes, n);
    conn_wrote(c, (enum packet_type)type, n);
}

/* ---- PUBLISH -----------------------------------------------------------------------------------
 */

static void count_publish(struct conn *c, const struct message *m, size_t n)
{
    struct shard *s = conn_shard(c);
    shard_count(s, N_MESSAGES_OUT, 1);
    shard_count(s, N_PAYLOAD_OUT, m->view.payload.len);
    count_out(c, PACKET_PUBLISH, n);
}

/* Copies a finished packet. */
static enum client_send send_encoded(struct conn *c, const struct encoded *e,
                                     const struct client_publish *p)
{
    uint32_t n = e->size.total;
    if (c->max_packet_out && n > c->max_packet_out)
        return CLIENT_TOO_LARGE;
    uint8_t *out = stream_reserve(c->stream, n);
    if (!out)
        return CLIENT_SENT; /* the connection is lost; QoS > 0 is sent again on the next one */
    memcpy(out, e->bytes, n);
    if (p->qos) {
        publish_head_set_id(out, &e->size, p->packet_id);
        publish_head_set_dup(out, p->dup);
    }
    if (conn_is_traced(c))
        conn_trace_out(c, out, n, p->message);
    stream_commit(c->stream, n);
    count_publish(c, p->message, n);
    return CLIENT_SENT;
}

static void release_message(void *obj)
{
    struct message *m = obj;
    message_unref(&m);
}

static enum client_send send_head(struct conn *c, const struct publish_head *h,
                                  const struct publish_size *size, struct message *m)
{
    bool by_copy = h->payload_len <= COPY_MAX;
    uint32_t n = by_copy ? size->total : size->head_len;
    uint8_t *out = stream_reserve(c->stream, n);
    if (!out)
        return CLIENT_SENT;
    uint8_t *payload = publish_head_write(h, conn_version(c), size, out);
    if (by_copy && h->payload_len)
        memcpy(payload, m->view.payload.ptr, h->payload_len);
    if (conn_is_traced(c))
        conn_trace_out(c, out, n, m);
    stream_commit(c->stream, n);
    if (!by_copy)
        stream_write_ref(c->stream, m->view.payload.ptr, h->payload_len, release_message,
                         message_ref(m));
    count_publish(c, m, size->total);
    return CLIENT_SENT;
}

/* The alias of a topic: each topic has one place, the last that came there has it. 0: none. */
static uint16_t alias_of(struct conn *c, struct str topic, bool *r_known)
{
    if (!c->alias_out_max || topic.len < ALIAS_MIN)
        return 0;
    if (!c->alias_out) {
        c->alias_out = calloc(c->alias_out_max, sizeof(*c->alias_out));
        if (!c->alias_out)
            return 0;
    }
    uint64_t at = hash_bytes(&c->broker->hash_key, topic.ptr, topic.len) % c->alias_out_max;
    *r_known = c->alias_out[at].ptr && str_eq(c->alias_out[at], topic);
    return (uint16_t)(at + 1);
}

/* The client has been told a new mapping; without memory for it, it is not used. */
static void remember_alias(struct conn *c, uint16_t alias, struct str topic)
{
    str_free(&c->alias_out[alias - 1]);
    str_dup_r(topic, &c->alias_out[alias - 1]);
}

/* With an alias if there is one and the packet fits. 0 or -EMSGSIZE. */
static int measure(struct conn *c, struct publish_head *h, struct str topic,
                   struct publish_size *r_size)
{
    bool known = false;
    uint32_t max = c->max_packet_out ? c->max_packet_out : UINT32_MAX;
    h->topic_alias = conn_is_v5(c) ? alias_of(c, topic, &known) : 0;
    h->topic = known ? (struct str){ "", 0 } : topic;
    int r = publish_head_measure(h, conn_version(c), r_size);
    if (!r && r_size->total > max && h->topic_alias && !known) {
        h->topic_alias = 0;
        r = publish_head_measure(h, conn_version(c), r_size);
    }
    if (r || r_size->total > max)
        return -EMSGSIZE;
    if (h->topic_alias && !known)
        remember_alias(c, h->topic_alias, topic);
    return 0;
}

enum client_send conn_send_publish(struct client *client, const struct client_publish *p)
{
    struct conn *c = conn_of(client);
    struct message *m = p->message;
    bool has_expiry = message_tells_expiry(m) && conn_is_v5(c);
    if (c->state != CONN_ONLINE)
        return p->qos ? CLIENT_SENT : CLIENT_FULL;
    if (!p->qos && stream_queued_bytes(c->stream) >= (uint64_t)conn_config(c)->limits.write_buffer)
        return CLIENT_FULL;
    if (!p->n_ids && !has_expiry && !c->alias_out_max && m->view.payload.len < ENCODED_MAX) {
        const struct encoded *e =
            encoder_get(&c->here->encoder, m, conn_version(c), p->qos, p->retain);
        if (e)
            return send_encoded(c, e, p);
    }
    struct publish_head h = {
        .props = message_props(m),
        .payload_len = m->view.payload.len,
        .subscription_ids = p->ids,
        .n_subscription_ids = p->n_ids,
        .packet_id = p->packet_id,
        .qos = p->qos,
        .dup = p->dup,
        .retain = p->retain,
        .has_message_expiry = has_expiry,
    };
    if (has_expiry)
        h.message_expiry_s = message_expiry_left_s(m, shard_wall_ms(conn_shard(c)));
    struct publish_size size;
    if (measure(c, &h, message_topic(m), &size))
        return CLIENT_TOO_LARGE;
    return send_head(c, &h, &size, m);
}
