#include "broker/session.h"
#include "broker/backlog.h"
#include "broker/broker.h"
#include "broker/bus.h"
#include "broker/connect.h"
#include "broker/deliver.h"
#include "broker/share.h"
#include "broker/will.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* ---- the table: client ids and slots ------------------------------------------------------------
 */

struct session *session_find(struct shard *s, struct str id)
{
    SHARD_ASSERT(s);
    return map_get(&s->sessions, id);
}

struct session *session_at(struct shard *s, uint32_t slot, uint64_t number)
{
    SHARD_ASSERT(s);
    if (slot >= s->n_slots || !s->slots[slot].session || s->slots[slot].session->number != number)
        return NULL;
    return s->slots[slot].session;
}

static void on_expiry(struct timer *t, uint64_t now_ms)
{
    (void)now_ms;
    struct session *session = container_of(t, struct session, expiry);
    shard_count(session->shard, N_EXPIRED, 1);
    session_end(&session, PIGEON_END_EXPIRED);
}

struct session *session_new(struct shard *s, struct str id)
{
    SHARD_ASSERT(s);
    assert(broker_home(s->broker, id) == s->index); /* P1.1 */
    struct session *session = calloc(1, sizeof(*session));
    if (!session)
        return NULL;
    session->shard = s;
    session->number = atomic_fetch_add(&s->broker->next_session, 1);
    list_init(&session->waiting);
    list_init(&session->pump);
    list_init(&session->behind);
    timer_init(&session->expiry, on_expiry);
    map_init(&session->subs, &s->broker->hash_key);
    outgoing_init(&session->out);
    backlog_init(session);
    session_set_limits(session, NULL);
    if (str_dup_r(id, &session->id) || shard_take_slot(s, &session->slot))
        goto fail;
    s->slots[session->slot].session = session;
    if (map_put(&s->sessions, session->id, session)) {
        shard_give_slot(s, session->slot);
        goto fail;
    }
    shard_count(s, N_SESSIONS, 1);
    return session;
fail:
    str_free(&session->id);
    map_fini(&session->subs);
    free(session);
    return NULL;
}

struct index_who session_who(const struct session *session)
{
    return (struct index_who){ session->number, session->slot, session->shard->index };
}

/* ---- subscriptions ------------------------------------------------------------------------------
 */

struct sub *sub_new(struct str key, struct str share, struct str filter, struct str effective,
                    uint64_t opts)
{
    struct sub *sub = calloc(1, sizeof(*sub));
    if (!sub || str_dup_r(key, &sub->key)) {
        free(sub);
        return NULL;
    }
    sub->filter = str_make(sub->key.ptr + (key.len - filter.len), filter.len);
    if (share.len)
        sub->share = str_make(sub->key.ptr + (share.ptr - key.ptr), share.len);
    sub->effective = sub->filter;
    if (!str_eq(effective, filter) && str_dup_r(effective, &sub->effective)) {
        sub->effective = sub->filter;
        sub_free(&sub);
        return NULL;
    }
    sub->opts = opts;
    return sub;
}

void sub_free(struct sub **sub)
{
    if (!*sub)
        return;
    if ((*sub)->effective.ptr != (*sub)->filter.ptr)
        str_free(&(*sub)->effective);
    str_free(&(*sub)->key);
    free(*sub);
    *sub = NULL;
}

static pigeon_str public_str(struct str s)
{
    return (pigeon_str){ .ptr = s.ptr, .len = s.len };
}

void sub_view(const struct sub *sub, pigeon_sub *r_view)
{
    *r_view = (pigeon_sub){
        .size = sizeof(*r_view),
        .id = SUB_ID(sub->opts),
        .filter = public_str(sub->filter),
        .effective = public_str(sub->effective),
        .share = public_str(sub->share),
        .qos = SUB_QOS(sub->opts),
        .no_local = !!(sub->opts & SUB_NO_LOCAL),
        .retain_as_published = !!(sub->opts & SUB_RETAIN_AS_PUBLISHED),
        .retain_handling = sub->retain_handling,
        .granted = SUB_QOS(sub->opts),
    };
}

struct sub *session_sub(const struct session *session, struct str key)
{
    return map_get(&session->subs, key);
}

