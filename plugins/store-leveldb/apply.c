#include "db.h"
#include "batch.h"
#include <stdlib.h>
#include <string.h>

/* ---- small tools ----------------------------------------------------------------------------- */

static struct writer *scratch(struct db *db)
{
    db->value.len = 0;
    db->value.failed = false;
    return &db->value;
}

static int32_t put_scratch(struct db *db, struct bytes key)
{
    return db->value.failed ? PIGEON_E_NOMEM : db_put(db, key, writer_bytes(&db->value));
}

static int32_t noted(int r)
{
    return r ? PIGEON_E_NOMEM : PIGEON_OK;
}

static int32_t has(struct db *db, struct bytes key, bool *r_has)
{
    struct bytes value;
    char *owned;
    int32_t r = db_get(db, key, &value, &owned);

    *r_has = r == PIGEON_OK;
    if (r == PIGEON_OK)
        free(owned);
    return r == PIGEON_E_GONE ? PIGEON_OK : r;
}

/* The letter, a number, and text behind it. The caller frees key.ptr. */
static int32_t text_key(char kind, const uint64_t *number, pigeon_str text, struct bytes *r_key)
{
    char head[KEY_NUMBERS_MAX] = { kind };
    size_t n = number ? key1(head, kind, *number).len : 1;
    char *key = malloc(n + text.len);

    if (!key)
        return PIGEON_E_NOMEM;
    memcpy(key, head, n);
    if (text.len)
        memcpy(key + n, text.ptr, text.len);
    *r_key = (struct bytes){ .ptr = key, .len = n + text.len };
    return PIGEON_OK;
}

static int32_t del_text(struct db *db, char kind, const uint64_t *number, pigeon_str text)
{
    struct bytes key;
    int32_t r = text_key(kind, number, text, &key);

    if (r != PIGEON_OK)
        return r;
    r = db_del(db, key);
    free((char *)key.ptr);
    return r;
}

static int32_t has_text(struct db *db, char kind, const uint64_t *number, pigeon_str text,
                        bool *r_has)
{
    struct bytes key;
    int32_t r = text_key(kind, number, text, &key);

    if (r != PIGEON_OK)
        return r;
    r = has(db, key, r_has);
    free((char *)key.ptr);
    return r;
}

/* ---- sessions -------------------------------------------------------------------------------- */

static int32_t session_put(struct db *db, const pigeon_op *op)
{
    char room[KEY_NUMBERS_MAX];
    struct writer *w = scratch(db);
    int32_t r;

    put_number(w, (uint64_t)-1, 8);
    put_text(w, op->client);
    put_bytes(w, op->extra.ptr, op->extra.len);
    r = put_scratch(db, key1(room, 's', op->session));
    return r == PIGEON_OK ? noted(ledger_add_session(&db->ledger, op->session)) : r;
}

/* Both sessions and wills begin with the time at which they are due. */
static int32_t due(struct db *db, char kind, const pigeon_op *op)
{
    char room[KEY_NUMBERS_MAX], *owned;
    struct bytes key = key1(room, kind, op->session), value;
    int32_t r = db_get(db, key, &value, &owned);

    if (r != PIGEON_OK)
        return r == PIGEON_E_GONE ? PIGEON_OK : r;
    struct writer *w = scratch(db);
    put_number(w, op->due_in_ms < 0 ? (uint64_t)-1 : (uint64_t)(place_now_ms() + op->due_in_ms), 8);
    if (value.len > 8)
        put_bytes(w, value.ptr + 8, value.len - 8);
    free(owned);
    return put_scratch(db, key);
}

static int32_t row_del(struct db *db, uint64_t session, uint64_t pos);

static int32_t del_all(struct db *db, struct bytes prefix)
{
    struct keys keys;
    int32_t r = db_keys(db, prefix, &keys);

    for (size_t i = 0; i < keys.n && r == PIGEON_OK; i++)
        r = db_del(db, keys.key[i]);
    keys_fini(&keys);
    return r;
}

static int32_t session_del(struct db *db, uint64_t session)
{
    char room[KEY_NUMBERS_MAX];
    const struct queue *q = ledger_find(&db->ledger, session);
    uint64_t pos, upto = 0;
    int32_t r;

    if (!q)
        return PIGEON_OK;
    r = db_del(db, key1(room, 's', session));
    if (r == PIGEON_OK)
        r = db_del(db, key1(room, 'w', session));
    if (r == PIGEON_OK)
        r = del_all(db, key1(room, 'b', session));
    if (r == PIGEON_OK)
        r = del_all(db, key1(room, 'i', session));
    while (r == PIGEON_OK && ledger_next(q, upto, &pos, &upto))
        for (; pos <= upto && r == PIGEON_OK; pos++)
            r = row_del(db, session, pos);
    return r == PIGEON_OK ? noted(ledger_drop_session(&db->ledger, session)) : r;
}

