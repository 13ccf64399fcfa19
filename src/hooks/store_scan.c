#include "hooks/store.h"
#include "hooks/store_impl.h"

/* A row in memory of its own; `message` is a reference, op.msg its view. */
struct row_copy {
    struct row_copy *next;
    struct message *message;
    pigeon_op op;
    char data[];
};

/* ---- copying rows -----------------------------------------------------------------------------
 */

/* A structure of the plugin's header, cut or filled up with zeros to ours. */
static void struct_copy(void *to, size_t size, const void *from)
{
    uint32_t given = *(const uint32_t *)from;
    uint32_t ours = (uint32_t)size;

    memset(to, 0, size);
    memcpy(to, from, given < size ? given : size);
    memcpy(to, &ours, sizeof(ours));
}

struct cursor {
    char *at; /* NULL: only count */
    size_t used;
};

static void *cursor_take(struct cursor *c, size_t len)
{
    void *p = c->at ? c->at + c->used : NULL;

    c->used += (len + 7) & ~(size_t)7;
    return p;
}

static void text_take(struct cursor *c, const char *ptr, uint32_t len, pigeon_str *r_text)
{
    char *copy = cursor_take(c, (size_t)len + 1);

    if (!copy)
        return;
    if (len)
        memcpy(copy, ptr, len);
    copy[len] = '\0';
    *r_text = (pigeon_str){ .ptr = copy, .len = len };
}

static void rcpts_take(struct cursor *c, const pigeon_op *from, pigeon_op *to)
{
    pigeon_rcpt *out = cursor_take(c, from->nrcpts * sizeof(*out));

    for (uint32_t i = 0; i < from->nrcpts; i++) {
        pigeon_rcpt in, scratch;
        pigeon_rcpt *r = out ? &out[i] : &scratch;

        struct_copy(&in, sizeof(in), (const char *)from->rcpts + (size_t)i * from->rcpt_stride);
        *r = in;
        text_take(c, in.client.ptr, in.client.len, &r->client);
        text_take(c, in.share.ptr, in.share.len, &r->share);
        uint32_t *ids = cursor_take(c, in.nsub_ids * sizeof(*ids));
        if (ids && in.nsub_ids)
            memcpy(ids, in.sub_ids, in.nsub_ids * sizeof(*ids));
        r->sub_ids = in.nsub_ids ? ids : NULL;
    }
    to->rcpts = out;
    to->rcpt_stride = sizeof(*out);
}

static void sub_take(struct cursor *c, const pigeon_sub *from, pigeon_op *to)
{
    pigeon_sub in, scratch;
    pigeon_sub *out = cursor_take(c, sizeof(*out));
    pigeon_sub *r = out ? out : &scratch;

    struct_copy(&in, sizeof(in), from);
    *r = in;
    text_take(c, in.filter.ptr, in.filter.len, &r->filter);
    text_take(c, in.effective.ptr, in.effective.len, &r->effective);
    text_take(c, in.share.ptr, in.share.len, &r->share);
    to->sub = out;
}

/* Twice the same walk: once for the size, once to copy. `to` is a copy of *from. */
static void op_take(struct cursor *c, const pigeon_op *from, pigeon_op *to)
{
    pigeon_str extra = { 0 };

    text_take(c, from->client.ptr, from->client.len, &to->client);
    text_take(c, from->key.ptr, from->key.len, &to->key);
    text_take(c, (const char *)from->extra.ptr, from->extra.len, &extra);
    to->extra = (pigeon_bytes){ .ptr = (const uint8_t *)extra.ptr, .len = extra.len };
    if (from->nrcpts && from->rcpts)
        rcpts_take(c, from, to);
    if (from->sub)
        sub_take(c, from->sub, to);
}

static bool is_same_message(const struct message *m, const pigeon_msg *view)
{
    return m && view->id.node && m->view.id.node == view->id.node && m->view.id.n == view->id.n &&
           m->view.topic.len == view->topic.len && m->view.payload.len == view->payload.len &&
           m->view.qos == view->qos && m->view.retain == view->retain;
}

/* Always a message of the host's own make: a store may build views wherever it likes. Rows of one
 * body follow one another and share it (a message id is given once). */
static struct message *message_take(struct scan_state *sc, const pigeon_msg *from)
{
    pigeon_msg view;

