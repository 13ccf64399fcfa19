/* plugin.h - a loaded plugin and its instances; private to hooks/.
 *
 * `struct plugin` is one file that takes part: judged, mapped, its tables copied to the size this
 * broker knows (members that the plugin does not have are NULL). Constant while loops run, but for
 * its counters. A plugin has one instance per loop, or one at all (SINGLE, SHARED: home is loop 0),
 * or one per worker (worker.h). Files stay mapped for ever. */
#pragma once
#include "base/hash.h"
#include "base/list.h"
#include "config/plugin_conf.h"
#include "hooks/hooks.h"
#include "hooks/plugin_file.h"
#include <pthread.h>
#include <stdatomic.h>

#define METRICS_MAX 1024

struct store;
struct bus_door;
struct chains;
struct worker;

/* A member of the ABI that will go: using it still works, and is said once per plugin (V6). */
struct deprecated_member {
    const char *iface;  /* PIGEON_IF_*, "" for pigeon_plugin itself; NULL ends a table */
    size_t offset;      /* of a pointer in its table */
    const char *member; /* its name */
    const char *help;   /* what takes its place */
};

/* Counters of a plugin, any thread; shown by pigeon.metrics/1. */
struct plugin_stats {
    _Atomic uint32_t n_pending;      /* questions under way, the forgotten ones included */
    _Atomic uint64_t n_deadlines;    /* answers that did not come in time */
    _Atomic uint64_t n_late;         /* answers that came after deadline or cancel */
    _Atomic uint64_t n_bad_verdicts; /* numbers that are no verdict */
    _Atomic uint64_t n_twice;        /* questions answered by return and by complete() */
    _Atomic uint64_t n_refused;      /* denied: max_pending, or a value could not be kept */
    _Atomic uint64_t n_events_lost;  /* facts that did not fit into the mailbox bound */
    _Atomic uint32_t n_events_mail;  /* facts under way to the home loop */
};

struct instance {
    struct plugin *plugin;
    struct hooks *hooks;
    void *self;
    uint32_t loop;     /* the event loop that serves it: home, unless it has workers */
    struct loop *home; /* whose thread calls it; of a SHARED one: timers, descriptors, post */
    bool created;
    pigeon_host host;
    struct list watches, subscriptions; /* [loop] */
    char *reason, *reason_key;          /* of a failing check, create, prepare: host->fail was told */
    struct mail life_mail;
};

/* Topic filters of `only:`; n == 0: every topic. */
struct only {
    struct str *filters;
    uint32_t n;
};

struct plugin {
    char *name;
    uint32_t index; /* in hooks->plugins, the order of file names */
    struct plugin_file file;
    const struct config_plugin *block; /* of hooks->first; never NULL */
    struct plugin_conf *conf;          /* what its instances were created with */
    struct plugin_conf *conf_now;      /* what they committed last; NULL: still `conf` */
    pigeon_plugin desc;
    pigeon_auth auth;
    pigeon_flow flow;
    pigeon_events events;
    const pigeon_store *store; /* as in the file; NULL: not provided */
    const pigeon_bus *bus;
    const pigeon_control *control;
    bool has_auth, has_flow, has_events;
    struct instance *instances;
    uint32_t n_instances;
    struct worker *workers; /* n_workers; 0: `run: inline` */
    uint32_t n_workers;
    struct plugin_stats stats;
    _Atomic uint32_t n_invalidated; /* orders to invalidate; counted before any loop learns of them */
};

/* What was found on the way, for hooks_print. */
enum found_state { FOUND_TAKEN, FOUND_AVAILABLE, FOUND_DISABLED, FOUND_FOREIGN, FOUND_REFUSED };
struct found {
    struct plugin_file file;
    char *name;  /* of the plugin */
    char *fault; /* why refused, or why ignored */
    char *note;  /* deprecated members that it uses, or NULL */
    enum found_state state;
    const struct config_plugin *block;
};

struct metric;
struct quiesce;
struct admin;
struct plugin_reload;

