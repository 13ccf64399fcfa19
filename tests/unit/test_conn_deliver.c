#include "conn_support.h"
#include "wire/property.h"

/* Client id "c", keep alive 60, properties as given. */
static void online_5(struct world *w, const uint8_t *props, uint8_t n)
{
    uint8_t connect[128] = { 0x10, (uint8_t)(14 + n), 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, n };
    uint8_t got[256];
    if (n)
        memcpy(connect + 13, props, n);
    memcpy(connect + 13 + n, (uint8_t[]){ 0, 1, 'c' }, 3);
    far_open(w);
    assert_int_equal(send(w->far[0], connect, 16u + n, MSG_NOSIGNAL), 16 + n);
    world_turns(w);
    assert_true(far_read(w->far[0], got, sizeof(got)) > 0);
    seen("connect:c");
}

static struct message *text_message(const char *topic, const char *payload, int64_t expires_ms)
{
    struct message_parts parts = { .topic = str_from(topic),
                                   .payload = str_from(payload),
                                   .expires_ms = expires_ms };
    struct message *m = message_new(&parts);
    assert_non_null(m);
    return m;
}

static enum client_send deliver(struct message *m, uint8_t qos, uint16_t id, bool dup)
{
    struct client_publish p = { .message = m, .qos = qos, .packet_id = id, .dup = dup };
    return fake.client->ops->publish(fake.client, &p);
}

static void each_receiver_gets_its_own_identifier_and_dup(void **state)
{
    struct message *m = text_message("a", "x", 0);
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    online_311(&w);
    for (uint16_t id = 1; id <= 4; id++)
        assert_int_equal(deliver(m, 1, id, id == 4), CLIENT_SENT);
    message_unref(&m);
    world_turns(&w);
    GETS(&w, 0x32, 6, 0, 1, 'a', 0, 1, 'x', 0x32, 6, 0, 1, 'a', 0, 2, 'x', 0x32, 6, 0, 1, 'a', 0, 3,
         'x', 0x3A, 6, 0, 1, 'a', 0, 4, 'x');
    world_fini(&w);
}

static void variants_of_one_message_do_not_mix(void **state)
{
    struct message *m = text_message("a", "x", 0);
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    online_311(&w);
    for (uint8_t round = 0; round < 3; round++) {
        struct client_publish p = { .message = m, .retain = round == 1 };
        fake.client->ops->publish(fake.client, &p);
        deliver(m, 2, 7, false);
        fake.client->version = 5;
        deliver(m, 0, 0, false);
        fake.client->version = 4;
    }
    message_unref(&m);
    world_turns(&w);
    GETS(&w, 0x30, 4, 0, 1, 'a', 'x', 0x34, 6, 0, 1, 'a', 0, 7, 'x', 0x30, 5, 0, 1, 'a', 0, 'x',
         0x31, 4, 0, 1, 'a', 'x', 0x34, 6, 0, 1, 'a', 0, 7, 'x', 0x30, 5, 0, 1, 'a', 0, 'x', 0x30,
         4, 0, 1, 'a', 'x', 0x34, 6, 0, 1, 'a', 0, 7, 'x', 0x30, 5, 0, 1, 'a', 0, 'x');
    world_fini(&w);
}

static void another_message_at_the_same_address_is_not_taken_for_the_old_one(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    online_311(&w);
    for (char c = 'p'; c < 't'; c++) {
        struct message *m = text_message("a", (char[]){ c, 0 }, 0);
        for (int i = 0; i < 3; i++)
            deliver(m, 0, 0, false);
        message_unref(&m);
        world_turns(&w);
        GETS(&w, 0x30, 4, 0, 1, 'a', c, 0x30, 4, 0, 1, 'a', c, 0x30, 4, 0, 1, 'a', c);
    }
    world_fini(&w);
}

