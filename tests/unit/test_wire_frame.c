#include "wire/frame.h"
#include "wire/cursor.h"
#include "wire/ping.h"
#include "wire_support.h"

static int frame_of(const char *notation, uint32_t max_packet, struct frame *r)
{
    struct bytes b = bytes_make(notation);
    int rc = frame_next(b.p, b.len, max_packet, r);
    if (rc == FRAME_OK)
        assert_ptr_equal(r->body, b.p + r->head_len);
    free(b.p);
    return rc;
}

static void a_frame_is_complete_with_its_last_byte(void **state)
{
    struct frame f;
    (void)state;
    assert_int_equal(frame_of("30 03 0001 'a'", 0, &f), FRAME_OK);
    assert_int_equal(f.type, PACKET_PUBLISH);
    assert_int_equal(f.flags, 0);
    assert_int_equal(f.head_len, 2);
    assert_int_equal(f.len, 3);
    assert_int_equal(f.total, 5);
    assert_int_equal(frame_of("30 03 0001", 0, &f), FRAME_NEED_MORE);
    assert_int_equal(f.total, 5);
    assert_null(f.body);
}

static void the_first_byte_alone_tells_type_and_flags(void **state)
{
    struct frame f;
    (void)state;
    assert_int_equal(frame_of("3d", 0, &f), FRAME_NEED_MORE);
    assert_int_equal(f.type, PACKET_PUBLISH);
    assert_int_equal(f.flags, 13);
    assert_int_equal(f.total, 0);
    assert_int_equal(frame_of("", 0, &f), FRAME_NEED_MORE);
    assert_int_equal(f.type, 0);
}

static void bytes_behind_a_frame_belong_to_the_next(void **state)
{
    struct frame f;
    (void)state;
    assert_int_equal(frame_of("c000 3003", 0, &f), FRAME_OK);
    assert_int_equal(f.total, 2);
    assert_int_equal(f.len, 0);
}

static void a_remaining_length_has_at_most_four_bytes(void **state)
{
    struct frame f;
    (void)state;
    assert_int_equal(frame_of("30 ffffff7f", 0, &f), FRAME_NEED_MORE);
    assert_int_equal(f.total, FRAME_TOTAL_MAX);
    assert_int_equal(frame_of("30 ffffff", 0, &f), FRAME_NEED_MORE);
    assert_int_equal(f.total, 0);
    assert_int_equal(frame_of("30 ffffffff", 0, &f), MALFORMED);
    assert_int_equal(frame_of("30 80808080 01", 0, &f), MALFORMED);
}

static void a_packet_above_the_maximum_is_refused_by_its_head_alone(void **state)
{
    struct frame f;
    (void)state;
    assert_int_equal(frame_of("30 ffffff7f", 1000, &f), -REASON_PACKET_TOO_LARGE);
    assert_int_equal(f.type, PACKET_PUBLISH);
    assert_int_equal(f.total, FRAME_TOTAL_MAX);
    assert_int_equal(frame_of("30 03", 5, &f), FRAME_NEED_MORE);
    assert_int_equal(frame_of("30 03", 4, &f), -REASON_PACKET_TOO_LARGE);
}

static void type_0_is_refused_at_the_first_byte(void **state)
{
    struct frame f;
    (void)state;
    for (unsigned flags = 0; flags < 16; flags++) {
        uint8_t first = (uint8_t)flags;
        assert_int_equal(frame_next(&first, 1, 0, &f), MALFORMED);
        for (int version = MQTT_31; version <= MQTT_5; version++)
            assert_int_equal(frame_check_first(first, version), MALFORMED);
    }
}

static void type_15_exists_only_in_mqtt_5(void **state)
{
    (void)state;
    assert_int_equal(frame_check_first(0xF0, MQTT_31), MALFORMED);
    assert_int_equal(frame_check_first(0xF0, MQTT_311), MALFORMED);
    assert_int_equal(frame_check_first(0xF0, MQTT_5), 0);
    assert_int_equal(frame_check_first(0xF1, MQTT_5), MALFORMED);
}

