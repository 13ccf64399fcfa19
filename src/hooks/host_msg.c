/* Messages of plugins: references, publishing, server-side subscriptions. */
#include "hooks/chain.h"
#include "hooks/host_admin.h"
#include "hooks/host_priv.h"
#include "hooks/pending.h"
#include "hooks/worker.h"
#include "mqtt/topic.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define PAYLOAD_MAX 268435455u

/* On the thread of the loop an unshared message is still the loop's own, and becomes shared; what
 * other threads may lay hands on has been shared before they saw it. */
static const pigeon_msg *msg_ref(const pigeon_msg *msg)
{
    struct message *m = message_of(msg);

    if (!m->shared)
        message_share(m);
    return &message_ref(m)->view;
}

static void msg_unref(const pigeon_msg *msg)
{
    struct message *m = message_of(msg);

    if (msg)
        message_unref(&m);
}

static int64_t wall_ms(void)
{
    struct loop *current = loop_current();
    struct timespec ts;

    if (current)
        return (int64_t)loop_wall_ms(current);
    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int32_t check_message(const struct hooks *hooks, const pigeon_msg *msg)
{
    int64_t levels = atomic_load_explicit(&hooks->topic_levels, memory_order_relaxed);
    int32_t r;

    if (!msg || msg->size < offsetof(pigeon_msg, publisher) || msg->qos > 2 || msg->retain > 1)
        return PIGEON_E_INVAL;
    if (msg->payload.len > PAYLOAD_MAX)
        return PIGEON_E_TOOBIG;
    if (msg->payload.len && !msg->payload.ptr)
        return PIGEON_E_INVAL;
    r = host_check_text(msg->topic);
    if (r != PIGEON_OK)
        return r;
    if (!topic_is_name(host_str(msg->topic), levels > 0 ? (uint32_t)levels : TOPIC_MAX_LEVELS))
        return PIGEON_E_INVAL;
    return host_check_props(msg->props);
}

struct message *host_message_new(const struct hooks *hooks, const pigeon_msg *msg, uint8_t origin,
                                 int32_t *r_error)
{
    int32_t r = check_message(hooks, msg);
    struct message_parts parts;
    struct message *m;

    if (r != PIGEON_OK) {
        *r_error = r;
        return NULL;
    }
    parts = (struct message_parts){
        .topic = host_str(msg->topic),
        .props = str_make(msg->props.ptr, msg->props.len),
        .payload = str_make(msg->payload.ptr, msg->payload.len),
        .qos = msg->qos,
        .retain = msg->retain,
        .origin = origin,
        .expires_ms = msg->expires_ms,
        .received_ms = wall_ms(),
        .shared = true,
    };
    m = message_new(&parts);
    if (!m)
        *r_error = PIGEON_E_NOMEM;
    return m;
}

/* ---- publish ------------------------------------------------------------------------- */

struct publish_job {
    struct mail mail;
    struct instance *inst;
    struct message *message;
    pigeon_done_fn done;
    void *arg;
    int32_t status;
};

static void on_published_home(struct loop *here, struct mail *m)
{
    struct publish_job *job = container_of(m, struct publish_job, mail);

    (void)here;
    if (job->done && job->inst->created) {
        struct crumb_call crumb = crumb_begin(job->inst, PIGEON_HOOK_LIFE);

        job->done(job->inst->self, job->arg, job->status);
        crumb_end(crumb);
    }
    free(job);
}

static void on_published(void *arg, int32_t status)
{
    struct publish_job *job = arg;

    job->status = status;
    if (job->done && hooks_is_elsewhere(job->inst->hooks, job->inst->home))
        host_post_home(job->inst, &job->mail, on_published_home);
    else
        on_published_home(NULL, &job->mail);
}

static void on_publish(struct loop *here, struct mail *m)
{
    struct publish_job *job = container_of(m, struct publish_job, mail);
    struct hooks *hooks = job->inst->hooks;
    struct message *message = job->message;

    job->message = NULL;
    if (hooks->stopping || !hooks->ops->publish) {
        message_unref(&message);
        on_published(job, PIGEON_E_GONE);
        return;
    }
    hooks->ops->publish(hooks->broker, loop_index(here), message, on_published, job);
}

static int32_t publish(void *inst, const pigeon_msg *msg, pigeon_done_fn done, void *arg)
{
    struct instance *i = instance_of(inst);
    struct publish_job *job;
    int32_t r = PIGEON_E_NOMEM;

    job = malloc(sizeof(*job));
    if (!job)
        return r;
    *job = (struct publish_job){ .inst = i, .done = done, .arg = arg };
    job->message = host_message_new(i->hooks, msg, PIGEON_ORIGIN_PLUGIN, &r);
    if (!job->message) {
        free(job);
        return r;
    }
    host_post_mail(i, &job->mail, on_publish);
    return PIGEON_OK;
}

/* ---- subscribe ----------------------------------------------------------------------- */

/* The plugin's half lives at home, the broker's on the event loop that serves the instance; the two
 * are one thread unless the instance has a worker. Then every message is a question by mail, and
 * the next one waits for it. */
struct pigeon_subscription {
    struct list link; /* [home] in instance.subscriptions */
    struct instance *inst;
    pigeon_deliver_fn deliver;
    void *arg;
    bool dead; /* [home] */

    /* [event loop] */
    void *broker_sub;      /* NULL: not yet, or it could not be made */
    struct ask_slot *slot; /* a message the plugin still works on */
    bool gone;
    uint8_t qos;
    struct mail make, end; /* `end` may be on its way while `make` still is; it comes behind it */
    struct str filter;     /* in `data`; with a worker only */
    char data[];
};

static void on_delivered(struct ask_slot *slot, int32_t verdict)
{
    struct pigeon_subscription *sub = slot->owner;
    struct hooks *hooks = sub->inst->hooks;

    (void)verdict;
    sub->slot = NULL;
    slot_release(slot);
    if (!sub->gone && !hooks->stopping && hooks->ops->deliver_next)
        hooks->ops->deliver_next(hooks->broker, sub->inst->loop, sub->broker_sub);
}

static void hold(struct pigeon_subscription *sub, struct ask_slot *slot, struct message *m)
{
    slot->message = message_ref(m);
    slot->owner = sub;
    slot->fn = on_delivered;
    slot_count(slot);
    sub->slot = slot;
}

static void on_hop_back(struct loop *here, struct mail *m)
{
    (void)here;
    slot_mail_back(container_of(m, struct ask_slot, hop_mail));
}

static void on_deliver_home(struct loop *here, struct mail *m)
{
    struct ask_slot *slot = container_of(m, struct ask_slot, hop_mail);
    const struct pigeon_subscription *sub = slot->view;
    struct instance *inst = sub->inst;
    int32_t r = PIGEON_OK;

    (void)here;
    if (!sub->dead && inst->created && !inst->hooks->stopping) {
        struct crumb_call crumb = crumb_begin(inst, PIGEON_HOOK_EVENT);

        slot->unseen = false;
        r = sub->deliver(inst->self, sub->arg, slot->req.token, &slot->message->view);
        crumb_end(crumb);
        slot->unseen = r != PIGEON_PENDING;
    }
    if (r != PIGEON_PENDING)
        pending_complete(inst, slot->req.token, PIGEON_OK);
    hooks_post(slot->hl->loop, m, on_hop_back);
}

static int32_t deliver_away(struct pigeon_subscription *sub, struct message *m)
{
    struct instance *inst = sub->inst;
    struct ask_slot *slot = slot_get(inst->hooks->loop[inst->loop]);

    if (!slot) {
        atomic_fetch_add_explicit(&inst->plugin->stats.n_events_lost, 1, memory_order_relaxed);
        return PIGEON_OK;
    }
    if (!m->shared)
        message_share(m);
    slot_open(slot, inst);
    hold(sub, slot, m);
    slot->view = sub;
    slot->unseen = true;
    slot->home = inst->home;
    slot->mails_out++;
    hooks_post(inst->home, &slot->hop_mail, on_deliver_home);
    return PIGEON_PENDING;
}

/* Called by the broker for each message. */
static int32_t on_deliver(void *arg, const struct message *message)
{
    struct pigeon_subscription *sub = arg;
    struct instance *inst = sub->inst;
    struct hook_loop *hl = inst->hooks->loop[inst->loop];
    struct message *m = (struct message *)message;
    struct ask_slot *slot;
    struct crumb_call crumb;
    int32_t r;

    if (sub->gone || !inst->created)
        return PIGEON_OK;
    if (inst->plugin->n_workers)
        return deliver_away(sub, m);
    slot = slot_get(hl);
    if (slot)
        slot_open(slot, inst);
    if (!m->shared)
        message_share(m);
    crumb = crumb_begin(inst, PIGEON_HOOK_EVENT);
    r = sub->deliver(inst->self, sub->arg, slot ? slot->req.token : 0, &m->view);
    crumb_end(crumb);
    if (!slot)
        return PIGEON_OK;
    if (r == PIGEON_PENDING && !sub->gone) {
        hold(sub, slot, m);
        return PIGEON_PENDING;
    }
    if (r == PIGEON_PENDING) { /* unsubscribed within the call: nobody waits for the answer */
        slot->message = message_ref(m);
        slot_count(slot);
        slot_kill(slot, PIGEON_CANCEL_GONE);
    } else if (slot_close(slot)) {
        slot_put(slot);
    }
    return PIGEON_OK;
}

static int32_t subscribe_here(struct pigeon_subscription *sub)
{
    const struct hooks *hooks = sub->inst->hooks;

    return hooks->ops->subscribe(hooks->broker, sub->inst->loop, sub->filter, sub->qos, on_deliver,
                                 sub, &sub->broker_sub);
}

const char *subscription_plugin(const void *arg)
{
    const struct pigeon_subscription *sub = arg;

    return sub->inst->plugin->name;
}

static void on_subscribe(struct loop *here, struct mail *m)
{
    struct pigeon_subscription *sub = container_of(m, struct pigeon_subscription, make);
    const struct hooks *hooks = sub->inst->hooks;

    (void)here;
    if (!hooks->stopping && subscribe_here(sub) < 0)
        log_error(hooks->log, "plugin_subscription_failed", LZ("plugin", sub->inst->plugin->name),
                  LS("filter", sub->filter));
}

static struct pigeon_subscription *subscription_new(struct instance *inst, struct str filter,
                                                    uint32_t qos, pigeon_deliver_fn deliver,
                                                    void *arg)
{
    struct pigeon_subscription *sub = calloc(1, sizeof(*sub) + filter.len + 1);

    if (!sub)
        return NULL;
    sub->inst = inst;
    sub->deliver = deliver;
    sub->arg = arg;
    sub->qos = (uint8_t)qos;
    memcpy(sub->data, filter.ptr, filter.len);
    sub->filter = str_make(sub->data, filter.len);
    return sub;
}

static int32_t subscribe(void *inst, pigeon_str filter, uint32_t qos, pigeon_deliver_fn deliver,
                         void *arg, pigeon_subscription **out)
{
    struct instance *i = instance_of(inst);
    struct pigeon_subscription *sub;
    int32_t r = host_check_text(filter);

    if (!host_check_thread(i, "subscribe"))
        return PIGEON_E_THREAD;
    if (r == PIGEON_OK &&
        (!deliver || !out || qos > 2 || !topic_is_filter(host_str(filter), TOPIC_MAX_LEVELS)))
        r = PIGEON_E_INVAL;
    if (r == PIGEON_OK && !i->hooks->ops->subscribe)
        r = PIGEON_E_NOTSUP;
    if (r != PIGEON_OK)
        return r;
    sub = subscription_new(i, host_str(filter), qos, deliver, arg);
    if (!sub)
        return PIGEON_E_NOMEM;
    if (i->plugin->n_workers && loop_current()) {
        host_post_mail(i, &sub->make, on_subscribe);
    } else {
        r = subscribe_here(sub);
        if (r < 0) {
            free(sub);
            return r;
        }
    }
    list_append(&i->subscriptions, &sub->link);
    *out = sub;
    return PIGEON_OK;
}

static void on_forget(struct loop *here, struct mail *m)
{
    (void)here;
    free(container_of(m, struct pigeon_subscription, end));
}

static void give_up_slot(struct pigeon_subscription *sub)
{
    if (!sub->slot)
        return;
    sub->slot->owner = NULL;
    slot_kill(sub->slot, PIGEON_CANCEL_GONE);
    sub->slot = NULL;
}

/* Messages on their way to a worker name the subscription: it is freed behind them. */
static void on_unsubscribe(struct loop *here, struct mail *m)
{
    struct pigeon_subscription *sub = container_of(m, struct pigeon_subscription, end);
    struct hooks *hooks = sub->inst->hooks;

    sub->gone = true;
    give_up_slot(sub);
    if (hooks->ops->unsubscribe && sub->broker_sub)
        hooks->ops->unsubscribe(hooks->broker, loop_index(here), sub->broker_sub);
    if (sub->inst->plugin->n_workers)
        host_post_home(sub->inst, m, on_forget);
    else
        free(sub);
}

/* Takes effect behind the running callback, which may be this subscription's own. */
static void unsubscribe(pigeon_subscription *sub)
{
    if (!sub || sub->dead || !host_check_thread(sub->inst, "unsubscribe"))
        return;
    sub->dead = true;
    if (!sub->inst->plugin->n_workers) {
        sub->gone = true;
        give_up_slot(sub);
    }
    list_remove(&sub->link);
    host_post_mail(sub->inst, &sub->end, on_unsubscribe);
}

/* What the plugin has left: the broker must not deliver to it any more. */
void host_msg_drop(struct instance *inst)
{
    const struct hooks *hooks = inst->hooks;
    struct list *it;

    while ((it = list_pop(&inst->subscriptions)) != NULL) {
        struct pigeon_subscription *sub = container_of(it, struct pigeon_subscription, link);

        if (sub->slot)
            sub->slot->owner = NULL;
        if (hooks->ops->unsubscribe && sub->broker_sub)
            hooks->ops->unsubscribe(hooks->broker, inst->loop, sub->broker_sub);
        free(sub);
    }
}

void host_msg_fill(pigeon_host *host)
{
    host->msg_ref = msg_ref;
    host->msg_unref = msg_unref;
    host->publish = publish;
    host->subscribe = subscribe;
    host->unsubscribe = unsubscribe;
}
