#include "broker/publish.h"
#include "broker/broker.h"
#include "broker/bus.h"
#include "broker/session.h"
#include "broker/submit.h"
#include "mqtt/topic.h"
#include "wire/reason.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* The way of a PUBLISH. CONTINUE: the next step; WAIT: somebody calls publish_run again, at the
 * next step. */
enum step_result { STEP_CONTINUE, STEP_WAIT };

/* ---- waiting ------------------------------------------------------------------------------------
 */

/* Later packets of the client wait until this one is through [A6]. */
static void block(struct publish *p)
{
    if (p->client && !p->blocking) {
        p->blocking = true;
        p->client->n_blocking++;
    }
}

static void on_verdict(struct ask *ask)
{
    struct publish *p = container_of(ask, struct publish, ask);
    struct client *c = p->blocking ? p->client : NULL;
    p->asking = p->blocking = false;
    publish_run(p);
    /* It has its place now: what came behind it may follow. */
    if (c && c->state != CLIENT_GONE && --c->n_blocking == 0)
        c->ops->unblock(c);
}

static enum step_result ask_about(struct publish *p, uint32_t hook)
{
    p->ask = (struct ask){ .hook = hook,
                           .who = p->who,
                           .message = message_ref(p->message),
                           .listener = p->who ? p->who->chains : 0, /* a will: its client's */
                           .done = on_verdict };
    p->asking = ask_run(p->shard->hooks, &p->ask) == ASK_WAIT;
    if (!p->asking)
        return STEP_CONTINUE;
    block(p);
    return STEP_WAIT;
}

/* Only a mark: publish_tell_refused follows where plugins may be called. */
void publish_mark_refused(struct publish *p, uint8_t reason, uint32_t why)
{
    p->refused = true;
    p->reason = reason ? reason : REASON_NOT_AUTHORIZED;
    p->why = (uint8_t)why;
}

void publish_tell_refused(struct publish *p)
{
    if (!p->why)
        return;
    shard_count(p->shard, N_DROPPED + p->why, 1);
    events_dropped(p->shard->hooks, NULL, p->message, p->why);
    p->why = 0;
}

static void refuse(struct publish *p, uint8_t reason, uint32_t why)
{
    publish_mark_refused(p, reason, why);
    publish_tell_refused(p);
}

static void take_message(struct publish *p)
{
    struct message *m = ask_take_message(&p->ask);
    if (!m)
        return;
    message_unref(&p->message);
    p->message = m;
}

/* ---- the steps ----------------------------------------------------------------------------------
 */

static bool is_asked(const struct publish *p)
{
    return p->origin == PIGEON_ORIGIN_CLIENT || p->origin == PIGEON_ORIGIN_WILL;
}

static enum step_result step_ask_inbound(struct publish *p)
{
    if (p->origin != PIGEON_ORIGIN_CLIENT || !hooks_wants(p->shard->hooks, PIGEON_HOOK_INBOUND))
        return STEP_CONTINUE;
    return ask_about(p, PIGEON_HOOK_INBOUND);
}

/* The verdict in `ask` is a denial. Its text goes into the acknowledgement; without memory it does
 * not. */
static void deny(struct publish *p, uint32_t why)
{
    const struct ask *ask = &p->ask;
    struct ask_text text;
    log_info(p->shard->log, "publish_denied", LS("client", p->who ? identity_id(p->who) : STR("-")),
             LS("topic", message_topic(p->message)), LZ("plugin", ask->plugin ? ask->plugin : "-"),
             LU("reason", ask->reason), LZ("text", ask_why(ask, &text)));
    if (ask->text[0] && !p->text)
        p->text = strdup(ask->text);
    refuse(p, ask->reason, why);
}

static enum step_result step_inbound(struct publish *p)
{
    if (p->ask.hook != PIGEON_HOOK_INBOUND)
        return STEP_CONTINUE;
    take_message(p);
    if (p->ask.verdict != PIGEON_ALLOW)
        deny(p, PIGEON_DROP_INBOUND);
    ask_fini(&p->ask);
    return STEP_CONTINUE;
}

