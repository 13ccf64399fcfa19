/* subscribe.h - SUBSCRIBE. Checked in one pass; the filters are then walked as views. */
#pragma once
#include "base/str.h"
#include "wire/frame.h"
#include "wire/property.h"

struct subscribe_filter {
    struct str filter; /* UTF-8; its topic syntax is not checked here */
    uint8_t qos;
    uint8_t retain_handling; /* 0, 1, 2; the three below are 0 before 5.0 */
    bool no_local;
    bool retain_as_published;
};

struct subscribe_packet {
    uint16_t packet_id;
    uint32_t subscription_id; /* 0: none */
    uint32_t n_filters;
    struct str filters; /* raw, checked: for subscribe_next */
    struct str props;   /* raw; holds the user properties */
};

/* 0 or negative reason. -REASON_MALFORMED_PACKET: truncated, QoS 3, reserved bits [MQTT-3.8.3-5].
 * -REASON_PROTOCOL_ERROR: no filter [MQTT-3.8.3-2], packet id 0, retain handling 3, subscription id
 * 0. */
int subscribe_decode(const struct frame *f, enum mqtt_version version, struct subscribe_packet *r);
/* Takes the next filter from *rest, a copy of subscribe_packet.filters; false at the end. */
bool subscribe_next(struct str *rest, struct subscribe_filter *r);

/* Encodes p->n_filters filters from the array; p->filters is not used. */
size_t subscribe_size(const struct subscribe_packet *p, const struct subscribe_filter *filters,
                      enum mqtt_version version);
void subscribe_encode(const struct subscribe_packet *p, const struct subscribe_filter *filters,
                      enum mqtt_version version, struct writer *w);
