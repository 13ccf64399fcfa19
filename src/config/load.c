#include "config/config_priv.h"
#include "config/file.h"
#include "config/yaml.h"
#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <sys/stat.h>

#define FILE_MAX     (16u << 20)
#define INCLUDE_DEEP 16

struct seen { /* a file is read once, so a pattern may match the file it stands in */
    struct seen *next;
    dev_t dev;
    ino_t ino;
};

struct loader {
    struct config_box *box;
    struct diag *d;
    struct seen *seen;
    const struct node *root;
};

static void load_file(struct loader *l, const char *path, struct place from, uint32_t depth);

static struct source *new_source(struct loader *l, const char *name, const char *dir)
{
    struct arena *a = &l->box->arena;
    struct source *source = arena_alloc(a, sizeof(*source));
    const char *copy = arena_dup(a, str_from(name));
    if (!source || !copy || !dir) {
        l->d->no_memory = true;
        return NULL;
    }
    *source = (struct source){ .name = copy, .dir = dir, .order = l->box->n_sources++ };
    if (!l->box->place.source)
        l->box->place = (struct place){ .source = source };
    return source;
}

static char *directory_of(struct arena *a, const char *path)
{
    const char *slash = strrchr(path, '/');
    return arena_dup(a, str_make(path, slash ? (size_t)(slash - path) + 1 : 0));
}

static bool was_seen(struct loader *l, const char *path)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return false; /* reading it will say why */
    for (const struct seen *s = l->seen; s; s = s->next)
        if (s->dev == st.st_dev && s->ino == st.st_ino)
            return true;
    struct seen *s = arena_alloc(&l->box->arena, sizeof(*s));
    if (!s) {
        l->d->no_memory = true;
        return true;
    }
    *s = (struct seen){ .next = l->seen, .dev = st.st_dev, .ino = st.st_ino };
    l->seen = s;
    return false;
}

/* A directory that is not there holds no files; one that cannot be read is an error. */
static int on_glob_error(const char *path, int error)
{
    (void)path;
    return error != ENOENT && error != ENOTDIR;
}

static void include_pattern(struct loader *l, const struct node *item, uint32_t depth)
{
    char what[80];
    if (item->kind != NODE_SCALAR || node_is_null(item) || item->tag) {
        diag_error(l->d, item->place, "'include' must be file names, found %s",
                   node_describe(item, what, sizeof(what)));
        return;
    }
    const char *dir = item->text.ptr[0] == '/' ? "" : item->place.source->dir;
    char *pattern = arena_printf(&l->box->arena, "%s%s", dir, item->text.ptr);
    if (!pattern) {
        l->d->no_memory = true;
        return;
    }
    glob_t found;
    int result = glob(pattern, 0, on_glob_error, &found);
    if (result == GLOB_NOMATCH && !strpbrk(pattern, "*?["))
        load_file(l, pattern, item->place, depth + 1); /* says that it is not there */
    else if (result == GLOB_ABORTED)
        diag_error(l->d, item->place, "cannot read the directory of '%s'", pattern);
    else if (result == GLOB_NOSPACE)
        l->d->no_memory = true;
    for (size_t i = 0; result == 0 && i < found.gl_pathc; i++)
        load_file(l, found.gl_pathv[i], item->place, depth + 1);
    if (result == 0)
        globfree(&found);
}

static void include_all(struct loader *l, const struct node *value, uint32_t depth)
{
    if (depth >= INCLUDE_DEEP) {
        diag_error(l->d, value->place, "files include one another too deeply");
        return;
    }
    if (value->kind != NODE_LIST) {
        include_pattern(l, value, depth);
        return;
    }
    for (uint32_t i = 0; i < value->n; i++)
        include_pattern(l, value->items[i], depth);
}

static const struct node *without_include(struct loader *l, const struct node *root)
{
    struct node *rest = node_new_map(&l->box->arena, root->n, root->place);
    if (!rest) {
        l->d->no_memory = true;
        return NULL;
    }
    struct node_pair *pairs = (struct node_pair *)(uintptr_t)rest->pairs;
    rest->height = root->height;
    rest->n = 0;
    for (uint32_t i = 0; i < root->n; i++)
        if (!str_eq(root->pairs[i].key->text, STR("include")))
            pairs[rest->n++] = root->pairs[i];
    return rest;
}

static void add_root(struct loader *l, const struct node *root, uint32_t depth)
{
    char what[80];
    if (root->kind != NODE_MAP) {
        diag_error(l->d, root->place, "expected a block of options, found %s",
                   node_describe(root, what, sizeof(what)));
        return;
    }
    const struct node *include = node_get(root, "include");
    const struct node *rest = without_include(l, root);
    if (!rest)
        return;
    l->root = node_merge(&l->box->arena, l->root, rest, l->d);
    if (include)
        include_all(l, include, depth);
}

static void load_file(struct loader *l, const char *path, struct place from, uint32_t depth)
{
    if (was_seen(l, path))
        return;
    struct source *source = new_source(l, path, directory_of(&l->box->arena, path));
    if (!source)
        return;
    struct buf content;
    buf_init(&content);
    int err = file_read(path, FILE_MAX, &content);
    if (!err) {
        char *copy = arena_dup(&l->box->arena, buf_str(&content));
        source->text = str_make(copy, buf_len(&content));
        err = copy ? 0 : -ENOMEM;
    }
    buf_fini(&content);
    if (err == -ENOMEM) {
        l->d->no_memory = true;
        return;
    }
    if (err) {
        struct place file = { .source = source };
        bool included = from.source;
        diag_error(l->d, included ? from : file, "cannot read %s%s%s%s", included ? "'" : "it",
                   included ? path : "", included ? "': " : ": ", strerror(-err));
        return;
    }
    const struct node *root;
    yaml_parse(&l->box->arena, source, l->d, &root);
    if (root)
        add_root(l, root, depth);
}

static void load_override(struct loader *l, const char *text)
{
    struct arena *a = &l->box->arena;
    char *name = arena_printf(a, "-o %s", text);
    struct source *source = name ? new_source(l, name, "") : NULL;
    if (!source) {
        l->d->no_memory = true;
        return;
    }
    source->is_override = true;
    struct place at = { .source = source };
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) {
        diag_error(l->d, at, "expected key=value or block.key=value");
        return;
    }
    struct str key = str_make(text, (size_t)(equals - text));
    char *value = arena_dup(a, str_from(equals + 1));
    char *path = arena_dup(a, key);
    if (!value || !path) {
        l->d->no_memory = true;
        return;
    }
    source->text = str_from(value);
    const struct node *node;
    if (yaml_parse(a, source, l->d, &node))
        return;
    if (!node && !(node = node_new_scalar(a, STR(""), true, at))) {
        l->d->no_memory = true;
        return;
    }
    if (str_eq(key, STR("include")))
        include_all(l, node, 0);
    else
        l->root = node_set(a, l->root, str_make(path, key.len), node, at, l->d);
}

const struct node *config_read(struct config_box *box, const struct config_input *input,
                               struct diag *d)
{
    struct loader l = { .box = box, .d = d };
    struct place nowhere = { 0 };
    for (uint32_t i = 0; i < input->n_files; i++)
        load_file(&l, input->files[i], nowhere, 0);
    for (uint32_t i = 0; i < input->n_overrides; i++)
        load_override(&l, input->overrides[i]);
    return l.root;
}
