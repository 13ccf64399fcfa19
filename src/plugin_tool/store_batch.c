/* Units and batches: atomic, in order, answered once; scans among them; a full store; another life.
 */
#include "plugin_tool/store_contract.h"
#include <stdio.h>

static void a_store_says_what_it_is(void **state)
{
    struct rig *r = *state;
    pigeon_store_info info = { .size = sizeof(info) };
    struct {
        pigeon_store_info info;
        uint32_t guard;
    } old = { .info = { .size = offsetof(pigeon_store_info, keeps) }, .guard = 0x5a5a5a5a };

    assert_int_equal(r->store->info(r->self, &info), PIGEON_OK);
    assert_int_equal(info.size, sizeof(info));
    assert_true(info.keeps != 0);
    old.info.keeps = 0x77777777; /* beyond what an older host has */
    assert_int_equal(r->store->info(r->self, &old.info), PIGEON_OK);
    assert_int_equal(old.info.keeps, 0x77777777);
}

static void units_and_ops_apply_in_their_order(void **state)
{
    struct rig *r = *state;

    session_put(r, 1, "c");
    sub_put(r, 1, "t", 1);
    key_op(r, PIGEON_OP_SUB_DEL, 1, "t");
    unit_end(r);
    sub_put(r, 1, "u", 1);
    unit_end(r);
    key_op(r, PIGEON_OP_SUB_DEL, 1, "u");
    sub_put(r, 1, "u", 2);
    unit_end(r);
    queue_add(r, 1, "m");
    rcpt(r, 1, 1);
    queue_upd(r, 1, 1, 3, PIGEON_QUEUE_SENT);
    queue_op(r, PIGEON_OP_QUEUE_DEL, 1, 1);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 1), 1);
    assert_int_equal(r->rows[0].sub_qos, 2);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 0);
}

/* A unit with an op that nobody knows; nothing of it may show. */
static void a_unit_that_fails_changes_nothing(void **state)
{
    struct rig *r = *state;

    session_put(r, 1, "c");
    retain_put(r, "t", "old");
    will_put(r, 1, "w", "old");
    commit_ok(r);
    session_put(r, 2, "new");
    sub_put(r, 1, "s", 1);
    retain_put(r, "t", "new");
    queue_add(r, 1, "m");
    rcpt(r, 1, 1);
    in_op(r, PIGEON_OP_IN_ADD, 1, 1);
    will_put(r, 1, "w", "new");
    op(r, 999, 1);
    int32_t status = commit(r);
    assert_true(status != PIGEON_OK || unit_status(r, 0) != PIGEON_OK);
    assert_int_equal(scan(r, PIGEON_SCAN_SESSIONS, 0), 1);
    assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 0), 0);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 0);
    assert_int_equal(scan(r, PIGEON_SCAN_IN, 0), 0);
    assert_int_equal(scan(r, PIGEON_SCAN_RETAINED, 0), 1);
    assert_string_equal(r->rows[0].payload, "old");
    assert_int_equal(scan(r, PIGEON_SCAN_WILLS, 0), 1);
    assert_string_equal(r->rows[0].payload, "old");
}

static void what_a_batch_answers_is_what_was_applied(void **state)
{
    struct rig *r = *state;
    static const char *topic[] = { "0", "1", "2", "3", "4" };

    for (uint32_t i = 0; i < 5; i++) {
        retain_put(r, topic[i], "x");
        if (i == 2)
            op(r, 999, 1);
        unit_end(r);
    }
    commit(r);
    bool ok[5];
    for (uint32_t i = 0; i < 5; i++)
        ok[i] = unit_status(r, i) == PIGEON_OK;
    assert_false(ok[2]);
    scan(r, PIGEON_SCAN_RETAINED, 0);
    bool there[5] = { false };
    for (uint32_t i = 0; i < r->n_rows; i++)
        there[strtol(r->rows[i].topic, NULL, 10)] = true;
    for (uint32_t i = 0; i < 5; i++)
        assert_int_equal(ok[i], there[i]);
}

static void a_conditional_op_without_anything_to_change_ends_its_unit(void **state)
{
    struct rig *r = *state;

    session_put(r, 1, "c");
    commit_ok(r);
    retain_put(r, "t", "x");
    queue_op(r, PIGEON_OP_QUEUE_DEL, 1, 5);
    r->ops[r->nops - 1].flags = PIGEON_OP_IF_EXISTS;
    unit_end(r);
    sub_put(r, 1, "s", 1);
    unit_end(r);
    assert_int_equal(commit(r), PIGEON_OK);
    assert_int_equal(unit_status(r, 0), PIGEON_E_GONE);
    assert_int_equal(unit_status(r, 1), PIGEON_OK);
    assert_int_equal(scan(r, PIGEON_SCAN_RETAINED, 0), 0);
    assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 0), 1);
}

