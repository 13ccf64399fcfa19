/* auth.h - AUTH, the step of an enhanced authentication; 5.0 only. */
#pragma once
#include "base/str.h"
#include "wire/frame.h"
#include "wire/property.h"

struct auth_packet {
    uint8_t reason;          /* success, continue, re-authenticate */
    struct str method, data; /* ptr NULL: absent, as below */
    struct str reason_string;
    struct str props; /* raw; holds the user properties */
};

/* 0 or negative reason. The method is absent only in the empty form (success, no properties);
 * whether it is the connection's method is the caller's question [MQTT-4.12.0-5]. */
int auth_decode(const struct frame *f, enum mqtt_version version, enum wire_from from,
                struct auth_packet *r);
size_t auth_size(const struct auth_packet *p);
void auth_encode(const struct auth_packet *p, struct writer *w);
/* Drops the reason string, then the user properties, as far as needed for max_packet bytes (0: no
 * limit) [MQTT-3.15.2-2] [MQTT-3.15.2-3]. Returns the size, which may still be above. */
size_t auth_fit(struct auth_packet *p, uint32_t max_packet);
