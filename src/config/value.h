/* value.h - one option's value: from text or a node to a number or text, checked against its row,
 * and back to text as one would write it. The same for the broker's options and for those of
 * plugins. */
#pragma once
#include "config/node.h"
#include <pigeon/option.h>

/* What rows of the broker's own tables may say besides. */
#define CORE_AUTO     1u   /* `auto` is a value too, read as CONFIG_AUTO                          */
#define CORE_SECONDS  2u   /* a number without a unit is seconds, as MQTT counts them             */
#define CORE_OCTAL    4u   /* a string that is read as an octal number                            */
#define CORE_NAME     8u   /* a string, or list items, of letters, digits, '.', '-' and '_'       */
#define CORE_PATHS    16u  /* list items are file names; a path without slash stays as it is     */
#define CORE_FILTERS  32u  /* list items are topic filters                                       */
#define CORE_NETWORKS 64u  /* list items are networks, for network_parse                        */
#define CORE_ORIGINS  128u /* list items are web origins, scheme://host[:port], or "*"          */

struct value {
    int64_t num;     /* bool, int, size, time in ms, octal; an enum's place in `allowed` */
    struct str text; /* string, path, secret, enum; a tree as JSON; a NUL stands behind it */
    struct str *items;
    uint32_t n_items;
    bool present; /* written or preset */
    bool written;
};

/* Everything a value is read with. Text goes to the arena, errors to the diag. */
struct value_env {
    struct arena *arena;
    struct diag *diag;
};

/* True: *r_value is set. False: the error is in env->diag. */
bool value_read(struct value_env *env, const pigeon_option *option, uint32_t core_flags,
                const struct node *node, struct value *r_value);
/* The row's preset; *r_value not present when there is none. at: whom to blame for a broken one. */
bool value_preset(struct value_env *env, const pigeon_option *option, uint32_t core_flags,
                  struct place at, struct value *r_value);
bool value_equal(const struct value *a, const struct value *b);
/* As one would write it; secrets as "(secret)". 0 or -ENOMEM. */
int value_print(const pigeon_option *option, uint32_t core_flags, const struct value *value,
                struct buf *out);
/* "size", "?" for a type nobody knows: for tables of the documentation. */
const char *value_type_word(uint32_t type);
/* "a size such as 256k or 10M", ...; for messages and for the documentation. */
const char *value_type_name(uint32_t type, uint32_t core_flags);
/* "1 to 64", "at least 1s", ... into `out`; "" without a range. */
const char *value_range(const pigeon_option *option, uint32_t core_flags, char *out, size_t room);
/* '+' and '#' only as whole levels, '#' only last, not empty. */
bool value_is_filter(struct str filter);
/* "*", or what a browser sends: scheme, host, perhaps a port, nothing behind it. */
bool value_is_origin(struct str origin);
bool value_is_name(struct str name);
