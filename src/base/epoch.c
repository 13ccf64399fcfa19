#include "base/epoch.h"
#include <assert.h>
#include <stddef.h>

void epoch_init(struct epoch *e, uint32_t n_loops)
{
    assert(n_loops >= 1 && n_loops <= EPOCH_MAX_LOOPS);
    atomic_init(&e->now, 1);
    e->n_loops = n_loops;
    for (uint32_t i = 0; i < EPOCH_MAX_LOOPS; i++) {
        atomic_init(&e->loop[i].inside, 0);
        e->loop[i].first = NULL;
        e->loop[i].last = &e->loop[i].first;
    }
}

static void slot_free_first(struct epoch_slot *slot)
{
    struct epoch_item *item = slot->first;
    slot->first = item->next;
    if (!slot->first)
        slot->last = &slot->first;
    item->free_fn(item);
}

void epoch_fini(struct epoch *e)
{
    for (uint32_t i = 0; i < e->n_loops; i++)
        assert(atomic_load(&e->loop[i].inside) == 0);
    /* A free_fn may retire to any loop's list, so look again until all are empty. */
    for (uint32_t i = 0; i < e->n_loops; i++) {
        if (e->loop[i].first) {
            while (e->loop[i].first)
                slot_free_first(&e->loop[i]);
            i = UINT32_MAX;
        }
    }
}

void epoch_enter(struct epoch *e, uint32_t loop)
{
    /* An exchange and not a store: it pairs with the read-modify-write in epoch_oldest. Whichever
     * comes second sees the other: either the reclaimer sees us inside, or we see all it had
     * unlinked. */
    uint64_t before = atomic_exchange(&e->loop[loop].inside, atomic_load(&e->now));
    assert(before == 0);
    (void)before;
}

void epoch_leave(struct epoch *e, uint32_t loop)
{
    atomic_store(&e->loop[loop].inside, 0);
}

void epoch_retire(struct epoch *e, uint32_t loop, struct epoch_item *m_item,
                  void (*free_fn)(struct epoch_item *item))
{
    struct epoch_slot *slot = &e->loop[loop];
    m_item->next = NULL;
    m_item->free_fn = free_fn;
    /* Who enters from here on sees a later epoch, and the unlinking that went before. */
    m_item->stamp = atomic_fetch_add(&e->now, 1);
    *slot->last = m_item;
    slot->last = &m_item->next;
}

/* The smallest epoch in which a loop is still inside. */
static uint64_t epoch_oldest(struct epoch *e)
{
    uint64_t oldest = UINT64_MAX;
    for (uint32_t i = 0; i < e->n_loops; i++) {
        uint64_t inside = atomic_fetch_or(&e->loop[i].inside, 0);
        if (inside && inside < oldest)
            oldest = inside;
    }
    return oldest;
}

void epoch_reclaim(struct epoch *e, uint32_t loop)
{
    struct epoch_slot *slot = &e->loop[loop];
    if (!slot->first)
        return;
    /* Measured once: what a free_fn retires meanwhile must wait for a measurement of its own. */
    uint64_t now = atomic_load(&e->now);
    uint64_t oldest = epoch_oldest(e);
    if (oldest > now)
        oldest = now;
    while (slot->first && slot->first->stamp < oldest)
        slot_free_first(slot);
}
