#include "net/tls.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/utf8.h"
#include "net/layer.h"
#include "net/stream_priv.h"
#include "net/tls_priv.h"
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_MAX 16384
#define READ_MAX   16384 /* bytes of one call that bring no data, so that no peer keeps the loop */
#define BARREN_MAX (3 * RECORD_MAX) /* in a row: more than any peer has to say */
#define GREET_MAX  (128 * 1024)     /* the same in a handshake, which has certificates */
#define UNSENT_MAX (3 * RECORD_MAX) /* a record of ours and some replies */

struct tls {
    struct layer layer;
    SSL *ssl;
    struct tls_context *context;
    struct buf out;    /* records the socket has not taken; nothing is encrypted meanwhile */
    int err;           /* of the layer below or of memory; 0: none */
    uint32_t n_barren; /* bytes read since there was data */
    uint32_t n_call;   /* of these, in this call */
    bool eof;          /* of the layer below */
    bool yielded;      /* to be called again in the next turn */
    bool drained;      /* what OpenSSL still holds is no whole record */
};

static struct tls *of(const struct layer *l)
{
    return container_of(l, struct tls, layer);
}

/* 0: nothing is left. An idle connection holds no buffer. */
static int send_rest(struct tls *t)
{
    return layer_below_send(&t->layer, &t->out);
}

/* ---- what OpenSSL takes for its socket ------------------------------------------------------ */

/* Takes all of it, so that OpenSSL never has to be asked again with the same bytes. */
static int bio_write(BIO *bio, const char *data, int len)
{
    struct tls *t = BIO_get_data(bio);
    size_t n = (size_t)len, done = 0;

    while (buf_len(&t->out) == 0 && done < n) {
        ssize_t sent = layer_below_write(&t->layer, data + done, n - done);

        if (sent == -EAGAIN)
            break;
        if (sent < 0) {
            t->err = (int)sent;
            return -1;
        }
        done += (size_t)sent;
    }
    if (done < n && buf_append(&t->out, data + done, n - done) < 0) {
        t->err = -ENOMEM;
        return -1;
    }
    if (done < n) {
        layer_want_write(&t->layer); /* in a handshake nothing is flushed */
        layer_want_flush(&t->layer);
    }
    return len;
}

static int bio_read(BIO *bio, char *data, int len)
{
    struct tls *t = BIO_get_data(bio);
    ssize_t n;

    BIO_clear_retry_flags(bio);
    if (t->n_barren > (SSL_is_init_finished(t->ssl) ? BARREN_MAX : GREET_MAX) ||
        buf_len(&t->out) > UNSENT_MAX) {
        t->layer.fault = "records that carry no data";
        t->err = -EPROTO;
        return -1;
    }
    if (t->n_call > READ_MAX) {
        t->yielded = true;
        BIO_set_retry_read(bio);
        return -1;
    }
    n = layer_below_read(&t->layer, data, (size_t)len);
    if (n > 0) {
        t->n_call += (uint32_t)n;
        t->n_barren += (uint32_t)n;
    }
    if (n == -EAGAIN)
        BIO_set_retry_read(bio);
    else if (n < 0)
        t->err = (int)n;
    else if (n == 0)
        t->eof = true;
    return n < 0 ? -1 : (int)n;
}

static long bio_ctrl(BIO *bio, int command, long n, void *arg)
{
    const struct tls *t = BIO_get_data(bio);

    (void)n;
    (void)arg;
    if (command == BIO_CTRL_EOF)
        return t->eof;
    return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *tls_bio_new(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "stream");

    if (m) {
        BIO_meth_set_write(m, bio_write);
        BIO_meth_set_read(m, bio_read);
        BIO_meth_set_ctrl(m, bio_ctrl);
    }
    return m;
}

/* ---- the layer ------------------------------------------------------------------------------ */

/* What a call of OpenSSL came to: 0: end of file. */
static int result(struct tls *t, int r)
{
    int error = SSL_get_error(t->ssl, r);
    unsigned long e = ERR_peek_error();

    if (error == SSL_ERROR_WANT_READ)
        return -EAGAIN;
    if (error == SSL_ERROR_ZERO_RETURN)
        return 0;
    if (e && !t->err && !t->layer.fault)
        t->layer.fault = ERR_reason_error_string(e); /* OpenSSL's own, as long as the program */
    ERR_clear_error();
    if (t->err || t->eof)
        return t->err ? t->err : -ECONNRESET;
    layer_say_farewell(&t->layer); /* the alert */
    return -EPROTO;
}

