/* diag.h - the errors of one run over the configuration, collected and printed together.
 *
 * Whoever loads a configuration owns the `struct diag`. Each message is complete when it is added
 * (place, sentence, source line, caret), so it outlives files and trees. It never stops at the
 * first error and never shows a secret. One thread. */
#pragma once
#include "base/str.h"
#include <stdint.h>
#include <stdio.h>

#define DIAG_MAX 1000 /* errors beyond are counted only */

struct source;
struct diag_item;

/* A place in a file: 1-based line and column (in characters); line 0: the source as a whole. */
struct place {
    const struct source *source; /* NULL: no place at all */
    uint32_t line, column;
    uint32_t width; /* characters to underline; 0: the line is not shown (it may hold a secret) */
};

struct diag {
    struct diag_item *items;
    uint32_t n_items, cap;
    uint32_t n_errors; /* all of them, also beyond DIAG_MAX */
    bool no_memory;    /* at least one could not be kept */
};

void diag_init(struct diag *d);
void diag_fini(struct diag *d);
/* "file:line:column: error: ..." with source line and caret. Never fails: see no_memory. */
void diag_error(struct diag *d, struct place at, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* 0, -EINVAL when there was an error, -ENOMEM when memory ran out. */
int diag_result(const struct diag *d);
/* All messages, file by file in reading order. */
void diag_print(struct diag *d, FILE *out);
/* As diag_print into a new string, freed with free(): 0 or -ENOMEM. For a reason to hand back. */
int diag_text(struct diag *d, char **r_text);
