#include "base/pool.h"
#include "unit.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void a_block_that_was_put_back_is_given_out_again(void **state)
{
    (void)state;
    struct pool p;
    pool_init(&p, 48, 8);
    void *a = pool_get(&p);
    assert_non_null(a);
    memset(a, 'x', 48);
    pool_put(&p, a);
    assert_int_equal(p.n_free, 1);
    assert_ptr_equal(pool_get(&p), a);
    memset(a, 'y', 48);
    assert_int_equal(p.n_free, 0);
    pool_put(&p, a);
    pool_fini(&p);
}

static void no_more_than_keep_free_blocks_are_held(void **state)
{
    (void)state;
    int64_t n_live = failalloc_n_live();
    struct pool p;
    void *block[10];
    pool_init(&p, 32, 3);
    for (int i = 0; i < 10; i++)
        block[i] = pool_get(&p);
    assert_int_equal(failalloc_n_live(), n_live + 10);
    for (int i = 0; i < 10; i++)
        pool_put(&p, block[i]);
    assert_int_equal(p.n_free, 3);
    assert_int_equal(failalloc_n_live(), n_live + 3);
    pool_fini(&p);
    assert_int_equal(failalloc_n_live(), n_live);
    assert_int_equal(p.n_free, 0);
}

static void a_pool_that_keeps_nothing_is_plain_malloc(void **state)
{
    (void)state;
    int64_t n_live = failalloc_n_live();
    struct pool p;
    pool_init(&p, 32, 0);
    pool_put(&p, pool_get(&p));
    assert_int_equal(failalloc_n_live(), n_live);
    pool_fini(&p);
}

static void a_zeroed_block_is_zero_also_when_it_was_used_before(void **state)
{
    (void)state;
    static const char zeros[40];
    struct pool p;
    pool_init(&p, 40, 2);
    char *block = pool_get_zero(&p);
    assert_memory_equal(block, zeros, 40);
    memset(block, 0xff, 40);
    pool_put(&p, block);
    assert_ptr_equal(pool_get_zero(&p), block);
    assert_memory_equal(block, zeros, 40);
    pool_put(&p, block);
    pool_fini(&p);
}

static void a_block_may_return_to_another_pool_of_its_size(void **state)
{
    (void)state;
    int64_t n_live = failalloc_n_live();
    struct pool a, b;
    pool_init(&a, 64, 4);
    pool_init(&b, 64, 4);
    void *block = pool_get(&a);
    pool_put(&b, block);
    assert_ptr_equal(pool_get(&b), block);
    pool_put(&a, block);
    pool_fini(&a);
    pool_fini(&b);
    assert_int_equal(failalloc_n_live(), n_live);
}

static void blocks_smaller_than_a_pointer_are_rounded_up(void **state)
{
    (void)state;
    struct pool p;
    pool_init(&p, 1, 4);
    void *a = pool_get(&p), *b = pool_get(&p);
    pool_put(&p, a);
    pool_put(&p, b);
    assert_ptr_equal(pool_get(&p), b);
    assert_ptr_equal(pool_get(&p), a);
    pool_put(&p, NULL);
    pool_put(&p, a);
    pool_put(&p, b);
    pool_fini(&p);
}

static void without_memory_a_pool_still_gives_out_what_it_holds(void **state)
{
    (void)state;
    struct pool p;
    pool_init(&p, 24, 4);
    void *block = pool_get(&p);
    pool_put(&p, block);
    failalloc_after(0);
    assert_ptr_equal(pool_get(&p), block);
    assert_false(failalloc_disarm());
    failalloc_after(0);
    assert_null(pool_get(&p));
    assert_true(failalloc_disarm());
    failalloc_after(0);
    assert_null(pool_get_zero(&p));
    assert_true(failalloc_disarm());
    pool_put(&p, block);
    pool_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_block_that_was_put_back_is_given_out_again),
        cmocka_unit_test(no_more_than_keep_free_blocks_are_held),
        cmocka_unit_test(a_pool_that_keeps_nothing_is_plain_malloc),
        cmocka_unit_test(a_zeroed_block_is_zero_also_when_it_was_used_before),
        cmocka_unit_test(a_block_may_return_to_another_pool_of_its_size),
        cmocka_unit_test(blocks_smaller_than_a_pointer_are_rounded_up),
        cmocka_unit_test(without_memory_a_pool_still_gives_out_what_it_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
