#include "config/node.h"
#include "config/secret.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

bool node_is_null(const struct node *node)
{
    return node->kind == NODE_SCALAR && node->plain &&
           (node->text.len == 0 || str_eq(node->text, STR("~")) || str_eq(node->text, STR("null")));
}

const char *node_describe(const struct node *node, char *out, size_t room)
{
    if (node->kind == NODE_LIST)
        snprintf(out, room, "a list");
    else if (node->kind == NODE_MAP)
        snprintf(out, room, "a block");
    else if (node_is_null(node))
        snprintf(out, room, "nothing");
    else if (node->text.len > 40)
        snprintf(out, room, "text of %u bytes", node->text.len);
    else
        snprintf(out, room, "%s'" STR_FMT "'", node->plain ? "" : "text ", STR_ARG(node->text));
    return out;
}

const struct node_pair *node_get_pair(const struct node *map, struct str key)
{
    if (!map || map->kind != NODE_MAP)
        return NULL;
    for (uint32_t i = 0; i < map->n; i++)
        if (str_eq(map->pairs[i].key->text, key))
            return &map->pairs[i];
    return NULL;
}

const struct node *node_get(const struct node *map, const char *key)
{
    const struct node_pair *pair = node_get_pair(map, str_from(key));
    return pair ? pair->value : NULL;
}

struct node *node_new_scalar(struct arena *a, struct str text, bool plain, struct place place)
{
    struct node *node = arena_alloc(a, sizeof(*node));
    char *copy = arena_dup(a, text);
    if (!node || !copy)
        return NULL;
    *node = (struct node){ .kind = NODE_SCALAR,
                           .plain = plain,
                           .height = 1,
                           .text = str_make(copy, text.len),
                           .place = place };
    return node;
}

/* The caller fills in the n pairs. */
struct node *node_new_map(struct arena *a, uint32_t n, struct place place)
{
    struct node *node = arena_alloc(a, sizeof(*node));
    struct node_pair *pairs = arena_array(a, n, sizeof(*pairs));
    if (!node || !pairs)
        return NULL;
    *node = (struct node){ .kind = NODE_MAP, .height = 1, .pairs = pairs, .n = n, .place = place };
    return node;
}

static struct node *new_list(struct arena *a, uint32_t n, struct place place)
{
    struct node *node = arena_alloc(a, sizeof(*node));
    const struct node **items = arena_array(a, n, sizeof(*items));
    if (!node || !items)
        return NULL;
    *node = (struct node){ .kind = NODE_LIST, .height = 1, .items = items, .n = n, .place = place };
    return node;
}

static void add_height(struct node *node, const struct node *child)
{
    if (node->height <= child->height)
        node->height = (uint16_t)(child->height + 1);
}

static struct node_pair *pair_at(struct node *map, uint32_t i)
{
    return (struct node_pair *)(uintptr_t)&map->pairs[i];
}

static const struct node *join_lists(struct arena *a, const struct node *first,
                                     const struct node *second)
{
    struct node *all = new_list(a, first->n + second->n, first->place);
    if (!all)
        return NULL;
    for (uint32_t i = 0; i < all->n; i++) {
        all->items[i] = i < first->n ? first->items[i] : second->items[i - first->n];
        add_height(all, all->items[i]);
    }
    return all;
}

static const struct node *merge_value(struct arena *a, const struct node_pair *under,
                                      const struct node_pair *over, struct diag *d)
{
    if (node_is_null(under->value))
        return over->value;
    if (node_is_null(over->value))
        return under->value;
    if (under->value->kind == NODE_MAP && over->value->kind == NODE_MAP)
        return node_merge(a, under->value, over->value, d);
    if (under->value->kind == NODE_LIST && over->value->kind == NODE_LIST &&
        str_eq(over->key->text, STR("listeners")))
        return join_lists(a, under->value, over->value);
    diag_error(d, over->key->place, "'" STR_FMT "' is already set in %s:%u",
               STR_ARG(over->key->text), under->key->place.source->name, under->key->place.line);
    return under->value;
}

