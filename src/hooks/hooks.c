#include "hooks/hooks.h"
#include "hooks/bus_priv.h"
#include "hooks/chain.h"
#include "hooks/host_admin.h"
#include "hooks/error_name.h"
#include "hooks/host_priv.h"
#include "hooks/pending.h"
#include "hooks/plugin.h"
#include "hooks/store_priv.h"
#include "hooks/watchdog.h"
#include "hooks/worker.h"
#include <errno.h>
#include <stdlib.h>

struct plugin *hooks_find(const struct hooks *hooks, const char *name)
{
    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        if (strcmp(hooks->plugins[i].name, name) == 0)
            return &hooks->plugins[i];
    return NULL;
}

struct store *hooks_store(const struct hooks *hooks)
{
    return hooks->store;
}

struct store_loop *hook_loop_store(const struct hook_loop *hl)
{
    return hl->store;
}

struct store *instance_store(void *inst)
{
    struct instance *i = inst;

    return i->plugin == i->hooks->store_plugin ? i->hooks->store : NULL;
}

struct hook_loop *hooks_loop(struct hooks *hooks, uint32_t loop)
{
    return hooks->loop[loop];
}

bool hooks_configured(const struct hooks *hooks, uint32_t hook)
{
    return chains_configured(hooks->chains, hook);
}

uint32_t hooks_listener(const struct hooks *hooks, const char *name)
{
    return chains_listener(hooks->chains, name);
}

/* ---- hooks_new ----------------------------------------------------------------------- */

static void refuse(const struct hooks *hooks, const char *name, const char *path,
                   const char *reason)
{
    char help[300];

    snprintf(help, sizeof(help),
             "put that right, or start without it: plugins: { %s: { enabled: false } }", name);
    log_error(hooks->log, "plugin_refused", LZ("plugin", name), LZ("file", path),
              LZ("reason", reason), LZ("help", help));
}

static int instances_init(struct hooks *hooks, struct plugin *p)
{
    bool is_one = p->desc.flags & (PIGEON_F_SINGLE | PIGEON_F_SHARED) || p->store || p->bus;
    bool has_workers = p->block->run == CONFIG_WORKER;
    uint32_t n = is_one ? 1 : has_workers ? (uint32_t)p->block->workers : hooks->n_loops;
    int r = has_workers ? workers_init(p) : 0;

    if (r < 0)
        return r;
    p->instances = calloc(n, sizeof(*p->instances));
    if (!p->instances)
        return -ENOMEM;
    p->n_instances = n;
    for (uint32_t i = 0; i < p->n_instances; i++) {
        struct instance *inst = &p->instances[i];

        inst->plugin = p;
        inst->hooks = hooks;
        inst->loop = i % hooks->n_loops;
        inst->home = has_workers ? p->workers[i].loop : loop_group_at(hooks->loops, i);
        list_init(&inst->watches);
        list_init(&inst->subscriptions);
        host_init(hooks, inst);
    }
    return 0;
}

static int options_init(struct hooks *hooks, struct plugin *p)
{
    struct diag d;
    char *text = NULL;
    int r;

    diag_init(&d);
    r = plugin_conf_new(p->block, p->name, p->desc.options, p->desc.noptions, p->desc.option_stride,
                        &d, &p->conf);
    if (r == -EINVAL && diag_text(&d, &text) == 0)
        refuse(hooks, p->name, p->file.path, text);
    free(text);
    diag_fini(&d);
    return r;
}

/* The file's parts go over to the plugin, but `found` still shows them. */
static int plugin_init(struct hooks *hooks, struct plugin *p, struct found *f)
{
    char reason[1024];
    int r;

    p->name = f->name;
    p->file = f->file;
    p->block = f->block ? f->block : &hooks->config->plugin_preset;
    r = plugin_load(p, p->block->allow_unstable, hooks->log, reason, sizeof(reason));
    if (r < 0) {
        refuse(hooks, p->name, p->file.path, reason);
        return r;
    }
    f->note = plugin_deprecated(p, hooks->deprecated, hooks->log);
    r = options_init(hooks, p);
    return r < 0 ? r : instances_init(hooks, p);
}

