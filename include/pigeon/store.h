/* pigeon/store.h - interface "pigeon.store/1": a transactional journal and a scanner, never a cache.
 *
 * The broker keeps the working set and is the only writer. It submits batches of units; a unit is atomic, a
 * batch is one commit (one fsync) and is answered exactly once; batches take effect in the order of the
 * submit calls. Every record names the session *number*: one life of a client's session, never reused.
 * Members marked [shared] serve several nodes on one engine; a single-node store leaves them NULL, answers
 * units in order and never says FENCED or STALE. */
#ifndef PIGEON_STORE_H
#define PIGEON_STORE_H
#include <pigeon/types.h>

/* ---- what a store promises --------------------------------------------------------------------- */

#define PIGEON_KEEPS_MEM    1u  /* survives nothing                                                  */
#define PIGEON_KEEPS_OS     2u  /* survives kill -9 of the broker                                    */
#define PIGEON_KEEPS_DISK   4u  /* survives power loss: fsync before the answer                      */
#define PIGEON_KEEPS_COPIES 8u  /* acknowledged by `copies` machines, in their memory                */
#define PIGEON_KEEPS_QUORUM 16u /* survives the loss of a minority, failover included                */

#define PIGEON_STORE_SHARED  1u /* caps: the [shared] members are real                               */
#define PIGEON_STORE_SHARDED 2u /* caps: a unit is atomic per client only                            */
#define PIGEON_STORE_WAKES   4u /* caps: store_host->queued() is called for sessions of this node    */
#define PIGEON_STORE_MT      8u /* caps: submit may be called concurrently; the host does not serialise */

typedef struct pigeon_store_info {
    uint32_t size;
    uint32_t caps;
    uint32_t keeps;
    uint32_t copies;
    uint32_t max_batch_ops; /* 0: no limit */
    uint32_t max_body;
    uint64_t history;       /* changes when the engine may have lost acknowledged writes */
} pigeon_store_info;

/* ---- batches ----------------------------------------------------------------------------------- */

#define PIGEON_DURABILITY_MEMORY 0u
#define PIGEON_DURABILITY_OS     1u
#define PIGEON_DURABILITY_DISK   2u

#define PIGEON_OP_SESSION_PUT  1u  /* client, session, due_in_ms = expiry after disconnect, extra     */
#define PIGEON_OP_SESSION_DEL  2u  /* session; with subscriptions, queue, incoming ids, will          */
#define PIGEON_OP_SESSION_OFF  3u  /* session; the connection ended, expires due_in_ms from now       */
#define PIGEON_OP_SESSION_REAP 4u  /* [shared] delete only if unowned and due                         */
#define PIGEON_OP_SUB_PUT      5u  /* session, key = requested filter with $share/NAME/, sub          */
#define PIGEON_OP_SUB_DEL      6u  /* session, key                                                    */
#define PIGEON_OP_INTEREST_PUT 7u  /* [shared] this node has receivers for key                        */
#define PIGEON_OP_INTEREST_DEL 8u  /* [shared]                                                        */
#define PIGEON_OP_RETAIN_PUT   9u  /* key = topic, msg                                                */
#define PIGEON_OP_RETAIN_DEL   10u /* key = topic                                                     */
#define PIGEON_OP_QUEUE_ADD    11u /* pos, msg, rcpts; a recipient whose session is gone is skipped   */
#define PIGEON_OP_QUEUE_UPD    12u /* session, pos, packet_id, state                                  */
#define PIGEON_OP_QUEUE_DEL    13u /* session, pos                                                    */
#define PIGEON_OP_QUEUE_MOVE   14u /* session, pos, rcpts[0]: to another member of a shared subscription */
#define PIGEON_OP_IN_ADD       15u /* session, packet_id: incoming QoS 2                              */
#define PIGEON_OP_IN_DEL       16u /* session, packet_id                                              */
#define PIGEON_OP_WILL_PUT     17u /* session, msg, due_in_ms = will delay                            */
#define PIGEON_OP_WILL_DUE     18u /* session: the connection ended, the will is due due_in_ms from now */
#define PIGEON_OP_WILL_TAKE    19u /* [shared] first op of a unit: delete the will or end with E_GONE  */
#define PIGEON_OP_WILL_DEL     20u /* session                                                         */

#define PIGEON_OP_IF_EXISTS 1u /* flags: the unit ends with E_GONE when there is nothing to change */

#define PIGEON_QUEUE_QUEUED   0u /* waits, no packet identifier                     */
#define PIGEON_QUEUE_SENT     1u /* PUBLISH may have been sent with packet_id       */
#define PIGEON_QUEUE_RECEIVED 2u /* PUBREC arrived; only PUBREL may be sent again   */

