/* timer.h - hierarchical timer wheel with millisecond ticks. One thread, no clock of its own: the owner
 * says what time it is. Embedding a `struct timer` costs no allocation; arming and stopping are O(1). */
#pragma once
#include "base/list.h"
#include <stdint.h>

#define TIMER_LEVELS 6 /* 64^6 ms: more than two years; later due times are re-armed on the way */
#define TIMER_SLOTS  64

struct timer;
/* Called by timers_run; the timer is disarmed before the call and may be armed again or freed in it. */
typedef void (*timer_fn)(struct timer *t, uint64_t now_ms);

struct timer {
    struct list link;
    uint64_t due_ms;
    timer_fn fn;
};

struct timers {
    struct list slot[TIMER_LEVELS][TIMER_SLOTS];
    uint64_t occupied[TIMER_LEVELS]; /* bit per non-empty slot */
    uint64_t now_ms;
    uint32_t n_armed;
};

void timers_init(struct timers *w, uint64_t now_ms);
void timer_init(struct timer *t, timer_fn fn);
static inline int timer_armed(const struct timer *t)
{
    return list_linked(&t->link);
}
/* Arms or re-arms for an absolute time; a time that has passed fires at the next run. Never early. */
void timer_arm(struct timers *w, struct timer *t, uint64_t due_ms);
void timer_stop(struct timers *w, struct timer *t);
/* Fires everything due at `now_ms`, in order of tick. */
void timers_run(struct timers *w, uint64_t now_ms);
/* Lower bound of the next due time in ms, UINT64_MAX when none is armed. */
uint64_t timers_next_ms(const struct timers *w);
