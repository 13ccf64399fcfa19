#include "config/config_priv.h"
#include "config/tables.h"
#include <errno.h>
#include <inttypes.h>

struct differ {
    config_diff_fn fn;
    void *arg;
    struct buf key, old_text, new_text;
    int err;
};

static void tell(struct differ *x, const char *old_text, const char *new_text, bool reloadable)
{
    if (!x->err)
        x->fn(x->arg, buf_ptr(&x->key), old_text, new_text, reloadable);
}

static void set_key(struct differ *x, const char *prefix, const char *name, const char *suffix)
{
    buf_clear(&x->key);
    if (!x->err)
        x->err = buf_printf(&x->key, "%s%s%s", prefix, name, suffix);
    if (!x->err)
        x->err = buf_append(&x->key, "", 1);
}

/* Every row of a block that differs. prefix.name.row is the key. */
static void diff_block(struct differ *x, const struct table *t, const char *prefix,
                       const char *name, const void *a, const void *b)
{
    const struct core_option *rows = t->rows;
    for (uint32_t i = 0; i < t->n; i++) {
        if (table_same(&rows[i], a, b))
            continue;
        buf_clear(&x->old_text);
        buf_clear(&x->new_text);
        set_key(x, prefix, name, rows[i].opt.key);
        int err = table_print(&rows[i], a, &x->old_text);
        err = err ? err : buf_append(&x->old_text, "", 1);
        err = err ? err : table_print(&rows[i], b, &x->new_text);
        err = err ? err : buf_append(&x->new_text, "", 1);
        x->err = x->err ? x->err : err;
        if (!x->err)
            tell(x, buf_ptr(&x->old_text), buf_ptr(&x->new_text),
                 rows[i].opt.flags & PIGEON_O_RELOAD);
    }
}

static bool same_chain(const struct config_chain *a, const struct config_chain *b)
{
    if (a->written != b->written || a->n_entries != b->n_entries)
        return false;
    for (uint32_t i = 0; i < a->n_entries; i++)
        if (a->entries[i].control != b->entries[i].control ||
            strcmp(a->entries[i].plugin, b->entries[i].plugin))
            return false;
    return true;
}

static int print_chain(const struct config_chain *c, struct buf *out)
{
    buf_clear(out);
    int err = buf_append(out, "[", 1);
    for (uint32_t i = 0; i < c->n_entries && !err; i++) {
        const char *name = c->entries[i].plugin;
        err = i ? buf_append(out, ", ", 2) : 0;
        if (!err && c->entries[i].control == CONFIG_REQUIRE)
            err = buf_printf(out, "{ require: %s }", name);
        else if (!err && c->entries[i].control == CONFIG_VETO)
            err = buf_printf(out, "{ veto: %s }", name);
        else if (!err)
            err = buf_append_str(out, str_from(name));
    }
    return err ? err : buf_append(out, "]", 2); /* with its NUL */
}

static void diff_chains(struct differ *x, const char *prefix, const char *name,
                        const struct config_chains *a, const struct config_chains *b)
{
    for (int i = 0; i < CONFIG_N_CHAINS; i++) {
        const struct config_chain *p = &a->of[i], *q = &b->of[i];
        if (same_chain(p, q))
            continue;
        char suffix[32];
        snprintf(suffix, sizeof(suffix), "%s%s", *name ? "chains." : "", core_chains[i].key);
        set_key(x, prefix, name, suffix);
        int err = print_chain(p, &x->old_text);
        err = err ? err : print_chain(q, &x->new_text);
        x->err = x->err ? x->err : err;
        if (!x->err)
            tell(x, p->written ? buf_ptr(&x->old_text) : NULL,
                 q->written ? buf_ptr(&x->new_text) : NULL,
                 core_section_flags("chains") & PIGEON_O_RELOAD);
    }
}

static const char *level_text(enum config_durability_level level)
{
    static const char *const words[] = { "memory", "os", "disk" };
    return words[level];
}

static const struct config_durability_filter *find_filter(const struct config_durability *d,
                                                          const char *filter)
{
    for (uint32_t i = 0; i < d->n_filters; i++)
        if (!strcmp(d->filters[i].filter, filter))
            return &d->filters[i];
    return NULL;
}

