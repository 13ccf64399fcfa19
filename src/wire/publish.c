#include "wire/publish.h"
#include "wire/reason.h"
#include <assert.h>
#include <errno.h>

/* What a server replaces or keeps to itself. */
#define NOT_FORWARDED                                                             \
    (PROPERTY_BIT(PROPERTY_MESSAGE_EXPIRY) | PROPERTY_BIT(PROPERTY_TOPIC_ALIAS) | \
     PROPERTY_BIT(PROPERTY_SUBSCRIPTION_ID) | PROPERTY_BIT(PROPERTY_WILL_DELAY))

static int publish_decode_props(struct publish_packet *r, enum wire_from from)
{
    struct property_iter it;
    struct property p;
    int rc;
    r->forward_len = r->props.len;
    property_iter_init(&it, r->props, PROPERTY_IN(PACKET_PUBLISH, from));
    while ((rc = property_next(&it, &p)) > 0) {
        if (NOT_FORWARDED & PROPERTY_BIT(p.id))
            r->forward_len -= p.raw.len;
        switch ((enum property_id)p.id) {
        case PROPERTY_PAYLOAD_FORMAT: r->payload_format = (uint8_t)p.number; break;
        case PROPERTY_MESSAGE_EXPIRY:
            r->has_message_expiry = true;
            r->message_expiry_s = p.number;
            break;
        case PROPERTY_CONTENT_TYPE: r->content_type = p.value; break;
        case PROPERTY_RESPONSE_TOPIC: r->response_topic = p.value; break;
        case PROPERTY_CORRELATION_DATA: r->correlation = p.value; break;
        case PROPERTY_SUBSCRIPTION_ID: r->n_subscription_ids++; break;
        case PROPERTY_TOPIC_ALIAS: r->topic_alias = (uint16_t)p.number; break;
        case PROPERTY_USER: r->n_user_properties++; break;
        default: break;
        }
    }
    return rc;
}

int publish_decode(const struct frame *f, enum mqtt_version version, enum wire_from from,
                   struct publish_packet *r)
{
    struct cursor c;
    int rc = frame_check(f, version);
    if (rc)
        return rc;
    cursor_init(&c, f->body, f->len);
    *r = (struct publish_packet){
        .qos = f->flags >> 1 & 3,
        .dup = f->flags & 8,
        .retain = f->flags & 1,
    };
    r->topic = cursor_string(&c); /* [MQTT-3.3.2-1] */
    if (r->qos)
        r->packet_id = cursor_u16(&c);
    if (version == MQTT_5)
        r->props = cursor_props(&c);
    r->payload = cursor_rest(&c);
    if (c.failed)
        return -REASON_MALFORMED_PACKET;
    if (r->qos && r->packet_id == 0) /* [MQTT-2.2.1-3] [MQTT-2.2.1-4] */
        return -REASON_PROTOCOL_ERROR;
    if (r->props.len) {
        rc = publish_decode_props(r, from);
        if (rc)
            return rc;
    }
    /* 3.3.2.1 */
    return r->topic.len == 0 && r->topic_alias == 0 ? -REASON_PROTOCOL_ERROR : 0;
}

uint32_t publish_props_filter_size(struct str props)
{
    struct property_iter it;
    struct property p;
    uint32_t len = props.len;
    property_iter_init(&it, props, 0);
    while (property_next(&it, &p) > 0) {
        if (NOT_FORWARDED & PROPERTY_BIT(p.id))
            len -= p.raw.len;
    }
    return len;
}

void publish_props_filter(struct str props, uint32_t forward_len, uint8_t *out)
{
    struct property_iter it;
    struct property p;
    struct writer w;
    writer_init(&w, out, forward_len);
    if (forward_len == props.len) {
        writer_bytes(&w, props.ptr, props.len);
        return;
    }
    property_iter_init(&it, props, 0);
    while (property_next(&it, &p) > 0) {
        if (!(NOT_FORWARDED & PROPERTY_BIT(p.id)))
            writer_bytes(&w, p.raw.ptr, p.raw.len);
    }
    assert(!w.failed && w.len == forward_len);
}

