#include "broker/backlog.h"
#include "broker/broker.h"
#include "broker/deliver.h"
#include <assert.h>

#define READ_BELOW 64u   /* messages in memory: below it the next chunk is read */
#define CHUNK      512u  /* rows of one scan */
#define HELD_MAX   1024u /* routed messages held during a scan; more: read again */
#define PAY_AT     64u   /* rows of debt worth a scan of their own */

static void on_row(struct store_scan *scan, const pigeon_op *op);
static void on_done(struct store_scan *scan, int status);

static struct session *session_of(struct store_scan *scan)
{
    return container_of(container_of(scan, struct backlog, scan), struct session, backlog);
}

void backlog_init(struct session *session)
{
    backlog_set_stored(session, 0, 0);
    session->backlog = (struct backlog){ .scan = { .what = PIGEON_SCAN_QUEUE } };
    list_init(&session->backlog.held);
}

void backlog_set_stored(struct session *session, uint64_t n, uint64_t bytes)
{
    struct backlog *b = &session->backlog;
    shard_count(session->shard, N_STORED, (int64_t)(n - b->n_stored));
    shard_count(session->shard, N_STORED_BYTES, (int64_t)(bytes - b->stored_bytes));
    b->n_stored = n;
    b->stored_bytes = bytes;
}

void backlog_add_stored(struct session *session, const struct message *message)
{
    backlog_set_stored(session, session->backlog.n_stored + 1,
                       session->backlog.stored_bytes + message->size);
}

static void take_stored(struct session *session, const struct message *message)
{
    const struct backlog *b = &session->backlog;
    backlog_set_stored(session, b->n_stored ? b->n_stored - 1 : 0,
                       b->stored_bytes > message->size ? b->stored_bytes - message->size : 0);
}

static void drop_held(struct session *session)
{
    struct backlog *b = &session->backlog;
    for (struct list *l; (l = list_pop(&b->held));) {
        struct delivery *d = container_of(l, struct delivery, link);
        backlog_add_stored(session, d->message);
        delivery_free(&d);
    }
    b->n_held = 0;
}

void backlog_cancel(struct session *session)
{
    struct backlog *b = &session->backlog;
    if (b->state == BACKLOG_READING)
        store_scan_cancel(session->shard->hooks, &b->scan);
    drop_held(session);
    backlog_set_stored(session, 0, 0);
    b->state = BACKLOG_NONE;
}

/* ---- routed messages ----------------------------------------------------------------------------
 */

static bool memory_is_full(const struct session *session)
{
    uint64_t max = (uint64_t)session->shard->broker->config->limits.queue_ram;
    return max && session->out.n_queued >= max;
}

static void hold(struct session *session, struct delivery *d)
{
    struct backlog *b = &session->backlog;
    assert(b->state == BACKLOG_READING); /* P3.2 */
    if (b->again || b->n_held >= HELD_MAX) {
        b->again = true;
        drop_held(session);
        backlog_add_stored(session, d->message);
        delivery_free(&d);
        return;
    }
    list_append(&b->held, &d->link);
    b->n_held++;
}

bool backlog_takes(struct session *session, struct delivery *d)
{
    struct backlog *b = &session->backlog;
    if (d->pos <= b->read_upto) { /* it has been read as a row */
        delivery_free(&d);
        return true;
    }
    if (b->state == BACKLOG_NONE) {
        if (!memory_is_full(session)) {
            if (d->pos > b->max_in_memory)
                b->max_in_memory = d->pos;
            return false;
        }
        b->state = BACKLOG_STORED;
    }
    if (b->state == BACKLOG_READING) {
        hold(session, d);
    } else {
        backlog_add_stored(session, d->message);
        delivery_free(&d);
    }
    return true;
}

void backlog_offline(struct session *session, struct message *message, uint64_t pos)
{
    struct backlog *b = &session->backlog;
    if (pos <= b->read_upto)
        return;
    if (b->state == BACKLOG_NONE)
        b->state = BACKLOG_STORED;
    backlog_add_stored(session, message);
    if (b->debt >= PAY_AT)
        backlog_pay(session);
}

void backlog_retract(struct session *session, const struct message *message, uint64_t pos)
{
    const struct backlog *b = &session->backlog;
    if (!session->client && pos > b->read_upto && b->n_stored)
        take_stored(session, message);
}

/* Forgets stored messages of one list; their rows are read again. */
static void forget(struct session *session, struct list *head, uint64_t *lowest)
{
    LIST_FOREACH_SAFE (l, head) {
        struct delivery *d = container_of(l, struct delivery, link);
        if (!d->pos)
            continue;
        if (d->pos < *lowest)
            *lowest = d->pos;
        backlog_add_stored(session, d->message);
        if (head == &session->out.queue) {
            shard_count(session->shard, N_QUEUED, -1);
            shard_count(session->shard, N_QUEUED_BYTES, -(int64_t)d->message->size);
            outgoing_take(&session->out, d);
        } else {
            list_remove(&d->link);
            session->n_behind--;
        }
        delivery_free(&d);
    }
}

void backlog_park(struct session *session)
{
    struct backlog *b = &session->backlog;
    uint64_t lowest = UINT64_MAX;
    if (b->state == BACKLOG_READING) {
        store_scan_cancel(session->shard->hooks, &b->scan);
        b->state = BACKLOG_STORED;
        drop_held(session);
    }
    b->again = false;
    forget(session, &session->out.queue, &lowest);
    forget(session, &session->behind, &lowest);
    if (lowest == UINT64_MAX)
        return;
    if (b->read_upto >= lowest)
        b->read_upto = lowest - 1;
    b->state = BACKLOG_STORED;
}