/* $SYS is the broker's own, whatever a plugin thinks; the syntax is checked again after a rewrite.
 */
static enum step_result step_topic(struct publish *p)
{
    struct str topic = message_topic(p->message);
    if (p->refused || !is_asked(p))
        return STEP_CONTINUE;
    if (p->origin == PIGEON_ORIGIN_CLIENT &&
        atomic_load_explicit(&p->shard->broker->short_of_memory, memory_order_relaxed)) {
        p->withheld = p->client && p->client->version < 5;
        refuse(p, REASON_QUOTA_EXCEEDED, PIGEON_DROP_NO_MEMORY);
        return STEP_CONTINUE;
    }
    if (p->shard->broker->bus && p->origin == PIGEON_ORIGIN_CLIENT &&
        bus_refuses(p->shard->broker->bus)) {
        p->withheld = p->client && p->client->version < 5;
        refuse(p, REASON_QUOTA_EXCEEDED, PIGEON_DROP_LIMIT);
        return STEP_CONTINUE;
    }
    bool rewritten = p->ask.hook == PIGEON_HOOK_INBOUND; /* conn/ has looked at what came in */
    if (rewritten && !topic_is_name(topic, (uint32_t)p->shard->broker->config->limits.topic_levels))
        refuse(p, REASON_TOPIC_NAME_INVALID, PIGEON_DROP_DENIED);
    else if (str_starts(topic, STR("$SYS/")))
        refuse(p, REASON_NOT_AUTHORIZED, PIGEON_DROP_DENIED);
    return STEP_CONTINUE;
}

static uint32_t authorize_hook(const struct publish *p)
{
    return p->origin == PIGEON_ORIGIN_WILL ? PIGEON_HOOK_AUTHORIZE_WILL
                                           : PIGEON_HOOK_AUTHORIZE_PUBLISH;
}

static enum step_result step_ask_authorize(struct publish *p)
{
    if (p->refused || !is_asked(p))
        return STEP_CONTINUE;
    if (!hooks_wants(p->shard->hooks, authorize_hook(p)) &&
        ask_default(p->shard->hooks, authorize_hook(p), message_topic(p->message)))
        return STEP_CONTINUE;
    return ask_about(p, authorize_hook(p));
}

static enum step_result step_authorize(struct publish *p)
{
    if (p->ask.hook != authorize_hook(p))
        return STEP_CONTINUE;
    take_message(p);
    if (p->ask.verdict != PIGEON_ALLOW)
        deny(p, PIGEON_DROP_DENIED);
    ask_fini(&p->ask);
    return STEP_CONTINUE;
}

static enum step_result step_retained_limits(struct publish *p)
{
    const struct config_limits *l = &p->shard->broker->config->limits;
    const pigeon_msg *m = &p->message->view;
    p->retained = !p->refused && m->retain;
    if (p->retained && l->retained_size && m->payload.len > l->retained_size) {
        refuse(p, REASON_QUOTA_EXCEEDED, PIGEON_DROP_LIMIT);
        p->retained = false;
    }
    return STEP_CONTINUE;
}

static uint32_t count_shared(const struct match *m)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n; i++)
        n += m->rcpts[i].share != NULL;
    return n;
}

static int match_from_bus(struct publish *p)
{
    struct shard *s = p->shard;
    const struct bus_pick *pick = p->pick;
    struct match *m = &s->match;
    int r = index_match_from_bus(s->broker->index, s->index, message_topic(p->message), p->version,
                                 pick->plain, pick->groups, pick->n_groups, m);
    uint32_t found = r ? 0 : count_shared(m);
    if (!r && found < pick->n_groups) /* their members went while it was on its way */
        shard_count(s, N_DROPPED + PIGEON_DROP_HOPS, pick->n_groups - found);
    return r;
}

