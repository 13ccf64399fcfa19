#include "net/tls_priv.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define VERIFY_DEPTH 8

struct reading {
    const struct tls_conf *conf;
    char *reason;
    size_t room;
};

static int wrong(struct reading *r, const char *what, const char *file)
{
    unsigned long e = ERR_peek_last_error();
    const char *why = e ? ERR_reason_error_string(e) : NULL;

    if (!why)
        why = e && ERR_SYSTEM_ERROR(e) ? strerror(ERR_GET_REASON(e)) : "OpenSSL refuses it";
    snprintf(r->reason, r->room, "%s%s%s: %s", what, file ? " " : "", file ? file : "", why);
    ERR_clear_error();
    return -EINVAL;
}

static int no_file(struct reading *r, const char *what, const char *file)
{
    snprintf(r->reason, r->room, "%s %s: %s", what, file, strerror(errno));
    return -EINVAL;
}

/* Nobody is there to type it. */
static int no_password(char *buf, int size, int is_write, void *arg)
{
    (void)buf;
    (void)size;
    (void)is_write;
    (void)arg;
    return -1;
}

static int load_files(struct reading *r, SSL_CTX *ctx, const struct tls_files *files)
{
    struct stat st;

    if (stat(files->cert, &st) < 0)
        return no_file(r, "certificate", files->cert);
    if (stat(files->key, &st) < 0)
        return no_file(r, "key", files->key);
    SSL_CTX_set_default_passwd_cb(ctx, no_password);
    if (SSL_CTX_use_certificate_chain_file(ctx, files->cert) != 1)
        return wrong(r, "certificate", files->cert);
    if (SSL_CTX_use_PrivateKey_file(ctx, files->key, SSL_FILETYPE_PEM) != 1)
        return wrong(r, "key", files->key);
    if (SSL_CTX_check_private_key(ctx) != 1)
        return wrong(r, "the certificate does not belong to the key", files->key);
    return 0;
}

static int load_crl(struct reading *r, SSL_CTX *ctx)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());

    if (!lookup || X509_load_crl_file(lookup, r->conf->crl, X509_FILETYPE_PEM) < 1)
        return wrong(r, "revocation list", r->conf->crl);
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
    return 0;
}

static int load_ca(struct reading *r, SSL_CTX *ctx)
{
    const char *ca = r->conf->ca;
    struct stat st;
    bool is_dir;

    if (stat(ca, &st) < 0)
        return no_file(r, "CA", ca);
    is_dir = S_ISDIR(st.st_mode);
    if ((is_dir ? SSL_CTX_load_verify_dir(ctx, ca) : SSL_CTX_load_verify_file(ctx, ca)) != 1)
        return wrong(r, "CA", ca);
    if (!is_dir) {
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca);

        if (!names)
            return wrong(r, "CA", ca);
        SSL_CTX_set_client_CA_list(ctx, names);
    }
    SSL_CTX_set_verify(
        ctx,
        SSL_VERIFY_PEER |
            (r->conf->client_cert == TLS_CERT_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
        NULL);
    SSL_CTX_set_verify_depth(ctx, VERIFY_DEPTH);
    return r->conf->crl ? load_crl(r, ctx) : 0;
}

/* ---- callbacks: arg is the context -------------------------------------------------------- */

static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                   const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char mqtt[] = "\4mqtt", http[] = "\10http/1.1";
    const struct tls_context *c = arg;
    const unsigned char *mine = c->websocket ? http : mqtt;
    unsigned mine_len = (unsigned)(c->websocket ? sizeof(http) : sizeof(mqtt)) - 1;
    unsigned char *chosen;

    (void)ssl;
    if (SSL_select_next_proto(&chosen, out_len, mine, mine_len, in, in_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL; /* RFC 7301 3.2 */
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    const struct tls_context *c = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);

    (void)alert;
    for (uint32_t i = 0; name && i < c->n_contexts; i++) {
        X509 *cert = SSL_CTX_get0_certificate(c->contexts[i]);

        if (X509_check_host(cert, name, 0, 0, NULL) != 1)
            continue;
        SSL_set_SSL_CTX(ssl, c->contexts[i]);
        return SSL_TLSEXT_ERR_OK;
    }
    return SSL_TLSEXT_ERR_NOACK;
}

