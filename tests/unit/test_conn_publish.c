#include "conn_support.h"

static void online_5(struct world *w)
{
    uint8_t got[256];
    far_open(w);
    SEND(w, CONNECT_5);
    assert_true(far_read(w->far[0], got, sizeof(got)) > 0);
    seen("connect:c");
}

/* These bytes close the connection with that reason in DISCONNECT. */
#define FAULT(reason, options, ...)                       \
    do {                                                  \
        struct world w_;                                  \
        uint8_t got_[256];                                \
        world_init(&w_, 1, options);                      \
        online_5(&w_);                                    \
        SEND(&w_, __VA_ARGS__);                           \
        assert_true(far_read(w_.far[0], got_, 256) >= 3); \
        assert_int_equal(got_[0], 0xE0);                  \
        assert_int_equal(got_[2], reason);                \
        world_fini(&w_);                                  \
    } while (0)

static void an_alias_stands_for_its_topic_until_it_is_set_anew(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 1, NULL);
    online_5(&w);
    SEND(&w, 0x30, 7, 0, 1, 'a', 3, 0x23, 0, 1, 0x30, 6, 0, 0, 3, 0x23, 0, 1);
    SEND(&w, 0x30, 7, 0, 1, 'b', 3, 0x23, 0, 1, 0x30, 6, 0, 0, 3, 0x23, 0, 1);
    seen("publish:a:0 publish:a:0 publish:b:0 publish:b:0");
    world_fini(&w);
}

static void a_wrong_publish_is_answered_with_its_reason(void **state)
{
    static const char *const small[] = { "limits.topic_levels=2", "limits.topic_length=16",
                                         "limits.user_properties=1", NULL };
    (void)state;
    FAULT(0x82, NULL, 0x30, 6, 0, 0, 3, 0x23, 0, 1);           /* unknown alias */
    FAULT(0x82, NULL, 0x30, 3, 0, 0, 0);                       /* neither topic nor alias */
    FAULT(0x94, NULL, 0x30, 7, 0, 1, 'a', 3, 0x23, 0, 0);      /* alias 0 */
    FAULT(0x94, NULL, 0x30, 7, 0, 1, 'a', 3, 0x23, 1, 0);      /* above our maximum */
    FAULT(0x90, NULL, 0x30, 4, 0, 1, '#', 0);                  /* wildcard */
    FAULT(0x81, NULL, 0x36, 6, 0, 1, 'a', 0, 1, 0);            /* QoS 3 */
    FAULT(0x82, NULL, 0x30, 8, 0, 1, 'a', 4, 0x08, 0, 1, '+'); /* wildcard in response topic */
    FAULT(0x90, small, 0x30, 8, 0, 5, 'a', '/', 'b', '/', 'c', 0);
    FAULT(0x97, small, 0x30, 18, 0, 1, 'a', 14, 0x26, 0, 1, 'a', 0, 1, 'b', 0x26, 0, 1, 'a', 0, 1,
          'b');
    FAULT(0x95, NULL, 0x30, 0xFF, 0xFF, 0xFF, 0x7F);
}

static void more_unacknowledged_messages_than_announced_close(void **state)
{
    static const char *const options[] = { "limits.inflight_in=2", NULL };
    uint8_t got[64];
    struct world w;
    (void)state;
    world_init(&w, 1, options);
    online_5(&w);
    fake.client->n_unacked_in = 1;
    SEND(&w, 0x32, 6, 0, 1, 'a', 0, 1, 0);
    fake.client->n_unacked_in = 2;
    SEND(&w, 0x30, 4, 0, 1, 'a', 0);
    seen("publish:a:1 publish:a:0");
    SEND(&w, 0x32, 6, 0, 1, 'a', 0, 2, 0);
    seen("client_error:93 end:93:will");
    assert_true(far_read(w.far[0], got, sizeof(got)) >= 3);
    assert_int_equal(got[2], 0x93);
    world_fini(&w);
}

static void a_payload_that_is_not_the_text_it_says_is_refused_and_the_connection_stays(void **state)
{
    static const char *const options[] = { "check_payload_format=true", NULL };
    uint8_t got[64];
    struct world w;
    (void)state;
    world_init(&w, 1, options);
    online_5(&w);
    SEND(&w, 0x34, 9, 0, 1, 'a', 0, 1, 2, 1, 1, 0xFF);
    assert_true(far_read(w.far[0], got, sizeof(got)) > 5);
    assert_int_equal(got[0], 0x50);
    assert_int_equal(got[4], 0x99);
    seen("");
    SEND(&w, 0x34, 9, 0, 1, 'a', 0, 1, 2, 1, 1, 'x');
    seen("publish:a:1");
    world_fini(&w);
}

static void a_client_above_its_rate_is_not_read(void **state)
{
    static const char *const options[] = { "limits.publish_rate=2", NULL };
    struct world w;
    (void)state;
    world_init(&w, 1, options);
    online_311(&w);
    SEND(&w, PUBLISH_A, PUBLISH_B1, PUBLISH_A, PINGREQ);
    seen("publish:a:0 publish:b:9");
    world_fini(&w);
}

static void a_client_that_sends_too_many_bytes_is_not_read(void **state)
{
    static const char *const options[] = { "limits.publish_bytes=10", NULL };
    struct world w;
    (void)state;
    world_init(&w, 1, options);
    online_311(&w);
    SEND(&w, PUBLISH_A, PUBLISH_B1, PUBLISH_A);
    seen("publish:a:0 publish:b:9");
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_alias_stands_for_its_topic_until_it_is_set_anew),
        cmocka_unit_test(a_wrong_publish_is_answered_with_its_reason),
        cmocka_unit_test(more_unacknowledged_messages_than_announced_close),
        cmocka_unit_test(
            a_payload_that_is_not_the_text_it_says_is_refused_and_the_connection_stays),
        cmocka_unit_test(a_client_above_its_rate_is_not_read),
        cmocka_unit_test(a_client_that_sends_too_many_bytes_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
