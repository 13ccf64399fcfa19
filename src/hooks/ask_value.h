/* ask_value.h - what plugins have set, applied to what the next entry of the chain sees; private to
 * hooks/.
 *
 * Nothing is changed in place: a rewritten message, CONNECT or filter is a new object, because a
 * plugin that was asked before may still look at the old one. */
#pragma once
#include "hooks/ask.h"

void ask_values_free(struct ask_value **values);
/* Takes over `added` (a list, end at `last`) and rewrites message, subject and who_now of the ask
 * accordingly. 0 or -ENOMEM; the values belong to the ask either way. */
int ask_values_apply(struct ask *ask, struct ask_value *added, struct ask_value **last);
/* Takes them over without rewriting anything, for a denial. */
void ask_values_keep(struct ask *ask, struct ask_value *added, struct ask_value **last);
/* The rules among the values become the client's. 0, -ENOMEM, or -EPERM: a plugin pushed rules but
 * has no place in the `authorize` chain, then *r_plugin is its index. */
int ask_values_commit_rules(struct ask *ask, uint32_t *r_plugin);
