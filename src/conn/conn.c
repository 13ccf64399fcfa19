#include "conn/conn.h"
#include "conn/conn_priv.h"
#include "conn/conn_trace.h"
#include <errno.h>
#include <stdlib.h>

#define WATER_HIGH (128u * 1024) /* bytes in the out queue: offer no more QoS 1 and 2 */
#define WATER_LOW  (64u * 1024)

static void on_work(struct loop *here, struct mail *m);
static void on_arrive(struct loop *here, struct mail *m);

/* ---- what connections share --------------------------------------------------------------------
 */

int conn_setup(struct broker *b)
{
    struct conns *all = calloc(1, sizeof(*all) + b->n_loops * sizeof(all->loops[0]));
    if (!all)
        return -ENOMEM;
    tally_init(&all->tallies, &b->hash_key);
    all->n_loops = b->n_loops;
    for (uint32_t i = 0; i < b->n_loops; i++) {
        encoder_init(&all->loops[i].encoder);
        buf_init(&all->loops[i].scratch);
    }
    b->conns = all;
    return 0;
}

void conn_teardown(struct broker *b)
{
    struct conns *all = b->conns;
    if (!all)
        return;
    b->conns = NULL;
    for (uint32_t i = 0; i < all->n_loops; i++) {
        encoder_fini(&all->loops[i].encoder);
        buf_fini(&all->loops[i].scratch);
    }
    tally_fini(&all->tallies);
    free(all);
}

/* ---- accept ------------------------------------------------------------------------------------
 */

static bool is_wildcard(const char *address)
{
    return !address[0] || !strcmp(address, "*") || !strcmp(address, "0.0.0.0") ||
           !strcmp(address, "::");
}

/* Can the socket that accepted this connection be reached from this machine only? */
static bool is_loopback(const struct config_listener *l, const struct stream *stream)
{
    bool all = true, wildcard = false;
    char text[ADDR_TEXT_MAX];
    if (l->unix_path || !l->bind_written)
        return true;
    for (uint32_t i = 0; i < l->bind.n; i++) {
        all &= config_is_loopback(l->bind.items[i]);
        wildcard |= is_wildcard(l->bind.items[i]);
    }
    if (all || wildcard)
        return all;
    struct addr local = stream_local(stream);
    addr_text(&local, text);
    return config_is_loopback(text);
}

static uint8_t transport_of(const struct config_listener *l)
{
    if (l->protocol == CONFIG_WEBSOCKET)
        return l->tls.on ? PIGEON_TRANSPORT_WSS : PIGEON_TRANSPORT_WS;
    if (l->tls.on)
        return PIGEON_TRANSPORT_TLS;
    return l->unix_path ? PIGEON_TRANSPORT_UNIX : PIGEON_TRANSPORT_TCP;
}

static int count_by_address(struct conn *c, const struct addr *peer)
{
    const struct config_limits *limits = &conn_config(c)->limits;
    if (peer->kind != ADDR_IPV4 && peer->kind != ADDR_IPV6)
        return 0;
    char key[1 + sizeof(peer->ip)] = { (char)peer->kind };
    size_t len = peer->kind == ADDR_IPV4 ? 4 : sizeof(peer->ip);
    memcpy(key + 1, peer->ip, len);
    return tally_enter(&c->broker->conns->tallies, str_make(key, 1 + len),
                       (uint64_t)limits->connections_per_address,
                       (uint64_t)limits->pending_per_address, &c->by_address);
}

static int count_by_listener(struct conn *c, const struct config_listener *l)
{
    return tally_enter(&c->broker->conns->tallies, str_from(l->name), (uint64_t)l->max_connections,
                       0, &c->by_listener);
}

static int count_in(struct conn *c, const struct config_listener *l, const char **r_why)
{
    int64_t max = conn_config(c)->limits.connections;
    int64_t n = atomic_fetch_add(&c->broker->n_connections, 1);
    int r = max && n >= max ? -EDQUOT : 0;
    *r_why = "limits.connections";
    if (!r) {
        r = count_by_listener(c, l);
        *r_why = "max_connections of the listener";
    }
    if (!r && !stream_awaits_peer(c->stream)) { /* a proxy's own address has no limits */
        r = count_by_address(c, &c->peer);
        *r_why = "too many connections from this address";
    }
    if (r == -ENOMEM)
        *r_why = "out of memory";
    c->is_counted_pending = true;
    return r;
}

static void count_out(struct conn *c)
{
    struct tally_table *tallies = &c->broker->conns->tallies;
    atomic_fetch_sub(&c->broker->n_connections, 1);
    tally_leave(tallies, &c->by_address, c->is_counted_pending);
    tally_leave(tallies, &c->by_listener, c->is_counted_pending);
}

