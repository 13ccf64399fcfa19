#include "net/stream.h"
#include "net/stream_priv.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void on_io(struct ev_loop *ev, ev_io *w, int revents);
static void on_linger(struct timer *t, uint64_t now_ms);

void stream_set_tcp_options(int fd, const struct stream_tcp *tcp)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (!tcp)
        return;
    if (tcp->keepalive_s) {
        int idle = (int)tcp->keepalive_s;

        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    }
    if (tcp->user_timeout_ms)
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &tcp->user_timeout_ms,
                   sizeof(tcp->user_timeout_ms));
    if (tcp->send_buffer) {
        int size = (int)tcp->send_buffer;

        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    }
}

int stream_new_accepted(int m_fd, const struct addr *peer, bool is_tcp, struct stream **r_stream)
{
    struct stream *s = calloc(1, sizeof(*s));

    if (!s) {
        close(m_fd);
        return -ENOMEM;
    }
    ev_io_init(&s->io, on_io, m_fd, 0);
    s->io.data = s;
    list_init(&s->link);
    list_init(&s->work);
    list_init(&s->dirty);
    buf_init(&s->kept);
    timer_init(&s->linger, on_linger);
    s->peer = *peer;
    s->is_tcp = is_tcp;
    s->high = UINT32_MAX;
    *r_stream = s;
    return 0;
}

int stream_new(int m_fd, const struct stream_tcp *tcp, struct stream **r_stream)
{
    struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
    socklen_t len = sizeof(sa);
    struct addr peer = { .kind = ADDR_NONE };
    bool is_tcp;

    if (getpeername(m_fd, (struct sockaddr *)&sa, &len) == 0)
        addr_from_sockaddr(&peer, (struct sockaddr *)&sa, len);
    is_tcp = peer.kind == ADDR_IPV4 || peer.kind == ADDR_IPV6;
    if (is_tcp)
        stream_set_tcp_options(m_fd, tcp);
    fcntl(m_fd, F_SETFL, fcntl(m_fd, F_GETFL) | O_NONBLOCK);
    return stream_new_accepted(m_fd, &peer, is_tcp, r_stream);
}

void stream_update_watch(struct stream *s)
{
    int events = 0;
    bool read;

    if (!s->loop || s->state == STREAM_DEAD)
        return;
    if (s->state == STREAM_OPEN)
        read = (!s->paused || s->handshaking) && !s->err;
    else
        read = true;
    if (read && !s->eof)
        events |= EV_READ;
    if (s->blocked || s->want_write)
        events |= EV_WRITE;
    if (ev_is_active(&s->io) ? (s->io.events & (EV_READ | EV_WRITE)) == events : !events)
        return;
    ev_io_stop(s->loop->ev, &s->io);
    ev_io_modify(&s->io, events);
    if (events)
        ev_io_start(s->loop->ev, &s->io);
}

void stream_make_ready(struct stream *s)
{
    list_remove(&s->work);
    list_append(&s->loop->ready, &s->work);
}

void stream_attach(struct stream *s, struct loop *loop, const struct stream_ops *ops, void *ctx)
{
    assert(!s->loop && s->state == STREAM_OPEN);
    assert(loop_current() == loop || !loop->in_turn);
    s->loop = loop;
    s->ops = ops;
    s->ctx = ctx;
    s->paused = false;
    s->eof_told = false;
    s->blocked = false;
    s->offer = s->busy || buf_len(&s->kept) > 0;
    list_append(&loop->streams, &s->link);
    loop->stats.n_streams++;
    if (s->offer || s->handshaking || s->err || s->eof || stream_has_pending(s))
        stream_make_ready(s);
    if (s->out.n_bytes)
        stream_mark_dirty(s);
    ev_io_set(&s->io, s->io.fd, 0);
    stream_update_watch(s);
}

static void leave_loop(struct stream *s)
{
    ev_io_stop(s->loop->ev, &s->io);
    timer_stop(&s->loop->timers, &s->linger);
    list_remove(&s->link);
    list_remove(&s->work);
    list_remove(&s->dirty);
    s->loop->stats.n_streams--;
    if (s->state != STREAM_OPEN)
        s->loop->stats.n_lingering--;
}

void stream_detach(struct stream *s)
{
    assert(stream_is_live(s));
    leave_loop(s);
    s->loop = NULL;
    s->ops = NULL;
    s->ctx = NULL;
}

void stream_set_ops(struct stream *s, const struct stream_ops *ops, void *ctx)
{
    s->ops = ops;
    s->ctx = ctx;
    if (!stream_is_live(s))
        return;
    s->offer = true;
    stream_make_ready(s);
}

