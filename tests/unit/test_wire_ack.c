#include "wire/ack.h"
#include "wire/auth.h"
#include "wire/disconnect.h"
#include "wire/suback.h"
#include "wire_support.h"

static int ack_only(const struct frame *f, enum mqtt_version version)
{
    struct ack_packet p;
    return ack_decode(f, version, &p);
}

static int suback_only(const struct frame *f, enum mqtt_version version)
{
    struct suback_packet p;
    return suback_decode(f, version, &p);
}

static int disconnect_from_client(const struct frame *f, enum mqtt_version version)
{
    struct disconnect_packet p;
    return disconnect_decode(f, version, WIRE_FROM_CLIENT, &p);
}

static int disconnect_from_server(const struct frame *f, enum mqtt_version version)
{
    struct disconnect_packet p;
    return disconnect_decode(f, version, WIRE_FROM_SERVER, &p);
}

static int auth_only(const struct frame *f, enum mqtt_version version)
{
    struct auth_packet p;
    return auth_decode(f, version, WIRE_FROM_CLIENT, &p);
}

/* Decodes and encodes again: the result must be the same packet. */
static void round_trip(const char *notation, enum mqtt_version version)
{
    struct bytes b = bytes_make(notation);
    struct ack_packet ack;
    struct suback_packet suback;
    struct disconnect_packet disconnect;
    struct auth_packet auth;
    struct frame f;
    struct writer w;
    uint8_t *out = malloc(b.len);
    size_t size = 0;
    assert_int_equal(frame_next(b.p, b.len, 0, &f), FRAME_OK);
    writer_init(&w, out, b.len);
    switch (f.type) {
    case PACKET_SUBACK:
    case PACKET_UNSUBACK:
        assert_int_equal(suback_decode(&f, version, &suback), 0);
        suback_encode(&suback, version, &w);
        size = suback_size(&suback, version);
        break;
    case PACKET_DISCONNECT:
        assert_int_equal(disconnect_decode(&f, version, WIRE_FROM_CLIENT, &disconnect), 0);
        disconnect_encode(&disconnect, version, &w);
        size = disconnect_size(&disconnect, version);
        break;
    case PACKET_AUTH:
        assert_int_equal(auth_decode(&f, version, WIRE_FROM_CLIENT, &auth), 0);
        auth_encode(&auth, &w);
        size = auth_size(&auth);
        break;
    default:
        assert_int_equal(ack_decode(&f, version, &ack), 0);
        ack_encode(&ack, version, &w);
        size = ack_size(&ack, version);
    }
    wire_expect(&w, size, notation);
    free(out);
    free(b.p);
}

static void an_ack_survives_decoding_and_encoding(void **state)
{
    static const char *const types[] = { "40", "50", "62", "70" };
    char text[64];
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        for (int version = MQTT_31; version <= MQTT_5; version++) {
            snprintf(text, sizeof(text), "%s { 1234 }", types[i]);
            round_trip(text, version);
        }
        snprintf(text, sizeof(text), "%s { 1234 %s }", types[i], i < 2 ? "97" : "92");
        round_trip(text, MQTT_5);
        snprintf(text, sizeof(text), "%s { 1234 00 { 1f [why] 26 [k][v] } }", types[i]);
        round_trip(text, MQTT_5);
        wire_truncate(text, MQTT_5, ack_only, 2);
        snprintf(text, sizeof(text), "%s { 1234 00 { 26 [k][v] } }", types[i]);
        round_trip(text, MQTT_5);
    }
}

