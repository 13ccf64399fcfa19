/* conn_publish.c - PUBLISH from the client: limits, topic alias, the message; and its
 * acknowledgements of ours. */
#include "conn/conn_priv.h"
#include "broker/session.h"
#include "mqtt/topic.h"
#include "wire/ack.h"
#include "wire/publish.h"
#include "base/utf8.h"
#include <stdlib.h>

/* ---- topic alias -------------------------------------------------------------------------------
 */

/* The mappings live as long as the connection [MQTT-3.3.2-7]. */
static int set_alias(struct conn *c, uint16_t alias, struct str topic)
{
    if (!c->alias_in) {
        c->alias_in = calloc(c->alias_in_max, sizeof(*c->alias_in));
        if (!c->alias_in)
            return conn_fault(c, REASON_SERVER_BUSY, "out of memory");
    }
    struct str copy;
    if (str_dup_r(topic, &copy))
        return conn_fault(c, REASON_SERVER_BUSY, "out of memory");
    str_free(&c->alias_in[alias - 1]);
    c->alias_in[alias - 1] = copy;
    return 0;
}

static int resolve_alias(struct conn *c, struct publish_packet *p)
{
    if (!p->topic_alias)
        return 0;
    if (p->topic_alias > c->alias_in_max) /* 3.3.2.3.4 */
        return conn_fault(c, REASON_TOPIC_ALIAS_INVALID, "the topic alias is above our maximum");
    if (p->topic.len)
        return set_alias(c, p->topic_alias, p->topic);
    if (!c->alias_in || !c->alias_in[p->topic_alias - 1].ptr)
        return conn_fault(c, REASON_PROTOCOL_ERROR, "unknown topic alias");
    p->topic = c->alias_in[p->topic_alias - 1];
    return 0;
}

/* ---- limits ------------------------------------------------------------------------------------
 */

static int check_topic(struct conn *c, const struct publish_packet *p)
{
    const struct config_limits *limits = &conn_config(c)->limits;
    if (p->topic.len == 0)
        return 0; /* an alias, whose topic was checked */
    if (p->topic.len > limits->topic_length)
        return conn_fault(c, REASON_TOPIC_NAME_INVALID, "the topic is too long");
    if (!topic_is_name(p->topic, (uint32_t)limits->topic_levels)) /* [MQTT-3.3.2-2] */
        return conn_fault(c, REASON_TOPIC_NAME_INVALID, "the topic is not valid");
    return 0;
}

/* Is it one more message that is not acknowledged, above what is allowed? */
static int check_window(struct conn *c, const struct publish_packet *p)
{
    const struct session *session = c->client.session;
    if (!p->qos)
        return 0;
    bool is_known = p->qos == 2 && incoming_find(&session->in, p->packet_id);
    if (is_known)
        return 0;
    if (conn_is_v5(c) && c->client.n_unacked_in >= c->receive_maximum) /* [MQTT-3.3.4-7] */
        return conn_fault(c, REASON_RECEIVE_MAXIMUM_EXCEEDED, NULL);
    if (p->qos == 2 &&
        session->in.n >= (uint64_t)conn_config(c)->limits.inflight_qos2_in)
        return conn_fault(c, REASON_RECEIVE_MAXIMUM_EXCEEDED, "too many QoS 2 messages unreleased");
    return 0;
}

static int check_props(struct conn *c, const struct publish_packet *p)
{
    int64_t max_users = conn_config(c)->limits.user_properties;
    if (p->response_topic.ptr && topic_has_wildcard(p->response_topic)) /* [MQTT-3.3.2-14] */
        return conn_fault(c, REASON_PROTOCOL_ERROR, "wildcard in the response topic");
    if (max_users && p->n_user_properties > max_users)
        return conn_fault(c, REASON_QUOTA_EXCEEDED, "too many user properties");
    return 0;
}

