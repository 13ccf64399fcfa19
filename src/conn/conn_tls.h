/* conn_tls.h - what a connection's TLS says of its client. */
#pragma once
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>

struct stream;

struct conn_tls {
    uint32_t flags;   /* PIGEON_CLIENT_TLS, _TLS_VERIFIED */
    char *name;       /* the user name that the listener's `identity` makes of it; NULL: none */
    char *cn;         /* NULL: none */
    struct str cert;  /* DER */
    bool is_nobody;   /* `identity` is set and there is no certificate */
    bool has_no_name; /* `identity` is set, there is a certificate, and no name can be made of it */
};

/* All zero without TLS. 0 or -ENOMEM; conn_tls_fini in both cases. */
int conn_tls_read(const struct stream *s, struct conn_tls *r_tls);
void conn_tls_fini(struct conn_tls *tls);
