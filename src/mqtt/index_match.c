#include "mqtt/index_walk.h"
#include "mqtt/topic.h"
#include <errno.h>
#include <stdlib.h>

struct match_leaf {
    const struct index_leaf *leaf;
    uint32_t n; /* positions that were in use when it was found */
};
struct match_id {
    uint32_t rcpt, id;
};
struct match_seen { /* open addressing; free unless its stamp is the current one */
    uint64_t session;
    uint32_t stamp, rcpt;
};

/* Arrays only grow; sizes are in elements. */
struct match_scratch {
    uint32_t n_loops;
    struct index_level *levels;
    struct index_step *stack;
    uint32_t cap_levels, cap_stack;
    struct match_leaf *leaves, *shared;
    uint32_t n_leaves, n_shared, cap_leaves, cap_shared;
    struct receiver *out; /* in the order found, when there are several loops */
    struct match_id *pairs;
    uint32_t n_pairs, cap_out, cap_rcpts, cap_pairs, cap_ids;
    struct match_seen *seen;
    uint32_t n_seen, stamp; /* n_seen: a power of two */
};

/* What a match asks of each subscription. */
struct match_query {
    uint64_t from_session, version;
    uint64_t look_at; /* options that may speak against a subscription */
    bool from_bus;
    const struct str *groups; /* from_bus: the share groups that get it */
    uint32_t n_groups;
};

static int grow(void *array, uint32_t *cap, uint32_t want, size_t unit)
{
    if (want <= *cap)
        return 0;
    uint32_t n = *cap ? *cap : 16;
    while (n < want)
        n *= 2;
    void *old, *larger;
    memcpy(&old, array, sizeof(old));
    larger = realloc(old, n * unit);
    if (!larger)
        return -ENOMEM;
    memcpy(array, &larger, sizeof(larger));
    *cap = n;
    return 0;
}

int match_init(struct match *m, const struct index *index)
{
    *m = (struct match){ 0 };
    m->first = calloc(index->n_loops + 1, sizeof(*m->first));
    m->scratch = calloc(1, sizeof(*m->scratch));
    if (!m->first || !m->scratch) {
        match_fini(m);
        return -ENOMEM;
    }
    m->scratch->n_loops = index->n_loops;
    return 0;
}

void match_fini(struct match *m)
{
    struct match_scratch *s = m->scratch;
    if (s) {
        free(s->levels);
        free(s->stack);
        free(s->leaves);
        free(s->shared);
        free(s->out);
        free(s->pairs);
        free(s->seen);
        free(s);
    }
    free(m->rcpts);
    free(m->first);
    free(m->ids);
    *m = (struct match){ 0 };
}

static int leaf_note(struct match_leaf **leaves, uint32_t *n, uint32_t *cap,
                     const struct index_leaf *leaf)
{
    if (grow(leaves, cap, *n + 1, sizeof(**leaves)) < 0)
        return -ENOMEM;
    (*leaves)[(*n)++] =
        (struct match_leaf){ leaf, atomic_load_explicit(&leaf->n, memory_order_acquire) };
    return 0;
}

/* Finds the leaves, and how many receivers there may be at most. */
static int find_leaves(struct index *ix, struct str topic, struct match_scratch *s,
                       uint32_t *r_most)
{
    uint32_t n_levels = topic_levels(topic);
    if (grow(&s->levels, &s->cap_levels, n_levels, sizeof(*s->levels)) < 0 ||
        grow(&s->stack, &s->cap_stack, n_levels + 2, sizeof(*s->stack)) < 0)
        return -ENOMEM;
    struct index_walk walk;
    index_walk_begin(&walk, ix, topic, s->levels, s->stack);
    s->n_leaves = s->n_shared = 0;
    const struct index_leaf *leaf;
    uint64_t most = 0;
    while ((leaf = index_walk_next(&walk))) {
        int r = leaf->end & INDEX_SHARED
                    ? leaf_note(&s->shared, &s->n_shared, &s->cap_shared, leaf)
                    : leaf_note(&s->leaves, &s->n_leaves, &s->cap_leaves, leaf);
        if (r < 0)
            return r;
        most +=
            leaf->end & INDEX_SHARED ? s->shared[s->n_shared - 1].n : s->leaves[s->n_leaves - 1].n;
    }
    if (most > UINT32_MAX / 4)
        return -ENOMEM;
    *r_most = (uint32_t)most;
    return 0;
}

