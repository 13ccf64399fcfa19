#include "broker/admin.h"
#include "broker/admin_ban.h"
#include "broker/local.h"
#include "broker/session.h"
#include "mqtt/topic.h"
#include "wire/reason.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define DELETES_MAX 64u /* retained messages under one lock */

/* ---- what rows show -----------------------------------------------------------------------------
 */

static pigeon_str copy(struct rows *rows, pigeon_str s)
{
    return rows_text(rows, admin_str(s));
}

/* NULL: no memory. */
static const pigeon_client *copy_client(struct rows *rows, const pigeon_client *from)
{
    pigeon_client *to = arena_alloc(&rows->texts, sizeof(*to));
    if (!to) {
        rows->failed = true;
        return NULL;
    }
    *to = *from;
    to->id = copy(rows, from->id);
    to->username = copy(rows, from->username);
    to->address = copy(rows, from->address);
    to->listener = copy(rows, from->listener);
    to->tls_cn = copy(rows, from->tls_cn);
    to->tls_cert = (pigeon_bytes){ .ptr = NULL };
    return to;
}

static uint64_t expires_in_ms(const struct session *session)
{
    uint64_t now = shard_now_ms(session->shard), due = session->expiry.due_ms;
    if (session->expiry_s == EXPIRY_NEVER || !timer_armed(&session->expiry))
        return UINT64_MAX;
    return due > now ? due - now : 0;
}

static void add_session(struct rows *rows, const struct session *session)
{
    const struct broker *b = session->shard->broker;
    const struct client *c = session->client;
    pigeon_session_row *row = rows_add(rows);
    if (!row)
        return;
    row->client_id = rows_text(rows, session->id);
    row->session_expiry_s = session->expiry_s;
    row->subscriptions = map_count(&session->subs);
    row->queued_messages = session->out.n_queued + session->n_behind + session->backlog.n_stored;
    row->queued_bytes = session->out.queued_bytes + session->backlog.stored_bytes;
    row->dropped_messages = session->n_dropped;
    row->inflight = session->out.n_inflight;
    row->inflight_in = c ? c->n_unacked_in : session->in.n;
    row->durable = session->durable;
    row->has_will = session->will != NULL;
    if (!c) {
        row->expires_in_ms = expires_in_ms(session);
        return;
    }
    row->connected = 1;
    row->client = copy_client(rows, &c->who->view);
    row->connected_ms = b->started_wall_ms + (int64_t)(c->connected_at_ms - b->started_ms);
}

static const pigeon_sub *copy_sub(struct rows *rows, const pigeon_sub *from)
{
    pigeon_sub *to = arena_alloc(&rows->texts, sizeof(*to));
    if (!to) {
        rows->failed = true;
        return NULL;
    }
    *to = *from;
    to->filter = copy(rows, from->filter);
    to->effective = copy(rows, from->effective);
    to->share = from->share.ptr ? copy(rows, from->share) : rows_z(rows, "");
    return to;
}

static void add_sub(struct rows *rows, const struct session *session, const struct sub *sub)
{
    pigeon_subscription_row *row = rows_add(rows);
    pigeon_sub view;
    if (!row)
        return;
    sub_view(sub, &view);
    row->connected = session->client != NULL;
    row->client_id = rows_text(rows, session->id);
    row->sub = copy_sub(rows, &view);
    row->denied = sub->denied;
}

/* ---- which ones ---------------------------------------------------------------------------------
 */

static bool fits(pigeon_str want, pigeon_str is)
{
    return !want.len || str_eq(admin_str(want), admin_str(is));
}

static bool id_fits(const pigeon_query *q, struct str id)
{
    return (!q->client_id.len || str_eq(admin_str(q->client_id), id)) &&
           (!q->pattern.len || admin_glob(admin_str(q->pattern), id));
}