    struct_copy(&view, sizeof(view), from);
    if (!is_same_message(sc->recent, &view)) {
        struct message_parts parts = {
            .topic = { view.topic.ptr, view.topic.len },
            .props = { (const char *)view.props.ptr, view.props.len },
            .payload = { (const char *)view.payload.ptr, view.payload.len },
            .publisher = { view.publisher.ptr, view.publisher.len },
            .publisher_user = { view.publisher_user.ptr, view.publisher_user.len },
            .qos = view.qos,
            .retain = view.retain,
            .dup = view.dup,
            .origin = view.origin,
            .expires_ms = view.expires_ms,
            .hide_expiry = view.flags & PIGEON_MSG_EXPIRY_HIDDEN,
            .received_ms = view.received_ms,
            .id = view.id,
            .shared = true, /* this thread keeps one reference, the loop gets another */
        };
        struct message *m = message_new(&parts);

        if (!m)
            return NULL;
        message_unref(&sc->recent);
        sc->recent = m;
    }
    return message_ref(sc->recent);
}

static struct row_copy *row_copy_new(struct scan_state *sc, const pigeon_op *from)
{
    struct cursor size = { 0 }, copy = { 0 };
    pigeon_op scratch = *from;

    op_take(&size, from, &scratch);
    struct row_copy *row = malloc(sizeof(*row) + size.used);
    if (!row)
        return NULL;
    row->next = NULL;
    row->message = NULL;
    row->op = *from;
    copy.at = row->data;
    op_take(&copy, from, &row->op);
    if (from->msg) {
        row->message = message_take(sc, from->msg);
        if (!row->message) {
            free(row);
            return NULL;
        }
        row->op.msg = &row->message->view;
    }
    return row;
}

static void row_copies_free(struct row_copy *row)
{
    for (struct row_copy *next; row; row = next) {
        next = row->next;
        message_unref(&row->message);
        free(row);
    }
}

/* ---- life of a scan ----------------------------------------------------------------------------
 */

static void scan_on_turn(struct store_loop *me, struct order_entry *e);
static void scan_on_more(struct store_loop *me, struct order_entry *e);
static void scan_on_answer(struct store_loop *sl, struct answer *a);

void scan_state_free(struct scan_state *sc)
{
    row_copies_free(sc->first);
    message_unref(&sc->recent);
    pthread_mutex_destroy(&sc->lock);
    pthread_cond_destroy(&sc->changed);
    free(sc);
}

static struct scan_state *scan_state_new(struct store *store)
{
    struct scan_state *sc = calloc(1, sizeof(*sc));

    if (!sc)
        return NULL;
    sc->owner.kind = OWNER_SCAN;
    sc->entry.run = scan_on_turn;
    sc->more.run = scan_on_more;
    sc->answer.run = scan_on_answer;
    pthread_mutex_init(&sc->lock, NULL);
    pthread_cond_init(&sc->changed, NULL);
    if (token_owner_add(store, &sc->owner)) {
        scan_state_free(sc);
        return NULL;
    }
    return sc;
}

static struct scan_state *scan_state_get(struct store_loop *sl)
{
    struct store *store = sl->store;

    pthread_mutex_lock(&store->lock);
    struct scan_state *sc = store->free_scans;
    if (sc)
        store->free_scans = sc->next_free;
    pthread_mutex_unlock(&store->lock);
    if (!sc)
        sc = scan_state_new(store);
    if (!sc)
        return NULL;
    pthread_mutex_lock(&sc->lock);
    sc->first = NULL;
    sc->last = &sc->first;
    sc->scan = NULL;
    sc->more_credit = 0;
    sc->status = 0;
    sc->blocking = sc->ended = sc->starved = sc->abandoned = sc->is_free = false;
    sc->in_order = true; /* it is about to be */
    sc->entry.owner = sc->more.owner = sl;
    pthread_mutex_unlock(&sc->lock);
    return sc;
}

