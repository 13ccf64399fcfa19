#include "net_support.h"
#include "net/transport.h"
#include "ws_support.h"

#define REQUEST                                                                      \
    "GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"   \
    "Sec-WebSocket-Protocol: mqtt\r\n"

static uint32_t n_peers;

static void count_peer(void *ctx)
{
    (void)ctx;
    n_peers++;
}

static const struct stream_ops web_ops = { sink_on_data, sink_on_eof, sink_on_low, sink_on_closed,
                                           count_peer };

/* A rig whose stream is a WebSocket; its peer is "local". */
static void web_init(struct rig *r, const char *const *trusted, uint32_t n, bool proxy)
{
    struct transport_conf conf = { .is_websocket = true,
                                   .path = "/mqtt",
                                   .proxy = proxy ? TRANSPORT_PROXY_TRUSTED : TRANSPORT_PROXY_NO,
                                   .trusted = trusted,
                                   .n_trusted = n };
    struct transport *t;
    int fd[2];
    *r = (struct rig){ .g = net_group(1) };
    r->loop = loop_group_at(r->g, 0);
    n_peers = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    r->far = fd[1];
    assert_int_equal(stream_new(fd[0], NULL, &r->k.s), 0);
    assert_int_equal(transport_new(&conf, &t), 0);
    assert_int_equal(transport_apply(t, r->k.s), 0);
    transport_unref(&t);
    stream_attach(r->k.s, r->loop, &web_ops, &r->k);
    net_turns(r->loop, 1);
}

static size_t far_get(struct rig *r, uint8_t *buf, size_t room)
{
    ssize_t n = far_read(r->far, buf, room);
    return n < 0 ? 0 : (size_t)n;
}

static void open_it(struct rig *r)
{
    char answer[512] = { 0 };
    web_init(r, NULL, 0, false);
    far_send(r, REQUEST "\r\n", strlen(REQUEST) + 2);
    net_turns(r->loop, 2);
    assert_true(far_get(r, (uint8_t *)answer, sizeof(answer) - 1) > 0);
    assert_memory_equal(answer, "HTTP/1.1 101 ", 13);
    assert_int_equal(r->k.n_closed, 0);
}

static void send_frame(struct rig *r, uint8_t first, const void *payload, size_t len)
{
    uint8_t w[200];
    far_send(r, w, ws_put(w, first, 0, payload, len));
}

static void peer_is(const struct rig *r, const char *text)
{
    char got[ADDR_TEXT_MAX];
    addr_text(stream_peer(r->k.s), got);
    assert_string_equal(got, text);
}

static void bytes_pass_in_both_directions_one_frame_per_turn(void **state)
{
    (void)state;
    struct rig r;
    uint8_t got[64];
    open_it(&r);
    send_frame(&r, 0x82, "hello", 5);
    net_turns(r.loop, 2);
    got_is(&r, "hello");
    assert_int_equal(stream_write(r.k.s, "ab", 2), 0);
    assert_int_equal(stream_write(r.k.s, "cd", 2), 0);
    net_turns(r.loop, 1);
    assert_int_equal(far_get(&r, got, sizeof(got)), 6);
    assert_memory_equal(got,
                        "\x82\x04"
                        "abcd",
                        6);
    rig_fini(&r);
}

static void frames_that_came_with_the_request_and_byte_by_byte_are_read(void **state)
{
    (void)state;
    struct rig r;
    uint8_t w[1000];
    for (size_t step = 1; step < 1000; step *= 3) {
        memcpy(w, REQUEST "\r\n", strlen(REQUEST) + 2);
        size_t n = strlen(REQUEST) + 2;
        n += ws_put(w + n, 0x82, 0, "abc", 3);
        n += ws_put(w + n, 0x82, 0, "def", 3);
        web_init(&r, NULL, 0, false);
        for (size_t i = 0; i < n; i += step) {
            far_send(&r, w + i, n - i < step ? n - i : step);
            net_turns(r.loop, 1);
        }
        net_turns(r.loop, 2);
        got_is(&r, "abcdef");
        rig_fini(&r);
    }
}

