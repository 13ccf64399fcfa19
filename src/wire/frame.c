#include "wire/frame.h"
#include "wire/reason.h"
#include "wire/writer.h"
#include <stdbool.h>

static const struct {
    const char *name;
    uint8_t flags; /* prescribed value; PUBLISH has its own rule */
} packet_types[16] = {
    { "RESERVED", 0 },  { "CONNECT", 0 },  { "CONNACK", 0 },     { "PUBLISH", 0 },
    { "PUBACK", 0 },    { "PUBREC", 0 },   { "PUBREL", 2 },      { "PUBCOMP", 0 },
    { "SUBSCRIBE", 2 }, { "SUBACK", 0 },   { "UNSUBSCRIBE", 2 }, { "UNSUBACK", 0 },
    { "PINGREQ", 0 },   { "PINGRESP", 0 }, { "DISCONNECT", 0 },  { "AUTH", 0 },
};

int frame_next(const uint8_t *p, size_t len, uint32_t max_packet, struct frame *r)
{
    *r = (struct frame){ 0 };
    if (len == 0)
        return FRAME_NEED_MORE;
    r->type = p[0] >> 4;
    r->flags = p[0] & 15;
    if (r->type == 0)
        return -REASON_MALFORMED_PACKET;

    uint32_t remaining = 0;
    for (unsigned i = 0;; i++) {
        if (i == 4) /* 2.1.4: four bytes at most */
            return -REASON_MALFORMED_PACKET;
        if (i + 1 == len)
            return FRAME_NEED_MORE;
        remaining |= (uint32_t)(p[i + 1] & 127) << (7 * i);
        if (p[i + 1] < 128) {
            r->head_len = (uint8_t)(i + 2);
            break;
        }
    }
    r->total = r->head_len + remaining;
    if (max_packet && r->total > max_packet)
        return -REASON_PACKET_TOO_LARGE;
    if (len < r->total)
        return FRAME_NEED_MORE;
    r->body = p + r->head_len;
    r->len = remaining;
    return FRAME_OK;
}

int frame_check_first(uint8_t first_byte, enum mqtt_version version)
{
    uint8_t type = first_byte >> 4, flags = first_byte & 15;
    if (type == 0 || (type == PACKET_AUTH && version != MQTT_5))
        return -REASON_MALFORMED_PACKET;
    if (type == PACKET_PUBLISH) {
        unsigned qos = flags >> 1 & 3;
        bool dup = flags & 8;
        return qos == 3 || (dup && qos == 0) ? -REASON_MALFORMED_PACKET : 0;
    }
    if (version == MQTT_31 && type != PACKET_CONNECT)
        return 0;
    return flags == packet_types[type].flags ? 0 : -REASON_MALFORMED_PACKET;
}

int frame_check(const struct frame *f, enum mqtt_version version)
{
    if (version == MQTT_5 && f->head_len > 1 + varint_size(f->len))
        return -REASON_MALFORMED_PACKET;
    return frame_check_first((uint8_t)(f->type << 4 | f->flags), version);
}

const char *packet_type_name(uint8_t type)
{
    return packet_types[type < 16 ? type : 0].name;
}
