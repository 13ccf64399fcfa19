#include "net/proxy.h"
#include "base/list.h"
#include "net/layer.h"
#include "net/proxy_header.h"
#include "net/stream.h"
#include <errno.h>
#include <stdlib.h>

#define READ_STEP 536u /* [PROXY protocol, 2.2]: what a sender may expect to pass in one piece */

struct proxy {
    struct layer layer;
    bool is_read;
    uint32_t start, end; /* of the bytes behind the header that came with it */
    uint8_t *bytes;      /* PROXY_HEADER_MAX; NULL once they are passed on */
};

static struct proxy *proxy_of(const struct layer *l)
{
    return container_of(l, struct proxy, layer);
}

static void drop_bytes(struct proxy *p)
{
    free(p->bytes);
    p->bytes = NULL;
    p->start = p->end = 0;
}

static int refuse(struct proxy *p, const char *fault)
{
    p->layer.fault = fault;
    return -EPROTO;
}

static int proxy_handshake(struct layer *l)
{
    struct proxy *p = proxy_of(l);

    while (!p->is_read) {
        struct proxy_header h;
        size_t room = PROXY_HEADER_MAX - p->end;
        ssize_t n = layer_below_read(l, p->bytes + p->end, room < READ_STEP ? room : READ_STEP);
        int r;

        if (n == 0)
            return refuse(p, "closed before its PROXY header");
        if (n < 0)
            return (int)n;
        p->end += (uint32_t)n;
        r = proxy_header_parse(p->bytes, p->end, &h);
        if (r < 0)
            return refuse(p, "a PROXY header is missing or wrong");
        if (r == PROXY_NEED_MORE)
            continue;
        p->is_read = true;
        p->start = (uint32_t)h.len;
        if (h.has_source)
            stream_set_peer(l->stream, &h.source);
        if (p->start == p->end)
            drop_bytes(p);
    }
    return 0;
}

static ssize_t proxy_read(struct layer *l, void *buf, size_t len)
{
    struct proxy *p = proxy_of(l);
    size_t n = p->end - p->start;

    if (!p->bytes)
        return layer_below_read(l, buf, len);
    if (n > len)
        n = len;
    memcpy(buf, p->bytes + p->start, n);
    p->start += (uint32_t)n;
    if (p->start == p->end)
        drop_bytes(p);
    return (ssize_t)n;
}

static ssize_t proxy_writev(struct layer *l, const struct iovec *iov, int n_iov)
{
    return layer_below_writev(l, iov, n_iov);
}

static size_t proxy_pending(const struct layer *l)
{
    const struct proxy *p = proxy_of(l);

    return p->is_read ? p->end - p->start : 0;
}

static void proxy_free(struct layer *l)
{
    struct proxy *p = proxy_of(l);

    free(p->bytes);
    free(p);
}

static const struct layer_ops proxy_ops = {
    .name = "proxy",
    .handshake = proxy_handshake,
    .read = proxy_read,
    .writev = proxy_writev,
    .pending = proxy_pending,
    .free = proxy_free,
};

int proxy_push(struct stream *s)
{
    struct proxy *p = calloc(1, sizeof(*p));

    if (p)
        p->bytes = malloc(PROXY_HEADER_MAX);
    if (!p || !p->bytes) {
        free(p);
        return -ENOMEM;
    }
    p->layer.ops = &proxy_ops;
    stream_push_layer(s, &p->layer);
    return 0;
}
