/* store_load.h - `pigeond store load`, and what it shares with the other commands on a store. Reads
 * one line at a time; every error names the line. */
#pragma once
#include "pigeond/store_fill.h"
#include <stdio.h>

/* Fills the store from a dump; an enum exit_code. */
int store_load_run(struct store_host *to, FILE *in);

/* store_cmd.c: an enum exit_code; what is wrong has been said. */
int store_begin_fill(struct store_host *to, struct fill **r_fill);
/* After a failure: the store is emptied again; what became of it is said. */
void store_give_up(struct store_host *to, struct fill *fill);
/* What an error of hooks/store.h or store_fill.h comes to, in words. */
const char *store_reason(int r);
int64_t store_wall_ms(void);
