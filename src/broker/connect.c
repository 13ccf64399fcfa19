#include "broker/connect.h"
#include "broker/admin.h"
#include "broker/backlog.h"
#include "broker/broker.h"
#include "broker/bus.h"
#include "broker/deliver.h"
#include "broker/revoke.h"
#include "broker/will.h"
#include "wire/property.h"
#include "wire/reason.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* A CONNECT in steps. CONTINUE: the next one; WAIT: somebody calls connecting_run again, at the
 * same step; STOP: `connecting` is gone. */
enum step_result { STEP_CONTINUE, STEP_WAIT, STEP_STOP };

static void connecting_run(struct connecting *n);

/* ---- ends ---------------------------------------------------------------------------------------
 */

static void connecting_free(struct connecting *n)
{
    if (n->client)
        n->client->connecting = NULL;
    list_remove(&n->link);
    struct subject *info = n->info ? &n->info->base : NULL;
    subject_unref(&info);
    identity_unref(&n->who);
    buf_fini(&n->user_props);
    buf_fini(&n->texts);
    str_free(&n->auth_data);
    ask_exchange_end(&n->exchange_slot);
    free(n->restored);
    shard_count(n->shard, N_CONNECTINGS, -1);
    free(n);
}

/* A CONNECT has left the line of its id without an attached client. */
static void session_passed_by(struct session *session)
{
    if (session->serving || session->client)
        return;
    if (!list_empty(&session->waiting))
        connect_serve(session);
    else if (!session->exists)
        session_free(&session);
    else
        session_start_expiry(session, (uint64_t)session->expiry_s * 1000);
}

static enum step_result refuse(struct connecting *n, uint8_t reason, const char *text)
{
    struct client *c = n->client;
    struct session *session = n->session;
    struct shard *s = n->shard;
    if (session && session->serving == n)
        session->serving = NULL;
    ask_fini(&n->ask);
    connecting_free(n);
    if (session)
        session_passed_by(session);
    if (c) {
        shard_count(s, N_REFUSED, 1);
        c->state = CLIENT_NEW;
        struct client_connack answer = { .reason = reason, .text = text };
        c->ops->connack(c, &answer);
    }
    return STEP_STOP;
}

static enum step_result refuse_ask(struct connecting *n)
{
    char text[sizeof(n->ask.text)];
    struct ask_text why;
    memcpy(text, n->ask.text, sizeof(text));
    log_info(n->shard->log, "connect_denied", LS("client", identity_id(n->who)),
             LZ("plugin", n->ask.plugin ? n->ask.plugin : "-"), LU("reason", n->ask.reason),
             LZ("text", ask_why(&n->ask, &why)));
    return refuse(n, n->ask.reason ? n->ask.reason : REASON_NOT_AUTHORIZED, text[0] ? text : NULL);
}

/* ---- asking -------------------------------------------------------------------------------------
 */

static void on_verdict(struct ask *ask)
{
    struct connecting *n = container_of(ask, struct connecting, ask);
    n->asking = false;
    connecting_run(n);
}

/* true: it waits. subject is a reference given away. */
static bool ask_about(struct connecting *n, uint32_t hook, struct subject *m_subject,
                      struct message *m_message)
{
    n->ask = (struct ask){ .hook = hook,
                           .who = n->who,
                           .subject = m_subject,
                           .message = m_message,
                           .listener = n->client ? n->client->listener : 0,
                           .done = on_verdict };
    if (hook == PIGEON_HOOK_AUTHENTICATE)
        n->ask.denied_by_default = n->client && !n->client->may_be_anonymous;
    if (hook == PIGEON_HOOK_EXCHANGE)
        n->ask.exchange_slot = &n->exchange_slot;
    n->asking = ask_run(n->shard->hooks, &n->ask) == ASK_WAIT;
    return n->asking;
}

