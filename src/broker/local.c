#include "broker/local.h"
#include "broker/admin.h"
#include "broker/bus.h"
#include "broker/publish.h"
#include "broker/session.h"
#include "hooks/ask.h"
#include "mqtt/topic.h"
#include <errno.h>
#include <stdlib.h>

#define LOCAL_NUMBER \
    (UINT64_C(1) << 63)    /* never a session's, not even one that is restored later */
#define WAITING_MAX 10000u /* messages that wait for a plugin which said PENDING */

/* A plugin's subscription: a receiver with a slot and a number, but without a session. */
struct local_sub {
    struct shard *shard;
    uint64_t number;
    uint32_t slot;
    struct str filter; /* owned */
    uint8_t qos;
    int32_t (*deliver)(void *arg, const struct message *message);
    void *arg;
    struct list waiting; /* struct waiting: behind a message that is PENDING */
    uint32_t n_waiting;
    bool pending, in_call, gone;
};

struct waiting {
    struct list link;
    struct message *message;
};

/* ---- messages for plugins -----------------------------------------------------------------------
 */

static void local_free(struct local_sub *sub)
{
    for (struct list *l; (l = list_pop(&sub->waiting));) {
        struct waiting *w = container_of(l, struct waiting, link);
        message_unref(&w->message);
        free(w);
    }
    str_free(&sub->filter);
    free(sub);
}

static void hand(struct local_sub *sub, struct message *m)
{
    sub->in_call = true;
    sub->pending = sub->deliver(sub->arg, m) == PIGEON_PENDING;
    sub->in_call = false;
    if (sub->gone)
        local_free(sub);
}

void local_deliver(struct local_sub *sub, uint64_t number, struct message *message)
{
    if (sub->number != number || sub->gone)
        return;
    if (!sub->pending && !sub->in_call) {
        hand(sub, message);
        return;
    }
    struct waiting *w = sub->n_waiting < WAITING_MAX ? malloc(sizeof(*w)) : NULL;
    if (!w) {
        shard_count(sub->shard, N_DROPPED + PIGEON_DROP_QUEUE_FULL, 1);
        return;
    }
    w->message = message_ref(message);
    list_append(&sub->waiting, &w->link);
    sub->n_waiting++;
}

static void op_deliver_next(void *broker, uint32_t loop, void *subscription)
{
    (void)broker;
    (void)loop;
    struct local_sub *sub = subscription;
    sub->pending = false;
    while (!sub->pending && !list_empty(&sub->waiting)) {
        struct waiting *w = container_of(list_pop(&sub->waiting), struct waiting, link);
        struct message *m = w->message;
        bool last = sub->gone;
        free(w);
        sub->n_waiting--;
        if (!last)
            hand(sub, m);
        message_unref(&m);
        if (last)
            return;
    }
}

static int32_t op_subscribe(void *broker, uint32_t loop, struct str filter, uint8_t qos,
                            int32_t (*deliver)(void *arg, const struct message *message), void *arg,
                            void **r_subscription)
{
    struct broker *b = broker;
    struct shard *s = &b->shards[loop];
    if (!topic_is_filter(filter, TOPIC_MAX_LEVELS))
        return PIGEON_E_INVAL;
    struct local_sub *sub = calloc(1, sizeof(*sub));
    if (!sub)
        return PIGEON_E_NOMEM;
    list_init(&sub->waiting);
    sub->shard = s;
    sub->qos = qos & SUB_QOS_MASK;
    sub->deliver = deliver;
    sub->arg = arg;
    sub->number = LOCAL_NUMBER | atomic_fetch_add(&b->next_session, 1);
    if (str_dup_r(filter, &sub->filter) || shard_take_slot(s, &sub->slot)) {
        local_free(sub);
        return PIGEON_E_NOMEM;
    }
    s->slots[sub->slot].local = sub;
    pthread_mutex_lock(&b->tree_lock);
    int r = interest_put(b, loop, filter, STR_NULL,
                         (struct index_who){ sub->number, sub->slot, loop }, qos & SUB_QOS_MASK, 0);
    pthread_mutex_unlock(&b->tree_lock);
    if (r < 0) {
        shard_give_slot(s, sub->slot);
        local_free(sub);
        return PIGEON_E_NOMEM;
    }
    *r_subscription = sub;
    return PIGEON_OK;
}

static void op_unsubscribe(void *broker, uint32_t loop, void *subscription)
{
    struct broker *b = broker;
    struct local_sub *sub = subscription;
    pthread_mutex_lock(&b->tree_lock);
    interest_remove(b, loop, sub->filter, STR_NULL, sub->number, 0);
    pthread_mutex_unlock(&b->tree_lock);
    shard_give_slot(sub->shard, sub->slot);
    sub->gone = true;
    if (!sub->in_call)
        local_free(sub);
}

void local_view(const struct local_sub *sub, pigeon_sub *r_view, const char **r_plugin)
{
    pigeon_str filter = { .ptr = sub->filter.ptr, .len = sub->filter.len };
    *r_view = (pigeon_sub){ .size = sizeof(*r_view),
                            .filter = filter,
                            .effective = filter,
                            .share = { .ptr = "" },
                            .qos = sub->qos,
                            .granted = sub->qos };
    *r_plugin = subscription_plugin(sub->arg);
}

/* ---- the rest of what plugins may do
 * --------------------------------------------------------------- */

static void op_publish(void *broker, uint32_t loop, struct message *m_message,
                       void (*done)(void *arg, int32_t status), void *arg)
{
    struct broker *b = broker;
    publish_start(&b->shards[loop], m_message, PIGEON_ORIGIN_PLUGIN, done, arg);
}

