/* outq.h - bytes waiting to be sent: copied ones in chunks from a pool, large ones by reference.
 *
 * A chunk holds records one behind the other, [header, bytes] or [header, reference], so that a
 * reference costs 40 bytes and the next small bytes go on in the same chunk. Embedded in a stream;
 * an empty queue holds no memory. Chunks may be returned to another loop's pools. No I/O. */
#pragma once
#include "base/pool.h"
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct outq_chunk;

struct outq_pools {
    struct pool small, large;
};

struct outq {
    struct outq_chunk *first, *last;
    size_t n_bytes;
    size_t done; /* bytes of the first record that are gone already */
};

typedef void (*outq_release_fn)(void *obj);

void outq_pools_init(struct outq_pools *pools);
void outq_pools_fini(struct outq_pools *pools);

/* 0 or -ENOMEM; then an unknown part of `data` is queued. */
int outq_write(struct outq *q, struct outq_pools *pools, const void *data, size_t len);
/* `n` contiguous bytes, valid until the next call; NULL when out of memory. */
uint8_t *outq_reserve(struct outq *q, struct outq_pools *pools, size_t n);
/* Appends the first `used` of the bytes just reserved. */
void outq_commit(struct outq *q, size_t used);
/* On -ENOMEM the caller still owns obj. */
int outq_write_ref(struct outq *q, struct outq_pools *pools, const void *ptr, size_t len,
                   outq_release_fn release, void *obj);
/* Fills up to n_max entries with the oldest bytes; returns how many. */
int outq_peek(const struct outq *q, struct iovec *iov, int n_max);
/* The oldest `n` bytes are gone; what they occupied is released. pools may be NULL (back to
 * malloc). */
void outq_drop(struct outq *q, struct outq_pools *pools, size_t n);
/* Releases everything. */
void outq_clear(struct outq *q, struct outq_pools *pools);
