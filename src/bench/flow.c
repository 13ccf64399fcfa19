#include "bench/flow.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int flow_init(struct flow *f, uint64_t n_recent)
{
    uint64_t span = 64;
    while (span < n_recent)
        span *= 2;
    *f = (struct flow){ .mask = span - 1, .seen = calloc(span / 64, sizeof(uint64_t)) };
    return f->seen ? 0 : -ENOMEM;
}

void flow_fini(struct flow *f)
{
    free(f->seen);
    f->seen = NULL;
}

static bool is_seen(const struct flow *f, uint64_t number)
{
    uint64_t at = number & f->mask;
    return f->seen[at / 64] >> (at % 64) & 1;
}

static void set_seen(struct flow *f, uint64_t number, bool seen)
{
    uint64_t at = number & f->mask;
    uint64_t bit = UINT64_C(1) << (at % 64);
    if (seen)
        f->seen[at / 64] |= bit;
    else
        f->seen[at / 64] &= ~bit;
}

/* The numbers from next up to `number` have been skipped: nothing is seen of them. */
static void skip_to(struct flow *f, uint64_t number)
{
    if (number - f->next > f->mask) {
        memset(f->seen, 0, (f->mask + 1) / 64 * sizeof(uint64_t));
    } else {
        for (uint64_t i = f->next; i < number; i++)
            set_seen(f, i, false);
    }
    f->next = number;
}

bool flow_take_odd(struct flow *f, uint64_t number)
{
    if (number >= f->next) {
        skip_to(f, number);
        return flow_take(f, number);
    }
    if (f->next - number > f->mask + 1 || is_seen(f, number)) {
        f->n_duplicated++;
        return false;
    }
    set_seen(f, number, true);
    f->n_reordered++;
    f->n_unique++;
    return true;
}
