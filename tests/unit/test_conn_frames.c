#include "conn_support.h"

/* ---- before CONNACK
 * ------------------------------------------------------------------------------ */

static void a_first_byte_that_is_not_connect_closes_without_an_answer(void **state)
{
    static const uint8_t first[] = { 0x30, 0x82, 0xC0, 0xF0, 'G', 0x16, 0x00, 0x11 };
    (void)state;
    for (size_t i = 0; i < sizeof(first); i++) {
        struct world w;
        world_init(&w, 1, NULL);
        far_open(&w);
        SEND(&w, first[i]);
        gets_end(&w);
        assert_int_equal(fake.n_ends, 1);
        world_fini(&w);
    }
}

static void a_connect_above_its_size_limit_is_refused_before_it_is_there(void **state)
{
    static const char *const options[] = { "limits.connect_size=1024", NULL };
    struct world w;
    (void)state;
    world_init(&w, 1, options);
    far_open(&w);
    SEND(&w, 0x10, 0xFF, 0xFF, 0xFF, 0x7F);
    gets_end(&w);
    seen("connection_error:95 end:95:will");
    world_fini(&w);
}

static void an_mqtt_5_client_is_told_that_its_connect_is_too_large(void **state)
{
    static const char *const options[] = { "limits.connect_size=1024", NULL };
    struct world w;
    (void)state;
    world_init(&w, 1, options);
    far_open(&w);
    SEND(&w, 0x10, 0x80, 0x10, 0, 4, 'M', 'Q', 'T', 'T', 5, 2);
    GETS(&w, 0x20, 3, 0, 0x95, 0);
    gets_end(&w);
    world_fini(&w);
}

static void packets_behind_connect_wait_for_connack_and_then_come_in_order(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    fake.hold_connack = true;
    far_open(&w);
    SEND(&w, CONNECT_311, SUBSCRIBE_A, PUBLISH_A, PINGREQ, PUBLISH_B1, PUBACK_5);
    seen("connect:c");
    gets_nothing(&w);
    fake_connack(fake.client, 0);
    world_turns(&w);
    GETS(&w, CONNACK_311, 0xD0, 0);
    seen("subscribe:3 publish:a:0 ping publish:b:9 puback:5");
    world_fini(&w);
}

static void more_packets_before_connack_than_queue_limit_close(void **state)
{
    static const char *const options[] = { "queue_limit=3", NULL };
    struct world w;
    (void)state;
    world_init(&w, 1, options);
    fake.hold_connack = true;
    far_open(&w);
    SEND(&w, CONNECT_311, PINGREQ, PINGREQ, PINGREQ);
    seen("connect:c");
    SEND(&w, PINGREQ);
    seen("client_error:97 end:97:will");
    GETS(&w, 0x20, 2, 0, 3);
    gets_end(&w);
    world_fini(&w);
}

static void nothing_is_processed_after_a_refusal(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    fake.hold_connack = true;
    far_open(&w);
    SEND(&w, CONNECT_5, PUBLISH_A, PINGREQ);
    fake_connack(fake.client, 0x87);
    SEND(&w, PINGREQ);
    GETS(&w, 0x20, 3, 0, 0x87, 0);
    gets_end(&w);
    seen("connect:c client_error:87 end:87:will");
    world_fini(&w);
}

static void a_client_that_ends_before_its_connack_loses_nothing(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    fake.hold_connack = true;
    far_open(&w);
    SEND(&w, CONNECT_311, PUBLISH_A, DISCONNECT);
    shutdown(w.far[0], SHUT_WR);
    world_turns(&w);
    seen("connect:c");
    fake.block = true;
    fake_connack(fake.client, 0);
    world_turns(&w);
    seen("publish:a:0");
    fake_unblock(fake.client);
    world_turns(&w);
    seen("end:00");
    world_fini(&w);
}

