/* retain.h - retained messages for a new subscription, read in portions; and their expiry. */
#pragma once
#include "broker/session.h"

/* Starts reading for a subscription just made; version: what index_put was given. -ENOMEM. */
int retain_read_start(struct session *session, const struct sub *sub, uint64_t version);
/* The client can take more: its next read goes on. */
void retain_wake(struct session *session);
/* Portions for everybody who can take some. true: there is more to do in this turn. */
bool retain_turn(struct shard *s);
/* The subscription is taken away: what has not been read for it is not sent. */
void retain_stop(struct client *c, const struct sub *sub);
/* The client of these reads is gone. */
void retain_client_gone(struct client *c);