struct hooks {
    struct config *first;         /* what the plugins were loaded by */
    struct config *config;        /* what holds now; event loops only */
    _Atomic int64_t topic_levels; /* limits.topic_levels of it, any thread */
    struct loop_group *loops;
    uint32_t n_loops;
    struct log *log;
    char *node_id;
    const struct hooks_ops *ops;
    void *broker;
    const struct deprecated_member *deprecated;

    struct found *found;
    uint32_t n_found, cap_found;
    struct plugin *plugins;
    uint32_t n_plugins;
    struct plugin *store_plugin; /* the primary store, NULL: none */
    struct store *store;
    struct bus_door *bus; /* NULL: this node is alone */
    struct chains *chains;
    struct admin *admin; /* pigeon.admin/1 */
    struct hook_loop **loop; /* n_loops */
    struct crumb *crumbs;    /* of every thread that calls plugins; constant while loops run */
    struct watchdog *watchdog; /* NULL: not begun */
    void (*thread_begin)(void); /* see hooks_setup; may be NULL */
    bool store_only;            /* see hooks_setup */

    pthread_mutex_t metric_lock; /* registration only */
    _Atomic uint32_t n_metrics;
    struct metric *_Atomic metrics[METRICS_MAX];

    pthread_t
        main_thread; /* that called hooks_create: may call [loop] functions outside of turns */
    _Atomic bool stopping; /* instances are going: nothing is called any more */
    struct quiesce *quiesce;
    struct plugin_reload *reload; /* under way; NULL: none */

    struct hash_key hash_key; /* which worker a client goes to */
    bool workers_run;         /* threads of workers may be there; main thread, outside of turns */
    pthread_mutex_t worker_lock;
    pthread_cond_t worker_gone;
};

static inline bool plugin_is_single(const struct plugin *p)
{
    return p->desc.flags & PIGEON_F_SINGLE;
}

static inline bool plugin_is_shared(const struct plugin *p)
{
    return p->desc.flags & PIGEON_F_SHARED;
}

/* The instance that answers for clients of a loop; with workers: any, see plugin_seat(). */
static inline struct instance *plugin_instance(const struct plugin *p, uint32_t loop)
{
    return &p->instances[p->n_instances == 1 || p->n_workers ? 0 : loop];
}

/* Must calls from `loop` travel to the instance's home? */
static inline bool instance_is_away(const struct instance *i, uint32_t loop)
{
    return i->plugin->n_workers || (i->loop != loop && plugin_is_single(i->plugin));
}

/* By name in the configuration; NULL. */
struct plugin *hooks_find(const struct hooks *hooks, const char *name);

/* plugin_find.c: every file of the plugin directories, judged, and what the configuration wants of
 * it. Faults are logged; the number of faults that forbid the start goes to *r_faults. 0 or
 * -ENOMEM. */
int hooks_find_files(struct hooks *hooks, uint32_t *r_faults);
void hooks_forget_files(struct hooks *hooks);
/* plugin_load.c: maps a judged file and fills in `p`; 0 or -EINVAL with the reason. Runs code of
 * the file. */
int plugin_load(struct plugin *p, bool allow_unstable, struct log *log, char *reason, size_t size);
/* Members of a loaded plugin's tables that will go, as text on the heap ("pigeon.auth/1: exchange");
 * NULL: none. One log line says what takes their place. */
char *plugin_deprecated(const struct plugin *p, const struct deprecated_member *rows,
                        struct log *log);
extern const struct deprecated_member deprecated_members[];

/* plugin_reload.c, at the end: who has prepared for what does not come any more aborts; then, once
 * no instance is left, its memory. */
void plugin_reload_end(struct hooks *hooks);
void plugin_reload_drop(struct hooks *hooks);

/* hooks_quiesce.c */
void quiesce_free(struct quiesce **q);

/* host.c: fills in the table of one instance. */
void host_init(struct hooks *hooks, struct instance *inst);
/* host_watch.c: frees what the instance has left. */
void host_watch_drop(struct instance *inst);
void host_msg_drop(struct instance *inst);
/* host_metric.c */
void host_metrics_free(struct hooks *hooks);
extern const pigeon_metrics host_metrics_table;
