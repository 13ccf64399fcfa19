#include "db.h"
#include "batch.h"
#include <stdlib.h>

static sqlite3_stmt *bind2(struct db *db, enum statement s, uint64_t a, uint64_t b)
{
    sqlite3_bind_int64(db->stmt[s], 1, (int64_t)a);
    sqlite3_bind_int64(db->stmt[s], 2, (int64_t)b);
    return db->stmt[s];
}

static int32_t run1(struct db *db, enum statement s, uint64_t a)
{
    sqlite3_bind_int64(db->stmt[s], 1, (int64_t)a);
    return db_run(db, s);
}

static int32_t run2(struct db *db, enum statement s, uint64_t a, uint64_t b)
{
    bind2(db, s, a, b);
    return db_run(db, s);
}

static int32_t run3(struct db *db, enum statement s, uint64_t a, uint64_t b, uint64_t c)
{
    sqlite3_bind_int64(bind2(db, s, a, b), 3, (int64_t)c);
    return db_run(db, s);
}

static int32_t noted(int r)
{
    return r ? PIGEON_E_NOMEM : PIGEON_OK;
}

/* After db_run: rows that it changed. */
static bool has_changed(const struct db *db)
{
    return sqlite3_changes(db->sql) > 0;
}

/* ---- sessions -------------------------------------------------------------------------------- */

static int32_t session_put(struct db *db, const pigeon_op *op)
{
    sqlite3_stmt *s = db->stmt[S_SESSION_PUT];
    int32_t r;

    sqlite3_bind_int64(s, 1, (int64_t)op->session);
    bind_str(s, 2, op->client.ptr ? op->client : (pigeon_str){ .ptr = "" });
    bind_bytes(s, 3, op->extra);
    sqlite3_bind_int64(s, 4, sum_of_session(op->session, op->client, op->extra));
    r = db_run(db, S_SESSION_PUT);
    return r == PIGEON_OK ? noted(ledger_add_session(&db->ledger, op->session)) : r;
}

static int32_t due(struct db *db, enum statement st, const pigeon_op *op)
{
    sqlite3_stmt *s = db->stmt[st];

    sqlite3_bind_int64(s, 1, (int64_t)op->session);
    if (op->due_in_ms < 0)
        sqlite3_bind_null(s, 2);
    else
        sqlite3_bind_int64(s, 2, place_now_ms() + op->due_in_ms);
    return db_run(db, st);
}

static int32_t row_del(struct db *db, uint64_t session, uint64_t pos);

/* All of a session's rows from one number up to another, between which there are no others of it.
 */
static int32_t run_del(struct db *db, uint64_t session, uint64_t from, uint64_t upto)
{
    int32_t r = PIGEON_OK;

    if (from == upto)
        return row_del(db, session, from);
    for (uint64_t pos = from; db->ledger.bodies.n && pos <= upto && r == PIGEON_OK; pos++)
        if (ledger_waiting(&db->ledger, pos))
            r = row_del(db, session, pos);
    return r == PIGEON_OK ? run3(db, S_RUN_DEL, session, from, upto) : r;
}

static int32_t session_del(struct db *db, uint64_t session)
{
    static const enum statement all[] = { S_SESSION_DEL, S_SESSION_DEL_SUBS, S_SESSION_DEL_IN,
                                          S_WILL_DEL };
    const struct queue *q = ledger_find(&db->ledger, session);
    uint64_t from, upto = 0;
    int32_t r = PIGEON_OK;

    if (!q)
        return PIGEON_OK;
    for (uint32_t i = 0; i < PIGEON_COUNT(all) && r == PIGEON_OK; i++)
        r = run1(db, all[i], session);
    while (r == PIGEON_OK && ledger_next(q, upto, &from, &upto))
        r = run_del(db, session, from, upto);
    return r == PIGEON_OK ? noted(ledger_drop_session(&db->ledger, session)) : r;
}

/* ---- the queue ------------------------------------------------------------------------------- */

