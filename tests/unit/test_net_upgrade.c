#include "unit.h"
#include "net/upgrade.h"
#include <stdlib.h>

#define START "GET /mqtt HTTP/1.1\r\nHost: broker.example:9001\r\n"
#define UP    "Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
#define KEY   "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
#define MQTT  "Sec-WebSocket-Protocol: mqtt\r\n"
#define GOOD  START UP KEY MQTT

static const char *const ours[] = { "https://app.example", "http://[::1]:8080" };

static int parse(const char *text, const struct upgrade_rules *rules, struct upgrade *r)
{
    size_t len = strlen(text), scanned = 0;
    uint8_t *exact = malloc(len ? len : 1);
    memcpy(exact, text, len);
    int rc = upgrade_parse(exact, len, &scanned, rules, r);
    free(exact);
    return rc;
}

static uint32_t judged(const char *text, const struct upgrade_rules *rules)
{
    static const struct upgrade_rules any;
    struct upgrade u = { 0 };
    assert_int_equal(parse(text, rules ? rules : &any, &u), 0);
    assert_true((u.status == 101) == (u.fault == NULL));
    return u.status;
}

static void the_example_of_the_rfc_gets_its_answer(void **state)
{
    (void)state;
    const char *text = GOOD "\r\n\x82\x80";
    struct upgrade_rules rules = { .path = "/mqtt" };
    struct upgrade u;
    size_t scanned = 0;
    char answer[UPGRADE_ANSWER_MAX + 1] = { 0 };
    assert_int_equal(upgrade_parse((const uint8_t *)text, strlen(text), &scanned, &rules, &u), 0);
    assert_int_equal(u.status, 101);
    assert_int_equal(u.len, strlen(text) - 2);
    size_t n = upgrade_answer(&u, answer);
    assert_int_equal(n, strlen(answer));
    assert_string_equal(answer, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                                "Connection: Upgrade\r\n"
                                "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
                                "Sec-WebSocket-Protocol: mqtt\r\n\r\n");
}

static void any_split_gives_the_same_verdict_and_no_earlier(void **state)
{
    (void)state;
    const char *text = GOOD "\r\n";
    struct upgrade_rules rules = { 0 };
    struct upgrade u;
    size_t scanned = 0;
    for (size_t n = 0; n < strlen(text); n++) {
        uint8_t *exact = malloc(n ? n : 1);
        memcpy(exact, text, n);
        assert_int_equal(upgrade_parse(exact, n, &scanned, &rules, &u), UPGRADE_NEED_MORE);
        assert_int_equal(scanned, n);
        free(exact);
    }
    assert_int_equal(upgrade_parse((const uint8_t *)text, strlen(text), &scanned, &rules, &u), 0);
    assert_int_equal(u.status, 101);
}

static void what_is_no_http_is_refused_at_its_first_byte(void **state)
{
    (void)state;
    assert_int_equal(judged("\x10\x0e", NULL), 400); /* a CONNECT on the wrong port */
    assert_int_equal(judged("\x16\x03\x01", NULL), 400);
    assert_int_equal(judged("GET / HTTP/1.1\n", NULL), 400);
    assert_int_equal(judged("GET / HTTP/1.1\rX", NULL), 400);
    assert_int_equal(judged("GET / HTTP/1.1\r\nA: \x01", NULL), 400);
}