int publish_head_measure(const struct publish_head *h, enum mqtt_version version,
                         struct publish_size *r)
{
    uint64_t props = 0, body = 2u + h->topic.len + (h->qos ? 2u : 0u);
    if (h->topic.len > WIRE_STRING_MAX)
        return -EMSGSIZE;
    if (version == MQTT_5) {
        props =
            (uint64_t)h->props.len + (h->has_message_expiry ? 5u : 0u) + (h->topic_alias ? 3u : 0u);
        for (uint32_t i = 0; i < h->n_subscription_ids; i++)
            props += 1u + varint_size(h->subscription_ids[i]);
        if (props > WIRE_VARINT_MAX)
            return -EMSGSIZE;
        body += varint_size((uint32_t)props) + props;
    }
    uint64_t remaining = body + h->payload_len;
    if (remaining > WIRE_VARINT_MAX)
        return -EMSGSIZE;
    uint32_t fixed = 1 + varint_size((uint32_t)remaining);
    *r = (struct publish_size){
        .remaining = (uint32_t)remaining,
        .props_len = (uint32_t)props,
        .head_len = fixed + (uint32_t)body,
        .packet_id_at = h->qos ? fixed + 2 + h->topic.len : 0,
        .total = fixed + (uint32_t)remaining,
    };
    return 0;
}

static uint8_t *put_u16(uint8_t *out, uint16_t value)
{
    out[0] = (uint8_t)(value >> 8);
    out[1] = (uint8_t)value;
    return out + 2;
}

static uint8_t *put_bytes(uint8_t *out, struct str bytes)
{
    if (bytes.len)
        memcpy(out, bytes.ptr, bytes.len);
    return out + bytes.len;
}

static uint8_t *put_props(uint8_t *out, const struct publish_head *h, uint32_t props_len)
{
    out = varint_put(out, props_len);
    if (h->has_message_expiry) {
        *out++ = PROPERTY_MESSAGE_EXPIRY;
        out = put_u16(out, (uint16_t)(h->message_expiry_s >> 16));
        out = put_u16(out, (uint16_t)h->message_expiry_s);
    }
    if (h->topic_alias) {
        *out++ = PROPERTY_TOPIC_ALIAS;
        out = put_u16(out, h->topic_alias);
    }
    for (uint32_t i = 0; i < h->n_subscription_ids; i++) {
        *out++ = PROPERTY_SUBSCRIPTION_ID;
        out = varint_put(out, h->subscription_ids[i]);
    }
    return put_bytes(out, h->props);
}

uint8_t *publish_head_write(const struct publish_head *h, enum mqtt_version version,
                            const struct publish_size *size, uint8_t *out)
{
    uint8_t *start = out;
    *out++ = (uint8_t)(PACKET_PUBLISH << 4 | (h->dup ? 8 : 0) | h->qos << 1 | (h->retain ? 1 : 0));
    out = varint_put(out, size->remaining);
    out = put_u16(out, (uint16_t)h->topic.len);
    out = put_bytes(out, h->topic);
    if (h->qos)
        out = put_u16(out, h->packet_id);
    if (version == MQTT_5)
        out = put_props(out, h, size->props_len);
    assert((uint32_t)(out - start) == size->head_len);
    (void)start;
    return out;
}

void publish_encode(const struct publish_head *h, struct str payload, enum mqtt_version version,
                    struct writer *w)
{
    struct publish_size size;
    if (w->failed || publish_head_measure(h, version, &size) || size.total > w->cap - w->len) {
        w->failed = true;
        return;
    }
    if (w->buf)
        publish_head_write(h, version, &size, w->buf + w->len);
    w->len += size.head_len;
    writer_bytes(w, payload.ptr, payload.len);
}
