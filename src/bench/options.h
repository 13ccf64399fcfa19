/* options.h - the command line of pigeon-bench. Strings point into argv. */
#pragma once
#include "wire/version.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum shape {
    SHAPE_PAIR,
    SHAPE_PING_PONG,
    SHAPE_FAN_IN,
    SHAPE_FAN_OUT,
    SHAPE_SUBSCRIPTIONS,
    SHAPE_IDLE,
    SHAPE_RETAINED,
    SHAPE_CHURN,
    SHAPE_OFFLINE,
    N_SHAPES
};

struct options {
    enum shape shape;
    const char *host;
    const char *user, *password; /* NULL: none */
    uint16_t port;
    enum mqtt_version version;
    uint8_t qos;
    uint32_t payload;
    uint32_t publishers, subscribers, connections, filters, topics;
    uint64_t count; /* 0: by time */
    double duration_s, warmup_s, hold_s;
    double rate; /* messages per second of all publishers; 0: none */
    bool no_spin;
    uint32_t window, batch; /* per publisher; never 0 after options_parse */
    double timeout_s;
    bool durable;
    pid_t broker_pid; /* 0: not asked for */
    bool json, help, about;
};

/* 0; -EINVAL, having complained to `err`; -ENOMEM. With help or about set nothing else counts. */
int options_parse(int argc, char *const *argv, FILE *err, struct options *r_options);
void options_print_help(FILE *out);
const char *shape_name(enum shape shape);
const char *version_name(enum mqtt_version version);
