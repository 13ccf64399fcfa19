/* Loops that are turned by hand: what is between the match on one loop and the delivery on another
 * when the receiving session is taken over, replaced or ended. Real broker, real memory store,
 * clients that only note what they get. */
#include "broker/broker.h"
#include "broker/session.h"
#include "unit.h"
#include "wire/reason.h"
#include "wire/subscribe.h"
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define N_LOOPS 2u

struct far {
    struct client client; /* first */
    char id[CLIENT_ID_MADE_MAX];
    char log[256]; /* one word per packet */
};

struct world {
    struct config *config;
    struct loop_group *loops;
    struct log *log;
    struct broker *broker;
    char dir[PATH_MAX];
};

/* ---- clients ------------------------------------------------------------------------------------
 */

static void __attribute__((format(printf, 2, 3))) note(struct client *c, const char *format, ...)
{
    struct far *far = container_of(c, struct far, client);
    size_t at = strlen(far->log);
    va_list args;
    va_start(args, format);
    if (at)
        far->log[at++] = ' ';
    vsnprintf(far->log + at, sizeof(far->log) - at, format, args);
    va_end(args);
}

static void on_connack(struct client *c, const struct client_connack *answer)
{
    note(c, "connack:%u:%u", answer->reason, answer->session_present);
}

static enum client_send on_publish(struct client *c, const struct client_publish *p)
{
    note(c, "publish:%s:%u%s", (const char *)p->message->view.payload.ptr, p->qos,
         p->dup ? ":dup" : "");
    return CLIENT_SENT;
}

static bool is_congested(const struct client *c)
{
    (void)c;
    return false;
}

static void on_ack(struct client *c, uint8_t packet_type, uint16_t packet_id, uint8_t reason,
                   const char *text)
{
    (void)text;
    note(c, "ack%u:%u:%u", packet_type, packet_id, reason);
}

static void on_suback(struct client *c, uint8_t packet_type, uint16_t packet_id,
                      const uint8_t *codes, uint32_t n, const char *text)
{
    (void)packet_type;
    (void)packet_id;
    (void)n;
    (void)text;
    note(c, "suback:%u", codes[0]);
}

static void on_unblock(struct client *c)
{
    (void)c;
}

static void on_close(struct client *c, uint8_t reason, const char *text)
{
    struct client_cause cause = { .reason = reason, .send_will = true, .text = text };
    note(c, "close:%02x", reason);
    client_end(c, &cause);
}

static const struct client_ops far_ops = {
    .connack = on_connack,
    .publish = on_publish,
    .is_congested = is_congested,
    .ack = on_ack,
    .suback = on_suback,
    .unblock = on_unblock,
    .close = on_close,
};

/* The client has got exactly this since it was last looked at. */
static void got(struct far *far, const char *text)
{
    assert_string_equal(far->log, text);
    far->log[0] = '\0';
}

/* ---- acts: what happens in a turn of a loop -----------------------------------------------------
 */

struct act {
    struct mail mail;
    struct far *far;
    struct shard *shard;
    const char *text;
    uint32_t expiry_s;
    uint8_t qos;
    bool clean;
    void (*run)(struct act *a);
};

static void on_act(struct loop *here, struct mail *m)
{
    struct act *a = container_of(m, struct act, mail);
    (void)here;
    a->run(a);
    free(a);
}

/* Does it in the loop's next turn; loops are turned by the test. */
static void post(struct world *w, uint32_t loop, const struct act *act)
{
    struct act *a = malloc(sizeof(*a));
    assert_non_null(a);
    *a = *act;
    a->shard = &w->broker->shards[loop];
    loop_post_any(a->shard->loop, &a->mail, on_act);
}

static void turn(struct world *w, uint32_t loop)
{
    loop_turn(w->broker->shards[loop].loop, false);
}

static void all_turn(struct world *w)
{
    for (uint32_t i = 0; i < 4 * N_LOOPS; i++)
        turn(w, i % N_LOOPS);
}

