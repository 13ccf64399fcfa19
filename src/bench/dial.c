#include "bench/dial.h"
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#define CONNECT_TIMEOUT_S 10
#define N_SOURCES         200u

int dial_resolve(struct dial *d, const char *host, uint16_t port)
{
    char service[8];
    snprintf(service, sizeof(service), "%u", port);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV };
    struct addrinfo *found;
    int r = getaddrinfo(host, service, &hints, &found);
    if (r)
        return r;
    *d = (struct dial){ .to_len = found->ai_addrlen };
    memcpy(&d->to, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

/* 127.0.0.1, then 127.0.0.2 and so on. */
static int bind_source(const struct dial *d, int fd)
{
    const struct sockaddr_in *to = (const struct sockaddr_in *)(const void *)&d->to;
    uint32_t nth = d->n_dialled / DIAL_PER_SOURCE % N_SOURCES;
    if (nth == 0 || to->sin_family != AF_INET || ntohl(to->sin_addr.s_addr) >> 24 != 127)
        return 0;
    struct sockaddr_in from = { .sin_family = AF_INET,
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK + nth) };
    int on = 1;
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    return bind(fd, (const struct sockaddr *)&from, sizeof(from)) < 0 ? -errno : 0;
}

int dial_connect(struct dial *d)
{
    int fd = socket(d->to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    struct timeval timeout = { .tv_sec = CONNECT_TIMEOUT_S };
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    int r = bind_source(d, fd);
    if (r == 0 && connect(fd, (const struct sockaddr *)&d->to, d->to_len) < 0)
        r = errno == EINPROGRESS ? -ETIMEDOUT : -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    d->n_dialled++;
    return fd;
}

uint64_t dial_raise_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return 1024;
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    getrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}
