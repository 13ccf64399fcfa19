/* proxy_header.h - the PROXY protocol, versions 1 and 2: who is behind the proxy that connected.
 * Pure: bytes in, address out; no I/O, no allocation. */
#pragma once
#include "net/addr.h"

#define PROXY_HEADER_MAX 2048u /* bytes of a header with its TLVs; a longer one is refused */

#define PROXY_NEED_MORE 1

struct proxy_header {
    size_t len;         /* of the header; the connection's own bytes follow */
    bool has_source;    /* false: the proxy speaks for itself, or does not know */
    struct addr source; /* the client */
};

/* 0: *r_header is set; PROXY_NEED_MORE; -EPROTO: this is none. Says so at the first wrong byte. */
int proxy_header_parse(const uint8_t *data, size_t len, struct proxy_header *r_header);
