#include "wire/publish.h"
#include "fuzz_support.h"

static int decode(const struct frame *f, enum mqtt_version version, enum wire_from from, void *r)
{
    return publish_decode(f, version, from, r);
}

struct delivery {
    struct publish_head head;
    uint8_t *props;
    uint32_t *ids;
};

/* What would be delivered of a packet that was decoded. */
static void delivery_init(struct delivery *d, const struct publish_packet *p)
{
    struct property_iter it;
    struct property prop;
    uint32_t n = 0;
    FUZZ_CHECK(p->forward_len == publish_props_filter_size(p->props));
    d->props = malloc(p->forward_len);
    d->ids = calloc(p->n_subscription_ids + 1, sizeof(*d->ids));
    FUZZ_CHECK(d->ids);
    publish_props_filter(p->props, p->forward_len, d->props);
    property_iter_init(&it, p->props, 0);
    while (property_next(&it, &prop) > 0) {
        if (prop.id == PROPERTY_SUBSCRIPTION_ID)
            d->ids[n++] = prop.number;
    }
    FUZZ_CHECK(n == p->n_subscription_ids);
    d->head = (struct publish_head){
        .topic = p->topic,
        .props = str_make(d->props, p->forward_len),
        .payload_len = p->payload.len,
        .message_expiry_s = p->message_expiry_s,
        .subscription_ids = d->ids,
        .n_subscription_ids = n,
        .packet_id = p->packet_id,
        .topic_alias = p->topic_alias,
        .qos = p->qos,
        .dup = p->dup,
        .retain = p->retain,
        .has_message_expiry = p->has_message_expiry,
    };
}

static void delivery_fini(struct delivery *d)
{
    free(d->props);
    free(d->ids);
}

static size_t size_of(const void *packet, enum mqtt_version version)
{
    struct publish_size size;
    struct delivery d;
    delivery_init(&d, packet);
    FUZZ_CHECK(publish_head_measure(&d.head, version, &size) == 0);
    delivery_fini(&d);
    return size.total;
}

static void encode(const void *packet, enum mqtt_version version, struct writer *w)
{
    const struct publish_packet *p = packet;
    struct delivery d;
    delivery_init(&d, p);
    publish_encode(&d.head, p->payload, version, w);
    delivery_fini(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct fuzz_codec codec = { sizeof(struct publish_packet), decode, size_of,
                                             encode };
    return fuzz_packet(&codec, 1u << PACKET_PUBLISH, data, size);
}
