#include "journal.h"
#include <pigeon/thread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GROUP_OPS    16384u /* a commit takes no further batch beyond so many ops */
#define ROWS_AT_ONCE 64u

struct scan_job {
    struct scan_job *next;
    pigeon_token token;
    struct journal_cursor cursor;
    uint32_t left, credit; /* left: of the limit, UINT32_MAX: none */
};

struct entry {
    struct entry *next;
    const pigeon_batch *batch; /* NULL: a scan, or `more` */
    struct scan_job *scan;     /* a new one; NULL: `more` */
    pigeon_token token;        /* of the scan that gets more */
    uint32_t credit;
    bool is_quit;
};

struct outcome { /* of a batch in the open transaction */
    const pigeon_batch *batch;
    pigeon_unit_result *units; /* NULL: all units are fine */
    int32_t status;
};

struct journal {
    const pigeon_host *host;
    const pigeon_store_host *store_host;
    const struct journal_engine *engine;
    void *db;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct entry *first, **last; /* under the lock */
    struct entry *spare;         /* under the lock */
    /* the thread's own */
    struct scan_job *scans; /* out of credit */
    struct outcome *group;
    uint32_t n_group, cap_group, n_ops;
    uint32_t durability;
    bool failed;  /* for good: everything is refused */
    bool is_full; /* the last word on room was no */
    int32_t m_commits, m_commit_seconds, m_units, m_refused;
};

