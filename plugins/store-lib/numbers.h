/* numbers.h - a set of 64-bit numbers, none of them 0, with a value each. Open addressing, one
 * thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

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
