#include "broker/restore.h"
#include "broker/backlog.h"
#include "broker/deliver.h"
#include "broker/session.h"
#include "broker/will.h"
#include <errno.h>
#include <stdlib.h>

struct restore {
    struct broker *broker;
    struct map by_number; /* struct known */
    uint64_t last_session, last_pos;
    int error;
};

/* A session of the store, by its number as bytes. */
struct known {
    uint64_t number;
    struct session *session;
    int64_t due_in_ms; /* what is left of its expiry, -1: never, or online at the end */
    int64_t will_due_in_ms;
};

static struct known *known(struct restore *r, uint64_t number)
{
    return map_get(&r->by_number, str_make(&number, sizeof(number)));
}

/* NULL: unknown, or replaced by a later life. */
static struct known *known_live(struct restore *r, uint64_t number)
{
    struct known *k = known(r, number);
    if (!k && number > r->last_session && number < INT64_MAX)
        r->last_session = number; /* rows of a lost session: nobody new inherits them */
    return k && k->session ? k : NULL;
}

/* The loops do not run yet: the deletion leaves with the first turn of loop 0. */
static void forget_row(struct restore *r, uint64_t number)
{
    struct hook_loop *hl = r->broker->shards[0].hooks;
    struct known *old = known(r, number);
    log_warn(r->broker->log, "stale_session_dropped", LU("number", number));
    if (old)
        old->session = NULL;
    store_unit_begin(hl, PIGEON_DURABILITY_OS, STORE_AGAIN | STORE_TRIM);
    store_session_del(hl, number);
    store_unit_end(hl, NULL);
}

static void on_session(void *ctx, const pigeon_op *op)
{
    struct restore *r = ctx;
    struct broker *b = r->broker;
    struct str id = str_make(op->client.ptr, op->client.len);
    struct shard *s = &b->shards[broker_home(b, id)];
    if (op->session == STORE_UNFINISHED_SESSION) {
        log_error(b->log, "store_unfinished",
                  LZ("reason", "a load into this store has not come to its end"),
                  LZ("help", "repeat 'pigeond store load' or 'store convert', which begins anew"));
        r->error = -EIO;
        return;
    }
    struct known *k = calloc(1, sizeof(*k));
    struct session *session = session_find(s, id);
    if (session && session->number > op->session) { /* an earlier life that was not deleted */
        forget_row(r, op->session);
        free(k);
        return;
    }
    if (session)
        forget_row(r, session->number);
    else if (k)
        session = session_new(s, id);
    if (!k || !session) {
        free(k);
        r->error = -ENOMEM;
        return;
    }
    session->number = op->session;
    session->exists = session->stored = true;
    session_set_expiry(session, session_expiry_of_row(op));
    session->stored_expiry_s = session->expiry_s;
    *k = (struct known){
        .number = op->session, .session = session, .due_in_ms = op->due_in_ms, .will_due_in_ms = -1
    };
    if (op->session > r->last_session)
        r->last_session = op->session;
    if (map_put(&r->by_number, str_make(&k->number, sizeof(k->number)), k)) {
        free(k);
        r->error = -ENOMEM;
    }
}

static void on_sub(void *ctx, const pigeon_op *op)
{
    struct restore *r = ctx;
    struct known *k = known_live(r, op->session);
    const pigeon_sub *v = op->sub;
    if (!k || !v)
        return;
    uint64_t opts = (v->qos & SUB_QOS_MASK) | (v->no_local ? SUB_NO_LOCAL : 0) |
                    (v->retain_as_published ? SUB_RETAIN_AS_PUBLISHED : 0) |
                    (uint64_t)v->id << SUB_ID_SHIFT;
    struct str key = str_make(op->key.ptr, op->key.len),
               filter = str_make(v->filter.ptr, v->filter.len);
    if (v->share.len && v->share.len + strlen("$share/") > key.len)
        return; /* no key of ours */
    struct str share =
        v->share.len ? str_make(key.ptr + strlen("$share/"), v->share.len) : STR_NULL;
    struct str effective = v->effective.len ? str_make(v->effective.ptr, v->effective.len) : filter;
    struct sub *sub = sub_new(key, share, filter, effective, opts);
    if (!sub || session_subscribe(k->session, sub, 0) < 0)
        r->error = -ENOMEM;
}

static void on_retained(void *ctx, const pigeon_op *op)
{
    struct restore *r = ctx;
    struct retained_limits none = { 0 };
    uint64_t version;
    struct message *m = message_of(op->msg);
    if (r->broker->n_loops > 1)
        message_share(m);
    if (retained_put(r->broker->retained, 0, m, &none, &version))
        r->error = -ENOMEM;
}

