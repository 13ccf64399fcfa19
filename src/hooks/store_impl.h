/* store_impl.h - the insides of the store door; for the store*.c files only.
 *
 * Everything that goes to the plugin is an order_entry in one queue, whose order is the order of
 * effect. Whoever holds the drain role (one thread at a time, never while holding a lock) calls the
 * plugin for it. What comes back is an answer in its loop's inbox. Batches and scans are found by
 * token from any thread, so their memory is kept until store_free; only the one who wins the
 * token's answer touches the object. */
#pragma once
#include "base/list.h"
#include "base/timer.h"
#include "hooks/crumb.h"
#include "hooks/store_priv.h"
#include "hooks/timing.h"
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#define STORE_RETRY_MS    1000 /* between two tries of kept units */
#define STORE_DRAIN_TURN  64   /* entries after which the drain role goes to a loop that has some */
#define STORE_BATCH_OPS   1024
#define STORE_SCAN_CREDIT 512 /* rows under way per scan */
#define SLOT_CHUNK        256
#define SLOT_CHUNKS       256

struct order_entry {
    struct order_entry *next;
    struct store_loop *owner;
    void (*run)(struct store_loop *me,
                struct order_entry *e); /* on the thread that drains, `me` is its loop */
};

struct answer {
    struct answer *next;
    uint64_t seq;                                         /* place in the order */
    void (*run)(struct store_loop *sl, struct answer *a); /* on the owner's loop */
};

/* What a token names; first member. `live` is the generation that may still be answered, 0: none.
 */
struct token_owner {
    enum { OWNER_BATCH, OWNER_SCAN } kind;
    uint32_t slot, generation;
    _Atomic uint32_t live;
};

struct arena_chunk {
    struct arena_chunk *next;
    uint32_t used, size;
    char data[];
};

struct unit_state {
    uint32_t flags; /* STORE_* */
    int32_t status;
};

struct batch {
    struct token_owner owner;
    struct order_entry entry;
    struct answer answer;
    struct batch *next; /* sealed, kept or free */
    pigeon_batch view;
    pigeon_unit *units;
    struct unit_state *states; /* by unit; status written by who answers */
    pigeon_op *ops;
    uint32_t nunits, units_size, nops, ops_size;
    uint32_t n_adds; /* QUEUE_ADDs without a number */
    uint32_t n_trim; /* units that only delete */
    int32_t status;
    bool by_unit;      /* states[].status counts, not `status` alone */
    struct list waits; /* of the owner's loop, in order of units */
    struct list
        flying;        /* in the loop's list from its first place in the order to its last answer */
    uint64_t since_ns; /* of that place */
    struct arena_chunk *arena;
};

struct row_copy;
struct scan_state {
    struct token_owner owner;
    struct order_entry entry, more;
    struct answer answer;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t changed;
    pigeon_scan view; /* constant from the call of the plugin to its end */
    uint64_t high;
    struct store_scan *scan; /* NULL: given up by who asked, or nobody (store_scan_all) */
    struct row_copy *first, **last;
    struct message *recent; /* body of the last row, for rows that share it */
    uint32_t more_credit;
    uint32_t left;   /* of the limit */
    uint64_t newest; /* number of the last row of a session's queue */
    uint32_t n_bad;  /* rows that were no good */
    int status;
    bool blocking;  /* store_scan_all waits on `changed`; no answers are queued */
    bool ended;     /* the plugin has said its last word */
    bool starved;   /* rows were lost for want of memory */
    bool abandoned; /* rows are not wanted */
    /* Who still points here; free when nobody does. */
    bool in_call, in_order, in_more, in_inbox, in_delivery, is_free;
    struct scan_state *next_free;
};

/* Written by one loop. */
struct store_numbers {
    _Atomic uint64_t batches, units, ops, refused, sum_ns;
    _Atomic uint64_t oldest_ns; /* when the oldest batch without an answer was submitted; 0: none */
    _Atomic uint64_t buckets[TIMING_BUCKETS];
};

/* Outlives the store if it is in a mailbox when the store goes. */
struct store_mail {
    struct mail mail;
    _Atomic bool posted;
    struct store *store; /* NULL: nobody wants it, frees itself */
    void (*run)(struct store_loop *sl);
};