static void a_large_answer_is_whole_though_the_socket_takes_little_of_it(void **state)
{
    (void)state;
    struct rig r;
    enum { SIZE = 3000000 };
    open_it(&r);
    write_pattern(&r, 0, SIZE);
    uint8_t *all = malloc(SIZE + 1000);
    size_t n = 0;
    for (int i = 0; i < 2000 && n < SIZE + 10; i++) {
        net_turns(r.loop, 1);
        if (i == 3)
            send_frame(&r, 0x89, "p", 1); /* its answer waits for the end of the frame */
        n += far_get(&r, all + n, SIZE + 1000 - n);
    }
    size_t at = 0, data = 0;
    bool pong = false;
    while (at < n) { /* frames, whole and in order */
        size_t len = all[at + 1], head = 2;
        if (len == 126) {
            len = (size_t)all[at + 2] << 8 | all[at + 3];
            head = 4;
        } else if (len == 127) {
            len = 0;
            for (size_t i = 2; i < 10; i++)
                len = len << 8 | all[at + i];
            head = 10;
        }
        if (all[at] == 0x8a) {
            pong = true;
        } else {
            assert_int_equal(all[at], 0x82);
            assert_true(is_pattern(all + at + head, data, len));
            data += len;
        }
        at += head + len;
    }
    assert_int_equal(data, SIZE);
    net_turns(r.loop, 2);
    pong |= far_get(&r, all, 100) > 0;
    assert_true(pong);
    free(all);
    rig_fini(&r);
}

static void only_the_latest_of_many_pings_is_answered(void **state)
{
    (void)state;
    struct rig r;
    uint8_t got[64], w[64], *p = w;
    open_it(&r);
    p += ws_put(p, 0x89, 0, "one", 3);
    p += ws_put(p, 0x89, 0, "two", 3);
    far_send(&r, w, (size_t)(p - w));
    net_turns(r.loop, 2);
    assert_int_equal(far_get(&r, got, sizeof(got)), 5);
    assert_memory_equal(got, "\x8a\x03two", 5);
    assert_int_equal(r.k.n_calls, 0);
    rig_fini(&r);
}

static void frames_without_data_do_not_keep_the_loop_and_are_all_read(void **state)
{
    (void)state;
    struct rig r;
    uint8_t w[8000], *p = w;
    open_it(&r);
    for (int i = 0; i < 1000; i++)
        p += ws_put(p, 0x8a, 0, "", 0);
    far_send(&r, w, (size_t)(p - w));
    send_frame(&r, 0x82, "x", 1);
    net_turns(r.loop, 10);
    got_is(&r, "x");
    rig_fini(&r);
}

static void a_close_frame_is_the_end_and_is_answered_after_the_last_data(void **state)
{
    (void)state;
    struct rig r;
    uint8_t got[64], w[64], *p = w;
    open_it(&r);
    p += ws_put(p, 0x82, 0, "bye", 3);
    p += ws_put(p, 0x88, 0, "\x0f\xa0", 2);
    p += ws_put(p, 0x82, 0, "late", 4);
    far_send(&r, w, (size_t)(p - w));
    net_turns(r.loop, 3);
    got_is(&r, "bye");
    assert_int_equal(r.k.n_eof, 1);
    assert_int_equal(stream_write(r.k.s, "last", 4), 0);
    stream_close(&r.k.s, 0);
    net_turns(r.loop, 2);
    assert_int_equal(far_get(&r, got, sizeof(got)), 10);
    assert_memory_equal(got, "\x82\x04last\x88\x02\x0f\xa0", 10);
    rig_fini(&r);
}

static void our_close_says_1000_and_then_nothing(void **state)
{
    (void)state;
    struct rig r;
    uint8_t got[64];
    open_it(&r);
    assert_int_equal(stream_write(r.k.s, "x", 1), 0);
    stream_close(&r.k.s, 0);
    net_turns(r.loop, 2);
    assert_int_equal(far_get(&r, got, sizeof(got)), 7);
    assert_memory_equal(got, "\x82\x01x\x88\x02\x03\xe8", 7);
    assert_int_equal(far_read(r.far, got, 1), -1);
    rig_fini(&r);
}

