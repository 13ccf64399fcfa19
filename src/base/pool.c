#include "base/pool.h"
#include <stdlib.h>
#include <string.h>

/* Free blocks are poisoned, so that AddressSanitizer finds a use after pool_put as it would one
 * after free. The link at the front of a block stays readable. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POOL_POISONS 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(POOL_POISONS)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(addr, size)   ((void)(addr), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(addr, size) ((void)(addr), (void)(size))
#endif

struct pool_link {
    struct pool_link *next;
};

void pool_init(struct pool *p, size_t size, uint32_t keep)
{
    if (size < sizeof(struct pool_link))
        size = sizeof(struct pool_link);
    *p = (struct pool){ .keep = keep, .size = size };
}

static void *pool_take(struct pool *p)
{
    struct pool_link *block = p->free;
    p->free = block->next;
    p->n_free--;
    ASAN_UNPOISON_MEMORY_REGION(block, p->size);
    return block;
}

void pool_fini(struct pool *p)
{
    while (p->free)
        free(pool_take(p));
}

void *pool_get(struct pool *p)
{
    return p->free ? pool_take(p) : malloc(p->size);
}

void *pool_get_zero(struct pool *p)
{
    if (!p->free)
        return calloc(1, p->size);
    return memset(pool_take(p), 0, p->size);
}

void pool_put(struct pool *p, void *block)
{
    if (!block)
        return;
    if (p->n_free >= p->keep) {
        free(block);
        return;
    }
    struct pool_link *link = block;
    link->next = p->free;
    p->free = link;
    p->n_free++;
    ASAN_POISON_MEMORY_REGION(link + 1, p->size - sizeof(*link));
}
