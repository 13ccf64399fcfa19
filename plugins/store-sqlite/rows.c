#include "db.h"
#include <inttypes.h>
#include <stdlib.h>

struct reading {
    struct db *db;
    struct journal_cursor *c;
    struct journal_row *room;
    journal_row_fn row;
    void *arg;
};

static int64_t left_ms(sqlite3_stmt *s, int at)
{
    return sqlite3_column_type(s, at) == SQLITE_NULL ? -1
                                                     : place_left_ms(sqlite3_column_int64(s, at));
}

/* A row whose checksum is wrong ends the scan, and with it the start, unless damaged rows are to be
 * left out. */
static int32_t damaged(struct db *db, const char *table, uint64_t key)
{
    snprintf(db->place->error, sizeof(db->place->error),
             "%s: damaged: row %" PRIu64 " of %s; the option `salvage` leaves damaged rows out",
             db->place->path, key, table);
    if (!db->salvage)
        return PIGEON_E_IO;
    place_warn(db->place, db->place->error);
    return PIGEON_OK;
}

static pigeon_op *op_begin(struct journal_row *room, uint16_t kind, uint64_t session,
                           pigeon_str client)
{
    room->op =
        (pigeon_op){ .size = sizeof(room->op), .kind = kind, .session = session, .client = client };
    return &room->op;
}

/* ---- one row each: PIGEON_OK to go on, PIGEON_PENDING, an error ---------------------------------
 */

static int32_t give(const struct reading *r)
{
    return r->row(r->arg, &r->room->op) ? PIGEON_OK : PIGEON_PENDING;
}

static int32_t session_row(const struct reading *r, sqlite3_stmt *s)
{
    uint64_t session = (uint64_t)sqlite3_column_int64(s, 0);
    pigeon_op *op = op_begin(r->room, PIGEON_OP_SESSION_PUT, session, column_str(s, 1));

    r->c->at = session;
    op->due_in_ms = left_ms(s, 2);
    op->extra = column_bytes(s, 3);
    if (sqlite3_column_int64(s, 4) != sum_of_session(session, op->client, op->extra))
        return damaged(r->db, "sessions", session);
    return give(r);
}

static int32_t keep_key(struct journal_cursor *c, pigeon_str key)
{
    char *copy = realloc(c->key, (size_t)key.len + 1);

    if (!copy)
        return PIGEON_E_NOMEM;
    memcpy(copy, key.ptr ? key.ptr : "", key.len);
    copy[key.len] = '\0';
    c->key = copy;
    c->key_len = key.len;
    return PIGEON_OK;
}

static int32_t sub_row(const struct reading *r, sqlite3_stmt *s)
{
    uint64_t session = (uint64_t)sqlite3_column_int64(s, 0);
    pigeon_op *op = op_begin(r->room, PIGEON_OP_SUB_PUT, session, column_str(s, 1));
    bool is_whole = column_sub(s, 2, &op->key, &r->room->sub);

    r->c->at = session;
    if (keep_key(r->c, op->key) != PIGEON_OK)
        return PIGEON_E_NOMEM;
    op->sub = &r->room->sub;
    return is_whole ? give(r) : damaged(r->db, "subscriptions", session);
}

static int32_t retained_row(const struct reading *r, sqlite3_stmt *s)
{
    pigeon_op *op = op_begin(r->room, PIGEON_OP_RETAIN_PUT, 0, (pigeon_str){ 0 });
    bool is_whole = column_msg(s, 1, &r->room->msg);

    r->c->at = (uint64_t)sqlite3_column_int64(s, 0);
    op->msg = &r->room->msg;
    op->key = r->room->msg.topic;
    return is_whole ? give(r) : damaged(r->db, "retained", r->c->at);
}

static int32_t in_row(const struct reading *r, sqlite3_stmt *s)
{
    r->c->at = (uint64_t)sqlite3_column_int64(s, 0);
    r->c->at2 = (uint64_t)sqlite3_column_int64(s, 1);
    op_begin(r->room, PIGEON_OP_IN_ADD, r->c->at, column_str(s, 2))->packet_id =
        (uint16_t)r->c->at2;
    return give(r);
}

