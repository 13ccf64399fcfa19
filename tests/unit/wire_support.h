/* wire_support.h - packets written as text, held in buffers of exactly their size so that a
 * sanitizer sees every read beyond the end.
 *
 * Notation: "0a ff" hex bytes, 'abc' those characters, [abc] a two-byte length and those
 * characters,
 * {...} a varint length and what is inside. A packet is "10 {...}". */
#pragma once
#include "unit.h"
#include "wire/frame.h"
#include "wire/reason.h"
#include "wire/writer.h"
#include <stdio.h>
#include <stdlib.h>

#define MALFORMED (-REASON_MALFORMED_PACKET)
#define PROTOCOL  (-REASON_PROTOCOL_ERROR)

struct bytes {
    uint8_t *p;
    size_t len;
};

static inline void bytes_add(struct bytes *b, const void *p, size_t len)
{
    b->p = realloc(b->p, b->len + len + 1);
    assert_non_null(b->p);
    if (len)
        memcpy(b->p + b->len, p, len);
    b->len += len;
}

static inline const char *bytes_parse(struct bytes *b, const char *text, char end)
{
    while (*text && *text != end) {
        if (*text == ' ') {
            text++;
        } else if (*text == '\'' || *text == '[') {
            const char *close = strchr(text + 1, *text == '[' ? ']' : '\'');
            size_t len = (size_t)(close - text - 1);
            if (*text == '[')
                bytes_add(b, (uint8_t[]){ (uint8_t)(len >> 8), (uint8_t)len }, 2);
            bytes_add(b, text + 1, len);
            text = close + 1;
        } else if (*text == '{') {
            struct bytes inner = { 0 };
            uint8_t head[5];
            text = bytes_parse(&inner, text + 1, '}') + 1;
            bytes_add(b, head, (size_t)(varint_put(head, (uint32_t)inner.len) - head));
            bytes_add(b, inner.p, inner.len);
            free(inner.p);
        } else {
            uint8_t byte = (uint8_t)strtoul((char[]){ text[0], text[1], 0 }, NULL, 16);
            bytes_add(b, &byte, 1);
            text += 2;
        }
    }
    return text;
}

static inline struct bytes bytes_exact(const void *p, size_t len)
{
    struct bytes b = { malloc(len), len };
    assert_non_null(b.p);
    if (len)
        memcpy(b.p, p, len);
    return b;
}

/* The bytes of the notation; freed with free(b.p). */
static inline struct bytes bytes_make(const char *notation)
{
    struct bytes grown = { 0 }, exact;
    bytes_parse(&grown, notation, 0);
    exact = bytes_exact(grown.p, grown.len);
    free(grown.p);
    return exact;
}

/* A decoder with its output hidden, so that one loop can drive them all. */
typedef int (*decode_fn)(const struct frame *f, enum mqtt_version version);

/* Frames and decodes one packet: the first error of the two. */
static inline int wire_decode(const char *notation, enum mqtt_version version, decode_fn decode)
{
    struct bytes b = bytes_make(notation);
    struct frame f;
    int rc = frame_next(b.p, b.len, 0, &f);
    if (rc == FRAME_OK) {
        assert_int_equal(f.total, b.len);
        rc = decode(&f, version);
    }
    free(b.p);
    return rc;
}

struct wire_case {
    const char *rule, *packet;
    enum mqtt_version version;
    int result;
};

static inline void wire_run_cases(const struct wire_case *cases, size_t n, decode_fn decode)
{
    for (size_t i = 0; i < n; i++) {
        int rc = wire_decode(cases[i].packet, cases[i].version, decode);
        if (rc != cases[i].result)
            fail_msg("%s: %s in version %d gave %d, not %d", cases[i].rule, cases[i].packet,
                     cases[i].version, rc, cases[i].result);
    }
}

#define WIRE_RUN(cases, decode) wire_run_cases(cases, sizeof(cases) / sizeof((cases)[0]), decode)

/* Decodes every prefix of the body of a valid packet: never reads beyond it. Those of at least
 * `valid_from` bytes may be packets of their own; shorter ones must be refused. Then every prefix
 * of the whole packet: the frame is not complete. */
static inline void wire_truncate(const char *notation, enum mqtt_version version, decode_fn decode,
                                 size_t valid_from)
{
    struct bytes b = bytes_make(notation);
    struct frame whole, f;
    assert_int_equal(frame_next(b.p, b.len, 0, &whole), FRAME_OK);
    assert_int_equal(decode(&whole, version), 0);
    for (size_t cut = 0; cut < whole.len; cut++) {
        struct bytes body = bytes_exact(whole.body, cut);
        f = whole;
        f.body = body.p;
        f.len = (uint32_t)cut;
        f.head_len = 2;
        int rc = decode(&f, version);
        if (cut < valid_from && rc >= 0)
            fail_msg("%s cut to %zu body bytes was accepted", notation, cut);
        free(body.p);
    }
    for (size_t cut = 0; cut < b.len; cut++) {
        struct bytes head = bytes_exact(b.p, cut);
        assert_int_equal(frame_next(head.p, head.len, 0, &f), FRAME_NEED_MORE);
        free(head.p);
    }
    free(b.p);
}

/* What an encoder wrote is exactly this packet, and exactly as long as announced. */
static inline void wire_expect(const struct writer *w, size_t announced, const char *notation)
{
    struct bytes b = bytes_make(notation);
    assert_false(w->failed);
    assert_int_equal(w->len, announced);
    assert_int_equal(w->len, b.len);
    assert_memory_equal(w->buf, b.p, b.len);
    free(b.p);
}

#define assert_str(view, text)                               \
    do {                                                     \
        assert_int_equal((view).len, strlen(text));          \
        assert_memory_equal((view).ptr, text, strlen(text)); \
    } while (0)
