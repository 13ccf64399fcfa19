/* ack.h - PUBACK, PUBREC, PUBREL, PUBCOMP: one layout, four types. */
#pragma once
#include "base/str.h"
#include "wire/frame.h"
#include "wire/property.h"

struct ack_packet {
    uint8_t type; /* PACKET_PUBACK .. PACKET_PUBCOMP */
    uint8_t reason;
    uint16_t packet_id;
    struct str reason_string; /* ptr NULL: absent */
    struct str props;         /* raw; holds the user properties */
};

/* Size of an ack without reason string and user properties is at most this. */
#define ACK_SIZE_SMALL 5

/* f->type says which. 0 or negative reason; packet id 0 is -REASON_PROTOCOL_ERROR. */
int ack_decode(const struct frame *f, enum mqtt_version version, struct ack_packet *r);
size_t ack_size(const struct ack_packet *p, enum mqtt_version version);
void ack_encode(const struct ack_packet *p, enum mqtt_version version, struct writer *w);
/* Drops the reason string, then the user properties, as far as needed for max_packet bytes (0: no
 * limit) [MQTT-3.4.2-2] [MQTT-3.4.2-3] and their like. Returns the size. */
size_t ack_fit(struct ack_packet *p, enum mqtt_version version, uint32_t max_packet);

/* The ack without strings: writes 4 bytes (5.0 with a reason other than 0: 5) and returns how many.
 */
static inline uint32_t ack_write_small(uint8_t *out, enum packet_type type,
                                       enum mqtt_version version, uint16_t packet_id,
                                       uint8_t reason)
{
    bool with_reason = version == MQTT_5 && reason != 0;
    out[0] = (uint8_t)(type << 4 | (type == PACKET_PUBREL ? 2 : 0));
    out[1] = with_reason ? 3 : 2;
    out[2] = (uint8_t)(packet_id >> 8);
    out[3] = (uint8_t)packet_id;
    if (with_reason)
        out[4] = reason;
    return with_reason ? 5 : 4;
}
