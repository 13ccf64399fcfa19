/* network.h - a range of IP addresses, "10.0.0.0/8" or a single address, or "local": whoever comes
 * over a unix socket. A value; addresses are bytes in network order, IPv4 in the first four. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum network_kind { NETWORK_LOCAL, NETWORK_IPV4, NETWORK_IPV6 };

struct network {
    uint8_t ip[16];
    uint8_t kind; /* enum network_kind */
    uint8_t bits; /* of the prefix */
};

/* False: `text` is none, or has bits set behind its prefix. */
bool network_parse(const char *text, struct network *r_network);
bool network_contains(const struct network *network, enum network_kind kind, const uint8_t *ip);
