#include "wire/property.h"
#include "wire_support.h"

/* The specification's table 2-4, written down a second time: an identifier, the type's letter, and
 * the places by packet initials. Lower case: from the client, upper case: from the server. */
enum place {
    P_CONNECT,
    P_CONNACK,
    P_PUBLISH_C,
    P_PUBLISH_S,
    P_WILL,
    P_PUBACK,
    P_PUBREC,
    P_PUBREL,
    P_PUBCOMP,
    P_SUBSCRIBE,
    P_SUBACK,
    P_UNSUBSCRIBE,
    P_UNSUBACK,
    P_DISCONNECT_C,
    P_DISCONNECT_S,
    P_AUTH_C,
    P_AUTH_S,
    N_PLACES
};

static uint32_t place_bit(enum place place)
{
    static const uint32_t bits[N_PLACES] = {
        [P_CONNECT] = PROPERTY_IN(1, WIRE_FROM_CLIENT),
        [P_CONNACK] = PROPERTY_IN(2, WIRE_FROM_SERVER),
        [P_PUBLISH_C] = PROPERTY_IN(3, WIRE_FROM_CLIENT),
        [P_PUBLISH_S] = PROPERTY_IN(3, WIRE_FROM_SERVER),
        [P_WILL] = PROPERTY_IN_WILL,
        [P_PUBACK] = PROPERTY_IN(4, WIRE_FROM_CLIENT),
        [P_PUBREC] = PROPERTY_IN(5, WIRE_FROM_SERVER),
        [P_PUBREL] = PROPERTY_IN(6, WIRE_FROM_CLIENT),
        [P_PUBCOMP] = PROPERTY_IN(7, WIRE_FROM_SERVER),
        [P_SUBSCRIBE] = PROPERTY_IN(8, WIRE_FROM_CLIENT),
        [P_SUBACK] = PROPERTY_IN(9, WIRE_FROM_SERVER),
        [P_UNSUBSCRIBE] = PROPERTY_IN(10, WIRE_FROM_CLIENT),
        [P_UNSUBACK] = PROPERTY_IN(11, WIRE_FROM_SERVER),
        [P_DISCONNECT_C] = PROPERTY_IN(14, WIRE_FROM_CLIENT),
        [P_DISCONNECT_S] = PROPERTY_IN(14, WIRE_FROM_SERVER),
        [P_AUTH_C] = PROPERTY_IN(15, WIRE_FROM_CLIENT),
        [P_AUTH_S] = PROPERTY_IN(15, WIRE_FROM_SERVER),
    };
    return bits[place];
}

#define ON(p)     (1u << P_##p)
#define PUBLISHES (ON(PUBLISH_C) | ON(PUBLISH_S) | ON(WILL))
#define AUTHS     (ON(CONNECT) | ON(CONNACK) | ON(AUTH_C) | ON(AUTH_S))
#define REASONS                                                                      \
    (ON(CONNACK) | ON(PUBACK) | ON(PUBREC) | ON(PUBREL) | ON(PUBCOMP) | ON(SUBACK) | \
     ON(UNSUBACK) | ON(DISCONNECT_C) | ON(DISCONNECT_S) | ON(AUTH_C) | ON(AUTH_S))

