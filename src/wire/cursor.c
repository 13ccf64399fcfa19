#include "wire/cursor.h"
#include "base/utf8.h"

uint32_t cursor_varint(struct cursor *c)
{
    uint32_t value = 0;
    for (unsigned shift = 0; shift < 28; shift += 7) {
        uint8_t byte = cursor_u8(c);
        value |= (uint32_t)(byte & 127) << shift;
        if (byte & 128)
            continue;
        if (byte == 0 && shift > 0) /* a shorter form exists */
            break;
        return value;
    }
    cursor_fail(c);
    return 0;
}

struct str cursor_view(struct cursor *c, size_t len)
{
    const uint8_t *p = cursor_take(c, len);
    return p ? str_make(p, len) : STR_NULL;
}

struct str cursor_binary(struct cursor *c)
{
    uint16_t len = cursor_u16(c);
    return cursor_view(c, len);
}

struct str cursor_string(struct cursor *c)
{
    struct str s = cursor_binary(c);
    if (s.len == 0 || utf8_is_mqtt(s.ptr, s.len))
        return s;
    cursor_fail(c);
    return STR_NULL;
}

struct str cursor_props(struct cursor *c)
{
    uint32_t len = cursor_varint(c);
    return cursor_view(c, len);
}

struct str cursor_rest(struct cursor *c)
{
    return cursor_view(c, cursor_left(c));
}
