#include "base/utf8.h"
#include "unit.h"
#include <stdlib.h>
#include <string.h>

/* Encodes without judging: also surrogates, and in more bytes than needed when `len` says so. */
static size_t encode_as(uint32_t code, size_t len, char *r_out)
{
    static const unsigned char lead[] = { 0, 0x00, 0xc0, 0xe0, 0xf0 };
    for (size_t i = len; i-- > 1; code >>= 6)
        r_out[i] = (char)(0x80 | (code & 0x3f));
    r_out[0] = (char)(lead[len] | code);
    return len;
}

static size_t natural_length(uint32_t code)
{
    return code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
}

static bool is_scalar(uint32_t code)
{
    return code <= 0x10ffff && !(code >= 0xd800 && code <= 0xdfff);
}

static void every_code_point_but_nul_and_surrogates_is_accepted(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x200000; code++) {
        char text[4];
        uint32_t decoded = UINT32_MAX;
        size_t len = encode_as(code, natural_length(code), text);
        if (utf8_is_valid(text, len) != is_scalar(code))
            fail_msg("U+%04X", code);
        if (utf8_is_mqtt(text, len) != (is_scalar(code) && code != 0))
            fail_msg("U+%04X", code);
        if (utf8_decode(text, len, &decoded) != (is_scalar(code) ? len : 0))
            fail_msg("U+%04X", code);
        if (is_scalar(code) && decoded != code)
            fail_msg("U+%04X decoded as U+%04X", code, decoded);
    }
}

static void overlong_forms_are_refused(void **state)
{
    (void)state;
    for (uint32_t code = 0; code < 0x10000; code++) {
        char text[4];
        for (size_t len = natural_length(code) + 1; len <= 4; len++) {
            encode_as(code, len, text);
            if (utf8_is_valid(text, len) || utf8_is_mqtt(text, len))
                fail_msg("U+%04X in %zu bytes", code, len);
        }
    }
}

static void a_character_that_is_cut_off_is_refused(void **state)
{
    (void)state;
    for (uint32_t code = 0x80; code < 0x110000; code += 0x3f) {
        /* On the heap, so that a read behind the end is seen. */
        for (size_t len = 1; len < natural_length(code); len++) {
            char text[4], *cut = malloc(len);
            encode_as(code, natural_length(code), text);
            memcpy(cut, text, len);
            assert_false(utf8_is_valid(cut, len));
            free(cut);
        }
    }
}

/* The definition turned round: a text is well-formed if it is the encoding of some sequence of
 * scalars. */
static bool is_well_formed_by_search(const unsigned char *text, size_t len)
{
    while (len) {
        size_t n = 0;
        for (size_t try = 1; try <= 4 && try <= len && !n; try++) {
            uint32_t code = try == 1 ? text[0] : text[0] & (0x7fu >> try);
            char again[4];
            for (size_t i = 1; i < try; i++)
                code = code << 6 | (text[i] & 0x3f);
            if (is_scalar(code) && natural_length(code) == try) {
                encode_as(code, try, again);
                n = memcmp(again, text, try) == 0 ?
                try:
                    0;
            }
        }
        if (!n)
            return false;
        text += n;
        len -= n;
    }
    return true;
}

static void all_sequences_of_three_bytes_are_judged_by_the_definition(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 1u << 24; bits++) {
        unsigned char text[3] = { (unsigned char)(bits >> 16), (unsigned char)(bits >> 8),
                                  (unsigned char)bits };
        /* Plain ASCII in front is judged elsewhere; it would only make this slow. */
        if (text[0] < 0x80 && text[0] != 'a')
            continue;
        if (utf8_is_valid((char *)text, 3) != is_well_formed_by_search(text, 3))
            fail_msg("%06x", bits);
    }
}

static void four_byte_leads_are_judged_by_the_definition(void **state)
{
    (void)state;
    static const unsigned char last[] = { 0x00, 0x7f, 0x80, 0xbf, 0xc0, 0xff };
    for (uint32_t bits = 0xec0000; bits < 1u << 24; bits++) {
        for (size_t i = 0; i < sizeof(last); i++) {
            unsigned char text[4] = { (unsigned char)(bits >> 16), (unsigned char)(bits >> 8),
                                      (unsigned char)bits, last[i] };
            if (utf8_is_valid((char *)text, 4) != is_well_formed_by_search(text, 4))
                fail_msg("%06x%02x", bits, last[i]);
        }
    }
}

static void one_bad_byte_is_found_wherever_it_stands(void **state)
{
    (void)state;
    for (size_t len = 1; len < 50; len++) {
        for (size_t at = 0; at < len; at++) {
            char *text = malloc(len);
            memset(text, 'a', len);
            assert_true(utf8_is_mqtt(text, len));
            for (unsigned byte = 0; byte < 256; byte++) {
                text[at] = (char)byte;
                assert_int_equal(utf8_is_mqtt(text, len), byte > 0 && byte < 0x80);
                assert_int_equal(utf8_is_valid(text, len), byte < 0x80);
            }
            free(text);
        }
    }
}

static void a_long_character_is_found_good_wherever_it_stands(void **state)
{
    (void)state;
    static const char *const character[] = { "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x90\xa6" };
    for (size_t c = 0; c < 3; c++) {
        size_t n = strlen(character[c]);
        for (size_t at = 0; at < 40; at++) {
            char text[64];
            memset(text, 'a', sizeof(text));
            memcpy(text + at, character[c], n);
            assert_true(utf8_is_mqtt(text, sizeof(text)));
            assert_true(utf8_is_mqtt(text, at + n));
            assert_false(utf8_is_mqtt(text, at + n - 1));
            assert_false(utf8_is_mqtt(text + at + 1, sizeof(text) - at - 1));
        }
    }
}

static void controls_noncharacters_and_the_byte_order_mark_are_accepted(void **state)
{
    (void)state;
    assert_true(utf8_is_mqtt("\x01\x1f\x7f\xc2\x80\xc2\x9f", 7));
    assert_true(utf8_is_mqtt("\xef\xbb\xbf", 3));             /* U+FEFF [MQTT-1.5.4-3] */
    assert_true(utf8_is_mqtt("\xef\xb7\x90\xef\xbf\xbf", 6)); /* U+FDD0, U+FFFF */
}

static void the_empty_text_is_good_and_decodes_to_nothing(void **state)
{
    (void)state;
    uint32_t code = 7;
    assert_true(utf8_is_mqtt("", 0));
    assert_true(utf8_is_mqtt(NULL, 0));
    assert_true(utf8_is_valid(NULL, 0));
    assert_int_equal(utf8_decode(NULL, 0, &code), 0);
    assert_int_equal(code, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_point_but_nul_and_surrogates_is_accepted),
        cmocka_unit_test(overlong_forms_are_refused),
        cmocka_unit_test(a_character_that_is_cut_off_is_refused),
        cmocka_unit_test(all_sequences_of_three_bytes_are_judged_by_the_definition),
        cmocka_unit_test(four_byte_leads_are_judged_by_the_definition),
        cmocka_unit_test(one_bad_byte_is_found_wherever_it_stands),
        cmocka_unit_test(a_long_character_is_found_good_wherever_it_stands),
        cmocka_unit_test(controls_noncharacters_and_the_byte_order_mark_are_accepted),
        cmocka_unit_test(the_empty_text_is_good_and_decodes_to_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