void stream_pause(struct stream *s)
{
    s->paused = true;
    stream_update_watch(s);
}

void stream_resume(struct stream *s)
{
    if (!s->paused || !stream_is_live(s))
        return;
    s->paused = false;
    s->offer = true;
    stream_make_ready(s);
    stream_update_watch(s);
}

bool stream_is_paused(const struct stream *s)
{
    return s->paused;
}

size_t stream_kept_bytes(const struct stream *s)
{
    return buf_len(&s->kept);
}

void stream_lost(struct stream *s, int err)
{
    assert(err < 0);
    if (s->state != STREAM_OPEN) {
        stream_die(s);
        return;
    }
    if (s->err)
        return;
    s->err = err;
    outq_clear(&s->out, s->loop ? &s->loop->pools : NULL);
    s->blocked = s->want_write = false;
    if (!s->loop)
        return; /* told after stream_attach */
    list_remove(&s->dirty);
    stream_make_ready(s);
    stream_update_watch(s);
}

static void free_memory(struct stream *s)
{
    while (s->layer) {
        struct layer *l = s->layer;

        s->layer = l->below;
        l->ops->free(l);
    }
    buf_fini(&s->kept);
    free(s);
}

/* A function of its own for tests/tsan.supp, which says why. */
static __attribute__((noinline)) void close_descriptor(int fd)
{
    close(fd);
}

void stream_die(struct stream *s)
{
    struct loop *loop = s->loop ? s->loop : loop_current();

    if (s->state == STREAM_DEAD)
        return;
    if (s->loop)
        leave_loop(s);
    outq_clear(&s->out, s->loop ? &s->loop->pools : NULL);
    s->state = STREAM_DEAD;
    close_descriptor(s->io.fd);
    if (s->loop || s->busy)
        list_append(&loop->dead, &s->link);
    else
        free_memory(s);
}

/* The owner is gone: the last bytes go out, then FIN. */
static void linger(struct stream *s, uint32_t linger_ms)
{
    s->state = STREAM_CLOSING;
    s->loop->stats.n_lingering++;
    if (s->handshaking)
        outq_clear(&s->out, &s->loop->pools);
    timer_arm(&s->loop->timers, &s->linger,
              s->loop->now_ms + (linger_ms ? linger_ms : STREAM_LINGER_MS));
    list_remove(&s->work);
    stream_mark_dirty(s);
    stream_update_watch(s);
}

void stream_tell_closed(struct stream *s, int err)
{
    const struct stream_ops *ops = s->ops;
    void *ctx = s->ctx;

    if (s->farewell && err == -EPROTO && s->loop) {
        outq_clear(&s->out, &s->loop->pools);
        linger(s, 0);
    } else {
        stream_die(s);
    }
    ops->on_closed(ctx, err);
}

void stream_reap(struct loop *loop)
{
    struct list *it;

    while ((it = list_pop(&loop->dead)) != NULL)
        free_memory(container_of(it, struct stream, link));
}

void stream_close(struct stream **stream, uint32_t linger_ms)
{
    struct stream *s = *stream;

    if (!s)
        return;
    *stream = NULL;
    if (s->state != STREAM_OPEN)
        return;
    if (!s->loop || s->err) {
        stream_die(s);
        return;
    }
    linger(s, linger_ms);
}

void stream_abort(struct stream **stream)
{
    struct stream *s = *stream;

    if (!s)
        return;
    *stream = NULL;
    if (s->state == STREAM_OPEN)
        stream_die(s);
}

void stream_abort_all(struct loop *loop)
{
    while (!list_empty(&loop->streams))
        stream_die(container_of(loop->streams.next, struct stream, link));
    stream_reap(loop);
}

static void on_linger(struct timer *t, uint64_t now_ms)
{
    (void)now_ms;
    stream_die(container_of(t, struct stream, linger));
}

static int layer_handshake(struct layer *l)
{
    int r;

    if (!l)
        return 0;
    r = layer_handshake(l->below);
    if (r < 0)
        return r;
    return l->ops->handshake ? l->ops->handshake(l) : 0;
}

/* Its owner may end the stream here. */
static void tell_peer(struct stream *s)
{
    s->awaits_peer = false;
    if (!s->ops->on_peer)
        return;
    s->busy = true;
    s->ops->on_peer(s->ctx);
    s->busy = false;
}

