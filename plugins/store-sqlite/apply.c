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

/* After db_run: rows that it changed. */
static bool has_changed(const struct db *db)
{
    return sqlite3_changes(db->sql) > 0;
}

/* ---- sessions -------------------------------------------------------------------------------- */

static int32_t session_put(struct db *db, const pigeon_op *op)
{
    sqlite3_stmt *s = db->stmt[S_SESSION_PUT];
    bool is_new = !numbers_find(&db->sessions, op->session);
    int32_t r;

    sqlite3_bind_int64(s, 1, (int64_t)op->session);
    bind_str(s, 2, op->client.ptr ? op->client : (pigeon_str){ .ptr = "" });
    bind_bytes(s, 3, op->extra);
    sqlite3_bind_int64(s, 4, sum_of_session(op->session, op->client, op->extra));
    r = db_run(db, S_SESSION_PUT);
    if (r != PIGEON_OK || !is_new)
        return r;
    if (numbers_put(&db->sessions, op->session))
        return PIGEON_E_NOMEM;
    *numbers_find(&db->sessions, op->session) = QUEUE_EMPTY;
    return PIGEON_OK;
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

static int32_t queue_del(struct db *db, uint64_t session, uint64_t pos);

/* Rows of its own beside messages that others wait for, too. */
static int32_t session_del_more(struct db *db, uint64_t session, uint64_t from)
{
    for (;;) {
        sqlite3_stmt *s = bind2(db, S_SESSION_MORE, session, from);
        int rc = sqlite3_step(s);
        int32_t r = db_status(db, rc);

        from = (uint64_t)sqlite3_column_int64(s, 0);
        sqlite3_reset(s);
        if (r != PIGEON_OK || rc != SQLITE_ROW)
            return r;
        r = queue_del(db, session, from);
        if (r != PIGEON_OK)
            return r;
    }
}

static int32_t session_del(struct db *db, uint64_t session)
{
    static const enum statement all[] = { S_SESSION_DEL, S_SESSION_DEL_SUBS, S_SESSION_DEL_IN,
                                          S_WILL_DEL };
    uint64_t *first = numbers_find(&db->sessions, session), from;
    int32_t r = PIGEON_OK;

    if (!first)
        return PIGEON_OK;
    from = *first;
    numbers_drop(&db->sessions, session);
    for (uint32_t i = 0; i < PIGEON_COUNT(all) && r == PIGEON_OK; i++)
        r = run1(db, all[i], session);
    if (r != PIGEON_OK || from == QUEUE_EMPTY)
        return r;
    r = run2(db, S_SESSION_DEL_QUEUE, session, from);
    if (r == PIGEON_OK)
        r = run2(db, S_SESSION_DEL_INLINE, session, from);
    return r == PIGEON_OK ? session_del_more(db, session, from) : r;
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

static int32_t add_beside(struct db *db, uint64_t pos, const pigeon_rcpt *to, uint32_t *r_added)
{
    sqlite3_stmt *s = db->stmt[S_RCPT_ADD];
    int32_t r;

    sqlite3_bind_int64(s, 1, (int64_t)pos);
    bind_rcpt(s, 2, to);
    r = db_run(db, S_RCPT_ADD);
    *r_added += r == PIGEON_OK && has_changed(db);
    return r;
}

/* The message stands in the queue already: only recipients that it does not have are added. */
static int32_t add_again(struct db *db, const pigeon_op *op)
{
    uint32_t added = 0;
    int32_t r = PIGEON_OK;

    for (uint32_t i = 0; i < op->nrcpts && r == PIGEON_OK; i++) {
        const pigeon_rcpt *to = op_rcpt(op, i);
        bool has = true;

        if (!numbers_find(&db->sessions, to->session))
            continue;
        bind2(db, S_QUEUE_HAS, op->pos, to->session);
        r = db_has(db, S_QUEUE_HAS, &has);
        if (r == PIGEON_OK && !has)
            r = add_beside(db, op->pos, to, &added);
    }
    return r == PIGEON_OK && added ? run2(db, S_QUEUE_MORE, op->pos, added) : r;
}

/* Recipients that exist, the first of them, and those beside it. */
static void count_there(struct db *db, const pigeon_op *op, uint32_t *r_n, uint32_t *r_first,
                        uint32_t *r_gone)
{
    *r_n = 0;
    for (uint32_t i = 0; i < op->nrcpts; i++) {
        uint64_t *first = numbers_find(&db->sessions, op_rcpt(op, i)->session);

        if (!first) {
            ++*r_gone;
            continue;
        }
        numbers_note_first(first, op->pos);
        if ((*r_n)++ == 0)
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
    sqlite3_bind_int64(s, 7, 0);
    bind_msg(s, 8, op->msg);
    r = db_run(db, S_QUEUE_ADD);
    if (r != PIGEON_OK)
        return r;
    if (!has_changed(db))
        return add_again(db, op);
    if (n == 1)
        return PIGEON_OK;
    for (uint32_t i = first + 1; i < op->nrcpts && r == PIGEON_OK; i++) {
        const pigeon_rcpt *to = op_rcpt(op, i);

        if (to->session != op_rcpt(op, first)->session && numbers_find(&db->sessions, to->session))
            r = add_beside(db, op->pos, to, &added);
    }
    return r == PIGEON_OK && added ? run2(db, S_QUEUE_MORE, op->pos, added) : r;
}

static int32_t queue_upd(struct db *db, const pigeon_op *op)
{
    static const enum statement both[] = { S_QUEUE_UPD, S_RCPT_UPD };
    int32_t r = PIGEON_OK;

    for (uint32_t i = 0; i < 2 && r == PIGEON_OK; i++) {
        sqlite3_stmt *s = bind2(db, both[i], op->pos, op->session);

        sqlite3_bind_int(s, 3, op->packet_id);
        sqlite3_bind_int(s, 4, op->state);
        r = db_run(db, both[i]);
        if (r == PIGEON_OK && has_changed(db))
            break;
    }
    return r;
}

static int32_t queue_del(struct db *db, uint64_t session, uint64_t pos)
{
    int32_t r = run2(db, S_QUEUE_DEL, pos, session);

    if (r != PIGEON_OK || has_changed(db))
        return r;
    r = run2(db, S_QUEUE_INLINE_DEL, pos, session);
    if (r != PIGEON_OK || has_changed(db))
        return r;
    r = run2(db, S_RCPT_DEL, pos, session);
    if (r != PIGEON_OK || !has_changed(db))
        return r;
    r = run2(db, S_QUEUE_MORE, pos, UINT64_MAX); /* one less */
    return r == PIGEON_OK ? run1(db, S_QUEUE_END, pos) : r;
}

static int32_t queue_has(struct db *db, uint64_t session, uint64_t pos, bool *r_has)
{
    int32_t r;

    bind2(db, S_QUEUE_HAS, pos, session);
    r = db_has(db, S_QUEUE_HAS, r_has);
    if (r != PIGEON_OK || *r_has)
        return r;
    bind2(db, S_RCPT_HAS, pos, session);
    return db_has(db, S_RCPT_HAS, r_has);
}

/* To a member that has the message already, or is gone, it only ends. */
static int32_t queue_move(struct db *db, const pigeon_op *op, uint32_t *r_gone)
{
    const pigeon_rcpt *to = op_rcpt(op, 0);
    uint64_t *first = numbers_find(&db->sessions, to->session);
    uint32_t added = 0;
    bool has = false;
    int32_t r = queue_has(db, op->session, op->pos, &has);

    if (r != PIGEON_OK || !has)
        return r;
    *r_gone += !first;
    if (first)
        r = queue_has(db, to->session, op->pos, &has);
    if (r != PIGEON_OK || !first || has)
        return r == PIGEON_OK ? queue_del(db, op->session, op->pos) : r;
    numbers_note_first(first, op->pos);
    sqlite3_stmt *s = bind2(db, S_QUEUE_MOVE, op->pos, op->session);
    bind_rcpt(s, 3, to);
    r = db_run(db, S_QUEUE_MOVE);
    if (r != PIGEON_OK || has_changed(db))
        return r;
    r = run2(db, S_RCPT_DEL, op->pos, op->session);
    return r == PIGEON_OK ? add_beside(db, op->pos, to, &added) : r;
}

/* ---- the rest -------------------------------------------------------------------------------- */

static int32_t sub_put(struct db *db, const pigeon_op *op)
{
    sqlite3_stmt *s = db->stmt[S_SUB_PUT];

    if (!numbers_find(&db->sessions, op->session))
        return PIGEON_OK;
    sqlite3_bind_int64(s, 1, (int64_t)op->session);
    bind_sub(s, 2, op->key, op->sub);
    return db_run(db, S_SUB_PUT);
}

static int32_t will_put(struct db *db, const pigeon_op *op)
{
    sqlite3_stmt *s = db->stmt[S_WILL_PUT];

    if (!numbers_find(&db->sessions, op->session))
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
    if (!numbers_find(&db->sessions, op->session))
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
    case PIGEON_OP_QUEUE_MOVE: return queue_has(db, op->session, op->pos, r_has);
    case PIGEON_OP_IN_DEL:
        bind2(db, S_IN_HAS, op->session, op->packet_id);
        return db_has(db, S_IN_HAS, r_has);
    case PIGEON_OP_WILL_DUE:
    case PIGEON_OP_WILL_TAKE:
    case PIGEON_OP_WILL_DEL:
        sqlite3_bind_int64(db->stmt[S_WILL_HAS], 1, (int64_t)op->session);
        return db_has(db, S_WILL_HAS, r_has);
    case PIGEON_OP_SESSION_DEL:
    case PIGEON_OP_SESSION_OFF: *r_has = numbers_find(&db->sessions, op->session); return PIGEON_OK;
    default: return PIGEON_OK;
    }
}
