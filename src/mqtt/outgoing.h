/* outgoing.h - what is on its way to one session: the queue, the window of unacknowledged messages
 * and its packet identifiers. Pure bookkeeping: it decides nothing, sends nothing and knows no
 * store. Owned by the session; a delivery is in exactly one of the two lists. */
#pragma once
#include "base/list.h"
#include "mqtt/index.h"
#include "mqtt/message.h"

enum delivery_state {
    DELIVERY_QUEUED,   /* waits, no packet identifier                                   */
    DELIVERY_ASSIGNED, /* QoS 2: has its identifier, the store has not committed it yet */
    DELIVERY_READY,    /* may be sent, and sent again on resumption                     */
    DELIVERY_SENT,     /* PUBLISH is out                                                */
    DELIVERY_RECEIVED, /* QoS 2: PUBREC arrived, the store has not committed it yet     */
    DELIVERY_RELEASED, /* QoS 2: PUBREL is out; only it may be sent again               */
    DELIVERY_DONE,     /* acknowledged; the identifier is free once the store has let go */
};

struct delivery {
    struct list link;
    struct message *message; /* reference; NULL from DELIVERY_RELEASED on after a restart */
    struct share *share;     /* reference; NULL: not from a shared subscription */
    void *owner;             /* the session; for whoever waits for the store */
    uint64_t pos;            /* arrival number in the store; 0: not stored */
    uint16_t packet_id;      /* 0: none yet */
    uint8_t qos;             /* as this session gets it */
    uint8_t state;           /* enum delivery_state */
    bool retain;
    bool in_quota;  /* its PUBLISH went out on this connection: counts against Receive Maximum */
    bool id_stored; /* its row has the packet identifier */
    bool dup;       /* the next PUBLISH is a retransmission [MQTT-3.3.1-1] */
    uint8_t n_ids;
    uint32_t ids[]; /* subscription identifiers */
};

struct outgoing {
    struct list queue;       /* DELIVERY_QUEUED, oldest first */
    struct list inflight;    /* everything with a packet identifier, in the order it was given */
    struct delivery **by_id; /* open addressing, power of two */
    uint32_t n_slots;
    uint32_t n_queued, n_inflight;
    uint64_t queued_bytes; /* of messages in the queue */
    uint16_t last_id;
};

void outgoing_init(struct outgoing *o);
void outgoing_fini(struct outgoing *o); /* frees all deliveries */

/* References are taken over on success only. NULL when out of memory. */
struct delivery *delivery_new(struct message *m_message, uint8_t qos, const uint32_t *ids,
                              uint8_t n_ids);
void delivery_free(struct delivery **d); /* must be in no list */

void outgoing_append(struct outgoing *o, struct delivery *d);
/* Takes a queued delivery out of the queue; the caller owns it. */
void outgoing_take(struct outgoing *o, struct delivery *d);
/* Gives the next free packet identifier and moves the delivery from the queue (or from nowhere) to
 * the end of the window. 0, -ENOMEM, or -EBUSY when all 65,535 are in use. [MQTT-2.2.1-4] */
int outgoing_assign(struct outgoing *o, struct delivery *d);
/* Puts a restored delivery with its old identifier at the end of the window. 0, -ENOMEM, -EEXIST.
 */
int outgoing_restore(struct outgoing *o, struct delivery *d, uint16_t packet_id);
struct delivery *outgoing_find(const struct outgoing *o, uint16_t packet_id); /* NULL: unknown */
/* Takes a delivery out of the window, its identifier is free; the caller owns it. */
void outgoing_release(struct outgoing *o, struct delivery *d);
