#include "conn/conn_tls.h"
#include "net/tls.h"
#include <errno.h>
#include <pigeon/types.h>
#include <stdlib.h>

static int read_name(const struct layer *l, enum tls_identity which, char **r_name)
{
    int r = tls_peer_name(l, which, r_name);

    return r == -ENOENT ? 0 : r;
}

int conn_tls_read(const struct stream *s, struct conn_tls *r_tls)
{
    const struct layer *l = tls_of(s);
    struct tls_peer peer;
    uint8_t *der = NULL;
    size_t len;
    int r;

    *r_tls = (struct conn_tls){ 0 };
    if (!l)
        return 0;
    tls_peer(l, &peer);
    r_tls->flags = PIGEON_CLIENT_TLS;
    r_tls->is_nobody = peer.identity != TLS_IDENTITY_NONE && !peer.has_cert;
    if (!peer.has_cert) /* an optional one; who has none says who he is in CONNECT */
        return 0;
    r_tls->flags |= PIGEON_CLIENT_TLS_VERIFIED;
    r = tls_peer_cert(l, &der, &len);
    r_tls->cert = str_make((char *)der, len);
    r = r ? r : read_name(l, TLS_IDENTITY_CN, &r_tls->cn);
    if (!r && peer.identity != TLS_IDENTITY_NONE) {
        r = read_name(l, peer.identity, &r_tls->name);
        r_tls->has_no_name = !r && !r_tls->name;
    }
    return r;
}

void conn_tls_fini(struct conn_tls *tls)
{
    free(tls->name);
    free(tls->cn);
    str_free(&tls->cert);
    *tls = (struct conn_tls){ 0 };
}