static void a_broken_rule_ends_it_with_its_code_after_what_came_before(void **state)
{
    (void)state;
    static const struct {
        uint8_t first;
        const char *code;
    } all[] = { { 0x81, "\x03\xeb" }, { 0xc2, "\x03\xea" }, { 0x83, "\x03\xea" } };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct rig r;
        uint8_t got[64], w[64], *p = w;
        open_it(&r);
        p += ws_put(p, 0x82, 0, "good", 4);
        p += ws_put(p, all[i].first, 0, "bad", 3);
        far_send(&r, w, (size_t)(p - w));
        net_turns(r.loop, 3);
        got_is(&r, "good");
        assert_int_equal(r.k.n_closed, 1);
        assert_int_equal(r.k.err, -EPROTO);
        assert_int_equal(far_get(&r, got, sizeof(got)), 4);
        assert_memory_equal(got, "\x88\x02", 2);
        assert_memory_equal(got + 2, all[i].code, 2);
        rig_fini(&r);
    }
}

static void an_error_found_while_paused_is_told_after_the_resume(void **state)
{
    (void)state;
    struct rig r;
    uint8_t w[64], *p = w;
    open_it(&r);
    r.k.in_data = pause_me;
    p += ws_put(p, 0x82, 0, "good", 4);
    p += ws_put(p, 0x81, 0, "bad", 3);
    far_send(&r, w, (size_t)(p - w));
    net_turns(r.loop, 3);
    assert_int_equal(r.k.n_closed, 0);
    r.k.in_data = NULL;
    stream_resume(r.k.s);
    net_turns(r.loop, 3);
    got_is(&r, "good");
    assert_int_equal(r.k.n_closed, 1);
    rig_fini(&r);
}

static void a_refused_request_gets_its_answer_and_the_owner_the_reason(void **state)
{
    (void)state;
    struct rig r;
    char got[600] = { 0 };
    const char *text = "GET /other HTTP/1.1\r\nHost: x\r\n\r\n";
    web_init(&r, NULL, 0, false);
    far_send(&r, text, strlen(text));
    struct stream *s = r.k.s; /* valid until the end of the turn it is closed in */
    assert_null(stream_fault(s));
    net_turns(r.loop, 2);
    assert_int_equal(r.k.n_closed, 1);
    assert_int_equal(r.k.err, -EPROTO);
    assert_true(far_get(&r, (uint8_t *)got, sizeof(got) - 1) > 0);
    assert_memory_equal(got, "HTTP/1.1 404 ", 13);
    assert_int_equal(far_read(r.far, (uint8_t *)got, 1), -1); /* its FIN */
    rig_fini(&r);
}

static void forwarded_addresses_are_believed_from_trusted_proxies_only(void **state)
{
    (void)state;
    static const char *const trusted[] = { "local", "10.0.0.0/8" };
    static const struct {
        const char *lines, *peer;
        uint32_t n_trusted;
    } all[] = {
        { "X-Forwarded-For: 192.0.2.1\r\n", "local", 0 },
        { "X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1", 1 },
        { "X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n", "192.0.2.2", 1 },
        { "X-Forwarded-For: 192.0.2.1, 192.0.2.2,10.1.2.3\r\n", "192.0.2.2", 2 },
        { "X-Forwarded-For: 192.0.2.1\r\nX-Forwarded-For: 10.0.0.1\r\n", "192.0.2.1", 2 },
        { "X-Forwarded-For: 192.0.2.1, nonsense, 10.0.0.1\r\n", "10.0.0.1", 2 },
        { "X-Forwarded-For: [2001:db8::1]:99\r\n", "2001:db8::1", 1 },
        { "X-Forwarded-For:\r\n", "local", 1 },
        { "", "local", 1 },
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct rig r;
        web_init(&r, trusted, all[i].n_trusted, false);
        assert_int_equal(stream_awaits_peer(r.k.s), all[i].n_trusted > 0);
        far_send(&r, REQUEST, strlen(REQUEST));
        far_send(&r, all[i].lines, strlen(all[i].lines));
        far_send(&r, "\r\n", 2);
        net_turns(r.loop, 2);
        peer_is(&r, all[i].peer);
        assert_int_equal(n_peers, all[i].n_trusted > 0);
        assert_false(stream_awaits_peer(r.k.s));
        rig_fini(&r);
    }
}