/* Does this subscription get the message? Its session and options if so. */
static inline bool entry_wants(const struct index_entry *entry, const struct match_query *q,
                               uint64_t *r_session, uint64_t *r_opts)
{
    uint64_t session = atomic_load_explicit(&entry->session, memory_order_acquire);
    if (!session)
        return false;
    uint64_t opts = atomic_load_explicit(&entry->opts, memory_order_acquire);
    if (opts & q->look_at && /* [MQTT-3.8.3-3] */
        (opts & SUB_REMOTE || session == q->from_session))
        return false;
    if (q->version && atomic_load_explicit(&entry->version, memory_order_relaxed) >= q->version)
        return false;
    *r_session = session;
    *r_opts = opts;
    return true;
}

static inline void add_id(struct match_scratch *s, struct receiver *rcpt, uint32_t at,
                          uint64_t opts)
{
    if (!SUB_ID(opts) || rcpt->n_ids == UINT8_MAX)
        return;
    rcpt->n_ids++;
    s->pairs[s->n_pairs++] = (struct match_id){ at, SUB_ID(opts) };
}

static inline void rcpt_begin(struct receiver *rcpt, const struct index_entry *entry,
                              uint64_t session, uint64_t opts)
{
    rcpt->who.session = session;
    rcpt->who.slot = entry->slot;
    rcpt->who.loop = entry->loop;
    rcpt->flags = opts & RECEIVER_FLAGS;
    rcpt->qos = SUB_QOS(opts);
    rcpt->n_ids = 0;
    rcpt->first_id = 0;
    rcpt->share = NULL;
}

static inline void rcpt_merge(struct receiver *rcpt, uint64_t opts)
{
    rcpt->flags |= opts & RECEIVER_FLAGS;
    if (SUB_QOS(opts) > rcpt->qos)
        rcpt->qos = SUB_QOS(opts);
}

static uint32_t collect_one(struct match_scratch *s, const struct match_leaf *ml,
                            const struct match_query *q, struct receiver *out)
{
    const struct index_entry *entry = leaf_entries(ml->leaf);
    uint32_t n = 0;
    for (uint32_t i = 0; i < ml->n; i++, entry++) {
        uint64_t session, opts;
        if (!entry_wants(entry, q, &session, &opts))
            continue;
        rcpt_begin(&out[n], entry, session, opts);
        add_id(s, &out[n], n, opts);
        n++;
    }
    return n;
}

/* Empties the table of sessions seen and makes it large enough for `n`. */
static int seen_begin(struct match_scratch *s, uint32_t n)
{
    uint32_t want = 64;
    while (want < n * 2)
        want *= 2;
    if (want > s->n_seen) {
        struct match_seen *seen = calloc(want, sizeof(*seen));
        if (!seen)
            return -ENOMEM;
        free(s->seen);
        s->seen = seen;
        s->n_seen = want;
        s->stamp = 0;
    }
    if (++s->stamp == 0) {
        memset(s->seen, 0, s->n_seen * sizeof(*s->seen));
        s->stamp = 1;
    }
    return 0;
}

