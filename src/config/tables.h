/* tables.h - the broker's own options, one row each: the only place where their names, types,
 * defaults, ranges and meanings are written. Parser, reload, and docs/config.md come from here. */
#pragma once
#include "config/table.h"

struct suggest;

extern const struct table core_top, core_log, core_limits, core_durability, core_listener,
    core_plugin, core_tls, core_tls_files;

/* What stands beside the rows at the top level: blocks with a form of their own. */
struct core_section {
    const char *key;
    const char *doc;
    uint32_t flags; /* PIGEON_O_RELOAD: what comes, goes or moves does so without a restart */
};
extern const struct core_section core_sections[]; /* key NULL ends it */
/* The chain families in the order of enum config_chain_family. */
extern const struct core_section core_chains[];

uint32_t core_section_flags(const char *key);
/* Offers "limits.x" and "log.x" for a key that stands at the top level by mistake. */
void core_offer_nested(struct suggest *s);
