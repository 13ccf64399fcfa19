/* property.h - MQTT 5 properties: one table of where each may stand, an iterator, and writers.
 *
 * A property block travels as the raw bytes behind its length ("props"). Decoders check a block
 * once with the table's rules; who walks it later gets the same views again. Nothing is copied on
 * the way in. */
#pragma once
#include "base/str.h"
#include "wire/cursor.h"
#include "wire/frame.h"
#include "wire/writer.h"
#include <stdint.h>

enum property_id {
    PROPERTY_PAYLOAD_FORMAT = 0x01,
    PROPERTY_MESSAGE_EXPIRY = 0x02,
    PROPERTY_CONTENT_TYPE = 0x03,
    PROPERTY_RESPONSE_TOPIC = 0x08,
    PROPERTY_CORRELATION_DATA = 0x09,
    PROPERTY_SUBSCRIPTION_ID = 0x0B,
    PROPERTY_SESSION_EXPIRY = 0x11,
    PROPERTY_ASSIGNED_CLIENT_ID = 0x12,
    PROPERTY_SERVER_KEEP_ALIVE = 0x13,
    PROPERTY_AUTHENTICATION_METHOD = 0x15,
    PROPERTY_AUTHENTICATION_DATA = 0x16,
    PROPERTY_REQUEST_PROBLEM_INFO = 0x17,
    PROPERTY_WILL_DELAY = 0x18,
    PROPERTY_REQUEST_RESPONSE_INFO = 0x19,
    PROPERTY_RESPONSE_INFO = 0x1A,
    PROPERTY_SERVER_REFERENCE = 0x1C,
    PROPERTY_REASON_STRING = 0x1F,
    PROPERTY_RECEIVE_MAXIMUM = 0x21,
    PROPERTY_TOPIC_ALIAS_MAXIMUM = 0x22,
    PROPERTY_TOPIC_ALIAS = 0x23,
    PROPERTY_MAXIMUM_QOS = 0x24,
    PROPERTY_RETAIN_AVAILABLE = 0x25,
    PROPERTY_USER = 0x26,
    PROPERTY_MAXIMUM_PACKET_SIZE = 0x27,
    PROPERTY_WILDCARD_AVAILABLE = 0x28,
    PROPERTY_SUBSCRIPTION_ID_AVAILABLE = 0x29,
    PROPERTY_SHARED_AVAILABLE = 0x2A,
};

/* All identifiers are below 64: sets of properties are bit masks (`present` in the packet structs).
 */
#define PROPERTY_BIT(id) (UINT64_C(1) << (id))

enum property_type {
    PROPERTY_TYPE_BYTE,
    PROPERTY_TYPE_U16,
    PROPERTY_TYPE_U32,
    PROPERTY_TYPE_VARINT,
    PROPERTY_TYPE_STRING,
    PROPERTY_TYPE_BINARY,
    PROPERTY_TYPE_PAIR,
};

/* A place where properties stand: a packet from one of the two sides, or the will inside CONNECT.
 */
#define PROPERTY_IN(type, from) \
    (UINT32_C(1) << ((unsigned)(type) + ((from) == WIRE_FROM_SERVER ? 16u : 0u)))
#define PROPERTY_IN_WILL UINT32_C(1)

struct property_info {
    uint8_t id;
    uint8_t type;        /* enum property_type */
    uint8_t range_error; /* reason code for a number outside min..max */
    uint32_t min, max;   /* of the number */
    uint32_t where;      /* PROPERTY_IN(...) | ... */
    uint32_t repeats;    /* of those places, where it may stand more than once */
    const char *name;
    const char *clause; /* of MQTT 5.0 */
};

struct property {
    uint8_t id;
    uint8_t type;     /* enum property_type */
    uint32_t number;  /* byte, u16, u32, varint */
    struct str value; /* string, binary, second half of a pair */
    struct str key;   /* first half of a pair */
    struct str raw;   /* identifier and value as they stand on the wire */
};

struct property_iter {
    struct cursor c;
    uint32_t where; /* 0: no rules, for blocks that were checked before */
    uint64_t seen;
};

/* NULL when MQTT 5 does not define the identifier. */
const struct property_info *property_info(uint32_t id);

/* where: one PROPERTY_IN bit; 0 only splits the block. */
static inline void property_iter_init(struct property_iter *it, struct str props, uint32_t where)
{
    cursor_init(&it->c, props.ptr, props.len);
    it->where = where;
    it->seen = 0;
}

/* 1: the next property is in *r; 0: end; negative: -REASON_MALFORMED_PACKET (unknown identifier,
 * wrong type of packet (2.2.2.2), truncated, not UTF-8), -REASON_PROTOCOL_ERROR (twice, sent by the
 * wrong side, value out of range), -REASON_TOPIC_ALIAS_INVALID (alias 0). */
int property_next(struct property_iter *it, struct property *r);
/* Walks a whole block: 0 or the error of property_next. */
int property_check(struct str props, uint32_t where);
/* First property with that identifier in a checked block: true and *r, or false. */
bool property_find(struct str props, uint8_t id, struct property *r);

/* With the width of the property's type. */
void property_write_number(struct writer *w, uint8_t id, uint32_t number);
void property_write_string(struct writer *w, uint8_t id, struct str value); /* string or binary */
void property_write_user(struct writer *w, struct str key, struct str value);
/* Copies the user properties of a checked block, in their order; the rest is left out. */
void property_write_users(struct writer *w, struct str props);
