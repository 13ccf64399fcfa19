/* The way of a batch: numbered, given to the plugin, answered; what was refused is kept for another
 * try. */
#include "hooks/store.h"
#include "hooks/store_impl.h"

/* ---- into the order -------------------------------------------------------------------------- */

static void in_flight_add(struct store_loop *sl, int64_t n)
{
    uint64_t now = atomic_load_explicit(&sl->in_flight, memory_order_relaxed);

    atomic_store_explicit(&sl->in_flight, now + (uint64_t)n, memory_order_release);
}

/* Arrival numbers of everything in the batch, under the store's lock. A kept batch has its already.
 */
static void batch_number(struct store *store, struct batch *b)
{
    if (!b->n_adds)
        return;
    uint64_t pos = atomic_load_explicit(&store->last_pos, memory_order_relaxed);
    for (uint32_t i = 0; i < b->nops; i++) {
        if (b->ops[i].kind == PIGEON_OP_QUEUE_ADD && !b->ops[i].pos)
            b->ops[i].pos = ++pos;
    }
    atomic_store_explicit(&store->last_pos, pos, memory_order_relaxed);
    b->n_adds = 0;
    LIST_FOREACH (link, &b->waits) {
        struct store_wait *w = container_of(link, struct store_wait, link);
        const pigeon_unit *u = &b->units[w->unit];

        for (uint32_t i = 0; i < u->nops && !w->pos; i++) {
            if (b->ops[u->first_op + i].kind == PIGEON_OP_QUEUE_ADD)
                w->pos = b->ops[u->first_op + i].pos;
        }
    }
}

static void batch_append(struct store *store, struct batch *b)
{
    b->view.size = sizeof(b->view);
    b->view.token = token_new(&b->owner);
    b->view.units = b->units;
    b->view.nunits = b->nunits;
    b->view.unit_stride = sizeof(*b->units);
    b->view.ops = b->ops;
    b->view.nops = b->nops;
    b->view.op_stride = sizeof(*b->ops);
    b->answer.seq = ++store->seq;
    batch_departs(b);
    order_append(store, &b->entry);
}

static void batch_keep(struct store_loop *sl, struct batch *b)
{
    batch_departs(b);
    b->next = NULL;
    *sl->kept_last = b;
    sl->kept_last = &b->next;
    if (!timer_armed(&sl->retry))
        timer_arm(loop_timers(sl->loop), &sl->retry, loop_now_ms(sl->loop) + STORE_RETRY_MS);
}

static void batch_submit_new(struct store_loop *sl, struct batch *b)
{
    if (!b->nunits) { /* all its units failed for want of memory */
        batch_put(sl, b);
        return;
    }
    batch_number(sl->store, b);
    in_flight_add(sl, b->nunits);
    batch_append(sl->store, b);
}

void batches_submit_locked(struct store_loop *sl)
{
    struct batch *sealed = sl->sealed, *open = sl->open, *later = sl->later;

    sl->sealed = NULL;
    sl->sealed_last = &sl->sealed;
    sl->open = sl->later = NULL;
    for (struct batch *next; sealed; sealed = next) {
        next = sealed->next;
        sealed->next = NULL;
        batch_submit_new(sl, sealed);
    }
    if (open)
        batch_submit_new(sl, open);
    if (later && sl->kept && later->nunits) {
        batch_number(sl->store, later);
        in_flight_add(sl, later->nunits);
        batch_keep(sl, later);
    } else if (later) {
        batch_submit_new(sl, later);
    }
}

void batches_retry(struct store_loop *sl)
{
    struct store *store = sl->store;
    struct batch *b = sl->kept;

    timer_stop(loop_timers(sl->loop), &sl->retry);
    if (!b)
        return;
    sl->kept = NULL;
    sl->kept_last = &sl->kept;
    pthread_mutex_lock(&store->lock);
    for (struct batch *next; b; b = next) {
        next = b->next;
        b->next = NULL;
        batch_append(store, b);
    }
    pthread_mutex_unlock(&store->lock);
    order_drain(sl);
}

void batch_on_turn(struct store_loop *me, struct order_entry *e)
{
    struct batch *b = container_of(e, struct batch, entry);
    struct store *store = me->store;
    pigeon_token token = b->view.token;
    int32_t status = PIGEON_E_IO;

    if (!atomic_load_explicit(&store->failed, memory_order_relaxed)) {
        struct crumb_call crumb = store_crumb_begin(store);

        status = store->table->submit(store->self, &b->view);
        crumb_end(crumb);
    }
    /* From here on somebody else may have the batch, unless the token is won. */
    if (status != PIGEON_PENDING)
        batch_answer(me, b, token, status, NULL);
}

/* ---- answered -------------------------------------------------------------------------------- */

int32_t batch_answer(struct store_loop *me, struct batch *b, pigeon_token token, int32_t status,
                     const pigeon_batch_result *result)
{
    uint32_t generation = token_generation(token);

    if (!generation || !atomic_compare_exchange_strong(&b->owner.live, &generation, 0))
        return PIGEON_E_GONE;
    b->status = status;
    b->by_unit = result && PIGEON_HAS(result, pigeon_batch_result, units) && result->units;
    for (uint32_t i = 0; b->by_unit && i < b->nunits; i++) {
        int32_t own = result->units[i].status;

        /* A batch that was not committed has no unit that was. */
        b->states[i].status = own == PIGEON_OK ? status : own;
    }
    answer_post(b->entry.owner, me, &b->answer);
    return PIGEON_OK;
}

