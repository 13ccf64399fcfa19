/* connect.h - CONNECT, with its will. A decoded packet is made of views into the frame's body. */
#pragma once
#include "base/str.h"
#include "wire/frame.h"
#include "wire/property.h"

struct connect_will {
    bool is_set; /* Will Flag; all else is unset without it */
    bool retain;
    uint8_t qos;
    bool has_message_expiry;
    uint8_t payload_format; /* 0 bytes, 1 UTF-8 */
    uint32_t delay_s;
    uint32_t message_expiry_s;
    struct str topic, payload;
    struct str response_topic, correlation, content_type; /* ptr NULL: absent */
    struct str props;                                     /* raw will properties */
};

struct connect_packet {
    uint8_t version; /* enum mqtt_version */
    bool is_bridge;  /* level had the bit 0x80 that Mosquitto's bridges set */
    bool clean_start;
    uint16_t keep_alive_s;
    struct str client_id;           /* may be empty */
    struct str user_name, password; /* ptr NULL: absent */
    struct connect_will will;

    uint64_t present; /* PROPERTY_BIT of the numbers below; absent ones have MQTT's default */
    uint32_t session_expiry_s;
    uint32_t maximum_packet_size; /* 0: no limit */
    uint16_t receive_maximum;
    uint16_t topic_alias_maximum;
    bool request_response_info;
    bool request_problem_info;
    struct str auth_method, auth_data; /* ptr NULL: absent */
    struct str props;                  /* raw; holds the user properties */
};

/* 0 or negative reason. -REASON_UNSUPPORTED_PROTOCOL_VERSION: name or level is not one of ours.
 * r->version is set also on failure: to the version in which an answer would be understood, or to 0
 * when the protocol name is not MQTT's or could not be read (close without an answer). Nothing else
 * of *r may be looked at after a failure. MQTT 3.1 is read as its own text has it: will bits
 * without Will Flag and the reserved bit are ignored, a flagged user name or password may be
 * missing at the end. */
int connect_decode(const struct frame *f, struct connect_packet *r);

/* Writes the numbers that are in `present`, the strings that have a pointer, and the user
 * properties found in props and will.props. Size 0: has no encoding. */
size_t connect_size(const struct connect_packet *p);
void connect_encode(const struct connect_packet *p, struct writer *w);
/* MQTT's defaults and a version; for the client's side. */
void connect_packet_init(struct connect_packet *r, enum mqtt_version version);