static uint64_t live_opts(const struct session *session, const struct sub *sub)
{
    uint64_t opts = sub->opts & ~(SUB_DURABLE | SUB_ONLINE);
    if (session->durable)
        opts |= SUB_DURABLE;
    if (sub->share.len && session->client)
        opts |= SUB_ONLINE;
    return opts;
}

int session_subscribe(struct session *session, struct sub *m_sub, uint64_t version)
{
    struct broker *b = session->shard->broker;
    uint32_t loop = session->shard->index;
    struct sub *old = session_sub(session, m_sub->key);
    m_sub->opts = live_opts(session, m_sub);
    int r = m_sub->denied ? INDEX_NEW
                          : interest_put(b, loop, m_sub->effective, m_sub->share,
                                         session_who(session), m_sub->opts, version);
    if (r >= 0 && !old && map_put(&session->subs, m_sub->key, m_sub)) {
        if (!m_sub->denied)
            interest_remove(b, loop, m_sub->effective, m_sub->share, session->number, m_sub->opts);
        r = -ENOMEM;
    }
    if (r < 0) {
        sub_free(&m_sub);
        return r;
    }
    if (!old) {
        session->n_shared += m_sub->share.len != 0;
        return INDEX_NEW;
    }
    if (!old->denied && (m_sub->denied || !str_eq(old->effective, m_sub->effective)))
        interest_remove(b, loop, old->effective, old->share, session->number, old->opts);
    map_remove(&session->subs, old->key);
    map_put(&session->subs, m_sub->key, m_sub); /* cannot fail: the place was just given up */
    sub_free(&old);
    return INDEX_REPLACED;
}

/* [tree lock] */
static void drop_sub(struct session *session, struct sub *sub)
{
    map_remove(&session->subs, sub->key);
    if (!sub->denied)
        interest_remove(session->shard->broker, session->shard->index, sub->effective, sub->share,
                        session->number, sub->opts);
    session->n_shared -= sub->share.len != 0;
    sub_free(&sub);
}

bool session_unsubscribe(struct session *session, struct str key)
{
    struct sub *sub = session_sub(session, key);
    if (!sub)
        return false;
    pthread_mutex_lock(&session->shard->broker->tree_lock);
    drop_sub(session, sub);
    pthread_mutex_unlock(&session->shard->broker->tree_lock);
    return true;
}

/* [tree lock] Sets and clears option bits of all, or of the shared ones. */
static void set_bits(struct session *session, uint64_t set, uint64_t clear, bool shared_only)
{
    uint32_t it = 0;
    for (struct sub *sub; (sub = map_next(&session->subs, &it));) {
        if (shared_only && !sub->share.len)
            continue;
        if (!sub->denied)
            interest_set(session->shard->broker, sub->effective, sub->share, session->number,
                         sub->opts, set, clear);
        sub->opts = (sub->opts & ~clear) | set;
    }
}

static void locked_set_bits(struct session *session, uint64_t set, uint64_t clear, bool shared_only)
{
    pthread_mutex_lock(&session->shard->broker->tree_lock);
    set_bits(session, set, clear, shared_only);
    pthread_mutex_unlock(&session->shard->broker->tree_lock);
}

void session_set_online(struct session *session, bool online)
{
    if (session->n_shared)
        locked_set_bits(session, online ? SUB_ONLINE : 0, online ? 0 : SUB_ONLINE, true);
}

void session_set_expiry(struct session *session, uint32_t expiry_s)
{
    bool was = session->durable;
    session->expiry_s = expiry_s;
    session->durable = expiry_s > 0;
    if (was != session->durable && map_count(&session->subs))
        locked_set_bits(session, was ? 0 : SUB_DURABLE, was ? SUB_DURABLE : 0, false);
}

static void tell_unsubscribed(struct session *session)
{
    struct hook_loop *hl = session->shard->hooks;
    uint32_t n = map_count(&session->subs), it = 0, i = 0;
    if (!session->client || !events_wants(hl, EVENT_UNSUBSCRIBED))
        return;
    struct str *keys = calloc(n, sizeof(*keys));
    if (!keys)
        return;
    for (struct sub *sub; (sub = map_next(&session->subs, &it));)
        keys[i++] = sub->key;
    events_unsubscribed(hl, session->client->who, keys, n);
    free(keys);
}

