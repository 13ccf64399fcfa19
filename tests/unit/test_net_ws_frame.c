#include "unit.h"
#include "ws_support.h"
#include <stdlib.h>

struct feed {
    struct ws_decoder d;
    uint8_t got[200000];
    size_t n_got;
    unsigned n_ping, n_pong, n_close;
    uint8_t control[125];
    size_t n_control;
    int err;
    const char *fault;
};

/* Pieces of at most `step` bytes, in memory of exactly their size, decoded in place. */
static void feed(struct feed *f, const uint8_t *data, size_t len, size_t step)
{
    while (len > 0 && !f->err) {
        size_t n = len < step ? len : step, left = n;
        uint8_t *piece = malloc(n), *out = piece;
        const uint8_t *in = piece;
        memcpy(piece, data, n);
        for (;;) {
            int r = ws_decode(&f->d, &in, &left, &out, &f->fault);
            if (r == 0)
                break;
            if (r < 0) {
                f->err = -r;
                break;
            }
            f->n_ping += r == WS_PING;
            f->n_pong += r == WS_PONG;
            f->n_close += r == WS_CLOSE;
            f->n_control = f->d.n_control;
            memcpy(f->control, f->d.control, f->n_control);
        }
        assert_true(f->err || (left == 0 && in == piece + n));
        assert_true(out <= in);
        memcpy(f->got + f->n_got, piece, (size_t)(out - piece));
        f->n_got += (size_t)(out - piece);
        free(piece);
        data += n;
        len -= n;
    }
}

static int error_of(const void *data, size_t len)
{
    int first = 0;
    for (size_t step = 1; step <= len; step++) {
        struct feed *f = calloc(1, sizeof(*f));
        feed(f, data, len, step);
        assert_true(!f->err || f->fault);
        assert_true(step == 1 || f->err == first);
        first = f->err;
        free(f);
    }
    return first;
}

static uint8_t at(size_t i)
{
    return (uint8_t)(i * 7 + i / 251);
}

static void every_length_comes_out_as_it_went_in(void **state)
{
    (void)state;
    static const size_t lengths[] = { 0,   1,   2,   7,    8,     9,     124,
                                      125, 126, 127, 1000, 65535, 65536, 70000 };
    static uint8_t payload[70000], wire[70014];
    for (size_t i = 0; i < sizeof(payload); i++)
        payload[i] = at(i);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        size_t n = ws_put_any(wire, 0x82, payload, lengths[i]);
        for (size_t step = 1; step <= n; step = step < 20 ? step + 1 : step * 3) {
            struct feed *f = calloc(1, sizeof(*f));
            feed(f, wire, n, step);
            assert_int_equal(f->err, 0);
            assert_int_equal(f->n_got, lengths[i]);
            assert_memory_equal(f->got, payload, lengths[i]);
            free(f);
        }
    }
}

static void fragments_with_control_frames_between_make_one_stream(void **state)
{
    (void)state;
    uint8_t wire[300], *p = wire;
    p += ws_put(p, 0x02, 0, "abc", 3);
    p += ws_put(p, 0x89, 0, "ping", 4);
    p += ws_put(p, 0x00, 0, "", 0);
    p += ws_put(p, 0x8a, 0, "", 0);
    p += ws_put(p, 0x80, 0, "defgh", 5);
    p += ws_put(p, 0x82, 0, "ij", 2);
    p += ws_put(p, 0x88, 0, "\x03\xe8", 2);
    for (size_t step = 1; step <= (size_t)(p - wire); step++) {
        struct feed *f = calloc(1, sizeof(*f));
        feed(f, wire, (size_t)(p - wire), step);
        assert_int_equal(f->err, 0);
        assert_int_equal(f->n_got, 10);
        assert_memory_equal(f->got, "abcdefghij", 10);
        assert_int_equal(f->n_ping, 1);
        assert_int_equal(f->n_pong, 1);
        assert_int_equal(f->n_close, 1);
        assert_int_equal(f->n_control, 2);
        assert_memory_equal(f->control, "\x03\xe8", 2);
        free(f);
    }
}

static void a_ping_holds_up_to_125_bytes(void **state)
{
    (void)state;
    uint8_t payload[126] = { 1, 2, 3 }, wire[140];
    for (size_t len = 0; len <= 125; len++) {
        struct feed *f = calloc(1, sizeof(*f));
        feed(f, wire, ws_put(wire, 0x89, 0, payload, len), 3);
        assert_int_equal(f->err, 0);
        assert_int_equal(f->n_ping, 1);
        assert_int_equal(f->n_control, len);
        assert_memory_equal(f->control, payload, len);
        free(f);
    }
    assert_int_equal(error_of(wire, ws_put(wire, 0x89, 2, payload, 126)), WS_CODE_PROTOCOL);
}

