/* index_model.h - the subscription index as an array: obviously right, and slow. The tests of the
 * index hold it beside the real one. */
#pragma once
#include "mqtt/index.h"
#include "mqtt/topic.h"
#include "mqtt_random.h"
#include <stdio.h>

#define MODEL_MAX   400
#define MODEL_LOOPS 3

struct model_sub {
    char filter[RANDOM_TEXT], share[8];
    uint32_t filter_len;
    uint64_t session, opts, version;
};
struct model {
    struct model_sub subs[MODEL_MAX];
    uint32_t n;
};

static inline struct str model_filter(const struct model_sub *sub)
{
    return str_make(sub->filter, sub->filter_len);
}

static inline struct index_who model_who(uint64_t session)
{
    return (struct index_who){ .session = session,
                               .slot = (uint32_t)session * 3,
                               .loop = (uint32_t)session % MODEL_LOOPS };
}

static inline struct model_sub *model_find(struct model *m, struct str filter, const char *share,
                                           uint64_t session)
{
    for (uint32_t i = 0; i < m->n; i++) {
        struct model_sub *sub = &m->subs[i];
        if (sub->session == session && str_eq(model_filter(sub), filter) &&
            strcmp(sub->share, share) == 0)
            return sub;
    }
    return NULL;
}

/* The caller has room. True: it was there already. */
static inline bool model_put(struct model *m, struct str filter, const char *share,
                             uint64_t session, uint64_t opts, uint64_t version)
{
    struct model_sub *sub = model_find(m, filter, share, session);
    bool replaced = sub != NULL;
    if (!sub) {
        sub = &m->subs[m->n++];
        memset(sub, 0, sizeof(*sub));
        memcpy(sub->filter, filter.ptr, filter.len);
        sub->filter_len = filter.len;
        memcpy(sub->share, share, strlen(share));
        sub->session = session;
    }
    sub->opts = opts;
    sub->version = version;
    return replaced;
}

static inline bool model_remove(struct model *m, struct str filter, const char *share,
                                uint64_t session)
{
    struct model_sub *sub = model_find(m, filter, share, session);
    if (sub)
        *sub = m->subs[--m->n];
    return sub != NULL;
}

static inline const struct receiver *model_receiver(const struct match *match, uint64_t session)
{
    const struct receiver *found = NULL;
    for (uint32_t i = 0; i < match->n; i++) {
        if (match->rcpts[i].share || match->rcpts[i].who.session != session)
            continue;
        assert_null(found);
        found = &match->rcpts[i];
    }
    return found;
}

/* Each id of the subscriptions is in the receiver's run as often as there. */
static inline void model_check_ids(const struct match *match, const struct receiver *rcpt,
                                   const uint32_t *ids, uint32_t n)
{
    assert_int_equal(rcpt->n_ids, n);
    assert_true(rcpt->first_id + n <= match->n_ids);
    for (uint32_t i = 0; i < n; i++) {
        int32_t balance = 0;
        for (uint32_t k = 0; k < n; k++)
            balance += (ids[k] == ids[i]) - (match->ids[rcpt->first_id + k] == ids[i]);
        assert_int_equal(balance, 0);
    }
}

#define MODEL_FLAGS (SUB_DURABLE | SUB_RETAIN_AS_PUBLISHED | SUB_CHECK_DELIVER)

/* One session's ordinary subscriptions against the match; 1 when it is a receiver. */
static inline uint32_t model_check_session(const struct model *m, const struct match *match,
                                           struct str topic, uint64_t session, uint64_t from,
                                           uint64_t version)
{
    uint32_t ids[MODEL_MAX], n_ids = 0, n = 0;
    uint64_t flags = 0;
    uint8_t qos = 0;
    for (uint32_t i = 0; i < m->n; i++) {
        const struct model_sub *sub = &m->subs[i];
        if (sub->session != session || sub->share[0] || !topic_matches(model_filter(sub), topic) ||
            (sub->opts & SUB_NO_LOCAL && session == from) || (version && sub->version >= version))
            continue;
        n++;
        flags |= sub->opts & MODEL_FLAGS;
        if (SUB_QOS(sub->opts) > qos)
            qos = SUB_QOS(sub->opts);
        if (SUB_ID(sub->opts))
            ids[n_ids++] = SUB_ID(sub->opts);
    }
    const struct receiver *rcpt = model_receiver(match, session);
    if (!n) {
        assert_null(rcpt);
        return 0;
    }
    assert_non_null(rcpt);
    assert_int_equal(rcpt->flags, flags);
    assert_int_equal(rcpt->qos, qos);
    assert_int_equal(rcpt->who.slot, model_who(session).slot);
    assert_int_equal(rcpt->who.loop, model_who(session).loop);
    model_check_ids(match, rcpt, ids, n_ids);
    return 1;
}

