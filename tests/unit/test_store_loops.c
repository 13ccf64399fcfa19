/* Three loops on three threads: two publish into one session's queue, the third reads it from the
 * store and live by turns (P3 of docs/concurrency.md). Run with ThreadSanitizer, too. */
#include "store_support.h"
#include <stdatomic.h>

#define N_EACH 3000
#define N_ALL  (2 * N_EACH)
#define AHEAD  100

/* A store that applies in order: at once, or on a thread of its own. */
struct job {
    struct job *next;
    const pigeon_batch *batch;
    const pigeon_scan *scan; /* or this */
};
struct journal {
    bool threaded, stop;
    bool instore[N_ALL + 1], was[N_ALL + 1];
    uint64_t last_pos;
    uint32_t n_wrong; /* ADD after DEL, numbers that do not grow */
    struct store *store;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct job *first, **last;
};

static void apply(struct journal *j, const pigeon_batch *batch)
{
    for (uint32_t i = 0; i < batch->nops; i++) {
        const pigeon_op *op = &batch->ops[i];

        if (op->kind == PIGEON_OP_QUEUE_ADD) {
            j->n_wrong += op->pos <= j->last_pos || j->was[op->pos];
            j->last_pos = op->pos;
            j->instore[op->pos] = j->was[op->pos] = true;
        } else {
            j->n_wrong += !j->instore[op->pos];
            j->instore[op->pos] = false;
        }
    }
}

static void give_rows(struct journal *j, const pigeon_scan *scan)
{
    pigeon_msg msg = { .size = sizeof(msg), .topic = { .ptr = "t", .len = 1 } };
    pigeon_rcpt rcpt = { .size = sizeof(rcpt), .session = 1 };
    uint32_t n = 0;

    for (uint64_t pos = scan->after_pos + 1; pos <= j->last_pos && n < scan->limit; pos++) {
        pigeon_op op = {
            .size = sizeof(op), .kind = PIGEON_OP_QUEUE_ADD, .session = 1, .pos = pos
        };
        pigeon_row row = { .size = sizeof(row), .what = PIGEON_SCAN_QUEUE };

        if (!j->instore[pos])
            continue;
        op.msg = &msg;
        op.rcpts = &rcpt;
        op.nrcpts = 1;
        op.rcpt_stride = sizeof(rcpt);
        row.op = &op;
        n++;
        if (store_host_table.rows(j->store, scan->token, &row, 1, sizeof(row)) != PIGEON_OK)
            break;
    }
}