static bool session_fits(const pigeon_query *q, const struct session *session)
{
    const struct client *c = session->client;
    if (!session->exists && !c)
        return false; /* a CONNECT that is still being looked at */
    if (!id_fits(q, session->id) || (!c && q->list == PIGEON_LIST_CLIENTS))
        return false;
    if (!q->username.len && !q->address.len && !q->listener.len)
        return true;
    return c && fits(q->username, c->who->view.username) &&
           fits(q->address, c->who->view.address) && fits(q->listener, c->who->view.listener);
}

static bool sub_fits(const pigeon_query *q, const struct sub *sub)
{
    if (q->filter.len && !str_eq(admin_str(q->filter), sub->key))
        return false;
    return !q->topic.len || (!sub->denied && topic_matches(sub->effective, admin_str(q->topic)));
}

/* ---- subscriptions ------------------------------------------------------------------------------
 */

/* The subscriptions of one session, in the order of their hashes, which does not change when others
 * come and go. `n` of those behind `after`, smallest first. */
static uint32_t next_subs(const struct session *session, const pigeon_query *q, uint64_t after,
                          bool from_start, const struct map_slot **found, uint32_t max)
{
    const struct map *subs = &session->subs;
    uint32_t n = 0;
    for (uint32_t i = 0; i < subs->n_slots; i++) {
        const struct map_slot *slot = &subs->slots[i];
        uint32_t at;
        if (!slot->value || (!from_start && slot->hash <= after) || !sub_fits(q, slot->value))
            continue;
        if (n == max && slot->hash >= found[n - 1]->hash)
            continue;
        for (at = n < max ? n++ : n - 1; at > 0 && found[at - 1]->hash > slot->hash; at--)
            found[at] = found[at - 1];
        found[at] = slot;
    }
    return n;
}

/* true: all that this session has was shown. */
static bool list_subs_of(struct admin_list *l, const struct session *session)
{
    const struct map_slot *found[ADMIN_PORTION];
    bool from_start = l->session != session->number;
    uint32_t room = l->room - l->rows->n;
    uint32_t n = next_subs(session, l->query, l->hash, from_start, found, room);
    for (uint32_t i = 0; i < n; i++)
        add_sub(l->rows, session, found[i]->value);
    if (n < room) {
        l->session = 0;
        return true;
    }
    l->session = session->number;
    l->hash = found[n - 1]->hash;
    return false;
}

static void list_local(struct admin_list *l, const struct local_sub *local)
{
    const pigeon_query *q = l->query;
    const char *plugin = NULL;
    pigeon_sub view;
    pigeon_subscription_row *row;
    if (q->client_id.len || q->pattern.len)
        return;
    local_view(local, &view, &plugin);
    if (!fits(q->filter, view.filter) ||
        (q->topic.len && !topic_matches(admin_str(view.filter), admin_str(q->topic))))
        return;
    row = rows_add(l->rows);
    if (!row)
        return;
    row->client_id = rows_z(l->rows, "");
    row->plugin = rows_z(l->rows, plugin);
    row->sub = copy_sub(l->rows, &view);
}

/* ---- the walk over the session table ------------------------------------------------------------
 */

/* true: on with the next place. */
static bool list_slot(struct admin_list *l, const struct slot *slot)
{
    const struct session *session = slot->session;
    bool of_subs = l->query->list == PIGEON_LIST_SUBSCRIPTIONS;
    if (slot->local && of_subs)
        list_local(l, slot->local);
    if (!session || !session_fits(l->query, session))
        return true;
    if (of_subs)
        return list_subs_of(l, session);
    add_session(l->rows, session);
    return true;
}

static uint32_t cost_of(const struct slot *slot, const pigeon_query *q)
{
    return q->list == PIGEON_LIST_SUBSCRIPTIONS && slot->session ? slot->session->subs.n_slots / 8
                                                                 : 0;
}

