/* route.h - a matched message on its way to the receivers' loops. */
#pragma once
#include "broker/shard.h"

/* A message with where it stands. */
struct routed {
    struct message *message; /* borrowed */
    const uint32_t *ids;     /* of all receivers, see receiver.first_id */
    uint64_t pos;            /* arrival number of its row; 0: it has none */
    uint64_t not_these[5];   /* members of a shared subscription that did not take it */
    uint8_t n_not_these;     /* hops so far */
    bool retract;            /* it was routed, but its row could not be stored */
};

/* Hands the message to `n` receivers of one loop: at once if it is this one, else by mail. */
void route_to_loop(struct shard *s, uint32_t loop, const struct routed *r,
                   const struct receiver *rcpts, uint32_t n);
/* All receivers of a match, grouped by loop as match.first says. */
void route_all(struct shard *s, const struct routed *r, const struct receiver *rcpts,
               const uint32_t *first);
