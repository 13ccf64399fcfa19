#include "hooks/pending.h"
#include "hooks/control.h"
#include "hooks/ask_value.h"
#include "hooks/chain.h"
#include "hooks/worker.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static void on_slot_deadline(struct timer *t, uint64_t now_ms);

static int slots_grow(struct hook_loop *hl)
{
    struct slots *s = &hl->slots;
    uint32_t n = atomic_load_explicit(&s->n_chunks, memory_order_relaxed);
    struct ask_slot *chunk;

    if (n == SLOT_CHUNKS_MAX)
        return -ENOMEM;
    chunk = calloc(SLOT_CHUNK, sizeof(*chunk));
    if (!chunk)
        return -ENOMEM;
    for (uint32_t i = SLOT_CHUNK; i-- > 0;) {
        chunk[i].hl = hl;
        chunk[i].token_base = (uint64_t)hl->index << TOKEN_LOOP_SHIFT |
                              (uint64_t)(n * SLOT_CHUNK + i) << TOKEN_INDEX_SHIFT;
        chunk[i].last = &chunk[i].values;
        chunk[i].req.size = sizeof(chunk[i].req);
        timer_init(&chunk[i].deadline, on_slot_deadline);
        chunk[i].next = s->free;
        s->free = &chunk[i];
    }
    atomic_store_explicit(&s->chunks[n], chunk, memory_order_release);
    atomic_store_explicit(&s->n_chunks, n + 1, memory_order_release);
    return 0;
}

int slots_init(struct hook_loop *hl)
{
    atomic_init(&hl->slots.results, NULL);
    return slots_grow(hl);
}

void slots_fini(struct hook_loop *hl)
{
    uint32_t n = atomic_load_explicit(&hl->slots.n_chunks, memory_order_relaxed);

    for (uint32_t i = 0; i < n; i++) {
        struct ask_slot *chunk = hl->slots.chunks[i];

        for (uint32_t k = 0; k < SLOT_CHUNK; k++)
            if (word_state(chunk[k].word) != SLOT_FREE || chunk[k].popped) {
                /* Never answered, and nobody is left who could: the instances are destroyed. */
                chunk[k].mails_out = 0;
                slot_release(&chunk[k]);
            }
        free(chunk);
    }
    hl->slots.free = NULL;
}

static bool is_answered(enum slot_state state)
{
    return state == SLOT_FREE || state == SLOT_RETURNED;
}

uint32_t slots_count_pending(const struct hook_loop *hl)
{
    uint32_t n = atomic_load_explicit(&hl->slots.n_chunks, memory_order_relaxed);
    uint32_t pending = 0;

    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < SLOT_CHUNK; k++)
            pending += !is_answered(word_state(hl->slots.chunks[i][k].word));
    return pending;
}

bool slots_ask(const struct hook_loop *hl, const struct step *steps, uint32_t n)
{
    uint32_t n_chunks = atomic_load_explicit(&hl->slots.n_chunks, memory_order_relaxed);

    for (uint32_t i = 0; i < n_chunks; i++)
        for (uint32_t k = 0; k < SLOT_CHUNK; k++) {
            const struct ask_slot *slot = &hl->slots.chunks[i][k];

            if (word_state(slot->word) != SLOT_FREE && slot->step >= steps &&
                slot->step < steps + n)
                return true;
        }
    return false;
}

struct ask_slot *slot_get(struct hook_loop *hl)
{
    struct ask_slot *slot = hl->slots.free;

    if (!slot) {
        if (slots_grow(hl) < 0)
            return NULL;
        slot = hl->slots.free;
    }
    hl->slots.free = slot->next;
    return slot;
}

void slot_put(struct ask_slot *slot)
{
    assert(word_state(atomic_load_explicit(&slot->word, memory_order_relaxed)) == SLOT_FREE);
    slot->step = NULL; /* of chains that a reload may replace before the slot is used again */
    atomic_store_explicit(&slot->is_control, false, memory_order_relaxed);
    slot->next = slot->hl->slots.free;
    slot->hl->slots.free = slot;
}

void slot_count(struct ask_slot *slot)
{
    struct instance *inst = atomic_load_explicit(&slot->inst, memory_order_relaxed);

    if (slot->counted)
        return;
    slot->counted = true;
    atomic_fetch_add_explicit(&inst->plugin->stats.n_pending, 1, memory_order_relaxed);
}

static void slot_free(struct ask_slot *slot)
{
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_relaxed);

    slot->popped = false;
    if (slot->retired)
        return;
    atomic_store_explicit(&slot->word, word_make(word_generation(word), SLOT_FREE, 0),
                          memory_order_release);
    slot_put(slot);
}

