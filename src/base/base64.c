#include "base/base64.h"
#include <errno.h>

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int base64_encode(struct buf *out, struct str bytes)
{
    size_t len = ((size_t)bytes.len + 2) / 3 * 4;
    int r = buf_reserve(out, len);

    if (r)
        return r;
    char *at = buf_tail(out);
    for (uint32_t i = 0; i < bytes.len; i += 3) {
        uint32_t n = bytes.len - i < 3 ? bytes.len - i : 3, bits = 0;

        for (uint32_t k = 0; k < 3; k++)
            bits = bits << 8 | (k < n ? (uint8_t)bytes.ptr[i + k] : 0);
        for (uint32_t k = 0; k < 4; k++)
            *at++ = k <= n ? digits[bits >> (18 - 6 * k) & 63] : '=';
    }
    buf_commit(out, len);
    return 0;
}

/* -1: no digit. */
static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

int64_t base64_decode(const char *text, size_t len, char *out)
{
    int64_t n = 0;

    if (len % 4)
        return -EINVAL;
    for (size_t i = 0; i < len; i += 4) {
        int pad = i + 4 < len || text[i + 3] != '=' ? 0 : text[i + 2] == '=' ? 2 : 1;
        uint32_t bits = 0;

        for (int k = 0; k < 4; k++) {
            int d = k < 4 - pad ? digit(text[i + (size_t)k]) : 0;

            if (d < 0)
                return -EINVAL;
            bits = bits << 6 | (uint32_t)d;
        }
        if (bits & ((1u << (8 * pad)) - 1)) /* bits that belong to no byte */
            return -EINVAL;
        for (int k = 0; k < 3 - pad; k++)
            out[n++] = (char)(bits >> (16 - 8 * k));
    }
    return n;
}
