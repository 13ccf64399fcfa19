/* will.h - the will of a session's last connection: kept, sent once, never early. */
#pragma once
#include "broker/session.h"

struct will {
    struct session *session;
    struct message *message; /* reference */
    struct identity *who;    /* reference; NULL after a restart */
    uint32_t delay_s;
    struct timer due;
    bool stored;
    bool ended; /* the connection has ended: it is only a matter of time */
};

/* Replaces what is there; NULL: no will. 0 or -ENOMEM. The caller stores it (will_store). */
int will_set(struct session *session, struct message *m_message, uint32_t delay_s,
             struct identity *who);
/* Adds WILL_PUT to the open unit. */
void will_store(struct session *session);
/* The connection ended without DISCONNECT 0x00: publish, or wait for the delay [MQTT-3.1.2-8]. */
void will_connection_ended(struct session *session);
/* The session ended: what still waits is published now. */
void will_session_ended(struct session *session);
/* DISCONNECT 0x00, or resumed in time: it will never be sent [MQTT-3.1.2-10] [MQTT-3.1.3-9]. */
void will_cancel(struct session *session);
/* After a restart. */
void will_restored(struct session *session, uint64_t due_in_ms);
void will_free(struct will **will);
