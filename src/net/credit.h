/* credit.h - bounds the data that loops post to one another.
 *
 * The poster counts units (items, or receivers of an item) into the receiver's load when it posts,
 * the receiver counts them out when it has dealt with them. A poster that finds the load at `high`
 * is told to pause the publishers that feed that receiver; it goes on with everything else. At
 * `low` or less the receiver posts RESUME to whoever paused. Own posts and groups of one loop cost
 * and count nothing. A mailbox never holds more than high + (loops - 1) x one turn. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

struct credit;
struct loop;
struct loop_group;

enum credit_gap { CREDIT_BEFORE_BIT, CREDIT_AFTER_BIT, CREDIT_BEFORE_EXCHANGE };

/* Called on loop `me`, strictly in turn for each receiver: on_pause, on_resume, on_pause ... */
struct credit_ops {
    void (*on_pause)(void *ctx, struct loop *me, uint32_t receiver);
    void (*on_resume)(void *ctx, struct loop *me, uint32_t receiver);
    /* For tests: called in each gap of the protocol in which a receiver may act. Else NULL. */
    void (*in_gap)(void *ctx, enum credit_gap gap);
};

/* 0 <= low < high. 0, -ENOMEM, -EINVAL. */
int credit_new(struct loop_group *group, uint32_t high, uint32_t low, const struct credit_ops *ops,
               void *ctx, struct credit **r_credit);
/* No loop may be running, and no RESUME under way (loop_group_settle). */
void credit_free(struct credit **credit);
/* [loop me] Before the loop_post of `n` units; may call on_pause. */
void credit_add(struct credit *credit, struct loop *me, uint32_t receiver, uint32_t n);
/* [loop me] `n` received units are dealt with; may post RESUME. Only units of other loops. */
void credit_sub(struct credit *credit, struct loop *me, uint32_t n);
/* [loop me] Are this loop's publishers that feed `receiver` to be paused now? */
bool credit_is_paused(const struct credit *credit, const struct loop *me, uint32_t receiver);
/* [loop me] Is any receiver of this loop over its limit? */
bool credit_is_any_paused(const struct credit *credit, const struct loop *me);
/* [any] Units under way to `receiver`. */
uint32_t credit_load(const struct credit *credit, uint32_t receiver);
