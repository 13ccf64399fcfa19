#include "survey.h"
#include <stdlib.h>

struct sum {
    uint64_t session, last_pos;
    pigeon_queue_sum sum;
};

struct surveying {
    struct ledger *ledger;
    struct journal_row *room;
    bool starved;
};

static bool on_row(void *arg, const pigeon_op *op)
{
    struct surveying *s = arg;
    const pigeon_msg *m = op->msg;
    uint64_t bytes = (uint64_t)m->topic.len + m->payload.len + m->props.len + m->publisher.len +
                     m->publisher_user.len;

    s->starved = ledger_survey_row(s->ledger, op->session, op->pos, op->packet_id, bytes) ||
                 (s->room->is_shared && ledger_survey_shared(s->ledger, op->session, op->pos));
    return !s->starved;
}

int32_t survey(void *db, struct ledger *l, survey_rows_fn rows)
{
    struct journal_cursor c = { .what = PIGEON_SCAN_QUEUE };
    struct journal_row room;
    struct surveying s = { .ledger = l, .room = &room };
    int32_t r;

    ledger_survey_begin(l);
    r = rows(db, &c, &room, on_row, &s);
    free(c.key);
    return s.starved ? PIGEON_E_NOMEM : r;
}

/* A snapshot, for the ledger may change between two pieces: it stands in the cursor's key. */
static int32_t take_sums(const struct ledger *l, struct journal_cursor *c)
{
    size_t n = 1;
    uint32_t at = 0;
    struct sum *sums = calloc((size_t)l->queues.n + 1, sizeof(*sums));

    if (!sums || l->queues.n >= UINT32_MAX / sizeof(*sums)) {
        free(sums);
        return PIGEON_E_NOMEM;
    }
    sums[0] = (struct sum){ .last_pos = l->last_pos, .sum.size = sizeof(sums[0].sum) };
    for (const struct queue *q; (q = ledger_each(l, &at));) {
        const struct run *last;

        if (!q->n)
            continue;
        last = &q->runs[q->at + q->n - 1];
        sums[n++] = (struct sum){ .session = q->session,
                                  .last_pos = last->first + last->n - 1,
                                  .sum = { .size = sizeof(sums[0].sum),
                                           .rows = q->rows,
                                           .bytes = q->bytes,
                                           .last_id_pos = q->last_id } };
        sums[0].sum.rows += q->rows;
        sums[0].sum.bytes += q->bytes;
    }
    c->key = (char *)sums;
    c->key_len = (uint32_t)(n * sizeof(*sums));
    return PIGEON_OK;
}

int32_t survey_sums(const struct ledger *l, struct journal_cursor *c, struct journal_row *room,
                    journal_row_fn row, void *arg)
{
    const struct sum *sums;

    if (!c->key && take_sums(l, c) != PIGEON_OK)
        return PIGEON_E_NOMEM;
    sums = (const struct sum *)(const void *)c->key;
    while (c->at < c->key_len / sizeof(*sums)) {
        const struct sum *s = &sums[c->at++];

        if (c->session && c->session != s->session)
            continue;
        room->op =
            (pigeon_op){ .size = sizeof(room->op),
                         .kind = PIGEON_OP_QUEUE_ADD,
                         .session = s->session,
                         .pos = s->last_pos,
                         .extra = { .ptr = (const uint8_t *)&s->sum, .len = sizeof(s->sum) } };
        if (!row(arg, &room->op))
            return PIGEON_PENDING;
    }
    return PIGEON_OK;
}
