#include "wire/suback.h"
#include "wire/packet.h"
#include "wire/reason.h"

static int suback_decode_props(struct suback_packet *r)
{
    struct property_iter it;
    struct property p;
    int rc;
    property_iter_init(&it, r->props, PROPERTY_IN(r->type, WIRE_FROM_SERVER));
    while ((rc = property_next(&it, &p)) > 0) {
        if (p.id == PROPERTY_REASON_STRING)
            r->reason_string = p.value;
    }
    return rc;
}

static bool suback_code_is_allowed(uint8_t code, uint8_t type, enum mqtt_version version)
{
    if (version == MQTT_5)
        return reason_is_allowed(code, type);
    return code <= 2 || code == 0x80; /* [MQTT-3.9.3-2] of 3.1.1 */
}

int suback_decode(const struct frame *f, enum mqtt_version version, struct suback_packet *r)
{
    struct cursor c;
    int rc = frame_check(f, version);
    if (rc)
        return rc;
    cursor_init(&c, f->body, f->len);
    *r = (struct suback_packet){ .type = f->type };
    r->packet_id = cursor_u16(&c);
    if (version == MQTT_5)
        r->props = cursor_props(&c);
    bool has_codes = version == MQTT_5 || f->type == PACKET_SUBACK;
    if (has_codes)
        r->codes = cursor_rest(&c);
    if (!cursor_is_done(&c))
        return -REASON_MALFORMED_PACKET;
    if (r->packet_id == 0 || (has_codes && r->codes.len == 0))
        return -REASON_PROTOCOL_ERROR;
    for (uint32_t i = 0; i < r->codes.len; i++) {
        if (!suback_code_is_allowed((uint8_t)r->codes.ptr[i], f->type, version))
            return -REASON_PROTOCOL_ERROR;
    }
    return suback_decode_props(r);
}

static void suback_props(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct suback_packet *p = packet;
    (void)version;
    packet_write_string_property(w, PROPERTY_REASON_STRING, p->reason_string);
    property_write_users(w, p->props);
}

/* One code as the version knows it. */
static uint8_t suback_code(uint8_t code, enum mqtt_version version)
{
    if (version == MQTT_5 || !reason_is_error(code))
        return code;
    return version == MQTT_311 ? 0x80 : 0;
}

static void suback_body(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct suback_packet *p = packet;
    writer_u16(w, p->packet_id);
    if (version == MQTT_5) {
        packet_write_props(suback_props, p, version, w);
        writer_bytes(w, p->codes.ptr, p->codes.len);
    } else if (p->type == PACKET_SUBACK) {
        for (uint32_t i = 0; i < p->codes.len; i++)
            writer_u8(w, suback_code((uint8_t)p->codes.ptr[i], version));
    }
}

size_t suback_size(const struct suback_packet *p, enum mqtt_version version)
{
    return packet_size(suback_body, p, version);
}

void suback_encode(const struct suback_packet *p, enum mqtt_version version, struct writer *w)
{
    packet_encode((uint8_t)(p->type << 4), suback_body, p, version, w);
}

size_t suback_fit(struct suback_packet *p, enum mqtt_version version, uint32_t max_packet)
{
    return packet_fit(suback_body, p, version, max_packet, &p->reason_string, &p->props);
}