static void the_expiry_interval_is_what_is_left(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    online_5(&w, NULL, 0);
    struct message *m =
        text_message("a", "x", (int64_t)loop_wall_ms(w.shards[0].loop) + INT64_C(3000000));
    for (int i = 0; i < 3; i++)
        deliver(m, 0, 0, false);
    message_unref(&m);
    world_turns(&w);
    GETS(&w, 0x30, 10, 0, 1, 'a', 5, 2, 0, 0, 0x0B, 0xB8, 'x', 0x30, 10, 0, 1, 'a', 5, 2, 0, 0,
         0x0B, 0xB8, 'x', 0x30, 10, 0, 1, 'a', 5, 2, 0, 0, 0x0B, 0xB8, 'x');
    world_fini(&w);
}

static void a_topic_that_was_told_goes_by_its_alias(void **state)
{
    struct message *m = text_message("topic", "x", 0);
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    online_5(&w, (uint8_t[]){ 0x22, 0, 1 }, 3);
    deliver(m, 0, 0, false);
    deliver(m, 0, 0, false);
    message_unref(&m);
    m = text_message("other", "y", 0);
    deliver(m, 0, 0, false);
    deliver(m, 1, 3, false);
    message_unref(&m);
    world_turns(&w);
    GETS(&w, 0x30, 12, 0, 5, 't', 'o', 'p', 'i', 'c', 3, 0x23, 0, 1, 'x', 0x30, 7, 0, 0, 3, 0x23, 0,
         1, 'x', 0x30, 12, 0, 5, 'o', 't', 'h', 'e', 'r', 3, 0x23, 0, 1, 'y', 0x32, 9, 0, 0, 0, 3,
         3, 0x23, 0, 1, 'y');
    world_fini(&w);
}

static void a_packet_above_the_clients_maximum_is_not_sent(void **state)
{
    struct message *m = text_message("topic", "123456789", 0);
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    online_5(&w, (uint8_t[]){ 0x27, 0, 0, 0, 19, 0x22, 0, 9 }, 8);
    /* 19 bytes: fits without the alias that would make it longer; with QoS 1 it does not. */
    assert_int_equal(deliver(m, 1, 1, false), CLIENT_TOO_LARGE);
    assert_int_equal(deliver(m, 0, 0, false), CLIENT_SENT);
    message_unref(&m);
    world_turns(&w);
    GETS(&w, 0x30, 17, 0, 5, 't', 'o', 'p', 'i', 'c', 0, '1', '2', '3', '4', '5', '6', '7', '8',
         '9');
    world_fini(&w);
}

static void a_client_that_does_not_read_gets_no_more_qos_0_than_the_write_buffer(void **state)
{
    static const char *const options[] = { "limits.write_buffer=1M", NULL };
    static uint8_t sink[1 << 20];
    enum client_send r = CLIENT_SENT;
    uint32_t n = 0;
    struct world w;
    (void)state;
    char *payload = malloc(50001);
    memset(payload, 'x', 50000);
    payload[50000] = '\0';
    struct message *m = text_message("a", payload, 0);
    world_init(&w, 1, options);
    online_311(&w);
    for (; r == CLIENT_SENT; n++) {
        r = deliver(m, 0, 0, false);
        world_turns(&w);
        assert_true(n < 1000);
    }
    assert_int_equal(r, CLIENT_FULL);
    assert_true(fake.client->ops->is_congested(fake.client));
    assert_int_equal(deliver(m, 1, 1, false), CLIENT_SENT); /* bounded by the window instead */
    for (uint32_t i = 0; i < 200; i++) {
        while (recv(w.far[0], sink, sizeof(sink), MSG_DONTWAIT) > 0)
            ;
        world_turns(&w);
    }
    seen("writable");
    assert_false(fake.client->ops->is_congested(fake.client));
    message_unref(&m);
    free(payload);
    world_fini(&w);
}

