#include "config/plugin_conf.h"
#include "config/node.h"
#include "config/table.h"
#include <errno.h>
#include <stdlib.h>

struct entry {
    pigeon_option row; /* its own copy: key, allowed and doc lie in the arena or are NULL */
    struct value value;
};

struct plugin_conf {
    struct arena arena;
    struct entry *entries;
    uint32_t n;
};

static struct str *dup_items(struct arena *a, const struct value *v)
{
    struct str *items = arena_array(a, v->n_items, sizeof(*items));
    for (uint32_t i = 0; items && i < v->n_items; i++) {
        char *copy = arena_dup(a, v->items[i]);
        if (!copy)
            return NULL;
        items[i] = str_make(copy, v->items[i].len);
    }
    return items;
}

/* Row and value into memory of the conf itself. */
static bool keep(struct plugin_conf *conf, struct entry *e, pigeon_option row,
                 const struct value *value)
{
    e->value = *value;
    e->row = (pigeon_option){ .key = arena_dup(&conf->arena, str_from(row.key)),
                              .type = row.type,
                              .flags = row.flags };
    if (!e->row.key)
        return false;
    if (value->text.ptr) {
        char *copy = arena_dup(&conf->arena, value->text);
        e->value.text = str_make(copy, value->text.len);
        if (!copy)
            return false;
    }
    if (value->items)
        e->value.items = dup_items(&conf->arena, value);
    return !value->items || e->value.items;
}

static int read_all(struct plugin_conf *conf, const struct table *t, const struct node *options,
                    struct place at, struct diag *d)
{
    struct arena scratch; /* presets are parsed in it, and it is gone when the conf is complete */
    arena_init(&scratch);
    struct value_env env = { .arena = &scratch, .diag = d };
    struct value *values = calloc(t->n + 1, sizeof(*values));
    conf->entries = arena_array(&conf->arena, t->n, sizeof(*conf->entries));
    bool enough = values && conf->entries;
    bool ok = enough && table_read(t, &env, options, at, values);
    for (uint32_t i = 0; ok && enough && i < t->n; i++)
        enough = keep(conf, &conf->entries[i], table_row(t, i), &values[i]);
    conf->n = t->n;
    free(values);
    arena_fini(&scratch);
    if (!enough)
        d->no_memory = true;
    if (d->no_memory)
        return -ENOMEM;
    return ok ? 0 : -EINVAL;
}

int plugin_conf_new(const struct config_plugin *block, const char *name, const pigeon_option *table,
                    uint32_t n, uint32_t stride, struct diag *d, struct plugin_conf **r_conf)
{
    char where[96];
    snprintf(where, sizeof(where), "in the options of '%.64s'", name);
    struct table t = { .rows = table, .n = n, .stride = stride, .where = where };
    if (!table_check(&t, d))
        return d->no_memory ? -ENOMEM : -EINVAL;
    struct plugin_conf *conf = calloc(1, sizeof(*conf));
    if (!conf) {
        d->no_memory = true;
        return -ENOMEM;
    }
    arena_init(&conf->arena);
    int err = read_all(conf, &t, block->options, block->place, d);
    if (err)
        plugin_conf_free(&conf);
    else
        *r_conf = conf;
    return err;
}

void plugin_conf_free(struct plugin_conf **conf)
{
    if (!*conf)
        return;
    arena_fini(&(*conf)->arena);
    free(*conf);
    *conf = NULL;
}

static const struct entry *find(const struct plugin_conf *conf, const char *key)
{
    for (uint32_t i = 0; i < conf->n; i++)
        if (!strcmp(conf->entries[i].row.key, key))
            return &conf->entries[i];
    return NULL;
}

int plugin_conf_keep(struct plugin_conf *conf, const struct plugin_conf *old)
{
    for (uint32_t i = 0; i < conf->n; i++) {
        struct entry *e = &conf->entries[i];
        const struct entry *before = find(old, e->row.key);
        if (!before || e->row.flags & PIGEON_O_RELOAD)
            continue;
        if (!keep(conf, e, e->row, &before->value))
            return -ENOMEM;
    }
    return 0;
}

bool plugin_conf_has(const struct plugin_conf *conf, const char *key)
{
    const struct entry *e = find(conf, key);
    return e && e->value.present;
}

int64_t plugin_conf_int(const struct plugin_conf *conf, const char *key)
{
    const struct entry *e = find(conf, key);
    return e ? e->value.num : 0;
}

struct str plugin_conf_str(const struct plugin_conf *conf, const char *key)
{
    const struct entry *e = find(conf, key);
    return e ? e->value.text : STR_NULL;
}

uint32_t plugin_conf_count(const struct plugin_conf *conf, const char *key)
{
    const struct entry *e = find(conf, key);
    return e ? e->value.n_items : 0;
}

struct str plugin_conf_item(const struct plugin_conf *conf, const char *key, uint32_t i)
{
    const struct entry *e = find(conf, key);
    return e && i < e->value.n_items ? e->value.items[i] : STR_NULL;
}

/* NULL for a value that is not there. */
static int print_value(const struct entry *e, struct buf *out, const char **r_text)
{
    *r_text = NULL;
    if (!e || !e->value.present)
        return 0;
    int err = value_print(&e->row, 0, &e->value, out);
    if (!err)
        err = buf_append(out, "", 1);
    *r_text = buf_ptr(out);
    return err;
}

static int tell(const struct entry *old_entry, const struct entry *new_entry, config_diff_fn fn,
                void *arg)
{
    struct buf old_buf, new_buf;
    buf_init(&old_buf);
    buf_init(&new_buf);
    const struct entry *e = new_entry ? new_entry : old_entry;
    const char *old_text, *new_text;
    int err = print_value(old_entry, &old_buf, &old_text);
    if (!err)
        err = print_value(new_entry, &new_buf, &new_text);
    if (!err)
        fn(arg, e->row.key, old_text, new_text, e->row.flags & PIGEON_O_RELOAD);
    buf_fini(&old_buf);
    buf_fini(&new_buf);
    return err;
}

int plugin_conf_diff(const struct plugin_conf *old_conf, const struct plugin_conf *new_conf,
                     config_diff_fn fn, void *arg, uint32_t *r_restart)
{
    uint32_t n_restart = 0;
    int n_changed = 0;
    for (uint32_t i = 0; i < old_conf->n + new_conf->n; i++) {
        bool second = i >= old_conf->n;
        const struct entry *e =
            second ? &new_conf->entries[i - old_conf->n] : &old_conf->entries[i];
        const struct entry *other = find(second ? old_conf : new_conf, e->row.key);
        if (second ? other != NULL : other && value_equal(&e->value, &other->value))
            continue;
        const struct entry *newer = second ? e : other;
        n_changed++;
        n_restart += !((newer ? newer : e)->row.flags & PIGEON_O_RELOAD);
        int err = fn ? tell(second ? NULL : e, newer, fn, arg) : 0;
        if (err)
            return err;
    }
    if (r_restart)
        *r_restart = n_restart;
    return n_changed;
}