static void *journal_thread(void *arg)
{
    struct journal *j = arg;

    pthread_mutex_lock(&j->lock);
    for (;;) {
        while (!j->first && !j->stop)
            pthread_cond_wait(&j->changed, &j->lock);
        struct job *job = j->first;
        if (!job)
            break;
        j->first = job->next;
        if (!j->first)
            j->last = &j->first;
        pthread_mutex_unlock(&j->lock);
        if (job->batch) {
            pigeon_batch_result result = { .size = sizeof(result) };
            pigeon_token token = job->batch->token;

            apply(j, job->batch);
            if (store_host_table.batch_done(j->store, token, &result) != PIGEON_OK)
                j->n_wrong++;
            if (store_host_table.batch_done(j->store, token, &result) != PIGEON_E_GONE)
                j->n_wrong++;
        } else {
            pigeon_token token = job->scan->token;

            give_rows(j, job->scan);
            store_complete(j->store, token, PIGEON_OK);
        }
        free(job);
        pthread_mutex_lock(&j->lock);
    }
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

static int32_t enqueue(struct journal *j, const pigeon_batch *batch, const pigeon_scan *scan)
{
    struct job *job = calloc(1, sizeof(*job));

    if (!job)
        return PIGEON_E_NOMEM;
    job->batch = batch;
    job->scan = scan;
    pthread_mutex_lock(&j->lock);
    *j->last = job;
    j->last = &job->next;
    pthread_cond_signal(&j->changed);
    pthread_mutex_unlock(&j->lock);
    return PIGEON_PENDING;
}

static int32_t journal_submit(void *self, const pigeon_batch *batch)
{
    struct journal *j = self;

    if (j->threaded)
        return enqueue(j, batch, NULL);
    apply(j, batch);
    return PIGEON_OK;
}

static int32_t journal_scan(void *self, const pigeon_scan *scan)
{
    struct journal *j = self;

    if (j->threaded)
        return enqueue(j, NULL, scan);
    give_rows(j, scan);
    return PIGEON_OK;
}

static const pigeon_store journal_table = {
    .size = sizeof(journal_table), .info = fake_info, .submit = journal_submit, .scan = journal_scan
};

/* ---- the loops ------------------------------------------------------------------------------- */

struct publisher;
struct item { /* a routed message */
    struct mail mail;
    struct store_wait wait;
    struct item *next; /* held */
    struct world *world;
    struct publisher *publisher;
    bool last;
};

struct publisher {
    struct world *world;
    struct loop *loop;
    struct hook_loop *hl;
    struct item items[N_EACH + 1];
    uint32_t n, n_done, n_wrong;
    uint64_t last_done;
    _Atomic uint32_t n_taken; /* by loop 0: publishers do not run away from it */
};

enum mode { OFFLINE, READING, LIVE };

struct world {
    struct loop_group *loops;
    struct journal journal;
    struct publisher publisher[2];
    /* loop 0 */
    struct hook_loop *hl;
    enum mode mode;
    struct store_scan scan;
    struct item *held, **held_last;
    uint64_t last_pos, high;
    uint32_t n_in_mode, n_finished, n_rows, n_scans, n_wrong;
    uint8_t got[N_ALL + 1];
};

static void deliver(struct world *w, uint64_t pos)
{
    w->got[pos]++;
    store_unit_begin(w->hl, 0, STORE_AGAIN | STORE_TRIM);
    store_queue_del(w->hl, 1, pos);
    w->n_wrong += store_unit_end(w->hl, NULL) != 0;
}

static void deliver_live(struct world *w, uint64_t pos)
{
    if (pos > w->high)
        deliver(w, pos);
}

static void on_row(struct store_scan *s, const pigeon_op *op)
{
    struct world *w = container_of(s, struct world, scan);

    w->n_rows++;
    w->last_pos = op->pos;
    w->n_wrong += op->pos > s->high;
    deliver(w, op->pos);
}

static void scan_begin(struct world *w);

static void on_done(struct store_scan *s, int status)
{
    struct world *w = container_of(s, struct world, scan);

    w->n_wrong += status != 0;
    if (w->n_rows == s->limit) { /* there is more: what was held is in the store, too */
        w->held = NULL;
        w->held_last = &w->held;
        scan_begin(w);
        return;
    }
    w->mode = LIVE;
    w->n_in_mode = 0;
    w->high = s->high;
    for (struct item *i = w->held; i; i = i->next)
        deliver_live(w, i->wait.pos);
    w->held = NULL;
    w->held_last = &w->held;
}

static void scan_begin(struct world *w)
{
    w->mode = READING;
    w->n_rows = 0;
    w->n_scans++;
    w->scan = (struct store_scan){ .what = PIGEON_SCAN_QUEUE,
                                   .session = 1,
                                   .after_pos = w->last_pos,
                                   .limit = 50,
                                   .row = on_row,
                                   .done = on_done };
    w->n_wrong += store_scan(w->hl, &w->scan) != 0;
}

static void on_item(struct loop *here, struct mail *m)
{
    struct item *i = container_of(m, struct item, mail);
    struct world *w = i->world;

    (void)here;
    w->n_in_mode++;
    w->n_finished += i->last;
    if (i->last)
        return;
    atomic_fetch_add(&i->publisher->n_taken, 1);
    if (w->mode == READING) {
        i->next = NULL;
        *w->held_last = i;
        w->held_last = &i->next;
    } else if (w->mode == LIVE) {
        deliver_live(w, i->wait.pos);
    }
}

static bool reader_round(void *ctx)
{
    struct world *w = ctx;

    if (w->mode == OFFLINE && (w->n_in_mode > 40 || w->n_finished == 2)) {
        w->last_pos = 0;
        scan_begin(w);
    } else if (w->mode == LIVE && w->n_finished < 2 && w->n_in_mode > 60) {
        w->mode = OFFLINE;
        w->n_in_mode = 0;
    } else if (w->mode == LIVE && w->n_finished == 2) {
        loop_group_stop(w->loops);
    }
    store_submit(w->hl);
    return store_run_answers(w->hl);
}

static void on_stored(struct store_wait *wait, int status)
{
    struct item *i = container_of(wait, struct item, wait);
    struct publisher *p = i->publisher;

    p->n_done++;
    p->n_wrong += status != 0 || wait->pos <= p->last_done;
    p->last_done = wait->pos;
}

static bool publisher_round(void *ctx)
{
    struct publisher *p = ctx;
    uint32_t first = p->n, n = p->n + 1 + p->n % 4;

    if (p->n > atomic_load(&p->n_taken) + AHEAD) {
        n = p->n;
        loop_again(p->loop);
    }
    for (; p->n < N_EACH && p->n < n; p->n++) {
        struct item *i = &p->items[p->n];
        struct store_rcpt rcpt = { .session = 1, .qos = 1 };
        struct message *m = message_make("t", p->n);

        i->world = p->world;
        i->publisher = p;
        store_wait_init(&i->wait, on_stored);
        store_unit_begin(p->hl, 0, 0);
        store_queue_add(p->hl, m, &rcpt, 1);
        p->n_wrong += store_unit_end(p->hl, &i->wait) != 0;
        message_unref(&m);
    }
    store_submit(p->hl);
    for (uint32_t k = first; k < p->n; k++) /* submitted, so it may be posted */
        loop_post(p->loop, 0, &p->items[k].mail, on_item);
    bool any = store_run_answers(p->hl) || p->n > first;
    if (p->n == N_EACH && p->n_done == N_EACH && !p->items[N_EACH].last) {
        p->items[N_EACH] = (struct item){ .world = p->world, .last = true };
        loop_post(p->loop, 0, &p->items[N_EACH].mail, on_item);
    }
    return any;
}

static void run_world(bool threaded)
{
    static const struct loop_ops reads = { .turn_round = reader_round };
    static const struct loop_ops publishes = { .turn_round = publisher_round };
    struct world *w = calloc(1, sizeof(*w));
    struct loop_conf conf = { .n_loops = 3 };
    struct journal *j = &w->journal;

    assert_non_null(w);
    assert_int_equal(loop_group_new(&conf, &w->loops), 0);
    struct store_setup setup = { .table = &journal_table, .self = j, .loops = w->loops };
    assert_int_equal(store_new(&setup, &j->store), 0);
    j->threaded = threaded;
    j->last = &j->first;
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->changed, NULL);
    if (threaded)
        assert_int_equal(pthread_create(&j->thread, NULL, journal_thread, j), 0);
    w->held_last = &w->held;
    w->hl = (struct hook_loop *)store_loop_of(j->store, 0);
    loop_set_ops(loop_group_at(w->loops, 0), &reads, w);
    for (uint32_t i = 0; i < 2; i++) {
        struct publisher *p = &w->publisher[i];

        p->world = w;
        p->loop = loop_group_at(w->loops, i + 1);
        p->hl = (struct hook_loop *)store_loop_of(j->store, i + 1);
        loop_set_ops(p->loop, &publishes, p);
    }
    assert_int_equal(loop_start_threads(w->loops), 0);
    loop_run(loop_group_at(w->loops, 0));
    loop_join(w->loops);
    if (threaded) {
        pthread_mutex_lock(&j->lock);
        j->stop = true;
        pthread_cond_signal(&j->changed);
        pthread_mutex_unlock(&j->lock);
        pthread_join(j->thread, NULL);
    }
    loop_group_settle(w->loops); /* the store is quiet: nothing is posted after this */
    assert_int_equal(store_in_flight((struct hooks *)j->store), 0);
    assert_int_equal(w->n_wrong + j->n_wrong, 0);
    assert_int_equal(w->publisher[0].n_wrong + w->publisher[1].n_wrong, 0);
    assert_int_equal(j->last_pos, N_ALL);
    assert_true(w->n_scans > 3);
    for (uint32_t i = 1; i <= N_ALL; i++)
        assert_int_equal(w->got[i], 1);
    store_free(&j->store);
    loop_group_free(&w->loops);
    pthread_mutex_destroy(&j->lock);
    pthread_cond_destroy(&j->changed);
    free(w);
}

static void every_message_arrives_once_through_a_store_that_answers_at_once(void **state)
{
    (void)state;
    run_world(false);
}

static void every_message_arrives_once_through_a_store_with_a_thread(void **state)
{
    (void)state;
    run_world(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_arrives_once_through_a_store_that_answers_at_once),
        cmocka_unit_test(every_message_arrives_once_through_a_store_with_a_thread),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