static int keep_text(struct connecting *n, struct str text, struct str *r_view)
{
    size_t at = buf_len(&n->texts);
    if (buf_append_str(&n->texts, text))
        return -ENOMEM;
    /* An offset for now: the buffer may move until the answer is sent (answer_views). */
    *r_view = (struct str){ (const char *)(uintptr_t)(at + 1), text.len };
    return 0;
}

static void resolve(const struct connecting *n, struct str *view)
{
    if (view->ptr)
        view->ptr = buf_ptr(&n->texts) + ((uintptr_t)view->ptr - 1);
}

static int take_property(struct connecting *n, const struct ask_value *v)
{
    if (v->sub == PROPERTY_RESPONSE_INFO)
        return keep_text(n, v->a, &n->answer.response_info);
    if (v->sub == PROPERTY_SERVER_REFERENCE)
        return keep_text(n, v->a, &n->answer.server_reference);
    struct writer w;
    size_t room = (size_t)v->a.len + v->b.len + 5;
    if (buf_reserve(&n->user_props, room))
        return -ENOMEM;
    writer_init(&w, buf_tail(&n->user_props), room);
    property_write_user(&w, v->a, v->b);
    buf_commit(&n->user_props, w.len);
    return 0;
}

static void take_limit(struct client_limits *limits, uint32_t which, uint64_t value)
{
    switch (which) {
    case PIGEON_LIMIT_PUBLISH_RATE: limits->publish_rate = value; break;
    case PIGEON_LIMIT_PUBLISH_BYTES: limits->publish_bytes = value; break;
    case PIGEON_LIMIT_QUEUE_MESSAGES: limits->queue_messages = value; break;
    case PIGEON_LIMIT_QUEUE_BYTES: limits->queue_bytes = value; break;
    case PIGEON_LIMIT_SUBSCRIPTIONS: limits->subscriptions = value; break;
    case PIGEON_LIMIT_PACKET_SIZE: limits->packet_size = value < UINT32_MAX ? value : 0; break;
    case PIGEON_LIMIT_SESSION_EXPIRY: limits->session_expiry_s = value; break;
    case PIGEON_LIMIT_LIFETIME: limits->lifetime_s = value < UINT32_MAX ? value : UINT32_MAX; break;
    default: break;
    }
}

/* Values of any of the connect hooks. id and user name change the identity. */
static int take_values(struct connecting *n)
{
    struct identity_parts parts;
    bool changed = false;
    int r = 0;
    identity_parts(n->who, &parts);
    for (const struct ask_value *v = n->ask.values; v && !r; v = v->next) {
        switch (v->kind) {
        case VALUE_CLIENTID:
            parts.id = v->a;
            changed = true;
            break;
        case VALUE_USERNAME:
            parts.username = v->a;
            parts.has_username = changed = true;
            break;
        case VALUE_KEEPALIVE: n->keepalive_s = (uint16_t)v->num; break;
        case VALUE_CLEAN_START: n->clean_start = v->num != 0; break;
        case VALUE_SESSION_EXPIRY: n->expiry_s = (uint32_t)v->num; break;
        case VALUE_LIMIT: take_limit(&n->client->limits, v->sub, v->num); break;
        case VALUE_PROPERTY: r = take_property(n, v); break;
        default: break; /* password and will are in the rewritten subject already */
        }
    }
    if (r || !changed)
        return r;
    struct identity *who = identity_new(&parts, n->who);
    if (!who)
        return -ENOMEM;
    identity_unref(&n->who);
    n->who = who;
    identity_unref(&n->client->who);
    n->client->who = identity_ref(who);
    return 0;
}

/* Rules of pre_connect are made of the names that the client had then. Would another plugin's
 * values turn them into somebody else's? */
static bool breaks_rules(const struct connecting *n)
{
    const pigeon_client *view = &n->who->view;
    for (const struct ask_value *v = n->ask.values; v; v = v->next) {
        pigeon_str now = v->kind == VALUE_CLIENTID ? view->id : view->username;
        if ((v->kind != VALUE_CLIENTID && v->kind != VALUE_USERNAME) ||
            str_eq(v->a, str_make(now.ptr, now.len)))
            continue;
        if (n->client->has_early_rules)
            return true;
        if (n->ask.hook != PIGEON_HOOK_PRE_CONNECT)
            continue;
        for (const struct ask_value *w = n->ask.values; w; w = w->next)
            if (w->kind == VALUE_ACL && w->entry != v->entry)
                return true;
    }
    return false;
}

