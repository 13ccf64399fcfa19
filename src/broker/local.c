#include "broker/local.h"
#include "broker/admin.h"
#include "broker/bus.h"
#include "broker/publish.h"
#include "broker/revoke.h"
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
    struct broker *b = broker;
    broker_metrics(b, fn, arg);
    store_metrics(b->hooks, fn, arg);
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

const struct hooks_ops local_hooks_ops = {
    .publish = op_publish,
    .subscribe = op_subscribe,
    .unsubscribe = op_unsubscribe,
    .deliver_next = op_deliver_next,
    .kick = op_kick,
    .invalidate = revoke_order,
    .info = op_info,
    .metrics = op_metrics,
    .store_failed = op_store_failed,
    .store_room = op_store_room,
    .admin = &admin_hooks_ops,
};
