/* settings.h - from the command line to a checked configuration.
 *
 * Reads files, overrides and the place of the plugins: a binary that stands beside a folder
 * `plugins/` is running from a build tree and takes its plugins there. Prints what is wrong to
 * stderr, all of it. Keeps nothing: a reload calls it again. */
#pragma once
#include "base/log.h"
#include "config/config.h"
#include "pigeond/args.h"

/* 0; -EINVAL: the errors have been printed; -ENOMEM. */
int settings_load(const struct args *args, struct config **r_config);
/* The safe first run: no listener may be open to the network while nobody decides who may come in.
 * has_auth: some plugin takes part in `authenticate`. 0 or -EINVAL, printed; -ENOMEM. */
int settings_check_open(const struct config *config, bool has_auth);
/* To stderr, as `log:` says. 0 or -ENOMEM. */
int settings_open_log(const struct config *config, struct log **r_log);
/* Event loops on this machine. */
uint32_t settings_threads(const struct config *config);
