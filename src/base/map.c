#include "base/map.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define MAP_MIN_SLOTS 16u
#define MAP_MAX_SLOTS (1u << 31)

/* Linear probing; a slot is free when its value is NULL. Removal moves later entries of the run
 * back, so there are no tombstones and a search ends at the first free slot. */

void map_init(struct map *m, const struct hash_key *key)
{
    *m = (struct map){ .key = *key };
}

void map_fini(struct map *m)
{
    free(m->slots);
    *m = (struct map){ .key = m->key };
}

/* The slot of the key, or the free slot where it would go. Needs at least one free slot. */
static struct map_slot *map_find(const struct map *m, uint64_t hash, struct str key)
{
    uint32_t mask = m->n_slots - 1;
    for (uint32_t i = (uint32_t)hash & mask;; i = (i + 1) & mask) {
        struct map_slot *slot = &m->slots[i];
        if (!slot->value || (slot->hash == hash && str_eq(slot->key, key)))
            return slot;
    }
}

static int map_resize(struct map *m, uint32_t n_slots)
{
    struct map_slot *slots = calloc(n_slots, sizeof(*slots));
    if (!slots)
        return -ENOMEM;
    uint32_t mask = n_slots - 1;
    for (uint32_t i = 0; i < m->n_slots; i++) {
        if (!m->slots[i].value)
            continue;
        uint32_t j = (uint32_t)m->slots[i].hash & mask;
        while (slots[j].value)
            j = (j + 1) & mask;
        slots[j] = m->slots[i];
    }
    free(m->slots);
    m->slots = slots;
    m->n_slots = n_slots;
    return 0;
}

void *map_get(const struct map *m, struct str key)
{
    if (!m->n_used)
        return NULL;
    return map_find(m, hash_bytes(&m->key, key.ptr, key.len), key)->value;
}

static bool map_is_full(const struct map *m)
{
    return (uint64_t)(m->n_used + 1) * 5 > (uint64_t)m->n_slots * 4;
}

int map_put(struct map *m, struct str key, void *value)
{
    assert(value);
    uint64_t hash = hash_bytes(&m->key, key.ptr, key.len);
    if (m->n_used && map_find(m, hash, key)->value)
        return -EEXIST;
    if (map_is_full(m)) {
        if (m->n_slots >= MAP_MAX_SLOTS)
            return -ENOMEM;
        int r = map_resize(m, m->n_slots ? m->n_slots * 2 : MAP_MIN_SLOTS);
        if (r < 0)
            return r;
    }
    *map_find(m, hash, key) = (struct map_slot){ hash, key, value };
    m->n_used++;
    return 0;
}

/* Closes the gap at `hole`: an entry may move there unless its home lies behind the hole. */
static void map_close_gap(struct map *m, uint32_t hole)
{
    uint32_t mask = m->n_slots - 1;
    for (uint32_t i = (hole + 1) & mask; m->slots[i].value; i = (i + 1) & mask) {
        uint32_t home = (uint32_t)m->slots[i].hash & mask;
        if (((i - home) & mask) < ((i - hole) & mask))
            continue;
        m->slots[hole] = m->slots[i];
        hole = i;
    }
    m->slots[hole] = (struct map_slot){ 0 };
}

void *map_remove(struct map *m, struct str key)
{
    if (!m->n_used)
        return NULL;
    struct map_slot *slot = map_find(m, hash_bytes(&m->key, key.ptr, key.len), key);
    void *value = slot->value;
    if (!value)
        return NULL;
    map_close_gap(m, (uint32_t)(slot - m->slots));
    m->n_used--;
    /* Without memory for a smaller table the large one stays in use. */
    if (m->n_slots > MAP_MIN_SLOTS && m->n_used < m->n_slots / 8)
        (void)map_resize(m, m->n_slots / 2);
    return value;
}

void *map_next(const struct map *m, uint32_t *it)
{
    while (*it < m->n_slots) {
        void *value = m->slots[(*it)++].value;
        if (value)
            return value;
    }
    return NULL;
}