static void run_connect(struct act *a)
{
    struct client *c = &a->far->client;
    pigeon_connect view = { .size = sizeof(view),
                            .clean_start = a->clean,
                            .session_expiry_s = a->expiry_s };
    struct str id = str_make(a->far->id, (uint32_t)strlen(a->far->id));
    struct identity_parts parts = { .id = id, .protocol = 5 };
    client_init(c, a->shard, &far_ops);
    c->version = 5;
    c->receive_maximum = UINT16_MAX;
    c->may_be_anonymous = true;
    c->conn_id = atomic_fetch_add(&a->shard->broker->next_conn, 1);
    c->who = identity_new(&parts, NULL);
    assert_non_null(c->who);
    struct connect_info *info = connect_info_new(&view, id, STR_NULL, NULL);
    assert_non_null(info);
    client_connect(c, info);
}

static void run_subscribe(struct act *a)
{
    char filters[64];
    struct subscribe_packet p = { .packet_id = 1, .n_filters = 1 };
    uint32_t len = (uint32_t)strlen(a->text);
    filters[0] = 0;
    filters[1] = (char)len;
    memcpy(filters + 2, a->text, len);
    filters[2 + len] = (char)a->qos;
    p.filters = str_make(filters, len + 3);
    assert_int_equal(client_subscribe(&a->far->client, &p), 0);
}

static void run_publish(struct act *a)
{
    struct message_parts parts = { .topic = STR("t"),
                                   .payload = str_make(a->text, (uint32_t)strlen(a->text)),
                                   .qos = a->qos,
                                   .from_session = client_session_number(&a->far->client) };
    struct message *m = message_new(&parts);
    assert_non_null(m);
    assert_int_equal(client_publish(&a->far->client, m, a->qos ? 7 : 0, false), 0);
}

static void run_end(struct act *a)
{
    struct client_cause cause = { .has_expiry = true, .expiry_s = a->expiry_s };
    client_end(&a->far->client, &cause);
}

/* ---- the world ----------------------------------------------------------------------------------
 */

static void built_plugins(char dir[PATH_MAX])
{
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    assert_true(n > 0);
    exe[n] = '\0';
    snprintf(dir, PATH_MAX, "%.4000s/../../plugins", dirname(exe));
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct config_input input = { 0 };
    struct diag d;
    const char **dirs = malloc(sizeof(*dirs));
    assert_non_null(w);
    assert_non_null(dirs);
    diag_init(&d);
    assert_int_equal(config_load(&input, &d, &w->config), 0);
    diag_fini(&d);
    built_plugins(w->dir);
    dirs[0] = w->dir;
    w->config->plugins_dir = (struct config_list){ dirs, 1 };
    assert_int_equal(loop_group_new(&(struct loop_conf){ .n_loops = N_LOOPS }, &w->loops), 0);
    assert_int_equal(log_new(STDERR_FILENO, LOG_ERROR, LOG_TEXT, false, &w->log), 0);
    struct broker_setup setup = {
        .config = w->config, .log = w->log, .loops = w->loops, .node_id = "node"
    };
    assert_int_equal(broker_new(&setup, &w->broker), 0);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    const char **dirs = w->config->plugins_dir.items;
    loop_group_settle(w->loops);
    broker_free(&w->broker);
    loop_group_free(&w->loops);
    log_free(&w->log);
    config_unref(&w->config);
    free(dirs);
    free(w);
    return 0;
}

static void online(struct world *w, struct far *far, uint32_t loop, uint32_t expiry_s)
{
    broker_make_client_id(w->broker, loop, far->id);
    post(w, loop, &(struct act){ .run = run_connect, .far = far, .expiry_s = expiry_s });
    all_turn(w);
    got(far, "connack:0:0");
}

/* A subscriber at loop 1 and a publisher at loop 0. */
static void pair(struct world *w, struct far *sub, struct far *pub, uint32_t expiry_s, uint8_t qos)
{
    online(w, sub, 1, expiry_s);
    online(w, pub, 0, 0);
    post(w, 1, &(struct act){ .run = run_subscribe, .far = sub, .text = "t", .qos = qos });
    all_turn(w);
    got(sub, qos == 2 ? "suback:2" : qos ? "suback:1" : "suback:0");
}

static void send(struct world *w, struct far *pub, const char *text, uint8_t qos)
{
    post(w, 0, &(struct act){ .run = run_publish, .far = pub, .text = text, .qos = qos });
    turn(w, 0);
}

static void leave(struct world *w, struct far *far, uint32_t loop)
{
    post(w, loop, &(struct act){ .run = run_end, .far = far });
    all_turn(w);
}

