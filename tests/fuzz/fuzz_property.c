#include "wire/property.h"
#include "wire/publish.h"
#include "fuzz_support.h"

/* A checked block splits without an error, and its parts are the whole. */
static void walk_checked(struct str props)
{
    struct property_iter it;
    struct property p, found;
    uint32_t len = 0;
    int rc;
    property_iter_init(&it, props, 0);
    while ((rc = property_next(&it, &p)) > 0) {
        FUZZ_CHECK(property_info(p.id) && property_info(p.id)->type == p.type);
        FUZZ_CHECK(p.raw.ptr == props.ptr + len);
        FUZZ_CHECK(property_find(props, p.id, &found) && found.raw.ptr <= p.raw.ptr);
        len += p.raw.len;
    }
    FUZZ_CHECK(rc == 0 && len == props.len);
}

static void filter_checked(struct str props)
{
    uint32_t len = publish_props_filter_size(props);
    struct writer w;
    FUZZ_CHECK(len <= props.len);
    uint8_t *out = malloc(len);
    publish_props_filter(props, len, out);
    FUZZ_CHECK(publish_props_filter_size(str_make(out, len)) == len);
    free(out);
    writer_init_measure(&w);
    property_write_users(&w, props);
    FUZZ_CHECK(!w.failed && w.len <= props.len);
}

/* Input: one byte for the place (bits 0-3 packet type, 0 the will; bit 7 server), then a block. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > 4096)
        return 0;
    unsigned type = data[0] & 15;
    struct str props = str_make(data + 1, size - 1);
    uint32_t where = PROPERTY_IN(type, data[0] & 128 && type ? WIRE_FROM_SERVER : WIRE_FROM_CLIENT);
    int rc = property_check(props, where);
    FUZZ_CHECK(rc <= 0);
    if (rc == 0) {
        walk_checked(props);
        filter_checked(props);
    }
    return 0;
}
