#include "base/buf.h"
#include "unit.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void bytes_come_out_in_the_order_they_went_in(void **state)
{
    (void)state;
    /* Against a plain array: byte i of the stream is i * 7 mod 251. */
    struct buf b;
    uint64_t seed = 3;
    uint32_t n_in = 0, n_out = 0;
    buf_init(&b);
    for (int step = 0; step < 20000; step++) {
        if (unit_random(&seed) % 2) {
            char chunk[300];
            size_t len = unit_random(&seed) % sizeof(chunk);
            for (size_t i = 0; i < len; i++)
                chunk[i] = (char)((n_in + i) * 7 % 251);
            assert_int_equal(buf_append(&b, chunk, len), 0);
            n_in += (uint32_t)len;
        } else {
            size_t len = buf_len(&b) ? unit_random(&seed) % (buf_len(&b) + 1) : 0;
            for (size_t i = 0; i < len; i++)
                assert_int_equal(buf_ptr(&b)[i], (char)((n_out + i) * 7 % 251));
            buf_consume(&b, len);
            n_out += (uint32_t)len;
        }
        assert_int_equal(buf_len(&b), n_in - n_out);
    }
    buf_fini(&b);
}

static void the_capacity_stays_bounded_by_a_small_multiple_of_the_content(void **state)
{
    (void)state;
    struct buf b;
    char chunk[100] = { 0 };
    buf_init(&b);
    for (int i = 0; i < 10; i++)
        assert_int_equal(buf_append(&b, chunk, sizeof(chunk)), 0);
    for (int i = 0; i < 100000; i++) {
        buf_consume(&b, sizeof(chunk));
        assert_int_equal(buf_append(&b, chunk, sizeof(chunk)), 0);
    }
    assert_int_equal(buf_len(&b), 1000);
    assert_true(b.cap <= 4096);
    buf_fini(&b);
}

static void an_empty_buffer_gives_an_empty_view(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b);
    assert_true(str_eq(buf_str(&b), STR_NULL));
    assert_int_equal(buf_append(&b, NULL, 0), 0);
    assert_int_equal(buf_append_str(&b, STR_NULL), 0);
    buf_consume(&b, 0);
    buf_clear(&b);
    assert_int_equal(buf_len(&b), 0);
    buf_fini(&b);
}

static void reserved_room_can_be_written_and_committed(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b);
    assert_int_equal(buf_append_str(&b, STR("ab")), 0);
    assert_int_equal(buf_reserve(&b, 500), 0);
    assert_true(buf_room(&b) >= 500);
    memset(buf_tail(&b), 'c', 500);
    buf_commit(&b, 500);
    assert_int_equal(buf_len(&b), 502);
    assert_int_equal(buf_ptr(&b)[0], 'a');
    assert_int_equal(buf_ptr(&b)[501], 'c');
    buf_fini(&b);
}

static void clearing_keeps_the_memory(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b);
    assert_int_equal(buf_append_str(&b, STR("text")), 0);
    buf_clear(&b);
    assert_int_equal(buf_len(&b), 0);
    failalloc_after(0);
    assert_int_equal(buf_append_str(&b, STR("next")), 0);
    failalloc_disarm();
    assert_true(str_eq(buf_str(&b), STR("next")));
    buf_fini(&b);
}

static void formatted_text_of_any_length_is_appended_without_a_nul(void **state)
{
    (void)state;
    char expected[400];
    for (int len = 0; len < 300; len++) {
        struct buf b;
        buf_init(&b);
        assert_int_equal(buf_printf(&b, "%d:", len), 0);
        assert_int_equal(buf_printf(&b, "%*s|%s", len, "", "end"), 0);
        int n = snprintf(expected, sizeof(expected), "%d:%*s|%s", len, len, "", "end");
        assert_int_equal(buf_len(&b), n);
        assert_memory_equal(buf_ptr(&b), expected, (size_t)n);
        buf_fini(&b);
    }
}

static void a_length_that_cannot_exist_is_out_of_memory(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b);
    assert_int_equal(buf_append_str(&b, STR("kept")), 0);
    assert_int_equal(buf_reserve(&b, SIZE_MAX), -ENOMEM);
    assert_int_equal(buf_reserve(&b, SIZE_MAX - 2), -ENOMEM);
    assert_true(str_eq(buf_str(&b), STR("kept")));
    buf_fini(&b);
}

static void any_allocation_that_fails_leaves_the_content_as_it_was(void **state)
{
    (void)state;
    int64_t n_live = failalloc_n_live();
    uint32_t n = 0;
    for (bool failed = true; failed; n++) {
        struct buf b;
        uint32_t n_lines = 0;
        buf_init(&b);
        failalloc_after(n);
        for (int i = 0; i < 100; i++) {
            size_t before = buf_len(&b);
            int r = i % 2 ? buf_printf(&b, "%08d\n", i) : buf_append_str(&b, STR("00000000\n"));
            if (r < 0) {
                assert_int_equal(r, -ENOMEM);
                assert_int_equal(buf_len(&b), before);
            } else {
                n_lines++;
            }
            if (i == 50 && n_lines)
                buf_consume(&b, 9);
        }
        failed = failalloc_disarm();
        assert_int_equal(n_lines, failed ? 99 : 100);
        assert_int_equal(buf_len(&b), (n_lines - 1) * 9);
        for (size_t at = 8; at < buf_len(&b); at += 9)
            assert_int_equal(buf_ptr(&b)[at], '\n');
        buf_fini(&b);
        assert_int_equal(failalloc_n_live(), n_live);
    }
    assert_true(n > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_come_out_in_the_order_they_went_in),
        cmocka_unit_test(the_capacity_stays_bounded_by_a_small_multiple_of_the_content),
        cmocka_unit_test(an_empty_buffer_gives_an_empty_view),
        cmocka_unit_test(reserved_room_can_be_written_and_committed),
        cmocka_unit_test(clearing_keeps_the_memory),
        cmocka_unit_test(formatted_text_of_any_length_is_appended_without_a_nul),
        cmocka_unit_test(a_length_that_cannot_exist_is_out_of_memory),
        cmocka_unit_test(any_allocation_that_fails_leaves_the_content_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