static void malformed_acks_are_refused_with_the_right_reason(void **state)
{
    static const struct wire_case cases[] = {
        { "packet id 0", "40 { 0000 }", MQTT_311, PROTOCOL },
        { "packet id 0", "70 { 0000 00 }", MQTT_5, PROTOCOL },
        { "packet id half", "40 { 01 }", MQTT_311, MALFORMED },
        { "packet id missing", "50 { }", MQTT_5, MALFORMED },
        { "trailing byte", "40 { 0001 00 }", MQTT_311, MALFORMED },
        { "trailing byte", "40 { 0001 00 00 00 }", MQTT_5, MALFORMED },
        { "PUBREL flags", "60 { 0001 }", MQTT_311, MALFORMED },
        { "PUBREL flags", "60 { 0001 }", MQTT_5, MALFORMED },
        { "PUBREL flags are free in 3.1", "6a { 0001 }", MQTT_31, 0 },
        { "PUBACK flags", "42 { 0001 }", MQTT_311, MALFORMED },
        { "reason of another packet", "40 { 0001 92 }", MQTT_5, PROTOCOL },
        { "reason of another packet", "62 { 0001 97 }", MQTT_5, PROTOCOL },
        { "undefined reason", "50 { 0001 7f }", MQTT_5, PROTOCOL },
        { "empty property list", "40 { 0001 00 00 }", MQTT_5, 0 },
        { "reason string twice", "40 { 0001 00 {1f [a] 1f [b]} }", MQTT_5, PROTOCOL },
        { "reason string not UTF-8", "40 { 0001 00 {1f 0001 ff} }", MQTT_5, MALFORMED },
        { "property of another packet", "40 { 0001 00 {23 0001} }", MQTT_5, MALFORMED },
        { "property length too long", "40 { 0001 00 05 1f }", MQTT_5, MALFORMED },
        { "property length of 5 bytes", "40 { 0001 00 8080808000 }", MQTT_5, MALFORMED },
    };
    (void)state;
    WIRE_RUN(cases, ack_only);
}

static void the_small_ack_is_what_the_encoder_writes(void **state)
{
    static const uint8_t types[] = { PACKET_PUBACK, PACKET_PUBREC, PACKET_PUBREL, PACKET_PUBCOMP };
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        for (int version = MQTT_31; version <= MQTT_5; version++) {
            for (unsigned reason = 0; reason < 256; reason += 0x92) {
                struct ack_packet p = { .type = types[i],
                                        .reason = (uint8_t)reason,
                                        .packet_id = 258 };
                uint8_t small[ACK_SIZE_SMALL], full[ACK_SIZE_SMALL];
                struct writer w;
                writer_init(&w, full, sizeof(full));
                ack_encode(&p, version, &w);
                assert_false(w.failed);
                assert_int_equal(ack_write_small(small, p.type, version, 258, p.reason), w.len);
                assert_memory_equal(small, full, w.len);
            }
        }
    }
}

static void an_ack_drops_reason_string_then_user_properties_to_fit(void **state)
{
    struct bytes b = bytes_make("26 [k][v]");
    struct ack_packet p = { .type = PACKET_PUBACK,
                            .reason = REASON_QUOTA_EXCEEDED,
                            .packet_id = 1,
                            .reason_string = STR("disk full"),
                            .props = str_make(b.p, b.len) };
    (void)state;
    assert_int_equal(ack_fit(&p, MQTT_5, 25), 25);
    assert_non_null(p.reason_string.ptr);
    assert_int_equal(ack_fit(&p, MQTT_5, 24), 13);
    assert_null(p.reason_string.ptr);
    assert_int_equal(ack_fit(&p, MQTT_5, 12), 5);
    assert_int_equal(p.props.len, 0);
    p.reason_string = STR("not sent before 5.0");
    assert_int_equal(ack_fit(&p, MQTT_311, 4), 4);
    free(b.p);
}

static void a_reason_string_above_64_kib_is_dropped_rather_than_cut(void **state)
{
    char *big = calloc(1, 70000);
    struct ack_packet p = { .type = PACKET_PUBREC,
                            .packet_id = 1,
                            .reason_string = str_make(big, 70000) };
    (void)state;
    assert_int_equal(ack_size(&p, MQTT_5), 0);
    assert_int_equal(ack_fit(&p, MQTT_5, 0), 4);
    free(big);
}

static void subacks_and_unsubacks_survive_decoding_and_encoding(void **state)
{
    (void)state;
    round_trip("90 { 0001 00 01 02 }", MQTT_31);
    round_trip("90 { 0001 00 01 02 80 }", MQTT_311);
    round_trip("90 { 0001 00 00 01 02 80 83 87 8f 91 97 9e a1 a2 }", MQTT_5);
    round_trip("90 { 0001 { 1f [why] 26 [k][v] } 00 }", MQTT_5);
    round_trip("b0 { 0001 }", MQTT_31);
    round_trip("b0 { 0001 }", MQTT_311);
    round_trip("b0 { 0001 00 00 11 80 83 87 8f 91 }", MQTT_5);
    round_trip("b0 { 0001 { 1f [why] 26 [k][v] } 00 }", MQTT_5);
    wire_truncate("90 { 0001 { 1f [why] 26 [k][v] } 00 01 }", MQTT_5, suback_only, 17);
    wire_truncate("b0 { 0001 { 1f [why] 26 [k][v] } 00 11 }", MQTT_5, suback_only, 17);
    wire_truncate("90 { 0001 00 01 }", MQTT_311, suback_only, 3);
    wire_truncate("b0 { 0001 }", MQTT_311, suback_only, 2);
}