static int list_sessions(struct shard *s, struct admin_list *l)
{
    const pigeon_query *q = l->query;
    if (q->client_id.len && q->list != PIGEON_LIST_SUBSCRIPTIONS) { /* no walk for one */
        const struct session *one = session_find(s, admin_str(q->client_id));
        if (one && session_fits(q, one) && !l->slot)
            add_session(l->rows, one);
        return 0;
    }
    if (q->client_id.len) {
        const struct session *one = session_find(s, admin_str(q->client_id));
        return one && session_fits(q, one) && !list_subs_of(l, one);
    }
    for (uint32_t budget = ADMIN_BUDGET; l->slot < s->n_slots && l->rows->n < l->room;) {
        const struct slot *slot = &s->slots[l->slot];
        uint32_t cost = 1 + cost_of(slot, q);
        if (!list_slot(l, slot))
            return 1;
        l->slot++;
        if (budget <= cost)
            break;
        budget -= cost;
    }
    return l->slot < s->n_slots;
}

/* ---- retained messages --------------------------------------------------------------------------
 */

struct retained_list {
    struct admin_list *list;
    struct shard *shard;
};

static bool on_retained(void *ctx, struct message *m, uint64_t version)
{
    struct retained_list *r = ctx;
    (void)version;
    if (message_expired(m, shard_wall_ms(r->shard)))
        return true;
    pigeon_retained_row *row = rows_add(r->list->rows);
    if (!row)
        return false;
    row->msg = &message_ref(m)->view;
    return true;
}

static int list_retained(struct shard *s, struct admin_list *l)
{
    struct retained_list ctx = { .list = l, .shard = s };
    int r = retained_scan_run(s->broker->retained, &l->scan, l->room, on_retained, &ctx);
    return r < 0 ? r : !l->scan.done;
}

static int op_list(void *broker, uint32_t loop, struct admin_list *l)
{
    struct broker *b = broker;
    struct shard *s = &b->shards[loop];
    SHARD_ASSERT(s);
    switch (l->query->list) {
    case PIGEON_LIST_RETAINED: return list_retained(s, l);
    case PIGEON_LIST_BANS: return bans_list(b->bans, &l->slot, l->room, l->rows);
    default: return list_sessions(s, l);
    }
}

struct deleting {
    struct shard *shard;
    struct message *messages[DELETES_MAX];
    uint64_t versions[DELETES_MAX];
    uint32_t n;
};

static bool on_delete(void *ctx, struct message *m, uint64_t version)
{
    struct deleting *d = ctx;
    d->messages[d->n] = message_ref(m);
    d->versions[d->n++] = version;
    return true;
}

static int32_t op_retained_delete(void *broker, uint32_t loop, struct retained_scan *scan,
                                  bool *r_more)
{
    struct broker *b = broker;
    struct hook_loop *hl = b->shards[loop].hooks;
    struct deleting d = { .shard = &b->shards[loop] };
    int32_t n = 0;
    int r = retained_scan_run(b->retained, scan, DELETES_MAX, on_delete, &d);
    pthread_mutex_lock(&b->tree_lock);
    for (uint32_t i = 0; i < d.n; i++) {
        struct str topic = message_topic(d.messages[i]);
        if (!retained_delete(b->retained, loop, topic, d.versions[i]))
            continue;
        n++;
        store_unit_begin(hl, PIGEON_DURABILITY_OS, STORE_AGAIN | STORE_TRIM);
        store_retain_del(hl, topic);
        store_unit_end(hl, NULL);
    }
    if (n) /* its place in the order is taken under the lock, like every retained write */
        store_submit(hl);
    pthread_mutex_unlock(&b->tree_lock);
    for (uint32_t i = 0; i < d.n; i++)
        message_unref(&d.messages[i]);
    *r_more = !r && !scan->done;
    return r ? PIGEON_E_NOMEM : n;
}

/* ---- clients ------------------------------------------------------------------------------------
 */

static uint32_t op_home(void *broker, struct str client_id)
{
    return broker_home(broker, client_id);
}

