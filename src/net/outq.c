#include "net/outq.h"
#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_CHUNK 1024u /* the first chunk of a queue, enough for most turns */
#define LARGE_CHUNK 16384u
#define SMALL_KEEP  1024u /* free chunks kept per loop: 1 MiB each kind */
#define LARGE_KEEP  64u
#define NOT_OPEN    UINT32_MAX

struct record {
    uint32_t len;    /* of the bytes that follow; unused in a reference */
    uint32_t is_ref; /* a struct reference follows */
};

struct reference {
    const uint8_t *ptr;
    size_t len;
    outq_release_fn release;
    void *obj;
};

struct outq_chunk {
    struct outq_chunk *next;
    uint32_t cap;  /* bytes of data[] */
    uint32_t read; /* first record that is not gone */
    uint32_t used; /* end of the last record */
    uint32_t open; /* the last record if it can still grow, else NOT_OPEN */
    _Alignas(8) uint8_t data[];
};

#define CHUNK_CAP(size) ((uint32_t)((size) - sizeof(struct outq_chunk)))

void outq_pools_init(struct outq_pools *pools)
{
    pool_init(&pools->small, SMALL_CHUNK, SMALL_KEEP);
    pool_init(&pools->large, LARGE_CHUNK, LARGE_KEEP);
}

void outq_pools_fini(struct outq_pools *pools)
{
    pool_fini(&pools->small);
    pool_fini(&pools->large);
}

static uint32_t align8(uint32_t n)
{
    return (n + 7u) & ~7u;
}

static struct record *record_at(const struct outq_chunk *c, uint32_t pos)
{
    return (struct record *)(void *)((uintptr_t)c->data + pos);
}

static struct reference *reference_of(struct record *r)
{
    return (struct reference *)(void *)(r + 1);
}

static size_t record_bytes(struct record *r)
{
    return r->is_ref ? reference_of(r)->len : r->len;
}

static uint32_t record_end(const struct record *r, uint32_t pos)
{
    uint32_t body = r->is_ref ? (uint32_t)sizeof(struct reference) : r->len;

    return align8(pos + (uint32_t)sizeof(*r) + body);
}

/* Appends a chunk whose data[] has room for at least `need` bytes. */
static struct outq_chunk *chunk_append(struct outq *q, struct outq_pools *pools, size_t need)
{
    struct outq_chunk *c;
    size_t size;

    if (!q->first && need <= CHUNK_CAP(SMALL_CHUNK)) {
        size = SMALL_CHUNK;
        c = pool_get(&pools->small);
    } else if (need <= CHUNK_CAP(LARGE_CHUNK)) {
        size = LARGE_CHUNK;
        c = pool_get(&pools->large);
    } else {
        if (need > UINT32_MAX / 2)
            return NULL;
        size = sizeof(*c) + ((need + 7) & ~(size_t)7);
        c = malloc(size);
    }
    if (!c)
        return NULL;
    *c = (struct outq_chunk){ .cap = CHUNK_CAP(size), .open = NOT_OPEN };
    if (q->last)
        q->last->next = c;
    else
        q->first = c;
    q->last = c;
    return c;
}

static void chunk_free(struct outq_chunk *c, struct outq_pools *pools)
{
    if (pools && c->cap == CHUNK_CAP(SMALL_CHUNK))
        pool_put(&pools->small, c);
    else if (pools && c->cap == CHUNK_CAP(LARGE_CHUNK))
        pool_put(&pools->large, c);
    else
        free(c);
}

/* Contiguous free bytes behind the last record, a new header already taken off. */
static uint32_t room(const struct outq_chunk *c)
{
    uint32_t start;

    if (!c)
        return 0;
    if (c->open != NOT_OPEN)
        return c->cap - c->used;
    start = align8(c->used) + (uint32_t)sizeof(struct record);
    return start < c->cap ? c->cap - start : 0;
}

static void record_open(struct outq_chunk *c)
{
    if (c->open != NOT_OPEN)
        return;
    c->open = align8(c->used);
    *record_at(c, c->open) = (struct record){ 0 };
    c->used = c->open + (uint32_t)sizeof(struct record);
}

