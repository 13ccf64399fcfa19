#include "wire/subscribe.h"
#include "wire/unsubscribe.h"
#include "wire_support.h"

static int subscribe_only(const struct frame *f, enum mqtt_version version)
{
    struct subscribe_packet p;
    return subscribe_decode(f, version, &p);
}

static int unsubscribe_only(const struct frame *f, enum mqtt_version version)
{
    struct unsubscribe_packet p;
    return unsubscribe_decode(f, version, &p);
}

static void malformed_subscribes_are_refused_with_the_right_reason(void **state)
{
    static const struct wire_case cases[] = {
        { "flags", "80 { 0001 [t] 00 }", MQTT_311, MALFORMED },
        { "flags", "83 { 0001 00 [t] 00 }", MQTT_5, MALFORMED },
        { "DUP is allowed in 3.1", "8a { 0001 [t] 00 }", MQTT_31, 0 },
        { "packet id 0", "82 { 0000 [t] 00 }", MQTT_311, PROTOCOL },
        { "packet id half", "82 { 01 }", MQTT_311, MALFORMED },
        { "no filter", "82 { 0001 }", MQTT_311, PROTOCOL },
        { "no filter", "82 { 0001 00 }", MQTT_5, PROTOCOL },
        { "no options byte", "82 { 0001 [t] }", MQTT_311, MALFORMED },
        { "no options byte", "82 { 0001 00 [t] 00 [u] }", MQTT_5, MALFORMED },
        { "QoS 3", "82 { 0001 [t] 03 }", MQTT_31, MALFORMED },
        { "QoS 3", "82 { 0001 [t] 03 }", MQTT_311, MALFORMED },
        { "QoS 3 in the second", "82 { 0001 00 [t] 00 [u] 03 }", MQTT_5, MALFORMED },
        { "reserved bits", "82 { 0001 [t] 04 }", MQTT_311, MALFORMED },
        { "reserved bits", "82 { 0001 [t] 80 }", MQTT_311, MALFORMED },
        { "reserved bits", "82 { 0001 00 [t] 40 }", MQTT_5, MALFORMED },
        { "reserved bits", "82 { 0001 00 [t] 80 }", MQTT_5, MALFORMED },
        { "retain handling 3", "82 { 0001 00 [t] 30 }", MQTT_5, PROTOCOL },
        { "all options", "82 { 0001 00 [t] 2e }", MQTT_5, 0 },
        { "filter beyond the packet", "82 { 0001 00ff 't' 00 }", MQTT_311, MALFORMED },
        { "filter not UTF-8", "82 { 0001 0001 ff 00 }", MQTT_311, MALFORMED },
        { "filter with NUL", "82 { 0001 00 0001 00 00 }", MQTT_5, MALFORMED },
        { "subscription id 0", "82 { 0001 {0b 00} [t] 00 }", MQTT_5, PROTOCOL },
        { "subscription id twice", "82 { 0001 {0b 01 0b 02} [t] 00 }", MQTT_5, PROTOCOL },
        { "subscription id of 5 bytes", "82 { 0001 {0b 8080808001} [t] 00 }", MQTT_5, MALFORMED },
        { "reason string", "82 { 0001 {1f [x]} [t] 00 }", MQTT_5, MALFORMED },
        { "property length too long", "82 { 0001 7f [t] 00 }", MQTT_5, MALFORMED },
        { "filter syntax is not looked at", "82 { 0001 [a/#/b] 00 }", MQTT_311, 0 },
        { "an empty filter neither", "82 { 0001 [] 00 }", MQTT_311, 0 },
    };
    (void)state;
    WIRE_RUN(cases, subscribe_only);
}

static void malformed_unsubscribes_are_refused_with_the_right_reason(void **state)
{
    static const struct wire_case cases[] = {
        { "flags", "a0 { 0001 [t] }", MQTT_311, MALFORMED },
        { "flags", "a0 { 0001 00 [t] }", MQTT_5, MALFORMED },
        { "DUP is allowed in 3.1", "aa { 0001 [t] }", MQTT_31, 0 },
        { "packet id 0", "a2 { 0000 [t] }", MQTT_311, PROTOCOL },
        { "packet id half", "a2 { 01 }", MQTT_311, MALFORMED },
        { "no filter", "a2 { 0001 }", MQTT_311, PROTOCOL },
        { "no filter", "a2 { 0001 00 }", MQTT_5, PROTOCOL },
        { "filter beyond the packet", "a2 { 0001 [t] 0005 'u' }", MQTT_311, MALFORMED },
        { "half a length", "a2 { 0001 [t] 00 }", MQTT_311, MALFORMED },
        { "filter not UTF-8", "a2 { 0001 0001 ff }", MQTT_311, MALFORMED },
        { "subscription id", "a2 { 0001 {0b 01} [t] }", MQTT_5, MALFORMED },
    };
    (void)state;
    WIRE_RUN(cases, unsubscribe_only);
}

