#include "store_support.h"

/* Who scans, and what it was given. */
struct reader {
    struct store_scan scan;
    struct hook_loop *hl;
    uint64_t pos[1024];
    const struct message *message[1024];
    struct message *kept;
    uint32_t n, n_done, cancel_at;
    int status;
};

static void on_row(struct store_scan *s, const pigeon_op *op)
{
    struct reader *r = (struct reader *)s;

    r->pos[r->n] = op->pos;
    r->message[r->n] = op->msg ? message_of(op->msg) : NULL;
    if (op->msg && !r->kept)
        r->kept = message_ref(message_of(op->msg));
    if (++r->n == r->cancel_at)
        store_scan_cancel(r->hl, s);
}

static void on_done(struct store_scan *s, int status)
{
    struct reader *r = (struct reader *)s;

    r->n_done++;
    r->status = status;
}

static struct reader *reader_new(struct fake *f, uint32_t what, uint64_t session)
{
    struct reader *r = calloc(1, sizeof(*r));

    assert_non_null(r);
    r->hl = fake_loop(f, 0);
    r->scan =
        (struct store_scan){ .what = what, .session = session, .row = on_row, .done = on_done };
    return r;
}

static void reader_free(struct reader *r)
{
    message_unref(&r->kept);
    free(r);
}

/* Hands over n rows of a queue, from `first` on, with views that die at the return. */
static int32_t hand_over(struct fake *f, uint64_t first, uint32_t n, bool one_body)
{
    int32_t r = PIGEON_OK;

    for (uint32_t i = 0; i < n && r == PIGEON_OK; i++) {
        char topic[] = "stored/topic", payload[] = "payload";
        uint32_t ids[] = { 3, 4 };
        pigeon_msg msg = { .size = sizeof(msg),
                           .qos = 1,
                           .id = { 9, one_body ? 1 : first + i },
                           .topic = { .ptr = topic, .len = 12 },
                           .payload = { .ptr = (uint8_t *)payload, .len = 7 } };
        pigeon_rcpt rcpt = { .size = sizeof(rcpt), .session = 5, .qos = 1, .nsub_ids = 2 };
        pigeon_op op = { .size = sizeof(op),
                         .kind = PIGEON_OP_QUEUE_ADD,
                         .session = 5,
                         .pos = first + i,
                         .nrcpts = 1,
                         .rcpt_stride = sizeof(rcpt) };
        pigeon_row row = { .size = sizeof(row), .what = PIGEON_SCAN_QUEUE };

        rcpt.sub_ids = ids;
        op.msg = &msg;
        op.rcpts = &rcpt;
        row.op = &op;
        r = store_host_table.rows(f->store, f->scan_token, &row, 1, sizeof(row));
        memset(topic, 'x', sizeof(topic));
        memset(payload, 'x', sizeof(payload));
    }
    return r;
}

static void five_rows(struct fake *f, const pigeon_scan *scan)
{
    assert_int_equal(scan->session, 5);
    assert_int_equal(hand_over(f, 1, 5, false), PIGEON_OK);
}

static void a_scan_takes_its_place_behind_what_was_gathered(void **state)
{
    struct fake *f = fake_new(1);
    struct reader *r = reader_new(f, PIGEON_SCAN_QUEUE, 5);
    struct told a;

    (void)state;
    told_init(&a);
    store_set_last_pos(fake_hooks(f), 10);
    f->on_scan = five_rows;
    add(r->hl, 5, &a);
    assert_int_equal(store_scan(r->hl, &r->scan), 0);
    assert_int_equal(f->n_batches, 1);
    assert_int_equal(f->n_scans, 1);
    assert_int_equal(a.wait.pos, 11);
    assert_int_equal(r->scan.high, 11);
    assert_int_equal(r->n, 0); /* nothing from within the call */
    assert_true(store_run_answers(r->hl));
    assert_int_equal(r->n, 5);
    assert_int_equal(r->n_done, 1);
    assert_int_equal(r->status, 0);
    assert_null(r->scan.state);
    assert_string_equal(r->kept->view.topic.ptr, "stored/topic");
    assert_memory_equal(r->kept->view.payload.ptr, "payload", 7);
    reader_free(r);
    fake_free(f);
}