static int load_all(struct hooks *hooks, uint32_t *faults)
{
    hooks->plugins = calloc(hooks->n_found ? hooks->n_found : 1, sizeof(*hooks->plugins));
    if (!hooks->plugins)
        return -ENOMEM;
    for (uint32_t i = 0; i < hooks->n_found; i++) {
        struct found *f = &hooks->found[i];
        struct plugin *p = &hooks->plugins[hooks->n_plugins];
        int r;

        if (f->state != FOUND_TAKEN)
            continue;
        p->index = hooks->n_plugins++;
        r = plugin_init(hooks, p, f);
        if (r == -ENOMEM)
            return r;
        if (r < 0) {
            f->state = FOUND_REFUSED;
            f->fault = f->fault ? f->fault : strdup("see the log");
            (*faults)++;
        }
    }
    return 0;
}

static bool is_persistence(const struct hooks *hooks, const struct plugin *p)
{
    const char *value = hooks->config->persistence;

    return value && (strcmp(value, p->name) == 0 ||
                     (strncmp(p->name, "store-", 6) == 0 && strcmp(p->name + 6, value) == 0));
}

static int store_init(struct hooks *hooks)
{
    struct store_setup setup = { .loops = hooks->loops,
                                 .log = hooks->log,
                                 .ops = hooks->ops,
                                 .broker = hooks->broker,
                                 .batch_max_ops = (uint32_t)hooks->config->batch_max_ops };
    int r;

    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        if (is_persistence(hooks, &hooks->plugins[i]))
            hooks->store_plugin = &hooks->plugins[i];
    if (!hooks->store_plugin)
        return 0;
    setup.table = hooks->store_plugin->store;
    setup.inst = &hooks->store_plugin->instances[0];
    r = setup.table ? store_new(&setup, &hooks->store) : -EINVAL;
    if (r == -EINVAL)
        refuse(hooks, hooks->store_plugin->name, hooks->store_plugin->file.path,
               "it does not provide a complete " PIGEON_IF_STORE);
    return r;
}

static bool is_bus(const struct hooks *hooks, const struct plugin *p)
{
    const char *value = hooks->config->bus;

    return value && (strcmp(value, p->name) == 0 ||
                     (strncmp(p->name, "bus-", 4) == 0 && strcmp(p->name + 4, value) == 0));
}

static int bus_init(struct hooks *hooks)
{
    struct plugin *p = NULL;
    int r;

    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        if (is_bus(hooks, &hooks->plugins[i]))
            p = &hooks->plugins[i];
    if (!p)
        return 0;
    r = bus_door_new(hooks, p, &hooks->bus);
    if (r == -EINVAL)
        refuse(hooks, p->name, p->file.path, "it does not provide a complete " PIGEON_IF_BUS);
    return r;
}

static int take_chains(struct hook_loop *hl)
{
    struct chain_table *table;
    int r = chain_table_new(hl->hooks->chains, hl, &table);

    if (r == 0)
        hook_loop_take_table(hl, table);
    return r;
}

static int loop_parts_init(struct hooks *hooks)
{
    hooks->loop = calloc(hooks->n_loops, sizeof(struct hook_loop *));
    if (!hooks->loop)
        return -ENOMEM;
    for (uint32_t i = 0; i < hooks->n_loops; i++) {
        struct hook_loop *hl = aligned_alloc(_Alignof(struct hook_loop), sizeof(*hl));

        if (!hl)
            return -ENOMEM;
        memset(hl, 0, sizeof(*hl));
        hl->index = i;
        hl->hooks = hooks;
        hl->loop = loop_group_at(hooks->loops, i);
        if (crumb_init(&hl->crumb, hooks, "loop", i) < 0) {
            free(hl);
            return -ENOMEM;
        }
        hl->store = hooks->store ? store_loop_of(hooks->store, i) : NULL;
        hooks->loop[i] = hl;
        if (slots_init(hl) < 0 || clients_init(hl) < 0 || take_chains(hl) < 0)
            return -ENOMEM;
    }
    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        if (workers_watch(hooks, &hooks->plugins[i]) < 0)
            return -ENOMEM;
    return 0;
}

