/* file.h - whole small files into memory. */
#pragma once
#include "base/buf.h"

/* Appends the content of a regular file (or pipe) of at most `max` bytes. 0 or -errno, -EFBIG. */
int file_read(const char *path, size_t max, struct buf *out);
