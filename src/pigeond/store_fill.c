#include "pigeond/store_fill.h"
#include "broker/session.h"
#include <errno.h>
#include <stdlib.h>

#define UNITS_MAX  8192u                /* under way */
#define BYTES_MAX  (UINT64_C(64) << 20) /* of messages under way, but for one that is larger */
#define SUBMIT_MAX (UINT64_C(4) << 20)  /* of messages in a batch, likewise */

struct unit {
    struct store_wait wait;
    struct fill *fill;
    struct unit *next; /* free */
    uint64_t bytes;
};

/* A recipient of the message at hand, with memory of its own. */
struct rcpt {
    uint16_t packet_id;
    uint8_t state;
    pigeon_rcpt view;
    uint32_t data[]; /* ids, then the share */
};

struct fill {
    struct store_host *host;
    struct unit *units, *free_units;
    uint32_t n_free;
    uint64_t bytes;  /* under way */
    uint64_t unsent; /* of these, not submitted */
    int error;       /* the first one */
    /* the message at hand: its recipients come one by one */
    uint64_t pos; /* 0: none */
    struct message *message;
    struct str extra; /* owned */
    struct rcpt **rcpts;
    uint32_t n_rcpts, size_rcpts;
};

/* ---- units ----------------------------------------------------------------------------------- */

/* The first one stays. */
static int note(struct fill *f, int r)
{
    if (!f->error)
        f->error = r;
    return f->error;
}

static void on_done(struct store_wait *w, int status)
{
    struct unit *u = container_of(w, struct unit, wait);
    struct fill *f = u->fill;

    note(f, status);
    f->bytes -= u->bytes;
    u->next = f->free_units;
    f->free_units = u;
    f->n_free++;
}

static void submit(struct fill *f)
{
    store_submit(f->host->hl);
    f->unsent = 0;
}

/* Everything under way is answered. */
static int settle(struct fill *f)
{
    submit(f);
    while (f->n_free < UNITS_MAX)
        store_host_turn(f->host);
    return f->error;
}

static void unit_begin(struct fill *f, uint32_t flags)
{
    if (!f->n_free || f->bytes > BYTES_MAX)
        submit(f);
    while (!f->n_free || f->bytes > BYTES_MAX)
        store_host_turn(f->host);
    store_unit_begin(f->host->hl, PIGEON_DURABILITY_DISK, flags);
}

static int unit_end(struct fill *f, uint64_t bytes)
{
    struct unit *u = f->free_units;
    int r = store_unit_end(f->host->hl, &u->wait);

    if (r)
        return note(f, r);
    f->free_units = u->next;
    f->n_free--;
    u->bytes = bytes;
    f->bytes += bytes;
    f->unsent += bytes;
    if (store_unit_is_full(f->host->hl) || f->unsent > SUBMIT_MAX)
        submit(f);
    store_run_answers(f->host->hl);
    return f->error;
}

/* ---- messages with many recipients ----------------------------------------------------------- */

static struct rcpt *rcpt_new(const pigeon_op *op)
{
    const pigeon_rcpt *from = op->rcpts;
    size_t ids = from->nsub_ids * sizeof(from->sub_ids[0]);
    struct rcpt *r = malloc(sizeof(*r) + ids + from->share.len);

    if (!r)
        return NULL;
    r->packet_id = op->packet_id;
    r->state = op->state;
    r->view = *from;
    r->view.client = (pigeon_str){ .ptr = "" };
    r->view.sub_ids = r->data;
    r->view.share.ptr = (char *)r->data + ids;
    if (ids)
        memcpy(r->data, from->sub_ids, ids);
    if (from->share.len)
        memcpy((char *)r->data + ids, from->share.ptr, from->share.len);
    return r;
}

static void drop_message(struct fill *f)
{
    for (uint32_t i = 0; i < f->n_rcpts; i++)
        free(f->rcpts[i]);
    f->n_rcpts = 0;
    message_unref(&f->message);
    str_free(&f->extra);
    f->pos = 0;
}

