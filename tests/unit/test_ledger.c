#include "../../plugins/store-lib/ledger.h"
#include "unit.h"
#include <stdlib.h>
#include <string.h>

#define SESSIONS 5u
#define NUMBERS  400u

/* What a ledger must know, the simple way. */
struct model {
    bool exists[SESSIONS + 1], has[SESSIONS + 1][NUMBERS + 1];
    uint64_t waiting[NUMBERS + 1];
};

static void add(struct ledger *l, uint64_t session, uint64_t pos)
{
    assert_int_equal(ledger_add(l, ledger_find(l, session), pos), 0);
}

static void expect_queue(const struct queue *q, const bool *has)
{
    uint64_t first, last, upto = 0, rows = 0;
    bool seen[NUMBERS + 2] = { false };

    while (ledger_next(q, upto, &first, &last)) {
        assert_true(first > upto && first <= last && last <= NUMBERS);
        assert_true(upto == 0 || first > upto + 1); /* neighbours are one run */
        for (uint64_t pos = first; pos <= last; pos++)
            seen[pos] = true;
        upto = last;
    }
    for (uint64_t pos = 1; pos <= NUMBERS; pos++) {
        assert_int_equal(seen[pos], has[pos]);
        assert_int_equal(ledger_has(q, pos), has[pos]);
        rows += has[pos];
        if (ledger_next(q, pos, &first, &last))
            assert_true(has[first] && (first == pos + 1 || !has[first - 1]));
    }
    assert_int_equal(q->rows, rows);
}

static void expect(const struct ledger *l, const struct model *m)
{
    for (uint64_t s = 1; s <= SESSIONS; s++) {
        const struct queue *q = ledger_find(l, s);

        assert_int_equal(q != NULL, m->exists[s]);
        if (q)
            expect_queue(q, m->has[s]);
    }
    for (uint64_t pos = 1; pos <= NUMBERS; pos++)
        assert_int_equal(ledger_waiting(l, pos), m->waiting[pos]);
}

static void change(struct ledger *l, struct model *m, uint64_t *random)
{
    uint64_t s = unit_random(random) % SESSIONS + 1, pos = unit_random(random) % NUMBERS + 1;
    uint64_t what = unit_random(random) % 100;
    struct queue *q = ledger_find(l, s);

    if (what < 2) {
        assert_int_equal(ledger_drop_session(l, s), 0);
        m->exists[s] = false;
        memset(m->has[s], 0, sizeof(m->has[s]));
    } else if (what < 10) {
        assert_int_equal(ledger_add_session(l, s), 0);
        m->exists[s] = true;
    } else if (what < 20) {
        m->waiting[pos] = unit_random(random) % 4;
        assert_int_equal(ledger_set_waiting(l, pos, m->waiting[pos]), 0);
    } else if (q && what < 65) {
        assert_int_equal(ledger_add(l, q, pos), 0);
        m->has[s][pos] = true;
    } else if (q) {
        assert_int_equal(ledger_del(l, q, pos), 0);
        m->has[s][pos] = false;
    }
}

static void it_knows_what_was_added_and_takes_back_what_is_not_committed(void **state)
{
    struct ledger l = { 0 };
    struct model *m = calloc(3, sizeof(*m)), *committed = m + 1, *marked = m + 2;
    uint64_t random = 88172645463325252;

    (void)state;
    for (unsigned turn = 0; turn < 3000; turn++) {
        uint64_t n = unit_random(&random) % 60;

        for (uint64_t i = 0; i < n; i++)
            change(&l, m, &random);
        *marked = *m;
        ledger_mark(&l);
        for (uint64_t i = 0; i < n / 2; i++)
            change(&l, m, &random);
        if (turn % 3 == 0) {
            ledger_undo(&l);
            *m = *marked;
        }
        if (turn % 5 == 0) {
            ledger_rollback(&l);
            *m = *committed;
        } else {
            ledger_commit(&l);
            *committed = *m;
        }
        expect(&l, m);
    }
    ledger_fini(&l);
    free(m);
}

static void a_rollback_needs_no_memory(void **state)
{
    struct ledger l = { 0 };
    struct model *m = calloc(2, sizeof(*m)), *committed = m + 1;
    uint64_t random = 2463534242;

    (void)state;
    for (unsigned turn = 0; turn < 300; turn++) {
        for (unsigned i = 0; i < 100; i++)
            change(&l, m, &random);
        ledger_commit(&l);
        *committed = *m;
        for (unsigned i = 0; i < 100; i++)
            change(&l, m, &random);
        failalloc_after(0);
        ledger_rollback(&l);
        failalloc_disarm();
        *m = *committed;
        expect(&l, m);
    }
    ledger_fini(&l);
    free(m);
}