static void each_broken_rule_has_its_code(void **state)
{
    (void)state;
    uint8_t w[32];
    for (unsigned bit = 0x10; bit <= 0x40; bit <<= 1)
        assert_int_equal(error_of(w, ws_put(w, (uint8_t)(0x82 | bit), 0, "a", 1)), 1002);
    for (uint8_t opcode = 3; opcode < 16; opcode++)
        if (opcode < WS_CLOSE || opcode > WS_PONG)
            assert_int_equal(error_of(w, ws_put(w, 0x80 | opcode, 0, "a", 1)), 1002);
    assert_int_equal(error_of("\x82\x01"
                              "a",
                              3),
                     1002);                                         /* no mask */
    assert_int_equal(error_of(w, ws_put(w, 0x09, 0, "", 0)), 1002); /* a ping in fragments */
    assert_int_equal(error_of(w, ws_put(w, 0x80, 0, "a", 1)), 1002);
    assert_int_equal(error_of(w, ws_put(w, 0x81, 0, "a", 1)), 1003);
    size_t n = ws_put(w, 0x02, 0, "a", 1);
    assert_int_equal(error_of(w, n + ws_put(w + n, 0x82, 0, "b", 1)), 1002);
    n = ws_put(w, 0x02, 0, "a", 1);
    assert_int_equal(error_of(w, n + ws_put(w + n, 0x81, 0, "b", 1)), 1003);
}

static void a_length_is_written_in_one_way_only(void **state)
{
    (void)state;
    uint8_t w[32];
    assert_int_equal(error_of(w, ws_put(w, 0x82, 2, NULL, 125)), 1002);
    assert_int_equal(error_of(w, ws_put(w, 0x82, 2, NULL, 126)), 0);
    assert_int_equal(error_of(w, ws_put(w, 0x82, 8, NULL, 65535)), 1002);
    assert_int_equal(error_of(w, ws_put(w, 0x82, 8, NULL, 65536)), 0);
    assert_int_equal(error_of(w, ws_put(w, 0x82, 8, NULL, WS_FRAME_MAX)), 0);
    assert_int_equal(error_of(w, ws_put(w, 0x82, 8, NULL, WS_FRAME_MAX + UINT64_C(1))), 1009);
    assert_int_equal(error_of(w, ws_put(w, 0x82, 8, NULL, UINT64_MAX >> 1)), 1009);
    assert_int_equal(error_of(w, ws_put(w, 0x82, 8, NULL, UINT64_MAX)), 1002);
}

static void a_close_code_is_one_that_may_be_sent(void **state)
{
    (void)state;
    assert_int_equal(ws_close_code(NULL, 0), WS_CODE_NONE);
    assert_int_equal(ws_close_code((const uint8_t *)"\x03", 1), -1002);
    for (unsigned code = 0; code < 65536; code++) {
        uint8_t p[2] = { (uint8_t)(code >> 8), (uint8_t)code };
        bool good = (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) ||
                    (code >= 3000 && code < 5000);
        assert_int_equal(ws_close_code(p, 2), good ? (int)code : -1002);
    }
    assert_int_equal(ws_close_code((const uint8_t *)"\x03\xe8gr\xc3\xbc\xc3\x9f", 8), 1000);
    assert_int_equal(ws_close_code((const uint8_t *)"\x03\xe8\xc3", 3), -1007);
}

static void heads_of_ours_have_the_shortest_length_and_no_mask(void **state)
{
    (void)state;
    uint8_t h[WS_HEAD_MAX];
    assert_int_equal(ws_encode_head(h, WS_BINARY, 0), 2);
    assert_memory_equal(h, "\x82\x00", 2);
    assert_int_equal(ws_encode_head(h, WS_PONG, 125), 2);
    assert_memory_equal(h, "\x8a\x7d", 2);
    assert_int_equal(ws_encode_head(h, WS_BINARY, 126), 4);
    assert_memory_equal(h, "\x82\x7e\x00\x7e", 4);
    assert_int_equal(ws_encode_head(h, WS_BINARY, 65535), 4);
    assert_memory_equal(h, "\x82\x7e\xff\xff", 4);
    assert_int_equal(ws_encode_head(h, WS_BINARY, 65536), 10);
    assert_memory_equal(h, "\x82\x7f\0\0\0\0\0\x01\0\0", 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_length_comes_out_as_it_went_in),
        cmocka_unit_test(fragments_with_control_frames_between_make_one_stream),
        cmocka_unit_test(a_ping_holds_up_to_125_bytes),
        cmocka_unit_test(each_broken_rule_has_its_code),
        cmocka_unit_test(a_length_is_written_in_one_way_only),
        cmocka_unit_test(a_close_code_is_one_that_may_be_sent),
        cmocka_unit_test(heads_of_ours_have_the_shortest_length_and_no_mask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
