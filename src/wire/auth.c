#include "wire/auth.h"
#include "wire/packet.h"
#include "wire/reason.h"

static int auth_decode_props(struct auth_packet *r, enum wire_from from)
{
    struct property_iter it;
    struct property p;
    int rc;
    property_iter_init(&it, r->props, PROPERTY_IN(PACKET_AUTH, from));
    while ((rc = property_next(&it, &p)) > 0) {
        switch (p.id) {
        case PROPERTY_AUTHENTICATION_METHOD: r->method = p.value; break;
        case PROPERTY_AUTHENTICATION_DATA: r->data = p.value; break;
        case PROPERTY_REASON_STRING: r->reason_string = p.value; break;
        default: break;
        }
    }
    if (rc)
        return rc;
    return r->method.ptr ? 0 : -REASON_PROTOCOL_ERROR; /* 3.15.2.2.2 */
}

int auth_decode(const struct frame *f, enum mqtt_version version, enum wire_from from,
                struct auth_packet *r)
{
    struct cursor c;
    int rc = frame_check(f, version);
    if (rc)
        return rc;
    *r = (struct auth_packet){ .reason = REASON_SUCCESS };
    if (f->len == 0) /* 3.15.2.1: success without properties */
        return 0;
    cursor_init(&c, f->body, f->len);
    r->reason = cursor_u8(&c);
    r->props = cursor_props(&c);
    if (!cursor_is_done(&c))
        return -REASON_MALFORMED_PACKET;
    if (!reason_is_allowed(r->reason, PACKET_AUTH))
        return -REASON_PROTOCOL_ERROR;
    return auth_decode_props(r, from);
}

static void auth_props(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct auth_packet *p = packet;
    (void)version;
    packet_write_string_property(w, PROPERTY_AUTHENTICATION_METHOD, p->method);
    packet_write_string_property(w, PROPERTY_AUTHENTICATION_DATA, p->data);
    packet_write_string_property(w, PROPERTY_REASON_STRING, p->reason_string);
    property_write_users(w, p->props);
}

static void auth_body(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct auth_packet *p = packet;
    if (p->reason == REASON_SUCCESS && packet_part_size(auth_props, p, version) == 0)
        return;
    writer_u8(w, p->reason);
    packet_write_props(auth_props, p, version, w);
}

size_t auth_size(const struct auth_packet *p)
{
    return packet_size(auth_body, p, MQTT_5);
}

void auth_encode(const struct auth_packet *p, struct writer *w)
{
    packet_encode(PACKET_AUTH << 4, auth_body, p, MQTT_5, w);
}

size_t auth_fit(struct auth_packet *p, uint32_t max_packet)
{
    return packet_fit(auth_body, p, MQTT_5, max_packet, &p->reason_string, &p->props);
}