static void on_queue(void *ctx, const pigeon_op *op)
{
    struct restore *r = ctx;
    struct known *k = known_live(r, op->session);
    if (op->pos > r->last_pos)
        r->last_pos = op->pos;
    if (!k)
        return;
    struct backlog *b = &k->session->backlog;
    b->state = BACKLOG_STORED; /* read from the beginning when its client comes back */
    backlog_add_stored(k->session, message_of(op->msg));
    if (op->packet_id)
        b->ids_upto = op->pos;
}

/* In the place of all rows of a queue. */
static void on_sum(void *ctx, const pigeon_op *op)
{
    struct restore *r = ctx;
    struct known *k = known_live(r, op->session);
    pigeon_queue_sum sum = { 0 };
    if (op->pos > r->last_pos)
        r->last_pos = op->pos;
    memcpy(&sum, op->extra.ptr, op->extra.len < sizeof(sum) ? op->extra.len : sizeof(sum));
    if (!k || !sum.rows)
        return;
    struct backlog *b = &k->session->backlog;
    b->state = BACKLOG_STORED; /* read from the beginning when its client comes back */
    backlog_set_stored(k->session, sum.rows, sum.bytes + sum.rows * MESSAGE_OVERHEAD);
    b->ids_upto = sum.last_id_pos;
}

/* A store may have no quick way to say what waits for whom. */
static int restore_queues(struct restore *r)
{
    int e = store_scan_all(r->broker->hooks, PIGEON_SCAN_SUMS, on_sum, r);
    return e == -ENOTSUP ? store_scan_all(r->broker->hooks, PIGEON_SCAN_QUEUE, on_queue, r) : e;
}

static void on_in(void *ctx, const pigeon_op *op)
{
    struct restore *r = ctx;
    struct known *k = known_live(r, op->session);
    if (k && incoming_put(&k->session->in, op->packet_id, INCOMING_RECEIVED, true))
        r->error = -ENOMEM;
}

static void on_will(void *ctx, const pigeon_op *op)
{
    struct restore *r = ctx;
    struct known *k = known_live(r, op->session);
    if (!k || !op->msg)
        return;
    int64_t delay_ms = 0;
    if (op->extra.len == sizeof(delay_ms))
        memcpy(&delay_ms, op->extra.ptr, sizeof(delay_ms));
    if (will_set(k->session, message_ref(message_of(op->msg)), (uint32_t)(delay_ms / 1000), NULL))
        r->error = -ENOMEM;
    /* Online at the end: the delay begins now. */
    k->will_due_in_ms = op->due_in_ms >= 0 ? op->due_in_ms : delay_ms;
}

/* After a crash nobody is online: delays and expiries that had not begun begin now; clients get
 * some time to come back before their wills are sent [S5]. */
static void settle(struct restore *r)
{
    uint64_t grace = (uint64_t)r->broker->config->restart_grace_ms;
    uint32_t it = 0;
    for (struct known *k; (k = map_next(&r->by_number, &it));) {
        struct session *session = k->session;
        if (!session)
            continue;
        if (session->will) {
            uint64_t due = k->will_due_in_ms > 0 ? (uint64_t)k->will_due_in_ms : 0;
            will_restored(session, due > grace ? due : grace);
        }
        /* Online at the end: the whole interval begins now. */
        uint64_t expiry =
            k->due_in_ms >= 0 ? (uint64_t)k->due_in_ms : (uint64_t)session->expiry_s * 1000;
        if (session->expiry_s == 0 && expiry < grace)
            expiry = grace; /* only there for its will */
        session_start_expiry(session, expiry);
    }
}

static void forget(struct restore *r)
{
    uint32_t it = 0;
    for (struct known *k; (k = map_next(&r->by_number, &it));)
        free(k);
    map_fini(&r->by_number);
}

int broker_restore(struct broker *b)
{
    static const struct {
        uint32_t what;
        void (*row)(void *ctx, const pigeon_op *op);
    } kinds[] = {
        { PIGEON_SCAN_SESSIONS, on_session },  { PIGEON_SCAN_SUBS, on_sub },
        { PIGEON_SCAN_RETAINED, on_retained }, { PIGEON_SCAN_IN, on_in },
        { PIGEON_SCAN_WILLS, on_will },
    };
    struct restore r = { .broker = b };
    map_init(&r.by_number, &b->hash_key);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && !r.error; i++) {
        int e = store_scan_all(b->hooks, kinds[i].what, kinds[i].row, &r);
        if (e)
            r.error = e;
    }
    if (!r.error)
        r.error = restore_queues(&r);
    if (!r.error) {
        if (r.last_session >= atomic_load(&b->next_session))
            atomic_store(&b->next_session, r.last_session + 1);
        store_set_last_pos(b->hooks, r.last_pos);
        settle(&r);
    }
    if (map_count(&r.by_number))
        log_info(b->log, "restored", LU("sessions", map_count(&r.by_number)),
                 LU("subscriptions", index_count(b->index)),
                 LU("retained", retained_count(b->retained)));
    forget(&r);
    return r.error;
}
