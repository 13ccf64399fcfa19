/* conn_support.h - connections under test: a broker that only writes down what it is asked, and the
 * far end of a socket pair that plays the client. */
#pragma once
#include "broker/broker.h"
#include "broker/session.h"
#include "hooks/hook_loop.h"
#include "conn/conn.h"
#include "mqtt/message.h"
#include "net_support.h"
#include "wire/subscribe.h"
#include "wire/unsubscribe.h"
#include <stdio.h>

/* What the fake broker has seen, one word per call: "connect:ID publish:TOPIC ...". */
static struct {
    char log[4096];
    struct client *client; /* of the last CONNECT */
    struct session session;
    bool hold_connack; /* CONNECTs stay under way */
    bool block;        /* each PUBLISH holds the later packets back */
    bool may_not;      /* client_may_publish says no */
    bool move;         /* the first CONNECT is sent to loop 1 */
    uint32_t home;     /* of every client id */
    int result;        /* of client_publish */
    uint32_t n_ends;
} fake;

static inline void __attribute__((format(printf, 1, 2))) note(const char *format, ...)
{
    size_t at = strlen(fake.log);
    va_list args;
    va_start(args, format);
    if (at && at + 1 < sizeof(fake.log))
        fake.log[at++] = ' ';
    vsnprintf(fake.log + at, sizeof(fake.log) - at, format, args);
    va_end(args);
}

static inline void seen(const char *text)
{
    assert_string_equal(fake.log, text);
    fake.log[0] = '\0';
}

static inline void fake_connack(struct client *c, uint8_t reason)
{
    struct client_connack answer = { .reason = reason,
                                     .assigned_id = c->assigned_id,
                                     .keepalive_s = c->keepalive_s };
    c->state = reason ? CLIENT_NEW : CLIENT_ONLINE;
    c->session = reason ? NULL : &fake.session;
    c->ops->connack(c, &answer);
}

static inline void fake_unblock(struct client *c)
{
    c->n_blocking = 0;
    c->ops->unblock(c);
}

void client_init(struct client *c, struct shard *shard, const struct client_ops *ops)
{
    *c = (struct client){ .ops = ops, .shard = shard, .problem_info = true };
}

void client_leave_loop(struct client *c)
{
    note("leave");
    identity_unref(&c->who);
}

void client_enter_loop(struct client *c, struct shard *shard)
{
    note("enter:%u", shard->index);
    c->shard = shard;
}

void client_connect(struct client *c, struct connect_info *m_connect)
{
    struct subject *info = &m_connect->base;
    note("connect:" STR_FMT, STR_ARG(identity_id(c->who)));
    fake.client = c;
    c->keepalive_s = m_connect->view.keepalive_s;
    if (fake.move) {
        fake.move = false;
        c->ops->move(c, 1, m_connect);
        return;
    }
    subject_unref(&info);
    c->state = CLIENT_CONNECTING;
    if (!fake.hold_connack)
        fake_connack(c, 0);
}

int client_auth(struct client *c, uint8_t reason, struct str method, struct str data,
                struct str props)
{
    (void)c, (void)data, (void)props;
    note("auth:%u:" STR_FMT, reason, STR_ARG(method));
    return 0;
}

uint64_t client_session_number(const struct client *c)
{
    return c->session ? 7 : 0;
}

int client_publish(struct client *c, struct message *m_message, uint16_t packet_id, bool dup)
{
    (void)dup;
    note("publish:%s:%u", m_message->view.topic.ptr, packet_id);
    message_unref(&m_message);
    c->n_blocking = fake.block;
    return fake.result;
}

int client_puback(struct client *c, uint16_t packet_id, uint8_t reason)
{
    (void)c, (void)reason;
    note("puback:%u", packet_id);
    return 0;
}

int client_pubrec(struct client *c, uint16_t packet_id, uint8_t reason)
{
    (void)c, (void)reason;
    note("pubrec:%u", packet_id);
    return 0;
}

int client_pubrel(struct client *c, uint16_t packet_id, uint8_t reason)
{
    (void)c, (void)reason;
    note("pubrel:%u", packet_id);
    return 0;
}

int client_pubcomp(struct client *c, uint16_t packet_id, uint8_t reason)
{
    (void)c, (void)reason;
    note("pubcomp:%u", packet_id);
    return 0;
}

int client_subscribe(struct client *c, const struct subscribe_packet *p)
{
    (void)c;
    note("subscribe:%u", p->packet_id);
    return 0;
}

int client_unsubscribe(struct client *c, const struct unsubscribe_packet *p)
{
    (void)c;
    note("unsubscribe:%u", p->packet_id);
    return 0;
}

void client_ping(struct client *c)
{
    (void)c;
    note("ping");
}

void client_keepalive_timeout(struct client *c)
{
    (void)c;
    note("keepalive");
}

void client_writable(struct client *c)
{
    (void)c;
    note("writable");
}

bool client_may_publish(struct client *c)
{
    (void)c;
    return !fake.may_not;
}

void client_end(struct client *c, const struct client_cause *cause)
{
    note("end:%02x%s", cause->reason, cause->send_will ? ":will" : "");
    fake.n_ends++;
    c->state = CLIENT_GONE;
    c->session = NULL;
    identity_unref(&c->who);
    if (fake.client == c)
        fake.client = NULL;
}

uint32_t broker_home(const struct broker *b, struct str client_id)
{
    (void)b, (void)client_id;
    return fake.home;
}

void broker_make_client_id(struct broker *b, uint32_t loop, char r_id[CLIENT_ID_MADE_MAX])
{
    (void)b;
    snprintf(r_id, CLIENT_ID_MADE_MAX, "made-on-%u", loop);
}

