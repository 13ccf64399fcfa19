/* store_cmd.h - `pigeond store check | dump | load | convert`: work on the configured store while
 * no broker has it. Any store plugin will do: everything goes through pigeon.store/1. */
#pragma once
#include "pigeond/args.h"

/* Returns an enum exit_code; EXIT_CODE_RUNTIME also when something in the store or on stdin is bad.
 */
int store_cmd_run(const struct args *args);
