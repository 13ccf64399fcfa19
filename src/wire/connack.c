#include "wire/connack.h"
#include "wire/packet.h"
#include "wire/reason.h"

static void connack_take_property(struct connack_packet *r, const struct property *p)
{
    r->present |= PROPERTY_BIT(p->id);
    switch ((enum property_id)p->id) {
    case PROPERTY_SESSION_EXPIRY: r->session_expiry_s = p->number; break;
    case PROPERTY_MAXIMUM_PACKET_SIZE: r->maximum_packet_size = p->number; break;
    case PROPERTY_RECEIVE_MAXIMUM: r->receive_maximum = (uint16_t)p->number; break;
    case PROPERTY_TOPIC_ALIAS_MAXIMUM: r->topic_alias_maximum = (uint16_t)p->number; break;
    case PROPERTY_SERVER_KEEP_ALIVE: r->server_keep_alive_s = (uint16_t)p->number; break;
    case PROPERTY_MAXIMUM_QOS: r->maximum_qos = (uint8_t)p->number; break;
    case PROPERTY_RETAIN_AVAILABLE: r->retain_available = p->number; break;
    case PROPERTY_WILDCARD_AVAILABLE: r->wildcard_available = p->number; break;
    case PROPERTY_SUBSCRIPTION_ID_AVAILABLE: r->subscription_ids_available = p->number; break;
    case PROPERTY_SHARED_AVAILABLE: r->shared_available = p->number; break;
    case PROPERTY_ASSIGNED_CLIENT_ID: r->assigned_client_id = p->value; break;
    case PROPERTY_RESPONSE_INFO: r->response_info = p->value; break;
    case PROPERTY_SERVER_REFERENCE: r->server_reference = p->value; break;
    case PROPERTY_AUTHENTICATION_METHOD: r->auth_method = p->value; break;
    case PROPERTY_AUTHENTICATION_DATA: r->auth_data = p->value; break;
    case PROPERTY_REASON_STRING: r->reason_string = p->value; break;
    default: break; /* user properties stay in props */
    }
}

static int connack_decode_props(struct connack_packet *r)
{
    struct property_iter it;
    struct property p;
    int rc;
    property_iter_init(&it, r->props, PROPERTY_IN(PACKET_CONNACK, WIRE_FROM_SERVER));
    while ((rc = property_next(&it, &p)) > 0)
        connack_take_property(r, &p);
    return rc;
}

int connack_decode(const struct frame *f, enum mqtt_version version, struct connack_packet *r)
{
    struct cursor c;
    int rc = frame_check(f, version);
    if (rc)
        return rc;
    cursor_init(&c, f->body, f->len);
    *r = (struct connack_packet){
        .receive_maximum = UINT16_MAX,
        .maximum_qos = 2,
        .retain_available = true,
        .wildcard_available = true,
        .subscription_ids_available = true,
        .shared_available = true,
    };
    uint8_t flags = cursor_u8(&c);
    if (version == MQTT_31) /* reserved there */
        flags = 0;
    int reason = cursor_u8(&c);
    if (version == MQTT_5)
        r->props = cursor_props(&c);
    else
        reason = reason_from_connack3((uint8_t)reason);
    if (!cursor_is_done(&c) || flags > 1) /* [MQTT-3.2.2-1] */
        return -REASON_MALFORMED_PACKET;
    if (reason < 0 || !reason_is_allowed((uint8_t)reason, PACKET_CONNACK))
        return -REASON_PROTOCOL_ERROR; /* [MQTT-3.2.2-8] */
    if (flags && reason != REASON_SUCCESS)
        return -REASON_PROTOCOL_ERROR; /* [MQTT-3.2.2-6] */
    r->session_present = flags;
    r->reason = (uint8_t)reason;
    return connack_decode_props(r);
}

static void connack_write_numbers(const struct connack_packet *p, struct writer *w)
{
    const struct {
        uint8_t id;
        uint32_t number;
    } rows[] = {
        { PROPERTY_SESSION_EXPIRY, p->session_expiry_s },
        { PROPERTY_RECEIVE_MAXIMUM, p->receive_maximum },
        { PROPERTY_MAXIMUM_QOS, p->maximum_qos },
        { PROPERTY_RETAIN_AVAILABLE, p->retain_available },
        { PROPERTY_MAXIMUM_PACKET_SIZE, p->maximum_packet_size },
        { PROPERTY_TOPIC_ALIAS_MAXIMUM, p->topic_alias_maximum },
        { PROPERTY_WILDCARD_AVAILABLE, p->wildcard_available },
        { PROPERTY_SUBSCRIPTION_ID_AVAILABLE, p->subscription_ids_available },
        { PROPERTY_SHARED_AVAILABLE, p->shared_available },
        { PROPERTY_SERVER_KEEP_ALIVE, p->server_keep_alive_s },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (p->present & PROPERTY_BIT(rows[i].id))
            property_write_number(w, rows[i].id, rows[i].number);
    }
}

static void connack_props(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct connack_packet *p = packet;
    (void)version;
    connack_write_numbers(p, w);
    packet_write_string_property(w, PROPERTY_ASSIGNED_CLIENT_ID, p->assigned_client_id);
    packet_write_string_property(w, PROPERTY_RESPONSE_INFO, p->response_info);
    packet_write_string_property(w, PROPERTY_SERVER_REFERENCE, p->server_reference);
    packet_write_string_property(w, PROPERTY_AUTHENTICATION_METHOD, p->auth_method);
    packet_write_string_property(w, PROPERTY_AUTHENTICATION_DATA, p->auth_data);
    packet_write_string_property(w, PROPERTY_REASON_STRING, p->reason_string);
    property_write_users(w, p->props);
}

static void connack_body(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct connack_packet *p = packet;
    writer_u8(w, p->session_present && version != MQTT_31);
    if (version == MQTT_5) {
        writer_u8(w, p->reason);
        packet_write_props(connack_props, p, version, w);
        return;
    }
    int return_code = reason_to_connack3(p->reason);
    if (return_code < 0)
        w->failed = true;
    else
        writer_u8(w, (uint8_t)return_code);
}

size_t connack_size(const struct connack_packet *p, enum mqtt_version version)
{
    return packet_size(connack_body, p, version);
}

void connack_encode(const struct connack_packet *p, enum mqtt_version version, struct writer *w)
{
    packet_encode(PACKET_CONNACK << 4, connack_body, p, version, w);
}

size_t connack_fit(struct connack_packet *p, enum mqtt_version version, uint32_t max_packet)
{
    return packet_fit(connack_body, p, version, max_packet, &p->reason_string, &p->props);
}
