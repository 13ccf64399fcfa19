/* The queue: order, recipients, states, moves, reading in pieces. */
#include "plugin_tool/store_contract.h"
#include <stdio.h>

static void two_sessions(struct rig *r)
{
    session_put(r, 1, "a");
    session_put(r, 2, "b");
    commit_ok(r);
}

/* Positions first .. first + n - 1 for session 1. */
static void fill(struct rig *r, uint64_t first, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        queue_add(r, first + i, "m");
        rcpt(r, 1, 1);
    }
    commit_ok(r);
}

static void a_queue_comes_back_in_order_of_arrival(void **state)
{
    struct rig *r = *state;

    two_sessions(r);
    for (uint64_t pos = 1; pos <= 300; pos++) {
        char payload[16];

        snprintf(payload, sizeof(payload), "%u", (unsigned)pos);
        queue_add(r, pos, payload);
        rcpt(r, pos % 3 ? 1 : 2, 1);
        if (pos % 10 == 0)
            commit_ok(r);
    }
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 300);
    for (uint32_t i = 0; i < 300; i++) {
        assert_int_equal(r->rows[i].pos, i + 1);
        assert_int_equal(strtol(r->rows[i].payload, NULL, 10), i + 1);
        assert_int_equal(r->rows[i].packet_id, 0);
        assert_int_equal(r->rows[i].state, PIGEON_QUEUE_QUEUED);
    }
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 2), 100);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(r->rows[i].pos, 3 * i + 3);
}

static void each_recipient_has_its_own_qos_flags_and_identifiers(void **state)
{
    struct rig *r = *state;
    uint32_t ids[] = { 7, 268435455, 9 };

    two_sessions(r);
    queue_add(r, 5, "one body");
    *rcpt(r, 1, 1) = (pigeon_rcpt){ .size = sizeof(pigeon_rcpt),
                                    .client = text(""),
                                    .session = 1,
                                    .qos = 1,
                                    .retain = 1,
                                    .share = text("") };
    pigeon_rcpt *to = rcpt(r, 2, 2);
    to->nsub_ids = 3;
    to->sub_ids = ids;
    to->share = text("$share/g/queue/+");
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 1), 1);
    assert_int_equal(r->rows[0].kind, PIGEON_OP_QUEUE_ADD);
    assert_int_equal(r->rows[0].qos, 1);
    assert_int_equal(r->rows[0].retain, 1);
    assert_int_equal(r->rows[0].n_ids, 0);
    assert_string_equal(r->rows[0].share, "");
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 2), 1);
    assert_int_equal(r->rows[0].qos, 2);
    assert_int_equal(r->rows[0].retain, 0);
    assert_int_equal(r->rows[0].n_ids, 3);
    assert_memory_equal(r->rows[0].ids, ids, sizeof(ids));
    assert_string_equal(r->rows[0].share, "$share/g/queue/+");
    assert_string_equal(r->rows[0].payload, "one body");
}

static void a_payload_is_bytes_of_any_length(void **state)
{
    struct rig *r = *state;
    size_t lens[] = { 0, 1, 255, 65536, 1 << 20 };
    uint8_t *bytes = malloc(1 << 20);

    assert_non_null(bytes);
    for (uint32_t i = 0; i < 1 << 20; i++)
        bytes[i] = (uint8_t)(i * 31);
    two_sessions(r);
    for (uint32_t i = 0; i < PIGEON_COUNT(lens); i++) {
        pigeon_msg like = { .qos = 1,
                            .id = { 1, i + 1 },
                            .topic = text("t"),
                            .payload = { .ptr = bytes, .len = (uint32_t)lens[i] } };
        pigeon_op *o = op(r, PIGEON_OP_QUEUE_ADD, 0);

        o->pos = i + 1;
        o->msg = message_with(r, &like);
        rcpt(r, 1, 1);
    }
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 1), PIGEON_COUNT(lens));
    for (uint32_t i = 0; i < PIGEON_COUNT(lens); i++) {
        assert_int_equal(r->rows[i].payload_len, lens[i]);
        assert_memory_equal(r->rows[i].payload, bytes, lens[i]);
    }
    free(bytes);
}

