/* map.h - open-addressing hash table from byte strings to pointers. One thread at a time.
 *
 * The key bytes belong to the value: the map keeps the view it was given, so the value must outlive
 * its entry. Values are never NULL. */
#pragma once
#include "base/hash.h"
#include "base/str.h"

struct map_slot {
    uint64_t hash;
    struct str key;
    void *value;
};

struct map {
    struct hash_key key;
    struct map_slot *slots;
    uint32_t n_used, n_slots; /* n_slots: 0 or a power of two */
};

void map_init(struct map *m, const struct hash_key *key);
void map_fini(struct map *m);
void *map_get(const struct map *m, struct str key);
/* 0, or -ENOMEM with nothing changed; -EEXIST when the key is there already. */
int map_put(struct map *m, struct str key, void *value);
/* Returns the value that was there, or NULL. */
void *map_remove(struct map *m, struct str key);
/* Walks all entries: start with *it = 0; NULL at the end. Order is arbitrary; the entry just
 * returned must not be removed before the next call, except as the last act of the walk. */
void *map_next(const struct map *m, uint32_t *it);
static inline uint32_t map_count(const struct map *m)
{
    return m->n_used;
}
