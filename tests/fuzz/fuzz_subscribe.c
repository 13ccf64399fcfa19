#include "wire/subscribe.h"
#include "fuzz_support.h"

static int decode(const struct frame *f, enum mqtt_version version, enum wire_from from, void *r)
{
    (void)from;
    return subscribe_decode(f, version, r);
}

/* All filters of a packet that was decoded; freed with free(). */
static struct subscribe_filter *filters_of(const struct subscribe_packet *p)
{
    struct subscribe_filter *filters = calloc(p->n_filters, sizeof(*filters)), more;
    struct str rest = p->filters;
    FUZZ_CHECK(filters);
    for (uint32_t i = 0; i < p->n_filters; i++)
        FUZZ_CHECK(subscribe_next(&rest, &filters[i]));
    FUZZ_CHECK(!subscribe_next(&rest, &more));
    return filters;
}

static size_t size_of(const void *packet, enum mqtt_version version)
{
    struct subscribe_filter *filters = filters_of(packet);
    size_t size = subscribe_size(packet, filters, version);
    free(filters);
    return size;
}

static void encode(const void *packet, enum mqtt_version version, struct writer *w)
{
    struct subscribe_filter *filters = filters_of(packet);
    subscribe_encode(packet, filters, version, w);
    free(filters);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fuzz_codec codec = { sizeof(struct subscribe_packet), decode, size_of,
                                             encode };
    return fuzz_packet(&codec, 1u << PACKET_SUBSCRIBE, data, size);
}
