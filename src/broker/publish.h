/* publish.h - one message from acceptance to acknowledgement: a visible list of steps (publish.c).
 */
#pragma once
#include "broker/client.h"
#include "broker/route.h"
#include "hooks/ask.h"
#include "hooks/store.h"

typedef void (*publish_done_fn)(void *arg, int status);

struct publish {
    struct list link; /* client.publishes */
    struct list turn; /* shard.submitting */
    struct shard *shard;
    struct client *client;   /* NULL: none, or gone */
    struct identity *who;    /* reference, or NULL */
    struct message *message; /* reference */
    struct ask ask;
    struct store_wait wait;
    struct receiver *rcpts; /* kept while it waits; owned, with their shares */
    uint32_t *first, *ids;  /* n_loops + 1; owned */
    uint32_t n_rcpts, n_ids;
    uint32_t step;
    uint64_t session; /* publisher's session number, 0: none */
    uint64_t will_of; /* session number whose stored will this is */
    uint64_t version; /* retained version */
    uint32_t slot;    /* publisher's session */
    uint16_t packet_id;
    uint8_t qos;    /* as the client sent it: which acknowledgement it gets */
    uint8_t origin; /* PIGEON_ORIGIN_* */
    uint8_t reason; /* 0, or why it was refused */
    bool asking, blocking, retained, refused, withheld, no_receiver, submitted, counted;
    int status; /* of the commit */
    const char *text;
    publish_done_fn done; /* for who is not a client */
    void *arg;
};

/* A will, the broker's own, a plugin's: takes the message. `who` may be NULL. done may be NULL. */
void publish_start(struct shard *s, struct message *m_message, struct identity *who, uint8_t origin,
                   uint64_t will_of, publish_done_fn done, void *arg);
/* The submit of the turn: everything in shard.submitting gets its place in the order and is routed.
 * true: there was something. */
bool publish_turn(struct shard *s);
/* The client is gone: what was not submitted is cancelled, the rest goes on without it. */
void publish_client_gone(struct client *c);