/* ---- reading ------------------------------------------------------------------------------------
 */

static bool is_listed(const struct list *head, uint64_t pos)
{
    LIST_FOREACH (l, (struct list *)head)
        if (container_of(l, struct delivery, link)->pos == pos)
            return true;
    return false;
}

static bool is_in_memory(const struct session *session, uint64_t pos)
{
    return pos <= session->backlog.max_in_memory &&
           (is_listed(&session->out.inflight, pos) || is_listed(&session->out.queue, pos));
}

/* Not from the first message that is known to be missing: one with a lower number may still be on
 * its way from another loop, and will be dropped as read when it arrives. */
static void scan_from(struct session *session, uint32_t limit)
{
    struct backlog *b = &session->backlog;
    b->scan = (struct store_scan){ .what = PIGEON_SCAN_QUEUE,
                                   .session = session->number,
                                   .after_pos = b->read_upto,
                                   .limit = limit,
                                   .row = on_row,
                                   .done = on_done };
    b->n_rows = 0;
    b->again = false;
    b->state = BACKLOG_READING;
    if (store_scan(session->shard->hooks, &b->scan))
        b->state = BACKLOG_STORED;
}

bool backlog_may_show(const struct session *session, uint64_t pos)
{
    return session->backlog.state == BACKLOG_READING && pos > session->backlog.read_upto;
}

bool backlog_has_ids(const struct session *session)
{
    const struct backlog *b = &session->backlog;
    return b->state != BACKLOG_NONE && b->read_upto < b->ids_upto;
}

void backlog_read(struct session *session)
{
    struct client *c = session->client;
    if (c && session->backlog.state == BACKLOG_STORED &&
        (session->out.n_queued < READ_BELOW || backlog_has_ids(session)) && !session->n_reading &&
        !c->ops->is_congested(c))
        scan_from(session, CHUNK);
}

void backlog_pay(struct session *session)
{
    struct backlog *b = &session->backlog;
    if (!session->client && b->state == BACKLOG_STORED && b->debt)
        scan_from(session, b->debt < CHUNK ? (uint32_t)b->debt : CHUNK);
}

static struct delivery *delivery_from(const struct session *session, const pigeon_op *op)
{
    const pigeon_rcpt *rcpt = op->nrcpts ? op->rcpts : NULL;
    struct message *m = message_ref(message_of(op->msg));
    uint32_t n_ids = rcpt && rcpt->nsub_ids < UINT8_MAX ? rcpt->nsub_ids : 0;
    (void)session;
    struct delivery *d = delivery_new(m, rcpt ? rcpt->qos : m->view.qos,
                                      rcpt ? rcpt->sub_ids : NULL, (uint8_t)n_ids);
    if (!d) {
        message_unref(&m);
        return NULL;
    }
    d->pos = op->pos;
    d->retain = rcpt && rcpt->retain;
    return d;
}

static void on_row(struct store_scan *scan, const pigeon_op *op)
{
    struct session *session = session_of(scan);
    struct backlog *b = &session->backlog;
    assert(b->state == BACKLOG_READING && op->pos > b->read_upto && op->pos <= scan->high);
    b->n_rows++;
    if (b->again) /* an earlier row could not be kept: they come again */
        return;
    b->read_upto = op->pos;
    if (is_in_memory(session, op->pos))
        return;
    take_stored(session, message_of(op->msg));
    if (b->debt && !op->packet_id) {
        b->debt--;
        deliver_dropped(session, message_of(op->msg), op->pos, PIGEON_DROP_QUEUE_FULL);
        return;
    }
    struct delivery *d = delivery_from(session, op);
    if (!d) {
        b->again = true;
        b->read_upto = op->pos - 1;
        return;
    }
    if (op->packet_id) {
        if (op->pos > b->max_in_memory)
            b->max_in_memory = op->pos;
        deliver_restore(session, d, op->packet_id, op->state);
    } else if (deliver_is_allowed(session, d->message)) {
        deliver_append(session, d);
    } else {
        deliver_dropped(session, d->message, d->pos, PIGEON_DROP_DENIED);
        delivery_free(&d);
    }
}

static void on_done(struct store_scan *scan, int status)
{
    struct session *session = session_of(scan);
    struct backlog *b = &session->backlog;
    bool more = status || b->again || b->n_rows == b->scan.limit;
    uint64_t high = b->scan.high;
    b->state = BACKLOG_STORED;
    if (more) {
        drop_held(session);
        b->again = false;
    } else {
        b->state = BACKLOG_NONE;
        b->read_upto = high > b->read_upto ? high : b->read_upto;
        backlog_set_stored(session, 0, 0);
        b->debt = 0;
        for (struct list *l; (l = list_pop(&b->held));) {
            struct delivery *d = container_of(l, struct delivery, link);
            if (!backlog_takes(session, d))
                deliver_append(session, d);
        }
        b->n_held = 0;
        if (!session->n_reading && !list_empty(&session->behind))
            deliver_unbehind(session);
    }
    if (session->client)
        deliver_pump_later(session);
    else if (b->debt >= PAY_AT)
        backlog_pay(session);
}
