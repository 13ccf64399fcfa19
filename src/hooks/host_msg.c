/* Messages of plugins: references, publishing, server-side subscriptions. */
#include "hooks/chain.h"
#include "hooks/host_priv.h"
#include "hooks/pending.h"
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
};

static void on_published(void *arg, int32_t status)
{
    struct publish_job *job = arg;

    if (job->done && job->inst->created)
        job->done(job->inst->self, job->arg, status);
    free(job);
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

struct pigeon_subscription {
    struct list link; /* in instance.subscriptions */
    struct instance *inst;
    pigeon_deliver_fn deliver;
    void *arg;
    void *broker_sub;
    struct ask_slot *slot; /* a message the plugin still works on */
    bool dead;
    struct mail mail;
};

static void on_delivered(struct ask_slot *slot, int32_t verdict)
{
    struct pigeon_subscription *sub = slot->owner;
    struct hooks *hooks = sub->inst->hooks;

    (void)verdict;
    sub->slot = NULL;
    slot_release(slot);
    if (!sub->dead && !hooks->stopping && hooks->ops->deliver_next)
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

/* Called by the broker for each message. */
static int32_t on_deliver(void *arg, const struct message *message)
{
    struct pigeon_subscription *sub = arg;
    struct instance *inst = sub->inst;
    struct hook_loop *hl = inst->hooks->loop[inst->loop];
    struct message *m = (struct message *)message;
    struct ask_slot *slot;
    int32_t r;

    if (sub->dead || !inst->created)
        return PIGEON_OK;
    slot = slot_get(hl);
    if (slot)
        slot_open(slot, inst);
    if (!m->shared)
        message_share(m);
    r = sub->deliver(inst->self, sub->arg, slot ? slot->req.token : 0, &m->view);
    if (!slot)
        return PIGEON_OK;
    if (r == PIGEON_PENDING && !sub->dead) {
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

static int32_t subscribe(void *inst, pigeon_str filter, uint32_t qos, pigeon_deliver_fn deliver,
                         void *arg, pigeon_subscription **out)
{
    struct instance *i = instance_of(inst);
    struct pigeon_subscription *sub;
    int32_t r = host_check_text(filter);

#ifndef NDEBUG
    if (!host_on_loop(i))
        return PIGEON_E_THREAD;
#endif
    if (r == PIGEON_OK &&
        (!deliver || !out || qos > 2 || !topic_is_filter(host_str(filter), TOPIC_MAX_LEVELS)))
        r = PIGEON_E_INVAL;
    if (r == PIGEON_OK && !i->hooks->ops->subscribe)
        r = PIGEON_E_NOTSUP;
    if (r != PIGEON_OK)
        return r;
    sub = calloc(1, sizeof(*sub));
    if (!sub)
        return PIGEON_E_NOMEM;
    sub->inst = i;
    sub->deliver = deliver;
    sub->arg = arg;
    r = i->hooks->ops->subscribe(i->hooks->broker, i->loop, host_str(filter), (uint8_t)qos,
                                 on_deliver, sub, &sub->broker_sub);
    if (r < 0) {
        free(sub);
        return r;
    }
    list_append(&i->subscriptions, &sub->link);
    *out = sub;
    return PIGEON_OK;
}

static void on_unsubscribe(struct loop *here, struct mail *m)
{
    struct pigeon_subscription *sub = container_of(m, struct pigeon_subscription, mail);
    struct hooks *hooks = sub->inst->hooks;

    if (hooks->ops->unsubscribe)
        hooks->ops->unsubscribe(hooks->broker, loop_index(here), sub->broker_sub);
    free(sub);
}

/* Takes effect behind the running callback, which may be this subscription's own. */
static void unsubscribe(pigeon_subscription *sub)
{
    if (!sub || sub->dead)
        return;
#ifndef NDEBUG
    if (!host_on_loop(sub->inst))
        return;
#endif
    sub->dead = true;
    if (sub->slot) {
        sub->slot->owner = NULL;
        slot_kill(sub->slot, PIGEON_CANCEL_GONE);
        sub->slot = NULL;
    }
    list_remove(&sub->link);
    host_post_mail(sub->inst, &sub->mail, on_unsubscribe);
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
        if (hooks->ops->unsubscribe)
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
