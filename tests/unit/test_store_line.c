#include "unit.h"
#include "base/base64.h"
#include "pigeond/store_line.h"
#include <errno.h>
#include <string.h>

static char text[4096], error[128];

static enum store_line_kind read_line(const char *json, struct store_line *r_line)
{
    size_t len = strlen(json);

    assert_true(len < sizeof(text));
    memcpy(text, json, len);
    return store_line_read(text, len, r_line, error);
}

static void refused(const char *json, const char *why)
{
    struct store_line line;

    assert_int_equal(read_line(json, &line), STORE_LINE_BAD);
    if (!strstr(error, why))
        fail_msg("%s: \"%s\", not \"%s\"", json, error, why);
}

/* Reads it, and says what is written of it. */
static void becomes(const char *json, const char *again)
{
    struct store_line line;
    struct buf out;

    buf_init(&out);
    assert_int_equal(read_line(json, &line), STORE_LINE_ROW);
    assert_int_equal(store_line_write(&line, &out), 0);
    assert_int_equal(buf_len(&out), strlen(again) + 1);
    assert_memory_equal(buf_ptr(&out), again, strlen(again));
    buf_fini(&out);
}

static void what_is_absent_is_zero_and_brief_members_are_left_out(void **state)
{
    (void)state;
    becomes("{\"kind\":\"session\"}",
            "{\"kind\":\"session\",\"session\":0,\"client\":\"\",\"due_ms\":null}");
    becomes(" { \"kind\" : \"incoming\" , \"packet_id\" : 65535 } \r",
            "{\"kind\":\"incoming\",\"session\":0,\"client\":\"\",\"packet_id\":65535}");
}

static void members_may_stand_in_any_order_behind_the_kind(void **state)
{
    (void)state;
    becomes("{\"kind\":\"incoming\",\"packet_id\":2,\"client\":\"c\",\"session\":1}",
            "{\"kind\":\"incoming\",\"session\":1,\"client\":\"c\",\"packet_id\":2}");
    refused("{\"session\":1,\"kind\":\"incoming\"}", "the first member must be 'kind'");
}

static void text_is_written_as_text_and_bytes_as_base64(void **state)
{
    (void)state;
    becomes("{\"kind\":\"session\",\"session\":1,\"client\":\"\\u00fc\\ud83d\\ude00\\n\\u0000\\/"
            "\\\\\"}",
            "{\"kind\":\"session\",\"session\":1,\"client\":\"\xc3\xbc\xf0\x9f\x98\x80\\n\\u0000/"
            "\\\\\",\"due_ms\":null}");
    becomes(
        "{\"kind\":\"session\",\"session\":1,\"client_base64\":\"/w==\",\"extra_base64\":\"YQ==\"}",
        "{\"kind\":\"session\",\"session\":1,\"client_base64\":\"/"
        "w==\",\"due_ms\":null,\"extra_base64\":\"YQ==\"}");
    becomes("{\"kind\":\"session\",\"session\":1,\"client_base64\":\"YQ==\"}",
            "{\"kind\":\"session\",\"session\":1,\"client\":\"a\",\"due_ms\":null}");
    refused("{\"kind\":\"session\",\"extra\":\"a\"}", "no member 'extra'");
}

static void numbers_keep_all_their_bits(void **state)
{
    struct store_line line;

    (void)state;
    assert_int_equal(read_line("{\"kind\":\"queued\",\"pos\":18446744073709551615,\"session\":4,"
                               "\"id\":\"ffffffffffffffff-18446744073709551615\",\"qos\":255,"
                               "\"subscription_ids\":[1,4294967295],\"state\":\"received\"}",
                               &line),
                     STORE_LINE_ROW);
    assert_true(line.pos == UINT64_MAX && line.id.node == UINT64_MAX && line.id.n == UINT64_MAX);
    assert_int_equal(line.qos, 255);
    assert_int_equal(line.n_ids, 2);
    assert_true(line.ids[1] == UINT32_MAX);
    assert_int_equal(line.state, PIGEON_QUEUE_RECEIVED);
    refused("{\"kind\":\"queued\",\"pos\":18446744073709551616}", "too large");
    refused("{\"kind\":\"queued\",\"qos\":256}", "the value of 'qos'");
    refused("{\"kind\":\"queued\",\"pos\":-1}", "the value of 'pos'");
    refused("{\"kind\":\"queued\",\"pos\":1.0}", "not whole");
    refused("{\"kind\":\"queued\",\"pos\":1e3}", "not whole");
    refused("{\"kind\":\"queued\",\"pos\":01}", "begins with 0");
    refused("{\"kind\":\"queued\",\"subscription_ids\":[4294967296]}", "in a list");
    refused("{\"kind\":\"queued\",\"id\":\"ff-1\"}", "the value of 'id'");
}