int32_t op_judge(const pigeon_op *op)
{
    switch (op->kind) {
    case PIGEON_OP_SUB_PUT: return op->sub ? PIGEON_OK : PIGEON_E_INVAL;
    case PIGEON_OP_RETAIN_PUT:
    case PIGEON_OP_WILL_PUT: return op->msg ? PIGEON_OK : PIGEON_E_INVAL;
    case PIGEON_OP_QUEUE_ADD:
        return op->msg && (!op->nrcpts || op->rcpts) ? PIGEON_OK : PIGEON_E_INVAL;
    case PIGEON_OP_QUEUE_MOVE: return op->nrcpts == 1 && op->rcpts ? PIGEON_OK : PIGEON_E_INVAL;
    case PIGEON_OP_SESSION_PUT:
    case PIGEON_OP_SESSION_DEL:
    case PIGEON_OP_SESSION_OFF:
    case PIGEON_OP_SUB_DEL:
    case PIGEON_OP_RETAIN_DEL:
    case PIGEON_OP_QUEUE_UPD:
    case PIGEON_OP_QUEUE_DEL:
    case PIGEON_OP_IN_ADD:
    case PIGEON_OP_IN_DEL:
    case PIGEON_OP_WILL_DUE:
    case PIGEON_OP_WILL_TAKE:
    case PIGEON_OP_WILL_DEL: return PIGEON_OK;
    default: return PIGEON_E_NOTSUP;
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

static void answer(struct journal *j, const struct outcome *o)
{
    pigeon_batch_result r = { .size = sizeof(r), .status = o->status };

    r.units = o->units;
    j->store_host->batch_done(j->host->inst, o->batch->token, &r);
}

/* The batch as a whole has this status. */
static void answer_plain(struct journal *j, const pigeon_batch *batch, int32_t status)
{
    struct outcome o = { .batch = batch, .status = status };

    answer(j, &o);
}

static void outcome_fini(struct outcome *o)
{
    free(o->units);
    o->units = NULL;
}

/* ---- failing --------------------------------------------------------------------------------- */

static pigeon_str text_of(const char *s)
{
    return (pigeon_str){ .ptr = s, .len = (uint32_t)strlen(s) };
}

static void say(struct journal *j, uint32_t what)
{
    const char *why = j->engine->error(j->db);

    j->store_host->seen(j->host->inst, what, text_of(why ? why : ""));
}

/* What the engine's error comes to for everybody. */
static int32_t take_error(struct journal *j, int32_t status)
{
    if (status == PIGEON_E_FULL && !j->is_full) {
        j->is_full = true;
        say(j, PIGEON_SEEN_FULL);
    }
    if (status == PIGEON_E_IO && !j->failed) {
        j->failed = true;
        say(j, PIGEON_SEEN_FAILED);
    }
    return status;
}

static bool ends_transaction(int32_t status)
{
    return status == PIGEON_E_FULL || status == PIGEON_E_NOMEM || status == PIGEON_E_IO;
}

/* ---- one transaction ------------------------------------------------------------------------- */

static pigeon_unit_result *results_of(struct outcome *o)
{
    if (!o->units)
        o->units = calloc(o->batch->nunits ? o->batch->nunits : 1, sizeof(*o->units));
    return o->units;
}

/* only: PIGEON_UNIT_* flags that a unit must have to be applied, 0: every unit; the others are
 * refused as FULL. */
static int32_t apply(struct journal *j, struct outcome *o, uint32_t only)
{
    for (uint32_t i = 0; i < o->batch->nunits; i++) {
        const pigeon_unit *u = batch_unit(o->batch, i);
        uint32_t gone = 0;
        int32_t r = PIGEON_E_FULL;

        if ((u->flags & only) == only) {
            r = j->engine->unit(j->db, o->batch, u, &gone);
            if (ends_transaction(r))
                return r;
        }
        if (r == PIGEON_OK && !gone)
            continue;
        if (!results_of(o))
            return PIGEON_E_NOMEM;
        o->units[i] = (pigeon_unit_result){ .status = r, .gone = gone };
    }
    return PIGEON_OK;
}

static void count(const struct journal *j, int32_t metric, int64_t n)
{
    if (metric >= 0)
        j->host->metric_add(j->host->inst, metric, n);
}

static int32_t commit(struct journal *j, uint32_t durability)
{
    int64_t began = j->host->now_ns(j->host->inst);
    int32_t r = j->engine->commit(j->db, durability);

    count(j, j->m_commits, 1);
    if (j->m_commit_seconds >= 0)
        j->host->metric_observe(j->host->inst, j->m_commit_seconds,
                                j->host->now_ns(j->host->inst) - began);
    return r;
}

/* A batch in a transaction of its own. */
static int32_t apply_alone(struct journal *j, struct outcome *o, uint32_t only)
{
    int32_t r;

    outcome_fini(o);
    r = j->engine->begin(j->db);
    if (r != PIGEON_OK)
        return r;
    r = apply(j, o, only);
    if (r == PIGEON_OK)
        r = commit(j, o->batch->durability);
    if (r != PIGEON_OK)
        j->engine->rollback(j->db);
    return r;
}

static bool has_trim(const pigeon_batch *b)
{
    for (uint32_t i = 0; i < b->nunits; i++)
        if (batch_unit(b, i)->flags & PIGEON_UNIT_TRIM)
            return true;
    return false;
}

/* On a full engine what only deletes must work: the rest is refused, unit by unit. */
static void settle_alone(struct journal *j, struct outcome *o)
{
    int32_t r = j->failed ? PIGEON_E_IO : apply_alone(j, o, 0);

    if (r == PIGEON_E_FULL && has_trim(o->batch)) {
        take_error(j, r);
        r = apply_alone(j, o, PIGEON_UNIT_TRIM);
        if (r == PIGEON_E_FULL && j->engine->make_room(j->db))
            r = apply_alone(j, o, PIGEON_UNIT_TRIM);
    }
    if (r != PIGEON_OK)
        outcome_fini(o);
    o->status = take_error(j, r);
    if (r != PIGEON_OK)
        count(j, j->m_refused, o->batch->nunits);
    answer(j, o);
    outcome_fini(o);
}

/* The transaction of the group has failed: each batch shows by itself what it comes to. */
static void group_scatter(struct journal *j)
{
    for (uint32_t i = 0; i < j->n_group; i++)
        settle_alone(j, &j->group[i]);
    j->n_group = 0;
}

static void group_end(struct journal *j)
{
    int32_t r;

    if (j->n_group == 0)
        return;
    r = commit(j, j->durability);
    if (r != PIGEON_OK) {
        j->engine->rollback(j->db);
        take_error(j, r == PIGEON_E_IO ? r : PIGEON_OK);
        group_scatter(j);
        return;
    }
    for (uint32_t i = 0; i < j->n_group; i++) {
        count(j, j->m_units, j->group[i].batch->nunits);
        answer(j, &j->group[i]);
        outcome_fini(&j->group[i]);
    }
    j->n_group = 0;
}

static bool group_grow(struct journal *j)
{
    uint32_t cap = j->cap_group ? j->cap_group * 2 : 64;
    struct outcome *group;

    if (j->n_group < j->cap_group)
        return true;
    group = realloc(j->group, cap * sizeof(*group));
    if (!group)
        return false;
    j->group = group;
    j->cap_group = cap;
    return true;
}

static void group_add(struct journal *j, const pigeon_batch *batch)
{
    struct outcome *o;
    int32_t r = PIGEON_OK;

    if (j->failed || !group_grow(j)) {
        group_end(j);
        answer_plain(j, batch, j->failed ? PIGEON_E_IO : PIGEON_E_NOMEM);
        return;
    }
    if (j->n_group == 0) {
        r = j->engine->begin(j->db);
        if (r != PIGEON_OK) {
            answer_plain(j, batch, take_error(j, r));
            return;
        }
        j->n_ops = 0;
        j->durability = PIGEON_DURABILITY_MEMORY;
    }
    o = &j->group[j->n_group++];
    *o = (struct outcome){ .batch = batch };
    r = apply(j, o, 0);
    if (r != PIGEON_OK) {
        j->engine->rollback(j->db);
        take_error(j, r == PIGEON_E_IO ? r : PIGEON_OK);
        group_scatter(j);
        return;
    }
    j->n_ops += batch->nops;
    if (batch->durability > j->durability)
        j->durability = batch->durability;
    if (j->n_ops >= GROUP_OPS)
        group_end(j);
}

/* ---- scans ----------------------------------------------------------------------------------- */

static void scan_free(struct scan_job *s)
{
    free(s->cursor.key);
    free(s);
}

struct hand_over {
    struct journal *j;
    struct scan_job *s;
    bool is_unwanted;
};

static bool on_row(void *arg, const pigeon_op *op)
{
    struct hand_over *h = arg;
    pigeon_row row = { .size = sizeof(row), .what = h->s->cursor.what };

    row.op = op;
    if (h->j->store_host->rows(h->j->host->inst, h->s->token, &row, 1, sizeof(row)) != PIGEON_OK) {
        h->is_unwanted = true;
        return false;
    }
    h->s->credit--;
    h->s->left -= h->s->left != UINT32_MAX;
    return h->s->credit && h->s->left;
}

static void scan_run(struct journal *j, struct scan_job *s)
{
    struct journal_row room;
    struct hand_over h = { .j = j, .s = s };
    int32_t r = j->failed ? PIGEON_E_IO : PIGEON_OK;

    if (r == PIGEON_OK && s->left)
        r = s->credit ? j->engine->rows(j->db, &s->cursor, &room, on_row, &h) : PIGEON_PENDING;
    if (r == PIGEON_PENDING && !h.is_unwanted && s->left) {
        s->next = j->scans;
        j->scans = s;
        return;
    }
    if (r == PIGEON_PENDING)
        r = PIGEON_OK;
    take_error(j, r);
    j->host->complete(j->host->inst, s->token, r);
    scan_free(s);
}

static void scan_more(struct journal *j, pigeon_token token, uint32_t credit)
{
    struct scan_job **at = &j->scans, *s;

    while (*at && (*at)->token != token)
        at = &(*at)->next;
    s = *at;
    if (!s)
        return;
    *at = s->next;
    s->credit = credit < UINT32_MAX - s->credit ? s->credit + credit : UINT32_MAX;
    scan_run(j, s);
}

/* ---- the thread ------------------------------------------------------------------------------ */

static struct entry *take_all(struct journal *j, bool tick)
{
    struct entry *e;
    struct timespec until;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec++;
    pthread_mutex_lock(&j->lock);
    while (!j->first) {
        if (!tick)
            pthread_cond_wait(&j->changed, &j->lock);
        else if (pthread_cond_timedwait(&j->changed, &j->lock, &until))
            break;
    }
    e = j->first;
    j->first = NULL;
    j->last = &j->first;
    pthread_mutex_unlock(&j->lock);
    return e;
}

static void give_back(struct journal *j, struct entry *e)
{
    struct entry *last = e;

    if (!e)
        return;
    while (last->next)
        last = last->next;
    pthread_mutex_lock(&j->lock);
    last->next = j->spare;
    j->spare = e;
    pthread_mutex_unlock(&j->lock);
}

/* true: to be ended. */
static bool run_all(struct journal *j, struct entry *first)
{
    bool quit = false;

    for (struct entry *e = first; e; e = e->next) {
        if (e->batch) {
            group_add(j, e->batch);
            continue;
        }
        group_end(j); /* a scan sees what is committed, and all of it */
        if (e->is_quit)
            quit = true;
        else if (e->scan)
            scan_run(j, e->scan);
        else
            scan_more(j, e->token, e->credit);
    }
    group_end(j);
    return quit;
}

static void *run(void *arg)
{
    struct journal *j = arg;
    bool tick = false, quit = false;

    while (!quit) {
        struct entry *first = take_all(j, tick);

        quit = run_all(j, first);
        give_back(j, first);
        if (j->failed)
            continue;
        tick = false;
        take_error(j, j->engine->idle(j->db, &tick));
        if (j->is_full && !tick) {
            j->is_full = false;
            j->store_host->seen(j->host->inst, PIGEON_SEEN_ROOM, text_of(""));
        }
    }
    return NULL;
}

/* ---- calls ----------------------------------------------------------------------------------- */

static struct entry *entry_get(struct journal *j)
{
    struct entry *e;

    pthread_mutex_lock(&j->lock);
    e = j->spare;
    if (e)
        j->spare = e->next;
    pthread_mutex_unlock(&j->lock);
    if (!e)
        e = malloc(sizeof(*e));
    if (e)
        *e = (struct entry){ 0 };
    return e;
}

static void entry_put(struct journal *j, struct entry *e)
{
    bool was_empty;

    pthread_mutex_lock(&j->lock);
    was_empty = !j->first;
    *j->last = e;
    j->last = &e->next;
    if (was_empty)
        pthread_cond_signal(&j->changed);
    pthread_mutex_unlock(&j->lock);
}

int32_t journal_submit(struct journal *j, const pigeon_batch *batch)
{
    struct entry *e = entry_get(j);

    if (!e)
        return PIGEON_E_NOMEM;
    e->batch = batch;
    entry_put(j, e);
    return PIGEON_PENDING;
}

static bool is_known(uint32_t what)
{
    return what == PIGEON_SCAN_SESSIONS || what == PIGEON_SCAN_SUBS ||
           what == PIGEON_SCAN_RETAINED || what == PIGEON_SCAN_QUEUE || what == PIGEON_SCAN_IN ||
           what == PIGEON_SCAN_WILLS;
}

int32_t journal_scan(struct journal *j, const pigeon_scan *scan)
{
    struct scan_job *s;
    struct entry *e;

    if (!is_known(scan->what))
        return PIGEON_E_NOTSUP;
    s = calloc(1, sizeof(*s));
    e = entry_get(j);
    if (!s || !e) {
        free(s);
        free(e);
        return PIGEON_E_NOMEM;
    }
    s->token = scan->token;
    s->cursor = (struct journal_cursor){ .what = scan->what,
                                         .session = scan->session,
                                         .after_pos = scan->after_pos };
    s->left = scan->limit ? scan->limit : UINT32_MAX;
    s->credit = scan->credit;
    e->scan = s;
    entry_put(j, e);
    return PIGEON_PENDING;
}

int32_t journal_more(struct journal *j, pigeon_token token, uint32_t credit)
{
    struct entry *e = entry_get(j);

    if (!e)
        return PIGEON_E_NOMEM;
    e->token = token;
    e->credit = credit;
    entry_put(j, e);
    return PIGEON_OK;
}

/* ---- life ------------------------------------------------------------------------------------ */

static int32_t metric(const pigeon_host *h, const char *name, const char *help, uint32_t kind)
{
    return PIGEON_HAS(h, pigeon_host, metric_observe) && h->metric
               ? h->metric(h->inst, name, help, kind)
               : PIGEON_E_NOTSUP;
}

static void metrics(struct journal *j)
{
    j->m_commits = metric(j->host, "commits", "commits", PIGEON_METRIC_COUNTER);
    j->m_commit_seconds =
        metric(j->host, "commit_seconds", "time of a commit", PIGEON_METRIC_HISTOGRAM);
    j->m_units = metric(j->host, "units", "units committed", PIGEON_METRIC_COUNTER);
    j->m_refused = metric(j->host, "refused", "units that were not stored", PIGEON_METRIC_COUNTER);
}

static int start(struct journal *j)
{
    return pigeon_thread_start(&j->thread, "pg-store", run, j);
}

static void release(struct journal *j)
{
    for (struct entry *e = j->spare, *next; e; e = next) {
        next = e->next;
        free(e);
    }
    for (struct scan_job *s = j->scans, *next; s; s = next) {
        next = s->next;
        scan_free(s);
    }
    pthread_mutex_destroy(&j->lock);
    pthread_cond_destroy(&j->changed);
    free(j->group);
    free(j);
}

int32_t journal_new(const pigeon_host *host, const struct journal_engine *engine, void *db,
                    struct journal **r_journal)
{
    struct journal *j = calloc(1, sizeof(*j));
    pthread_condattr_t attr;

    if (!j)
        return PIGEON_E_NOMEM;
    j->host = host;
    j->engine = engine;
    j->db = db;
    j->last = &j->first;
    j->store_host = host->get(host->inst, PIGEON_IF_STORE_HOST, sizeof(pigeon_store_host));
    pthread_mutex_init(&j->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&j->changed, &attr);
    pthread_condattr_destroy(&attr);
    metrics(j);
    if (!j->store_host || start(j)) {
        release(j);
        return j->store_host ? PIGEON_E_NOMEM : PIGEON_E_NOTSUP;
    }
    *r_journal = j;
    return PIGEON_OK;
}

void journal_free(struct journal **journal)
{
    struct journal *j = *journal;
    static const struct entry quit = { .is_quit = true };
    struct entry last = quit;

    *journal = NULL;
    if (!j)
        return;
    entry_put(j, &last);
    pthread_join(j->thread, NULL);
    for (struct entry **at = &j->spare; *at; at = &(*at)->next)
        if (*at == &last) {
            *at = last.next;
            break;
        }
    release(j);
}
