#include "wire/connect.h"
#include "wire/packet.h"
#include "wire/reason.h"

/* Connect flags (3.1.2.3). */
#define FLAG_RESERVED    0x01
#define FLAG_CLEAN_START 0x02
#define FLAG_WILL        0x04
#define FLAG_WILL_QOS    0x18
#define FLAG_WILL_RETAIN 0x20
#define FLAG_PASSWORD    0x40
#define FLAG_USER_NAME   0x80

#define LEVEL_BRIDGE 0x80 /* set by Mosquitto's bridges; not in any standard */

void connect_packet_init(struct connect_packet *r, enum mqtt_version version)
{
    *r = (struct connect_packet){
        .version = (uint8_t)version,
        .receive_maximum = UINT16_MAX,
        .request_problem_info = true,
    };
}

/* Protocol name and level. Sets r->version also when the protocol is not ours. */
static int connect_decode_protocol(struct cursor *c, struct connect_packet *r)
{
    struct str name = cursor_binary(c);
    if (c->failed)
        return -REASON_MALFORMED_PACKET;
    bool is_31_name = str_eq(name, STR("MQIsdp"));
    if (!is_31_name && !str_eq(name, STR("MQTT")))
        return -REASON_UNSUPPORTED_PROTOCOL_VERSION; /* [MQTT-3.1.2-1] */
    uint8_t level = cursor_u8(c);
    if (c->failed)
        return -REASON_MALFORMED_PACKET;
    r->is_bridge = level & LEVEL_BRIDGE;
    level &= (uint8_t)~LEVEL_BRIDGE;
    if (is_31_name ? level == MQTT_31 : level == MQTT_311 || level == MQTT_5) {
        r->version = level;
        return 0;
    }
    r->version = !is_31_name && level > MQTT_5 ? MQTT_5 : MQTT_311;
    return -REASON_UNSUPPORTED_PROTOCOL_VERSION; /* [MQTT-3.1.2-2] */
}

static int connect_check_flags(uint8_t flags, enum mqtt_version version)
{
    bool has_will = flags & FLAG_WILL;
    if (has_will && (flags & FLAG_WILL_QOS) == FLAG_WILL_QOS)
        return -REASON_MALFORMED_PACKET; /* [MQTT-3.1.2-12] */
    if (version != MQTT_5 && flags & FLAG_PASSWORD && !(flags & FLAG_USER_NAME))
        return -REASON_MALFORMED_PACKET; /* [MQTT-3.1.2-22] of 3.1.1 */
    if (version == MQTT_31) /* leaves the reserved bit open, and will bits without a will */
        return 0;
    if (flags & FLAG_RESERVED)
        return -REASON_MALFORMED_PACKET; /* [MQTT-3.1.2-3] */
    if (!has_will && flags & (FLAG_WILL_QOS | FLAG_WILL_RETAIN))
        return -REASON_MALFORMED_PACKET; /* [MQTT-3.1.2-11] [MQTT-3.1.2-13] */
    return 0;
}

static int connect_decode_props(struct connect_packet *r)
{
    struct property_iter it;
    struct property p;
    int rc;
    property_iter_init(&it, r->props, PROPERTY_IN(PACKET_CONNECT, WIRE_FROM_CLIENT));
    while ((rc = property_next(&it, &p)) > 0) {
        r->present |= PROPERTY_BIT(p.id);
        switch ((enum property_id)p.id) {
        case PROPERTY_SESSION_EXPIRY: r->session_expiry_s = p.number; break;
        case PROPERTY_MAXIMUM_PACKET_SIZE: r->maximum_packet_size = p.number; break;
        case PROPERTY_RECEIVE_MAXIMUM: r->receive_maximum = (uint16_t)p.number; break;
        case PROPERTY_TOPIC_ALIAS_MAXIMUM: r->topic_alias_maximum = (uint16_t)p.number; break;
        case PROPERTY_REQUEST_RESPONSE_INFO: r->request_response_info = p.number; break;
        case PROPERTY_REQUEST_PROBLEM_INFO: r->request_problem_info = p.number; break;
        case PROPERTY_AUTHENTICATION_METHOD: r->auth_method = p.value; break;
        case PROPERTY_AUTHENTICATION_DATA: r->auth_data = p.value; break;
        default: break; /* user properties stay in props */
        }
    }
    if (rc)
        return rc;
    /* 3.1.2.11.10 */
    return r->auth_data.ptr && !r->auth_method.ptr ? -REASON_PROTOCOL_ERROR : 0;
}

static int connect_decode_will_props(struct connect_will *will)
{
    struct property_iter it;
    struct property p;
    int rc;
    property_iter_init(&it, will->props, PROPERTY_IN_WILL);
    while ((rc = property_next(&it, &p)) > 0) {
        switch ((enum property_id)p.id) {
        case PROPERTY_WILL_DELAY: will->delay_s = p.number; break;
        case PROPERTY_PAYLOAD_FORMAT: will->payload_format = (uint8_t)p.number; break;
        case PROPERTY_MESSAGE_EXPIRY:
            will->has_message_expiry = true;
            will->message_expiry_s = p.number;
            break;
        case PROPERTY_CONTENT_TYPE: will->content_type = p.value; break;
        case PROPERTY_RESPONSE_TOPIC: will->response_topic = p.value; break;
        case PROPERTY_CORRELATION_DATA: will->correlation = p.value; break;
        default: break;
        }
    }
    return rc;
}