static struct identity *op_find(void *broker, uint32_t loop, struct str client_id,
                                bool *r_anonymous, uint32_t *r_chains)
{
    struct broker *b = broker;
    const struct session *session = session_find(&b->shards[loop], client_id);
    if (!session || !session->client)
        return NULL;
    *r_anonymous = session->client->may_be_anonymous;
    *r_chains = session->client->listener;
    return session->client->who;
}

static bool is_loopback(const struct config_listener *l)
{
    if (l->unix_path || !l->bind_written)
        return true;
    for (uint32_t i = 0; i < l->bind.n; i++)
        if (!config_is_loopback(l->bind.items[i]))
            return false;
    return true;
}

static bool op_allows_anonymous(void *broker, struct str listener)
{
    const struct config *config = ((struct broker *)broker)->config;
    for (uint32_t i = 0; i < config->n_listeners; i++) {
        const struct config_listener *l = &config->listeners[i];
        if (str_eq(listener, str_from(l->name)))
            return config_allows_anonymous(config, l, is_loopback(l));
    }
    return false;
}

static int32_t op_session_delete(void *broker, uint32_t loop, struct str client_id)
{
    struct shard *s = &((struct broker *)broker)->shards[loop];
    struct session *session = session_find(s, client_id);
    if (!session || (!session->exists && !session->client))
        return PIGEON_E_UNKNOWN;
    if (session->client)
        session->client->ops->close(session->client, REASON_ADMINISTRATIVE_ACTION,
                                    "the session was deleted");
    session = session_find(s, client_id);
    if (!session)
        return PIGEON_OK; /* it ended with its connection */
    if (session->serving || session->client)
        return PIGEON_E_BUSY; /* somebody is coming back to it at this moment */
    session_end(&session, PIGEON_END_ADMIN);
    return PIGEON_OK;
}

/* ---- bans ---------------------------------------------------------------------------------------
 */

static struct admin_who who_of(const struct identity *who)
{
    return (struct admin_who){ .client_id = identity_id(who),
                               .username = admin_str(who->view.username),
                               .address = admin_str(who->view.address) };
}

bool admin_is_banned(struct broker *b, const struct identity *identity, char *text, size_t size)
{
    struct admin_who who = who_of(identity);
    return bans_apply(b->bans, &who, true, text, size);
}

static int32_t op_ban(void *broker, const pigeon_ban *ban, const char *by)
{
    return bans_put(((struct broker *)broker)->bans, ban, by);
}

static int32_t op_unban(void *broker, uint32_t kind, struct str value)
{
    return bans_remove(((struct broker *)broker)->bans, kind, value);
}

static bool op_is_banned(void *broker, const struct admin_who *who, char *text, size_t size)
{
    return bans_apply(((struct broker *)broker)->bans, who, false, text, size);
}

/* By slot: closing one may end its session, and no other. */
static void op_kick_banned(void *broker, uint32_t loop)
{
    struct broker *b = broker;
    struct shard *s = &b->shards[loop];
    char text[128];
    for (uint32_t i = 0; i < s->n_slots; i++) {
        struct session *session = s->slots[i].session;
        if (!session || !session->client)
            continue;
        struct admin_who who = who_of(session->client->who);
        if (bans_apply(b->bans, &who, false, text, sizeof(text)))
            session->client->ops->close(session->client, REASON_ADMINISTRATIVE_ACTION, "banned");
    }
}

static int32_t op_reload(void *broker)
{
    struct broker *b = broker;
    if (!b->reload)
        return PIGEON_E_NOTSUP;
    b->reload(b->ctx);
    return PIGEON_OK;
}

const struct admin_ops admin_hooks_ops = {
    .list = op_list,
    .home = op_home,
    .find = op_find,
    .allows_anonymous = op_allows_anonymous,
    .ban = op_ban,
    .unban = op_unban,
    .is_banned = op_is_banned,
    .kick_banned = op_kick_banned,
    .session_delete = op_session_delete,
    .retained_delete = op_retained_delete,
    .reload = op_reload,
};
