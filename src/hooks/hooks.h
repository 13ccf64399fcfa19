/* hooks.h - the plugins of a broker: found, judged, loaded, chained.
 *
 * `struct hooks` is shared and constant while loops run (a reload swaps chains at turn boundaries);
 * `struct hook_loop` is one loop's part: its instances, flattened chains, token slots. The floor above gives
 * a table of what it can do for plugins; nothing here knows a connection. */
#pragma once
#include "base/log.h"
#include "config/config.h"
#include "mqtt/message.h"
#include "net/loop.h"
#include "pigeon/plugin.h"
#include <stdio.h>

struct hooks;
struct hook_loop;
struct admin_ops;
struct identity;
struct ask;

/* What the broker does for plugins. All on the loop that is named; messages are references given away. */
struct hooks_ops {
    void (*publish)(void *broker, uint32_t loop, struct message *m_message,
                    void (*done)(void *arg, int32_t status), void *arg);
    /* 0 or a negative PIGEON_E_*. deliver: as pigeon_deliver_fn, already bound to its instance; token 0 means
     * that waiting is not possible. */
    int32_t (*subscribe)(void *broker, uint32_t loop, struct str filter, uint8_t qos,
                         int32_t (*deliver)(void *arg, const struct message *message), void *arg,
                         void **r_subscription);
    void (*unsubscribe)(void *broker, uint32_t loop, void *subscription);
    /* Goes on with the next message after `deliver` returned PIGEON_PENDING. */
    void (*deliver_next)(void *broker, uint32_t loop, void *subscription);
    void (*kick)(void *broker, uint32_t loop, struct str client_id, uint8_t reason, const char *text);
    void (*invalidate)(void *broker, uint32_t loop, const char *plugin, struct str client_id,
                       struct str username);
    void (*info)(void *broker, pigeon_info *info); /* any thread */
    /* The broker's own numbers, beside those of pigeon_info. Any thread; NULL: none. */
    void (*metrics)(void *broker, pigeon_metric_fn fn, void *arg);
    /* The store has failed for good: acknowledge nothing more, leave with an error. Any thread. */
    void (*store_failed)(void *broker, const char *text);
    void (*store_room)(void *broker, uint32_t loop); /* a full store has room again */
    const struct admin_ops *admin; /* host_admin.h; NULL: pigeon.admin/1 knows nothing but plugins */
};

struct deprecated_member;
struct hooks_setup {
    const struct config *config;
    struct loop_group *loops;
    struct log *log;
    const char *node_id;
    const struct hooks_ops *ops;
    void *broker;
    const struct deprecated_member *deprecated; /* NULL: those of this ABI */
    void (*thread_begin)(void); /* first thing on each thread that is made for a plugin; NULL: nothing */
    bool store_only; /* nothing but the store takes part: for work on it without a broker */
    FILE *report; /* hooks_print goes there at the end of hooks_new, also of one that fails; NULL: nowhere */
};

/* Finds, judges and loads the plugins, builds the chains; creates no instance yet. Every fault is logged with
 * the file's name, the reason and the way out; -EINVAL then. -ENOMEM. */
int hooks_new(const struct hooks_setup *setup, struct hooks **r_hooks);
/* Creates all instances (each on its loop's thread is not needed: before the loops run). 0 or negative. */
int hooks_create(struct hooks *hooks);
/* Each plugin judges its options (check), without creating an instance. 0 or -EINVAL; faults are logged. Part
 * of hooks_create; alone for `pigeond -t`, which does it in a child process. */
int hooks_check(struct hooks *hooks);
/* The threads of plugins with `run: worker`, after hooks_create. 0 or negative. */
int hooks_start(struct hooks *hooks);
/* The event loops no longer run. Ends those threads, waiting so long (0: as long as it takes) for
 * what their plugins are at. Returns how many are stuck, each is logged; then nothing can be freed
 * any more: the process has to leave. */
uint32_t hooks_stop_workers(struct hooks *hooks, uint64_t patience_ms);
struct hook_loop *hooks_loop(struct hooks *hooks, uint32_t loop);
/* Begins to watch over the loops (option hook_warn), until hooks_free; before their threads run. Nothing to do
 * without plugins. 0 or negative errno. */
int hooks_watch(struct hooks *hooks);
/* The option has a new value. */
void hooks_set_warn(struct hooks *hooks, int64_t warn_ms);
/* Around every turn of the loop: for who watches, and for whom a crash is blamed on. */
void hooks_turn_begin(struct hook_loop *hl);
void hooks_turn_end(struct hook_loop *hl);
/* The broker stops: a question that is given up from now on is cancelled for that reason. */
void hooks_ending(struct hook_loop *hl);
/* Cancels what is still asked, then quiesces all instances: `done` on loop 0 when every plugin is through or has been given up. */
void hooks_quiesce(struct hooks *hooks, void (*done)(void *arg), void *arg);
/* Destroys all instances, loops no longer run; files stay mapped. Runs what mail is left (loop_group_settle)
 * once the instances are gone, so the loops' own callbacks must still be good, and the loop group outlives it. */
void hooks_free(struct hooks **hooks);
/* `pigeond -t` and the start: prints files (taken, available, refused and why), chains with defaults and
 * deadlines. */
void hooks_print(const struct hooks *hooks, FILE *out);
/* `pigeond -V`: prints the files as hooks_print does, but runs no code of theirs and needs no loops. 0 or
 * -ENOMEM. */
int hooks_survey(const struct config *config, FILE *out);
/* Is a plugin with this hook in a chain? For safe defaults: CH3. */
bool hooks_configured(const struct hooks *hooks, uint32_t hook);
/* The number of a listener, by which its clients find their chains. It stays the same over reloads,
 * also when the listener has gone. Event loops only. */
uint32_t hooks_listener(const struct hooks *hooks, const char *name);
