/* bench.h - one run of the load generator: its loop, its counters, its result.
 *
 * Owned by main, passed everywhere; there is nothing global. A shape is straight-line code that
 * turns the loop (bench_until) until something has happened; what clients do in between is said by
 * their callbacks. One thread. */
#pragma once
#include "base/timer.h"
#include "bench/dial.h"
#include "bench/histogram.h"
#include "bench/options.h"
#include "bench/process.h"
#include "base/list.h"
#include <stdbool.h>
#include <stddef.h>

struct loop;
struct loop_group;

#define PHASES_MAX     4
#define TOPIC_MAX      64
#define BENCH_ACKS_MAX 4096u
#define CONNECTING_MAX 64u /* below the backlog of every broker */

/* A measured part of a run. */
struct phase {
    const char *name, *unit; /* what is counted in n */
    uint64_t n;
    double seconds;
    struct usage before, after; /* of the broker; zero without --broker-pid */
    uint64_t own_cpu_ns;        /* of this process */
    bool shows_memory;          /* resident bytes per unit mean something */
};

struct result {
    struct phase phase[PHASES_MAX];
    uint32_t n_phases;
    uint64_t n_published, n_expected, n_delivered; /* n_delivered: each message once */
    uint64_t n_duplicated, n_reordered;
    uint64_t n_refused;       /* publishes that the broker answered with an error */
    struct histogram latency; /* ns */
    bool has_latency;
};

struct bench {
    const struct options *opt;
    struct loop_group *group;
    struct loop *loop;
    struct timer tick; /* so that waiting ends */
    uint32_t tick_ms;
    bool spin; /* poll instead of waiting */
    struct dial dial;
    char run[9];     /* in the client identifiers of this run */
    char prefix[12]; /* of its topics */

    uint64_t now_ns;     /* CLOCK_MONOTONIC at the last received bytes */
    uint64_t n_received; /* bursts: grows as long as there is progress */
    uint32_t n_connecting, n_subscribing, n_open;
    uint64_t n_delivered; /* unique messages; read by phases */

    struct list pumps;                 /* publishers that may be able to send */
    void (*on_round)(struct bench *b); /* lets publishers send by the clock; may be NULL */
    void *round_ctx;
    uint8_t acks[BENCH_ACKS_MAX]; /* of the burst that is read now */
    uint32_t n_acks;

    bool failed;
    char why[256];
    struct result result;
};

/* 0, or negative errno having said why in b->why. */
int bench_init(struct bench *b, const struct options *opt);
void bench_fini(struct bench *b);

/* The run cannot go on; the first reason counts. */
void bench_fail(struct bench *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

typedef bool (*bench_done_fn)(void *ctx);
/* Turns the loop until done(ctx). 0; -ETIMEDOUT: nothing was received for timeout_s; -EIO: the run
 * has failed. */
int bench_until(struct bench *b, bench_done_fn done, void *ctx);
/* As above, where running out of time is a failure: "no answer while WHAT". 0 or -EIO. */
int bench_expect(struct bench *b, const char *what, bench_done_fn done, void *ctx);
/* Turns the loop for that long. 0 or -EIO. */
int bench_sleep(struct bench *b, double seconds);

/* Starts and ends a phase; the number of units comes with the end. 0 or -EIO. */
int bench_phase_begin(struct bench *b, const char *name, const char *unit);
int bench_phase_end(struct bench *b, uint64_t n);

uint64_t bench_clock_ns(void);

/* The shapes: 0 or -EIO. */
int shape_traffic(struct bench *b); /* pair, ping-pong, fan-in, fan-out, subscriptions */
int shape_idle(struct bench *b);
int shape_retained(struct bench *b);
int shape_churn(struct bench *b);
int shape_offline(struct bench *b);
