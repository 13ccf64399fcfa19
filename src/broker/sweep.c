#include "broker/sweep.h"
#include "hooks/store.h"
#include <errno.h>
#include <stdlib.h>

#define SWEEP_EVERY_MS 30000u
#define PORTION_MS     20u
#define PORTION        256u
#define DELETES_MAX    64u

struct sweep {
    struct broker *broker;
    struct timer timer;
    struct retained_scan scan;
    bool scanning;
    struct message *expired[DELETES_MAX];
    uint64_t versions[DELETES_MAX];
    uint32_t n;
};

static bool on_message(void *ctx, struct message *m, uint64_t version)
{
    struct sweep *sw = ctx;
    if (!message_expired(m, shard_wall_ms(&sw->broker->shards[0])))
        return true;
    if (sw->n == DELETES_MAX)
        return false;
    sw->expired[sw->n] = message_ref(m);
    sw->versions[sw->n++] = version;
    return true;
}

static void delete_expired(struct sweep *sw)
{
    struct broker *b = sw->broker;
    struct hook_loop *hl = b->shards[0].hooks;
    if (!sw->n)
        return;
    pthread_mutex_lock(&b->tree_lock);
    for (uint32_t i = 0; i < sw->n; i++) {
        struct str topic = message_topic(sw->expired[i]);
        if (!retained_delete(b->retained, 0, topic, sw->versions[i]))
            continue;
        store_unit_begin(hl, PIGEON_DURABILITY_OS, STORE_AGAIN | STORE_TRIM);
        store_retain_del(hl, topic);
        store_unit_end(hl, NULL);
    }
    store_submit(
        hl); /* its place in the order is taken under the lock, like every retained write */
    pthread_mutex_unlock(&b->tree_lock);
    for (uint32_t i = 0; i < sw->n; i++)
        message_unref(&sw->expired[i]);
    sw->n = 0;
}

static void on_timer(struct timer *t, uint64_t now_ms)
{
    struct sweep *sw = container_of(t, struct sweep, timer);
    struct broker *b = sw->broker;
    if (!sw->scanning) {
        retained_scan_init(&sw->scan, STR("#"), retained_version(b->retained));
        sw->scanning = true;
    }
    if (retained_scan_run(b->retained, &sw->scan, PORTION, on_message, sw))
        sw->scan.done = true;
    delete_expired(sw);
    if (sw->scan.done) {
        retained_scan_fini(&sw->scan);
        sw->scanning = false;
    }
    timer_arm(loop_timers(b->shards[0].loop), t,
              now_ms + (sw->scanning ? PORTION_MS : SWEEP_EVERY_MS));
}

int sweep_new(struct broker *b, struct sweep **r_sweep)
{
    struct sweep *sw = calloc(1, sizeof(*sw));
    if (!sw)
        return -ENOMEM;
    sw->broker = b;
    timer_init(&sw->timer, on_timer);
    timer_arm(loop_timers(b->shards[0].loop), &sw->timer, b->started_ms + SWEEP_EVERY_MS);
    *r_sweep = sw;
    return 0;
}

void sweep_free(struct sweep **p)
{
    struct sweep *sw = *p;
    if (!sw)
        return;
    timer_stop(loop_timers(sw->broker->shards[0].loop), &sw->timer);
    if (sw->scanning)
        retained_scan_fini(&sw->scan);
    free(sw);
    *p = NULL;
}