static void reserved_flags_have_exactly_the_prescribed_value(void **state)
{
    (void)state;
    for (unsigned type = 1; type < 15; type++) {
        bool is_two =
            type == PACKET_PUBREL || type == PACKET_SUBSCRIBE || type == PACKET_UNSUBSCRIBE;
        if (type == PACKET_PUBLISH)
            continue;
        for (unsigned flags = 0; flags < 16; flags++) {
            uint8_t first = (uint8_t)(type << 4 | flags);
            int wanted = flags == (is_two ? 2 : 0) ? 0 : MALFORMED;
            assert_int_equal(frame_check_first(first, MQTT_311), wanted);
            assert_int_equal(frame_check_first(first, MQTT_5), wanted);
            assert_int_equal(frame_check_first(first, MQTT_31),
                             type == PACKET_CONNECT ? wanted : 0);
        }
    }
}

static void a_publish_has_no_qos_3_and_no_dup_with_qos_0(void **state)
{
    (void)state;
    for (int version = MQTT_31; version <= MQTT_5; version++) {
        for (unsigned flags = 0; flags < 16; flags++) {
            bool is_bad = (flags & 6) == 6 || (flags & 14) == 8;
            assert_int_equal(frame_check_first((uint8_t)(0x30 | flags), version),
                             is_bad ? MALFORMED : 0);
        }
    }
}

static void the_shortest_remaining_length_is_demanded_in_mqtt_5_only(void **state)
{
    struct frame f;
    (void)state;
    assert_int_equal(frame_of("c0 8000", 0, &f), FRAME_OK);
    assert_int_equal(f.total, 3);
    assert_int_equal(frame_check(&f, MQTT_311), 0);
    assert_int_equal(frame_check(&f, MQTT_5), MALFORMED);
}

static void a_varint_is_read_in_its_shortest_form_only(void **state)
{
    static const struct {
        const char *bytes;
        uint32_t value;
        bool is_valid;
    } rows[] = {
        { "00", 0, true },
        { "7f", 127, true },
        { "8001", 128, true },
        { "ff7f", 16383, true },
        { "808001", 16384, true },
        { "ffff7f", 2097151, true },
        { "80808001", 2097152, true },
        { "ffffff7f", WIRE_VARINT_MAX, true },
        { "8000", 0, false },
        { "ff00", 0, false },
        { "808000", 0, false },
        { "80808000", 0, false },
        { "ffffffff7f", 0, false },
        { "8080808001", 0, false },
        { "80", 0, false },
        { "", 0, false },
    };
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct bytes b = bytes_make(rows[i].bytes);
        struct cursor c;
        cursor_init(&c, b.p, b.len);
        assert_int_equal(cursor_varint(&c), rows[i].value);
        assert_int_equal(cursor_is_done(&c), rows[i].is_valid);
        if (rows[i].is_valid)
            assert_int_equal(varint_size(rows[i].value), b.len);
        free(b.p);
    }
}

static void a_failed_cursor_stays_failed_and_gives_nothing(void **state)
{
    struct bytes b = bytes_make("0005 'abc'");
    struct cursor c;
    (void)state;
    cursor_init(&c, b.p, b.len);
    assert_null(cursor_string(&c).ptr);
    assert_true(c.failed);
    assert_int_equal(cursor_u8(&c), 0);
    assert_int_equal(cursor_u16(&c), 0);
    assert_int_equal(cursor_u32(&c), 0);
    assert_int_equal(cursor_varint(&c), 0);
    assert_null(cursor_rest(&c).ptr);
    assert_false(cursor_is_done(&c));
    free(b.p);
}

static void bytes_left_over_are_an_error(void **state)
{
    struct bytes b = bytes_make("00000001 00");
    struct cursor c;
    (void)state;
    cursor_init(&c, b.p, b.len);
    assert_int_equal(cursor_u32(&c), 1);
    assert_false(cursor_is_done(&c));
    assert_int_equal(cursor_rest(&c).len, 1);
    assert_true(cursor_is_done(&c));
    free(b.p);
}

static void strings_are_utf8_without_nul_and_binary_is_anything(void **state)
{
    static const char *const bad[] = {
        "0001 00",       /* U+0000 [MQTT-1.5.4-2] */
        "0001 ff",       /* no UTF-8 at all */
        "0002 c080",     /* overlong */
        "0003 eda080",   /* surrogate [MQTT-1.5.4-1] */
        "0004 f4908080", /* above U+10FFFF */
        "0002 'a'c3",    /* cut character */
    };
    struct cursor c;
    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct bytes b = bytes_make(bad[i]);
        cursor_init(&c, b.p, b.len);
        (void)cursor_string(&c);
        assert_true(c.failed);
        cursor_init(&c, b.p, b.len);
        assert_int_equal(cursor_binary(&c).len, b.len - 2);
        assert_true(cursor_is_done(&c));
        free(b.p);
    }
    struct bytes bom = bytes_make("0003 efbbbf");
    cursor_init(&c, bom.p, bom.len);
    assert_int_equal(cursor_string(&c).len, 3); /* [MQTT-1.5.4-3] */
    free(bom.p);
}

