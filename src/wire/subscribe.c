#include "wire/subscribe.h"
#include "wire/packet.h"
#include "wire/reason.h"

/* Subscription options (3.8.3.1). */
#define OPTION_QOS             0x03
#define OPTION_NO_LOCAL        0x04
#define OPTION_AS_PUBLISHED    0x08
#define OPTION_RETAIN_HANDLING 0x30
#define OPTION_RESERVED        0xC0

static int subscribe_check_options(uint8_t options, enum mqtt_version version)
{
    uint8_t reserved = version == MQTT_5 ? OPTION_RESERVED : (uint8_t)~OPTION_QOS;
    if (options & reserved || (options & OPTION_QOS) == 3)
        return -REASON_MALFORMED_PACKET; /* [MQTT-3.8.3-5] */
    if ((options & OPTION_RETAIN_HANDLING) == OPTION_RETAIN_HANDLING)
        return -REASON_PROTOCOL_ERROR;
    return 0;
}

static int subscribe_check_filters(struct subscribe_packet *r, enum mqtt_version version)
{
    struct cursor c;
    cursor_init(&c, r->filters.ptr, r->filters.len);
    while (cursor_left(&c)) {
        (void)cursor_string(&c); /* [MQTT-3.8.3-1] */
        uint8_t options = cursor_u8(&c);
        if (c.failed)
            return -REASON_MALFORMED_PACKET;
        int rc = subscribe_check_options(options, version);
        if (rc)
            return rc;
        r->n_filters++;
    }
    return r->n_filters ? 0 : -REASON_PROTOCOL_ERROR; /* [MQTT-3.8.3-2] */
}

static int subscribe_decode_props(struct subscribe_packet *r)
{
    struct property_iter it;
    struct property p;
    int rc;
    property_iter_init(&it, r->props, PROPERTY_IN(PACKET_SUBSCRIBE, WIRE_FROM_CLIENT));
    while ((rc = property_next(&it, &p)) > 0) {
        if (p.id == PROPERTY_SUBSCRIPTION_ID)
            r->subscription_id = p.number;
    }
    return rc;
}

int subscribe_decode(const struct frame *f, enum mqtt_version version, struct subscribe_packet *r)
{
    struct cursor c;
    int rc = frame_check(f, version);
    if (rc)
        return rc;
    cursor_init(&c, f->body, f->len);
    *r = (struct subscribe_packet){ 0 };
    r->packet_id = cursor_u16(&c);
    if (version == MQTT_5)
        r->props = cursor_props(&c);
    r->filters = cursor_rest(&c);
    if (!cursor_is_done(&c))
        return -REASON_MALFORMED_PACKET;
    if (r->packet_id == 0) /* [MQTT-2.2.1-3] */
        return -REASON_PROTOCOL_ERROR;
    rc = subscribe_decode_props(r);
    return rc ? rc : subscribe_check_filters(r, version);
}

bool subscribe_next(struct str *rest, struct subscribe_filter *r)
{
    struct cursor c;
    cursor_init(&c, rest->ptr, rest->len);
    struct str filter = cursor_binary(&c);
    uint8_t options = cursor_u8(&c);
    if (c.failed)
        return false;
    *r = (struct subscribe_filter){
        .filter = filter,
        .qos = options & OPTION_QOS,
        .retain_handling = (options & OPTION_RETAIN_HANDLING) >> 4,
        .no_local = options & OPTION_NO_LOCAL,
        .retain_as_published = options & OPTION_AS_PUBLISHED,
    };
    *rest = cursor_rest(&c);
    return true;
}

struct subscribe_parts {
    const struct subscribe_packet *packet;
    const struct subscribe_filter *filters;
};

static void subscribe_props(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct subscribe_packet *p = packet;
    (void)version;
    if (p->subscription_id)
        property_write_number(w, PROPERTY_SUBSCRIPTION_ID, p->subscription_id);
    property_write_users(w, p->props);
}

static void subscribe_body(const void *parts, enum mqtt_version version, struct writer *w)
{
    const struct subscribe_parts *s = parts;
    writer_u16(w, s->packet->packet_id);
    if (version == MQTT_5)
        packet_write_props(subscribe_props, s->packet, version, w);
    for (uint32_t i = 0; i < s->packet->n_filters; i++) {
        const struct subscribe_filter *f = &s->filters[i];
        uint8_t options = f->qos;
        if (version == MQTT_5)
            options |= (uint8_t)(f->retain_handling << 4 | (f->no_local ? OPTION_NO_LOCAL : 0) |
                                 (f->retain_as_published ? OPTION_AS_PUBLISHED : 0));
        writer_string(w, f->filter);
        writer_u8(w, options);
    }
}

size_t subscribe_size(const struct subscribe_packet *p, const struct subscribe_filter *filters,
                      enum mqtt_version version)
{
    return packet_size(subscribe_body, &(struct subscribe_parts){ p, filters }, version);
}

void subscribe_encode(const struct subscribe_packet *p, const struct subscribe_filter *filters,
                      enum mqtt_version version, struct writer *w)
{
    packet_encode(PACKET_SUBSCRIBE << 4 | 2, subscribe_body,
                  &(struct subscribe_parts){ p, filters }, version, w);
}
