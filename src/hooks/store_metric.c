/* The store's numbers: each loop writes its own, on its thread; any thread sums them. */
#include "hooks/store.h"
#include "hooks/store_impl.h"

static void look_at_oldest(struct store_loop *sl)
{
    const struct list *first = list_empty(&sl->flying) ? NULL : sl->flying.next;

    atomic_store_explicit(&sl->numbers.oldest_ns,
                          first ? container_of(first, struct batch, flying)->since_ns : 0,
                          memory_order_relaxed);
}

void batch_departs(struct batch *b)
{
    struct store_loop *sl = b->entry.owner;

    if (list_linked(&b->flying)) /* another try */
        return;
    b->since_ns = timing_clock();
    list_append(&sl->flying, &b->flying);
    look_at_oldest(sl);
}

void batch_arrives(struct batch *b)
{
    struct store_loop *sl = b->entry.owner;
    struct store_numbers *n = &sl->numbers;
    uint64_t ns = timing_clock() - b->since_ns;

    if (!list_linked(&b->flying))
        return;
    list_remove(&b->flying);
    look_at_oldest(sl);
    timing_grow(&n->batches, 1);
    timing_grow(&n->units, b->nunits);
    timing_grow(&n->ops, b->nops);
    timing_grow(&n->sum_ns, ns);
    timing_grow(&n->buckets[timing_bucket(ns)], 1);
}

struct sums {
    uint64_t batches, units, ops, refused, sum_ns, oldest_ns;
    uint64_t buckets[TIMING_BUCKETS];
};

static uint64_t get(const _Atomic uint64_t *n)
{
    return atomic_load_explicit(n, memory_order_relaxed);
}

static void sum_up(const struct store *store, struct sums *r_sums)
{
    *r_sums = (struct sums){ 0 };
    for (uint32_t i = 0; i < store->n_loops; i++) {
        const struct store_numbers *n = &store->loops[i].numbers;
        uint64_t oldest_ns = get(&n->oldest_ns);

        r_sums->batches += get(&n->batches);
        r_sums->units += get(&n->units);
        r_sums->ops += get(&n->ops);
        r_sums->refused += get(&n->refused);
        r_sums->sum_ns += get(&n->sum_ns);
        if (oldest_ns && (!r_sums->oldest_ns || oldest_ns < r_sums->oldest_ns))
            r_sums->oldest_ns = oldest_ns;
        for (uint32_t k = 0; k < TIMING_BUCKETS; k++)
            r_sums->buckets[k] += get(&n->buckets[k]);
    }
}

void store_metrics(const struct hooks *hooks, pigeon_metric_fn fn, void *arg)
{
    const struct store *store = hooks_store(hooks);
    struct sums s;
    uint64_t now_ns;

    if (!store)
        return;
    sum_up(store, &s);
    now_ns = timing_clock();
    const struct {
        const char *name, *help;
        uint32_t kind;
        uint64_t value;
    } rows[] = {
        { "store/batches", "batches that the store has answered", PIGEON_METRIC_COUNTER,
          s.batches },
        { "store/units", "units in them; each is atomic", PIGEON_METRIC_COUNTER, s.units },
        { "store/ops", "ops in them", PIGEON_METRIC_COUNTER, s.ops },
        { "store/refused", "units that could not be stored", PIGEON_METRIC_COUNTER, s.refused },
        { "store/in_flight", "units without an answer yet", PIGEON_METRIC_GAUGE,
          store_in_flight(hooks) },
        { "store/lag_ms", "how long the oldest of them has been waiting", PIGEON_METRIC_GAUGE,
          s.oldest_ns && now_ns > s.oldest_ns ? (now_ns - s.oldest_ns) / 1000000 : 0 },
    };
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        pigeon_metric m = { .size = sizeof(m),
                            .kind = rows[i].kind,
                            .plugin = "",
                            .name = rows[i].name,
                            .help = rows[i].help,
                            .value = (int64_t)rows[i].value };

        fn(arg, &m);
    }
    pigeon_metric commit = { .size = sizeof(commit),
                             .kind = PIGEON_METRIC_HISTOGRAM,
                             .plugin = "",
                             .name = "store/commit_seconds",
                             .help = "from a batch's submit to its answer",
                             .value = (int64_t)s.batches,
                             .sum_ns = (int64_t)s.sum_ns };
    commit.buckets = s.buckets;
    fn(arg, &commit);
}
