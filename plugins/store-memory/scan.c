#include "memory.h"
#include <stdlib.h>

#define ROWS 32 /* handed over at once */

struct rows {
    pigeon_row row[ROWS];
    pigeon_op op[ROWS];
    pigeon_rcpt rcpt[ROWS];
    uint32_t n;
};

static int64_t left_ms(const struct memory *m, int64_t due_ms)
{
    int64_t left = due_ms - memory_now_ms(m);

    return due_ms < 0 ? -1 : left > 0 ? left : 0;
}

static pigeon_str client_of(const struct session *s)
{
    return (pigeon_str){ .ptr = s->ident->data, .len = s->ident->client_len };
}

static void fill_row(const struct row *r, pigeon_op *op, pigeon_rcpt *rcpt)
{
    op->kind = PIGEON_OP_QUEUE_ADD;
    op->pos = r->pos;
    op->packet_id = r->packet_id;
    op->state = r->state;
    op->msg = r->body->msg;
    op->rcpts = rcpt;
    op->nrcpts = 1;
    op->rcpt_stride = sizeof(*rcpt);
    *rcpt = (pigeon_rcpt){
        .size = sizeof(*rcpt),
        .client = client_of(r->rec.session),
        .session = r->rec.session->number,
        .qos = r->qos,
        .retain = r->retain,
        .nsub_ids = r->n_ids,
        .share = { .ptr = r->data + r->n_ids * sizeof(uint32_t), .len = r->share_len },
    };
    rcpt->sub_ids = (const uint32_t *)(const void *)r->data;
}

static void fill(const struct memory *m, const struct rec *rec, pigeon_op *op, pigeon_rcpt *rcpt)
{
    const struct session *s = rec->session;
    const struct will *w;

    *op = (pigeon_op){ .size = sizeof(*op) };
    if (rec->kind == REC_SESSION)
        s = (const struct session *)rec;
    if (s) {
        op->session = s->number;
        op->client = client_of(s);
    }
    switch (rec->kind) {
    case REC_SESSION:
        op->kind = PIGEON_OP_SESSION_PUT;
        op->due_in_ms = left_ms(m, s->due_ms);
        op->extra = (pigeon_bytes){ .ptr = (const uint8_t *)s->ident->data + s->ident->client_len,
                                    .len = s->ident->extra_len };
        break;
    case REC_SUB:
        op->kind = PIGEON_OP_SUB_PUT;
        op->key = ((const struct sub *)rec)->key;
        op->sub = &((const struct sub *)rec)->view;
        break;
    case REC_ROW: fill_row((const struct row *)rec, op, rcpt); break;
    case REC_IN:
        op->kind = PIGEON_OP_IN_ADD;
        op->packet_id = ((const struct in *)rec)->packet_id;
        break;
    case REC_WILL:
        w = (const struct will *)rec;
        op->kind = PIGEON_OP_WILL_PUT;
        op->msg = w->body->msg;
        op->due_in_ms = left_ms(m, w->due_ms);
        op->extra = (pigeon_bytes){ .ptr = (const uint8_t *)w->data, .len = w->extra_len };
        break;
    case REC_RETAINED:
        op->kind = PIGEON_OP_RETAIN_PUT;
        op->msg = ((const struct retained *)rec)->body->msg;
        op->key = op->msg->topic;
        break;
    case REC_KINDS: break;
    }
}

static int32_t rows_flush(struct memory *m, struct cursor *c, struct rows *rows)
{
    uint32_t n = rows->n;

    rows->n = 0;
    if (!n)
        return PIGEON_OK;
    return m->store_host->rows(m->host->inst, c->token, rows->row, n, sizeof(rows->row[0]));
}

static struct rec *rec_at(const struct cursor *c, struct link *l)
{
    return c->by_session ? OWNER_OF(l, struct rec, mine) : OWNER_OF(l, struct rec, all);
}

