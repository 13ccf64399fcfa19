/* share.h - shared subscriptions beyond the choice that index_match makes: what a chosen member
 * could not take goes to another one (QoS 0 and 1; never QoS 2 that was begun) [MQTT-4.8.2-4]
 * [MQTT-4.8.2-5]. */
#pragma once
#include "broker/route.h"
#include "broker/session.h"

#define SHARE_HOPS_MAX 4

/* The receiver did not take the message: choose another member, on whatever loop it lives. hops:
 * how often that has happened to this message. */
void share_bounce(struct shard *s, const struct routed *r, const struct receiver *refused);
/* A session ends: its unacknowledged QoS 1 messages and queued messages of shared subscriptions go
 * to other members. Called before they are freed. */
void share_hand_over(struct session *session);
