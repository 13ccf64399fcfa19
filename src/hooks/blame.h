/* blame.h - what the calling thread is busy with, for the handler of a crash. Takes no lock and
 * allocates nothing. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct blame {
    const char *plugin; /* NULL: not in a plugin */
    const char *hook;
    uint64_t conn_id; /* 0: about no connection */
};

/* false: the thread is none of those that call plugins. Async-signal-safe. */
bool blame_here(struct blame *r_blame);