/* One recipient of a QUEUE_ADD. */
typedef struct pigeon_rcpt {
    uint32_t   size;
    uint32_t   flags;
    pigeon_str client;
    uint64_t   session;
    uint8_t    qos;      /* as this recipient gets it */
    uint8_t    retain;
    uint8_t    rsv[2];
    uint32_t   nsub_ids;
    PIGEON_PTR(const uint32_t, sub_ids);
    pigeon_str share;    /* "$share/NAME/filter" that chose it, or empty */
} pigeon_rcpt;

typedef struct pigeon_op {
    uint32_t   size;
    uint16_t   kind;      /* PIGEON_OP_* */
    uint16_t   flags;
    pigeon_str client;
    pigeon_str key;
    uint64_t   session;   /* session number */
    uint64_t   pos;       /* arrival number, growing in submit order; 0 with a [shared] store, which gives its own */
    int64_t    due_in_ms; /* relative, on the store's clock; -1: never */
    uint16_t   packet_id;
    uint8_t    state;     /* PIGEON_QUEUE_* */
    uint8_t    rsv[5];
    PIGEON_PTR(const pigeon_msg, msg);
    PIGEON_PTR(const pigeon_sub, sub);
    PIGEON_PTR(const pigeon_rcpt, rcpts);
    uint32_t   nrcpts;
    uint32_t   rcpt_stride;
    pigeon_bytes extra;   /* the broker's own bytes about a session or a will; keep them as they are */
} pigeon_op;

#define PIGEON_UNIT_MATCHED 1u /* [shared] recipients were computed from the table: check table_rev */
#define PIGEON_UNIT_TRIM    2u /* only deletions, and SESSION_PUT or _OFF of a session that is there: must work on a
                                  full engine                                                       */

typedef struct pigeon_unit {
    uint32_t   size;
    uint32_t   flags;
    pigeon_str fence_client; /* [shared] empty: no fence */
    uint64_t   fence_epoch;
    uint32_t   first_op;
    uint32_t   nops;
} pigeon_unit;

typedef struct pigeon_batch {
    uint32_t     size;
    uint32_t     durability; /* PIGEON_DURABILITY_*; at least this much for all units */
    pigeon_token token;
    uint64_t     table_rev;  /* [shared] */
    PIGEON_PTR(const pigeon_unit, units);
    PIGEON_PTR(const pigeon_op, ops);
    uint32_t     nunits;
    uint32_t     unit_stride;
    uint32_t     nops;
    uint32_t     op_stride;
} pigeon_batch; /* pinned, with everything it points to, until it is answered */

typedef struct pigeon_unit_result { /* frozen */
    int32_t  status;
    uint32_t gone; /* recipients skipped */
    uint64_t pos;  /* [shared] of the unit's first QUEUE_ADD */
} pigeon_unit_result;

typedef struct pigeon_batch_result {
    uint32_t size;
    int32_t  status; /* of the batch: OK, E_FULL (nothing applied), E_IO (failed for good), E_UNKNOWN */
    uint64_t table_rev;
    int64_t  store_now_ms;
    uint64_t first_pos;
    PIGEON_PTR(const pigeon_unit_result, units); /* NULL: every unit has the status of the batch */
} pigeon_batch_result;

/* ---- reading ----------------------------------------------------------------------------------- */

#define PIGEON_SCAN_SESSIONS 1u /* rows as SESSION_PUT; due_in_ms what is left, -1: online at the end, or never */
#define PIGEON_SCAN_SUBS     2u /* rows as SUB_PUT     */
#define PIGEON_SCAN_INTEREST 3u /* [shared]            */
#define PIGEON_SCAN_RETAINED 4u /* rows as RETAIN_PUT  */
#define PIGEON_SCAN_QUEUE    5u /* rows as QUEUE_ADD with one recipient, packet_id and state; by pos */
#define PIGEON_SCAN_IN       6u /* rows as IN_ADD      */
#define PIGEON_SCAN_WILLS    7u /* rows as WILL_PUT; due_in_ms what is left once WILL_DUE was said, else -1 */
#define PIGEON_SCAN_NODES    8u /* [shared]            */
/* What QUEUE would show, in short: a row with session 0 for all, then one for each session that has any. pos is
 * the largest number (of all, also the largest there was, if the store knows), extra a pigeon_queue_sum. A store
 * that has no quick way says E_NOTSUP, and QUEUE is scanned instead. */
#define PIGEON_SCAN_SUMS     9u

typedef struct pigeon_queue_sum {
    uint32_t size;
    uint32_t rsv;
    uint64_t rows;
    uint64_t bytes;       /* topics, properties, payloads, publishers and their users */
    uint64_t last_id_pos; /* the last row with a packet identifier; 0: none */
} pigeon_queue_sum;

