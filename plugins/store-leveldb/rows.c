#include "db.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct reading {
    struct db *db;
    struct journal_cursor *c;
    struct journal_row *room;
    journal_row_fn row;
    void *arg;
    uint64_t body_pos; /* of `body` */
    char *body;        /* the last message of several recipients */
    size_t body_len;
    char *client; /* of the last session asked for */
    uint64_t client_of;
    pigeon_str client_id;
    bool is_skipped; /* the record at hand is damaged, and left out */
};

static int32_t damaged(struct reading *r, struct bytes key)
{
    snprintf(r->db->place->error, sizeof(r->db->place->error),
             "%s: damaged: a record of kind '%c', number %" PRIu64
             "; the option `salvage` leaves damaged records out",
             r->db->place->path, key.ptr[0], key_number(key, 0));
    if (!r->db->salvage)
        return PIGEON_E_IO;
    place_warn(r->db->place, r->db->place->error);
    r->is_skipped = true;
    return PIGEON_OK;
}

/* The client of a session, kept until another one is asked for. */
static int32_t client_of(struct reading *r, uint64_t session, pigeon_str *r_client)
{
    char room[KEY_NUMBERS_MAX];
    struct bytes value;
    char *owned;
    int32_t status;

    if (!r->client || r->client_of != session) {
        struct reader in;

        status = db_get(r->db, key1(room, 's', session), &value, &owned);
        free(r->client);
        r->client = NULL;
        *r_client = (pigeon_str){ .ptr = "" };
        if (status != PIGEON_OK)
            return status == PIGEON_E_GONE ? PIGEON_OK : status;
        in = (struct reader){ .at = value.ptr, .end = value.ptr + value.len };
        take_number(&in, 8);
        r->client_id = take_text(&in);
        r->client = owned;
        r->client_of = session;
    }
    *r_client = r->client_id;
    return PIGEON_OK;
}

/* ---- one record each: fills room->op -----------------------------------------------------------
 */

static int32_t session_row(struct reading *r, struct bytes key, struct reader *in)
{
    pigeon_op *op = &r->room->op;

    op->kind = PIGEON_OP_SESSION_PUT;
    op->session = key_number(key, 0);
    op->due_in_ms = place_left_ms((int64_t)take_number(in, 8));
    op->client = take_text(in);
    op->extra =
        (pigeon_bytes){ .ptr = (const uint8_t *)in->at, .len = (uint32_t)(in->end - in->at) };
    return PIGEON_OK;
}

static int32_t sub_row(struct reading *r, struct bytes key, struct reader *in)
{
    pigeon_op *op = &r->room->op;

    op->kind = PIGEON_OP_SUB_PUT;
    op->session = key_number(key, 0);
    op->key = (pigeon_str){ .ptr = key.ptr + 9, .len = (uint32_t)(key.len - 9) };
    take_sub(in, &r->room->sub);
    op->sub = &r->room->sub;
    return client_of(r, op->session, &op->client);
}

static int32_t retained_row(struct reading *r, struct bytes key, struct reader *in)
{
    (void)key;
    r->room->op.kind = PIGEON_OP_RETAIN_PUT;
    take_msg(in, &r->room->msg);
    r->room->op.msg = &r->room->msg;
    r->room->op.key = r->room->msg.topic;
    return PIGEON_OK;
}

static int32_t in_row(struct reading *r, struct bytes key, struct reader *in)
{
    (void)in;
    r->room->op.kind = PIGEON_OP_IN_ADD;
    r->room->op.session = key_number(key, 0);
    r->room->op.packet_id = (uint16_t)key_number(key, 1);
    return client_of(r, r->room->op.session, &r->room->op.client);
}

