/* Sessions, subscriptions, retained messages, wills, incoming QoS 2 identifiers. */
#include "plugin_tool/store_contract.h"
#include <stdio.h>

/* ---- retained -------------------------------------------------------------------------------- */

static void a_retained_message_comes_back_whole(void **state)
{
    struct rig *r = *state;
    pigeon_msg like = { .qos = 2,
                        .retain = 1,
                        .id = { 5, 9 },
                        .topic = text("home/kitchen/\xc3\xa9t\xc3\xa9"),
                        .payload = { .ptr = (const uint8_t *)"a\0b", .len = 3 },
                        .props = { .ptr = (const uint8_t *)"\x26\0\1k\0\1v", .len = 7 },
                        .expires_ms = 4102444800000,
                        .received_ms = 1795000000123,
                        .flags = PIGEON_MSG_EXPIRY_HIDDEN };
    pigeon_op *o = op(r, PIGEON_OP_RETAIN_PUT, 0);

    o->key = like.topic;
    o->msg = message_with(r, &like);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_RETAINED, 0), 1);
    const struct seen *s = &r->rows[0];
    assert_int_equal(s->kind, PIGEON_OP_RETAIN_PUT);
    assert_string_equal(s->topic, like.topic.ptr);
    assert_string_equal(s->key, like.topic.ptr);
    assert_int_equal(s->payload_len, 3);
    assert_memory_equal(s->payload, "a\0b", 3);
    assert_memory_equal(s->props, like.props.ptr, 7);
    assert_int_equal(s->msg_qos, 2);
    assert_int_equal(s->msg_retain, 1);
    assert_int_equal(s->msg_n, 9);
    assert_int_equal(s->expires_ms, like.expires_ms);
    assert_int_equal(s->received_ms, like.received_ms);
    assert_int_equal(s->msg_flags, like.flags);
}

static void the_last_retained_message_of_a_topic_counts(void **state)
{
    struct rig *r = *state;

    for (int i = 0; i < 1000; i++) {
        char payload[16];

        snprintf(payload, sizeof(payload), "%d", i);
        retain_put(r, "t", payload);
        if (i % 3 == 0) /* in one unit, in one batch, in several */
            unit_end(r);
        if (i % 7 == 0)
            commit_ok(r);
    }
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_RETAINED, 0), 1);
    assert_string_equal(r->rows[0].payload, "999");
}

static void a_deleted_retained_message_is_gone_and_an_unknown_topic_is_no_error(void **state)
{
    struct rig *r = *state;

    retain_put(r, "a", "1");
    retain_put(r, "a/b", "2");
    retain_put(r, "A", "3");
    commit_ok(r);
    key_op(r, PIGEON_OP_RETAIN_DEL, 0, "a");
    key_op(r, PIGEON_OP_RETAIN_DEL, 0, "a");
    key_op(r, PIGEON_OP_RETAIN_DEL, 0, "nobody/knows");
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_RETAINED, 0), 2);
    assert_string_equal(row_with_key(r, "a/b")->payload, "2");
    assert_string_equal(row_with_key(r, "A")->payload, "3");
}

static void a_thousand_topics_are_all_there_once(void **state)
{
    struct rig *r = *state;
    static char topic[1000][32];
    bool got[1000] = { false };

    for (int i = 0; i < 1000; i++) {
        snprintf(topic[i], sizeof(topic[i]), "many/%d", i);
        retain_put(r, topic[i], topic[i]);
    }
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_RETAINED, 0), 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        long n = strtol(r->rows[i].topic + 5, NULL, 10);

        assert_false(got[n]);
        got[n] = true;
        assert_string_equal(r->rows[i].payload, r->rows[i].topic);
    }
}

static void the_longest_topic_and_odd_ones_are_kept(void **state)
{
    struct rig *r = *state;
    char *longest = malloc(65536);

    assert_non_null(longest);
    memset(longest, 'x', 65535);
    longest[65535] = '\0';
    retain_put(r, longest, "long");
    retain_put(r, "/", "slash");
    retain_put(r, "//", "slashes");
    retain_put(r, "' OR 1=1;--", "quote");
    retain_put(r, "%s%n:\t", "format");
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_RETAINED, 0), 5);
    assert_string_equal(row_with_key(r, longest)->payload, "long");
    assert_string_equal(row_with_key(r, "//")->payload, "slashes");
    assert_string_equal(row_with_key(r, "' OR 1=1;--")->payload, "quote");
    free(longest);
}

/* ---- subscriptions --------------------------------------------------------------------------- */

