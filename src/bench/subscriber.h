/* subscriber.h - receives numbered messages of some publishers and keeps account of each flow.
 *
 * Embedded; owned by a shape. */
#pragma once
#include "bench/client.h"
#include "bench/flow.h"
#include "bench/payload.h"

struct subscriber;
/* A message that this subscriber has not seen before. */
typedef void (*subscriber_fn)(struct subscriber *s, const struct payload *p);

struct subscriber {
    struct client client;
    struct flow *flows; /* of the publishers first .. first + n_flows - 1 */
    uint32_t first, n_flows;
    uint64_t n_unique;        /* sum over the flows */
    subscriber_fn on_message; /* may be NULL */
    void *ctx;
};

/* A flow tells late from double for its newest n_recent messages. 0 or -EIO. */
int subscriber_init(struct subscriber *s, struct bench *b, uint32_t index, uint32_t first,
                    uint32_t n_flows, uint64_t n_recent);
/* Adds its counts to the result; with_order: also those that came out of order. */
void subscriber_tell(const struct subscriber *s, bool with_order);
void subscriber_fini(struct subscriber *s);
