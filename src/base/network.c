#include "base/network.h"
#include <arpa/inet.h>
#include <string.h>

static bool read_bits(const char *text, unsigned max, uint8_t *r_bits)
{
    unsigned n = 0;
    if (!*text || (text[0] == '0' && text[1]))
        return false;
    for (; *text >= '0' && *text <= '9' && n <= max; text++)
        n = n * 10 + (unsigned)(*text - '0');
    *r_bits = (uint8_t)n;
    return !*text && n <= max;
}

static bool is_bit_set(const uint8_t *ip, unsigned i)
{
    return ip[i / 8] >> (7 - i % 8) & 1;
}

bool network_parse(const char *text, struct network *r_network)
{
    struct network n = { .kind = NETWORK_LOCAL };
    char ip[64];
    size_t len = strcspn(text, "/");
    if (!strcmp(text, "local")) {
        *r_network = n;
        return true;
    }
    if (len >= sizeof(ip))
        return false;
    memcpy(ip, text, len);
    ip[len] = '\0';
    if (inet_pton(AF_INET, ip, n.ip) == 1)
        n.kind = NETWORK_IPV4;
    else if (inet_pton(AF_INET6, ip, n.ip) == 1)
        n.kind = NETWORK_IPV6;
    else
        return false;
    unsigned max = n.kind == NETWORK_IPV4 ? 32 : 128;
    n.bits = (uint8_t)max;
    if (text[len] && !read_bits(text + len + 1, max, &n.bits))
        return false;
    for (unsigned i = n.bits; i < max; i++)
        if (is_bit_set(n.ip, i))
            return false;
    *r_network = n;
    return true;
}

bool network_contains(const struct network *n, enum network_kind kind, const uint8_t *ip)
{
    if (n->kind != kind)
        return false;
    if (memcmp(n->ip, ip, n->bits / 8) != 0)
        return false;
    for (unsigned i = n->bits / 8 * 8u; i < n->bits; i++)
        if (is_bit_set(n->ip, i) != is_bit_set(ip, i))
            return false;
    return true;
}
