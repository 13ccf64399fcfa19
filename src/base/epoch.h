/* epoch.h - deferred freeing for data that is read without locks (read-copy-update with quiescent
 * states).
 *
 * One `struct epoch` per broker, one slot per event loop. A loop is "inside" from epoch_enter to
 * epoch_leave (one turn); while it waits for I/O it is outside and holds nobody up. A writer
 * unlinks an object, then calls epoch_retire; it is freed by some later epoch_reclaim of the same
 * loop, when every loop that was inside at the retirement has left. Nobody ever waits.
 *
 * Pointers to such objects are atomic: stored with release, loaded with acquire, between enter and
 * leave. */
#pragma once
#include <stdatomic.h>
#include <stdint.h>

#define EPOCH_MAX_LOOPS 64

struct epoch_item { /* embedded in what is retired */
    struct epoch_item *next;
    void (*free_fn)(struct epoch_item *item);
    uint64_t stamp;
};

struct epoch_slot {
    _Atomic uint64_t inside;          /* epoch at enter; 0: outside */
    struct epoch_item *first, **last; /* retired by this loop, oldest first */
    /* Slots keep a cache line apart; no _Alignas, which malloc would not honour. */
    char pad[64 - sizeof(uint64_t) - 2 * sizeof(void *)];
};

struct epoch {
    _Atomic uint64_t now;
    uint32_t n_loops;
    char pad[64 - sizeof(uint64_t) - sizeof(uint32_t)];
    struct epoch_slot loop[EPOCH_MAX_LOOPS];
};

/* n_loops: 1 .. EPOCH_MAX_LOOPS. Not to be moved or copied afterwards. */
void epoch_init(struct epoch *e, uint32_t n_loops);
/* Frees everything that is still retired; no loop may be inside. */
void epoch_fini(struct epoch *e);
/* [loop] Does not nest. */
void epoch_enter(struct epoch *e, uint32_t loop);
void epoch_leave(struct epoch *e, uint32_t loop);
/* [loop] Takes the item; `loop` is the calling loop's own index. Inside or outside. */
void epoch_retire(struct epoch *e, uint32_t loop, struct epoch_item *m_item,
                  void (*free_fn)(struct epoch_item *item));
/* [loop] Frees what is safe; cheap when there is nothing. Called once per turn, outside or inside.
 * A free_fn may retire further items. */
void epoch_reclaim(struct epoch *e, uint32_t loop);
