#include "broker/subscribe.h"
#include "broker/broker.h"
#include "broker/retain.h"
#include "broker/revoke.h"
#include "hooks/ask.h"
#include "mqtt/topic.h"
#include "wire/reason.h"
#include "wire/subscribe.h"
#include "wire/unsubscribe.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* One filter of the packet. */
struct request {
    struct str key; /* view into subscribe.filters */
    struct str share, filter;
    struct str effective; /* owned when rewritten, else filter */
    uint64_t opts;
    uint8_t retain_handling;
    uint8_t code; /* for SUBACK or UNSUBACK */
    bool refused;
    bool existed;
};

struct subscribe {
    struct list link; /* client.subscribes */
    struct shard *shard;
    struct client *client; /* NULL: gone */
    uint64_t session;      /* number */
    uint32_t slot;
    uint16_t packet_id;
    uint8_t packet_type; /* of the answer */
    uint32_t n_revoked;  /* identity_revocations when it began */
    bool asking, submitted, counted;
    struct ask ask;
    struct store_wait wait;
    char *filters;           /* owned copy of the packet's filters */
    char *text;              /* what a plugin said about the first that was denied; owned */
    uint32_t n, next, n_new; /* n_new: filters granted that the session does not have yet */
    struct request requests[];
};

static void authorize(struct subscribe *p);

static struct session *session_of(const struct subscribe *p)
{
    return session_at(p->shard, p->slot, p->session);
}

static void subscribe_free(struct subscribe *p)
{
    struct client *c = p->client;
    list_remove(&p->link);
    store_wait_cancel(&p->wait);
    for (uint32_t i = 0; i < p->n; i++)
        if (p->requests[i].effective.ptr != p->requests[i].filter.ptr)
            str_free(&p->requests[i].effective);
    free(p->filters);
    free(p->text);
    free(p);
    if (c && --c->n_blocking == 0)
        c->ops->unblock(c);
}

/* ---- the answer ---------------------------------------------------------------------------------
 */

static void answer(struct subscribe *p)
{
    uint8_t few[64] = { 0 }, *codes = few;
    if (!p->client)
        return;
    if (p->n > sizeof(few))
        codes = malloc(p->n);
    if (!codes) {
        p->client->ops->close(p->client, REASON_SERVER_BUSY, "out of memory");
        return;
    }
    for (uint32_t i = 0; i < p->n; i++)
        codes[i] = p->requests[i].code;
    p->client->ops->suback(p->client, p->packet_type, p->packet_id, codes, p->n, p->text);
    if (codes != few)
        free(codes);
}

static void tell_subscribed(struct subscribe *p)
{
    struct hook_loop *hl = p->shard->hooks;
    struct session *session = session_of(p);
    if (!p->client || !session || !events_wants(hl, EVENT_SUBSCRIBED))
        return;
    size_t shares = 0;
    for (uint32_t i = 0; i < p->n; i++)
        shares += p->requests[i].share.len + 1;
    pigeon_sub *views = calloc(1, p->n * sizeof(*views) + shares);
    if (!views)
        return;
    char *share = (char *)&views[p->n]; /* copies with a NUL behind them; a filter has one */
    for (uint32_t i = 0; i < p->n; i++) {
        const struct request *r = &p->requests[i];
        if (r->share.len)
            memcpy(share, r->share.ptr, r->share.len);
        views[i] = (pigeon_sub){
            .size = sizeof(views[i]),
            .id = SUB_ID(r->opts),
            .qos = SUB_QOS(r->opts),
            .filter = { .ptr = r->filter.ptr, .len = r->filter.len },
            .effective = { .ptr = r->effective.ptr, .len = r->effective.len },
            .share = { .ptr = share, .len = r->share.len },
            .no_local = !!(r->opts & SUB_NO_LOCAL),
            .retain_handling = r->retain_handling,
            .retain_as_published = !!(r->opts & SUB_RETAIN_AS_PUBLISHED),
            .granted = r->code,
        };
        share += r->share.len + 1;
    }
    events_subscribed(hl, p->client->who, views, p->n);
    free(views);
}

/* ---- the index: after the commit, in one step [P4.2]
 * ---------------------------------------------- */

static bool wants_retained(const struct request *r)
{
    return !r->share.len && (r->retain_handling == 0 || (r->retain_handling == 1 && !r->existed));
}

/* [tree lock] */
static void insert(struct session *session, struct request *r, uint64_t version)
{
    struct sub *old = session_sub(session, r->key);
    r->existed = old != NULL;
    struct sub *sub = sub_new(r->key, r->share, r->filter, r->effective, r->opts);
    if (!sub) {
        r->code = REASON_QUOTA_EXCEEDED;
        r->refused = true;
        return;
    }
    sub->retain_handling = r->retain_handling;
    sub->denied = r->refused;
    if (session_subscribe(session, sub, wants_retained(r) ? version : 0) < 0) {
        r->code = REASON_QUOTA_EXCEEDED;
        r->refused = true;
    }
}

