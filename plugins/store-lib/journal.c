#include "journal.h"
#include "batch.h"
#include "survey.h"
#include <pigeon/thread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define GROUP_OPS 16384u /* a commit takes no further batch beyond so many ops */

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
    struct place place;
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
    bool failed;       /* for good: everything is refused */
    bool said_is_full; /* the last word to the host on room was no */
    int32_t m_commits, m_commit_seconds, m_batches, m_units, m_refused;
};

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
    j->store_host->seen(j->host->inst, what, text_of(j->place.error));
}

/* What the engine's error comes to for everybody. */
static int32_t take_error(struct journal *j, int32_t status)
{
    if (status == PIGEON_E_FULL && !j->said_is_full) {
        j->said_is_full = true;
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

static int32_t judge(const pigeon_batch *batch, const pigeon_unit *u, bool *r_may_end_late)
{
    int32_t r = PIGEON_OK;

    *r_may_end_late = false;
    for (uint32_t i = 0; i < u->nops && r == PIGEON_OK; i++) {
        const pigeon_op *op = batch_op(batch, u->first_op + i);

        r = op_judge(op);
        *r_may_end_late = *r_may_end_late || (i > 0 && op_is_conditional(op));
    }
    return r;
}

static int32_t apply_ops(struct journal *j, const pigeon_batch *batch, const pigeon_unit *u,
                         uint32_t *r_gone)
{
    int32_t r = PIGEON_OK;

    for (uint32_t i = 0; i < u->nops && r == PIGEON_OK; i++) {
        const pigeon_op *op = batch_op(batch, u->first_op + i);
        bool has = true;

        if (op_is_conditional(op))
            r = j->engine->has(j->db, op, &has);
        if (r == PIGEON_OK)
            r = has ? j->engine->op(j->db, op, r_gone) : PIGEON_E_GONE;
    }
    return r;
}

/* One unit, whole or not at all. An error that does not end the transaction concerns this unit
 * only. */
static int32_t apply_unit(struct journal *j, const pigeon_batch *batch, const pigeon_unit *u,
                          uint32_t *r_gone)
{
    bool may_end_late;
    int32_t r = judge(batch, u, &may_end_late), undone = PIGEON_OK, settled;

    if (r != PIGEON_OK)
        return r;
    /* The reserve is for deletions. */
    if (j->place.reserve_is_used && !(u->flags & PIGEON_UNIT_TRIM))
        return PIGEON_E_FULL;
    if (!may_end_late)
        return apply_ops(j, batch, u, r_gone);
    r = j->engine->save(j->db);
    if (r != PIGEON_OK)
        return r;
    r = apply_ops(j, batch, u, r_gone);
    if (r == PIGEON_E_GONE)
        undone = j->engine->undo(j->db);
    settled = j->engine->settle(j->db);
    if (r != PIGEON_OK && r != PIGEON_E_GONE)
        return r;
    return undone != PIGEON_OK ? undone : settled != PIGEON_OK ? settled : r;
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
            r = apply_unit(j, o->batch, u, &gone);
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
        if (r == PIGEON_E_FULL && place_give_up_reserve(&j->place))
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
static void group_scatter(struct journal *j, int32_t r)
{
    j->engine->rollback(j->db);
    take_error(j, r == PIGEON_E_IO ? r : PIGEON_OK);
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
        group_scatter(j, r);
        return;
    }
    count(j, j->m_batches, j->n_group);
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
        group_scatter(j, r);
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

static int32_t read_rows(struct journal *j, struct hand_over *h, struct journal_row *room)
{
    struct ledger *ledger;
    int32_t r = PIGEON_OK;

    if (h->s->cursor.what != PIGEON_SCAN_SUMS)
        return j->engine->rows(j->db, &h->s->cursor, room, on_row, h);
    ledger = j->engine->ledger(j->db);
    if (!ledger->is_surveyed && !h->s->cursor.key)
        r = survey(j->db, ledger, j->engine->rows);
    return r == PIGEON_OK ? survey_sums(ledger, &h->s->cursor, room, on_row, h) : r;
}

static void scan_run(struct journal *j, struct scan_job *s)
{
    struct journal_row room;
    struct hand_over h = { .j = j, .s = s };
    int32_t r = j->failed ? PIGEON_E_IO : PIGEON_OK;

    if (r == PIGEON_OK && s->left)
        r = s->credit ? read_rows(j, &h, &room) : PIGEON_PENDING;
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

/* tick: for a second at most. */
static struct entry *take_all(struct journal *j, bool tick)
{
    struct entry *e;
    struct timespec until = { 0 };

    if (tick) {
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec++;
    }
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

/* Once a second while the disk is full: is there room again? */
static void look_for_room(struct journal *j)
{
    if (j->place.is_full && place_may_probe(&j->place) && j->engine->has_room(j->db))
        j->place.is_full = j->place.reserve_is_used = false;
    if (j->said_is_full && !j->place.is_full) {
        j->said_is_full = false;
        j->store_host->seen(j->host->inst, PIGEON_SEEN_ROOM, text_of(""));
    }
}

static void *run(void *arg)
{
    struct journal *j = arg;
    bool quit = false;

    while (!quit) {
        struct entry *first = take_all(j, j->place.is_full && !j->failed);

        quit = run_all(j, first);
        give_back(j, first);
        if (!j->failed && j->engine->tidy)
            take_error(j, j->engine->tidy(j->db));
        if (!j->failed)
            look_for_room(j);
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

static int32_t submit(void *self, const pigeon_batch *batch)
{
    struct journal *j = self;
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
           what == PIGEON_SCAN_WILLS || what == PIGEON_SCAN_SUMS;
}

static int32_t scan(void *self, const pigeon_scan *scan)
{
    struct journal *j = self;
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

static int32_t more(void *self, pigeon_token token, uint32_t credit)
{
    struct journal *j = self;
    struct entry *e = entry_get(j);

    if (!e)
        return PIGEON_E_NOMEM;
    e->token = token;
    e->credit = credit;
    entry_put(j, e);
    return PIGEON_OK;
}

static int32_t info(void *self, pigeon_store_info *out)
{
    pigeon_store_info mine = { .size = out->size,
                               .keeps = PIGEON_KEEPS_MEM | PIGEON_KEEPS_OS | PIGEON_KEEPS_DISK };

    (void)self;
    memcpy(out, &mine, out->size < sizeof(mine) ? out->size : sizeof(mine));
    return PIGEON_OK;
}

const pigeon_store journal_store = {
    .size = sizeof(journal_store),
    .info = info,
    .submit = submit,
    .scan = scan,
    .more = more,
};

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
    j->m_batches = metric(j->host, "batches", "batches committed", PIGEON_METRIC_COUNTER);
    j->m_units = metric(j->host, "units", "units committed", PIGEON_METRIC_COUNTER);
    j->m_refused = metric(j->host, "refused", "units that were not stored", PIGEON_METRIC_COUNTER);
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
    if (j->db)
        j->engine->close(j->db);
    place_fini(&j->place);
    pthread_mutex_destroy(&j->lock);
    pthread_cond_destroy(&j->changed);
    free(j->group);
    free(j);
}

static struct journal *make(const pigeon_host *host, const struct journal_engine *engine)
{
    struct journal *j = calloc(1, sizeof(*j));
    pthread_condattr_t attr;

    if (!j)
        return NULL;
    j->host = host;
    j->engine = engine;
    j->last = &j->first;
    pthread_mutex_init(&j->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&j->changed, &attr);
    pthread_condattr_destroy(&attr);
    return j;
}

int32_t journal_create(const pigeon_host *host, const pigeon_conf *conf,
                       const struct journal_engine *engine, void **self)
{
    struct journal *j = make(host, engine);
    int32_t r;

    if (!j)
        return PIGEON_E_NOMEM;
    j->store_host = host->get(host->inst, PIGEON_IF_STORE_HOST, sizeof(pigeon_store_host));
    r = place_init(&j->place, host, conf, engine->file, engine->help);
    if (r == PIGEON_OK)
        r = engine->open(&j->place, conf, &j->db);
    if (r == PIGEON_OK && !j->store_host)
        r = PIGEON_E_NOTSUP;
    if (r == PIGEON_OK) {
        metrics(j);
        r = pigeon_thread_start(&j->thread, "pg-store", run, j);
    }
    if (r != PIGEON_OK) {
        release(j);
        return r;
    }
    *self = j;
    return PIGEON_OK;
}

void journal_destroy(void *self)
{
    struct journal *j = self;
    struct entry last = { .is_quit = true };

    entry_put(j, &last);
    pthread_join(j->thread, NULL);
    for (struct entry **at = &j->spare; *at; at = &(*at)->next)
        if (*at == &last) {
            *at = last.next;
            break;
        }
    release(j);
}
