/* ping.h - PINGREQ and PINGRESP: a fixed header and nothing else, in every version. */
#pragma once
#include "wire/frame.h"
#include "wire/writer.h"

#define PING_SIZE 2

/* For both types: 0, or -REASON_MALFORMED_PACKET when there is a body or a flag. */
int ping_decode(const struct frame *f, enum mqtt_version version);
/* type: PACKET_PINGREQ or PACKET_PINGRESP. */
void ping_encode(enum packet_type type, struct writer *w);
