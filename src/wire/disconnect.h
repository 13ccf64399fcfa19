/* disconnect.h - DISCONNECT; before 5.0 only a client sends it, without content. */
#pragma once
#include "base/str.h"
#include "wire/frame.h"
#include "wire/property.h"

struct disconnect_packet {
    uint8_t reason;
    bool has_session_expiry; /* client only [MQTT-3.14.2-2] */
    uint32_t session_expiry_s;
    struct str server_reference; /* server only; ptr NULL: absent, as below */
    struct str reason_string;
    struct str props; /* raw; holds the user properties */
};

#define DISCONNECT_SIZE_SMALL 3

/* 0 or negative reason. */
int disconnect_decode(const struct frame *f, enum mqtt_version version, enum wire_from from,
                      struct disconnect_packet *r);
size_t disconnect_size(const struct disconnect_packet *p, enum mqtt_version version);
void disconnect_encode(const struct disconnect_packet *p, enum mqtt_version version,
                       struct writer *w);
/* Drops the reason string, then the user properties, as far as needed for max_packet bytes (0: no
 * limit) [MQTT-3.14.2-3] [MQTT-3.14.2-4]. Returns the size. */
size_t disconnect_fit(struct disconnect_packet *p, enum mqtt_version version, uint32_t max_packet);
