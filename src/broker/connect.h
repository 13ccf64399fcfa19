/* connect.h - a CONNECT from the first hook to CONNACK, and the line of CONNECTs for one client id.
 * The steps are a visible list in connect.c; P1 of docs/concurrency.md. */
#pragma once
#include "base/buf.h"
#include "broker/session.h"
#include "hooks/ask.h"

enum connecting_state {
    CONNECTING_HOOKS,   /* nothing of it is in the session table [A5] */
    CONNECTING_WAITING, /* allowed; in session.waiting */
    CONNECTING_SERVED,  /* session.serving */
    CONNECTING_COMMIT,  /* its own unit is at the store */
};

struct connecting {
    struct list link; /* session.waiting */
    struct shard *shard;
    struct client *client;     /* NULL: the connection died while it was served */
    struct connect_info *info; /* reference */
    struct identity *who;      /* reference; outlives the client */
    struct session *session;   /* from CONNECTING_WAITING on */
    struct ask ask;
    struct store_wait wait;
    struct client_connack answer;
    struct buf user_props, texts; /* what answer's views point into */
    void *exchange_slot;          /* the plugin's state of an enhanced authentication */
    struct sub **restored;        /* subscriptions that are asked about again */
    uint32_t n_restored, next_restored;
    uint32_t step;
    uint8_t state; /* enum connecting_state */
    uint8_t stage; /* PIGEON_STAGE_* of the next exchange step */
    bool asking;   /* the ask waits */
    bool running;  /* on the stack */
    bool clean_start;
    bool was_stored; /* before this CONNECT */
    uint32_t old_expiry_s;
    uint32_t n_revoked; /* identity_revocations when the restored subscriptions are asked about */
    uint16_t keepalive_s;
    uint32_t expiry_s, will_delay_s;
    struct str auth_data; /* of the AUTH that is being looked at; owned */
};

/* Goes on with the CONNECT that is served, or with the next one that waits. */
void connect_serve(struct session *session);
/* Shutdown: CONNECTs that wait behind another one of their id get an answer. */
void connect_refuse_waiting(struct shard *s, uint8_t reason);
/* The client has gone away before its CONNACK. */
void connect_gone(struct client *c);
/* AUTH while the CONNECT is under way. 0, or negative reason. */
int connect_continue(struct client *c, struct str data);
/* The client is gone: its re-authentication, too. */
void reauth_gone(struct client *c);
