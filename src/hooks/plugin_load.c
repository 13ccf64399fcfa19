/* From a judged file to a plugin: maps it and looks at what it exports. */
#include "hooks/plugin.h"
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

struct loading {
    struct plugin *p;
    bool allow_unstable;
    struct log *log;
    char *reason;
    size_t size;
};

__attribute__((format(printf, 2, 3))) static int refuse(struct loading *l, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(l->reason, l->size, format, args);
    va_end(args);
    return -EINVAL;
}

/* Is what was mapped the file that was judged? */
static int check_inode(struct loading *l, void *handle)
{
    struct link_map *map = NULL;
    struct stat st;

    if (dlinfo(handle, RTLD_DI_LINKMAP, &map) != 0 || !map || stat(map->l_name, &st) < 0 ||
        st.st_dev != l->p->file.dev || st.st_ino != l->p->file.ino)
        return refuse(l, "the file was replaced while it was being loaded");
    return 0;
}

static bool same_text(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* What the note said must be what the descriptor says. */
static int check_manifest(struct loading *l)
{
    const struct plugin_file *f = &l->p->file;
    const pigeon_plugin *d = &l->p->desc;

    if (d->abi_major != f->manifest.abi_major || d->abi_minor != f->manifest.abi_minor ||
        d->need_minor != f->manifest.need_minor || d->flags != f->manifest.flags ||
        d->nprovides != f->n_ifaces || !same_text(d->id, f->id) ||
        !same_text(d->version, f->version) || !same_text(d->summary, f->summary) ||
        !same_text(d->license, f->license))
        return refuse(l, "its manifest and its descriptor differ");
    for (uint32_t i = 0; i < f->n_ifaces; i++)
        if (!same_text(d->provides[i].id, f->ifaces[i]))
            return refuse(l, "its manifest and its descriptor differ in interface %u", i);
    return 0;
}

/* Copies as much of a plugin's table as both sides know. */
static int take_table(struct loading *l, const pigeon_iface *iface, void *out, size_t known,
                      size_t least)
{
    uint32_t size;

    memcpy(&size, iface->vtable, sizeof(size));
    if (size < least)
        return refuse(l, "its table of %s has a size of %u bytes", iface->id, size);
    memcpy(out, iface->vtable, size < known ? size : known);
    return 0;
}

static int take_iface(struct loading *l, const pigeon_iface *iface)
{
    struct plugin *p = l->p;

    if (!iface->id || !iface->vtable)
        return refuse(l, "its list of interfaces has a NULL in it");
    if (strncmp(iface->id, "x.", 2) == 0 && !l->allow_unstable)
        return refuse(l, "its interface %s is unstable and needs allow_unstable: true", iface->id);
    if (strcmp(iface->id, PIGEON_IF_AUTH) == 0) {
        p->has_auth = true;
        return take_table(l, iface, &p->auth, sizeof(p->auth), offsetof(pigeon_auth, pre_connect));
    }
    if (strcmp(iface->id, PIGEON_IF_FLOW) == 0) {
        p->has_flow = true;
        return take_table(l, iface, &p->flow, sizeof(p->flow), offsetof(pigeon_flow, inbound));
    }
    if (strcmp(iface->id, PIGEON_IF_EVENTS) == 0) {
        p->has_events = true;
        return take_table(l, iface, &p->events, sizeof(p->events), offsetof(pigeon_events, client));
    }
    if (strcmp(iface->id, PIGEON_IF_STORE) == 0)
        p->store = iface->vtable;
    else if (strcmp(iface->id, PIGEON_IF_BUS) == 0)
        p->bus = iface->vtable;
    else if (strcmp(iface->id, PIGEON_IF_CONTROL) == 0)
        p->control = iface->vtable;
    else
        log_info(l->log, "plugin_interface_unknown", LZ("plugin", p->name),
                 LZ("interface", iface->id));
    return 0;
}

static int check_control(struct loading *l)
{
    const pigeon_control *c = l->p->control;

    if (!c)
        return 0;
    if (!PIGEON_HAS(c, pigeon_control, command) || !c->command ||
        (c->ncommands && (!c->commands || c->command_stride < 3 * sizeof(char *))))
        return refuse(l, "its table of commands is damaged");
    return 0;
}

static int check_descriptor(struct loading *l, const pigeon_plugin *given)
{
    pigeon_plugin *d = &l->p->desc;
    size_t least = offsetof(pigeon_plugin, check);
    int r;

    if (given->magic != PIGEON_MAGIC)
        return refuse(l, "its descriptor has the wrong magic number");
    if (given->size < least)
        return refuse(l, "its descriptor has a size of %u bytes, at least %zu are needed",
                      given->size, least);
    memcpy(d, given, given->size < sizeof(*d) ? given->size : sizeof(*d));
    if (d->abi_major != PIGEON_ABI_MAJOR)
        return refuse(l, "its descriptor was built for plugin ABI %u", d->abi_major);
    if (d->nprovides > PLUGIN_FILE_MAX_IFACES || (d->nprovides && !d->provides))
        return refuse(l, "its list of interfaces is damaged");
    if (d->noptions && (!d->options || d->option_stride < offsetof(pigeon_option, min)))
        return refuse(l, "its table of options is damaged");
    r = check_manifest(l);
    for (uint32_t i = 0; i < d->nprovides && r == 0; i++)
        r = take_iface(l, &d->provides[i]);
    return r == 0 ? check_control(l) : r;
}

/* ---- what will go -------------------------------------------------------------------- */

/* One row for each member that the headers mark with PIGEON_DEPRECATED:
 *     { PIGEON_IF_AUTH, offsetof(pigeon_auth, exchange), "exchange", "use steps" }, */
const struct deprecated_member deprecated_members[] = {
    { NULL, 0, NULL, NULL },
};

/* The table of an interface and how far it reaches; NULL: not provided. */
static const char *table_of(const struct plugin *p, const char *iface, size_t *r_size)
{
    const void *table = NULL;
    uint32_t size = 0;

    if (iface[0] == '\0') {
        *r_size = sizeof(p->desc);
        return (const char *)&p->desc;
    }
    for (uint32_t i = 0; i < p->desc.nprovides; i++)
        if (strcmp(p->desc.provides[i].id, iface) == 0)
            table = p->desc.provides[i].vtable;
    if (table)
        memcpy(&size, table, sizeof(size));
    *r_size = size;
    return table;
}

static bool uses_member(const struct plugin *p, const struct deprecated_member *row)
{
    void (*member)(void);
    size_t size;
    const char *table = table_of(p, row->iface, &size);

    if (!table || size < row->offset + sizeof(member))
        return false;
    memcpy(&member, table + row->offset, sizeof(member));
    return member != NULL;
}

char *plugin_deprecated(const struct plugin *p, const struct deprecated_member *rows,
                        struct log *log)
{
    char names[512] = "", help[512] = "";

    for (; rows->iface; rows++) {
        size_t n = strlen(names), h = strlen(help);
        const char *iface = rows->iface[0] ? rows->iface : "pigeon_plugin";

        if (!uses_member(p, rows))
            continue;
        snprintf(names + n, sizeof(names) - n, "%s%s: %s", n ? ", " : "", iface, rows->member);
        snprintf(help + h, sizeof(help) - h, "%s%s", h ? "; " : "", rows->help);
    }
    if (!names[0])
        return NULL;
    log_warn(log, "plugin_deprecated", LZ("plugin", p->name), LZ("uses", names), LZ("help", help));
    return strdup(names);
}

/* ---- all of it ----------------------------------------------------------------------- */

int plugin_load(struct plugin *p, bool allow_unstable, struct log *log, char *reason, size_t size)
{
    struct loading l = { p, allow_unstable, log, reason, size };
    const pigeon_plugin *given;
    void *handle;
    int r;

    dlerror();
    handle = dlopen(p->file.path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle)
        return refuse(&l, "%s", dlerror());
    r = check_inode(&l, handle);
    if (r == 0) {
        given = dlsym(handle, "pigeon_plugin_v1");
        r = given ? check_descriptor(&l, given) : refuse(&l, "it does not export pigeon_plugin_v1");
    }
    dlclose(handle); /* NODELETE: stays mapped, what it exports stays valid */
    return r;
}