static int status_errno(int32_t status)
{
    switch (status) {
    case PIGEON_OK: return 0;
    case PIGEON_E_FULL:
    case PIGEON_E_BUSY: return -ENOSPC;
    case PIGEON_E_NOMEM: return -ENOMEM;
    case PIGEON_E_INVAL:
    case PIGEON_E_TOOBIG:
    case PIGEON_E_NOTSUP:
    case PIGEON_E_GONE: return -EINVAL;
    default: return -EIO;
    }
}

/* What became of a unit: 0 or negative; *r_keep: it is to be submitted again. */
static int unit_outcome(const struct batch *b, uint32_t unit, bool *r_keep)
{
    int r = status_errno(b->by_unit ? b->states[unit].status : b->status);

    *r_keep = (r == -ENOSPC || r == -ENOMEM) && (b->states[unit].flags & STORE_AGAIN);
    return r;
}

static void waits_answer(struct batch *b)
{
    struct list todo = LIST_INIT(todo), *link;

    list_splice(&todo, &b->waits);
    while ((link = list_pop(&todo))) {
        struct store_wait *w = container_of(link, struct store_wait, link);
        bool keep;
        int r = unit_outcome(b, w->unit, &keep);

        if (keep)
            list_append(&b->waits, link);
        else
            w->done(w, r);
    }
}

/* Leaves only the units that are to be submitted again, in their order. */
static void batch_compact(struct batch *b)
{
    uint32_t nunits = 0, nops = 0;
    struct list *link = b->waits.next;

    b->n_trim = 0;
    for (uint32_t i = 0; i < b->nunits; i++) {
        pigeon_unit u = b->units[i];
        bool keep;

        unit_outcome(b, i, &keep);
        for (; link != &b->waits; link = link->next) {
            struct store_wait *w = container_of(link, struct store_wait, link);

            if (w->unit != i)
                break;
            w->unit = nunits; /* never larger than i: no later wait is taken for this one */
        }
        for (uint32_t k = 0; k < u.nops; k++) {
            pigeon_op *op = &b->ops[u.first_op + k];

            if (keep) {
                b->ops[nops + k] = *op;
            } else if (op->msg) {
                struct message *m = message_of(op->msg);

                message_unref(&m);
                op->msg = NULL;
            }
        }
        if (!keep)
            continue;
        u.first_op = nops;
        nops += u.nops;
        b->n_trim += (b->states[i].flags & STORE_TRIM) != 0;
        b->states[nunits] = b->states[i];
        b->units[nunits++] = u;
    }
    b->nunits = nunits;
    b->nops = nops;
}

struct outcome {
    uint32_t n_kept, n_refused, n_full, n_failed, n_bad;
};

static void batch_outcome(struct batch *b, struct outcome *r_out)
{
    *r_out = (struct outcome){ 0 };
    for (uint32_t i = 0; i < b->nunits; i++) {
        bool keep;
        int r = unit_outcome(b, i, &keep);

        r_out->n_full += r == -ENOSPC;
        r_out->n_failed += r == -EIO;
        r_out->n_refused += r == -EINVAL;
        r_out->n_kept += keep;
        r_out->n_bad += r != 0;
    }
}

/* Something was refused. */
static void batch_on_trouble(struct store_loop *sl, struct batch *b)
{
    struct store *store = sl->store;
    struct outcome out;

    batch_outcome(b, &out);
    if (out.n_failed)
        store_fail(store, "a batch could not be stored, or nobody knows whether it was");
    if (out.n_refused)
        log_error(store->log, "store_refused", LU("units", out.n_refused), LI("status", b->status));
    if (out.n_full && !sl->full) {
        sl->full = true;
        log_warn(store->log, "store_no_room", LU("units", out.n_full), LU("kept", out.n_kept));
    }
    uint32_t n_before = b->nunits;
    waits_answer(b);
    if (out.n_kept) {
        batch_compact(b);
        batch_keep(sl, b);
    } else {
        batch_arrives(b);
        batch_put(sl, b);
    }
    timing_grow(&sl->numbers.refused, out.n_bad - out.n_kept);
    in_flight_add(sl, (int64_t)out.n_kept - (int64_t)n_before);
}

void batch_on_answer(struct store_loop *sl, struct answer *a)
{
    struct batch *b = container_of(a, struct batch, answer);
    struct store *store = sl->store;
    struct list *link;

    if (b->status != PIGEON_OK || b->by_unit) {
        batch_on_trouble(sl, b);
        return;
    }
    bool room = sl->full && b->n_trim < b->nunits;
    uint32_t n = b->nunits;
    while ((link = list_pop(&b->waits))) {
        struct store_wait *w = container_of(link, struct store_wait, link);

        w->done(w, 0);
    }
    batch_arrives(b);
    batch_put(sl, b);
    in_flight_add(sl, -(int64_t)n);
    if (room) {
        sl->full = false;
        if (store->ops && store->ops->store_room)
            store->ops->store_room(store->broker, sl->index);
    }
}
