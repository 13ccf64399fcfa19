#include "base/map.h"
#include "unit.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct hash_key KEY = { 0x0123456789abcdef, 0xfedcba9876543210 };

struct thing {
    char name[12];
    bool in_map;
};

static struct str name_of(const struct thing *t)
{
    return str_from(t->name);
}

static struct thing *things_new(unsigned n)
{
    struct thing *things = calloc(n, sizeof(*things));
    assert_non_null(things);
    for (unsigned i = 0; i < n; i++)
        snprintf(things[i].name, sizeof(things[i].name), "c%u", i);
    return things;
}

static void an_empty_map_finds_nothing(void **state)
{
    (void)state;
    struct map m;
    uint32_t it = 0;
    map_init(&m, &KEY);
    assert_null(map_get(&m, STR("a")));
    assert_null(map_remove(&m, STR("a")));
    assert_null(map_next(&m, &it));
    assert_int_equal(map_count(&m), 0);
    map_fini(&m);
}

static void a_key_may_hold_any_bytes_or_none(void **state)
{
    (void)state;
    struct map m;
    int a, b, c;
    map_init(&m, &KEY);
    assert_int_equal(map_put(&m, STR_NULL, &a), 0);
    assert_int_equal(map_put(&m, str_make("\0", 1), &b), 0);
    assert_int_equal(map_put(&m, str_make("\0\xff", 2), &c), 0);
    assert_ptr_equal(map_get(&m, STR("")), &a);
    assert_ptr_equal(map_get(&m, str_make("\0", 1)), &b);
    assert_ptr_equal(map_get(&m, str_make("\0\xff", 2)), &c);
    map_fini(&m);
}

static void putting_a_known_key_keeps_the_old_value(void **state)
{
    (void)state;
    struct map m;
    int old, new;
    map_init(&m, &KEY);
    assert_int_equal(map_put(&m, STR("k"), &old), 0);
    assert_int_equal(map_put(&m, STR("k"), &new), -EEXIST);
    assert_ptr_equal(map_get(&m, STR("k")), &old);
    assert_int_equal(map_count(&m), 1);
    map_fini(&m);
}

/* Every thing that was put is found, every other is not, and the walk meets each exactly once. */
static void check_against(const struct map *m, struct thing *things, unsigned n)
{
    unsigned n_in = 0, n_met = 0;
    for (unsigned i = 0; i < n; i++) {
        assert_ptr_equal(map_get(m, name_of(&things[i])), things[i].in_map ? &things[i] : NULL);
        n_in += things[i].in_map;
    }
    assert_int_equal(map_count(m), n_in);
    uint32_t it = 0;
    for (struct thing *t; (t = map_next(m, &it)); n_met++) {
        assert_true(t->in_map);
        t->in_map = false;
    }
    assert_int_equal(n_met, n_in);
    it = 0;
    for (struct thing *t; (t = map_next(m, &it));)
        t->in_map = true;
}

static void any_mix_of_puts_and_removes_leaves_exactly_what_was_put(void **state)
{
    (void)state;
    enum { N = 700, STEPS = 60000 };
    struct thing *things = things_new(N);
    struct map m;
    uint64_t seed = 42;
    map_init(&m, &KEY);
    for (unsigned step = 0; step < STEPS; step++) {
        struct thing *t = &things[unit_random(&seed) % N];
        /* Drift between nearly full and nearly empty, so that both growing and shrinking happen. */
        bool wants_put = unit_random(&seed) % 10 < (step / 6000 % 2 ? 2 : 8);
        if (wants_put) {
            assert_int_equal(map_put(&m, name_of(t), t), t->in_map ? -EEXIST : 0);
            t->in_map = true;
        } else {
            assert_ptr_equal(map_remove(&m, name_of(t)), t->in_map ? t : NULL);
            t->in_map = false;
        }
        if (step % 500 == 0)
            check_against(&m, things, N);
    }
    check_against(&m, things, N);
    map_fini(&m);
    free(things);
}

static void the_table_is_never_fuller_than_four_fifths_and_shrinks_when_nearly_empty(void **state)
{
    (void)state;
    enum { N = 5000 };
    struct thing *things = things_new(N);
    struct map m;
    map_init(&m, &KEY);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(map_put(&m, name_of(&things[i]), &things[i]), 0);
        assert_true((uint64_t)m.n_used * 5 <= (uint64_t)m.n_slots * 4);
        assert_true((m.n_slots & (m.n_slots - 1)) == 0);
    }
    for (unsigned i = 0; i < N; i++) {
        assert_ptr_equal(map_remove(&m, name_of(&things[i])), &things[i]);
        assert_true(m.n_slots == 16 || m.n_used * 8 >= m.n_slots);
    }
    assert_int_equal(m.n_slots, 16);
    map_fini(&m);
    free(things);
}