/* True when data may flow. */
static bool step_handshake(struct stream *s)
{
    int r;

    if (!s->handshaking)
        return true;
    if (s->err)
        return false;
    r = layer_handshake(s->layer);
    if (r == 0) {
        s->handshaking = false;
        stream_mark_dirty(s);
        if (s->awaits_peer)
            tell_peer(s);
        if (!stream_is_live(s))
            return false;
        if (stream_has_pending(s)) /* the last flight brought data along */
            stream_make_ready(s);
        return true;
    }
    if (r != -EAGAIN)
        stream_lost(s, r);
    return false;
}

static void on_io(struct ev_loop *ev, ev_io *w, int revents)
{
    struct stream *s = w->data;
    bool readable = revents & EV_READ;

    (void)ev;
    if (revents & EV_ERROR) {
        stream_lost(s, -EBADF);
        return;
    }
    if (revents & EV_WRITE)
        s->want_write = false;
    if (s->state != STREAM_OPEN) {
        if (readable)
            stream_drain(s);
        if (s->state != STREAM_DEAD && (revents & EV_WRITE))
            stream_flush(s);
        stream_update_watch(s);
        return;
    }
    if (step_handshake(s)) {
        if (s->blocked && (revents & EV_WRITE))
            stream_flush(s);
        if (stream_is_live(s) && (readable || stream_has_pending(s)))
            stream_read(s);
    }
    if (s->loop)
        stream_update_watch(s);
}

void stream_begin_turn(struct loop *loop)
{
    list_splice(&loop->ready, &loop->later);
}

/* One look at a stream that was resumed, attached, lost, or has bytes inside its layers. */
static void run_one(struct stream *s)
{
    bool flows = step_handshake(s);

    if (s->err) /* who waits for room before he reads on hears of the loss */
        stream_tell_low_water(s);
    if (s->offer && stream_is_live(s) && !s->paused) {
        s->offer = false;
        stream_offer_kept(s);
    }
    if (stream_is_live(s) && !s->paused && flows && (s->err || stream_has_pending(s)))
        stream_read(s);
    if (stream_is_live(s) && s->eof && !s->paused && !s->eof_told)
        stream_tell_eof(s);
    if (stream_is_live(s) && s->err && !s->paused && !list_linked(&s->work))
        stream_tell_closed(s, s->err);
    if (s->loop)
        stream_update_watch(s);
}

void stream_run_ready(struct loop *loop)
{
    struct list now, *it;

    list_init(&now);
    list_splice(&now, &loop->ready);
    while ((it = list_pop(&now)) != NULL)
        run_one(container_of(it, struct stream, work));
}

const struct addr *stream_peer(const struct stream *s)
{
    return &s->peer;
}

void stream_set_peer(struct stream *s, const struct addr *peer)
{
    s->peer = *peer;
}

void stream_await_peer(struct stream *s)
{
    s->awaits_peer = true;
}

bool stream_awaits_peer(const struct stream *s)
{
    return s->awaits_peer;
}

const char *stream_fault(const struct stream *s)
{
    for (const struct layer *l = s->layer; l; l = l->below)
        if (l->fault)
            return l->fault;
    return NULL;
}

void layer_say_farewell(struct layer *l)
{
    l->stream->farewell = true;
}

int stream_peer_cred(const struct stream *s, struct stream_cred *r_cred)
{
    struct ucred cred;
    socklen_t len = sizeof(cred);

    if (s->is_tcp || s->state == STREAM_DEAD ||
        getsockopt(s->io.fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || cred.pid <= 0)
        return -ENOTSUP;
    *r_cred = (struct stream_cred){ (uint32_t)cred.pid, cred.uid, cred.gid };
    return 0;
}

struct addr stream_local(const struct stream *s)
{
    struct sockaddr_storage sa = { .ss_family = AF_UNSPEC };
    socklen_t len = sizeof(sa);
    struct addr local = { .kind = ADDR_NONE };

    if (s->state != STREAM_DEAD && getsockname(s->io.fd, (struct sockaddr *)&sa, &len) == 0)
        addr_from_sockaddr(&local, (struct sockaddr *)&sa, len);
    return local;
}

struct loop *stream_loop(const struct stream *s)
{
    return s->loop;
}

uint64_t stream_bytes_in(const struct stream *s)
{
    return s->bytes_in;
}

uint64_t stream_bytes_out(const struct stream *s)
{
    return s->bytes_out;
}

void stream_push_layer(struct stream *s, struct layer *m_layer)
{
    assert(!s->loop && s->bytes_in == 0);
    m_layer->below = s->layer;
    m_layer->stream = s;
    s->layer = m_layer;
    s->handshaking = true;
}

struct layer *stream_find_layer(const struct stream *s, const struct layer_ops *ops)
{
    for (struct layer *l = s->layer; l; l = l->below)
        if (l->ops == ops)
            return l;
    return NULL;
}