/* ---- the queue ------------------------------------------------------------------------------- */

static int32_t put_row(struct db *db, uint64_t pos, const pigeon_rcpt *to, const pigeon_msg *msg)
{
    char room[KEY_NUMBERS_MAX];
    struct writer *w = scratch(db);

    put_rcpt(w, to, 0, PIGEON_QUEUE_QUEUED, msg != NULL);
    if (msg)
        put_msg(w, msg);
    return put_scratch(db, key2(room, 'q', pos, to->session));
}

/* How many recipients of a message that several wait for are left; 0 of one that stands with its
 * recipient. */
static int32_t share_body(struct db *db, const pigeon_op *op, uint32_t n)
{
    char room[KEY_NUMBERS_MAX];
    struct writer *w = scratch(db);

    put_msg(w, op->msg);
    if (ledger_set_waiting(&db->ledger, op->pos, ledger_waiting(&db->ledger, op->pos) + n))
        return PIGEON_E_NOMEM;
    return put_scratch(db, key1(room, 'm', op->pos));
}

static int32_t queue_add(struct db *db, const pigeon_op *op, uint32_t *r_gone)
{
    uint32_t added = 0;
    bool is_alone = op->nrcpts == 1;
    int32_t r = PIGEON_OK;

    for (uint32_t i = 0; i < op->nrcpts && r == PIGEON_OK; i++) {
        const pigeon_rcpt *to = op_rcpt(op, i);
        struct queue *q = ledger_find(&db->ledger, to->session);

        *r_gone += !q;
        if (!q || ledger_has(q, op->pos)) /* nobody gets it twice */
            continue;
        r = put_row(db, op->pos, to, is_alone ? op->msg : NULL);
        if (r == PIGEON_OK)
            r = noted(ledger_add(&db->ledger, q, op->pos));
        added++;
    }
    if (r == PIGEON_OK && !is_alone && added)
        r = share_body(db, op, added);
    return r;
}

static int32_t queue_upd(struct db *db, const pigeon_op *op)
{
    char room[KEY_NUMBERS_MAX], *owned;
    struct bytes key = key2(room, 'q', op->pos, op->session), value;
    int32_t r;

    if (!ledger_find_with(&db->ledger, op->session, op->pos))
        return PIGEON_OK;
    r = db_get(db, key, &value, &owned);
    if (r != PIGEON_OK)
        return r == PIGEON_E_GONE ? PIGEON_OK : r;
    struct writer *w = scratch(db);
    put_number(w, op->packet_id, 2);
    put_number(w, op->state, 1);
    if (value.len > 3)
        put_bytes(w, value.ptr + 3, value.len - 3);
    free(owned);
    return put_scratch(db, key);
}

static int32_t row_del(struct db *db, uint64_t session, uint64_t pos)
{
    char room[KEY_NUMBERS_MAX];
    uint64_t waiting = ledger_waiting(&db->ledger, pos);
    int32_t r = db_del(db, key2(room, 'q', pos, session));

    if (r != PIGEON_OK || !waiting)
        return r;
    if (ledger_set_waiting(&db->ledger, pos, waiting - 1))
        return PIGEON_E_NOMEM;
    return waiting == 1 ? db_del(db, key1(room, 'm', pos)) : PIGEON_OK;
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
    char room[KEY_NUMBERS_MAX], *owned;
    struct bytes value;
    struct journal_row row = { 0 };
    bool is_alone;
    int32_t r;

    if (!from)
        return PIGEON_OK;
    *r_gone += !q;
    if (!q || ledger_has(q, op->pos))
        return queue_del(db, op->session, op->pos);
    r = db_get(db, key2(room, 'q', op->pos, op->session), &value, &owned);

    if (r != PIGEON_OK)
        return r == PIGEON_E_GONE ? PIGEON_OK : r;
    struct reader in = { .at = value.ptr, .end = value.ptr + value.len };
    struct writer *w = scratch(db);
    take_rcpt(&in, &row, &is_alone);
    put_rcpt(w, to, 0, PIGEON_QUEUE_QUEUED, is_alone);
    put_bytes(w, in.at, (size_t)(in.end - in.at));
    free(owned);
    r = put_scratch(db, key2(room, 'q', op->pos, to->session));
    if (r == PIGEON_OK)
        r = db_del(db, key2(room, 'q', op->pos, op->session));
    if (r == PIGEON_OK)
        r = noted(ledger_add(&db->ledger, q, op->pos));
    return r == PIGEON_OK ? noted(ledger_del(&db->ledger, from, op->pos)) : r;
}

