#include "net/addr.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

void addr_unmap(struct addr *a)
{
    static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

    if (a->kind != ADDR_IPV6 || memcmp(a->ip, mapped, sizeof(mapped)) != 0)
        return;
    memmove(a->ip, a->ip + 12, 4);
    memset(a->ip + 4, 0, 12);
    a->kind = ADDR_IPV4;
}

void addr_from_sockaddr(struct addr *r_addr, const struct sockaddr *sa, size_t len)
{
    struct addr a = { .kind = ADDR_NONE };

    if (len >= sizeof(struct sockaddr_in) && sa->sa_family == AF_INET) {
        struct sockaddr_in in;

        memcpy(&in, sa, sizeof(in));
        a.kind = ADDR_IPV4;
        a.port = ntohs(in.sin_port);
        memcpy(a.ip, &in.sin_addr, 4);
    } else if (len >= sizeof(struct sockaddr_in6) && sa->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;

        memcpy(&in6, sa, sizeof(in6));
        a.kind = ADDR_IPV6;
        a.port = ntohs(in6.sin6_port);
        memcpy(a.ip, &in6.sin6_addr, 16);
        addr_unmap(&a);
    } else if (len >= sizeof(sa->sa_family) && sa->sa_family == AF_UNIX) {
        a.kind = ADDR_LOCAL;
    }
    *r_addr = a;
}

size_t addr_text(const struct addr *addr, char r_text[ADDR_TEXT_MAX])
{
    switch ((enum addr_kind)addr->kind) {
    case ADDR_IPV4: inet_ntop(AF_INET, addr->ip, r_text, ADDR_TEXT_MAX); break;
    case ADDR_IPV6: inet_ntop(AF_INET6, addr->ip, r_text, ADDR_TEXT_MAX); break;
    case ADDR_LOCAL: snprintf(r_text, ADDR_TEXT_MAX, "local"); break;
    case ADDR_NONE: snprintf(r_text, ADDR_TEXT_MAX, "-"); break;
    }
    return strlen(r_text);
}

bool addr_is_equal(const struct addr *a, const struct addr *b)
{
    return a->kind == b->kind && memcmp(a->ip, b->ip, sizeof(a->ip)) == 0;
}

bool addr_read_port(struct str text, uint16_t *r_port)
{
    uint32_t n = 0;

    if (text.len == 0 || text.len > 5)
        return false;
    for (uint32_t i = 0; i < text.len; i++) {
        if (text.ptr[i] < '0' || text.ptr[i] > '9')
            return false;
        n = n * 10 + (uint32_t)(text.ptr[i] - '0');
    }
    *r_port = (uint16_t)n;
    return n <= UINT16_MAX;
}

/* The host's part of "1.2.3.4:5", "[::1]:5"; *r_port: what stands behind it, ptr NULL: nothing. */
static bool split_port(struct str text, struct str *r_host, struct str *r_port)
{
    const char *end = memchr(text.ptr, ']', text.len);
    const char *colon = memchr(text.ptr, ':', text.len);
    size_t len = text.len;

    *r_port = STR_NULL;
    *r_host = text;
    if (text.ptr[0] == '[') {
        if (!end)
            return false;
        *r_host = str_make(text.ptr + 1, (size_t)(end - text.ptr) - 1);
        if (end + 1 == text.ptr + len)
            return true;
        colon = end + 1;
        if (*colon != ':')
            return false;
    } else if (!colon || memchr(colon + 1, ':', len - (size_t)(colon + 1 - text.ptr))) {
        return true; /* no port, or IPv6 */
    } else {
        *r_host = str_make(text.ptr, (size_t)(colon - text.ptr));
    }
    *r_port = str_make(colon + 1, len - (size_t)(colon + 1 - text.ptr));
    return true;
}

bool addr_parse(struct str text, struct addr *r_addr)
{
    struct addr a = { .kind = ADDR_NONE };
    struct str host, port;
    char ip[INET6_ADDRSTRLEN];

    if (!text.len || !split_port(text, &host, &port) || host.len >= sizeof(ip))
        return false;
    if (port.ptr && !addr_read_port(port, &a.port))
        return false;
    memcpy(ip, host.ptr, host.len);
    ip[host.len] = '\0';
    if (strlen(ip) != host.len)
        return false;
    if (text.ptr[0] != '[' && inet_pton(AF_INET, ip, a.ip) == 1)
        a.kind = ADDR_IPV4;
    else if (inet_pton(AF_INET6, ip, a.ip) == 1)
        a.kind = ADDR_IPV6;
    else
        return false;
    addr_unmap(&a);
    *r_addr = a;
    return true;
}

bool addr_is_in(const struct addr *addr, const struct network *networks, uint32_t n)
{
    static const enum network_kind kinds[] = {
        [ADDR_LOCAL] = NETWORK_LOCAL, [ADDR_IPV4] = NETWORK_IPV4, [ADDR_IPV6] = NETWORK_IPV6
    };

    if (addr->kind == ADDR_NONE)
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (network_contains(&networks[i], kinds[addr->kind], addr->ip))
            return true;
    return false;
}
