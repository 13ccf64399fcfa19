#include "wire/publish.h"
#include "wire_support.h"
#include <errno.h>

static int from_client(const struct frame *f, enum mqtt_version version)
{
    struct publish_packet p;
    return publish_decode(f, version, WIRE_FROM_CLIENT, &p);
}

static int from_server(const struct frame *f, enum mqtt_version version)
{
    struct publish_packet p;
    return publish_decode(f, version, WIRE_FROM_SERVER, &p);
}

/* The views stay good until the bytes are freed. */
static struct bytes decode(const char *notation, enum mqtt_version version, enum wire_from from,
                           struct publish_packet *r)
{
    struct bytes b = bytes_make(notation);
    struct frame f;
    assert_int_equal(frame_next(b.p, b.len, 0, &f), FRAME_OK);
    assert_int_equal(publish_decode(&f, version, from, r), 0);
    return b;
}

static void malformed_publishes_are_refused_with_the_right_reason(void **state)
{
    static const struct wire_case cases[] = {
        { "QoS 3", "36 { [t] 0001 }", MQTT_311, MALFORMED },
        { "QoS 3", "36 { [t] 0001 00 }", MQTT_5, MALFORMED },
        { "DUP with QoS 0", "38 { [t] }", MQTT_311, MALFORMED },
        { "DUP with QoS 0", "38 { [t] 00 }", MQTT_5, MALFORMED },
        { "packet id 0", "32 { [t] 0000 }", MQTT_311, PROTOCOL },
        { "packet id 0", "34 { [t] 0000 00 }", MQTT_5, PROTOCOL },
        { "packet id missing", "32 { [t] }", MQTT_311, MALFORMED },
        { "packet id half", "32 { [t] 01 }", MQTT_311, MALFORMED },
        { "empty topic", "30 { [] 'x' }", MQTT_311, PROTOCOL },
        { "empty topic, no alias", "30 { [] 00 'x' }", MQTT_5, PROTOCOL },
        { "topic beyond the packet", "30 { ffff 't' }", MQTT_311, MALFORMED },
        { "topic with NUL", "30 { 0002 'a'00 }", MQTT_311, MALFORMED },
        { "topic with a surrogate", "30 { 0003 eda080 }", MQTT_31, MALFORMED },
        { "topic not UTF-8", "30 { 0001 ff 00 }", MQTT_5, MALFORMED },
        { "no property length", "30 { [t] }", MQTT_5, MALFORMED },
        { "property length of 5 bytes", "30 { [t] 8080808001 }", MQTT_5, MALFORMED },
        { "property length not shortest", "30 { [t] 8000 }", MQTT_5, MALFORMED },
        { "property length beyond the packet", "30 { [t] 05 01 01 }", MQTT_5, MALFORMED },
        { "property cut by the length", "30 { [t] 02 02 0000 }", MQTT_5, MALFORMED },
        { "unknown property", "30 { [t] {04 01} }", MQTT_5, MALFORMED },
        { "property of another packet", "30 { [t] {11 00000001} }", MQTT_5, MALFORMED },
        { "will delay outside of a will", "30 { [t] {18 00000001} }", MQTT_5, MALFORMED },
        { "property twice", "30 { [t] {01 01 01 01} }", MQTT_5, PROTOCOL },
        { "alias 0", "30 { [t] {23 0000} }", MQTT_5, -REASON_TOPIC_ALIAS_INVALID },
        { "alias twice", "30 { [t] {23 0001 23 0002} }", MQTT_5, PROTOCOL },
        { "subscription id from a client", "30 { [t] {0b 01} }", MQTT_5, PROTOCOL },
        { "content type not UTF-8", "30 { [t] {03 0001 ff} }", MQTT_5, MALFORMED },
        { "payload format 2", "30 { [t] {01 02} }", MQTT_5, PROTOCOL },
        { "length not shortest", "30 8400 [t] 00", MQTT_5, MALFORMED },
        { "empty body", "30 00", MQTT_5, MALFORMED },
        { "the same length in 3.1.1", "30 8300 [t]", MQTT_311, 0 },
        { "empty topic with alias", "30 { [] {23 ffff} }", MQTT_5, 0 },
        { "empty payload", "30 { [t] }", MQTT_311, 0 },
        { "wildcards are not looked at here", "30 { [a/#/+] 'x' }", MQTT_311, 0 },
    };
    (void)state;
    WIRE_RUN(cases, from_client);
}