static enum step_result refuse_renamed(struct connecting *n)
{
    log_warn(n->shard->log, "connect_renamed", LS("client", identity_id(n->who)),
             LZ("text", "a plugin has set another client id or user name than those for which "
                        "another one had pushed rules in pre_connect"));
    return refuse(n, REASON_NOT_AUTHORIZED, NULL);
}

static void take_subject(struct connecting *n)
{
    struct subject *s = ask_take_subject(&n->ask);
    if (!s)
        return;
    struct subject *old = n->info ? &n->info->base : NULL;
    subject_unref(&old);
    n->info = (struct connect_info *)s;
    n->will_delay_s = n->info->view.will_delay_s;
}

/* ---- the steps ----------------------------------------------------------------------------------
 */

/* Client id and user name as they were sent, and again as the hooks have set them. */
static bool is_banned(struct connecting *n, char *text, size_t size)
{
    if (!admin_is_banned(n->shard->broker, n->who, text, size))
        return false;
    log_info(n->shard->log, "connect_banned", LS("client", identity_id(n->who)),
             LS("address", str_make(n->who->view.address.ptr, n->who->view.address.len)),
             LZ("text", text));
    return true;
}

static enum step_result step_ask_pre_connect(struct connecting *n)
{
    char text[128];
    if (is_banned(n, text, sizeof(text)))
        return refuse(n, REASON_BANNED, text);
    if (n->client->pre_connect_done || !hooks_wants(n->shard->hooks, PIGEON_HOOK_PRE_CONNECT))
        return STEP_CONTINUE;
    return ask_about(n, PIGEON_HOOK_PRE_CONNECT, subject_ref(&n->info->base), NULL) ? STEP_WAIT
                                                                                    : STEP_CONTINUE;
}

static enum step_result step_pre_connect(struct connecting *n)
{
    if (n->ask.hook != PIGEON_HOOK_PRE_CONNECT)
        return STEP_CONTINUE;
    if (n->ask.verdict != PIGEON_ALLOW)
        return refuse_ask(n);
    if (breaks_rules(n))
        return refuse_renamed(n);
    if (ask_value_last(&n->ask, VALUE_ACL))
        n->client->has_early_rules = true;
    take_subject(n);
    int r = take_values(n);
    ask_fini(&n->ask);
    if (r)
        return refuse(n, REASON_SERVER_BUSY, "out of memory");
    struct str id = identity_id(n->who);
    uint32_t home = broker_home(n->shard->broker, id);
    n->client->pre_connect_done =
        true; /* it is asked once, also when the id moves the connection */
    if (home == n->shard->index)
        return STEP_CONTINUE;
    /* The id has changed: its home is another loop. What the hook has set goes along. */
    struct client *c = n->client;
    pigeon_connect view = n->info->view;
    view.keepalive_s = n->keepalive_s;
    view.clean_start = n->clean_start;
    view.session_expiry_s = n->expiry_s;
    struct connect_info *info =
        connect_info_new(&view, id, str_make(n->who->view.username.ptr, n->who->view.username.len),
                         n->info->will ? message_ref(n->info->will) : NULL);
    if (!info)
        return refuse(n, REASON_SERVER_BUSY, "out of memory");
    connecting_free(n);
    c->state = CLIENT_NEW;
    c->ops->move(c, home, info);
    return STEP_STOP;
}

