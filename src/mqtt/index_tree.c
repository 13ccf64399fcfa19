#include "mqtt/index_tree.h"
#include <errno.h>
#include <stdlib.h>

struct index_path index_path_of(struct str filter, bool shared)
{
    struct index_path p = { .text = filter, .end = shared ? INDEX_END_EXACT_SHARED : 0 };
    if (filter.len > 0 && filter.ptr[filter.len - 1] == '#') {
        p.text.len--;
        p.len = p.text.len;
        p.end |= INDEX_DEEP;
    } else {
        p.len = p.text.len + 1;
    }
    return p;
}

static char path_char(const struct index_path *p, uint32_t i)
{
    return i < p->text.len ? p->text.ptr[i] : '/';
}

/* The level that begins at `pos`; pos < p->len. */
static struct str path_level(const struct index_path *p, uint32_t pos)
{
    const char *at = p->text.ptr + pos;
    size_t left = p->text.len - pos;
    const char *slash = left ? memchr(at, '/', left) : NULL;
    return str_make(at, slash ? (size_t)(slash - at) : left);
}

static void path_copy(const struct index_path *p, uint32_t from, char *out)
{
    if (from < p->text.len)
        memcpy(out, p->text.ptr + from, p->text.len - from);
    if (from < p->len && p->len > p->text.len)
        out[p->text.len - from] = '/';
}

/* Bytes of whole levels that a label and the path from `pos` on have in common. */
static uint32_t path_common(const struct index_path *p, uint32_t pos, const char *label,
                            uint32_t label_len)
{
    uint32_t common = 0;
    for (uint32_t i = 0; i < label_len && pos + i < p->len; i++) {
        if (label[i] != path_char(p, pos + i))
            break;
        if (label[i] == '/')
            common = i + 1;
    }
    return common;
}

static bool level_is_plus(struct str level)
{
    return level.len == 1 && level.ptr[0] == '+';
}

static bool label_is_plus(const char *label)
{
    return label[0] == '+'; /* a wildcard has its level to itself */
}

static bool holds_several(struct index_branch *b)
{
    uintptr_t kids = ref_load(&b->kids);
    uint32_t n = (kids != 0) + ((kids & REF_KIDS) != 0); /* a table has two at least */
    n += ref_load(&b->plus) != 0;
    for (uint32_t i = 0; i < INDEX_N_ENDS; i++)
        n += ref_load(&b->ends[i]) != 0;
    return n > 1;
}

/* Where the path goes on in `b`, and what is there. */
static _Atomic uintptr_t *branch_slot(const struct index *ix, struct index_branch *b,
                                      const struct index_path *p, uint32_t pos, uintptr_t *r_ref)
{
    _Atomic uintptr_t *slot;
    if (pos == p->len) {
        slot = &b->ends[p->end];
    } else {
        struct str level = path_level(p, pos);
        if (!level_is_plus(level)) {
            *r_ref = 0;
            return index_kids_find(b, index_hash(ix, level), level, r_ref);
        }
        slot = &b->plus;
    }
    *r_ref = ref_load(slot);
    return slot;
}

void index_find(const struct index *ix, const struct index_path *p, struct index_spot *r_spot)
{
    struct index_spot s = { .branch = ix->root };
    _Atomic uintptr_t *home = NULL;
    for (;;) {
        s.slot = branch_slot(ix, s.branch, p, s.pos, &s.ref);
        if (s.branch == ix->root || holds_several(s.branch)) {
            s.anchor = s.branch;
            s.anchor_slot = s.slot;
            s.anchor_home = home;
        }
        if (!s.ref)
            break;
        uint32_t label_len;
        const char *label = ref_label(s.ref, &label_len);
        s.common = path_common(p, s.pos, label, label_len);
        if (s.ref & REF_LEAF) {
            struct index_leaf *leaf = ref_leaf(s.ref);
            if (s.common == label_len && s.pos + s.common == p->len && leaf->end == p->end)
                s.leaf = leaf;
            break;
        }
        if (s.common < label_len)
            break;
        home = s.slot;
        s.branch = ref_branch(s.ref);
        s.pos += s.common;
    }
    *r_spot = s;
}

