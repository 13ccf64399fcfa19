#include "mqtt/index_tree.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Beyond this a leaf keeps a table of positions, so that nothing is searched for. */
#define LIST_LINEAR 16u

static uint32_t place_of(const struct index_leaf *leaf, uint64_t session)
{
    return (uint32_t)(session * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (leaf->own.n_places - 1);
}

static void places_add(struct index_leaf *leaf, uint64_t session, uint32_t position)
{
    uint32_t i = place_of(leaf, session);
    while (leaf->own.places[i])
        i = (i + 1) & (leaf->own.n_places - 1);
    leaf->own.places[i] = position + 1;
}

static uint64_t session_at(const struct index_leaf *leaf, uint32_t position)
{
    return atomic_load_explicit(&leaf_entries(leaf)[position].session, memory_order_relaxed);
}

/* The place that holds the session, or the free one where the search ended. */
static uint32_t places_find(const struct index_leaf *leaf, uint64_t session)
{
    uint32_t i = place_of(leaf, session);
    while (leaf->own.places[i] && session_at(leaf, leaf->own.places[i] - 1) != session)
        i = (i + 1) & (leaf->own.n_places - 1);
    return i;
}

static void places_remove(struct index_leaf *leaf, uint64_t session)
{
    uint32_t mask = leaf->own.n_places - 1;
    uint32_t hole = places_find(leaf, session);
    for (uint32_t i = (hole + 1) & mask; leaf->own.places[i]; i = (i + 1) & mask) {
        uint32_t home = place_of(leaf, session_at(leaf, leaf->own.places[i] - 1));
        if (((i - home) & mask) < ((i - hole) & mask))
            continue;
        leaf->own.places[hole] = leaf->own.places[i];
        hole = i;
    }
    leaf->own.places[hole] = 0;
}

static int places_init(struct index_leaf *leaf)
{
    uint32_t n = 4 * LIST_LINEAR;
    while (n < leaf->cap * 2)
        n *= 2;
    leaf->own.places = calloc(n, sizeof(*leaf->own.places));
    if (!leaf->own.places)
        return -ENOMEM;
    leaf->own.n_places = n;
    return 0;
}

static struct index_leaf *leaf_alloc(enum index_end end, uint32_t cap, uint32_t label_len,
                                     uint32_t hash)
{
    struct index_leaf *leaf = malloc(sizeof(*leaf) + cap * leaf_unit(end) + label_len);
    if (!leaf)
        return NULL;
    leaf->own.places = NULL;
    leaf->own.n_places = 0;
    leaf->own.n_dead = 0;
    atomic_init(&leaf->n, 0);
    leaf->cap = cap;
    leaf->hash = hash;
    leaf->label_len = label_len & 0xffffff;
    leaf->end = (unsigned)end & 0xff;
    return leaf;
}

struct index_leaf *index_leaf_new(enum index_end end, uint32_t cap, uint32_t label_len,
                                  uint32_t hash)
{
    struct index_leaf *leaf = leaf_alloc(end, cap, label_len, hash);
    if (leaf && !(end & INDEX_SHARED) && cap > LIST_LINEAR && places_init(leaf) < 0) {
        free(leaf);
        return NULL;
    }
    return leaf;
}

void index_leaf_free(struct index_leaf *leaf)
{
    if (!leaf)
        return;
    free(leaf->own.places);
    free(leaf);
}

void index_leaf_retire(struct index *ix, uint32_t loop, struct index_leaf *leaf)
{
    free(leaf->own.places); /* no reader knows it */
    index_retire(ix, loop, &leaf->retire);
}

static void append(struct index_leaf *leaf, struct index_who who, uint64_t opts, uint64_t version)
{
    uint32_t n = atomic_load_explicit(&leaf->n, memory_order_relaxed);
    struct index_entry *entry = &leaf_entries(leaf)[n];
    assert(n < leaf->cap);
    entry->slot = who.slot;
    entry->loop = who.loop;
    atomic_init(&entry->session, who.session);
    atomic_init(&entry->opts, opts);
    atomic_init(&entry->version, version);
    if (leaf->own.places)
        places_add(leaf, who.session, n);
    atomic_store_explicit(&leaf->n, n + 1, memory_order_release);
}

static void append_copy(struct index_leaf *leaf, const struct index_entry *from, uint64_t session)
{
    struct index_who who = { .session = session, .slot = from->slot, .loop = from->loop };
    append(leaf, who, atomic_load_explicit(&from->opts, memory_order_relaxed),
           atomic_load_explicit(&from->version, memory_order_relaxed));
}

struct index_leaf *index_leaf_relabel(const struct index_leaf *old, const char *label,
                                      uint32_t label_len, const char *more, uint32_t more_len,
                                      uint32_t hash)
{
    struct index_leaf *leaf = leaf_alloc(old->end, old->cap, label_len + more_len, hash);
    if (!leaf)
        return NULL;
    uint32_t n = atomic_load_explicit(&old->n, memory_order_relaxed);
    if (old->end & INDEX_SHARED) {
        for (uint32_t i = 0; i < n; i++)
            atomic_init(&leaf_groups(leaf)[i],
                        atomic_load_explicit(&leaf_groups(old)[i], memory_order_relaxed));
        atomic_init(&leaf->n, n);
    } else {
        for (uint32_t i = 0; i < n; i++)
            append_copy(leaf, &leaf_entries(old)[i], session_at(old, i));
    }
    char *out = leaf_label_at(leaf);
    memcpy(out, label, label_len);
    if (more_len)
        memcpy(out + label_len, more, more_len);
    return leaf;
}

void index_leaf_succeed(struct index *ix, uint32_t loop, struct index_leaf *copy,
                        struct index_leaf *old)
{
    copy->own.places = old->own.places;
    copy->own.n_places = old->own.n_places;
    copy->own.n_dead = old->own.n_dead;
    index_retire(ix, loop, &old->retire);
}

struct index_entry *index_list_find(const struct index_leaf *leaf, uint64_t session)
{
    if (leaf->own.places) {
        uint32_t place = leaf->own.places[places_find(leaf, session)];
        return place ? &leaf_entries(leaf)[place - 1] : NULL;
    }
    uint32_t n = atomic_load_explicit(&leaf->n, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++)
        if (session_at(leaf, i) == session)
            return &leaf_entries(leaf)[i];
    return NULL;
}

/* The living entries under the same label, with room for some more; not yet in the tree. */
static struct index_leaf *list_rebuild(const struct index_leaf *old)
{
    uint32_t live = index_leaf_live(old);
    uint32_t cap = live < 64 ? live * 2 : live + live / 2;
    struct index_leaf *leaf = index_leaf_new(old->end, cap, old->label_len, old->hash);
    if (!leaf)
        return NULL;
    uint32_t n = atomic_load_explicit(&old->n, memory_order_relaxed);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t session = session_at(old, i);
        if (session)
            append_copy(leaf, &leaf_entries(old)[i], session);
    }
    memcpy(leaf_label_at(leaf), leaf_label(old), old->label_len);
    return leaf;
}

