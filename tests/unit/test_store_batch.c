#include "store_support.h"

static void units_gather_until_submit_and_leave_as_one_batch(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told a, b;

    (void)state;
    told_init(&a);
    told_init(&b);
    del(hl, 1, 10, 0, &a);
    del(hl, 1, 11, 0, &b);
    assert_int_equal(f->n_batches, 0);
    store_submit(hl);
    assert_int_equal(f->n_batches, 1);
    assert_int_equal(f->n_ops, 2);
    assert_int_equal(f->ops[1].unit, 1);
    assert_int_equal(a.n, 0); /* never from within another call */
    assert_int_equal(store_in_flight(fake_hooks(f)), 2);
    assert_true(store_run_answers(hl));
    assert_int_equal(a.n + b.n, 2);
    assert_int_equal(a.status, 0);
    assert_true(a.order < b.order);
    assert_false(store_run_answers(hl));
    assert_int_equal(store_in_flight(fake_hooks(f)), 0);
    fake_free(f);
}

static void nothing_gathered_submits_nothing(void **state)
{
    struct fake *f = fake_new(1);

    (void)state;
    store_submit(fake_loop(f, 0));
    assert_int_equal(f->n_batches, 0);
    fake_free(f);
}

static void arrival_numbers_are_given_in_submit_order_and_known_when_submit_returns(void **state)
{
    struct fake *f = fake_new(2);
    struct told a, b, c;

    (void)state;
    told_init(&a);
    told_init(&b);
    told_init(&c);
    store_set_last_pos(fake_hooks(f), 100);
    add(fake_loop(f, 0), 1, &a); /* gathered first, submitted last */
    add(fake_loop(f, 1), 2, &b);
    add(fake_loop(f, 1), 2, &c);
    store_submit(fake_loop(f, 1));
    assert_int_equal(b.wait.pos, 101);
    assert_int_equal(c.wait.pos, 102);
    store_submit(fake_loop(f, 0));
    assert_int_equal(a.wait.pos, 103);
    assert_int_equal(store_last_pos(fake_hooks(f)), 103);
    for (uint32_t i = 0; i < 3; i++)
        assert_int_equal(f->ops[i].pos, 101 + i);
    store_run_answers(fake_loop(f, 0));
    store_run_answers(fake_loop(f, 1));
    fake_free(f);
}

static void placed_units_have_their_numbers_before_the_plugin_is_called(void **state)
{
    struct fake *f = fake_new(1);
    struct told a;

    (void)state;
    told_init(&a);
    add(fake_loop(f, 0), 1, &a);
    store_place(fake_loop(f, 0));
    assert_int_equal(a.wait.pos, 1);
    assert_int_equal(f->n_batches, 0);
    store_submit(fake_loop(f, 0));
    assert_int_equal(f->n_batches, 1);
    store_run_answers(fake_loop(f, 0));
    assert_int_equal(a.n, 1);
    fake_free(f);
}

static void a_batch_is_as_durable_as_its_most_demanding_unit(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    uint32_t want[] = { PIGEON_DURABILITY_OS, PIGEON_DURABILITY_DISK, PIGEON_DURABILITY_MEMORY };

    (void)state;
    for (uint32_t i = 0; i < 3; i++) {
        store_unit_begin(hl, want[i], 0);
        store_in_del(hl, 1, 1);
        assert_int_equal(store_unit_end(hl, NULL), 0);
    }
    store_submit(hl);
    assert_int_equal(f->durability, PIGEON_DURABILITY_DISK);
    store_run_answers(hl);
    del(hl, 1, 1, 0, NULL); /* the next batch starts anew */
    store_submit(hl);
    assert_int_equal(f->durability, PIGEON_DURABILITY_MEMORY);
    store_run_answers(hl);
    fake_free(f);
}

