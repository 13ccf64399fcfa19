/* events.h - facts for plugins. Each call costs one bit test when nobody listens; views are built only then.
 * On the loop of the client. */
#pragma once
#include "hooks/hooks.h"
#include "hooks/subject.h"

enum hook_event {
    EVENT_CLIENT, EVENT_CLIENT_READY, EVENT_CLIENT_DISCONNECT, EVENT_CLIENT_ERROR, EVENT_CONNECTION_ERROR,
    EVENT_KEEPALIVE_TIMEOUT, EVENT_CONNACK_SENT, EVENT_SUBSCRIBED, EVENT_UNSUBSCRIBED, EVENT_PUBLISH,
    EVENT_ACK, EVENT_PING, EVENT_HEARTBEAT, EVENT_DROPPED, EVENT_SESSION_END, EVENT_WILL_DROPPED,
    EVENT_ERROR, EVENT_CLOSED, EVENT_COUNT
};
bool events_wants(const struct hook_loop *hl, enum hook_event event);

void events_client(struct hook_loop *hl, const struct identity *who);
void events_client_ready(struct hook_loop *hl, const struct identity *who);
void events_client_disconnect(struct hook_loop *hl, const struct identity *who, uint8_t reason, const char *text);
void events_client_error(struct hook_loop *hl, const struct identity *who, uint8_t reason, const char *text);
void events_connection_error(struct hook_loop *hl, const struct identity *who, uint8_t reason, const char *text);
void events_keepalive_timeout(struct hook_loop *hl, const struct identity *who);
void events_connack_sent(struct hook_loop *hl, const struct identity *who, uint8_t reason, bool present);
void events_subscribed(struct hook_loop *hl, const struct identity *who, const pigeon_sub *subs, uint32_t n);
void events_unsubscribed(struct hook_loop *hl, const struct identity *who, const struct str *filters, uint32_t n);
void events_publish(struct hook_loop *hl, const struct identity *who, struct message *message);
void events_ack(struct hook_loop *hl, const struct identity *who, struct message *message, uint16_t packet_id);
void events_ping(struct hook_loop *hl, const struct identity *who);
void events_heartbeat(struct hook_loop *hl);
void events_dropped(struct hook_loop *hl, const struct identity *who, struct message *message, uint32_t why);
void events_session_end(struct hook_loop *hl, struct str client_id, uint32_t why);
void events_will_dropped(struct hook_loop *hl, struct str client_id, struct message *will, uint8_t reason);
void events_error(struct hook_loop *hl, int32_t err, const char *text);
void events_closed(struct hook_loop *hl);