static const struct spec_row {
    uint8_t id;
    const char *valid, *bad_value; /* bad_value: right type, forbidden number */
    uint32_t places;
    int error; /* of bad_value */
} spec[] = {
    { 0x01, "01 01", "01 02", PUBLISHES, PROTOCOL },
    { 0x02, "02 00000000", NULL, PUBLISHES, 0 },
    { 0x03, "03 [text]", NULL, PUBLISHES, 0 },
    { 0x08, "08 [a/b]", NULL, PUBLISHES, 0 },
    { 0x09, "09 0002 00ff", NULL, PUBLISHES, 0 },
    { 0x0B, "0b ffffff7f", "0b 00", ON(SUBSCRIBE) | ON(PUBLISH_S), PROTOCOL },
    { 0x11, "11 ffffffff", NULL, ON(CONNECT) | ON(CONNACK) | ON(DISCONNECT_C), 0 },
    { 0x12, "12 [id]", NULL, ON(CONNACK), 0 },
    { 0x13, "13 0000", NULL, ON(CONNACK), 0 },
    { 0x15, "15 [SCRAM]", NULL, AUTHS, 0 },
    { 0x16, "16 0001 00", NULL, AUTHS, 0 },
    { 0x17, "17 00", "17 02", ON(CONNECT), PROTOCOL },
    { 0x18, "18 ffffffff", NULL, ON(WILL), 0 },
    { 0x19, "19 01", "19 ff", ON(CONNECT), PROTOCOL },
    { 0x1A, "1a [r]", NULL, ON(CONNACK), 0 },
    { 0x1C, "1c [other:1883]", NULL, ON(CONNACK) | ON(DISCONNECT_S), 0 },
    { 0x1F, "1f [because]", NULL, REASONS, 0 },
    { 0x21, "21 0001", "21 0000", ON(CONNECT) | ON(CONNACK), PROTOCOL },
    { 0x22, "22 0000", NULL, ON(CONNECT) | ON(CONNACK), 0 },
    { 0x23, "23 0001", "23 0000", ON(PUBLISH_C) | ON(PUBLISH_S), -REASON_TOPIC_ALIAS_INVALID },
    { 0x24, "24 01", "24 02", ON(CONNACK), PROTOCOL },
    { 0x25, "25 00", "25 02", ON(CONNACK), PROTOCOL },
    { 0x26, "26 [k][v]", NULL, (1u << N_PLACES) - 1, 0 },
    { 0x27, "27 00000001", "27 00000000", ON(CONNECT) | ON(CONNACK), PROTOCOL },
    { 0x28, "28 01", "28 02", ON(CONNACK), PROTOCOL },
    { 0x29, "29 01", "29 02", ON(CONNACK), PROTOCOL },
    { 0x2A, "2a 01", "2a 02", ON(CONNACK), PROTOCOL },
};
#define N_SPEC (sizeof(spec) / sizeof(spec[0]))

static int check(const char *notation, uint32_t where)
{
    struct bytes b = bytes_make(notation);
    int rc = property_check(str_make(b.p, b.len), where);
    free(b.p);
    return rc;
}

static int check_twice(const char *notation, uint32_t where)
{
    char both[128];
    snprintf(both, sizeof(both), "%s %s", notation, notation);
    return check(both, where);
}

static const struct spec_row *spec_row(uint32_t id)
{
    for (size_t i = 0; i < N_SPEC; i++) {
        if (spec[i].id == id)
            return &spec[i];
    }
    return NULL;
}

static void the_table_has_the_specifications_identifiers_and_no_other(void **state)
{
    (void)state;
    for (uint32_t id = 0; id < 300; id++) {
        const struct property_info *info = property_info(id);
        assert_int_equal(info != NULL, spec_row(id) != NULL);
        if (info) {
            assert_int_equal(info->id, id);
            assert_non_null(info->name);
            assert_non_null(info->clause);
        }
    }
}

/* 2.2.2.2: in the wrong type of packet it is malformed; from the wrong side a protocol error. */
static void a_property_is_accepted_exactly_where_the_specification_has_it(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SPEC; i++) {
        for (unsigned p = 0; p < N_PLACES; p++) {
            uint32_t where = place_bit(p), other_side = where << 16 | where >> 16;
            int wanted = spec[i].places & 1u << p ? 0 : MALFORMED;
            for (unsigned q = 0; wanted && q < N_PLACES; q++) {
                if (place_bit(q) == other_side && spec[i].places & 1u << q)
                    wanted = PROTOCOL;
            }
            if (check(spec[i].valid, where) != wanted)
                fail_msg("property %02x in place %u", spec[i].id, p);
        }
    }
}

static void a_property_stands_once_except_user_and_delivered_subscription_ids(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SPEC; i++) {
        for (unsigned p = 0; p < N_PLACES; p++) {
            if (!(spec[i].places & 1u << p))
                continue;
            bool repeats = spec[i].id == 0x26 || (spec[i].id == 0x0B && p == P_PUBLISH_S);
            if (check_twice(spec[i].valid, place_bit(p)) != (repeats ? 0 : PROTOCOL))
                fail_msg("property %02x twice in place %u", spec[i].id, p);
        }
    }
}

static void a_number_outside_its_range_has_its_own_reason(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SPEC; i++) {
        for (unsigned p = 0; p < N_PLACES && spec[i].bad_value; p++) {
            if (spec[i].places & 1u << p)
                assert_int_equal(check(spec[i].bad_value, place_bit(p)), spec[i].error);
        }
    }
}

