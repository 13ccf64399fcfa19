#include "wire/packet.h"
#include "wire/property.h"

size_t packet_part_size(packet_part_fn part, const void *packet, enum mqtt_version version)
{
    struct writer count;
    writer_init_measure(&count);
    part(packet, version, &count);
    return count.len;
}

void packet_write_props(packet_part_fn props, const void *packet, enum mqtt_version version,
                        struct writer *w)
{
    size_t len = packet_part_size(props, packet, version);
    writer_varint(w, len > WIRE_VARINT_MAX ? UINT32_MAX : (uint32_t)len);
    props(packet, version, w);
}

size_t packet_size(packet_part_fn body, const void *packet, enum mqtt_version version)
{
    struct writer count;
    writer_init_measure(&count);
    body(packet, version, &count);
    if (count.failed || count.len > WIRE_VARINT_MAX)
        return 0;
    return 1 + varint_size((uint32_t)count.len) + count.len;
}

void packet_encode(uint8_t first_byte, packet_part_fn body, const void *packet,
                   enum mqtt_version version, struct writer *w)
{
    size_t len = packet_part_size(body, packet, version);
    writer_u8(w, first_byte);
    writer_varint(w, len > WIRE_VARINT_MAX ? UINT32_MAX : (uint32_t)len);
    body(packet, version, w);
}

size_t packet_fit(packet_part_fn body, const void *packet, enum mqtt_version version,
                  uint32_t max_packet, struct str *reason_string, struct str *props)
{
    size_t max = max_packet ? max_packet : FRAME_TOTAL_MAX;
    size_t size = packet_size(body, packet, version);
    if ((size == 0 || size > max) && reason_string->ptr) {
        *reason_string = STR_NULL;
        size = packet_size(body, packet, version);
    }
    if ((size == 0 || size > max) && props->len) {
        *props = STR_NULL;
        size = packet_size(body, packet, version);
    }
    return size;
}

void packet_write_string_property(struct writer *w, uint8_t id, struct str value)
{
    if (value.ptr)
        property_write_string(w, id, value);
}