static void what_a_batch_names_is_pinned_until_it_is_answered(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    char topic[] = "some/topic", client[] = "client", key[] = "$share/g/+/x";
    uint32_t ids[] = { 5, 6 };
    struct store_rcpt rcpt = { .session = 9,
                               .qos = 2,
                               .retain = 1,
                               .n_ids = 2,
                               .ids = ids,
                               .share = { key, (uint32_t)strlen(key) } };
    pigeon_sub sub = {
        .size = sizeof(sub), .id = 3, .qos = 2, .filter = { .ptr = client, .len = 6 }
    };
    struct message *m = message_make(topic, 1);

    (void)state;
    f->status = PIGEON_PENDING;
    store_unit_begin(hl, 0, 0);
    store_session_put(hl, 9, str_from(client), 5000, STR("extra"));
    store_sub_put(hl, 9, str_from(key), &sub);
    store_queue_add(hl, m, &rcpt, 1);
    assert_int_equal(store_unit_end(hl, NULL), 0);
    message_unref(&m);
    memset(client, 'x', sizeof(client) - 1);
    memset(key, 'x', sizeof(key) - 1);
    memset(ids, 0, sizeof(ids));
    store_submit(hl);
    const pigeon_op *op = f->batch->ops;
    assert_string_equal(op[0].client.ptr, "client"); /* a NUL behind it, too */
    assert_int_equal(op[0].due_in_ms, 5000);
    assert_memory_equal(op[0].extra.ptr, "extra", 5);
    assert_string_equal(op[1].key.ptr, "$share/g/+/x");
    assert_string_equal(op[1].sub->filter.ptr, "client");
    assert_int_equal(op[1].sub->id, 3);
    assert_string_equal(op[2].msg->topic.ptr, "some/topic");
    assert_int_equal(op[2].rcpts->session, 9);
    assert_int_equal(op[2].rcpts->sub_ids[1], 6);
    assert_string_equal(op[2].rcpts->share.ptr, "$share/g/+/x");
    assert_int_equal(fake_answer(f, f->token[0], PIGEON_OK), PIGEON_OK);
    store_run_answers(hl);
    fake_free(f);
}

static void an_answer_comes_once_and_a_second_or_strange_one_is_gone(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told a, b;

    (void)state;
    told_init(&a);
    told_init(&b);
    f->status = PIGEON_PENDING;
    del(hl, 1, 1, 0, &a);
    store_submit(hl);
    assert_false(store_run_answers(hl));
    assert_int_equal(fake_answer(f, f->token[0], PIGEON_OK), PIGEON_OK);
    assert_int_equal(fake_answer(f, f->token[0], PIGEON_E_IO), PIGEON_E_GONE);
    store_run_answers(hl);
    assert_int_equal(a.status, 0);
    del(hl, 1, 2, 0, &b); /* the same memory, another generation */
    store_submit(hl);
    assert_int_equal(fake_answer(f, f->token[0], PIGEON_OK), PIGEON_E_GONE);
    assert_int_equal(fake_answer(f, f->token[1] + 1, PIGEON_OK), PIGEON_E_GONE);
    assert_int_equal(fake_answer(f, 0, PIGEON_OK), PIGEON_E_GONE);
    assert_int_equal(fake_answer(f, UINT64_MAX, PIGEON_OK), PIGEON_E_GONE);
    assert_false(store_run_answers(hl));
    assert_int_equal(b.n, 0);
    assert_int_equal(store_complete(f->store, f->token[1], PIGEON_OK), PIGEON_OK);
    store_run_answers(hl);
    assert_int_equal(b.n, 1);
    assert_int_equal(f->n_failed, 0);
    fake_free(f);
}

static void answers_reach_the_waiting_in_submit_order(void **state)
{
    struct fake *f = fake_new(2);
    struct told t[6];

    (void)state;
    f->status = PIGEON_PENDING;
    for (uint32_t i = 0; i < 6; i++) {
        told_init(&t[i]);
        f->status = i % 2 ? PIGEON_OK : PIGEON_PENDING; /* at once, or from outside */
        del(fake_loop(f, 0), 1, i, 0, &t[i]);
        store_submit(fake_loop(f, 0));
        if (f->status == PIGEON_PENDING)
            assert_int_equal(fake_answer(f, f->token[i], PIGEON_OK), PIGEON_OK);
    }
    store_run_answers(fake_loop(f, 0));
    for (uint32_t i = 1; i < 6; i++)
        assert_true(t[i - 1].order < t[i].order);
    fake_free(f);
}

static void a_cancelled_wait_is_not_called(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told a, b;

    (void)state;
    told_init(&a);
    told_init(&b);
    del(hl, 1, 1, 0, &a);
    del(hl, 1, 2, 0, &b);
    store_submit(hl);
    assert_true(store_waiting(&a.wait));
    store_wait_cancel(&a.wait);
    store_wait_cancel(&a.wait);
    assert_false(store_waiting(&a.wait));
    store_run_answers(hl);
    assert_int_equal(a.n, 0);
    assert_int_equal(b.n, 1);
    fake_free(f);
}

static struct hook_loop *again_loop;
static struct told again_told, again_other;
static void submit_again(struct store_wait *w, int status)
{
    told_done(w, status);
    store_wait_cancel(&again_other.wait);
    del(again_loop, 1, 99, 0, &again_told);
    store_submit(again_loop);
}

