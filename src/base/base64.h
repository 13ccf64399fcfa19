/* base64.h - bytes as text (RFC 4648, section 4: with padding) and back. Strict: what it reads has
 * one spelling only. */
#pragma once
#include "base/buf.h"

/* Appends to `out`: 0 or -ENOMEM. */
int base64_encode(struct buf *out, struct str bytes);
/* Into `out`, which has room for len / 4 * 3 bytes and may be the text's own place. The number of
 * bytes, or -EINVAL. */
int64_t base64_decode(const char *text, size_t len, char *out);
