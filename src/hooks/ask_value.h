/* ask_value.h - what plugins have set, applied to what the next entry of the chain sees; private to
 * hooks/.
 *
 * Nothing is changed in place: a rewritten message, CONNECT or filter is a new object, because a
 * plugin that was asked before may still look at the old one. */
#pragma once
#include "hooks/exchange.h"

void ask_values_free(struct ask_value **values);
/* Takes over `added` (a list, end at `last`) and rewrites message, subject and who_now of the ask
 * accordingly. 0 or -ENOMEM; the values belong to the ask either way. */
int ask_values_apply(struct ask *ask, struct ask_value *added, struct ask_value **last);
/* Takes them over without rewriting anything, for a denial. */
void ask_values_keep(struct ask *ask, struct ask_value *added, struct ask_value **last);
/* PIGEON_CONTINUE: the exchange keeps what its steps set until the last one, but for the data,
 * which is for the client now. */
void ask_values_save(struct ask *ask, struct exchange *x);
void ask_values_restore(struct ask *ask, struct exchange *x);
/* Nothing of what this plugin set. */
void ask_values_drop(struct ask *ask, uint32_t plugin);
/* The rules among the values become the client's; those of a re-authentication replace the plugin's
 * earlier ones. 0, -ENOMEM, -EPERM: a plugin pushed rules but has no place in the `authorize`
 * chain, or -ESTALE: it has taken back since what it says; *r_plugin is its index then. */
int ask_values_commit_rules(struct ask *ask, uint32_t *r_plugin);
