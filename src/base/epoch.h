/* epoch.h - deferred freeing for data that is read without locks (read-copy-update with quiescent states).
 *
 * One `struct epoch` per broker, one slot per event loop. A loop is "inside" from epoch_enter to
 * epoch_leave (one turn); while it waits for I/O it is outside and holds nobody up. A writer unlinks an
 * object, then calls epoch_retire; it is freed by some later epoch_reclaim of the same loop, when every
 * loop that was inside at the retirement has left. Nobody ever waits. */
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
    _Alignas(64) _Atomic uint64_t inside; /* epoch at enter; 0: outside */
    struct epoch_item *first, **last;     /* retired by this loop, oldest first */
};

struct epoch {
    _Alignas(64) _Atomic uint64_t now;
    uint32_t n_loops;
    struct epoch_slot loop[EPOCH_MAX_LOOPS];
};

void epoch_init(struct epoch *e, uint32_t n_loops);
/* Frees everything that is still retired; no loop may be inside. */
void epoch_fini(struct epoch *e);
void epoch_enter(struct epoch *e, uint32_t loop);
void epoch_leave(struct epoch *e, uint32_t loop);
/* [loop] Takes the item; `loop` is the calling loop's own index. */
void epoch_retire(struct epoch *e, uint32_t loop, struct epoch_item *m_item,
                  void (*free_fn)(struct epoch_item *item));
/* [loop] Frees what is safe; cheap when there is nothing. Called once per turn, outside or inside. */
void epoch_reclaim(struct epoch *e, uint32_t loop);
