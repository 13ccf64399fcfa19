/* writer.h - writes MQTT's data types into a buffer of the caller's, or only counts.
 *
 * The error is sticky: what does not fit, or has no encoding (a string above 65,535 bytes, a varint
 * above 268,435,455), sets `failed` and nothing more is written. A measuring writer has no buffer
 * and counts what the same calls would write; every packet is measured and written by the same
 * code. */
#pragma once
#include "base/str.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_VARINT_MAX 268435455u
#define WIRE_STRING_MAX 65535u

struct writer {
    uint8_t *buf; /* NULL: measure */
    size_t len, cap;
    bool failed;
};

static inline void writer_init(struct writer *w, void *buf, size_t cap)
{
    *w = (struct writer){ .buf = buf, .cap = cap };
}

static inline void writer_init_measure(struct writer *w)
{
    *w = (struct writer){ .cap = SIZE_MAX };
}

/* Bytes that `value` takes as a varint; 5 when it has no encoding. */
static inline uint32_t varint_size(uint32_t value)
{
    return value < 128                ? 1
           : value < 16384            ? 2
           : value < 2097152          ? 3
           : value <= WIRE_VARINT_MAX ? 4
                                      : 5;
}

/* Writes `value` (at most WIRE_VARINT_MAX) and returns the byte behind it. */
static inline uint8_t *varint_put(uint8_t *out, uint32_t value)
{
    while (value > 127) {
        *out++ = (uint8_t)(value | 128);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

void writer_bytes(struct writer *w, const void *bytes, size_t len);
void writer_u8(struct writer *w, uint8_t value);
void writer_u16(struct writer *w, uint16_t value);
void writer_u32(struct writer *w, uint32_t value);
void writer_varint(struct writer *w, uint32_t value);
/* Two-byte length and the bytes: MQTT strings and binary data alike. The content is not checked. */
void writer_string(struct writer *w, struct str text);