static void every_single_removal_from_a_full_table_keeps_the_others_reachable(void **state)
{
    (void)state;
    enum { N = 12 }; /* the most that sixteen slots take: long runs that wrap around */
    struct thing *things = things_new(N);
    for (unsigned seed = 0; seed < 300; seed++) {
        struct hash_key key = { seed, 7 };
        struct map m;
        map_init(&m, &key);
        for (unsigned i = 0; i < N; i++)
            assert_int_equal(map_put(&m, name_of(&things[i]), &things[i]), 0);
        assert_int_equal(m.n_slots, 16);
        for (unsigned i = 0; i < N; i++) {
            assert_ptr_equal(map_remove(&m, name_of(&things[i])), &things[i]);
            for (unsigned j = i + 1; j < N; j++)
                assert_ptr_equal(map_get(&m, name_of(&things[j])), &things[j]);
        }
        map_fini(&m);
    }
    free(things);
}

static void the_entry_just_returned_may_be_removed_as_the_last_act_of_a_walk(void **state)
{
    (void)state;
    struct thing *things = things_new(50);
    struct map m;
    map_init(&m, &KEY);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(map_put(&m, name_of(&things[i]), &things[i]), 0);
    for (unsigned left = 50; left > 0; left--) {
        uint32_t it = 0;
        struct thing *t = map_next(&m, &it);
        assert_ptr_equal(map_remove(&m, name_of(t)), t);
        assert_int_equal(map_count(&m), left - 1);
    }
    map_fini(&m);
    free(things);
}

static void any_allocation_that_fails_leaves_the_map_unchanged(void **state)
{
    (void)state;
    enum { N = 100 };
    struct thing *things = things_new(N);
    int64_t n_live = failalloc_n_live();
    for (uint32_t n = 0;; n++) {
        struct map m;
        map_init(&m, &KEY);
        failalloc_after(n);
        for (unsigned i = 0; i < N; i++) {
            int r = map_put(&m, name_of(&things[i]), &things[i]);
            if (r < 0) {
                assert_int_equal(r, -ENOMEM);
                check_against(&m, things, N);
                assert_int_equal(map_put(&m, name_of(&things[i]), &things[i]), 0);
            }
            things[i].in_map = true;
        }
        bool failed = failalloc_disarm();
        check_against(&m, things, N);
        map_fini(&m);
        for (unsigned i = 0; i < N; i++)
            things[i].in_map = false;
        assert_int_equal(failalloc_n_live(), n_live);
        if (!failed) {
            assert_int_equal(n, 4); /* 16, 32, 64, 128 slots */
            break;
        }
    }
    free(things);
}

static void a_map_that_cannot_get_a_smaller_table_goes_on_with_the_large_one(void **state)
{
    (void)state;
    enum { N = 100 };
    struct thing *things = things_new(N);
    struct map m;
    map_init(&m, &KEY);
    for (unsigned i = 0; i < N; i++) {
        assert_int_equal(map_put(&m, name_of(&things[i]), &things[i]), 0);
        things[i].in_map = true;
    }
    failalloc_after(0);
    for (unsigned i = 0; i < N - 10; i++) {
        assert_ptr_equal(map_remove(&m, name_of(&things[i])), &things[i]);
        things[i].in_map = false;
        check_against(&m, things, N);
    }
    assert_true(failalloc_disarm());
    map_fini(&m);
    free(things);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_map_finds_nothing),
        cmocka_unit_test(a_key_may_hold_any_bytes_or_none),
        cmocka_unit_test(putting_a_known_key_keeps_the_old_value),
        cmocka_unit_test(any_mix_of_puts_and_removes_leaves_exactly_what_was_put),
        cmocka_unit_test(the_table_is_never_fuller_than_four_fifths_and_shrinks_when_nearly_empty),
        cmocka_unit_test(every_single_removal_from_a_full_table_keeps_the_others_reachable),
        cmocka_unit_test(the_entry_just_returned_may_be_removed_as_the_last_act_of_a_walk),
        cmocka_unit_test(any_allocation_that_fails_leaves_the_map_unchanged),
        cmocka_unit_test(a_map_that_cannot_get_a_smaller_table_goes_on_with_the_large_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
