#include "wire/unsubscribe.h"
#include "wire/packet.h"
#include "wire/reason.h"

static int unsubscribe_check_filters(struct unsubscribe_packet *r)
{
    struct cursor c;
    cursor_init(&c, r->filters.ptr, r->filters.len);
    while (cursor_left(&c)) {
        (void)cursor_string(&c); /* [MQTT-3.10.3-1] */
        r->n_filters++;
    }
    if (c.failed)
        return -REASON_MALFORMED_PACKET;
    return r->n_filters ? 0 : -REASON_PROTOCOL_ERROR; /* [MQTT-3.10.3-2] */
}

int unsubscribe_decode(const struct frame *f, enum mqtt_version version,
                       struct unsubscribe_packet *r)
{
    struct cursor c;
    int rc = frame_check(f, version);
    if (rc)
        return rc;
    cursor_init(&c, f->body, f->len);
    *r = (struct unsubscribe_packet){ 0 };
    r->packet_id = cursor_u16(&c);
    if (version == MQTT_5)
        r->props = cursor_props(&c);
    r->filters = cursor_rest(&c);
    if (!cursor_is_done(&c))
        return -REASON_MALFORMED_PACKET;
    if (r->packet_id == 0) /* [MQTT-2.2.1-3] */
        return -REASON_PROTOCOL_ERROR;
    rc = property_check(r->props, PROPERTY_IN(PACKET_UNSUBSCRIBE, WIRE_FROM_CLIENT));
    return rc ? rc : unsubscribe_check_filters(r);
}

bool unsubscribe_next(struct str *rest, struct str *r_filter)
{
    struct cursor c;
    cursor_init(&c, rest->ptr, rest->len);
    struct str filter = cursor_binary(&c);
    if (c.failed)
        return false;
    *r_filter = filter;
    *rest = cursor_rest(&c);
    return true;
}

struct unsubscribe_parts {
    const struct unsubscribe_packet *packet;
    const struct str *filters;
};

static void unsubscribe_props(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct unsubscribe_packet *p = packet;
    (void)version;
    property_write_users(w, p->props);
}

static void unsubscribe_body(const void *parts, enum mqtt_version version, struct writer *w)
{
    const struct unsubscribe_parts *u = parts;
    writer_u16(w, u->packet->packet_id);
    if (version == MQTT_5)
        packet_write_props(unsubscribe_props, u->packet, version, w);
    for (uint32_t i = 0; i < u->packet->n_filters; i++)
        writer_string(w, u->filters[i]);
}

size_t unsubscribe_size(const struct unsubscribe_packet *p, const struct str *filters,
                        enum mqtt_version version)
{
    return packet_size(unsubscribe_body, &(struct unsubscribe_parts){ p, filters }, version);
}

void unsubscribe_encode(const struct unsubscribe_packet *p, const struct str *filters,
                        enum mqtt_version version, struct writer *w)
{
    packet_encode(PACKET_UNSUBSCRIBE << 4 | 2, unsubscribe_body,
                  &(struct unsubscribe_parts){ p, filters }, version, w);
}