static void a_server_may_send_many_subscription_ids_but_none_is_0(void **state)
{
    static const struct wire_case cases[] = {
        { "three", "30 { [t] {0b 01 0b 7f 0b ffffff7f} }", MQTT_5, 0 },
        { "zero", "30 { [t] {0b 01 0b 00} }", MQTT_5, PROTOCOL },
        { "longer than four bytes", "30 { [t] {0b ffffffff01} }", MQTT_5, MALFORMED },
    };
    (void)state;
    WIRE_RUN(cases, from_server);
}

static void every_field_of_a_publish_is_a_view_or_a_number(void **state)
{
    struct publish_packet p;
    struct bytes b = decode("3d { [a/b] 1234 { 01 01 02 00000e10 23 0007 08 [re] 09 0002 00ff "
                            "26 [k][v] 0b 01 0b 8001 26 [k][w] 03 [json] } 'pay' 00 }",
                            MQTT_5, WIRE_FROM_SERVER, &p);
    (void)state;
    assert_true(p.dup && p.retain);
    assert_int_equal(p.qos, 2);
    assert_str(p.topic, "a/b");
    assert_int_equal(p.packet_id, 0x1234);
    assert_int_equal(p.payload.len, 4);
    assert_int_equal(p.payload_format, 1);
    assert_true(p.has_message_expiry);
    assert_int_equal(p.message_expiry_s, 3600);
    assert_int_equal(p.topic_alias, 7);
    assert_str(p.response_topic, "re");
    assert_int_equal(p.correlation.len, 2);
    assert_str(p.content_type, "json");
    assert_int_equal(p.n_subscription_ids, 2);
    assert_int_equal(p.n_user_properties, 2);
    free(b.p);
}

static void absent_fields_differ_from_empty_ones(void **state)
{
    struct publish_packet p;
    struct bytes b =
        decode("30 { [t] { 02 00000000 08 [] 09 0000 } }", MQTT_5, WIRE_FROM_CLIENT, &p);
    (void)state;
    assert_true(p.has_message_expiry);
    assert_non_null(p.response_topic.ptr);
    assert_non_null(p.correlation.ptr);
    assert_null(p.content_type.ptr);
    free(b.p);
    b = decode("30 { [t] 00 }", MQTT_5, WIRE_FROM_CLIENT, &p);
    assert_false(p.has_message_expiry);
    assert_int_equal(p.props.len, 0);
    assert_int_equal(p.forward_len, 0);
    assert_int_equal(p.packet_id, 0);
    free(b.p);
}

static void a_cut_publish_is_never_read_beyond_its_end(void **state)
{
    (void)state;
    wire_truncate("32 { [a/b] 0001 'pay' }", MQTT_31, from_client, 7);
    wire_truncate("32 { [a/b] 0001 'pay' }", MQTT_311, from_client, 7);
    wire_truncate(
        "32 { [a/b] 0001 { 01 01 02 00000e10 08 [r] 09 0001 00 26 [k][v] 03 [c] } 'pay' }", MQTT_5,
        from_client, 34);
    wire_truncate("30 { [] { 0b 8001 23 0001 } }", MQTT_5, from_server, 9);
}

