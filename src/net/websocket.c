#include "net/websocket.h"
#include "base/buf.h"
#include "base/list.h"
#include "net/layer.h"
#include "net/stream.h"
#include "net/transport.h"
#include "net/upgrade.h"
#include "net/ws_frame.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define IOV_MAX_ENTRIES 64
#define REQUEST_STEP    1024u /* most requests are shorter */
#define EMPTY_READS     4     /* of frames without data, then others have their turn */

enum ws_state {
    WS_UPGRADING,
    WS_ANSWERING, /* 101 is on its way */
    WS_REFUSING,  /* an error is on its way */
    WS_OPEN,
    WS_ENDED,  /* the peer sent a close frame */
    WS_BROKEN, /* the peer broke a rule */
};

struct websocket {
    struct layer layer;
    struct transport *transport; /* reference, until the handshake is over */
    struct buf in;               /* the request; then what came behind it */
    struct buf answer;
    size_t scanned;
    struct ws_decoder decoder;
    uint64_t frame_left; /* payload of the frame begun that the socket has not taken */
    uint16_t close_code;
    uint8_t state; /* enum ws_state */
    uint8_t n_pong;
    bool has_pong; /* RFC 6455, 5.5.3: only the latest ping needs its answer */
    bool again;    /* data may be there, though the last read gave none */
    bool close_sent;
    uint16_t n_own, own_done;
    uint8_t pong[WS_CONTROL_MAX];
    uint8_t own[2 * (WS_HEAD_MAX + WS_CONTROL_MAX) + WS_HEAD_MAX]; /* goes before the payload */
};
_Static_assert(sizeof(struct websocket) <= 768, "an idle connection is cheap");

static struct websocket *ws_of(const struct layer *l)
{
    return container_of(l, struct websocket, layer);
}

/* ---- upgrade -----------------------------------------------------------------------------------
 */

/* Cuts off what stands behind the last comma, without blanks around it; the whole without one. */
static struct str cut_last(struct str *rest)
{
    const char *comma = rest->len ? memrchr(rest->ptr, ',', rest->len) : NULL;
    const char *from = comma ? comma + 1 : rest->ptr;
    struct str last = str_make(from, rest->len - (size_t)(from - rest->ptr));
    *rest = comma ? str_make(rest->ptr, (size_t)(comma - rest->ptr)) : STR_NULL;
    while (last.len && last.ptr[0] == ' ')
        last = str_make(last.ptr + 1, last.len - 1);
    while (last.len && last.ptr[last.len - 1] == ' ')
        last.len--;
    return last;
}

/* The nearest address that no proxy of ours has, from the end of the list [RFC 7239, 5.2]. */
static void take_forwarded(struct websocket *ws, const struct upgrade *u)
{
    struct addr peer = *stream_peer(ws->layer.stream);
    struct str rest = STR_NULL;
    uint32_t i = u->n_forwarded;

    while (transport_trusts(ws->transport, &peer) && (rest.ptr || i > 0)) {
        if (!rest.ptr)
            rest = u->forwarded[--i];
        if (!addr_parse(cut_last(&rest), &peer))
            break;
    }
    stream_set_peer(ws->layer.stream, &peer);
}

static int answer(struct websocket *ws, const struct upgrade *u)
{
    char text[UPGRADE_ANSWER_MAX];
    size_t len = upgrade_answer(u, text);

    if (len == 0 || buf_append(&ws->answer, text, len) < 0)
        return -ENOMEM;
    ws->state = u->status == 101 ? WS_ANSWERING : WS_REFUSING;
    if (ws->state == WS_REFUSING)
        ws->layer.fault = u->fault;
    else
        take_forwarded(ws, u);
    buf_consume(&ws->in, u->len);
    return 0;
}

static int read_request(struct websocket *ws)
{
    for (;;) {
        struct upgrade u;
        size_t left = UPGRADE_MAX - buf_len(&ws->in);
        ssize_t n;

        if (upgrade_parse((const uint8_t *)buf_ptr(&ws->in), buf_len(&ws->in), &ws->scanned,
                          transport_rules(ws->transport), &u) == 0)
            return answer(ws, &u);
        if (buf_reserve(&ws->in, left < REQUEST_STEP ? left : REQUEST_STEP) < 0)
            return -ENOMEM;
        n = layer_below_read(&ws->layer, buf_tail(&ws->in),
                             buf_room(&ws->in) < left ? buf_room(&ws->in) : left);
        if (n == 0)
            return -ECONNRESET;
        if (n < 0)
            return (int)n;
        buf_commit(&ws->in, (size_t)n);
    }
}