/* ---- the rest -------------------------------------------------------------------------------- */

static int32_t sub_put(struct db *db, const pigeon_op *op)
{
    struct bytes key;
    struct writer *w = scratch(db);
    int32_t r;

    if (!ledger_find(&db->ledger, op->session))
        return PIGEON_OK;
    put_sub(w, op->sub);
    r = text_key('b', &op->session, op->key, &key);
    if (r != PIGEON_OK)
        return r;
    r = put_scratch(db, key);
    free((char *)key.ptr);
    return r;
}

static int32_t retain_put(struct db *db, const pigeon_op *op)
{
    struct bytes key;
    int32_t r = text_key('r', NULL, op->msg->topic, &key);

    if (r != PIGEON_OK)
        return r;
    put_msg(scratch(db), op->msg);
    r = put_scratch(db, key);
    free((char *)key.ptr);
    return r;
}

static int32_t will_put(struct db *db, const pigeon_op *op)
{
    char room[KEY_NUMBERS_MAX];
    struct writer *w = scratch(db);

    if (!ledger_find(&db->ledger, op->session))
        return PIGEON_OK;
    put_number(w, (uint64_t)-1, 8);
    put_number(w, op->extra.len, 4);
    put_bytes(w, op->extra.ptr, op->extra.len);
    put_msg(w, op->msg);
    return put_scratch(db, key1(room, 'w', op->session));
}

static int32_t in_add(struct db *db, const pigeon_op *op)
{
    char room[KEY_NUMBERS_MAX];

    if (!ledger_find(&db->ledger, op->session))
        return PIGEON_OK;
    return db_put(db, key2(room, 'i', op->session, op->packet_id),
                  (struct bytes){ .ptr = "", .len = 0 });
}

int32_t db_apply(void *self, const pigeon_op *op, uint32_t *r_gone)
{
    struct db *db = self;
    char room[KEY_NUMBERS_MAX];

    switch (op->kind) {
    case PIGEON_OP_SESSION_PUT: return session_put(db, op);
    case PIGEON_OP_SESSION_DEL: return session_del(db, op->session);
    case PIGEON_OP_SESSION_OFF: return due(db, 's', op);
    case PIGEON_OP_SUB_PUT: return sub_put(db, op);
    case PIGEON_OP_SUB_DEL: return del_text(db, 'b', &op->session, op->key);
    case PIGEON_OP_RETAIN_PUT: return retain_put(db, op);
    case PIGEON_OP_RETAIN_DEL: return del_text(db, 'r', NULL, op->key);
    case PIGEON_OP_QUEUE_ADD: return queue_add(db, op, r_gone);
    case PIGEON_OP_QUEUE_UPD: return queue_upd(db, op);
    case PIGEON_OP_QUEUE_DEL: return queue_del(db, op->session, op->pos);
    case PIGEON_OP_QUEUE_MOVE: return queue_move(db, op, r_gone);
    case PIGEON_OP_IN_ADD: return in_add(db, op);
    case PIGEON_OP_IN_DEL: return db_del(db, key2(room, 'i', op->session, op->packet_id));
    case PIGEON_OP_WILL_PUT: return will_put(db, op);
    case PIGEON_OP_WILL_DUE: return due(db, 'w', op);
    case PIGEON_OP_WILL_TAKE:
    case PIGEON_OP_WILL_DEL: return db_del(db, key1(room, 'w', op->session));
    default: return PIGEON_E_NOTSUP;
    }
}

int32_t db_has_target(void *self, const pigeon_op *op, bool *r_has)
{
    struct db *db = self;
    char room[KEY_NUMBERS_MAX];

    *r_has = true;
    switch (op->kind) {
    case PIGEON_OP_SUB_DEL: return has_text(db, 'b', &op->session, op->key, r_has);
    case PIGEON_OP_RETAIN_DEL: return has_text(db, 'r', NULL, op->key, r_has);
    case PIGEON_OP_QUEUE_UPD:
    case PIGEON_OP_QUEUE_DEL:
    case PIGEON_OP_QUEUE_MOVE:
        *r_has = ledger_find_with(&db->ledger, op->session, op->pos);
        return PIGEON_OK;
    case PIGEON_OP_IN_DEL: return has(db, key2(room, 'i', op->session, op->packet_id), r_has);
    case PIGEON_OP_WILL_DUE:
    case PIGEON_OP_WILL_TAKE:
    case PIGEON_OP_WILL_DEL: return has(db, key1(room, 'w', op->session), r_has);
    case PIGEON_OP_SESSION_DEL:
    case PIGEON_OP_SESSION_OFF: *r_has = ledger_find(&db->ledger, op->session); return PIGEON_OK;
    default: return PIGEON_OK;
    }
}