static void a_cut_property_is_malformed(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_SPEC; i++) {
        struct bytes whole = bytes_make(spec[i].valid);
        for (size_t cut = 1; cut < whole.len; cut++) {
            struct bytes b = bytes_exact(whole.p, cut);
            for (unsigned p = 0; p < N_PLACES; p++) {
                if (spec[i].places & 1u << p)
                    assert_int_equal(property_check(str_make(b.p, b.len), place_bit(p)), MALFORMED);
            }
            free(b.p);
        }
        free(whole.p);
    }
}

static void strings_in_properties_are_utf8_and_binary_is_not_checked(void **state)
{
    (void)state;
    assert_int_equal(check("03 0001 ff", place_bit(P_PUBLISH_C)), MALFORMED);
    assert_int_equal(check("08 0001 00", place_bit(P_PUBLISH_C)), MALFORMED);
    assert_int_equal(check("26 0001 ff [v]", place_bit(P_PUBLISH_C)), MALFORMED);
    assert_int_equal(check("26 [k] 0003 eda080", place_bit(P_PUBLISH_C)), MALFORMED);
    assert_int_equal(check("09 0003 eda080", place_bit(P_PUBLISH_C)), 0);
}

static void an_identifier_in_a_longer_varint_is_malformed(void **state)
{
    (void)state;
    assert_int_equal(check("8100 01", place_bit(P_PUBLISH_C)), MALFORMED);
    assert_int_equal(check("8101 01", place_bit(P_PUBLISH_C)), MALFORMED);
}

static void the_iterator_gives_views_in_the_order_of_the_wire(void **state)
{
    struct bytes b = bytes_make("26 [a][1] 02 00000105 26 [b][2] 09 0001 00");
    struct str props = str_make(b.p, b.len);
    struct property_iter it;
    struct property p;
    (void)state;
    property_iter_init(&it, props, 0);
    assert_int_equal(property_next(&it, &p), 1);
    assert_int_equal(p.id, PROPERTY_USER);
    assert_str(p.key, "a");
    assert_str(p.value, "1");
    assert_ptr_equal(p.raw.ptr, props.ptr);
    assert_int_equal(p.raw.len, 7);
    assert_int_equal(property_next(&it, &p), 1);
    assert_int_equal(p.number, 0x105);
    assert_int_equal(p.raw.len, 5);
    assert_int_equal(property_next(&it, &p), 1);
    assert_str(p.key, "b");
    assert_int_equal(property_next(&it, &p), 1);
    assert_int_equal(p.value.len, 1);
    assert_int_equal(property_next(&it, &p), 0);
    assert_int_equal(property_next(&it, &p), 0);
    assert_true(property_find(props, PROPERTY_MESSAGE_EXPIRY, &p));
    assert_int_equal(p.number, 0x105);
    assert_false(property_find(props, PROPERTY_REASON_STRING, &p));
    free(b.p);
}

static void an_empty_block_needs_no_pointer(void **state)
{
    struct property p;
    (void)state;
    assert_int_equal(property_check(STR_NULL, place_bit(P_PUBLISH_C)), 0);
    assert_false(property_find(STR_NULL, PROPERTY_USER, &p));
}

static void numbers_are_written_with_the_width_of_their_type(void **state)
{
    uint8_t buf[64];
    struct writer w;
    (void)state;
    writer_init(&w, buf, sizeof(buf));
    property_write_number(&w, PROPERTY_MAXIMUM_QOS, 1);
    property_write_number(&w, PROPERTY_RECEIVE_MAXIMUM, 258);
    property_write_number(&w, PROPERTY_SESSION_EXPIRY, 258);
    property_write_number(&w, PROPERTY_SUBSCRIPTION_ID, 258);
    property_write_string(&w, PROPERTY_REASON_STRING, STR("no"));
    property_write_user(&w, STR("k"), STR("v"));
    wire_expect(&w, w.len, "24 01 21 0102 11 00000102 0b 8202 1f [no] 26 [k][v]");
    property_write_number(&w, PROPERTY_USER, 1);
    assert_true(w.failed);
}

static void only_user_properties_are_copied_and_their_order_stays(void **state)
{
    struct bytes b = bytes_make("26 [b][1] 1f [x] 26 [a][2] 26 [b][1]");
    uint8_t buf[64];
    struct writer w;
    (void)state;
    writer_init(&w, buf, sizeof(buf));
    property_write_users(&w, str_make(b.p, b.len));
    wire_expect(&w, 21, "26 [b][1] 26 [a][2] 26 [b][1]");
    free(b.p);
}