static int32_t will_row(const struct reading *r, sqlite3_stmt *s)
{
    uint64_t session = (uint64_t)sqlite3_column_int64(s, 0);
    pigeon_op *op = op_begin(r->room, PIGEON_OP_WILL_PUT, session, column_str(s, 1));
    bool is_whole = column_msg(s, 4, &r->room->msg);

    r->c->at = session;
    op->due_in_ms = left_ms(s, 2);
    op->extra = column_bytes(s, 3);
    op->msg = &r->room->msg;
    return is_whole ? give(r) : damaged(r->db, "wills", session);
}

/* at: first column of the recipient: session, qos, retain, packet_id, state, share, ids. */
static int32_t queue_row(const struct reading *r, sqlite3_stmt *s, int at, uint64_t pos)
{
    struct journal_row *room = r->room;
    pigeon_bytes ids = column_bytes(s, at + 6);
    pigeon_op *op = &room->op;

    *op = (pigeon_op){ .size = sizeof(*op),
                       .kind = PIGEON_OP_QUEUE_ADD,
                       .session = (uint64_t)sqlite3_column_int64(s, at),
                       .pos = pos,
                       .packet_id = (uint16_t)sqlite3_column_int(s, at + 3),
                       .state = (uint8_t)sqlite3_column_int(s, at + 4),
                       .nrcpts = 1,
                       .rcpt_stride = sizeof(room->rcpt) };
    room->rcpt = (pigeon_rcpt){ .size = sizeof(room->rcpt),
                                .session = op->session,
                                .qos = (uint8_t)sqlite3_column_int(s, at + 1),
                                .retain = (uint8_t)sqlite3_column_int(s, at + 2),
                                .share = column_str(s, at + 5) };
    room->rcpt.nsub_ids = ids.len / sizeof(uint32_t);
    if (room->rcpt.nsub_ids > PIGEON_COUNT(room->ids))
        room->rcpt.nsub_ids = PIGEON_COUNT(room->ids);
    if (room->rcpt.nsub_ids)
        memcpy(room->ids, ids.ptr, room->rcpt.nsub_ids * sizeof(uint32_t));
    room->rcpt.sub_ids = room->ids;
    op->rcpts = &room->rcpt;
    op->msg = &room->msg;
    return give(r);
}

/* ---- whole scans ----------------------------------------------------------------------------- */

static int32_t read_all(const struct reading *r, enum statement st,
                        int32_t (*one)(const struct reading *r, sqlite3_stmt *s))
{
    sqlite3_stmt *s = r->db->stmt[st];
    int32_t status = PIGEON_OK;
    int rc = SQLITE_DONE;

    while (status == PIGEON_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        if (r->c->session && (uint64_t)sqlite3_column_int64(s, 0) != r->c->session)
            break;
        status = one(r, s);
    }
    if (status == PIGEON_OK)
        status = db_status(r->db, rc);
    sqlite3_reset(s);
    return status;
}

/* Those beside the first recipient of a message. Cursor: at is the message, at2 the last session,
 * +1. */
static int32_t read_rcpts(const struct reading *r, uint64_t pos)
{
    sqlite3_stmt *s = r->db->stmt[S_SCAN_RCPTS];
    int32_t status = PIGEON_OK;
    int rc = SQLITE_DONE;

    sqlite3_bind_int64(s, 1, (int64_t)pos);
    sqlite3_bind_int64(s, 2, (int64_t)r->c->at2 - 1);
    while (status == PIGEON_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        r->c->at2 = (uint64_t)sqlite3_column_int64(s, 0) + 1;
        status = queue_row(r, s, 0, pos);
    }
    if (status == PIGEON_OK)
        status = db_status(r->db, rc);
    sqlite3_reset(s);
    return status;
}

static int32_t message_row(const struct reading *r, sqlite3_stmt *s)
{
    uint64_t pos = (uint64_t)sqlite3_column_int64(s, 0);
    bool has_first = sqlite3_column_type(s, 1) != SQLITE_NULL;
    int32_t status = PIGEON_OK;

    if (pos != r->c->at || !r->c->at2)
        r->c->at2 = 0;
    r->c->at = pos;
    r->room->is_shared = sqlite3_column_int64(s, 8) > 0;
    if (!column_msg(s, 9, &r->room->msg))
        return damaged(r->db, "queue", pos);
    if (r->c->at2 == 0) {
        r->c->at2 = 1; /* the first one is through */
        if (has_first)
            status = queue_row(r, s, 1, pos);
    }
    if (status == PIGEON_OK && sqlite3_column_int64(s, 8) > 0)
        status = read_rcpts(r, pos);
    return status;
}

