/* watchdog.h - the monitor: a thread that looks at the crumbs of all loops and says in the log
 * which plugin holds one up (F5); private to hooks/.
 *
 * A call that lasts longer than `hook_warn` is logged as plugin_slow: when it is noticed, every
 * second while it lasts, and when it has returned. A turn that lasts ten times as long, whatever it
 * does, is logged as loop_stalled in the same way. While every loop is idle the monitor sleeps
 * until the next turn wakes it. It touches no plugin and no client, only crumbs. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct hooks;
struct watchdog;

/* Watches all crumbs there are, from now on; before the loops' threads run. 0 or negative errno. */
int watchdog_new(struct hooks *hooks, uint64_t warn_ms, struct watchdog **r_dog);
/* Ends the thread. */
void watchdog_free(struct watchdog **dog);
/* 0: off. Any thread. */
void watchdog_set_warn(struct watchdog *dog, uint64_t warn_ms);

struct watchdog_head { /* first member of struct watchdog */
    _Atomic bool sleeps;
};
void watchdog_wake_up(struct watchdog *dog);
/* At the begin of each turn. */
static inline void watchdog_wake(struct watchdog *dog)
{
    if (atomic_load_explicit(&((struct watchdog_head *)dog)->sleeps, memory_order_seq_cst))
        watchdog_wake_up(dog);
}

/* ---- what the monitor has seen of one crumb; apart for tests ---- */

struct crumb;
struct log;
struct timing;

struct watched {
    struct crumb *crumb;
    const struct timing *call; /* as seen last; NULL: in no plugin */
    uint64_t n_calls, conn_id, since_ns, said_ns;
    uint64_t turn, turn_since_ns, turn_said_ns;
};

/* Looks at the crumb and logs what there is to say. true: its loop is not idle. */
bool watched_look(struct watched *w, uint64_t now_ns, uint64_t warn_ns, struct log *log);