static enum step_result step_ask_authenticate(struct connecting *n)
{
    const pigeon_connect *view = &n->info->view;
    if (!view->auth_method.ptr)
        return ask_about(n, PIGEON_HOOK_AUTHENTICATE, subject_ref(&n->info->base), NULL)
                   ? STEP_WAIT
                   : STEP_CONTINUE;
    struct exchange_info *x = exchange_info_new(
        n->stage, str_make(view->auth_method.ptr, view->auth_method.len),
        n->stage == PIGEON_STAGE_CONNECT ? str_make(view->auth_data.ptr, view->auth_data.len)
                                         : n->auth_data,
        STR_NULL);
    if (!x)
        return refuse(n, REASON_SERVER_BUSY, "out of memory");
    return ask_about(n, PIGEON_HOOK_EXCHANGE, &x->base, NULL) ? STEP_WAIT : STEP_CONTINUE;
}

static enum step_result step_authenticate(struct connecting *n)
{
    struct client *c = n->client;
    const pigeon_connect *view = &n->info->view;
    const struct ask_value *data = ask_value_last(&n->ask, VALUE_AUTH_DATA);
    if (n->ask.verdict == PIGEON_CONTINUE && view->auth_method.ptr) {
        c->state = CLIENT_EXCHANGING;
        n->stage = PIGEON_STAGE_CONTINUE;
        n->step--; /* the client's AUTH asks again */
        c->ops->auth(c, REASON_CONTINUE_AUTHENTICATION,
                     str_make(view->auth_method.ptr, view->auth_method.len),
                     data ? data->a : STR_NULL);
        ask_fini(&n->ask);
        return STEP_WAIT;
    }
    if (n->ask.verdict != PIGEON_ALLOW)
        return refuse_ask(n);
    if (breaks_rules(n))
        return refuse_renamed(n);
    int r = take_values(n);
    if (!r && view->auth_method.ptr) {
        n->answer.auth_method = str_make(view->auth_method.ptr, view->auth_method.len);
        if (data)
            r = keep_text(n, data->a, &n->answer.auth_data);
        if (!r)
            r = str_dup_r(n->answer.auth_method, &c->auth_method);
    }
    ask_fini(&n->ask);
    connect_info_wipe(n->info);
    return r ? refuse(n, REASON_SERVER_BUSY, "out of memory") : STEP_CONTINUE;
}

static enum step_result step_ask_will(struct connecting *n)
{
    char text[128];
    if (is_banned(n, text, sizeof(text)))
        return refuse(n, REASON_BANNED, text);
    if (!n->info->will)
        return STEP_CONTINUE;
    if (str_starts(message_topic(n->info->will), STR("$SYS/")))
        return refuse(n, REASON_NOT_AUTHORIZED, "the will's topic is reserved");
    return ask_about(n, PIGEON_HOOK_AUTHORIZE_WILL, NULL, message_ref(n->info->will))
               ? STEP_WAIT
               : STEP_CONTINUE;
}

static enum step_result step_will(struct connecting *n)
{
    if (!n->info->will)
        return STEP_CONTINUE;
    if (n->ask.verdict != PIGEON_ALLOW)
        return refuse_ask(n);
    ask_fini(&n->ask);
    return STEP_CONTINUE;
}

static uint32_t expiry_capped(const struct connecting *n)
{
    uint64_t cap = (uint64_t)n->shard->broker->config->limits.session_expiry_ms / 1000;
    uint64_t own = n->client->limits.session_expiry_s, expiry = n->expiry_s;
    if (own && (!cap || own < cap))
        cap = own;
    return (uint32_t)(cap && expiry > cap ? cap : expiry);
}

/* From here on the CONNECT has its place among those of its client id. */
static enum step_result step_queue(struct connecting *n)
{
    struct shard *s = n->shard;
    const struct config_limits *limits = &s->broker->config->limits;
    n->expiry_s = expiry_capped(n);
    struct session *session = session_find(s, identity_id(n->who));
    if (!session) { /* one that is there may come back: what it takes makes room */
        if (atomic_load_explicit(&s->broker->short_of_memory, memory_order_relaxed))
            return refuse(n, REASON_QUOTA_EXCEEDED, "the server is short of memory");
        if (limits->sessions && broker_sum(s->broker, N_SESSIONS) >= limits->sessions)
            return refuse(n, REASON_QUOTA_EXCEEDED, "too many sessions");
        session = session_new(s, identity_id(n->who));
        if (!session)
            return refuse(n, REASON_SERVER_BUSY, "out of memory");
    }
    n->session = session;
    n->state = CONNECTING_WAITING;
    list_append(&session->waiting, &n->link);
    if (session->serving)
        return STEP_WAIT;
    n->step++;
    connect_serve(session);
    return STEP_STOP; /* connect_serve has run it, or will */
}