static void conn_free(struct conn *c)
{
    assert(c->state == CONN_CLOSED && !c->stream);
    count_out(c);
    buf_fini(&c->deferred);
    for (uint32_t i = 0; c->alias_in && i < c->alias_in_max; i++)
        str_free(&c->alias_in[i]);
    for (uint32_t i = 0; c->alias_out && i < c->alias_out_max; i++)
        str_free(&c->alias_out[i]);
    free(c->alias_in);
    free(c->alias_out);
    str_free(&c->auth_method);
    if (c->connect) {
        struct subject *info = &c->connect->base;
        subject_unref(&info);
    }
    free(c);
}

/* The stream is on its loop's side again: after accept, after a move. */
static void attach(struct conn *c)
{
    struct shard *s = conn_shard(c);
    c->here = &c->broker->conns->loops[s->index];
    c->paused = 0;
    list_append(&s->conns, &c->link);
    shard_count(s, N_CONNECTIONS, 1);
    stream_attach(c->stream, s->loop, &conn_stream_ops, c);
    conn_arm_timers(c);
}

static struct conn *conn_new(struct shard *s, uint32_t chains, struct stream *m_stream)
{
    struct conn *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    client_init(&c->client, s, &conn_client_ops);
    c->client.listener = chains;
    c->broker = s->broker;
    c->stream = m_stream;
    c->peer = *stream_peer(m_stream);
    list_init(&c->link);
    buf_init(&c->deferred);
    conn_limits_init(c);
    return c;
}

/* The high mark is below limits.write_buffer, so that PAUSE_OUT ends at the low one. */
static void set_water(struct conn *c)
{
    int64_t max = conn_config(c)->limits.write_buffer;
    uint32_t high = max <= WATER_HIGH ? (uint32_t)max - 1 : WATER_HIGH;
    stream_set_water(c->stream, high < WATER_LOW ? high / 2 : WATER_LOW, high);
}

void conn_refuse(struct shard *s, struct stream *m_stream, const char *why)
{
    char address[ADDR_TEXT_MAX];
    addr_text(stream_peer(m_stream), address);
    shard_count(s, N_REFUSED, 1);
    log_info(s->log, "connection_refused", LZ("address", address), LZ("text", why));
    stream_abort(&m_stream);
}

void conn_accept(struct broker *b, struct loop *loop, uint32_t listener, uint32_t chains,
                 struct stream *m_stream)
{
    struct shard *s = &b->shards[loop_index(loop)];
    const struct config_listener *l = &b->config->listeners[listener];
    const char *why;
    SHARD_ASSERT(s);
    shard_count(s, N_ACCEPTED, 1);
    if (s->stopping) {
        conn_refuse(s, m_stream, "shutting down");
        return;
    }
    struct conn *c = conn_new(s, chains, m_stream);
    if (!c) {
        conn_refuse(s, m_stream, "out of memory");
        return;
    }
    if (count_in(c, l, &why)) {
        conn_refuse(s, m_stream, why);
        c->stream = NULL;
        c->state = CONN_CLOSED;
        conn_free(c);
        return;
    }
    c->transport = transport_of(l);
    c->is_loopback = !stream_awaits_peer(m_stream) && is_loopback(l, m_stream);
    c->client.may_be_anonymous = config_allows_anonymous(b->config, l, c->is_loopback);
    c->connect_due_ms = UINT64_MAX;
    if (b->config->connect_timeout_ms)
        c->connect_due_ms = shard_now_ms(s) + (uint64_t)b->config->connect_timeout_ms;
    set_water(c);
    attach(c);
}

void conn_on_peer(void *ctx)
{
    struct conn *c = ctx;
    c->peer = *stream_peer(c->stream);
    if (!count_by_address(c, &c->peer))
        return;
    struct client_cause cause = { .reason = REASON_QUOTA_EXCEEDED,
                                  .text = "too many connections from this address" };
    shard_count(conn_shard(c), N_REFUSED, 1);
    conn_end(c, &cause, CONN_ABORT);
}

/* ---- reading -----------------------------------------------------------------------------------
 */

void conn_pause(struct conn *c, enum conn_pause why)
{
    if (!c->paused)
        stream_pause(c->stream);
    c->paused |= (uint8_t)why;
}

void conn_resume(struct conn *c, enum conn_pause why)
{
    if (!(c->paused & why))
        return;
    c->paused &= (uint8_t)~why;
    if (c->paused || c->state == CONN_CLOSED)
        return;
    c->last_in_ms = shard_now_ms(conn_shard(c)); /* the clock stood still [A6] */
    stream_resume(c->stream);
}

/* ---- the work mail -----------------------------------------------------------------------------
 */

