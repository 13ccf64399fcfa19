/* pending.h - questions under way: slots, tokens, the queue of answers; private to hooks/.
 *
 * A slot holds everything that a question touches: request, references that pin the views, and the
 * memory that setters write into. Its word {generation, state, verdict} is the only thing that
 * other threads change, beside the queue, and every change of theirs is one compare-and-swap of the
 * whole word (P5 of docs/concurrency.md):
 *
 *   FREE -> PENDING          the loop, before the hook is called
 *   PENDING -> FREE          the loop, when the hook answered by returning: a plain store, see
 *                            slot_close
 *   PENDING -> DONE(verdict) complete(), which then queues the slot
 *   PENDING -> DEAD          the loop: deadline, client gone
 *   DEAD -> RETURNED         a late complete(), which then queues the slot and says E_GONE
 *   DONE, RETURNED -> FREE   the loop, after it took the slot from the queue
 *
 * Slots belong to one loop and are freed with it, after all instances are destroyed. */
#pragma once
#include "base/timer.h"
#include "hooks/ask.h"
#include "hooks/exchange.h"
#include "hooks/plugin.h"

#define SLOT_CHUNK      64u
#define SLOT_CHUNKS_MAX 4096u

enum slot_state { SLOT_FREE, SLOT_PENDING, SLOT_DONE, SLOT_DEAD, SLOT_RETURNED };

/* The number in the word for what is no verdict. */
#define VERDICT_BAD 0xffu

struct ask_slot;
/* The answer is there; the slot has left the queue and its word still says DONE. Must end in
 * slot_release. */
typedef void (*slot_fn)(struct ask_slot *slot, int32_t verdict);

struct ask_slot {
    _Atomic uint64_t word;
    struct ask_slot *next;       /* free list */
    struct ask_slot *queue_next; /* result queue */
    _Atomic bool queued;         /* in the result queue, once */
    struct hook_loop *hl;
    uint64_t token_base; /* loop and index, as they stand in a token */
    uint8_t mails_out;   /* [loop] hop and cancel mails not yet back */
    bool popped;         /* [loop] to be freed when the last mail is back */
    bool counted;        /* [loop] in the plugin's n_pending */
    bool retired; /* [loop] cancelled at the stop: who waits may still name it, never used again */
    bool unseen;  /* [home] the plugin has no question to cancel: on its way, or returned */
    struct loop *home; /* where the question went; NULL: nowhere */
    struct instance *_Atomic inst;
    _Atomic bool is_control; /* its verdict is that of a command; set before slot_open */
    slot_fn fn;
    void *owner; /* [loop] who waits; NULL: nobody any more */

    /* pinned until the answer */
    struct identity *who;
    struct subject *subject;
    struct message *message;
    struct exchange *exchange;
    struct timer deadline;
    void (*on_deadline)(struct ask_slot *slot);

    /* the token's own memory: written by who holds the request, read by the loop after it won the
     * word */
    struct ask_value *values, **last;
    bool failed;
    const char *failed_setter; /* the first of them, valid if `failed` */
    int32_t failed_error;      /* what it has answered */
    bool touched;              /* any of the following was set, or `values` */
    uint8_t reason;
    char text[128];

    pigeon_req req;
    pigeon_exchange exchange_view;
    const struct step *step;
    uint32_t revoked; /* client_slots.revoked of the plugin when it was asked */
    const void *view;
    struct mail hop_mail, cancel_mail;
    int32_t cancel_why;
};

