/* print.h - what `pigeond -V` and `pigeond -t` say, for people. */
#pragma once
#include "config/config.h"
#include <stdio.h>

/* Version, plugin ABI, features. */
void print_version(FILE *out);
/* The plugins found and what would become of each, without running any code of theirs. 0 or
 * -ENOMEM. */
int print_plugins(const struct config *config, FILE *out);
/* Where clients would come in, and who. */
void print_listeners(const struct config *config, FILE *out);