static int32_t will_row(struct reading *r, struct bytes key, struct reader *in)
{
    pigeon_op *op = &r->room->op;
    struct bytes extra;

    op->kind = PIGEON_OP_WILL_PUT;
    op->session = key_number(key, 0);
    op->due_in_ms = place_left_ms((int64_t)take_number(in, 8));
    extra = take_bytes(in, take_number(in, 4));
    op->extra = (pigeon_bytes){ .ptr = (const uint8_t *)extra.ptr, .len = (uint32_t)extra.len };
    take_msg(in, &r->room->msg);
    op->msg = &r->room->msg;
    return client_of(r, op->session, &op->client);
}

static int32_t shared_msg(struct reading *r, uint64_t pos)
{
    char room[KEY_NUMBERS_MAX], *owned;
    struct bytes value;
    struct reader in;
    int32_t status;

    if (!r->body || r->body_pos != pos) {
        status = db_get(r->db, key1(room, 'm', pos), &value, &owned);
        if (status != PIGEON_OK)
            return status;
        free(r->body);
        r->body = owned;
        r->body_len = value.len;
        r->body_pos = pos;
    }
    in = (struct reader){ .at = r->body, .end = r->body + r->body_len };
    take_msg(&in, &r->room->msg);
    return in.failed ? PIGEON_E_GONE : PIGEON_OK;
}

static int32_t queue_row(struct reading *r, struct bytes key, struct reader *in)
{
    struct journal_row *room = r->room;
    bool is_alone;

    room->op.kind = PIGEON_OP_QUEUE_ADD;
    room->op.pos = key_number(key, 0);
    room->op.session = key_number(key, 1);
    take_rcpt(in, room, &is_alone);
    room->is_shared = !is_alone;
    room->rcpt.session = room->op.session;
    room->op.rcpts = &room->rcpt;
    room->op.nrcpts = 1;
    room->op.rcpt_stride = sizeof(room->rcpt);
    room->op.msg = &room->msg;
    if (is_alone) {
        take_msg(in, &room->msg);
        return PIGEON_OK;
    }
    int32_t status = shared_msg(r, room->op.pos);
    return status == PIGEON_E_GONE ? damaged(r, key) : status;
}

/* ---- walking --------------------------------------------------------------------------------- */

struct kind {
    char letter;
    bool leads; /* the session is the first number of the key */
    int32_t (*row)(struct reading *r, struct bytes key, struct reader *in);
};

static const struct kind kinds[] = {
    [PIGEON_SCAN_SESSIONS] = { 's', true, session_row },
    [PIGEON_SCAN_SUBS] = { 'b', true, sub_row },
    [PIGEON_SCAN_RETAINED] = { 'r', false, retained_row },
    [PIGEON_SCAN_QUEUE] = { 'q', false, queue_row },
    [PIGEON_SCAN_IN] = { 'i', true, in_row },
    [PIGEON_SCAN_WILLS] = { 'w', true, will_row },
};

/* Where to begin: behind the last key that was given, else at the first that can be meant. */
static void seek(const struct reading *r, const struct kind *k, leveldb_iterator_t *it)
{
    const struct journal_cursor *c = r->c;
    char room[KEY_NUMBERS_MAX];
    struct bytes from = { .ptr = &k->letter, .len = 1 };

    if (k->leads && c->session)
        from = key1(room, k->letter, c->session);
    if (c->what == PIGEON_SCAN_QUEUE)
        from = key1(room, 'q', c->after_pos + 1);
    if (c->key)
        from = (struct bytes){ .ptr = c->key, .len = c->key_len };
    leveldb_iter_seek(it, from.ptr, from.len);
    if (c->key && leveldb_iter_valid(it)) {
        size_t len;
        const char *at = leveldb_iter_key(it, &len);

        if (len == c->key_len && memcmp(at, c->key, len) == 0)
            leveldb_iter_next(it);
    }
}

static int32_t remember(struct journal_cursor *c, struct bytes key)
{
    char *copy = realloc(c->key, key.len);

    if (!copy)
        return PIGEON_E_NOMEM;
    memcpy(copy, key.ptr, key.len);
    c->key = copy;
    c->key_len = (uint32_t)key.len;
    return PIGEON_OK;
}

