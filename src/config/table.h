/* table.h - a block of the configuration against a table of rows: the broker's own blocks and a
 * plugin's `options:` alike. Rows may be longer or shorter than ours (`stride`); what is missing is
 * zero. */
#pragma once
#include "config/value.h"

struct core_option { /* a row of the broker's own tables: says where its value goes, too */
    pigeon_option opt;
    uint32_t offset; /* into the struct of its block */
    uint32_t core_flags;
};

struct table {
    const void *rows;
    uint32_t n;
    uint32_t stride;
    bool is_core;                /* rows are struct core_option */
    const char *where;           /* "in 'limits'", "in the options of 'x'"; for messages */
    const char *const *sections; /* keys besides the rows, NULL at the end; or NULL */
};

pigeon_option table_row(const struct table *t, uint32_t i);
uint32_t table_core_flags(const struct table *t, uint32_t i);
/* Whether the rows make sense: keys, types, flags, ranges. False: the error is in `d`. */
bool table_check(const struct table *t, struct diag *d);
/* Reads `map` (NULL: nothing written) into values[t->n], presets filled in. False: some value is
 * wrong or missing; the others are set all the same. at: for what is missing. */
bool table_read(const struct table *t, struct value_env *env, const struct node *map,
                struct place at, struct value *values);
/* The core's rows: values to the struct at `base`, and back out of it. */
bool table_store(const struct table *t, struct value_env *env, const struct value *values,
                 void *base);
/* One field as text: 0 or -ENOMEM. */
int table_print(const struct core_option *row, const void *base, struct buf *out);
bool table_same(const struct core_option *row, const void *a, const void *b);
