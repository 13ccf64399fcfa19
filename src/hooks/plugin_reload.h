/* plugin_reload.h - new options for plugins that run, and new chains for questions to come (C3 of
 * docs/plugin-abi.md).
 *
 * First every instance of every plugin concerned prepares, on its own thread, while clients are
 * served. Then, while all loops stand still, either everything is swapped and all commit, or
 * nothing is and all abort: for each prepare that succeeded there is one of them. One at a time;
 * loop 0 drives it, the plugins' host owns it. It reads no file and knows no listener. */
#pragma once
#include "hooks/hooks.h"

struct plugin_reload;

struct plugin_reload_setup {
    struct hooks *hooks;
    struct config *config; /* the new one; a reference is taken */
    /* Once, unless plugin_reload_abort comes first. 0: all have prepared, the swap may follow.
     * Negative: plugin_reload_reason says why, everything is as before. */
    void (*prepared)(void *arg, int status);
    /* All have committed or aborted, and the reload is freed when it returns. */
    void (*over)(void *arg);
    void *arg; /* both are called on loop 0, from mail or a timer */
};

/* Reads the new options and builds the new chains; no plugin is called. 0; -EBUSY: another one is
 * under way; -EINVAL: faults are in `d` or logged; -ENOMEM. */
int plugin_reload_new(const struct plugin_reload_setup *setup, struct diag *d,
                      struct plugin_reload **r_reload);
/* As hooks_configured, of the new chains. */
bool plugin_reload_configured(const struct plugin_reload *reload, uint32_t hook);
/* Each option that differs, by its whole key; reloadable: the plugin takes it over. 0 or -ENOMEM.
 */
int plugin_reload_diff(const struct plugin_reload *reload, config_diff_fn fn, void *arg);
/* Asks all. An instance that does not come back in ten seconds has failed. */
void plugin_reload_prepare(struct plugin_reload *reload);
/* Everything stays; who has prepared aborts. Before the swap, or never prepared at all. */
void plugin_reload_abort(struct plugin_reload *reload);
/* After `prepared`, on loop 0 while every other one stands still; calls no plugin. Each loop must
 * then call plugin_reload_commit_here before it goes on. */
void plugin_reload_swap(struct plugin_reload *reload);
void plugin_reload_commit_here(struct plugin_reload *reload, struct loop *here);
/* The first failure: "FILE:LINE:COLUMN: error: ...", lines of text; NULL: none. */
const char *plugin_reload_reason(const struct plugin_reload *reload);
/* The plugin that has not come back in time, so that nothing else can begin; NULL: none. */
const char *plugin_reload_late(const struct plugin_reload *reload);
/* Does the plugin run whether the configuration has a block for it or not? */
bool plugin_reload_needs_no_block(const struct hooks *hooks, const char *plugin);
