/* publish.h - one message from acceptance to acknowledgement: a visible list of steps (publish.c).
 */
#pragma once
#include "broker/client.h"
#include "broker/route.h"
#include "hooks/ask.h"
#include "hooks/store.h"

struct bus_pick;

typedef void (*publish_done_fn)(void *arg, int32_t status);

struct publish {
    struct list link;       /* client.publishes */
    struct list line;       /* shard.qos2_line */
    struct message *before; /* reference: the retained message that this one replaced */
    struct message *kept;   /* reference: this one as it is retained, with the broker's own limit */
    struct list turn;       /* shard.submitting */
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
    uint8_t why;    /* PIGEON_DROP_* that has not been told yet */
    bool asking, blocking, retained, refused, withheld, no_receiver;
    bool counted;          /* in session.n_store */
    bool routed;           /* QoS 0 and 1: before the commit */
    bool answered;         /* has its commit, or needs none: may be routed when its turn comes */
    bool ends_session;     /* a will with which its session ends */
    int status;            /* of the commit */
    char *text;            /* what a plugin said about it; owned, NULL: nothing */
    struct bus_pick *pick; /* from another node: whom it is for; owned */
    publish_done_fn done;  /* for who is not a client */
    void *arg;
};

/* The broker's own, a plugin's: takes the message. done may be NULL. */
void publish_start(struct shard *s, struct message *m_message, uint8_t origin, publish_done_fn done,
                   void *arg);
/* From another node: takes the message and what it is for. */
void publish_start_from_bus(struct shard *s, struct message *m_message, struct bus_pick *m_pick);
/* A will. will_of: number of the session whose stored will it is, 0: none; ends_session: that
 * session ends with it, its row goes in the same unit. `who` may be NULL. */
void publish_start_will(struct shard *s, struct message *m_message, struct identity *who,
                        uint64_t will_of, bool ends_session);
/* The client is gone: what was not submitted is cancelled, the rest goes on without it. */
void publish_client_gone(struct client *c);

/* ---- for submit.c ---- */
/* Who gets it, into the shard's match. 0 or -ENOMEM. */
int publish_match(struct publish *p);
/* Goes on with the next step; the object may be gone afterwards. */
void publish_run(struct publish *p);
/* The publisher's session, if it is still the same; NULL otherwise. */
struct session *publish_session(const struct publish *p);
/* why: PIGEON_DROP_*. Only a mark; publish_tell_refused follows where plugins may be called. */
void publish_mark_refused(struct publish *p, uint8_t reason, uint32_t why);
void publish_tell_refused(struct publish *p);