/* All queues: a message again and again until all its recipients are through. */
static int32_t read_queues(const struct reading *r)
{
    sqlite3_stmt *s = r->db->stmt[S_SCAN_QUEUE];

    if (r->c->after_pos >= r->c->at) {
        r->c->at = r->c->after_pos + 1;
        r->c->at2 = 0;
    }
    sqlite3_bind_int64(s, 1, (int64_t)r->c->at);
    return read_all(r, S_SCAN_QUEUE, message_row);
}

static int32_t own_row(const struct reading *r, sqlite3_stmt *s)
{
    bool is_first = (uint64_t)sqlite3_column_int64(s, 1) == r->c->session;

    r->c->after_pos = (uint64_t)sqlite3_column_int64(s, 0);
    if (!column_msg(s, 9, &r->room->msg))
        return damaged(r->db, "queue", r->c->after_pos);
    return queue_row(r, s, is_first ? 1 : 9 + MSG_COLUMNS, r->c->after_pos);
}

/* Its own rows only: what stands between them is not looked at. */
static int32_t read_queue_of(struct reading *r)
{
    sqlite3_stmt *s = r->db->stmt[S_SCAN_QUEUE_OF];
    const struct queue *q = ledger_find(&r->db->ledger, r->c->session);
    int32_t status = PIGEON_OK;
    uint64_t from, upto;

    while (q && status == PIGEON_OK && ledger_next(q, r->c->after_pos, &from, &upto)) {
        int rc = SQLITE_DONE;

        sqlite3_bind_int64(s, 1, (int64_t)r->c->session);
        sqlite3_bind_int64(s, 2, (int64_t)from);
        sqlite3_bind_int64(s, 3, (int64_t)upto);
        while (status == PIGEON_OK && (rc = sqlite3_step(s)) == SQLITE_ROW)
            status = own_row(r, s);
        if (status == PIGEON_OK) {
            status = db_status(r->db, rc);
            r->c->after_pos = upto;
        }
        sqlite3_reset(s);
    }
    return status;
}

/* Before the first row of the wanted session, where rows are led by their session. */
static uint64_t before(const struct journal_cursor *c)
{
    return c->at == 0 && c->session ? c->session - 1 : c->at;
}

int32_t db_rows(void *db, struct journal_cursor *c, struct journal_row *room, journal_row_fn row,
                void *arg)
{
    struct reading r = { .db = db, .c = c, .room = room, .row = row, .arg = arg };
    sqlite3_stmt **stmt = r.db->stmt, *s;

    switch (c->what) {
    case PIGEON_SCAN_SESSIONS:
        sqlite3_bind_int64(stmt[S_SCAN_SESSIONS], 1, (int64_t)before(c));
        return read_all(&r, S_SCAN_SESSIONS, session_row);
    case PIGEON_SCAN_SUBS:
        s = stmt[S_SCAN_SUBS];
        sqlite3_bind_int64(s, 1, (int64_t)(c->key ? c->at : before(c) + (c->session != 0)));
        sqlite3_bind_text(s, 2, c->key ? c->key : "", (int)c->key_len, SQLITE_TRANSIENT);
        return read_all(&r, S_SCAN_SUBS, sub_row);
    case PIGEON_SCAN_RETAINED:
        sqlite3_bind_int64(stmt[S_SCAN_RETAINED], 1, (int64_t)c->at);
        return read_all(&r, S_SCAN_RETAINED, retained_row);
    case PIGEON_SCAN_QUEUE: return c->session ? read_queue_of(&r) : read_queues(&r);
    case PIGEON_SCAN_IN:
        s = stmt[S_SCAN_IN];
        sqlite3_bind_int64(s, 1, (int64_t)(c->at ? c->at : c->session));
        sqlite3_bind_int64(s, 2, c->at ? (int64_t)c->at2 : -1);
        return read_all(&r, S_SCAN_IN, in_row);
    case PIGEON_SCAN_WILLS:
        sqlite3_bind_int64(stmt[S_SCAN_WILLS], 1, (int64_t)before(c));
        return read_all(&r, S_SCAN_WILLS, will_row);
    default: return PIGEON_E_NOTSUP;
    }
}
