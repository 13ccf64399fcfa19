#include "hooks/store.h"
#include "hooks/store_impl.h"

/* ---- tokens --------------------------------------------------------------------------------- */

int token_owner_add(struct store *store, struct token_owner *owner)
{
    int r = -ENOMEM;

    atomic_init(&owner->live, 0);
    owner->generation = 0;
    pthread_mutex_lock(&store->lock);
    uint32_t chunk = store->n_slots / SLOT_CHUNK;
    if (chunk < SLOT_CHUNKS) {
        struct token_slots *slots = atomic_load(&store->slots[chunk]);

        if (!slots) {
            slots = calloc(1, sizeof(*slots));
            atomic_store(&store->slots[chunk], slots);
        }
        if (slots) {
            owner->slot = store->n_slots++;
            atomic_store(&slots->at[owner->slot % SLOT_CHUNK], owner);
            r = 0;
        }
    }
    pthread_mutex_unlock(&store->lock);
    return r;
}

struct token_owner *token_owner_find(struct store *store, pigeon_token token)
{
    uint32_t slot = (uint32_t)token;

    if (!store_owns_token(token) || slot >= SLOT_CHUNK * SLOT_CHUNKS)
        return NULL;
    struct token_slots *slots = atomic_load(&store->slots[slot / SLOT_CHUNK]);
    return slots ? atomic_load(&slots->at[slot % SLOT_CHUNK]) : NULL;
}

pigeon_token token_new(struct token_owner *owner)
{
    owner->generation = (owner->generation + 1) & 0x7fffffffu;
    if (!owner->generation)
        owner->generation = 1;
    atomic_store_explicit(&owner->live, owner->generation, memory_order_release);
    return STORE_TOKEN_BIT | (uint64_t)owner->generation << 32 | owner->slot;
}

/* ---- mail ----------------------------------------------------------------------------------- */

static void on_store_mail(struct loop *here, struct mail *m)
{
    struct store_mail *sm = container_of(m, struct store_mail, mail);

    if (!sm->store) {
        free(sm);
        return;
    }
    atomic_exchange(&sm->posted, false); /* whoever posts from here on is heard again */
    if (sm->run)
        sm->run(&sm->store->loops[loop_index(here)]);
}

static void store_mail_post(struct store_mail *sm, struct store_loop *to)
{
    if (!atomic_exchange(&sm->posted, true))
        loop_post_any(to->loop, &sm->mail, on_store_mail);
}

static struct store_mail *store_mail_new(struct store *store, void (*run)(struct store_loop *sl))
{
    struct store_mail *sm = calloc(1, sizeof(*sm));

    if (sm) {
        sm->store = store;
        sm->run = run;
    }
    return sm;
}

static void store_mail_free(struct store_mail *sm)
{
    if (sm && atomic_load(&sm->posted))
        sm->store = NULL;
    else
        free(sm);
}

/* ---- the order ------------------------------------------------------------------------------ */

void order_append(struct store *store, struct order_entry *e)
{
    e->next = NULL;
    *store->last = e;
    store->last = &e->next;
}

/* Under the lock: takes all there is. */
static struct order_entry *order_take(struct store *store)
{
    struct order_entry *e = store->first;

    store->first = NULL;
    store->last = &store->first;
    return e;
}

/* The caller has the drain role and `e`, what the order held. */
static void drain_run(struct store_loop *me, struct order_entry *e)
{
    struct store *store = me->store;
    uint32_t n = 0;

    for (;;) {
        for (struct order_entry *next; e; e = next, n++) {
            next = e->next; /* who is run may be anybody's at the return */
            e->run(me, e);
        }
        pthread_mutex_lock(&store->lock);
        if (!store->first) {
            store->draining = false;
            break;
        }
        if (n >= STORE_DRAIN_TURN && store->first->owner != me) {
            /* Enough done for others: the role goes to the one who is next, by mail. */
            struct store_loop *to = store->first->owner;

            pthread_mutex_unlock(&store->lock);
            store_mail_post(store->drain, to);
            return;
        }
        e = order_take(store);
        pthread_mutex_unlock(&store->lock);
    }
    pthread_mutex_unlock(&store->lock);
}