bool events_wants(const struct hook_loop *hl, enum hook_event event)
{
    (void)hl;
    return event == EVENT_CONNECTION_ERROR;
}

void events_client_error(struct hook_loop *hl, const struct identity *who, uint8_t reason,
                         const char *text)
{
    (void)hl, (void)who, (void)text;
    note("client_error:%02x", reason);
}

void events_connection_error(struct hook_loop *hl, const struct identity *who, uint8_t reason,
                             const char *text)
{
    (void)hl, (void)who, (void)text;
    note("connection_error:%02x", reason);
}

void events_connack_sent(struct hook_loop *hl, const struct identity *who, uint8_t reason,
                         bool present)
{
    (void)hl, (void)who, (void)reason, (void)present;
}

/* ---- a broker around it
 * -------------------------------------------------------------------------- */

#define FAR_MAX 8

struct world {
    struct broker broker;
    struct hook_loop_front nobody; /* plugins */
    struct shard shards[2];
    int far[FAR_MAX];
    uint32_t n_far;
};

static inline void world_init(struct world *w, uint32_t n_loops, const char *const *options)
{
    struct config_input input = { .overrides = options };
    struct diag d;
    memset(&fake, 0, sizeof(fake));
    *w = (struct world){ 0 };
    while (options && options[input.n_overrides])
        input.n_overrides++;
    diag_init(&d);
    assert_int_equal(config_load(&input, &d, &w->broker.config), 0);
    diag_fini(&d);
    assert_int_equal(hash_key_init(&w->broker.hash_key), 0);
    w->broker.loops = net_group(n_loops);
    w->broker.n_loops = n_loops;
    w->broker.shards = w->shards;
    for (uint32_t i = 0; i < n_loops; i++) {
        w->shards[i].broker = &w->broker;
        w->shards[i].hooks = (void *)&w->nobody;
        w->shards[i].loop = loop_group_at(w->broker.loops, i);
        w->shards[i].index = i;
        list_init(&w->shards[i].conns);
    }
    assert_int_equal(conn_setup(&w->broker), 0);
}

static inline void world_turns(struct world *w)
{
    for (uint32_t n = 0; n < 6; n++)
        for (uint32_t i = 0; i < w->broker.n_loops; i++)
            loop_turn(w->shards[i].loop, false);
}

static inline void world_fini(struct world *w)
{
    for (uint32_t i = 0; i < w->broker.n_loops; i++)
        conn_close_all(&w->shards[i], 0x8B);
    for (uint32_t i = 0; i < w->n_far; i++)
        if (w->far[i] >= 0)
            close(w->far[i]);
    world_turns(w);
    conn_teardown(&w->broker);
    loop_group_free(&w->broker.loops);
    config_unref(&w->broker.config);
}

/* A new connection, accepted on loop 0, when `n_allocs` allocations more succeed; its number. */
static inline uint32_t far_open_failing(struct world *w, uint32_t n_allocs)
{
    struct stream *s;
    int fd[2];
    assert_true(w->n_far < FAR_MAX);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    assert_int_equal(stream_new(fd[0], NULL, &s), 0);
    w->far[w->n_far] = fd[1];
    failalloc_after(n_allocs);
    conn_accept(&w->broker, w->shards[0].loop, 0, 0, s);
    world_turns(w);
    return w->n_far++;
}

static inline uint32_t far_open(struct world *w)
{
    uint32_t n = far_open_failing(w, UINT32_MAX);
    failalloc_disarm();
    return n;
}

#define SEND(w, ...)                                                              \
    do {                                                                          \
        const uint8_t bytes_[] = { __VA_ARGS__ };                                 \
        assert_int_equal(send((w)->far[0], bytes_, sizeof(bytes_), MSG_NOSIGNAL), \
                         (ssize_t)sizeof(bytes_));                                \
        world_turns(w);                                                           \
    } while (0)

/* The far end has got exactly these bytes. */
#define GETS(w, ...)                                            \
    do {                                                        \
        const uint8_t bytes_[] = { __VA_ARGS__ };               \
        uint8_t got_[1024];                                     \
        ssize_t n_ = far_read((w)->far[0], got_, sizeof(got_)); \
        assert_int_equal(n_, (ssize_t)sizeof(bytes_));          \
        assert_memory_equal(got_, bytes_, sizeof(bytes_));      \
    } while (0)

static inline void gets_nothing(struct world *w)
{
    uint8_t byte;
    assert_int_equal(far_read(w->far[0], &byte, 1), 0);
}

static inline void gets_end(struct world *w)
{
    uint8_t byte;
    assert_int_equal(far_read(w->far[0], &byte, 1), -1);
}

/* Client id "c", clean, keep alive 60. */
#define CONNECT_311 0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60, 0, 1, 'c'
#define CONNECT_5   0x10, 14, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 60, 0, 0, 1, 'c'
#define CONNACK_311 0x20, 2, 0, 0
#define PUBLISH_A   0x30, 4, 0, 1, 'a', 'x'
#define PUBLISH_B1  0x32, 5, 0, 1, 'b', 0, 9
#define PUBACK_5    0x40, 2, 0, 5
#define PINGREQ     0xC0, 0
#define DISCONNECT  0xE0, 0
#define SUBSCRIBE_A 0x82, 6, 0, 3, 0, 1, 'a', 0

static inline void online_311(struct world *w)
{
    far_open(w);
    SEND(w, CONNECT_311);
    GETS(w, CONNACK_311);
    seen("connect:c");
}