int publish_match(struct publish *p)
{
    struct shard *s = p->shard;
    if (p->pick)
        return match_from_bus(p);
    int r = index_match(s->broker->index, s->index, message_topic(p->message),
                        p->message->from_session, p->version, &s->match);
    if (s->broker->bus && p->client && !r)
        bus_look_at(s->broker->bus, p->client, p->message, &s->match);
    return r;
}

static void route_match(struct publish *p, const struct match *m)
{
    struct routed r = { .message = p->message, .ids = m->ids };
    route_all(p->shard, &r, m->rcpts, m->first);
}

/* Nothing to store and nothing earlier to wait for: match and route at once. Everything else gets
 * its place at the end of the turn, in order (submit.c). */
static enum step_result step_match(struct publish *p)
{
    struct shard *s = p->shard;
    bool first =
        list_empty(&s->submitting) && (p->message->view.qos < 2 || list_empty(&s->qos2_line));
    if (p->refused)
        return STEP_CONTINUE;
    if (!p->retained && first) {
        struct match *m = &s->match;
        if (publish_match(p)) {
            refuse(p, REASON_SERVER_BUSY, PIGEON_DROP_NO_MEMORY);
            return STEP_CONTINUE;
        }
        if (!submit_is_needed(p, m)) {
            p->no_receiver = m->n == 0;
            route_match(p, m);
            return STEP_CONTINUE;
        }
    }
    submit_append(p);
    return STEP_WAIT;
}

static enum step_result step_committed(struct publish *p)
{
    publish_tell_refused(p);
    if (!p->status || p->refused)
        return STEP_CONTINUE;
    /* Nothing that could not be stored is acknowledged: 0x97, or silence in 3.x. */
    p->withheld = p->status == -EIO || (p->client && p->client->version < 5);
    submit_take_back(p);
    refuse(p, p->status == -ENOSPC ? REASON_QUOTA_EXCEEDED : REASON_UNSPECIFIED_ERROR,
           PIGEON_DROP_STORE);
    return STEP_CONTINUE;
}

/* QoS 2 only leaves once it is committed [P2.3]. */
static enum step_result step_route_committed(struct publish *p)
{
    if (!p->refused && !p->routed && p->rcpts) {
        struct routed r = { .message = p->message, .ids = p->ids, .pos = p->wait.pos };
        route_all(p->shard, &r, p->rcpts, p->first);
        if (p->retained && p->shard->broker->bus)
            bus_retained(p->shard, p->message);
        p->routed = true;
    }
    assert(p->refused || !p->answered || p->routed); /* one end for all that was submitted */
    return STEP_CONTINUE;
}

static enum step_result step_ask_published(struct publish *p)
{
    if (p->refused)
        return STEP_CONTINUE;
    if (p->pick || !hooks_wants(p->shard->hooks, PIGEON_HOOK_PUBLISHED))
        return STEP_CONTINUE; /* of another node's message it has been asked there */
    return ask_about(p, PIGEON_HOOK_PUBLISHED);
}

static enum step_result step_published(struct publish *p)
{
    if (p->ask.hook == PIGEON_HOOK_PUBLISHED)
        ask_fini(&p->ask);
    if (!p->refused && !p->pick && events_wants(p->shard->hooks, EVENT_PUBLISH))
        events_publish(p->shard->hooks, p->client ? p->who : NULL, p->message);
    return STEP_CONTINUE;
}

static void disconnect(struct publish *p)
{
    struct client *c = p->client;
    if (c && c->state == CLIENT_ONLINE)
        c->ops->close(c, p->reason, p->text);
}

static void acknowledge_qos1(struct publish *p)
{
    struct client *c = p->client;
    if (!c)
        return;
    client_acked_in(c);
    uint8_t reason = p->reason;
    if (!reason && p->no_receiver)
        reason = REASON_NO_MATCHING_SUBSCRIBERS;
    c->ops->ack(c, PACKET_PUBACK, p->packet_id, c->version == 5 ? reason : 0, p->text);
}

