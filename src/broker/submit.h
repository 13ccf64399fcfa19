/* submit.h - what the store has to know about the publishes of a turn: one batch for all of them,
 * in order, and their routing around it. QoS 0 and 1 are routed when they have their place in the
 * store's order, QoS 2 when it is committed, none of them past an earlier one. docs/decisions/0002.
 */
#pragma once
#include "broker/publish.h"

void submit_init(struct publish *p);
/* Is there anything about this message that the store has to know? */
bool submit_is_needed(const struct publish *p, const struct match *m);
/* It waits for the end of the turn; publish_run is called when it is answered. */
void submit_append(struct publish *p);
/* The end of the turn. true: there was something. */
bool submit_turn(struct shard *s);
/* The commit failed: the retained message is again the one before, rows that were counted are not
 * there. */
void submit_take_back(struct publish *p);
/* Adds the end of a stored will to the open unit, with its session's if that ends with it. */
void submit_will_row(struct publish *p);
/* Drops what it holds for a publish that ends. */
void submit_forget(struct publish *p);
