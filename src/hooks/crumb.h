/* crumb.h - who a thread has called into, for a crash or a stall that has to be blamed on a plugin
 * (F5, F6); private to hooks/ and the crash handler.
 *
 * Every call of a plugin's function by a thread of the broker stands between crumb_enter and
 * crumb_leave. A crumb belongs to one event loop (or worker); it is written by the thread that
 * turns it and read by anybody, a signal handler included: crumb_here() finds the one of its
 * thread. */
#pragma once
#include "hooks/timing.h"
#include <pigeon/types.h>

struct instance;
struct watchdog;

struct crumb {
    _Alignas(
        64) struct timing *_Atomic call; /* NULL: not in a plugin; its n_calls tells calls apart */
    _Atomic uint64_t conn_id;            /* 0: about no connection */
    struct timing *timing;               /* [plugin][hook] */
    uint64_t began_ns;                   /* of a call that is timed, else 0 */
    _Atomic uint64_t turn;               /* odd within a turn of the loop */
    struct watchdog *watchdog;           /* NULL: nobody watches */
    const char *name;                    /* "loop", "worker" */
    uint32_t index;
    bool may_block;     /* a worker's: as long as it likes, nobody is told */
    struct crumb *next; /* in hooks->crumbs */
};

/* Zeroed before. Makes it known to who watches and to who reads the numbers, so: before the loops
 * run, and it stays until hooks_free. `name` is borrowed and names the thread in the log; `index`
 * is the loop's. 0 or -ENOMEM. */
int crumb_init(struct crumb *c, struct hooks *hooks, const char *name, uint32_t index);
/* Once no thread of the hooks runs any more. */
void crumb_fini(struct crumb *c);

/* The crumb of the calling thread; NULL: not a thread of the broker's, or before its first turn. */
struct crumb *crumb_here(void);
/* This thread leaves its crumbs there from now on, or nowhere. */
void crumb_set_here(struct crumb *c);
/* Around each turn of the crumb's loop. */
void crumb_turn_begin(struct crumb *c);
void crumb_turn_end(struct crumb *c);

static inline struct timing *crumb_timing(const struct crumb *c, uint32_t plugin, uint32_t hook)
{
    return &c->timing[plugin * PIGEON_HOOK_COUNT + hook];
}

/* t: one of this crumb's own. */
static inline void crumb_enter_at(struct crumb *c, struct timing *t, const pigeon_client *client)
{
    if (__builtin_expect(timing_count(t), 0))
        c->began_ns = timing_clock();
    atomic_store_explicit(&c->conn_id, client ? client->conn_id : 0, memory_order_relaxed);
    atomic_store_explicit(&c->call, t, memory_order_relaxed);
}

static inline void crumb_leave_at(struct crumb *c, struct timing *t)
{
    atomic_store_explicit(&c->call, NULL, memory_order_relaxed);
    if (__builtin_expect(c->began_ns != 0, 0)) {
        timing_note(t, timing_clock() - c->began_ns);
        c->began_ns = 0;
    }
}

/* The same for calls that are made seldom, wherever they are made: the crumb of this thread, and
 * nothing if it has none. Such a call may be made while the thread is within another one, of a
 * plugin that has called the host: what it was within is kept, and holds again after crumb_end. */
struct crumb_call {
    struct crumb *crumb; /* NULL: none */
    struct timing *outer;
    uint64_t conn_id, began_ns; /* of the outer call */
};

struct crumb_call crumb_begin(const struct instance *inst, uint32_t hook);
void crumb_end(struct crumb_call call);

void crumb_enter(struct crumb *c, const struct instance *inst, uint32_t hook,
                 const pigeon_client *client);
static inline void crumb_leave(struct crumb *c)
{
    crumb_leave_at(c, atomic_load_explicit(&c->call, memory_order_relaxed));
}