/* The answer belongs to the session: whoever is connected as it now gets it [P2.3b, c]. */
static void acknowledge_qos2(struct publish *p)
{
    struct session *session = publish_session(p);
    if (!session)
        return;
    struct incoming_id *in = incoming_find(&session->in, p->packet_id);
    struct client *c = session->client;
    bool refused_v5 = p->reason && c && c->version == 5;
    if (p->withheld || refused_v5 || (p->reason && !c)) {
        if (in)
            incoming_remove(&session->in, p->packet_id); /* [MQTT-4.3.3-9] */
        if (c)
            client_acked_in(c);
    } else if (in) {
        in->state = INCOMING_RECEIVED;
    }
    if (!c || p->withheld)
        return;
    uint8_t reason = p->reason;
    if (!reason && p->no_receiver)
        reason = REASON_NO_MATCHING_SUBSCRIBERS;
    c->ops->ack(c, PACKET_PUBREC, p->packet_id, c->version == 5 ? reason : 0, p->text);
}

/* It will not be sent: its row must not send it after a restart. */
static void forget_will(struct publish *p)
{
    struct hook_loop *hl = p->shard->hooks;
    events_will_dropped(hl, p->who ? identity_id(p->who) : STR_NULL, p->message, p->reason);
    if (!p->will_of)
        return;
    store_unit_begin(hl, PIGEON_DURABILITY_OS, STORE_AGAIN | STORE_TRIM);
    submit_will_row(p);
    store_unit_end(hl, NULL);
}

static enum step_result step_acknowledge(struct publish *p)
{
    if (p->origin == PIGEON_ORIGIN_WILL && p->refused)
        forget_will(p);
    if (p->origin != PIGEON_ORIGIN_CLIENT)
        return STEP_CONTINUE;
    const struct config *config = p->shard->broker->config;
    bool by_close = p->refused && p->client && p->client->version < 5 &&
                    config->on_denied_publish == CONFIG_DISCONNECT && !p->status;
    if (by_close) {
        struct session *session = publish_session(p);
        if (p->qos == 2 && session)
            incoming_remove(&session->in, p->packet_id);
        disconnect(p);
        return STEP_CONTINUE;
    }
    if (p->packet_id && p->qos == 2)
        acknowledge_qos2(p);
    else if (p->packet_id && !p->withheld)
        acknowledge_qos1(p);
    else if (p->packet_id && p->client)
        client_acked_in(p->client);
    return STEP_CONTINUE;
}

static const struct {
    const char *name;
    enum step_result (*run)(struct publish *p);
} publish_steps[] = {
    { "ask inbound", step_ask_inbound },
    { "inbound", step_inbound },
    { "topic", step_topic },
    { "ask authorize", step_ask_authorize },
    { "authorize", step_authorize },
    { "retained limits", step_retained_limits },
    { "match", step_match }, /* and submit, and route QoS 0 and 1: publish_turn */
    { "committed", step_committed },
    { "route committed", step_route_committed },
    { "ask published", step_ask_published },
    { "published", step_published },
    { "acknowledge", step_acknowledge },
};
#define N_STEPS (sizeof(publish_steps) / sizeof(publish_steps[0]))

static void publish_free(struct publish *p)
{
    struct shard *s = p->shard;
    list_remove(&p->link);
    list_remove(&p->turn);
    submit_forget(p);
    message_unref(&p->message);
    identity_unref(&p->who);
    free(p->pick);
    free(p->text);
    pool_put(&s->publish_pool, p);
    shard_publish_done(s);
}

void publish_run(struct publish *p)
{
    while (p->step < N_STEPS)
        if (publish_steps[p->step++].run(p) == STEP_WAIT)
            return;
    if (p->done)
        p->done(p->arg, p->refused ? -EPERM : 0);
    publish_free(p);
}

/* ---- doors --------------------------------------------------------------------------------------
 */

