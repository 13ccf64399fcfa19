#include "net/stream_priv.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

static ssize_t raw_read(struct stream *s, void *buf, size_t len)
{
    for (;;) {
        ssize_t n = recv(s->io.fd, buf, len, 0);

        if (n >= 0) {
            s->bytes_in += (uint64_t)n;
            return n;
        }
        if (errno == EWOULDBLOCK)
            return -EAGAIN;
        if (errno != EINTR)
            return -errno;
    }
}

ssize_t layer_below_read(struct layer *l, void *buf, size_t len)
{
    if (l->below)
        return l->below->ops->read(l->below, buf, len);
    return raw_read(l->stream, buf, len);
}

static ssize_t top_read(struct stream *s, void *buf, size_t len)
{
    return s->layer ? s->layer->ops->read(s->layer, buf, len) : raw_read(s, buf, len);
}

bool stream_has_pending(const struct stream *s)
{
    for (const struct layer *l = s->layer; l; l = l->below)
        if (l->ops->pending && l->ops->pending(l) > 0)
            return true;
    return false;
}

/* May it be told about data, after whatever its last callback did? */
static bool is_listening(const struct stream *s)
{
    return stream_is_live(s) && !s->paused;
}

static size_t show(struct stream *s, const uint8_t *data, size_t len)
{
    size_t n;

    s->busy = true;
    n = s->ops->on_data(s->ctx, data, len);
    s->busy = false;
    assert(n <= len);
    return n;
}

/* The buffer of a large packet is given back once only a little is left in it. */
static void shrink_kept(struct stream *s)
{
    struct buf small;

    if (buf_len(&s->kept) == 0) {
        buf_fini(&s->kept);
        return;
    }
    if (s->kept.cap <= 2 * STREAM_KEPT_SMALL || buf_len(&s->kept) > s->kept.cap / 8)
        return;
    buf_init(&small);
    if (buf_append(&small, buf_ptr(&s->kept), buf_len(&s->kept)) < 0)
        return; /* then the large one stays */
    buf_fini(&s->kept);
    s->kept = small;
}

void stream_offer_kept(struct stream *s)
{
    size_t len = buf_len(&s->kept);
    size_t n;

    if (len == 0)
        return;
    n = show(s, (const uint8_t *)buf_ptr(&s->kept), len);
    if (s->state != STREAM_OPEN)
        return;
    buf_consume(&s->kept, n);
    shrink_kept(s);
}

/* Into the loop's buffer, behind what is kept. */
static ssize_t read_shared(struct stream *s, size_t max)
{
    struct loop *loop = s->loop;
    uint8_t *mem = loop->read_buffer;
    size_t kept = buf_len(&s->kept);
    size_t room = loop->group->conf.read_buffer - kept;
    size_t used;
    ssize_t n = top_read(s, mem + kept, room < max ? room : max);

    if (n <= 0)
        return n;
    if (kept)
        memcpy(mem, buf_ptr(&s->kept), kept);
    buf_clear(&s->kept);
    used = show(s, mem, kept + (size_t)n);
    if (s->state != STREAM_OPEN)
        return n;
    if (buf_append(&s->kept, mem + used, kept + (size_t)n - used) < 0)
        return -ENOMEM;
    shrink_kept(s);
    return n;
}

/* Into the kept buffer itself, which grows with what was received. */
static ssize_t read_kept(struct stream *s, size_t max)
{
    ssize_t n;

    if (buf_reserve(&s->kept, STREAM_KEPT_SMALL) < 0)
        return -ENOMEM;
    n = top_read(s, buf_tail(&s->kept), buf_room(&s->kept) < max ? buf_room(&s->kept) : max);
    if (n <= 0)
        return n;
    buf_commit(&s->kept, (size_t)n);
    stream_offer_kept(s);
    return n;
}

static void read_again_later(struct stream *s)
{
    list_remove(&s->work);
    list_append(&s->loop->later, &s->work);
}

/* What a failed or empty read means. */
static void end_of_read(struct stream *s, ssize_t n)
{
    if (!s->loop) { /* detached inside on_data: the next owner hears of it */
        s->err = s->err ? s->err : (int)n;
    } else if (n == 0) {
        s->eof = true;
        stream_tell_eof(s);
    } else if (n == -ENOMEM) {
        stream_lost(s, -ENOMEM);
        s->err = -ENOMEM;
    } else if (n != -EAGAIN) {
        stream_tell_closed(s, s->err ? s->err : (int)n);
    } else if (s->layer && !s->paused && stream_has_pending(s)) {
        read_again_later(s);
    }
}

void stream_tell_eof(struct stream *s)
{
    s->eof_told = true;
    buf_fini(&s->kept); /* half a frame that nobody will complete */
    if (s->err)
        return; /* on_closed is next and says more */
    if (!s->ops->on_eof) {
        stream_tell_closed(s, 0);
        return;
    }
    s->busy = true;
    s->ops->on_eof(s->ctx);
    s->busy = false;
}

void stream_read(struct stream *s)
{
    size_t left = s->loop->group->conf.read_budget;

    if (s->eof || s->err == -ENOMEM)
        return;
    while (is_listening(s)) {
        bool shared = buf_len(&s->kept) <= STREAM_KEPT_SMALL;
        size_t asked = s->loop->group->conf.read_buffer;
        ssize_t n;

        asked = left < asked ? left : asked;
        n = shared ? read_shared(s, asked) : read_kept(s, asked);
        if (n <= 0) {
            if (s->state == STREAM_OPEN)
                end_of_read(s, n);
            return;
        }
        left -= (size_t)n;
        if (left == 0) {
            if (is_listening(s) && (s->err || stream_has_pending(s)))
                read_again_later(s);
            return;
        }
        /* A plain socket that gave less than it was asked for is empty; epoll tells the rest. */
        if (!s->layer && !s->err && shared && (size_t)n < asked)
            return;
    }
}

void stream_drain(struct stream *s)
{
    size_t left = s->loop->group->conf.read_budget;

    while (left > 0) {
        size_t room = s->loop->group->conf.read_buffer;
        ssize_t n = raw_read(s, s->loop->read_buffer, room < left ? room : left);

        if (n == -EAGAIN)
            return;
        if (n < 0) {
            stream_die(s);
            return;
        }
        if (n == 0) {
            s->eof = true;
            if (s->state == STREAM_FIN)
                stream_die(s);
            return;
        }
        left -= (size_t)n;
    }
}