int index_list_add(struct index *ix, uint32_t loop, _Atomic uintptr_t *slot, struct index_who who,
                   uint64_t opts, uint64_t version)
{
    struct index_leaf *leaf = ref_leaf(ref_load(slot));
    if (atomic_load_explicit(&leaf->n, memory_order_relaxed) < leaf->cap) {
        append(leaf, who, opts, version);
        return 0;
    }
    struct index_leaf *larger = list_rebuild(leaf);
    if (!larger)
        return -ENOMEM;
    append(larger, who, opts, version);
    ref_store(slot, leaf_ref(larger));
    index_leaf_retire(ix, loop, leaf);
    return 0;
}

void index_list_remove(struct index *ix, uint32_t loop, _Atomic uintptr_t *slot,
                       struct index_entry *entry)
{
    struct index_leaf *leaf = ref_leaf(ref_load(slot));
    if (leaf->own.places)
        places_remove(leaf, atomic_load_explicit(&entry->session, memory_order_relaxed));
    atomic_store_explicit(&entry->session, 0, memory_order_release);
    leaf->own.n_dead++;
    uint32_t n = atomic_load_explicit(&leaf->n, memory_order_relaxed);
    if (n < 8 || leaf->own.n_dead * 2 < n || leaf->own.n_dead == n)
        return;
    struct index_leaf *smaller = list_rebuild(leaf);
    if (!smaller)
        return; /* the large one does, too */
    ref_store(slot, leaf_ref(smaller));
    index_leaf_retire(ix, loop, leaf);
}
