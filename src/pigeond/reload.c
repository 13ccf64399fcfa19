#include "pigeond/reload.h"
#include "broker/broker.h"
#include "hooks/hooks.h"
#include "hooks/plugin_reload.h"
#include "pigeond/doors.h"
#include "pigeond/server.h"
#include "pigeond/settings.h"
#include "pigeond/standstill.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Who asked. */
struct waiting {
    struct waiting *next;
    void (*done)(void *arg, const struct reload_report *report);
    void *arg;
};

struct reload {
    struct server *server;
    struct config *next; /* reference, until it is the server's */
    struct plugin_reload *plugins;
    struct waiting *waiting; /* for this one */
    struct reload_report report;
    char reason[512];
};

static void begin(struct server *server);

/* ---- what is different ---------------------------------------------------------------------- */

/* A plugin that runs without a block, too, only gets other options by one. */
static bool is_only_a_block(const struct reload *reload, const char *key)
{
    const char *name = key + strlen("plugins.");
    return !strncmp(key, "plugins.", strlen("plugins.")) &&
           plugin_reload_needs_no_block(reload->server->broker->hooks, name);
}

static const char *text_or_empty(const char *text)
{
    return text ? text : "";
}

/* Against what held until now. */
static void on_change(void *arg, const char *key, const char *old_text, const char *new_text,
                      bool reloadable)
{
    struct reload *reload = arg;
    if (!reloadable)
        return;
    reload->report.n_changed++;
    log_info(reload->server->log, "reload_change", LZ("key", key),
             LZ("from", text_or_empty(old_text)), LZ("to", text_or_empty(new_text)));
}

/* Against what the broker was started with: said again until it is started anew. */
static void on_restart(void *arg, const char *key, const char *old_text, const char *new_text,
                       bool reloadable)
{
    struct reload *reload = arg;
    if (reloadable || is_only_a_block(reload, key))
        return;
    reload->report.n_restart++;
    log_warn(reload->server->log, "reload_needs_restart", LZ("key", key),
             LZ("from", text_or_empty(old_text)), LZ("to", text_or_empty(new_text)));
}

static void tell_differences(struct reload *reload)
{
    const struct server *server = reload->server;
    config_diff(server->config, reload->next, on_change, reload);
    plugin_reload_diff(reload->plugins, on_change, reload);
    config_diff(server->first, reload->next, on_restart, reload);
    plugin_reload_diff(reload->plugins, on_restart, reload);
}

/* ---- who asked ------------------------------------------------------------------------------- */

static void answer(struct waiting **waiting, const struct reload_report *report)
{
    for (struct waiting *w; (w = *waiting);) {
        *waiting = w->next;
        w->done(w->arg, report);
        free(w);
    }
}

static void answer_with(struct waiting **waiting, int status, const char *reason)
{
    answer(waiting, &(struct reload_report){ .status = status, .reason = reason });
}

/* ---- all or nothing ------------------------------------------------------------------------- */

static int refuse(struct reload *reload, int status, const char *reason, const char *about)
{
    size_t n = strcspn(about, "\n"); /* of a diagnosis its sentence */
    snprintf(reload->reason, sizeof(reload->reason), "%s: %.*s", reason, (int)n, about);
    reload->report.status = status;
    log_error(reload->server->log, "reload_refused", LZ("reason", reason),
              LS("about", str_make(about, n)), LZ("outcome", "the configuration stays as it was"));
    return status;
}

static int load_plugins(struct reload *reload);

static int load(struct reload *reload)
{
    struct server *server = reload->server;
    if (settings_load(server->args, &reload->next))
        return refuse(reload, -EINVAL, "the configuration is wrong", "see the log");
    int r = load_plugins(reload);
    if (r)
        return refuse(reload, r, "plugins cannot take the configuration", "see the log");
    if (settings_check_open(reload->next,
                            plugin_reload_configured(reload->plugins, PIGEON_HOOK_AUTHENTICATE)))
        return refuse(reload, -EINVAL, "a listener would be open to the network", "see the log");
    return 0;
}

/* Every loop stands still. */
static void swap(void *ctx)
{
    struct reload *reload = ctx;
    struct broker *broker = reload->server->broker;
    struct config *old = broker->config;
    broker->config = config_ref(reload->next);
    config_unref(&old);
    plugin_reload_swap(reload->plugins);
    doors_commit(reload->server->doors, broker);
}

static void swap_on(void *ctx, struct loop *here)
{
    struct reload *reload = ctx;
    plugin_reload_commit_here(reload->plugins, here);
}