static void a_subscription_comes_back_whole(void **state)
{
    struct rig *r = *state;
    pigeon_sub sub = { .size = sizeof(sub),
                       .id = 268435455,
                       .filter = text("asked/+"),
                       .effective = text("given/+/#"),
                       .share = text("group"),
                       .qos = 2,
                       .no_local = 1,
                       .retain_as_published = 1,
                       .retain_handling = 2 };

    session_put(r, 1, "c");
    op(r, PIGEON_OP_SUB_PUT, 1)->sub = &sub;
    r->ops[r->nops - 1].key = text("$share/group/asked/+");
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 1), 1);
    const struct seen *s = &r->rows[0];
    assert_int_equal(s->kind, PIGEON_OP_SUB_PUT);
    assert_int_equal(s->session, 1);
    assert_string_equal(s->key, "$share/group/asked/+");
    assert_string_equal(s->filter, "asked/+");
    assert_string_equal(s->effective, "given/+/#");
    assert_int_equal(s->sub_id, 268435455);
    assert_int_equal(s->sub_qos, 2);
    assert_int_equal(s->no_local + s->rap + s->rh, 4);
}

static void a_subscription_is_changed_not_doubled(void **state)
{
    struct rig *r = *state;

    session_put(r, 1, "c");
    sub_put(r, 1, "t", 0);
    sub_put(r, 1, "t", 1); /* in one unit the last one counts */
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 1), 1);
    assert_int_equal(r->rows[0].sub_qos, 1);
    for (uint8_t qos = 0; qos <= 2; qos++) {
        sub_put(r, 1, "t", qos);
        commit_ok(r);
        assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 1), 1);
        assert_int_equal(r->rows[0].sub_qos, qos);
    }
}

static void subscriptions_belong_to_one_session(void **state)
{
    struct rig *r = *state;

    session_put(r, 1, "a");
    session_put(r, 2, "b");
    sub_put(r, 1, "t", 1);
    sub_put(r, 1, "u", 1);
    sub_put(r, 1, "$share/g/t", 1); /* another subscription than "t" */
    sub_put(r, 2, "t", 2);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 0), 4);
    assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 1), 3);
    assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 3), 0);
    key_op(r, PIGEON_OP_SUB_DEL, 1, "t");
    key_op(r, PIGEON_OP_SUB_DEL, 1, "never");
    key_op(r, PIGEON_OP_SUB_DEL, 9, "t");
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 1), 2);
    assert_non_null(row_with_key(r, "$share/g/t"));
    assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 2), 1);
    assert_int_equal(r->rows[0].sub_qos, 2);
}

static void what_names_an_unknown_session_is_ignored(void **state)
{
    struct rig *r = *state;

    sub_put(r, 7, "t", 1);
    in_op(r, PIGEON_OP_IN_ADD, 7, 1);
    will_put(r, 7, "w", "x");
    due_op(r, PIGEON_OP_SESSION_OFF, 7, 1000);
    due_op(r, PIGEON_OP_WILL_DUE, 7, 1000);
    op(r, PIGEON_OP_WILL_DEL, 7);
    op(r, PIGEON_OP_SESSION_DEL, 7);
    commit_ok(r);
    session_put(r, 7, "c"); /* nothing of it waits for the session to come */
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 7), 0);
    assert_int_equal(scan(r, PIGEON_SCAN_IN, 7), 0);
    assert_int_equal(scan(r, PIGEON_SCAN_WILLS, 7), 0);
}

static void thousands_of_subscriptions_are_kept(void **state)
{
    struct rig *r = *state;
    static char key[5000][32];

    session_put(r, 1, "c");
    for (int i = 0; i < 5000; i++) {
        snprintf(key[i], sizeof(key[i]), "many/%d/+", i);
        sub_put(r, 1, key[i], 1);
        if (i % 200 == 199) /* sub_put() remembers 256 */
            commit_ok(r);
    }
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 1), 5000);
    for (int i = 0; i < 5000; i++)
        key_op(r, PIGEON_OP_SUB_DEL, 1, key[i]);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_SUBS, 0), 0);
}

/* ---- sessions -------------------------------------------------------------------------------- */

static void a_session_comes_back_with_what_the_broker_wrote_on_it(void **state)
{
    struct rig *r = *state;
    pigeon_op *o = op(r, PIGEON_OP_SESSION_PUT, 42);

    o->client = text("client/id:%");
    o->extra = (pigeon_bytes){ .ptr = (const uint8_t *)"\1\0\2extra", .len = 8 };
    o->due_in_ms = 1000;
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_SESSIONS, 42), 1);
    assert_int_equal(r->rows[0].kind, PIGEON_OP_SESSION_PUT);
    assert_int_equal(r->rows[0].session, 42);
    assert_string_equal(r->rows[0].client, "client/id:%");
    assert_memory_equal(r->rows[0].extra, "\1\0\2extra", 8);
    assert_int_equal(r->rows[0].due_in_ms, -1); /* it is online */
    o = op(r, PIGEON_OP_SESSION_PUT, 42);
    o->client = text("client/id:%");
    o->extra = (pigeon_bytes){ .ptr = (const uint8_t *)"new", .len = 3 };
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_SESSIONS, 0), 1);
    assert_string_equal(r->rows[0].extra, "new");
}

