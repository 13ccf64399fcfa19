/* table.h - chained hash table of embedded nodes. The owner of a node compares keys itself. Growing
 * is a matter of speed only, so that it may fail: inserting cannot. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct table_node {
    struct table_node *next;
    uint64_t hash;
};

struct table {
    struct table_node **buckets;
    uint32_t n_buckets, n_used;
};

int table_init(struct table *t); /* 0 or -1: no memory */
void table_fini(struct table *t);
struct table_node *table_first(const struct table *t, uint64_t hash); /* of those with this hash */
struct table_node *table_next(const struct table_node *node);
void table_insert(struct table *t, struct table_node *node, uint64_t hash);
void table_remove(struct table *t, struct table_node *node);

/* Seeded, so that nobody can choose topics that collide. */
uint64_t table_hash_number(uint64_t seed, uint64_t a, uint64_t b);
uint64_t table_hash_text(uint64_t seed, const char *ptr, uint32_t len);
