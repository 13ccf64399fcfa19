#include "hooks/timing.h"
#include "hooks/chain.h"
#include <stdlib.h>
#include <time.h>

struct timing *timing_new(const struct hooks *hooks)
{
    size_t n = (size_t)hooks->n_plugins * PIGEON_HOOK_COUNT;
    struct timing *cells = aligned_alloc(_Alignof(struct timing), (n ? n : 1) * sizeof(*cells));

    if (!cells)
        return NULL;
    memset(cells, 0, (n ? n : 1) * sizeof(*cells));
    for (size_t i = 0; i < n; i++) {
        cells[i].plugin = &hooks->plugins[i / PIGEON_HOOK_COUNT];
        cells[i].hook = (uint32_t)(i % PIGEON_HOOK_COUNT);
    }
    return cells;
}

uint64_t timing_clock(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint32_t timing_bucket(uint64_t ns)
{
    uint32_t i = 0;

    while (i < TIMING_BUCKETS - 1 && ns > (UINT64_C(1) << (i + 8)))
        i++;
    return i;
}

void timing_note(struct timing *t, uint64_t ns)
{
    timing_grow(&t->n_timed, 1);
    timing_grow(&t->sum_ns, ns);
    timing_grow(&t->buckets[timing_bucket(ns)], 1);
    if (ns > atomic_load_explicit(&t->max_ns, memory_order_relaxed))
        atomic_store_explicit(&t->max_ns, ns, memory_order_relaxed);
}

static void add(struct timing_sum *sum, struct timing *t)
{
    uint64_t max_ns = atomic_load_explicit(&t->max_ns, memory_order_relaxed);

    sum->n_calls += atomic_load_explicit(&t->n_calls, memory_order_relaxed);
    sum->n_denials += atomic_load_explicit(&t->n_denials, memory_order_relaxed);
    sum->n_timed += atomic_load_explicit(&t->n_timed, memory_order_relaxed);
    sum->sum_ns += atomic_load_explicit(&t->sum_ns, memory_order_relaxed);
    sum->max_ns = sum->max_ns > max_ns ? sum->max_ns : max_ns;
    for (uint32_t i = 0; i < TIMING_BUCKETS; i++)
        sum->buckets[i] += atomic_load_explicit(&t->buckets[i], memory_order_relaxed);
}

void timing_sum(const struct hooks *hooks, const struct plugin *p, uint32_t hook,
                struct timing_sum *r_sum)
{
    *r_sum = (struct timing_sum){ 0 };
    for (const struct crumb *c = hooks->crumbs; c; c = c->next)
        add(r_sum, crumb_timing(c, p->index, hook));
}
