/* Numbers of plugins: one cell per loop and one for all other threads, added up by who reads. */
#include "hooks/chain.h"
#include "hooks/host_priv.h"
#include <stdlib.h>

#define BUCKETS TIMING_BUCKETS

struct metric_cell {
    _Alignas(64) _Atomic int64_t value; /* counter; histogram: count */
    _Atomic int64_t sum_ns;
    _Atomic uint64_t buckets[BUCKETS];
};

struct metric {
    const struct plugin *plugin;
    char *name, *help;
    uint32_t kind;
    uint32_t n_cells;
    _Atomic int64_t gauge;
    struct metric_cell *cells;
};

static struct metric *metric_new(struct instance *inst, const char *name, const char *help,
                                 uint32_t kind)
{
    struct metric *m = calloc(1, sizeof(*m));
    uint32_t n = inst->hooks->n_loops + 1;

    if (!m)
        return NULL;
    m->plugin = inst->plugin;
    m->kind = kind;
    m->n_cells = n;
    m->name = strdup(name);
    m->help = strdup(help ? help : "");
    m->cells = aligned_alloc(_Alignof(struct metric_cell), n * sizeof(*m->cells));
    if (!m->name || !m->help || !m->cells) {
        free(m->name);
        free(m->help);
        free(m->cells);
        free(m);
        return NULL;
    }
    memset(m->cells, 0, n * sizeof(*m->cells));
    return m;
}

static bool is_metric_name(const char *name)
{
    size_t len = name ? strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789_-./")
                      : 0;

    return len > 0 && len < 128 && name[len] == '\0';
}

static int32_t metric(void *inst, const char *name, const char *help, uint32_t kind)
{
    struct instance *i = instance_of(inst);
    struct hooks *hooks = i->hooks;
    int32_t handle = PIGEON_E_NOMEM;
    struct metric *m;
    uint32_t n;

    if (!is_metric_name(name) || kind > PIGEON_METRIC_HISTOGRAM)
        return PIGEON_E_INVAL;
    pthread_mutex_lock(&hooks->metric_lock);
    n = atomic_load_explicit(&hooks->n_metrics, memory_order_relaxed);
    for (uint32_t k = 0; k < n; k++) {
        m = hooks->metrics[k];
        if (m->plugin == i->plugin && strcmp(m->name, name) == 0) {
            handle = m->kind == kind ? (int32_t)k : PIGEON_E_INVAL;
            goto out;
        }
    }
    if (n == METRICS_MAX) {
        handle = PIGEON_E_FULL;
        goto out;
    }
    m = metric_new(i, name, help, kind);
    if (m) {
        atomic_store_explicit(&hooks->metrics[n], m, memory_order_relaxed);
        atomic_store_explicit(&hooks->n_metrics, n + 1, memory_order_release);
        handle = (int32_t)n;
    }
out:
    pthread_mutex_unlock(&hooks->metric_lock);
    return handle;
}

static struct metric *metric_of(const struct instance *inst, int32_t handle)
{
    uint32_t n = atomic_load_explicit(&inst->hooks->n_metrics, memory_order_acquire);

    if (handle < 0 || (uint32_t)handle >= n)
        return NULL;
    return atomic_load_explicit(&inst->hooks->metrics[handle], memory_order_relaxed);
}

static struct metric_cell *cell_of(const struct instance *inst, struct metric *m)
{
    struct loop *current = loop_current();

    if (current && loop_get_group(current) == inst->hooks->loops)
        return &m->cells[loop_index(current)];
    return &m->cells[m->n_cells - 1];
}

static void metric_add(void *inst, int32_t handle, int64_t delta)
{
    struct metric *m = metric_of(inst, handle);

    if (!m || m->kind == PIGEON_METRIC_HISTOGRAM)
        return;
    if (m->kind == PIGEON_METRIC_GAUGE)
        atomic_fetch_add_explicit(&m->gauge, delta, memory_order_relaxed);
    else
        atomic_fetch_add_explicit(&cell_of(inst, m)->value, delta, memory_order_relaxed);
}

static void metric_set(void *inst, int32_t handle, int64_t value)
{
    struct metric *m = metric_of(inst, handle);

    if (m && m->kind == PIGEON_METRIC_GAUGE)
        atomic_store_explicit(&m->gauge, value, memory_order_relaxed);
}

static void metric_observe(void *inst, int32_t handle, int64_t ns)
{
    struct metric *m = metric_of(inst, handle);
    struct metric_cell *c;

    if (!m || m->kind != PIGEON_METRIC_HISTOGRAM)
        return;
    c = cell_of(inst, m);
    atomic_fetch_add_explicit(&c->value, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->sum_ns, ns, memory_order_relaxed);
    atomic_fetch_add_explicit(&c->buckets[timing_bucket(ns > 0 ? (uint64_t)ns : 0)], 1,
                              memory_order_relaxed);
}

static void show(const struct metric *m, pigeon_metric_fn fn, void *arg)
{
    uint64_t buckets[BUCKETS] = { 0 };
    pigeon_metric out = { .size = sizeof(out),
                          .kind = m->kind,
                          .plugin = m->plugin->name,
                          .name = m->name,
                          .help = m->help };

    out.value = atomic_load_explicit(&m->gauge, memory_order_relaxed);
    for (uint32_t i = 0; i < m->n_cells; i++) {
        struct metric_cell *c = &m->cells[i];

        out.value += atomic_load_explicit(&c->value, memory_order_relaxed);
        out.sum_ns += atomic_load_explicit(&c->sum_ns, memory_order_relaxed);
        for (uint32_t b = 0; b < BUCKETS; b++)
            buckets[b] += atomic_load_explicit(&c->buckets[b], memory_order_relaxed);
    }
    if (m->kind == PIGEON_METRIC_HISTOGRAM)
        out.buckets = buckets;
    fn(arg, &out);
}