static void what_is_left_of_a_session_counts_from_its_end(void **state)
{
    struct rig *r = *state;

    session_put(r, 1, "c");
    due_op(r, PIGEON_OP_SESSION_OFF, 1, 60000);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_SESSIONS, 1), 1);
    assert_in_range(r->rows[0].due_in_ms, 1, 60000);
    due_op(r, PIGEON_OP_SESSION_OFF, 1, -1);
    commit_ok(r);
    scan(r, PIGEON_SCAN_SESSIONS, 1);
    assert_int_equal(r->rows[0].due_in_ms, -1);
    due_op(r, PIGEON_OP_SESSION_OFF, 1, 0);
    commit_ok(r);
    scan(r, PIGEON_SCAN_SESSIONS, 1);
    assert_int_equal(r->rows[0].due_in_ms, 0);
    session_put(r, 1, "c"); /* it came back */
    commit_ok(r);
    scan(r, PIGEON_SCAN_SESSIONS, 1);
    assert_int_equal(r->rows[0].due_in_ms, -1);
}

static void fill_session(struct rig *r, uint64_t session, const char *client)
{
    static uint64_t pos;

    session_put(r, session, client);
    sub_put(r, session, "t", 1);
    queue_add(r, ++pos, "m");
    rcpt(r, session, 1);
    in_op(r, PIGEON_OP_IN_ADD, session, 1);
    will_put(r, session, "will", "w");
}

static uint32_t count_all(struct rig *r, uint64_t session)
{
    uint32_t kinds[] = { PIGEON_SCAN_SESSIONS, PIGEON_SCAN_SUBS, PIGEON_SCAN_QUEUE, PIGEON_SCAN_IN,
                         PIGEON_SCAN_WILLS };
    uint32_t n = 0;

    for (uint32_t i = 0; i < PIGEON_COUNT(kinds); i++)
        n += scan(r, kinds[i], session);
    return n;
}

static void a_deleted_session_takes_everything_with_it_and_nothing_else(void **state)
{
    struct rig *r = *state;

    fill_session(r, 1, "abcde");
    fill_session(r, 10, "abcdef"); /* longer in number and name */
    fill_session(r, UINT64_C(1) << 40, "abcd");
    commit_ok(r);
    op(r, PIGEON_OP_SESSION_DEL, 1);
    op(r, PIGEON_OP_SESSION_DEL, 1);
    commit_ok(r);
    assert_int_equal(count_all(r, 1), 0);
    assert_int_equal(count_all(r, 10), 5);
    assert_int_equal(count_all(r, UINT64_C(1) << 40), 5);
    assert_int_equal(count_all(r, 0), 10);
}

static void nothing_of_a_discarded_session_rises_in_the_next_one(void **state)
{
    struct rig *r = *state;

    fill_session(r, 1, "c");
    commit_ok(r);
    op(r, PIGEON_OP_SESSION_DEL, 1); /* Clean Start, in one unit */
    session_put(r, 2, "c");
    sub_put(r, 2, "new", 0);
    commit_ok(r);
    assert_int_equal(count_all(r, 0), 2);
    queue_add(r, 1000, "late"); /* matched before, arrives after */
    rcpt(r, 1, 1);
    rcpt(r, 2, 1);
    assert_int_equal(commit(r), PIGEON_OK);
    assert_int_equal(unit_gone(r, 0), 1);
    assert_int_equal(count_all(r, 1), 0);
    assert_int_equal(scan(r, PIGEON_SCAN_QUEUE, 0), 1);
    assert_int_equal(r->rows[0].session, 2);
}

/* ---- incoming QoS 2 ---------------------------------------------------------------------------
 */