static int put_in_flight(struct fill *f, const struct rcpt *to)
{
    unit_begin(f, 0);
    store_queue_upd(f->host->hl, to->view.session, f->pos, to->packet_id, to->state);
    return unit_end(f, 0);
}

static int put_message(struct fill *f)
{
    pigeon_rcpt *views = calloc(f->n_rcpts, sizeof(*views));
    pigeon_op op = { .size = sizeof(op),
                     .kind = PIGEON_OP_QUEUE_ADD,
                     .client = { .ptr = "" },
                     .key = { .ptr = "" },
                     .pos = f->pos,
                     .nrcpts = f->n_rcpts,
                     .rcpt_stride = sizeof(*views) };

    if (!views)
        return -ENOMEM;
    for (uint32_t i = 0; i < f->n_rcpts; i++)
        views[i] = f->rcpts[i]->view;
    op.rcpts = views;
    op.msg = &f->message->view;
    op.extra = (pigeon_bytes){ .ptr = (const uint8_t *)f->extra.ptr, .len = f->extra.len };
    unit_begin(f, 0);
    store_op_put(f->host->hl, &op);
    int r = unit_end(f, f->message->size);
    free(views);
    for (uint32_t i = 0; i < f->n_rcpts && !r; i++)
        if (f->rcpts[i]->packet_id || f->rcpts[i]->state)
            r = put_in_flight(f, f->rcpts[i]);
    return r;
}

static int end_message(struct fill *f)
{
    int r = f->pos ? put_message(f) : 0;

    drop_message(f);
    return r;
}

static int begin_message(struct fill *f, const pigeon_op *op)
{
    f->pos = op->pos;
    f->message = message_ref(message_of(op->msg));
    return str_dup_r(str_make(op->extra.ptr, op->extra.len), &f->extra);
}

static int queue_row(struct fill *f, const pigeon_op *op)
{
    int r = 0;

    if (f->pos && f->pos != op->pos)
        r = end_message(f);
    if (!r && !f->pos)
        r = begin_message(f, op);
    if (r)
        return r;
    if (f->n_rcpts == f->size_rcpts) {
        uint32_t size = f->size_rcpts ? f->size_rcpts * 2 : 16;
        struct rcpt **rcpts = realloc(f->rcpts, size * sizeof(struct rcpt *));

        if (!rcpts)
            return -ENOMEM;
        f->rcpts = rcpts;
        f->size_rcpts = size;
    }
    struct rcpt *to = rcpt_new(op);
    if (!to)
        return -ENOMEM;
    f->rcpts[f->n_rcpts++] = to;
    return 0;
}

/* ---- other rows ------------------------------------------------------------------------------ */

/* What the broker would have said when it made the row: the row itself has what is left. */
static int64_t whole_time(uint32_t what, const pigeon_op *op)
{
    int64_t delay_ms = 0;

    if (what == PIGEON_SCAN_SESSIONS) {
        uint32_t expiry_s = session_expiry_of_row(op);

        return expiry_s == EXPIRY_NEVER ? -1 : (int64_t)expiry_s * 1000;
    }
    if (op->extra.len >= sizeof(delay_ms))
        memcpy(&delay_ms, op->extra.ptr, sizeof(delay_ms));
    return delay_ms;
}

static int other_row(struct fill *f, uint32_t what, const pigeon_op *op)
{
    pigeon_op put = *op;

    if (what != PIGEON_SCAN_SESSIONS)
        put.client = (pigeon_str){ .ptr = "" };
    if (what == PIGEON_SCAN_SESSIONS || what == PIGEON_SCAN_WILLS)
        put.due_in_ms = whole_time(what, op);
    unit_begin(f, 0);
    store_op_put(f->host->hl, &put);
    if (what == PIGEON_SCAN_SESSIONS && op->due_in_ms >= 0)
        store_session_off(f->host->hl, op->session, op->due_in_ms);
    if (what == PIGEON_SCAN_WILLS && op->due_in_ms >= 0)
        store_will_due(f->host->hl, op->session, op->due_in_ms);
    return unit_end(f, op->msg ? message_of(op->msg)->size : 0);
}