static void the_filter_keeps_what_is_forwarded_in_its_order(void **state)
{
    static const struct {
        const char *props, *kept;
    } rows[] = {
        { "", "" },
        { "26 [b][1] 01 01 26 [a][2]", "26 [b][1] 01 01 26 [a][2]" },
        { "02 00000001", "" },
        { "23 0001 26 [b][1] 02 00000001 26 [a][2] 0b 01", "26 [b][1] 26 [a][2]" },
        { "08 [r] 09 0001 00 03 [c] 0b 8001 0b 02 01 00", "08 [r] 09 0001 00 03 [c] 01 00" },
        { "18 00000005 26 [k][v] 02 00000009", "26 [k][v]" }, /* of a will */
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bytes in = bytes_make(rows[i].props), kept = bytes_make(rows[i].kept);
        struct str props = str_make(in.p, in.len);
        uint32_t len = publish_props_filter_size(props);
        assert_int_equal(len, kept.len);
        uint8_t *out = malloc(len);
        publish_props_filter(props, len, out);
        assert_memory_equal(out, kept.p, len);
        free(out);
        free(in.p);
        free(kept.p);
    }
}

static void decoding_already_knows_what_the_filter_will_keep(void **state)
{
    struct publish_packet p;
    struct bytes b = decode("30 { [t] { 23 0001 26 [b][1] 02 00000001 0b 81 01 } }", MQTT_5,
                            WIRE_FROM_SERVER, &p);
    (void)state;
    assert_int_equal(p.forward_len, 7);
    assert_int_equal(p.forward_len, publish_props_filter_size(p.props));
    free(b.p);
}

static void expect_head(const struct publish_head *h, struct str payload, enum mqtt_version version,
                        const char *notation)
{
    struct publish_size size;
    struct writer w;
    assert_int_equal(publish_head_measure(h, version, &size), 0);
    uint8_t *buf = malloc(size.total);
    writer_init(&w, buf, size.total);
    publish_encode(h, payload, version, &w);
    wire_expect(&w, size.total, notation);

    uint8_t *head = malloc(size.head_len);
    assert_ptr_equal(publish_head_write(h, version, &size, head), head + size.head_len);
    assert_memory_equal(head, buf, size.head_len);
    assert_int_equal(size.total, size.head_len + payload.len);
    free(head);
    free(buf);
}

static void a_delivery_is_written_in_every_version(void **state)
{
    static const uint32_t ids[] = { 1, 300 };
    struct bytes props = bytes_make("26 [k][v]");
    struct publish_head h = { .topic = STR("a/b"), .payload_len = 3, .packet_id = 0x1234 };
    (void)state;
    expect_head(&h, STR("pay"), MQTT_31, "30 { [a/b] 'pay' }");
    expect_head(&h, STR("pay"), MQTT_311, "30 { [a/b] 'pay' }");
    expect_head(&h, STR("pay"), MQTT_5, "30 { [a/b] 00 'pay' }");
    h.qos = 1;
    h.dup = true;
    h.props = str_make(props.p, props.len);
    expect_head(&h, STR("pay"), MQTT_311, "3a { [a/b] 1234 'pay' }");
    expect_head(&h, STR("pay"), MQTT_5, "3a { [a/b] 1234 { 26 [k][v] } 'pay' }");
    h.qos = 2;
    h.dup = false;
    h.retain = true;
    h.has_message_expiry = true;
    h.message_expiry_s = 0x01020304;
    h.topic_alias = 9;
    h.topic = STR("");
    h.subscription_ids = ids;
    h.n_subscription_ids = 2;
    expect_head(&h, STR("pay"), MQTT_5,
                "35 { [] 1234 { 02 01020304 23 0009 0b 01 0b ac02 26 [k][v] } 'pay' }");
    free(props.p);
}

