/* dial.h - TCP connections to the broker, as many as one asks for.
 *
 * On loopback the source address changes every DIAL_PER_SOURCE connections, because one address has
 * no more than some 28,000 ephemeral ports. Connecting waits for the broker's kernel. */
#pragma once
#include <netdb.h>
#include <stdint.h>
#include <sys/socket.h>

#define DIAL_PER_SOURCE 20000u

struct dial {
    struct sockaddr_storage to;
    socklen_t to_len;
    uint32_t n_dialled;
};

/* 0, or an error of getaddrinfo for gai_strerror. */
int dial_resolve(struct dial *d, const char *host, uint16_t port);
/* A connected socket, or negative errno. */
int dial_connect(struct dial *d);
/* As many descriptors as the system lets this process have; returns the limit. */
uint64_t dial_raise_limit(void);