static void finish_subscribe(struct subscribe *p)
{
    struct session *session = session_of(p);
    struct broker *b = p->shard->broker;
    if (!session) {
        subscribe_free(p);
        return;
    }
    struct identity *outdated =
        NULL; /* what was said while it was under way may not hold any more */
    if (p->client && p->n_revoked != identity_revocations(p->client->who)) {
        outdated = identity_ref(p->client->who);
        identity_hold_rules(outdated, p->n_revoked);
    }
    pthread_mutex_lock(&b->tree_lock);
    uint64_t version = retained_version(b->retained);
    for (uint32_t i = 0; i < p->n; i++)
        if (!p->requests[i].refused)
            insert(session, &p->requests[i], version);
    pthread_mutex_unlock(&b->tree_lock);
    answer(p); /* before the retained messages it releases */
    tell_subscribed(p);
    for (uint32_t i = 0; i < p->n; i++) {
        const struct request *r = &p->requests[i];
        if (p->client && !r->refused && wants_retained(r))
            retain_read_start(session, session_sub(session, r->key), version);
    }
    if (outdated) {
        if (p->client)
            revoke_look(p->client);
        identity_unhold_rules(outdated);
        identity_unref(&outdated);
    }
    subscribe_free(p);
}

static void finish_unsubscribe(struct subscribe *p)
{
    struct session *session = session_of(p);
    for (uint32_t i = 0; session && i < p->n; i++)
        if (!p->requests[i].refused && !session_unsubscribe(session, p->requests[i].key))
            p->requests[i].code = REASON_NO_SUBSCRIPTION_EXISTED; /* twice in this packet */
    answer(p);
    if (p->client && session && events_wants(p->shard->hooks, EVENT_UNSUBSCRIBED)) {
        struct str *keys = calloc(p->n, sizeof(*keys));
        for (uint32_t i = 0; keys && i < p->n; i++)
            keys[i] = p->requests[i].key;
        if (keys)
            events_unsubscribed(p->shard->hooks, p->client->who, keys, p->n);
        free(keys);
    }
    subscribe_free(p);
}

static void finish(struct subscribe *p)
{
    if (p->packet_type == PACKET_SUBACK)
        finish_subscribe(p);
    else
        finish_unsubscribe(p);
}

/* ---- the store ----------------------------------------------------------------------------------
 */

static void refuse_all(struct subscribe *p, uint8_t code)
{
    for (uint32_t i = 0; i < p->n; i++) {
        p->requests[i].code = code;
        p->requests[i].refused = true;
    }
}

static void on_commit(struct store_wait *w, int status)
{
    struct subscribe *p = container_of(w, struct subscribe, wait);
    if (status)
        refuse_all(p, status == -ENOSPC ? REASON_QUOTA_EXCEEDED : REASON_UNSPECIFIED_ERROR);
    bool counted = p->counted;
    struct shard *s = p->shard;
    uint32_t slot = p->slot;
    uint64_t number = p->session;
    finish(p);
    if (counted)
        session_store_done(s, slot, number);
}

static void put(struct hook_loop *hl, const struct subscribe *p, const struct request *r)
{
    if (p->packet_type == PACKET_UNSUBACK) {
        store_sub_del(hl, p->session, r->key);
        return;
    }
    pigeon_sub view = {
        .size = sizeof(view),
        .id = SUB_ID(r->opts),
        .qos = SUB_QOS(r->opts),
        .filter = { .ptr = r->filter.ptr, .len = r->filter.len },
        .effective = { .ptr = r->effective.ptr, .len = r->effective.len },
        .share = { .ptr = r->share.ptr, .len = r->share.len },
        .no_local = !!(r->opts & SUB_NO_LOCAL),
        .retain_handling = r->retain_handling,
        .retain_as_published = !!(r->opts & SUB_RETAIN_AS_PUBLISHED),
    };
    store_sub_put(hl, p->session, r->key, &view);
}

static void submit(struct subscribe *p)
{
    struct session *session = session_of(p);
    struct hook_loop *hl = p->shard->hooks;
    uint32_t n = 0;
    p->submitted = true;
    for (uint32_t i = 0; i < p->n; i++)
        n += !p->requests[i].refused;
    if (!n || !session || !session->stored || !session->durable) {
        finish(p);
        return;
    }
    store_unit_begin(hl, broker_durability(p->shard->broker), 0);
    for (uint32_t i = 0; i < p->n; i++)
        if (!p->requests[i].refused)
            put(hl, p, &p->requests[i]);
    if (store_unit_end(hl, &p->wait)) {
        refuse_all(p, REASON_QUOTA_EXCEEDED);
        finish(p);
        return;
    }
    p->counted = true;
    session_store_begin(session);
}

