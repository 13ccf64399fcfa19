#include "broker/client.h"
#include "broker/broker.h"
#include "broker/connect.h"
#include "broker/deliver.h"
#include "broker/publish.h"
#include "broker/retain.h"
#include "broker/subscribe.h"
#include "broker/will.h"
#include "wire/reason.h"
#include <assert.h>

void client_init(struct client *c, struct shard *shard, const struct client_ops *ops)
{
    *c = (struct client){
        .ops = ops, .shard = shard, .receive_maximum = UINT16_MAX, .problem_info = true
    };
    c->conn_id = atomic_fetch_add(&shard->broker->next_conn, 1);
    list_init(&c->held_back);
    list_init(&c->closing);
    list_init(&c->publishes);
    list_init(&c->subscribes);
    list_init(&c->retained_reads);
}

void client_leave_loop(struct client *c)
{
    assert(!c->connecting && !c->session);
    list_remove(&c->held_back);
    identity_unref(
        &c->who); /* frees the plugins' slots on this loop; conn/ makes a new one over there */
    c->state = CLIENT_NEW;
}

void client_enter_loop(struct client *c, struct shard *shard)
{
    c->shard = shard;
}

uint64_t client_session_number(const struct client *c)
{
    return c->session ? c->session->number : 0;
}

void client_ping(struct client *c)
{
    if (events_wants(c->shard->hooks, EVENT_PING))
        events_ping(c->shard->hooks, c->who);
}

void client_keepalive_timeout(struct client *c)
{
    if (events_wants(c->shard->hooks, EVENT_KEEPALIVE_TIMEOUT))
        events_keepalive_timeout(c->shard->hooks, c->who);
}

void client_close_later(struct client *c, uint8_t reason, const char *text)
{
    if (list_linked(&c->closing))
        return;
    c->close_reason = reason;
    c->close_text = text;
    list_append(&c->shard->closing, &c->closing);
}

/* ---- the end ------------------------------------------------------------------------------------
 */

static uint32_t expiry_after(const struct client *c, const struct client_cause *cause)
{
    uint32_t expiry_s = cause->has_expiry ? cause->expiry_s : c->session->expiry_s;
    uint64_t cap = (uint64_t)c->shard->broker->config->limits.session_expiry_ms / 1000;
    uint64_t own = c->limits.session_expiry_s;
    if (own && (!cap || own < cap))
        cap = own;
    return cap && expiry_s > cap ? (uint32_t)cap : expiry_s;
}

static void settle_will(struct session *session, const struct client_cause *cause)
{
    if (!session->will)
        return;
    if (cause->send_will)
        will_connection_ended(session);
    else
        will_cancel(session);
}

static void go_offline(struct client *c, const struct client_cause *cause)
{
    struct session *session = c->session;
    struct shard *s = c->shard;
    shard_count(s, N_CONNECTED, -1);
    publish_client_gone(c);
    subscribe_client_gone(c);
    retain_client_gone(c);
    events_client_disconnect(s->hooks, c->who, cause->reason, cause->text);
    uint32_t expiry_s = expiry_after(c, cause);
    if (expiry_s != session->expiry_s)
        session_set_expiry(session, expiry_s);
    settle_will(session, cause);
    if (session->durable) {
        c->session = NULL;
        session->client = NULL;
        session_detached(&session);
        return;
    }
    session_detached(&session); /* tells of its subscriptions while the client is still known */
    c->session = NULL;
}

void client_end(struct client *c, const struct client_cause *cause)
{
    SHARD_ASSERT(c->shard);
    if (c->state == CLIENT_GONE)
        return;
    list_remove(&c->held_back);
    list_remove(&c->closing);
    reauth_gone(c);
    if (c->connecting)
        connect_gone(c);
    if (c->session)
        go_offline(c, cause);
    c->state = CLIENT_GONE;
    str_free(&c->auth_method);
    identity_unref(&c->who);
}