static void bind_rcpt(sqlite3_stmt *s, int at, const pigeon_rcpt *to)
{
    pigeon_bytes ids = { .ptr = (const uint8_t *)to->sub_ids,
                         .len = to->nsub_ids * (uint32_t)sizeof(uint32_t) };

    sqlite3_bind_int64(s, at, (int64_t)to->session);
    sqlite3_bind_int(s, at + 1, to->qos);
    sqlite3_bind_int(s, at + 2, to->retain);
    if (to->share.len)
        bind_str(s, at + 3, to->share);
    else
        sqlite3_bind_null(s, at + 3);
    bind_bytes(s, at + 4, ids);
}

/* To a recipient that exists and does not have it. */
static int32_t add_beside(struct db *db, uint64_t pos, const pigeon_rcpt *to, uint32_t *r_added)
{
    sqlite3_stmt *s = db->stmt[S_RCPT_ADD];
    struct queue *q = ledger_find(&db->ledger, to->session);
    int32_t r;

    if (!q || ledger_has(q, pos))
        return PIGEON_OK;
    sqlite3_bind_int64(s, 1, (int64_t)pos);
    bind_rcpt(s, 2, to);
    r = db_run(db, S_RCPT_ADD);
    *r_added += r == PIGEON_OK;
    return r == PIGEON_OK ? noted(ledger_add(&db->ledger, q, pos)) : r;
}

/* `added` recipients more wait beside those who did. */
static int32_t wait_more(struct db *db, uint64_t pos, uint32_t added)
{
    uint64_t waiting = ledger_waiting(&db->ledger, pos);

    if (!added)
        return PIGEON_OK;
    return noted(ledger_set_waiting(&db->ledger, pos, (waiting ? waiting : 1) + added));
}

/* The message stands in the queue already: only recipients that it does not have are added. */
static int32_t add_again(struct db *db, const pigeon_op *op)
{
    uint32_t added = 0;
    int32_t r = PIGEON_OK;

    for (uint32_t i = 0; i < op->nrcpts && r == PIGEON_OK; i++)
        r = add_beside(db, op->pos, op_rcpt(op, i), &added);
    if (r == PIGEON_OK && added)
        r = run2(db, S_QUEUE_MORE, op->pos, added);
    return r == PIGEON_OK ? wait_more(db, op->pos, added) : r;
}

/* Recipients that exist, the first of them, and those beside it. */
static void count_there(struct db *db, const pigeon_op *op, uint32_t *r_n, uint32_t *r_first,
                        uint32_t *r_gone)
{
    *r_n = 0;
    for (uint32_t i = 0; i < op->nrcpts; i++) {
        if (!ledger_find(&db->ledger, op_rcpt(op, i)->session))
            ++*r_gone;
        else if ((*r_n)++ == 0)
            *r_first = i;
    }
}

static int32_t queue_add(struct db *db, const pigeon_op *op, uint32_t *r_gone)
{
    sqlite3_stmt *s = db->stmt[S_QUEUE_ADD];
    uint32_t n, first = 0, added = 0;
    int32_t r;

    count_there(db, op, &n, &first, r_gone);
    if (!n)
        return PIGEON_OK;
    sqlite3_bind_int64(s, 1, (int64_t)op->pos);
    bind_rcpt(s, 2, op_rcpt(op, first));
    sqlite3_bind_int64(s, 7, n - 1);
    bind_msg(s, 8, op->msg);
    r = db_run(db, S_QUEUE_ADD);
    if (r != PIGEON_OK)
        return r;
    if (!has_changed(db))
        return add_again(db, op);
    r = noted(
        ledger_add(&db->ledger, ledger_find(&db->ledger, op_rcpt(op, first)->session), op->pos));
    for (uint32_t i = first + 1; n > 1 && i < op->nrcpts && r == PIGEON_OK; i++)
        r = add_beside(db, op->pos, op_rcpt(op, i), &added);
    return r == PIGEON_OK ? wait_more(db, op->pos, added) : r;
}

