/* fuzz_support.h - what the fuzz targets share. Included by the targets, by the replay program's
 * main and by nothing else.
 *
 * Input of a packet target: one byte for version (3 + n % 3) and side (bit 7: server), one byte
 * that becomes the first byte of the packet with the target's type put in, then the body. A packet
 * that decodes must encode, and what was encoded must decode and encode to the same bytes. */
#pragma once
#include "wire/frame.h"
#include "wire/writer.h"
#include <stdio.h>
#include <stdlib.h>

#define FUZZ_CHECK(what)                                                         \
    do {                                                                         \
        if (!(what)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #what); \
            abort();                                                             \
        }                                                                        \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct fuzz_codec {
    size_t packet_size; /* of the struct that decode fills */
    int (*decode)(const struct frame *f, enum mqtt_version version, enum wire_from from, void *r);
    size_t (*size)(const void *packet, enum mqtt_version version);
    void (*encode)(const void *packet, enum mqtt_version version, struct writer *w);
};

struct fuzz_bytes {
    uint8_t *p;
    size_t len;
};

static inline struct fuzz_bytes fuzz_encode(const struct fuzz_codec *codec, const void *packet,
                                            enum mqtt_version version)
{
    size_t size = codec->size(packet, version);
    FUZZ_CHECK(size >= 2);
    struct fuzz_bytes b = { malloc(size), size };
    struct writer w;
    FUZZ_CHECK(b.p);
    writer_init(&w, b.p, size);
    codec->encode(packet, version, &w);
    FUZZ_CHECK(!w.failed && w.len == size);
    return b;
}

static inline void fuzz_round_trip(const struct fuzz_codec *codec, const void *packet,
                                   enum mqtt_version version, enum wire_from from)
{
    struct fuzz_bytes first = fuzz_encode(codec, packet, version);
    void *again = calloc(1, codec->packet_size);
    struct frame f;
    FUZZ_CHECK(again);
    FUZZ_CHECK(frame_next(first.p, first.len, 0, &f) == FRAME_OK && f.total == first.len);
    FUZZ_CHECK(codec->decode(&f, version, from, again) == 0);
    struct fuzz_bytes second = fuzz_encode(codec, again, version);
    FUZZ_CHECK(first.len == second.len && !memcmp(first.p, second.p, first.len));
    free(second.p);
    free(again);
    free(first.p);
}

/* type_mask: types the target decodes, as bits; the input's own type is used when it is one of
 * them. */
static inline int fuzz_packet(const struct fuzz_codec *codec, unsigned type_mask,
                              const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    enum mqtt_version version = 3 + (data[0] & 127) % 3;
    enum wire_from from = data[0] & 128 ? WIRE_FROM_SERVER : WIRE_FROM_CLIENT;
    unsigned type = data[1] >> 4;
    while (!(type_mask & 1u << type))
        type = (type + 1) % 16;
    uint32_t len = (uint32_t)(size - 2);
    struct frame f = {
        .type = (uint8_t)type,
        .flags = data[1] & 15,
        .head_len = (uint8_t)(1 + varint_size(len)),
        .total = 1 + varint_size(len) + len,
        .body = data + 2,
        .len = len,
    };
    void *packet = calloc(1, codec->packet_size);
    FUZZ_CHECK(packet);
    int rc = codec->decode(&f, version, from, packet);
    FUZZ_CHECK(rc == 0 || (rc <= -0x80 && rc >= -0xA2));
    if (rc == 0)
        fuzz_round_trip(codec, packet, version, from);
    free(packet);
    return 0;
}