/* Gives the state back when the plugin is through with it and nobody points to it. */
static void scan_settle(struct store *store, struct scan_state *sc)
{
    pthread_mutex_lock(&sc->lock);
    bool unused = sc->ended && sc->abandoned && !sc->in_call && !sc->in_order && !sc->in_more &&
                  !sc->in_inbox && !sc->in_delivery && !sc->is_free;
    struct row_copy *rows = NULL;
    if (unused) {
        sc->is_free = true;
        rows = sc->first;
        sc->first = NULL;
        sc->last = &sc->first;
        message_unref(&sc->recent);
    }
    pthread_mutex_unlock(&sc->lock);
    if (!unused)
        return;
    row_copies_free(rows);
    pthread_mutex_lock(&store->lock);
    sc->next_free = store->free_scans;
    store->free_scans = sc;
    pthread_mutex_unlock(&store->lock);
}

/* Under the scan's lock: there is news for who scans. */
static void scan_notify(struct scan_state *sc)
{
    if (sc->blocking) {
        pthread_cond_signal(&sc->changed);
    } else if (!sc->in_inbox && !sc->abandoned) {
        sc->in_inbox = true;
        answer_post(sc->entry.owner, NULL, &sc->answer);
    }
}

static int scan_errno(int32_t status)
{
    switch (status) {
    case PIGEON_OK: return 0;
    case PIGEON_E_NOMEM: return -ENOMEM;
    case PIGEON_E_NOTSUP: return -ENOTSUP;
    default: return -EIO;
    }
}

/* Under the scan's lock. */
static void scan_end(struct scan_state *sc, int32_t status)
{
    if (sc->ended)
        return;
    sc->ended = true;
    sc->status = scan_errno(status);
    atomic_store(&sc->owner.live, 0);
    scan_notify(sc);
}

/* ---- on the thread that drains the order -------------------------------------------------------
 */

static void scan_on_turn(struct store_loop *me, struct order_entry *e)
{
    struct scan_state *sc = container_of(e, struct scan_state, entry);
    struct store *store = me->store;
    int32_t status = PIGEON_E_IO;

    pthread_mutex_lock(&sc->lock);
    bool wanted = !sc->abandoned;
    sc->in_order = false;
    sc->in_call = true;
    pthread_mutex_unlock(&sc->lock);
    if (wanted && !atomic_load(&store->failed)) {
        struct crumb_call crumb = store_crumb_begin(store);

        status = store->table->scan(store->self, &sc->view);
        crumb_end(crumb);
    }
    pthread_mutex_lock(&sc->lock);
    sc->in_call = false;
    if (status != PIGEON_PENDING)
        scan_end(sc, status);
    pthread_mutex_unlock(&sc->lock);
    scan_settle(store, sc);
}

static void scan_on_more(struct store_loop *me, struct order_entry *e)
{
    struct scan_state *sc = container_of(e, struct scan_state, more);
    struct store *store = me->store;

    pthread_mutex_lock(&sc->lock);
    uint32_t credit = sc->more_credit;
    bool wanted = !sc->ended && !atomic_load(&store->failed);
    sc->more_credit = 0;
    sc->in_more = false;
    sc->in_call = true;
    pthread_mutex_unlock(&sc->lock);
    if (wanted) {
        struct crumb_call crumb = store_crumb_begin(store);

        store->table->more(store->self, sc->view.token, credit);
        crumb_end(crumb);
    }
    pthread_mutex_lock(&sc->lock);
    sc->in_call = false;
    pthread_mutex_unlock(&sc->lock);
    scan_settle(store, sc);
}

/* Rows have been taken, or (credit 1) a scan that waits for credit is to learn that it is void. */
static void scan_more(struct store_loop *sl, struct scan_state *sc, uint32_t credit)
{
    struct store *store = sl->store;

    if (!credit || !PIGEON_HAS(store->table, pigeon_store, more) || !store->table->more)
        return;
    pthread_mutex_lock(&sc->lock);
    bool append = !sc->ended && !sc->in_more;
    sc->more_credit += credit;
    sc->in_more |= append;
    pthread_mutex_unlock(&sc->lock);
    if (!append)
        return;
    pthread_mutex_lock(&store->lock);
    order_append(store, &sc->more);
    pthread_mutex_unlock(&store->lock);
    order_drain(sl);
}

/* ---- on any thread ------------------------------------------------------------------------------
 */

