#include "store_support.h"

static void seconds_pass(struct fake *f, uint32_t s)
{
    struct loop *loop = loop_group_at(f->loops, 0);

    timers_run(loop_timers(loop), loop_now_ms(loop) + UINT64_C(1000) * s);
}

static void a_kept_unit_is_submitted_again_after_a_second_and_its_wait_goes_on(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told a;

    (void)state;
    told_init(&a);
    f->status = PIGEON_E_FULL;
    del(hl, 1, 7, STORE_AGAIN, &a);
    store_submit(hl);
    store_run_answers(hl);
    assert_int_equal(a.n, 0);
    assert_true(store_waiting(&a.wait));
    assert_int_equal(store_in_flight(fake_hooks(f)), 1);
    seconds_pass(f, 1); /* still full */
    store_run_answers(hl);
    assert_int_equal(f->n_batches, 2);
    assert_int_equal(a.n, 0);
    f->status = PIGEON_OK;
    seconds_pass(f, 2);
    store_run_answers(hl);
    assert_int_equal(f->n_batches, 3);
    assert_int_equal(f->ops[2].pos, 7);
    assert_int_equal(a.status, 0);
    assert_int_equal(f->n_room, 1);
    assert_int_equal(store_in_flight(fake_hooks(f)), 0);
    seconds_pass(f, 9);
    assert_int_equal(f->n_batches, 3);
    fake_free(f);
}

static void room_submits_kept_units_at_once(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told a;

    (void)state;
    told_init(&a);
    f->status = PIGEON_E_FULL;
    del(hl, 1, 7, STORE_AGAIN, &a);
    store_submit(hl);
    store_run_answers(hl);
    f->status = PIGEON_OK;
    store_host_table.seen(f->store, PIGEON_SEEN_ROOM, (pigeon_str){ .ptr = NULL });
    store_host_table.seen(f->store, PIGEON_SEEN_ROOM, (pigeon_str){ .ptr = NULL });
    assert_int_equal(f->n_batches, 1); /* the loop does it, not the store's thread */
    loop_turn(loop_group_at(f->loops, 0), false);
    assert_int_equal(f->n_batches, 2);
    assert_int_equal(f->n_room, 1);
    store_run_answers(hl);
    assert_int_equal(a.status, 0);
    fake_free(f);
}

static void only_the_kept_units_of_a_batch_come_again_in_their_order(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told t[6];

    (void)state;
    f->has_results = true;
    for (uint32_t i = 0; i < 6; i++) {
        told_init(&t[i]);
        f->results[i].status = i == 3 ? PIGEON_OK : PIGEON_E_FULL;
        /* 0 and 4 give up, 3 is stored, 1, 2 and 5 are kept; each has two ops */
        store_unit_begin(hl, 0, i == 0 || i == 4 ? 0 : STORE_AGAIN);
        store_queue_upd(hl, 1, i, 5, PIGEON_QUEUE_SENT);
        store_queue_del(hl, 1, 10 * i);
        assert_int_equal(store_unit_end(hl, &t[i].wait), 0);
    }
    store_submit(hl);
    store_run_answers(hl);
    assert_int_equal(t[0].status, -ENOSPC);
    assert_int_equal(t[4].status, -ENOSPC);
    assert_int_equal(t[3].status, 0);
    assert_int_equal(t[1].n + t[2].n + t[5].n, 0);
    assert_int_equal(store_in_flight(fake_hooks(f)), 3);
    f->results[0].status = f->results[2].status = PIGEON_OK;
    f->results[1].status = PIGEON_E_FULL;
    f->n_ops = 0;
    seconds_pass(f, 1);
    assert_int_equal(f->n_ops, 6);
    uint64_t want[] = { 1, 10, 2, 20, 5, 50 };
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(f->ops[i].pos, want[i]);
    store_run_answers(hl);
    assert_int_equal(t[1].status, 0);
    assert_int_equal(t[5].status, 0);
    assert_int_equal(t[2].n, 0);
    f->results[0].status = PIGEON_OK;
    seconds_pass(f, 2);
    store_run_answers(hl);
    assert_int_equal(t[2].status, 0);
    fake_free(f);
}