static inline bool model_same_group(const struct model_sub *a, const struct model_sub *b)
{
    return strcmp(a->share, b->share) == 0 && str_eq(model_filter(a), model_filter(b));
}

/* The receiver chosen by the group of a subscription; NULL: none. */
static inline const struct receiver *model_chosen(const struct match *match,
                                                  const struct model_sub *sub)
{
    char text[RANDOM_TEXT + 32];
    snprintf(text, sizeof(text), "$share/%s/%.*s", sub->share, (int)sub->filter_len, sub->filter);
    const struct receiver *found = NULL;
    for (uint32_t i = 0; i < match->n; i++) {
        if (!match->rcpts[i].share || !str_eq(share_name(match->rcpts[i].share), str_from(text)))
            continue;
        assert_null(found);
        found = &match->rcpts[i];
    }
    return found;
}

/* The group of subs[first]: one member of the best kind is chosen. 1 when the group has one. */
static inline uint32_t model_check_group(const struct model *m, const struct match *match,
                                         uint32_t first)
{
    bool online = false, durable = false;
    const struct receiver *rcpt = model_chosen(match, &m->subs[first]);
    const struct model_sub *chosen = NULL;
    for (uint32_t i = 0; i < m->n; i++) {
        const struct model_sub *sub = &m->subs[i];
        if (!model_same_group(sub, &m->subs[first]))
            continue;
        online = online || sub->opts & SUB_ONLINE;
        durable = durable || sub->opts & SUB_DURABLE;
        if (rcpt && rcpt->who.session == sub->session)
            chosen = sub;
    }
    if (!online && !durable) {
        assert_null(rcpt);
        return 0;
    }
    assert_non_null(rcpt);
    assert_non_null(chosen);
    assert_true(chosen->opts & (online ? SUB_ONLINE : SUB_DURABLE));
    assert_int_equal(rcpt->qos, SUB_QOS(chosen->opts));
    assert_int_equal(rcpt->flags, chosen->opts & MODEL_FLAGS);
    uint32_t id = SUB_ID(chosen->opts);
    model_check_ids(match, rcpt, &id, id != 0);
    return 1;
}

static inline uint32_t model_check_groups(const struct model *m, const struct match *match,
                                          struct str topic)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < m->n; i++) {
        bool first = m->subs[i].share[0] && topic_matches(model_filter(&m->subs[i]), topic);
        for (uint32_t k = 0; first && k < i; k++)
            first = !model_same_group(&m->subs[k], &m->subs[i]);
        if (first)
            n += model_check_group(m, match, i);
    }
    return n;
}

static inline void model_check_loops(const struct match *match)
{
    bool durable = false;
    assert_int_equal(match->first[0], 0);
    assert_int_equal(match->first[MODEL_LOOPS], match->n);
    for (uint32_t loop = 0; loop < MODEL_LOOPS; loop++) {
        for (uint32_t i = match->first[loop]; i < match->first[loop + 1]; i++) {
            assert_int_equal(match->rcpts[i].who.loop, loop);
            durable = durable || (match->rcpts[i].qos && match->rcpts[i].flags & SUB_DURABLE);
        }
    }
    assert_int_equal(match->any_durable, durable);
}

/* The result of a match is what the model says. Sessions are 1..n_sessions. */
static inline void model_check(const struct model *m, struct index *ix, struct match *match,
                               struct str topic, uint64_t n_sessions, uint64_t from,
                               uint64_t version)
{
    assert_int_equal(index_match(ix, 0, topic, from, version, match), 0);
    uint32_t n = 0;
    for (uint64_t session = 1; session <= n_sessions; session++)
        n += model_check_session(m, match, topic, session, from, version);
    n += model_check_groups(m, match, topic);
    assert_int_equal(match->n, n);
    model_check_loops(match);
    bool any = false;
    for (uint32_t i = 0; i < m->n; i++)
        any = any || topic_matches(model_filter(&m->subs[i]), topic);
    assert_int_equal(index_any(ix, topic), any);
}