static void empty_units_and_batches_are_answered(void **state)
{
    struct rig *r = *state;

    unit_end(r);
    unit_end(r);
    commit_ok(r);
    retain_put(r, "t", "x");
    unit_end(r);
    unit_end(r);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_RETAINED, 0), 1);
}

static void a_large_unit_is_one_unit(void **state)
{
    struct rig *r = *state;
    static char key[10000][16];

    for (uint32_t i = 0; i < 10000; i++) {
        snprintf(key[i], sizeof(key[i]), "k/%u", i);
        retain_put(r, key[i], "x");
    }
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_RETAINED, 0), 10000);
    for (uint32_t i = 0; i < 10000; i++)
        key_op(r, PIGEON_OP_RETAIN_DEL, 0, key[i]);
    op(r, 999, 0);
    commit(r);
    assert_int_equal(scan(r, PIGEON_SCAN_RETAINED, 0), 10000);
}

/* ---- many under way ---------------------------------------------------------------------------
 */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint8_t n_answers[501];
    uint32_t n, n_bad, last;
    bool scan_done;
    uint64_t rows[501];
    uint32_t n_rows;
} way = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static void way_answered(uint64_t token, int32_t status)
{
    way.n_bad += token < 1 || token > 500 || status != PIGEON_OK || token <= way.last;
    if (token <= 500) {
        way.n_answers[token]++;
        way.last = (uint32_t)token;
    }
    way.n++;
    pthread_cond_broadcast(&way.changed);
}

static int32_t way_batch_done(void *inst, pigeon_token token, const pigeon_batch_result *result)
{
    (void)inst;
    pthread_mutex_lock(&way.lock);
    way_answered(token, result->status);
    pthread_mutex_unlock(&way.lock);
    return PIGEON_OK;
}

static int32_t way_rows(void *inst, pigeon_token scan, const pigeon_row *rows, uint32_t n,
                        uint32_t stride)
{
    (void)inst;
    (void)scan;
    pthread_mutex_lock(&way.lock);
    for (uint32_t i = 0; i < n && way.n_rows < 500; i++)
        way.rows[way.n_rows++] =
            ((const pigeon_row *)((const char *)rows + (size_t)i * stride))->op->pos;
    pthread_mutex_unlock(&way.lock);
    return PIGEON_OK;
}

static int32_t way_complete(void *inst, pigeon_token token, int32_t status)
{
    (void)inst;
    pthread_mutex_lock(&way.lock);
    way.n_bad += token != 9999 || status != PIGEON_OK || way.scan_done;
    way.scan_done = true;
    pthread_cond_broadcast(&way.changed);
    pthread_mutex_unlock(&way.lock);
    return PIGEON_OK;
}

static const pigeon_store_host way_host = { .size = sizeof(way_host),
                                            .batch_done = way_batch_done,
                                            .rows = way_rows };

static const void *way_get(void *inst, const char *id, uint32_t min_size)
{
    (void)inst;
    return strcmp(id, PIGEON_IF_STORE_HOST) == 0 && min_size <= sizeof(way_host) ? &way_host : NULL;
}

