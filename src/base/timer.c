#include "base/timer.h"

/* A timer stands at the level of the highest 6-bit digit in which its due time differs from now, in
 * the slot of that digit. So every slot in use lies ahead of now, and everything at a level is due
 * before anything at the next one: the earliest slot is the lowest bit of the lowest level in use.
 */

static void slot_place(struct timers *w, struct timer *t)
{
    if (t->due_ms <= w->now_ms) {
        list_append(&w->due, &t->link);
        return;
    }
    unsigned level = (63u - (unsigned)__builtin_clzll(t->due_ms ^ w->now_ms)) / 6;
    unsigned slot = (unsigned)(t->due_ms >> 6 * level) % TIMER_SLOTS;
    list_append(&w->slot[level][slot], &t->link);
    w->occupied[level] |= UINT64_C(1) << slot;
}

/* Finds the earliest slot in use and the time at which it begins; false when the wheel is empty. */
static bool slot_first(const struct timers *w, unsigned *r_level, unsigned *r_slot,
                       uint64_t *r_begin)
{
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        if (!w->occupied[level])
            continue;
        unsigned slot = (unsigned)__builtin_ctzll(w->occupied[level]);
        uint64_t above = level + 1 < TIMER_LEVELS ? ~UINT64_C(0) << 6 * (level + 1) : 0;
        *r_level = level;
        *r_slot = slot;
        *r_begin = (w->now_ms & above) | (uint64_t)slot << 6 * level;
        return true;
    }
    return false;
}

void timers_init(struct timers *w, uint64_t now_ms)
{
    *w = (struct timers){ .now_ms = now_ms };
    list_init(&w->due);
    for (unsigned level = 0; level < TIMER_LEVELS; level++)
        for (unsigned slot = 0; slot < TIMER_SLOTS; slot++)
            list_init(&w->slot[level][slot]);
}

void timer_init(struct timer *t, timer_fn fn)
{
    *t = (struct timer){ .fn = fn };
    list_init(&t->link);
}

void timer_arm(struct timers *w, struct timer *t, uint64_t due_ms)
{
    timer_stop(w, t);
    t->due_ms = due_ms;
    slot_place(w, t);
    w->n_armed++;
}

void timer_stop(struct timers *w, struct timer *t)
{
    if (!timer_armed(t))
        return;
    /* The last timer of a slot has the slot's head on both sides. */
    uintptr_t head = (uintptr_t)t->link.next;
    uintptr_t first = (uintptr_t)&w->slot[0][0], size = sizeof(w->slot);
    if (t->link.prev == t->link.next && head - first < size) {
        size_t i = (head - first) / sizeof(struct list);
        w->occupied[i / TIMER_SLOTS] &= ~(UINT64_C(1) << i % TIMER_SLOTS);
    }
    list_remove(&t->link);
    w->n_armed--;
}

/* Moves the wheel to `now_ms`; what became due is appended to w->due in order of tick. */
static void wheel_turn(struct timers *w, uint64_t now_ms)
{
    unsigned level, slot;
    uint64_t begin;
    while (slot_first(w, &level, &slot, &begin) && begin <= now_ms) {
        struct list moved;
        list_init(&moved);
        list_splice(&moved, &w->slot[level][slot]);
        w->occupied[level] &= ~(UINT64_C(1) << slot);
        w->now_ms = begin;
        for (struct list *link = list_pop(&moved); link; link = list_pop(&moved))
            slot_place(w, container_of(link, struct timer, link));
    }
    w->now_ms = now_ms;
}

void timers_run(struct timers *w, uint64_t now_ms)
{
    if (now_ms > w->now_ms)
        wheel_turn(w, now_ms);
    /* What a callback arms for now or earlier stays in w->due for the next run. */
    struct list ready;
    list_init(&ready);
    list_splice(&ready, &w->due);
    for (struct list *link = list_pop(&ready); link; link = list_pop(&ready)) {
        struct timer *t = container_of(link, struct timer, link);
        w->n_armed--;
        t->fn(t, now_ms);
    }
}

uint64_t timers_next_ms(const struct timers *w)
{
    unsigned level, slot;
    uint64_t begin;
    if (!list_empty(&w->due))
        return w->now_ms;
    return slot_first(w, &level, &slot, &begin) ? begin : UINT64_MAX;
}