static void who_is_answered_may_submit_and_cancel(void **state)
{
    struct fake *f = fake_new(1);
    struct told a;

    (void)state;
    again_loop = fake_loop(f, 0);
    told_init(&a);
    a.wait.done = submit_again;
    told_init(&again_told);
    told_init(&again_other);
    del(again_loop, 1, 1, 0, &a);
    del(again_loop, 1, 2, 0, &again_other);
    store_submit(again_loop);
    assert_true(store_run_answers(again_loop));
    assert_int_equal(a.n, 1);
    assert_int_equal(again_other.n, 0);
    assert_int_equal(again_told.n, 0);
    assert_true(store_run_answers(again_loop));
    assert_int_equal(again_told.n, 1);
    fake_free(f);
}

static void a_full_batch_is_closed_and_all_batches_leave_in_order(void **state)
{
    struct fake *f = fake_new_with(1, 4);
    struct hook_loop *hl = fake_loop(f, 0);

    (void)state;
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(store_unit_is_full(hl), i >= 4);
        del(hl, 1, i, 0, NULL);
    }
    store_submit(hl);
    assert_false(store_unit_is_full(hl));
    assert_int_equal(f->n_batches, 3);
    for (uint64_t i = 0; i < 10; i++) {
        assert_int_equal(f->ops[i].pos, i);
        assert_int_equal(f->ops[i].batch, i / 4);
    }
    store_run_answers(hl);
    fake_free(f);
}

static void a_large_unit_is_never_split(void **state)
{
    struct fake *f = fake_new_with(1, 4);
    struct hook_loop *hl = fake_loop(f, 0);

    (void)state;
    store_unit_begin(hl, 0, 0);
    for (uint32_t i = 0; i < 1000; i++)
        store_sub_del(hl, 1, STR("some/filter/that/takes/room"));
    assert_int_equal(store_unit_end(hl, NULL), 0);
    store_submit(hl);
    assert_int_equal(f->n_batches, 1);
    assert_int_equal(f->n_ops, 1000);
    store_run_answers(hl);
    fake_free(f);
}

static void full_is_enospc_and_leaves_the_store_usable(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told a, b;

    (void)state;
    told_init(&a);
    told_init(&b);
    f->status = PIGEON_E_FULL;
    add(hl, 1, &a);
    store_submit(hl);
    store_run_answers(hl);
    assert_int_equal(a.status, -ENOSPC);
    assert_int_equal(f->n_failed, 0);
    assert_int_equal(store_in_flight(fake_hooks(f)), 0);
    f->status = PIGEON_OK;
    add(hl, 1, &b);
    store_submit(hl);
    store_run_answers(hl);
    assert_int_equal(b.status, 0);
    assert_int_equal(f->n_room, 1); /* told, since it was full before */
    fake_free(f);
}

static void failed(int32_t status)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told a, b;

    told_init(&a);
    told_init(&b);
    f->status = status;
    del(hl, 1, 1, STORE_AGAIN, &a);
    store_submit(hl);
    store_run_answers(hl);
    assert_int_equal(a.status, -EIO);
    assert_int_equal(f->n_failed, 1);
    f->status = PIGEON_OK;
    del(hl, 1, 1, 0, &b);
    store_submit(hl);
    store_run_answers(hl);
    assert_int_equal(b.status, -EIO);
    assert_int_equal(f->n_batches, 1); /* the plugin is left alone */
    assert_int_equal(f->n_failed, 1);
    fake_free(f);
}

static void failed_or_unknown_or_nonsense_is_eio_for_good_and_said_once(void **state)
{
    (void)state;
    failed(PIGEON_E_IO);
    failed(PIGEON_E_UNKNOWN);
    failed(99);
    failed(-99);
}

static void seen_failed_ends_acknowledging(void **state)
{
    struct fake *f = fake_new(1);
    struct told a;

    (void)state;
    told_init(&a);
    store_host_table.seen(f->store, PIGEON_SEEN_FAILED, (pigeon_str){ .ptr = "fsync", .len = 5 });
    store_host_table.seen(f->store, PIGEON_SEEN_FAILED, (pigeon_str){ .ptr = NULL });
    assert_int_equal(f->n_failed, 1);
    del(fake_loop(f, 0), 1, 1, 0, &a);
    store_submit(fake_loop(f, 0));
    store_run_answers(fake_loop(f, 0));
    assert_int_equal(a.status, -EIO);
    assert_int_equal(f->n_batches, 0);
    fake_free(f);
}

