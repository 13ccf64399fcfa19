#include "hooks/store.h"
#include "hooks/store_impl.h"

#define ARENA_CHUNK 4096
#define BATCH_KEEP  4096 /* a pooled batch keeps room for at most so many ops */

/* ---- memory of a batch ----------------------------------------------------------------------- */

static void *arena_get(struct batch *b, size_t len)
{
    struct arena_chunk *c = b->arena;

    len = (len + 7) & ~(size_t)7;
    if (!c || c->size - c->used < len) {
        size_t size = len > ARENA_CHUNK / 2 ? len : ARENA_CHUNK;

        if (size > UINT32_MAX)
            return NULL;
        c = malloc(sizeof(*c) + size);
        if (!c)
            return NULL;
        c->size = (uint32_t)size;
        c->used = 0;
        c->next = b->arena;
        b->arena = c;
    }
    void *p = c->data + c->used;
    c->used += (uint32_t)len;
    return p;
}

static void arena_reset(struct batch *b)
{
    struct arena_chunk *keep = NULL;

    for (struct arena_chunk *c = b->arena, *next; c; c = next) {
        next = c->next;
        if (!keep && c->size == ARENA_CHUNK) {
            keep = c;
            keep->used = 0;
        } else {
            free(c);
        }
    }
    if (keep)
        keep->next = NULL;
    b->arena = keep;
}

static void ops_unref(struct batch *b, uint32_t first, uint32_t n)
{
    for (uint32_t i = first; i < first + n; i++) {
        if (b->ops[i].msg) {
            struct message *m = message_of(b->ops[i].msg);

            message_unref(&m);
        }
    }
}

void batch_free(struct batch *b)
{
    if (!b)
        return;
    while (list_pop(&b->waits))
        ; /* their owners may still look at the links */
    ops_unref(b, 0, b->nops);
    arena_reset(b);
    free(b->arena);
    free(b->units);
    free(b->states);
    free(b->ops);
    free(b);
}

static struct batch *batch_get(struct store_loop *sl)
{
    struct batch *b = sl->pool;

    if (b) {
        sl->pool = b->next;
        b->next = NULL;
        return b;
    }
    b = calloc(1, sizeof(*b));
    if (!b)
        return NULL;
    b->owner.kind = OWNER_BATCH;
    b->entry = (struct order_entry){ .owner = sl, .run = batch_on_turn };
    b->answer.run = batch_on_answer;
    list_init(&b->waits);
    list_init(&b->flying);
    if (token_owner_add(sl->store, &b->owner)) {
        free(b);
        return NULL;
    }
    return b;
}

/* The object itself stays: its token may still be asked for. */
void batch_put(struct store_loop *sl, struct batch *b)
{
    assert(list_empty(&b->waits));
    ops_unref(b, 0, b->nops);
    arena_reset(b);
    if (b->ops_size > BATCH_KEEP) {
        free(b->ops);
        b->ops = NULL;
        b->ops_size = 0;
    }
    b->nops = b->nunits = b->n_adds = b->n_trim = 0;
    b->view.durability = 0;
    b->by_unit = false;
    b->next = sl->pool;
    sl->pool = b;
}

static bool units_reserve(struct batch *b)
{
    if (b->nunits < b->units_size)
        return true;
    uint32_t size = b->units_size ? b->units_size * 2 : 16;
    pigeon_unit *units = realloc(b->units, size * sizeof(*units));
    if (units)
        b->units = units;
    struct unit_state *states = realloc(b->states, size * sizeof(*states));
    if (states)
        b->states = states;
    if (!units || !states)
        return false;
    b->units_size = size;
    return true;
}

static bool ops_reserve(struct batch *b)
{
    if (b->nops < b->ops_size)
        return true;
    uint32_t size = b->ops_size ? b->ops_size * 2 : 16;
    pigeon_op *ops = realloc(b->ops, size * sizeof(*ops));
    if (!ops)
        return false;
    b->ops = ops;
    b->ops_size = size;
    return true;
}

/* ---- gathering ------------------------------------------------------------------------------- */

void store_wait_init(struct store_wait *w, void (*done)(struct store_wait *w, int status))
{
    list_init(&w->link);
    w->done = done;
    w->pos = 0;
    w->unit = 0;
}

void store_wait_cancel(struct store_wait *w)
{
    if (list_linked(&w->link))
        list_remove(&w->link);
}

