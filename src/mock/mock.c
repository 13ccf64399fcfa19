#include "mock/mock_priv.h"
#include "config/node.h"
#include "config/yaml.h"
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BEGIN_NS INT64_C(3600000000000)

/* ---- small things ---------------------------------------------------------------------------- */

void *mock_alloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);

    if (!p) {
        fputs("pigeon-mock: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *mock_realloc(void *old, size_t size)
{
    void *p = realloc(old, size);

    if (!p) {
        fputs("pigeon-mock: out of memory\n", stderr);
        abort();
    }
    return p;
}

char *mock_dup(const void *ptr, size_t len)
{
    char *s = mock_alloc(len + 1);

    if (len)
        memcpy(s, ptr, len);
    return s;
}

uint32_t mock_size(const pigeon_mock *m, size_t full, uint32_t first)
{
    if (m->release == PIGEON_MOCK_FIRST)
        return first;
    return (uint32_t)full + (m->release == PIGEON_MOCK_NEXT ? GROWN_BY : 0);
}

void lines_add(struct lines *lines, uint32_t level, const char *text)
{
    if (lines->n == lines->cap) {
        lines->cap = lines->cap ? lines->cap * 2 : 16;
        lines->items = mock_realloc(lines->items, lines->cap * sizeof(*lines->items));
    }
    lines->items[lines->n++] = (struct line){ level, mock_dup(text, strlen(text)) };
}

static void lines_free(struct lines *lines)
{
    for (uint32_t i = 0; i < lines->n; i++)
        free(lines->items[i].text);
    free(lines->items);
    *lines = (struct lines){ 0 };
}

void pigeon_mock_forget(pigeon_mock *m)
{
    pthread_mutex_lock(&m->lock);
    acts_free(m);
    lines_free(&m->log);
    pthread_mutex_unlock(&m->lock);
}

void mock_error(pigeon_mock *m, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(m->error, sizeof(m->error), format, args);
    va_end(args);
}

static void complain_args(pigeon_mock *m, const char *format, va_list args)
{
    char text[512];

    vsnprintf(text, sizeof(text), format, args);
    lines_add(&m->complaints, 0, text);
}

void mock_complain(pigeon_mock *m, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    pthread_mutex_lock(&m->lock);
    complain_args(m, format, args);
    pthread_mutex_unlock(&m->lock);
    va_end(args);
}

void mock_complain_locked(pigeon_mock *m, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    complain_args(m, format, args);
    va_end(args);
}

bool mock_must_be_loop(pigeon_mock *m, const char *function)
{
    if (mock_on_loop(m))
        return true;
    mock_complain(m, "host->%s was called from another thread than the plugin's loop", function);
    return false;
}

int32_t mock_fault(pigeon_mock *m, uint32_t sort)
{
    struct fault *f = &m->faults[sort];

    if (f->always)
        return f->error;
    if (!f->armed || --f->nth > 0)
        return 0;
    f->armed = false;
    return f->error;
}

void pigeon_mock_fail(pigeon_mock *m, uint32_t sort, uint32_t nth, int32_t error)
{
    if (sort >= PIGEON_MOCK_FAIL_COUNT)
        return;
    pthread_mutex_lock(&m->lock);
    m->faults[sort] =
        (struct fault){ .nth = nth, .always = nth == 0, .armed = nth > 0, .error = error };
    pthread_mutex_unlock(&m->lock);
}

/* ---- life ------------------------------------------------------------------------------------ */

pigeon_mock *pigeon_mock_new(void)
{
    pigeon_mock *m = mock_alloc(sizeof(*m));
    pthread_condattr_t monotonic;

    m->owner = pthread_self();
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&m->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    m->now_ns = BEGIN_NS;
    m->deadline_ms = 5000;
    m->last_token = UINT64_C(0x100000000);
    list_init(&m->watches);
    list_init(&m->subscriptions);
    list_init(&m->clients);
    list_init(&m->asks);
    list_init(&m->messages);
    list_init(&m->posts);
    m->last_act = &m->acts;
    m->state_dir = mock_dup("", 0);
    return m;
}

void pigeon_mock_set_release(pigeon_mock *m, int release)
{
    m->release = release;
}

void pigeon_mock_set_host_size(pigeon_mock *m, uint32_t size)
{
    m->host_size = size;
}

void pigeon_mock_set_state_dir(pigeon_mock *m, const char *path)
{
    free(m->state_dir);
    m->state_dir = mock_dup(path, strlen(path));
}

void pigeon_mock_set_option_dir(pigeon_mock *m, const char *path)
{
    size_t len = strlen(path);

    free(m->option_dir);
    m->option_dir = mock_alloc(len + 2);
    memcpy(m->option_dir, path, len);
    if (len && path[len - 1] != '/')
        m->option_dir[len] = '/';
}

const char *pigeon_mock_error(const pigeon_mock *m)
{
    return m->error;
}

void *pigeon_mock_self(const pigeon_mock *m)
{
    return m->self;
}

const pigeon_host *pigeon_mock_host(const pigeon_mock *m)
{
    return m->host;
}

const pigeon_plugin *pigeon_mock_plugin(const pigeon_mock *m)
{
    return m->given;
}

const pigeon_events *pigeon_mock_events(const pigeon_mock *m)
{
    return m->has_events ? &m->events : NULL;
}

/* A mock loads what it is told to; who may own the file is judged elsewhere. */
int32_t pigeon_mock_load(pigeon_mock *m, const char *path)
{
    const pigeon_plugin *plugin;
    void *handle;

    dlerror();
    handle = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (!handle) {
        mock_error(m, "%s", dlerror());
        return PIGEON_E_INVAL;
    }
    plugin = dlsym(handle, "pigeon_plugin_v1");
    dlclose(handle); /* NODELETE: stays mapped */
    if (!plugin) {
        mock_error(m, "%s does not export pigeon_plugin_v1", path);
        return PIGEON_E_INVAL;
    }
    return pigeon_mock_use(m, plugin);
}

static bool take_table(pigeon_mock *m, const pigeon_iface *iface, void *out, size_t known)
{
    uint32_t size;

    memcpy(&size, iface->vtable, sizeof(size));
    if (size < 2 * sizeof(uint32_t)) {
        mock_error(m, "its table of %s has a size of %u bytes", iface->id, size);
        return false;
    }
    memcpy(out, iface->vtable, size < known ? size : known);
    return true;
}

static bool take_iface(pigeon_mock *m, const pigeon_iface *iface)
{
    if (!iface->id || !iface->vtable) {
        mock_error(m, "its list of interfaces has a NULL in it");
        return false;
    }
    if (strcmp(iface->id, PIGEON_IF_AUTH) == 0)
        return take_table(m, iface, &m->auth, sizeof(m->auth));
    if (strcmp(iface->id, PIGEON_IF_FLOW) == 0)
        return take_table(m, iface, &m->flow, sizeof(m->flow));
    if (strcmp(iface->id, PIGEON_IF_EVENTS) == 0)
        return m->has_events = take_table(m, iface, &m->events, sizeof(m->events));
    if (strcmp(iface->id, PIGEON_IF_STORE) == 0)
        m->store = iface->vtable;
    else if (strcmp(iface->id, PIGEON_IF_BUS) == 0)
        m->bus = iface->vtable;
    else if (strcmp(iface->id, PIGEON_IF_CONTROL) == 0)
        m->control = iface->vtable;
    return true;
}

int32_t pigeon_mock_use(pigeon_mock *m, const pigeon_plugin *plugin)
{
    if (m->given) {
        mock_error(m, "a mock is the host of one plugin");
        return PIGEON_E_INVAL;
    }
    if (plugin->magic != PIGEON_MAGIC || plugin->size < offsetof(pigeon_plugin, check) ||
        plugin->abi_major != PIGEON_ABI_MAJOR || (plugin->nprovides && !plugin->provides) ||
        (plugin->noptions && !plugin->options)) {
        mock_error(m, "its descriptor is damaged, or of another ABI");
        return PIGEON_E_INVAL;
    }
    memcpy(&m->desc, plugin, plugin->size < sizeof(m->desc) ? plugin->size : sizeof(m->desc));
    for (uint32_t i = 0; i < plugin->nprovides; i++)
        if (!take_iface(m, &plugin->provides[i]))
            return PIGEON_E_INVAL;
    m->given = plugin;
    return PIGEON_OK;
}

/* ---- options --------------------------------------------------------------------------------- */

void pigeon_mock_option(pigeon_mock *m, const char *key, const char *value)
{
    uint32_t i = 0;

    while (i < m->n_settings && strcmp(m->settings[i].key, key) != 0)
        i++;
    if (i < m->n_settings) {
        free(m->settings[i].value);
    } else {
        m->settings = mock_realloc(m->settings, (i + 1) * sizeof(*m->settings));
        m->settings[i].key = mock_dup(key, strlen(key));
        m->n_settings++;
    }
    m->settings[i].value = value ? mock_dup(value, strlen(value)) : NULL;
}

static const struct node *read_setting(const struct setting *s, const char *dir, struct arena *a,
                                       struct diag *d, const struct node *root)
{
    struct source *source = arena_alloc(a, sizeof(*source));
    const struct node *value = NULL;

    if (!source) {
        d->no_memory = true;
        return root;
    }
    source->name = s->key;
    source->text = str_from(s->value);
    source->dir = dir ? dir : "";
    source->is_override = true;
    struct place at = { .source = source };
    if (yaml_parse(a, source, d, &value) < 0)
        return root;
    if (!value)
        value = node_new_scalar(a, STR(""), true, at);
    return value ? node_set(a, root, str_from(s->key), value, at, d) : root;
}

/* 0 with *r_conf, or PIGEON_E_INVAL with the errors. */
static int32_t read_options(pigeon_mock *m, struct plugin_conf **r_conf)
{
    struct config_plugin block = { .enabled = true };
    const struct node *root = NULL;
    struct arena arena;
    struct diag d;
    char *text = NULL;
    int r;

    arena_init(&arena);
    diag_init(&d);
    for (uint32_t i = 0; i < m->n_settings; i++)
        if (m->settings[i].value)
            root = read_setting(&m->settings[i], m->option_dir, &arena, &d, root);
    block.options = root;
    r = diag_result(&d);
    if (r == 0)
        r = plugin_conf_new(&block, m->desc.id ? m->desc.id : "?", m->desc.options,
                            m->desc.noptions, m->desc.option_stride, &d, r_conf);
    if (r < 0) {
        diag_text(&d, &text); /* leaves NULL when there is no memory */
        mock_error(m, "%s", text ? text : "out of memory");
        free(text);
    }
    diag_fini(&d);
    arena_fini(&arena);
    return r < 0 ? PIGEON_E_INVAL : PIGEON_OK;
}

/* The plugin said no; *why it said so may stand in m->reason. */
static int32_t refused(pigeon_mock *m, const char *what, int32_t r)
{
    mock_error(m, "%s failed (%d)%s%s", what, r, m->reason ? ": " : "", m->reason ? m->reason : "");
    return r < 0 ? r : PIGEON_E_INVAL;
}

int32_t pigeon_mock_check(pigeon_mock *m)
{
    int32_t r;

    m->error[0] = '\0';
    if (!m->given) {
        mock_error(m, "no plugin was loaded");
        return PIGEON_E_INVAL;
    }
    if (m->created) {
        mock_error(m, "the instance has been created already");
        return PIGEON_E_INVAL;
    }
    plugin_conf_free(&m->conf);
    r = read_options(m, &m->conf);
    if (r != PIGEON_OK)
        return r;
    if (!m->host)
        mock_host_make(m);
    free(m->reason);
    m->reason = NULL;
    if (m->desc.check) {
        r = m->desc.check(m->host, (const pigeon_conf *)(const void *)m->conf);
        if (r != PIGEON_OK)
            return refused(m, "check", r);
    }
    return PIGEON_OK;
}

int32_t pigeon_mock_create(pigeon_mock *m)
{
    int32_t r = pigeon_mock_check(m);

    if (r != PIGEON_OK)
        return r;
    if (m->desc.create) {
        r = m->desc.create(m->host, (const pigeon_conf *)(const void *)m->conf, &m->self);
        if (r != PIGEON_OK) {
            watches_drop(m, true);
            return refused(m, "create", r);
        }
    }
    m->created = true;
    m->finished = false;
    return PIGEON_OK;
}

int32_t pigeon_mock_prepare(pigeon_mock *m)
{
    int32_t r;

    m->error[0] = '\0';
    if (!m->created || m->next_conf) {
        mock_error(m, m->created ? "a prepare() is under way" : "there is no instance");
        return PIGEON_E_INVAL;
    }
    r = read_options(m, &m->next_conf);
    if (r != PIGEON_OK)
        return r;
    if (!m->desc.prepare) {
        plugin_conf_free(&m->next_conf);
        mock_error(m, "the plugin has no prepare()");
        return PIGEON_E_NOTSUP;
    }
    free(m->reason);
    m->reason = NULL;
    r = m->desc.prepare(m->self, (const pigeon_conf *)(const void *)m->next_conf, &m->next);
    if (r != PIGEON_OK) {
        plugin_conf_free(&m->next_conf);
        m->next = NULL;
        return refused(m, "prepare", r);
    }
    return PIGEON_OK;
}

void pigeon_mock_commit(pigeon_mock *m)
{
    if (!m->next_conf)
        return;
    if (m->desc.commit)
        m->desc.commit(m->self, m->next);
    plugin_conf_free(&m->conf);
    m->conf = m->next_conf;
    m->next_conf = NULL;
    m->next = NULL;
}

void pigeon_mock_abort(pigeon_mock *m)
{
    if (!m->next_conf)
        return;
    if (m->desc.abort)
        m->desc.abort(m->self, m->next);
    plugin_conf_free(&m->next_conf);
    m->next = NULL;
}

int32_t pigeon_mock_quiesce(pigeon_mock *m, int64_t timeout_ms)
{
    pigeon_mock_ask *ask;
    int32_t r;

    if (!m->created || !m->desc.quiesce)
        return PIGEON_OK;
    ask = ask_new(m, NULL, PIGEON_HOOK_LIFE);
    ask->deadline_ns = INT64_MAX;
    r = m->desc.quiesce(m->self, ask->token);
    ask_returned(ask, r);
    return pigeon_mock_wait(ask, timeout_ms) == PIGEON_PENDING ? PIGEON_E_BUSY
                                                               : pigeon_mock_verdict(ask);
}

void pigeon_mock_destroy(pigeon_mock *m)
{
    if (!m->created)
        return;
    pigeon_mock_abort(m);
    if (m->desc.destroy)
        m->desc.destroy(m->self);
    m->created = false;
    m->self = NULL;
    watches_drop(m, true);
    subscriptions_drop(m);
    posts_drop(m);
}

void pigeon_mock_finish(pigeon_mock *m)
{
    if (m->finished)
        return;
    m->finished = true;
    clients_go(m);
    LIST_FOREACH (it, &m->asks)
        pigeon_mock_cancel(container_of(it, struct pigeon_mock_ask, link), PIGEON_CANCEL_STOP);
    pigeon_mock_destroy(m);
    asks_settle(m);
}

void pigeon_mock_free(pigeon_mock **mock)
{
    pigeon_mock *m = *mock;
    uint32_t seen;

    if (!m)
        return;
    *mock = NULL;
    seen = m->complaints.n;
    pigeon_mock_finish(m);
    asks_free(m);
    clients_free(m);
    messages_free(m);
    for (uint32_t i = seen; i < m->complaints.n; i++)
        fprintf(stderr, "pigeon-mock: %s\n", m->complaints.items[i].text);
    plugin_conf_free(&m->conf);
    mock_host_drop(m);
    acts_free(m);
    lines_free(&m->log);
    lines_free(&m->complaints);
    for (uint32_t i = 0; i < m->n_metrics; i++)
        free(m->metrics[i].name);
    free(m->metrics);
    for (uint32_t i = 0; i < m->n_settings; i++) {
        free(m->settings[i].key);
        free(m->settings[i].value);
    }
    free(m->settings);
    free(m->reason);
    free(m->state_dir);
    free(m->option_dir);
    pthread_cond_destroy(&m->news);
    pthread_mutex_destroy(&m->lock);
    free(m);
}
