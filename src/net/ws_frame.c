#include "net/ws_frame.h"
#include "base/utf8.h"
#include <string.h>

#define FIN      0x80u
#define RESERVED 0x70u
#define MASKED   0x80u
#define MASK_LEN 4u

static int broken(const char **fault, enum ws_code code, const char *text)
{
    *fault = text;
    return -(int)code;
}

/* Bytes of the head, as far as its second byte tells. */
static size_t head_size(const struct ws_decoder *d)
{
    if (d->n_head < 2)
        return 2;
    unsigned len = d->head[1] & 127u;
    return 2 + (len == 126 ? 2u : len == 127 ? 8u : 0u) + MASK_LEN;
}

/* As early as it is there: what the first two bytes say. */
static int check_start(const struct ws_decoder *d, const char **fault)
{
    unsigned opcode = d->head[0] & 15u;
    bool control = opcode & 8u;
    if (d->head[0] & RESERVED)
        return broken(fault, WS_CODE_PROTOCOL, "reserved bits are set, no extension was agreed on");
    if (opcode > WS_PONG || (opcode > WS_BINARY && opcode < WS_CLOSE))
        return broken(fault, WS_CODE_PROTOCOL, "an opcode that does not exist");
    if (!(d->head[1] & MASKED)) /* RFC 6455, 5.1 */
        return broken(fault, WS_CODE_PROTOCOL, "a frame without mask");
    if (control && !(d->head[0] & FIN))
        return broken(fault, WS_CODE_PROTOCOL, "a control frame in fragments");
    if (control && (d->head[1] & 127u) > WS_CONTROL_MAX)
        return broken(fault, WS_CODE_PROTOCOL, "a control frame that is too long");
    if (opcode == WS_TEXT) /* [MQTT-6.0.0-1] */
        return broken(fault, WS_CODE_UNACCEPTABLE, "MQTT in a text frame");
    if (opcode == WS_CONTINUATION && !d->in_message)
        return broken(fault, WS_CODE_PROTOCOL, "a continuation of nothing");
    if (opcode == WS_BINARY && d->in_message)
        return broken(fault, WS_CODE_PROTOCOL, "a new message within another");
    return 0;
}

static int take_head(struct ws_decoder *d, const char **fault)
{
    size_t size = head_size(d);
    unsigned len = d->head[1] & 127u;
    uint64_t n = 0;
    for (size_t i = 2; i < size - MASK_LEN; i++)
        n = n << 8 | d->head[i];
    if (len < 126)
        n = len;
    if ((len == 126 && n < 126) || (len == 127 && n <= UINT16_MAX) || n >> 63)
        return broken(fault, WS_CODE_PROTOCOL, "a length that is not written as it must be");
    if (n > WS_FRAME_MAX)
        return broken(fault, WS_CODE_TOO_LARGE, "a frame that is too large");
    memcpy(d->mask, d->head + size - MASK_LEN, MASK_LEN);
    d->opcode = d->head[0] & 15u;
    if (!(d->opcode & 8u))
        d->in_message = !(d->head[0] & FIN);
    d->left = n;
    d->mask_at = 0;
    d->n_head = 0;
    d->n_control = 0;
    d->in_payload = true;
    return 0;
}

static void unmask(struct ws_decoder *d, uint8_t *out, const uint8_t *in, size_t n)
{
    uint8_t key[8];
    uint64_t wide, bytes;
    size_t i = 0;
    for (unsigned k = 0; k < 8; k++)
        key[k] = d->mask[(d->mask_at + k) & 3];
    memcpy(&wide, key, sizeof(wide));
    for (; i + 8 <= n; i += 8) { /* `out` is never behind `in`: what is written has been read */
        memcpy(&bytes, in + i, sizeof(bytes));
        bytes ^= wide;
        memcpy(out + i, &bytes, sizeof(bytes));
    }
    for (; i < n; i++)
        out[i] = in[i] ^ key[i & 7];
    d->mask_at = (d->mask_at + (uint32_t)(n & 3)) & 3;
}

static void take_payload(struct ws_decoder *d, const uint8_t **in, size_t *n_in, uint8_t **out)
{
    size_t n = d->left < *n_in ? (size_t)d->left : *n_in;
    if (d->opcode & 8u) {
        unmask(d, d->control + d->n_control, *in, n);
        d->n_control = (uint8_t)(d->n_control + n);
    } else {
        unmask(d, *out, *in, n);
        *out += n;
    }
    *in += n;
    *n_in -= n;
    d->left -= n;
}

int ws_decode(struct ws_decoder *d, const uint8_t **in, size_t *n_in, uint8_t **out,
              const char **fault)
{
    for (;;) {
        while (!d->in_payload) {
            int r = 0;
            if (*n_in == 0)
                return 0;
            d->head[d->n_head++] = *(*in)++;
            (*n_in)--;
            if (d->n_head == 2)
                r = check_start(d, fault);
            else if (d->n_head > 2 && d->n_head == head_size(d))
                r = take_head(d, fault);
            if (r < 0)
                return r;
        }
        take_payload(d, in, n_in, out);
        if (d->left > 0)
            return 0;
        d->in_payload = false;
        if (d->opcode & 8u)
            return d->opcode;
    }
}

static bool may_be_sent(unsigned code)
{
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}

int ws_close_code(const uint8_t *payload, size_t len)
{
    if (len == 0)
        return WS_CODE_NONE;
    if (len == 1)
        return -WS_CODE_PROTOCOL;
    unsigned code = (unsigned)payload[0] << 8 | payload[1];
    if (!may_be_sent(code))
        return -WS_CODE_PROTOCOL;
    if (!utf8_is_valid((const char *)payload + 2, len - 2))
        return -WS_CODE_NOT_UTF8;
    return (int)code;
}

size_t ws_encode_head(uint8_t r_head[WS_HEAD_MAX], enum ws_opcode opcode, uint64_t len)
{
    size_t n_len = len < 126 ? 0 : len <= UINT16_MAX ? 2 : 8;
    r_head[0] = (uint8_t)(FIN | opcode);
    r_head[1] = (uint8_t)(n_len == 0 ? len : n_len == 2 ? 126 : 127);
    for (size_t i = 0; i < n_len; i++)
        r_head[2 + i] = (uint8_t)(len >> (8 * (n_len - 1 - i)));
    return 2 + n_len;
}