static void drop_all_subs(struct session *session)
{
    if (!map_count(&session->subs))
        return;
    tell_unsubscribed(session);
    struct sub *first = NULL;
    uint32_t it = 0;
    pthread_mutex_lock(&session->shard->broker->tree_lock);
    for (struct sub *sub; (sub = map_next(&session->subs, &it));) {
        if (!sub->denied)
            interest_remove(session->shard->broker, session->shard->index, sub->effective,
                            sub->share, session->number, sub->opts);
        sub->next = first;
        first = sub;
    }
    pthread_mutex_unlock(&session->shard->broker->tree_lock);
    map_fini(&session->subs);
    map_init(&session->subs, &session->shard->broker->hash_key);
    session->n_shared = 0;
    while (first) {
        struct sub *sub = first;
        first = sub->next;
        sub_free(&sub);
    }
}

/* ---- end and renewal ----------------------------------------------------------------------------
 */

static void drop_contents(struct session *session)
{
    struct shard *s = session->shard;
    drop_all_subs(session);
    backlog_cancel(session);
    list_remove(&session->pump);
    shard_count(s, N_QUEUED, -(int64_t)session->out.n_queued);
    shard_count(s, N_INFLIGHT, -(int64_t)session->out.n_inflight);
    shard_count(s, N_QUEUED_BYTES, -(int64_t)session->out.queued_bytes);
    share_hand_over(session);
    deliver_count_lost(session);
    deliver_forget_behind(session);
    session->n_queued_qos0 = session->n_in_quota = session->n_ready = session->n_assigned = 0;
    outgoing_fini(&session->out);
    incoming_fini(&session->in);
}

static void forget_in_store(struct session *session)
{
    if (!session->stored)
        return;
    struct hook_loop *hl = session->shard->hooks;
    store_unit_begin(hl, PIGEON_DURABILITY_OS, STORE_AGAIN | STORE_TRIM);
    store_session_del(hl, session->number);
    store_unit_end(hl, NULL);
    session->stored = false;
}

void session_reset(struct session *session, uint32_t why)
{
    assert(!session->client && session->n_store == 0); /* P1.3b */
    drop_contents(session);
    if (session->will)
        will_session_ended(session);
    forget_in_store(session);
    events_session_end(session->shard->hooks, session->id, why);
    session->number = atomic_fetch_add(&session->shard->broker->next_session, 1);
    session->n_store = 0;
    backlog_init(session);
    timer_stop(loop_timers(session->shard->loop), &session->expiry);
}

void session_free(struct session **p)
{
    struct session *session = *p;
    struct shard *s = session->shard;
    timer_stop(loop_timers(s->loop), &session->expiry);
    map_remove(&s->sessions, session->id);
    shard_give_slot(s, session->slot);
    shard_count(s, N_SESSIONS, -1);
    backlog_cancel(session);
    list_remove(&session->pump);
    deliver_forget_behind(session);
    uint32_t it = 0;
    for (struct sub *sub; (sub = map_next(&session->subs, &it));)
        sub_free(&sub);
    map_fini(&session->subs);
    outgoing_fini(&session->out);
    incoming_fini(&session->in);
    will_free(&session->will);
    str_free(&session->id);
    free(session);
    *p = NULL;
}

void session_end(struct session **p, uint32_t why)
{
    struct session *session = *p;
    assert(!session->serving || session->serving->state < CONNECTING_COMMIT);
    *p = NULL;
    if (session->ending)
        return;
    session->ending = true;
    drop_contents(session);
    session->client = NULL;
    if (session->will)
        will_session_ended(session);
    forget_in_store(session);
    events_session_end(session->shard->hooks, session->id, why);
    session->ending = false;
    if (session->serving || !list_empty(&session->waiting)) { /* somebody waits for this id */
        session->number = atomic_fetch_add(&session->shard->broker->next_session, 1);
        session->n_store = 0;
        session->expiry_s = 0;
        session->durable = session->exists = false;
        timer_stop(loop_timers(session->shard->loop), &session->expiry);
        backlog_init(session);
        connect_serve(session);
        return;
    }
    session_free(&session);
}

