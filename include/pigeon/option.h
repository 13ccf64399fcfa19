/* pigeon/option.h - typed options of a plugin, stated once as a constant table.
 *
 * The broker parses, checks and documents from this table: unknown keys, wrong types and values out of
 * range are refused with file:line:column before the plugin sees anything. Included by <pigeon/plugin.h>. */
#ifndef PIGEON_OPTION_H
#define PIGEON_OPTION_H

#include <stddef.h>
#include <stdint.h>

#define PIGEON_T_BOOL   1u  /* true | false                                                       */
#define PIGEON_T_INT    2u  /* whole number within min..max                                       */
#define PIGEON_T_SIZE   3u  /* bytes: 4096, 256k, 10M, 1G (powers of 1024)                        */
#define PIGEON_T_TIME   4u  /* 1500ms, 30s, 5m, 12h, 7d; read as milliseconds                     */
#define PIGEON_T_STRING 5u  /* text                                                               */
#define PIGEON_T_PATH   6u  /* file name, relative to the file that names it (-o: current directory) */
#define PIGEON_T_SECRET 7u  /* text, or !file PATH, or !env NAME; never printed                   */
#define PIGEON_T_ENUM   8u  /* one of `allowed`, "a|b|c"; read as text                            */
#define PIGEON_T_LIST   9u  /* list of text; min..max is the number of items                      */
#define PIGEON_T_TREE   10u /* any YAML below this key, handed over as JSON text                  */

#define PIGEON_O_REQUIRED 1u /* no value in the config: the start is refused                      */
#define PIGEON_O_RELOAD   2u /* may change by reload (prepare/commit); otherwise: needs a restart.
                              * A PATH with a value: prepare() comes at every reload, since what is in
                              * the file may have changed. */

/* One row. min == max == 0: no range. preset: the default as one would write it, NULL for none. */
typedef struct pigeon_option {
    const char *key;
    const char *preset;
    const char *allowed;
    const char *doc;
    uint32_t    type;
    uint32_t    flags;
    int64_t     min;
    int64_t     max;
} pigeon_option;

#endif