void store_unit_begin(struct hook_loop *hl, uint32_t durability, uint32_t flags)
{
    struct store_loop *sl = hook_loop_store(hl);
    bool behind = sl->kept && (flags & (STORE_AGAIN | STORE_TRIM)) == STORE_AGAIN;
    struct batch **at = behind ? &sl->later : &sl->open;

    assert(!sl->unit_open);
    if (sl->open && at == &sl->open && sl->open->nops >= sl->store->batch_max_ops) {
        *sl->sealed_last = sl->open;
        sl->sealed_last = &sl->open->next;
        sl->open = NULL;
    }
    if (!*at)
        *at = batch_get(sl);
    struct batch *b = *at;
    sl->unit_batch = b;
    sl->unit_open = true;
    sl->unit_flags = flags;
    sl->unit_durability = durability;
    sl->unit_failed = !b || !units_reserve(b);
    if (sl->unit_failed)
        return;
    b->units[b->nunits] = (pigeon_unit){
        .size = sizeof(pigeon_unit),
        .flags = flags & STORE_TRIM ? PIGEON_UNIT_TRIM : 0,
        .fence_client = { .ptr = "" },
        .first_op = b->nops,
    };
}

int store_unit_end(struct hook_loop *hl, struct store_wait *wait)
{
    struct store_loop *sl = hook_loop_store(hl);
    struct batch *b = sl->unit_batch;

    assert(sl->unit_open);
    sl->unit_open = false;
    sl->unit_batch = NULL;
    if (sl->unit_failed) {
        if (b && b->nunits < b->units_size) {
            pigeon_unit *u = &b->units[b->nunits];

            for (uint32_t i = u->first_op; i < b->nops; i++)
                b->n_adds -= b->ops[i].kind == PIGEON_OP_QUEUE_ADD;
            ops_unref(b, u->first_op, b->nops - u->first_op);
            b->nops = u->first_op;
        }
        return -ENOMEM;
    }
    uint32_t unit = b->nunits++;
    b->units[unit].nops = b->nops - b->units[unit].first_op;
    b->states[unit] = (struct unit_state){ .flags = sl->unit_flags };
    b->n_trim += (sl->unit_flags & STORE_TRIM) != 0;
    if (b->view.durability < sl->unit_durability)
        b->view.durability = sl->unit_durability;
    if (wait) {
        assert(!store_waiting(wait));
        wait->unit = unit;
        wait->pos = 0;
        list_append(&b->waits, &wait->link);
    }
    return 0;
}

bool store_unit_is_full(const struct hook_loop *hl)
{
    const struct store_loop *sl = hook_loop_store(hl);

    return sl->sealed || (sl->open && sl->open->nops >= sl->store->batch_max_ops);
}

/* ---- ops ------------------------------------------------------------------------------------- */

static void unit_fail(struct store_loop *sl)
{
    sl->unit_failed = true;
}

/* NULL: the unit has failed. */
static pigeon_op *op_new(struct store_loop *sl, uint16_t kind, uint64_t session)
{
    struct batch *b = sl->unit_batch;

    assert(sl->unit_open);
    if (sl->unit_failed)
        return NULL;
    if (!ops_reserve(b)) {
        unit_fail(sl);
        return NULL;
    }
    pigeon_op *op = &b->ops[b->nops++];
    *op = (pigeon_op){
        .size = sizeof(*op),
        .kind = kind,
        .client = { .ptr = "" },
        .key = { .ptr = "" },
        .session = session,
    };
    return op;
}

/* Into the batch's memory, with a NUL behind it. */
static void text_put(struct store_loop *sl, const char *ptr, uint32_t len, pigeon_str *r_text)
{
    *r_text = (pigeon_str){ .ptr = "" };
    if (!len)
        return;
    char *copy = len < UINT32_MAX - 8 ? arena_get(sl->unit_batch, (size_t)len + 1) : NULL;
    if (!copy) {
        unit_fail(sl);
        return;
    }
    memcpy(copy, ptr, len);
    copy[len] = '\0';
    r_text->ptr = copy;
    r_text->len = len;
}

static void message_put(pigeon_op *op, struct message *message)
{
    message_share(message); /* the store may hold it on a thread of its own */
    op->msg = &message_ref(message)->view;
}

static void ids_put(struct store_loop *sl, pigeon_rcpt *to, const uint32_t *ids, uint32_t n)
{
    uint32_t *copy = n ? arena_get(sl->unit_batch, n * sizeof(*copy)) : NULL;

    if (n && !copy)
        unit_fail(sl);
    if (!copy)
        return;
    memcpy(copy, ids, n * sizeof(*copy));
    to->sub_ids = copy;
    to->nsub_ids = n;
}