static inline uint32_t word_generation(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

static inline enum slot_state word_state(uint64_t word)
{
    return (enum slot_state)((word >> 8) & 0xff);
}

static inline uint64_t word_make(uint32_t generation, enum slot_state state, uint8_t verdict)
{
    return (uint64_t)generation << 32 | (uint64_t)state << 8 | verdict;
}

/* One loop's slots; part of struct hook_loop. */
struct slots {
    struct ask_slot *free;
    struct ask_slot *_Atomic chunks[SLOT_CHUNKS_MAX];
    _Atomic uint32_t n_chunks;
    _Atomic(struct ask_slot *) results; /* stack, newest first */
    struct mail wake;
};

/* The first chunk: 0 or -ENOMEM. */
int slots_init(struct hook_loop *hl);
void slots_fini(struct hook_loop *hl);
/* Slots that wait for an answer which may never come. */
uint32_t slots_count_pending(const struct hook_loop *hl);
/* Is a question under way whose step is one of these? The loop stands still. */
bool slots_ask(const struct hook_loop *hl, const struct step *steps, uint32_t n);

/* A free slot, grown if there is none; NULL: no memory or too many. Its token is not valid yet. */
struct ask_slot *slot_get(struct hook_loop *hl);
/* Back to the free list, never used or already FREE. */
void slot_put(struct ask_slot *slot);
/* Token: bit 63 clear (the store's has it set), loop in 6 bits, slot in 24, generation in 32. A
 * generation is never 0, so neither is a token. */
#define TOKEN_LOOP_SHIFT  56
#define TOKEN_INDEX_SHIFT 32
#define TOKEN_INDEX_MASK  0xffffffu

/* FREE -> PENDING, under a new generation; sets req.token. FREE belongs to the loop alone
 * (complete() leaves it untouched), so a store is as good as a compare-and-swap; release, for who
 * finds the token in it. */
static inline void slot_open(struct ask_slot *slot, struct instance *inst)
{
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_relaxed);
    uint32_t generation = word_generation(word) + 1;

    if (__builtin_expect(generation == 0, 0))
        generation = 1;
    atomic_store_explicit(&slot->inst, inst, memory_order_relaxed);
    slot->req.token = slot->token_base | generation;
    atomic_store_explicit(&slot->word, word_make(generation, SLOT_PENDING, 0),
                          memory_order_release);
}

static inline bool word_move(struct ask_slot *slot, uint64_t from, enum slot_state to,
                             uint8_t verdict)
{
    return atomic_compare_exchange_strong_explicit(&slot->word, &from,
                                                   word_make(word_generation(from), to, verdict),
                                                   memory_order_acq_rel, memory_order_acquire);
}

/* PENDING -> FREE: true. false: complete() was faster, the slot comes through the queue.
 *
 * Only for a hook that has answered by returning: nobody may complete() its token then, so there is
 * nobody to race with, and no locked instruction is spent on it. Against a plugin that does both at
 * the same moment it is safe all the same: its complete() may win the word after the load and be
 * overwritten; what it has queued is found to be nobody's when it is taken from the queue. */
static inline bool slot_close(struct ask_slot *slot)
{
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_acquire);

    if (word_state(word) != SLOT_PENDING)
        return false;
    atomic_store_explicit(&slot->word, word_make(word_generation(word), SLOT_FREE, 0),
                          memory_order_release);
    return true;
}
/* PENDING -> DEAD: true, and the plugin's cancel() has been called or is on its way there. */
bool slot_kill(struct ask_slot *slot, int32_t why);
/* Kills every question that waits; who waits is not told and may abandon it later. The broker
 * stops.
 */
void slots_cancel(struct hook_loop *hl, int32_t why);
/* Arms the deadline; `fn` runs once, on the loop, only if the word was PENDING then and is DEAD
 * now. */
void slot_arm(struct ask_slot *slot, uint64_t due_ms, void (*fn)(struct ask_slot *slot));
/* Counts it as pending at its plugin, until it is released. */
void slot_count(struct ask_slot *slot);
/* Drops pins and values; free again at once, or when the last mail is back. */
void slot_release(struct ask_slot *slot);
/* Resets what setters leave beside the values. */
void slot_forget(struct ask_slot *slot);
/* A mail of the slot has come back to its loop. */
void slot_mail_back(struct ask_slot *slot);

/* host->complete for everything but the store. [any] */
int32_t pending_complete(struct instance *inst, pigeon_token token, int32_t verdict);
/* The slot whose request this is. */
struct ask_slot *slot_of(pigeon_req *req);
