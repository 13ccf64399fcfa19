/* client.h - one MQTT client of the load generator: connects, subscribes, acknowledges.
 *
 * Embedded in a publisher or subscriber, which owns it. It answers what the protocol wants answered
 * by itself; acknowledgements of a burst leave together. Anything unexpected (a refusal, a lost
 * connection, a malformed packet) fails the whole run. */
#pragma once
#include "base/str.h"
#include "bench/bench.h"
#include "net/stream.h"
#include <stdbool.h>
#include <stdint.h>

#define CLIENT_ID_MAX      24     /* 23 characters, as MQTT 3.1 has it */
#define CLIENT_UNACKED_MAX 32768u /* so that no packet identifier is used twice at a time */

struct client;

struct delivery {
    struct str payload;
    bool dup, retain;
};

struct client_ops { /* every member may be NULL */
    void (*on_up)(struct client *c);
    void (*on_message)(struct client *c, const struct delivery *d);
    void (*on_acked)(struct client *c); /* one publish was acknowledged (PUBACK, PUBCOMP) */
    void (*on_pong)(struct client *c);
    void (*on_gone)(struct client *c); /* the broker closed after our DISCONNECT */
};

enum client_state { CLIENT_DOWN, CLIENT_CONNECTING, CLIENT_UP, CLIENT_LEAVING };

struct client {
    struct bench *bench;
    struct stream *stream;
    const struct client_ops *ops;
    enum client_state state;
    bool clean;           /* clean start, and no session afterwards */
    uint16_t last_id;     /* packet identifier used last */
    uint32_t receive_max; /* publishes the broker takes before it has acknowledged one */
    uint32_t n_unacked;   /* of them */
    char id[CLIENT_ID_MAX];
};

/* `kind` and `nth` make the client identifier. */
void client_init(struct client *c, struct bench *b, const struct client_ops *ops, const char *kind,
                 uint32_t nth);
/* Closes at once if need be. */
void client_fini(struct client *c);
/* Connects and sends CONNECT; on_up follows. Failures fail the run. */
void client_connect(struct client *c);
/* At most 65,535 bytes of filters. b->n_subscribing counts what is not yet answered. */
void client_subscribe(struct client *c, const struct str *filters, uint32_t n, uint8_t qos);
void client_ping(struct client *c);
/* Sends DISCONNECT and waits for the broker to close. */
void client_disconnect(struct client *c);
/* The next packet identifier, never 0. */
static inline uint16_t client_next_id(struct client *c)
{
    if (++c->last_id == 0)
        c->last_id = 1;
    return c->last_id;
}

/* Whole sets, given as pointers; a few connect at a time. 0 or -EIO. */
int clients_connect(struct bench *b, struct client *const *set, uint32_t n);
/* Disconnects who is connected and waits until the broker has closed them all. */
int clients_disconnect(struct bench *b, struct client *const *set, uint32_t n);
/* Waits until every SUBSCRIBE is answered. */
int clients_await_subacks(struct bench *b);
/* Ends the sessions that disconnected clients have left. */
int clients_discard_sessions(struct bench *b, struct client *const *set, uint32_t n);