static void op_kick(void *broker, uint32_t loop, struct str client_id, uint8_t reason,
                    const char *text)
{
    struct broker *b = broker;
    broker_kick(&b->shards[loop], client_id, reason, text);
}

static void op_info(void *broker, pigeon_info *info)
{
    broker_info(broker, info);
}

static void op_metrics(void *broker, pigeon_metric_fn fn, void *arg)
{
    const struct broker *b = broker;
    if (b->bus)
        bus_metrics(b->bus, fn, arg);
}

static void op_store_failed(void *broker, const char *text)
{
    struct broker *b = broker;
    if (atomic_exchange(&b->store_failed, 1))
        return;
    log_error(b->log, "store_failed", LZ("reason", text),
              LZ("outcome", "nothing more is acknowledged; leaving to be restarted"));
    if (b->on_store_failed)
        b->on_store_failed(b->ctx);
}

static void op_store_room(void *broker, uint32_t loop)
{
    (void)broker;
    (void)loop; /* units that wait for room are submitted again by the store's door itself */
}

/* ---- invalidate: the rights of some clients are asked about again [X3]
 * ------------------------------ */

struct recheck {
    uint64_t number;
    struct shard *shard;
    uint32_t slot;
    uint32_t n, next;
    struct identity *who; /* reference */
    struct ask ask;
    struct str keys[];
};

static void recheck_next(struct recheck *r);

static void recheck_free(struct recheck *r)
{
    for (uint32_t i = 0; i < r->n; i++)
        str_free(&r->keys[i]);
    identity_unref(&r->who);
    free(r);
}

static void recheck_settle(struct recheck *r, struct session *session)
{
    struct str key = r->keys[r->next];
    if (r->ask.verdict == PIGEON_ALLOW || !session_sub(session, key))
        return;
    log_info(r->shard->log, "subscription_revoked", LS("client", session->id), LS("filter", key),
             LZ("plugin", r->ask.plugin ? r->ask.plugin : "-"));
    if (session->stored) {
        store_unit_begin(r->shard->hooks, PIGEON_DURABILITY_OS, STORE_AGAIN | STORE_TRIM);
        store_sub_del(r->shard->hooks, session->number, key);
        store_unit_end(r->shard->hooks, NULL);
    }
    if (session->client)
        events_unsubscribed(r->shard->hooks, session->client->who, &key, 1);
    session_unsubscribe(session, key);
}

static void on_recheck(struct ask *ask)
{
    struct recheck *r = container_of(ask, struct recheck, ask);
    struct session *session = session_at(r->shard, r->slot, r->number);
    if (session)
        recheck_settle(r, session);
    ask_fini(&r->ask);
    r->next++;
    recheck_next(r);
}

static void recheck_next(struct recheck *r)
{
    for (; r->next < r->n; r->next++) {
        struct session *session = session_at(r->shard, r->slot, r->number);
        struct sub *sub =
            session && session->client ? session_sub(session, r->keys[r->next]) : NULL;
        if (!sub)
            continue;
        pigeon_sub view;
        sub_view(sub, &view);
        struct sub_info *info = sub_info_new(&view);
        if (!info) { /* what nobody can be asked about is not allowed */
            r->ask = (struct ask){ .verdict = PIGEON_DENY };
            recheck_settle(r, session);
            continue;
        }
        r->ask = (struct ask){ .hook = PIGEON_HOOK_AUTHORIZE_SUBSCRIBE,
                               .who = r->who,
                               .subject = &info->base,
                               .listener = session->client->listener,
                               .done = on_recheck };
        if (ask_run(r->shard->hooks, &r->ask) == ASK_WAIT)
            return;
        recheck_settle(r, session);
        ask_fini(&r->ask);
    }
    recheck_free(r);
}

static void recheck(struct session *session)
{
    uint32_t n = map_count(&session->subs), it = 0;
    struct recheck *r = n ? calloc(1, sizeof(*r) + n * sizeof(r->keys[0])) : NULL;
    if (!r)
        return;
    r->shard = session->shard;
    r->number = session->number;
    r->slot = session->slot;
    r->who = identity_ref(session->client->who);
    for (struct sub *sub; (sub = map_next(&session->subs, &it));)
        if (!str_dup_r(sub->key, &r->keys[r->n]))
            r->n++;
    recheck_next(r);
}

static bool is_meant(const struct session *session, struct str client_id, struct str username)
{
    if (!session->client)
        return false;
    const pigeon_client *view = &session->client->who->view;
    return (!client_id.len || str_eq(client_id, session->id)) &&
           (!username.len || str_eq(username, str_make(view->username.ptr, view->username.len)));
}

/* What the plugin has pushed for the clients that are meant, or said and let be remembered, is
 * dropped before this loop's live subscriptions are asked about again. */
static void local_invalidate(void *broker, uint32_t loop, const char *plugin, struct str client_id,
                             struct str username)
{
    struct broker *b = broker;
    struct shard *s = &b->shards[loop];
    bool asks = hooks_wants(s->hooks, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE);
    uint32_t it = 0;
    for (struct session *session; (session = map_next(&s->sessions, &it));) {
        if (!is_meant(session, client_id, username))
            continue;
        identity_drop_rules(session->client->who, plugin);
        if (asks)
            recheck(session);
    }
}

const struct hooks_ops local_hooks_ops = {
    .publish = op_publish,
    .subscribe = op_subscribe,
    .unsubscribe = op_unsubscribe,
    .deliver_next = op_deliver_next,
    .kick = op_kick,
    .invalidate = local_invalidate,
    .info = op_info,
    .metrics = op_metrics,
    .store_failed = op_store_failed,
    .store_room = op_store_room,
    .admin = &admin_hooks_ops,
};
