/* ws_support.h - frames as a client writes them. */
#pragma once
#include "net/ws_frame.h"
#include <string.h>

static const uint8_t ws_mask[4] = { 0x37, 0xfa, 0x21, 0x3d };

/* `first`: FIN, reserved bits and opcode; `form`: bytes of the length, 0, 2 or 8. Returns its size.
 */
static inline size_t ws_put(uint8_t *out, uint8_t first, unsigned form, const void *payload,
                            uint64_t len)
{
    uint8_t *p = out;
    *p++ = first;
    *p++ = (uint8_t)(0x80 | (form == 0 ? len : form == 2 ? 126 : 127));
    for (unsigned i = form; i-- > 0;)
        *p++ = (uint8_t)(len >> (8 * i));
    memcpy(p, ws_mask, 4);
    p += 4;
    for (uint64_t i = 0; payload && i < len; i++)
        *p++ = ((const uint8_t *)payload)[i] ^ ws_mask[i & 3];
    return (size_t)(p - out);
}

static inline size_t ws_put_any(uint8_t *out, uint8_t first, const void *payload, uint64_t len)
{
    return ws_put(out, first, len < 126 ? 0 : len < 65536 ? 2 : 8, payload, len);
}
