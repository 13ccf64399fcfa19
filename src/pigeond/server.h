/* server.h - the life of the process: configuration, log, loops, broker, doors, run, stop.
 *
 * One per process, on the main thread, which is loop 0. Signals are met here: SIGTERM and SIGINT
 * stop the broker (a second one leaves at once), SIGHUP reads the configuration again. */
#pragma once
#include "config/config.h"
#include "net/loop.h"
#include "pigeond/args.h"
#include "pigeond/node_id.h"

struct broker;
struct doors;
struct reload;
struct waiting;

struct server {
    const struct args *args;
    struct config *first;  /* reference: what the plugins were loaded and chained by */
    struct config *config; /* reference: what holds now */
    struct log *log;
    struct loop_group *loops;
    struct broker *broker;
    struct doors *doors;
    struct timer memory_timer;
    struct timer overdue; /* the stop takes too long */
    struct mail store_failed;
    _Atomic int store_has_failed;
    struct reload *reload;          /* under way; NULL: none */
    struct waiting *reload_waiting; /* for the next one */
    bool reload_again;              /* asked for while one was under way */
    bool stopping;
    int exit_code; /* enum exit_code */
    char node_id[NODE_ID_MAX + 1];
};

/* Runs until it is stopped; returns an enum exit_code. Every fault has been printed or logged. */
int server_run(const struct args *args);
