/* encoded.h - the last messages of a loop as finished PUBLISH packets, one per variant (version
 * class, QoS), so that a message for many receivers is encoded once and copied.
 *
 * A variant is encoded when it is asked for the second time; from then on the message is kept
 * alive, so that its address cannot come to mean another message. Only small packets without
 * anything that differs by receiver but packet identifier and DUP. */
#pragma once
#include "mqtt/message.h"
#include "wire/publish.h"

#define ENCODED_MAX 2048u /* bytes of a whole packet */

struct encoded {
    const struct message *asked; /* compared only */
    struct message *message;     /* reference; NULL: nothing is encoded here */
    bool asked_retain, retain;
    struct publish_size size;
    uint8_t bytes[ENCODED_MAX];
};

struct encoder {
    struct encoded *variants; /* 6: version class x QoS; NULL: out of memory, never encodes */
};

void encoder_init(struct encoder *e);
void encoder_fini(struct encoder *e);
/* The finished packet, to be patched with packet identifier and DUP in the copy; NULL: not worth
 * it, encode for yourself. Good until the next call. */
const struct encoded *encoder_get(struct encoder *e, struct message *m, enum mqtt_version version,
                                  uint8_t qos, bool retain);