static void an_update_sets_packet_identifier_and_state(void **state)
{
    struct rig *r = *state;

    two_sessions(r);
    queue_add(r, 1, "m");
    rcpt(r, 1, 2);
    rcpt(r, 2, 2);
    commit_ok(r);
    queue_upd(r, 1, 1, 65535, PIGEON_QUEUE_SENT);
    commit_ok(r);
    scan(r, PIGEON_SCAN_QUEUE, 1);
    assert_int_equal(r->rows[0].packet_id, 65535);
    assert_int_equal(r->rows[0].state, PIGEON_QUEUE_SENT);
    scan(r, PIGEON_SCAN_QUEUE, 2); /* the other recipient's is its own */
    assert_int_equal(r->rows[0].packet_id, 0);
    queue_upd(r, 1, 1, 65535, PIGEON_QUEUE_RECEIVED);
    queue_upd(r, 1, 99, 1, PIGEON_QUEUE_SENT);
    queue_upd(r, 99, 1, 1, PIGEON_QUEUE_SENT);
    commit_ok(r);
    scan(r, PIGEON_SCAN_QUEUE, 1);
    assert_int_equal(r->rows[0].state, PIGEON_QUEUE_RECEIVED);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 2);
}

static void two_messages_may_share_a_packet_identifier(void **state)
{
    struct rig *r = *state;

    two_sessions(r);
    fill(r, 1, 2);
    queue_upd(r, 1, 1, 5, PIGEON_QUEUE_RECEIVED);
    queue_upd(r, 1, 2, 5, PIGEON_QUEUE_SENT);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 1), 2);
    queue_op(r, PIGEON_OP_QUEUE_DEL, 1, 1);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 1), 1);
    assert_int_equal(r->rows[0].pos, 2);
    assert_int_equal(r->rows[0].packet_id, 5);
    assert_int_equal(r->rows[0].state, PIGEON_QUEUE_SENT);
}

static void a_deletion_takes_one_recipient_and_an_unknown_one_is_no_error(void **state)
{
    struct rig *r = *state;

    two_sessions(r);
    queue_add(r, 1, "m");
    rcpt(r, 1, 1);
    rcpt(r, 2, 1);
    commit_ok(r);
    queue_op(r, PIGEON_OP_QUEUE_DEL, 1, 1);
    queue_op(r, PIGEON_OP_QUEUE_DEL, 1, 1);
    queue_op(r, PIGEON_OP_QUEUE_DEL, 1, 99);
    queue_op(r, PIGEON_OP_QUEUE_DEL, 99, 1);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 1), 0);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 2), 1);
    assert_string_equal(r->rows[0].payload, "m");
    queue_op(r, PIGEON_OP_QUEUE_DEL, 2, 1);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 0);
}

static void a_queue_is_read_twice_alike(void **state)
{
    struct rig *r = *state;

    two_sessions(r);
    fill(r, 1, 32);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 1), 32);
        for (uint32_t k = 0; k < 32; k++)
            assert_int_equal(r->rows[k].pos, k + 1);
    }
}

static void delete_it(struct rig *r, const struct seen *row)
{
    queue_op(r, PIGEON_OP_QUEUE_DEL, 1, row->pos);
    commit_ok(r);
}

static void rows_may_be_deleted_while_they_are_read(void **state)
{
    struct rig *r = *state;
    pigeon_scan like = { .what = PIGEON_SCAN_QUEUE, .session = 1 };

    two_sessions(r);
    for (uint32_t step = 1; step <= 4; step++) { /* read ahead by so many */
        fill(r, 1000 * step, 32);
        r->credit_step = step;
        r->on_row = delete_it;
        assert_int_equal(scan_with(r, &like), PIGEON_OK);
        assert_int_equal(r->n_rows, 32);
        for (uint32_t i = 0; i < 32; i++)
            assert_int_equal(r->rows[i].pos, 1000 * step + i);
        r->on_row = NULL;
        assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 0);
    }
}

static void drop_all(struct rig *r, const struct seen *row)
{
    if (row->pos != 3)
        return;
    op(r, PIGEON_OP_SESSION_DEL, 1);
    commit_ok(r);
}

static void a_session_may_go_while_its_queue_is_read(void **state)
{
    struct rig *r = *state;
    pigeon_scan like = { .what = PIGEON_SCAN_QUEUE, .session = 1 };

    two_sessions(r);
    fill(r, 1, 32);
    r->credit_step = 1;
    r->on_row = drop_all;
    scan_with(r, &like); /* ends, whatever it says */
    assert_true(r->n_rows >= 3);
    r->on_row = NULL;
    r->credit_step = 0;
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 0);
}

