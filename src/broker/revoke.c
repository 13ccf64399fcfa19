#include "broker/revoke.h"
#include "broker/broker.h"
#include "broker/retain.h"
#include "wire/reason.h"
#include <stdlib.h>

struct recheck {
    struct shard *shard;
    uint64_t number; /* of the session */
    uint32_t slot;
    uint32_t n, next;
    struct identity *who; /* reference */
    struct ask ask;
    struct str keys[];
};

static void recheck_next(struct recheck *r);

/* ---- one subscription ------------------------------------------------------------------------ */

struct sub_info *revoke_question(const struct sub *sub, bool restored)
{
    pigeon_sub view;
    sub_view(sub, &view);
    view.effective = view.filter;
    view.restored = restored;
    view.granted = 0;
    return sub_info_new(&view);
}

/* The next life begins with it as it is now. */
static void store_sub(struct session *session, const struct sub *sub)
{
    struct hook_loop *hl = session->shard->hooks;
    pigeon_sub view;
    if (!session->stored || !session->durable)
        return;
    sub_view(sub, &view);
    store_unit_begin(hl, broker_durability(session->shard->broker), STORE_AGAIN | STORE_TRIM);
    store_sub_put(hl, session->number, sub->key, &view);
    store_unit_end(hl, NULL);
}

static void rewrite(struct session *session, struct sub *sub, struct str effective, uint64_t qos)
{
    struct sub *now = sub_new(sub->key, sub->share, sub->filter, effective,
                              (sub->opts & ~SUB_QOS_MASK) | (qos & SUB_QOS_MASK));
    if (!now)
        return; /* it is allowed as it is, too */
    now->retain_handling = sub->retain_handling;
    store_sub(session, now);
    pthread_mutex_lock(&session->shard->broker->tree_lock);
    session_subscribe(session, now, 0);
    pthread_mutex_unlock(&session->shard->broker->tree_lock);
}

static void take_away(struct session *session, struct sub *sub, struct identity *who)
{
    struct hook_loop *hl = session->shard->hooks;
    if (session->stored) {
        store_unit_begin(hl, PIGEON_DURABILITY_OS, STORE_AGAIN | STORE_TRIM);
        store_sub_del(hl, session->number, sub->key);
        store_unit_end(hl, NULL);
    }
    if (session->client)
        retain_stop(session->client, sub);
    if (who)
        events_unsubscribed(hl, who, &sub->key, 1);
    session_unsubscribe(session, sub->key);
}

void revoke_settle(struct session *session, struct sub *sub, const struct ask *ask,
                   const char *log_key, struct identity *who)
{
    const struct ask_value *filter = ask_value_last(ask, VALUE_FILTER);
    if (ask->verdict != PIGEON_ALLOW) {
        struct ask_text text;
        log_warn(session->shard->log, log_key, LS("client", session->id), LS("filter", sub->key),
                 LZ("plugin", ask->plugin ? ask->plugin : "-"), LZ("text", ask_why(ask, &text)));
        take_away(session, sub, who);
    } else if (filter && !str_eq(filter->a, sub->effective)) {
        rewrite(session, sub, filter->a, filter->num);
    }
}

/* ---- all of a client's ----------------------------------------------------------------------- */

static void recheck_free(struct recheck *r)
{
    for (uint32_t i = 0; i < r->n; i++)
        str_free(&r->keys[i]);
    identity_unref(&r->who);
    free(r);
}

/* The session, while it has the client that was meant; a later one was asked about as it came. */
static struct session *session_of(const struct recheck *r)
{
    struct session *session = session_at(r->shard, r->slot, r->number);
    return session && session->client && session->client->who == r->who ? session : NULL;
}

static void settle(struct recheck *r)
{
    struct session *session = session_of(r);
    struct sub *sub = session ? session_sub(session, r->keys[r->next]) : NULL;
    if (sub)
        revoke_settle(session, sub, &r->ask, "subscription_revoked", r->who);
}

static void on_verdict(struct ask *ask)
{
    struct recheck *r = container_of(ask, struct recheck, ask);
    settle(r);
    ask_fini(&r->ask);
    r->next++;
    recheck_next(r);
}

static void recheck_next(struct recheck *r)
{
    struct session *session;
    for (; (session = session_of(r)) && r->next < r->n; r->next++) {
        struct sub *sub = session_sub(session, r->keys[r->next]);
        struct sub_info *info = sub ? revoke_question(sub, false) : NULL;
        r->ask = (struct ask){ .hook = PIGEON_HOOK_AUTHORIZE_SUBSCRIBE,
                               .who = r->who,
                               .listener = session->client->listener,
                               .verdict = PIGEON_DENY,
                               .done = on_verdict };
        if (info) { /* else what nobody can be asked about is not allowed */
            r->ask.subject = &info->base;
            if (ask_run(r->shard->hooks, &r->ask) == ASK_WAIT)
                return;
        }
        settle(r);
        ask_fini(&r->ask);
    }
    identity_unhold_rules(r->who);
    recheck_free(r);
}

/* All subscriptions of a client that is online are asked about; those now denied go. Rules that
 * came after `since` revocations forbid from now on what they forbid. */
static void ask_again(struct client *c, uint32_t since)
{
    struct session *session = c->session;
    uint32_t n = map_count(&session->subs), it = 0;
    if (!n || !hooks_wants(c->shard->hooks, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE))
        return;
    identity_hold_rules(c->who, since);
    struct recheck *r = calloc(1, sizeof(*r) + n * sizeof(r->keys[0]));
    if (r) {
        r->shard = c->shard;
        r->number = session->number;
        r->slot = session->slot;
        r->who = identity_ref(c->who);
    }
    for (struct sub *sub; r && r->n < n && (sub = map_next(&session->subs, &it));)
        if (str_dup_r(sub->key, &r->keys[r->n]))
            break;
        else
            r->n++;
    if (r && r->n == n) {
        recheck_next(r);
        return;
    }
    if (r)
        recheck_free(r);
    client_close_later(c, REASON_SERVER_BUSY,
                       "out of memory"); /* never on rights it may have lost */
}

void revoke_look(struct client *c)
{
    uint32_t since = c->n_revoked;
    c->n_revoked = identity_revocations(c->who);
    if (identity_is_revoked(c->who)) {
        log_info(c->shard->log, "rights_revoked", LS("client", identity_id(c->who)));
        client_close_later(c, REASON_NOT_AUTHORIZED, "rights were taken back");
    } else {
        ask_again(c, since);
    }
}

void revoke_order(void *broker, uint32_t loop, const char *plugin, struct str client_id,
                  struct str username)
{
    struct broker *b = broker;
    struct shard *s = &b->shards[loop];
    uint32_t it = 0;
    (void)plugin;
    (void)client_id; /* who is meant has been found by hooks/: their revocations are more than they
                        were */
    (void)username;
    for (struct session *session; (session = map_next(&s->sessions, &it));) {
        struct client *c = session->client;
        if (c && c->n_revoked != identity_revocations(c->who))
            revoke_look(c);
    }
}
