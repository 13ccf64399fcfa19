#include "wire/property.h"
#include "wire/reason.h"

/* Table 2-4 of MQTT 5.0. C: from the client, S: from the server. */
#define C(type) PROPERTY_IN(PACKET_##type, WIRE_FROM_CLIENT)
#define S(type) PROPERTY_IN(PACKET_##type, WIRE_FROM_SERVER)
#define B(type) (C(type) | S(type))

#define IN_MESSAGE (B(PUBLISH) | PROPERTY_IN_WILL)
#define IN_SETUP   (C(CONNECT) | S(CONNACK))
#define IN_REASON                                                                            \
    (S(CONNACK) | B(PUBACK) | B(PUBREC) | B(PUBREL) | B(PUBCOMP) | S(SUBACK) | S(UNSUBACK) | \
     B(DISCONNECT) | B(AUTH))
#define IN_ALL (IN_MESSAGE | IN_REASON | C(CONNECT) | C(SUBSCRIBE) | C(UNSUBSCRIBE))

#define ROW(ID, TYPE, MIN, MAX, ERROR, WHERE, REPEATS, NAME, CLAUSE) \
    [PROPERTY_##ID] = { .id = PROPERTY_##ID,                         \
                        .type = PROPERTY_TYPE_##TYPE,                \
                        .range_error = REASON_##ERROR,               \
                        .min = (MIN),                                \
                        .max = (MAX),                                \
                        .where = (WHERE),                            \
                        .repeats = (REPEATS),                        \
                        .name = (NAME),                              \
                        .clause = (CLAUSE) }
#define FLAG(ID, WHERE, NAME, CLAUSE) ROW(ID, BYTE, 0, 1, PROTOCOL_ERROR, WHERE, 0, NAME, CLAUSE)
#define NUMBER(ID, TYPE, MIN, WHERE, NAME, CLAUSE) \
    ROW(ID, TYPE, MIN, UINT32_MAX, PROTOCOL_ERROR, WHERE, 0, NAME, CLAUSE)
#define TEXT(ID, WHERE, NAME, CLAUSE) \
    ROW(ID, STRING, 0, UINT32_MAX, PROTOCOL_ERROR, WHERE, 0, NAME, CLAUSE)
#define BYTES(ID, WHERE, NAME, CLAUSE) \
    ROW(ID, BINARY, 0, UINT32_MAX, PROTOCOL_ERROR, WHERE, 0, NAME, CLAUSE)

/* clang-format off */
static const struct property_info properties[] = {
    FLAG(PAYLOAD_FORMAT, IN_MESSAGE, "payload format indicator", "3.3.2.3.2"),
    NUMBER(MESSAGE_EXPIRY, U32, 0, IN_MESSAGE, "message expiry interval", "3.3.2.3.3"),
    TEXT(CONTENT_TYPE, IN_MESSAGE, "content type", "3.3.2.3.9 [MQTT-3.3.2-19]"),
    TEXT(RESPONSE_TOPIC, IN_MESSAGE, "response topic", "3.3.2.3.5 [MQTT-3.3.2-13]"),
    BYTES(CORRELATION_DATA, IN_MESSAGE, "correlation data", "3.3.2.3.6"),
    ROW(SUBSCRIPTION_ID, VARINT, 1, WIRE_VARINT_MAX, PROTOCOL_ERROR, C(SUBSCRIBE) | S(PUBLISH),
        S(PUBLISH), "subscription identifier", "3.8.2.1.2 [MQTT-3.3.4-6]"),
    NUMBER(SESSION_EXPIRY, U32, 0, IN_SETUP | C(DISCONNECT), "session expiry interval",
           "3.1.2.11.2 [MQTT-3.14.2-2]"),
    TEXT(ASSIGNED_CLIENT_ID, S(CONNACK), "assigned client identifier", "3.2.2.3.7"),
    NUMBER(SERVER_KEEP_ALIVE, U16, 0, S(CONNACK), "server keep alive", "3.2.2.3.14"),
    TEXT(AUTHENTICATION_METHOD, IN_SETUP | B(AUTH), "authentication method", "3.1.2.11.9"),
    BYTES(AUTHENTICATION_DATA, IN_SETUP | B(AUTH), "authentication data", "3.1.2.11.10"),
    FLAG(REQUEST_PROBLEM_INFO, C(CONNECT), "request problem information", "3.1.2.11.7"),
    NUMBER(WILL_DELAY, U32, 0, PROPERTY_IN_WILL, "will delay interval", "3.1.3.2.2"),
    FLAG(REQUEST_RESPONSE_INFO, C(CONNECT), "request response information", "3.1.2.11.6"),
    TEXT(RESPONSE_INFO, S(CONNACK), "response information", "3.2.2.3.15"),
    TEXT(SERVER_REFERENCE, S(CONNACK) | S(DISCONNECT), "server reference", "3.2.2.3.16"),
    TEXT(REASON_STRING, IN_REASON, "reason string", "3.2.2.3.9"),
    NUMBER(RECEIVE_MAXIMUM, U16, 1, IN_SETUP, "receive maximum", "3.1.2.11.3"),
    NUMBER(TOPIC_ALIAS_MAXIMUM, U16, 0, IN_SETUP, "topic alias maximum", "3.1.2.11.5"),
    ROW(TOPIC_ALIAS, U16, 1, UINT32_MAX, TOPIC_ALIAS_INVALID, B(PUBLISH), 0, "topic alias",
        "3.3.2.3.4 [MQTT-3.3.2-8]"),
    FLAG(MAXIMUM_QOS, S(CONNACK), "maximum QoS", "3.2.2.3.4"),
    FLAG(RETAIN_AVAILABLE, S(CONNACK), "retain available", "3.2.2.3.5"),
    ROW(USER, PAIR, 0, UINT32_MAX, PROTOCOL_ERROR, IN_ALL, IN_ALL, "user property",
        "3.1.2.11.8 [MQTT-1.5.7-1]"),
    NUMBER(MAXIMUM_PACKET_SIZE, U32, 1, IN_SETUP, "maximum packet size", "3.1.2.11.4"),
    FLAG(WILDCARD_AVAILABLE, S(CONNACK), "wildcard subscription available", "3.2.2.3.11"),
    FLAG(SUBSCRIPTION_ID_AVAILABLE, S(CONNACK), "subscription identifiers available", "3.2.2.3.12"),
    FLAG(SHARED_AVAILABLE, S(CONNACK), "shared subscription available", "3.2.2.3.13"),
};
/* clang-format on */

