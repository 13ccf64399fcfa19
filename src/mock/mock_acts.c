/* What a plugin does by itself: messages, subscriptions, kicks. */
#include "mock/mock_priv.h"
#include "mqtt/topic.h"
#include <stdlib.h>

struct pigeon_subscription {
    struct list link; /* in pigeon_mock.subscriptions */
    pigeon_mock *mock;
    char *filter;
    pigeon_deliver_fn deliver;
    void *arg;
};

void act_add(pigeon_mock *m, const pigeon_mock_act *act)
{
    struct act_node *a = mock_alloc(sizeof(*a) + act->text.len + act->more.len + 2);

    a->act = *act;
    mock_put(mock_put((char *)(a + 1), act->text, &a->act.text), act->more, &a->act.more);
    *m->last_act = a;
    m->last_act = &a->next;
}

void acts_free(pigeon_mock *m)
{
    for (struct act_node *a = m->acts, *next; a; a = next) {
        next = a->next;
        free(a);
    }
    m->acts = NULL;
    m->last_act = &m->acts;
}

const pigeon_mock_act *pigeon_mock_did(pigeon_mock *m, uint32_t kind, uint32_t i)
{
    const pigeon_mock_act *found = NULL;

    pthread_mutex_lock(&m->lock);
    for (struct act_node *a = m->acts; a && !found; a = a->next)
        if (a->act.kind == kind && i-- == 0)
            found = &a->act;
    pthread_mutex_unlock(&m->lock);
    return found;
}

uint32_t pigeon_mock_did_count(pigeon_mock *m, uint32_t kind)
{
    uint32_t n = 0;

    pthread_mutex_lock(&m->lock);
    for (struct act_node *a = m->acts; a; a = a->next)
        n += a->act.kind == kind;
    pthread_mutex_unlock(&m->lock);
    return n;
}

static bool is_text(pigeon_str s)
{
    return mock_check_text(s) == PIGEON_OK;
}

static bool is_name(pigeon_str s)
{
    return is_text(s) && topic_is_name(str_make(s.ptr, s.len), TOPIC_MAX_LEVELS);
}

static int32_t publish_locked(pigeon_mock *m, const pigeon_msg *msg, pigeon_done_fn done, void *arg)
{
    int32_t error = mock_fault(m, PIGEON_MOCK_FAIL_PUBLISH);

    if (error)
        return error;
    act_add(m, &(pigeon_mock_act){
                   .kind = PIGEON_MOCK_DID_PUBLISH,
                   .text = msg->topic,
                   .more = pigeon_text((const char *)msg->payload.ptr, msg->payload.len),
                   .qos = msg->qos,
                   .retain = msg->retain });
    post_done(m, done, arg, m->publish_status);
    return PIGEON_OK;
}

static int32_t publish(void *inst, const pigeon_msg *msg, pigeon_done_fn done, void *arg)
{
    pigeon_mock *m = inst;
    int32_t r;

    if (!msg || msg->qos > 2 || !is_name(msg->topic) || (msg->payload.len && !msg->payload.ptr))
        return PIGEON_E_INVAL;
    pthread_mutex_lock(&m->lock);
    r = publish_locked(m, msg, done, arg);
    pthread_mutex_unlock(&m->lock);
    return r;
}

void pigeon_mock_set_publish_status(pigeon_mock *m, int32_t status)
{
    m->publish_status = status;
}

/* ---- subscriptions --------------------------------------------------------------------------- */

static int32_t record(pigeon_mock *m, uint32_t sort, const pigeon_mock_act *act)
{
    int32_t error = 0;

    pthread_mutex_lock(&m->lock);
    if (sort < PIGEON_MOCK_FAIL_COUNT)
        error = mock_fault(m, sort);
    if (!error)
        act_add(m, act);
    pthread_mutex_unlock(&m->lock);
    return error;
}

