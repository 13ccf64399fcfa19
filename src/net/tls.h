/* tls.h - TLS for a stream, by OpenSSL: server side only, 1.2 and later, never renegotiated.
 *
 * A context is what a listener has read of its files; it does not change. After a reload new
 * connections get a new one and those that are there keep theirs. Any thread may use a context; a
 * layer belongs to its stream. */
#pragma once
#include "base/str.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct layer;
struct stream;
struct tls_context;
struct tls_tickets;

enum tls_identity { TLS_IDENTITY_NONE, TLS_IDENTITY_CN, TLS_IDENTITY_SUBJECT, TLS_IDENTITY_SAN };
enum tls_client_cert { TLS_CERT_NONE, TLS_CERT_OPTIONAL, TLS_CERT_REQUIRED };

struct tls_files {    /* PEM */
    const char *cert; /* the chain, the server's own first */
    const char *key;  /* may be the same file */
};

struct tls_conf {
    const struct tls_files *files; /* the first is for who names no server, or an unknown one */
    uint32_t n_files;
    const char *ca;  /* file or directory of those who sign clients; needed to ask for any */
    const char *crl; /* NULL: none; otherwise one for each CA of a client's chain */
    enum tls_client_cert client_cert;
    enum tls_identity identity; /* what in the certificate is the client's user name */
    bool only_1_3;
    const char *ciphers;    /* OpenSSL's list for TLS 1.2; NULL: its own */
    const char *suites;     /* for TLS 1.3; NULL: its own */
    bool websocket;         /* ALPN: "http/1.1" instead of "mqtt" */
    const char *session_id; /* tickets of one are worth nothing at another: the listener's name */
    /* NULL: no resumption. Outlives the context. Not used where clients show certificates: a ticket
     * would outlive a revocation. */
    struct tls_tickets *tickets;
};

/* Keys of session tickets, drawn anew every 12 hours; those of the time before are still taken. For
 * all listeners, and longer than any context. NULL: no memory or no randomness. */
struct tls_tickets *tls_tickets_new(void);
void tls_tickets_free(struct tls_tickets **tickets);

/* Reads the files. 0; -ENOMEM; -EINVAL with what is wrong in `reason`, the file's name included. */
int tls_context_new(const struct tls_conf *conf, char *reason, size_t room,
                    struct tls_context **r_context);
struct tls_context *tls_context_ref(struct tls_context *context);
void tls_context_unref(struct tls_context **context);

/* Puts TLS on top of what the stream has, see stream_push_layer(). 0 or -ENOMEM. */
int tls_push(struct tls_context *context, struct stream *s);
/* NULL: the stream is not encrypted. */
struct layer *tls_of(const struct stream *s);

/* Who the client is, after the handshake. A certificate has been checked against the CA and the
 * CRL, else there is no connection. */
struct tls_peer {
    const char *version, *cipher; /* "TLSv1.3", "TLS_AES_256_GCM_SHA384" */
    bool has_cert;
    bool resumed;
    enum tls_identity identity; /* of the context */
};
void tls_peer(const struct layer *l, struct tls_peer *r_peer);
/* The certificate, DER, in new memory of the caller's (free); 0: none. -ENOMEM. */
int tls_peer_cert(const struct layer *l, uint8_t **r_der, size_t *r_len);

/* The name in the certificate, zero-terminated UTF-8, in new memory of the caller's; SAN: the first
 * e-mail address, DNS name or URI. -ENOENT: it has none, or one that is no MQTT string (a NUL in
 * it, a control character) and so nobody's. -ENOMEM. */
int tls_peer_name(const struct layer *l, enum tls_identity which, char **r_name);
