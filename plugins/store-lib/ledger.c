#include "ledger.h"
#include <stdlib.h>
#include <string.h>

#define RUNS_MIN  4u
#define RUNS_KEPT 64u /* places that an empty queue keeps */

enum change_kind { SESSION_ADDED, SESSION_DROPPED, POS_ADDED, POS_DELETED, WAITING_SET };

struct ledger_change {
    enum change_kind kind;
    struct queue *queue;
    uint64_t pos, was; /* was: how many waited */
};

/* ---- runs ------------------------------------------------------------------------------------ */

static struct run *run_at(const struct queue *q, uint32_t i)
{
    return &q->runs[q->at + i];
}

/* Runs that begin at pos or before it. */
static uint32_t runs_upto(const struct queue *q, uint64_t pos)
{
    uint32_t low = 0, high = q->n;

    if (q->n && run_at(q, q->n - 1)->first <= pos)
        return q->n;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (run_at(q, middle)->first <= pos)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void runs_to_begin(struct queue *q)
{
    memmove(q->runs, q->runs + q->at, q->n * sizeof(*q->runs));
    q->at = 0;
}

/* A place behind the last run. What had its place before finds one without memory. */
static int runs_reserve(struct queue *q)
{
    uint32_t size = q->size ? q->size * 2 : RUNS_MIN;
    struct run *more;

    if (q->at + q->n < q->size)
        return 0;
    if (q->at && q->at >= q->size / 4) {
        runs_to_begin(q);
        return 0;
    }
    more = realloc(q->runs, size * sizeof(*more));
    if (more) {
        q->runs = more;
        q->size = size;
    } else if (q->at) {
        runs_to_begin(q);
    } else {
        return -1;
    }
    return 0;
}

/* The shorter side moves. */
static int run_insert(struct queue *q, uint32_t i, struct run run)
{
    if (q->at && i < q->n / 2) {
        q->at--;
        memmove(run_at(q, 0), run_at(q, 1), i * sizeof(run));
    } else {
        if (runs_reserve(q))
            return -1;
        memmove(run_at(q, i + 1), run_at(q, i), (q->n - i) * sizeof(run));
    }
    q->n++;
    *run_at(q, i) = run;
    return 0;
}

static void run_remove(struct queue *q, uint32_t i)
{
    q->n--;
    if (i < q->n / 2) {
        memmove(run_at(q, 1), run_at(q, 0), i * sizeof(struct run));
        q->at++;
    } else {
        memmove(run_at(q, i), run_at(q, i + 1), (q->n - i) * sizeof(struct run));
    }
    if (!q->n)
        q->at = 0;
}

bool ledger_has(const struct queue *q, uint64_t pos)
{
    uint32_t i = runs_upto(q, pos);

    return i && pos - run_at(q, i - 1)->first < run_at(q, i - 1)->n;
}

/* pos is not in it. */
static int pos_add(struct queue *q, uint64_t pos)
{
    uint32_t i = runs_upto(q, pos);
    struct run *before = i ? run_at(q, i - 1) : NULL, *behind = i < q->n ? run_at(q, i) : NULL;

    if (behind && behind->first != pos + 1)
        behind = NULL;
    if (before && before->first + before->n == pos) {
        before->n += 1 + (behind ? behind->n : 0);
        if (behind)
            run_remove(q, i);
    } else if (behind) {
        behind->first--;
        behind->n++;
    } else if (run_insert(q, i, (struct run){ .first = pos, .n = 1 })) {
        return -1;
    }
    q->rows++;
    return 0;
}

/* pos is in it. */
static int pos_del(struct queue *q, uint64_t pos)
{
    uint32_t i = runs_upto(q, pos) - 1;
    struct run *run = run_at(q, i);
    uint64_t before = pos - run->first, behind = run->n - before - 1;

    if (before && behind) {
        if (run_insert(q, i + 1, (struct run){ .first = pos + 1, .n = behind }))
            return -1;
        run_at(q, i)->n = before;
    } else if (before || behind) {
        run->first += behind ? 1 : 0;
        run->n--;
    } else {
        run_remove(q, i);
    }
    q->rows--;
    return 0;
}

struct queue *ledger_each(const struct ledger *l, uint32_t *at)
{
    while (l->queues.cells && *at <= l->queues.mask) {
        const uint64_t *cell = l->queues.cells + 2 * (size_t)(*at)++;

        if (cell[0])
            return (struct queue *)(uintptr_t)cell[1];
    }
    return NULL;
}

struct queue *ledger_find_with(const struct ledger *l, uint64_t session, uint64_t pos)
{
    struct queue *q = ledger_find(l, session);

    return q && ledger_has(q, pos) ? q : NULL;
}

bool ledger_next(const struct queue *q, uint64_t after, uint64_t *r_first, uint64_t *r_last)
{
    uint32_t i = runs_upto(q, after);

    if (i && after - run_at(q, i - 1)->first + 1 < run_at(q, i - 1)->n) {
        i--;
        *r_first = after + 1;
    } else if (i < q->n) {
        *r_first = run_at(q, i)->first;
    } else {
        return false;
    }
    *r_last = run_at(q, i)->first + run_at(q, i)->n - 1;
    return true;
}

/* ---- what is noted --------------------------------------------------------------------------- */

static void queue_free(struct queue *q)
{
    free(q->runs);
    free(q);
}

static int reserve_change(struct ledger *l)
{
    uint32_t size = l->size ? l->size * 2 : 64;
    struct ledger_change *more;

    if (l->n_changes < l->size)
        return 0;
    more = realloc(l->changes, size * sizeof(*more));
    if (!more)
        return -1;
    l->changes = more;
    l->size = size;
    return 0;
}

static void note(struct ledger *l, struct ledger_change change)
{
    l->changes[l->n_changes++] = change;
    l->is_surveyed = false;
}

static int numbers_set(struct numbers *set, uint64_t number, uint64_t value)
{
    if (numbers_put(set, number))
        return -1;
    *numbers_find(set, number) = value;
    return 0;
}

struct queue *ledger_find(const struct ledger *l, uint64_t session)
{
    const uint64_t *at = numbers_find(&l->queues, session);

    return at ? (struct queue *)(uintptr_t)*at : NULL;
}

int ledger_add_session(struct ledger *l, uint64_t session)
{
    struct queue *q;

    if (ledger_find(l, session))
        return 0;
    q = calloc(1, sizeof(*q));
    if (!q || reserve_change(l) || numbers_set(&l->queues, session, (uintptr_t)q)) {
        free(q);
        return -1;
    }
    q->session = session;
    note(l, (struct ledger_change){ .kind = SESSION_ADDED, .queue = q });
    return 0;
}

int ledger_drop_session(struct ledger *l, uint64_t session)
{
    struct queue *q = ledger_find(l, session);

    if (!q)
        return 0;
    if (reserve_change(l))
        return -1;
    numbers_drop(&l->queues, session);
    note(l, (struct ledger_change){ .kind = SESSION_DROPPED, .queue = q });
    return 0;
}

int ledger_add(struct ledger *l, struct queue *q, uint64_t pos)
{
    if (ledger_has(q, pos))
        return 0;
    if (reserve_change(l) || pos_add(q, pos))
        return -1;
    note(l, (struct ledger_change){ .kind = POS_ADDED, .queue = q, .pos = pos });
    if (pos > l->last_pos)
        l->last_pos = pos;
    return 0;
}

int ledger_del(struct ledger *l, struct queue *q, uint64_t pos)
{
    if (!ledger_has(q, pos))
        return 0;
    if (reserve_change(l) || pos_del(q, pos))
        return -1;
    note(l, (struct ledger_change){ .kind = POS_DELETED, .queue = q, .pos = pos });
    return 0;
}

uint64_t ledger_waiting(const struct ledger *l, uint64_t pos)
{
    const uint64_t *at = numbers_find(&l->bodies, pos);

    return at ? *at : 0;
}

int ledger_set_waiting(struct ledger *l, uint64_t pos, uint64_t n)
{
    uint64_t was = ledger_waiting(l, pos);

    if (reserve_change(l) || (n && numbers_set(&l->bodies, pos, n)))
        return -1;
    if (!n)
        numbers_drop(&l->bodies, pos);
    note(l, (struct ledger_change){ .kind = WAITING_SET, .pos = pos, .was = was });
    return 0;
}

/* ---- transactions ---------------------------------------------------------------------------- */

void ledger_commit(struct ledger *l)
{
    for (uint32_t i = 0; i < l->n_changes; i++) {
        struct queue *q = l->changes[i].queue;

        if (l->changes[i].kind == SESSION_DROPPED) {
            queue_free(q);
        } else if (l->changes[i].kind == POS_DELETED && !q->n && q->size > RUNS_KEPT) {
            free(q->runs);
            q->runs = NULL;
            q->size = 0;
        }
    }
    l->n_changes = l->mark = 0;
}

/* What is put back had its place before: nothing here needs memory. */
static void take_back(struct ledger *l, const struct ledger_change *c)
{
    switch (c->kind) {
    case SESSION_ADDED:
        numbers_drop(&l->queues, c->queue->session);
        queue_free(c->queue);
        break;
    case SESSION_DROPPED: numbers_set(&l->queues, c->queue->session, (uintptr_t)c->queue); break;
    case POS_ADDED: pos_del(c->queue, c->pos); break;
    case POS_DELETED: pos_add(c->queue, c->pos); break;
    case WAITING_SET:
        if (c->was)
            numbers_set(&l->bodies, c->pos, c->was);
        else
            numbers_drop(&l->bodies, c->pos);
        break;
    }
}

static void take_back_to(struct ledger *l, uint32_t n)
{
    while (l->n_changes > n)
        take_back(l, &l->changes[--l->n_changes]);
}

void ledger_rollback(struct ledger *l)
{
    take_back_to(l, 0);
    l->mark = 0;
}

void ledger_mark(struct ledger *l)
{
    l->mark = l->n_changes;
}

void ledger_undo(struct ledger *l)
{
    take_back_to(l, l->mark);
}

void ledger_fini(struct ledger *l)
{
    ledger_commit(l);
    uint32_t at = 0;
    for (struct queue *q; (q = ledger_each(l, &at));)
        queue_free(q);
    numbers_fini(&l->queues);
    numbers_fini(&l->bodies);
    free(l->changes);
    *l = (struct ledger){ 0 };
}

/* ---- survey ---------------------------------------------------------------------------------- */

void ledger_survey_begin(struct ledger *l)
{
    uint32_t at = 0;

    for (struct queue *q; (q = ledger_each(l, &at));) {
        q->at = q->n = 0;
        q->rows = q->bytes = q->last_id = 0;
    }
    numbers_fini(&l->bodies);
    l->is_surveyed = true;
}

int ledger_survey_row(struct ledger *l, uint64_t session, uint64_t pos, uint16_t packet_id,
                      uint64_t bytes)
{
    struct queue *q = ledger_find(l, session);

    if (pos > l->last_pos)
        l->last_pos = pos;
    if (!q || ledger_has(q, pos))
        return 0;
    if (pos_add(q, pos))
        return -1;
    q->bytes += bytes;
    if (packet_id && pos > q->last_id)
        q->last_id = pos;
    return 0;
}

int ledger_survey_shared(struct ledger *l, uint64_t session, uint64_t pos)
{
    return ledger_find(l, session) ? numbers_set(&l->bodies, pos, ledger_waiting(l, pos) + 1) : 0;
}
