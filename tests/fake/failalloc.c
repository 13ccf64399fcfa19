#include "failalloc.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *block);

/* The one mutable global state of the tests: malloc has no argument to carry it. */
static _Atomic int64_t n_left = -1; /* allocations before the failure; negative: none is due */
static _Atomic bool has_failed;
static _Atomic int64_t n_live;

void failalloc_after(uint32_t n)
{
    atomic_store(&has_failed, false);
    atomic_store(&n_left, n);
}

_Bool failalloc_disarm(void)
{
    atomic_store(&n_left, -1);
    return atomic_load(&has_failed);
}

int64_t failalloc_n_live(void)
{
    return atomic_load(&n_live);
}

static bool fails(void)
{
    if (atomic_load(&n_left) < 0 || atomic_fetch_sub(&n_left, 1) != 0)
        return false;
    atomic_store(&has_failed, true);
    errno = ENOMEM;
    return true;
}

static void *counted(void *block)
{
    if (block)
        atomic_fetch_add(&n_live, 1);
    return block;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *old, size_t size)
{
    if (fails())
        return NULL;
    void *block = __real_realloc(old, size);
    return old ? block : counted(block);
}

void __wrap_free(void *block)
{
    if (block)
        atomic_fetch_sub(&n_live, 1);
    __real_free(block);
}
