#include "config/yaml.h"
#include "base/utf8.h"
#include "config/suggest.h"
#include <errno.h>
#include <libfyaml.h>
#include <stdlib.h>

#define MAX_ANCHORS 1000

struct child {
    struct child *next;
    const struct node *key, *value;
};

struct frame { /* a list or map that is not closed yet */
    struct node *node;
    const struct node *key; /* of the map, waiting for its value */
    bool has_key;           /* also when the key was refused */
    const char *anchor;
    struct child *first, **last;
};

struct anchor {
    struct anchor *next;
    const char *name;
    const struct node *node;
};

struct builder {
    struct arena *a;
    const struct source *source;
    struct diag *d;
    struct fy_parser *parser;
    struct frame stack[NODE_MAX_DEPTH];
    uint32_t depth;
    struct anchor *anchors; /* the latest first */
    uint32_t n_anchors, n_documents;
    const struct node *root;
    struct place last; /* where the latest event with a place was */
    bool stop, ended;
};

static int no_memory(struct builder *b)
{
    b->d->no_memory = true;
    b->stop = true;
    return -ENOMEM;
}

static void refuse(struct builder *b, struct place at, const char *message)
{
    diag_error(b->d, at, "%s", message);
    b->stop = true;
}

static struct place place_of(struct builder *b, struct fy_event *event)
{
    struct place at = b->last;
    const struct fy_mark *start = fy_event_start_mark(event), *end = fy_event_end_mark(event);
    at.width = 1;
    if (!start || start->line < 0)
        return at; /* something empty: it stands where the one before it stands */
    at.line = (uint32_t)start->line + 1;
    at.column = (uint32_t)start->column + 1;
    if (event->type == FYET_SCALAR && end && end->line == start->line)
        at.width = end->column > start->column ? (uint32_t)(end->column - start->column) : 0;
    b->last = at;
    return at;
}

/* The tag as written, for those that mean something here. */
static const char *tag_of(struct builder *b, struct fy_event *event, struct place at)
{
    struct fy_token *token = fy_event_get_tag_token(event);
    const char *tag = token ? fy_token_get_text0(token) : NULL;
    if (!tag || !strncmp(tag, "tag:yaml.org,2002:", 18) || !strcmp(tag, "!"))
        return NULL;
    if (event->type == FYET_SCALAR && !strcmp(tag, "!file"))
        return "!file";
    if (event->type == FYET_SCALAR && !strcmp(tag, "!env"))
        return "!env";
    struct suggest s;
    char hint[64];
    suggest_init(&s, str_from(tag));
    suggest_offer_words(&s, "!file|!env");
    diag_error(b->d, at, "unknown tag '%s'%s", tag, suggest_text(&s, hint, sizeof(hint)));
    return NULL;
}

static int keep_anchor(struct builder *b, const char *name, const struct node *node)
{
    if (!name)
        return 0;
    struct anchor *anchor = arena_alloc(b->a, sizeof(*anchor));
    if (!anchor)
        return no_memory(b);
    *anchor = (struct anchor){ .next = b->anchors, .name = name, .node = node };
    b->anchors = anchor;
    if (++b->n_anchors > MAX_ANCHORS)
        refuse(b, node->place, "too many anchors");
    return 0;
}

static int anchor_name(struct builder *b, struct fy_event *event, const char **r_name)
{
    struct fy_token *token = fy_event_get_anchor_token(event);
    size_t len = 0;
    const char *text = token ? fy_token_get_text(token, &len) : NULL;
    *r_name = NULL;
    if (text && !(*r_name = arena_dup(b->a, str_make(text, len))))
        return no_memory(b);
    return 0;
}

/* A finished value: into the open list or map, or the root. */
static int add_value(struct builder *b, const struct node *node)
{
    if (!b->depth) {
        b->root = node;
        return 0;
    }
    struct frame *f = &b->stack[b->depth - 1];
    if (f->node->kind == NODE_MAP && !f->has_key) {
        f->has_key = true;
        f->key = node->kind == NODE_SCALAR ? node : NULL;
        if (!f->key)
            diag_error(b->d, node->place, "a key must be text");
        return 0;
    }
    if (b->depth + node->height > NODE_MAX_DEPTH) {
        refuse(b, node->place, "nested too deeply");
        return 0;
    }
    bool keep = f->node->kind == NODE_LIST || f->key;
    struct child *child = keep ? arena_alloc(b->a, sizeof(*child)) : NULL;
    if (keep && !child)
        return no_memory(b);
    if (child) {
        *child = (struct child){ .key = f->key, .value = node };
        *f->last = child;
        f->last = &child->next;
        f->node->n++;
        if (f->node->height <= node->height)
            f->node->height = (uint16_t)(node->height + 1);
    }
    f->has_key = false;
    f->key = NULL;
    return 0;
}

