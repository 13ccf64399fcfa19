/* timing.h - what calls of a plugin cost: one cell per loop, plugin and hook; private to hooks/.
 *
 * A cell is written by the one thread that makes the calls and read by anybody. All calls are
 * counted, one in TIMING_EVERY is timed: the clock is read only then. Cells live as long as the
 * crumb (crumb.h) they belong to. */
#pragma once
#include <pigeon/types.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

struct hooks;
struct plugin;

#define TIMING_EVERY   64u
#define TIMING_BUCKETS 24u /* as in pigeon_metric: bucket i holds what is at most 2^(i+8) ns */

struct timing {
    _Alignas(64) _Atomic uint64_t n_calls; /* the one under way included */
    _Atomic uint64_t n_denials;
    const struct plugin *plugin;
    uint32_t hook; /* PIGEON_HOOK_* */
    uint32_t rsv;
    _Atomic uint64_t n_timed, sum_ns, max_ns;
    _Atomic uint64_t buckets[TIMING_BUCKETS];
};

/* Sums over threads. */
struct timing_sum {
    uint64_t n_calls, n_denials, n_timed, sum_ns, max_ns;
    uint64_t buckets[TIMING_BUCKETS];
};

/* PIGEON_HOOK_COUNT cells for each plugin, in the order of hooks->plugins; free() them. NULL: no
 * memory. */
struct timing *timing_new(const struct hooks *hooks);

/* Only the writing thread adds, so this is no read-modify-write for the others. */
static inline uint64_t timing_grow(_Atomic uint64_t *counter, uint64_t by)
{
    uint64_t n = atomic_load_explicit(counter, memory_order_relaxed) + by;

    atomic_store_explicit(counter, n, memory_order_relaxed);
    return n;
}

/* Counts a call; true: it is one to be timed, the first is. */
static inline bool timing_count(struct timing *t)
{
    return timing_grow(&t->n_calls, 1) % TIMING_EVERY == 1;
}

uint32_t timing_bucket(uint64_t ns);
uint64_t timing_clock(void); /* CLOCK_MONOTONIC, ns */
/* A call of `ns` has been timed; by the writing thread. */
void timing_note(struct timing *t, uint64_t ns);
/* What all threads counted for this hook of this plugin. */
void timing_sum(const struct hooks *hooks, const struct plugin *p, uint32_t hook,
                struct timing_sum *r_sum);
