/* store.h - the door to the one store plugin: units gathered into batches, answers, scans.
 *
 * A loop gathers units during a turn and submits them as one batch. Batches of all loops take one order, in
 * which arrival numbers are given; a batch's place in that order is taken inside store_submit, before it
 * returns, so nothing that is posted afterwards can overtake it. Answers are handed out by
 * store_run_answers on the loop that submitted, never from within another call. On the loop, unless said.
 * Failed deletions and updates that must not be lost are kept and submitted again (STORE_AGAIN). */
#pragma once
#include "hooks/hooks.h"

/* Waits for one unit; embedded in who waits. status: 0, -ENOSPC (full, nothing applied), -EIO (failed for
 * good or unknown), -ENOMEM, -EINVAL (the store will never take this unit). In `done` everything is allowed:
 * new units, submitting, cancelling other waits, freeing this one. */
struct store_wait {
    struct list link;
    void (*done)(struct store_wait *w, int status);
    uint64_t pos;  /* arrival number of the unit's (first) QUEUE_ADD, set inside store_submit */
    uint32_t unit; /* private: index in its batch */
};
void store_wait_init(struct store_wait *w, void (*done)(struct store_wait *w, int status));
static inline bool store_waiting(const struct store_wait *w)
{
    return list_linked(&w->link);
}
void store_wait_cancel(struct store_wait *w); /* fine when it does not wait */

/* On -ENOSPC and -ENOMEM of the store: keep the unit and submit it again when there is room, or after a second;
 * the wait goes on. Kept units keep their order, later AGAIN units line up behind them; TRIM units do not,
 * they make the room. */
#define STORE_AGAIN 1u
#define STORE_TRIM  2u /* only deletions, and changes of a session that is there */

/* One unit is open at a time. What cannot be kept (no memory) makes store_unit_end return -ENOMEM. */
void store_unit_begin(struct hook_loop *hl, uint32_t durability, uint32_t flags);
int store_unit_end(struct hook_loop *hl, struct store_wait *wait); /* wait: NULL if nobody waits */
bool store_unit_is_full(const struct hook_loop *hl); /* batch_max_ops reached: time to submit */

void store_session_put(struct hook_loop *hl, uint64_t session, struct str client, int64_t expiry_ms,
                       struct str extra);
void store_session_del(struct hook_loop *hl, uint64_t session);
void store_session_off(struct hook_loop *hl, uint64_t session, int64_t expires_in_ms);
void store_sub_put(struct hook_loop *hl, uint64_t session, struct str key, const pigeon_sub *sub);
void store_sub_del(struct hook_loop *hl, uint64_t session, struct str key);
void store_retain_put(struct hook_loop *hl, struct message *message);
void store_retain_del(struct hook_loop *hl, struct str topic);
struct store_rcpt {
    uint64_t session;
    uint8_t qos, retain;
    uint8_t n_ids;
    const uint32_t *ids;
    struct str share;
};
void store_queue_add(struct hook_loop *hl, struct message *message, const struct store_rcpt *rcpts, uint32_t n);
void store_queue_upd(struct hook_loop *hl, uint64_t session, uint64_t pos, uint16_t packet_id, uint8_t state);
void store_queue_del(struct hook_loop *hl, uint64_t session, uint64_t pos);
void store_queue_move(struct hook_loop *hl, uint64_t session, uint64_t pos, const struct store_rcpt *to);
void store_in_add(struct hook_loop *hl, uint64_t session, uint16_t packet_id);
void store_in_del(struct hook_loop *hl, uint64_t session, uint16_t packet_id);
void store_will_put(struct hook_loop *hl, uint64_t session, struct message *will, int64_t delay_ms);
void store_will_due(struct hook_loop *hl, uint64_t session, int64_t due_in_ms);
void store_will_del(struct hook_loop *hl, uint64_t session);
/* An op as it is, with its own number and time: for who copies rows into a store that nobody else writes. Its
 * message, if any, is a struct message. */
void store_op_put(struct hook_loop *hl, const pigeon_op *op);

/* Takes the gathered units' place in the order. Does nothing when there are none. A store that answers at once
 * has done so when it returns: store_run_answers must follow before the loop waits. */
void store_submit(struct hook_loop *hl);
/* The first half of store_submit: the units have their place and their numbers when it returns, the plugin is not
 * called. For callers that hold a lock (P2.6 of docs/concurrency.md); store_submit must follow without it. */
void store_place(struct hook_loop *hl);
/* Calls `done` of what has been answered, rows and ends of scans. true: there was something. Does not nest. */
bool store_run_answers(struct hook_loop *hl);
/* Units submitted and not answered, all loops. Any thread. */
uint64_t store_in_flight(const struct hooks *hooks);
/* For pigeon.metrics/1: store/... Any thread. */
void store_metrics(const struct hooks *hooks, pigeon_metric_fn fn, void *arg);
/* The last arrival number given; after a start the largest in the store. */
uint64_t store_last_pos(const struct hooks *hooks);
void store_set_last_pos(struct hooks *hooks, uint64_t pos); /* before loops run */
/* What survives in it, PIGEON_KEEPS_* bits. */
uint32_t store_keeps(const struct hooks *hooks);
/* The number of a session that is none: as long as it is there, a load into this store has not come to its end. */
#define STORE_UNFINISHED_SESSION ((uint64_t)INT64_MAX)

/* A scan, embedded in who scans. Rows come on the loop; the op and what it points to live during the call,
 * its message may be kept with message_ref(message_of(op->msg)). */
struct store_scan {
    uint32_t what;      /* PIGEON_SCAN_* */
    uint64_t session, after_pos;
    uint32_t limit;     /* rows; 0: no limit */
    uint64_t high;      /* set by store_scan: the last arrival number given when the scan took its place */
    void (*row)(struct store_scan *s, const pigeon_op *op);
    void (*done)(struct store_scan *s, int status); /* 0, -EIO, -ENOMEM, -ENOTSUP; the last call */
    struct scan_state *state; /* private; NULL: no scan runs */
};
/* Submits what was gathered, then takes the scan's place in the order. 0, or -ENOMEM and nothing follows. row
 * and done are called by store_run_answers; either may cancel or free the scan. Rows of the queue with a number
 * above `high` are left out: they reach the session on the way of live messages. */
int store_scan(struct hook_loop *hl, struct store_scan *s);
void store_scan_cancel(struct hook_loop *hl, struct store_scan *s); /* fine when it does not run */
/* At start, before the loops run: calls row for everything and returns when it is through. 0 or negative. */
int store_scan_all(struct hooks *hooks, uint32_t what, void (*row)(void *ctx, const pigeon_op *op), void *ctx);
/* Rows of the last store_scan_all that nobody was shown, for they lacked what their kind must have. */
uint32_t store_scan_bad(const struct hooks *hooks);