static void diff_filters(struct differ *x, const struct config_durability *a,
                         const struct config_durability *b)
{
    for (uint32_t i = 0; i < a->n_filters; i++) {
        const struct config_durability_filter *f = &a->filters[i], *g = find_filter(b, f->filter);
        if (g && f->level == g->level)
            continue;
        set_key(x, "durability.filters.", f->filter, "");
        tell(x, level_text(f->level), g ? level_text(g->level) : NULL, false);
    }
    for (uint32_t i = 0; i < b->n_filters; i++) {
        if (find_filter(a, b->filters[i].filter))
            continue;
        set_key(x, "durability.filters.", b->filters[i].filter, "");
        tell(x, NULL, level_text(b->filters[i].level), false);
    }
}

static const struct config_listener *find_listener(const struct config *c, const char *name)
{
    for (uint32_t i = 0; i < c->n_listeners; i++)
        if (!strcmp(c->listeners[i].name, name))
            return &c->listeners[i];
    return NULL;
}

/* Files that come, go or move show as what the first ones are. */
static void diff_tls(struct differ *x, const char *name, const struct config_tls *a,
                     const struct config_tls *b)
{
    char where[160];
    snprintf(where, sizeof(where), "%.80stls.", name);
    diff_block(x, &core_tls, "listeners.", where, a, b);
    for (uint32_t i = 0; i < a->n_more || i < b->n_more; i++) {
        static const struct config_tls_files none;
        snprintf(where, sizeof(where), "%.80stls.certificates.%" PRIu32 ".", name, i);
        diff_block(x, &core_tls_files, "listeners.", where, i < a->n_more ? &a->more[i] : &none,
                   i < b->n_more ? &b->more[i] : &none);
    }
}

/* Listeners are known by name. */
static void diff_listeners(struct differ *x, const struct config *a, const struct config *b)
{
    bool reloadable = core_section_flags("listeners") & PIGEON_O_RELOAD;
    for (uint32_t i = 0; i < a->n_listeners; i++) {
        const struct config_listener *l = &a->listeners[i], *m = find_listener(b, l->name);
        char name[80];
        snprintf(name, sizeof(name), "%.70s.", l->name);
        if (m) {
            diff_block(x, &core_listener, "listeners.", name, l, m);
            diff_tls(x, name, &l->tls, &m->tls);
            diff_chains(x, "listeners.", name, &l->chains, &m->chains);
            continue;
        }
        set_key(x, "listeners.", l->name, "");
        tell(x, l->name, NULL, reloadable);
    }
    for (uint32_t i = 0; i < b->n_listeners; i++) {
        if (find_listener(a, b->listeners[i].name))
            continue;
        set_key(x, "listeners.", b->listeners[i].name, "");
        tell(x, NULL, b->listeners[i].name, reloadable);
    }
}

/* A plugin's block that comes or goes is said, as some plugins need one to take part, and compared
 * with the defaults it stands for. */
static void diff_plugins(struct differ *x, const struct config *a, const struct config *b)
{
    for (uint32_t i = 0; i < a->n_plugins + b->n_plugins; i++) {
        bool second = i >= a->n_plugins;
        const struct config_plugin *p = second ? &b->plugins[i - a->n_plugins] : &a->plugins[i];
        const struct config_plugin *other = config_plugin(second ? a : b, p->name);
        char name[80];
        snprintf(name, sizeof(name), "%.70s.", p->name);
        if (second && other->name)
            continue;
        if (!other->name) {
            set_key(x, "plugins.", p->name, "");
            tell(x, second ? NULL : p->name, second ? p->name : NULL, false);
        }
        if (second)
            diff_block(x, &core_plugin, "plugins.", name, other, p);
        else
            diff_block(x, &core_plugin, "plugins.", name, p, other);
    }
}

int config_diff(const struct config *old_config, const struct config *new_config, config_diff_fn fn,
                void *arg)
{
    const struct config *a = old_config, *b = new_config;
    struct differ x = { .fn = fn, .arg = arg };
    buf_init(&x.key);
    buf_init(&x.old_text);
    buf_init(&x.new_text);
    diff_block(&x, &core_top, "", "", a, b);
    diff_block(&x, &core_durability, "durability.", "", &a->durability, &b->durability);
    diff_filters(&x, &a->durability, &b->durability);
    diff_block(&x, &core_log, "log.", "", &a->log, &b->log);
    diff_block(&x, &core_limits, "limits.", "", &a->limits, &b->limits);
    diff_listeners(&x, a, b);
    diff_plugins(&x, a, b);
    diff_chains(&x, "chains.", "", &a->chains, &b->chains);
    buf_fini(&x.key);
    buf_fini(&x.old_text);
    buf_fini(&x.new_text);
    return x.err;
}