struct store_loop {
    struct store *store;
    struct loop *loop;
    uint32_t index;
    bool running, full;
    bool placed; /* the order holds entries of ours that nobody may have looked at */
    /* gathering */
    struct batch *open, *later; /* later: goes behind the kept ones */
    struct batch *sealed, **sealed_last;
    struct batch *unit_batch; /* of the open unit; NULL: none, or no memory */
    bool unit_open, unit_failed;
    uint32_t unit_flags, unit_durability;
    /* refused for want of room, to be submitted again */
    struct batch *kept, **kept_last;
    struct timer retry;
    struct batch *pool;
    struct list flying; /* oldest first */
    struct store_numbers numbers;
    struct answer *own, **own_last; /* answered on this very loop */
    struct store_mail *wake, *room;
    _Atomic uint64_t in_flight; /* written by this loop only */
    char pad[64];
    _Atomic(struct answer *) inbox; /* stack, newest first */
    char pad2[64];
};

struct token_slots {
    struct token_owner *_Atomic at[SLOT_CHUNK];
};

struct store {
    const pigeon_store *table;
    const struct instance *inst; /* for blame; may be NULL */
    void *self;
    pigeon_store_info info;
    struct log *log;
    const struct hooks_ops *ops;
    void *broker;
    uint32_t batch_max_ops, n_loops;
    struct store_loop *loops;
    _Atomic bool failed; /* or detached: the plugin is left alone */
    struct store_mail *drain;

    pthread_mutex_t lock; /* the order, slots and free scans */
    struct order_entry *first, **last;
    bool draining;
    uint64_t seq;
    _Atomic uint64_t last_pos; /* written under the lock */
    uint32_t n_slots;
    struct scan_state *free_scans;
    uint32_t n_bad_rows; /* of the last store_scan_all */
    _Atomic(struct token_slots *) slots[SLOT_CHUNKS];
};

static inline struct crumb_call store_crumb_begin(const struct store *store)
{
    return store->inst ? crumb_begin(store->inst, PIGEON_HOOK_STORE)
                       : (struct crumb_call){ .crumb = NULL };
}

/* store.c */
int token_owner_add(struct store *store, struct token_owner *owner); /* 0 or -ENOMEM */
struct token_owner *token_owner_find(struct store *store, pigeon_token token);
pigeon_token token_new(struct token_owner *owner); /* next generation, answerable from now on */
static inline uint32_t token_generation(pigeon_token token)
{
    return (uint32_t)(token >> 32) & 0x7fffffffu;
}
/* Under the store's lock. */
void order_append(struct store *store, struct order_entry *e);
/* Calls the plugin for what is in the order, unless another thread does. No lock held. */
void order_drain(struct store_loop *me);
/* To the owner's loop; me: the loop whose thread this is, or NULL. */
void answer_post(struct store_loop *to, struct store_loop *me, struct answer *a);
void store_fail(struct store *store, const char *text);

/* store_batch.c */
void batch_put(struct store_loop *sl,
               struct batch *b); /* back to the pool, everybody is answered */
void batch_free(struct batch *b);

/* store_answer.c */
void batch_on_turn(struct store_loop *me, struct order_entry *e);
void batch_on_answer(struct store_loop *sl, struct answer *a);
/* Numbers what was gathered and puts it into the order; under the store's lock. */
void batches_submit_locked(struct store_loop *sl);
/* The one answer of a batch, from any thread; `me` as in answer_post. E_GONE: it has been answered.
 */
int32_t batch_answer(struct store_loop *me, struct batch *b, pigeon_token token, int32_t status,
                     const pigeon_batch_result *result);
/* Submits the kept batches again. [loop] */
void batches_retry(struct store_loop *sl);

/* store_metric.c */
void batch_departs(struct batch *b); /* fine when it has */
void batch_arrives(struct batch *b);

/* store_scan.c */
int32_t scan_rows(struct store *store, pigeon_token token, const pigeon_row *rows, uint32_t n,
                  uint32_t stride);
int32_t scan_complete(struct store *store, pigeon_token token, struct scan_state *sc,
                      int32_t status);
void scan_state_free(struct scan_state *sc);