static int by_key(const void *pa, const void *pb)
{
    const struct node_pair *a = *(const struct node_pair *const *)pa;
    const struct node_pair *b = *(const struct node_pair *const *)pb;
    struct str x = a->key->text, y = b->key->text;
    int c = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
    if (!c)
        c = (x.len > y.len) - (x.len < y.len);
    return c ? c : (a > b) - (a < b);
}

static int check_duplicates(struct builder *b, const struct node *map)
{
    if (map->n < 2)
        return 0;
    const struct node_pair **sorted = malloc(map->n * sizeof(*sorted));
    if (!sorted)
        return no_memory(b);
    for (uint32_t i = 0; i < map->n; i++)
        sorted[i] = &map->pairs[i];
    qsort(sorted, map->n, sizeof(struct node_pair *), by_key);
    for (uint32_t i = 1, first = 0; i < map->n; i++) {
        struct str key = sorted[i]->key->text;
        if (!str_eq(key, sorted[first]->key->text)) {
            first = i;
            continue;
        }
        diag_error(b->d, sorted[i]->key->place, "duplicate key '" STR_FMT "', first in line %u",
                   STR_ARG(key), sorted[first]->key->place.line);
    }
    free(sorted);
    return 0;
}

static int on_scalar(struct builder *b, struct fy_event *event)
{
    struct place at = place_of(b, event);
    size_t len = 0;
    struct fy_token *token = event->scalar.value;
    const char *text = token ? fy_token_get_text(token, &len) : "";
    bool plain = !token || fy_scalar_token_get_style(token) == FYSS_PLAIN;
    enum fy_scalar_style style = token ? fy_scalar_token_get_style(token) : FYSS_PLAIN;
    if (style == FYSS_SINGLE_QUOTED || style == FYSS_DOUBLE_QUOTED) { /* marks exclude the quotes */
        at.column -= at.column > 1;
        at.width += 2;
    }
    at.width += !at.width;
    struct fy_token *tag = fy_event_get_tag_token(event);
    const char *tag_text = tag ? fy_token_get_text0(tag) : NULL;
    if (tag_text && !strcmp(tag_text, "tag:yaml.org,2002:str"))
        plain = false;
    const char *anchor;
    struct node *node = text ? node_new_scalar(b->a, str_make(text, len), plain, at) : NULL;
    if (!node || anchor_name(b, event, &anchor))
        return no_memory(b);
    node->tag = tag_of(b, event, at);
    int err = keep_anchor(b, anchor, node);
    return err ? err : add_value(b, node);
}

static int on_alias(struct builder *b, struct fy_event *event)
{
    struct place at = place_of(b, event);
    size_t len = 0;
    const char *text = fy_token_get_text(event->alias.anchor, &len);
    if (!text)
        return no_memory(b);
    for (const struct anchor *x = b->anchors; x; x = x->next)
        if (str_eq(str_from(x->name), str_make(text, len)))
            return add_value(b, x->node);
    diag_error(b->d, at, "unknown anchor '" STR_FMT "'", (int)len, text);
    struct node *node = node_new_scalar(b->a, STR(""), true, at);
    return node ? add_value(b, node) : no_memory(b);
}

static int on_open(struct builder *b, struct fy_event *event, enum node_kind kind)
{
    struct place at = place_of(b, event);
    if (b->depth == NODE_MAX_DEPTH - 1) {
        refuse(b, at, "nested too deeply");
        return 0;
    }
    struct node *node = arena_alloc(b->a, sizeof(*node));
    const char *anchor;
    if (!node || anchor_name(b, event, &anchor))
        return no_memory(b);
    *node = (struct node){ .kind = kind, .height = 1, .place = at };
    tag_of(b, event, at);
    struct frame *f = &b->stack[b->depth++];
    *f = (struct frame){ .node = node, .anchor = anchor };
    f->last = &f->first;
    return 0;
}

static int on_close(struct builder *b)
{
    struct frame *f = &b->stack[--b->depth];
    struct node *node = f->node;
    bool map = node->kind == NODE_MAP;
    struct node_pair *pairs = map ? arena_array(b->a, node->n, sizeof(*pairs)) : NULL;
    const struct node **items = map ? NULL : arena_array(b->a, node->n, sizeof(*items));
    if (!pairs && !items)
        return no_memory(b);
    uint32_t i = 0;
    for (const struct child *c = f->first; c; c = c->next, i++) {
        if (map)
            pairs[i] = (struct node_pair){ .key = c->key, .value = c->value };
        else
            items[i] = c->value;
    }
    node->pairs = pairs;
    node->items = items;
    int err = map ? check_duplicates(b, node) : 0;
    if (!err)
        err = keep_anchor(b, f->anchor, node);
    return err ? err : add_value(b, node);
}