static int32_t queue_upd(struct db *db, const pigeon_op *op)
{
    static const enum statement both[] = { S_QUEUE_UPD, S_RCPT_UPD, S_QUEUE_UPD };
    uint32_t first = ledger_waiting(&db->ledger, op->pos) ? 1 : 0;
    int32_t r = PIGEON_OK;

    if (!ledger_find_with(&db->ledger, op->session, op->pos))
        return PIGEON_OK;
    for (uint32_t i = first; i < first + 2 && r == PIGEON_OK; i++) {
        sqlite3_stmt *s = bind2(db, both[i], op->pos, op->session);

        sqlite3_bind_int(s, 3, op->packet_id);
        sqlite3_bind_int(s, 4, op->state);
        r = db_run(db, both[i]);
        if (r == PIGEON_OK && has_changed(db))
            break;
    }
    return r;
}

/* The message goes with the last one who waits for it. */
static int32_t row_del(struct db *db, uint64_t session, uint64_t pos)
{
    uint64_t waiting = ledger_waiting(&db->ledger, pos);
    int32_t r;

    if (!waiting)
        return run2(db, S_QUEUE_DEL, pos, session);
    r = run2(db, S_RCPT_DEL, pos, session);
    if (r == PIGEON_OK && !has_changed(db))
        r = run2(db, S_QUEUE_INLINE_DEL, pos, session);
    if (r == PIGEON_OK && waiting == 1)
        r = run1(db, S_QUEUE_END, pos);
    return r == PIGEON_OK ? noted(ledger_set_waiting(&db->ledger, pos, waiting - 1)) : r;
}

static int32_t queue_del(struct db *db, uint64_t session, uint64_t pos)
{
    struct queue *q = ledger_find_with(&db->ledger, session, pos);
    int32_t r;

    if (!q)
        return PIGEON_OK;
    r = row_del(db, session, pos);
    return r == PIGEON_OK ? noted(ledger_del(&db->ledger, q, pos)) : r;
}

/* To a member that has the message already, or is gone, it only ends. */
static int32_t queue_move(struct db *db, const pigeon_op *op, uint32_t *r_gone)
{
    const pigeon_rcpt *to = op_rcpt(op, 0);
    struct queue *from = ledger_find_with(&db->ledger, op->session, op->pos);
    struct queue *q = ledger_find(&db->ledger, to->session);
    uint32_t added = 0;
    int32_t r;

    if (!from)
        return PIGEON_OK;
    *r_gone += !q;
    if (!q || ledger_has(q, op->pos))
        return queue_del(db, op->session, op->pos);
    sqlite3_stmt *s = bind2(db, S_QUEUE_MOVE, op->pos, op->session);
    bind_rcpt(s, 3, to);
    r = db_run(db, S_QUEUE_MOVE);
    if (r == PIGEON_OK && has_changed(db)) {
        r = noted(ledger_add(&db->ledger, q, op->pos));
    } else if (r == PIGEON_OK) {
        r = run2(db, S_RCPT_DEL, op->pos, op->session);
        r = r == PIGEON_OK ? add_beside(db, op->pos, to, &added) : r;
    }
    return r == PIGEON_OK ? noted(ledger_del(&db->ledger, from, op->pos)) : r;
}

/* ---- the rest -------------------------------------------------------------------------------- */

static int32_t sub_put(struct db *db, const pigeon_op *op)
{
    sqlite3_stmt *s = db->stmt[S_SUB_PUT];

    if (!ledger_find(&db->ledger, op->session))
        return PIGEON_OK;
    sqlite3_bind_int64(s, 1, (int64_t)op->session);
    bind_sub(s, 2, op->key, op->sub);
    return db_run(db, S_SUB_PUT);
}

static int32_t will_put(struct db *db, const pigeon_op *op)
{
    sqlite3_stmt *s = db->stmt[S_WILL_PUT];

    if (!ledger_find(&db->ledger, op->session))
        return PIGEON_OK;
    sqlite3_bind_int64(s, 1, (int64_t)op->session);
    bind_bytes(s, 2, op->extra);
    bind_msg(s, 3, op->msg);
    return db_run(db, S_WILL_PUT);
}