static void a_client_id_at_home_elsewhere_moves_with_what_it_has_sent(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 2, NULL);
    fake.home = 1;
    far_open(&w);
    SEND(&w, CONNECT_311, PUBLISH_A, 0x30);
    seen("leave enter:1 connect:c publish:a:0");
    assert_true(list_empty(&w.shards[0].conns));
    assert_ptr_equal(fake.client->shard, &w.shards[1]);
    SEND(&w, 4, 0, 1, 'b', 'x');
    seen("publish:b:0");
    GETS(&w, CONNACK_311);
    world_fini(&w);
}

static void a_hook_that_changes_the_client_id_moves_the_connection(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 2, NULL);
    fake.move = true;
    far_open(&w);
    SEND(&w, CONNECT_311, PINGREQ);
    seen("connect:c leave enter:1 connect:c ping");
    GETS(&w, CONNACK_311, 0xD0, 0);
    world_fini(&w);
}

/* ---- order while a packet is under way
 * ----------------------------------------------------------- */

static void while_a_publish_is_under_way_acks_and_pings_go_on_and_the_rest_waits(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    online_311(&w);
    fake.block = true;
    SEND(&w, PUBLISH_A, PUBLISH_B1, SUBSCRIBE_A, PUBACK_5, PINGREQ, DISCONNECT);
    seen("publish:a:0 puback:5 ping");
    GETS(&w, 0xD0, 0);
    fake_unblock(fake.client);
    world_turns(&w);
    seen("publish:b:9");
    fake.block = false;
    fake_unblock(fake.client);
    world_turns(&w);
    seen("subscribe:3 end:00");
    world_fini(&w);
}

static void the_end_of_input_comes_after_all_packets(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    online_311(&w);
    fake.block = true;
    SEND(&w, PUBLISH_A, PUBLISH_B1);
    shutdown(w.far[0], SHUT_WR);
    world_turns(&w);
    seen("publish:a:0");
    fake.block = false;
    fake_unblock(fake.client);
    world_turns(&w);
    seen("publish:b:9 end:80:will");
    world_fini(&w);
}

static void a_reset_throws_away_what_waits(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    online_311(&w);
    fake.block = true;
    SEND(&w, PUBLISH_A, PUBLISH_B1);
    fake.client->ops->close(fake.client, 0x8E, NULL);
    world_turns(&w);
    seen("publish:a:0 end:8e:will");
    world_fini(&w);
}