const struct node *node_merge(struct arena *a, const struct node *under, const struct node *over,
                              struct diag *d)
{
    if (!under || !over)
        return under ? under : over;
    assert(under->kind == NODE_MAP && over->kind == NODE_MAP);
    struct node *map = node_new_map(a, under->n + over->n, under->place);
    if (!map) {
        d->no_memory = true;
        return NULL;
    }
    map->n = under->n;
    if (under->n)
        memcpy(pair_at(map, 0), under->pairs, under->n * sizeof(*under->pairs));
    for (uint32_t i = 0; i < over->n; i++) {
        const struct node_pair *new_pair = &over->pairs[i];
        const struct node_pair *old_pair = node_get_pair(under, new_pair->key->text);
        if (!old_pair) {
            *pair_at(map, map->n++) = *new_pair;
            continue;
        }
        const struct node *value = merge_value(a, old_pair, new_pair, d);
        if (!value) {
            d->no_memory = true;
            return NULL;
        }
        pair_at(map, (uint32_t)(old_pair - under->pairs))->value = value;
    }
    for (uint32_t i = 0; i < map->n; i++)
        add_height(map, map->pairs[i].value);
    return map;
}

struct setter {
    struct arena *a;
    struct diag *d;
    struct place at;
    const struct node *value;
};

static const struct node *set_below(struct setter *s, const struct node *old, struct str path,
                                    uint32_t depth);

static const struct node *set_in_list(struct setter *s, const struct node *old, struct str key,
                                      struct str rest, uint32_t depth)
{
    uint32_t index = 0;
    for (uint32_t i = 0; i < key.len && index <= old->n; i++)
        index = key.ptr[i] >= '0' && key.ptr[i] <= '9' ? index * 10 + (uint32_t)(key.ptr[i] - '0')
                                                       : UINT32_MAX / 20;
    if (index >= old->n) {
        diag_error(s->d, s->at, "'" STR_FMT "' is no item of a list of %u (the first is 0)",
                   STR_ARG(key), old->n);
        return NULL;
    }
    struct node *list = new_list(s->a, old->n, old->place);
    const struct node *child = set_below(s, old->items[index], rest, depth);
    if (!list || !child)
        return NULL;
    memcpy(list->items, old->items, old->n * sizeof(struct node *));
    list->items[index] = child;
    for (uint32_t i = 0; i < list->n; i++)
        add_height(list, list->items[i]);
    return list;
}

static const struct node *set_in_map(struct setter *s, const struct node *old, struct str key,
                                     struct str rest, uint32_t depth)
{
    uint32_t n = old ? old->n : 0;
    const struct node_pair *pair = node_get_pair(old, key);
    uint32_t at = pair ? (uint32_t)(pair - old->pairs) : n;
    struct node *map = node_new_map(s->a, n + 1, old ? old->place : s->at);
    const struct node *name = node_new_scalar(s->a, key, true, s->at);
    const struct node *child = set_below(s, pair ? pair->value : NULL, rest, depth);
    if (!map || !name || !child)
        return NULL;
    map->n = pair ? n : n + 1;
    if (n)
        memcpy(pair_at(map, 0), old->pairs, n * sizeof(*old->pairs));
    *pair_at(map, at) = (struct node_pair){ .key = name, .value = child };
    for (uint32_t i = 0; i < map->n; i++)
        add_height(map, map->pairs[i].value);
    return map;
}

/* path: what is left of it; empty: `old` itself is replaced. */
static const struct node *set_below(struct setter *s, const struct node *old, struct str path,
                                    uint32_t depth)
{
    if (!path.ptr)
        return s->value;
    const char *dot = memchr(path.ptr, '.', path.len);
    struct str key = dot ? str_make(path.ptr, (size_t)(dot - path.ptr)) : path;
    struct str rest = dot ? str_make(dot + 1, path.len - key.len - 1) : STR_NULL;
    if (!key.len || depth + s->value->height > NODE_MAX_DEPTH) {
        diag_error(s->d, s->at, key.len ? "too deep" : "expected key=value or block.key=value");
        return NULL;
    }
    if (old && node_is_null(old))
        old = NULL;
    if (old && old->kind == NODE_SCALAR) {
        char what[80];
        diag_error(s->d, s->at, "'" STR_FMT "' is looked for in a block, but there is %s",
                   STR_ARG(key), node_describe(old, what, sizeof(what)));
        return NULL;
    }
    if (old && old->kind == NODE_LIST)
        return set_in_list(s, old, key, rest, depth + 1);
    return set_in_map(s, old, key, rest, depth + 1);
}

