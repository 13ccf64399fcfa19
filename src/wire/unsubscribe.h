/* unsubscribe.h - UNSUBSCRIBE. Checked in one pass; the filters are then walked as views. */
#pragma once
#include "base/str.h"
#include "wire/frame.h"
#include "wire/property.h"

struct unsubscribe_packet {
    uint16_t packet_id;
    uint32_t n_filters;
    struct str filters; /* raw, checked: for unsubscribe_next */
    struct str props;   /* raw; holds the user properties */
};

/* 0 or negative reason. -REASON_PROTOCOL_ERROR: no filter [MQTT-3.10.3-2], packet id 0. */
int unsubscribe_decode(const struct frame *f, enum mqtt_version version,
                       struct unsubscribe_packet *r);
/* Takes the next filter from *rest, a copy of unsubscribe_packet.filters; false at the end. */
bool unsubscribe_next(struct str *rest, struct str *r_filter);

/* Encodes p->n_filters filters from the array; p->filters is not used. */
size_t unsubscribe_size(const struct unsubscribe_packet *p, const struct str *filters,
                        enum mqtt_version version);
void unsubscribe_encode(const struct unsubscribe_packet *p, const struct str *filters,
                        enum mqtt_version version, struct writer *w);
