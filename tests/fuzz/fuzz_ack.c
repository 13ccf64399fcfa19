#include "wire/ack.h"
#include "fuzz_support.h"

static int decode(const struct frame *f, enum mqtt_version version, enum wire_from from, void *r)
{
    (void)from;
    return ack_decode(f, version, r);
}

static size_t size_of(const void *packet, enum mqtt_version version)
{
    return ack_size(packet, version);
}

static void encode(const void *packet, enum mqtt_version version, struct writer *w)
{
    ack_encode(packet, version, w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fuzz_codec codec = { sizeof(struct ack_packet), decode, size_of, encode };
    return fuzz_packet(&codec,
                       1u << PACKET_PUBACK | 1u << PACKET_PUBREC | 1u << PACKET_PUBREL |
                           1u << PACKET_PUBCOMP,
                       data, size);
}