/* What is left of the path for a leaf that is attached at the spot. */
static uint32_t spot_rest(const struct index_spot *spot)
{
    return spot->ref ? spot->pos + spot->common : spot->pos;
}

struct index_leaf *index_make_leaf(const struct index *ix, const struct index_path *p,
                                   const struct index_spot *spot)
{
    uint32_t from = spot_rest(spot);
    uint32_t hash = from < p->len ? index_hash(ix, path_level(p, from)) : 0;
    struct index_leaf *leaf = index_leaf_new(p->end, 1, p->len - from, hash);
    if (leaf)
        path_copy(p, from, leaf_label_at(leaf));
    return leaf;
}

struct index_branch *index_branch_new(const char *label, uint32_t label_len, const char *more,
                                      uint32_t more_len, uint32_t hash)
{
    struct index_branch *b = calloc(1, sizeof(*b) + label_len + more_len);
    if (!b)
        return NULL;
    b->hash = hash;
    b->label_len = label_len + more_len;
    if (label_len)
        memcpy(b->label, label, label_len);
    if (more_len)
        memcpy(b->label + label_len, more, more_len);
    return b;
}

/* The same branch under another label. */
static struct index_branch *branch_relabel(struct index_branch *old, const char *label,
                                           uint32_t label_len, const char *more, uint32_t more_len,
                                           uint32_t hash)
{
    struct index_branch *b = index_branch_new(label, label_len, more, more_len, hash);
    if (!b)
        return NULL;
    atomic_init(&b->plus, ref_load(&old->plus));
    atomic_init(&b->kids, ref_load(&old->kids));
    for (uint32_t i = 0; i < INDEX_N_ENDS; i++)
        atomic_init(&b->ends[i], ref_load(&old->ends[i]));
    return b;
}

static uintptr_t ref_relabel(uintptr_t ref, const char *label, uint32_t label_len, const char *more,
                             uint32_t more_len, uint32_t hash)
{
    if (ref & REF_LEAF) {
        struct index_leaf *leaf =
            index_leaf_relabel(ref_leaf(ref), label, label_len, more, more_len, hash);
        return leaf ? leaf_ref(leaf) : 0;
    }
    return (uintptr_t)branch_relabel(ref_branch(ref), label, label_len, more, more_len, hash);
}

static void ref_succeed(struct index *ix, uint32_t loop, uintptr_t copy, uintptr_t old)
{
    if (old & REF_LEAF)
        index_leaf_succeed(ix, loop, ref_leaf(copy), ref_leaf(old));
    else
        index_retire(ix, loop, &ref_branch(old)->retire);
}

/* For something that has never been in the tree. */
static void ref_discard(uintptr_t ref)
{
    if (ref & REF_LEAF)
        index_leaf_free(ref_leaf(ref));
    else
        free(ref_branch(ref));
}

/* Hangs something under a branch that has nothing there yet. */
static int branch_add(struct index *ix, uint32_t loop, struct index_branch *b, uintptr_t ref)
{
    uint32_t label_len;
    const char *label = ref_label(ref, &label_len);
    if (label_len == 0)
        atomic_store_explicit(&b->ends[ref_leaf(ref)->end], ref, memory_order_release);
    else if (label_is_plus(label))
        atomic_store_explicit(&b->plus, ref, memory_order_release);
    else
        return index_kids_add(ix, loop, b, ref);
    return 0;
}

/* What is at the spot agrees with the path at first and then goes another way: put a branch where
 * they part. */
