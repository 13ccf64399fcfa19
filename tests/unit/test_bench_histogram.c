#include "bench/histogram.h"
#include "unit.h"

static struct histogram *new_histogram(void)
{
    struct histogram *h = test_malloc(sizeof(*h));
    histogram_clear(h);
    return h;
}

static void small_values_are_counted_exactly(void **state)
{
    (void)state;
    struct histogram *h = new_histogram();
    for (uint64_t v = 0; v < 256; v++) {
        assert_int_equal(histogram_bucket(v), v);
        assert_int_equal(histogram_bucket_top((uint32_t)v), v);
        histogram_add(h, v);
    }
    assert_int_equal(histogram_quantile(h, 0.5), 127);
    assert_int_equal(histogram_quantile(h, 0.25), 63);
    test_free(h);
}

static void buckets_cover_all_values_without_gap_or_overlap(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        uint64_t top = histogram_bucket_top(i);
        assert_int_equal(histogram_bucket(top), i);
        if (i + 1 < HISTOGRAM_BUCKETS)
            assert_int_equal(histogram_bucket(top + 1), i + 1);
        else
            assert_true(top == UINT64_MAX);
    }
}

static void a_value_is_told_with_less_than_one_percent_error(void **state)
{
    (void)state;
    uint64_t seed = 42;
    for (int i = 0; i < 100000; i++) {
        uint64_t v = unit_random(&seed) >> (i % 64);
        uint64_t top = histogram_bucket_top(histogram_bucket(v));
        assert_true(top >= v);
        assert_true(top - v <= v / 128);
    }
}

static void a_quantile_is_not_exceeded_by_its_share_of_the_values(void **state)
{
    (void)state;
    struct histogram *h = new_histogram();
    for (uint64_t v = 1; v <= 100000; v++)
        histogram_add(h, v);
    const double shares[] = { 0.001, 0.5, 0.9, 0.99, 0.999 };
    for (size_t i = 0; i < sizeof(shares) / sizeof(shares[0]); i++) {
        double exact = shares[i] * 100000;
        double got = (double)histogram_quantile(h, shares[i]);
        assert_true(got >= exact);
        assert_true(got <= exact * 1.01);
    }
    test_free(h);
}

static void the_ends_are_exact(void **state)
{
    (void)state;
    struct histogram *h = new_histogram();
    histogram_add(h, 1000003);
    histogram_add(h, 77777777);
    assert_int_equal(histogram_quantile(h, 0), 1000003);
    assert_int_equal(histogram_quantile(h, 1), 77777777);
    assert_int_equal(h->min, 1000003);
    assert_int_equal(h->max, 77777777);
    /* The top of a bucket is never told when nothing was that large. */
    assert_int_equal(histogram_quantile(h, 0.9999), 77777777);
    test_free(h);
}

static void one_value_is_every_quantile(void **state)
{
    (void)state;
    struct histogram *h = new_histogram();
    histogram_add(h, 123456789);
    for (int i = 0; i <= 100; i++)
        assert_int_equal(histogram_quantile(h, i / 100.0), 123456789);
    assert_true(histogram_mean(h) == 123456789.0);
    test_free(h);
}

static void an_empty_histogram_tells_zero(void **state)
{
    (void)state;
    struct histogram *h = new_histogram();
    assert_int_equal(histogram_quantile(h, 0), 0);
    assert_int_equal(histogram_quantile(h, 0.5), 0);
    assert_int_equal(histogram_quantile(h, 1), 0);
    assert_true(histogram_mean(h) == 0);
    test_free(h);
}

static void a_merged_histogram_is_as_if_all_had_been_added_to_it(void **state)
{
    (void)state;
    struct histogram *a = new_histogram();
    struct histogram *b = new_histogram();
    struct histogram *both = new_histogram();
    uint64_t seed = 7;
    for (int i = 0; i < 1000; i++) {
        uint64_t v = unit_random(&seed) >> 30;
        histogram_add(i % 3 ? a : b, v);
        histogram_add(both, v);
    }
    histogram_merge(a, b);
    assert_int_equal(a->n, both->n);
    assert_int_equal(a->min, both->min);
    assert_int_equal(a->max, both->max);
    assert_memory_equal(a->count, both->count, sizeof(a->count));
    test_free(a);
    test_free(b);
    test_free(both);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_values_are_counted_exactly),
        cmocka_unit_test(buckets_cover_all_values_without_gap_or_overlap),
        cmocka_unit_test(a_value_is_told_with_less_than_one_percent_error),
        cmocka_unit_test(a_quantile_is_not_exceeded_by_its_share_of_the_values),
        cmocka_unit_test(the_ends_are_exact),
        cmocka_unit_test(one_value_is_every_quantile),
        cmocka_unit_test(an_empty_histogram_tells_zero),
        cmocka_unit_test(a_merged_histogram_is_as_if_all_had_been_added_to_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