static int exchange(struct reload *reload)
{
    struct server *server = reload->server;
    int r = doors_prepare(server->doors, reload->next);
    if (r)
        return refuse(reload, r, "a listener cannot be opened", strerror(-r));
    r = standstill_run(server->loops, swap, swap_on, reload);
    if (r) {
        doors_abort(server->doors);
        return refuse(reload, r, "an event loop does not come to rest, try again", strerror(-r));
    }
    tell_differences(reload);
    config_unref(&server->config);
    server->config = reload->next;
    reload->next = NULL;
    log_set_level(server->log, server->config->log.level);
    log_set_rate(server->log, (uint32_t)server->config->log.rate);
    hooks_set_warn(server->broker->hooks, server->config->hook_warn_ms);
    return 0;
}

/* ---- its course ------------------------------------------------------------------------------ */

static void finish(struct reload *reload)
{
    struct server *server = reload->server;
    struct reload_report report = reload->report;
    struct waiting *waiting = reload->waiting;
    report.reason = reload->reason;
    if (!report.status)
        log_info(server->log, "reloaded", LU("changed", report.n_changed),
                 LU("need_restart", report.n_restart));
    server->reload = NULL;
    answer(&waiting, &report);
    config_unref(&reload->next);
    free(reload);
    if (server->stopping)
        answer_with(&server->reload_waiting, -ECANCELED, "the broker stops");
    else if (server->reload_again && !server->reload)
        begin(server);
}

static void on_over(void *arg)
{
    struct reload *reload = arg;
    reload->plugins = NULL;
    finish(reload);
}

static void on_prepared(void *arg, int status)
{
    struct reload *reload = arg;
    if (status) {
        const char *reason = plugin_reload_reason(reload->plugins);
        reason = reason ? reason : strerror(-status);
        fputs(reason, stderr);
        refuse(reload, status, "a plugin refuses its options", reason);
        return;
    }
    if (exchange(reload))
        plugin_reload_abort(reload->plugins);
}

static int load_plugins(struct reload *reload)
{
    struct plugin_reload_setup setup = { .hooks = reload->server->broker->hooks,
                                         .config = reload->next,
                                         .prepared = on_prepared,
                                         .over = on_over,
                                         .arg = reload };
    struct diag d;
    diag_init(&d);
    int r = plugin_reload_new(&setup, &d, &reload->plugins);
    diag_print(&d, stderr);
    diag_fini(&d);
    return r;
}

static void begin(struct server *server)
{
    struct reload *reload = calloc(1, sizeof(*reload));
    server->reload_again = false;
    if (!reload) {
        log_error(server->log, "reload_refused", LZ("reason", strerror(ENOMEM)));
        answer_with(&server->reload_waiting, -ENOMEM, strerror(ENOMEM));
        return;
    }
    reload->server = server;
    reload->waiting = server->reload_waiting;
    server->reload_waiting = NULL;
    server->reload = reload;
    log_info(server->log, "reloading");
    int r = load(reload);
    if (!r)
        plugin_reload_prepare(reload->plugins);
    else if (reload->plugins)
        plugin_reload_abort(reload->plugins);
    else
        finish(reload);
}

/* Nobody can say when the next one begins; whoever asks for it is not kept waiting. */
static void tell_late(struct server *server)
{
    const struct plugin_reload *plugins = server->reload->plugins;
    const char *name = plugins ? plugin_reload_late(plugins) : NULL;
    char reason[160];
    if (!name)
        return;
    log_warn(server->log, "reload_waits", LZ("plugin", name),
             LZ("outcome", "the configuration is read when the plugin comes back"));
    snprintf(reason, sizeof(reason), "the plugin '%.64s' has not come back from the last reload",
             name);
    answer_with(&server->reload_waiting, -EBUSY, reason);
}

void reload_run(struct server *server, void (*done)(void *arg, const struct reload_report *report),
                void *arg)
{
    struct waiting *w = done ? malloc(sizeof(*w)) : NULL;
    if (done && !w) {
        done(arg, &(struct reload_report){ .status = -ENOMEM, .reason = strerror(ENOMEM) });
        return;
    }
    if (w) {
        *w = (struct waiting){ server->reload_waiting, done, arg };
        server->reload_waiting = w;
    }
    server->reload_again = true;
    if (server->stopping)
        answer_with(&server->reload_waiting, -ECANCELED, "the broker stops");
    else if (!server->reload)
        begin(server);
    else
        tell_late(server);
}

void reload_stop(struct server *server)
{
    struct reload *reload = server->reload;
    server->reload_again = false;
    answer_with(&server->reload_waiting, -ECANCELED, "the broker stops");
    if (!reload || !reload->plugins || !reload->next) /* nothing, or swapped already */
        return;
    if (!reload->report.status)
        refuse(reload, -ECANCELED, "the broker stops", "");
    plugin_reload_abort(reload->plugins);
}

void reload_free(struct server *server)
{
    struct reload *reload = server->reload;
    server->reload = NULL;
    if (!reload)
        return;
    answer_with(&reload->waiting, -ECANCELED, "the broker stops");
    config_unref(&reload->next);
    free(reload);
}
