#include "bench/flow.h"
#include "unit.h"
#include <errno.h>

static void assert_counts(const struct flow *f, uint64_t unique, uint64_t duplicated,
                          uint64_t reordered)
{
    assert_int_equal(f->n_unique, unique);
    assert_int_equal(f->n_duplicated, duplicated);
    assert_int_equal(f->n_reordered, reordered);
}

static void messages_in_order_are_neither_double_nor_late(void **state)
{
    (void)state;
    struct flow f;
    assert_int_equal(flow_init(&f, 10), 0);
    for (uint64_t i = 0; i < 1000; i++)
        assert_true(flow_take(&f, i));
    assert_counts(&f, 1000, 0, 0);
    flow_fini(&f);
}

static void a_message_that_comes_twice_is_counted_once(void **state)
{
    (void)state;
    struct flow f;
    assert_int_equal(flow_init(&f, 64), 0);
    for (uint64_t i = 0; i < 500; i++) {
        assert_true(flow_take(&f, i));
        assert_false(flow_take(&f, i));
    }
    assert_false(flow_take(&f, 460));
    assert_counts(&f, 500, 501, 0);
    flow_fini(&f);
}

static void a_missing_message_is_missing_from_the_unique_ones(void **state)
{
    (void)state;
    struct flow f;
    assert_int_equal(flow_init(&f, 64), 0);
    for (uint64_t i = 0; i < 500; i++)
        if (i % 100 != 7)
            assert_true(flow_take(&f, i));
    assert_counts(&f, 495, 0, 0);
    flow_fini(&f);
}

static void a_late_message_counts_as_received_and_out_of_order(void **state)
{
    (void)state;
    struct flow f;
    assert_int_equal(flow_init(&f, 64), 0);
    assert_true(flow_take(&f, 0));
    assert_true(flow_take(&f, 3));
    assert_true(flow_take(&f, 1));
    assert_false(flow_take(&f, 1));
    assert_true(flow_take(&f, 2));
    assert_true(flow_take(&f, 4));
    assert_counts(&f, 5, 1, 2);
    flow_fini(&f);
}

static void a_jump_beyond_the_span_forgets_what_was_seen(void **state)
{
    (void)state;
    struct flow f;
    assert_int_equal(flow_init(&f, 64), 0);
    for (uint64_t i = 0; i < 64; i++)
        assert_true(flow_take(&f, i));
    assert_true(flow_take(&f, 1000));
    assert_true(flow_take(&f, 999)); /* its bit was that of an older number */
    assert_false(flow_take(&f, 999));
    assert_counts(&f, 66, 1, 1);
    flow_fini(&f);
}

static void what_is_older_than_the_span_counts_as_double(void **state)
{
    (void)state;
    struct flow f;
    assert_int_equal(flow_init(&f, 64), 0);
    assert_true(flow_take(&f, 1000));
    assert_true(flow_take(&f, 1000 - 63));
    assert_false(flow_take(&f, 1000 - 64));
    assert_counts(&f, 2, 1, 1);
    flow_fini(&f);
}

static void any_order_of_a_window_is_told_apart_from_doubles(void **state)
{
    (void)state;
    uint64_t seed = 3;
    struct flow f;
    assert_int_equal(flow_init(&f, 256), 0);
    for (uint64_t base = 0; base < 25600; base += 256) {
        uint64_t order[256];
        for (uint64_t i = 0; i < 256; i++)
            order[i] = base + i;
        for (uint64_t i = 255; i > 0; i--) {
            uint64_t j = unit_random(&seed) % (i + 1);
            uint64_t swap = order[i];
            order[i] = order[j];
            order[j] = swap;
        }
        for (uint64_t i = 0; i < 256; i++)
            assert_true(flow_take(&f, order[i]));
    }
    assert_int_equal(f.n_unique, 25600);
    assert_int_equal(f.n_duplicated, 0);
    assert_true(f.n_reordered > 20000);
    flow_fini(&f);
}

static void out_of_memory_is_an_error(void **state)
{
    (void)state;
    struct flow f;
    failalloc_after(0);
    assert_int_equal(flow_init(&f, 64), -ENOMEM);
    assert_true(failalloc_disarm());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_in_order_are_neither_double_nor_late),
        cmocka_unit_test(a_message_that_comes_twice_is_counted_once),
        cmocka_unit_test(a_missing_message_is_missing_from_the_unique_ones),
        cmocka_unit_test(a_late_message_counts_as_received_and_out_of_order),
        cmocka_unit_test(a_jump_beyond_the_span_forgets_what_was_seen),
        cmocka_unit_test(what_is_older_than_the_span_counts_as_double),
        cmocka_unit_test(any_order_of_a_window_is_told_apart_from_doubles),
        cmocka_unit_test(out_of_memory_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
