#include "net/listener.h"
#include "net/loop_priv.h"
#include "net/stream_priv.h"
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define DEFAULT_BACKLOG 1024
#define DEFAULT_BUDGET  64u
#define BACKOFF_MS      100u /* when even the reserve descriptor does not help */
#define PORT_TRIES      16   /* port 0: the port found for IPv4 may be taken for IPv6 */
#define ADDRS_MAX       8

/* One socket on one loop. Its loop's thread owns it from listener_start to the end. */
struct part {
    struct listener *listener;
    struct loop *loop;
    int fd;
    ev_io io;
    struct timer backoff;
    struct mail start, stop;
};

struct listener {
    struct loop_group *group;
    listener_accept_fn on_accept;
    void *ctx;
    uint32_t budget;
    bool is_tcp, is_shared, started;
    uint16_t port;
    char *unix_path;
    dev_t unix_dev; /* of the socket file */
    ino_t unix_ino;
    _Atomic uint64_t n_accepted, n_refused;
    _Atomic uint32_t n_parts_left;
    uint32_t n_parts;
    struct part *parts;
};

struct bind_addr {
    struct sockaddr_storage sa;
    socklen_t len;
    bool optional; /* IPv6 of "all addresses": the system may not have it */
};

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void part_backoff(struct part *p)
{
    ev_io_stop(p->loop->ev, &p->io);
    timer_arm(&p->loop->timers, &p->backoff, p->loop->now_ms + BACKOFF_MS);
}

static void on_backoff(struct timer *t, uint64_t now_ms)
{
    struct part *p = container_of(t, struct part, backoff);

    (void)now_ms;
    if (p->loop->reserve_fd < 0)
        p->loop->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    ev_io_start(p->loop->ev, &p->io);
}

/* Out of descriptors: the reserve one lets the connection be taken and closed, so that the peer
 * knows and the loop does not spin. 0: closed one; -EAGAIN: nobody was waiting (the system looks
 * for a descriptor first); other: it did not help. */
static int refuse_one(struct part *p)
{
    struct loop *loop = p->loop;
    int fd, err;

    if (loop->reserve_fd < 0)
        return -EMFILE;
    close(loop->reserve_fd);
    fd = accept4(p->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    err = errno;
    if (fd >= 0)
        close(fd);
    loop->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -err;
    count(&p->listener->n_refused);
    return 0;
}

/* What a failed accept means: true, try the next one. */
static bool accept_failed(struct part *p, int err)
{
    if (err == EMFILE || err == ENFILE) {
        err = -refuse_one(p);
        if (err == 0)
            return true;
    }
    switch (err) {
    case EAGAIN: return false;
    case EMFILE:
    case ENFILE:
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
    case ENOBUFS:
    case ENOMEM: part_backoff(p); return false;
    default: return true; /* EINTR, ECONNABORTED, or an error of that one connection */
    }
}

static void accepted(struct part *p, int fd, const struct sockaddr *sa, socklen_t len)
{
    struct listener *l = p->listener;
    struct stream *s;
    struct addr peer;

    addr_from_sockaddr(&peer, sa, len);
    if (stream_new_accepted(fd, &peer, l->is_tcp, &s) < 0) {
        count(&l->n_refused);
        return;
    }
    count(&l->n_accepted);
    l->on_accept(l->ctx, p->loop, s);
}

static void on_acceptable(struct ev_loop *ev, ev_io *w, int revents)
{
    struct part *p = w->data;

    (void)ev;
    (void)revents;
    for (uint32_t i = 0; i < p->listener->budget; i++) {
        struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
        socklen_t len = sizeof(sa);
        int fd = accept4(p->fd, (struct sockaddr *)&sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd >= 0)
            accepted(p, fd, (struct sockaddr *)&sa, len);
        else if (!accept_failed(p, errno))
            return;
    }
}

static void listener_free_now(struct listener *l)
{
    for (uint32_t i = 0; i < l->n_parts; i++)
        if (l->parts[i].fd >= 0 && (!l->is_shared || i == 0))
            close(l->parts[i].fd);
    free(l->unix_path);
    free(l->parts);
    free(l);
}

static void on_start_mail(struct loop *here, struct mail *m)
{
    struct part *p = container_of(m, struct part, start);

    ev_io_start(here->ev, &p->io);
}

static void on_stop_mail(struct loop *here, struct mail *m)
{
    struct part *p = container_of(m, struct part, stop);
    struct listener *l = p->listener;

    ev_io_stop(here->ev, &p->io);
    timer_stop(&here->timers, &p->backoff);
    if (!l->is_shared) {
        close(p->fd);
        p->fd = -1;
    }
    if (atomic_fetch_sub_explicit(&l->n_parts_left, 1, memory_order_acq_rel) == 1)
        listener_free_now(l);
}

void listener_start(struct listener *l)
{
    if (l->started)
        return;
    l->started = true;
    for (uint32_t i = 0; i < l->n_parts; i++)
        loop_post_any(l->parts[i].loop, &l->parts[i].start, on_start_mail);
}

/* Another broker may have taken the path meanwhile. */
static void remove_file(const struct listener *l)
{
    struct stat st;

    if (lstat(l->unix_path, &st) == 0 && st.st_dev == l->unix_dev && st.st_ino == l->unix_ino)
        unlink(l->unix_path);
}

void listener_free(struct listener **listener)
{
    struct listener *l = *listener;
    uint32_t n_parts;

    if (!l)
        return;
    *listener = NULL;
    if (l->unix_path)
        remove_file(l);
    if (!l->started) {
        listener_free_now(l);
        return;
    }
    /* The last stop frees l, perhaps before this loop has ended. */
    n_parts = l->n_parts;
    for (struct part *p = l->parts; n_parts > 0; n_parts--, p++)
        loop_post_any(p->loop, &p->stop, on_stop_mail);
}

uint16_t listener_port(const struct listener *l)
{
    return l->port;
}

void listener_get_stats(const struct listener *l, struct listener_stats *r_stats)
{
    r_stats->n_accepted = atomic_load_explicit(&l->n_accepted, memory_order_relaxed);
    r_stats->n_refused = atomic_load_explicit(&l->n_refused, memory_order_relaxed);
}

static void add_part(struct listener *l, uint32_t loop, int m_fd)
{
    struct part *p = &l->parts[l->n_parts++];

    p->listener = l;
    p->loop = loop_group_at(l->group, loop);
    p->fd = m_fd;
    ev_io_init(&p->io, on_acceptable, m_fd, EV_READ);
    p->io.data = p;
    timer_init(&p->backoff, on_backoff);
}

/* One socket, watched by all loops. */
static void add_shared(struct listener *l, int m_fd)
{
    l->is_shared = true;
    for (uint32_t i = 0; i < loop_group_count(l->group); i++)
        add_part(l, i, m_fd);
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
    socklen_t len = sizeof(sa);
    struct addr a = { .kind = ADDR_NONE };

    if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
        addr_from_sockaddr(&a, (struct sockaddr *)&sa, len);
    return a.port;
}

static void set_port(struct bind_addr *a, uint16_t port)
{
    if (a->sa.ss_family == AF_INET6)
        ((struct sockaddr_in6 *)&a->sa)->sin6_port = htons(port);
    else
        ((struct sockaddr_in *)&a->sa)->sin_port = htons(port);
}

/* A bound socket, or negative errno. Options set here are inherited by what is accepted. */
static int open_tcp(const struct bind_addr *a, const struct stream_tcp *tcp, bool reuse_port)
{
    int on = 1;
    int r = 0;
    int fd = socket(a->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) < 0) ||
        (a->sa.ss_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) ||
        bind(fd, (const struct sockaddr *)&a->sa, a->len) < 0)
        r = -errno;
    if (r < 0) {
        close(fd);
        return r;
    }
    stream_set_tcp_options(fd, tcp);
    return fd;
}

