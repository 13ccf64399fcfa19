#include "memory.h"
#include "batch.h"
#include <stdlib.h>
#include <string.h>

/* ---- keys ------------------------------------------------------------------------------------ */

static uint64_t hash_of(const struct memory *m, enum rec_kind kind, uint64_t number, uint64_t n,
                        const char *text, uint32_t len)
{
    switch (kind) {
    case REC_SUB: return table_hash_text(m->seed ^ number, text, len);
    case REC_RETAINED: return table_hash_text(m->seed, text, len);
    default: return table_hash_number(m->seed, number, n);
    }
}

static bool str_is(pigeon_str a, const char *ptr, uint32_t len)
{
    return a.len == len && (len == 0 || memcmp(a.ptr, ptr, len) == 0);
}

struct session *memory_session(const struct memory *m, uint64_t number)
{
    uint64_t hash = hash_of(m, REC_SESSION, number, 0, NULL, 0);

    for (struct table_node *n = table_first(&m->table[REC_SESSION], hash); n; n = table_next(n)) {
        struct session *s = (struct session *)n;

        if (s->number == number)
            return s;
    }
    return NULL;
}

static bool rec_has_session(const struct rec *rec, uint64_t number)
{
    return rec->session && rec->session->number == number;
}

static struct sub *find_sub(const struct memory *m, uint64_t number, pigeon_str key)
{
    uint64_t hash = hash_of(m, REC_SUB, number, 0, key.ptr, key.len);

    for (struct table_node *n = table_first(&m->table[REC_SUB], hash); n; n = table_next(n)) {
        struct sub *s = (struct sub *)n;

        if (rec_has_session(&s->rec, number) && str_is(s->key, key.ptr, key.len))
            return s;
    }
    return NULL;
}

struct row *memory_row(const struct memory *m, uint64_t number, uint64_t pos)
{
    uint64_t hash = hash_of(m, REC_ROW, number, pos, NULL, 0);

    for (struct table_node *n = table_first(&m->table[REC_ROW], hash); n; n = table_next(n)) {
        struct row *r = (struct row *)n;

        if (r->pos == pos && rec_has_session(&r->rec, number))
            return r;
    }
    return NULL;
}

static struct in *find_in(const struct memory *m, uint64_t number, uint16_t packet_id)
{
    uint64_t hash = hash_of(m, REC_IN, number, packet_id, NULL, 0);

    for (struct table_node *n = table_first(&m->table[REC_IN], hash); n; n = table_next(n)) {
        struct in *i = (struct in *)n;

        if (i->packet_id == packet_id && rec_has_session(&i->rec, number))
            return i;
    }
    return NULL;
}

static struct will *find_will(const struct memory *m, uint64_t number)
{
    struct session *s = memory_session(m, number);

    if (!s || s->mine[REC_WILL].next == &s->mine[REC_WILL])
        return NULL;
    return OWNER_OF(s->mine[REC_WILL].next, struct will, rec.mine);
}

static struct retained *find_retained(const struct memory *m, pigeon_str topic)
{
    uint64_t hash = hash_of(m, REC_RETAINED, 0, 0, topic.ptr, topic.len);

    for (struct table_node *n = table_first(&m->table[REC_RETAINED], hash); n; n = table_next(n)) {
        struct retained *r = (struct retained *)n;

        if (str_is(r->body->msg->topic, topic.ptr, topic.len))
            return r;
    }
    return NULL;
}

/* ---- records --------------------------------------------------------------------------------- */

static void body_unref(struct memory *m, struct body *body)
{
    if (!body || --body->refs)
        return;
    m->bytes -= body->is_counted ? body->bytes : 0;
    m->host->msg_unref(body->msg);
    free(body);
}

static struct body *rec_body(struct rec *rec)
{
    switch (rec->kind) {
    case REC_ROW: return ((struct row *)rec)->body;
    case REC_WILL: return ((struct will *)rec)->body;
    case REC_RETAINED: return ((struct retained *)rec)->body;
    default: return NULL;
    }
}