static struct publish *publish_new(struct shard *s, struct message *m_message, struct identity *who,
                                   uint8_t origin)
{
    struct publish *p = pool_get_zero(&s->publish_pool);
    if (!p) {
        message_unref(&m_message);
        return NULL;
    }
    p->shard = s;
    p->message = m_message;
    p->who = who ? identity_ref(who) : NULL;
    p->origin = origin;
    p->qos = m_message->view.qos;
    list_init(&p->link);
    list_init(&p->turn);
    submit_init(p);
    shard_count(s, N_PUBLISHES, 1);
    return p;
}

struct session *publish_session(const struct publish *p)
{
    return p->session ? session_at(p->shard, p->slot, p->session) : NULL;
}

void publish_start_will(struct shard *s, struct message *m_message, struct identity *who,
                        uint64_t will_of, bool ends_session)
{
    struct publish *p = publish_new(s, m_message, who, PIGEON_ORIGIN_WILL);
    if (!p)
        return;
    p->will_of = will_of;
    p->ends_session = ends_session;
    publish_run(p);
}

void publish_start(struct shard *s, struct message *m_message, uint8_t origin, publish_done_fn done,
                   void *arg)
{
    struct publish *p = publish_new(s, m_message, NULL, origin);
    if (!p) {
        if (done)
            done(arg, -ENOMEM);
        return;
    }
    p->done = done;
    p->arg = arg;
    publish_run(p);
}

void publish_start_from_bus(struct shard *s, struct message *m_message, struct bus_pick *m_pick)
{
    struct publish *p = publish_new(s, m_message, NULL, PIGEON_ORIGIN_BUS);
    if (!p) {
        free(m_pick);
        return;
    }
    p->pick = m_pick;
    publish_run(p);
}

/* QoS 2: the same identifier again is not a new message [MQTT-4.3.3-10]. true: it has been dealt
 * with. */
static bool is_repeated(struct client *c, uint16_t packet_id)
{
    struct incoming_id *in = incoming_find(&c->session->in, packet_id);
    if (!in)
        return false;
    if (in->state == INCOMING_RECEIVED)
        c->ops->ack(c, PACKET_PUBREC, packet_id, 0, NULL);
    return true; /* pending: the first one's answer is this one's, too */
}

int client_publish(struct client *c, struct message *m_message, uint16_t packet_id, bool dup)
{
    struct shard *s = c->shard;
    (void)dup; /* a hint only: what counts is whether the identifier is known */
    SHARD_ASSERT(s);
    if (m_message->view.qos == 2) {
        if (is_repeated(c, packet_id)) {
            message_unref(&m_message);
            return 0;
        }
        if (incoming_put(&c->session->in, packet_id, INCOMING_PENDING, false)) {
            message_unref(&m_message);
            return -REASON_SERVER_BUSY;
        }
    }
    uint8_t qos = m_message->view.qos;
    struct publish *p = publish_new(s, m_message, c->who, PIGEON_ORIGIN_CLIENT);
    if (!p) {
        if (qos == 2)
            incoming_remove(&c->session->in, packet_id);
        return -REASON_SERVER_BUSY;
    }
    p->client = c;
    p->packet_id = packet_id;
    p->session = c->session->number;
    p->slot = c->session->slot;
    c->n_unacked_in += p->qos > 0;
    list_append(&c->publishes, &p->link);
    publish_run(p);
    return 0;
}

void publish_client_gone(struct client *c)
{
    for (struct list *l; (l = list_pop(&c->publishes));) {
        struct publish *p = container_of(l, struct publish, link);
        p->client = NULL;
        p->blocking = false;
        if (!p->asking)
            continue; /* submitted: it runs to its end */
        bool routed = p->ask.hook == PIGEON_HOOK_PUBLISHED;
        ask_abandon(p->shard->hooks, &p->ask);
        p->asking = false;
        if (routed) { /* only its acknowledgement was held back */
            publish_run(p);
            continue;
        }
        if (p->qos == 2) /* it never happened */
            incoming_remove(&c->session->in, p->packet_id);
        publish_free(p);
    }
}
