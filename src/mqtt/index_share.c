#include "mqtt/index_tree.h"
#include "mqtt/topic.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static const struct str share_prefix = STR("$share/");

static struct share *share_new(const struct index_path *p, struct str name)
{
    /* The filter is the path's text and the '#' that may be behind it. */
    uint32_t filter_len = p->text.len + ((p->end & INDEX_DEEP) != 0);
    uint32_t len = share_prefix.len + name.len + 1 + filter_len;
    struct share *s = malloc(sizeof(*s) + len + 1);
    if (!s)
        return NULL;
    atomic_init(&s->refs, 1);
    s->len = len;
    s->group_len = name.len;
    char *at = s->text;
    memcpy(at, share_prefix.ptr, share_prefix.len);
    at += share_prefix.len;
    memcpy(at, name.ptr, name.len);
    at += name.len;
    *at++ = '/';
    if (filter_len)
        memcpy(at, p->text.ptr, filter_len);
    at[filter_len] = '\0';
    return s;
}

static struct str share_group(const struct share *s)
{
    return str_make(s->text + share_prefix.len, s->group_len);
}

struct str share_name(const struct share *s)
{
    return str_make(s->text, s->len);
}

struct share *share_ref(struct share *s)
{
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    return s;
}

void share_unref(struct share **s)
{
    struct share *old = *s;
    *s = NULL;
    if (old && atomic_fetch_sub_explicit(&old->refs, 1, memory_order_acq_rel) == 1)
        free(old);
}

static struct index_group *group_at(const struct index_leaf *leaf, uint32_t i)
{
    return atomic_load_explicit(&leaf_groups(leaf)[i], memory_order_acquire);
}

/* Any thread inside an epoch. NULL: no such group. */
static struct index_group *group_find(const struct index_leaf *leaf, struct str name,
                                      uint32_t *r_position)
{
    uint32_t n = leaf ? atomic_load_explicit(&leaf->n, memory_order_acquire) : 0;
    for (uint32_t i = 0; i < n; i++) {
        struct index_group *group = group_at(leaf, i);
        if (group && str_eq(share_group(group->share), name)) {
            *r_position = i;
            return group;
        }
    }
    return NULL;
}

static struct index_group *group_new(const struct index *ix, const struct index_path *p,
                                     struct str name)
{
    struct index_group *group = calloc(1, sizeof(*group) + ix->n_loops * sizeof(group->next[0]));
    if (!group)
        return NULL;
    struct index_leaf *members = index_leaf_new(INDEX_END_EXACT, 1, 0, 0);
    group->share = share_new(p, name);
    if (!group->share || !members) {
        index_leaf_free(members);
        share_unref(&group->share);
        free(group);
        return NULL;
    }
    atomic_init(&group->members, leaf_ref(members));
    return group;
}

void index_group_free(struct index_group *group)
{
    index_leaf_free(ref_leaf(ref_load(&group->members)));
    share_unref(&group->share);
    free(group);
}

static void on_group_unused(struct epoch_item *item)
{
    struct index_group *group = (struct index_group *)item;
    share_unref(&group->share);
    free(group);
}

static void group_retire(struct index *ix, uint32_t loop, struct index_group *group)
{
    index_leaf_retire(ix, loop, ref_leaf(ref_load(&group->members)));
    epoch_retire(ix->epoch, loop, &group->retire, on_group_unused);
}

/* Counts a member with options `opts` in (or out), which it has had (or not). */
static void group_count(struct index_group *group, uint64_t opts, uint32_t by)
{
    if (opts & SUB_ONLINE)
        atomic_fetch_add_explicit(&group->n_online, by, memory_order_relaxed);
    if (opts & SUB_DURABLE)
        atomic_fetch_add_explicit(&group->n_durable, by, memory_order_relaxed);
}

static void member_set(struct index_group *group, struct index_entry *entry, uint64_t opts)
{
    group_count(group, opts, 1);
    group_count(group, atomic_load_explicit(&entry->opts, memory_order_relaxed), UINT32_MAX);
    atomic_store_explicit(&entry->opts, opts, memory_order_release);
}

static int group_put(struct index *ix, uint32_t loop, struct index_group *group,
                     struct index_who who, uint64_t opts)
{
    struct index_entry *entry = index_list_find(ref_leaf(ref_load(&group->members)), who.session);
    if (entry) {
        member_set(group, entry, opts);
        return INDEX_REPLACED;
    }
    int r = index_list_add(ix, loop, &group->members, who, opts, 0);
    if (r < 0)
        return r;
    group_count(group, opts, 1);
    return INDEX_NEW;
}

