/* Parcels of other nodes. Input: one byte for the kind (even: messages, odd: words), then the body.
 * What can be read can be written, and reads the same again. */
#include "broker/bus_wire.h"
#include "fuzz_support.h"
#include <string.h>

static void check_same(const struct bus_message *a, const struct bus_message *b)
{
    FUZZ_CHECK(str_eq(a->parts.topic, b->parts.topic) && str_eq(a->parts.props, b->parts.props));
    FUZZ_CHECK(str_eq(a->parts.payload, b->parts.payload));
    FUZZ_CHECK(str_eq(a->parts.publisher, b->parts.publisher));
    FUZZ_CHECK(a->parts.qos == b->parts.qos && a->parts.retain == b->parts.retain);
    FUZZ_CHECK(a->plain == b->plain && a->n_groups == b->n_groups);
    FUZZ_CHECK(a->expires_in_ms == b->expires_in_ms);
    FUZZ_CHECK(a->parts.received_ms == b->parts.received_ms);
}

static void write_again(struct bus_message *in)
{
    struct message_parts parts = in->parts;
    parts.expires_ms = in->expires_in_ms;
    struct message *m = message_new(&parts);
    struct buf body;
    struct bus_place place;
    struct bus_message out;
    struct bus_message groups = *in;
    struct cursor c;
    FUZZ_CHECK(m);
    buf_init(&body);
    FUZZ_CHECK(!bus_body_begin(&body));
    FUZZ_CHECK(!bus_message_put(&body, m, 0, parts.id.node, false, &place));
    FUZZ_CHECK(buf_len(&body) <= 1 + bus_message_size(m));
    if (in->plain)
        bus_set_plain(&body, &place);
    for (uint32_t i = 0; i < in->n_groups; i++)
        FUZZ_CHECK(!bus_group_add(&body, &place, bus_group_next(&groups)));
    FUZZ_CHECK(!bus_body_open(&c, buf_str(&body)));
    FUZZ_CHECK(bus_message_next(&c, &out) == 1 && cursor_is_done(&c));
    check_same(in, &out);
    for (uint32_t i = 0; i < in->n_groups; i++)
        FUZZ_CHECK(str_eq(bus_group_next(in), bus_group_next(&out)));
    buf_fini(&body);
    message_unref(&m);
}

static void read_word(uint32_t type, struct cursor *c)
{
    struct bus_hello hello;
    struct bus_interest interest;
    struct bus_message message;
    struct bus_deleted deleted;
    struct bus_client client;
    struct buf body;
    buf_init(&body);
    switch (type) {
    case BUS_HELLO:
        if (!bus_hello_get(c, &hello))
            FUZZ_CHECK(!bus_hello_put(&body, &hello));
        break;
    case BUS_INTEREST:
        if (!bus_interest_get(c, &interest))
            FUZZ_CHECK(!bus_interest_put(&body, &interest));
        break;
    case BUS_RETAINED:
        if (!bus_retained_get(c, &message))
            write_again(&message);
        break;
    case BUS_RETAINED_DEL:
        if (!bus_deleted_get(c, &deleted))
            FUZZ_CHECK(!bus_deleted_put(&body, &deleted));
        break;
    case BUS_CLIENT:
        if (!bus_client_get(c, &client))
            FUZZ_CHECK(!bus_client_put(&body, &client));
        break;
    default: break;
    }
    buf_fini(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bus_message message;
    struct cursor c, content;
    uint32_t type;
    if (size < 1 || bus_body_open(&c, str_make(data + 1, size - 1)))
        return 0;
    if (data[0] % 2)
        while (bus_word_next(&c, &type, &content) == 1)
            read_word(type, &content);
    else
        while (bus_message_next(&c, &message) == 1)
            write_again(&message);
    return 0;
}