/* ---- authorization ------------------------------------------------------------------------------
 */

static bool over_subscription_limit(const struct subscribe *p, const struct session *session)
{
    uint64_t max = (uint64_t)p->shard->broker->config->limits.subscriptions_per_client;
    if (p->client->limits.subscriptions)
        max = p->client->limits.subscriptions;
    return max && map_count(&session->subs) + p->n_new >= max &&
           !session_sub(session, p->requests[p->next].key);
}

static void count_new(struct subscribe *p, const struct request *r)
{
    const struct session *session = session_of(p);
    if (!r->refused && session && !session_sub(session, r->key))
        p->n_new++;
}

static void judge(struct subscribe *p, struct request *r)
{
    const struct ask_value *filter = ask_value_last(&p->ask, VALUE_FILTER);
    if (p->ask.verdict != PIGEON_ALLOW) {
        r->refused = true;
        /* A plugin may give any reason; SUBACK does not have them all. */
        r->code =
            reason_is_allowed(p->ask.reason, PACKET_SUBACK) ? p->ask.reason : REASON_NOT_AUTHORIZED;
        if (!reason_is_error(r->code))
            r->code = REASON_NOT_AUTHORIZED;
        struct ask_text text;
        log_info(p->shard->log, "subscribe_denied", LS("client", identity_id(p->client->who)),
                 LS("filter", r->key), LZ("plugin", p->ask.plugin ? p->ask.plugin : "-"),
                 LU("reason", r->code), LZ("text", ask_why(&p->ask, &text)));
        if (p->ask.text[0] && !p->text)
            p->text = strdup(p->ask.text);
    } else if (filter) {
        uint32_t levels = (uint32_t)p->shard->broker->config->limits.topic_levels;
        if (!topic_is_filter(filter->a, levels) || str_dup_r(filter->a, &r->effective)) {
            r->effective = r->filter;
            r->refused = true;
            r->code = REASON_UNSPECIFIED_ERROR;
            return;
        }
        r->opts = (r->opts & ~SUB_QOS_MASK) | (filter->num & SUB_QOS_MASK);
        r->code = (uint8_t)(filter->num & SUB_QOS_MASK);
    }
}

static void on_verdict(struct ask *ask)
{
    struct subscribe *p = container_of(ask, struct subscribe, ask);
    p->asking = false;
    judge(p, &p->requests[p->next]);
    count_new(p, &p->requests[p->next++]);
    ask_fini(&p->ask);
    authorize(p);
}

/* true: it waits. */
static bool ask_about(struct subscribe *p, struct request *r)
{
    pigeon_sub view = {
        .size = sizeof(view),
        .id = SUB_ID(r->opts),
        .qos = SUB_QOS(r->opts),
        .filter = { .ptr = r->filter.ptr, .len = r->filter.len },
        .effective = { .ptr = r->filter.ptr, .len = r->filter.len },
        .share = { .ptr = r->share.ptr, .len = r->share.len },
        .no_local = !!(r->opts & SUB_NO_LOCAL),
        .retain_handling = r->retain_handling,
        .retain_as_published = !!(r->opts & SUB_RETAIN_AS_PUBLISHED),
    };
    struct sub_info *info = sub_info_new(&view);
    if (!info) {
        r->refused = true;
        r->code = REASON_QUOTA_EXCEEDED;
        return false;
    }
    p->ask = (struct ask){ .hook = PIGEON_HOOK_AUTHORIZE_SUBSCRIBE,
                           .who = p->client->who,
                           .subject = &info->base,
                           .listener = p->client->listener,
                           .done = on_verdict };
    p->asking = ask_run(p->shard->hooks, &p->ask) == ASK_WAIT;
    if (p->asking)
        return true;
    judge(p, r);
    ask_fini(&p->ask);
    return false;
}

/* Each filter in turn; then all of them together to the store. */
static void authorize(struct subscribe *p)
{
    struct session *session = session_of(p);
    for (; p->next < p->n; p->next++) {
        struct request *r = &p->requests[p->next];
        if (r->refused)
            continue;
        if (session && over_subscription_limit(p, session)) {
            r->refused = true;
            r->code = REASON_QUOTA_EXCEEDED;
        } else if (ask_about(p, r)) {
            return;
        }
        count_new(p, r);
    }
    submit(p);
}

/* ---- doors --------------------------------------------------------------------------------------
 */

