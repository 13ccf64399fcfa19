#include "wire/connect.h"
#include "wire/connack.h"
#include "wire_support.h"

#define UNSUPPORTED (-REASON_UNSUPPORTED_PROTOCOL_VERSION)

static int connect_only(const struct frame *f, enum mqtt_version version)
{
    struct connect_packet p;
    (void)version; /* the packet says it itself */
    return connect_decode(f, &p);
}

static int connack_only(const struct frame *f, enum mqtt_version version)
{
    struct connack_packet p;
    return connack_decode(f, version, &p);
}

static struct bytes decode(const char *notation, struct connect_packet *r, int result)
{
    struct bytes b = bytes_make(notation);
    struct frame f;
    assert_int_equal(frame_next(b.p, b.len, 0, &f), FRAME_OK);
    assert_int_equal(connect_decode(&f, r), result);
    return b;
}

static void malformed_connects_are_refused_with_the_right_reason(void **state)
{
    static const struct wire_case cases[] = {
        { "fixed header flags", "11 { [MQTT] 04 02 003c [id] }", MQTT_311, MALFORMED },
        { "fixed header flags", "12 { [MQIsdp] 03 02 003c [id] }", MQTT_31, MALFORMED },
        { "length not shortest", "10 8e00 [MQTT] 05 02 003c 00 [i]", MQTT_5, MALFORMED },
        { "reserved flag", "10 { [MQTT] 04 03 003c [id] }", MQTT_311, MALFORMED },
        { "reserved flag", "10 { [MQTT] 05 03 003c 00 [id] }", MQTT_5, MALFORMED },
        { "will QoS 3", "10 { [MQTT] 04 1e 003c [id] [w] [p] }", MQTT_311, MALFORMED },
        { "will QoS 3", "10 { [MQTT] 05 1e 003c 00 [id] 00 [w] [p] }", MQTT_5, MALFORMED },
        { "will QoS 3", "10 { [MQIsdp] 03 1e 003c [id] [w] [p] }", MQTT_31, MALFORMED },
        { "will QoS without will", "10 { [MQTT] 04 0a 003c [id] }", MQTT_311, MALFORMED },
        { "will QoS without will", "10 { [MQTT] 05 12 003c 00 [id] }", MQTT_5, MALFORMED },
        { "will retain without will", "10 { [MQTT] 04 22 003c [id] }", MQTT_311, MALFORMED },
        { "will retain without will", "10 { [MQTT] 05 22 003c 00 [id] }", MQTT_5, MALFORMED },
        { "password without user name", "10 { [MQTT] 04 42 003c [id] [pw] }", MQTT_311, MALFORMED },
        { "password without user name", "10 { [MQIsdp] 03 42 003c [id] [pw] }", MQTT_31,
          MALFORMED },
        { "which 5.0 allows", "10 { [MQTT] 05 42 003c 00 [id] [pw] }", MQTT_5, 0 },
        { "client id not UTF-8", "10 { [MQTT] 04 02 003c 0001 ff }", MQTT_311, MALFORMED },
        { "client id with NUL", "10 { [MQTT] 05 02 003c 00 0001 00 }", MQTT_5, MALFORMED },
        { "client id overlong", "10 { [MQIsdp] 03 02 003c 0002 c0af }", MQTT_31, MALFORMED },
        { "user name surrogate", "10 { [MQTT] 04 82 003c [id] 0003 eda080 }", MQTT_311, MALFORMED },
        { "will topic NUL", "10 { [MQTT] 04 06 003c [id] 0001 00 [p] }", MQTT_311, MALFORMED },
        { "password is binary", "10 { [MQTT] 04 c2 003c [id] [u] 0002 00ff }", MQTT_311, 0 },
        { "will payload is binary", "10 { [MQTT] 04 06 003c [id] [w] 0002 00ff }", MQTT_311, 0 },
        { "trailing byte", "10 { [MQTT] 04 02 003c [id] 00 }", MQTT_311, MALFORMED },
        { "trailing byte", "10 { [MQTT] 05 02 003c 00 [id] 00 }", MQTT_5, MALFORMED },
        { "trailing byte", "10 { [MQIsdp] 03 02 003c [id] 00 }", MQTT_31, MALFORMED },
        { "flagged user name missing", "10 { [MQTT] 04 82 003c [id] }", MQTT_311, MALFORMED },
        { "flagged will missing", "10 { [MQTT] 05 06 003c 00 [id] }", MQTT_5, MALFORMED },
        { "no properties in 5.0", "10 { [MQTT] 05 02 003c }", MQTT_5, MALFORMED },
        { "property length of 5 bytes", "10 { [MQTT] 05 02 003c 8080808001 [id] }", MQTT_5,
          MALFORMED },
        { "property length too long", "10 { [MQTT] 05 02 003c 7f [id] }", MQTT_5, MALFORMED },
        { "receive maximum 0", "10 { [MQTT] 05 02 003c {21 0000} [id] }", MQTT_5, PROTOCOL },
        { "maximum packet size 0", "10 { [MQTT] 05 02 003c {27 00000000} [id] }", MQTT_5,
          PROTOCOL },
        { "boolean 2", "10 { [MQTT] 05 02 003c {19 02} [id] }", MQTT_5, PROTOCOL },
        { "boolean 2", "10 { [MQTT] 05 02 003c {17 02} [id] }", MQTT_5, PROTOCOL },
        { "property twice", "10 { [MQTT] 05 02 003c {22 0001 22 0001} [id] }", MQTT_5, PROTOCOL },
        { "will delay in CONNECT", "10 { [MQTT] 05 02 003c {18 00000001} [id] }", MQTT_5,
          MALFORMED },
        { "unknown property", "10 { [MQTT] 05 02 003c {7f 00} [id] }", MQTT_5, MALFORMED },
        { "auth data without method", "10 { [MQTT] 05 02 003c {16 [x]} [id] }", MQTT_5, PROTOCOL },
        { "auth method alone", "10 { [MQTT] 05 02 003c {15 [x]} [id] }", MQTT_5, 0 },
        { "wrong will property", "10 { [MQTT] 05 06 003c 00 [id] {11 00000001} [w][p] }", MQTT_5,
          MALFORMED },
        { "will property twice",
          "10 { [MQTT] 05 06 003c 00 [id] {18 00000001 18 00000001} [w][p] }", MQTT_5, PROTOCOL },
        { "will alias", "10 { [MQTT] 05 06 003c 00 [id] {23 0001} [w][p] }", MQTT_5, MALFORMED },
        { "will properties too long", "10 { [MQTT] 05 06 003c 00 [id] 7f [w][p] }", MQTT_5,
          MALFORMED },
        { "empty client id", "10 { [MQTT] 04 00 003c [] }", MQTT_311, 0 },
        { "empty body", "10 00", MQTT_311, MALFORMED },
    };
    (void)state;
    WIRE_RUN(cases, connect_only);
}

