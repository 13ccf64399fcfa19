#include "wire/writer.h"

void writer_bytes(struct writer *w, const void *bytes, size_t len)
{
    if (w->failed || len > w->cap - w->len) {
        w->failed = true;
        return;
    }
    if (w->buf && len)
        memcpy(w->buf + w->len, bytes, len);
    w->len += len;
}

void writer_u8(struct writer *w, uint8_t value)
{
    writer_bytes(w, &value, 1);
}

void writer_u16(struct writer *w, uint16_t value)
{
    writer_bytes(w, (uint8_t[]){ (uint8_t)(value >> 8), (uint8_t)value }, 2);
}

void writer_u32(struct writer *w, uint32_t value)
{
    writer_bytes(w,
                 (uint8_t[]){ (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                              (uint8_t)value },
                 4);
}

void writer_varint(struct writer *w, uint32_t value)
{
    uint8_t bytes[4];
    if (value > WIRE_VARINT_MAX) {
        w->failed = true;
        return;
    }
    writer_bytes(w, bytes, (size_t)(varint_put(bytes, value) - bytes));
}

void writer_string(struct writer *w, struct str text)
{
    if (text.len > WIRE_STRING_MAX) {
        w->failed = true;
        return;
    }
    writer_u16(w, (uint16_t)text.len);
    writer_bytes(w, text.ptr, text.len);
}
