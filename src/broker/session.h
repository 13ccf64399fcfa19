/* session.h - one MQTT session on its home loop: subscriptions, queue, window, will, expiry. It
 * never moves.
 *
 * Owned by the shard's table by client id. While it has a client it is online; a durable one
 * (expiry > 0) stays behind offline. A Clean Start makes it a new session in the same place: new
 * number, nothing kept. */
#pragma once
#include "broker/client.h"
#include "hooks/store.h"
#include "mqtt/incoming.h"
#include "mqtt/outgoing.h"

#define EXPIRY_NEVER UINT32_MAX /* Session Expiry Interval: does not expire */

/* One subscription of the session, keyed by the filter as requested. */
struct sub {
    struct str key;       /* "$share/NAME/filter" or the filter; owned */
    struct str share;     /* view into key, empty: not shared */
    struct str filter;    /* view into key: what the client asked for */
    struct str effective; /* what is in the index; owned when it differs from filter */
    uint64_t opts;        /* SUB_* as in the index */
    uint8_t retain_handling;
    bool denied;      /* MQTT 3.1: SUBACK cannot say no; never delivers */
    struct sub *next; /* while all of a session's are taken down */
};

/* The rows of the queue that are in the store only (P3 of docs/concurrency.md). */
enum backlog_state {
    BACKLOG_NONE,    /* everything that is stored is in memory, too             */
    BACKLOG_STORED,  /* there may be rows behind read_upto; nobody is reading   */
    BACKLOG_READING, /* a scan is under way                                     */
};

struct backlog {
    struct store_scan scan;
    struct list held;   /* deliveries routed here while the scan is under way */
    uint64_t read_upto; /* the rows up to here have been read: a scan shows those behind it that are
                           left; a routed message up to it is dropped */
    uint64_t max_in_memory; /* highest row ever routed to memory past a scan, or of the window */
    uint64_t ids_upto; /* rows up to here may have packet identifiers from before the start: until
                          all of them are read, no identifier is free */
    uint32_t n_held, n_rows;
    uint8_t state;     /* enum backlog_state */
    bool again;        /* held overflowed, or the scan failed: read again */
    uint64_t n_stored; /* rows in the store that are not in memory, roughly: for limits */
    uint64_t stored_bytes;
    uint64_t debt; /* oldest rows to be dropped, policy drop_oldest */
};

struct session {
    struct shard *shard;
    struct str id;   /* owned */
    uint64_t number; /* session number: this life of the session */
    uint32_t slot;
    struct client *client;      /* NULL: offline */
    struct connecting *serving; /* the CONNECT that is being served now */
    struct list waiting;        /* struct connecting, in order of their CONNECTs */

    uint32_t expiry_s;
    uint32_t stored_expiry_s; /* as in the store */
    bool durable;             /* expiry_s > 0: outlives the connection */
    bool stored;              /* has a row in the store */
    bool exists;              /* some CONNECT was accepted: there is a session to resume */
    bool ending;
    uint32_t n_store; /* units about this session that are not answered */
    struct timer expiry;

    struct map subs; /* struct sub by key */
    uint32_t n_shared;
    struct outgoing out;
    uint32_t n_in_quota; /* PUBLISHes of this connection that are not completed [MQTT-3.3.4-9] */
    uint32_t n_ready;    /* in the window, DELIVERY_READY */
    uint32_t n_assigned; /* in the window, DELIVERY_ASSIGNED */
    struct incoming in;
    struct backlog backlog;
    bool pumping;
    struct list pump;   /* in shard.rows_to_pump */
    uint32_t n_reading; /* retained reads under way: live messages wait behind them */
    uint32_t n_behind, n_queued_qos0;
    struct list behind; /* those live messages */

    uint64_t max_queued, max_queued_bytes; /* 0: no limit; also while it is offline */
    struct will *will;                     /* NULL: none */
    uint64_t n_dropped;
};

struct session *session_find(struct shard *s, struct str id);
/* The session of a slot if it still has that number, else NULL. */
struct session *session_at(struct shard *s, uint32_t slot, uint64_t number);
/* A new offline, not yet stored session. NULL when out of memory. */
struct session *session_new(struct shard *s, struct str id);
/* Everything but client, expiry and waiting CONNECTs starts anew under a new number (Clean Start);
 * the old one's subscriptions leave the index, its rows leave the store (unit of its own), events
 * tell. */
void session_reset(struct session *session, uint32_t why);
/* The session ends: index, store, events; freed unless CONNECTs wait for it. why: PIGEON_END_*. */
void session_end(struct session **session, uint32_t why);
/* Frees without telling anybody: at the broker's end. */
void session_free(struct session **session);

struct index_who session_who(const struct session *session);
/* Sets expiry and with it durability; keeps the index entries right. */
void session_set_expiry(struct session *session, uint32_t expiry_s);
/* The client is gone: starts the expiry, or ends the session. */
void session_detached(struct session **session);
void session_start_expiry(struct session *session, uint64_t in_ms);
/* Marks the shared subscriptions as having a reader or not. */
void session_set_online(struct session *session, bool online);

/* The limits of its queue, from the configuration and from what plugins set for the client. */
void session_set_limits(struct session *session, const struct client *c);
/* Adds SESSION_PUT to the open unit; expiry_s: as it will be when the unit is committed. */
void session_store_put(struct session *session, uint32_t expiry_s);
/* The Session Expiry Interval that session_store_put wrote. */
uint32_t session_expiry_of_row(const pigeon_op *op);
/* Ends the open store unit about a session. The session counts it until it is answered, then calls
 * `done` (NULL: nothing to do) if it is still the same session; packet_id is handed through. 0 or
 * -ENOMEM: the unit is not submitted, done is not called. */
typedef void (*session_done_fn)(struct session *session, uint16_t packet_id, int status);
int session_unit_end(struct session *session, session_done_fn done, uint16_t packet_id);
/* The same in three steps, for those who have a wait of their own. */
void session_store_begin(struct session *session);
void session_store_done(struct shard *s, uint32_t slot, uint64_t number);

/* Puts a subscription into session and index, or replaces it. version: see index_put. 0/1 as
 * index_put, or negative. [tree lock held by the caller] */
int session_subscribe(struct session *session, struct sub *m_sub, uint64_t version);
struct sub *session_sub(const struct session *session, struct str key);
/* [takes the tree lock] true: it was there. */
bool session_unsubscribe(struct session *session, struct str key);
struct sub *sub_new(struct str key, struct str share, struct str filter, struct str effective,
                    uint64_t opts);
void sub_free(struct sub **sub);
void sub_view(const struct sub *sub, pigeon_sub *r_view);