static int build(struct hooks *hooks)
{
    uint32_t faults = 0;
    int r = hooks_find_files(hooks, &faults);

    if (r == 0)
        r = load_all(hooks, &faults);
    if (r < 0)
        return r;
    if (faults > 0) /* chains would only complain of the consequences */
        return -EINVAL;
    r = chains_new(hooks, hooks->config, NULL, &hooks->chains);
    if (r == 0)
        r = store_init(hooks);
    if (r == 0)
        r = bus_init(hooks);
    if (r == 0)
        r = loop_parts_init(hooks);
    return r < 0 ? r : admin_new(hooks);
}

static void worker_lock_init(struct hooks *hooks)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&hooks->worker_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&hooks->worker_gone, &attr);
    pthread_condattr_destroy(&attr);
}

int hooks_new(const struct hooks_setup *setup, struct hooks **r_hooks)
{
    struct hooks *hooks = calloc(1, sizeof(*hooks));
    int r;

    if (!hooks)
        return -ENOMEM;
    hooks->first = config_ref((struct config *)setup->config);
    hooks->config = config_ref(hooks->first);
    atomic_init(&hooks->topic_levels, hooks->config->limits.topic_levels);
    hooks->loops = setup->loops;
    hooks->n_loops = loop_group_count(setup->loops);
    hooks->log = setup->log;
    hooks->ops = setup->ops;
    hooks->broker = setup->broker;
    hooks->thread_begin = setup->thread_begin;
    hooks->store_only = setup->store_only;
    hooks->deprecated = setup->deprecated ? setup->deprecated : deprecated_members;
    hooks->main_thread = pthread_self();
    pthread_mutex_init(&hooks->metric_lock, NULL);
    worker_lock_init(hooks);
    hooks->node_id = strdup(setup->node_id ? setup->node_id : "");
    r = hooks->node_id ? hash_key_init(&hooks->hash_key) : -ENOMEM;
    if (r == 0)
        r = build(hooks);
    if (setup->report)
        hooks_print(hooks, setup->report);
    if (r < 0) {
        hooks_free(&hooks);
        return r;
    }
    *r_hooks = hooks;
    return 0;
}

/* ---- creating and destroying --------------------------------------------------------- */

static const pigeon_conf *conf_of(const struct plugin *p)
{
    return (const pigeon_conf *)(const void *)p->conf;
}

static int fail(struct instance *inst, const char *what, int32_t error)
{
    char reason[512];

    snprintf(reason, sizeof(reason), "%s failed: %s%s", what,
             inst->reason ? inst->reason : "no reason given, but ",
             inst->reason ? "" : error_name(error));
    refuse(inst->hooks, inst->plugin->name, inst->plugin->file.path, reason);
    return -EINVAL;
}

int hooks_check(struct hooks *hooks)
{
    int result = 0;

    hooks->main_thread = pthread_self();
    for (uint32_t i = 0; i < hooks->n_plugins; i++) {
        struct plugin *p = &hooks->plugins[i];
        int32_t r = p->desc.check ? p->desc.check(&p->instances[0].host, conf_of(p)) : PIGEON_OK;

        if (r < 0)
            result = fail(&p->instances[0], "check", r);
    }
    return result;
}

static int plugin_create(struct plugin *p)
{
    for (uint32_t i = 0; i < p->n_instances; i++) {
        struct instance *inst = &p->instances[i];
        int32_t r = PIGEON_OK;

        if (p->desc.create) {
            struct crumb_call crumb = crumb_begin(inst, PIGEON_HOOK_LIFE);

            r = p->desc.create(&inst->host, conf_of(p), &inst->self);
            crumb_end(crumb);
        }
        if (r != PIGEON_OK)
            return fail(inst, "create", r);
        inst->created = true;
    }
    return 0;
}

static void instance_destroy(struct instance *inst)
{
    if (!inst->created)
        return;
    if (inst->plugin->desc.destroy) {
        struct crumb_call crumb = crumb_begin(inst, PIGEON_HOOK_LIFE);

        inst->plugin->desc.destroy(inst->self);
        crumb_end(crumb);
    }
    inst->created = false;
    inst->self = NULL;
    host_watch_drop(inst);
    host_msg_drop(inst);
}