static void each_unit_has_its_own_status(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told t[4];
    int32_t status[4] = { PIGEON_OK, PIGEON_E_FULL, PIGEON_OK, PIGEON_E_TOOBIG };

    (void)state;
    f->has_results = true;
    for (uint32_t i = 0; i < 4; i++) {
        told_init(&t[i]);
        f->results[i].status = status[i];
        del(hl, 1, i, 0, &t[i]);
    }
    store_submit(hl);
    store_run_answers(hl);
    assert_int_equal(t[0].status, 0);
    assert_int_equal(t[1].status, -ENOSPC);
    assert_int_equal(t[2].status, 0);
    assert_int_equal(t[3].status, -EINVAL);
    assert_int_equal(f->n_failed, 0);
    fake_free(f);
}

static void no_unit_of_a_refused_batch_counts_as_stored(void **state)
{
    struct fake *f = fake_new(1);
    struct told a;

    (void)state;
    told_init(&a);
    f->has_results = true; /* all zero: "OK", in a batch that is not */
    f->status = PIGEON_E_FULL;
    del(fake_loop(f, 0), 1, 1, 0, &a);
    store_submit(fake_loop(f, 0));
    store_run_answers(fake_loop(f, 0));
    assert_int_equal(a.status, -ENOSPC);
    fake_free(f);
}

static void a_plugin_that_answers_twice_over_is_heard_once(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told a;

    (void)state;
    told_init(&a);
    f->status = PIGEON_PENDING;
    del(hl, 1, 1, 0, &a);
    store_submit(hl);
    assert_int_equal(fake_answer(f, f->token[0], PIGEON_E_FULL), PIGEON_OK);
    assert_int_equal(store_complete(f->store, f->token[0], PIGEON_OK), PIGEON_E_GONE);
    store_run_answers(hl);
    assert_int_equal(a.n, 1);
    assert_int_equal(a.status, -ENOSPC);
    fake_free(f);
}

static void what_was_never_answered_is_dropped_at_the_end(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct told a, b;

    (void)state;
    told_init(&a);
    told_init(&b);
    f->status = PIGEON_PENDING;
    add(hl, 1, &a);
    store_submit(hl);
    add(hl, 1, &b); /* gathered, never submitted */
    fake_answer(f, f->token[0], PIGEON_OK);
    fake_free(f);
    assert_int_equal(a.n + b.n, 0);
    assert_false(store_waiting(&a.wait) || store_waiting(&b.wait));
}

static void a_detached_plugin_is_not_called_again(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct loop *loop = loop_group_at(f->loops, 0);
    struct told a, b;

    (void)state;
    told_init(&a);
    told_init(&b);
    f->status = PIGEON_E_FULL;
    del(hl, 1, 1, STORE_AGAIN, &a);
    store_submit(hl);
    store_run_answers(hl);
    store_detach(f->store);
    timers_run(loop_timers(loop), loop_now_ms(loop) + 1000);
    del(hl, 1, 1, 0, &b);
    store_submit(hl);
    store_run_answers(hl);
    assert_int_equal(f->n_batches, 1);
    assert_int_equal(a.status, -EIO);
    assert_int_equal(b.status, -EIO);
    fake_free(f);
}

static void a_unit_that_finds_no_memory_leaves_no_trace(void **state)
{
    (void)state;
    for (uint32_t n = 0;; n++) {
        struct fake *f = fake_new(1);
        struct hook_loop *hl = fake_loop(f, 0);
        struct store_rcpt rcpt = { .session = 1, .share = STR("$share/g/f") };
        pigeon_sub sub = { .size = sizeof(sub), .filter = { .ptr = "f", .len = 1 } };
        struct message *m = message_make("t", 1);
        struct told a;

        told_init(&a);
        failalloc_after(n);
        store_unit_begin(hl, 0, 0);
        store_session_put(hl, 1, STR("c"), 0, STR("e"));
        for (uint32_t i = 0; i < 40; i++)
            store_sub_put(hl, 1, STR("filter"), &sub);
        store_queue_add(hl, m, &rcpt, 1);
        store_will_put(hl, 1, m, 0);
        int r = store_unit_end(hl, &a.wait);
        bool hit = failalloc_disarm();
        assert_int_equal(r, hit ? -ENOMEM : 0);
        assert_int_equal(store_waiting(&a.wait), !hit);
        add(hl, 1, NULL);
        store_submit(hl);
        assert_int_equal(f->n_batches, 1);
        assert_int_equal(f->batch->nunits, hit ? 1 : 2);
        assert_int_equal(f->batch->nops, hit ? 1 : 44);
        assert_int_equal(f->batch->units[0].first_op, 0);
        assert_int_equal(store_last_pos(fake_hooks(f)), hit ? 1 : 2);
        store_run_answers(hl);
        message_unref(&m);
        fake_free(f);
        if (!hit)
            break;
    }
}

