/* arena.h - memory that is given back all at once: a configuration, its text and its tree live in
 * one. Owned by one struct, used by one thread. Nothing in it is freed alone; arena_fini wipes what
 * it frees, because secrets lie in it. */
#pragma once
#include "base/str.h"
#include <stddef.h>

struct arena_chunk;
struct arena {
    struct arena_chunk *chunks;
};

void arena_init(struct arena *a);
void arena_fini(struct arena *a);
/* Zeroed memory for any type, or NULL. */
void *arena_alloc(struct arena *a, size_t size);
/* n * size, or NULL also when that overflows. Never NULL for n == 0 but out of memory. */
void *arena_array(struct arena *a, size_t n, size_t size);
/* A copy with a NUL behind it, or NULL. */
char *arena_dup(struct arena *a, struct str s);
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));
