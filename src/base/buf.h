/* buf.h - growable byte buffer. Owned by one thread; its owner bounds it, it never bounds itself.
 *
 * Bytes are appended at the end and consumed from the front. A pointer into it is good until the
 * next call that may grow it (append, reserve, printf). Out of memory leaves the content as it was.
 */
#pragma once
#include "base/str.h"
#include <stdarg.h>
#include <stddef.h>

struct buf {
    char *mem;
    size_t start, end, cap; /* content: mem[start .. end) */
};

void buf_init(struct buf *b);
void buf_fini(struct buf *b);
static inline size_t buf_len(const struct buf *b)
{
    return b->end - b->start;
}
/* The content; NULL is possible when it is empty. */
static inline char *buf_ptr(const struct buf *b)
{
    return b->mem ? b->mem + b->start : NULL;
}
static inline struct str buf_str(const struct buf *b)
{
    return str_make(buf_ptr(b), buf_len(b));
}
/* Makes room for `len` more bytes at buf_tail(); 0 or -ENOMEM. */
int buf_reserve(struct buf *b, size_t len);
static inline char *buf_tail(const struct buf *b)
{
    return b->mem ? b->mem + b->end : NULL;
}
static inline size_t buf_room(const struct buf *b)
{
    return b->cap - b->end;
}
/* The caller has written `len` bytes at buf_tail(); len <= buf_room(). */
void buf_commit(struct buf *b, size_t len);
/* 0 or -ENOMEM. `data` must not lie in the buffer itself. */
int buf_append(struct buf *b, const void *data, size_t len);
int buf_append_str(struct buf *b, struct str s);
/* Appends formatted text, no NUL behind it: 0, -ENOMEM, or -EINVAL when the C library refuses the
 * format. */
int buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
int buf_vprintf(struct buf *b, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));
/* Drops `len` bytes from the front; len <= buf_len(). O(1). */
void buf_consume(struct buf *b, size_t len);
/* Empties it and keeps the memory. */
void buf_clear(struct buf *b);