static void an_op_put_as_it_is_keeps_its_number_and_is_copied(void **state)
{
    struct fake *f = fake_new(1);
    struct hook_loop *hl = fake_loop(f, 0);
    struct message_parts parts = { .topic = STR("t"), .qos = 1 };
    struct message *m = message_new(&parts);
    char share[] = "$share/g/t", extra[] = "extra";
    uint32_t ids[] = { 3, 300 };
    pigeon_rcpt to[2] = { { .size = sizeof(to[0]), .session = 4, .qos = 1, .nsub_ids = 2 },
                          { .size = sizeof(to[0]), .session = 5, .retain = 1 } };
    pigeon_op op = { .size = sizeof(op),
                     .kind = PIGEON_OP_QUEUE_ADD,
                     .pos = 77,
                     .extra = { .ptr = (uint8_t *)extra, .len = 5 },
                     .nrcpts = 2,
                     .rcpt_stride = sizeof(to[0]) };

    (void)state;
    to[0].sub_ids = ids;
    to[0].share = (pigeon_str){ .ptr = share, .len = 10 };
    op.rcpts = to;
    op.msg = &m->view;
    store_set_last_pos(fake_hooks(f), 1000);
    store_unit_begin(hl, PIGEON_DURABILITY_DISK, 0);
    store_op_put(hl, &op);
    assert_int_equal(store_unit_end(hl, NULL), 0);
    memset(to, 0, sizeof(to));
    memset(ids, 0, sizeof(ids));
    memset(share, 'x', sizeof(share));
    memset(extra, 'x', sizeof(extra));
    store_submit(hl);
    const pigeon_op *put = &f->batch->ops[0];
    assert_int_equal(put->pos, 77);
    assert_int_equal(store_last_pos(fake_hooks(f)), 1000);
    assert_ptr_equal(put->msg, &m->view);
    assert_memory_equal(put->extra.ptr, "extra", 5);
    assert_int_equal(put->nrcpts, 2);
    assert_int_equal(put->rcpts[0].session, 4);
    assert_int_equal(put->rcpts[0].sub_ids[1], 300);
    assert_string_equal(put->rcpts[0].share.ptr, "$share/g/t");
    assert_int_equal(put->rcpts[1].session, 5);
    assert_int_equal(put->rcpts[1].retain, 1);
    assert_int_equal(put->rcpts[1].nsub_ids, 0);
    store_run_answers(hl);
    message_unref(&m);
    fake_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(units_gather_until_submit_and_leave_as_one_batch),
        cmocka_unit_test(nothing_gathered_submits_nothing),
        cmocka_unit_test(arrival_numbers_are_given_in_submit_order_and_known_when_submit_returns),
        cmocka_unit_test(placed_units_have_their_numbers_before_the_plugin_is_called),
        cmocka_unit_test(a_batch_is_as_durable_as_its_most_demanding_unit),
        cmocka_unit_test(what_a_batch_names_is_pinned_until_it_is_answered),
        cmocka_unit_test(an_answer_comes_once_and_a_second_or_strange_one_is_gone),
        cmocka_unit_test(answers_reach_the_waiting_in_submit_order),
        cmocka_unit_test(a_cancelled_wait_is_not_called),
        cmocka_unit_test(who_is_answered_may_submit_and_cancel),
        cmocka_unit_test(a_full_batch_is_closed_and_all_batches_leave_in_order),
        cmocka_unit_test(a_large_unit_is_never_split),
        cmocka_unit_test(full_is_enospc_and_leaves_the_store_usable),
        cmocka_unit_test(failed_or_unknown_or_nonsense_is_eio_for_good_and_said_once),
        cmocka_unit_test(seen_failed_ends_acknowledging),
        cmocka_unit_test(each_unit_has_its_own_status),
        cmocka_unit_test(no_unit_of_a_refused_batch_counts_as_stored),
        cmocka_unit_test(a_plugin_that_answers_twice_over_is_heard_once),
        cmocka_unit_test(what_was_never_answered_is_dropped_at_the_end),
        cmocka_unit_test(a_detached_plugin_is_not_called_again),
        cmocka_unit_test(a_unit_that_finds_no_memory_leaves_no_trace),
        cmocka_unit_test(an_op_put_as_it_is_keeps_its_number_and_is_copied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