static void reason_strings_are_for_those_who_asked(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    online_5(&w, (uint8_t[]){ 0x17, 0 }, 2);
    fake.client->ops->ack(fake.client, PACKET_PUBACK, 1, 0x87, "no");
    fake.client->ops->suback(fake.client, PACKET_SUBACK, 2, (const uint8_t[]){ 0x87 }, 1, "no");
    fake.client->ops->close(fake.client, 0x98, "no");
    world_turns(&w);
    GETS(&w, 0x40, 3, 0, 1, 0x87, 0x90, 4, 0, 2, 0, 0x87, 0xE0, 7, 0x98, 5, 0x1F, 0, 2, 'n', 'o');
    world_fini(&w);
    world_init(&w, 1, NULL);
    online_5(&w, NULL, 0);
    fake.client->ops->ack(fake.client, PACKET_PUBACK, 1, 0x87, "no");
    world_turns(&w);
    GETS(&w, 0x40, 9, 0, 1, 0x87, 5, 0x1F, 0, 2, 'n', 'o');
    world_fini(&w);
}

static void a_reason_string_that_does_not_fit_is_left_out(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    online_5(&w, (uint8_t[]){ 0x27, 0, 0, 0, 16 }, 5);
    fake.client->ops->ack(fake.client, PACKET_PUBACK, 1, 0x87, "a long explanation");
    world_turns(&w);
    GETS(&w, 0x40, 3, 0, 1, 0x87);
    world_fini(&w);
}

/* ---- a client that asks and does not read -------------------------------------------------------
 */

#define PINGS 1024u /* at once */

/* PINGREQs until no more of them are taken; how many. */
static uint32_t ping_until_full(struct world *w)
{
    uint8_t out[2 * PINGS];
    uint32_t n = 0;
    for (uint32_t i = 0; i < sizeof(out); i++)
        out[i] = i % 2 ? 0 : 0xC0;
    while (n < (4u << 20)) {
        ssize_t sent = send(w->far[0], out, sizeof(out), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0)
            return n;
        assert_int_equal(sent, (ssize_t)sizeof(out));
        n += PINGS;
        world_turns(w);
        fake.log[0] = '\0';
    }
    fail_msg("%u PINGREQs were taken from a client that reads nothing", n);
    return n;
}

static void a_client_that_does_not_read_answers_is_not_read_until_it_does(void **state)
{
    static const char *const options[] = { "limits.write_buffer=8192", "drain_timeout=0", NULL };
    struct world w;
    uint8_t got[4096];
    uint32_t n_got = 0;
    ssize_t n;
    (void)state;
    world_init(&w, 1, options);
    online_5(&w, NULL, 0);
    uint32_t n_asked = ping_until_full(&w);
    while ((n = far_read(w.far[0], got, sizeof(got))) > 0) {
        for (ssize_t i = 0; i < n; i++)
            n_got += got[i] == 0xD0;
        world_turns(&w);
    }
    assert_int_equal(n, 0);
    assert_int_equal(n_got, n_asked);
    assert_int_equal(fake.n_ends, 0);
    world_fini(&w);
}

static void a_client_that_does_not_read_and_is_lost_has_ended(void **state)
{
    static const char *const options[] = { "limits.write_buffer=8192", "drain_timeout=0", NULL };
    struct world w;
    (void)state;
    world_init(&w, 1, options);
    online_5(&w, NULL, 0);
    ping_until_full(&w);
    close(w.far[0]);
    w.far[0] = -1;
    world_turns(&w);
    assert_int_equal(fake.n_ends, 1);
    assert_true(list_empty(&w.shards[0].conns));
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_receiver_gets_its_own_identifier_and_dup),
        cmocka_unit_test(variants_of_one_message_do_not_mix),
        cmocka_unit_test(another_message_at_the_same_address_is_not_taken_for_the_old_one),
        cmocka_unit_test(the_expiry_interval_is_what_is_left),
        cmocka_unit_test(a_topic_that_was_told_goes_by_its_alias),
        cmocka_unit_test(a_packet_above_the_clients_maximum_is_not_sent),
        cmocka_unit_test(a_client_that_does_not_read_gets_no_more_qos_0_than_the_write_buffer),
        cmocka_unit_test(a_client_that_does_not_read_answers_is_not_read_until_it_does),
        cmocka_unit_test(a_client_that_does_not_read_and_is_lost_has_ended),
        cmocka_unit_test(reason_strings_are_for_those_who_asked),
        cmocka_unit_test(a_reason_string_that_does_not_fit_is_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