static void a_queue_is_read_in_pieces(void **state)
{
    struct rig *r = *state;
    pigeon_scan like = { .what = PIGEON_SCAN_QUEUE, .session = 1, .limit = 10 };
    uint64_t next = 1;

    two_sessions(r);
    for (uint64_t pos = 1; pos <= 50; pos++) {
        queue_add(r, pos, "m");
        rcpt(r, pos % 2 ? 1 : 2, 1);
    }
    commit_ok(r);
    for (;;) {
        assert_int_equal(scan_with(r, &like), PIGEON_OK);
        for (uint32_t i = 0; i < r->n_rows; i++, next += 2)
            assert_int_equal(r->rows[i].pos, next);
        if (r->n_rows < like.limit)
            break;
        like.after_pos = r->rows[r->n_rows - 1].pos;
        queue_op(r, PIGEON_OP_QUEUE_DEL, 1, like.after_pos); /* the place itself may be gone */
        commit_ok(r);
    }
    assert_int_equal(next, 51);
    like = (pigeon_scan){ .what = PIGEON_SCAN_QUEUE, .after_pos = 25 };
    assert_int_equal(scan_with(r, &like), PIGEON_OK);
    assert_int_equal(r->rows[0].pos, 26);
    like.after_pos = 50;
    assert_int_equal(scan_with(r, &like), PIGEON_OK);
    assert_int_equal(r->n_rows, 0);
}

static void recipients_that_are_gone_are_skipped_and_counted(void **state)
{
    struct rig *r = *state;

    two_sessions(r);
    queue_add(r, 1, "m");
    rcpt(r, 77, 1);
    rcpt(r, 1, 1);
    rcpt(r, 78, 1);
    assert_int_equal(commit(r), PIGEON_OK);
    assert_int_equal(unit_status(r, 0), PIGEON_OK);
    assert_int_equal(unit_gone(r, 0), 2);
    queue_add(r, 2, "m"); /* nobody at all */
    rcpt(r, 77, 1);
    assert_int_equal(commit(r), PIGEON_OK);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 1);
}

static void a_number_is_never_applied_twice(void **state)
{
    struct rig *r = *state;

    two_sessions(r);
    fill(r, 1, 1);
    queue_upd(r, 1, 1, 9, PIGEON_QUEUE_SENT);
    commit_ok(r);
    fill(r, 1, 1);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 1);
    assert_int_equal(r->rows[0].packet_id, 9);
}

static void a_message_that_comes_late_stands_in_its_place(void **state)
{
    struct rig *r = *state;
    uint64_t order[] = { 10, 30, 20, 5, 40, 25 }, want[] = { 5, 10, 20, 25, 30, 40 };

    two_sessions(r);
    for (uint32_t i = 0; i < PIGEON_COUNT(order); i++) {
        queue_add(r, order[i], "m");
        rcpt(r, 1, 1);
        rcpt(r, 2, 1);
        commit_ok(r);
    }
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 1), 6);
    for (uint32_t i = 0; i < 6; i++)
        assert_int_equal(r->rows[i].pos, want[i]);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 12);
    for (uint32_t i = 0; i < 12; i++)
        assert_int_equal(r->rows[i].pos, want[i / 2]);
}

static void a_message_moves_to_another_member(void **state)
{
    struct rig *r = *state;

    two_sessions(r);
    fill(r, 1, 3);
    queue_add(r, 4, "other");
    rcpt(r, 2, 1);
    queue_upd(r, 1, 2, 7, PIGEON_QUEUE_SENT);
    commit_ok(r);
    queue_op(r, PIGEON_OP_QUEUE_MOVE, 1, 2);
    rcpt(r, 2, 0)->share = text("$share/g/x");
    queue_op(r, PIGEON_OP_QUEUE_MOVE, 1, 99); /* unknown: no error */
    rcpt(r, 2, 0);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 1), 2);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 2), 2);
    assert_int_equal(r->rows[0].pos, 2); /* keeps its number and its place */
    assert_int_equal(r->rows[0].packet_id, 0);
    assert_int_equal(r->rows[0].state, PIGEON_QUEUE_QUEUED);
    assert_int_equal(r->rows[0].qos, 0);
    assert_string_equal(r->rows[0].share, "$share/g/x");
    assert_string_equal(r->rows[0].payload, "m");
    assert_int_equal(r->rows[1].pos, 4);
    op(r, PIGEON_OP_SESSION_DEL, 1); /* the old owner goes, the message stays */
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 2);
}

static void a_move_to_a_session_that_is_gone_ends_the_message(void **state)
{
    struct rig *r = *state;

    two_sessions(r);
    fill(r, 1, 1);
    queue_op(r, PIGEON_OP_QUEUE_MOVE, 1, 1);
    rcpt(r, 77, 1);
    assert_int_equal(commit(r), PIGEON_OK);
    assert_int_equal(unit_gone(r, 0), 1);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 0);
}