/* SO_REUSEPORT would let a second broker of the same user share the port unnoticed: a socket
 * without it finds out first. Also picks the port. */
static int probe(struct bind_addr *a)
{
    int fd = open_tcp(a, NULL, false);

    if (fd < 0)
        return fd;
    set_port(a, port_of(fd));
    close(fd);
    return 0;
}

static void drop_parts(struct listener *l)
{
    while (l->n_parts > 0)
        close(l->parts[--l->n_parts].fd);
}

static int bind_all(struct listener *l, struct bind_addr *addrs, int n_addrs, uint16_t port,
                    const struct listener_conf *conf)
{
    uint32_t n_loops = loop_group_count(l->group);

    for (int i = 0; i < n_addrs; i++) {
        int r;

        set_port(&addrs[i], port);
        r = probe(&addrs[i]);
        if (r < 0 && addrs[i].optional && l->n_parts > 0 && r != -EADDRINUSE && r != -EACCES)
            continue;
        for (uint32_t loop = 0; loop < n_loops && r >= 0; loop++) {
            r = open_tcp(&addrs[i], &conf->tcp, n_loops > 1);
            if (r < 0)
                break;
            add_part(l, loop, r);
            port = port_of(r);
        }
        if (r < 0) {
            drop_parts(l);
            return r;
        }
    }
    l->port = port;
    return 0;
}

static int resolve_all(struct bind_addr *r_addrs)
{
    struct sockaddr_in in = { .sin_family = AF_INET };
    struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

    memcpy(&r_addrs[0].sa, &in, sizeof(in));
    r_addrs[0].len = sizeof(in);
    memcpy(&r_addrs[1].sa, &in6, sizeof(in6));
    r_addrs[1].len = sizeof(in6);
    r_addrs[1].optional = true;
    return 2;
}

