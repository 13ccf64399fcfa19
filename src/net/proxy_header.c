#include "net/proxy_header.h"
#include <arpa/inet.h>
#include <errno.h>

#define V1_MAX      107u /* with CR LF */
#define V2_HEAD     16u
#define V2_IPV4     12u
#define V2_IPV6     36u
#define V2_UNIX     216u
#define TLV_HEAD    3u
#define COMMAND     0x0fu
#define LOCAL       0u
#define PROXY       1u
#define FAMILY_NONE 0x00u
#define TCP4        0x11u
#define TCP6        0x21u
#define UNIX_STREAM 0x31u

static const uint8_t v1_start[] = "PROXY ";
static const uint8_t v2_start[] = "\r\n\r\n\0\r\nQUIT\n";
#define V1_START (sizeof(v1_start) - 1)
#define V2_START (sizeof(v2_start) - 1)

static bool begins(const uint8_t *data, size_t len, const uint8_t *start, size_t n)
{
    return memcmp(data, start, len < n ? len : n) == 0;
}

/* ---- version 1: a line of text -----------------------------------------------------------------
 */

static bool read_ip(struct str text, int family, uint8_t r_ip[16])
{
    char ip[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof(ip))
        return false;
    memcpy(ip, text.ptr, text.len);
    ip[text.len] = '\0';
    return inet_pton(family, ip, r_ip) == 1;
}

/* Version 1 has no leading zeros. */
static bool read_port(struct str text, uint16_t *r_port)
{
    return !(text.len > 1 && text.ptr[0] == '0') && addr_read_port(text, r_port);
}

/* What stands between "PROXY " and CR LF. */
static bool read_v1(struct str line, struct proxy_header *h)
{
    struct str protocol = str_cut(&line, ' ');
    bool four = str_eq(protocol, STR("TCP4"));
    uint8_t other[16];
    uint16_t other_port;
    if (str_eq(protocol, STR("UNKNOWN")))
        return true;
    if (!four && !str_eq(protocol, STR("TCP6")))
        return false;
    h->has_source = true;
    h->source.kind = four ? ADDR_IPV4 : ADDR_IPV6;
    struct str from = str_cut(&line, ' '), to = str_cut(&line, ' '),
               from_port = str_cut(&line, ' ');
    int family = four ? AF_INET : AF_INET6;
    return read_ip(from, family, h->source.ip) && read_ip(to, family, other) &&
           read_port(from_port, &h->source.port) && line.ptr && read_port(line, &other_port);
}

static int parse_v1(const uint8_t *data, size_t len, struct proxy_header *h)
{
    size_t max = len < V1_MAX ? len : V1_MAX;
    const uint8_t *end;
    for (size_t i = V1_START; i < max && data[i] != '\r'; i++)
        if (data[i] < ' ' || data[i] > '~')
            return -EPROTO;
    end = max > V1_START ? memchr(data + V1_START, '\r', max - V1_START) : NULL;
    if (end && end + 1 < data + max && end[1] != '\n')
        return -EPROTO;
    if (!end || end + 1 == data + max)
        return max == V1_MAX ? -EPROTO : PROXY_NEED_MORE;
    h->len = (size_t)(end + 2 - data);
    return read_v1(str_make(data + V1_START, (size_t)(end - data) - V1_START), h) ? 0 : -EPROTO;
}

/* ---- version 2: binary -------------------------------------------------------------------------
 */

static bool are_tlvs(const uint8_t *p, size_t len)
{
    while (len > 0) {
        size_t n;
        if (len < TLV_HEAD)
            return false;
        n = TLV_HEAD + ((size_t)p[1] << 8 | p[2]);
        if (n > len)
            return false;
        p += n;
        len -= n;
    }
    return true;
}

/* The address block: its size; negative: no such family, or not a stream. */
static int addresses_size(uint8_t family)
{
    switch (family) {
    case FAMILY_NONE: return 0;
    case TCP4: return V2_IPV4;
    case TCP6: return V2_IPV6;
    case UNIX_STREAM: return V2_UNIX;
    default: return -EPROTO;
    }
}

static void take_source(uint8_t family, const uint8_t *p, struct proxy_header *h)
{
    size_t n = family == TCP4 ? 4 : 16;
    if (family != TCP4 && family != TCP6)
        return;
    h->has_source = true;
    h->source.kind = family == TCP4 ? ADDR_IPV4 : ADDR_IPV6;
    memcpy(h->source.ip, p, n);
    h->source.port = (uint16_t)(p[2 * n] << 8 | p[2 * n + 1]);
}

static int parse_v2(const uint8_t *data, size_t len, struct proxy_header *h)
{
    const uint8_t *body = data + V2_HEAD;
    size_t n, command;
    int size;
    if (len > V2_START && data[V2_START] >> 4 != 2)
        return -EPROTO;
    if (len < V2_HEAD)
        return PROXY_NEED_MORE;
    command = data[12] & COMMAND;
    n = (size_t)data[14] << 8 | data[15];
    if (command > PROXY || V2_HEAD + n > PROXY_HEADER_MAX)
        return -EPROTO;
    size = command == LOCAL ? 0 : addresses_size(data[13]);
    if (size < 0 || (size_t)size > n)
        return -EPROTO;
    if (len < V2_HEAD + n)
        return PROXY_NEED_MORE;
    h->len = V2_HEAD + n;
    if (command == LOCAL) /* whatever follows is to be ignored */
        return 0;
    if (data[13] != FAMILY_NONE && !are_tlvs(body + size, n - (size_t)size))
        return -EPROTO;
    take_source(data[13], body, h);
    return 0;
}

int proxy_header_parse(const uint8_t *data, size_t len, struct proxy_header *r_header)
{
    struct proxy_header h = { 0 };
    int r;
    if (len == 0)
        return PROXY_NEED_MORE;
    if (begins(data, len, v1_start, V1_START))
        r = len < V1_START ? PROXY_NEED_MORE : parse_v1(data, len, &h);
    else if (begins(data, len, v2_start, V2_START))
        r = len < V2_START ? PROXY_NEED_MORE : parse_v2(data, len, &h);
    else
        r = -EPROTO;
    if (r)
        return r;
    addr_unmap(&h.source);
    *r_header = h;
    return 0;
}
