/* node.h - what was written, as a tree with places: scalars, lists, maps. Immutable once built;
 * merging and overriding make new nodes and share the rest. Everything lives in one arena, the
 * source text included, so a place stays printable as long as its node. Knows nothing about
 * options. */
#pragma once
#include "base/buf.h"
#include "config/arena.h"
#include "config/diag.h"

#define NODE_MAX_DEPTH 64
#define NODE_MAX_JSON \
    (1u << 20) /* bytes of one tree option; aliases may repeat a part many times */

struct source {
    const char *name; /* as shown: a file name, or "-o key=value" */
    struct str text;
    const char *dir;  /* prefix for relative names in it, "" or ending in '/' */
    uint32_t order;   /* errors are printed source by source */
    bool is_override; /* has no lines worth showing */
};

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node_pair {
    const struct node *key; /* always a scalar */
    const struct node *value;
};

struct node {
    enum node_kind kind;
    bool plain;      /* scalar without quotes: may be a number, true, null ... */
    uint16_t height; /* 1 for a scalar */
    const char *tag; /* "!file", "!env" or NULL */
    struct str text; /* of a scalar; a NUL stands behind it */
    const struct node **items;
    const struct node_pair *pairs;
    uint32_t n; /* items or pairs */
    struct place place;
};

/* Nothing was written: `key:`, `key: ~`, `key: null`. */
bool node_is_null(const struct node *node);
/* "a list", "a block", "text 'abc'", for messages; `room` bytes at `out` at least 80. */
const char *node_describe(const struct node *node, char *out, size_t room);
/* NULL when `map` is NULL, no map, or has no such key. */
const struct node *node_get(const struct node *map, const char *key);
/* The pair itself, for the place of the key. */
const struct node_pair *node_get_pair(const struct node *map, struct str key);

struct node *node_new_scalar(struct arena *a, struct str text, bool plain, struct place place);
struct node *node_new_map(struct arena *a, uint32_t n, struct place place);

/* `over` on top of `under`: blocks are merged, `listeners` joined, any other key written twice is
 * an error. Either may be NULL. NULL only when both are or memory ran out (d->no_memory). */
const struct node *node_merge(struct arena *a, const struct node *under, const struct node *over,
                              struct diag *d);
/* `root` with `value` at the dotted `path` (list items by number), whatever was there before.
 * Errors at `at`; then the result is `root`. */
const struct node *node_set(struct arena *a, const struct node *root, struct str path,
                            const struct node *value, struct place at, struct diag *d);
/* Appends the tree as JSON, `!file` and `!env` resolved. 0; -EINVAL with the error in `d`; -ENOMEM.
 */
int node_to_json(const struct node *node, struct arena *a, struct diag *d, struct buf *out);
