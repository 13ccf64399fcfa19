/* addr.h - an IP address and port, or "local" for UNIX sockets, in 20 bytes. A value. */
#pragma once
#include "base/network.h"
#include "base/str.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ADDR_TEXT_MAX 48

enum addr_kind { ADDR_NONE, ADDR_LOCAL, ADDR_IPV4, ADDR_IPV6 };

struct addr {
    uint8_t ip[16]; /* IPv4: the first four bytes; network order */
    uint16_t port;  /* host order */
    uint8_t kind;   /* enum addr_kind */
};

struct sockaddr;

/* An IPv4 address in IPv6's clothes (::ffff:1.2.3.4) is IPv4 from then on. */
void addr_unmap(struct addr *addr);
/* v4-mapped IPv6 addresses become IPv4. */
void addr_from_sockaddr(struct addr *r_addr, const struct sockaddr *sa, size_t len);
/* The address without the port: "127.0.0.1", "fe80::1", "local", "-". Returns its length. */
size_t addr_text(const struct addr *addr, char r_text[ADDR_TEXT_MAX]);
/* Numbers, with or without port: "1.2.3.4:5", "::1", "[::1]:5". False: it is none. */
bool addr_parse(struct str text, struct addr *r_addr);
/* One to five digits, 0 to 65535. */
bool addr_read_port(struct str text, uint16_t *r_port);
bool addr_is_in(const struct addr *addr, const struct network *networks, uint32_t n);
bool addr_is_equal(const struct addr *a, const struct addr *b); /* ports are not compared */
