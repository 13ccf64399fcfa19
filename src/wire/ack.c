#include "wire/ack.h"
#include "wire/packet.h"
#include "wire/reason.h"

static int ack_decode_props(struct ack_packet *r)
{
    struct property_iter it;
    struct property p;
    int rc;
    property_iter_init(&it, r->props, PROPERTY_IN(r->type, WIRE_FROM_CLIENT));
    while ((rc = property_next(&it, &p)) > 0) {
        if (p.id == PROPERTY_REASON_STRING)
            r->reason_string = p.value;
    }
    return rc;
}

int ack_decode(const struct frame *f, enum mqtt_version version, struct ack_packet *r)
{
    struct cursor c;
    int rc = frame_check(f, version);
    if (rc)
        return rc;
    cursor_init(&c, f->body, f->len);
    *r = (struct ack_packet){ .type = f->type };
    r->packet_id = cursor_u16(&c);
    /* The reason and then the property length may be left out (3.4.2.1, 3.4.2.2.1). */
    if (version == MQTT_5 && cursor_left(&c))
        r->reason = cursor_u8(&c);
    if (version == MQTT_5 && cursor_left(&c))
        r->props = cursor_props(&c);
    if (!cursor_is_done(&c))
        return -REASON_MALFORMED_PACKET;
    if (r->packet_id == 0 || !reason_is_allowed(r->reason, f->type))
        return -REASON_PROTOCOL_ERROR;
    return ack_decode_props(r);
}

static void ack_props(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct ack_packet *p = packet;
    (void)version;
    packet_write_string_property(w, PROPERTY_REASON_STRING, p->reason_string);
    property_write_users(w, p->props);
}

static void ack_body(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct ack_packet *p = packet;
    writer_u16(w, p->packet_id);
    if (version != MQTT_5)
        return;
    bool has_props = p->reason_string.ptr || packet_part_size(ack_props, p, version) > 0;
    if (p->reason != REASON_SUCCESS || has_props)
        writer_u8(w, p->reason);
    if (has_props)
        packet_write_props(ack_props, p, version, w);
}

size_t ack_size(const struct ack_packet *p, enum mqtt_version version)
{
    return packet_size(ack_body, p, version);
}

void ack_encode(const struct ack_packet *p, enum mqtt_version version, struct writer *w)
{
    uint8_t flags = p->type == PACKET_PUBREL ? 2 : 0; /* [MQTT-3.6.1-1] */
    packet_encode((uint8_t)(p->type << 4 | flags), ack_body, p, version, w);
}

size_t ack_fit(struct ack_packet *p, enum mqtt_version version, uint32_t max_packet)
{
    return packet_fit(ack_body, p, version, max_packet, &p->reason_string, &p->props);
}