static int32_t subscribe(void *inst, pigeon_str filter, uint32_t qos, pigeon_deliver_fn deliver,
                         void *arg, pigeon_subscription **out)
{
    pigeon_mock *m = inst;
    struct pigeon_subscription *s;
    int32_t error;

    if (!mock_must_be_loop(m, "subscribe"))
        return PIGEON_E_THREAD;
    if (qos > 2 || !deliver || !out || !is_text(filter) ||
        !topic_is_filter(str_make(filter.ptr, filter.len), TOPIC_MAX_LEVELS))
        return PIGEON_E_INVAL;
    error = record(
        m, PIGEON_MOCK_FAIL_SUBSCRIBE,
        &(pigeon_mock_act){ .kind = PIGEON_MOCK_DID_SUBSCRIBE, .number = qos, .text = filter });
    if (error)
        return error;
    s = mock_alloc(sizeof(*s));
    s->mock = m;
    s->filter = mock_dup(filter.ptr, filter.len);
    s->deliver = deliver;
    s->arg = arg;
    list_append(&m->subscriptions, &s->link);
    *out = s;
    return PIGEON_OK;
}

static void subscription_free(struct pigeon_subscription *s)
{
    list_remove(&s->link);
    free(s->filter);
    free(s);
}

static void unsubscribe(pigeon_subscription *s)
{
    if (!s || !mock_must_be_loop(s->mock, "unsubscribe"))
        return;
    record(s->mock, PIGEON_MOCK_FAIL_COUNT,
           &(pigeon_mock_act){ .kind = PIGEON_MOCK_DID_UNSUBSCRIBE, .text = pigeon_z(s->filter) });
    subscription_free(s);
}

void subscriptions_drop(pigeon_mock *m)
{
    while (!list_empty(&m->subscriptions))
        subscription_free(container_of(m->subscriptions.next, struct pigeon_subscription, link));
}

pigeon_mock_ask *pigeon_mock_deliver(pigeon_mock *m, const pigeon_msg *msg, uint32_t i)
{
    LIST_FOREACH (it, &m->subscriptions) {
        struct pigeon_subscription *s = container_of(it, struct pigeon_subscription, link);
        pigeon_mock_ask *ask;

        if (!topic_matches(str_from(s->filter), str_make(msg->topic.ptr, msg->topic.len)) ||
            i-- > 0)
            continue;
        ask = ask_new(m, NULL, 0);
        ask->messages[0] = msg_new(m, msg);
        return ask_returned(ask, s->deliver(m->self, s->arg, ask->token, &ask->messages[0]->view));
    }
    return NULL;
}

/* ---- clients --------------------------------------------------------------------------------- */

static int32_t kick(void *inst, pigeon_str client_id, uint32_t mqtt_reason, const char *text)
{
    if (mqtt_reason == 0)
        mqtt_reason = 0x98;
    if (client_id.len == 0 || !is_text(client_id) || mqtt_reason < 0x80 || mqtt_reason > 0xff)
        return PIGEON_E_INVAL;
    return record(inst, PIGEON_MOCK_FAIL_KICK,
                  &(pigeon_mock_act){ .kind = PIGEON_MOCK_DID_KICK,
                                      .number = mqtt_reason,
                                      .text = client_id,
                                      .more = pigeon_z(text) });
}

static int32_t invalidate(void *inst, pigeon_str client_id, pigeon_str username)
{
    return record(inst, PIGEON_MOCK_FAIL_KICK,
                  &(pigeon_mock_act){
                      .kind = PIGEON_MOCK_DID_INVALIDATE, .text = client_id, .more = username });
}

void mock_fill_acts(pigeon_host *h)
{
    h->msg_ref = mock_msg_ref;
    h->msg_unref = mock_msg_unref;
    h->publish = publish;
    h->subscribe = subscribe;
    h->unsubscribe = unsubscribe;
    h->kick = kick;
    h->invalidate = invalidate;
}
