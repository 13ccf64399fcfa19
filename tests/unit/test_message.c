#include "mqtt/message.h"
#include "unit.h"
#include <pthread.h>
#include <stdlib.h>

static struct message_parts parts_make(void)
{
    return (struct message_parts){
        .topic = STR("a/b"),
        .props = STR("\x01\x01"),
        .payload = STR("hello"),
        .publisher = STR("client"),
        .publisher_user = STR("user"),
        .qos = 2,
        .retain = 1,
        .origin = PIGEON_ORIGIN_WILL,
        .expires_ms = 5000,
        .received_ms = 1000,
        .from_session = 7,
        .id = { .node = 3, .n = 9 },
    };
}

static bool lies_inside(const struct message *m, const void *ptr, uint32_t len)
{
    const char *at = ptr, *begin = m->data;
    return at >= begin && at + len <= (const char *)m + m->size;
}

static void a_message_is_one_block_that_holds_copies_of_all_parts(void **state)
{
    (void)state;
    int64_t before = failalloc_n_live();
    char topic[] = "a/b";
    struct message_parts parts = parts_make();
    parts.topic = str_from(topic);
    struct message *m = message_new(&parts);
    assert_non_null(m);
    assert_int_equal(failalloc_n_live(), before + 1);
    topic[0] = 'x';
    assert_true(str_eq(message_topic(m), STR("a/b")));
    assert_true(str_eq(message_payload(m), STR("hello")));
    assert_true(str_eq(message_props(m), STR("\x01\x01")));
    assert_string_equal(m->view.topic.ptr, "a/b");
    assert_string_equal(m->view.publisher.ptr, "client");
    assert_string_equal(m->view.publisher_user.ptr, "user");
    assert_true(lies_inside(m, m->view.topic.ptr, m->view.topic.len + 1));
    assert_true(lies_inside(m, m->view.payload.ptr, m->view.payload.len));
    assert_true(lies_inside(m, m->view.props.ptr, m->view.props.len));
    assert_true(lies_inside(m, m->view.publisher.ptr, m->view.publisher.len + 1));
    assert_true(lies_inside(m, m->view.publisher_user.ptr, m->view.publisher_user.len + 1));
    assert_int_equal(m->view.size, sizeof(pigeon_msg));
    assert_ptr_equal(message_of(&m->view), m);
    message_unref(&m);
    assert_null(m);
    assert_int_equal(failalloc_n_live(), before);
}

static void the_parts_of_a_message_make_the_same_message(void **state)
{
    (void)state;
    struct message_parts parts = parts_make(), again;
    struct message *m = message_new(&parts);
    message_parts(m, &again);
    struct message *copy = message_new(&again);
    assert_true(str_eq(message_topic(copy), message_topic(m)));
    assert_true(str_eq(message_payload(copy), message_payload(m)));
    assert_true(str_eq(message_props(copy), message_props(m)));
    assert_string_equal(copy->view.publisher.ptr, m->view.publisher.ptr);
    assert_string_equal(copy->view.publisher_user.ptr, m->view.publisher_user.ptr);
    assert_int_equal(copy->view.qos, 2);
    assert_int_equal(copy->view.retain, 1);
    assert_int_equal(copy->view.origin, PIGEON_ORIGIN_WILL);
    assert_int_equal(copy->view.expires_ms, 5000);
    assert_int_equal(copy->view.id.n, 9);
    assert_int_equal(copy->view.id.node, 3);
    assert_int_equal(copy->from_session, 7);
    assert_int_equal(copy->view.received_ms, 1000);
    message_unref(&m);
    message_unref(&copy);
}

static void absent_texts_are_empty_and_end_in_nul(void **state)
{
    (void)state;
    struct message_parts parts = { .topic = STR("t") };
    struct message *m = message_new(&parts);
    assert_string_equal(m->view.publisher.ptr, "");
    assert_string_equal(m->view.publisher_user.ptr, "");
    assert_int_equal(message_payload(m).len, 0);
    assert_false(message_tells_expiry(m));
    message_unref(&m);
}

static void without_memory_there_is_no_message(void **state)
{
    (void)state;
    struct message_parts parts = parts_make();
    failalloc_after(0);
    assert_null(message_new(&parts));
    assert_true(failalloc_disarm());
    parts.payload.len = UINT32_MAX; /* longer than a block may be: its bytes are not touched */
    assert_null(message_new(&parts));
}

static void the_last_reference_frees(void **state)
{
    (void)state;
    int64_t before = failalloc_n_live();
    for (int shared = 0; shared < 2; shared++) {
        struct message_parts parts = parts_make();
        struct message *m = message_new(&parts), *other = message_ref(m);
        if (shared)
            message_share(m);
        message_unref(&m);
        assert_int_equal(failalloc_n_live(), before + 1);
        assert_string_equal(other->view.topic.ptr, "a/b");
        message_unref(&other);
        assert_int_equal(failalloc_n_live(), before);
    }
    struct message *none = NULL;
    message_unref(&none);
}

static void *take_and_drop(void *arg)
{
    struct message *m = arg;
    for (int i = 0; i < 20000; i++) {
        struct message *mine = message_ref(m);
        message_unref(&mine);
    }
    message_unref(&m);
    return NULL;
}

static void a_shared_message_is_counted_right_on_several_threads(void **state)
{
    (void)state;
    int64_t before = failalloc_n_live();
    struct message_parts parts = parts_make();
    struct message *m = message_new(&parts);
    pthread_t threads[3];
    message_share(m);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_drop, message_ref(m)), 0);
    message_unref(&m);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(failalloc_n_live(), before);
}

static void the_expiry_that_goes_out_is_what_is_left_rounded_up(void **state)
{
    (void)state;
    struct message_parts parts = parts_make();
    struct message *m = message_new(&parts);
    assert_true(message_tells_expiry(m));
    assert_int_equal(message_expiry_left_s(m, 1000), 4);
    assert_int_equal(message_expiry_left_s(m, 1001), 4);
    assert_int_equal(message_expiry_left_s(m, 2000), 3);
    assert_int_equal(message_expiry_left_s(m, 4999), 1);
    assert_int_equal(message_expiry_left_s(m, 9000), 1);
    assert_false(message_expired(m, 4999));
    assert_true(message_expired(m, 5000));
    message_unref(&m);
    parts.expires_ms = 0;
    m = message_new(&parts);
    assert_int_equal(message_expiry_left_s(m, 1000), 0);
    assert_false(message_expired(m, INT64_MAX));
    message_unref(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_is_one_block_that_holds_copies_of_all_parts),
        cmocka_unit_test(the_parts_of_a_message_make_the_same_message),
        cmocka_unit_test(absent_texts_are_empty_and_end_in_nul),
        cmocka_unit_test(without_memory_there_is_no_message),
        cmocka_unit_test(the_last_reference_frees),
        cmocka_unit_test(a_shared_message_is_counted_right_on_several_threads),
        cmocka_unit_test(the_expiry_that_goes_out_is_what_is_left_rounded_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