static void reading_stops_at_a_byte_limit_and_loses_nothing(void **state)
{
    enum { BIG = 100000, N = 8 };
    static uint8_t big[BIG];
    size_t sent = 0;
    struct world w;
    (void)state;
    memcpy(big, (uint8_t[]){ 0x30, 0x9C, 0x8D, 0x06, 0, 1, 'z' }, 7); /* 4 + 99,996 bytes */
    world_init(&w, 1, NULL);
    online_311(&w);
    fake.block = true;
    SEND(&w, PUBLISH_A);
    seen("publish:a:0");
    fcntl(w.far[0], F_SETFL, O_NONBLOCK);
    for (uint32_t round = 0; sent < (size_t)N * BIG; round++) {
        size_t at = sent % BIG;
        ssize_t n = send(w.far[0], big + at, BIG - at, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        world_turns(&w);
        assert_true(round < 100000);
        if (n < 0 && fake.client->n_blocking) { /* the socket is full: we do not read */
            assert_true(sent >= 200000);
            seen("");
            fake.block = false;
            fake_unblock(fake.client);
        }
    }
    world_turns(&w);
    seen("publish:z:0 publish:z:0 publish:z:0 publish:z:0 publish:z:0 publish:z:0 publish:z:0 "
         "publish:z:0");
    world_fini(&w);
}

static void a_publish_that_may_not_come_yet_comes_later(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    online_311(&w);
    fake.may_not = true;
    SEND(&w, PUBLISH_A, PUBLISH_B1, PINGREQ);
    seen("");
    fake.may_not = false;
    fake.client->ops->unblock(fake.client);
    world_turns(&w);
    seen("publish:a:0 publish:b:9 ping");
    world_fini(&w);
}

/* ---- faults
 * -------------------------------------------------------------------------------------- */

static void a_second_connect_closes(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    far_open(&w);
    SEND(&w, CONNECT_5);
    seen("connect:c");
    SEND(&w, CONNECT_5);
    seen("client_error:82 end:82:will");
    world_fini(&w);
}

static void what_the_broker_finds_wrong_closes_with_its_reason(void **state)
{
    uint8_t got[256];
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    far_open(&w);
    SEND(&w, CONNECT_5);
    assert_true(far_read(w.far[0], got, sizeof(got)) > 0);
    fake.result = -0x91;
    SEND(&w, 0x30, 4, 0, 1, 'a', 0);
    seen("connect:c publish:a:0 client_error:91 end:91:will");
    GETS(&w, 0xE0, 1, 0x80); /* 0x91 may not stand in DISCONNECT */
    gets_end(&w);
    world_fini(&w);
}

static void a_connection_ends_once_however_many_reasons_there_are(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    online_311(&w);
    struct client *c = fake.client;
    c->ops->close(c, 0x98, NULL);
    c->ops->close(c, 0x8B, NULL);
    c->ops->ack(c, PACKET_PUBACK, 1, 0, NULL);
    c->ops->unblock(c);
    close(w.far[0]);
    w.far[0] = -1;
    world_turns(&w);
    seen("end:98:will");
    world_fini(&w);
}

static void connections_above_a_limit_are_closed_at_once(void **state)
{
    static const char *const options[] = { "limits.connections=2", NULL };
    uint8_t byte;
    struct world w;
    (void)state;
    world_init(&w, 1, options);
    far_open(&w);
    far_open(&w);
    far_open(&w);
    assert_int_equal(far_read(w.far[0], &byte, 1), 0);
    assert_int_equal(far_read(w.far[1], &byte, 1), 0);
    assert_int_equal(far_read(w.far[2], &byte, 1), -1);
    close(w.far[0]);
    w.far[0] = -1;
    world_turns(&w);
    far_open(&w);
    assert_int_equal(far_read(w.far[3], &byte, 1), 0);
    world_fini(&w);
}

static void no_memory_at_any_moment_costs_one_connection_only(void **state)
{
    (void)state;
    for (uint32_t n = 0; n < 60; n++) {
        struct world w;
        world_init(&w, 1, NULL);
        far_open_failing(&w, n);
        send(w.far[0], (uint8_t[]){ CONNECT_5, PUBLISH_A }, 22, MSG_NOSIGNAL);
        world_turns(&w);
        failalloc_disarm();
        world_fini(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_first_byte_that_is_not_connect_closes_without_an_answer),
        cmocka_unit_test(a_connect_above_its_size_limit_is_refused_before_it_is_there),
        cmocka_unit_test(an_mqtt_5_client_is_told_that_its_connect_is_too_large),
        cmocka_unit_test(packets_behind_connect_wait_for_connack_and_then_come_in_order),
        cmocka_unit_test(more_packets_before_connack_than_queue_limit_close),
        cmocka_unit_test(nothing_is_processed_after_a_refusal),
        cmocka_unit_test(a_client_that_ends_before_its_connack_loses_nothing),
        cmocka_unit_test(a_client_id_at_home_elsewhere_moves_with_what_it_has_sent),
        cmocka_unit_test(a_hook_that_changes_the_client_id_moves_the_connection),
        cmocka_unit_test(while_a_publish_is_under_way_acks_and_pings_go_on_and_the_rest_waits),
        cmocka_unit_test(the_end_of_input_comes_after_all_packets),
        cmocka_unit_test(a_reset_throws_away_what_waits),
        cmocka_unit_test(reading_stops_at_a_byte_limit_and_loses_nothing),
        cmocka_unit_test(a_publish_that_may_not_come_yet_comes_later),
        cmocka_unit_test(a_second_connect_closes),
        cmocka_unit_test(what_the_broker_finds_wrong_closes_with_its_reason),
        cmocka_unit_test(a_connection_ends_once_however_many_reasons_there_are),
        cmocka_unit_test(connections_above_a_limit_are_closed_at_once),
        cmocka_unit_test(no_memory_at_any_moment_costs_one_connection_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
