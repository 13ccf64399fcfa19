/* revoke.h - a client's rights have changed: what it holds is looked at again (X3).
 *
 * hooks/ has dropped what the plugin had said before any of this is called. Whoever had pushed
 * rules loses the client: rules come with authenticating, so it has to do that again. About the
 * others' subscriptions the plugins are asked once more. What is not there yet is looked at when it
 * arrives: a SUBSCRIBE after its commit, a CONNECT when it is attached, an offline session's
 * subscriptions when they are restored, a will when it is sent. */
#pragma once
#include "broker/session.h"
#include "hooks/ask.h"

/* hooks_ops.invalidate */
void revoke_order(void *broker, uint32_t loop, const char *plugin, struct str client_id,
                  struct str username);
/* Some plugin does not stand by what it said about this client, or it has authenticated again: who
 * has lost rules is sent away, of the others all subscriptions are asked about, and those now
 * denied go. */
void revoke_look(struct client *c);
/* The question as it was when the client subscribed: what entries of the chain make of the filter
 * is their business again. NULL: out of memory. */
struct sub_info *revoke_question(const struct sub *sub, bool restored);
/* The answer: stays, stays with another filter, or goes, from the store, too. Without set_filter
 * the effective filter stays what it was: what the client asked for may be wider. */
void revoke_settle(struct session *session, struct sub *sub, const struct ask *ask,
                   const char *log_key, struct identity *who);