static int tls_handshake(struct layer *l)
{
    struct tls *t = of(l);
    int r = send_rest(t);

    if (r < 0 || SSL_is_init_finished(t->ssl))
        return r;
    if (!layer_take_budget(l))
        return -EAGAIN;
    t->n_call = 0;
    ERR_clear_error();
    r = SSL_do_handshake(t->ssl);
    if (r == 1) {
        t->n_barren = 0;
        return send_rest(t);
    }
    r = result(t, r);
    return r ? r : -ECONNRESET;
}

static ssize_t tls_read(struct layer *l, void *buf, size_t len)
{
    struct tls *t = of(l);
    size_t total = 0, n;
    int r = 0;

    if (t->err)
        return t->err;
    t->n_call = 0;
    t->yielded = false;
    ERR_clear_error();
    while (total < len) {
        if (SSL_read_ex(t->ssl, (char *)buf + total, len - total, &n) != 1) {
            r = result(t, 0);
            t->drained = true;
            if (r < 0 && r != -EAGAIN)
                t->err = r; /* once what came before it has been told */
            break;
        }
        t->drained = false;
        t->n_barren = t->n_call = 0;
        total += n;
    }
    return total > 0 ? (ssize_t)total : r;
}

static size_t gather(char *out, const struct iovec *iov, int n_iov)
{
    size_t n = 0;

    for (int i = 0; i < n_iov && n < RECORD_MAX; i++) {
        size_t part = iov[i].iov_len < RECORD_MAX - n ? iov[i].iov_len : RECORD_MAX - n;

        memcpy(out + n, iov[i].iov_base, part);
        n += part;
    }
    return n;
}

static ssize_t tls_writev(struct layer *l, const struct iovec *iov, int n_iov)
{
    struct tls *t = of(l);
    char record[RECORD_MAX];
    const void *data = iov[0].iov_base;
    size_t len = iov[0].iov_len, done;
    int r = t->err ? t->err : send_rest(t);

    if (r < 0)
        return r;
    if (n_iov > 1 && len < RECORD_MAX) {
        len = gather(record, iov, n_iov);
        data = record;
    } else if (len > RECORD_MAX) {
        len = RECORD_MAX;
    }
    ERR_clear_error();
    if (SSL_write_ex(t->ssl, data, len, &done) == 1)
        return (ssize_t)done;
    r = result(t, 0);
    return r && r != -EAGAIN ? r : -EPIPE; /* bytes are always taken; the peer has shut us out */
}

static int tls_flush(struct layer *l)
{
    return send_rest(of(l));
}

static size_t tls_pending(const struct layer *l)
{
    const struct tls *t = of(l);

    if (t->err || t->yielded)
        return 1; /* the error itself, or what was left in the socket */
    if (t->drained || !SSL_is_init_finished(t->ssl))
        return 0;
    return SSL_has_pending(t->ssl) ? 1 : 0;
}

static int tls_shutdown(struct layer *l)
{
    struct tls *t = of(l);

    if (!t->err && !t->layer.fault && !(SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN)) {
        ERR_clear_error();
        SSL_shutdown(t->ssl);
        ERR_clear_error();
    }
    return send_rest(t);
}

static void tls_free(struct layer *l)
{
    struct tls *t = of(l);

    SSL_free(t->ssl);
    tls_context_unref(&t->context);
    buf_fini(&t->out);
    free(t);
}

static const struct layer_ops ops = {
    .name = "tls",
    .handshake = tls_handshake,
    .read = tls_read,
    .writev = tls_writev,
    .flush = tls_flush,
    .pending = tls_pending,
    .shutdown = tls_shutdown,
    .free = tls_free,
};