static void rows_above_the_last_number_at_the_scans_place_are_left_out(void **state)
{
    struct fake *f = fake_new(1);
    struct reader *r = reader_new(f, PIGEON_SCAN_QUEUE, 5);

    (void)state;
    store_set_last_pos(fake_hooks(f), 10);
    f->scan_status = PIGEON_PENDING;
    assert_int_equal(store_scan(r->hl, &r->scan), 0);
    add(r->hl, 5, NULL); /* 11: lives, and reaches the session on its own */
    store_submit(r->hl);
    hand_over(f, 9, 3, false);
    assert_int_equal(store_complete(f->store, f->scan_token, PIGEON_OK), PIGEON_OK);
    store_run_answers(r->hl);
    assert_int_equal(r->n, 2);
    assert_int_equal(r->pos[1], 10);
    assert_int_equal(r->n_done, 1);
    reader_free(r);
    fake_free(f);
}

static void rows_arrive_as_they_come_and_credit_is_given_back(void **state)
{
    struct fake *f = fake_new(1);
    struct reader *r = reader_new(f, PIGEON_SCAN_QUEUE, 5);

    (void)state;
    store_set_last_pos(fake_hooks(f), 1000);
    f->scan_status = PIGEON_PENDING;
    assert_int_equal(store_scan(r->hl, &r->scan), 0);
    uint32_t credit = f->credit;
    assert_true(credit > 0 && credit <= 1024);
    hand_over(f, 1, 3, false);
    store_run_answers(r->hl);
    assert_int_equal(r->n, 3);
    assert_int_equal(r->n_done, 0);
    assert_int_equal(f->credit, credit + 3);
    hand_over(f, 4, 2, false);
    store_complete(f->store, f->scan_token, PIGEON_OK);
    assert_int_equal(hand_over(f, 6, 1, false), PIGEON_E_GONE);
    store_run_answers(r->hl);
    assert_int_equal(r->n, 5);
    assert_int_equal(r->n_done, 1);
    assert_int_equal(f->n_more, 1);
    assert_int_equal(store_complete(f->store, f->scan_token, PIGEON_OK), PIGEON_E_GONE);
    reader_free(r);
    fake_free(f);
}

static void rows_of_one_body_share_it(void **state)
{
    struct fake *f = fake_new(1);
    struct reader *r = reader_new(f, PIGEON_SCAN_QUEUE, 0);

    (void)state;
    store_set_last_pos(fake_hooks(f), 1000);
    f->scan_status = PIGEON_PENDING;
    assert_int_equal(store_scan(r->hl, &r->scan), 0);
    hand_over(f, 1, 3, true);
    hand_over(f, 4, 1, false);
    store_complete(f->store, f->scan_token, PIGEON_OK);
    store_run_answers(r->hl);
    assert_ptr_equal(r->message[0], r->message[2]);
    assert_ptr_not_equal(r->message[2], r->message[3]);
    reader_free(r);
    fake_free(f);
}

static void rows_beyond_the_limit_or_out_of_order_are_not_believed(void **state)
{
    struct fake *f = fake_new(1);
    struct reader *r = reader_new(f, PIGEON_SCAN_QUEUE, 5);
    pigeon_row row = { .size = sizeof(row), .what = PIGEON_SCAN_QUEUE };

    (void)state;
    store_set_last_pos(fake_hooks(f), 1000);
    f->scan_status = PIGEON_PENDING;
    r->scan.after_pos = 3;
    r->scan.limit = 2;
    assert_int_equal(store_scan(r->hl, &r->scan), 0);
    store_host_table.rows(f->store, f->scan_token, &row, 1, sizeof(row)); /* no op */
    hand_over(f, 3, 2, false);
    hand_over(f, 4, 3, false);
    store_complete(f->store, f->scan_token, PIGEON_OK);
    store_run_answers(r->hl);
    assert_int_equal(r->n, 2);
    assert_int_equal(r->pos[0], 4);
    assert_int_equal(r->pos[1], 5);
    reader_free(r);
    fake_free(f);
}

