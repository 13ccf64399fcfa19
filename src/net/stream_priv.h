/* stream_priv.h - the insides of a stream, shared by stream.c (life), stream_in.c (reading) and
 * stream_out.c (writing), and by the listener. */
#pragma once
#include "base/buf.h"
#include "net/layer.h"
#include "net/loop_priv.h"
#include "net/stream.h"

#define STREAM_READ_BUFFER_MIN 8192u
/* A kept rest up to this size is put in front of new bytes in the loop's read buffer; a larger one
 * (part of a large packet) is read into directly, so that trickling bytes do not cost a copy of it.
 */
#define STREAM_KEPT_SMALL 4096u

enum stream_state {
    STREAM_OPEN,    /* the owner hears of it */
    STREAM_CLOSING, /* owner gone, last bytes going out */
    STREAM_FIN,     /* owner gone, FIN sent, waiting for the peer's */
    STREAM_DEAD,    /* descriptor closed, freed at the end of the turn */
};

struct stream {
    ev_io io;
    struct loop *loop; /* NULL while detached */
    const struct stream_ops *ops;
    void *ctx;
    struct layer *layer; /* top of the stack, NULL: plain TCP */
    struct list link;    /* loop->streams, loop->dead */
    struct list work;    /* loop->ready, loop->later */
    struct list dirty;   /* loop->dirty */
    struct buf kept;
    struct outq out;
    struct timer linger;
    uint64_t bytes_in, bytes_out;
    uint32_t low, high;
    int err; /* why the connection is lost, 0 while it is not */
    struct addr peer;
    enum stream_state state : 8;
    bool busy : 1; /* inside a callback of its owner */
    bool paused : 1;
    bool offer : 1; /* the kept rest is to be shown again although nothing new has come */
    bool eof : 1;   /* the peer's FIN was read */
    bool eof_told : 1;
    bool handshaking : 1; /* a layer has not finished its handshake */
    bool blocked : 1;     /* output waits for the socket */
    bool want_write : 1;  /* a layer waits for the socket to be writable */
    bool above_high : 1;
    bool is_tcp : 1;
    bool awaits_peer : 1;
    bool farewell : 1; /* a layer gave up; the peer is to read why */
};
_Static_assert(sizeof(struct stream) <= 288, "an idle connection is cheap");

/* As stream_new, without asking the system for peer and options, which the listener has given. */
int stream_new_accepted(int m_fd, const struct addr *peer, bool is_tcp, struct stream **r_stream);
void stream_abort_all(struct loop *loop);
void stream_set_tcp_options(int fd, const struct stream_tcp *tcp);

static inline bool stream_is_live(const struct stream *s)
{
    return s->state == STREAM_OPEN && s->loop;
}

/* stream.c */
void stream_update_watch(struct stream *s);
/* Looked at in the next round. */
void stream_make_ready(struct stream *s);
/* The connection is lost: the owner is told once what can be read has been read. */
void stream_lost(struct stream *s, int err);
/* Ends the stream and tells the owner. */
void stream_tell_closed(struct stream *s, int err);
/* Closes the descriptor; the memory lives until the end of the turn. */
void stream_die(struct stream *s);

/* stream_in.c */
void stream_read(struct stream *s);
void stream_offer_kept(struct stream *s);
void stream_tell_eof(struct stream *s);
bool stream_has_pending(const struct stream *s);
/* Reads and throws away: the peer's last bytes would make the kernel answer our close with a reset.
 */
void stream_drain(struct stream *s);

/* stream_out.c */
void stream_mark_dirty(struct stream *s);
/* Sends what it can and does what follows from it. */
void stream_flush(struct stream *s);
void stream_tell_low_water(struct stream *s);
