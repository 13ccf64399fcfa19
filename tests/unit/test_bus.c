/* Two brokers in one process, joined by bus-pair, their loops turned by hand: what reaches the
 * other node, exactly once, and what does not. Clients only note what they get. */
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
#include <time.h>
#include <unistd.h>

#define N_LOOPS 2u
#define N_NODES 2u
#define LATE_S  10 /* only ever waited for by a failing test */

struct far {
    struct client client; /* first */
    char log[512];        /* one word per packet */
};

struct world {
    struct config *config;
    struct loop_group *loops[N_NODES];
    struct log *log;
    struct broker *broker[N_NODES];
    char dir[PATH_MAX], bus[PATH_MAX + 64];
    const char *dirs[1];
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
    note(c, "connack:%u", answer->reason);
}

static enum client_send on_publish(struct client *c, const struct client_publish *p)
{
    note(c, "%s:%u", (const char *)p->message->view.payload.ptr, p->qos);
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
    (void)packet_id;
    note(c, "ack%u:%02x", packet_type, reason);
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
    struct client_cause cause = { .reason = reason, .text = text };
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

/* ---- acts: what happens in a turn of a loop -----------------------------------------------------
 */

struct act {
    struct mail mail;
    struct far *far;
    struct shard *shard;
    const char *id, *topic, *text;
    uint8_t qos, retain;
    void (*run)(struct act *a);
};

static void on_act(struct loop *here, struct mail *m)
{
    struct act *a = container_of(m, struct act, mail);
    (void)here;
    a->run(a);
    free(a);
}

static void all_turn(struct world *w)
{
    for (uint32_t k = 0; k < 2; k++)
        for (uint32_t n = 0; n < N_NODES; n++)
            for (uint32_t i = 0; w->broker[n] && i < N_LOOPS; i++)
                loop_turn(w->broker[n]->shards[i].loop, false);
}

static void act(struct world *w, uint32_t node, uint32_t loop, const struct act *what)
{
    struct act *a = malloc(sizeof(*a));
    assert_non_null(a);
    *a = *what;
    a->shard = &w->broker[node]->shards[loop];
    loop_post_any(a->shard->loop, &a->mail, on_act);
    all_turn(w);
}

static void run_connect(struct act *a)
{
    struct client *c = &a->far->client;
    pigeon_connect view = { .size = sizeof(view), .clean_start = 1 };
    struct str id = str_from(a->id);
    struct identity_parts parts = { .id = id, .protocol = 5 };
    client_init(c, a->shard, &far_ops);
    c->version = 5;
    c->may_be_anonymous = true;
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
    uint32_t len = (uint32_t)strlen(a->topic);
    filters[0] = 0;
    filters[1] = (char)len;
    memcpy(filters + 2, a->topic, len);
    filters[2 + len] = (char)a->qos;
    p.filters = str_make(filters, len + 3);
    assert_int_equal(client_subscribe(&a->far->client, &p), 0);
}

static void run_publish(struct act *a)
{
    struct message_parts parts = { .topic = str_from(a->topic),
                                   .payload = str_from(a->text),
                                   .qos = a->qos,
                                   .retain = a->retain,
                                   .from_session = client_session_number(&a->far->client) };
    struct message *m = message_new(&parts);
    assert_non_null(m);
    assert_int_equal(client_publish(&a->far->client, m, a->qos ? 7 : 0, false), 0);
}

static void run_end(struct act *a)
{
    struct client_cause cause = { 0 };
    client_end(&a->far->client, &cause);
}

/* ---- the world ----------------------------------------------------------------------------------
 */

static void node_start(struct world *w, uint32_t n)
{
    static const char *const ids[N_NODES] = { "left", "right" };
    struct broker_setup setup = {
        .config = w->config, .log = w->log, .loops = w->loops[n], .node_id = ids[n]
    };
    assert_int_equal(broker_new(&setup, &w->broker[n]), 0);
}

static void node_stop(struct world *w, uint32_t n)
{
    loop_group_settle(w->loops[n]);
    broker_free(&w->broker[n]);
}

/* What the test waits for; turns all loops until it is so. */
#define UNTIL(w, what)                          \
    do {                                        \
        time_t give_up = time(NULL) + LATE_S;   \
        while (!(what) && time(NULL) < give_up) \
            all_turn(w);                        \
        assert_true(what);                      \
    } while (0)

static int set_up(void **state)
{
    static const char *overrides[4] = { "bus=pair", "bus_hello=200ms" };
    struct world *w = calloc(1, sizeof(*w));
    struct config_input input = { .overrides = overrides, .n_overrides = 3 };
    struct diag d;
    char exe[PATH_MAX];
    assert_non_null(w);
    ssize_t len = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
    assert_true(len > 0);
    exe[len] = '\0';
    const char *here = dirname(exe);
    snprintf(w->dir, sizeof(w->dir), "%.4000s/../../plugins", here);
    snprintf(w->bus, sizeof(w->bus), "plugins.bus-pair.file=%.4000s/../plugin/bus-pair.so", here);
    overrides[2] = w->bus;
    diag_init(&d);
    assert_int_equal(config_load(&input, &d, &w->config), 0);
    diag_fini(&d);
    w->dirs[0] = w->dir;
    w->config->plugins_dir = (struct config_list){ w->dirs, 1 };
    assert_int_equal(log_new(STDERR_FILENO, LOG_ERROR, LOG_TEXT, false, &w->log), 0);
    for (uint32_t n = 0; n < N_NODES; n++) {
        assert_int_equal(loop_group_new(&(struct loop_conf){ .n_loops = N_LOOPS }, &w->loops[n]),
                         0);
        node_start(w, n);
    }
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    for (uint32_t n = 0; n < N_NODES; n++) {
        if (w->broker[n])
            node_stop(w, n);
        loop_group_free(&w->loops[n]);
    }
    log_free(&w->log);
    config_unref(&w->config);
    free(w);
    return 0;
}

/* The loop of a client id. */
static uint32_t home(struct world *w, uint32_t node, const char *id)
{
    return broker_home(w->broker[node], str_from(id));
}

static void online(struct world *w, uint32_t node, struct far *far, const char *id)
{
    act(w, node, home(w, node, id), &(struct act){ .run = run_connect, .far = far, .id = id });
    assert_string_equal(far->log, "connack:0");
    far->log[0] = '\0';
}

static void subscribe(struct world *w, uint32_t node, struct far *far, const char *filter,
                      uint8_t qos)
{
    uint32_t loop = far->client.shard->index;
    act(w, node, loop,
        &(struct act){ .run = run_subscribe, .far = far, .topic = filter, .qos = qos });
    far->log[0] = '\0';
}

static void publish(struct world *w, uint32_t node, struct far *far, const struct act *what)
{
    struct act a = *what;
    a.run = run_publish;
    a.far = far;
    if (!a.topic)
        a.topic = "t";
    act(w, node, far->client.shard->index, &a);
}

static void leave(struct world *w, uint32_t node, struct far *far)
{
    if (far->client.state != CLIENT_GONE)
        act(w, node, far->client.shard->index, &(struct act){ .run = run_end, .far = far });
}

static uint64_t known(const struct world *w, uint32_t node)
{
    return index_count(w->broker[node]->index);
}

/* ---- tests --------------------------------------------------------------------------------------
 */

static void what_is_published_here_is_delivered_there_once(void **state)
{
    struct world *w = *state;
    struct far sub = { 0 }, pub = { 0 };
    online(w, 1, &sub, "sub");
    subscribe(w, 1, &sub, "t", 2);
    UNTIL(w, known(w, 0) == 1);
    online(w, 0, &pub, "pub");
    for (uint8_t qos = 0; qos <= 2; qos++)
        publish(w, 0, &pub,
                &(struct act){ .text = qos == 0   ? "a"
                                       : qos == 1 ? "b"
                                                  : "c",
                               .qos = qos });
    UNTIL(w, strstr(sub.log, "c:2"));
    for (int i = 0; i < 20; i++)
        all_turn(w);
    assert_string_equal(sub.log, "a:0 b:1 c:2");
    assert_string_equal(pub.log, "ack4:00 ack5:00");
    leave(w, 1, &sub);
    UNTIL(w, known(w, 0) == 0); /* with its last subscriber the interest goes */
    leave(w, 0, &pub);
}

static void one_member_of_a_group_gets_it(void **state)
{
    struct world *w = *state;
    struct far here = { 0 }, there = { 0 }, pub = { 0 };
    online(w, 0, &here, "here");
    online(w, 1, &there, "there");
    subscribe(w, 0, &here, "$share/g/t", 0);
    subscribe(w, 1, &there, "$share/g/t", 0);
    UNTIL(w, known(w, 0) == 2 && known(w, 1) == 2);
    online(w, 0, &pub, "pub");
    for (int i = 0; i < 4; i++)
        publish(w, 0, &pub, &(struct act){ .text = "x" });
    UNTIL(w, strlen(there.log) >= 7);
    for (int i = 0; i < 20; i++)
        all_turn(w);
    assert_string_equal(here.log, "x:0 x:0");
    assert_string_equal(there.log, "x:0 x:0");
    leave(w, 0, &here);
    leave(w, 1, &there);
    leave(w, 0, &pub);
}

static void retained_messages_are_there_when_a_node_joins(void **state)
{
    struct world *w = *state;
    struct far pub = { 0 };
    node_stop(w, 1);
    online(w, 0, &pub, "pub");
    publish(w, 0, &pub, &(struct act){ .text = "kept", .qos = 1, .retain = 1 });
    node_start(w, 1);
    UNTIL(w, retained_count(w->broker[1]->retained) == 1);
    publish(w, 0, &pub, &(struct act){ .text = "", .qos = 1, .retain = 1 });
    UNTIL(w, retained_count(w->broker[1]->retained) == 0);
    leave(w, 0, &pub);
}

static void a_client_id_is_online_at_one_node(void **state)
{
    struct world *w = *state;
    struct far first = { 0 }, second = { 0 }, sub = { 0 };
    online(w, 1, &sub, "sub");
    subscribe(w, 1, &sub, "t", 0);
    UNTIL(w, known(w, 0) == 1); /* the nodes know each other */
    online(w, 0, &first, "same");
    online(w, 1, &second, "same");
    UNTIL(w, first.log[0]);
    assert_string_equal(first.log, "close:8e");
    assert_string_equal(second.log, "");
    leave(w, 1, &second);
    leave(w, 1, &sub);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_published_here_is_delivered_there_once),
        TEST(one_member_of_a_group_gets_it),
        TEST(retained_messages_are_there_when_a_node_joins),
        TEST(a_client_id_is_online_at_one_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