/* P1.3a, b: the old connection goes, then what was submitted for the session is awaited. */
static enum step_result step_take_over(struct connecting *n)
{
    struct session *session = n->session;
    if (session->client) {
        struct client *old = session->client;
        old->ops->close(old, REASON_SESSION_TAKEN_OVER, "another connection uses this client id");
        assert(!session->client);
    }
    return session->n_store ? STEP_WAIT : STEP_CONTINUE;
}

/* P1.3c */
static enum step_result step_session(struct connecting *n)
{
    struct session *session = n->session;
    struct shard *s = n->shard;
    if (session->exists && n->clean_start) {
        session_reset(session, PIGEON_END_REPLACED);
        session->exists = false;
    }
    n->answer.session_present = session->exists;
    timer_stop(loop_timers(s->loop), &session->expiry);
    if (session->will)
        will_cancel(session);
    uint32_t n_subs = map_count(&session->subs);
    n->n_revoked = identity_revocations(n->who);
    if (!n_subs || !hooks_wants(s->hooks, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE))
        return STEP_CONTINUE;
    n->restored = calloc(n_subs, sizeof(struct sub *));
    if (!n->restored)
        return refuse(n, REASON_SERVER_BUSY, "out of memory");
    uint32_t it = 0;
    for (struct sub *sub; (sub = map_next(&session->subs, &it));)
        n->restored[n->n_restored++] = sub;
    return STEP_CONTINUE;
}

/* X1: restored subscriptions are asked about again; a denied one is removed and reported. */
static void settle_restored(struct connecting *n)
{
    revoke_settle(n->session, n->restored[n->next_restored], &n->ask,
                  "restored_subscription_denied", n->client ? n->who : NULL);
}

static enum step_result step_restored(struct connecting *n)
{
    while (n->next_restored < n->n_restored) {
        if (n->ask.hook != PIGEON_HOOK_AUTHORIZE_SUBSCRIBE) {
            struct sub_info *info = revoke_question(n->restored[n->next_restored], true);
            if (!info)
                return refuse(n, REASON_SERVER_BUSY, "out of memory");
            if (ask_about(n, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, &info->base, NULL))
                return STEP_WAIT;
        }
        settle_restored(n);
        ask_fini(&n->ask);
        n->ask.hook = 0;
        n->next_restored++;
    }
    return STEP_CONTINUE;
}

/* Nothing of it is in the store: the session is again what it was. */
static void take_back(struct connecting *n)
{
    struct session *session = n->session;
    session->stored = n->was_stored;
    session->stored_expiry_s = n->old_expiry_s;
    session_set_expiry(session, n->old_expiry_s);
    will_free(&session->will);
}

static void on_commit(struct store_wait *w, int status)
{
    struct connecting *n = container_of(w, struct connecting, wait);
    if (status) {
        log_warn(n->shard->log, "session_not_stored", LS("client", identity_id(n->who)),
                 LI("error", status));
        n->state = CONNECTING_SERVED;
        take_back(n);
        refuse(n, status == -ENOSPC ? REASON_QUOTA_EXCEEDED : REASON_SERVER_UNAVAILABLE,
               "the session could not be stored");
        return;
    }
    connecting_run(n);
}

