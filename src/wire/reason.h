/* reason.h - MQTT 5 reason codes, and what remains of them in 3.1.1. One table in reason.c.
 *
 * Decoders of this floor return 0 or the negative of one of these codes, so that whoever speaks to
 * the peer can answer with it. */
#pragma once
#include "wire/frame.h"
#include <stdbool.h>
#include <stdint.h>

enum reason {
    REASON_SUCCESS = 0x00, /* normal disconnection, granted QoS 0 */
    REASON_GRANTED_QOS_1 = 0x01,
    REASON_GRANTED_QOS_2 = 0x02,
    REASON_DISCONNECT_WITH_WILL = 0x04,
    REASON_NO_MATCHING_SUBSCRIBERS = 0x10,
    REASON_NO_SUBSCRIPTION_EXISTED = 0x11,
    REASON_CONTINUE_AUTHENTICATION = 0x18,
    REASON_REAUTHENTICATE = 0x19,
    REASON_UNSPECIFIED_ERROR = 0x80,
    REASON_MALFORMED_PACKET = 0x81,
    REASON_PROTOCOL_ERROR = 0x82,
    REASON_IMPLEMENTATION_SPECIFIC_ERROR = 0x83,
    REASON_UNSUPPORTED_PROTOCOL_VERSION = 0x84,
    REASON_CLIENT_ID_NOT_VALID = 0x85,
    REASON_BAD_USER_NAME_OR_PASSWORD = 0x86,
    REASON_NOT_AUTHORIZED = 0x87,
    REASON_SERVER_UNAVAILABLE = 0x88,
    REASON_SERVER_BUSY = 0x89,
    REASON_BANNED = 0x8A,
    REASON_SERVER_SHUTTING_DOWN = 0x8B,
    REASON_BAD_AUTHENTICATION_METHOD = 0x8C,
    REASON_KEEP_ALIVE_TIMEOUT = 0x8D,
    REASON_SESSION_TAKEN_OVER = 0x8E,
    REASON_TOPIC_FILTER_INVALID = 0x8F,
    REASON_TOPIC_NAME_INVALID = 0x90,
    REASON_PACKET_ID_IN_USE = 0x91,
    REASON_PACKET_ID_NOT_FOUND = 0x92,
    REASON_RECEIVE_MAXIMUM_EXCEEDED = 0x93,
    REASON_TOPIC_ALIAS_INVALID = 0x94,
    REASON_PACKET_TOO_LARGE = 0x95,
    REASON_MESSAGE_RATE_TOO_HIGH = 0x96,
    REASON_QUOTA_EXCEEDED = 0x97,
    REASON_ADMINISTRATIVE_ACTION = 0x98,
    REASON_PAYLOAD_FORMAT_INVALID = 0x99,
    REASON_RETAIN_NOT_SUPPORTED = 0x9A,
    REASON_QOS_NOT_SUPPORTED = 0x9B,
    REASON_USE_ANOTHER_SERVER = 0x9C,
    REASON_SERVER_MOVED = 0x9D,
    REASON_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E,
    REASON_CONNECTION_RATE_EXCEEDED = 0x9F,
    REASON_MAXIMUM_CONNECT_TIME = 0xA0,
    REASON_SUBSCRIPTION_IDS_NOT_SUPPORTED = 0xA1,
    REASON_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED = 0xA2,
};

static inline bool reason_is_error(uint8_t code)
{
    return code >= 0x80;
}

/* In MQTT's words, lower case; "unknown reason" for a code that MQTT 5 does not define. Never NULL.
 */
const char *reason_name(uint8_t code);
/* May a packet of this type carry the code? False for undefined codes. */
bool reason_is_allowed(uint8_t code, enum packet_type type);
/* CONNACK return code of 3.1 and 3.1.1 (0..5); -1: there is none that fits, close without CONNACK
 * [MQTT-3.2.2-6 of 3.1.1]. */
int reason_to_connack3(uint8_t code);
/* The other way, for the client's side: -1 for a return code above 5. */
int reason_from_connack3(uint8_t return_code);
