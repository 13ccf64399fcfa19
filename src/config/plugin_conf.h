/* plugin_conf.h - the options of one plugin, checked against the plugin's own table.
 *
 * Made from the raw `options:` of its block once the table is known; unknown keys, wrong types and
 * values out of range are errors in the same form as the broker's own. Owned by whoever made it;
 * keeps its own copy of everything, so neither the `struct config` nor the table need to live on.
 * Never changes once it is made. */
#pragma once
#include "base/str.h"
#include "config/config.h"
#include <pigeon/option.h>

struct plugin_conf;

/* block: from config_plugin (the one without a name: only defaults). table: n rows, `stride` bytes
 * apart (older and newer plugins have shorter and longer rows). `name` is for messages. 0; -EINVAL
 * with the errors in `d` (a broken table is one too); -ENOMEM. */
int plugin_conf_new(const struct config_plugin *block, const char *name, const pigeon_option *table,
                    uint32_t n, uint32_t stride, struct diag *d, struct plugin_conf **r_conf);
void plugin_conf_free(struct plugin_conf **conf);

/* Whether the table has the key and it has a value, written or preset. */
bool plugin_conf_has(const struct plugin_conf *conf, const char *key);
/* bool (0, 1), int, size, time in ms; an enum's place in `allowed`. 0 for anything else. */
int64_t plugin_conf_int(const struct plugin_conf *conf, const char *key);
/* string, path (made relative to the file that names it), secret, enum; a tree as JSON. A NUL
 * stands behind the text. STR_NULL for anything else. Lives as long as `conf`. */
struct str plugin_conf_str(const struct plugin_conf *conf, const char *key);
uint32_t plugin_conf_count(const struct plugin_conf *conf, const char *key);
struct str plugin_conf_item(const struct plugin_conf *conf, const char *key, uint32_t i);

/* Options without PIGEON_O_RELOAD get their values from `old`, of the same table. 0 or -ENOMEM. */
int plugin_conf_keep(struct plugin_conf *conf, const struct plugin_conf *old);
/* Calls `fn` (may be NULL) for each key that differs, secrets as "(secret)". Returns how many
 * differ, and in *r_restart (may be NULL) how many of these lack PIGEON_O_RELOAD; or -ENOMEM. */
int plugin_conf_diff(const struct plugin_conf *old_conf, const struct plugin_conf *new_conf,
                     config_diff_fn fn, void *arg, uint32_t *r_restart);