static void rcpts_put(struct store_loop *sl, pigeon_op *op, const struct store_rcpt *rcpts,
                      uint32_t n)
{
    pigeon_rcpt *out = arena_get(sl->unit_batch, (size_t)n * sizeof(*out));

    if (!out) {
        unit_fail(sl);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct store_rcpt *in = &rcpts[i];

        assert(in->session); /* a session number, never a client id [P1.6] */
        out[i] = (pigeon_rcpt){
            .size = sizeof(*out),
            .client = { .ptr = "" },
            .session = in->session,
            .qos = in->qos,
            .retain = in->retain,
        };
        text_put(sl, in->share.ptr, in->share.len, &out[i].share);
        ids_put(sl, &out[i], in->ids, in->n_ids);
    }
    op->rcpts = out;
    op->nrcpts = n;
    op->rcpt_stride = sizeof(*out);
}

void store_session_put(struct hook_loop *hl, uint64_t session, struct str client, int64_t expiry_ms,
                       struct str extra)
{
    struct store_loop *sl = hook_loop_store(hl);
    pigeon_op *op = op_new(sl, PIGEON_OP_SESSION_PUT, session);

    if (!op)
        return;
    pigeon_str bytes;
    text_put(sl, client.ptr, client.len, &op->client);
    text_put(sl, extra.ptr, extra.len, &bytes);
    op->extra = (pigeon_bytes){ .ptr = (const uint8_t *)bytes.ptr, .len = bytes.len };
    op->due_in_ms = expiry_ms;
}

void store_session_del(struct hook_loop *hl, uint64_t session)
{
    op_new(hook_loop_store(hl), PIGEON_OP_SESSION_DEL, session);
}

void store_session_off(struct hook_loop *hl, uint64_t session, int64_t expires_in_ms)
{
    pigeon_op *op = op_new(hook_loop_store(hl), PIGEON_OP_SESSION_OFF, session);

    if (op)
        op->due_in_ms = expires_in_ms;
}

static void sub_copy(struct store_loop *sl, pigeon_op *op, const pigeon_sub *sub)
{
    pigeon_sub *copy = arena_get(sl->unit_batch, sizeof(*copy));
    if (!copy) {
        unit_fail(sl);
        return;
    }
    *copy = *sub;
    copy->size = sizeof(*copy);
    text_put(sl, sub->filter.ptr, sub->filter.len, &copy->filter);
    text_put(sl, sub->effective.ptr, sub->effective.len, &copy->effective);
    text_put(sl, sub->share.ptr, sub->share.len, &copy->share);
    op->sub = copy;
}

void store_sub_put(struct hook_loop *hl, uint64_t session, struct str key, const pigeon_sub *sub)
{
    struct store_loop *sl = hook_loop_store(hl);
    pigeon_op *op = op_new(sl, PIGEON_OP_SUB_PUT, session);

    if (!op)
        return;
    text_put(sl, key.ptr, key.len, &op->key);
    sub_copy(sl, op, sub);
}

void store_sub_del(struct hook_loop *hl, uint64_t session, struct str key)
{
    struct store_loop *sl = hook_loop_store(hl);
    pigeon_op *op = op_new(sl, PIGEON_OP_SUB_DEL, session);

    if (op)
        text_put(sl, key.ptr, key.len, &op->key);
}

void store_retain_put(struct hook_loop *hl, struct message *message)
{
    pigeon_op *op = op_new(hook_loop_store(hl), PIGEON_OP_RETAIN_PUT, 0);

    if (!op)
        return;
    message_put(op, message);
    op->key = message->view.topic; /* lives as long as the message */
}

void store_retain_del(struct hook_loop *hl, struct str topic)
{
    struct store_loop *sl = hook_loop_store(hl);
    pigeon_op *op = op_new(sl, PIGEON_OP_RETAIN_DEL, 0);

    if (op)
        text_put(sl, topic.ptr, topic.len, &op->key);
}

void store_queue_add(struct hook_loop *hl, struct message *message, const struct store_rcpt *rcpts,
                     uint32_t n)
{
    struct store_loop *sl = hook_loop_store(hl);
    pigeon_op *op = op_new(sl, PIGEON_OP_QUEUE_ADD, 0);

    if (!op)
        return;
    sl->unit_batch->n_adds++;
    message_put(op, message);
    rcpts_put(sl, op, rcpts, n);
}