int tls_push(struct tls_context *context, struct stream *s)
{
    struct tls *t = calloc(1, sizeof(*t));
    BIO *bio;

    if (!t)
        return -ENOMEM;
    ERR_clear_error();
    t->layer.ops = &ops;
    buf_init(&t->out);
    t->context = tls_context_ref(context);
    t->ssl = SSL_new(context->contexts[0]);
    bio = t->ssl ? BIO_new(context->bio) : NULL;
    if (!bio) {
        tls_free(&t->layer);
        return -ENOMEM;
    }
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_accept_state(t->ssl);
    stream_push_layer(s, &t->layer);
    return 0;
}

struct layer *tls_of(const struct stream *s)
{
    return stream_find_layer(s, &ops);
}

/* ---- who it is ------------------------------------------------------------------------------ */

void tls_peer(const struct layer *l, struct tls_peer *r_peer)
{
    SSL *ssl = of(l)->ssl;

    *r_peer = (struct tls_peer){
        .version = SSL_get_version(ssl),
        .cipher = SSL_get_cipher_name(ssl),
        .has_cert =
            SSL_get0_peer_certificate(ssl) != NULL && SSL_get_verify_result(ssl) == X509_V_OK,
        .resumed = SSL_session_reused(ssl),
        .identity = of(l)->context->identity,
    };
}

int tls_peer_cert(const struct layer *l, uint8_t **r_der, size_t *r_len)
{
    X509 *cert = SSL_get0_peer_certificate(of(l)->ssl);
    unsigned char *out;
    int len = cert ? i2d_X509(cert, NULL) : 0;

    *r_len = 0;
    if (len <= 0)
        return 0;
    *r_der = out = malloc((size_t)len);
    if (!out)
        return -ENOMEM;
    *r_len = (size_t)i2d_X509(cert, &out);
    return 0;
}

/* A name is an MQTT string or it is nobody's: one with a NUL in it would end where others see it
 * go on. */
static int take_name(const void *text, size_t len, char **r_name)
{
    char *name;

    if (len == 0 || len > UINT16_MAX || !utf8_is_mqtt(text, len))
        return -ENOENT;
    for (size_t i = 0; i < len; i++)
        if (((const unsigned char *)text)[i] < ' ' || ((const unsigned char *)text)[i] == 0x7f)
            return -ENOENT;
    name = strndup(text, len);
    if (!name)
        return -ENOMEM;
    *r_name = name;
    return 0;
}

static int take_asn1(const ASN1_STRING *s, char **r_name)
{
    unsigned char *text = NULL;
    int len = ASN1_STRING_to_UTF8(&text, s), r;

    if (len < 0)
        return -ENOENT;
    r = take_name(text, (size_t)len, r_name);
    OPENSSL_free(text);
    return r;
}

/* Several of them name nobody: which one counts would be anybody's guess. */
static int name_cn(const X509_NAME *subject, char **r_name)
{
    int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);

    if (at < 0 || X509_NAME_get_index_by_NID(subject, NID_commonName, at) >= 0)
        return -ENOENT;
    return take_asn1(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)), r_name);
}

static int name_subject(const X509_NAME *subject, char **r_name)
{
    BIO *mem = BIO_new(BIO_s_mem());
    char *text;
    long len;
    int r = -ENOMEM;

    if (!mem)
        return r;
    if (X509_NAME_print_ex(mem, subject, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) >= 0) {
        len = BIO_get_mem_data(mem, &text);
        r = take_name(text, len > 0 ? (size_t)len : 0, r_name);
    }
    BIO_free(mem);
    return r;
}

static int name_san(const X509 *cert, char **r_name)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    int r = -ENOENT;

    for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);

        if (n->type != GEN_EMAIL && n->type != GEN_DNS && n->type != GEN_URI)
            continue;
        r = take_asn1(n->d.ia5, r_name);
        break;
    }
    GENERAL_NAMES_free(names);
    return r;
}

int tls_peer_name(const struct layer *l, enum tls_identity which, char **r_name)
{
    X509 *cert = SSL_get0_peer_certificate(of(l)->ssl);

    if (!cert)
        return -ENOENT;
    switch (which) {
    case TLS_IDENTITY_CN: return name_cn(X509_get_subject_name(cert), r_name);
    case TLS_IDENTITY_SUBJECT: return name_subject(X509_get_subject_name(cert), r_name);
    case TLS_IDENTITY_SAN: return name_san(cert, r_name);
    case TLS_IDENTITY_NONE: break;
    }
    return -ENOENT;
}
