#include "wire/connect.h"
#include "fuzz_support.h"

static int decode(const struct frame *f, enum mqtt_version version, enum wire_from from, void *r)
{
    (void)version, (void)from;
    return connect_decode(f, r);
}

static size_t size_of(const void *packet, enum mqtt_version version)
{
    (void)version;
    return connect_size(packet);
}

static void encode(const void *packet, enum mqtt_version version, struct writer *w)
{
    (void)version;
    connect_encode(packet, w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fuzz_codec codec = { sizeof(struct connect_packet), decode, size_of,
                                             encode };
    return fuzz_packet(&codec, 1u << PACKET_CONNECT, data, size);
}
