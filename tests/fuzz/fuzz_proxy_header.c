#include "fuzz_support.h"
#include "net/proxy_header.h"
#include <errno.h>

/* Input: the first bytes of a connection. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header h = { 0 }, again;
    int rc = proxy_header_parse(data, size, &h);
    FUZZ_CHECK(rc == 0 || rc == PROXY_NEED_MORE || rc == -EPROTO);
    if (rc == PROXY_NEED_MORE)
        FUZZ_CHECK(size < PROXY_HEADER_MAX);
    if (rc != 0)
        return 0;
    FUZZ_CHECK(h.len > 0 && h.len <= size && h.len <= PROXY_HEADER_MAX);
    FUZZ_CHECK(!h.has_source || h.source.kind == ADDR_IPV4 || h.source.kind == ADDR_IPV6);
    FUZZ_CHECK(proxy_header_parse(data, h.len, &again) == 0 && again.len == h.len);
    for (size_t n = 0; n < h.len; n++)
        FUZZ_CHECK(proxy_header_parse(data, n, &again) == PROXY_NEED_MORE);
    return 0;
}