/* A leaf with the living groups of `old` and room for `more`. */
static struct index_leaf *groups_rebuild(const struct index_leaf *old, uint32_t more)
{
    uint32_t cap = index_leaf_live(old) + more;
    struct index_leaf *leaf = index_leaf_new(old->end, cap, old->label_len, old->hash);
    if (!leaf)
        return NULL;
    uint32_t n = 0, n_old = atomic_load_explicit(&old->n, memory_order_relaxed);
    for (uint32_t i = 0; i < n_old; i++) {
        struct index_group *group = group_at(old, i);
        if (group)
            atomic_init(&leaf_groups(leaf)[n++], group);
    }
    atomic_init(&leaf->n, n);
    memcpy(leaf_label_at(leaf), leaf_label(old), old->label_len);
    return leaf;
}

static void groups_append(struct index_leaf *leaf, struct index_group *group)
{
    uint32_t n = atomic_load_explicit(&leaf->n, memory_order_relaxed);
    assert(n < leaf->cap);
    atomic_init(&leaf_groups(leaf)[n], group);
    atomic_store_explicit(&leaf->n, n + 1, memory_order_release);
}

static int groups_add(struct index *ix, uint32_t loop, const struct index_path *p,
                      const struct index_spot *spot, struct index_group *group)
{
    struct index_leaf *leaf = spot->leaf;
    if (!leaf) {
        leaf = index_make_leaf(ix, p, spot);
        if (!leaf)
            return -ENOMEM;
        groups_append(leaf, group);
        int r = index_attach(ix, loop, spot, leaf);
        if (r < 0)
            index_leaf_free(leaf);
        return r;
    }
    if (atomic_load_explicit(&leaf->n, memory_order_relaxed) < leaf->cap) {
        groups_append(leaf, group);
        return 0;
    }
    struct index_leaf *larger = groups_rebuild(leaf, index_leaf_live(leaf) / 2 + 1);
    if (!larger)
        return -ENOMEM;
    groups_append(larger, group);
    ref_store(spot->slot, leaf_ref(larger));
    index_leaf_retire(ix, loop, leaf);
    return 0;
}

int index_share_put(struct index *ix, uint32_t loop, const struct index_path *p, struct str share,
                    struct index_who who, uint64_t opts)
{
    struct index_spot spot;
    uint32_t position;
    index_find(ix, p, &spot);
    struct index_group *group = group_find(spot.leaf, share, &position);
    if (group)
        return group_put(ix, loop, group, who, opts);
    group = group_new(ix, p, share);
    if (!group)
        return -ENOMEM;
    int r = group_put(ix, loop, group, who, opts);
    if (r >= 0)
        r = groups_add(ix, loop, p, &spot, group);
    if (r < 0)
        index_group_free(group);
    return r;
}

int index_share_set(struct index *ix, const struct index_path *p, struct str share,
                    uint64_t session, uint64_t set, uint64_t clear)
{
    struct index_spot spot;
    uint32_t position;
    index_find(ix, p, &spot);
    struct index_group *group = group_find(spot.leaf, share, &position);
    struct index_entry *entry =
        group ? index_list_find(ref_leaf(ref_load(&group->members)), session) : NULL;
    if (!entry)
        return -ENOENT;
    uint64_t opts = atomic_load_explicit(&entry->opts, memory_order_relaxed);
    member_set(group, entry, (opts & ~clear) | set);
    return 0;
}

/* Takes an empty group out. */
static void groups_remove(struct index *ix, uint32_t loop, const struct index_spot *spot,
                          struct index_group *group, uint32_t position)
{
    struct index_leaf *leaf = spot->leaf;
    if (index_leaf_live(leaf) == 1) {
        index_detach(ix, loop, spot);
    } else {
        atomic_store_explicit(&leaf_groups(leaf)[position], NULL, memory_order_release);
        leaf->own.n_dead++;
        struct index_leaf *smaller = NULL;
        if (leaf->own.n_dead * 2 > atomic_load_explicit(&leaf->n, memory_order_relaxed))
            smaller = groups_rebuild(leaf, 1);
        if (smaller) { /* otherwise the large one does, too */
            ref_store(spot->slot, leaf_ref(smaller));
            index_leaf_retire(ix, loop, leaf);
        }
    }
    group_retire(ix, loop, group);
}

