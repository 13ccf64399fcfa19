#include "net/transport.h"
#include "net/proxy.h"
#include "net/stream.h"
#include "net/tls.h"
#include "net/upgrade.h"
#include "net/websocket.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

struct transport {
    _Atomic uint32_t refs;
    struct tls_context *tls;
    bool is_websocket;
    enum transport_proxy proxy;
    struct upgrade_rules rules;
    char *path;
    char **origins;
    uint32_t n_trusted;
    struct network trusted[];
};

static void transport_free(struct transport *t)
{
    for (uint32_t i = 0; t->origins && i < t->rules.n_origins; i++)
        free(t->origins[i]);
    free(t->origins);
    free(t->path);
    tls_context_unref(&t->tls);
    free(t);
}

static int copy_rules(struct transport *t, const struct transport_conf *conf)
{
    if (conf->path && !(t->path = str_dup(str_from(conf->path))))
        return -ENOMEM;
    t->origins = calloc(conf->n_origins + 1, sizeof(*t->origins));
    if (!t->origins)
        return -ENOMEM;
    for (uint32_t i = 0; i < conf->n_origins; i++) {
        t->origins[i] = str_dup(str_from(conf->origins[i]));
        if (!t->origins[i])
            return -ENOMEM;
        t->rules.n_origins++;
    }
    t->rules.path = t->path;
    t->rules.origins = (const char *const *)t->origins;
    return 0;
}

int transport_new(const struct transport_conf *conf, struct transport **r_transport)
{
    struct transport *t = calloc(1, sizeof(*t) + conf->n_trusted * sizeof(t->trusted[0]));
    int r;

    if (!t)
        return -ENOMEM;
    atomic_init(&t->refs, 1);
    t->tls = conf->tls ? tls_context_ref(conf->tls) : NULL;
    t->is_websocket = conf->is_websocket;
    t->proxy = conf->proxy;
    t->n_trusted = conf->n_trusted;
    r = copy_rules(t, conf);
    for (uint32_t i = 0; i < conf->n_trusted && r == 0; i++)
        if (!network_parse(conf->trusted[i], &t->trusted[i]))
            r = -EINVAL;
    if (r < 0) {
        transport_free(t);
        return r;
    }
    *r_transport = t;
    return 0;
}

struct transport *transport_ref(struct transport *t)
{
    atomic_fetch_add_explicit(&t->refs, 1, memory_order_relaxed);
    return t;
}

void transport_unref(struct transport **transport)
{
    struct transport *t = *transport;

    *transport = NULL;
    if (t && atomic_fetch_sub_explicit(&t->refs, 1, memory_order_acq_rel) == 1)
        transport_free(t);
}

bool transport_trusts(const struct transport *t, const struct addr *addr)
{
    return addr_is_in(addr, t->trusted, t->n_trusted);
}

const struct upgrade_rules *transport_rules(const struct transport *t)
{
    return &t->rules;
}

int transport_apply(struct transport *t, struct stream *s)
{
    bool trusted = transport_trusts(t, stream_peer(s));
    int r = 0;

    if (t->proxy == TRANSPORT_PROXY_REQUIRED && !trusted)
        return -EACCES;
    if (trusted)
        stream_await_peer(s);
    if (trusted && t->proxy != TRANSPORT_PROXY_NO)
        r = proxy_push(s);
    if (r == 0 && t->tls)
        r = tls_push(t->tls, s);
    if (r == 0 && t->is_websocket)
        r = websocket_push(s, t);
    return r;
}
