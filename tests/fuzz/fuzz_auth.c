#include "wire/auth.h"
#include "fuzz_support.h"

static int decode(const struct frame *f, enum mqtt_version version, enum wire_from from, void *r)
{
    return auth_decode(f, version, from, r);
}

static size_t size_of(const void *packet, enum mqtt_version version)
{
    (void)version;
    return auth_size(packet);
}

static void encode(const void *packet, enum mqtt_version version, struct writer *w)
{
    (void)version;
    auth_encode(packet, w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fuzz_codec codec = { sizeof(struct auth_packet), decode, size_of, encode };
    return fuzz_packet(&codec, 1u << PACKET_AUTH, data, size);
}