static void what_was_delivered_decodes_to_the_same(void **state)
{
    static const uint32_t payload_lens[] = { 0, 1, 110, 127, 128, 16370, 16384, 70000 };
    (void)state;
    for (size_t i = 0; i < sizeof(payload_lens) / sizeof(payload_lens[0]); i++) {
        for (int version = MQTT_31; version <= MQTT_5; version++) {
            struct publish_head h = {
                .topic = STR("topic"), .payload_len = payload_lens[i], .qos = 1, .packet_id = 65535
            };
            struct publish_size size;
            struct publish_packet p;
            struct writer w;
            struct frame f;
            assert_int_equal(publish_head_measure(&h, version, &size), 0);
            uint8_t *payload = calloc(1, h.payload_len + 1), *buf = malloc(size.total);
            writer_init(&w, buf, size.total);
            publish_encode(&h, str_make(payload, h.payload_len), version, &w);
            assert_int_equal(frame_next(buf, w.len, 0, &f), FRAME_OK);
            assert_int_equal(publish_decode(&f, version, WIRE_FROM_SERVER, &p), 0);
            assert_true(str_eq(p.topic, h.topic));
            assert_int_equal(p.packet_id, 65535);
            assert_int_equal(p.payload.len, h.payload_len);
            free(payload);
            free(buf);
        }
    }
}

static void a_written_head_serves_the_next_receiver_with_another_id(void **state)
{
    struct publish_head h = { .topic = STR("a/b"), .payload_len = 200, .qos = 1, .packet_id = 1 };
    struct publish_size size;
    uint8_t head[32], other[32];
    (void)state;
    for (int version = MQTT_31; version <= MQTT_5; version++) {
        h.packet_id = 1;
        h.dup = false;
        assert_int_equal(publish_head_measure(&h, version, &size), 0);
        publish_head_write(&h, version, &size, head);
        publish_head_set_id(head, &size, 0xABCD);
        publish_head_set_dup(head, true);
        h.packet_id = 0xABCD;
        h.dup = true;
        publish_head_write(&h, version, &size, other);
        assert_memory_equal(head, other, size.head_len);
    }
}

static void what_mqtt_cannot_express_is_refused_before_writing(void **state)
{
    struct publish_head h = { .topic = STR("t") };
    struct publish_size size;
    struct writer w;
    uint8_t buf[8];
    (void)state;
    h.payload_len = WIRE_VARINT_MAX - 3;
    assert_int_equal(publish_head_measure(&h, MQTT_311, &size), 0);
    assert_int_equal(size.total, FRAME_TOTAL_MAX);
    h.payload_len++;
    assert_int_equal(publish_head_measure(&h, MQTT_311, &size), -EMSGSIZE);
    h.payload_len = UINT32_MAX;
    assert_int_equal(publish_head_measure(&h, MQTT_5, &size), -EMSGSIZE);
    h.payload_len = 0;
    h.topic.len = 65536;
    assert_int_equal(publish_head_measure(&h, MQTT_5, &size), -EMSGSIZE);
    h.topic = STR("t");
    h.props = str_make("", 0);
    h.props.len = UINT32_MAX;
    assert_int_equal(publish_head_measure(&h, MQTT_5, &size), -EMSGSIZE);
    h.props.len = 0;
    h.topic = STR("longer than the buffer");
    writer_init(&w, buf, sizeof(buf));
    publish_encode(&h, STR(""), MQTT_5, &w);
    assert_true(w.failed);
    assert_int_equal(w.len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_publishes_are_refused_with_the_right_reason),
        cmocka_unit_test(a_server_may_send_many_subscription_ids_but_none_is_0),
        cmocka_unit_test(every_field_of_a_publish_is_a_view_or_a_number),
        cmocka_unit_test(absent_fields_differ_from_empty_ones),
        cmocka_unit_test(a_cut_publish_is_never_read_beyond_its_end),
        cmocka_unit_test(the_filter_keeps_what_is_forwarded_in_its_order),
        cmocka_unit_test(decoding_already_knows_what_the_filter_will_keep),
        cmocka_unit_test(a_delivery_is_written_in_every_version),
        cmocka_unit_test(what_was_delivered_decodes_to_the_same),
        cmocka_unit_test(a_written_head_serves_the_next_receiver_with_another_id),
        cmocka_unit_test(what_mqtt_cannot_express_is_refused_before_writing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