static void show_number(const struct plugin *p, const char *name, const char *help, uint32_t kind,
                        uint64_t value, pigeon_metric_fn fn, void *arg)
{
    pigeon_metric out = { .size = sizeof(out),
                          .kind = kind,
                          .plugin = p->name,
                          .name = name,
                          .help = help,
                          .value = (int64_t)value };

    fn(arg, &out);
}

/* hook_calls/HOOK, hook_denials/HOOK, and the histogram hook_seconds/HOOK of the calls that were
 * timed; of hooks that were called. */
static void show_timing(const struct hooks *hooks, const struct plugin *p, uint32_t hook,
                        pigeon_metric_fn fn, void *arg)
{
    char name[64];
    struct timing_sum sum;
    pigeon_metric out = { .size = sizeof(out),
                          .kind = PIGEON_METRIC_HISTOGRAM,
                          .plugin = p->name,
                          .name = name,
                          .help = "time within a call, one call in 64 is measured" };

    timing_sum(hooks, p, hook, &sum);
    if (sum.n_calls == 0)
        return;
    snprintf(name, sizeof(name), "hook_calls/%s", hook_name(hook));
    show_number(p, name, "calls of the plugin", PIGEON_METRIC_COUNTER, sum.n_calls, fn, arg);
    if (hook <= PIGEON_HOOK_PUBLISHED) {
        snprintf(name, sizeof(name), "hook_denials/%s", hook_name(hook));
        show_number(p, name, "answers that came to a denial", PIGEON_METRIC_COUNTER, sum.n_denials,
                    fn, arg);
    }
    snprintf(name, sizeof(name), "hook_max_ns/%s", hook_name(hook));
    show_number(p, name, "longest call that was measured, in nanoseconds", PIGEON_METRIC_GAUGE,
                sum.max_ns, fn, arg);
    snprintf(name, sizeof(name), "hook_seconds/%s", hook_name(hook));
    out.value = (int64_t)sum.n_timed;
    out.sum_ns = (int64_t)sum.sum_ns;
    out.buckets = sum.buckets;
    fn(arg, &out);
}

/* What the broker itself counts about a plugin. */
static void show_stats(struct plugin *p, pigeon_metric_fn fn, void *arg)
{
    struct plugin_stats *s = &p->stats;

    show_number(p, "hook_pending", "questions without an answer yet", PIGEON_METRIC_GAUGE,
                atomic_load_explicit(&s->n_pending, memory_order_relaxed), fn, arg);
    show_number(p, "hook_deadlines", "answers that did not come in time", PIGEON_METRIC_COUNTER,
                atomic_load_explicit(&s->n_deadlines, memory_order_relaxed), fn, arg);
    show_number(p, "hook_late", "answers after deadline or cancel", PIGEON_METRIC_COUNTER,
                atomic_load_explicit(&s->n_late, memory_order_relaxed), fn, arg);
    show_number(p, "hook_bad_verdicts", "answers that are no verdict", PIGEON_METRIC_COUNTER,
                atomic_load_explicit(&s->n_bad_verdicts, memory_order_relaxed), fn, arg);
    show_number(p, "hook_answered_twice", "questions answered twice", PIGEON_METRIC_COUNTER,
                atomic_load_explicit(&s->n_twice, memory_order_relaxed), fn, arg);
    show_number(p, "hook_refused", "requests denied for a limit or a failed setter",
                PIGEON_METRIC_COUNTER, atomic_load_explicit(&s->n_refused, memory_order_relaxed),
                fn, arg);
    show_number(p, "events_lost", "facts dropped because too many were waiting",
                PIGEON_METRIC_COUNTER,
                atomic_load_explicit(&s->n_events_lost, memory_order_relaxed), fn, arg);
}

static int32_t each(void *inst, pigeon_metric_fn fn, void *arg)
{
    struct hooks *hooks = instance_of(inst)->hooks;
    uint32_t n = atomic_load_explicit(&hooks->n_metrics, memory_order_acquire);

    if (!fn)
        return PIGEON_E_INVAL;
    for (uint32_t i = 0; i < n; i++)
        show(atomic_load_explicit(&hooks->metrics[i], memory_order_relaxed), fn, arg);
    for (uint32_t i = 0; i < hooks->n_plugins; i++) {
        show_stats(&hooks->plugins[i], fn, arg);
        for (uint32_t hook = PIGEON_HOOK_PRE_CONNECT; hook < PIGEON_HOOK_COUNT; hook++)
            show_timing(hooks, &hooks->plugins[i], hook, fn, arg);
    }
    if (hooks->ops->metrics)
        hooks->ops->metrics(hooks->broker, fn, arg);
    return PIGEON_OK;
}

const pigeon_metrics host_metrics_table = { .size = sizeof(pigeon_metrics), .each = each };

void host_metrics_free(struct hooks *hooks)
{
    for (uint32_t i = 0; i < hooks->n_metrics; i++) {
        struct metric *m = hooks->metrics[i];

        free(m->name);
        free(m->help);
        free(m->cells);
        free(m);
    }
    hooks->n_metrics = 0;
}

void host_metric_fill(pigeon_host *host)
{
    host->metric = metric;
    host->metric_add = metric_add;
    host->metric_set = metric_set;
    host->metric_observe = metric_observe;
}