static int on_event(struct builder *b, struct fy_event *event)
{
    switch (event->type) {
    case FYET_DOCUMENT_START:
        if (++b->n_documents > 1)
            refuse(b, place_of(b, event),
                   "a second document is not read; write it to its own file");
        return 0;
    case FYET_SCALAR: return on_scalar(b, event);
    case FYET_ALIAS: return on_alias(b, event);
    case FYET_MAPPING_START: return on_open(b, event, NODE_MAP);
    case FYET_SEQUENCE_START: return on_open(b, event, NODE_LIST);
    case FYET_MAPPING_END:
    case FYET_SEQUENCE_END: return on_close(b);
    default: return 0;
    }
}

static void report_syntax(struct builder *b, struct fy_diag *fy)
{
    void *it = NULL;
    struct fy_diag_error *e;
    bool any = false;
    while ((e = fy_diag_errors_iterate(fy, &it))) {
        struct place at = { .source = b->source,
                            .line = e->line > 0 ? (uint32_t)e->line : 1,
                            .column = e->column > 0 ? (uint32_t)e->column : 1,
                            .width = 1 };
        diag_error(b->d, at, "%s", e->msg ? e->msg : "not valid YAML");
        any = true;
    }
    if (!any)
        diag_error(b->d, b->last, "not valid YAML");
}

static void run(struct builder *b, struct fy_diag *fy)
{
    while (!b->stop && !b->ended) {
        struct fy_event *event = fy_parser_parse(b->parser);
        if (!event) {
            report_syntax(b, fy);
            return;
        }
        b->ended = event->type == FYET_STREAM_END;
        on_event(b, event);
        fy_parser_event_free(b->parser, event);
    }
}

static void swallow(struct fy_diag *fy, void *user, const char *text, size_t len)
{
    (void)fy;
    (void)user;
    (void)text;
    (void)len;
}

/* Bytes libfyaml would take but the file may not have: no UTF-8, control characters. */
static bool check_bytes(struct builder *b)
{
    struct str s = b->source->text;
    struct place at = { .source = b->source, .line = 1, .column = 1 };
    uint32_t start = 0;
    for (uint32_t i = 0; i <= s.len; i++) {
        bool end = i == s.len || s.ptr[i] == '\n';
        unsigned char c = end ? ' ' : (unsigned char)s.ptr[i];
        if ((c < 0x20 && c != '\t' && c != '\r') || c == 0x7f) {
            at.column = i - start + 1;
            diag_error(b->d, at, "control character 0x%02x", c);
            return false;
        }
        if (!end)
            continue;
        if (!utf8_is_mqtt(s.ptr ? s.ptr + start : "", i - start)) {
            diag_error(b->d, at, "not UTF-8");
            return false;
        }
        start = i + 1;
        at.line++;
    }
    return true;
}

int yaml_parse(struct arena *a, const struct source *source, struct diag *d,
               const struct node **r_root)
{
    struct builder b = { .a = a, .source = source, .d = d };
    b.last = (struct place){ .source = source, .line = 1, .column = 1, .width = 1 };
    uint32_t before = d->n_errors;
    *r_root = NULL;
    if (!check_bytes(&b))
        return -EINVAL;
    if (!source->text.len)
        return 0;
    struct fy_diag_cfg diag_cfg;
    fy_diag_cfg_default(&diag_cfg);
    diag_cfg.fp = NULL;
    diag_cfg.output_fn = swallow;
    diag_cfg.colorize = false;
    struct fy_diag *fy = fy_diag_create(&diag_cfg);
    if (!fy)
        return no_memory(&b);
    fy_diag_set_collect_errors(fy, true);
    struct fy_parse_cfg cfg = {
        .flags = FYPCF_COLLECT_DIAG | FYPCF_JSON_NONE | FYPCF_DEFAULT_VERSION_1_2, .diag = fy
    };
    b.parser = fy_parser_create(&cfg);
    if (b.parser && !fy_parser_set_string(b.parser, source->text.ptr, source->text.len))
        run(&b, fy);
    else
        no_memory(&b);
    fy_parser_destroy(b.parser);
    fy_diag_destroy(fy);
    if (d->no_memory)
        return -ENOMEM;
    if (b.ended && b.root && !node_is_null(b.root))
        *r_root = b.root;
    return d->n_errors > before ? -EINVAL : 0;
}
