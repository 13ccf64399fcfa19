#include "base/utf8.h"
#include <stdint.h>
#include <string.h>

#define ONES  UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

static inline bool is_tail(unsigned char byte)
{
    return (byte & 0xc0) == 0x80;
}

/* The second byte carries the limits that keep out overlong forms, surrogates and > U+10FFFF. */
static inline bool is_second(unsigned char lead, unsigned char byte)
{
    switch (lead) {
    case 0xe0: return byte >= 0xa0 && byte <= 0xbf;
    case 0xed: return byte >= 0x80 && byte <= 0x9f;
    case 0xf0: return byte >= 0x90 && byte <= 0xbf;
    case 0xf4: return byte >= 0x80 && byte <= 0x8f;
    default: return is_tail(byte);
    }
}

size_t utf8_decode(const char *text, size_t len, uint32_t *r_code)
{
    const unsigned char *p = (const unsigned char *)text;
    if (len == 0)
        return 0;
    if (p[0] < 0x80) {
        *r_code = p[0];
        return 1;
    }
    if (p[0] < 0xc2 || p[0] > 0xf4 || len < 2 || !is_second(p[0], p[1]))
        return 0;
    if (p[0] < 0xe0) {
        *r_code = (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu);
        return 2;
    }
    if (len < 3 || !is_tail(p[2]))
        return 0;
    if (p[0] < 0xf0) {
        *r_code = (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
        return 3;
    }
    if (len < 4 || !is_tail(p[3]))
        return 0;
    *r_code = (p[0] & 0x07u) << 18 | (p[1] & 0x3fu) << 12 | (p[2] & 0x3fu) << 6 | (p[3] & 0x3fu);
    return 4;
}

/* Bytes at the front of `text`, in steps of eight, that are plain ASCII (and not NUL). */
static size_t ascii_run(const char *text, size_t len, bool nul_ok)
{
    size_t i = 0;
    for (; len - i >= 8; i += 8) {
        uint64_t word;
        memcpy(&word, text + i, sizeof(word));
        if (word & HIGHS)
            break;
        if (!nul_ok && ((word - ONES) & HIGHS))
            break;
    }
    return i;
}

static bool is_well_formed(const char *text, size_t len, bool nul_ok)
{
    for (size_t i = 0;;) {
        i += ascii_run(text + i, len - i, nul_ok);
        /* Up to eight bytes or one longer character, then try the fast way again. */
        size_t stop = len - i > 8 ? i + 8 : len;
        while (i < stop) {
            uint32_t code;
            size_t n = utf8_decode(text + i, len - i, &code);
            if (n == 0 || (code == 0 && !nul_ok))
                return false;
            i += n;
        }
        if (i == len)
            return true;
    }
}

bool utf8_is_mqtt(const char *text, size_t len)
{
    return len == 0 || is_well_formed(text, len, false);
}

bool utf8_is_valid(const char *text, size_t len)
{
    return len == 0 || is_well_formed(text, len, true);
}