static void check_filter(struct subscribe *p, struct request *r)
{
    const struct config_limits *l = &p->shard->broker->config->limits;
    enum topic_share share = topic_split_share(r->key, &r->share, &r->filter);
    if (share == TOPIC_NOT_SHARED)
        r->share = STR_NULL;
    if (share == TOPIC_SHARE_BAD)
        r->filter = r->key;
    r->effective = r->filter;
    if (share == TOPIC_SHARE_BAD || !topic_is_filter(r->filter, (uint32_t)l->topic_levels) ||
        (l->topic_length && r->key.len > (uint64_t)l->topic_length)) {
        r->refused = true;
        r->code = REASON_TOPIC_FILTER_INVALID;
    }
}

static struct subscribe *subscribe_new(struct client *c, struct str filters, uint32_t n,
                                       uint16_t packet_id, uint8_t packet_type)
{
    struct subscribe *p = calloc(1, sizeof(*p) + n * sizeof(p->requests[0]));
    if (!p)
        return NULL;
    p->filters = malloc(filters.len + 1);
    if (!p->filters) {
        free(p);
        return NULL;
    }
    memcpy(p->filters, filters.ptr, filters.len);
    p->shard = c->shard;
    p->client = c;
    p->session = c->session->number;
    p->slot = c->session->slot;
    p->packet_id = packet_id;
    p->packet_type = packet_type;
    p->n_revoked = identity_revocations(c->who);
    p->n = n;
    store_wait_init(&p->wait, on_commit);
    list_append(&c->subscribes, &p->link);
    c->n_blocking++;
    return p;
}

/* Plugins find a NUL behind each filter. What stood there has been read. */
static void terminate(struct subscribe *p)
{
    for (uint32_t i = 0; i < p->n; i++)
        if (p->requests[i].key.ptr)
            p->filters[p->requests[i].key.ptr - p->filters + p->requests[i].key.len] = '\0';
}

int client_subscribe(struct client *c, const struct subscribe_packet *packet)
{
    SHARD_ASSERT(c->shard);
    struct subscribe *p =
        subscribe_new(c, packet->filters, packet->n_filters, packet->packet_id, PACKET_SUBACK);
    if (!p)
        return -REASON_SERVER_BUSY;
    struct str rest = str_make(p->filters, packet->filters.len);
    struct subscribe_filter f;
    uint64_t max_filters = (uint64_t)c->shard->broker->config->limits.filters_per_packet;
    for (uint32_t i = 0; i < p->n && subscribe_next(&rest, &f); i++) {
        struct request *r = &p->requests[i];
        r->key = f.filter;
        r->opts = f.qos | (f.no_local ? SUB_NO_LOCAL : 0) |
                  (f.retain_as_published ? SUB_RETAIN_AS_PUBLISHED : 0) |
                  (uint64_t)packet->subscription_id << SUB_ID_SHIFT;
        r->retain_handling = f.retain_handling;
        r->code = f.qos;
        check_filter(p, r);
        if (max_filters && i >= max_filters) {
            r->refused = true;
            r->code = REASON_QUOTA_EXCEEDED;
        }
        if (f.no_local && r->share.len) { /* [MQTT-3.8.3-4] */
            subscribe_free(p);
            return -REASON_PROTOCOL_ERROR;
        }
    }
    terminate(p);
    authorize(p);
    return 0;
}

int client_unsubscribe(struct client *c, const struct unsubscribe_packet *packet)
{
    SHARD_ASSERT(c->shard);
    struct subscribe *p =
        subscribe_new(c, packet->filters, packet->n_filters, packet->packet_id, PACKET_UNSUBACK);
    if (!p)
        return -REASON_SERVER_BUSY;
    struct str rest = str_make(p->filters, packet->filters.len), filter;
    uint64_t max_filters = (uint64_t)c->shard->broker->config->limits.filters_per_packet;
    for (uint32_t i = 0; i < p->n && unsubscribe_next(&rest, &filter); i++) {
        struct request *r = &p->requests[i];
        r->key = filter;
        check_filter(p, r);
        if (max_filters && i >= max_filters) {
            r->refused = true;
            r->code = REASON_QUOTA_EXCEEDED;
        }
        bool there = session_sub(c->session, r->key) != NULL;
        if (!r->refused && !there) {
            r->code = REASON_NO_SUBSCRIPTION_EXISTED;
            r->refused = true;
        }
    }
    terminate(p);
    submit(p);
    return 0;
}

void subscribe_client_gone(struct client *c)
{
    for (struct list *l; (l = list_pop(&c->subscribes));) {
        struct subscribe *p = container_of(l, struct subscribe, link);
        p->client = NULL;
        if (p->submitted)
            continue;
        if (p->asking)
            ask_abandon(p->shard->hooks, &p->ask);
        subscribe_free(p);
    }
}
