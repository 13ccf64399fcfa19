#include "table.h"
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 64u
#define BUCKETS_MAX (UINT32_C(1) << 30)

int table_init(struct table *t)
{
    *t = (struct table){ .buckets = calloc(BUCKETS_MIN, sizeof(*t->buckets)),
                         .n_buckets = BUCKETS_MIN };
    return t->buckets ? 0 : -1;
}

void table_fini(struct table *t)
{
    free(t->buckets);
    t->buckets = NULL;
}

static struct table_node *same_hash(struct table_node *node, uint64_t hash)
{
    while (node && node->hash != hash)
        node = node->next;
    return node;
}

struct table_node *table_first(const struct table *t, uint64_t hash)
{
    return same_hash(t->buckets[hash & (t->n_buckets - 1)], hash);
}

struct table_node *table_next(const struct table_node *node)
{
    return same_hash(node->next, node->hash);
}

static void grow(struct table *t)
{
    uint32_t n = t->n_buckets * 2;
    struct table_node **buckets = n <= BUCKETS_MAX ? calloc(n, sizeof(*buckets)) : NULL;

    if (!buckets)
        return;
    for (uint32_t i = 0; i < t->n_buckets; i++) {
        for (struct table_node *node = t->buckets[i], *next; node; node = next) {
            next = node->next;
            node->next = buckets[node->hash & (n - 1)];
            buckets[node->hash & (n - 1)] = node;
        }
    }
    free(t->buckets);
    t->buckets = buckets;
    t->n_buckets = n;
}

void table_insert(struct table *t, struct table_node *node, uint64_t hash)
{
    if (t->n_used >= t->n_buckets)
        grow(t);
    node->hash = hash;
    node->next = t->buckets[hash & (t->n_buckets - 1)];
    t->buckets[hash & (t->n_buckets - 1)] = node;
    t->n_used++;
}

void table_remove(struct table *t, struct table_node *node)
{
    struct table_node **at = &t->buckets[node->hash & (t->n_buckets - 1)];

    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    t->n_used--;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t table_hash_number(uint64_t seed, uint64_t a, uint64_t b)
{
    return mix(mix(a ^ seed, UINT64_C(0x9e3779b97f4a7c15)) ^ b, UINT64_C(0xe7037ed1a0b428db));
}

uint64_t table_hash_text(uint64_t seed, const char *ptr, uint32_t len)
{
    uint64_t h = seed ^ len, word;

    for (; len >= 8; ptr += 8, len -= 8) {
        memcpy(&word, ptr, 8);
        h = mix(h ^ word, seed | 1);
    }
    word = 0;
    if (len)
        memcpy(&word, ptr, len);
    return table_hash_number(seed, h, word);
}