static inline struct match_seen *seen_find(struct match_scratch *s, uint64_t session)
{
    uint32_t mask = s->n_seen - 1;
    uint32_t i = (uint32_t)(session * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask;
    while (s->seen[i].stamp == s->stamp && s->seen[i].session != session)
        i = (i + 1) & mask;
    return &s->seen[i];
}

/* Several leaves: a session may be in more than one. The largest comes last, because what is found
 * in the last one need not be remembered. */
static uint32_t collect_merged(struct match_scratch *s, const struct match_query *q,
                               struct receiver *out)
{
    uint32_t n = 0;
    for (uint32_t l = 0; l < s->n_leaves; l++) {
        const struct index_entry *entry = leaf_entries(s->leaves[l].leaf);
        bool last = l + 1 == s->n_leaves;
        for (uint32_t i = 0; i < s->leaves[l].n; i++, entry++) {
            uint64_t session, opts;
            if (!entry_wants(entry, q, &session, &opts))
                continue;
            struct match_seen *seen = seen_find(s, session);
            uint32_t at = n;
            if (seen->stamp == s->stamp) {
                at = seen->rcpt;
                rcpt_merge(&out[at], opts);
            } else {
                rcpt_begin(&out[n++], entry, session, opts);
                if (!last)
                    *seen = (struct match_seen){ session, s->stamp, at };
            }
            add_id(s, &out[at], at, opts);
        }
    }
    return n;
}

/* Moves the largest leaf to the end; how many entries the others have. */
static uint32_t largest_last(struct match_scratch *s)
{
    uint32_t largest = 0, sum = 0;
    for (uint32_t i = 0; i < s->n_leaves; i++) {
        sum += s->leaves[i].n;
        if (s->leaves[i].n > s->leaves[largest].n)
            largest = i;
    }
    struct match_leaf swap = s->leaves[largest];
    s->leaves[largest] = s->leaves[s->n_leaves - 1];
    s->leaves[s->n_leaves - 1] = swap;
    return sum - swap.n;
}

static bool group_is_named(const struct index_group *group, const struct match_query *q)
{
    for (uint32_t i = 0; i < q->n_groups; i++)
        if (str_eq(q->groups[i], share_name(group->share)))
            return true;
    return false;
}

static uint32_t collect_shared(struct match_scratch *s, uint32_t loop, const struct match_query *q,
                               struct receiver *out, uint32_t n)
{
    uint64_t without = q->from_bus ? SUB_REMOTE : 0;
    for (uint32_t l = 0; l < s->n_shared; l++) {
        for (uint32_t i = 0; i < s->shared[l].n; i++) {
            struct index_group *group =
                atomic_load_explicit(&leaf_groups(s->shared[l].leaf)[i], memory_order_acquire);
            uint64_t opts;
            if (!group || (q->from_bus && !group_is_named(group, q)) ||
                index_group_choose(group, loop, NULL, 0, without, &out[n], &opts) < 0)
                continue;
            add_id(s, &out[n], n, opts);
            n++;
        }
    }
    return n;
}

/* Gives each receiver its run of m->ids. */
static int lay_out_ids(struct match *m, struct receiver *out, uint32_t n)
{
    struct match_scratch *s = m->scratch;
    if (grow(&m->ids, &s->cap_ids, s->n_pairs, sizeof(*m->ids)) < 0)
        return -ENOMEM;
    uint32_t at = 0;
    for (uint32_t i = 0; i < n; i++) {
        out[i].first_id = at;
        at += out[i].n_ids;
    }
    for (uint32_t i = 0; i < s->n_pairs; i++)
        m->ids[out[s->pairs[i].rcpt].first_id++] = s->pairs[i].id;
    for (uint32_t i = 0; i < n; i++)
        out[i].first_id -= out[i].n_ids;
    m->n_ids = s->n_pairs;
    return 0;
}

/* From the order found to runs per loop. */
static void group_by_loop(struct match *m, const struct receiver *out, uint32_t n)
{
    uint32_t n_loops = m->scratch->n_loops;
    memset(m->first, 0, (n_loops + 1) * sizeof(*m->first));
    for (uint32_t i = 0; i < n; i++)
        m->first[out[i].who.loop + 1]++;
    for (uint32_t i = 1; i <= n_loops; i++)
        m->first[i] += m->first[i - 1];
    for (uint32_t i = 0; i < n; i++)
        m->rcpts[m->first[out[i].who.loop]++] = out[i];
    memmove(m->first + 1, m->first, n_loops * sizeof(*m->first));
    m->first[0] = 0;
}

static bool has_durable(const struct receiver *out, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (out[i].qos > 0 && out[i].flags & SUB_DURABLE)
            return true;
    return false;
}

static int collect(struct match *m, uint32_t loop, const struct match_query *q, uint32_t most)
{
    struct match_scratch *s = m->scratch;
    bool several = s->n_loops > 1;
    if (grow(&m->rcpts, &s->cap_rcpts, most, sizeof(*m->rcpts)) < 0 ||
        grow(&s->pairs, &s->cap_pairs, most, sizeof(*s->pairs)) < 0 ||
        (several && grow(&s->out, &s->cap_out, most, sizeof(*s->out)) < 0))
        return -ENOMEM;
    if (s->n_leaves > 1 && seen_begin(s, largest_last(s)) < 0)
        return -ENOMEM;
    struct receiver *out = several ? s->out : m->rcpts;
    s->n_pairs = 0;
    uint32_t n = 0;
    if (s->n_leaves > 1)
        n = collect_merged(s, q, out);
    else if (s->n_leaves == 1)
        n = collect_one(s, &s->leaves[0], q, out);
    n = collect_shared(s, loop, q, out, n);
    if (s->n_pairs && lay_out_ids(m, out, n) < 0)
        return -ENOMEM;
    if (several)
        group_by_loop(m, out, n);
    else
        m->first[1] = n;
    m->n = n;
    m->any_durable = has_durable(m->rcpts, n);
    return 0;
}

static int match(struct index *ix, uint32_t loop, struct str topic, const struct match_query *q,
                 bool plain, struct match *m)
{
    m->n = m->n_ids = 0;
    m->any_durable = false;
    uint32_t most = 0;
    int r = find_leaves(ix, topic, m->scratch, &most);
    if (!plain)
        m->scratch->n_leaves = 0;
    if (r == 0 && most > 0)
        r = collect(m, loop, q, most);
    if (m->n == 0)
        memset(m->first, 0, (m->scratch->n_loops + 1) * sizeof(*m->first));
    return r;
}

int index_match(struct index *ix, uint32_t loop, struct str topic, uint64_t from_session,
                uint64_t version, struct match *m)
{
    struct match_query q = { .from_session = from_session,
                             .version = version,
                             .look_at = SUB_NO_LOCAL };
    return match(ix, loop, topic, &q, true, m);
}

int index_match_from_bus(struct index *ix, uint32_t loop, struct str topic, uint64_t version,
                         bool plain, const struct str *groups, uint32_t n_groups, struct match *m)
{
    struct match_query q = { .version = version,
                             .look_at = SUB_REMOTE,
                             .from_bus = true,
                             .groups = groups,
                             .n_groups = n_groups };
    return match(ix, loop, topic, &q, plain, m);
}

bool index_any(struct index *ix, struct str topic)
{
    struct index_level few[32];
    struct index_step few_steps[34];
    uint32_t n = topic_levels(topic);
    struct index_level *levels = few;
    struct index_step *stack = few_steps;
    bool many = n > 32;
    if (many) {
        levels = malloc(n * sizeof(*levels));
        stack = malloc((n + 2) * sizeof(*stack));
    }
    bool any = true; /* also when there is no memory to find out */
    if (levels && stack) {
        struct index_walk walk;
        index_walk_begin(&walk, ix, topic, levels, stack);
        any = index_walk_next(&walk) != NULL;
    }
    if (many) {
        free(levels);
        free(stack);
    }
    return any;
}