/* The role has come by mail. */
static void drain_take_over(struct store_loop *me)
{
    drain_run(me, NULL);
}

/* Under the lock: what the caller is to run, if nobody else has the drain role. */
static struct order_entry *drain_begin(struct store *store)
{
    if (store->draining || !store->first)
        return NULL;
    store->draining = true;
    return order_take(store);
}

void order_drain(struct store_loop *me)
{
    pthread_mutex_lock(&me->store->lock);
    struct order_entry *e = drain_begin(me->store);
    pthread_mutex_unlock(&me->store->lock);
    if (e)
        drain_run(me, e);
}

/* ---- answers -------------------------------------------------------------------------------- */

void answer_post(struct store_loop *to, struct store_loop *me, struct answer *a)
{
    if (to == me) {
        a->next = NULL;
        *to->own_last = a;
        to->own_last = &a->next;
        return;
    }
    struct answer *top = atomic_load_explicit(&to->inbox, memory_order_relaxed);
    do {
        a->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&to->inbox, &top, a, memory_order_acq_rel,
                                                    memory_order_relaxed));
    store_mail_post(to->wake, to);
}

/* Everything that waits, oldest first: the two sources are in order, each for itself. */
static struct answer *answers_take(struct store_loop *sl)
{
    struct answer *inbox = NULL, *out = NULL, **last = &out;

    if (atomic_load_explicit(&sl->inbox, memory_order_relaxed)) {
        struct answer *a = atomic_exchange_explicit(&sl->inbox, NULL, memory_order_acq_rel);

        for (struct answer *next; a; a = next) {
            next = a->next;
            a->next = inbox;
            inbox = a;
        }
    }
    struct answer *own = sl->own;
    sl->own = NULL;
    sl->own_last = &sl->own;
    while (inbox && own) {
        struct answer **from = inbox->seq < own->seq ? &inbox : &own;

        *last = *from;
        last = &(*from)->next;
        *from = (*from)->next;
    }
    *last = inbox ? inbox : own;
    return out;
}

bool store_run_answers(struct hook_loop *hl)
{
    struct store_loop *sl = hook_loop_store(hl);
    struct answer *a = answers_take(sl);
    bool any = a != NULL;

    assert(!sl->running);
    sl->running = true;
    for (struct answer *next; a; a = next) {
        next = a->next;
        a->run(sl, a);
    }
    sl->running = false;
    return any;
}

void store_place(struct hook_loop *hl)
{
    struct store_loop *sl = hook_loop_store(hl);

    assert(!sl->unit_open);
    if (!sl->open && !sl->sealed && !sl->later)
        return;
    sl->placed = true;
    pthread_mutex_lock(&sl->store->lock);
    batches_submit_locked(sl);
    pthread_mutex_unlock(&sl->store->lock);
}

void store_submit(struct hook_loop *hl)
{
    struct store_loop *sl = hook_loop_store(hl);
    struct store *store = sl->store;

    assert(!sl->unit_open);
    if (!sl->open && !sl->sealed && !sl->later && !sl->placed)
        return;
    sl->placed = false;
    pthread_mutex_lock(&store->lock);
    batches_submit_locked(sl);
    struct order_entry *e = drain_begin(store);
    pthread_mutex_unlock(&store->lock);
    if (e)
        drain_run(sl, e);
}

/* ---- numbers -------------------------------------------------------------------------------- */

uint64_t store_in_flight(const struct hooks *hooks)
{
    struct store *store = hooks_store(hooks);
    uint64_t n = 0;

    for (uint32_t i = 0; i < store->n_loops; i++)
        n += atomic_load(&store->loops[i].in_flight);
    return n;
}

uint64_t store_last_pos(const struct hooks *hooks)
{
    return atomic_load(&hooks_store(hooks)->last_pos);
}