void slot_release(struct ask_slot *slot)
{
    struct instance *inst = atomic_load_explicit(&slot->inst, memory_order_relaxed);

    timer_stop(loop_timers(slot->hl->loop), &slot->deadline);
    slot->owner = NULL;
    if (slot->mails_out >
        0) { /* the other loop may still be within the hook: nothing is unpinned */
        slot->popped = true;
        return;
    }
    ask_values_free(&slot->values);
    slot->last = &slot->values;
    if (slot->counted)
        atomic_fetch_sub_explicit(&inst->plugin->stats.n_pending, 1, memory_order_relaxed);
    slot->counted = false;
    slot->unseen = false;
    slot->req.flags = 0;
    slot->home = NULL;
    slot_forget(slot);
    identity_unref(&slot->who);
    subject_unref(&slot->subject);
    message_unref(&slot->message);
    exchange_unref(&slot->exchange);
    slot_free(slot);
}

void slot_forget(struct ask_slot *slot)
{
    slot->failed = false;
    slot->reason = 0;
    slot->text[0] = '\0';
    slot->touched = false;
}

void slot_mail_back(struct ask_slot *slot)
{
    assert(slot->mails_out > 0);
    if (--slot->mails_out == 0 && slot->popped)
        slot_release(slot);
}

/* Does anybody go on with the answer? Not while the instances are going: what he would go on with
 * (sessions, subscriptions, the store) is going, too. */
static bool is_awaited(const struct ask_slot *slot)
{
    return slot->owner && !atomic_load_explicit(&slot->hl->hooks->stopping, memory_order_relaxed);
}

/* ---- cancel ---------------------------------------------------------------------------------- */

static void on_cancel_back(struct loop *here, struct mail *m)
{
    (void)here;
    slot_mail_back(container_of(m, struct ask_slot, cancel_mail));
}

static void cancel_call(struct ask_slot *slot)
{
    struct instance *inst = atomic_load_explicit(&slot->inst, memory_order_relaxed);

    if (inst->created && !slot->unseen) {
        struct crumb_call crumb = crumb_begin(inst, PIGEON_HOOK_LIFE);

        inst->plugin->desc.cancel(inst->self, slot->req.token, slot->cancel_why);
        crumb_end(crumb);
    }
}

static void on_cancel(struct loop *here, struct mail *m)
{
    struct ask_slot *slot = container_of(m, struct ask_slot, cancel_mail);

    (void)here;
    cancel_call(slot);
    hooks_post(slot->hl->loop, m, on_cancel_back);
}

bool slot_kill(struct ask_slot *slot, int32_t why)
{
    struct instance *inst = atomic_load_explicit(&slot->inst, memory_order_relaxed);

    if (!word_move(slot, word_make((uint32_t)slot->req.token, SLOT_PENDING, 0), SLOT_DEAD, 0))
        return false;
    timer_stop(loop_timers(slot->hl->loop), &slot->deadline);
    slot->cancel_why = why;
    if (!inst->plugin->desc.cancel)
        return true;
    if (slot->home) {
        slot->mails_out++;
        hooks_post(slot->home, &slot->cancel_mail, on_cancel);
    } else {
        cancel_call(slot);
    }
    return true;
}

void slots_cancel(struct hook_loop *hl, int32_t why)
{
    uint32_t n = atomic_load_explicit(&hl->slots.n_chunks, memory_order_relaxed);

    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < SLOT_CHUNK; k++) {
            struct ask_slot *slot = &hl->slots.chunks[i][k];

            slot->retired = word_state(atomic_load(&slot->word)) == SLOT_PENDING;
            if (slot->retired)
                slot->retired = slot_kill(slot, why);
        }
}

static void on_slot_deadline(struct timer *t, uint64_t now_ms)
{
    struct ask_slot *slot = container_of(t, struct ask_slot, deadline);
    struct instance *inst = atomic_load_explicit(&slot->inst, memory_order_relaxed);

    (void)now_ms;
    if (!slot_kill(slot, PIGEON_CANCEL_DEADLINE))
        return; /* DONE: the answer is on its way */
    atomic_fetch_add_explicit(&inst->plugin->stats.n_deadlines, 1, memory_order_relaxed);
    if (is_awaited(slot))
        slot->on_deadline(slot);
}

void slot_arm(struct ask_slot *slot, uint64_t due_ms, void (*fn)(struct ask_slot *slot))
{
    slot->on_deadline = fn;
    timer_arm(loop_timers(slot->hl->loop), &slot->deadline, due_ms);
}

/* ---- answers --------------------------------------------------------------------------------- */

