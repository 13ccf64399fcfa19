/* index_walk.h - walks all leaves whose filters match a topic; private to index*.c.
 *
 * Needs no memory but the arrays it is given, and visits each branch on the way once. Runs inside
 * an epoch. */
#pragma once
#include "mqtt/index_tree.h"

struct index_level {
    uint32_t at, len; /* of the topic */
    uint32_t hash;
    bool is_hashed;
};
struct index_step {
    struct index_branch *branch;
    uint32_t level; /* levels of the topic that led here */
};

struct index_walk {
    const struct index *ix;
    const char *topic;
    struct index_level *levels;
    struct index_step *stack;
    uint32_t n_levels, n_stack, n_pending;
    bool dollar; /* the topic begins with '$' */
    const struct index_leaf *pending[INDEX_N_ENDS + 2];
};

/* `levels` has an element for each level of the topic, `stack` two more. */
void index_walk_begin(struct index_walk *w, const struct index *ix, struct str topic,
                      struct index_level *levels, struct index_step *stack);
/* NULL at the end. */
const struct index_leaf *index_walk_next(struct index_walk *w);