static void an_unknown_protocol_tells_in_which_version_to_answer(void **state)
{
    static const struct {
        const char *packet;
        int result;
        uint8_t version;
    } rows[] = {
        { "10 { [MQTT] 06 02 003c 00 [id] }", UNSUPPORTED, MQTT_5 },
        { "10 { [MQTT] 7f 02 003c 00 [id] }", UNSUPPORTED, MQTT_5 },
        { "10 { [MQTT] 03 02 003c [id] }", UNSUPPORTED, MQTT_311 },
        { "10 { [MQTT] 00 02 003c [id] }", UNSUPPORTED, MQTT_311 },
        { "10 { [MQIsdp] 04 02 003c [id] }", UNSUPPORTED, MQTT_311 },
        { "10 { [MQIsdp] 05 02 003c [id] }", UNSUPPORTED, MQTT_311 },
        { "10 { [mqtt] 04 02 003c [id] }", UNSUPPORTED, 0 },
        { "10 { [MQTTX] 05 02 003c 00 [id] }", UNSUPPORTED, 0 },
        { "10 { [] 04 02 003c [id] }", UNSUPPORTED, 0 },
        { "10 { ffff 04 02 003c [id] }", MALFORMED, 0 },
        { "10 { [MQTT] }", MALFORMED, 0 },
        { "10 { [MQTT] 05 }", MALFORMED, MQTT_5 },
        { "10 { [MQTT] 04 03 003c [id] }", MALFORMED, MQTT_311 },
    };
    struct connect_packet p;
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        free(decode(rows[i].packet, &p, rows[i].result).p);
        assert_int_equal(p.version, rows[i].version);
    }
}

