/* reload.h - reads the whole configuration again; all of it holds from one moment on, or the old
 * one stays and the log says why. Clients stay connected.
 *
 * Loop 0 reads it, the plugins prepare on their own threads, and all loops stand still for the
 * swap. One at a time: what is asked for meanwhile is answered by one more. */
#pragma once
#include <stdint.h>

struct server;

struct reload_report {
    int status; /* 0; -EINVAL, -ENOMEM, ...: nothing has changed; -ECANCELED: the broker stops */
    uint32_t n_changed, n_restart; /* options taken over; options that need a restart */
    const char *reason;            /* of a failure, one line; "" */
};

/* On loop 0, outside of plugins and connections. Blocks on the disk, and on the name service where
 * `bind` has host names. `done` (NULL: nobody waits) is called later, on loop 0, or from within:
 * -ENOMEM. The report lives during the call. */
void reload_run(struct server *server, void (*done)(void *arg, const struct reload_report *report),
                void *arg);
/* The broker stops: what is under way is given up, whoever waits is told. */
void reload_stop(struct server *server);
/* What is left once the broker is gone. */
void reload_free(struct server *server);
