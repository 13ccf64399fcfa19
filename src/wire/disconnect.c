#include "wire/disconnect.h"
#include "wire/packet.h"
#include "wire/reason.h"

static int disconnect_decode_props(struct disconnect_packet *r, enum wire_from from)
{
    struct property_iter it;
    struct property p;
    int rc;
    property_iter_init(&it, r->props, PROPERTY_IN(PACKET_DISCONNECT, from));
    while ((rc = property_next(&it, &p)) > 0) {
        switch (p.id) {
        case PROPERTY_SESSION_EXPIRY:
            r->has_session_expiry = true;
            r->session_expiry_s = p.number;
            break;
        case PROPERTY_SERVER_REFERENCE: r->server_reference = p.value; break;
        case PROPERTY_REASON_STRING: r->reason_string = p.value; break;
        default: break;
        }
    }
    return rc;
}

int disconnect_decode(const struct frame *f, enum mqtt_version version, enum wire_from from,
                      struct disconnect_packet *r)
{
    struct cursor c;
    int rc = frame_check(f, version);
    if (rc)
        return rc;
    cursor_init(&c, f->body, f->len);
    *r = (struct disconnect_packet){ .reason = REASON_SUCCESS };
    /* The reason and then the property length may be left out (3.14.2.1, 3.14.2.2.1). */
    if (version == MQTT_5 && cursor_left(&c))
        r->reason = cursor_u8(&c);
    if (version == MQTT_5 && cursor_left(&c))
        r->props = cursor_props(&c);
    if (!cursor_is_done(&c))
        return -REASON_MALFORMED_PACKET;
    if (!reason_is_allowed(r->reason, PACKET_DISCONNECT))
        return -REASON_PROTOCOL_ERROR;
    return disconnect_decode_props(r, from);
}

static void disconnect_props(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct disconnect_packet *p = packet;
    (void)version;
    if (p->has_session_expiry)
        property_write_number(w, PROPERTY_SESSION_EXPIRY, p->session_expiry_s);
    packet_write_string_property(w, PROPERTY_SERVER_REFERENCE, p->server_reference);
    packet_write_string_property(w, PROPERTY_REASON_STRING, p->reason_string);
    property_write_users(w, p->props);
}

static void disconnect_body(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct disconnect_packet *p = packet;
    if (version != MQTT_5)
        return;
    bool has_props = packet_part_size(disconnect_props, p, version) > 0;
    if (p->reason != REASON_SUCCESS || has_props)
        writer_u8(w, p->reason);
    if (has_props)
        packet_write_props(disconnect_props, p, version, w);
}

size_t disconnect_size(const struct disconnect_packet *p, enum mqtt_version version)
{
    return packet_size(disconnect_body, p, version);
}

void disconnect_encode(const struct disconnect_packet *p, enum mqtt_version version,
                       struct writer *w)
{
    packet_encode(PACKET_DISCONNECT << 4, disconnect_body, p, version, w);
}

size_t disconnect_fit(struct disconnect_packet *p, enum mqtt_version version, uint32_t max_packet)
{
    return packet_fit(disconnect_body, p, version, max_packet, &p->reason_string, &p->props);
}