typedef struct pigeon_scan {
    uint32_t     size;
    uint32_t     what;
    pigeon_token token;
    uint64_t     session;   /* exact; 0: all */
    uint64_t     after_pos; /* QUEUE: rows with a larger pos */
    uint32_t     limit;     /* at most so many rows; 0: no limit */
    uint32_t     credit;    /* rows that may be handed over before more() is called */
    pigeon_incarnation owner; /* [shared] */
} pigeon_scan;

typedef struct pigeon_row {
    uint32_t           size;
    uint32_t           what;
    uint32_t           deleted; /* [shared] change feed */
    uint32_t           rsv;
    uint64_t           rev;
    pigeon_incarnation owner;
    uint64_t           epoch;
    PIGEON_PTR(const pigeon_op, op);
} pigeon_row;

/* ---- [shared] ownership ------------------------------------------------------------------------ */

#define PIGEON_CLAIM_CLEAN   1u
#define PIGEON_CLAIM_DURABLE 2u
#define PIGEON_CLAIM_UNOWNED 4u
typedef struct pigeon_claim {
    uint32_t     size;
    uint32_t     flags;
    pigeon_token token;
    pigeon_str   client;
} pigeon_claim;

typedef struct pigeon_claim_result {
    uint32_t           size;
    int32_t            status;
    uint64_t           epoch;
    uint64_t           session;
    pigeon_incarnation old_owner;
    uint64_t           old_epoch;
    uint32_t           present;
    uint32_t           rsv;
    uint64_t           tail;
    int64_t            store_now_ms;
    PIGEON_PTR(const pigeon_op, row);
    PIGEON_PTR(const pigeon_op, will);
} pigeon_claim_result;

#define PIGEON_IF_STORE "pigeon.store/1"
typedef struct pigeon_store {
    uint32_t size;
    uint32_t flags;
    /* [any] */
    int32_t (*info)(void *self, pigeon_store_info *out);
    /* [any], serialised by the host. PIGEON_OK: committed, all units; PIGEON_PENDING: store_host->batch_done()
     * follows; an error: nothing was applied. Must not block. */
    int32_t (*submit)(void *self, const pigeon_batch *batch);
    /* [any], takes its place among the submits. Rows come through store_host->rows(), in this call or later;
     * the end is PIGEON_OK, or PIGEON_PENDING and host->complete(token, OK or error). */
    int32_t (*scan)(void *self, const pigeon_scan *scan);
    /* [any] the host can take so many rows more */
    int32_t (*more)(void *self, pigeon_token scan, uint32_t credit);
    /* [shared] */
    int32_t (*join)(void *self, pigeon_token, pigeon_str node, pigeon_incarnation me, uint32_t lease_ms);
    int32_t (*beat)(void *self, pigeon_token, uint32_t lease_ms, uint64_t table_rev);
    int32_t (*bury)(void *self, pigeon_token, pigeon_incarnation dead);
    int32_t (*leave)(void *self, pigeon_token);
    int32_t (*claim)(void *self, const pigeon_claim *claim);
    int32_t (*follow)(void *self, pigeon_token, uint64_t from_rev, uint32_t credit);
} pigeon_store;

/* ---- what the host offers to a store: host->get(PIGEON_IF_STORE_HOST, ...) [any] ----------------- */

#define PIGEON_SEEN_UP      1u
#define PIGEON_SEEN_DOWN    2u
#define PIGEON_SEEN_BLIND   3u
#define PIGEON_SEEN_REWOUND 4u
#define PIGEON_SEEN_FULL    5u
#define PIGEON_SEEN_ROOM    6u
#define PIGEON_SEEN_FAILED  7u /* an fsync failed: the broker stops acknowledging and exits to be restarted */

#define PIGEON_IF_STORE_HOST "pigeon.store-host/1"
typedef struct pigeon_store_host {
    uint32_t size;
    uint32_t flags;
    int32_t (*batch_done)(void *inst, pigeon_token batch, const pigeon_batch_result *result);
    /* E_GONE: the scan was cancelled, stop it. Rows are copied before the return. */
    int32_t (*rows)(void *inst, pigeon_token scan, const pigeon_row *rows, uint32_t n, uint32_t stride);
    int32_t (*claimed)(void *inst, pigeon_token, const pigeon_claim_result *result);
    int32_t (*queued)(void *inst, pigeon_str client, uint64_t pos, uint64_t prev_pos, const pigeon_row *row);
    int32_t (*taken)(void *inst, pigeon_str client, uint64_t epoch);
    int32_t (*seen)(void *inst, uint32_t what, pigeon_str text);
} pigeon_store_host;

#endif
