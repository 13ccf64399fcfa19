/* publish.h - PUBLISH: decoding (hot), and the two-part encoding used for delivery (hottest).
 *
 * A packet is a head, which differs per receiver, and a payload, which is shared: the head is
 * written into a buffer, the payload goes behind it by copy or by reference. Topic names are
 * checked here for UTF-8 and for being there at all, not for wildcards. */
#pragma once
#include "base/str.h"
#include "wire/frame.h"
#include "wire/property.h"

/* Decoded: views into the frame's body. */
struct publish_packet {
    uint8_t qos;
    bool dup, retain;
    bool has_message_expiry;
    uint8_t payload_format; /* 0 bytes, 1 UTF-8 */
    uint16_t packet_id;     /* 0 with QoS 0 */
    uint16_t topic_alias;   /* 0: none */
    uint32_t message_expiry_s;
    uint32_t n_subscription_ids;
    uint32_t n_user_properties;
    uint32_t forward_len; /* bytes of props that publish_props_filter keeps */
    struct str topic;     /* empty only with an alias */
    struct str payload;
    struct str response_topic, correlation, content_type; /* ptr NULL: absent */
    struct str props;                                     /* raw, empty before 5.0 */
};

/* 0 or negative reason: no topic and no alias, packet id 0, subscription id from a client
 * [MQTT-3.3.4-6]: -REASON_PROTOCOL_ERROR; alias 0: -REASON_TOPIC_ALIAS_INVALID. */
int publish_decode(const struct frame *f, enum mqtt_version version, enum wire_from from,
                   struct publish_packet *r);

/* The properties that a server passes on unchanged and in order (payload format, response topic,
 * correlation data, content type, user properties): all but message expiry, topic alias,
 * subscription ids and, so that it works for will properties too, will delay. `props` has been
 * checked; `out` has room for forward_len bytes, which is what publish_props_filter_size gives and
 * publish_decode found. */
uint32_t publish_props_filter_size(struct str props);
void publish_props_filter(struct str props, uint32_t forward_len, uint8_t *out);

/* What goes to one receiver. */
struct publish_head {
    struct str topic; /* empty: the alias is known to the receiver */
    struct str props; /* what publish_props_filter gave; written as it is; ignored before 5.0 */
    uint32_t payload_len;
    uint32_t message_expiry_s;
    const uint32_t *subscription_ids; /* each 1..WIRE_VARINT_MAX */
    uint32_t n_subscription_ids;
    uint16_t packet_id;   /* written when qos > 0 */
    uint16_t topic_alias; /* 0: none */
    uint8_t qos;
    bool dup, retain;
    bool has_message_expiry;
};

struct publish_size {
    uint32_t remaining;    /* value of the remaining length */
    uint32_t props_len;    /* value of the property length */
    uint32_t head_len;     /* bytes that publish_head_write writes */
    uint32_t packet_id_at; /* offset of the packet id in the head, 0 when there is none */
    uint32_t total;        /* head and payload: what counts against Maximum Packet Size */
};

/* 0, or -EMSGSIZE: longer than MQTT can express, or a topic above 65,535 bytes. */
int publish_head_measure(const struct publish_head *h, enum mqtt_version version,
                         struct publish_size *r);
/* Writes exactly size->head_len bytes; size is what publish_head_measure gave for the same head. A
 * written head is good for another receiver of the same variant after publish_head_set_id. Returns
 * the end. */
uint8_t *publish_head_write(const struct publish_head *h, enum mqtt_version version,
                            const struct publish_size *size, uint8_t *out);

static inline void publish_head_set_id(uint8_t *head, const struct publish_size *size,
                                       uint16_t packet_id)
{
    head[size->packet_id_at] = (uint8_t)(packet_id >> 8);
    head[size->packet_id_at + 1] = (uint8_t)packet_id;
}

/* DUP lives in the first byte [MQTT-3.3.1-1]. */
static inline void publish_head_set_dup(uint8_t *head, bool dup)
{
    head[0] = (uint8_t)((head[0] & ~8) | (dup ? 8 : 0));
}

/* Head and payload in one go; h->payload_len must be payload.len. */
void publish_encode(const struct publish_head *h, struct str payload, enum mqtt_version version,
                    struct writer *w);
