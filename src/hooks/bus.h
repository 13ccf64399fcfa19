/* bus.h - the door to the one bus plugin: opened, sent through, read from, on loop 0 alone.
 *
 * What the plugin delivers or says from any thread is copied and waits until loop 0 takes it with
 * bus_door_run; `credit` bounds it. Who gets what, link numbers and the meaning of a parcel are the
 * broker's business. */
#pragma once
#include "hooks/hooks.h"

#define BUS_CREDIT (4u << 20) /* bytes under way from the plugin to the broker */

struct bus_door_ops {                                       /* on loop 0, from bus_door_run */
    void (*parcel)(void *ctx, const pigeon_parcel *parcel); /* lives during the call */
    /* dropped: parcels that the plugin lost since it last said so. */
    void (*state)(void *ctx, bool up, uint64_t dropped, const char *text);
    /* Something arrived: bus_door_run is to be called in this turn. May be called when there is
     * nothing. */
    void (*wake)(void *ctx);
};

/* Waits for a parcel that the plugin keeps; embedded in who sends it. */
struct bus_wait {
    void (*done)(struct bus_wait *w, int32_t status); /* 0: the engine has taken it */
};

enum bus_send { BUS_SENT, BUS_PENDING, BUS_BUSY, BUS_FAILED };

/* Does the configuration name a bus? */
bool bus_door_is_there(const struct hooks *hooks);
/* Opens it as incarnation `me`; before the loops run, or on loop 0. 0 or -EINVAL, logged. */
int bus_door_open(struct hooks *hooks, uint64_t me, const struct bus_door_ops *ops, void *ctx);
/* BUS_PENDING: the parcel and its bytes must live until `done`, which comes on loop 0 and never
 * from within this call; a plugin that never answers never calls it. BUS_BUSY: not taken, try
 * again. BUS_FAILED: not taken, and *r_error says why. */
enum bus_send bus_door_send(struct hooks *hooks, const pigeon_parcel *parcel, struct bus_wait *wait,
                            int32_t *r_error);
/* Hands over the oldest thing that arrived and returns its credit. false: there was nothing. */
bool bus_door_run(struct hooks *hooks);
