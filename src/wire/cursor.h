/* cursor.h - reads MQTT's data types from a byte range that somebody else owns.
 *
 * The error is sticky: after a read beyond the end, a varint that is too long or not in its
 * shortest form, or a string that is not UTF-8, every further read gives 0 or an empty view.
 * Callers read on and ask once at the end (cursor_is_done). Views point into the range. It never
 * allocates or copies. */
#pragma once
#include "base/str.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cursor {
    const uint8_t *at, *end;
    bool failed;
};

static inline void cursor_init(struct cursor *c, const void *bytes, size_t len)
{
    c->at = bytes;
    c->end = len ? c->at + len : c->at; /* no arithmetic on the NULL of an empty view */
    c->failed = false;
}

static inline size_t cursor_left(const struct cursor *c)
{
    return (size_t)(c->end - c->at);
}

/* Everything was read and nothing was wrong: trailing bytes count as wrong. */
static inline bool cursor_is_done(const struct cursor *c)
{
    return !c->failed && c->at == c->end;
}

static inline void cursor_fail(struct cursor *c)
{
    c->failed = true;
    c->at = c->end;
}

/* The next `len` bytes, or NULL (and the cursor fails) when fewer are left. */
static inline const uint8_t *cursor_take(struct cursor *c, size_t len)
{
    const uint8_t *at = c->at;
    if (c->failed || cursor_left(c) < len) {
        cursor_fail(c);
        return NULL;
    }
    c->at += len;
    return at;
}

static inline uint8_t cursor_u8(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 1);
    return p ? p[0] : 0;
}

static inline uint16_t cursor_u16(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 2);
    return p ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}

static inline uint32_t cursor_u32(struct cursor *c)
{
    const uint8_t *p = cursor_take(c, 4);
    return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

/* Variable byte integer of at most four bytes in its shortest form [MQTT-1.5.5-1]. */
uint32_t cursor_varint(struct cursor *c);
/* Two-byte length and that many bytes of MQTT's UTF-8 [MQTT-1.5.4-1] [MQTT-1.5.4-2]. An empty
 * string is a view with a pointer and length 0; STR_NULL means that the cursor has failed. */
struct str cursor_string(struct cursor *c);
/* Two-byte length and that many bytes. */
struct str cursor_binary(struct cursor *c);
/* The next `len` bytes as a view. */
struct str cursor_view(struct cursor *c, size_t len);
/* Property length and the raw properties behind it. */
struct str cursor_props(struct cursor *c);
/* All that is left. */
struct str cursor_rest(struct cursor *c);