int hooks_create(struct hooks *hooks)
{
    int r;

    crumb_set_here(&hooks->loop[0]->crumb);
    r = hooks_check(hooks);

    for (uint32_t i = 0; i < hooks->n_plugins && r == 0; i++) {
        struct plugin *p = &hooks->plugins[i];

        r = plugin_create(p);
        if (r == -EINVAL && p == hooks->store_plugin)
            r = -EIO; /* not its configuration, which was checked: its files */
        if (r == 0 && p == hooks->store_plugin) {
            r = store_attach(hooks->store, p->instances[0].self);
            if (r < 0)
                refuse(hooks, p->name, p->file.path, "the store does not say what it is");
        }
    }
    return r;
}

/* Backwards, as they were made; the store last, for nobody else writes then. */
static void destroy_all(struct hooks *hooks)
{
    for (uint32_t i = hooks->n_plugins; i-- > 0;) {
        struct plugin *p = &hooks->plugins[i];

        for (uint32_t k = p == hooks->store_plugin ? 0 : p->n_instances; k-- > 0;)
            instance_destroy(&p->instances[k]);
    }
    if (hooks->store) /* a turn of the settling that follows must not call a plugin that is gone */
        store_detach(hooks->store);
    if (hooks->store_plugin && hooks->store_plugin->instances)
        instance_destroy(&hooks->store_plugin->instances[0]);
}

static void plugin_fini(struct plugin *p)
{
    for (uint32_t i = 0; i < p->n_instances && p->instances; i++) {
        host_watch_drop(&p->instances[i]);
        host_msg_drop(&p->instances[i]);
        host_forget_reason(&p->instances[i]);
    }
    free(p->instances);
    workers_fini(p);
    plugin_conf_free(&p->conf);
    plugin_conf_free(&p->conf_now);
}

static void loop_parts_fini(struct hooks *hooks)
{
    for (uint32_t i = 0; i < hooks->n_loops && hooks->loop; i++) {
        struct hook_loop *hl = hooks->loop[i];

        if (!hl)
            continue;
        slots_fini(hl);
        clients_fini(hl);
        crumb_fini(&hl->crumb);
        hook_loop_drop_tables(hl);
        free(hl);
    }
    free(hooks->loop);
}

static void count_leaks(const struct hooks *hooks)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < hooks->n_loops && hooks->loop; i++)
        if (hooks->loop[i])
            n += slots_count_pending(hooks->loop[i]);
    if (n > 0)
        log_warn(hooks->log, "plugin_answers_missing", LU("count", n));
}

int hooks_watch(struct hooks *hooks)
{
    if (hooks->n_plugins == 0)
        return 0;
    return watchdog_new(hooks, (uint64_t)hooks->config->hook_warn_ms, &hooks->watchdog);
}

void hooks_set_warn(struct hooks *hooks, int64_t warn_ms)
{
    watchdog_set_warn(hooks->watchdog, (uint64_t)warn_ms);
}

void hooks_turn_begin(struct hook_loop *hl)
{
    crumb_turn_begin(&hl->crumb);
}

void hooks_turn_end(struct hook_loop *hl)
{
    crumb_turn_end(&hl->crumb);
}

void hooks_free(struct hooks **hooks)
{
    struct hooks *h = *hooks;

    *hooks = NULL;
    if (!h)
        return;
    h->main_thread = pthread_self();
    watchdog_free(&h->watchdog);
    hooks_stop_workers(h, 0);
    h->stopping = true;
    hooks_settle(h); /* answers given by now: client_free can still be called */
    admin_stop(h);
    plugin_reload_end(h);
    destroy_all(h);
    hooks_settle(h); /* their mail may still name slots and instances */
    count_leaks(h);
    admin_free(h);
    plugin_reload_drop(h);
    quiesce_free(&h->quiesce);
    store_free(&h->store);
    bus_door_free(&h->bus);
    loop_parts_fini(h);
    for (uint32_t i = 0; i < h->n_plugins; i++)
        plugin_fini(&h->plugins[i]);
    free(h->plugins);
    hooks_forget_files(h);
    chains_unref(&h->chains);
    host_metrics_free(h);
    pthread_mutex_destroy(&h->metric_lock);
    pthread_mutex_destroy(&h->worker_lock);
    pthread_cond_destroy(&h->worker_gone);
    config_unref(&h->config);
    config_unref(&h->first);
    free(h->node_id);
    free(h);
}