static void malformed_subacks_are_refused_with_the_right_reason(void **state)
{
    static const struct wire_case cases[] = {
        { "packet id 0", "90 { 0000 00 }", MQTT_311, PROTOCOL },
        { "packet id half", "90 { 01 }", MQTT_311, MALFORMED },
        { "no code", "90 { 0001 }", MQTT_311, PROTOCOL },
        { "no code", "b0 { 0001 00 }", MQTT_5, PROTOCOL },
        { "code 3", "90 { 0001 03 }", MQTT_311, PROTOCOL },
        { "code of 5.0 only", "90 { 0001 87 }", MQTT_311, PROTOCOL },
        { "code of another packet", "90 { 0001 00 11 }", MQTT_5, PROTOCOL },
        { "code of another packet", "b0 { 0001 00 01 }", MQTT_5, PROTOCOL },
        { "codes in UNSUBACK of 3.1.1", "b0 { 0001 00 }", MQTT_311, MALFORMED },
        { "flags", "91 { 0001 00 }", MQTT_311, MALFORMED },
        { "subscription id", "90 { 0001 {0b 01} 00 }", MQTT_5, MALFORMED },
        { "no property length", "90 { 0001 }", MQTT_5, MALFORMED },
    };
    (void)state;
    WIRE_RUN(cases, suback_only);
}

static void a_failure_is_0x80_in_3_1_1_and_a_grant_of_0_in_3_1(void **state)
{
    struct suback_packet p = { .type = PACKET_SUBACK,
                               .packet_id = 1,
                               .codes = STR("\x01\x87\x02\x8f") };
    uint8_t buf[16];
    struct writer w;
    (void)state;
    writer_init(&w, buf, sizeof(buf));
    suback_encode(&p, MQTT_311, &w);
    wire_expect(&w, suback_size(&p, MQTT_311), "90 { 0001 01 80 02 80 }");
    writer_init(&w, buf, sizeof(buf));
    suback_encode(&p, MQTT_31, &w);
    wire_expect(&w, suback_size(&p, MQTT_31), "90 { 0001 01 00 02 00 }");
    p.reason_string = STR("why");
    assert_int_equal(suback_fit(&p, MQTT_5, 15), 15);
    assert_int_equal(suback_fit(&p, MQTT_5, 14), 9);
    assert_int_equal(p.codes.len, 4);
}

static void a_disconnect_survives_decoding_and_encoding(void **state)
{
    (void)state;
    for (int version = MQTT_31; version <= MQTT_5; version++)
        round_trip("e0 { }", version);
    round_trip("e0 { 04 }", MQTT_5);
    round_trip("e0 { 00 { 11 00000000 } }", MQTT_5);
    round_trip("e0 { 81 { 11 0000000a 1f [why] 26 [k][v] } }", MQTT_5);
    wire_truncate("e0 { 81 { 11 0000000a 1f [why] 26 [k][v] } }", MQTT_5, disconnect_from_client,
                  0);
    wire_truncate("e0 { 9c { 1c [other] 1f [why] } }", MQTT_5, disconnect_from_server, 0);
}

static void malformed_disconnects_are_refused_with_the_right_reason(void **state)
{
    static const struct wire_case cases[] = {
        { "body before 5.0", "e0 { 00 }", MQTT_311, MALFORMED },
        { "flags", "e1 { }", MQTT_311, MALFORMED },
        { "flags", "e8 { }", MQTT_5, MALFORMED },
        { "undefined reason", "e0 { 01 }", MQTT_5, PROTOCOL },
        { "CONNACK's reason", "e0 { 84 }", MQTT_5, PROTOCOL },
        { "empty property list", "e0 { 00 00 }", MQTT_5, 0 },
        { "trailing byte", "e0 { 00 00 00 }", MQTT_5, MALFORMED },
        { "server reference from a client", "e0 { 00 {1c [x]} }", MQTT_5, PROTOCOL },
        { "session expiry twice", "e0 { 00 {11 00000001 11 00000001} }", MQTT_5, PROTOCOL },
        { "receive maximum", "e0 { 00 {21 0001} }", MQTT_5, MALFORMED },
    };
    static const struct wire_case server_cases[] = {
        { "session expiry from the server", "e0 { 00 {11 00000001} }", MQTT_5, PROTOCOL },
        { "server reference", "e0 { 9d {1c [x]} }", MQTT_5, 0 },
    };
    (void)state;
    WIRE_RUN(cases, disconnect_from_client);
    WIRE_RUN(server_cases, disconnect_from_server);
}