/* What must be there for the broker to look at it. */
static bool row_is_sound(const struct scan_state *sc, const pigeon_op *op)
{
    switch (sc->view.what) {
    case PIGEON_SCAN_SUBS: return op->sub != NULL;
    case PIGEON_SCAN_RETAINED:
    case PIGEON_SCAN_WILLS: return op->msg != NULL;
    case PIGEON_SCAN_QUEUE:
        return op->msg && op->nrcpts == 1 && op->rcpts &&
               (!sc->view.session || op->pos > sc->newest);
    default: return true;
    }
}

/* Under the scan's lock. */
static int32_t row_take(struct scan_state *sc, const pigeon_row *row)
{
    pigeon_op op = { 0 };

    if (row->op)
        struct_copy(&op, sizeof(op), row->op);
    if (!row->op || !row_is_sound(sc, &op)) {
        sc->n_bad++;
        return PIGEON_OK;
    }
    if (!sc->left || (sc->view.what == PIGEON_SCAN_QUEUE && op.pos > sc->high))
        return PIGEON_OK;
    struct row_copy *copy = row_copy_new(sc, &op);
    if (!copy) {
        sc->starved = true;
        return PIGEON_E_NOMEM;
    }
    *sc->last = copy;
    sc->last = &copy->next;
    sc->left -= sc->left != UINT32_MAX;
    sc->newest = op.pos;
    return PIGEON_OK;
}

int32_t scan_rows(struct store *store, pigeon_token token, const pigeon_row *rows, uint32_t n,
                  uint32_t stride)
{
    struct token_owner *owner = token_owner_find(store, token);
    int32_t r = PIGEON_OK;

    if (!owner || owner->kind != OWNER_SCAN)
        return PIGEON_E_GONE;
    struct scan_state *sc = container_of(owner, struct scan_state, owner);
    pthread_mutex_lock(&sc->lock);
    if (atomic_load(&owner->live) != token_generation(token) || sc->abandoned || sc->starved) {
        pthread_mutex_unlock(&sc->lock);
        return PIGEON_E_GONE;
    }
    for (uint32_t i = 0; i < n && r == PIGEON_OK; i++)
        r = row_take(sc, (const pigeon_row *)((const char *)rows + (size_t)i * stride));
    scan_notify(sc);
    pthread_mutex_unlock(&sc->lock);
    return r;
}

int32_t scan_complete(struct store *store, pigeon_token token, struct scan_state *sc,
                      int32_t status)
{
    pthread_mutex_lock(&sc->lock);
    if (atomic_load(&sc->owner.live) != token_generation(token)) {
        pthread_mutex_unlock(&sc->lock);
        return PIGEON_E_GONE;
    }
    int32_t r = sc->abandoned ? PIGEON_E_GONE : PIGEON_OK;
    scan_end(sc, status);
    pthread_mutex_unlock(&sc->lock);
    scan_settle(store, sc);
    return r;
}

/* ---- on the loop that scans ---------------------------------------------------------------------
 */

/* Rows and end that have come in; what they are worth as credit. */
static struct row_copy *scan_take(struct scan_state *sc, bool *r_over, int *r_status)
{
    struct row_copy *rows = sc->first;

    sc->first = NULL;
    sc->last = &sc->first;
    *r_over = sc->ended || sc->starved;
    *r_status = sc->starved ? -ENOMEM : sc->status;
    return rows;
}

static void complain(struct store *store, const struct scan_state *sc)
{
    if (sc->n_bad)
        log_error(store->log, "store_bad_rows", LU("rows", sc->n_bad), LU("what", sc->view.what));
}

static void scan_on_answer(struct store_loop *sl, struct answer *a)
{
    struct scan_state *sc = container_of(a, struct scan_state, answer);
    struct store_scan *s;
    uint32_t n = 0;
    int status;
    bool over;

    pthread_mutex_lock(&sc->lock);
    sc->in_inbox = false;
    sc->in_delivery = true;
    struct row_copy *rows = scan_take(sc, &over, &status);
    pthread_mutex_unlock(&sc->lock);
    for (struct row_copy *next; rows; rows = next, n++) {
        next = rows->next;
        rows->next = NULL;
        if (sc->scan) /* NULL: cancelled, perhaps by the row before */
            sc->scan->row(sc->scan, &rows->op);
        row_copies_free(rows);
    }
    if (over)
        complain(sl->store, sc);
    pthread_mutex_lock(&sc->lock);
    s = sc->scan;
    sc->in_delivery = false;
    if (over) {
        sc->abandoned = true;
        sc->scan = NULL;
    }
    pthread_mutex_unlock(&sc->lock);
    if (s && over) {
        s->state = NULL;
        s->done(s, status);
    } else if (s) {
        scan_more(sl, sc, n);
    }
    scan_settle(sl->store, sc);
}