/* 500 batches without waiting, a scan in their midst. */
static void batches_and_scans_take_effect_in_the_order_of_the_calls(void **state)
{
    static pigeon_batch batch[501];
    static pigeon_unit unit[501];
    static pigeon_op ops[501][2];
    static pigeon_rcpt to = { .size = sizeof(to), .session = 1, .qos = 1 };
    struct rig *r = *state;

    session_put(r, 1, "c");
    commit_ok(r);
    rig_destroy(r); /* again, with a host that counts many */
    r->host.get = way_get;
    r->host.complete = way_complete;
    memset(&way.n_answers, 0, sizeof(way) - offsetof(__typeof__(way), n_answers));
    rig_create(r);
    to.client = to.share = text("");
    for (uint32_t i = 1; i <= 500; i++) {
        pigeon_op blank = { .size = sizeof(blank), .client = text(""), .key = text("") };

        /* i = 1 makes the session; then each adds one message and takes the one before away */
        ops[i][0] = ops[i][1] = blank;
        ops[i][0].kind = i == 1 ? PIGEON_OP_SESSION_PUT : PIGEON_OP_QUEUE_ADD;
        ops[i][0].session = i == 1;
        ops[i][0].pos = i;
        ops[i][1].kind = PIGEON_OP_QUEUE_DEL;
        ops[i][1].session = 1;
        ops[i][1].pos = i - 1;
        if (i > 1) {
            ops[i][0].msg = message(r, "t", "x");
            ops[i][0].rcpts = &to;
            ops[i][0].nrcpts = 1;
            ops[i][0].rcpt_stride = sizeof(to);
        }
        unit[i] = (pigeon_unit){ .size = sizeof(unit[i]), .fence_client = text(""), .nops = 2 };
        batch[i] = (pigeon_batch){ .size = sizeof(batch[i]),
                                   .token = i,
                                   .nunits = 1,
                                   .nops = 2,
                                   .unit_stride = sizeof(unit[i]),
                                   .op_stride = sizeof(ops[i][0]) };
        batch[i].units = &unit[i];
        batch[i].ops = ops[i];
        int32_t status = r->store->submit(r->self, &batch[i]);
        if (status != PIGEON_PENDING) {
            pthread_mutex_lock(&way.lock);
            way_answered(i, status);
            pthread_mutex_unlock(&way.lock);
        }
        if (i != 250)
            continue;
        pigeon_scan scan = { .size = sizeof(scan),
                             .what = PIGEON_SCAN_QUEUE,
                             .token = 9999,
                             .session = 1,
                             .credit = UINT32_MAX };
        static pigeon_scan pinned;
        pinned = scan;
        if (r->store->scan(r->self, &pinned) != PIGEON_PENDING)
            way.scan_done = true;
    }
    pthread_mutex_lock(&way.lock);
    while (way.n < 500 || !way.scan_done)
        pthread_cond_wait(&way.changed, &way.lock);
    pthread_mutex_unlock(&way.lock);
    assert_int_equal(way.n_bad, 0);
    for (uint32_t i = 1; i <= 500; i++)
        assert_int_equal(way.n_answers[i], 1);
    assert_true(way.n_rows >= 1);
    assert_int_equal(way.rows[0], 250); /* all before it, what came later only at the end */
    rig_destroy(r);
    r->nops = r->nunits = 0;
    for (uint32_t i = 0; i < r->n_held; i++)
        r->host.msg_unref(r->messages[i]);
    r->n_held = 0;
}

/* ---- scans ----------------------------------------------------------------------------------- */

static void cancel_it(struct rig *r, const struct seen *row)
{
    (void)row;
    pthread_mutex_lock(&r->lock);
    r->scan_cancelled = true;
    pthread_mutex_unlock(&r->lock);
}

static void a_cancelled_scan_stops_and_leaves_the_store_in_order(void **state)
{
    struct rig *r = *state;
    pigeon_scan like = { .what = PIGEON_SCAN_RETAINED };
    static char topic[100][16];

    for (uint32_t i = 0; i < 100; i++) {
        snprintf(topic[i], sizeof(topic[i]), "t/%u", i);
        retain_put(r, topic[i], "x");
    }
    commit_ok(r);
    r->credit_step = 1;
    r->on_row = cancel_it;
    scan_with(r, &like);
    assert_true(r->n_rows < 100);
    r->on_row = NULL;
    r->credit_step = 0;
    assert_int_equal(scan(r, PIGEON_SCAN_RETAINED, 0), 100);
}

static void a_scan_of_an_unknown_kind_is_refused(void **state)
{
    struct rig *r = *state;
    pigeon_scan like = { .what = 99 };

    assert_true(scan_with(r, &like) < 0);
    assert_int_equal(r->n_rows, 0);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void instances_come_and_go(void **state)
{
    struct rig *r = *state;

    for (uint32_t i = 0; i < 50; i++) {
        session_put(r, 1, "c");
        sub_put(r, 1, "t", 1);
        queue_add(r, 1 + i, "m");
        rcpt(r, 1, 1);
        will_put(r, 1, "w", "x");
        retain_put(r, "t", "x");
        commit_ok(r);
        rig_destroy(r);
        rig_create(r);
    }
}

static void a_lasting_store_remembers_everything(void **state)
{
    struct rig *r = *state;

    if (!rig_is_lasting(r))
        isolate_skip("this store cannot be asked for it");
    session_put(r, 3, "c");
    sub_put(r, 3, "t/+", 2);
    queue_add(r, 17, "m");
    rcpt(r, 3, 2);
    queue_upd(r, 3, 17, 8, PIGEON_QUEUE_RECEIVED);
    in_op(r, PIGEON_OP_IN_ADD, 3, 4);
    will_put(r, 3, "w", "last words");
    retain_put(r, "r", "kept");
    due_op(r, PIGEON_OP_SESSION_OFF, 3, 60000);
    commit_ok(r);
    rig_destroy(r);
    rig_create(r);
    assert_int_equal(scan(r, PIGEON_SCAN_SESSIONS, 0), 1);
    assert_in_range(r->rows[0].due_in_ms, 1, 60000);
    assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 0), 1);
    assert_int_equal(r->rows[0].sub_qos, 2);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 1);
    assert_int_equal(r->rows[0].pos, 17);
    assert_int_equal(r->rows[0].state, PIGEON_QUEUE_RECEIVED);
    assert_int_equal(scan(r, PIGEON_SCAN_IN, 0), 1);
    assert_int_equal(scan(r, PIGEON_SCAN_WILLS, 0), 1);
    assert_string_equal(r->rows[0].payload, "last words");
    assert_int_equal(scan(r, PIGEON_SCAN_RETAINED, 0), 1);
    assert_string_equal(r->rows[0].payload, "kept");
}

