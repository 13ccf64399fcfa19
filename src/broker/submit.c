#include "broker/submit.h"
#include "broker/broker.h"
#include "broker/bus.h"
#include "broker/session.h"
#include "mqtt/topic.h"
#include "wire/reason.h"
#include <errno.h>
#include <stdlib.h>

static void on_commit(struct store_wait *w, int status);

void submit_init(struct publish *p)
{
    list_init(&p->turn);
    list_init(&p->line);
    store_wait_init(&p->wait, on_commit);
}

static bool stores_incoming_id(const struct publish *p)
{
    const struct session *session = p->qos == 2 ? publish_session(p) : NULL;
    return session && session->stored;
}

bool submit_is_needed(const struct publish *p, const struct match *m)
{
    return p->retained || p->will_of || (p->message->view.qos > 0 && m->any_durable) ||
           stores_incoming_id(p);
}

/* ---- receivers that outlive the match -----------------------------------------------------------
 */

static int keep_receivers(struct publish *p, const struct match *m)
{
    uint32_t n_loops = p->shard->broker->n_loops;
    p->rcpts = malloc(m->n * sizeof(*m->rcpts) + (n_loops + 1 + m->n_ids) * sizeof(uint32_t));
    if (!p->rcpts)
        return -ENOMEM;
    p->first = (uint32_t *)(p->rcpts + m->n);
    p->ids = p->first + n_loops + 1;
    if (m->n)
        memcpy(p->rcpts, m->rcpts, m->n * sizeof(*m->rcpts));
    memcpy(p->first, m->first, (n_loops + 1) * sizeof(uint32_t));
    if (m->n_ids)
        memcpy(p->ids, m->ids, m->n_ids * sizeof(uint32_t));
    p->n_rcpts = m->n;
    for (uint32_t i = 0; i < m->n; i++)
        if (p->rcpts[i].share)
            share_ref(p->rcpts[i].share);
    return 0;
}

static void drop_receivers(struct publish *p)
{
    for (uint32_t i = 0; i < p->n_rcpts; i++)
        if (p->rcpts[i].share)
            share_unref(&p->rcpts[i].share);
    free(p->rcpts);
    p->rcpts = NULL;
    p->n_rcpts = 0;
}

void submit_forget(struct publish *p)
{
    list_remove(&p->turn);
    list_remove(&p->line);
    store_wait_cancel(&p->wait);
    drop_receivers(p);
    message_unref(&p->before);
    message_unref(&p->kept);
}

/* ---- the unit of one publish --------------------------------------------------------------------
 */

static bool match_topic(struct str filter, struct str topic)
{
    return topic_matches(filter, topic);
}

static uint32_t durability_of(const struct publish *p)
{
    return (uint32_t)config_durability_of(p->shard->broker->config, message_topic(p->message),
                                          match_topic);
}

/* QUEUE_ADD for the receivers that outlive their connection. */
static int add_to_queues(struct publish *p)
{
    struct store_rcpt *rcpts = malloc(p->n_rcpts * sizeof(*rcpts));
    uint32_t n = 0;
    if (!rcpts)
        return -ENOMEM;
    for (uint32_t i = 0; i < p->n_rcpts; i++) {
        const struct receiver *r = &p->rcpts[i];
        uint8_t qos = r->qos < p->message->view.qos ? r->qos : p->message->view.qos;
        if (!qos || !(r->flags & SUB_DURABLE))
            continue;
        rcpts[n++] = (struct store_rcpt){
            .session = r->who.session,
            .qos = qos,
            .retain = p->message->view.retain && (r->flags & SUB_RETAIN_AS_PUBLISHED),
            .n_ids = r->n_ids,
            .ids = p->ids + r->first_id,
            .share = r->share ? share_name(r->share) : STR_NULL,
        };
    }
    if (n)
        store_queue_add(p->shard->hooks, p->message, rcpts, n);
    free(rcpts);
    return 0;
}

void submit_will_row(struct publish *p)
{
    if (p->ends_session)
        store_session_del(p->shard->hooks, p->will_of);
    else
        store_will_del(p->shard->hooks, p->will_of);
}

/* The numbers of this run would be wrong in the next one. */
static bool is_of_this_life(const struct publish *p)
{
    return str_starts(message_topic(p->message), STR("$SYS/"));
}

/* Retained message, queue rows, incoming QoS 2 identifier, the will that this is: all or nothing.
 */
static int make_unit(struct publish *p, bool any_durable)
{
    struct hook_loop *hl = p->shard->hooks;
    struct session *session = publish_session(p);
    bool with_id = stores_incoming_id(p);
    bool keeps = p->retained && !is_of_this_life(p);
    if (!keeps && !any_durable && !with_id && !p->will_of)
        return 0;
    store_unit_begin(hl, durability_of(p), 0);
    if (keeps && p->message->view.payload.len)
        store_retain_put(hl, p->kept);
    else if (keeps)
        store_retain_del(hl, message_topic(p->message));
    int r = any_durable ? add_to_queues(p) : 0;
    struct incoming_id *in = with_id ? incoming_find(&session->in, p->packet_id) : NULL;
    if (in) {
        store_in_add(hl, p->session, p->packet_id);
        in->stored = true;
    }
    if (p->will_of)
        submit_will_row(p);
    int ended = store_unit_end(hl, &p->wait);
    return r || ended ? -ENOMEM : 0;
}

/* ---- retained -----------------------------------------------------------------------------------
 */