static void a_broken_request_is_400(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "\r\n\r\n",
        "GET /mqtt\r\n\r\n",
        "GET  /mqtt HTTP/1.1\r\n" UP KEY MQTT "Host: x\r\n\r\n",
        "GET mqtt HTTP/1.1\r\n" UP KEY MQTT "Host: x\r\n\r\n",
        "GET http://x/mqtt HTTP/1.1\r\n" UP KEY MQTT "Host: x\r\n\r\n",
        "GET /mqtt HTTP/1.0\r\n" UP KEY MQTT "Host: x\r\n\r\n",
        "GET /mqtt HTTP/1.1 \r\n" UP KEY MQTT "Host: x\r\n\r\n",
        "G@T /mqtt HTTP/1.1\r\n" UP KEY MQTT "Host: x\r\n\r\n",
        "GET /mqtt HTTP/1.1\r\n" UP KEY MQTT "\r\n",
        GOOD "Host: y\r\n\r\n",
        GOOD " folded\r\n\r\n",
        GOOD "No-Colon\r\n\r\n",
        GOOD "Blank : x\r\n\r\n",
        GOOD ": x\r\n\r\n",
        GOOD KEY "\r\n",
        GOOD "Content-Length: 3\r\n\r\n",
        GOOD "Transfer-Encoding: chunked\r\n\r\n",
        GOOD "Origin: a\r\nOrigin: b\r\n\r\n",
        START UP MQTT "Sec-WebSocket-Version: 13\r\n\r\n",
        START UP MQTT "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        START UP MQTT "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2hvcnQ=\r\n\r\n",
        START UP MQTT
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZR==\r\n\r\n",
        START UP MQTT
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhl!HNhbXBsZSBub25jZQ==\r\n\r\n",
        START UP KEY "\r\n",
        START UP KEY "Sec-WebSocket-Protocol: chat, MQTT\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(judged(bad[i], NULL), 400);
}

static void each_refusal_has_its_status_and_headers(void **state)
{
    (void)state;
    struct upgrade_rules rules = { .path = "/mqtt", .origins = ours, .n_origins = 2 };
    static const struct {
        const char *text, *answer;
        uint32_t status;
    } all[] = {
        { "POST /mqtt HTTP/1.1\r\nHost: x\r\n" UP KEY MQTT "\r\n", "Allow: GET\r\n", 405 },
        { "GET / HTTP/1.1\r\nHost: x\r\n" UP KEY MQTT "\r\n", "404 Not Found\r\n", 404 },
        { "GET /mqtt/ HTTP/1.1\r\nHost: x\r\n" UP KEY MQTT "\r\n", "404 Not Found\r\n", 404 },
        { START KEY MQTT "\r\n", "Upgrade: websocket\r\n", 426 },
        { START KEY MQTT "Upgrade: websocket\r\n\r\n", "Connection: Upgrade, close\r\n", 426 },
        { START UP MQTT
          "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
          "Sec-WebSocket-Version: 13\r\n", 426 },
        { GOOD "Origin: https://evil.example\r\n\r\n", "403 Forbidden\r\n", 403 },
        { GOOD "Origin: null\r\n\r\n", "403 Forbidden\r\n", 403 },
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct upgrade u;
        char answer[UPGRADE_ANSWER_MAX + 1] = { 0 };
        assert_int_equal(parse(all[i].text, &rules, &u), 0);
        assert_int_equal(u.status, all[i].status);
        size_t n = upgrade_answer(&u, answer);
        assert_int_equal(n, strlen(answer));
        assert_non_null(strstr(answer, all[i].answer));
        const char *body = strstr(answer, "\r\n\r\n") + 4;
        size_t told = strtoul(strstr(answer, "Content-Length: ") + 16, NULL, 10);
        assert_int_equal(strlen(body), told);
    }
}

static void origins_are_those_listed_or_the_host_itself(void **state)
{
    (void)state;
    static const char *const any[] = { "*" };
    struct upgrade_rules listed = { .origins = ours, .n_origins = 2 };
    struct upgrade_rules all = { .origins = any, .n_origins = 1 };
    const char *own = GOOD "Origin: http://broker.example:3000\r\n\r\n";
    assert_int_equal(judged(GOOD "\r\n", &listed), 101);
    assert_int_equal(judged(GOOD "Origin: HTTPS://app.example\r\n\r\n", &listed), 101);
    assert_int_equal(judged(GOOD "Origin: http://[::1]:8080\r\n\r\n", &listed), 101);
    assert_int_equal(judged(GOOD "Origin: https://app.example:8443\r\n\r\n", &listed), 403);
    assert_int_equal(judged(own, &listed), 403);
    assert_int_equal(judged(own, &all), 101);
    assert_int_equal(judged(own, NULL), 101);
    assert_int_equal(judged(GOOD "Origin: http://broker.example.evil\r\n\r\n", NULL), 403);
    assert_int_equal(judged(GOOD "Origin: null\r\n\r\n", NULL), 403);
    assert_int_equal(judged(GOOD "Origin:\r\n\r\n", NULL), 403);
}