void conn_post_work(struct conn *c)
{
    struct shard *s = conn_shard(c);
    if (c->work_posted)
        return;
    c->work_posted = true;
    loop_post(s->loop, s->index, &c->work, on_work);
}

/* What was held back may go on. */
static void go_on(struct conn *c)
{
    conn_run_deferred(c);
    if (c->state != CONN_ONLINE)
        return;
    if (buf_len(&c->deferred) == 0 && !c->client.n_blocking)
        conn_resume(c, PAUSE_BYTES);
    if (c->eof)
        conn_end_of_input(c);
}

static void leave(struct conn *c)
{
    struct shard *s = conn_shard(c);
    struct identity_parts parts;
    identity_parts(c->client.who, &parts);
    parts.loop = c->move_to;
    struct identity *who = identity_new(&parts, NULL);
    if (!who || identity_move_rules(who, c->client.who)) {
        identity_unref(&who);
        conn_fail(c, REASON_SERVER_BUSY, "out of memory");
        return;
    }
    conn_stop_timers(c);
    list_remove(&c->link);
    shard_count(s, N_CONNECTIONS, -1);
    shard_count(s, N_CONNECTINGS, 1); /* until it has arrived: nobody may think that all is quiet */
    client_leave_loop(&c->client);
    c->client.who = who;
    stream_detach(c->stream);
    loop_post_last(s->loop, c->move_to, &c->move, on_arrive);
}

static void on_arrive(struct loop *here, struct mail *m)
{
    struct conn *c = container_of(m, struct conn, move);
    struct shard *s = &c->broker->shards[loop_index(here)];
    struct connect_info *info = c->connect;
    c->connect = NULL;
    client_enter_loop(&c->client, s);
    c->state = CONN_CONNECTING;
    attach(c);
    if (conn_is_traced(c))
        conn_trace_connect(c, info);
    client_connect(&c->client, info);
    shard_count(s, N_CONNECTINGS, -1);
}

void conn_move(struct conn *c, uint32_t loop, struct connect_info *m_connect)
{
    c->state = CONN_MOVING;
    c->move_to = loop;
    c->connect = m_connect;
    conn_pause(c, PAUSE_MOVE);
    conn_post_work(c);
}

static void on_work(struct loop *here, struct mail *m)
{
    struct conn *c = container_of(m, struct conn, work);
    (void)here;
    c->work_posted = false;
    switch ((enum conn_state)c->state) {
    case CONN_CLOSED: conn_free(c); break;
    case CONN_MOVING: leave(c); break;
    case CONN_ONLINE: go_on(c); break;
    case CONN_CONNECTING:
        if (c->eof)
            conn_end_of_input(c);
        break;
    case CONN_NEW: break;
    }
}

/* ---- what the broker calls ----------------------------------------------------------------------
 */

static void on_connack(struct client *client, const struct client_connack *answer)
{
    struct conn *c = conn_of(client);
    if (c->state != CONN_CLOSED)
        conn_send_connack(c, answer);
}

static void on_unblock(struct client *client)
{
    struct conn *c = conn_of(client);
    if (c->state == CONN_CLOSED)
        return;
    conn_resume(c, PAUSE_CREDIT);
    if (c->eof || c->paused || buf_len(&c->deferred))
        conn_post_work(c);
}

/* Ends that are no fault of the client's. */
static bool is_our_wish(uint8_t reason)
{
    return reason == REASON_SESSION_TAKEN_OVER || reason == REASON_SERVER_SHUTTING_DOWN ||
           reason == REASON_ADMINISTRATIVE_ACTION;
}

static void on_close(struct client *client, uint8_t reason, const char *text)
{
    struct client_cause cause = { .reason = reason, .send_will = true, .text = text };
    conn_end(conn_of(client), &cause, CONN_SAY | (is_our_wish(reason) ? 0 : CONN_FAULT));
}

static void on_move(struct client *client, uint32_t loop, struct connect_info *m_connect)
{
    struct conn *c = conn_of(client);
    if (c->state != CONN_CLOSED) {
        conn_move(c, loop, m_connect);
        return;
    }
    struct subject *info = &m_connect->base;
    subject_unref(&info);
}

const struct client_ops conn_client_ops = {
    .connack = on_connack,
    .publish = conn_send_publish,
    .is_congested = conn_is_congested,
    .ack = conn_send_ack,
    .suback = conn_send_suback,
    .auth = conn_send_auth,
    .unblock = on_unblock,
    .close = on_close,
    .move = on_move,
};

void conn_close_all(struct shard *s, uint8_t reason)
{
    SHARD_ASSERT(s);
    while (!list_empty(&s->conns)) {
        struct conn *c = container_of(s->conns.next, struct conn, link);
        on_close(&c->client, reason, NULL);
    }
}
