#include "wire/disconnect.h"
#include "fuzz_support.h"

static int decode(const struct frame *f, enum mqtt_version version, enum wire_from from, void *r)
{
    return disconnect_decode(f, version, from, r);
}

static size_t size_of(const void *packet, enum mqtt_version version)
{
    return disconnect_size(packet, version);
}

static void encode(const void *packet, enum mqtt_version version, struct writer *w)
{
    disconnect_encode(packet, version, w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fuzz_codec codec = { sizeof(struct disconnect_packet), decode, size_of,
                                             encode };
    return fuzz_packet(&codec, 1u << PACKET_DISCONNECT, data, size);
}