/* limits.retained_ttl: the copy in tree and store expires, the one on its way does not. */
static struct message *with_ttl(struct publish *p)
{
    int64_t ttl_ms = p->shard->broker->config->limits.retained_ttl_ms;
    struct message_parts parts;
    message_parts(p->message, &parts);
    int64_t expires_ms = parts.received_ms + ttl_ms;
    if (!ttl_ms || (parts.expires_ms && parts.expires_ms <= expires_ms))
        return message_ref(p->message);
    parts.hide_expiry = !parts.expires_ms;
    parts.expires_ms = expires_ms;
    return message_new(&parts);
}

/* [tree lock] */
static int write_retained(struct publish *p)
{
    struct broker *b = p->shard->broker;
    struct retained_limits limits = { (uint64_t)b->config->limits.retained_messages,
                                      (uint64_t)b->config->limits.retained_bytes };
    int dated = b->bus ? bus_date(p->shard, &p->message) : 1;
    if (dated <= 0) {
        p->retained = false; /* what is there is newer */
        return dated;
    }
    p->kept = with_ttl(p);
    if (!p->kept)
        return -ENOMEM;
    p->before = retained_get(b->retained, message_topic(p->message));
    return retained_put(b->retained, p->shard->index, p->kept, &limits, &p->version);
}

static void restore_retained(struct publish *p)
{
    struct broker *b = p->shard->broker;
    struct str topic = message_topic(p->message);
    struct retained_limits none = { 0 };
    uint64_t version;
    pthread_mutex_lock(&b->tree_lock);
    if (p->message->view.payload.len == 0) {
        struct message *now = retained_get(b->retained, topic);
        if (!now && p->before)
            retained_put(b->retained, p->shard->index, p->before, &none, &version);
        message_unref(&now);
    } else if (retained_delete(b->retained, p->shard->index, topic, p->version) && p->before) {
        retained_put(b->retained, p->shard->index, p->before, &none, &version);
    }
    pthread_mutex_unlock(&b->tree_lock);
}

void submit_take_back(struct publish *p)
{
    if (p->retained)
        restore_retained(p);
    if (p->routed && p->rcpts) {
        struct routed r = {
            .message = p->message, .ids = p->ids, .pos = p->wait.pos, .retract = true
        };
        route_all(p->shard, &r, p->rcpts, p->first);
    }
}

/* ---- the turn -----------------------------------------------------------------------------------
 */

static void count(struct publish *p)
{
    struct session *session = publish_session(p);
    if (!session)
        return;
    p->counted = true;
    session_store_begin(session);
}

void submit_append(struct publish *p)
{
    struct shard *s = p->shard;
    list_append(&s->submitting, &p->turn);
    if (p->message->view.qos == 2)
        list_append(&s->qos2_line, &p->line);
    count(p); /* a takeover waits for it from now on [P1.3b] */
}

static void go_on(struct publish *p)
{
    struct shard *s = p->shard;
    uint32_t slot = p->slot;
    uint64_t number = p->counted ? p->session : 0;
    p->counted = false;
    publish_run(p);
    if (number)
        session_store_done(s, slot, number);
}

/* QoS 2 goes on in the order in which it came, as far as it is answered. */
static void advance_line(struct shard *s)
{
    while (!list_empty(&s->qos2_line)) {
        struct publish *p = container_of(s->qos2_line.next, struct publish, line);
        if (!p->answered)
            return;
        list_remove(&p->line);
        go_on(p);
    }
}

static void answered(struct publish *p)
{
    struct shard *s = p->shard;
    p->answered = true;
    if (list_linked(&p->line))
        advance_line(s);
    else
        go_on(p);
}

static void on_commit(struct store_wait *w, int status)
{
    struct publish *p = container_of(w, struct publish, wait);
    p->status = status;
    answered(p);
}

/* Tree, match, unit. Under the tree lock when the message is retained; calls no plugin. */
static void submit_one(struct publish *p)
{
    struct shard *s = p->shard;
    struct match *m = &s->match;
    int r = p->retained ? write_retained(p) : 0;
    if (r == -ENOSPC) {
        publish_mark_refused(p, REASON_QUOTA_EXCEEDED, PIGEON_DROP_LIMIT);
        return;
    }
    if (!r)
        r = publish_match(p);
    if (!r) {
        p->no_receiver = m->n == 0;
        r = keep_receivers(p, m);
    }
    if (!r)
        r = make_unit(p, p->message->view.qos > 0 && m->any_durable);
    if (r)
        publish_mark_refused(p, REASON_SERVER_BUSY, PIGEON_DROP_NO_MEMORY);
}

/* The tree lock is held from the first retained write until the batch has its place in the store's
 * order. */
static void submit_all(struct shard *s, struct list *now)
{
    bool locked = false;
    LIST_FOREACH (l, now) {
        struct publish *p = container_of(l, struct publish, turn);
        if (p->retained && !locked) {
            pthread_mutex_lock(&s->broker->tree_lock);
            locked = true;
        }
        submit_one(p);
        if (store_unit_is_full(s->hooks))
            store_place(s->hooks);
    }
    store_place(s->hooks);
    if (locked)
        pthread_mutex_unlock(&s->broker->tree_lock);
    store_submit(s->hooks);
}

bool submit_turn(struct shard *s)
{
    if (list_empty(&s->submitting))
        return false;
    struct list now = LIST_INIT(now);
    list_splice(&now, &s->submitting);
    submit_all(s, &now);
    for (struct list *l; (l = list_pop(&now));) {
        struct publish *p = container_of(l, struct publish, turn);
        if (!p->refused && p->message->view.qos < 2) { /* its arrival number is known */
            struct routed r = { .message = p->message, .ids = p->ids, .pos = p->wait.pos };
            p->routed = true;
            route_all(s, &r, p->rcpts, p->first);
            if (p->retained && s->broker->bus)
                bus_retained(s, p->message);
        }
        if (!store_waiting(&p->wait))
            answered(p);
    }
    return true;
}