int fill_row(struct fill *f, uint32_t what, const pigeon_op *op)
{
    int r = f->error;

    if (r)
        return r;
    if (what == PIGEON_SCAN_QUEUE) {
        r = queue_row(f, op);
    } else {
        r = end_message(f);
        if (!r)
            r = other_row(f, what, op);
    }
    return note(f, r);
}

/* ---- begin, end ------------------------------------------------------------------------------ */

static int put_mark(struct fill *f)
{
    unit_begin(f, 0);
    store_session_put(f->host->hl, STORE_UNFINISHED_SESSION, STR("unfinished"), -1, STR_NULL);
    unit_end(f, 0);
    return settle(f);
}

static int remove_mark(struct fill *f)
{
    unit_begin(f, STORE_TRIM);
    store_session_del(f->host->hl, STORE_UNFINISHED_SESSION);
    unit_end(f, 0);
    return settle(f);
}

static void remove_session(void *ctx, const pigeon_op *op)
{
    struct fill *f = ctx;

    if (op->session == STORE_UNFINISHED_SESSION)
        return;
    unit_begin(f, STORE_TRIM);
    store_session_del(f->host->hl, op->session);
    unit_end(f, 0);
}

static void remove_retained(void *ctx, const pigeon_op *op)
{
    struct fill *f = ctx;

    unit_begin(f, STORE_TRIM);
    store_retain_del(f->host->hl, str_make(op->key.ptr, op->key.len));
    unit_end(f, 0);
}

/* All but the mark. */
static int empty(struct fill *f)
{
    int r = store_scan_all(f->host->hooks, PIGEON_SCAN_SESSIONS, remove_session, f);

    if (!r)
        r = store_scan_all(f->host->hooks, PIGEON_SCAN_RETAINED, remove_retained, f);
    int e = settle(f);
    return r ? r : e;
}

int fill_is_unfinished(struct store_host *h, bool *r_unfinished)
{
    return store_host_has(h, PIGEON_SCAN_SESSIONS, STORE_UNFINISHED_SESSION, r_unfinished);
}

static int check_empty(struct store_host *h)
{
    bool has = false;
    int r = 0;

    for (size_t i = 0; i < STORE_N_KINDS && !r && !has; i++)
        r = store_host_has(h, store_kinds[i], 0, &has);
    return r ? r : has ? -EEXIST : 0;
}

static struct fill *fill_new(struct store_host *h)
{
    struct fill *f = calloc(1, sizeof(*f));
    struct unit *units = calloc(UNITS_MAX, sizeof(*units));

    if (!f || !units) {
        free(f);
        free(units);
        return NULL;
    }
    f->host = h;
    f->units = units;
    for (; f->n_free < UNITS_MAX; f->n_free++) {
        struct unit *u = &units[f->n_free];

        store_wait_init(&u->wait, on_done);
        u->fill = f;
        u->next = f->free_units;
        f->free_units = u;
    }
    return f;
}

int fill_begin(struct store_host *h, struct fill **r_fill)
{
    struct fill *f = fill_new(h);
    bool unfinished = false;
    int r = f ? fill_is_unfinished(h, &unfinished) : -ENOMEM;

    if (!r)
        r = unfinished ? empty(f) : check_empty(h);
    if (!r)
        r = put_mark(f);
    if (r)
        fill_free(&f);
    else
        *r_fill = f;
    return r;
}

int fill_end(struct fill *f)
{
    if (!f->error)
        note(f, end_message(f));
    int r = settle(f);
    return r ? r : remove_mark(f);
}

int fill_undo(struct fill *f)
{
    drop_message(f);
    settle(f);
    f->error = 0;
    int r = empty(f);
    return r ? r : remove_mark(f);
}

void fill_free(struct fill **p)
{
    struct fill *f = *p;

    *p = NULL;
    if (!f)
        return;
    if (f->n_free < UNITS_MAX)
        settle(f);
    drop_message(f);
    free(f->rcpts);
    free(f->units);
    free(f);
}
