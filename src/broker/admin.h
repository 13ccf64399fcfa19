/* admin.h - what the broker does for pigeon.admin/1: lists of sessions, subscriptions and retained
 * messages, a portion at a time; bans; the end of a session. */
#pragma once
#include "broker/broker.h"
#include "hooks/host_admin.h"

extern const struct admin_ops admin_hooks_ops;
/* Is this CONNECT refused before anybody is asked? true: with the reason in `text`. */
bool admin_is_banned(struct broker *b, const struct identity *who, char *text, size_t size);
