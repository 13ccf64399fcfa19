/* transport.h - what a listener's connections have beside TCP: PROXY header, TLS, WebSocket; who
 * its trusted proxies are.
 *
 * Never changes after it was made; reference counted, any thread: connections under way keep theirs
 * while a reload gives the listener another one. A listener of plain MQTT has none. */
#pragma once
#include "net/addr.h"

struct stream;
struct tls_context;
struct transport;
struct upgrade_rules;

enum transport_proxy {
    TRANSPORT_PROXY_NO,
    TRANSPORT_PROXY_TRUSTED,  /* trusted proxies send the header, others are clients */
    TRANSPORT_PROXY_REQUIRED, /* nobody but trusted proxies may come */
};

struct transport_conf {      /* copied */
    struct tls_context *tls; /* a reference of its own is taken; NULL: none */
    bool is_websocket;
    const char *path;           /* see upgrade_rules */
    const char *const *origins; /* too */
    uint32_t n_origins;
    enum transport_proxy proxy;
    const char *const *trusted; /* for network_parse */
    uint32_t n_trusted;
};

/* 0, -ENOMEM, -EINVAL (a network that is none). */
int transport_new(const struct transport_conf *conf, struct transport **r_transport);
struct transport *transport_ref(struct transport *t);
/* Sets *t to NULL; NULL in it is fine. */
void transport_unref(struct transport **t);
/* Puts the layers onto a stream that was just accepted. 0, -ENOMEM, or -EACCES: only trusted
 * proxies may come, and this is none. */
int transport_apply(struct transport *t, struct stream *s);
bool transport_trusts(const struct transport *t, const struct addr *addr);
const struct upgrade_rules *transport_rules(const struct transport *t);
