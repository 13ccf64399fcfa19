/* numbers.h - a set of 64-bit numbers, none of them 0, with a value each: the sessions that exist,
 * and where the queue of each may begin. Open addressing, one thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

/* Values beside a first position. */
#define QUEUE_UNKNOWN 0          /* look through all of it */
#define QUEUE_EMPTY   UINT64_MAX /* nothing was ever queued for it */

struct numbers {
    uint64_t *cells;  /* number, value, number, value, ... */
    uint32_t mask, n; /* cells are mask + 1 */
};

void numbers_fini(struct numbers *set);
/* The value of a number, to be written to; NULL: it is not there. Valid until the next numbers_put
 * or _drop. */
uint64_t *numbers_find(const struct numbers *set, uint64_t number);
/* Adds it with value 0 unless it is there. 0 or -1: no memory. */
int numbers_put(struct numbers *set, uint64_t number);
void numbers_drop(struct numbers *set, uint64_t number);

/* A message of this number goes into the queue. */
static inline void numbers_note_first(uint64_t *first, uint64_t pos)
{
    if (*first != QUEUE_UNKNOWN && pos < *first)
        *first = pos;
}
