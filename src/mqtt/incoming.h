/* incoming.h - packet identifiers of QoS 2 messages that a client has published and not yet
 * released [MQTT-4.3.3-10]. Owned by the session; a sorted small array, because clients use few at
 * a time. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

enum incoming_state {
    INCOMING_NONE,
    INCOMING_PENDING,   /* PUBLISH taken, PUBREC not yet sent: the answer is under way */
    INCOMING_RECEIVED,  /* PUBREC sent: answer the same identifier with PUBREC again   */
    INCOMING_RELEASING, /* PUBREL arrived, PUBCOMP not yet sent                        */
};

struct incoming_id {
    uint16_t packet_id;
    uint8_t state;
    bool stored; /* the store knows it: deleting it takes a commit */
};

struct incoming {
    struct incoming_id *ids;
    uint32_t n, cap;
};

void incoming_fini(struct incoming *in);
/* NULL: unknown. Valid until the next put or remove. */
struct incoming_id *incoming_find(const struct incoming *in, uint16_t packet_id);
/* 0 or -ENOMEM; an identifier that is there gets the new state. */
int incoming_put(struct incoming *in, uint16_t packet_id, enum incoming_state state, bool stored);
void incoming_remove(struct incoming *in, uint16_t packet_id);