static int on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
                     EVP_MAC_CTX *mac, int encrypt)
{
    const struct tls_context *c = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    return tls_tickets_key(c->tickets, name, iv, cipher, mac, encrypt);
}

/* ---- one per certificate ------------------------------------------------------------------- */

static int set_session(struct reading *r, SSL_CTX *ctx)
{
    const char *id = r->conf->session_id ? r->conf->session_id : "";
    unsigned char digest[SSL_MAX_SID_CTX_LENGTH];
    unsigned len = 0;

    /* Any name has room as its hash. */
    if (EVP_Digest(id, strlen(id), digest, &len, EVP_sha256(), NULL) != 1 ||
        SSL_CTX_set_session_id_context(ctx, digest, len) != 1)
        return wrong(r, "session id", NULL);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF); /* tickets need no memory of ours */
    if (!r->conf->tickets || r->conf->client_cert != TLS_CERT_NONE) {
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
        SSL_CTX_set_num_tickets(ctx, 0);
        return 0;
    }
    SSL_CTX_set_num_tickets(ctx, 1);
    SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
    return 0;
}

static int set_protocol(struct reading *r, SSL_CTX *ctx)
{
    const struct tls_conf *conf = r->conf;

    SSL_CTX_set_min_proto_version(ctx, conf->only_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
    if (conf->ciphers && SSL_CTX_set_cipher_list(ctx, conf->ciphers) != 1)
        return wrong(r, "ciphers", conf->ciphers);
    if (conf->suites && SSL_CTX_set_ciphersuites(ctx, conf->suites) != 1)
        return wrong(r, "cipher suites", conf->suites);
    return set_session(r, ctx);
}

static int context_add(struct reading *r, struct tls_context *c, const struct tls_files *files)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    int result;

    if (!ctx)
        return -ENOMEM;
    c->contexts[c->n_contexts++] = ctx;
    SSL_CTX_set_app_data(ctx, c);
    SSL_CTX_set_alpn_select_cb(ctx, on_alpn, c);
    SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
    SSL_CTX_set_tlsext_servername_arg(ctx, c);
    result = set_protocol(r, ctx);
    if (result == 0)
        result = load_files(r, ctx, files);
    if (result == 0 && r->conf->client_cert != TLS_CERT_NONE)
        result = load_ca(r, ctx);
    return result;
}

int tls_context_new(const struct tls_conf *conf, char *reason, size_t room,
                    struct tls_context **r_context)
{
    struct reading reading = { conf, reason, room };
    struct tls_context *c = calloc(1, sizeof(*c));
    int r = 0;

    if (room)
        reason[0] = '\0';
    if (!c)
        return -ENOMEM;
    atomic_init(&c->refs, 1);
    c->tickets = conf->tickets;
    c->websocket = conf->websocket;
    c->identity = conf->identity;
    c->contexts = calloc(conf->n_files, sizeof(SSL_CTX *));
    c->bio = tls_bio_new();
    if (!c->contexts || !c->bio)
        r = -ENOMEM;
    ERR_clear_error();
    for (uint32_t i = 0; i < conf->n_files && r == 0; i++)
        r = context_add(&reading, c, &conf->files[i]);
    if (r < 0) {
        tls_context_unref(&c);
        return r;
    }
    *r_context = c;
    return 0;
}

struct tls_context *tls_context_ref(struct tls_context *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
    return c;
}

void tls_context_unref(struct tls_context **context)
{
    struct tls_context *c = *context;

    *context = NULL;
    if (!c || atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < c->n_contexts; i++)
        SSL_CTX_free(c->contexts[i]);
    free(c->contexts);
    BIO_meth_free(c->bio);
    free(c);
}
