/* pigeon/events.h - interface "pigeon.events/1": facts. They happen after the state has changed, in order
 * per client, cannot change anything and return nothing. All [loop]; views live until the return. */
#ifndef PIGEON_EVENTS_H
#define PIGEON_EVENTS_H
#include <pigeon/types.h>

/* Why a message was not delivered, `dropped`. */
#define PIGEON_DROP_EXPIRED     1u
#define PIGEON_DROP_QUEUE_FULL  2u
#define PIGEON_DROP_TOO_LARGE   3u  /* for the receiver's Maximum Packet Size */
#define PIGEON_DROP_DENIED      4u  /* authorize_deliver or a deliver rule    */
#define PIGEON_DROP_OFFLINE     5u  /* QoS 0 for an absent client             */
#define PIGEON_DROP_NO_MEMORY   6u
#define PIGEON_DROP_STORE       7u  /* could not be stored                    */
#define PIGEON_DROP_SLOW        8u  /* QoS 0 for a client that does not read  */
#define PIGEON_DROP_INBOUND     9u  /* an `inbound` hook said DENY            */
#define PIGEON_DROP_SESSION_END 10u
#define PIGEON_DROP_REFUSED     11u /* the client answered with an error code */
#define PIGEON_DROP_HOPS        12u /* shared subscription: no member took it */
#define PIGEON_DROP_LIMIT       13u /* rate or retained limit                 */
#define PIGEON_DROP_COUNT       14u

/* Why a session ended, `session_end`. */
#define PIGEON_END_CLEAN   1u /* clean session, or expiry 0, and the connection closed */
#define PIGEON_END_EXPIRED 2u
#define PIGEON_END_REPLACED 3u /* Clean Start */
#define PIGEON_END_ADMIN   4u

#define PIGEON_IF_EVENTS "pigeon.events/1"
typedef struct pigeon_events {
    uint32_t size;
    uint32_t flags;
    /* The client has its place in the broker; CONNACK follows. */
    void (*client)(void *self, const pigeon_client *client);
    /* CONNACK is out and the stored queue has been handed to the connection. */
    void (*client_ready)(void *self, const pigeon_client *client);
    /* reason: MQTT 5 reason code of the end; before its will is published. */
    void (*client_disconnect)(void *self, const pigeon_client *client, uint32_t reason, pigeon_str text);
    /* An error that ends the connection of a client whose id is known. */
    void (*client_error)(void *self, const pigeon_client *client, uint32_t reason, pigeon_str text);
    /* As above, before the id is known. */
    void (*connection_error)(void *self, const pigeon_client *client, uint32_t reason, pigeon_str text);
    void (*keepalive_timeout)(void *self, const pigeon_client *client);
    /* Also for refusals. */
    void (*connack_sent)(void *self, const pigeon_client *client, uint32_t reason, uint32_t session_present);
    void (*subscribed)(void *self, const pigeon_client *client, const pigeon_sub *subs, uint32_t n,
                       uint32_t stride);
    /* Every filter asked for, whether it was subscribed or not; also when a session ends. */
    void (*unsubscribed)(void *self, const pigeon_client *client, const pigeon_str *filters, uint32_t n);
    /* Routed to all matching subscribers. client NULL: the broker's, a plugin's or a lost session's. */
    void (*publish)(void *self, const pigeon_client *client, const pigeon_msg *msg);
    /* The receiver finished the exchange: PUBACK or PUBCOMP. */
    void (*ack)(void *self, const pigeon_client *client, const pigeon_msg *msg, uint32_t packet_id);
    void (*ping)(void *self, const pigeon_client *client);
    /* Each heartbeat_interval, broker-wide. */
    void (*heartbeat)(void *self, pigeon_str node_id);
    /* client: the receiver, NULL if it is absent; why: PIGEON_DROP_*. */
    void (*dropped)(void *self, const pigeon_client *client, const pigeon_msg *msg, uint32_t why);
    void (*session_end)(void *self, pigeon_str client_id, uint32_t why);
    void (*will_dropped)(void *self, pigeon_str client_id, const pigeon_msg *will, uint32_t reason);
    /* Something broker-wide went wrong: the store, the bus. */
    void (*error)(void *self, int32_t err, pigeon_str text);
    /* All clients are closed; the last call before quiesce. */
    void (*closed)(void *self);
} pigeon_events;

#endif
