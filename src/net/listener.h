/* listener.h - accepts connections, on every loop of the group.
 *
 * TCP: per address one SO_REUSEPORT socket per loop; UNIX sockets and inherited descriptors are one
 * socket watched by all loops. Belongs to the thread that made it. Never spins when descriptors run
 * out: a reserve descriptor serves to accept and close, counted. */
#pragma once
#include "net/stream.h"
#include <stdint.h>

struct listener;
struct loop_group;

struct listener_conf {
    const char *bind;      /* address or host name; NULL, "" or "*": all, IPv4 and IPv6 */
    uint16_t port;         /* 0: any free one, the same for all addresses and loops */
    const char *unix_path; /* instead of bind and port; a stale socket file is replaced */
    uint32_t unix_mode;    /* file mode of the socket; 0: 0660 */
    bool unix_chown;       /* to these two; UINT32_MAX: as it is */
    uint32_t unix_uid, unix_gid;
    bool inherited; /* use `fd`, a listening socket, instead; taken, also on failure */
    int fd;
    int backlog;            /* 0: 1024 */
    uint32_t accept_budget; /* per socket and turn; 0: 64 */
    struct stream_tcp tcp;
};

/* [loop] The stream is detached and yours: stream_attach it, or stream_abort it. */
typedef void (*listener_accept_fn)(void *ctx, struct loop *loop, struct stream *m_stream);

struct listener_stats {
    uint64_t n_accepted;
    uint64_t n_refused; /* accepted and closed at once: no descriptor or memory left */
};

/* Opens, binds and listens; nothing is accepted before listener_start. 0; -EADDRINUSE,
 * -EADDRNOTAVAIL (unknown host too), -EACCES, ... */
int listener_new(struct loop_group *group, const struct listener_conf *conf,
                 listener_accept_fn on_accept, void *ctx, struct listener **r_listener);
/* Also while the loops are running; takes effect in each loop's next turn. */
void listener_start(struct listener *l);
/* Closes the sockets, each in its loop's next turn; a UNIX socket file that is still the one made
 * here is removed. No on_accept of
 * a loop comes after that turn, so `ctx` must live until the loops are joined or have turned. */
void listener_free(struct listener **l);
/* The port that is listened on, 0 for UNIX sockets. */
uint16_t listener_port(const struct listener *l);
/* [any] */
void listener_get_stats(const struct listener *l, struct listener_stats *r_stats);