/* With an allocation behind it; not linked anywhere. */
static void *rec_new(enum rec_kind kind, size_t size, struct made *made)
{
    struct rec *rec = calloc(1, size);

    if (!rec)
        return NULL;
    rec->kind = kind;
    rec->bytes = size;
    made->bytes += size;
    link_before(&made->recs, &rec->all);
    return rec;
}

static void unlink_(struct link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    link_init(l);
}

/* The next new record of an op, its own from now on. */
static struct rec *made_take(struct made *made)
{
    struct rec *rec = OWNER_OF(made->recs.next, struct rec, all);

    unlink_(&rec->all);
    return rec;
}

static void rec_link(struct memory *m, struct rec *rec, struct session *session, uint64_t hash)
{
    rec->session = session;
    table_insert(&m->table[rec->kind], &rec->node, hash);
    link_before(&m->all[rec->kind], &rec->all);
    if (session)
        link_before(&session->mine[rec->kind], &rec->mine);
    m->bytes += rec->bytes;
}

static void rec_drop(struct memory *m, struct rec *rec)
{
    cursors_leave(m, rec);
    table_remove(&m->table[rec->kind], &rec->node);
    unlink_(&rec->all);
    if (rec->session)
        unlink_(&rec->mine);
    m->bytes -= rec->bytes;
    body_unref(m, rec_body(rec));
    free(rec);
}

static void session_drop(struct memory *m, struct session *s)
{
    for (uint32_t kind = 0; kind < REC_KINDS; kind++) {
        struct link *head = &s->mine[kind];

        while (head->next != head)
            rec_drop(m, OWNER_OF(head->next, struct rec, mine));
    }
    struct ident *ident = s->ident;
    rec_drop(m, &s->rec);
    free(ident);
}

void memory_clear(struct memory *m)
{
    struct link *sessions = &m->all[REC_SESSION], *retained = &m->all[REC_RETAINED];

    while (sessions->next != sessions)
        session_drop(m, OWNER_OF(sessions->next, struct session, rec.all));
    while (retained->next != retained)
        rec_drop(m, OWNER_OF(retained->next, struct rec, all));
}

/* ---- make ------------------------------------------------------------------------------------ */

static bool make_body(struct memory *m, const pigeon_msg *msg, struct made *made)
{
    struct body *body = msg ? calloc(1, sizeof(*body)) : NULL;

    if (!body)
        return false;
    body->msg = m->host->msg_ref(msg);
    body->refs = 1; /* the op's, until it is unmade */
    body->bytes = sizeof(*body) + msg->topic.len + msg->payload.len + msg->props.len;
    made->body = body;
    made->bytes += body->bytes;
    return true;
}

static bool make_session(const pigeon_op *op, struct made *made)
{
    size_t len = (size_t)op->client.len + op->extra.len;
    struct session *s = rec_new(REC_SESSION, sizeof(*s), made);

    made->ident = malloc(sizeof(*made->ident) + len);
    if (!s || !made->ident)
        return false;
    s->rec.bytes += sizeof(*made->ident) + len;
    made->bytes += sizeof(*made->ident) + len;
    made->ident->client_len = op->client.len;
    made->ident->extra_len = op->extra.len;
    if (op->client.len)
        memcpy(made->ident->data, op->client.ptr, op->client.len);
    if (op->extra.len)
        memcpy(made->ident->data + op->client.len, op->extra.ptr, op->extra.len);
    s->number = op->session;
    s->due_ms = -1;
    for (uint32_t kind = 0; kind < REC_KINDS; kind++)
        link_init(&s->mine[kind]);
    return true;
}

static pigeon_str put_text(char **at, pigeon_str from)
{
    pigeon_str to = { .ptr = *at, .len = from.len };

    if (from.len)
        memcpy(*at, from.ptr, from.len);
    (*at)[from.len] = '\0';
    *at += from.len + 1;
    return to;
}

