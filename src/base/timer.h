/* timer.h - hierarchical timer wheel with millisecond ticks. One thread, no clock of its own: the
 * owner says what time it is. Embedding a `struct timer` costs no allocation; arming and stopping
 * are O(1). The wheel spans all 64-bit times, so nothing is too far ahead for it; a run visits the
 * slots in use and never the ticks between them. */
#pragma once
#include "base/list.h"
#include <stdint.h>

#define TIMER_LEVELS 11 /* 6 bits each: one level per digit of a 64-bit time */
#define TIMER_SLOTS  64

struct timer;
/* Called by timers_run; the timer is disarmed before the call and may be armed again or freed in
 * it. Other timers may be armed, stopped and freed too. */
typedef void (*timer_fn)(struct timer *t, uint64_t now_ms);

struct timer {
    struct list link;
    uint64_t due_ms;
    timer_fn fn;
};

struct timers {
    struct list slot[TIMER_LEVELS][TIMER_SLOTS];
    uint64_t occupied[TIMER_LEVELS]; /* bit per non-empty slot */
    struct list due;                 /* waits for the next run */
    uint64_t now_ms;
    uint32_t n_armed;
};

void timers_init(struct timers *w, uint64_t now_ms);
void timer_init(struct timer *t, timer_fn fn);
static inline int timer_armed(const struct timer *t)
{
    return list_linked(&t->link);
}
/* Arms or re-arms for an absolute time; a time that has passed fires at the next run. Never early.
 */
void timer_arm(struct timers *w, struct timer *t, uint64_t due_ms);
void timer_stop(struct timers *w, struct timer *t);
/* Fires everything due at `now_ms`, in order of tick. What a callback arms for a time that has
 * passed waits for the next run. A `now_ms` before that of an earlier run counts as that one. */
void timers_run(struct timers *w, uint64_t now_ms);
/* Lower bound of the next due time in ms, UINT64_MAX when none is armed. Exact within the current
 * 64 ms. */
uint64_t timers_next_ms(const struct timers *w);
