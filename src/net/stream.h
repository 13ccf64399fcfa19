/* stream.h - the byte stream of one connection: bytes in, bytes out, closed.
 *
 * A stream is born detached (stream_new, or from a listener), belongs to one loop while attached,
 * and ends by stream_close, stream_abort or on_closed; after any of these the pointer must not be
 * used again, though it stays valid memory until the end of the turn. Every function is [loop] of
 * the loop it is attached to; a detached stream belongs to whoever holds it. Safe inside every
 * callback. An idle stream holds no buffer. Never blocks, never calls back from inside a call of
 * its owner. */
#pragma once
#include "net/addr.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct layer;
struct layer_ops;
struct loop;
struct stream;

struct stream_ops {
    /* Received bytes, oldest first. Returns how many were consumed (whole frames); the rest is kept
     * and shown again with more bytes behind it, or after stream_resume. `data` is valid during the
     * call. */
    size_t (*on_data)(void *ctx, const uint8_t *data, size_t len);
    /* The peer will send no more; comes after all data, once. Writing is still possible. NULL: as
     * on_closed(ctx, 0). */
    void (*on_eof)(void *ctx);
    /* The out queue fell to the low mark after it had been above the high mark, or was thrown away
     * because the connection is lost. May be NULL. */
    void (*on_low_water)(void *ctx);
    /* The connection is lost: err is a negative errno (-ENOMEM: ours). Comes after all data that
     * could still be read; while reading is paused it waits for stream_resume. The last callback,
     * never after a close of ours. */
    void (*on_closed)(void *ctx, int err);
    /* Only where stream_awaits_peer: stream_peer is final now, before the first data. May be NULL.
     */
    void (*on_peer)(void *ctx);
};

struct stream_tcp {           /* 0 = leave it to the system, but TCP_NODELAY is always set */
    uint32_t keepalive_s;     /* idle time before the first probe */
    uint32_t user_timeout_ms; /* TCP_USER_TIMEOUT */
    uint32_t send_buffer;     /* SO_SNDBUF */
};

#define STREAM_LINGER_MS 2000

/* Takes the descriptor of a connected stream socket, also on failure, and makes it non-blocking.
 * `tcp` may be NULL. 0 or -ENOMEM. */
int stream_new(int m_fd, const struct stream_tcp *tcp, struct stream **r_stream);
/* Starts reading. Kept and undelivered bytes are offered in the next round; so is an error met
 * meanwhile. */
void stream_attach(struct stream *s, struct loop *loop, const struct stream_ops *ops, void *ctx);
/* Takes the stream off its loop with all its bytes; no callback until it is attached again, and not
 * paused then. Inside on_data, bytes not consumed by this call are kept. It may be posted to
 * another loop (loop_post_last) in the same turn. */
void stream_detach(struct stream *s);
/* Who gets the callbacks from now on; what is kept is offered to it in the next round. */
void stream_set_ops(struct stream *s, const struct stream_ops *ops, void *ctx);

/* No more on_data, on_eof until resumed; nothing is read from the socket. Writing goes on. */
void stream_pause(struct stream *s);
/* The kept rest is offered again in the next round of this turn, even if nothing new has come. */
void stream_resume(struct stream *s);
bool stream_is_paused(const struct stream *s);
/* Bytes kept because on_data did not consume them. */
size_t stream_kept_bytes(const struct stream *s);

/* Copies. What is written in a turn leaves in one system call at its end. 0, or -ENOMEM: the
 * connection is lost, on_closed(-ENOMEM) follows in this turn. Writes to a lost connection are
 * swallowed (-EPIPE). */
int stream_write(struct stream *s, const void *data, size_t len);
/* `n` contiguous bytes to encode into, valid until the next call for this stream; NULL as -ENOMEM
 * or -EPIPE above. stream_commit(s, used) with used <= n appends them; without it nothing happens.
 */
uint8_t *stream_reserve(struct stream *s, size_t n);
void stream_commit(struct stream *s, size_t used);
/* By reference: `ptr` must not change until release(m_obj) is called, exactly once, on the thread
 * that then owns the stream, also on failure (at once). Worth it from about 1 KiB. */
int stream_write_ref(struct stream *s, const void *ptr, size_t len, void (*release)(void *obj),
                     void *m_obj);
/* Bytes not yet taken by the kernel. */
size_t stream_queued_bytes(const struct stream *s);
/* Default: no marks, no on_low_water. */
void stream_set_water(struct stream *s, uint32_t low, uint32_t high);
bool stream_is_above_high(const struct stream *s);

/* Sends what is queued, then FIN, then waits for the peer's FIN, all within `linger_ms` (0: the
 * default), and closes. The owner hears nothing more. NULL is ignored. A detached stream is
 * aborted. */
void stream_close(struct stream **s, uint32_t linger_ms);
/* Closes now; what is queued is thrown away (released). */
void stream_abort(struct stream **s);

const struct addr *stream_peer(const struct stream *s);
/* For layers: who is behind the proxy. */
void stream_set_peer(struct stream *s, const struct addr *peer);
/* The peer is a proxy, and a layer may find out whom it stands for; ends with on_peer. */
void stream_await_peer(struct stream *s); /* detached, before the first byte */
bool stream_awaits_peer(const struct stream *s);
/* Which rule the peer broke, a literal, when a layer gave up on it; NULL otherwise. Also in
 * on_closed. */
const char *stream_fault(const struct stream *s);
struct stream_cred {
    uint32_t pid, uid, gid;
};
/* Who opened the other end of a unix socket. 0, or -ENOTSUP for other sockets; a system call. */
int stream_peer_cred(const struct stream *s, struct stream_cred *r_cred);
struct addr stream_local(const struct stream *s); /* a system call */
struct loop *stream_loop(const struct stream *s); /* NULL while detached */
/* Total bytes of this connection on the wire. */
uint64_t stream_bytes_in(const struct stream *s);
uint64_t stream_bytes_out(const struct stream *s);

/* Puts a layer (TLS, WebSocket, PROXY) on top of those that are there. Detached, before the first
 * byte. */
void stream_push_layer(struct stream *s, struct layer *m_layer);
/* The layer of that kind, or NULL. */
struct layer *stream_find_layer(const struct stream *s, const struct layer_ops *ops);