void store_queue_upd(struct hook_loop *hl, uint64_t session, uint64_t pos, uint16_t packet_id,
                     uint8_t state)
{
    pigeon_op *op = op_new(hook_loop_store(hl), PIGEON_OP_QUEUE_UPD, session);

    if (!op)
        return;
    op->pos = pos;
    op->packet_id = packet_id;
    op->state = state;
}

void store_queue_del(struct hook_loop *hl, uint64_t session, uint64_t pos)
{
    pigeon_op *op = op_new(hook_loop_store(hl), PIGEON_OP_QUEUE_DEL, session);

    if (op)
        op->pos = pos;
}

void store_queue_move(struct hook_loop *hl, uint64_t session, uint64_t pos,
                      const struct store_rcpt *to)
{
    struct store_loop *sl = hook_loop_store(hl);
    pigeon_op *op = op_new(sl, PIGEON_OP_QUEUE_MOVE, session);

    if (!op)
        return;
    op->pos = pos;
    rcpts_put(sl, op, to, 1);
}

void store_in_add(struct hook_loop *hl, uint64_t session, uint16_t packet_id)
{
    pigeon_op *op = op_new(hook_loop_store(hl), PIGEON_OP_IN_ADD, session);

    if (op)
        op->packet_id = packet_id;
}

void store_in_del(struct hook_loop *hl, uint64_t session, uint16_t packet_id)
{
    pigeon_op *op = op_new(hook_loop_store(hl), PIGEON_OP_IN_DEL, session);

    if (op)
        op->packet_id = packet_id;
}

void store_will_put(struct hook_loop *hl, uint64_t session, struct message *will, int64_t delay_ms)
{
    pigeon_op *op = op_new(hook_loop_store(hl), PIGEON_OP_WILL_PUT, session);

    if (!op)
        return;
    message_put(op, will);
    op->due_in_ms = delay_ms;
    /* The row of a scan says what is left of it; the delay itself is the broker's to keep. */
    pigeon_str bytes = { 0 };
    text_put(hook_loop_store(hl), (const char *)&delay_ms, sizeof(delay_ms), &bytes);
    op->extra = (pigeon_bytes){ .ptr = (const uint8_t *)bytes.ptr, .len = bytes.len };
}

void store_will_due(struct hook_loop *hl, uint64_t session, int64_t due_in_ms)
{
    pigeon_op *op = op_new(hook_loop_store(hl), PIGEON_OP_WILL_DUE, session);

    if (op)
        op->due_in_ms = due_in_ms;
}

void store_will_del(struct hook_loop *hl, uint64_t session)
{
    op_new(hook_loop_store(hl), PIGEON_OP_WILL_DEL, session);
}

static void rcpts_copy(struct store_loop *sl, pigeon_op *op, const pigeon_op *from)
{
    pigeon_rcpt *out = arena_get(sl->unit_batch, (size_t)from->nrcpts * sizeof(*out));

    if (!out) {
        unit_fail(sl);
        return;
    }
    for (uint32_t i = 0; i < from->nrcpts; i++) {
        const pigeon_rcpt *in =
            (const pigeon_rcpt *)((const char *)from->rcpts + (size_t)i * from->rcpt_stride);

        out[i] = *in;
        out[i].sub_ids = NULL;
        out[i].nsub_ids = 0;
        text_put(sl, in->client.ptr, in->client.len, &out[i].client);
        text_put(sl, in->share.ptr, in->share.len, &out[i].share);
        ids_put(sl, &out[i], in->sub_ids, in->nsub_ids);
    }
    op->rcpts = out;
    op->nrcpts = from->nrcpts;
    op->rcpt_stride = sizeof(*out);
}

void store_op_put(struct hook_loop *hl, const pigeon_op *from)
{
    struct store_loop *sl = hook_loop_store(hl);
    pigeon_op *op = op_new(sl, from->kind, from->session);
    pigeon_str extra;

    if (!op)
        return;
    op->flags = from->flags;
    op->pos = from->pos;
    op->due_in_ms = from->due_in_ms;
    op->packet_id = from->packet_id;
    op->state = from->state;
    text_put(sl, from->client.ptr, from->client.len, &op->client);
    text_put(sl, from->key.ptr, from->key.len, &op->key);
    text_put(sl, (const char *)from->extra.ptr, from->extra.len, &extra);
    op->extra = (pigeon_bytes){ .ptr = (const uint8_t *)extra.ptr, .len = extra.len };
    if (from->msg)
        message_put(op, message_of(from->msg));
    if (from->sub)
        sub_copy(sl, op, from->sub);
    if (from->nrcpts)
        rcpts_copy(sl, op, from);
}