static void scan_view_init(struct store *store, struct scan_state *sc, uint32_t what)
{
    bool has_more = PIGEON_HAS(store->table, pigeon_store, more) && store->table->more;

    sc->view = (pigeon_scan){ .size = sizeof(sc->view),
                              .what = what,
                              .credit = has_more ? STORE_SCAN_CREDIT : UINT32_MAX };
    sc->left = UINT32_MAX;
    sc->newest = 0;
    sc->n_bad = 0;
}

/* Behind everything that this loop has gathered. */
static void scan_order(struct store_loop *sl, struct scan_state *sc)
{
    struct store *store = sl->store;

    pthread_mutex_lock(&store->lock);
    batches_submit_locked(sl);
    sc->high = atomic_load_explicit(&store->last_pos, memory_order_relaxed);
    sc->answer.seq = ++store->seq;
    sc->view.token = token_new(&sc->owner);
    order_append(store, &sc->entry);
    pthread_mutex_unlock(&store->lock);
}

int store_scan(struct hook_loop *hl, struct store_scan *s)
{
    struct store_loop *sl = hook_loop_store(hl);
    struct scan_state *sc = scan_state_get(sl);

    assert(!sl->unit_open);
    if (!sc)
        return -ENOMEM;
    scan_view_init(sl->store, sc, s->what);
    sc->view.session = s->session;
    sc->view.after_pos = s->after_pos;
    sc->view.limit = s->limit;
    sc->left = s->limit ? s->limit : UINT32_MAX;
    sc->newest = s->after_pos;
    sc->scan = s;
    s->state = sc;
    scan_order(sl, sc);
    s->high = sc->high;
    order_drain(sl);
    return 0;
}

void store_scan_cancel(struct hook_loop *hl, struct store_scan *s)
{
    struct store_loop *sl = hook_loop_store(hl);
    struct scan_state *sc = s->state;

    if (!sc)
        return;
    s->state = NULL;
    pthread_mutex_lock(&sc->lock);
    sc->scan = NULL;
    sc->abandoned = true;
    bool asleep = !sc->ended && !sc->in_order;
    bool in_delivery = sc->in_delivery; /* of a row: scan_on_answer is our caller */
    sc->in_delivery = true;
    pthread_mutex_unlock(&sc->lock);
    if (asleep)
        scan_more(sl, sc, 1);
    pthread_mutex_lock(&sc->lock);
    sc->in_delivery = in_delivery;
    pthread_mutex_unlock(&sc->lock);
    scan_settle(sl->store, sc);
}

int store_scan_all(struct hooks *hooks, uint32_t what, void (*row)(void *ctx, const pigeon_op *op),
                   void *ctx)
{
    struct store *store = hooks_store(hooks);
    struct store_loop *sl = &store->loops[0];
    struct scan_state *sc = scan_state_get(sl);
    bool over = false;
    int status = 0;

    if (!sc)
        return -ENOMEM;
    scan_view_init(store, sc, what);
    sc->blocking = true;
    scan_order(sl, sc);
    sc->high = UINT64_MAX; /* the store knows the last number, we do not yet */
    order_drain(sl);
    while (!over) {
        uint32_t n = 0;

        pthread_mutex_lock(&sc->lock);
        while (!sc->first && !sc->ended && !sc->starved)
            pthread_cond_wait(&sc->changed, &sc->lock);
        struct row_copy *rows = scan_take(sc, &over, &status);
        pthread_mutex_unlock(&sc->lock);
        for (struct row_copy *next; rows; rows = next, n++) {
            next = rows->next;
            rows->next = NULL;
            row(ctx, &rows->op);
            row_copies_free(rows);
        }
        if (!over)
            scan_more(sl, sc, n);
    }
    complain(store, sc);
    store->n_bad_rows = sc->n_bad;
    pthread_mutex_lock(&sc->lock);
    sc->abandoned = true;
    pthread_mutex_unlock(&sc->lock);
    scan_settle(store, sc);
    return status;
}