void session_start_expiry(struct session *session, uint64_t in_ms)
{
    if (session->expiry_s == EXPIRY_NEVER)
        return;
    timer_arm(loop_timers(session->shard->loop), &session->expiry,
              shard_now_ms(session->shard) + in_ms);
}

void session_detached(struct session **p)
{
    struct session *session = *p;
    if (!session->durable) {
        session_end(p, PIGEON_END_CLEAN);
        return;
    }
    session_set_online(session, false);
    deliver_park(session);
    store_unit_begin(session->shard->hooks, PIGEON_DURABILITY_OS, STORE_AGAIN | STORE_TRIM);
    if (session->stored_expiry_s != session->expiry_s) /* DISCONNECT gave another one */
        session_store_put(session, session->expiry_s);
    store_session_off(session->shard->hooks, session->number,
                      session->expiry_s == EXPIRY_NEVER ? -1 : (int64_t)session->expiry_s * 1000);
    store_unit_end(session->shard->hooks, NULL);
    session_start_expiry(session, (uint64_t)session->expiry_s * 1000);
    connect_serve(session);
}

void session_set_limits(struct session *session, const struct client *c)
{
    const struct config_limits *l = &session->shard->broker->config->limits;
    session->max_queued = (uint64_t)l->queue_messages;
    session->max_queued_bytes = (uint64_t)l->queue_bytes;
    if (c && c->limits.queue_messages)
        session->max_queued = c->limits.queue_messages;
    if (c && c->limits.queue_bytes)
        session->max_queued_bytes = c->limits.queue_bytes;
}

/* The row keeps the expiry interval itself, too: what is left of it only counts while nobody is
 * online. */
void session_store_put(struct session *session, uint32_t expiry_s)
{
    int64_t expiry_ms = expiry_s == EXPIRY_NEVER ? -1 : (int64_t)expiry_s * 1000;
    store_session_put(session->shard->hooks, session->number, session->id, expiry_ms,
                      str_make(&expiry_s, sizeof(expiry_s)));
    session->stored = true;
    session->stored_expiry_s = expiry_s;
}

uint32_t session_expiry_of_row(const pigeon_op *op)
{
    uint32_t expiry_s = op->due_in_ms < 0 ? EXPIRY_NEVER : (uint32_t)((op->due_in_ms + 999) / 1000);
    if (op->extra.len == sizeof(expiry_s))
        memcpy(&expiry_s, op->extra.ptr, sizeof(expiry_s));
    return expiry_s;
}

/* ---- the store ----------------------------------------------------------------------------------
 */

struct session_wait {
    struct store_wait wait;
    struct shard *shard;
    uint64_t number;
    session_done_fn done;
    uint32_t slot;
    uint16_t packet_id;
};

void session_store_begin(struct session *session)
{
    session->n_store++;
}

void session_store_done(struct shard *s, uint32_t slot, uint64_t number)
{
    struct session *session = session_at(s, slot, number);
    if (!session)
        return;
    assert(session->n_store > 0);
    if (--session->n_store == 0)
        connect_serve(session);
}

static void on_answer(struct store_wait *wait, int status)
{
    struct session_wait *w = container_of(wait, struct session_wait, wait);
    struct session *session = session_at(w->shard, w->slot, w->number);
    if (session && w->done)
        w->done(session, w->packet_id, status);
    session_store_done(w->shard, w->slot, w->number);
    free(w);
}

int session_unit_end(struct session *session, session_done_fn done, uint16_t packet_id)
{
    struct session_wait *w = malloc(sizeof(*w));
    if (!w) { /* the unit goes on without an answer; whoever waits would wait for ever */
        store_unit_end(session->shard->hooks, NULL);
        return -ENOMEM;
    }
    *w = (struct session_wait){ .shard = session->shard,
                                .number = session->number,
                                .done = done,
                                .slot = session->slot,
                                .packet_id = packet_id };
    store_wait_init(&w->wait, on_answer);
    int r = store_unit_end(session->shard->hooks, &w->wait);
    if (r) {
        free(w);
        return r;
    }
    session_store_begin(session);
    return 0;
}
