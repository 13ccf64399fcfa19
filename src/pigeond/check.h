/* check.h - `pigeond -t`: would the broker start with this configuration?
 *
 * Plugins are mapped and judge their options in a child process under a time limit, so that one
 * that crashes or hangs is a line of output. Opens no port and no store. */
#pragma once
#include "pigeond/args.h"

/* Prints everything found, to stdout and stderr; returns an enum exit_code. */
int check_run(const struct args *args);