const struct node *node_set(struct arena *a, const struct node *root, struct str path,
                            const struct node *value, struct place at, struct diag *d)
{
    struct setter s = { .a = a, .d = d, .at = at, .value = value };
    uint32_t before = d->n_errors;
    const struct node *set = set_below(&s, root, path, 0);
    if (!set && d->n_errors == before)
        d->no_memory = true;
    return set ? set : root;
}

/* The grammar of JSON numbers, which all are YAML numbers too. */
static bool is_json_number(struct str s)
{
    const char *p = s.ptr; /* a NUL stands behind it */
    p += *p == '-';
    if (*p == '0')
        p++;
    else if (*p >= '1' && *p <= '9')
        p += strspn(p, "0123456789");
    else
        return false;
    if (*p == '.') {
        size_t n = strspn(++p, "0123456789");
        if (!n)
            return false;
        p += n;
    }
    if (*p == 'e' || *p == 'E') {
        p++;
        p += *p == '+' || *p == '-';
        size_t n = strspn(p, "0123456789");
        if (!n)
            return false;
        p += n;
    }
    return p == s.ptr + s.len;
}

static int append_json_text(struct buf *out, struct str s)
{
    int err = buf_append(out, "\"", 1);
    for (uint32_t i = 0; i < s.len && !err; i++) {
        char c = s.ptr[i];
        if (c == '"' || c == '\\')
            err = buf_printf(out, "\\%c", c);
        else if ((unsigned char)c < 0x20 || c == 0x7f)
            err = buf_printf(out, "\\u%04x", (unsigned)c);
        else
            err = buf_append(out, &c, 1);
    }
    return err ? err : buf_append(out, "\"", 1);
}

static int append_json_scalar(const struct node *node, struct arena *a, struct diag *d,
                              struct buf *out)
{
    struct str text = node->text;
    if (node->tag) {
        int err = secret_resolve(node, a, d, &text);
        return err ? err : append_json_text(out, text);
    }
    if (!node->plain)
        return append_json_text(out, text);
    if (node_is_null(node))
        return buf_append_str(out, STR("null"));
    if (str_eq(text, STR("true")) || str_eq(text, STR("false")) || is_json_number(text))
        return buf_append_str(out, text);
    return append_json_text(out, text);
}

static int append_json(const struct node *node, struct arena *a, struct diag *d, struct buf *out,
                       size_t end)
{
    if (buf_len(out) > end)
        return -EFBIG;
    if (node->kind == NODE_SCALAR)
        return append_json_scalar(node, a, d, out);
    bool map = node->kind == NODE_MAP;
    int err = buf_append(out, map ? "{" : "[", 1);
    for (uint32_t i = 0; i < node->n && !err; i++) {
        if (i)
            err = buf_append(out, ",", 1);
        if (!err && map)
            err = append_json_text(out, node->pairs[i].key->text);
        if (!err && map)
            err = buf_append(out, ":", 1);
        if (!err)
            err = append_json(map ? node->pairs[i].value : node->items[i], a, d, out, end);
    }
    return err ? err : buf_append(out, map ? "}" : "]", 1);
}

int node_to_json(const struct node *node, struct arena *a, struct diag *d, struct buf *out)
{
    int err = append_json(node, a, d, out, buf_len(out) + NODE_MAX_JSON);
    if (err != -EFBIG)
        return err;
    diag_error(d, node->place, "too large: more than %u bytes", NODE_MAX_JSON);
    return -EINVAL;
}
