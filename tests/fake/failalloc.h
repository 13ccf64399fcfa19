/* failalloc.h - an allocator that fails on purpose.
 *
 * Linked into every unit test by --wrap=malloc,calloc,realloc,free, so it sees what the test and
 * the static libraries under test allocate, and nothing of libc's or other shared libraries' own.
 */
#pragma once
#include <stdint.h>

/* The next `n` allocations succeed, the one after them fails, later ones succeed again. */
void failalloc_after(uint32_t n);
/* No failure any more; true when the armed one has happened. */
_Bool failalloc_disarm(void);
/* Blocks allocated and not yet freed. A test compares two readings. */
int64_t failalloc_n_live(void);