/* P1.3d: everything about the new connection that has to survive is one unit. */
static enum step_result step_commit(struct connecting *n)
{
    struct session *session = n->session;
    struct hook_loop *hl = n->shard->hooks;
    n->was_stored = session->stored;
    n->old_expiry_s = session->expiry_s;
    if (n->expiry_s) /* it is durable from now on; what ends with its connection only when there is
                        one */
        session_set_expiry(session, n->expiry_s);
    if (n->client && n->info->will &&
        will_set(session, message_ref(n->info->will), n->will_delay_s, n->who))
        return refuse(n, REASON_SERVER_BUSY, "out of memory");
    n->state = CONNECTING_COMMIT;
    if (!session->durable && !session->will && !session->stored)
        return STEP_CONTINUE;
    /* Whoever comes back to a stored session must get in on a full disk, too: only so its queue is
     * emptied. */
    store_unit_begin(hl, broker_durability(n->shard->broker),
                     session->stored && !session->will ? STORE_TRIM : 0);
    session_store_put(session, n->expiry_s);
    if (session->will)
        will_store(session);
    store_wait_init(&n->wait, on_commit);
    if (store_unit_end(hl, &n->wait)) {
        n->state = CONNECTING_SERVED;
        take_back(n);
        return refuse(n, REASON_SERVER_BUSY, "out of memory");
    }
    store_submit(hl);
    return STEP_WAIT;
}

/* The connection died meanwhile: the session stays behind, offline [P1.4]. */
static void attach_nobody(struct session *session, uint32_t expiry_s)
{
    session->exists = true;
    session_set_expiry(session, expiry_s);
    if (session->will)
        will_cancel(session);
    session_detached(&session); /* serves who waits */
}

/* Whoever ends the connections that a new ban is about does not see one under way. */
static void send_away_banned(struct client *c)
{
    char text[128];
    if (!admin_is_banned(c->shard->broker, c->who, text, sizeof(text)))
        return;
    log_info(c->shard->log, "client_banned", LS("client", identity_id(c->who)), LZ("text", text));
    client_close_later(c, REASON_ADMINISTRATIVE_ACTION, "banned");
}

static enum step_result step_attach(struct connecting *n)
{
    struct session *session = n->session;
    struct shard *s = n->shard;
    struct client *c = n->client;
    list_remove(&n->link);
    session->serving = NULL;
    if (!c) {
        uint32_t expiry_s = n->expiry_s;
        connecting_free(n);
        attach_nobody(session, expiry_s);
        return STEP_STOP;
    }
    assert(!session->client && session->n_store == 0);
    session->exists = true;
    session->client = c;
    session_set_expiry(session, n->expiry_s);
    c->session = session;
    c->state = CLIENT_ONLINE;
    c->keepalive_s = n->keepalive_s;
    c->connected_at_ms = shard_now_ms(s);
    shard_count(s, N_CONNECTED, 1);
    broker_note_connected(s->broker);
    events_client(s->hooks, c->who);
    resolve(n, &n->answer.response_info);
    resolve(n, &n->answer.server_reference);
    resolve(n, &n->answer.auth_data);
    n->answer.assigned_id = c->assigned_id;
    n->answer.keepalive_s = n->keepalive_s;
    n->answer.session_expiry_s = n->expiry_s;
    n->answer.user_props = buf_str(&n->user_props);
    n->client = NULL;
    c->connecting = NULL;
    c->n_revoked = n->n_revoked;
    c->ops->connack(c, &n->answer);
    connecting_free(n);
    if (c->state != CLIENT_ONLINE) /* CONNACK could not be sent */
        return STEP_STOP;
    if (s->broker->bus)
        bus_claim(s, c, session->id);
    session_set_online(session, true);
    session_set_limits(session, c);
    deliver_resume(session);
    events_client_ready(s->hooks, c->who);
    if (identity_is_revoked(c->who) || c->n_revoked != identity_revocations(c->who))
        revoke_look(c);
    send_away_banned(c);
    connect_serve(session);
    return STEP_STOP;
}

static const struct {
    const char *name;
    enum step_result (*run)(struct connecting *n);
} connect_steps[] = {
    { "ask pre_connect", step_ask_pre_connect },
    { "pre_connect", step_pre_connect },
    { "ask authenticate", step_ask_authenticate },
    { "authenticate", step_authenticate },
    { "ask will", step_ask_will },
    { "will", step_will },
    { "queue", step_queue },
    { "take over", step_take_over },
    { "session", step_session },
    { "restored subscriptions", step_restored },
    { "commit", step_commit },
    { "attach", step_attach },
};