/* The record that the iterator stands on. */
static int32_t give(struct reading *r, const struct kind *k, leveldb_iterator_t *it)
{
    struct bytes key, value;
    struct reader in;
    int32_t status;

    key.ptr = leveldb_iter_key(it, &key.len);
    value.ptr = leveldb_iter_value(it, &value.len);
    in = (struct reader){ .at = value.ptr, .end = value.ptr + value.len };
    r->room->op = (pigeon_op){ .size = sizeof(r->room->op) };
    r->is_skipped = false;
    status = k->row(r, key, &in);
    if (status == PIGEON_OK && in.failed)
        status = damaged(r, key);
    if (status == PIGEON_OK && !(r->c->what == PIGEON_SCAN_QUEUE && r->c->session))
        status = remember(r->c, key);
    if (status != PIGEON_OK || r->is_skipped)
        return status;
    return r->row(r->arg, &r->room->op) ? PIGEON_OK : PIGEON_PENDING;
}

/* PIGEON_E_GONE: the last one that can be meant is behind us. */
static int32_t give_if_meant(struct reading *r, const struct kind *k, leveldb_iterator_t *it)
{
    const struct journal_cursor *c = r->c;
    struct bytes key;

    key.ptr = leveldb_iter_key(it, &key.len);
    if (key.len == 0 || key.ptr[0] != k->letter ||
        (k->leads && c->session && key_number(key, 0) != c->session))
        return PIGEON_E_GONE;
    return give(r, k, it);
}

static bool stands_on(leveldb_iterator_t *it, struct bytes wanted)
{
    size_t len;
    const char *at = leveldb_iter_valid(it) ? leveldb_iter_key(it, &len) : NULL;

    return at && len == wanted.len && memcmp(at, wanted.ptr, len) == 0;
}

/* A session's own rows only: where they do not follow one another, what lies between is jumped
 * over. */
static int32_t give_queue_of(struct reading *r, leveldb_iterator_t *it)
{
    const struct queue *q = ledger_find(&r->db->ledger, r->c->session);
    uint64_t pos, upto;
    int32_t status = PIGEON_OK;

    while (q && status == PIGEON_OK && ledger_next(q, r->c->after_pos, &pos, &upto))
        for (; pos <= upto && status == PIGEON_OK; pos++) {
            char room[KEY_NUMBERS_MAX];
            struct bytes key = key2(room, 'q', pos, r->c->session);

            if (leveldb_iter_valid(it))
                leveldb_iter_next(it);
            if (!stands_on(it, key))
                leveldb_iter_seek(it, key.ptr, key.len);
            r->c->after_pos = pos;
            if (stands_on(it, key))
                status = give(r, &kinds[PIGEON_SCAN_QUEUE], it);
        }
    return status;
}

int32_t db_rows(void *db, struct journal_cursor *c, struct journal_row *room, journal_row_fn row,
                void *arg)
{
    struct reading r = { .db = db, .c = c, .room = room, .row = row, .arg = arg };
    const struct kind *k = &kinds[c->what];
    leveldb_iterator_t *it = leveldb_create_iterator(r.db->ldb, r.db->read);
    char *error = NULL;
    int32_t status = PIGEON_OK;

    if (c->what == PIGEON_SCAN_QUEUE && c->session)
        status = give_queue_of(&r, it);
    else
        for (seek(&r, k, it); status == PIGEON_OK && leveldb_iter_valid(it); leveldb_iter_next(it))
            status = give_if_meant(&r, k, it);
    leveldb_iter_get_error(it, &error);
    leveldb_iter_destroy(it);
    free(r.body);
    free(r.client);
    if (error)
        return db_status(r.db, error);
    return status == PIGEON_E_GONE ? PIGEON_OK : status;
}
