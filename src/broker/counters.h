/* counters.h - the broker's numbers, one set per loop: written by that loop only, summed by whoever
 * asks. */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

enum counter {
    N_ACCEPTED,    /* sockets */
    N_CONNECTIONS, /* gauge: open sockets */
    N_CONNECTED,   /* gauge: clients with a CONNACK of success */
    N_REFUSED,     /* CONNECTs answered with an error, or closed without an answer */
    N_SESSIONS,    /* gauge */
    N_EXPIRED,     /* sessions that ran out */
    N_BYTES_IN,
    N_BYTES_OUT,
    N_PACKETS_IN,
    N_PACKETS_OUT,
    N_MESSAGES_IN,
    N_MESSAGES_OUT, /* PUBLISH packets */
    N_PAYLOAD_IN,
    N_PAYLOAD_OUT,
    N_QUEUED,
    N_QUEUED_BYTES,
    N_INFLIGHT, /* gauges, in memory */
    N_STORED,
    N_STORED_BYTES, /* gauges: queues, in the store only */
    N_PUBLISHES,    /* gauge: publishes between accept and completion */
    N_CONNECTINGS, /* gauge: CONNECTs between the first hook and CONNACK, moved connections included
                    */
    N_PROTOCOL_ERRORS,
    N_STALE,        /* items for a session that had ended meanwhile */
    N_LOST_ANSWERS, /* verdicts and commits nobody waited for any more */
    N_DROPPED,      /* + PIGEON_DROP_* */
    N_DROPPED_END = N_DROPPED + 16,
    N_COUNTERS
};

struct counters {
    _Atomic int64_t n[N_COUNTERS];
};

/* By the owning loop only: no locked instruction. */
static inline void counters_add(struct counters *c, enum counter which, int64_t n)
{
    atomic_store_explicit(&c->n[which],
                          atomic_load_explicit(&c->n[which], memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline int64_t counters_get(const struct counters *c, enum counter which)
{
    return atomic_load_explicit(&c->n[which], memory_order_relaxed);
}
