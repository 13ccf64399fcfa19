/* local.h - what plugins may do in the broker: publish, subscribe, kick, numbers. */
#pragma once
#include "broker/broker.h"
#include "broker/deliver.h"

/* A plugin's subscription: an index entry without a session. */
struct local_sub;
/* For lists; borrowed. plugin: whose it is. */
void local_view(const struct local_sub *sub, pigeon_sub *r_view, const char **r_plugin);
extern const struct hooks_ops local_hooks_ops;
/* A message for a plugin's subscription, if it is still number `number`. */
void local_deliver(struct local_sub *sub, uint64_t number, struct message *message);