static void a_cancelled_scan_gets_nothing_and_its_store_is_told_to_stop(void **state)
{
    struct fake *f = fake_new(1);
    struct reader *r = reader_new(f, PIGEON_SCAN_QUEUE, 5), *r2;

    (void)state;
    store_set_last_pos(fake_hooks(f), 1000);
    f->scan_status = PIGEON_PENDING;
    assert_int_equal(store_scan(r->hl, &r->scan), 0);
    hand_over(f, 1, 2, false);
    store_scan_cancel(r->hl, &r->scan);
    store_scan_cancel(r->hl, &r->scan);
    assert_int_equal(f->n_more, 1); /* wakes a store that waits for credit */
    assert_int_equal(hand_over(f, 3, 1, false), PIGEON_E_GONE);
    store_run_answers(r->hl);
    pigeon_token old = f->scan_token;
    r2 = reader_new(f, PIGEON_SCAN_QUEUE, 5);
    assert_int_equal(store_scan(r2->hl, &r2->scan), 0); /* while the old one is not through */
    assert_int_not_equal((uint32_t)f->scan_token, (uint32_t)old);
    assert_int_equal(store_complete(f->store, old, PIGEON_OK), PIGEON_E_GONE);
    store_complete(f->store, f->scan_token, PIGEON_OK);
    store_run_answers(r->hl);
    assert_int_equal(r->n + r->n_done, 0);
    assert_int_equal(r2->n_done, 1);
    reader_free(r);
    reader_free(r2);
    fake_free(f);
}

static void a_row_may_cancel_its_scan(void **state)
{
    struct fake *f = fake_new(1);
    struct reader *r = reader_new(f, PIGEON_SCAN_QUEUE, 5);

    (void)state;
    store_set_last_pos(fake_hooks(f), 1000);
    f->on_scan = five_rows;
    r->cancel_at = 2;
    assert_int_equal(store_scan(r->hl, &r->scan), 0);
    store_run_answers(r->hl);
    assert_int_equal(r->n, 2);
    assert_int_equal(r->n_done, 0);
    r->cancel_at = 0;
    assert_int_equal(store_scan(r->hl, &r->scan), 0); /* and may begin another */
    store_run_answers(r->hl);
    assert_int_equal(r->n, 7);
    assert_int_equal(r->n_done, 1);
    reader_free(r);
    fake_free(f);
}

static void scan_fails(int32_t status, int want)
{
    struct fake *f = fake_new(1);
    struct reader *r = reader_new(f, PIGEON_SCAN_WILLS, 0);

    f->scan_status = status;
    assert_int_equal(store_scan(r->hl, &r->scan), 0);
    store_run_answers(r->hl);
    assert_int_equal(r->n_done, 1);
    assert_int_equal(r->status, want);
    reader_free(r);
    fake_free(f);
}

static void a_scan_that_fails_says_so(void **state)
{
    (void)state;
    scan_fails(PIGEON_E_IO, -EIO);
    scan_fails(PIGEON_E_NOTSUP, -ENOTSUP);
    scan_fails(PIGEON_E_NOMEM, -ENOMEM);
    scan_fails(77, -EIO);
}

static void rows_that_find_no_memory_end_the_scan(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 2; n++) { /* the row, its message */
        struct fake *f = fake_new(1);
        struct reader *r = reader_new(f, PIGEON_SCAN_QUEUE, 5);

        store_set_last_pos(fake_hooks(f), 1000);
        f->scan_status = PIGEON_PENDING;
        assert_int_equal(store_scan(r->hl, &r->scan), 0);
        hand_over(f, 1, 1, false);
        failalloc_after(n);
        assert_int_equal(hand_over(f, 2, 1, false), PIGEON_E_NOMEM);
        assert_true(failalloc_disarm());
        assert_int_equal(hand_over(f, 3, 1, false), PIGEON_E_GONE);
        store_run_answers(r->hl);
        assert_int_equal(r->n, 1);
        assert_int_equal(r->status, -ENOMEM);
        assert_int_equal(store_complete(f->store, f->scan_token, PIGEON_OK), PIGEON_E_GONE);
        reader_free(r);
        fake_free(f);
    }
}

static void count_row(void *ctx, const pigeon_op *op)
{
    *(uint64_t *)ctx += op->pos;
}

static void the_scan_at_the_start_needs_no_loop(void **state)
{
    struct fake *f = fake_new(2);
    uint64_t sum = 0;

    (void)state;
    assert_int_equal(store_scan_all(fake_hooks(f), PIGEON_SCAN_SUBS, count_row, &sum), 0);
    assert_int_equal(sum, 0);
    f->scan_status = PIGEON_E_IO;
    assert_int_equal(store_scan_all(fake_hooks(f), PIGEON_SCAN_SUBS, count_row, &sum), -EIO);
    fake_free(f);
}