static void the_clients_first_subprotocol_that_we_speak_is_chosen(void **state)
{
    (void)state;
    static const struct upgrade_rules any;
    const char *text = START UP KEY "Sec-WebSocket-Protocol: soap,, mqttv3.1\r\n"
                                    "sec-websocket-protocol: mqtt\r\n\r\n";
    struct upgrade u;
    size_t scanned = 0;
    assert_int_equal(upgrade_parse((const uint8_t *)text, strlen(text), &scanned, &any, &u), 0);
    assert_int_equal(u.status, 101);
    assert_true(str_eq(u.protocol, STR("mqttv3.1")));
}

static void a_query_does_not_belong_to_the_path(void **state)
{
    (void)state;
    struct upgrade_rules rules = { .path = "/mqtt" };
    assert_int_equal(judged("GET /mqtt?a=/b HTTP/1.1\r\nHost: x\r\n" UP KEY MQTT "\r\n", &rules),
                     101);
}

static void a_request_without_end_is_431_at_8_KiB(void **state)
{
    (void)state;
    static const struct upgrade_rules any;
    uint8_t *data = malloc(UPGRADE_MAX + 100);
    struct upgrade u;
    size_t scanned = 0;
    memset(data, 'a', UPGRADE_MAX + 100);
    assert_int_equal(upgrade_parse(data, UPGRADE_MAX - 1, &scanned, &any, &u), UPGRADE_NEED_MORE);
    assert_int_equal(upgrade_parse(data, UPGRADE_MAX, &scanned, &any, &u), 0);
    assert_int_equal(u.status, 431);
    scanned = 0;
    assert_int_equal(upgrade_parse(data, UPGRADE_MAX + 100, &scanned, &any, &u), 0);
    assert_int_equal(u.status, 431);
    free(data);
}

static void forwarded_addresses_are_kept_line_by_line_up_to_a_bound(void **state)
{
    (void)state;
    static const struct upgrade_rules any;
    const char *text =
        GOOD "X-Forwarded-For: 1.1.1.1 , 2.2.2.2\r\nx-forwarded-for: 3.3.3.3 \r\n\r\n";
    char many[4096] = GOOD;
    struct upgrade u;
    size_t scanned = 0;
    assert_int_equal(upgrade_parse((const uint8_t *)text, strlen(text), &scanned, &any, &u), 0);
    assert_int_equal(u.n_forwarded, 2);
    assert_true(str_eq(u.forwarded[0], STR("1.1.1.1 , 2.2.2.2")));
    assert_true(str_eq(u.forwarded[1], STR("3.3.3.3")));
    char *at = many + strlen(many);
    for (unsigned i = 0; i <= UPGRADE_FORWARDED_MAX; i++)
        at = stpcpy(at, "X-Forwarded-For: 1.1.1.1\r\n");
    stpcpy(at, "\r\n");
    assert_int_equal(judged(many, NULL), 400);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_example_of_the_rfc_gets_its_answer),
        cmocka_unit_test(any_split_gives_the_same_verdict_and_no_earlier),
        cmocka_unit_test(what_is_no_http_is_refused_at_its_first_byte),
        cmocka_unit_test(a_broken_request_is_400),
        cmocka_unit_test(each_refusal_has_its_status_and_headers),
        cmocka_unit_test(origins_are_those_listed_or_the_host_itself),
        cmocka_unit_test(the_clients_first_subprotocol_that_we_speak_is_chosen),
        cmocka_unit_test(a_query_does_not_belong_to_the_path),
        cmocka_unit_test(a_request_without_end_is_431_at_8_KiB),
        cmocka_unit_test(forwarded_addresses_are_kept_line_by_line_up_to_a_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