static void a_bridge_bit_in_the_level_is_no_other_protocol(void **state)
{
    struct connect_packet p;
    (void)state;
    free(decode("10 { [MQTT] 84 02 003c [id] }", &p, 0).p);
    assert_int_equal(p.version, MQTT_311);
    assert_true(p.is_bridge);
    free(decode("10 { [MQIsdp] 83 02 003c [id] }", &p, 0).p);
    assert_int_equal(p.version, MQTT_31);
    assert_true(p.is_bridge);
    free(decode("10 { [MQTT] 04 02 003c [id] }", &p, 0).p);
    assert_false(p.is_bridge);
}

static void mqtt_3_1_ignores_what_its_text_leaves_open(void **state)
{
    struct connect_packet p;
    (void)state;
    struct bytes b = decode("10 { [MQIsdp] 03 c2 003c [id] }", &p, 0);
    assert_null(p.user_name.ptr);
    assert_null(p.password.ptr);
    free(b.p);
    b = decode("10 { [MQIsdp] 03 c2 003c [id] [u] }", &p, 0);
    assert_str(p.user_name, "u");
    assert_null(p.password.ptr);
    free(b.p);
    b = decode("10 { [MQIsdp] 03 3b 003c [id] }", &p, 0);
    assert_false(p.will.is_set);
    assert_int_equal(p.will.qos, 0);
    free(b.p);
}

static void every_field_of_a_connect_is_a_view_or_a_number(void **state)
{
    struct connect_packet p;
    struct bytes b =
        decode("10 { [MQTT] 05 ee 012c { 11 0000000a 21 0014 27 00001000 22 0005 19 01 17 00 "
               "15 [SCRAM] 16 [data] 26 [k][v] } [client] { 18 00000007 01 01 "
               "02 00000e10 03 [c] 08 [r] 09 0001 ff 26 [a][b] } [will/t] [bye] "
               "[user] 0002 00ff }",
               &p, 0);
    (void)state;
    assert_int_equal(p.version, MQTT_5);
    assert_true(p.clean_start);
    assert_int_equal(p.keep_alive_s, 300);
    assert_str(p.client_id, "client");
    assert_str(p.user_name, "user");
    assert_int_equal(p.password.len, 2);
    assert_int_equal(p.session_expiry_s, 10);
    assert_int_equal(p.receive_maximum, 20);
    assert_int_equal(p.maximum_packet_size, 4096);
    assert_int_equal(p.topic_alias_maximum, 5);
    assert_true(p.request_response_info);
    assert_false(p.request_problem_info);
    assert_str(p.auth_method, "SCRAM");
    assert_str(p.auth_data, "data");
    assert_true(p.will.is_set && p.will.retain);
    assert_int_equal(p.will.qos, 1);
    assert_int_equal(p.will.delay_s, 7);
    assert_int_equal(p.will.payload_format, 1);
    assert_true(p.will.has_message_expiry);
    assert_int_equal(p.will.message_expiry_s, 3600);
    assert_str(p.will.content_type, "c");
    assert_str(p.will.response_topic, "r");
    assert_int_equal(p.will.correlation.len, 1);
    assert_str(p.will.topic, "will/t");
    assert_str(p.will.payload, "bye");
    free(b.p);
}

static void absent_properties_have_mqtts_defaults(void **state)
{
    static const char *const packets[] = { "10 { [MQTT] 05 00 0000 00 [] }",
                                           "10 { [MQTT] 04 00 0000 [] }" };
    struct connect_packet p;
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        free(decode(packets[i], &p, 0).p);
        assert_int_equal(p.session_expiry_s, 0);
        assert_int_equal(p.receive_maximum, 65535);
        assert_int_equal(p.maximum_packet_size, 0);
        assert_int_equal(p.topic_alias_maximum, 0);
        assert_false(p.request_response_info);
        assert_true(p.request_problem_info);
        assert_int_equal(p.present, 0);
        assert_null(p.user_name.ptr);
    }
}

