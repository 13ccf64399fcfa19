/* shard.h - one loop's part of the broker: its sessions, its publishes under way, its numbers.
 * Only its loop touches it, but for the counters. */
#pragma once
#include "base/map.h"
#include "base/pool.h"
#include "broker/counters.h"
#include "hooks/events.h"
#include "hooks/hooks.h"
#include "mqtt/index.h"
#include "net/loop.h"

struct broker;
struct session;

struct slot {                /* place in the session table: what index entries point at */
    struct session *session; /* NULL: free, or taken by a plugin's subscription */
    struct local_sub *local;
    struct node *node; /* loop 0 */
    uint32_t next_free;
};

struct shard {
    struct broker *broker;
    struct loop *loop;
    struct hook_loop *hooks;
    struct log *log;
    uint32_t index;
    struct counters counters;

    struct map sessions; /* by client id */
    struct slot *slots;
    uint32_t n_slots, free_slot; /* UINT32_MAX: none */

    struct match match;     /* scratch of the publish that is being matched */
    struct list submitting; /* struct publish: waiting for the end of the turn */
    struct list closing;    /* clients that end at the end of this round */
    struct list qos2_line;  /* struct publish: QoS 2, in the order in which they are to be routed */
    struct list held_back;  /* clients that wait for N_PUBLISHES to fall */
    struct list held_by_bus; /* clients that wait for another node, see bus_holds_back */
    struct list reads;      /* struct retained_read with something to do */
    struct list conns;      /* every connection of this loop; kept by conn/ */
    struct list rows_to_pump; /* sessions whose queue can go on */
    struct pool publish_pool;
    struct timer heartbeat;
    bool stopping; /* no new CONNECT */
};

static inline void shard_count(struct shard *s, enum counter which, int64_t n)
{
    counters_add(&s->counters, which, n);
}

static inline uint64_t shard_now_ms(const struct shard *s)
{
    return loop_now_ms(s->loop);
}

static inline int64_t shard_wall_ms(const struct shard *s)
{
    return (int64_t)loop_wall_ms(s->loop);
}

int shard_init(struct shard *s, struct broker *b, uint32_t index);
/* While the plugins are still there: wills hold clients, and these the plugins' slots. */
void shard_drop_sessions(struct shard *s);
void shard_fini(struct shard *s);
/* A place in the slot table; the caller fills it in. 0 or -ENOMEM. */
int shard_take_slot(struct shard *s, uint32_t *r_slot);
void shard_give_slot(struct shard *s, uint32_t slot);

/* A publish is through: clients that wait may go on. */
void shard_publish_done(struct shard *s);

/* Debug builds: is this the shard's own thread? */
#define SHARD_ASSERT(s) assert(loop_current() == NULL || loop_current() == (s)->loop)