void store_set_last_pos(struct hooks *hooks, uint64_t pos)
{
    atomic_store(&hooks_store(hooks)->last_pos, pos);
}

uint32_t store_keeps(const struct hooks *hooks)
{
    return hooks_store(hooks)->info.keeps;
}

uint32_t store_scan_bad(const struct hooks *hooks)
{
    return hooks_store(hooks)->n_bad_rows;
}

/* ---- what the plugin calls ------------------------------------------------------------------- */

void store_fail(struct store *store, const char *text)
{
    if (atomic_exchange(&store->failed, true))
        return;
    log_error(store->log, "store_failed", LZ("reason", text));
    if (store->ops && store->ops->store_failed)
        store->ops->store_failed(store->broker, text);
}

static int32_t host_batch_done(void *inst, pigeon_token token, const pigeon_batch_result *result)
{
    struct store *store = instance_store(inst);

    if (!store || !result)
        return PIGEON_E_INVAL;
    struct token_owner *owner = token_owner_find(store, token);
    if (!owner || owner->kind != OWNER_BATCH)
        return PIGEON_E_GONE;
    return batch_answer(NULL, container_of(owner, struct batch, owner), token, result->status,
                        result);
}

static int32_t host_rows(void *inst, pigeon_token scan, const pigeon_row *rows, uint32_t n,
                         uint32_t stride)
{
    struct store *store = instance_store(inst);

    if (!store || (n && !rows))
        return PIGEON_E_INVAL;
    return scan_rows(store, scan, rows, n, stride);
}

int32_t store_complete(struct store *store, pigeon_token token, int32_t status)
{
    struct token_owner *owner = token_owner_find(store, token);

    if (!owner)
        return PIGEON_E_GONE;
    if (owner->kind == OWNER_BATCH)
        return batch_answer(NULL, container_of(owner, struct batch, owner), token, status, NULL);
    return scan_complete(store, token, container_of(owner, struct scan_state, owner), status);
}

static void room_run(struct store_loop *sl)
{
    struct store *store = sl->store;

    sl->full = false;
    batches_retry(sl);
    if (store->ops && store->ops->store_room)
        store->ops->store_room(store->broker, sl->index);
}

static int32_t host_seen(void *inst, uint32_t what, pigeon_str text)
{
    struct store *store = instance_store(inst);
    char reason[160];

    if (!store)
        return PIGEON_E_INVAL;
    uint32_t len = text.len < sizeof(reason) ? text.len : (uint32_t)sizeof(reason) - 1;
    if (len)
        memcpy(reason, text.ptr, len);
    reason[len] = '\0';
    switch (what) {
    case PIGEON_SEEN_UP: log_info(store->log, "store_up", LZ("reason", reason)); break;
    case PIGEON_SEEN_DOWN: log_warn(store->log, "store_down", LZ("reason", reason)); break;
    case PIGEON_SEEN_FULL: log_warn(store->log, "store_full", LZ("reason", reason)); break;
    case PIGEON_SEEN_ROOM:
        log_info(store->log, "store_room", LZ("reason", reason));
        for (uint32_t i = 0; i < store->n_loops; i++)
            store_mail_post(store->loops[i].room, &store->loops[i]);
        break;
    case PIGEON_SEEN_FAILED: store_fail(store, len ? reason : "the store has failed"); break;
    default: return PIGEON_E_NOTSUP; /* BLIND and REWOUND speak of shared stores */
    }
    return PIGEON_OK;
}

const pigeon_store_host store_host_table = {
    .size = sizeof(store_host_table),
    .batch_done = host_batch_done,
    .rows = host_rows,
    .seen = host_seen,
};

/* ---- life ----------------------------------------------------------------------------------- */

static void on_retry(struct timer *t, uint64_t now_ms)
{
    (void)now_ms;
    batches_retry(container_of(t, struct store_loop, retry));
}

