/* subscribe.h - SUBSCRIBE and UNSUBSCRIBE: authorise each filter, commit, change the index, answer,
 * then the retained messages. P4 of docs/concurrency.md. */
#pragma once
#include "broker/session.h"

/* The client is gone: what was not submitted is dropped, the rest goes on without it. */
void subscribe_client_gone(struct client *c);
