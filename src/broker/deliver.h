/* deliver.h - from a routed message to the client, on the session's loop: queue, window,
 * acknowledgements. */
#pragma once
#include "broker/session.h"

/* One message for one session; on its home loop. */
struct offer {
    struct message *message; /* borrowed */
    const uint32_t *ids;
    struct share *share; /* borrowed; NULL: not shared */
    uint64_t pos;        /* arrival number; 0: not stored */
    uint64_t flags;      /* SUB_CHECK_DELIVER */
    uint8_t qos;         /* as granted and published: the smaller */
    uint8_t n_ids;
    bool retain;        /* the flag as it goes out */
    bool from_retained; /* read from the retained tree because of a SUBSCRIBE */
};

enum offer_result {
    OFFER_TAKEN,   /* sent, queued, or left in the store                        */
    OFFER_DROPPED, /* counted and told                                          */
    OFFER_REFUSED, /* shared only: not taken and nothing said, choose another   */
};
enum offer_result deliver_offer(struct session *session, const struct offer *offer);

/* authorize_deliver and deliver rules; true while nobody is connected, it is asked again when read.
 */
bool deliver_is_allowed(struct session *session, struct message *message);
/* Sends what window and connection allow. Safe to call at any time. */
void deliver_pump(struct session *session);
/* As deliver_pump, at the end of this turn. */
void deliver_pump_later(struct session *session);
/* A client is attached again: resend the window [MQTT-4.4.0-1], then the queue. */
void deliver_resume(struct session *session);
/* The client is gone and the session stays: what is stored leaves memory, the window stays. */
void deliver_park(struct session *session);
/* The retained reads are through: live messages that waited follow. */
void deliver_unbehind(struct session *session);
/* The session ends with messages that its client has not acknowledged: counts and tells. */
void deliver_count_lost(struct session *session);
/* Throws them away. */
void deliver_forget_behind(struct session *session);
/* Counts, tells plugins, deletes the row if there is one. */
void deliver_dropped(struct session *session, struct message *message, uint64_t pos, uint32_t why);
/* Puts a delivery (from the store's rows) to the end of the queue. */
void deliver_append(struct session *session, struct delivery *m_delivery);
/* A row with a packet identifier, after a restart. */
void deliver_restore(struct session *session, struct delivery *m_delivery, uint16_t packet_id,
                     uint8_t state);