/* Table 2-6, written down a second time: packets by the initials below. */
static void a_reason_code_is_allowed_exactly_where_the_specification_has_it(void **state)
{
    static const struct {
        uint8_t code;
        const char *in; /* c CONNACK, a PUBACK, r PUBREC, l PUBREL, o PUBCOMP, s SUBACK, u UNSUBACK,
                         * d DISCONNECT, x AUTH */
    } rows[] = {
        { 0x00, "carlosudx" }, { 0x01, "s" },    { 0x02, "s" },  { 0x04, "d" },
        { 0x10, "ar" },        { 0x11, "u" },    { 0x18, "x" },  { 0x19, "x" },
        { 0x80, "carsud" },    { 0x81, "cd" },   { 0x82, "cd" }, { 0x83, "carsud" },
        { 0x84, "c" },         { 0x85, "c" },    { 0x86, "c" },  { 0x87, "carsud" },
        { 0x88, "c" },         { 0x89, "cd" },   { 0x8A, "c" },  { 0x8B, "d" },
        { 0x8C, "cd" },        { 0x8D, "d" },    { 0x8E, "d" },  { 0x8F, "sud" },
        { 0x90, "card" },      { 0x91, "arsu" }, { 0x92, "lo" }, { 0x93, "d" },
        { 0x94, "d" },         { 0x95, "cd" },   { 0x96, "d" },  { 0x97, "carsd" },
        { 0x98, "d" },         { 0x99, "card" }, { 0x9A, "cd" }, { 0x9B, "cd" },
        { 0x9C, "cd" },        { 0x9D, "cd" },   { 0x9E, "sd" }, { 0x9F, "cd" },
        { 0xA0, "d" },         { 0xA1, "sd" },   { 0xA2, "sd" },
    };
    static const char initials[16] = { 0, 0,   'c', 0,   'a', 'r', 'l', 'o',
                                       0, 's', 0,   'u', 0,   0,   'd', 'x' };
    (void)state;
    for (unsigned code = 0; code < 256; code++) {
        const char *in = "";
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
            in = rows[i].code == code ? rows[i].in : in;
        for (unsigned type = 1; type < 16; type++) {
            bool wanted = initials[type] && strchr(in, initials[type]);
            if (reason_is_allowed((uint8_t)code, type) != wanted)
                fail_msg("reason %02x in packet type %u", code, type);
        }
        assert_int_equal(!strcmp(reason_name((uint8_t)code), "unknown reason"), !*in);
        assert_int_equal(reason_is_error((uint8_t)code), code >= 128);
    }
}

static void return_codes_of_3_1_1_map_both_ways(void **state)
{
    (void)state;
    for (int code = 0; code <= 5; code++)
        assert_int_equal(reason_to_connack3((uint8_t)reason_from_connack3((uint8_t)code)), code);
    assert_int_equal(reason_from_connack3(6), -1);
    assert_int_equal(reason_to_connack3(REASON_UNSUPPORTED_PROTOCOL_VERSION), 1);
    assert_int_equal(reason_to_connack3(REASON_CLIENT_ID_NOT_VALID), 2);
    assert_int_equal(reason_to_connack3(REASON_QUOTA_EXCEEDED), 3);
    assert_int_equal(reason_to_connack3(REASON_BANNED), 5);
    assert_int_equal(reason_to_connack3(REASON_MALFORMED_PACKET), -1);
    assert_int_equal(reason_to_connack3(0x7F), -1);
    assert_int_equal(reason_to_connack3(0xFF), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_has_the_specifications_identifiers_and_no_other),
        cmocka_unit_test(a_property_is_accepted_exactly_where_the_specification_has_it),
        cmocka_unit_test(a_property_stands_once_except_user_and_delivered_subscription_ids),
        cmocka_unit_test(a_number_outside_its_range_has_its_own_reason),
        cmocka_unit_test(a_cut_property_is_malformed),
        cmocka_unit_test(strings_in_properties_are_utf8_and_binary_is_not_checked),
        cmocka_unit_test(an_identifier_in_a_longer_varint_is_malformed),
        cmocka_unit_test(the_iterator_gives_views_in_the_order_of_the_wire),
        cmocka_unit_test(an_empty_block_needs_no_pointer),
        cmocka_unit_test(numbers_are_written_with_the_width_of_their_type),
        cmocka_unit_test(only_user_properties_are_copied_and_their_order_stays),
        cmocka_unit_test(a_reason_code_is_allowed_exactly_where_the_specification_has_it),
        cmocka_unit_test(return_codes_of_3_1_1_map_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