static int send_answer(struct websocket *ws)
{
    int r = layer_below_send(&ws->layer, &ws->answer);

    if (r < 0)
        return r;
    if (ws->state == WS_REFUSING) {
        layer_say_farewell(&ws->layer);
        return -EPROTO;
    }
    ws->state = WS_OPEN;
    transport_unref(&ws->transport);
    if (buf_len(&ws->in) == 0)
        buf_fini(&ws->in);
    return 0;
}

static int ws_handshake(struct layer *l)
{
    struct websocket *ws = ws_of(l);
    int r = 0;

    if (ws->state == WS_UPGRADING)
        r = read_request(ws);
    if (r == 0 && (ws->state == WS_ANSWERING || ws->state == WS_REFUSING))
        r = send_answer(ws);
    return r;
}

/* ---- bytes in ----------------------------------------------------------------------------------
 */

static void break_off(struct websocket *ws, int code, const char *fault)
{
    ws->state = WS_BROKEN;
    ws->close_code = (uint16_t)code;
    ws->layer.fault = fault;
    layer_say_farewell(&ws->layer);
}

/* Its answer goes out when the owner has dealt with what came before it: see ws_shutdown. */
static void take_close(struct websocket *ws)
{
    int code = ws_close_code(ws->decoder.control, ws->decoder.n_control);

    if (code < 0) {
        break_off(ws, -code, "a close frame that is none");
        return;
    }
    ws->state = WS_ENDED;
    ws->close_code = (uint16_t)code;
}

static void take_ping(struct websocket *ws)
{
    memcpy(ws->pong, ws->decoder.control, ws->decoder.n_control);
    ws->n_pong = ws->decoder.n_control;
    ws->has_pong = true;
    layer_want_flush(&ws->layer);
}

/* In place; returns how many bytes of data there are. */
static size_t decode(struct websocket *ws, uint8_t *buf, size_t len)
{
    const uint8_t *in = buf;
    uint8_t *out = buf;

    while (ws->state == WS_OPEN) {
        const char *fault = NULL;
        int r = ws_decode(&ws->decoder, &in, &len, &out, &fault);

        if (r == 0)
            break;
        if (r < 0)
            break_off(ws, -r, fault);
        else if (r == WS_CLOSE)
            take_close(ws);
        else if (r == WS_PING)
            take_ping(ws);
    }
    return (size_t)(out - buf);
}

static ssize_t read_raw(struct websocket *ws, void *buf, size_t len)
{
    size_t kept = buf_len(&ws->in);

    if (kept == 0)
        return layer_below_read(&ws->layer, buf, len);
    if (kept < len)
        len = kept;
    memcpy(buf, buf_ptr(&ws->in), len);
    buf_consume(&ws->in, len);
    if (len == kept)
        buf_fini(&ws->in);
    return (ssize_t)len;
}

static ssize_t ws_read(struct layer *l, void *buf, size_t len)
{
    struct websocket *ws = ws_of(l);

    ws->again = false;
    for (int i = 0; i < EMPTY_READS && ws->state == WS_OPEN; i++) {
        ssize_t n = read_raw(ws, buf, len);
        size_t n_data;

        if (n <= 0)
            return n;
        n_data = decode(ws, buf, (size_t)n);
        if (n_data > 0) {
            ws->again = ws->state != WS_OPEN; /* the end is to be told, too */
            return (ssize_t)n_data;
        }
    }
    if (ws->state == WS_BROKEN)
        return -EPROTO;
    if (ws->state == WS_ENDED)
        return 0;
    ws->again = true;
    return -EAGAIN;
}

static size_t ws_pending(const struct layer *l)
{
    const struct websocket *ws = ws_of(l);

    return buf_len(&ws->in) + ws->again;
}

/* ---- bytes out ---------------------------------------------------------------------------------
 */

/* Only between frames. */
static void put_control(struct websocket *ws, enum ws_opcode opcode, const uint8_t *payload,
                        size_t len)
{
    uint8_t *at = ws->own + ws->n_own;

    assert(ws->frame_left == 0 && ws->n_own + 2 + len <= sizeof(ws->own));
    at += ws_encode_head(at, opcode, len);
    if (len)
        memcpy(at, payload, len);
    ws->n_own = (uint16_t)(at + len - ws->own);
}