static void pop(struct ask_slot *slot)
{
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_acquire);
    enum slot_state state = word_state(word);

    if ((state != SLOT_DONE && state != SLOT_RETURNED) || slot->popped)
        return; /* slot_close() had been faster, or an earlier place in the queue has served it */
    timer_stop(loop_timers(slot->hl->loop), &slot->deadline);
    if (state == SLOT_DONE && is_awaited(slot))
        slot->fn(slot, (uint8_t)word);
    else
        slot_release(slot);
}

static void on_results(struct loop *here, struct mail *m)
{
    struct slots *s = container_of(m, struct slots, wake);
    struct ask_slot *slot = atomic_exchange_explicit(&s->results, NULL, memory_order_acq_rel);
    struct ask_slot *oldest = NULL;

    (void)here;
    while (slot) {
        struct ask_slot *next = slot->queue_next;

        slot->queue_next = oldest;
        oldest = slot;
        slot = next;
    }
    while (oldest) {
        struct ask_slot *next = oldest->queue_next;

        /* Who wins the word from here on queues it again; who has won it is seen by pop(). */
        atomic_exchange_explicit(&oldest->queued, false, memory_order_acq_rel);
        pop(oldest);
        oldest = next;
    }
}

/* For who has won DONE or RETURNED. A slot is in the queue at most once: it may be there still from
 * an answer that slot_close() did not wait for. */
static void push(struct ask_slot *slot)
{
    struct hook_loop *hl = slot->hl;
    struct ask_slot *top = atomic_load_explicit(&hl->slots.results, memory_order_relaxed);

    if (atomic_exchange_explicit(&slot->queued, true, memory_order_acq_rel))
        return;
    do {
        slot->queue_next = top;
    } while (!atomic_compare_exchange_weak_explicit(&hl->slots.results, &top, slot,
                                                    memory_order_acq_rel, memory_order_relaxed));
    if (!top) /* one wake-up per burst */
        loop_post_any(hl->loop, &hl->slots.wake, on_results);
}

static struct ask_slot *slot_of_token(struct hooks *hooks, pigeon_token token)
{
    uint32_t loop = (uint32_t)(token >> TOKEN_LOOP_SHIFT);
    uint32_t index = (uint32_t)(token >> TOKEN_INDEX_SHIFT) & TOKEN_INDEX_MASK;
    struct ask_slot *chunk;
    struct hook_loop *hl;

    if (loop >= hooks->n_loops || !hooks->loop[loop])
        return NULL;
    hl = hooks->loop[loop];
    if (index / SLOT_CHUNK >= atomic_load_explicit(&hl->slots.n_chunks, memory_order_acquire))
        return NULL;
    chunk = atomic_load_explicit(&hl->slots.chunks[index / SLOT_CHUNK], memory_order_acquire);
    return &chunk[index % SLOT_CHUNK];
}

static uint8_t verdict_pack(const struct ask_slot *slot, int32_t verdict)
{
    if (atomic_load_explicit(&slot->is_control, memory_order_relaxed))
        return control_pack(verdict);
    switch (verdict) {
    case PIGEON_NEXT:
    case PIGEON_ALLOW:
    case PIGEON_DENY:
    case PIGEON_CONTINUE: return (uint8_t)verdict;
    default: return VERDICT_BAD;
    }
}

int32_t pending_complete(struct instance *inst, pigeon_token token, int32_t verdict)
{
    struct ask_slot *slot = slot_of_token(inst->hooks, token);
    uint64_t word;

    if (!slot)
        return PIGEON_E_GONE;
    word = atomic_load_explicit(&slot->word, memory_order_acquire);
    while (word_generation(word) == (uint32_t)token) {
        enum slot_state state = word_state(word);

        if ((state != SLOT_PENDING && state != SLOT_DEAD) ||
            atomic_load_explicit(&slot->inst, memory_order_relaxed) != inst)
            return PIGEON_E_GONE;
        if (state == SLOT_PENDING &&
            word_move(slot, word, SLOT_DONE, verdict_pack(slot, verdict))) {
            push(slot);
            return PIGEON_OK;
        }
        if (state == SLOT_DEAD && word_move(slot, word, SLOT_RETURNED, 0)) {
            atomic_fetch_add_explicit(&inst->plugin->stats.n_late, 1, memory_order_relaxed);
            push(slot);
            return PIGEON_E_GONE;
        }
        word = atomic_load_explicit(&slot->word, memory_order_acquire);
    }
    return PIGEON_E_GONE;
}

struct ask_slot *slot_of(pigeon_req *req)
{
    return container_of(req, struct ask_slot, req);
}
