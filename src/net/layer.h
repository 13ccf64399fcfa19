/* layer.h - what stands between the bytes of a stream and its socket: PROXY, TLS, WebSocket.
 *
 * A stack per stream, top first; no layer at all is plain TCP, which goes straight to the socket. A
 * layer talks only to the one below (layer_below_*). It is embedded in its own object, owned by the
 * stream, moves between loops with it and keeps no pointer to a loop. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct buf;
struct layer;
struct stream;

/* Results: >= 0 as said, -EAGAIN: wait for the socket (readable; also writable after
 * layer_want_write), any other negative errno: the connection is lost (-EPROTO for a peer that
 * breaks the layer's rules). */
struct layer_ops {
    const char *name;
    /* Until it returns 0 nothing else of this layer or one above is called. May be NULL. */
    int (*handshake)(struct layer *l);
    /* Bytes read, 0: end of file. */
    ssize_t (*read)(struct layer *l, void *buf, size_t len);
    /* Bytes taken of what is offered, at least one. Taken bytes may still be inside the layer. */
    ssize_t (*writev)(struct layer *l, const struct iovec *iov, int n_iov);
    /* 0: nothing of the layer's own (replies, the rest of a record) waits to be sent. May be NULL.
     */
    int (*flush)(struct layer *l);
    /* Bytes that read can return although the socket has none. After -EAGAIN and as long as there
     * are some, read is called again in the next turn. May be NULL. */
    size_t (*pending)(const struct layer *l);
    /* Says goodbye (close_notify, close frame), does not wait for the answer. 0: done; -EAGAIN:
     * again when writable. May be NULL. */
    int (*shutdown)(struct layer *l);
    void (*free)(struct layer *l);
};

struct layer { /* embedded in the layer's object */
    const struct layer_ops *ops;
    struct layer *below; /* NULL: the socket */
    struct stream *stream;
    const char *fault; /* a literal, set before -EPROTO: which rule the peer broke; or NULL */
};

ssize_t layer_below_read(struct layer *l, void *buf, size_t len);
ssize_t layer_below_writev(struct layer *l, const struct iovec *iov, int n_iov);
ssize_t layer_below_write(struct layer *l, const void *buf, size_t len);
/* Sends what is in `b` and gives its memory back. 0: all of it; -EAGAIN: again when writable. */
int layer_below_send(struct layer *l, struct buf *b);
/* The operation that is about to return -EAGAIN is to be tried again when the socket is writable.
 */
void layer_want_write(struct layer *l);
/* Before an error is returned: what was sent is to reach the peer, who is told by FIN and given
 * time to read; `shutdown` is called as after stream_close, but not during a handshake. */
void layer_say_farewell(struct layer *l);
/* The step that follows costs much (a signature): false when its loop has done its share in this
 * turn; then -EAGAIN is returned before a byte is read, and the next turn tries again. */
bool layer_take_budget(struct layer *l);
/* The layer produced output of its own (a pong): flush is called at the end of the turn. */
void layer_want_flush(struct layer *l);
