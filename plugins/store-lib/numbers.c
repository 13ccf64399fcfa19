#include "numbers.h"
#include <stdlib.h>
#include <string.h>

#define CELLS_MIN 64u

static uint32_t place_of(const struct numbers *set, uint64_t number)
{
    return (uint32_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & set->mask;
}

void numbers_fini(struct numbers *set)
{
    free(set->cells);
    *set = (struct numbers){ 0 };
}

/* Where it is, or the empty cell where it would be. */
static uint32_t probe(const struct numbers *set, uint64_t number)
{
    uint32_t at = place_of(set, number);

    while (set->cells[2 * (size_t)at] && set->cells[2 * (size_t)at] != number)
        at = (at + 1) & set->mask;
    return at;
}

uint64_t *numbers_find(const struct numbers *set, uint64_t number)
{
    uint32_t at;

    if (!set->cells)
        return NULL;
    at = probe(set, number);
    return set->cells[2 * (size_t)at] ? &set->cells[2 * (size_t)at + 1] : NULL;
}

static int grow(struct numbers *set)
{
    uint32_t cells = set->cells ? (set->mask + 1) * 2 : CELLS_MIN;
    struct numbers bigger = { .mask = cells - 1, .n = set->n };

    bigger.cells = calloc(cells, 2 * sizeof(*bigger.cells));
    if (!bigger.cells)
        return -1;
    for (uint32_t i = 0; set->cells && i <= set->mask; i++)
        if (set->cells[2 * (size_t)i])
            memcpy(&bigger.cells[2 * (size_t)probe(&bigger, set->cells[2 * (size_t)i])],
                   &set->cells[2 * (size_t)i], 2 * sizeof(*set->cells));
    free(set->cells);
    *set = bigger;
    return 0;
}

int numbers_put(struct numbers *set, uint64_t number)
{
    uint32_t at;

    if ((!set->cells || set->n >= set->mask / 4 * 3) && grow(set))
        return -1;
    at = probe(set, number);
    if (set->cells[2 * (size_t)at])
        return 0;
    set->cells[2 * (size_t)at] = number;
    set->cells[2 * (size_t)at + 1] = 0;
    set->n++;
    return 0;
}

/* Cells behind it move up, so that no probe ends too early. */
void numbers_drop(struct numbers *set, uint64_t number)
{
    uint32_t hole, at;

    if (!numbers_find(set, number))
        return;
    hole = at = probe(set, number);
    set->n--;
    for (;;) {
        uint64_t *cell;
        uint32_t home;

        at = (at + 1) & set->mask;
        cell = &set->cells[2 * (size_t)at];
        if (!cell[0])
            break;
        home = place_of(set, cell[0]);
        if (((at - home) & set->mask) < ((at - hole) & set->mask))
            continue;
        memcpy(&set->cells[2 * (size_t)hole], cell, 2 * sizeof(*cell));
        hole = at;
    }
    set->cells[2 * (size_t)hole] = 0;
}