static int store_loop_init(struct store_loop *sl, struct store *store, struct loop *loop)
{
    sl->store = store;
    sl->loop = loop;
    sl->index = loop_index(loop);
    sl->sealed_last = &sl->sealed;
    sl->kept_last = &sl->kept;
    sl->own_last = &sl->own;
    timer_init(&sl->retry, on_retry);
    list_init(&sl->flying);
    atomic_init(&sl->in_flight, 0);
    atomic_init(&sl->inbox, NULL);
    sl->wake = store_mail_new(store, NULL);
    sl->room = store_mail_new(store, room_run);
    return sl->wake && sl->room ? 0 : -ENOMEM;
}

int store_new(const struct store_setup *setup, struct store **r_store)
{
    const pigeon_store *table = setup->table;

    if (!PIGEON_HAS(table, pigeon_store, scan) || !table->info || !table->submit || !table->scan)
        return -EINVAL;
    struct store *store = calloc(1, sizeof(*store));
    if (!store)
        return -ENOMEM;
    store->table = table;
    store->inst = setup->inst;
    store->log = setup->log;
    store->ops = setup->ops;
    store->broker = setup->broker;
    store_set_batch(store, setup->batch_max_ops);
    pthread_mutex_init(&store->lock, NULL);
    store->last = &store->first;
    store->drain = store_mail_new(store, drain_take_over);
    uint32_t n = loop_group_count(setup->loops);
    store->loops = calloc(n, sizeof(*store->loops));
    int r = store->drain && store->loops ? 0 : -ENOMEM;
    for (uint32_t i = 0; i < n && !r; i++) {
        store->n_loops++;
        r = store_loop_init(&store->loops[i], store, loop_group_at(setup->loops, i));
    }
    if (!r && setup->self)
        r = store_attach(store, setup->self);
    if (r) {
        store_free(&store);
        return r;
    }
    *r_store = store;
    return 0;
}

int store_attach(struct store *store, void *self)
{
    pigeon_store_info info = { .size = sizeof(info) };

    if (store->table->info(self, &info) != PIGEON_OK)
        return -EINVAL;
    store->self = self;
    store->info = info;
    store_set_batch(store, store->batch_max_ops);
    return 0;
}

/* A batch is closed when it has reached half of what the store takes, so that one more unit fits.
 */
void store_set_batch(struct store *store, uint32_t max_ops)
{
    uint32_t takes = store->info.max_batch_ops;

    store->batch_max_ops = max_ops ? max_ops : STORE_BATCH_OPS;
    if (takes && takes / 2 < store->batch_max_ops)
        store->batch_max_ops = takes > 1 ? takes / 2 : 1;
}

void store_detach(struct store *store)
{
    if (store)
        atomic_store(&store->failed, true); /* without a word: nothing has failed */
}

static void slots_free(struct token_slots *slots)
{
    for (uint32_t i = 0; slots && i < SLOT_CHUNK; i++) {
        struct token_owner *owner = atomic_load(&slots->at[i]);

        if (!owner)
            continue;
        if (owner->kind == OWNER_BATCH)
            batch_free(container_of(owner, struct batch, owner));
        else
            scan_state_free(container_of(owner, struct scan_state, owner));
    }
    free(slots);
}

void store_free(struct store **r_store)
{
    struct store *store = *r_store;

    if (!store)
        return;
    *r_store = NULL;
    for (uint32_t i = 0; i < SLOT_CHUNKS; i++)
        slots_free(atomic_load(&store->slots[i]));
    for (uint32_t i = 0; i < store->n_loops; i++) {
        struct store_loop *sl = &store->loops[i];

        if (sl->loop)
            timer_stop(loop_timers(sl->loop), &sl->retry);
        store_mail_free(sl->wake);
        store_mail_free(sl->room);
    }
    store_mail_free(store->drain);
    pthread_mutex_destroy(&store->lock);
    free(store->loops);
    free(store);
}

struct store_loop *store_loop_of(struct store *store, uint32_t loop)
{
    assert(loop < store->n_loops);
    return &store->loops[loop];
}

const pigeon_store_info *store_get_info(const struct store *store)
{
    return &store->info;
}
