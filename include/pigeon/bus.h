/* pigeon/bus.h - interface "pigeon.bus/1": node to node, at most once, in order per origin. The parcels are
 * opaque; who gets what is the core's business.
 *
 * All of pigeon_bus is called on loop 0. A parcel for one node (to) goes to that one, with to 0 to every other;
 * nobody but the host looks at nodes, so a bus need not know who is there. */
#ifndef PIGEON_BUS_H
#define PIGEON_BUS_H
#include <pigeon/types.h>

#define PIGEON_BUS_ORDERED 1u /* caps: per origin and link                        */
#define PIGEON_BUS_FILTERS 2u /* caps: subscribe() is cheap with 10^5 filters      */

typedef struct pigeon_parcel {
    uint32_t           size;
    uint32_t           kind;     /* 0 messages, 1 the host's own words, 2 echo */
    pigeon_incarnation from;
    pigeon_incarnation to;       /* 0: every node */
    uint64_t           link_seq; /* counts per (from, to): the receiver sees holes and repeats */
    pigeon_str         topic;    /* only for PIGEON_BUS_FILTERS */
    pigeon_bytes       body;
} pigeon_parcel;

#define PIGEON_IF_BUS "pigeon.bus/1"
typedef struct pigeon_bus {
    uint32_t size;
    uint32_t caps;
    int32_t (*open)(void *self, pigeon_token, pigeon_incarnation me, uint32_t credit_bytes);
    /* OK, PENDING (complete() when the engine has taken it; the parcel lives until then) or E_BUSY: not taken,
     * the host pauses who feeds it and tries again. Other errors: the parcel is lost. */
    int32_t (*send)(void *self, pigeon_token, const pigeon_parcel *parcel);
    int32_t (*more)(void *self, uint32_t credit_bytes); /* so much more may be delivered */
    int32_t (*subscribe)(void *self, pigeon_token, pigeon_str filter);
    int32_t (*unsubscribe)(void *self, pigeon_token, pigeon_str filter);
} pigeon_bus;

#define PIGEON_IF_BUS_HOST "pigeon.bus-host/1"
typedef struct pigeon_bus_host { /* [any] */
    uint32_t size;
    uint32_t flags;
    /* Copies it. E_BUSY: beyond the credit, not taken; again after `more`. */
    int32_t (*deliver)(void *inst, const pigeon_parcel *parcel);
    /* Down until it says up. dropped: parcels lost since the last call, in either direction. */
    int32_t (*state)(void *inst, uint32_t up, uint64_t dropped, pigeon_str text);
} pigeon_bus_host;

#endif