static void later_kept_units_line_up_behind_and_deletions_pass(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told a, b, c;

    (void)state;
    told_init(&a);
    told_init(&b);
    told_init(&c);
    f->status = PIGEON_E_FULL;
    del(hl, 1, 1, STORE_AGAIN, &a);
    store_submit(hl);
    store_run_answers(hl);
    f->status = PIGEON_OK;
    f->n_ops = 0;
    del(hl, 1, 2, STORE_AGAIN, &b);
    del(hl, 1, 3, STORE_AGAIN | STORE_TRIM, &c);
    store_submit(hl);
    assert_int_equal(f->n_ops, 1);
    assert_int_equal(f->ops[0].pos, 3);
    store_run_answers(hl);
    assert_int_equal(c.n, 1);
    assert_int_equal(b.n, 0);
    assert_int_equal(f->n_room, 0); /* a deletion proves nothing */
    assert_int_equal(store_in_flight(fake_hooks(f)), 2);
    seconds_pass(f, 1);
    assert_int_equal(f->ops[1].pos, 1);
    assert_int_equal(f->ops[2].pos, 2);
    store_run_answers(hl);
    assert_true(a.order < b.order);
    fake_free(f);
}

static void a_kept_message_keeps_its_number_and_its_body(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct store_rcpt rcpt = { .session = 1, .qos = 1 };
    struct message *m = message_make("kept/topic", 1);
    struct told a;

    (void)state;
    told_init(&a);
    f->status = PIGEON_E_FULL;
    add(hl, 1, NULL); /* lost, and its body with it */
    store_unit_begin(hl, 0, STORE_AGAIN);
    store_queue_add(hl, m, &rcpt, 1);
    assert_int_equal(store_unit_end(hl, &a.wait), 0);
    message_unref(&m);
    store_submit(hl);
    store_run_answers(hl);
    assert_int_equal(a.wait.pos, 2);
    f->status = PIGEON_OK;
    add(hl, 1, NULL);
    store_submit(hl);
    f->n_ops = 0;
    seconds_pass(f, 1);
    assert_int_equal(f->ops[0].pos, 2);
    assert_string_equal(f->batch->ops[0].msg->topic.ptr, "kept/topic");
    assert_int_equal(store_last_pos(fake_hooks(f)), 3);
    store_run_answers(hl);
    fake_free(f);
}

static void a_store_without_memory_is_asked_again_too(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told a, b;

    (void)state;
    told_init(&a);
    told_init(&b);
    f->status = PIGEON_E_NOMEM;
    del(hl, 1, 1, STORE_AGAIN, &a);
    del(hl, 1, 2, 0, &b);
    store_submit(hl);
    store_run_answers(hl);
    assert_int_equal(b.status, -ENOMEM);
    f->status = PIGEON_OK;
    seconds_pass(f, 1);
    store_run_answers(hl);
    assert_int_equal(a.status, 0);
    fake_free(f);
}

static void a_kept_unit_may_lose_its_wait(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told a;

    (void)state;
    told_init(&a);
    f->status = PIGEON_E_FULL;
    del(hl, 1, 1, STORE_AGAIN, &a);
    store_submit(hl);
    store_run_answers(hl);
    store_wait_cancel(&a.wait);
    f->status = PIGEON_OK;
    seconds_pass(f, 1);
    store_run_answers(hl);
    assert_int_equal(a.n, 0);
    assert_int_equal(f->n_batches, 2);
    fake_free(f);
}

static void kept_units_end_with_eio_when_the_store_fails(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told a;

    (void)state;
    told_init(&a);
    f->status = PIGEON_E_FULL;
    del(hl, 1, 1, STORE_AGAIN, &a);
    store_submit(hl);
    store_run_answers(hl);
    store_host_table.seen(f->store, PIGEON_SEEN_FAILED, (pigeon_str){ .ptr = NULL });
    seconds_pass(f, 1);
    store_run_answers(hl);
    assert_int_equal(a.status, -EIO);
    assert_int_equal(f->n_batches, 1);
    fake_free(f);
}

static void kept_units_are_dropped_at_the_end(void **state)
{
    struct fake *f = fake_new(1);
    struct told a;

    (void)state;
    told_init(&a);
    f->status = PIGEON_E_FULL;
    del(fake_loop(f, 0), 1, 1, STORE_AGAIN, &a);
    store_submit(fake_loop(f, 0));
    store_run_answers(fake_loop(f, 0));
    fake_free(f);
    assert_int_equal(a.n, 0);
    assert_false(store_waiting(&a.wait));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kept_unit_is_submitted_again_after_a_second_and_its_wait_goes_on),
        cmocka_unit_test(room_submits_kept_units_at_once),
        cmocka_unit_test(only_the_kept_units_of_a_batch_come_again_in_their_order),
        cmocka_unit_test(later_kept_units_line_up_behind_and_deletions_pass),
        cmocka_unit_test(a_kept_message_keeps_its_number_and_its_body),
        cmocka_unit_test(a_store_without_memory_is_asked_again_too),
        cmocka_unit_test(a_kept_unit_may_lose_its_wait),
        cmocka_unit_test(kept_units_end_with_eio_when_the_store_fails),
        cmocka_unit_test(kept_units_are_dropped_at_the_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
