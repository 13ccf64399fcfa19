#include "net/addr.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

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
        a.port = ntohs(in6.sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) {
            a.kind = ADDR_IPV4;
            memcpy(a.ip, in6.sin6_addr.s6_addr + 12, 4);
        } else {
            a.kind = ADDR_IPV6;
            memcpy(a.ip, &in6.sin6_addr, 16);
        }
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