static void subscribe_filters_are_walked_as_views_with_their_options(void **state)
{
    struct bytes b = bytes_make("82 { 0102 { 26 [k][v] 0b ac02 } [a/b] 01 [$share/g/#] 2e [] 18 }");
    struct subscribe_packet p;
    struct subscribe_filter s;
    struct frame f;
    (void)state;
    assert_int_equal(frame_next(b.p, b.len, 0, &f), FRAME_OK);
    assert_int_equal(subscribe_decode(&f, MQTT_5, &p), 0);
    assert_int_equal(p.packet_id, 258);
    assert_int_equal(p.subscription_id, 300);
    assert_int_equal(p.n_filters, 3);
    struct str rest = p.filters;
    assert_true(subscribe_next(&rest, &s));
    assert_str(s.filter, "a/b");
    assert_int_equal(s.qos, 1);
    assert_false(s.no_local || s.retain_as_published || s.retain_handling);
    assert_true(subscribe_next(&rest, &s));
    assert_str(s.filter, "$share/g/#");
    assert_int_equal(s.qos, 2);
    assert_true(s.no_local && s.retain_as_published);
    assert_int_equal(s.retain_handling, 2);
    assert_true(subscribe_next(&rest, &s));
    assert_int_equal(s.filter.len, 0);
    assert_int_equal(s.retain_handling, 1);
    assert_false(s.no_local);
    assert_false(subscribe_next(&rest, &s));
    assert_false(subscribe_next(&rest, &s));
    free(b.p);
}

static void subscribe_round_trip(const char *notation, enum mqtt_version version)
{
    struct bytes b = bytes_make(notation);
    struct subscribe_filter filters[8];
    struct subscribe_packet p;
    struct frame f;
    struct writer w;
    uint8_t *out = malloc(b.len);
    assert_int_equal(frame_next(b.p, b.len, 0, &f), FRAME_OK);
    assert_int_equal(subscribe_decode(&f, version, &p), 0);
    struct str rest = p.filters;
    for (uint32_t i = 0; i < p.n_filters; i++)
        assert_true(subscribe_next(&rest, &filters[i]));
    writer_init(&w, out, b.len);
    subscribe_encode(&p, filters, version, &w);
    wire_expect(&w, subscribe_size(&p, filters, version), notation);
    free(out);
    free(b.p);
}

static void a_subscribe_survives_decoding_and_encoding(void **state)
{
    (void)state;
    subscribe_round_trip("82 { 0001 [t] 00 }", MQTT_31);
    subscribe_round_trip("82 { 0001 [a/+/b] 01 [#] 02 }", MQTT_311);
    subscribe_round_trip("82 { ffff 00 [t] 00 }", MQTT_5);
    subscribe_round_trip("82 { 0001 { 0b ffffff7f 26 [k][v] } [a] 04 [b] 08 [c] 10 [d] 20 [e] 02 }",
                         MQTT_5);
}

static void unsubscribe_round_trip(const char *notation, enum mqtt_version version)
{
    struct bytes b = bytes_make(notation);
    struct str filters[8];
    struct unsubscribe_packet p;
    struct frame f;
    struct writer w;
    uint8_t *out = malloc(b.len);
    assert_int_equal(frame_next(b.p, b.len, 0, &f), FRAME_OK);
    assert_int_equal(unsubscribe_decode(&f, version, &p), 0);
    struct str rest = p.filters;
    for (uint32_t i = 0; i < p.n_filters; i++)
        assert_true(unsubscribe_next(&rest, &filters[i]));
    assert_false(unsubscribe_next(&rest, &filters[7]));
    writer_init(&w, out, b.len);
    unsubscribe_encode(&p, filters, version, &w);
    wire_expect(&w, unsubscribe_size(&p, filters, version), notation);
    free(out);
    free(b.p);
}

static void an_unsubscribe_survives_decoding_and_encoding(void **state)
{
    (void)state;
    unsubscribe_round_trip("a2 { 0001 [t] }", MQTT_31);
    unsubscribe_round_trip("a2 { 0001 [a/+/b] [#] [] }", MQTT_311);
    unsubscribe_round_trip("a2 { ffff 00 [t] }", MQTT_5);
    unsubscribe_round_trip("a2 { 0001 { 26 [k][v] 26 [k][v] } [a] [b] }", MQTT_5);
}

static void a_cut_request_is_never_read_beyond_its_end(void **state)
{
    (void)state;
    wire_truncate("82 { 0001 [abc] 01 [d] 02 }", MQTT_31, subscribe_only, 8);
    wire_truncate("82 { 0001 [abc] 01 [d] 02 }", MQTT_311, subscribe_only, 8);
    wire_truncate("82 { 0001 { 0b 8001 26 [k][v] } [abc] 01 [d] 2e }", MQTT_5, subscribe_only, 19);
    wire_truncate("a2 { 0001 [abc] [d] }", MQTT_311, unsubscribe_only, 7);
    wire_truncate("a2 { 0001 { 26 [k][v] } [abc] [d] }", MQTT_5, unsubscribe_only, 15);
}

static void five_thousand_filters_in_one_packet_are_counted(void **state)
{
    struct bytes body = bytes_make("0001");
    struct subscribe_packet p;
    struct subscribe_filter s;
    struct frame f = { .type = PACKET_SUBSCRIBE, .flags = 2, .head_len = 4 };
    (void)state;
    for (int i = 0; i < 5000; i++)
        bytes_add(&body, "\0\1t\1", 4);
    f.body = body.p;
    f.len = (uint32_t)body.len;
    assert_int_equal(subscribe_decode(&f, MQTT_311, &p), 0);
    assert_int_equal(p.n_filters, 5000);
    uint32_t n = 0;
    for (struct str rest = p.filters; subscribe_next(&rest, &s);)
        n++;
    assert_int_equal(n, 5000);
    free(body.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_subscribes_are_refused_with_the_right_reason),
        cmocka_unit_test(malformed_unsubscribes_are_refused_with_the_right_reason),
        cmocka_unit_test(subscribe_filters_are_walked_as_views_with_their_options),
        cmocka_unit_test(a_subscribe_survives_decoding_and_encoding),
        cmocka_unit_test(an_unsubscribe_survives_decoding_and_encoding),
        cmocka_unit_test(a_cut_request_is_never_read_beyond_its_end),
        cmocka_unit_test(five_thousand_filters_in_one_packet_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