/* Packets whose properties stand in the order in which the encoder writes them. */
static const char *const canonical[] = {
    "10 { [MQIsdp] 03 02 003c [id] }",
    "10 { [MQIsdp] 03 f6 003c [id] [w] [p] [u] [pw] }",
    "10 { [MQTT] 04 02 003c [id] }",
    "10 { [MQTT] 04 ce 003c [id] [w] [] [u] [] }",
    "10 { [MQTT] 84 00 0000 [] }",
    "10 { [MQTT] 05 02 003c 00 [id] }",
    "10 { [MQTT] 05 c2 ffff { 11 ffffffff 21 0001 27 00000001 22 ffff 19 00 17 00 15 [m] 16 [] "
    "26 [k][v] 26 [k][] } [id] [u] [pw] }",
    "10 { [MQTT] 05 34 0000 00 [] { 18 00000001 01 01 02 00000000 03 [c] 08 [r] 09 0001 00 "
    "26 [b][1] 26 [a][2] } [w] [p] }",
};

static void a_connect_survives_decoding_and_encoding(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(canonical) / sizeof(canonical[0]); i++) {
        struct connect_packet p;
        struct bytes b = decode(canonical[i], &p, 0);
        uint8_t *out = malloc(b.len);
        struct writer w;
        writer_init(&w, out, b.len);
        connect_encode(&p, &w);
        wire_expect(&w, connect_size(&p), canonical[i]);
        free(out);
        free(b.p);
    }
}

static void a_cut_connect_is_refused_and_never_read_beyond_its_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(canonical) / sizeof(canonical[0]); i++) {
        /* 3.1: flagged credentials may be missing at the end, hence valid from the payload on */
        bool is_31 = i == 1;
        struct bytes b = bytes_make(canonical[i]);
        struct frame f;
        frame_next(b.p, b.len, 0, &f);
        wire_truncate(canonical[i], MQTT_5, connect_only, is_31 ? 22 : f.len);
        free(b.p);
    }
}

static void a_client_id_without_encoding_fails_instead_of_being_cut(void **state)
{
    char *big = calloc(1, 65536);
    struct connect_packet p;
    struct writer w;
    uint8_t buf[16];
    (void)state;
    connect_packet_init(&p, MQTT_311);
    p.client_id = str_make(big, 65536);
    assert_int_equal(connect_size(&p), 0);
    p.client_id = str_make(big, 65535);
    assert_int_equal(connect_size(&p), 1 + 3 + 10 + 2 + 65535);
    writer_init(&w, buf, sizeof(buf));
    connect_encode(&p, &w);
    assert_true(w.failed);
    free(big);
}

static void malformed_connacks_are_refused_with_the_right_reason(void **state)
{
    static const struct wire_case cases[] = {
        { "accepted", "20 { 00 00 }", MQTT_311, 0 },
        { "session present", "20 { 01 00 }", MQTT_311, 0 },
        { "reserved byte of 3.1", "20 { 55 00 }", MQTT_31, 0 },
        { "flags", "20 { 02 00 }", MQTT_311, MALFORMED },
        { "flags", "20 { 80 00 00 }", MQTT_5, MALFORMED },
        { "return code 6", "20 { 00 06 }", MQTT_311, PROTOCOL },
        { "session present with an error", "20 { 01 02 }", MQTT_311, PROTOCOL },
        { "session present with an error", "20 { 01 87 00 }", MQTT_5, PROTOCOL },
        { "reason of another packet", "20 { 00 18 00 }", MQTT_5, PROTOCOL },
        { "no property length", "20 { 00 00 }", MQTT_5, MALFORMED },
        { "trailing byte", "20 { 00 00 00 }", MQTT_311, MALFORMED },
        { "maximum QoS 2", "20 { 00 00 {24 02} }", MQTT_5, PROTOCOL },
        { "topic alias", "20 { 00 00 {23 0001} }", MQTT_5, MALFORMED },
    };
    (void)state;
    WIRE_RUN(cases, connack_only);
}

