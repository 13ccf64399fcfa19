#include "mqtt/index.h"
#include "mqtt/index_tree.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int index_new(struct epoch *epoch, uint32_t n_loops, const struct hash_key *key,
              struct index **r_index)
{
    struct index *ix = calloc(1, sizeof(*ix));
    struct index_branch *root = index_branch_new(NULL, 0, NULL, 0, 0);
    if (!ix || !root) {
        free(root);
        free(ix);
        return -ENOMEM;
    }
    ix->epoch = epoch;
    ix->key = *key;
    ix->n_loops = n_loops;
    ix->root = root;
    *r_index = ix;
    return 0;
}

/* Frees leaves at once and puts branches on a list: the tree may be deeper than a stack. */
static void free_ref(uintptr_t ref, struct epoch_item **todo)
{
    if (!(ref & ~REF_BITS))
        return;
    if (!(ref & REF_LEAF)) {
        struct index_branch *b = ref_branch(ref);
        b->retire.next = *todo;
        *todo = &b->retire;
        return;
    }
    struct index_leaf *leaf = ref_leaf(ref);
    uint32_t n = leaf->end & INDEX_SHARED ? atomic_load(&leaf->n) : 0;
    for (uint32_t i = 0; i < n; i++) {
        struct index_group *group = atomic_load(&leaf_groups(leaf)[i]);
        if (group)
            index_group_free(group);
    }
    index_leaf_free(leaf);
}

static void free_branch(struct index_branch *b, struct epoch_item **todo)
{
    for (uint32_t i = 0; i < INDEX_N_ENDS; i++)
        free_ref(ref_load(&b->ends[i]), todo);
    free_ref(ref_load(&b->plus), todo);
    uintptr_t ref = ref_load(&b->kids);
    if (ref & REF_KIDS) {
        struct index_kids *kids = (struct index_kids *)(ref & ~REF_BITS);
        for (uint32_t i = 0; i <= kids->mask; i++)
            free_ref(ref_load(&kids->slot[i]), todo);
        free(kids);
    } else {
        free_ref(ref, todo);
    }
    free(b);
}

void index_free(struct index **index)
{
    struct index *ix = *index;
    *index = NULL;
    if (!ix)
        return;
    struct epoch_item *todo = &ix->root->retire;
    todo->next = NULL;
    while (todo) {
        struct index_branch *b = (struct index_branch *)todo;
        todo = todo->next;
        free_branch(b, &todo);
    }
    free(ix);
}

static int list_put(struct index *ix, uint32_t loop, const struct index_path *p,
                    struct index_who who, uint64_t opts, uint64_t version)
{
    struct index_spot spot;
    index_find(ix, p, &spot);
    if (spot.leaf) {
        struct index_entry *entry = index_list_find(spot.leaf, who.session);
        if (!entry)
            return index_list_add(ix, loop, spot.slot, who, opts, version);
        /* A reader that sees the new options sees the new version. */
        atomic_store_explicit(&entry->version, version, memory_order_relaxed);
        atomic_store_explicit(&entry->opts, opts, memory_order_release);
        return INDEX_REPLACED;
    }
    struct index_leaf *leaf = index_make_leaf(ix, p, &spot);
    if (!leaf)
        return -ENOMEM;
    _Atomic uintptr_t mine;
    atomic_init(&mine, leaf_ref(leaf));
    int r = index_list_add(ix, loop, &mine, who, opts, version); /* there is room for one */
    assert(r == 0);
    r = index_attach(ix, loop, &spot, leaf);
    if (r < 0)
        index_leaf_free(leaf);
    return r;
}

static int list_remove(struct index *ix, uint32_t loop, const struct index_path *p,
                       uint64_t session)
{
    struct index_spot spot;
    index_find(ix, p, &spot);
    struct index_entry *entry = spot.leaf ? index_list_find(spot.leaf, session) : NULL;
    if (!entry)
        return -ENOENT;
    if (index_leaf_live(spot.leaf) == 1)
        index_detach(ix, loop, &spot);
    else
        index_list_remove(ix, loop, spot.slot, entry);
    return 0;
}

int index_put(struct index *ix, uint32_t loop, struct str filter, struct str share,
              struct index_who who, uint64_t opts, uint64_t version)
{
    assert(who.session != 0 && who.loop < ix->n_loops && filter.len > 0);
    struct index_path p = index_path_of(filter, share.len > 0);
    int r = share.len > 0 ? index_share_put(ix, loop, &p, share, who, opts)
                          : list_put(ix, loop, &p, who, opts, version);
    if (r == INDEX_NEW) {
        atomic_fetch_add_explicit(&ix->n, 1, memory_order_relaxed);
        if (share.len > 0)
            atomic_fetch_add_explicit(&ix->n_shared, 1, memory_order_relaxed);
    }
    return r;
}

int index_set(struct index *ix, struct str filter, struct str share, uint64_t session, uint64_t set,
              uint64_t clear)
{
    struct index_path p = index_path_of(filter, share.len > 0);
    if (share.len > 0)
        return index_share_set(ix, &p, share, session, set, clear);
    struct index_spot spot;
    index_find(ix, &p, &spot);
    struct index_entry *entry = spot.leaf ? index_list_find(spot.leaf, session) : NULL;
    if (!entry)
        return -ENOENT;
    uint64_t opts = atomic_load_explicit(&entry->opts, memory_order_relaxed);
    atomic_store_explicit(&entry->opts, (opts & ~clear) | set, memory_order_release);
    return 0;
}

int index_remove(struct index *ix, uint32_t loop, struct str filter, struct str share,
                 uint64_t session)
{
    struct index_path p = index_path_of(filter, share.len > 0);
    int r = share.len > 0 ? index_share_remove(ix, loop, &p, share, session)
                          : list_remove(ix, loop, &p, session);
    if (r == 0) {
        atomic_fetch_sub_explicit(&ix->n, 1, memory_order_relaxed);
        if (share.len > 0)
            atomic_fetch_sub_explicit(&ix->n_shared, 1, memory_order_relaxed);
    }
    return r;
}

uint64_t index_count(const struct index *ix)
{
    return atomic_load_explicit(&ix->n, memory_order_relaxed);
}

uint64_t index_count_shared(const struct index *ix)
{
    return atomic_load_explicit(&ix->n_shared, memory_order_relaxed);
}
