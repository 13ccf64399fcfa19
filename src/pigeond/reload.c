#include "pigeond/reload.h"
#include "broker/broker.h"
#include "hooks/hooks.h"
#include "pigeond/doors.h"
#include "pigeond/server.h"
#include "pigeond/settings.h"
#include "pigeond/standstill.h"
#include <errno.h>

struct reload {
    struct server *server;
    struct config *next; /* reference, until it is the broker's */
    uint32_t n_changed, n_restart;
};

/* ---- what is different ---------------------------------------------------------------------- */

/* A listener with another address is opened anew, so it needs no restart; its chains do. */
static bool is_door(const char *key)
{
    return !strncmp(key, "listeners.", 10) && !strstr(key, ".chains.");
}

static void on_difference(void *arg, const char *key, const char *old_text, const char *new_text,
                          bool reloadable)
{
    struct reload *reload = arg;
    struct log *log = reload->server->log;
    old_text = old_text ? old_text : "";
    new_text = new_text ? new_text : "";
    if (reloadable || is_door(key)) {
        reload->n_changed++;
        log_info(log, "reload_change", LZ("key", key), LZ("from", old_text), LZ("to", new_text));
        return;
    }
    reload->n_restart++;
    log_warn(log, "reload_needs_restart", LZ("key", key), LZ("from", old_text), LZ("to", new_text));
}

/* ---- all or nothing ------------------------------------------------------------------------- */

static int refuse(struct reload *reload, const char *reason, const char *about)
{
    log_error(reload->server->log, "reload_refused", LZ("reason", reason), LZ("about", about),
              LZ("outcome", "the configuration stays as it was"));
    return -EINVAL;
}

static int load(struct reload *reload)
{
    struct server *server = reload->server;
    if (settings_load(server->args, &reload->next))
        return refuse(reload, "the configuration is wrong", "see above");
    if (settings_check_open(reload->next,
                            hooks_configured(server->broker->hooks, PIGEON_HOOK_AUTHENTICATE)))
        return refuse(reload, "a listener would be open to the network", "see above");
    const char *name = doors_find_misplaced(server->first, reload->next);
    if (name)
        return refuse(reload, "listeners with chains of their own must keep their place", name);
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
    doors_commit(reload->server->doors, broker);
}

/* The place where plugins get their new options: all are asked to prepare before the swap, and to
 * commit in it or to abort after it. */
static int exchange(struct reload *reload)
{
    struct server *server = reload->server;
    int r = doors_prepare(server->doors, reload->next);
    if (r)
        return refuse(reload, "a listener cannot be opened", strerror(-r));
    r = standstill_run(server->loops, swap, reload);
    if (r) {
        doors_abort(server->doors);
        return refuse(reload, "an event loop does not come to rest, try again", strerror(-r));
    }
    return 0;
}

void reload_run(struct server *server)
{
    struct reload reload = { .server = server };
    log_info(server->log, "reloading");
    if (load(&reload) || exchange(&reload)) {
        config_unref(&reload.next);
        return;
    }
    config_diff(server->config, reload.next, on_difference, &reload);
    config_unref(&server->config);
    server->config = reload.next;
    log_set_level(server->log, server->config->log.level);
    log_set_rate(server->log, (uint32_t)server->config->log.rate);
    log_info(server->log, "reloaded", LU("changed", reload.n_changed),
             LU("need_restart", reload.n_restart));
}