static int32_t by_key(struct db *db, enum statement st, const pigeon_op *op, bool *r_has)
{
    sqlite3_stmt *s = db->stmt[st];
    bool is_sub = st == S_SUB_DEL || st == S_SUB_HAS;

    if (is_sub)
        sqlite3_bind_int64(s, 1, (int64_t)op->session);
    bind_str(s, is_sub ? 2 : 1, op->key);
    return r_has ? db_has(db, st, r_has) : db_run(db, st);
}

static int32_t in_add(struct db *db, const pigeon_op *op)
{
    if (!ledger_find(&db->ledger, op->session))
        return PIGEON_OK;
    return run2(db, S_IN_ADD, op->session, op->packet_id);
}

int32_t db_apply(void *self, const pigeon_op *op, uint32_t *r_gone)
{
    struct db *db = self;
    sqlite3_stmt *s;

    switch (op->kind) {
    case PIGEON_OP_SESSION_PUT: return session_put(db, op);
    case PIGEON_OP_SESSION_DEL: return session_del(db, op->session);
    case PIGEON_OP_SESSION_OFF: return due(db, S_SESSION_OFF, op);
    case PIGEON_OP_SUB_PUT: return sub_put(db, op);
    case PIGEON_OP_SUB_DEL: return by_key(db, S_SUB_DEL, op, NULL);
    case PIGEON_OP_RETAIN_PUT:
        s = db->stmt[S_RETAIN_PUT];
        bind_msg(s, 1, op->msg);
        return db_run(db, S_RETAIN_PUT);
    case PIGEON_OP_RETAIN_DEL: return by_key(db, S_RETAIN_DEL, op, NULL);
    case PIGEON_OP_QUEUE_ADD: return queue_add(db, op, r_gone);
    case PIGEON_OP_QUEUE_UPD: return queue_upd(db, op);
    case PIGEON_OP_QUEUE_DEL: return queue_del(db, op->session, op->pos);
    case PIGEON_OP_QUEUE_MOVE: return queue_move(db, op, r_gone);
    case PIGEON_OP_IN_ADD: return in_add(db, op);
    case PIGEON_OP_IN_DEL: return run2(db, S_IN_DEL, op->session, op->packet_id);
    case PIGEON_OP_WILL_PUT: return will_put(db, op);
    case PIGEON_OP_WILL_DUE: return due(db, S_WILL_DUE, op);
    case PIGEON_OP_WILL_TAKE:
    case PIGEON_OP_WILL_DEL: return run1(db, S_WILL_DEL, op->session);
    default: return PIGEON_E_NOTSUP;
    }
}

int32_t db_has_target(void *self, const pigeon_op *op, bool *r_has)
{
    struct db *db = self;

    *r_has = true;
    switch (op->kind) {
    case PIGEON_OP_SUB_DEL: return by_key(db, S_SUB_HAS, op, r_has);
    case PIGEON_OP_RETAIN_DEL: return by_key(db, S_RETAIN_HAS, op, r_has);
    case PIGEON_OP_QUEUE_UPD:
    case PIGEON_OP_QUEUE_DEL:
    case PIGEON_OP_QUEUE_MOVE:
        *r_has = ledger_find_with(&db->ledger, op->session, op->pos);
        return PIGEON_OK;
    case PIGEON_OP_IN_DEL:
        bind2(db, S_IN_HAS, op->session, op->packet_id);
        return db_has(db, S_IN_HAS, r_has);
    case PIGEON_OP_WILL_DUE:
    case PIGEON_OP_WILL_TAKE:
    case PIGEON_OP_WILL_DEL:
        sqlite3_bind_int64(db->stmt[S_WILL_HAS], 1, (int64_t)op->session);
        return db_has(db, S_WILL_HAS, r_has);
    case PIGEON_OP_SESSION_DEL:
    case PIGEON_OP_SESSION_OFF: *r_has = ledger_find(&db->ledger, op->session); return PIGEON_OK;
    default: return PIGEON_OK;
    }
}
