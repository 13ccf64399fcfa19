#include "mqtt/retained.h"
#include "mqtt/retained_tree.h"
#include <errno.h>

/* Where a scan stands. The tree is walked in its own order, a node before its children; the
 * position kept between calls is the path of the last node that was passed. The filter is without
 * its '#'; its levels are tied to the levels of the tree down to filter_end, levels below (only
 * with '#') are counted. */
struct walk {
    struct retained *r;
    struct retained_node *node;
    struct str filter;
    uint32_t filter_end; /* one beyond the '/' (real or not) behind the last level */
    uint32_t at;         /* the filter level that the children of `node` must match */
    uint32_t below;      /* levels of `node` below filter_end */
    uint32_t path_len;   /* of `node` */
    bool deep;
};

static struct walk walk_begin(struct retained *r, struct str filter)
{
    struct walk w = { .r = r, .node = r->root, .filter = filter };
    if (filter.len > 0 && filter.ptr[filter.len - 1] == '#') {
        w.deep = true;
        w.filter.len--;
        w.filter_end = w.filter.len;
    } else {
        w.filter_end = filter.len + 1;
    }
    return w;
}

/* May the children of the node be any? If not, *r_level is the one that is asked for. */
static bool walk_is_wild(const struct walk *w, struct str *r_level)
{
    if (w->at == w->filter_end)
        return true;
    *r_level = retained_level(w->filter, w->at);
    return r_level->len == 1 && r_level->ptr[0] == '+';
}

/* A leading wildcard does not match a leading '$' [MQTT-4.7.2-1]. */
static struct retained_node *walk_skip_hidden(const struct walk *w, struct retained_node *kid)
{
    if (w->node == w->r->root)
        while (kid && kid->label_len > 0 && kid->label[0] == '$')
            kid = node_load(&kid->next);
    return kid;
}

static void walk_down(struct walk *w, struct retained_node *kid)
{
    if (w->at == w->filter_end)
        w->below++;
    else
        w->at += retained_level(w->filter, w->at).len + 1;
    w->path_len += kid->label_len + (w->node != w->r->root);
    w->node = kid;
}

static void walk_up(struct walk *w)
{
    if (w->below) {
        w->below--;
    } else {
        w->at--;
        while (w->at > 0 && w->filter.ptr[w->at - 1] != '/')
            w->at--;
    }
    uint32_t label_len = w->node->label_len;
    w->node = w->node->parent;
    w->path_len -= label_len + (w->node != w->r->root);
}

/* To the next node that is not below the present one; false: the tree is done. */
static bool walk_over(struct walk *w)
{
    while (w->node != w->r->root) {
        struct retained_node *kid = w->node;
        struct str level;
        walk_up(w);
        struct retained_node *next = node_load(&kid->next);
        if (next && walk_is_wild(w, &level) && (next = walk_skip_hidden(w, next))) {
            walk_down(w, next);
            return true;
        }
    }
    return false;
}

static bool walk_next(struct walk *w)
{
    struct str level;
    struct retained_node *kid;
    if (w->at == w->filter_end && !w->deep)
        return walk_over(w);
    if (walk_is_wild(w, &level))
        kid = walk_skip_hidden(w, node_load(&w->node->kids));
    else
        kid = retained_child(w->r, w->node, level, NULL);
    if (!kid)
        return walk_over(w);
    walk_down(w, kid);
    return true;
}

/* To the first node behind the position, which may have gone from the tree meanwhile. */
static bool walk_seek(struct walk *w, struct str position)
{
    for (uint32_t pos = 0; pos <= position.len;) {
        struct str want = retained_level(position, pos), level;
        struct retained_node *behind = NULL;
        struct retained_node *kid = retained_child(w->r, w->node, want, &behind);
        if (kid) {
            walk_down(w, kid);
            pos += want.len + 1;
            continue;
        }
        if (behind && walk_is_wild(w, &level) && (behind = walk_skip_hidden(w, behind))) {
            walk_down(w, behind);
            return true;
        }
        return walk_over(w);
    }
    return walk_next(w);
}

void retained_scan_init(struct retained_scan *s, struct str filter, uint64_t version)
{
    *s = (struct retained_scan){ .filter = filter, .version = version };
    buf_init(&s->position);
}

void retained_scan_fini(struct retained_scan *s)
{
    buf_fini(&s->position);
}

/* Writes the path of a node, for which there is room. */
static void scan_save(struct retained_scan *s, const struct retained_node *node, uint32_t path_len)
{
    buf_clear(&s->position);
    char *out = buf_tail(&s->position);
    uint32_t at = path_len;
    for (; node->parent; node = node->parent) {
        at -= node->label_len;
        if (node->label_len)
            memcpy(out + at, node->label, node->label_len);
        if (node->parent->parent)
            out[--at] = '/';
    }
    buf_commit(&s->position, path_len);
    s->started = true;
}

/* A turn must end also when a filter like "+/x" finds nothing in a wide tree. */
static uint64_t scan_budget(uint32_t max)
{
    return (uint64_t)max * 8 + 1024;
}

int retained_scan_run(struct retained *r, struct retained_scan *s, uint32_t max, retained_fn fn,
                      void *ctx)
{
    if (s->done)
        return 0;
    struct walk w = walk_begin(r, s->filter);
    bool more = s->started ? walk_seek(&w, buf_str(&s->position)) : walk_next(&w);
    const struct retained_node *passed = NULL; /* the last node that need not come again */
    uint32_t passed_len = 0, n = 0;
    int result = 0;
    for (uint64_t left = scan_budget(max); more && left > 0; left--) {
        if (s->position.cap <= w.path_len && buf_reserve(&s->position, w.path_len + 1) < 0) {
            result = -ENOMEM;
            break;
        }
        struct retained_entry *entry =
            w.at == w.filter_end ? atomic_load_explicit(&w.node->entry, memory_order_acquire)
                                 : NULL;
        if (entry && entry->version <= s->version) {
            if (n == max || !fn(ctx, entry->message, entry->version))
                break;
            n++;
        }
        passed = w.node;
        passed_len = w.path_len;
        more = walk_next(&w);
    }
    s->done = !more;
    if (passed && more)
        scan_save(s, passed, passed_len);
    return result;
}
