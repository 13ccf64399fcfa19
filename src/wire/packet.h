/* packet.h - what all encoders of this floor share; used by its .c files only.
 *
 * A packet says its body once, as calls on a writer; measuring, the remaining length and the
 * property length are made by letting it say that to a counting writer first. */
#pragma once
#include "wire/frame.h"
#include "wire/writer.h"

typedef void (*packet_part_fn)(const void *packet, enum mqtt_version version, struct writer *w);

/* Bytes that a part writes; on failure w->failed is not touched but the part will fail when
 * written. */
size_t packet_part_size(packet_part_fn part, const void *packet, enum mqtt_version version);
/* Property length and properties. */
void packet_write_props(packet_part_fn props, const void *packet, enum mqtt_version version,
                        struct writer *w);
/* Whole packet: 0 when it has no encoding. */
size_t packet_size(packet_part_fn body, const void *packet, enum mqtt_version version);
void packet_encode(uint8_t first_byte, packet_part_fn body, const void *packet,
                   enum mqtt_version version, struct writer *w);
/* Drops *reason_string, then *props (both inside `packet`), until it has at most max_packet bytes
 * (0: what MQTT can express); the size it has then. */
size_t packet_fit(packet_part_fn body, const void *packet, enum mqtt_version version,
                  uint32_t max_packet, struct str *reason_string, struct str *props);

/* The string property if it is there. */
void packet_write_string_property(struct writer *w, uint8_t id, struct str value);
