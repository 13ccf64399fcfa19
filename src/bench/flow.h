/* flow.h - what one receiver has seen of one publisher's numbered messages.
 *
 * Numbers start at 0. The flow remembers the newest `span` of them bit by bit, so that a message
 * that is late is told from one that comes twice; what is older than that counts as a duplicate.
 * What is missing is asked at the end: lost = sent - n_unique. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct flow {
    uint64_t next; /* above the highest number seen */
    uint64_t n_unique, n_duplicated;
    uint64_t n_reordered; /* came after a higher number */
    uint64_t *seen;       /* bit per number in [next - span, next) */
    uint64_t mask;        /* span - 1 */
};

/* span is at least `n_recent`. 0 or -ENOMEM. */
int flow_init(struct flow *f, uint64_t n_recent);
void flow_fini(struct flow *f);
/* Late, repeated, or numbers were skipped. */
bool flow_take_odd(struct flow *f, uint64_t number);

/* True: this message was not seen before. */
static inline bool flow_take(struct flow *f, uint64_t number)
{
    if (number != f->next)
        return flow_take_odd(f, number);
    uint64_t at = number & f->mask;
    f->seen[at / 64] |= UINT64_C(1) << (at % 64);
    f->next++;
    f->n_unique++;
    return true;
}
