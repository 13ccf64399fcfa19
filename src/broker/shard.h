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

struct slot { /* place in the session table: what index entries point at */
    struct session *session; /* NULL: free, or taken by a plugin's subscription */
    struct local_sub *local;
    uint32_t next_free;
};

struct shard {
    struct broker *broker;
    struct loop *loop;
    struct hook_loop *hooks;
    struct log *log;
    uint32_t index;
    struct counters counters;

    struct map sessions;         /* by client id */
    struct slot *slots;
    uint32_t n_slots, free_slot; /* UINT32_MAX: none */

    struct match match;          /* scratch of the publish that is being matched */
    struct list submitting;      /* struct publish: waiting for the end of the turn */
    uint32_t n_submitting;
    uint32_t n_publishes;        /* between accept and completion */
    uint32_t n_units;            /* store units begun since the last submit */
    struct list held_back;       /* clients that wait for n_publishes to fall */
    struct list reads;           /* struct retained_read with something to do */
    struct list rows_to_pump;    /* sessions whose queue can go on */
    struct pool publish_pool;
    struct timer heartbeat;
    uint32_t n_connecting;       /* CONNECTs between admission and CONNACK, moved connections included */
    bool stopping;               /* no new CONNECT */
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

/* Debug builds: is this the shard's own thread? */
#define SHARD_ASSERT(s) assert(loop_current() == NULL || loop_current() == (s)->loop)
