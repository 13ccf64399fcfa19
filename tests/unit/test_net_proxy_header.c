#include "unit.h"
#include "net/proxy_header.h"
#include <errno.h>
#include <stdlib.h>

static int parse(const void *data, size_t len, struct proxy_header *r)
{
    uint8_t *exact = malloc(len ? len : 1);
    memcpy(exact, data, len);
    int rc = proxy_header_parse(exact, len, r);
    free(exact);
    return rc;
}

/* Needs every byte of it, takes none of what follows. */
static void taken(const void *data, size_t len, struct proxy_header *r)
{
    uint8_t more[PROXY_HEADER_MAX + 2];
    for (size_t n = 0; n < len; n++)
        assert_int_equal(parse(data, n, r), PROXY_NEED_MORE);
    memcpy(more, data, len);
    memcpy(more + len, "\x10\x0c", 2);
    assert_int_equal(parse(more, len + 2, r), 0);
    assert_int_equal(r->len, len);
}

static void source_is(const struct proxy_header *h, const char *text, unsigned port)
{
    char got[ADDR_TEXT_MAX];
    assert_true(h->has_source);
    addr_text(&h->source, got);
    assert_string_equal(got, text);
    assert_int_equal(h->source.port, port);
}

static void refused(const void *data, size_t len)
{
    struct proxy_header h;
    assert_int_equal(parse(data, len, &h), -EPROTO);
}

static void version_1_names_the_client(void **state)
{
    (void)state;
    struct proxy_header h;
    const char *four = "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n";
    const char *six = "PROXY TCP6 2001:db8::7 ::1 0 65535\r\n";
    const char *mapped = "PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n";
    const char *unknown = "PROXY UNKNOWN ff:: whatever 1 2\r\n";
    taken(four, strlen(four), &h);
    source_is(&h, "192.0.2.7", 56324);
    taken(six, strlen(six), &h);
    source_is(&h, "2001:db8::7", 0);
    taken(mapped, strlen(mapped), &h);
    source_is(&h, "192.0.2.7", 1);
    taken(unknown, strlen(unknown), &h);
    assert_false(h.has_source);
    taken("PROXY UNKNOWN\r\n", 15, &h);
    assert_false(h.has_source);
}

static void version_1_is_strict(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "PROXY TCP4 192.0.2.7 10.0.0.1 56324\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443 \r\n",
        "PROXY TCP4  192.0.2.7 10.0.0.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1 65536\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 01 443\r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 -1 443\r\n",
        "PROXY TCP4 ::1 10.0.0.1 1 443\r\n",
        "PROXY TCP6 192.0.2.7 ::1 1 443\r\n",
        "PROXY UDP4 192.0.2.7 10.0.0.1 1 443\r\n",
        "PROXY \r\n",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1 2\rX",
        "PROXY TCP4 192.0.2.7 10.0.0.1 1 2\n",
        "PROXY \t",
        "proxy TCP4",
        "PROXX",
        "GET / HTTP/1.1\r\n",
        "\x10\x0c",
    };
    char longest[200];
    struct proxy_header h;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        refused(bad[i], strlen(bad[i]));
    memset(longest, 'x', sizeof(longest));
    memcpy(longest, "PROXY UNKNOWN ", 14);
    assert_int_equal(parse(longest, 106, &h), PROXY_NEED_MORE);
    refused(longest, 107);
    memcpy(longest + 105, "\r\n", 2);
    taken(longest, 107, &h);
}

#define V2 "\r\n\r\n\0\r\nQUIT\n"

/* A header of version 2; returns its length. */
static size_t put_v2(uint8_t *out, uint8_t command, uint8_t family, const void *body, size_t n)
{
    memcpy(out, V2, 12);
    out[12] = command;
    out[13] = family;
    out[14] = (uint8_t)(n >> 8);
    out[15] = (uint8_t)n;
    if (n)
        memcpy(out + 16, body, n);
    return 16 + n;
}

static void version_2_names_the_client(void **state)
{
    (void)state;
    uint8_t w[400], unix_body[216] = { '/' };
    struct proxy_header h;
    static const uint8_t four[] = { 192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 4, 1, 0xbb };
    static const uint8_t tlvs[] = { 192, 0,    2, 7, 10, 0,    0, 1, 0xdc, 4,
                                    1,   0xbb, 4, 0, 0,  0xea, 0, 2, 1,    2 };
    uint8_t six[36] = { 0x20, 1, 0xd, 0xb8, [15] = 7, [31] = 1, [32] = 0x12, [33] = 0x34 };
    taken(w, put_v2(w, 0x21, 0x11, four, sizeof(four)), &h);
    source_is(&h, "192.0.2.7", 56324);
    taken(w, put_v2(w, 0x21, 0x11, tlvs, sizeof(tlvs)), &h);
    source_is(&h, "192.0.2.7", 56324);
    taken(w, put_v2(w, 0x21, 0x21, six, sizeof(six)), &h);
    source_is(&h, "2001:db8::7", 0x1234);
    taken(w, put_v2(w, 0x21, 0x31, unix_body, sizeof(unix_body)), &h);
    assert_false(h.has_source);
    taken(w, put_v2(w, 0x21, 0x00, "anything", 8), &h);
    assert_false(h.has_source);
    taken(w, put_v2(w, 0x20, 0x00, NULL, 0), &h); /* the proxy's own */
    assert_false(h.has_source);
    taken(w, put_v2(w, 0x20, 0x11, four, sizeof(four)), &h);
    assert_false(h.has_source);
}