uint8_t *outq_reserve(struct outq *q, struct outq_pools *pools, size_t n)
{
    struct outq_chunk *c = q->last;

    if (room(c) < n || !c) {
        c = chunk_append(q, pools, n + sizeof(struct record));
        if (!c)
            return NULL;
    }
    record_open(c);
    return c->data + c->used;
}

void outq_commit(struct outq *q, size_t used)
{
    struct outq_chunk *c = q->last;

    assert(c && c->open != NOT_OPEN && used <= c->cap - c->used);
    record_at(c, c->open)->len += (uint32_t)used;
    c->used += (uint32_t)used;
    q->n_bytes += used;
}

int outq_write(struct outq *q, struct outq_pools *pools, const void *data, size_t len)
{
    const uint8_t *from = data;

    while (len > 0) {
        size_t n = room(q->last);
        size_t piece_max = CHUNK_CAP(LARGE_CHUNK) - sizeof(struct record);
        uint8_t *to;

        if (n == 0)
            n = piece_max;
        n = n < len ? n : len;
        to = outq_reserve(q, pools, n);
        if (!to)
            return -ENOMEM;
        memcpy(to, from, n);
        outq_commit(q, n);
        from += n;
        len -= n;
    }
    return 0;
}

int outq_write_ref(struct outq *q, struct outq_pools *pools, const void *ptr, size_t len,
                   outq_release_fn release, void *obj)
{
    const uint32_t need = sizeof(struct record) + sizeof(struct reference);
    struct outq_chunk *c = q->last;
    uint32_t pos;

    if (!c || align8(c->used) + need > c->cap) {
        c = chunk_append(q, pools, need);
        if (!c)
            return -ENOMEM;
    }
    pos = align8(c->used);
    *record_at(c, pos) = (struct record){ .is_ref = 1 };
    *reference_of(record_at(c, pos)) = (struct reference){ ptr, len, release, obj };
    c->used = pos + need;
    c->open = NOT_OPEN;
    q->n_bytes += len;
    return 0;
}

int outq_peek(const struct outq *q, struct iovec *iov, int n_max)
{
    size_t skip = q->done;
    int n = 0;

    for (struct outq_chunk *c = q->first; c; c = c->next) {
        for (uint32_t pos = c->read; pos < c->used;) {
            struct record *r = record_at(c, pos);
            const uint8_t *bytes = r->is_ref ? reference_of(r)->ptr : (const uint8_t *)(r + 1);
            size_t len = record_bytes(r);

            pos = record_end(r, pos);
            if (len > skip) {
                if (n == n_max)
                    return n;
                iov[n].iov_base = (void *)(uintptr_t)(bytes + skip);
                iov[n++].iov_len = len - skip;
            }
            skip = 0;
        }
    }
    return n;
}

static void chunk_pop(struct outq *q, struct outq_pools *pools)
{
    struct outq_chunk *c = q->first;

    q->first = c->next;
    if (!q->first)
        q->last = NULL;
    chunk_free(c, pools);
}

/* Passes over records that are wholly within the oldest n + done bytes. */
static void drop_records(struct outq *q, struct outq_pools *pools, size_t n, bool everything)
{
    size_t left = n + q->done;

    q->done = 0;
    while (q->first) {
        struct outq_chunk *c = q->first;

        while (c->read < c->used) {
            struct record *r = record_at(c, c->read);
            size_t len = record_bytes(r);

            if (!everything && left < len) {
                q->done = left;
                return;
            }
            left -= left < len ? left : len;
            c->read = record_end(r, c->read);
            if (r->is_ref) {
                struct reference ref = *reference_of(r);

                ref.release(ref.obj);
            }
        }
        chunk_pop(q, pools);
    }
}

void outq_drop(struct outq *q, struct outq_pools *pools, size_t n)
{
    assert(n <= q->n_bytes);
    q->n_bytes -= n;
    drop_records(q, pools, n, false);
}

void outq_clear(struct outq *q, struct outq_pools *pools)
{
    q->n_bytes = 0;
    drop_records(q, pools, 0, true);
}