/* Steps that are run again when their wait is over; after the others the next one looks at the
 * result. */
static bool step_is_repeated(const struct connecting *n)
{
    return connect_steps[n->step].run == step_take_over ||
           connect_steps[n->step].run == step_restored;
}

static void connecting_run(struct connecting *n)
{
    for (;;) {
        n->running = true;
        enum step_result r = connect_steps[n->step].run(n);
        if (r == STEP_STOP)
            return;
        n->running = false;
        if (r == STEP_WAIT) {
            if (!step_is_repeated(n))
                n->step++;
            return;
        }
        n->step++;
    }
}

void connect_serve(struct session *session)
{
    if (session->serving) {
        struct connecting *n = session->serving;
        if (!n->running && connect_steps[n->step].run == step_take_over && !session->n_store)
            connecting_run(n);
        return;
    }
    if (list_empty(&session->waiting))
        return;
    struct connecting *n = container_of(session->waiting.next, struct connecting, link);
    list_remove(&n->link);
    session->serving = n;
    n->state = CONNECTING_SERVED;
    connecting_run(n);
}

void connect_refuse_waiting(struct shard *s, uint8_t reason)
{
    uint32_t it = 0;
    for (struct session *session; (session = map_next(&s->sessions, &it));)
        while (!list_empty(&session->waiting) &&
               session->serving) /* the one served keeps it alive */
            refuse(container_of(session->waiting.next, struct connecting, link), reason, NULL);
}

/* ---- the door -----------------------------------------------------------------------------------
 */

void client_connect(struct client *c, struct connect_info *m_connect)
{
    struct shard *s = c->shard;
    struct subject *info = &m_connect->base;
    SHARD_ASSERT(s);
    struct connecting *n =
        s->stopping || identity_arrive(c->who, s->hooks) ? NULL : calloc(1, sizeof(*n));
    if (!n) {
        subject_unref(&info);
        struct client_connack answer = {
            .reason = s->stopping ? REASON_SERVER_SHUTTING_DOWN : REASON_SERVER_BUSY,
        };
        shard_count(s, N_REFUSED, 1);
        c->ops->connack(c, &answer);
        return;
    }
    n->shard = s;
    n->client = c;
    n->info = m_connect;
    n->who = identity_ref(c->who);
    list_init(&n->link);
    buf_init(&n->user_props);
    buf_init(&n->texts);
    n->clean_start = m_connect->view.clean_start;
    n->keepalive_s = m_connect->view.keepalive_s;
    n->expiry_s = m_connect->view.session_expiry_s;
    n->will_delay_s = m_connect->view.will_delay_s;
    n->stage = PIGEON_STAGE_CONNECT;
    c->connecting = n;
    c->state = CLIENT_CONNECTING;
    shard_count(s, N_CONNECTINGS, 1);
    connecting_run(n);
}

int connect_continue(struct client *c, struct str data)
{
    struct connecting *n = c->connecting;
    str_free(&n->auth_data);
    if (str_dup_r(data, &n->auth_data))
        return -REASON_SERVER_BUSY;
    c->state = CLIENT_CONNECTING;
    n->step = 2;
    assert(connect_steps[n->step].run == step_ask_authenticate);
    connecting_run(n);
    return 0;
}

void connect_gone(struct client *c)
{
    struct connecting *n = c->connecting;
    if (!n)
        return;
    c->connecting = NULL;
    n->client = NULL;
    struct session *session = n->session;
    if (n->asking && n->state == CONNECTING_HOOKS) {
        ask_abandon(n->shard->hooks, &n->ask);
        n->asking = false;
    }
    if (session && session->serving == n)
        return; /* the takeover runs to its end */
    ask_fini(&n->ask);
    connecting_free(n);
    if (session)
        session_passed_by(session);
}