static void a_connack_survives_decoding_and_encoding(void **state)
{
    static const struct {
        enum mqtt_version version;
        const char *packet;
    } rows[] = {
        { MQTT_31, "20 { 00 00 }" },
        { MQTT_31, "20 { 00 02 }" },
        { MQTT_311, "20 { 01 00 }" },
        { MQTT_311, "20 { 00 05 }" },
        { MQTT_5, "20 { 00 00 00 }" },
        { MQTT_5,
          "20 { 01 00 { 11 00000000 21 0014 24 00 25 00 27 00001000 22 000a 28 00 29 01 2a 00 "
          "13 0000 12 [auto-1] 1a [resp] 1c [other] 15 [m] 16 0001 00 1f [why] 26 [k][v] } }" },
        { MQTT_5, "20 { 00 9d { 1c [other:1883] } }" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bytes b = bytes_make(rows[i].packet);
        struct connack_packet p;
        struct frame f;
        struct writer w;
        uint8_t *out = malloc(b.len);
        assert_int_equal(frame_next(b.p, b.len, 0, &f), FRAME_OK);
        assert_int_equal(connack_decode(&f, rows[i].version, &p), 0);
        writer_init(&w, out, b.len);
        connack_encode(&p, rows[i].version, &w);
        wire_expect(&w, connack_size(&p, rows[i].version), rows[i].packet);
        wire_truncate(rows[i].packet, rows[i].version, connack_only, f.len);
        free(out);
        free(b.p);
    }
}

static void a_client_sees_mqtts_defaults_when_the_server_says_nothing(void **state)
{
    struct bytes b = bytes_make("20 { 00 00 00 }");
    struct connack_packet p;
    struct frame f;
    (void)state;
    assert_int_equal(frame_next(b.p, b.len, 0, &f), FRAME_OK);
    assert_int_equal(connack_decode(&f, MQTT_5, &p), 0);
    assert_int_equal(p.receive_maximum, 65535);
    assert_int_equal(p.maximum_qos, 2);
    assert_true(p.retain_available && p.wildcard_available);
    assert_true(p.subscription_ids_available && p.shared_available);
    free(b.p);
}

static void a_reason_without_return_code_has_no_connack_in_3_1_1(void **state)
{
    struct connack_packet p = { .reason = REASON_MALFORMED_PACKET };
    (void)state;
    assert_int_equal(connack_size(&p, MQTT_311), 0);
    assert_int_equal(connack_size(&p, MQTT_5), 5);
    p.reason = REASON_NOT_AUTHORIZED;
    assert_int_equal(connack_size(&p, MQTT_311), 4);
}

static void a_connack_drops_reason_string_then_user_properties_to_fit(void **state)
{
    struct bytes b = bytes_make("26 [k][v]");
    struct connack_packet p = { .reason = REASON_BANNED,
                                .reason_string = STR("go away"),
                                .assigned_client_id = STR("id"),
                                .props = str_make(b.p, b.len) };
    (void)state;
    assert_int_equal(connack_fit(&p, MQTT_5, 0), 5 + 10 + 5 + 7);
    assert_int_equal(connack_fit(&p, MQTT_5, 27), 27);
    assert_non_null(p.reason_string.ptr);
    assert_int_equal(connack_fit(&p, MQTT_5, 26), 17);
    assert_null(p.reason_string.ptr);
    assert_int_equal(p.props.len, 7);
    assert_int_equal(connack_fit(&p, MQTT_5, 16), 10);
    assert_int_equal(p.props.len, 0);
    assert_int_equal(connack_fit(&p, MQTT_5, 2), 10); /* nothing more may be left out */
    free(b.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_connects_are_refused_with_the_right_reason),
        cmocka_unit_test(an_unknown_protocol_tells_in_which_version_to_answer),
        cmocka_unit_test(a_bridge_bit_in_the_level_is_no_other_protocol),
        cmocka_unit_test(mqtt_3_1_ignores_what_its_text_leaves_open),
        cmocka_unit_test(every_field_of_a_connect_is_a_view_or_a_number),
        cmocka_unit_test(absent_properties_have_mqtts_defaults),
        cmocka_unit_test(a_connect_survives_decoding_and_encoding),
        cmocka_unit_test(a_cut_connect_is_refused_and_never_read_beyond_its_end),
        cmocka_unit_test(a_client_id_without_encoding_fails_instead_of_being_cut),
        cmocka_unit_test(malformed_connacks_are_refused_with_the_right_reason),
        cmocka_unit_test(a_connack_survives_decoding_and_encoding),
        cmocka_unit_test(a_client_sees_mqtts_defaults_when_the_server_says_nothing),
        cmocka_unit_test(a_reason_without_return_code_has_no_connack_in_3_1_1),
        cmocka_unit_test(a_connack_drops_reason_string_then_user_properties_to_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