static bool make_sub(const pigeon_op *op, struct made *made)
{
    const pigeon_sub *in = op->sub;
    struct sub *s;

    if (!in)
        return false;
    s = rec_new(REC_SUB,
                sizeof(*s) + 4 + (size_t)op->key.len + in->filter.len + in->effective.len +
                    in->share.len,
                made);
    if (!s)
        return false;
    char *at = s->data;
    /* Ours is cleared: a broker of another time has a shorter one, or a longer. */
    memcpy(&s->view, in, in->size < sizeof(s->view) ? in->size : sizeof(s->view));
    s->view.size = sizeof(s->view);
    s->key = put_text(&at, op->key);
    s->view.filter = put_text(&at, in->filter);
    s->view.effective = put_text(&at, in->effective);
    s->view.share = put_text(&at, in->share);
    return true;
}

static bool make_row(const pigeon_op *op, uint32_t i, struct made *made)
{
    const pigeon_rcpt *to = op_rcpt(op, i);
    size_t ids = to->nsub_ids * sizeof(uint32_t);
    struct row *row = rec_new(REC_ROW, sizeof(*row) + ids + to->share.len, made);

    if (!row)
        return false;
    row->pos = op->pos;
    row->qos = to->qos;
    row->retain = to->retain;
    row->n_ids = to->nsub_ids;
    row->share_len = to->share.len;
    if (ids)
        memcpy(row->data, to->sub_ids, ids);
    if (to->share.len)
        memcpy(row->data + ids, to->share.ptr, to->share.len);
    return true;
}

static bool make_rows(struct memory *m, const pigeon_op *op, struct made *made)
{
    if (op->kind == PIGEON_OP_QUEUE_ADD && !make_body(m, op->msg, made))
        return false;
    for (uint32_t i = 0; i < op->nrcpts; i++) {
        if (!make_row(op, i, made))
            return false;
    }
    return true;
}

static bool make_will(struct memory *m, const pigeon_op *op, struct made *made)
{
    struct will *w = rec_new(REC_WILL, sizeof(*w) + op->extra.len, made);

    if (!w || !make_body(m, op->msg, made))
        return false;
    w->due_ms = -1;
    w->extra_len = op->extra.len;
    if (op->extra.len)
        memcpy(w->data, op->extra.ptr, op->extra.len);
    return true;
}

int32_t op_make(struct memory *m, const pigeon_op *op, struct made *r_made)
{
    int32_t judged = op_judge(op);
    bool ok = true;

    *r_made = (struct made){ 0 };
    link_init(&r_made->recs);
    if (judged != PIGEON_OK)
        return judged;
    switch (op->kind) {
    case PIGEON_OP_SESSION_PUT: ok = make_session(op, r_made); break;
    case PIGEON_OP_SUB_PUT: ok = make_sub(op, r_made); break;
    case PIGEON_OP_RETAIN_PUT:
        ok =
            rec_new(REC_RETAINED, sizeof(struct retained), r_made) && make_body(m, op->msg, r_made);
        break;
    case PIGEON_OP_QUEUE_ADD:
    case PIGEON_OP_QUEUE_MOVE: ok = make_rows(m, op, r_made); break;
    case PIGEON_OP_IN_ADD: ok = rec_new(REC_IN, sizeof(struct in), r_made); break;
    case PIGEON_OP_WILL_PUT: ok = make_will(m, op, r_made); break;
    default: break; /* needs nothing */
    }
    return ok ? PIGEON_OK : PIGEON_E_NOMEM;
}

void op_unmake(struct memory *m, struct made *made)
{
    while (made->recs.next != &made->recs)
        free(made_take(made));
    free(made->ident);
    made->ident = NULL;
    body_unref(m, made->body);
    made->body = NULL;
}

/* ---- apply ----------------------------------------------------------------------------------- */

