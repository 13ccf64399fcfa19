/* net_support.h - a recording owner for streams, and the far end of its socket. */
#pragma once
#include "net/loop.h"
#include "net/stream.h"
#include "unit.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct sink {
    struct stream *s;
    uint8_t *got; /* what was consumed */
    size_t n_got, cap;
    size_t frame; /* consume only whole multiples of this; 0: everything */
    size_t shown_max;
    uint32_t n_calls, n_eof, n_low, n_closed;
    int err;
    void (*in_data)(struct sink *sink); /* called before consuming */
    void (*in_low)(struct sink *sink);
    void *arg;
};

static inline size_t sink_on_data(void *ctx, const uint8_t *data, size_t len)
{
    struct sink *k = ctx;
    size_t n = k->frame ? len - len % k->frame : len;
    assert_int_equal(k->n_eof, 0);
    assert_int_equal(k->n_closed, 0);
    k->n_calls++;
    k->shown_max = len > k->shown_max ? len : k->shown_max;
    if (k->in_data)
        k->in_data(k);
    if (k->s && stream_is_paused(k->s))
        n = 0;
    while (k->n_got + n > k->cap) {
        k->cap = k->cap ? 2 * k->cap : 4096;
        k->got = realloc(k->got, k->cap);
    }
    if (n)
        memcpy(k->got + k->n_got, data, n);
    k->n_got += n;
    return n;
}

static inline void sink_on_eof(void *ctx)
{
    ((struct sink *)ctx)->n_eof++;
}

static inline void sink_on_low(void *ctx)
{
    struct sink *k = ctx;
    k->n_low++;
    if (k->in_low)
        k->in_low(k);
}

static inline void sink_on_closed(void *ctx, int err)
{
    struct sink *k = ctx;
    k->n_closed++;
    k->err = err;
    k->s = NULL;
}

static const struct stream_ops sink_ops = { sink_on_data, sink_on_eof, sink_on_low,
                                            sink_on_closed };

static inline struct loop_group *net_group(uint32_t n_loops)
{
    struct loop_group *g;
    struct loop_conf conf = { .n_loops = n_loops };
    assert_int_equal(loop_group_new(&conf, &g), 0);
    return g;
}

static inline void net_turns(struct loop *loop, uint32_t n)
{
    while (n-- > 0)
        loop_turn(loop, false);
}

/* Everything the far end has to read now; it must be non-blocking. -1: end of file or reset. */
static inline ssize_t far_read(int fd, uint8_t *buf, size_t len)
{
    size_t n = 0;
    while (n < len) {
        ssize_t r = recv(fd, buf + n, len - n, MSG_DONTWAIT);
        if (r > 0)
            n += (size_t)r;
        else if (r < 0 && errno == EAGAIN)
            break;
        else
            return n > 0 ? (ssize_t)n : -1;
    }
    return (ssize_t)n;
}

static inline uint8_t pattern(size_t i)
{
    return (uint8_t)(i * 7 + i / 251);
}

static inline bool is_pattern(const uint8_t *p, size_t from, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (p[i] != pattern(from + i))
            return false;
    return true;
}

/* One loop, one stream, the far end of its socket pair. */
struct rig {
    struct loop_group *g;
    struct loop *loop;
    struct sink k;
    int far;
};

static inline void rig_init_conf(struct rig *r, const struct loop_conf *conf)
{
    int fd[2];
    *r = (struct rig){ 0 };
    assert_int_equal(loop_group_new(conf, &r->g), 0);
    r->loop = loop_group_at(r->g, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
    r->far = fd[1];
    assert_int_equal(stream_new(fd[0], NULL, &r->k.s), 0);
    stream_attach(r->k.s, r->loop, &sink_ops, &r->k);
    net_turns(r->loop, 1);
}

static inline void rig_init(struct rig *r, uint32_t n_loops)
{
    rig_init_conf(r, &(struct loop_conf){ .n_loops = n_loops });
}

static inline void rig_fini(struct rig *r)
{
    if (r->k.s)
        stream_abort(&r->k.s);
    if (r->far >= 0)
        close(r->far);
    loop_group_free(&r->g);
    free(r->k.got);
}

static inline void far_send(struct rig *r, const void *data, size_t len)
{
    assert_int_equal(send(r->far, data, len, MSG_NOSIGNAL), (ssize_t)len);
}

static inline void got_is(const struct rig *r, const char *text)
{
    assert_int_equal(r->k.n_got, strlen(text));
    assert_memory_equal(r->k.got, text, strlen(text));
}

static inline void write_pattern(struct rig *r, size_t from, size_t len)
{
    uint8_t *p = malloc(len);
    for (size_t i = 0; i < len; i++)
        p[i] = pattern(from + i);
    assert_int_equal(stream_write(r->k.s, p, len), 0);
    free(p);
}

static inline void pause_me(struct sink *k)
{
    stream_pause(k->s);
}