int index_share_remove(struct index *ix, uint32_t loop, const struct index_path *p,
                       struct str share, uint64_t session)
{
    struct index_spot spot;
    uint32_t position;
    index_find(ix, p, &spot);
    struct index_group *group = group_find(spot.leaf, share, &position);
    if (!group)
        return -ENOENT;
    struct index_leaf *members = ref_leaf(ref_load(&group->members));
    struct index_entry *entry = index_list_find(members, session);
    if (!entry)
        return -ENOENT;
    if (index_leaf_live(members) == 1) {
        groups_remove(ix, loop, &spot, group, position);
        return 0;
    }
    group_count(group, atomic_load_explicit(&entry->opts, memory_order_relaxed), UINT32_MAX);
    index_list_remove(ix, loop, &group->members, entry);
    return 0;
}

static bool is_among(uint64_t session, const uint64_t *these, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (these[i] == session)
            return true;
    return false;
}

int index_group_choose(struct index_group *group, uint32_t loop, const uint64_t *not_these,
                       uint32_t n_not, uint64_t without, struct receiver *r_rcpt, uint64_t *r_opts)
{
    const struct index_leaf *members = ref_leaf(ref_load(&group->members));
    uint32_t n = atomic_load_explicit(&members->n, memory_order_acquire);
    uint32_t from = atomic_load_explicit(&group->next[loop], memory_order_relaxed);
    bool seek_online = atomic_load_explicit(&group->n_online, memory_order_relaxed) > 0;
    bool seek_durable = atomic_load_explicit(&group->n_durable, memory_order_relaxed) > 0;
    uint32_t chosen = UINT32_MAX;
    for (uint32_t i = 0; i < n && (seek_online || seek_durable); i++) {
        uint32_t at = (from + i) % n;
        const struct index_entry *entry = &leaf_entries(members)[at];
        uint64_t session = atomic_load_explicit(&entry->session, memory_order_acquire);
        uint64_t opts = atomic_load_explicit(&entry->opts, memory_order_acquire);
        if (!session || opts & without || is_among(session, not_these, n_not))
            continue;
        bool online = opts & SUB_ONLINE;
        if (!online && (!seek_durable || !(opts & SUB_DURABLE)))
            continue;
        seek_durable = false;
        chosen = at;
        r_rcpt->who = (struct index_who){ session, entry->slot, entry->loop };
        *r_opts = opts;
        if (online || !seek_online)
            break;
    }
    if (chosen == UINT32_MAX)
        return -ENOENT;
    atomic_store_explicit(&group->next[loop], chosen + 1, memory_order_relaxed);
    r_rcpt->flags = *r_opts & RECEIVER_FLAGS;
    r_rcpt->qos = SUB_QOS(*r_opts);
    r_rcpt->n_ids = 0;
    r_rcpt->first_id = 0;
    r_rcpt->share = group->share;
    return 0;
}

static int choose(struct index *ix, uint32_t loop, const struct share *share,
                  const uint64_t *not_these, uint32_t n, uint64_t without, struct receiver *r_rcpt)
{
    struct str text = share_name(share);
    uint32_t before = share_prefix.len + share->group_len + 1;
    struct index_path p = index_path_of(str_make(text.ptr + before, text.len - before), true);
    struct index_spot spot;
    uint32_t position;
    index_find(ix, &p, &spot);
    struct index_group *group = group_find(spot.leaf, share_group(share), &position);
    struct receiver rcpt;
    uint64_t opts;
    int r = group ? index_group_choose(group, loop, not_these, n, without, &rcpt, &opts) : -ENOENT;
    if (r == 0)
        *r_rcpt = rcpt;
    return r;
}

int index_choose(struct index *ix, uint32_t loop, const struct share *share,
                 const uint64_t *not_these, uint32_t n, struct receiver *r_rcpt)
{
    return choose(ix, loop, share, not_these, n, 0, r_rcpt);
}

int index_choose_here(struct index *ix, uint32_t loop, const struct share *share,
                      const uint64_t *not_these, uint32_t n, struct receiver *r_rcpt)
{
    return choose(ix, loop, share, not_these, n, SUB_REMOTE, r_rcpt);
}