static void incoming_identifiers_are_a_set_of_their_session(void **state)
{
    struct rig *r = *state;

    session_put(r, 1, "a");
    session_put(r, 2, "b");
    in_op(r, PIGEON_OP_IN_ADD, 1, 1);
    in_op(r, PIGEON_OP_IN_ADD, 1, 65535);
    in_op(r, PIGEON_OP_IN_ADD, 1, 65535);
    in_op(r, PIGEON_OP_IN_ADD, 2, 1);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_IN, 1), 2);
    assert_int_equal(r->rows[0].kind, PIGEON_OP_IN_ADD);
    assert_int_equal(r->rows[0].packet_id + r->rows[1].packet_id, 65536);
    in_op(r, PIGEON_OP_IN_DEL, 1, 1);
    in_op(r, PIGEON_OP_IN_DEL, 1, 1);
    in_op(r, PIGEON_OP_IN_DEL, 1, 77);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_IN, 1), 1);
    assert_int_equal(r->rows[0].packet_id, 65535);
    assert_int_equal(scan(r, PIGEON_SCAN_IN, 2), 1);
    assert_int_equal(scan(r, PIGEON_SCAN_IN, 0), 2);
}

/* ---- wills ----------------------------------------------------------------------------------- */

static void a_will_is_kept_replaced_and_deleted(void **state)
{
    struct rig *r = *state;

    session_put(r, 1, "c");
    will_put(r, 1, "w/1", "first");
    commit_ok(r);
    will_put(r, 1, "w/2", "second");
    r->ops[r->nops - 1].extra = (pigeon_bytes){ .ptr = (const uint8_t *)"mine", .len = 4 };
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_WILLS, 0), 1);
    assert_int_equal(r->rows[0].kind, PIGEON_OP_WILL_PUT);
    assert_int_equal(r->rows[0].session, 1);
    assert_string_equal(r->rows[0].topic, "w/2");
    assert_string_equal(r->rows[0].payload, "second");
    assert_string_equal(r->rows[0].extra, "mine");
    assert_int_equal(r->rows[0].due_in_ms, -1);
    op(r, PIGEON_OP_WILL_DEL, 1);
    op(r, PIGEON_OP_WILL_DEL, 1);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_WILLS, 0), 0);
}

static void a_will_is_due_once_the_connection_has_ended(void **state)
{
    struct rig *r = *state;

    session_put(r, 1, "c");
    will_put(r, 1, "w", "x");
    r->ops[r->nops - 1].due_in_ms = 30000;
    commit_ok(r);
    due_op(r, PIGEON_OP_WILL_DUE, 1, 30000);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_WILLS, 1), 1);
    assert_in_range(r->rows[0].due_in_ms, 1, 30000);
    due_op(r, PIGEON_OP_WILL_DUE, 1, 0);
    commit_ok(r);
    scan(r, PIGEON_SCAN_WILLS, 1);
    assert_int_equal(r->rows[0].due_in_ms, 0);
    will_put(r, 1, "w", "y"); /* a new connection's, not due */
    commit_ok(r);
    scan(r, PIGEON_SCAN_WILLS, 1);
    assert_int_equal(r->rows[0].due_in_ms, -1);
}

static void the_end_of_an_old_session_leaves_the_new_ones_will(void **state)
{
    struct rig *r = *state;

    session_put(r, 1, "c");
    will_put(r, 1, "w", "old");
    session_put(r, 2, "c");
    will_put(r, 2, "w", "new");
    commit_ok(r);
    op(r, PIGEON_OP_WILL_DEL, 1);
    op(r, PIGEON_OP_SESSION_DEL, 1);
    commit_ok(r);
    assert_int_equal(scan(r, PIGEON_SCAN_WILLS, 0), 1);
    assert_string_equal(r->rows[0].payload, "new");
}

const struct store_case records_cases[] = {
    CASE(a_retained_message_comes_back_whole),
    CASE(the_last_retained_message_of_a_topic_counts),
    CASE(a_deleted_retained_message_is_gone_and_an_unknown_topic_is_no_error),
    CASE(a_thousand_topics_are_all_there_once),
    CASE(the_longest_topic_and_odd_ones_are_kept),
    CASE(a_subscription_comes_back_whole),
    CASE(a_subscription_is_changed_not_doubled),
    CASE(subscriptions_belong_to_one_session),
    CASE(what_names_an_unknown_session_is_ignored),
    CASE(thousands_of_subscriptions_are_kept),
    CASE(a_session_comes_back_with_what_the_broker_wrote_on_it),
    CASE(what_is_left_of_a_session_counts_from_its_end),
    CASE(a_deleted_session_takes_everything_with_it_and_nothing_else),
    CASE(nothing_of_a_discarded_session_rises_in_the_next_one),
    CASE(incoming_identifiers_are_a_set_of_their_session),
    CASE(a_will_is_kept_replaced_and_deleted),
    CASE(a_will_is_due_once_the_connection_has_ended),
    CASE(the_end_of_an_old_session_leaves_the_new_ones_will),
};
const size_t n_records_cases = PIGEON_COUNT(records_cases);