const struct property_info *property_info(uint32_t id)
{
    if (id >= sizeof(properties) / sizeof(properties[0]) || !properties[id].id)
        return NULL;
    return &properties[id];
}

static void property_read_value(struct cursor *c, struct property *r)
{
    switch ((enum property_type)r->type) {
    case PROPERTY_TYPE_BYTE: r->number = cursor_u8(c); break;
    case PROPERTY_TYPE_U16: r->number = cursor_u16(c); break;
    case PROPERTY_TYPE_U32: r->number = cursor_u32(c); break;
    case PROPERTY_TYPE_VARINT: r->number = cursor_varint(c); break;
    case PROPERTY_TYPE_STRING: r->value = cursor_string(c); break;
    case PROPERTY_TYPE_BINARY: r->value = cursor_binary(c); break;
    case PROPERTY_TYPE_PAIR:
        r->key = cursor_string(c);
        r->value = cursor_string(c);
        break;
    }
}

static bool property_is_number(const struct property_info *info)
{
    return info->type <= PROPERTY_TYPE_VARINT;
}

/* The rules for one property of a block that is still unchecked: 0 or negative reason. */
static int property_check_one(struct property_iter *it, const struct property_info *info,
                              uint32_t number)
{
    uint32_t other_side = it->where << 16 | it->where >> 16;
    if (!(info->where & it->where))
        return info->where & other_side ? -REASON_PROTOCOL_ERROR : -REASON_MALFORMED_PACKET;
    if (it->seen & PROPERTY_BIT(info->id) && !(info->repeats & it->where))
        return -REASON_PROTOCOL_ERROR;
    it->seen |= PROPERTY_BIT(info->id);
    if (property_is_number(info) && (number < info->min || number > info->max))
        return -info->range_error;
    return 0;
}

int property_next(struct property_iter *it, struct property *r)
{
    struct cursor *c = &it->c;
    const uint8_t *start = c->at;
    if (c->failed)
        return -REASON_MALFORMED_PACKET;
    if (start == c->end)
        return 0;
    const struct property_info *info = property_info(cursor_varint(c));
    if (!info || c->failed)
        return -REASON_MALFORMED_PACKET;
    *r = (struct property){ .id = info->id, .type = info->type };
    property_read_value(c, r);
    if (c->failed)
        return -REASON_MALFORMED_PACKET;
    r->raw = str_make(start, (size_t)(c->at - start));
    if (!it->where)
        return 1;
    int rc = property_check_one(it, info, r->number);
    return rc ? rc : 1;
}

int property_check(struct str props, uint32_t where)
{
    struct property_iter it;
    struct property p;
    property_iter_init(&it, props, where);
    int rc;
    do {
        rc = property_next(&it, &p);
    } while (rc > 0);
    return rc;
}

bool property_find(struct str props, uint8_t id, struct property *r)
{
    struct property_iter it;
    struct property p;
    property_iter_init(&it, props, 0);
    while (property_next(&it, &p) > 0) {
        if (p.id == id) {
            *r = p;
            return true;
        }
    }
    return false;
}

void property_write_number(struct writer *w, uint8_t id, uint32_t number)
{
    const struct property_info *info = property_info(id);
    if (!info || !property_is_number(info)) {
        w->failed = true;
        return;
    }
    writer_u8(w, id);
    switch ((enum property_type)info->type) {
    case PROPERTY_TYPE_BYTE: writer_u8(w, (uint8_t)number); break;
    case PROPERTY_TYPE_U16: writer_u16(w, (uint16_t)number); break;
    case PROPERTY_TYPE_U32: writer_u32(w, number); break;
    default: writer_varint(w, number); break;
    }
}

void property_write_string(struct writer *w, uint8_t id, struct str value)
{
    writer_u8(w, id);
    writer_string(w, value);
}

void property_write_user(struct writer *w, struct str key, struct str value)
{
    writer_u8(w, PROPERTY_USER);
    writer_string(w, key);
    writer_string(w, value);
}

void property_write_users(struct writer *w, struct str props)
{
    struct property_iter it;
    struct property p;
    property_iter_init(&it, props, 0);
    while (property_next(&it, &p) > 0) {
        if (p.id == PROPERTY_USER)
            writer_bytes(w, p.raw.ptr, p.raw.len);
    }
}
