/* The bytes between nodes. Hostile ones are the fuzz target's and the plugin tests' matter. */
#include "broker/bus_wire.h"
#include "unit.h"
#include <errno.h>
#include <string.h>

static struct message *a_message(int64_t expires_ms)
{
    struct message_parts parts = { .topic = STR("a/b"),
                                   .payload = STR("pay"),
                                   .publisher = STR("client"),
                                   .publisher_user = STR("user"),
                                   .qos = 2,
                                   .retain = 1,
                                   .expires_ms = expires_ms,
                                   .received_ms = 1234,
                                   .id = { 7, 8 } };
    struct message *m = message_new(&parts);
    assert_non_null(m);
    return m;
}

static void a_message_comes_out_as_it_went_in(void **state)
{
    (void)state;
    struct buf body;
    struct bus_place place;
    struct bus_message out;
    struct cursor c;
    struct message *m = a_message(5000);
    buf_init(&body);
    assert_int_equal(bus_body_begin(&body), 0);
    assert_int_equal(bus_message_put(&body, m, 4000, 99, false, &place), 0);
    assert_int_equal(bus_group_add(&body, &place, STR("$share/g/a/+")), 0);
    assert_int_equal(bus_group_add(&body, &place, STR("$share/h/#")), 0);
    assert_int_equal(bus_body_open(&c, buf_str(&body)), 0);
    assert_int_equal(bus_message_next(&c, &out), 1);
    assert_int_equal(bus_message_next(&c, &out), 0);
    assert_true(str_eq(out.parts.topic, STR("a/b")) && str_eq(out.parts.payload, STR("pay")));
    assert_true(str_eq(out.parts.publisher, STR("client")));
    assert_true(str_eq(out.parts.publisher_user, STR("user")));
    assert_int_equal(out.parts.qos, 2);
    assert_int_equal(out.parts.retain, 1);
    assert_int_equal(out.parts.origin, PIGEON_ORIGIN_BUS);
    assert_int_equal(out.parts.received_ms, 1234);
    assert_true(out.parts.id.node == 7 && out.parts.id.n == 8);
    assert_int_equal(out.expires_in_ms, 1000); /* what is left */
    assert_false(out.plain);
    assert_int_equal(out.n_groups, 2);
    assert_true(str_eq(bus_group_next(&out), STR("$share/g/a/+")));
    assert_true(str_eq(bus_group_next(&out), STR("$share/h/#")));
    buf_fini(&body);
    message_unref(&m);
}

static void plain_can_be_said_of_a_message_that_is_written(void **state)
{
    (void)state;
    struct buf body;
    struct bus_place place;
    struct bus_message out;
    struct cursor c;
    struct message *m = a_message(0);
    buf_init(&body);
    assert_int_equal(bus_body_begin(&body), 0);
    assert_int_equal(bus_message_put(&body, m, 0, 0, false, &place), 0);
    assert_int_equal(bus_message_put(&body, m, 0, 0, false, &place), 0);
    bus_set_plain(&body, &place);
    assert_int_equal(bus_body_open(&c, buf_str(&body)), 0);
    assert_int_equal(bus_message_next(&c, &out), 1);
    assert_false(out.plain);
    assert_int_equal(out.expires_in_ms, 0);
    assert_int_equal(bus_message_next(&c, &out), 1);
    assert_true(out.plain);
    buf_fini(&body);
    message_unref(&m);
}

static void every_cut_of_a_parcel_is_refused(void **state)
{
    (void)state;
    struct buf body;
    struct bus_place place;
    struct message *m = a_message(5000);
    buf_init(&body);
    assert_int_equal(bus_body_begin(&body), 0);
    assert_int_equal(bus_message_put(&body, m, 4000, 99, true, &place), 0);
    for (size_t len = 2; len < buf_len(&body); len++) {
        struct bus_message out;
        struct cursor c;
        assert_int_equal(bus_body_open(&c, str_make(buf_ptr(&body), len)), 0);
        assert_int_equal(bus_message_next(&c, &out), -EINVAL);
    }
    buf_fini(&body);
    message_unref(&m);
}

static void another_version_is_not_read(void **state)
{
    (void)state;
    struct cursor c;
    assert_int_equal(bus_body_open(&c, STR("")), -EINVAL);
    assert_int_equal(bus_body_open(&c, STR("\x02rest")), -ENOTSUP);
}

static void a_word_of_a_newer_node_can_be_skipped(void **state)
{
    (void)state;
    struct buf body;
    struct cursor c, content;
    uint32_t type;
    struct bus_interest out, in = { .key = STR("$share/g/a/#"), .add = true, .durable = true };
    buf_init(&body);
    assert_int_equal(bus_body_begin(&body), 0);
    assert_int_equal(bus_word_put(&body, (enum bus_word_type)200), 0);
    assert_int_equal(bus_interest_put(&body, &in), 0);
    assert_int_equal(bus_body_open(&c, buf_str(&body)), 0);
    assert_int_equal(bus_word_next(&c, &type, &content), 1);
    assert_int_equal(type, 200);
    assert_int_equal(bus_word_next(&c, &type, &content), 1);
    assert_int_equal(type, BUS_INTEREST);
    assert_int_equal(bus_interest_get(&content, &out), 0);
    assert_true(str_eq(out.key, in.key) && out.add && out.durable && !out.online);
    buf_fini(&body);
}

static void what_begins_with_a_dollar_does_not_cross(void **state)
{
    (void)state;
    static const char *const keys[] = { "$SYS/#", "$share/g/$SYS/#", "$share/g", "a/#/b" };
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        struct buf body;
        struct cursor c, content;
        uint32_t type;
        struct bus_interest out, in = { .key = str_from(keys[i]), .add = true };
        buf_init(&body);
        assert_int_equal(bus_body_begin(&body), 0);
        assert_int_equal(bus_interest_put(&body, &in), 0);
        assert_int_equal(bus_body_open(&c, buf_str(&body)), 0);
        assert_int_equal(bus_word_next(&c, &type, &content), 1);
        assert_int_equal(bus_interest_get(&content, &out), -EINVAL);
        buf_fini(&body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_comes_out_as_it_went_in),
        cmocka_unit_test(plain_can_be_said_of_a_message_that_is_written),
        cmocka_unit_test(every_cut_of_a_parcel_is_refused),
        cmocka_unit_test(another_version_is_not_read),
        cmocka_unit_test(a_word_of_a_newer_node_can_be_skipped),
        cmocka_unit_test(what_begins_with_a_dollar_does_not_cross),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
