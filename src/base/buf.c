#include "base/buf.h"
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_MIN_CAP 64u

void buf_init(struct buf *b)
{
    *b = (struct buf){ 0 };
}

void buf_fini(struct buf *b)
{
    free(b->mem);
    *b = (struct buf){ 0 };
}

int buf_reserve(struct buf *b, size_t len)
{
    size_t used = buf_len(b);
    if (buf_room(b) >= len)
        return 0;
    /* Move the content to the front if it then fills at most half, so that each byte moves O(1)
     * times. */
    if (len <= b->cap - used && used <= b->cap / 2) {
        memmove(b->mem, b->mem + b->start, used);
        b->start = 0;
        b->end = used;
        return 0;
    }
    if (len > SIZE_MAX / 2 - used)
        return -ENOMEM;
    size_t cap = b->cap ? b->cap * 2 : BUF_MIN_CAP;
    while (cap < used + len)
        cap *= 2;
    if (b->start) {
        memmove(b->mem, b->mem + b->start, used);
        b->start = 0;
        b->end = used;
    }
    char *mem = realloc(b->mem, cap);
    if (!mem)
        return -ENOMEM;
    b->mem = mem;
    b->cap = cap;
    return 0;
}

void buf_commit(struct buf *b, size_t len)
{
    assert(len <= buf_room(b));
    b->end += len;
}

int buf_append(struct buf *b, const void *data, size_t len)
{
    if (len == 0)
        return 0;
    int r = buf_reserve(b, len);
    if (r < 0)
        return r;
    memcpy(b->mem + b->end, data, len);
    b->end += len;
    return 0;
}

int buf_append_str(struct buf *b, struct str s)
{
    return buf_append(b, s.ptr, s.len);
}

int buf_vprintf(struct buf *b, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(buf_tail(b), buf_room(b), format, args);
    int r = n < 0 ? -EINVAL : 0;
    if (n >= 0 && (size_t)n >= buf_room(b)) {
        r = buf_reserve(b, (size_t)n + 1);
        if (r == 0)
            n = vsnprintf(buf_tail(b), buf_room(b), format, again);
    }
    va_end(again);
    if (r == 0)
        b->end += (size_t)n;
    return r;
}

int buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int r = buf_vprintf(b, format, args);
    va_end(args);
    return r;
}

void buf_consume(struct buf *b, size_t len)
{
    assert(len <= buf_len(b));
    b->start += len;
    if (b->start == b->end)
        b->start = b->end = 0;
}

void buf_clear(struct buf *b)
{
    b->start = b->end = 0;
}