/* PIGEON_PENDING: out of credit. */
static int32_t run(struct memory *m, struct cursor *c)
{
    struct rows rows = { .n = 0 };
    int32_t r;

    while (c->next != c->head && c->left) {
        struct rec *rec = rec_at(c, c->next);

        if (rec->kind == REC_ROW && ((struct row *)rec)->pos <= c->after_pos) {
            c->next = c->next->next;
            continue;
        }
        if (!c->credit) {
            r = rows_flush(m, c, &rows);
            return r == PIGEON_OK ? PIGEON_PENDING : r;
        }
        uint32_t i = rows.n++;
        fill(m, rec, &rows.op[i], &rows.rcpt[i]);
        rows.row[i] = (pigeon_row){ .size = sizeof(rows.row[i]), .what = c->what };
        rows.row[i].op = &rows.op[i];
        c->next = c->next->next;
        c->credit--;
        c->left -= c->left != UINT32_MAX;
        if (rows.n == ROWS && (r = rows_flush(m, c, &rows)) != PIGEON_OK)
            return r;
    }
    return rows_flush(m, c, &rows);
}

static bool kind_of(uint32_t what, enum rec_kind *r_kind)
{
    switch (what) {
    case PIGEON_SCAN_SESSIONS: *r_kind = REC_SESSION; return true;
    case PIGEON_SCAN_SUBS: *r_kind = REC_SUB; return true;
    case PIGEON_SCAN_RETAINED: *r_kind = REC_RETAINED; return true;
    case PIGEON_SCAN_QUEUE: *r_kind = REC_ROW; return true;
    case PIGEON_SCAN_IN: *r_kind = REC_IN; return true;
    case PIGEON_SCAN_WILLS: *r_kind = REC_WILL; return true;
    default: return false;
    }
}

int32_t memory_scan(void *self, const pigeon_scan *scan)
{
    struct memory *m = self;
    enum rec_kind kind;
    struct cursor c = { .token = scan->token,
                        .what = scan->what,
                        .left = scan->limit ? scan->limit : UINT32_MAX,
                        .credit = scan->credit,
                        .after_pos = scan->after_pos };

    if (!kind_of(scan->what, &kind))
        return PIGEON_E_NOTSUP;
    c.head = &m->all[kind];
    c.next = c.head->next;
    if (scan->session && kind != REC_RETAINED) {
        struct session *s = memory_session(m, scan->session);

        if (!s)
            return PIGEON_OK;
        c.by_session = kind != REC_SESSION;
        c.head = c.by_session ? &s->mine[kind] : c.head;
        c.next = c.by_session ? c.head->next : &s->rec.all;
        c.left = c.by_session ? c.left : 1;
        struct row *last = memory_row(m, scan->session, scan->after_pos);
        if (kind == REC_ROW && last)
            c.next = last->rec.mine.next;
    }
    int32_t r = run(m, &c);
    if (r != PIGEON_PENDING)
        return r;
    struct cursor *waiting = malloc(sizeof(*waiting));
    if (!waiting)
        return PIGEON_E_NOMEM;
    *waiting = c;
    link_before(&m->cursors, &waiting->link);
    return PIGEON_PENDING;
}

static void cursor_free(struct cursor *c)
{
    c->link.prev->next = c->link.next;
    c->link.next->prev = c->link.prev;
    free(c);
}

int32_t memory_more(void *self, pigeon_token token, uint32_t credit)
{
    struct memory *m = self;

    for (struct link *l = m->cursors.next; l != &m->cursors; l = l->next) {
        struct cursor *c = OWNER_OF(l, struct cursor, link);

        if (c->token != token)
            continue;
        c->credit += credit < UINT32_MAX - c->credit ? credit : UINT32_MAX - c->credit;
        int32_t r = run(m, c);
        if (r != PIGEON_PENDING) {
            cursor_free(c);
            m->host->complete(m->host->inst, token, r);
        }
        return PIGEON_OK;
    }
    return PIGEON_E_GONE;
}

void cursors_leave(struct memory *m, const struct rec *rec)
{
    for (struct link *l = m->cursors.next, *next; l != &m->cursors; l = next) {
        struct cursor *c = OWNER_OF(l, struct cursor, link);
        const struct session *s = (const struct session *)rec;

        next = l->next;
        if (c->next == (c->by_session ? &rec->mine : &rec->all))
            c->next = c->next->next;
        /* The list itself goes with its session; all its records have gone before. */
        if (rec->kind == REC_SESSION && c->by_session && c->head >= s->mine &&
            c->head < s->mine + REC_KINDS) {
            pigeon_token token = c->token;

            cursor_free(c);
            m->host->complete(m->host->inst, token, PIGEON_OK);
        }
    }
}

void cursors_clear(struct memory *m)
{
    while (m->cursors.next != &m->cursors)
        cursor_free(OWNER_OF(m->cursors.next, struct cursor, link));
}