static void a_disconnect_drops_reason_string_then_user_properties_to_fit(void **state)
{
    struct bytes b = bytes_make("26 [k][v]");
    struct disconnect_packet p = { .reason = REASON_USE_ANOTHER_SERVER,
                                   .server_reference = STR("o"),
                                   .reason_string = STR("why"),
                                   .props = str_make(b.p, b.len) };
    (void)state;
    assert_int_equal(disconnect_fit(&p, MQTT_5, 21), 21);
    assert_int_equal(disconnect_fit(&p, MQTT_5, 20), 15);
    assert_int_equal(disconnect_fit(&p, MQTT_5, 14), 8);
    assert_str(p.server_reference, "o");
    free(b.p);
}

static void an_auth_survives_decoding_and_encoding(void **state)
{
    (void)state;
    round_trip("f0 { }", MQTT_5);
    round_trip("f0 { 18 { 15 [SCRAM] 16 0002 00ff 1f [why] 26 [k][v] } }", MQTT_5);
    round_trip("f0 { 19 { 15 [] } }", MQTT_5);
    round_trip("f0 { 00 { 15 [m] } }", MQTT_5);
    wire_truncate("f0 { 18 { 15 [SCRAM] 16 0002 00ff 1f [why] 26 [k][v] } }", MQTT_5, auth_only, 0);
}

static void malformed_auths_are_refused_with_the_right_reason(void **state)
{
    static const struct wire_case cases[] = {
        { "before 5.0", "f0 { }", MQTT_311, MALFORMED },
        { "before 5.0", "f0 { }", MQTT_31, MALFORMED },
        { "flags", "f1 { }", MQTT_5, MALFORMED },
        { "reason alone", "f0 { 18 }", MQTT_5, MALFORMED },
        { "reason of another packet", "f0 { 87 {15 [m]} }", MQTT_5, PROTOCOL },
        { "no method", "f0 { 18 00 }", MQTT_5, PROTOCOL },
        { "data without method", "f0 { 18 {16 [d]} }", MQTT_5, PROTOCOL },
        { "method twice", "f0 { 18 {15 [m] 15 [m]} }", MQTT_5, PROTOCOL },
        { "session expiry", "f0 { 18 {15 [m] 11 00000001} }", MQTT_5, MALFORMED },
        { "trailing byte", "f0 { 18 {15 [m]} 00 }", MQTT_5, MALFORMED },
    };
    struct auth_packet p = { .reason = REASON_CONTINUE_AUTHENTICATION,
                             .method = STR("m"),
                             .reason_string = STR("why") };
    (void)state;
    WIRE_RUN(cases, auth_only);
    assert_int_equal(auth_fit(&p, 14), 14);
    assert_int_equal(auth_fit(&p, 13), 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ack_survives_decoding_and_encoding),
        cmocka_unit_test(malformed_acks_are_refused_with_the_right_reason),
        cmocka_unit_test(the_small_ack_is_what_the_encoder_writes),
        cmocka_unit_test(an_ack_drops_reason_string_then_user_properties_to_fit),
        cmocka_unit_test(a_reason_string_above_64_kib_is_dropped_rather_than_cut),
        cmocka_unit_test(subacks_and_unsubacks_survive_decoding_and_encoding),
        cmocka_unit_test(malformed_subacks_are_refused_with_the_right_reason),
        cmocka_unit_test(a_failure_is_0x80_in_3_1_1_and_a_grant_of_0_in_3_1),
        cmocka_unit_test(a_disconnect_survives_decoding_and_encoding),
        cmocka_unit_test(malformed_disconnects_are_refused_with_the_right_reason),
        cmocka_unit_test(a_disconnect_drops_reason_string_then_user_properties_to_fit),
        cmocka_unit_test(an_auth_survives_decoding_and_encoding),
        cmocka_unit_test(malformed_auths_are_refused_with_the_right_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
