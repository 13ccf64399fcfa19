/* suback.h - SUBACK and UNSUBACK: one layout, two types. */
#pragma once
#include "base/str.h"
#include "wire/frame.h"
#include "wire/property.h"

struct suback_packet {
    uint8_t type; /* PACKET_SUBACK or PACKET_UNSUBACK */
    uint16_t packet_id;
    struct str codes; /* one reason code per filter, in order; empty in an UNSUBACK before 5.0 */
    struct str reason_string; /* ptr NULL: absent */
    struct str props;         /* raw; holds the user properties */
};

/* f->type says which. 0 or negative reason. */
int suback_decode(const struct frame *f, enum mqtt_version version, struct suback_packet *r);
/* `codes` are MQTT 5's in every version: an error becomes 0x80 in 3.1.1 [MQTT-3.9.3-2] and 0
 * in 3.1, which has no failure code. */
size_t suback_size(const struct suback_packet *p, enum mqtt_version version);
void suback_encode(const struct suback_packet *p, enum mqtt_version version, struct writer *w);
/* Drops the reason string, then the user properties, as far as needed for max_packet bytes (0: no
 * limit) [MQTT-3.9.2-1] [MQTT-3.9.2-2]. Returns the size, which may still be above. */
size_t suback_fit(struct suback_packet *p, enum mqtt_version version, uint32_t max_packet);
