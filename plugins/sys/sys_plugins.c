/* Numbers of plugins: $SYS/broker/plugins/<name>/<metric>; of a histogram <metric>/count, /sum,
 * /mean and /p99, in seconds. Numbers of the broker that pigeon_info does not have:
 * $SYS/broker/<metric>. */
#include "sys.h"
#include <inttypes.h>
#include <stdlib.h>

#define BUCKETS 24u /* as pigeon_metric says */

struct sys_plugins {
    const pigeon_metrics *metrics;
    struct sys_leaf *leaves; /* in the order in which they were met first */
    uint32_t n, room;
    uint32_t next; /* where the next topic is likely to be: the order hardly ever changes */
};

int32_t sys_plugins_new(const pigeon_host *host, struct sys_plugins **r_tree)
{
    struct sys_plugins *t = calloc(1, sizeof(*t));

    if (!t)
        return PIGEON_E_NOMEM;
    t->metrics = host->get(host->inst, PIGEON_IF_METRICS, sizeof(pigeon_metrics));
    *r_tree = t;
    return PIGEON_OK;
}

void sys_plugins_free(struct sys_plugins **tree)
{
    struct sys_plugins *t = *tree;

    if (!t)
        return;
    for (uint32_t i = 0; i < t->n; i++)
        free(t->leaves[i].topic);
    free(t->leaves);
    free(t);
    *tree = NULL;
}

static struct sys_leaf *leaf_add(struct sys_plugins *t, const char *topic)
{
    char *copy = strdup(topic);

    if (t->n == t->room) {
        uint32_t room = t->room ? t->room * 2 : 32;
        struct sys_leaf *more = realloc(t->leaves, room * sizeof(*more));

        if (more) {
            t->leaves = more;
            t->room = room;
        }
    }
    if (!copy || t->n == t->room) {
        free(copy);
        return NULL;
    }
    t->leaves[t->n] = (struct sys_leaf){ .topic = copy };
    return &t->leaves[t->n++];
}

static struct sys_leaf *leaf_of(struct sys_plugins *t, const char *topic)
{
    for (uint32_t i = 0; i < t->n; i++) {
        uint32_t at = (t->next + i) % t->n;

        if (strcmp(t->leaves[at].topic, topic) == 0) {
            t->next = at + 1;
            return &t->leaves[at];
        }
    }
    return leaf_add(t, topic);
}

static void set(struct sys *s, const pigeon_metric *m, const char *last_level, const char *text)
{
    struct sys_leaf *leaf;
    char topic[SYS_TOPIC_MAX];
    bool own = !m->plugin[0]; /* the broker's: bus/... */
    int n = snprintf(topic, sizeof(topic), "$SYS/broker/%s%s%s%s%s", own ? "" : "plugins/",
                     m->plugin, own ? "" : "/", m->name, last_level);

    if (n < 0 || (size_t)n >= sizeof(topic))
        return;
    leaf = leaf_of(s->plugin_tree, topic);
    if (leaf)
        sys_leaf_set(s, leaf, text);
}

/* An upper bound of 99 of 100 values: that of the bucket in which the last of them lies. */
static double p99_of(const pigeon_metric *m)
{
    uint64_t left = ((uint64_t)m->value * 99 + 99) / 100;
    uint32_t i = 0;

    for (; i < BUCKETS - 1 && m->buckets[i] < left; i++)
        left -= m->buckets[i];
    return (double)(UINT64_C(1) << (i + 8)) / 1e9;
}

static void set_seconds(struct sys *s, const pigeon_metric *m, const char *last_level,
                        double seconds)
{
    char text[SYS_TEXT_MAX];

    snprintf(text, sizeof(text), "%.9f", seconds);
    set(s, m, last_level, text);
}

static void on_metric(void *arg, const pigeon_metric *m)
{
    struct sys *s = arg;
    char text[SYS_TEXT_MAX];

    snprintf(text, sizeof(text), "%" PRId64, m->value);
    if (m->kind != PIGEON_METRIC_HISTOGRAM) {
        set(s, m, "", text);
        return;
    }
    set(s, m, "/count", text);
    snprintf(text, sizeof(text), "%.6f", (double)m->sum_ns / 1e9);
    set(s, m, "/sum", text);
    if (m->value <= 0)
        return;
    set_seconds(s, m, "/mean", (double)m->sum_ns / 1e9 / (double)m->value);
    if (PIGEON_HAS(m, pigeon_metric, buckets) && m->buckets)
        set_seconds(s, m, "/p99", p99_of(m));
}

void sys_plugins_update(struct sys *s)
{
    struct sys_plugins *t = s->plugin_tree;

    t->next = 0;
    if (t->metrics)
        t->metrics->each(s->host->inst, on_metric, s);
}
