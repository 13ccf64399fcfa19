/* pool.h - free list of equal blocks over malloc. One thread; a block may be returned to another
 * pool of the same block size. Keeps at most `keep` free blocks, gives the others back to malloc.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct pool {
    void *free;
    uint32_t n_free, keep;
    size_t size;
};

void pool_init(struct pool *p, size_t size, uint32_t keep);
void pool_fini(struct pool *p);
/* Uninitialised block or NULL. */
void *pool_get(struct pool *p);
void *pool_get_zero(struct pool *p);
void pool_put(struct pool *p, void *block);
