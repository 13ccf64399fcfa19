#include "mqtt/index_walk.h"
#include <assert.h>

void index_walk_begin(struct index_walk *w, const struct index *ix, struct str topic,
                      struct index_level *levels, struct index_step *stack)
{
    w->ix = ix;
    w->topic = topic.ptr;
    w->levels = levels;
    w->stack = stack;
    w->dollar = topic.len > 0 && topic.ptr[0] == '$';
    uint32_t n = 0, at = 0;
    for (uint32_t i = 0; i <= topic.len; i++) {
        if (i < topic.len && topic.ptr[i] != '/')
            continue;
        levels[n++] = (struct index_level){ .at = at, .len = i - at };
        at = i + 1;
    }
    w->n_levels = n;
    w->n_pending = 0;
    w->n_stack = 1;
    stack[0] = (struct index_step){ .branch = ix->root, .level = 0 };
}

static struct str level_text(const struct index_walk *w, uint32_t level)
{
    return str_make(w->topic + w->levels[level].at, w->levels[level].len);
}

/* Follows a child whose first level is known to match the topic's level `level`. */
static void enter(struct index_walk *w, uintptr_t ref, uint32_t level)
{
    uint32_t len;
    const char *label = ref_label(ref, &len);
    uint32_t at = label[0] == '+' ? 2 : w->levels[level].len + 1;
    for (level++; at < len; level++) {
        if (level == w->n_levels)
            return;
        if (label[at] == '+') {
            at += 2;
            continue;
        }
        if (!label_starts(label + at, len - at, level_text(w, level)))
            return;
        at += w->levels[level].len + 1;
    }
    if (!(ref & REF_LEAF)) {
        assert(w->n_stack < w->n_levels + 2);
        w->stack[w->n_stack++] = (struct index_step){ ref_branch(ref), level };
    } else if (ref_leaf(ref)->end & INDEX_DEEP || level == w->n_levels) {
        w->pending[w->n_pending++] = ref_leaf(ref);
    }
}

static void end_here(struct index_walk *w, struct index_branch *b, enum index_end end)
{
    uintptr_t ref = ref_load(&b->ends[end]);
    if (ref)
        w->pending[w->n_pending++] = ref_leaf(ref);
}

static void visit(struct index_walk *w, struct index_step step)
{
    struct index_branch *b = step.branch;
    /* A leading wildcard does not match a leading '$' [MQTT-4.7.2-1]. */
    bool wild = !(w->dollar && b == w->ix->root);
    if (wild) {
        end_here(w, b, INDEX_END_DEEP);
        end_here(w, b, INDEX_END_DEEP_SHARED);
    }
    if (step.level == w->n_levels) {
        end_here(w, b, INDEX_END_EXACT);
        end_here(w, b, INDEX_END_EXACT_SHARED);
        return;
    }
    uintptr_t ref;
    if (wild && (ref = ref_load(&b->plus)))
        enter(w, ref, step.level);
    if ((ref = ref_load(&b->kids)) == 0)
        return;
    struct index_level *level = &w->levels[step.level];
    struct str text = level_text(w, step.level);
    if (ref & REF_KIDS && !level->is_hashed) {
        level->hash = index_hash(w->ix, text);
        level->is_hashed = true;
    }
    ref = index_kids_get(ref, level->hash, text);
    if (ref)
        enter(w, ref, step.level);
}

const struct index_leaf *index_walk_next(struct index_walk *w)
{
    while (!w->n_pending) {
        if (!w->n_stack)
            return NULL;
        visit(w, w->stack[--w->n_stack]);
    }
    return w->pending[--w->n_pending];
}
