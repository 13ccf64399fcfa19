/* store_support.h - a store that does as the test says, behind the store door and real loops that
 * nobody runs: the test calls store_run_answers itself. Stands in for the loader: hooks and loops
 * are the door's own. */
#pragma once
#include "unit.h"
#include "hooks/store_priv.h"
#include "net/loop.h"
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define FAKE_MAX 4096

struct fake_op {
    uint16_t kind;
    uint64_t session, pos;
    uint32_t batch, unit;
};

struct fake {
    struct loop_group *loops;
    struct store *store;
    int32_t status;   /* of the next submits */
    bool has_results; /* answers by unit: results[], through batch_done, at once */
    pigeon_unit_result results[16];
    int32_t scan_status;
    void (*on_scan)(struct fake *f, const pigeon_scan *scan);
    /* what was seen */
    struct fake_op ops[FAKE_MAX];
    uint32_t n_ops, n_batches, n_scans, n_more, credit;
    pigeon_token token[FAKE_MAX]; /* by batch */
    const pigeon_batch *batch;    /* the last one */
    uint32_t durability;
    pigeon_token scan_token;
    uint32_t n_failed, n_room;
};

/* In place of the loader: the door's objects are their own keys. */
struct store *hooks_store(const struct hooks *hooks)
{
    return (struct store *)hooks;
}
struct store_loop *hook_loop_store(const struct hook_loop *hl)
{
    return (struct store_loop *)hl;
}
struct store *instance_store(void *inst)
{
    return inst;
}

static inline struct hook_loop *fake_loop(struct fake *f, uint32_t i)
{
    return (struct hook_loop *)store_loop_of(f->store, i);
}
static inline struct hooks *fake_hooks(struct fake *f)
{
    return (struct hooks *)f->store;
}

static int32_t fake_info(void *self, pigeon_store_info *out)
{
    (void)self;
    out->keeps = PIGEON_KEEPS_MEM;
    return PIGEON_OK;
}

static void fake_record(struct fake *f, const pigeon_batch *batch)
{
    for (uint32_t u = 0; u < batch->nunits; u++) {
        for (uint32_t i = 0; i < batch->units[u].nops; i++) {
            const pigeon_op *op = &batch->ops[batch->units[u].first_op + i];

            assert_true(f->n_ops < FAKE_MAX);
            f->ops[f->n_ops++] =
                (struct fake_op){ op->kind, op->session, op->pos, f->n_batches, u };
        }
    }
    assert_true(f->n_batches < FAKE_MAX);
    f->token[f->n_batches++] = batch->token;
    f->batch = batch;
    f->durability = batch->durability;
}

static int32_t fake_submit(void *self, const pigeon_batch *batch)
{
    struct fake *f = self;

    fake_record(f, batch);
    if (!f->has_results)
        return f->status;
    pigeon_batch_result result = { .size = sizeof(result), .status = f->status };
    result.units = f->results;
    assert_int_equal(store_host_table.batch_done(f->store, batch->token, &result), PIGEON_OK);
    return PIGEON_PENDING;
}

static int32_t fake_scan(void *self, const pigeon_scan *scan)
{
    struct fake *f = self;

    f->n_scans++;
    f->scan_token = scan->token;
    f->credit = scan->credit;
    if (f->on_scan)
        f->on_scan(f, scan);
    return f->scan_status;
}

static int32_t fake_more(void *self, pigeon_token scan, uint32_t credit)
{
    struct fake *f = self;

    (void)scan;
    f->n_more++;
    f->credit += credit;
    return PIGEON_OK;
}

static const pigeon_store fake_table = { .size = sizeof(fake_table),
                                         .info = fake_info,
                                         .submit = fake_submit,
                                         .scan = fake_scan,
                                         .more = fake_more };

static void fake_failed(void *broker, const char *text)
{
    (void)text;
    ((struct fake *)broker)->n_failed++;
}

static void fake_room(void *broker, uint32_t loop)
{
    (void)loop;
    ((struct fake *)broker)->n_room++;
}

static const struct hooks_ops fake_ops = { .store_failed = fake_failed, .store_room = fake_room };

static inline struct fake *fake_new_with(uint32_t n_loops, uint32_t batch_max_ops)
{
    struct fake *f = calloc(1, sizeof(*f));
    struct loop_conf conf = { .n_loops = n_loops };

    assert_non_null(f);
    assert_int_equal(loop_group_new(&conf, &f->loops), 0);
    struct store_setup setup = { .table = &fake_table,
                                 .self = f,
                                 .loops = f->loops,
                                 .ops = &fake_ops,
                                 .broker = f,
                                 .batch_max_ops = batch_max_ops };
    assert_int_equal(store_new(&setup, &f->store), 0);
    return f;
}

static inline struct fake *fake_new(uint32_t n_loops)
{
    return fake_new_with(n_loops, 0);
}

static inline void fake_free(struct fake *f)
{
    store_free(&f->store);
    loop_group_free(&f->loops);
    free(f);
}

static inline int32_t fake_answer(struct fake *f, pigeon_token token, int32_t status)
{
    pigeon_batch_result result = { .size = sizeof(result), .status = status };

    return store_host_table.batch_done(f->store, token, &result);
}

/* A wait that remembers what it was told. */
struct told {
    struct store_wait wait;
    uint32_t n, order;
    int status;
};
static uint32_t told_order; /* counts over all waits; reset by told_init of the first */

static void told_done(struct store_wait *w, int status)
{
    struct told *t = (struct told *)w;

    t->n++;
    t->status = status;
    t->order = ++told_order;
}

static inline void told_init(struct told *t)
{
    *t = (struct told){ .status = 1 };
    store_wait_init(&t->wait, told_done);
}

/* One unit that deletes one row. */
static inline void del(struct hook_loop *hl, uint64_t session, uint64_t pos, uint32_t flags,
                       struct told *t)
{
    store_unit_begin(hl, 0, flags);
    store_queue_del(hl, session, pos);
    assert_int_equal(store_unit_end(hl, t ? &t->wait : NULL), 0);
}

static inline struct message *message_make(const char *topic, uint64_t n)
{
    struct message_parts parts = {
        .topic = str_from(topic), .payload = STR("payload"), .qos = 1, .id = { 7, n }
    };
    struct message *m = message_new(&parts);

    assert_non_null(m);
    return m;
}

/* One unit that adds one message for one session. */
static inline void add(struct hook_loop *hl, uint64_t session, struct told *t)
{
    struct message *m = message_make("a/b", 1);
    struct store_rcpt rcpt = { .session = session, .qos = 1 };

    store_unit_begin(hl, 0, 0);
    store_queue_add(hl, m, &rcpt, 1);
    assert_int_equal(store_unit_end(hl, t ? &t->wait : NULL), 0);
    message_unref(&m);
}