static void a_proxy_header_stands_before_the_request(void **state)
{
    (void)state;
    static const char *const trusted[] = { "local" };
    const char *text = "PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n" REQUEST
                       "X-Forwarded-For: 203.0.113.1\r\n\r\n";
    for (size_t step = 1; step < 600; step *= 5) {
        struct rig r;
        web_init(&r, trusted, 1, true);
        for (size_t i = 0; i < strlen(text); i += step) {
            far_send(&r, text + i, strlen(text) - i < step ? strlen(text) - i : step);
            net_turns(r.loop, 1);
        }
        net_turns(r.loop, 1);
        peer_is(&r, "192.0.2.7"); /* whom the proxy named is no proxy itself */
        assert_int_equal(n_peers, 1);
        send_frame(&r, 0x82, "hi", 2);
        net_turns(r.loop, 2);
        got_is(&r, "hi");
        rig_fini(&r);
    }
}

static void without_a_proxy_header_a_trusted_proxy_is_closed(void **state)
{
    (void)state;
    static const char *const trusted[] = { "local" };
    struct rig r;
    web_init(&r, trusted, 1, true);
    far_send(&r, REQUEST "\r\n", strlen(REQUEST) + 2);
    net_turns(r.loop, 2);
    assert_int_equal(r.k.n_closed, 1);
    assert_int_equal(n_peers, 0);
    rig_fini(&r);
}

static void who_is_no_trusted_proxy_is_turned_away_where_one_is_required(void **state)
{
    (void)state;
    struct transport_conf conf = { .proxy = TRANSPORT_PROXY_REQUIRED };
    struct loop_group *g = net_group(1);
    struct transport *t;
    struct stream *s;
    int fd[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    assert_int_equal(stream_new(fd[0], NULL, &s), 0);
    assert_int_equal(transport_new(&conf, &t), 0);
    assert_int_equal(transport_apply(t, s), -EACCES);
    stream_abort(&s);
    transport_unref(&t);
    close(fd[1]);
    loop_group_free(&g);
}

static void a_unix_socket_knows_who_opened_it(void **state)
{
    (void)state;
    struct rig r;
    struct stream_cred cred;
    rig_init(&r, 1);
    assert_int_equal(stream_peer_cred(r.k.s, &cred), 0);
    assert_int_equal(cred.pid, getpid());
    assert_int_equal(cred.uid, getuid());
    assert_int_equal(cred.gid, getgid());
    rig_fini(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_pass_in_both_directions_one_frame_per_turn),
        cmocka_unit_test(frames_that_came_with_the_request_and_byte_by_byte_are_read),
        cmocka_unit_test(a_large_answer_is_whole_though_the_socket_takes_little_of_it),
        cmocka_unit_test(only_the_latest_of_many_pings_is_answered),
        cmocka_unit_test(frames_without_data_do_not_keep_the_loop_and_are_all_read),
        cmocka_unit_test(a_close_frame_is_the_end_and_is_answered_after_the_last_data),
        cmocka_unit_test(our_close_says_1000_and_then_nothing),
        cmocka_unit_test(a_broken_rule_ends_it_with_its_code_after_what_came_before),
        cmocka_unit_test(an_error_found_while_paused_is_told_after_the_resume),
        cmocka_unit_test(a_refused_request_gets_its_answer_and_the_owner_the_reason),
        cmocka_unit_test(forwarded_addresses_are_believed_from_trusted_proxies_only),
        cmocka_unit_test(a_proxy_header_stands_before_the_request),
        cmocka_unit_test(without_a_proxy_header_a_trusted_proxy_is_closed),
        cmocka_unit_test(a_unix_socket_knows_who_opened_it),
        cmocka_unit_test(who_is_no_trusted_proxy_is_turned_away_where_one_is_required),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