static int attach_split(struct index *ix, uint32_t loop, const struct index_spot *spot,
                        struct index_leaf *leaf)
{
    uint32_t label_len;
    const char *label = ref_label(spot->ref, &label_len);
    const char *rest = label + spot->common;
    uint32_t rest_len = label_len - spot->common;
    uint32_t hash = spot->ref & REF_LEAF ? ref_leaf(spot->ref)->hash : ref_branch(spot->ref)->hash;
    struct index_branch *b = index_branch_new(label, spot->common, NULL, 0, hash);
    if (!b)
        return -ENOMEM;
    uint32_t rest_hash = 0;
    if (rest_len) {
        const char *slash = memchr(rest, '/', rest_len);
        rest_hash = index_hash(ix, str_make(rest, (size_t)(slash - rest)));
    }
    uintptr_t copy = ref_relabel(spot->ref, rest, rest_len, NULL, 0, rest_hash);
    if (!copy) {
        free(b);
        return -ENOMEM;
    }
    if (branch_add(ix, loop, b, copy) < 0 || branch_add(ix, loop, b, leaf_ref(leaf)) < 0) {
        ref_discard(copy);
        free(b);
        return -ENOMEM;
    }
    ref_store(spot->slot, (uintptr_t)b);
    ref_succeed(ix, loop, copy, spot->ref);
    return 0;
}

int index_attach(struct index *ix, uint32_t loop, const struct index_spot *spot,
                 struct index_leaf *leaf)
{
    return spot->ref ? attach_split(ix, loop, spot, leaf)
                     : branch_add(ix, loop, spot->branch, leaf_ref(leaf));
}

/* The one thing that a branch holds; 0 when there are more. */
static uintptr_t only_content(struct index_branch *b)
{
    uintptr_t only = 0, kids = ref_load(&b->kids);
    if (holds_several(b))
        return 0;
    if (kids)
        only = kids;
    else if (ref_load(&b->plus))
        only = ref_load(&b->plus);
    for (uint32_t i = 0; !only && i < INDEX_N_ENDS; i++)
        only = ref_load(&b->ends[i]);
    return only;
}

/* Joins a branch that holds one thing only with that thing. Leaves it as it is when that would
 * be costly, or memory is short. */
static void branch_join(struct index *ix, uint32_t loop, struct index_branch *b,
                        _Atomic uintptr_t *home)
{
    uintptr_t only = only_content(b);
    if (!only || (only & REF_LEAF && ref_leaf(only)->cap > 64))
        return;
    uint32_t label_len;
    const char *label = ref_label(only, &label_len);
    uintptr_t copy = ref_relabel(only, b->label, b->label_len, label, label_len, b->hash);
    if (!copy)
        return;
    ref_store(home, copy);
    ref_succeed(ix, loop, copy, only);
    index_retire(ix, loop, &b->retire);
}

void index_detach(struct index *ix, uint32_t loop, const struct index_spot *spot)
{
    uintptr_t ref = ref_load(spot->anchor_slot) & ~REF_TAG;
    if (spot->anchor_slot == &spot->anchor->plus ||
        (spot->anchor_slot >= spot->anchor->ends &&
         spot->anchor_slot < spot->anchor->ends + INDEX_N_ENDS))
        atomic_store_explicit(spot->anchor_slot, 0, memory_order_release);
    else
        index_kids_remove(ix, loop, spot->anchor, spot->anchor_slot);
    while (!(ref & REF_LEAF)) {
        struct index_branch *b = ref_branch(ref);
        ref = only_content(b);
        index_retire(ix, loop, &b->retire);
    }
    index_leaf_retire(ix, loop, ref_leaf(ref));
    if (spot->anchor_home)
        branch_join(ix, loop, spot->anchor, spot->anchor_home);
}

static void free_block(struct epoch_item *item)
{
    free(item);
}

void index_retire(struct index *ix, uint32_t loop, struct epoch_item *item)
{
    epoch_retire(ix->epoch, loop, item, free_block);
}