static void an_empty_string_is_a_view_and_not_an_absence(void **state)
{
    struct bytes b = bytes_make("0000");
    struct cursor c;
    (void)state;
    cursor_init(&c, b.p, b.len);
    struct str s = cursor_string(&c);
    assert_non_null(s.ptr);
    assert_int_equal(s.len, 0);
    assert_true(cursor_is_done(&c));
    free(b.p);
}

static void a_writer_that_is_full_stays_failed(void **state)
{
    uint8_t buf[4];
    struct writer w;
    (void)state;
    writer_init(&w, buf, sizeof(buf));
    writer_u8(&w, 1);
    writer_u32(&w, 2);
    assert_true(w.failed);
    writer_u8(&w, 3);
    assert_true(w.failed);
    assert_int_equal(w.len, 1);
}

static void what_has_no_encoding_fails_the_writer(void **state)
{
    struct writer w;
    (void)state;
    writer_init_measure(&w);
    writer_varint(&w, WIRE_VARINT_MAX + 1);
    assert_true(w.failed);
    writer_init_measure(&w);
    writer_string(&w, str_make("", 65536));
    assert_true(w.failed);
}

static void pings_have_no_body(void **state)
{
    uint8_t buf[2 * PING_SIZE];
    struct writer w;
    (void)state;
    writer_init(&w, buf, sizeof(buf));
    ping_encode(PACKET_PINGREQ, &w);
    ping_encode(PACKET_PINGRESP, &w);
    wire_expect(&w, 2 * PING_SIZE, "c000 d000");
    for (int version = MQTT_31; version <= MQTT_5; version++) {
        assert_int_equal(wire_decode("c000", version, ping_decode), 0);
        assert_int_equal(wire_decode("d000", version, ping_decode), 0);
        assert_int_equal(wire_decode("c001 00", version, ping_decode), MALFORMED);
    }
    assert_int_equal(wire_decode("c100", MQTT_311, ping_decode), MALFORMED);
}

static void every_packet_type_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(packet_type_name(PACKET_CONNECT), "CONNECT");
    assert_string_equal(packet_type_name(PACKET_UNSUBACK), "UNSUBACK");
    assert_string_equal(packet_type_name(PACKET_AUTH), "AUTH");
    assert_string_equal(packet_type_name(0), "RESERVED");
    assert_string_equal(packet_type_name(200), "RESERVED");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_is_complete_with_its_last_byte),
        cmocka_unit_test(the_first_byte_alone_tells_type_and_flags),
        cmocka_unit_test(bytes_behind_a_frame_belong_to_the_next),
        cmocka_unit_test(a_remaining_length_has_at_most_four_bytes),
        cmocka_unit_test(a_packet_above_the_maximum_is_refused_by_its_head_alone),
        cmocka_unit_test(type_0_is_refused_at_the_first_byte),
        cmocka_unit_test(type_15_exists_only_in_mqtt_5),
        cmocka_unit_test(reserved_flags_have_exactly_the_prescribed_value),
        cmocka_unit_test(a_publish_has_no_qos_3_and_no_dup_with_qos_0),
        cmocka_unit_test(the_shortest_remaining_length_is_demanded_in_mqtt_5_only),
        cmocka_unit_test(a_varint_is_read_in_its_shortest_form_only),
        cmocka_unit_test(a_failed_cursor_stays_failed_and_gives_nothing),
        cmocka_unit_test(bytes_left_over_are_an_error),
        cmocka_unit_test(strings_are_utf8_without_nul_and_binary_is_anything),
        cmocka_unit_test(an_empty_string_is_a_view_and_not_an_absence),
        cmocka_unit_test(a_writer_that_is_full_stays_failed),
        cmocka_unit_test(what_has_no_encoding_fails_the_writer),
        cmocka_unit_test(pings_have_no_body),
        cmocka_unit_test(every_packet_type_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