/* ---- full -------------------------------------------------------------------------------------
 */

static uint64_t fill_up(struct rig *r)
{
    static char payload[1001];
    uint64_t pos = 0;

    memset(payload, 'p', 1000);
    r->full_value = "65536";
    rig_wipe(r);
    session_put(r, 1, "c");
    commit_ok(r);
    for (;;) {
        queue_add(r, ++pos, payload);
        rcpt(r, 1, 1);
        commit(r);
        if (unit_status(r, 0) != PIGEON_OK)
            break;
        assert_true(pos < 1000);
    }
    assert_int_equal(unit_status(r, 0), PIGEON_E_FULL);
    return pos - 1;
}

static void a_full_store_refuses_and_keeps_what_it_has(void **state)
{
    struct rig *r = *state;

    if (!rig_can_be_full())
        isolate_skip("this store cannot be asked for it");
    uint64_t n = fill_up(r);
    assert_true(n > 10);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), n);
    in_op(r, PIGEON_OP_IN_ADD, 1, 5);
    queue_add(r, 1000, "m"); /* larger than what is left, with its identifier */
    static char payload[2001];
    memset(payload, 'q', 2000);
    r->ops[r->nops - 1].msg = message(r, "t", payload);
    rcpt(r, 1, 1);
    commit(r);
    assert_int_equal(unit_status(r, 0), PIGEON_E_FULL);
    assert_int_equal(scan(r, PIGEON_SCAN_IN, 0), 0);
}

static void deletions_work_on_a_full_store_and_make_room(void **state)
{
    struct rig *r = *state;

    if (!rig_can_be_full())
        isolate_skip("this store cannot be asked for it");
    uint64_t n = fill_up(r);
    queue_op(r, PIGEON_OP_QUEUE_DEL, 1, 1);
    queue_op(r, PIGEON_OP_QUEUE_DEL, 1, 2);
    r->flags = PIGEON_UNIT_TRIM;
    commit_ok(r);
    queue_add(r, 2000, "m");
    rcpt(r, 1, 1);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), n - 1);
    op(r, PIGEON_OP_SESSION_DEL, 1);
    r->flags = PIGEON_UNIT_TRIM;
    commit_ok(r);
    assert_true(fill_up(r) >= n - 1); /* all of it has come back */
}

static void a_session_that_is_there_changes_on_a_full_store(void **state)
{
    struct rig *r = *state;

    if (!rig_can_be_full())
        isolate_skip("this store cannot be asked for it");
    fill_up(r);
    session_put(r, 1, "c");
    r->flags = PIGEON_UNIT_TRIM;
    commit_ok(r);
    due_op(r, PIGEON_OP_SESSION_OFF, 1, 60000);
    r->flags = PIGEON_UNIT_TRIM;
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_SESSIONS, 1), 1);
    assert_in_range(r->rows[0].due_in_ms, 1, 60000);
}

static void room_is_not_lost_by_refusals(void **state)
{
    struct rig *r = *state;
    uint64_t n = 0;

    if (!rig_can_be_full())
        isolate_skip("this store cannot be asked for it");
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t m = fill_up(r);

        assert_true(n == 0 || m >= n - 1);
        n = m;
        for (uint64_t pos = 1; pos <= m; pos++)
            queue_op(r, PIGEON_OP_QUEUE_DEL, 1, pos);
        commit_ok(r);
    }
}

const struct store_case batch_cases[] = {
    CASE(a_store_says_what_it_is),
    CASE(units_and_ops_apply_in_their_order),
    CASE(a_unit_that_fails_changes_nothing),
    CASE(what_a_batch_answers_is_what_was_applied),
    CASE(a_conditional_op_without_anything_to_change_ends_its_unit),
    CASE(empty_units_and_batches_are_answered),
    CASE(a_large_unit_is_one_unit),
    CASE(batches_and_scans_take_effect_in_the_order_of_the_calls),
    CASE(a_cancelled_scan_stops_and_leaves_the_store_in_order),
    CASE(a_scan_of_an_unknown_kind_is_refused),
    CASE(instances_come_and_go),
    CASE(a_lasting_store_remembers_everything),
    CASE(a_full_store_refuses_and_keeps_what_it_has),
    CASE(deletions_work_on_a_full_store_and_make_room),
    CASE(a_session_that_is_there_changes_on_a_full_store),
    CASE(room_is_not_lost_by_refusals),
};
const size_t n_batch_cases = PIGEON_COUNT(batch_cases);
