/* crumb.h - who a loop has called into, for a crash or a stall that has to be blamed on a plugin
 * (F5); private to hooks/.
 *
 * Every call of a plugin's function by an event loop stands between crumb_enter and crumb_leave.
 * The crumb is written by its own loop and read by anybody. */
#pragma once
#include <pigeon/types.h>
#include <stdatomic.h>
#include <stddef.h>

struct instance;

struct crumb {
    _Atomic(struct instance *) inst; /* NULL: not in a plugin */
    _Atomic uint32_t hook;
    _Atomic uint64_t conn_id; /* 0: about no connection */
};

static inline void crumb_enter(struct crumb *c, struct instance *inst, uint32_t hook,
                               const pigeon_client *client)
{
    atomic_store_explicit(&c->hook, hook, memory_order_relaxed);
    atomic_store_explicit(&c->conn_id, client ? client->conn_id : 0, memory_order_relaxed);
    atomic_store_explicit(&c->inst, inst, memory_order_relaxed);
}

static inline void crumb_leave(struct crumb *c)
{
    atomic_store_explicit(&c->inst, NULL, memory_order_relaxed);
}
