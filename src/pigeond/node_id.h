/* node_id.h - the name of this node: written in the configuration, or random and kept in
 * `state_dir/node-id`. Makes the state directory when it is missing. Says on the log what went
 * wrong, with path and reason. Only at the start: blocks on the disk. */
#pragma once
#include "base/log.h"
#include "config/config.h"

#define NODE_ID_MAX 64

/* 0; negative errno, logged: the state directory cannot be used. A full disk is no reason not to
 * start: the name then holds for this run only. */
int node_id_read(const struct config *config, struct log *log, char r_id[NODE_ID_MAX + 1]);