static void a_long_queue_is_streamed_within_its_credit(void **state)
{
    struct rig *r = *state;
    pigeon_scan like = { .what = PIGEON_SCAN_QUEUE };

    two_sessions(r);
    for (uint32_t i = 0; i < 20; i++)
        fill(r, 1 + i * 1000, 1000);
    r->credit_step = 100;
    assert_int_equal(scan_with(r, &like), PIGEON_OK);
    assert_int_equal(r->n_rows, 20000);
    for (uint32_t i = 0; i < 20000; i++)
        assert_int_equal(r->rows[i].pos, i + 1);
}

static void a_message_for_ten_thousand_is_one_op(void **state)
{
    struct rig *r = *state;

    for (uint64_t s = 1; s <= 10000; s++)
        session_put(r, s, "c");
    commit_ok(r);
    queue_add(r, 1, "for all");
    for (uint64_t s = 1; s <= 10000; s++)
        rcpt(r, s, 1);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 10000);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 5000), 1);
}

static void expect_sum(const struct rig *r, uint64_t session, uint64_t pos, uint64_t rows,
                       uint64_t last_id_pos)
{
    const struct seen *seen = NULL;
    pigeon_queue_sum sum;

    for (uint32_t i = 0; i < r->n_rows; i++)
        if (r->rows[i].session == session)
            seen = &r->rows[i];
    assert_non_null(seen);
    assert_true(seen->extra_len >= sizeof(sum));
    memcpy(&sum, seen->extra, sizeof(sum));
    assert_true(session ? seen->pos == pos : seen->pos >= pos);
    assert_int_equal(sum.size, sizeof(sum));
    assert_int_equal(sum.rows, rows);
    if (session) {
        assert_int_equal(sum.bytes, rows * strlen("queue/topicm"));
        assert_int_equal(sum.last_id_pos, last_id_pos);
    }
}

/* Or the store has no such scan. */
static void sums_are_the_queues_in_short(void **state)
{
    struct rig *r = *state;
    pigeon_scan like = { .what = PIGEON_SCAN_SUMS };
    int32_t status;

    two_sessions(r);
    session_put(r, 3, "c"); /* nothing waits for it */
    fill(r, 1, 3);
    queue_add(r, 4, "m");
    rcpt(r, 1, 1);
    rcpt(r, 2, 1);
    queue_upd(r, 1, 2, 9, PIGEON_QUEUE_SENT);
    commit_ok(r);
    if (rig_is_lasting(r)) {
        rig_destroy(r);
        rig_create(r);
    }
    status = scan_with(r, &like);
    if (status == PIGEON_E_NOTSUP)
        return;
    assert_int_equal(status, PIGEON_OK);
    assert_int_equal(r->n_rows, 3);
    assert_int_equal(r->rows[0].session, 0);
    expect_sum(r, 0, 4, 5, 0);
    expect_sum(r, 1, 4, 4, 2);
    expect_sum(r, 2, 4, 1, 0);
    queue_op(r, PIGEON_OP_QUEUE_DEL, 1, 2);
    queue_op(r, PIGEON_OP_QUEUE_DEL, 2, 4);
    commit_ok(r);
    r->credit_step = 1;
    assert_int_equal(scan_with(r, &like), PIGEON_OK);
    assert_int_equal(r->n_rows, 2);
    expect_sum(r, 0, 4, 3, 0);
    expect_sum(r, 1, 4, 3, 0);
}

const struct store_case queue_cases[] = {
    CASE(a_queue_comes_back_in_order_of_arrival),
    CASE(each_recipient_has_its_own_qos_flags_and_identifiers),
    CASE(a_payload_is_bytes_of_any_length),
    CASE(an_update_sets_packet_identifier_and_state),
    CASE(two_messages_may_share_a_packet_identifier),
    CASE(a_deletion_takes_one_recipient_and_an_unknown_one_is_no_error),
    CASE(a_queue_is_read_twice_alike),
    CASE(rows_may_be_deleted_while_they_are_read),
    CASE(a_session_may_go_while_its_queue_is_read),
    CASE(a_queue_is_read_in_pieces),
    CASE(recipients_that_are_gone_are_skipped_and_counted),
    CASE(a_number_is_never_applied_twice),
    CASE(a_message_that_comes_late_stands_in_its_place),
    CASE(a_message_moves_to_another_member),
    CASE(a_move_to_a_session_that_is_gone_ends_the_message),
    CASE(a_long_queue_is_streamed_within_its_credit),
    CASE(a_message_for_ten_thousand_is_one_op),
    CASE(sums_are_the_queues_in_short),
};
const size_t n_queue_cases = PIGEON_COUNT(queue_cases);