static void connect_read_will(struct cursor *c, uint8_t flags, struct connect_packet *r)
{
    r->will.is_set = true;
    r->will.retain = flags & FLAG_WILL_RETAIN;
    r->will.qos = (flags & FLAG_WILL_QOS) >> 3;
    if (r->version == MQTT_5)
        r->will.props = cursor_props(c);
    r->will.topic = cursor_string(c); /* [MQTT-3.1.3-11] */
    r->will.payload = cursor_binary(c);
}

/* MQTT 3.1: the remaining length takes precedence over the flags of user name and password. */
static bool connect_expects(const struct cursor *c, const struct connect_packet *r, bool flagged)
{
    return flagged && !(r->version == MQTT_31 && !c->failed && cursor_left(c) == 0);
}

int connect_decode(const struct frame *f, struct connect_packet *r)
{
    struct cursor c;
    connect_packet_init(r, 0);
    cursor_init(&c, f->body, f->len);
    int rc = connect_decode_protocol(&c, r);
    if (rc)
        return rc;
    rc = frame_check(f, r->version);
    if (rc)
        return rc;
    uint8_t flags = cursor_u8(&c);
    r->clean_start = flags & FLAG_CLEAN_START;
    r->keep_alive_s = cursor_u16(&c);
    if (r->version == MQTT_5)
        r->props = cursor_props(&c);
    if (c.failed)
        return -REASON_MALFORMED_PACKET;
    rc = connect_check_flags(flags, r->version);
    if (rc)
        return rc;

    /* Payload, in this order [MQTT-3.1.3-1]. */
    r->client_id = cursor_string(&c);
    if (flags & FLAG_WILL)
        connect_read_will(&c, flags, r);
    if (connect_expects(&c, r, flags & FLAG_USER_NAME))
        r->user_name = cursor_string(&c);
    if (connect_expects(&c, r, flags & FLAG_PASSWORD))
        r->password = cursor_binary(&c);
    if (!cursor_is_done(&c))
        return -REASON_MALFORMED_PACKET;
    rc = connect_decode_props(r);
    return rc ? rc : connect_decode_will_props(&r->will);
}

static void connect_props(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct connect_packet *p = packet;
    const struct {
        uint8_t id;
        uint32_t number;
    } rows[] = {
        { PROPERTY_SESSION_EXPIRY, p->session_expiry_s },
        { PROPERTY_RECEIVE_MAXIMUM, p->receive_maximum },
        { PROPERTY_MAXIMUM_PACKET_SIZE, p->maximum_packet_size },
        { PROPERTY_TOPIC_ALIAS_MAXIMUM, p->topic_alias_maximum },
        { PROPERTY_REQUEST_RESPONSE_INFO, p->request_response_info },
        { PROPERTY_REQUEST_PROBLEM_INFO, p->request_problem_info },
    };
    (void)version;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (p->present & PROPERTY_BIT(rows[i].id))
            property_write_number(w, rows[i].id, rows[i].number);
    }
    packet_write_string_property(w, PROPERTY_AUTHENTICATION_METHOD, p->auth_method);
    packet_write_string_property(w, PROPERTY_AUTHENTICATION_DATA, p->auth_data);
    property_write_users(w, p->props);
}

static void connect_will_props(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct connect_will *will = packet;
    (void)version;
    if (will->delay_s)
        property_write_number(w, PROPERTY_WILL_DELAY, will->delay_s);
    if (will->payload_format)
        property_write_number(w, PROPERTY_PAYLOAD_FORMAT, will->payload_format);
    if (will->has_message_expiry)
        property_write_number(w, PROPERTY_MESSAGE_EXPIRY, will->message_expiry_s);
    packet_write_string_property(w, PROPERTY_CONTENT_TYPE, will->content_type);
    packet_write_string_property(w, PROPERTY_RESPONSE_TOPIC, will->response_topic);
    packet_write_string_property(w, PROPERTY_CORRELATION_DATA, will->correlation);
    property_write_users(w, will->props);
}

static uint8_t connect_flags(const struct connect_packet *p)
{
    unsigned flags = p->clean_start ? FLAG_CLEAN_START : 0;
    if (p->will.is_set)
        flags |= FLAG_WILL | (unsigned)p->will.qos << 3 | (p->will.retain ? FLAG_WILL_RETAIN : 0);
    if (p->user_name.ptr)
        flags |= FLAG_USER_NAME;
    if (p->password.ptr)
        flags |= FLAG_PASSWORD;
    return (uint8_t)flags;
}

static void connect_body(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct connect_packet *p = packet;
    writer_string(w, version == MQTT_31 ? STR("MQIsdp") : STR("MQTT"));
    writer_u8(w, (uint8_t)(version | (p->is_bridge ? LEVEL_BRIDGE : 0)));
    writer_u8(w, connect_flags(p));
    writer_u16(w, p->keep_alive_s);
    if (version == MQTT_5)
        packet_write_props(connect_props, p, version, w);
    writer_string(w, p->client_id);
    if (p->will.is_set) {
        if (version == MQTT_5)
            packet_write_props(connect_will_props, &p->will, version, w);
        writer_string(w, p->will.topic);
        writer_string(w, p->will.payload);
    }
    if (p->user_name.ptr)
        writer_string(w, p->user_name);
    if (p->password.ptr)
        writer_string(w, p->password);
}

size_t connect_size(const struct connect_packet *p)
{
    return packet_size(connect_body, p, p->version);
}

void connect_encode(const struct connect_packet *p, struct writer *w)
{
    packet_encode(PACKET_CONNECT << 4, connect_body, p, p->version, w);
}
