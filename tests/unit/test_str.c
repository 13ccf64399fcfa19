#include "base/str.h"
#include "unit.h"
#include <errno.h>
#include <stdlib.h>

static void views_are_equal_by_content_and_length(void **state)
{
    (void)state;
    assert_true(str_eq(STR("abc"), str_make("abcd", 3)));
    assert_false(str_eq(STR("abc"), STR("abcd")));
    assert_false(str_eq(STR("abc"), STR("abd")));
    assert_true(str_eq(str_make("a\0b", 3), str_make("a\0b", 3)));
    assert_false(str_eq(str_make("a\0b", 3), str_make("a\0c", 3)));
}

static void an_empty_view_equals_the_null_view(void **state)
{
    (void)state;
    assert_true(str_eq(STR(""), STR_NULL));
    assert_true(str_eq(str_from(NULL), STR_NULL));
    assert_false(str_eq(STR_NULL, STR("a")));
}

static void every_view_starts_with_the_empty_prefix(void **state)
{
    (void)state;
    assert_true(str_starts(STR_NULL, STR_NULL));
    assert_true(str_starts(STR("$SYS/x"), STR_NULL));
    assert_true(str_starts(STR("$SYS/x"), STR("$SYS/")));
    assert_false(str_starts(STR("$SY"), STR("$SYS/")));
    assert_false(str_starts(STR_NULL, STR("$")));
}

static void a_copy_has_a_nul_behind_it_and_its_own_memory(void **state)
{
    (void)state;
    char text[] = "clientX";
    char *copy = str_dup(str_make(text, 6));
    text[0] = '?';
    assert_non_null(copy);
    assert_string_equal(copy, "client");
    free(copy);
    copy = str_dup(STR_NULL);
    assert_string_equal(copy, "");
    free(copy);
}

static void str_free_resets_the_view(void **state)
{
    (void)state;
    struct str s = STR_NULL;
    assert_int_equal(str_dup_r(str_make("a\0b", 3), &s), 0);
    assert_true(str_eq(s, str_make("a\0b", 3)));
    assert_int_equal(s.ptr[3], 0);
    str_free(&s);
    assert_null(s.ptr);
    assert_int_equal(s.len, 0);
    str_free(&s);
}

static void without_memory_a_copy_leaves_the_output_alone(void **state)
{
    (void)state;
    struct str s = STR("before");
    int64_t n_live = failalloc_n_live();
    failalloc_after(0);
    assert_int_equal(str_dup_r(STR("after"), &s), -ENOMEM);
    assert_true(failalloc_disarm());
    assert_true(str_eq(s, STR("before")));
    failalloc_after(0);
    assert_null(str_dup(STR("x")));
    failalloc_disarm();
    assert_int_equal(failalloc_n_live(), n_live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(views_are_equal_by_content_and_length),
        cmocka_unit_test(an_empty_view_equals_the_null_view),
        cmocka_unit_test(every_view_starts_with_the_empty_prefix),
        cmocka_unit_test(a_copy_has_a_nul_behind_it_and_its_own_memory),
        cmocka_unit_test(str_free_resets_the_view),
        cmocka_unit_test(without_memory_a_copy_leaves_the_output_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