static void version_2_is_strict(void **state)
{
    (void)state;
    uint8_t w[PROXY_HEADER_MAX + 32], body[PROXY_HEADER_MAX] = { 0 };
    struct proxy_header h;
    refused(w, put_v2(w, 0x11, 0x11, body, 12));
    refused(w, put_v2(w, 0x31, 0x11, body, 12));
    refused(w, put_v2(w, 0x22, 0x11, body, 12));
    refused(w, put_v2(w, 0x21, 0x12, body, 12)); /* datagrams */
    refused(w, put_v2(w, 0x21, 0x41, body, 12));
    refused(w, put_v2(w, 0x21, 0x11, body, 11));
    refused(w, put_v2(w, 0x21, 0x21, body, 35));
    refused(w, put_v2(w, 0x21, 0x31, body, 215));
    refused(w, put_v2(w, 0x21, 0x11, body, 14)); /* half a TLV */
    body[14] = 1;
    refused(w, put_v2(w, 0x21, 0x11, body, 15)); /* one that is longer than what is there */
    body[14] = 0;
    body[13] = (uint8_t)((PROXY_HEADER_MAX - 16 - 12 - 3) >> 8);
    body[14] = (uint8_t)(PROXY_HEADER_MAX - 16 - 12 - 3);
    assert_int_equal(parse(w, put_v2(w, 0x21, 0x11, body, PROXY_HEADER_MAX - 16), &h), 0);
    put_v2(w, 0x21, 0x11, body, 12);
    w[14] = (PROXY_HEADER_MAX - 15) >> 8;
    w[15] = (uint8_t)(PROXY_HEADER_MAX - 15);
    refused(w, 16); /* announced too long: nothing is waited for */
    memcpy(w, V2, 12);
    w[11] = 'X';
    refused(w, 12);
}

static void networks_and_addresses_are_read_as_written(void **state)
{
    (void)state;
    static const char *const bad[] = { "",          "10.0.0.0/33", "10.0.0.1/8", "10.0.0/8",
                                       "::/129",    "10.0.0.0/",   "1.2.3.4/-1", "10.0.0.0/08",
                                       "localhost", "fe80::1/64",  "::1/128x" };
    static const struct {
        const char *network, *in, *out;
    } all[] = { { "10.0.0.0/8", "10.255.0.1", "11.0.0.0" },
                { "192.0.2.128/25", "192.0.2.129:80", "192.0.2.127" },
                { "0.0.0.0/0", "1.2.3.4", "::1" },
                { "1.2.3.4", "1.2.3.4", "1.2.3.5" },
                { "2001:db8::/33", "[2001:db8:7fff::1]:80", "2001:db8:8000::" },
                { "::/0", "::1", "1.2.3.4" },
                { "127.0.0.1", "::ffff:127.0.0.1", "::1" } };
    struct addr a;
    struct network n;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(network_parse(bad[i], &n));
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        assert_true(network_parse(all[i].network, &n));
        assert_true(addr_parse(str_from(all[i].in), &a));
        assert_true(addr_is_in(&a, &n, 1));
        assert_true(addr_parse(str_from(all[i].out), &a));
        assert_false(addr_is_in(&a, &n, 1));
    }
    assert_true(network_parse("local", &n));
    assert_true(addr_is_in(&(struct addr){ .kind = ADDR_LOCAL }, &n, 1));
    assert_false(addr_is_in(&(struct addr){ .kind = ADDR_NONE }, &n, 1));
}

static void what_is_no_address_is_not_read_as_one(void **state)
{
    (void)state;
    static const char *const bad[] = { "",      "unknown",   "_hidden",       "1.2.3.4:",
                                       "[::1",  "[::1]x",    "[::1]:",        "[1.2.3.4]:5x",
                                       "1.2.3", "[1.2.3.4]", "1.2.3.4:65536", "1.2.3.4:+1" };
    struct addr a;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(addr_parse(str_from(bad[i]), &a));
    assert_true(addr_parse(STR("[::1]:8080"), &a));
    assert_int_equal(a.port, 8080);
    assert_false(addr_parse(str_make("1.2.3.4\0x", 9), &a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(version_1_names_the_client),
        cmocka_unit_test(version_1_is_strict),
        cmocka_unit_test(version_2_names_the_client),
        cmocka_unit_test(version_2_is_strict),
        cmocka_unit_test(networks_and_addresses_are_read_as_written),
        cmocka_unit_test(what_is_no_address_is_not_read_as_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