static void put_pong(struct websocket *ws)
{
    if (!ws->has_pong || ws->n_own > 0)
        return;
    put_control(ws, WS_PONG, ws->pong, ws->n_pong);
    ws->has_pong = false;
}

static void own_went(struct websocket *ws, size_t n)
{
    ws->own_done = (uint16_t)(ws->own_done + n);
    if (ws->own_done == ws->n_own)
        ws->own_done = ws->n_own = 0;
}

/* All that the first entries hold becomes one frame. */
static void begin_frame(struct websocket *ws, const struct iovec *iov, int n_iov)
{
    uint64_t len = 0;

    put_pong(ws);
    for (int i = 0; i < n_iov; i++)
        len += iov[i].iov_len;
    ws->n_own = (uint16_t)(ws->n_own + ws_encode_head(ws->own + ws->n_own, WS_BINARY, len));
    ws->frame_left = len;
}

static ssize_t ws_writev(struct layer *l, const struct iovec *iov, int n_iov)
{
    struct websocket *ws = ws_of(l);
    struct iovec out[1 + IOV_MAX_ENTRIES];
    size_t own;
    uint64_t left;
    int n_out = 0;
    ssize_t n;

    if (n_iov > IOV_MAX_ENTRIES)
        n_iov = IOV_MAX_ENTRIES;
    if (ws->frame_left == 0)
        begin_frame(ws, iov, n_iov);
    own = ws->n_own - ws->own_done;
    if (own)
        out[n_out++] = (struct iovec){ .iov_base = ws->own + ws->own_done, .iov_len = own };
    left = ws->frame_left;
    for (int i = 0; i < n_iov && left > 0; i++) { /* no more than was announced */
        out[n_out] = iov[i];
        if (out[n_out].iov_len > left)
            out[n_out].iov_len = (size_t)left;
        left -= out[n_out++].iov_len;
    }
    n = layer_below_writev(l, out, n_out);
    if (n < 0)
        return n;
    if ((size_t)n <= own) {
        own_went(ws, (size_t)n);
        return -EAGAIN;
    }
    own_went(ws, own);
    n -= (ssize_t)own;
    ws->frame_left -= (uint64_t)n;
    return n;
}

static int ws_flush(struct layer *l)
{
    struct websocket *ws = ws_of(l);

    for (;;) {
        ssize_t n;

        if (ws->frame_left == 0 && !ws->close_sent)
            put_pong(ws);
        if (ws->n_own == 0)
            return 0;
        n = layer_below_write(l, ws->own + ws->own_done, ws->n_own - ws->own_done);
        if (n < 0)
            return (int)n;
        own_went(ws, (size_t)n);
    }
}

static int ws_shutdown(struct layer *l)
{
    struct websocket *ws = ws_of(l);
    uint8_t code[2] = { (uint8_t)(ws->close_code >> 8), (uint8_t)ws->close_code };

    if (ws->frame_left > 0)
        return 0; /* the frame was thrown away half sent: nothing can follow it */
    if (!ws->close_sent) {
        put_control(ws, WS_CLOSE, code, ws->close_code == WS_CODE_NONE ? 0 : sizeof(code));
        ws->close_sent = true;
    }
    return ws_flush(l);
}

/* ---- life --------------------------------------------------------------------------------------
 */

static void ws_free(struct layer *l)
{
    struct websocket *ws = ws_of(l);

    buf_fini(&ws->in);
    buf_fini(&ws->answer);
    transport_unref(&ws->transport);
    free(ws);
}

static const struct layer_ops ws_ops = {
    .name = "websocket",
    .handshake = ws_handshake,
    .read = ws_read,
    .writev = ws_writev,
    .flush = ws_flush,
    .pending = ws_pending,
    .shutdown = ws_shutdown,
    .free = ws_free,
};

int websocket_push(struct stream *s, struct transport *transport)
{
    struct websocket *ws = calloc(1, sizeof(*ws));

    if (!ws)
        return -ENOMEM;
    ws->layer.ops = &ws_ops;
    ws->transport = transport_ref(transport);
    ws->close_code = WS_CODE_NORMAL;
    buf_init(&ws->in);
    buf_init(&ws->answer);
    stream_push_layer(s, &ws->layer);
    return 0;
}
