#include "mqtt/index_tree.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define KIDS_MIN 4u

static uintptr_t tag_of(uint32_t hash)
{
    return (uintptr_t)(hash >> 30) << 1;
}

static struct index_kids *ref_kids(uintptr_t ref)
{
    return (struct index_kids *)(ref & ~REF_BITS);
}

static uint32_t ref_hash(uintptr_t ref)
{
    return ref & REF_LEAF ? ref_leaf(ref)->hash : ref_branch(ref)->hash;
}

static bool ref_is(uintptr_t ref, struct str level)
{
    uint32_t len;
    const char *label = ref_label(ref, &len);
    return label_starts(label, len, level);
}

/* The slot of a table, or NULL. */
static _Atomic uintptr_t *table_find(struct index_kids *kids, uint32_t hash, struct str level,
                                     uintptr_t *r_ref)
{
    for (uint32_t i = hash & kids->mask;; i = (i + 1) & kids->mask) {
        uintptr_t ref = ref_load(&kids->slot[i]);
        if (!ref)
            return NULL;
        if ((ref & ~REF_BITS) == 0 || (ref & REF_TAG) != tag_of(hash))
            continue;
        ref &= ~REF_TAG;
        if (ref_hash(ref) == hash && ref_is(ref, level)) {
            *r_ref = ref;
            return &kids->slot[i];
        }
    }
}

_Atomic uintptr_t *index_kids_find(struct index_branch *b, uint32_t hash, struct str level,
                                   uintptr_t *r_ref)
{
    uintptr_t ref = ref_load(&b->kids);
    if (ref & REF_KIDS)
        return table_find(ref_kids(ref), hash, level, r_ref);
    if (!ref || !ref_is(ref, level))
        return NULL;
    *r_ref = ref;
    return &b->kids;
}

uintptr_t index_kids_get(uintptr_t kids, uint32_t hash, struct str level)
{
    uintptr_t ref = 0;
    if (kids & REF_KIDS)
        return table_find(ref_kids(kids), hash, level, &ref) ? ref : 0;
    return ref_is(kids, level) ? kids : 0;
}

static struct index_kids *kids_new(uint32_t n_slots)
{
    struct index_kids *kids = malloc(sizeof(*kids) + n_slots * sizeof(kids->slot[0]));
    if (!kids)
        return NULL;
    kids->own.n_live = kids->own.n_filled = 0;
    kids->mask = n_slots - 1;
    for (uint32_t i = 0; i < n_slots; i++)
        atomic_init(&kids->slot[i], 0);
    return kids;
}

/* Into the first slot that is free or was given up. There is a free one. */
static void kids_insert(struct index_kids *kids, uintptr_t ref)
{
    uint32_t hash = ref_hash(ref);
    uint32_t i = hash & kids->mask;
    uintptr_t old;
    while (old = atomic_load_explicit(&kids->slot[i], memory_order_relaxed), old & ~REF_BITS)
        i = (i + 1) & kids->mask;
    kids->own.n_live++;
    kids->own.n_filled += old == 0;
    atomic_store_explicit(&kids->slot[i], ref | tag_of(hash), memory_order_release);
}

/* A table of the right size with the living children of `old`, and `ref` unless it is 0. */
static struct index_kids *kids_rebuild(const struct index_kids *old, uintptr_t ref)
{
    uint32_t n_slots = KIDS_MIN;
    while (n_slots < (old->own.n_live + 1) * 2)
        n_slots *= 2;
    struct index_kids *kids = kids_new(n_slots);
    if (!kids)
        return NULL;
    for (uint32_t i = 0; i <= old->mask; i++) {
        uintptr_t kid = atomic_load_explicit(&old->slot[i], memory_order_relaxed);
        if (kid & ~REF_BITS)
            kids_insert(kids, kid & ~REF_TAG);
    }
    if (ref)
        kids_insert(kids, ref);
    return kids;
}

static void kids_publish(struct index_branch *b, struct index_kids *kids)
{
    atomic_store_explicit(&b->kids, (uintptr_t)kids | REF_KIDS, memory_order_release);
}

int index_kids_add(struct index *ix, uint32_t loop, struct index_branch *b, uintptr_t ref)
{
    uintptr_t old = ref_load(&b->kids);
    if (!old) {
        atomic_store_explicit(&b->kids, ref, memory_order_release);
        return 0;
    }
    if (!(old & REF_KIDS)) {
        struct index_kids *kids = kids_new(KIDS_MIN);
        if (!kids)
            return -ENOMEM;
        kids_insert(kids, old);
        kids_insert(kids, ref);
        kids_publish(b, kids);
        return 0;
    }
    struct index_kids *kids = ref_kids(old);
    if ((uint64_t)(kids->own.n_filled + 1) * 4 <= (uint64_t)(kids->mask + 1) * 3) {
        kids_insert(kids, ref);
        return 0;
    }
    struct index_kids *larger = kids_rebuild(kids, ref);
    if (!larger)
        return -ENOMEM;
    kids_publish(b, larger);
    index_retire(ix, loop, &kids->retire);
    return 0;
}

static uintptr_t kids_last(const struct index_kids *kids)
{
    for (uint32_t i = 0;; i++) {
        assert(i <= kids->mask);
        uintptr_t kid = atomic_load_explicit(&kids->slot[i], memory_order_relaxed);
        if (kid & ~REF_BITS)
            return kid & ~REF_TAG;
    }
}

void index_kids_remove(struct index *ix, uint32_t loop, struct index_branch *b,
                       _Atomic uintptr_t *slot)
{
    if (slot == &b->kids) {
        atomic_store_explicit(slot, 0, memory_order_release);
        return;
    }
    struct index_kids *kids = ref_kids(ref_load(&b->kids));
    /* Where a search would end behind the slot anyway, it may end at it. */
    uint32_t next = ((uint32_t)(slot - kids->slot) + 1) & kids->mask;
    bool ends_run = atomic_load_explicit(&kids->slot[next], memory_order_relaxed) == 0;
    atomic_store_explicit(slot, ends_run ? 0 : REF_TAG, memory_order_release);
    kids->own.n_live--;
    kids->own.n_filled -= ends_run;
    if (kids->own.n_live == 1) {
        atomic_store_explicit(&b->kids, kids_last(kids), memory_order_release);
        index_retire(ix, loop, &kids->retire);
    } else if (kids->mask + 1 > KIDS_MIN && kids->own.n_live * 8 < kids->mask + 1) {
        struct index_kids *smaller = kids_rebuild(kids, 0);
        if (!smaller)
            return; /* the large one does, too */
        kids_publish(b, smaller);
        index_retire(ix, loop, &kids->retire);
    }
}