static void what_is_not_json_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "{",
        "}",
        "[]",
        "null",
        "{}",
        "{\"kind\"}",
        "{\"kind\":}",
        "{\"kind\":\"end\"",
        "{\"kind\":\"end\",}",
        "{\"kind\":\"end\"}}",
        "{\"kind\":\"end\"} x",
        "{'kind':'end'}",
        "{\"kind\":\"session\" \"session\":1}",
        "{\"kind\":\"session\",\"client\":\"a}",
        "{\"kind\":\"session\",\"client\":\"\\x\"}",
        "{\"kind\":\"session\",\"client\":\"\\u12\"}",
        "{\"kind\":\"session\",\"client\":\"\\ud800\"}",
        "{\"kind\":\"session\",\"client\":\"\\udc00\"}",
        "{\"kind\":\"session\",\"client\":\"\t\"}",
        "{\"kind\":\"session\",\"client\":\"\xff\"}",
        "{\"kind\":\"session\",\"client\":\"\xed\xa0\x80\"}",
        "{\"kind\":\"session\",\"session\":nul}",
        "{\"kind\":\"session\",\"session\":{}}",
        "{\"kind\":\"queued\",\"subscription_ids\":[1,]}",
        "{\"kind\":\"queued\",\"subscription_ids\":[1}",
        "{\"kind\":\"session\",\"extra_base64\":\"YQ=\"}",
        "{\"kind\":\"session\",\"extra_base64\":\"YR==\"}",
    };
    struct store_line line;

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (read_line(bad[i], &line) != STORE_LINE_BAD)
            fail_msg("taken: %s", bad[i]);
        assert_true(error[0]);
    }
}

static void an_error_has_no_control_characters_in_it(void **state)
{
    (void)state;
    refused("{\"kind\":\"session\",\"\\u001b[31m\":1}", "no member '?[31m'");
}

static void times_count_from_now(void **state)
{
    struct store_line line, back;
    struct store_row row;

    (void)state;
    assert_int_equal(read_line("{\"kind\":\"will\",\"session\":1,\"due_ms\":5000}", &line),
                     STORE_LINE_ROW);
    store_line_row(&line, 2000, &row);
    assert_int_equal(row.op.due_in_ms, 3000);
    store_line_of(&back, PIGEON_SCAN_WILLS, &row.op, 2500);
    assert_int_equal(back.due_ms, 5500);
    store_line_row(&line, 6000, &row); /* has passed */
    assert_int_equal(row.op.due_in_ms, 0);
    assert_int_equal(read_line("{\"kind\":\"will\",\"session\":1,\"due_ms\":null}", &line),
                     STORE_LINE_ROW);
    store_line_row(&line, 2000, &row);
    assert_int_equal(row.op.due_in_ms, -1);
}

static void base64_is_read_in_one_spelling_only(void **state)
{
    static const char *const plain[] = { "", "f", "fo", "foo", "foob", "fooba", "foobar" };
    static const char *const coded[] = { "",         "Zg==",     "Zm8=",    "Zm9v",
                                         "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy" };
    static const char *const bad[] = { "Z",    "Zg",   "Zg=",      "Zh==", "Zm9=",
                                       "Z===", "====", "Zg==Zg==", "Zm 9", "Zm9-" };
    char out[16];

    (void)state;
    for (size_t i = 0; i < 7; i++) {
        struct buf b;

        buf_init(&b);
        assert_int_equal(base64_encode(&b, str_from(plain[i])), 0);
        assert_true(str_eq(buf_str(&b), str_from(coded[i])));
        buf_fini(&b);
        assert_int_equal(base64_decode(coded[i], strlen(coded[i]), out), i);
        assert_memory_equal(out, plain[i], i);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(base64_decode(bad[i], strlen(bad[i]), out), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_absent_is_zero_and_brief_members_are_left_out),
        cmocka_unit_test(members_may_stand_in_any_order_behind_the_kind),
        cmocka_unit_test(text_is_written_as_text_and_bytes_as_base64),
        cmocka_unit_test(numbers_keep_all_their_bits),
        cmocka_unit_test(what_is_not_json_is_refused),
        cmocka_unit_test(an_error_has_no_control_characters_in_it),
        cmocka_unit_test(times_count_from_now),
        cmocka_unit_test(base64_is_read_in_one_spelling_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