bool op_finds(struct memory *m, const pigeon_op *op)
{
    switch (op->kind) {
    case PIGEON_OP_SUB_DEL: return find_sub(m, op->session, op->key);
    case PIGEON_OP_RETAIN_DEL: return find_retained(m, op->key);
    case PIGEON_OP_QUEUE_UPD:
    case PIGEON_OP_QUEUE_DEL:
    case PIGEON_OP_QUEUE_MOVE: return memory_row(m, op->session, op->pos);
    case PIGEON_OP_IN_DEL: return find_in(m, op->session, op->packet_id);
    case PIGEON_OP_WILL_DUE:
    case PIGEON_OP_WILL_TAKE:
    case PIGEON_OP_WILL_DEL: return find_will(m, op->session);
    case PIGEON_OP_SESSION_DEL:
    case PIGEON_OP_SESSION_OFF: return memory_session(m, op->session);
    default: return true;
    }
}

static struct body *keep_body(struct memory *m, struct body *body)
{
    if (!body->is_counted)
        m->bytes += body->bytes;
    body->is_counted = true;
    body->refs++;
    return body;
}

static void put_session(struct memory *m, const pigeon_op *op, struct made *made)
{
    struct session *s = memory_session(m, op->session);
    struct session *fresh = OWNER_OF(made->recs.next, struct session, rec.all);

    if (s) {
        m->bytes += fresh->rec.bytes - s->rec.bytes;
        s->rec.bytes = fresh->rec.bytes;
        free(s->ident);
    } else {
        s = (struct session *)made_take(made);
        rec_link(m, &s->rec, NULL, hash_of(m, REC_SESSION, op->session, 0, NULL, 0));
    }
    s->ident = made->ident;
    s->due_ms = -1;
    made->ident = NULL;
}

static void put_sub(struct memory *m, const pigeon_op *op, struct made *made)
{
    struct session *s = memory_session(m, op->session);
    struct sub *old = find_sub(m, op->session, op->key);

    if (!s)
        return;
    if (old)
        rec_drop(m, &old->rec);
    rec_link(m, made_take(made), s, hash_of(m, REC_SUB, op->session, 0, op->key.ptr, op->key.len));
}

static void put_retained(struct memory *m, const pigeon_op *op, struct made *made)
{
    pigeon_str topic = op->msg->topic;
    struct retained *old = find_retained(m, topic);
    struct retained *r = (struct retained *)made_take(made);

    if (old)
        rec_drop(m, &old->rec);
    r->body = keep_body(m, made->body);
    rec_link(m, &r->rec, NULL, hash_of(m, REC_RETAINED, 0, 0, topic.ptr, topic.len));
}

static void relink(struct link *pos, struct link *l)
{
    unlink_(l);
    link_before(pos, l);
}

/* Rows are in order of arrival in both lists. One that comes late (a unit submitted again, a row
 * that moves here) is put in its place; near: a row of the same number, or NULL. */
static void row_link(struct memory *m, struct row *row, struct session *s, struct body *body,
                     struct row *near)
{
    struct link *all = &m->all[REC_ROW], *mine = &s->mine[REC_ROW];

    row->body = keep_body(m, body);
    rec_link(m, &row->rec, s, hash_of(m, REC_ROW, s->number, row->pos, NULL, 0));
    struct link *l = near ? near->rec.all.prev : row->rec.all.prev;
    while (!near && l != all && OWNER_OF(l, struct row, rec.all)->pos > row->pos)
        l = l->prev;
    if (l != row->rec.all.prev)
        relink(l->next, &row->rec.all);
    l = row->rec.mine.prev;
    while (l != mine && OWNER_OF(l, struct row, rec.mine)->pos > row->pos)
        l = l->prev;
    if (l != row->rec.mine.prev)
        relink(l->next, &row->rec.mine);
}

static void add_rows(struct memory *m, const pigeon_op *op, struct made *made, uint32_t *r_gone)
{
    for (uint32_t i = 0; i < op->nrcpts; i++) {
        const pigeon_rcpt *to = op_rcpt(op, i);
        struct session *s = memory_session(m, to->session);
        struct row *row = (struct row *)made_take(made);

        if (s && !memory_row(m, to->session, op->pos)) {
            row_link(m, row, s, made->body, NULL);
        } else {
            *r_gone += !s;
            free(row);
        }
    }
    if (op->pos > m->last_pos)
        m->last_pos = op->pos;
}