/* The number of addresses, or negative errno. */
static int resolve(const char *name, struct bind_addr r_addrs[ADDRS_MAX])
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    struct addrinfo *list;
    int n = 0;
    int r;

    if (!name || !*name || strcmp(name, "*") == 0)
        return resolve_all(r_addrs);
    r = getaddrinfo(name, NULL, &hints, &list);
    if (r != 0)
        return r == EAI_MEMORY ? -ENOMEM : -EADDRNOTAVAIL;
    for (struct addrinfo *it = list; it && n < ADDRS_MAX; it = it->ai_next) {
        if (it->ai_family != AF_INET && it->ai_family != AF_INET6)
            continue;
        memcpy(&r_addrs[n].sa, it->ai_addr, it->ai_addrlen);
        r_addrs[n].len = it->ai_addrlen;
        r_addrs[n].optional = n > 0; /* "localhost" without IPv6 */
        n++;
    }
    freeaddrinfo(list);
    return n > 0 ? n : -EADDRNOTAVAIL;
}

static int open_ip(struct listener *l, const struct listener_conf *conf)
{
    struct bind_addr addrs[ADDRS_MAX] = { 0 };
    int n = resolve(conf->bind, addrs);
    int r;

    if (n < 0)
        return n;
    l->is_tcp = true;
    l->parts = calloc((size_t)n * loop_group_count(l->group), sizeof(*l->parts));
    if (!l->parts)
        return -ENOMEM;
    for (int tries = 0;; tries++) {
        r = bind_all(l, addrs, n, conf->port, conf);
        if (r != -EADDRINUSE || conf->port != 0 || tries == PORT_TRIES)
            return r;
    }
}

/* Removes the socket file that a dead process left behind. */
static int remove_stale(const struct sockaddr_un *un)
{
    struct stat st;
    int r = 0;
    int fd;

    if (lstat(un->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EADDRINUSE;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 || errno != ECONNREFUSED)
        r = -EADDRINUSE;
    else if (unlink(un->sun_path) < 0)
        r = -errno;
    close(fd);
    return r;
}

static int open_unix(struct listener *l, const struct listener_conf *conf)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    size_t len = strlen(conf->unix_path);
    struct stat st;
    int fd, r;

    if (len >= sizeof(un.sun_path))
        return -ENAMETOOLONG;
    memcpy(un.sun_path, conf->unix_path, len);
    r = remove_stale(&un);
    if (r < 0)
        return r;
    l->parts = calloc(loop_group_count(l->group), sizeof(*l->parts));
    if (!l->parts)
        return -ENOMEM;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (bind(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
        r = -errno;
        close(fd);
        return r;
    }
    add_shared(l, fd);
    l->unix_path = str_dup(str_from(conf->unix_path));
    if (!l->unix_path) {
        unlink(conf->unix_path);
        return -ENOMEM;
    }
    if (lstat(l->unix_path, &st) < 0)
        return -errno;
    l->unix_dev = st.st_dev;
    l->unix_ino = st.st_ino;
    /* Nobody can connect before listen(). */
    if (conf->unix_chown && lchown(l->unix_path, conf->unix_uid, conf->unix_gid) < 0)
        return -errno;
    if (chmod(l->unix_path, conf->unix_mode ? conf->unix_mode : 0660) < 0)
        return -errno;
    return 0;
}

static int open_inherited(struct listener *l, const struct listener_conf *conf)
{
    struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
    socklen_t len = sizeof(sa);

    l->parts = calloc(loop_group_count(l->group), sizeof(*l->parts));
    if (!l->parts) {
        close(conf->fd);
        return -ENOMEM;
    }
    add_shared(l, conf->fd);
    if (getsockname(conf->fd, (struct sockaddr *)&sa, &len) < 0 ||
        fcntl(conf->fd, F_SETFL, fcntl(conf->fd, F_GETFL) | O_NONBLOCK) < 0 ||
        fcntl(conf->fd, F_SETFD, FD_CLOEXEC) < 0)
        return -errno;
    l->is_tcp = sa.ss_family == AF_INET || sa.ss_family == AF_INET6;
    if (l->is_tcp) {
        l->port = port_of(conf->fd);
        stream_set_tcp_options(conf->fd, &conf->tcp);
    }
    return 0;
}

static int listen_all(struct listener *l, int backlog)
{
    for (uint32_t i = 0; i < l->n_parts; i++)
        if (listen(l->parts[i].fd, backlog ? backlog : DEFAULT_BACKLOG) < 0)
            return -errno;
    return 0;
}

int listener_new(struct loop_group *group, const struct listener_conf *conf,
                 listener_accept_fn on_accept, void *ctx, struct listener **r_listener)
{
    struct listener *l = calloc(1, sizeof(*l));
    int r;

    if (!l) {
        if (conf->inherited)
            close(conf->fd);
        return -ENOMEM;
    }
    l->group = group;
    l->on_accept = on_accept;
    l->ctx = ctx;
    l->budget = conf->accept_budget ? conf->accept_budget : DEFAULT_BUDGET;
    if (conf->inherited)
        r = open_inherited(l, conf);
    else if (conf->unix_path)
        r = open_unix(l, conf);
    else
        r = open_ip(l, conf);
    if (r >= 0)
        r = listen_all(l, conf->backlog);
    if (r < 0) {
        listener_free(&l);
        return r;
    }
    atomic_init(&l->n_parts_left, l->n_parts);
    *r_listener = l;
    return 0;
}
