/* retained_tree.h - the tree behind the retained messages; private to retained*.c.
 *
 * One node per topic level. The children of a node are one list sorted by (hash, label), an order
 * that never changes, so a position in it is a level's text and survives any write; a table of
 * shortcuts into the list is only there to find the place. A reader on a node that is taken out
 * goes on from it: nodes keep `next` and `parent` and are freed by epoch. */
#pragma once
#include "mqtt/retained.h"
#include <stdatomic.h>

struct retained_entry {
    struct epoch_item retire;
    struct message *message;
    uint64_t version;
};

/* first[i]: the first child whose hash has the value i in its top bits, NULL: there is none. */
struct retained_table {
    struct epoch_item retire;
    uint32_t shift, n;
    struct retained_node *_Atomic first[];
};

struct retained_node {
    union {
        struct epoch_item retire;
        uint32_t n_kids; /* writer only */
    };
    struct retained_node *parent;
    struct retained_node *_Atomic next;
    struct retained_node *_Atomic kids;
    struct retained_table *_Atomic table; /* NULL: few children */
    struct retained_entry *_Atomic entry;
    uint32_t hash, label_len;
    char label[];
};

struct retained {
    struct epoch *epoch;
    struct hash_key key;
    struct retained_node *root;
    _Atomic uint64_t version, n, bytes;
};

static inline struct retained_node *node_load(struct retained_node *_Atomic *at)
{
    return atomic_load_explicit(at, memory_order_acquire);
}
static inline struct str node_label(const struct retained_node *node)
{
    return str_make(node->label, node->label_len);
}
static inline uint32_t retained_hash(const struct retained *r, struct str level)
{
    return (uint32_t)hash_bytes(&r->key, level.ptr, level.len);
}
/* The level of `text` that begins at `pos` <= text.len. */
static inline struct str retained_level(struct str text, uint32_t pos)
{
    const char *at = text.ptr + pos;
    size_t left = text.len - pos;
    const char *slash = left ? memchr(at, '/', left) : NULL;
    return str_make(at, slash ? (size_t)(slash - at) : left);
}

/* The child with this label; if there is none, NULL and the first child behind its place (NULL:
 * none) in *r_behind, which may be NULL when that is of no interest. */
struct retained_node *retained_child(const struct retained *r, struct retained_node *parent,
                                     struct str label, struct retained_node **r_behind);