static void two_rows_one_without_its_subscription(struct fake *f, const pigeon_scan *scan)
{
    pigeon_sub sub = { .size = sizeof(sub) };
    pigeon_op op = { .size = sizeof(op), .kind = PIGEON_OP_SUB_PUT, .session = 5, .pos = 1 };
    pigeon_row row = { .size = sizeof(row), .what = scan->what };

    row.op = &op;
    store_host_table.rows(f->store, scan->token, &row, 1, sizeof(row));
    op.sub = &sub;
    store_host_table.rows(f->store, scan->token, &row, 1, sizeof(row));
}

static void rows_that_nobody_is_shown_are_counted(void **state)
{
    struct fake *f = fake_new(1);
    uint64_t sum = 0;

    (void)state;
    assert_int_equal(store_scan_bad(fake_hooks(f)), 0);
    f->on_scan = two_rows_one_without_its_subscription;
    assert_int_equal(store_scan_all(fake_hooks(f), PIGEON_SCAN_SUBS, count_row, &sum), 0);
    assert_int_equal(sum, 1);
    assert_int_equal(store_scan_bad(fake_hooks(f)), 1);
    f->on_scan = NULL;
    assert_int_equal(store_scan_all(fake_hooks(f), PIGEON_SCAN_SUBS, count_row, &sum), 0);
    assert_int_equal(store_scan_bad(fake_hooks(f)), 0);
    fake_free(f);
}

struct answering_thread {
    struct fake *f;
    pthread_t thread;
};

/* Keeps to its credit, as the store's own thread would. */
static void *answer_scan(void *arg)
{
    struct answering_thread *t = arg;

    for (uint64_t i = 0; i < 300; i++)
        assert_int_equal(hand_over(t->f, 1 + i, 1, false), PIGEON_OK);
    store_complete(t->f->store, t->f->scan_token, PIGEON_OK);
    return NULL;
}

static struct answering_thread answering;
static void start_thread(struct fake *f, const pigeon_scan *scan)
{
    (void)scan;
    answering.f = f;
    assert_int_equal(pthread_create(&answering.thread, NULL, answer_scan, &answering), 0);
}

static void the_scan_at_the_start_waits_for_a_store_with_a_thread(void **state)
{
    struct fake *f = fake_new(1);
    uint64_t sum = 0;

    (void)state;
    f->on_scan = start_thread;
    f->scan_status = PIGEON_PENDING;
    assert_int_equal(store_scan_all(fake_hooks(f), PIGEON_SCAN_QUEUE, count_row, &sum), 0);
    pthread_join(answering.thread, NULL);
    assert_int_equal(sum, 300 * 301 / 2);
    fake_free(f);
}

static void what_was_never_through_is_freed_at_the_end(void **state)
{
    struct fake *f = fake_new(1);
    struct reader *r = reader_new(f, PIGEON_SCAN_QUEUE, 5);

    (void)state;
    store_set_last_pos(fake_hooks(f), 1000);
    f->scan_status = PIGEON_PENDING;
    assert_int_equal(store_scan(r->hl, &r->scan), 0);
    hand_over(f, 1, 3, false);
    fake_free(f);
    assert_int_equal(r->n + r->n_done, 0);
    reader_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_scan_takes_its_place_behind_what_was_gathered),
        cmocka_unit_test(rows_above_the_last_number_at_the_scans_place_are_left_out),
        cmocka_unit_test(rows_arrive_as_they_come_and_credit_is_given_back),
        cmocka_unit_test(rows_of_one_body_share_it),
        cmocka_unit_test(rows_beyond_the_limit_or_out_of_order_are_not_believed),
        cmocka_unit_test(a_cancelled_scan_gets_nothing_and_its_store_is_told_to_stop),
        cmocka_unit_test(a_row_may_cancel_its_scan),
        cmocka_unit_test(a_scan_that_fails_says_so),
        cmocka_unit_test(rows_that_find_no_memory_end_the_scan),
        cmocka_unit_test(the_scan_at_the_start_needs_no_loop),
        cmocka_unit_test(rows_that_nobody_is_shown_are_counted),
        cmocka_unit_test(the_scan_at_the_start_waits_for_a_store_with_a_thread),
        cmocka_unit_test(what_was_never_through_is_freed_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
