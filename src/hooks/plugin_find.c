/* Which files there are, what they are called, and which of them take part. */
#include "hooks/chain.h"
#include "hooks/plugin.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#ifndef PIGEON_PLUGINSDIR
#define PIGEON_PLUGINSDIR "/usr/lib/pigeon/plugins"
#endif

struct path_list {
    char **items;
    uint32_t n, cap;
};

static int path_add(struct path_list *list, const char *dir, const char *base)
{
    size_t len = (dir ? strlen(dir) + 1 : 0) + strlen(base) + 1;
    char *path = malloc(len);

    if (path && list->n == list->cap) {
        uint32_t cap = list->cap ? list->cap * 2 : 16;
        char **items = realloc(list->items, cap * sizeof(*items));

        if (items) {
            list->items = items;
            list->cap = cap;
        }
    }
    if (!path || list->n == list->cap) {
        free(path);
        return -ENOMEM;
    }
    snprintf(path, len, "%s%s%s", dir ? dir : "", dir ? "/" : "", base);
    list->items[list->n++] = path;
    return 0;
}

static void path_list_fini(struct path_list *list)
{
    for (uint32_t i = 0; i < list->n; i++)
        free(list->items[i]);
    free(list->items);
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static int by_base(const void *a, const void *b)
{
    const char *x = *(char *const *)a, *y = *(char *const *)b;
    int r = strcmp(base_of(x), base_of(y));

    return r ? r : strcmp(x, y);
}

/* 0, -ENOMEM, or another negative errno: the directory cannot be read. */
static int read_dir(const char *dir, struct path_list *list)
{
    DIR *d = opendir(dir);
    struct dirent *e;
    int r = 0;

    if (!d)
        return -errno;
    while (r == 0 && (e = readdir(d)) != NULL) {
        size_t len = strlen(e->d_name);

        if (len > 3 && e->d_name[0] != '.' && strcmp(e->d_name + len - 3, ".so") == 0)
            r = path_add(list, dir, e->d_name);
    }
    closedir(d);
    return r;
}

static int list_files(struct hooks *hooks, struct path_list *list, uint32_t *faults)
{
    const struct config *config = hooks->config;
    const struct config_list *dirs = &config->plugins_dir;
    int r = 0;

    for (uint32_t i = 0; i < (dirs->n ? dirs->n : 1) && r != -ENOMEM; i++) {
        const char *dir = dirs->n ? dirs->items[i] : PIGEON_PLUGINSDIR;

        r = read_dir(dir, list);
        if (r < 0 && r != -ENOMEM && !(r == -ENOENT && dirs->n == 0)) {
            log_error(hooks->log, "plugins_dir_refused", LZ("directory", dir),
                      LZ("reason", strerror(-r)),
                      LZ("help", "make it, or take it out of plugins_dir"));
            (*faults)++;
        }
    }
    for (uint32_t i = 0; i < config->n_plugins && r != -ENOMEM; i++)
        if (config->plugins[i].file && strchr(config->plugins[i].file, '/'))
            r = path_add(list, NULL, config->plugins[i].file);
    if (r == -ENOMEM)
        return r;
    if (list->n)
        qsort(list->items, list->n, sizeof(*list->items), by_base);
    return 0;
}

/* The block that speaks of this file: by `file:`, else by the name that the file gives. */
static const struct config_plugin *block_of(const struct config *config, const char *path,
                                            const char *name)
{
    for (uint32_t i = 0; i < config->n_plugins; i++) {
        const struct config_plugin *b = &config->plugins[i];

        if (b->file && strcmp(b->file, strchr(b->file, '/') ? path : base_of(path)) == 0)
            return b;
    }
    for (uint32_t i = 0; i < config->n_plugins; i++) {
        const struct config_plugin *b = &config->plugins[i];

        if (!b->file && strcmp(b->name, name) == 0)
            return b;
    }
    return NULL;
}

/* Is the plugin meant by `persistence: VALUE` or `bus: VALUE`? */
static bool is_meant(const char *value, const char *prefix, const char *name)
{
    size_t len = strlen(prefix);

    if (!value)
        return false;
    return strcmp(value, name) == 0 ||
           (strncmp(name, prefix, len) == 0 && strcmp(name + len, value) == 0);
}

static bool is_wanted(const struct config *config, const struct found *f)
{
    return f->block || chains_mention(config, f->name) ||
           is_meant(config->persistence, "store-", f->name) ||
           is_meant(config->bus, "bus-", f->name);
}

/* A store or a bus that nobody named is left alone. */
static bool is_not_meant(const struct config *config, const struct found *f)
{
    if (f->file.n_ifaces != 1)
        return false;
    if (plugin_file_provides(&f->file, PIGEON_IF_STORE))
        return !is_meant(config->persistence, "store-", f->name);
    return plugin_file_provides(&f->file, PIGEON_IF_BUS) && !is_meant(config->bus, "bus-", f->name);
}

/* `required: false` is heard for plugins that decide nothing. */
static bool may_be_missing(const struct found *f)
{
    if (!f->block || f->block->required || !f->file.id)
        return false;
    for (uint32_t i = 0; i < f->file.n_ifaces; i++)
        if (strcmp(f->file.ifaces[i], PIGEON_IF_EVENTS) != 0 &&
            strcmp(f->file.ifaces[i], PIGEON_IF_CONTROL) != 0 &&
            !(f->file.manifest.flags & PIGEON_F_OPTIONAL))
            return false;
    return true;
}

static int refuse(struct hooks *hooks, struct found *f, const char *reason, uint32_t *faults)
{
    char help[300];

    f->state = FOUND_REFUSED;
    free(f->fault);
    f->fault = strdup(reason);
    if (!f->fault)
        return -ENOMEM;
    snprintf(help, sizeof(help),
             "put that right, or start without it: plugins: { %s: { enabled: false } }", f->name);
    if (may_be_missing(f)) {
        log_warn(hooks->log, "plugin_missing", LZ("plugin", f->name), LZ("file", f->file.path),
                 LZ("reason", reason));
        return 0;
    }
    log_error(hooks->log, "plugin_refused", LZ("plugin", f->name), LZ("file", f->file.path),
              LZ("reason", reason), LZ("help", help));
    (*faults)++;
    return 0;
}

/* What the manifest has against `run: worker`, said with the place in the configuration. */
static const char *worker_objection(const struct found *f, const struct config_plugin *b, char *buf,
                                    size_t size)
{
    struct diag d;
    char *text = NULL;

    diag_init(&d);
    for (uint32_t i = 0; i < f->file.n_ifaces; i++)
        if (strcmp(f->file.ifaces[i], PIGEON_IF_STORE) == 0 ||
            strcmp(f->file.ifaces[i], PIGEON_IF_BUS) == 0)
            diag_error(&d, b->run_place,
                       "'run: worker' is not for %s: stores and buses have threads "
                       "of their own",
                       f->file.ifaces[i]);
    if ((f->file.manifest.flags & PIGEON_F_SINGLE) && b->workers > 1)
        diag_error(&d, b->workers_place,
                   "'workers' must be 1: the plugin has one instance (SINGLE)");
    if (d.n_errors == 0 || diag_text(&d, &text) < 0) {
        diag_fini(&d);
        return d.n_errors ? "run: worker cannot be used with it" : NULL;
    }
    snprintf(buf, size, "%s", text);
    free(text);
    diag_fini(&d);
    return buf;
}

/* What speaks against a judged file beside itself. NULL: nothing. */
static const char *objection(const struct hooks *hooks, const struct found *f, char *buf,
                             size_t size)
{
    const struct config_plugin *b = f->block ? f->block : &hooks->config->plugin_preset;

    for (uint32_t i = 0; i < hooks->n_found; i++) {
        const struct found *other = &hooks->found[i];

        if (other == f || other->state != FOUND_TAKEN)
            continue;
        if (strcmp(other->file.id, f->file.id) == 0) {
            snprintf(buf, size, "its id %s is that of %s", f->file.id, other->file.path);
            return buf;
        }
        if (strcmp(other->name, f->name) == 0) {
            snprintf(buf, size, "%s gives a plugin of the same name", other->file.path);
            return buf;
        }
    }
    if (b->run == CONFIG_WORKER)
        return worker_objection(f, b, buf, size);
    if (f->file.manifest.flags & PIGEON_F_MAY_BLOCK)
        return "it may block: set run: worker in its block (the default is inline)";
    return NULL;
}

static int ignore(struct hooks *hooks, struct found *f, const char *reason)
{
    f->state = FOUND_FOREIGN;
    f->fault = strdup(reason);
    log_info(hooks->log, "plugin_ignored", LZ("file", f->file.path), LZ("reason", reason));
    return f->fault ? 0 : -ENOMEM;
}

static int sort_out(struct hooks *hooks, struct found *f, const char *path, uint32_t *faults)
{
    const struct config *config = hooks->config;
    char reason[1024], buf[1024];
    const char *against;
    int r;

    if (hooks->store_only && !is_meant(config->persistence, "store-", f->name)) {
        f->state = FOUND_AVAILABLE;
        return 0;
    }
    r = plugin_file_judge(path, &f->file, reason, sizeof(reason));
    if (r == -ENOMEM)
        return r;
    if (f->block && !f->block->enabled) {
        f->state = FOUND_DISABLED;
        return 0;
    }
    if (r == PLUGIN_FILE_FOREIGN && !is_wanted(config, f))
        return ignore(hooks, f, reason);
    if (r != 0)
        return refuse(hooks, f, reason, faults);
    f->state = FOUND_AVAILABLE;
    if ((f->file.manifest.flags & PIGEON_F_ON_DEMAND) && !is_wanted(config, f))
        return 0;
    if (is_not_meant(config, f))
        return 0;
    against = objection(hooks, f, buf, sizeof(buf));
    if (against)
        return refuse(hooks, f, against, faults);
    f->state = FOUND_TAKEN;
    if (f->file.warning)
        log_warn(hooks->log, "plugin_doubtful_library", LZ("plugin", f->name),
                 LZ("library", f->file.warning));
    return 0;
}

static const struct found *found_by_name(const struct hooks *hooks, const char *name)
{
    for (uint32_t i = 0; i < hooks->n_found; i++)
        if (strcmp(hooks->found[i].name, name) == 0)
            return &hooks->found[i];
    return NULL;
}

static void missing(struct hooks *hooks, const char *what, const char *name, uint32_t *faults)
{
    log_error(hooks->log, "plugin_not_found", LZ("named_by", what), LZ("plugin", name),
              LZ("reason", "no file of this name in plugins_dir"),
              LZ("help", "install it, correct the name, or set enabled: false in its block; "
                         "plugins_dir names every directory that is searched, the packaged one "
                         "is " PIGEON_PLUGINSDIR));
    (*faults)++;
}

static bool has_meant(const struct hooks *hooks, const char *value, const char *prefix)
{
    for (uint32_t i = 0; i < hooks->n_found; i++)
        if (is_meant(value, prefix, hooks->found[i].name) &&
            (hooks->found[i].state == FOUND_TAKEN || hooks->found[i].state == FOUND_REFUSED))
            return true;
    return false;
}

static void check_missing(struct hooks *hooks, uint32_t *faults)
{
    const struct config *config = hooks->config;

    for (uint32_t i = 0; i < config->n_plugins && !hooks->store_only; i++)
        if (config->plugins[i].enabled && !found_by_name(hooks, config->plugins[i].name))
            missing(hooks, "plugins", config->plugins[i].name, faults);
    if (config->persistence && !has_meant(hooks, config->persistence, "store-"))
        missing(hooks, "persistence", config->persistence, faults);
    if (config->bus && !hooks->store_only && !has_meant(hooks, config->bus, "bus-"))
        missing(hooks, "bus", config->bus, faults);
}

int hooks_find_files(struct hooks *hooks, uint32_t *r_faults)
{
    struct path_list list = { 0 };
    int r = list_files(hooks, &list, r_faults);

    if (r == 0) {
        hooks->found = calloc(list.n ? list.n : 1, sizeof(*hooks->found));
        r = hooks->found ? 0 : -ENOMEM;
    }
    for (uint32_t i = 0; i < list.n && r == 0; i++) {
        struct found *f = &hooks->found[hooks->n_found++];
        char *name = plugin_file_name(list.items[i]);

        f->block = name ? block_of(hooks->config, list.items[i], name) : NULL;
        f->name = f->block ? strdup(f->block->name) : name;
        if (f->block)
            free(name);
        r = f->name ? sort_out(hooks, f, list.items[i], r_faults) : -ENOMEM;
    }
    path_list_fini(&list);
    if (r == 0)
        check_missing(hooks, r_faults);
    return r;
}

void hooks_forget_files(struct hooks *hooks)
{
    for (uint32_t i = 0; i < hooks->n_found; i++) {
        plugin_file_fini(&hooks->found[i].file);
        free(hooks->found[i].name);
        free(hooks->found[i].fault);
        free(hooks->found[i].note);
    }
    free(hooks->found);
}