static void move_row(struct memory *m, const pigeon_op *op, struct made *made, uint32_t *r_gone)
{
    struct row *from = memory_row(m, op->session, op->pos);
    struct session *s = memory_session(m, op->rcpts->session);

    if (!from)
        return;
    *r_gone += !s;
    if (s && s->number != op->session && !memory_row(m, s->number, op->pos))
        row_link(m, (struct row *)made_take(made), s, from->body, from);
    if (!s || s->number != op->session)
        rec_drop(m, &from->rec);
}

static void put_will(struct memory *m, const pigeon_op *op, struct made *made)
{
    struct session *s = memory_session(m, op->session);
    struct will *old = find_will(m, op->session);

    if (!s)
        return;
    if (old)
        rec_drop(m, &old->rec);
    struct will *w = (struct will *)made_take(made);
    w->body = keep_body(m, made->body);
    rec_link(m, &w->rec, s, hash_of(m, REC_WILL, op->session, 0, NULL, 0));
}

static void add_in(struct memory *m, const pigeon_op *op, struct made *made)
{
    struct session *s = memory_session(m, op->session);

    if (!s || find_in(m, op->session, op->packet_id))
        return;
    struct in *in = (struct in *)made_take(made);
    in->packet_id = op->packet_id;
    rec_link(m, &in->rec, s, hash_of(m, REC_IN, op->session, op->packet_id, NULL, 0));
}

static void change(struct memory *m, const pigeon_op *op)
{
    struct session *s = memory_session(m, op->session);
    struct row *row;
    struct will *will;
    int64_t due_ms = op->due_in_ms < 0 ? -1 : memory_now_ms(m) + op->due_in_ms;

    switch (op->kind) {
    case PIGEON_OP_SESSION_OFF:
        if (s)
            s->due_ms = due_ms;
        break;
    case PIGEON_OP_QUEUE_UPD:
        row = memory_row(m, op->session, op->pos);
        if (row) {
            row->packet_id = op->packet_id;
            row->state = op->state;
        }
        break;
    case PIGEON_OP_WILL_DUE:
        will = find_will(m, op->session);
        if (will)
            will->due_ms = due_ms;
        break;
    default: break;
    }
}

static void drop(struct memory *m, const pigeon_op *op)
{
    void *found = NULL;

    switch (op->kind) {
    case PIGEON_OP_SUB_DEL: found = find_sub(m, op->session, op->key); break;
    case PIGEON_OP_RETAIN_DEL: found = find_retained(m, op->key); break;
    case PIGEON_OP_QUEUE_DEL: found = memory_row(m, op->session, op->pos); break;
    case PIGEON_OP_IN_DEL: found = find_in(m, op->session, op->packet_id); break;
    case PIGEON_OP_WILL_TAKE:
    case PIGEON_OP_WILL_DEL: found = find_will(m, op->session); break;
    default: break;
    }
    if (found)
        rec_drop(m, found); /* the record is the first member of all of them */
}

void op_apply(struct memory *m, const pigeon_op *op, struct made *made, uint32_t *r_gone)
{
    struct session *s;

    switch (op->kind) {
    case PIGEON_OP_SESSION_PUT: put_session(m, op, made); break;
    case PIGEON_OP_SESSION_DEL:
        s = memory_session(m, op->session);
        if (s)
            session_drop(m, s);
        break;
    case PIGEON_OP_SUB_PUT: put_sub(m, op, made); break;
    case PIGEON_OP_RETAIN_PUT: put_retained(m, op, made); break;
    case PIGEON_OP_QUEUE_ADD: add_rows(m, op, made, r_gone); break;
    case PIGEON_OP_QUEUE_MOVE: move_row(m, op, made, r_gone); break;
    case PIGEON_OP_IN_ADD: add_in(m, op, made); break;
    case PIGEON_OP_WILL_PUT: put_will(m, op, made); break;
    case PIGEON_OP_SESSION_OFF:
    case PIGEON_OP_QUEUE_UPD:
    case PIGEON_OP_WILL_DUE: change(m, op); break;
    default: drop(m, op); break;
    }
}
