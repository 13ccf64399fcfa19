#include "wire/reason.h"
#include <stddef.h>

/* Table 2-6 of MQTT 5.0. */
#define IN(type) (1u << PACKET_##type)
#define ACKS     (IN(PUBACK) | IN(PUBREC))
#define SUBS     (IN(SUBACK) | IN(UNSUBACK))
#define CONN     (IN(CONNACK) | IN(DISCONNECT))
#define NONE     (-1)

struct reason_info {
    const char *name;
    uint16_t packets; /* IN(...) of those that may carry it */
    int8_t connack3;  /* return code of 3.1 and 3.1.1, or NONE */
};

static const struct reason_info reasons[] = {
    [0x00] = { "success", CONN | ACKS | SUBS | IN(PUBREL) | IN(PUBCOMP) | IN(AUTH), 0 },
    [0x01] = { "granted QoS 1", IN(SUBACK), NONE },
    [0x02] = { "granted QoS 2", IN(SUBACK), NONE },
    [0x04] = { "disconnect with will message", IN(DISCONNECT), NONE },
    [0x10] = { "no matching subscribers", ACKS, NONE },
    [0x11] = { "no subscription existed", IN(UNSUBACK), NONE },
    [0x18] = { "continue authentication", IN(AUTH), NONE },
    [0x19] = { "re-authenticate", IN(AUTH), NONE },
    [0x80] = { "unspecified error", CONN | ACKS | SUBS, 3 },
    [0x81] = { "malformed packet", CONN, NONE },
    [0x82] = { "protocol error", CONN, NONE },
    [0x83] = { "implementation specific error", CONN | ACKS | SUBS, 3 },
    [0x84] = { "unsupported protocol version", IN(CONNACK), 1 },
    [0x85] = { "client identifier not valid", IN(CONNACK), 2 },
    [0x86] = { "bad user name or password", IN(CONNACK), 4 },
    [0x87] = { "not authorized", CONN | ACKS | SUBS, 5 },
    [0x88] = { "server unavailable", IN(CONNACK), 3 },
    [0x89] = { "server busy", CONN, 3 },
    [0x8A] = { "banned", IN(CONNACK), 5 },
    [0x8B] = { "server shutting down", IN(DISCONNECT), 3 },
    [0x8C] = { "bad authentication method", CONN, 5 },
    [0x8D] = { "keep alive timeout", IN(DISCONNECT), NONE },
    [0x8E] = { "session taken over", IN(DISCONNECT), NONE },
    [0x8F] = { "topic filter invalid", SUBS | IN(DISCONNECT), NONE },
    [0x90] = { "topic name invalid", CONN | ACKS, NONE },
    [0x91] = { "packet identifier in use", ACKS | SUBS, NONE },
    [0x92] = { "packet identifier not found", IN(PUBREL) | IN(PUBCOMP), NONE },
    [0x93] = { "receive maximum exceeded", IN(DISCONNECT), NONE },
    [0x94] = { "topic alias invalid", IN(DISCONNECT), NONE },
    [0x95] = { "packet too large", CONN, NONE },
    [0x96] = { "message rate too high", IN(DISCONNECT), NONE },
    [0x97] = { "quota exceeded", CONN | ACKS | IN(SUBACK), 3 },
    [0x98] = { "administrative action", IN(DISCONNECT), NONE },
    [0x99] = { "payload format invalid", CONN | ACKS, NONE },
    [0x9A] = { "retain not supported", CONN, NONE },
    [0x9B] = { "QoS not supported", CONN, NONE },
    [0x9C] = { "use another server", CONN, 3 },
    [0x9D] = { "server moved", CONN, 3 },
    [0x9E] = { "shared subscriptions not supported", IN(SUBACK) | IN(DISCONNECT), NONE },
    [0x9F] = { "connection rate exceeded", CONN, 3 },
    [0xA0] = { "maximum connect time", IN(DISCONNECT), NONE },
    [0xA1] = { "subscription identifiers not supported", IN(SUBACK) | IN(DISCONNECT), NONE },
    [0xA2] = { "wildcard subscriptions not supported", IN(SUBACK) | IN(DISCONNECT), NONE },
};

static const struct reason_info *reason_info(uint8_t code)
{
    if (code >= sizeof(reasons) / sizeof(reasons[0]) || !reasons[code].name)
        return NULL;
    return &reasons[code];
}

const char *reason_name(uint8_t code)
{
    const struct reason_info *info = reason_info(code);
    return info ? info->name : "unknown reason";
}

bool reason_is_allowed(uint8_t code, enum packet_type type)
{
    const struct reason_info *info = reason_info(code);
    return info && info->packets & 1u << type;
}

int reason_to_connack3(uint8_t code)
{
    const struct reason_info *info = reason_info(code);
    return info ? info->connack3 : NONE;
}

int reason_from_connack3(uint8_t return_code)
{
    static const uint8_t codes[] = {
        REASON_SUCCESS,
        REASON_UNSUPPORTED_PROTOCOL_VERSION,
        REASON_CLIENT_ID_NOT_VALID,
        REASON_SERVER_UNAVAILABLE,
        REASON_BAD_USER_NAME_OR_PASSWORD,
        REASON_NOT_AUTHORIZED,
    };
    return return_code < sizeof(codes) ? codes[return_code] : NONE;
}