static bool has_bad_format(const struct conn *c, const struct publish_packet *p)
{
    return p->payload_format == 1 && conn_config(c)->check_payload_format &&
           !utf8_is_valid(p->payload.ptr, p->payload.len);
}

/* Refused without closing where the packet has an acknowledgement. */
static int refuse_format(struct conn *c, const struct publish_packet *p)
{
    static const char text[] = "the payload is not UTF-8";
    if (!p->qos)
        return conn_fault(c, REASON_PAYLOAD_FORMAT_INVALID, text);
    conn_send_ack(&c->client, p->qos == 1 ? PACKET_PUBACK : PACKET_PUBREC, p->packet_id,
                  REASON_PAYLOAD_FORMAT_INVALID, text);
    return 0;
}

/* ---- the message -------------------------------------------------------------------------------
 */

/* NULL: out of memory. */
static struct message *make_message(struct conn *c, const struct publish_packet *p)
{
    struct shard *s = conn_shard(c);
    const struct identity *who = c->client.who;
    int64_t now = shard_wall_ms(s);
    struct buf *scratch = &c->here->scratch;
    struct message_parts parts = {
        .topic = p->topic,
        .props = p->props,
        .payload = p->payload,
        .publisher = identity_id(who),
        .publisher_user = str_make(who->view.username.ptr, who->view.username.len),
        .qos = p->qos,
        .retain = p->retain,
        .dup = p->dup,
        .origin = PIGEON_ORIGIN_CLIENT,
        .expires_ms = p->has_message_expiry ? now + p->message_expiry_s * INT64_C(1000) : 0,
        .received_ms = now,
        .from_session = client_session_number(&c->client),
        .id = { .node = c->broker->incarnation,
                .n = atomic_fetch_add_explicit(&c->broker->next_message, 1, memory_order_relaxed) },
    };
    if (p->forward_len != p->props.len) {
        buf_clear(scratch);
        if (buf_reserve(scratch, p->forward_len))
            return NULL;
        publish_props_filter(p->props, p->forward_len, (uint8_t *)buf_tail(scratch));
        parts.props = str_make(buf_tail(scratch), p->forward_len);
    }
    return message_new(&parts);
}

int conn_on_publish(struct conn *c, const struct frame *f)
{
    struct shard *s = conn_shard(c);
    struct publish_packet p;
    if (!client_may_publish(&c->client)) {
        conn_pause(c, PAUSE_CREDIT);
        return CONN_LATER;
    }
    if (!conn_rate_allows(c))
        return CONN_LATER;
    int r = publish_decode(f, conn_version(c), WIRE_FROM_CLIENT, &p);
    if (!r)
        r = check_topic(c, &p);
    if (!r)
        r = resolve_alias(c, &p);
    if (!r)
        r = check_window(c, &p);
    if (!r)
        r = check_props(c, &p);
    if (r)
        return r;
    conn_rate_charge(c, f->total);
    shard_count(s, N_MESSAGES_IN, 1);
    shard_count(s, N_PAYLOAD_IN, p.payload.len);
    if (has_bad_format(c, &p))
        return refuse_format(c, &p);
    struct message *m = make_message(c, &p);
    if (!m)
        return conn_fault(c, REASON_SERVER_BUSY, "out of memory");
    return client_publish(&c->client, m, p.packet_id, p.dup);
}

/* ---- PUBACK, PUBREC, PUBREL, PUBCOMP -----------------------------------------------------------
 */

int conn_on_ack(struct conn *c, const struct frame *f)
{
    struct ack_packet p;
    int r = ack_decode(f, conn_version(c), &p);
    if (r)
        return r;
    switch (p.type) {
    case PACKET_PUBACK: return client_puback(&c->client, p.packet_id, p.reason);
    case PACKET_PUBREC: return client_pubrec(&c->client, p.packet_id, p.reason);
    case PACKET_PUBREL: return client_pubrel(&c->client, p.packet_id, p.reason);
    default: return client_pubcomp(&c->client, p.packet_id, p.reason);
    }
}