/* ---- tests --------------------------------------------------------------------------------------
 */

static void what_was_matched_before_a_clean_start_is_not_seen_after_it(void **state)
{
    struct world *w = *state;
    for (uint8_t qos = 0; qos <= 2; qos++) {
        struct far old = { 0 }, new = { 0 }, pub = { 0 };
        int64_t stale = broker_sum(w->broker, N_STALE);
        pair(w, &old, &pub, 600, qos);
        memcpy(new.id, old.id, sizeof(new.id));
        post(w, 1,
             &(struct act){ .run = run_connect, .far = &new, .clean = true, .expiry_s = 600 });
        send(w, &pub, "m", qos); /* matched: on its way to the session that is there now */
        all_turn(w);
        got(&old, "close:8e");
        got(&new, "connack:0:0");
        assert_int_equal(broker_sum(w->broker, N_STALE), stale + 1);
        send(w, &pub, "n", 0);
        all_turn(w);
        got(&new, "");
        leave(w, &new, 1);
        leave(w, &pub, 0);
    }
}

static void what_was_matched_before_a_takeover_is_seen_once_after_it(void **state)
{
    struct world *w = *state;
    for (uint8_t qos = 1; qos <= 2; qos++) {
        struct far old = { 0 }, new = { 0 }, pub = { 0 };
        pair(w, &old, &pub, 600, qos);
        memcpy(new.id, old.id, sizeof(new.id));
        post(w, 1, &(struct act){ .run = run_connect, .far = &new, .expiry_s = 600 });
        send(w, &pub, "m", qos);
        all_turn(w);
        got(&old, "close:8e");
        got(&new, qos == 1 ? "connack:0:1 publish:m:1" : "connack:0:1 publish:m:2");
        leave(w, &new, 1);
        leave(w, &pub, 0);
    }
}

static void what_was_matched_before_a_session_ended_reaches_nobody_in_its_place(void **state)
{
    struct world *w = *state;
    for (uint8_t qos = 0; qos <= 2; qos++) {
        struct far old = { 0 }, other = { 0 }, pub = { 0 };
        int64_t stale = broker_sum(w->broker, N_STALE);
        pair(w, &old, &pub, 600, qos);
        uint32_t slot = old.client.session->slot;
        post(w, 1, &(struct act){ .run = run_end, .far = &old });
        broker_make_client_id(w->broker, 1, other.id);
        post(w, 1, &(struct act){ .run = run_connect, .far = &other, .expiry_s = 600 });
        send(w, &pub, "m", qos);
        all_turn(w);
        got(&old, "");
        got(&other, "connack:0:0");
        assert_int_equal(other.client.session->slot, slot);
        assert_int_equal(broker_sum(w->broker, N_STALE), stale + 1);
        leave(w, &other, 1);
        leave(w, &pub, 0);
    }
}

static void what_one_loop_posts_arrives_in_its_order(void **state)
{
    struct world *w = *state;
    struct far sub = { 0 }, pub = { 0 };
    pair(w, &sub, &pub, 600, 1);
    send(w, &pub, "1", 1);
    send(w, &pub, "2", 1);
    post(w, 0, &(struct act){ .run = run_publish, .far = &pub, .text = "3", .qos = 1 });
    post(w, 0, &(struct act){ .run = run_publish, .far = &pub, .text = "4", .qos = 1 });
    all_turn(w);
    got(&sub, "publish:1:1 publish:2:1 publish:3:1 publish:4:1");
    leave(w, &sub, 1);
    leave(w, &pub, 0);
}

static void what_was_posted_before_the_end_is_delivered_before_it(void **state)
{
    struct world *w = *state;
    struct far sub = { 0 }, pub = { 0 };
    pair(w, &sub, &pub, 0, 0);
    send(w, &pub, "m", 0);
    leave(w, &sub, 1);
    assert_string_equal(sub.log, "publish:m:0");
    leave(w, &pub, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_matched_before_a_clean_start_is_not_seen_after_it),
        TEST(what_was_matched_before_a_takeover_is_seen_once_after_it),
        TEST(what_was_matched_before_a_session_ended_reaches_nobody_in_its_place),
        TEST(what_one_loop_posts_arrives_in_its_order),
        TEST(what_was_posted_before_the_end_is_delivered_before_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