static void without_memory_nothing_has_changed(void **state)
{
    struct ledger l = { 0 };
    bool has[NUMBERS + 1] = { false };
    struct queue *q;

    (void)state;
    failalloc_after(0);
    assert_int_equal(ledger_add_session(&l, 1), -1);
    failalloc_disarm();
    assert_null(ledger_find(&l, 1));
    assert_int_equal(ledger_add_session(&l, 1), 0);
    q = ledger_find(&l, 1);
    for (uint64_t pos = 2; pos <= NUMBERS; pos += 2) {
        failalloc_after(0);
        int r = ledger_add(&l, q, pos);
        failalloc_disarm();
        has[pos] = r == 0;
        expect_queue(q, has);
    }
    ledger_fini(&l);
}

static void a_million_in_a_row_is_one_run_and_a_drained_queue_gives_its_memory_back(void **state)
{
    struct ledger l = { 0 };
    uint64_t first, last;

    (void)state;
    assert_int_equal(ledger_add_session(&l, 7), 0);
    for (uint64_t pos = 1; pos <= 1000000; pos++) {
        add(&l, 7, pos);
        if (pos % 1000 == 0)
            ledger_commit(&l);
    }
    assert_int_equal(ledger_find(&l, 7)->n, 1);
    assert_true(ledger_next(ledger_find(&l, 7), 0, &first, &last));
    assert_int_equal(first, 1);
    assert_int_equal(last, 1000000);
    for (uint64_t pos = 1; pos <= 1000000; pos++) {
        assert_int_equal(ledger_del(&l, ledger_find(&l, 7), pos), 0);
        add(&l, 7, 2000000 + 2 * pos);
        if (pos % 1000 == 0)
            ledger_commit(&l);
    }
    assert_int_equal(ledger_find(&l, 7)->rows, 1000000);
    for (uint64_t pos = 1; pos <= 1000000; pos++) {
        assert_int_equal(ledger_del(&l, ledger_find(&l, 7), 2000000 + 2 * pos), 0);
        if (pos % 1000 == 0)
            ledger_commit(&l);
    }
    assert_int_equal(ledger_find(&l, 7)->size, 0);
    ledger_fini(&l);
}

static void a_survey_counts_texts_identifiers_and_who_waits(void **state)
{
    struct ledger l = { 0 };

    (void)state;
    assert_int_equal(ledger_add_session(&l, 1), 0);
    assert_int_equal(ledger_add_session(&l, 2), 0);
    assert_int_equal(ledger_set_waiting(&l, 5, 9), 0);
    add(&l, 1, 77);
    ledger_commit(&l);
    ledger_survey_begin(&l);
    assert_int_equal(ledger_survey_row(&l, 1, 3, 0, 100), 0);
    assert_int_equal(ledger_survey_row(&l, 1, 5, 8, 20), 0);
    assert_int_equal(ledger_survey_row(&l, 2, 5, 0, 20), 0);
    assert_int_equal(ledger_survey_shared(&l, 1, 5), 0);
    assert_int_equal(ledger_survey_shared(&l, 2, 5), 0);
    assert_int_equal(ledger_survey_row(&l, 99, 500, 0, 20), 0); /* nobody's */
    assert_int_equal(ledger_find(&l, 1)->rows, 2);
    assert_int_equal(ledger_find(&l, 1)->bytes, 120);
    assert_int_equal(ledger_find(&l, 1)->last_id, 5);
    assert_int_equal(ledger_find(&l, 2)->last_id, 0);
    assert_int_equal(ledger_waiting(&l, 5), 2);
    assert_int_equal(l.last_pos, 500);
    assert_true(l.is_surveyed);
    add(&l, 2, 501);
    assert_false(l.is_surveyed);
    ledger_fini(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_knows_what_was_added_and_takes_back_what_is_not_committed),
        cmocka_unit_test(a_rollback_needs_no_memory),
        cmocka_unit_test(without_memory_nothing_has_changed),
        cmocka_unit_test(a_million_in_a_row_is_one_run_and_a_drained_queue_gives_its_memory_back),
        cmocka_unit_test(a_survey_counts_texts_identifiers_and_who_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
