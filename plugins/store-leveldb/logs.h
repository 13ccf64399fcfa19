/* logs.h - what the files of a LevelDB directory tell before it is opened: LevelDB takes a log that
 * was cut for one whose last write was not finished, also when a later log follows. Reads only. */
#pragma once
#include <stdbool.h>

struct logs {
    bool has_records;     /* there is a log or a table with something in it */
    bool is_cut;          /* a log that is not the last one ends within a write */
    bool manifest_is_cut; /* so does the list of tables */
};
struct logs logs_look(const char *path);
