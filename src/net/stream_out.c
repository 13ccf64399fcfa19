#include "net/stream_priv.h"
#include <errno.h>
#include <sys/socket.h>

#define IOV_MAX_ENTRIES 64
#define COSTLY_PER_TURN 8 /* of half a millisecond or so */

void stream_mark_dirty(struct stream *s)
{
    if (!list_linked(&s->dirty))
        list_append(&s->loop->dirty, &s->dirty);
}

static bool may_write(const struct stream *s)
{
    assert(s->state != STREAM_OPEN || s->loop);
    return s->state == STREAM_OPEN && !s->err;
}

static void wrote(struct stream *s)
{
    if (s->out.n_bytes > s->high)
        s->above_high = true;
    if (!s->blocked)
        stream_mark_dirty(s);
}

int stream_write(struct stream *s, const void *data, size_t len)
{
    if (!may_write(s))
        return -EPIPE;
    if (outq_write(&s->out, &s->loop->pools, data, len) < 0) {
        stream_lost(s, -ENOMEM);
        return -ENOMEM;
    }
    wrote(s);
    return 0;
}

uint8_t *stream_reserve(struct stream *s, size_t n)
{
    uint8_t *p;

    if (!may_write(s))
        return NULL;
    p = outq_reserve(&s->out, &s->loop->pools, n);
    if (!p)
        stream_lost(s, -ENOMEM);
    else if (!s->blocked)
        stream_mark_dirty(s); /* an unused reservation is given back by the flush */
    return p;
}

void stream_commit(struct stream *s, size_t used)
{
    if (!may_write(s))
        return;
    outq_commit(&s->out, used);
    wrote(s);
}

int stream_write_ref(struct stream *s, const void *ptr, size_t len, void (*release)(void *obj),
                     void *m_obj)
{
    int r = -EPIPE;

    if (may_write(s)) {
        r = outq_write_ref(&s->out, &s->loop->pools, ptr, len, release, m_obj);
        if (r == 0) {
            wrote(s);
            return 0;
        }
        stream_lost(s, -ENOMEM);
    }
    release(m_obj);
    return r;
}

size_t stream_queued_bytes(const struct stream *s)
{
    return s->out.n_bytes;
}

void stream_set_water(struct stream *s, uint32_t low, uint32_t high)
{
    assert(low <= high);
    s->low = low;
    s->high = high;
}

bool stream_is_above_high(const struct stream *s)
{
    return s->out.n_bytes > s->high;
}

static ssize_t raw_writev(struct stream *s, const struct iovec *iov, int n_iov)
{
    struct msghdr msg = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n_iov };

    for (;;) {
        ssize_t n = sendmsg(s->io.fd, &msg, MSG_NOSIGNAL);

        if (n >= 0) {
            s->bytes_out += (uint64_t)n;
            return n;
        }
        if (errno == EWOULDBLOCK)
            return -EAGAIN;
        if (errno != EINTR)
            return -errno;
    }
}

ssize_t layer_below_writev(struct layer *l, const struct iovec *iov, int n_iov)
{
    if (l->below)
        return l->below->ops->writev(l->below, iov, n_iov);
    return raw_writev(l->stream, iov, n_iov);
}

ssize_t layer_below_write(struct layer *l, const void *buf, size_t len)
{
    struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = len };

    return layer_below_writev(l, &iov, 1);
}

void layer_want_write(struct layer *l)
{
    l->stream->want_write = true;
}

int layer_below_send(struct layer *l, struct buf *b)
{
    while (buf_len(b) > 0) {
        ssize_t n = layer_below_write(l, buf_ptr(b), buf_len(b));

        if (n == -EAGAIN)
            layer_want_write(l);
        if (n < 0)
            return (int)n;
        buf_consume(b, (size_t)n);
    }
    buf_fini(b);
    return 0;
}

bool layer_take_budget(struct layer *l)
{
    struct loop *loop = l->stream->loop;

    if (!loop || loop->n_costly < COSTLY_PER_TURN) {
        if (loop)
            loop->n_costly++;
        return true;
    }
    list_remove(&l->stream->work); /* its bytes may be in a layer already: no event will come */
    list_append(&loop->later, &l->stream->work);
    return false;
}

void layer_want_flush(struct layer *l)
{
    if (l->stream->loop && l->stream->state != STREAM_DEAD)
        stream_mark_dirty(l->stream);
}

static size_t iov_bytes(const struct iovec *iov, int n_iov)
{
    size_t n = 0;

    for (int i = 0; i < n_iov; i++)
        n += iov[i].iov_len;
    return n;
}

/* 0: everything is with the kernel; -EAGAIN: the socket is full; or an error. */
static int send_queued(struct stream *s)
{
    struct iovec iov[IOV_MAX_ENTRIES];

    while (s->out.n_bytes > 0) {
        int n_iov = outq_peek(&s->out, iov, IOV_MAX_ENTRIES);
        ssize_t n =
            s->layer ? s->layer->ops->writev(s->layer, iov, n_iov) : raw_writev(s, iov, n_iov);

        if (n < 0)
            return (int)n;
        outq_drop(&s->out, &s->loop->pools, (size_t)n);
        if (!s->layer && (size_t)n < iov_bytes(iov, n_iov))
            return -EAGAIN;
    }
    outq_clear(&s->out, &s->loop->pools);
    for (struct layer *l = s->layer; l; l = l->below) {
        int r = l->ops->flush ? l->ops->flush(l) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

static int layers_shutdown(struct stream *s)
{
    for (struct layer *l = s->handshaking ? NULL : s->layer; l; l = l->below) {
        int r = l->ops->shutdown ? l->ops->shutdown(l) : 0;

        if (r < 0)
            return r;
    }
    return 0;
}

/* The owner is gone: after the last byte FIN, and the end when the peer has said the same. */
static void flush_closing(struct stream *s)
{
    int r;

    if (s->state == STREAM_FIN)
        return;
    r = send_queued(s);
    if (r == 0)
        r = layers_shutdown(s);
    if (r == -EAGAIN) {
        s->blocked = true;
        return;
    }
    s->blocked = s->want_write = false;
    if (r < 0 || s->eof || shutdown(s->io.fd, SHUT_WR) < 0) {
        stream_die(s);
        return;
    }
    s->state = STREAM_FIN;
}

void stream_tell_low_water(struct stream *s)
{
    if (!s->above_high || s->out.n_bytes > s->low)
        return;
    s->above_high = false;
    if (!s->ops->on_low_water)
        return;
    s->busy = true;
    s->ops->on_low_water(s->ctx);
    s->busy = false;
}

void stream_flush(struct stream *s)
{
    int r;

    if (s->state != STREAM_OPEN) {
        flush_closing(s);
        return;
    }
    if (s->handshaking || s->err)
        return;
    r = send_queued(s);
    if (r < 0 && r != -EAGAIN) {
        stream_lost(s, r);
        return;
    }
    s->blocked = r == -EAGAIN;
    stream_tell_low_water(s);
}

void stream_flush_dirty(struct loop *loop)
{
    struct list now, *it;

    list_init(&now);
    list_splice(&now, &loop->dirty);
    while ((it = list_pop(&now)) != NULL) {
        struct stream *s = container_of(it, struct stream, dirty);

        stream_flush(s);
        if (s->loop)
            stream_update_watch(s);
    }
}
