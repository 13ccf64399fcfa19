/* TLS over a socket pair; the far end is OpenSSL's client. */
#include "net_support.h"
#include "net/tls.h"
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>

#define FILE_LEN 256

struct maker {
    char dir[64];
    EVP_PKEY *ca_key;
    X509 *ca;
    long serial;
};

static void file_in(const struct maker *m, const char *name, char *path)
{
    snprintf(path, FILE_LEN, "%s/%s", m->dir, name);
}

static void extend(X509 *cert, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    assert_non_null(e);
    X509_add_ext(cert, e, -1);
    X509_EXTENSION_free(e);
}

static void save(const struct maker *m, const char *name, X509 *cert, EVP_PKEY *key)
{
    char path[FILE_LEN];
    file_in(m, name, path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    if (cert)
        assert_int_equal(PEM_write_X509(f, cert), 1);
    if (key)
        assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
}

/* cn_len: a name may have a NUL in it. san may be NULL. */
static X509 *make(struct maker *m, const char *cn, int cn_len, const char *san, EVP_PKEY **r_key)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    bool is_ca = !m->ca;
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), ++m->serial);
    X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const unsigned char *)"Pigeon", -1, -1,
                               0);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, cn_len, -1, 0);
    X509_set_issuer_name(cert, is_ca ? name : X509_get_subject_name(m->ca));
    if (is_ca)
        extend(cert, NID_basic_constraints, "critical,CA:TRUE");
    if (san)
        extend(cert, NID_subject_alt_name, san);
    assert_true(X509_sign(cert, is_ca ? key : m->ca_key, EVP_sha256()) > 0);
    *r_key = key;
    return cert;
}

static void make_file(struct maker *m, const char *file, const char *cn, const char *san)
{
    EVP_PKEY *key;
    X509 *cert = make(m, cn, -1, san, &key);
    save(m, file, cert, key);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void make_crl(const struct maker *m, const char *file, long serial)
{
    char path[FILE_LEN];
    X509_CRL *crl = X509_CRL_new();
    ASN1_TIME *t = X509_gmtime_adj(NULL, -60);
    X509_CRL_set_version(crl, 1);
    X509_CRL_set_issuer_name(crl, X509_get_subject_name(m->ca));
    X509_CRL_set1_lastUpdate(crl, t);
    X509_gmtime_adj(t, 3600);
    X509_CRL_set1_nextUpdate(crl, t);
    if (serial) {
        X509_REVOKED *one = X509_REVOKED_new();
        ASN1_INTEGER *n = ASN1_INTEGER_new();
        ASN1_INTEGER_set(n, serial);
        X509_REVOKED_set_serialNumber(one, n);
        X509_REVOKED_set_revocationDate(one, t);
        X509_CRL_add0_revoked(crl, one);
        ASN1_INTEGER_free(n);
    }
    ASN1_TIME_free(t);
    assert_true(X509_CRL_sign(crl, m->ca_key, EVP_sha256()) > 0);
    file_in(m, file, path);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_X509_CRL(f, crl), 1);
    fclose(f);
    X509_CRL_free(crl);
}

static void maker_init(struct maker *m)
{
    *m = (struct maker){ .dir = "tls-XXXXXX" };
    assert_non_null(mkdtemp(m->dir));
    m->ca = NULL;
    X509 *ca = make(m, "CA", -1, NULL, &m->ca_key);
    m->ca = ca;
    save(m, "ca.pem", m->ca, NULL);
    make_file(m, "server.pem", "server", "DNS:one.example");
    make_file(m, "other.pem", "other", "DNS:two.example,DNS:*.three.example");
}

static void maker_fini(struct maker *m)
{
    const char *files[] = {
        "ca.pem", "server.pem", "other.pem", "client.pem", "crl.pem", "bad.pem"
    };
    char path[FILE_LEN];
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        file_in(m, files[i], path);
        unlink(path);
    }
    assert_int_equal(rmdir(m->dir), 0);
    X509_free(m->ca);
    EVP_PKEY_free(m->ca_key);
}

/* ---- a server and a client --------------------------------------------------------------------
 */

struct talk {
    struct maker m;
    struct rig r;
    struct tls_context *context;
    struct tls_tickets *tickets;
    SSL_CTX *client_ctx;
    SSL *client;
    char ca[FILE_LEN], server[FILE_LEN], other[FILE_LEN], crl[FILE_LEN];
    struct tls_files files[2];
    struct tls_conf conf;
};

static void talk_init(struct talk *t)
{
    *t = (struct talk){ .context = NULL };
    maker_init(&t->m);
    file_in(&t->m, "ca.pem", t->ca);
    file_in(&t->m, "server.pem", t->server);
    file_in(&t->m, "other.pem", t->other);
    file_in(&t->m, "crl.pem", t->crl);
    t->files[0] = (struct tls_files){ t->server, t->server };
    t->files[1] = (struct tls_files){ t->other, t->other };
    t->tickets = tls_tickets_new();
    t->conf = (struct tls_conf){
        .files = t->files, .n_files = 2, .session_id = "default", .tickets = t->tickets
    };
    t->client_ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_load_verify_file(t->client_ctx, t->ca);
    SSL_CTX_set_verify(t->client_ctx, SSL_VERIFY_PEER, NULL);
}

static void connect_to(struct talk *t)
{
    char reason[256];
    if (!t->context && tls_context_new(&t->conf, reason, sizeof(reason), &t->context))
        fail_msg("%s", reason);
    rig_init(&t->r, 1);
    stream_detach(t->r.k.s);
    assert_int_equal(tls_push(t->context, t->r.k.s), 0);
    stream_attach(t->r.k.s, t->r.loop, &sink_ops, &t->r.k);
    fcntl(t->r.far, F_SETFL, O_NONBLOCK);
    t->client = SSL_new(t->client_ctx);
    SSL_set_fd(t->client, t->r.far);
    SSL_set_connect_state(t->client);
}

/* 1: done, otherwise what SSL_get_error says. */
static int shake(struct talk *t)
{
    for (int i = 0; i < 200; i++) {
        ERR_clear_error();
        int r = SSL_do_handshake(t->client);
        int error = r == 1 ? 0 : SSL_get_error(t->client, r);
        net_turns(t->r.loop, 2);
        if (r == 1)
            return 1;
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
            return -error;
    }
    return 0;
}

static void hang_up(struct talk *t)
{
    SSL_set_shutdown(t->client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* keeps its session */
    SSL_free(t->client);
    t->client = NULL;
    rig_fini(&t->r);
}

static void talk_fini(struct talk *t)
{
    tls_context_unref(&t->context);
    tls_tickets_free(&t->tickets);
    SSL_CTX_free(t->client_ctx);
    maker_fini(&t->m);
}

/* What the far end reads until there is nothing more for now. */
static size_t hear(struct talk *t, uint8_t *buf, size_t len)
{
    size_t total = 0, n;
    for (int i = 0; i < 2000 && total < len; i++) {
        if (SSL_read_ex(t->client, buf + total, len - total, &n) == 1)
            total += n;
        else
            net_turns(t->r.loop, 1);
    }
    return total;
}

static void bytes_go_both_ways_in_every_size(void **state)
{
    (void)state;
    struct talk t;
    uint8_t *big = malloc(1000000), *back = malloc(1000000);
    size_t sizes[] = { 1, 100, 16383, 16384, 16385, 70000, 1000000 }, done;
    talk_init(&t);
    RAND_bytes(big, 1000000);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        SSL_CTX_set_max_proto_version(t.client_ctx, version);
        connect_to(&t);
        stream_write(t.r.k.s, "early", 5); /* waits for the handshake */
        assert_int_equal(shake(&t), 1);
        assert_int_equal(hear(&t, back, 5), 5);
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            size_t had = t.r.k.n_got, sent = 0;
            while (sent < sizes[i]) {
                if (SSL_write_ex(t.client, big + sent,
                                 sizes[i] - sent < 5000 ? sizes[i] - sent : 5000, &done) == 1)
                    sent += done;
                net_turns(t.r.loop, 1);
            }
            for (int k = 0; k < 100 && t.r.k.n_got < had + sizes[i]; k++)
                net_turns(t.r.loop, 1);
            assert_int_equal(t.r.k.n_got, had + sizes[i]);
            assert_memory_equal(t.r.k.got + had, big, sizes[i]);
            stream_write(t.r.k.s, big, sizes[i] / 2);
            stream_write(t.r.k.s, big + sizes[i] / 2, sizes[i] - sizes[i] / 2);
            assert_int_equal(hear(&t, back, sizes[i]), sizes[i]);
            assert_memory_equal(back, big, sizes[i]);
        }
        struct tls_peer peer;
        tls_peer(tls_of(t.r.k.s), &peer);
        assert_string_equal(peer.version, version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3");
        assert_false(peer.has_cert);
        hang_up(&t);
    }
    free(big);
    free(back);
    talk_fini(&t);
}

static void the_handshake_may_come_byte_by_byte(void **state)
{
    (void)state;
    struct talk t;
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    uint8_t buf[4096], c;
    bool done = false;
    talk_init(&t);
    connect_to(&t);
    SSL_set_bio(t.client, in, out);
    for (int i = 0; i < 100 && !done; i++) {
        done = SSL_do_handshake(t.client) == 1;
        while (BIO_read(out, &c, 1) == 1) {
            far_send(&t.r, (const char *)&c, 1);
            net_turns(t.r.loop, 1);
        }
        for (ssize_t n; (n = far_read(t.r.far, buf, sizeof(buf))) > 0;)
            BIO_write(in, buf, (int)n);
    }
    assert_true(done);
    SSL_write(t.client, "hello", 5);
    while (BIO_read(out, &c, 1) == 1) {
        far_send(&t.r, (const char *)&c, 1);
        net_turns(t.r.loop, 1);
    }
    net_turns(t.r.loop, 2);
    got_is(&t.r, "hello");
    hang_up(&t);
    talk_fini(&t);
}

static void what_is_no_tls_ends_the_connection_with_a_reason(void **state)
{
    (void)state;
    static const char *const junk[] = { "\x10\x10\0\4MQTT\4\2\0\x3c\0\4test",
                                        "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\xff\xff\1\0\0\0",
                                        "\x15\x03\x03\0\2\2\x28" };
    static const size_t lens[] = { 18, 18, 9, 7 };
    struct talk t;
    talk_init(&t);
    for (size_t i = 0; i < 4; i++) {
        connect_to(&t);
        far_send(&t.r, junk[i], lens[i]);
        for (int k = 0; k < 50 && !t.r.k.n_closed; k++)
            net_turns(t.r.loop, 1);
        assert_int_equal(t.r.k.n_closed, 1);
        assert_int_equal(t.r.k.err, -EPROTO);
        assert_int_equal(t.r.k.n_got, 0);
        hang_up(&t);
    }
    talk_fini(&t);
}

static void old_versions_and_renegotiation_are_refused(void **state)
{
    (void)state;
    struct talk t;
    talk_init(&t);
    SSL_CTX_set_security_level(t.client_ctx, 0);
    SSL_CTX_set_min_proto_version(t.client_ctx, TLS1_VERSION);
    SSL_CTX_set_max_proto_version(t.client_ctx, TLS1_1_VERSION);
    connect_to(&t);
    assert_true(shake(&t) < 0);
    assert_int_equal(t.r.k.n_closed, 1);
    hang_up(&t);
    SSL_CTX_set_max_proto_version(t.client_ctx, TLS1_2_VERSION);
    connect_to(&t);
    assert_int_equal(shake(&t), 1);
    SSL_renegotiate(t.client);
    assert_int_not_equal(shake(&t), 1);
    hang_up(&t);
    talk_fini(&t);
}

static void keys_changed_without_end_and_without_data_end_the_connection(void **state)
{
    (void)state;
    struct talk t;
    talk_init(&t);
    connect_to(&t);
    assert_int_equal(shake(&t), 1);
    for (int i = 0; i < 20000 && !t.r.k.n_closed; i++) {
        SSL_key_update(t.client, SSL_KEY_UPDATE_REQUESTED);
        SSL_do_handshake(t.client);
        if (i % 500 == 0)
            net_turns(t.r.loop, 1);
    }
    net_turns(t.r.loop, 4);
    assert_int_equal(t.r.k.n_closed, 1);
    assert_int_equal(t.r.k.err, -EPROTO);
    hang_up(&t);
    talk_fini(&t);
}

static void the_name_asked_for_chooses_the_certificate(void **state)
{
    (void)state;
    static const struct {
        const char *name, *cn;
    } cases[] = { { "one.example", "server" },
                  { "two.example", "other" },
                  { "a.three.example", "other" },
                  { "unknown.example", "server" },
                  { NULL, "server" } };
    struct talk t;
    char cn[64];
    talk_init(&t);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        connect_to(&t);
        if (cases[i].name)
            SSL_set_tlsext_host_name(t.client, cases[i].name);
        assert_int_equal(shake(&t), 1);
        X509 *cert = SSL_get0_peer_certificate(t.client);
        X509_NAME_get_text_by_NID(X509_get_subject_name(cert), NID_commonName, cn, sizeof(cn));
        assert_string_equal(cn, cases[i].cn);
        hang_up(&t);
    }
    talk_fini(&t);
}

static void alpn_is_mqtt_or_none_but_nothing_else(void **state)
{
    (void)state;
    static const unsigned char mqtt[] = "\10http/1.1\4mqtt", h2[] = "\2h2";
    const unsigned char *chosen;
    unsigned len;
    struct talk t;
    talk_init(&t);
    connect_to(&t);
    SSL_set_alpn_protos(t.client, mqtt, sizeof(mqtt) - 1);
    assert_int_equal(shake(&t), 1);
    SSL_get0_alpn_selected(t.client, &chosen, &len);
    assert_int_equal(len, 4);
    assert_memory_equal(chosen, "mqtt", 4);
    hang_up(&t);
    connect_to(&t);
    SSL_set_alpn_protos(t.client, h2, sizeof(h2) - 1);
    assert_true(shake(&t) < 0);
    hang_up(&t);
    talk_fini(&t);
}

static void a_ticket_resumes_at_the_same_listener_over_a_reload_and_nowhere_else(void **state)
{
    (void)state;
    struct talk t;
    struct tls_peer peer;
    uint8_t c;
    talk_init(&t);
    connect_to(&t);
    assert_int_equal(shake(&t), 1);
    stream_write(t.r.k.s, "x", 1);
    assert_int_equal(hear(&t, &c, 1), 1); /* the ticket has come before it */
    SSL_SESSION *session = SSL_get1_session(t.client);
    assert_true(SSL_SESSION_is_resumable(session));
    hang_up(&t);
    for (int i = 0; i < 2; i++) {
        tls_context_unref(&t.context); /* as a reload does */
        t.conf.session_id = i ? "another" : "default";
        connect_to(&t);
        SSL_set_session(t.client, session);
        assert_int_equal(shake(&t), 1);
        net_turns(t.r.loop, 2);
        tls_peer(tls_of(t.r.k.s), &peer);
        assert_int_equal(peer.resumed, i == 0);
        hang_up(&t);
    }
    SSL_SESSION_free(session);
    talk_fini(&t);
}

/* ---- clients with certificates ------------------------------------------------------------------
 */

static void present(struct talk *t, const char *cn, int cn_len, const char *san)
{
    EVP_PKEY *key;
    X509 *cert = make(&t->m, cn, cn_len, san, &key);
    SSL_CTX_use_certificate(t->client_ctx, cert);
    SSL_CTX_use_PrivateKey(t->client_ctx, key);
    X509_free(cert);
    EVP_PKEY_free(key);
}

/* In TLS 1.3 the client is through before the server has seen its certificate. */
static bool is_let_in(struct talk *t)
{
    bool ok = shake(t) == 1;
    if (ok) {
        SSL_write(t->client, "x", 1);
        net_turns(t->r.loop, 4);
    }
    return ok && t->r.k.n_got == 1 && !t->r.k.n_closed;
}

static void a_required_certificate_is_of_our_ca_and_not_revoked(void **state)
{
    (void)state;
    struct talk t;
    struct maker stranger;
    talk_init(&t);
    t.conf.ca = t.ca;
    t.conf.client_cert = TLS_CERT_REQUIRED;
    connect_to(&t);
    assert_false(is_let_in(&t)); /* none */
    hang_up(&t);
    present(&t, "client", -1, NULL);
    long serial = t.m.serial;
    connect_to(&t);
    assert_true(is_let_in(&t));
    struct tls_peer peer;
    uint8_t *der;
    size_t len;
    tls_peer(tls_of(t.r.k.s), &peer);
    assert_true(peer.has_cert);
    assert_int_equal(tls_peer_cert(tls_of(t.r.k.s), &der, &len), 0);
    assert_true(len > 200);
    free(der);
    hang_up(&t);
    t.conf.crl = t.crl;
    for (int revoked = 0; revoked < 2; revoked++) {
        make_crl(&t.m, "crl.pem", revoked ? serial : 0);
        tls_context_unref(&t.context);
        connect_to(&t);
        assert_int_equal(is_let_in(&t), !revoked);
        hang_up(&t);
    }
    maker_init(&stranger);
    EVP_PKEY *key;
    X509 *cert = make(&stranger, "client", -1, NULL, &key);
    SSL_CTX_use_certificate(t.client_ctx, cert);
    SSL_CTX_use_PrivateKey(t.client_ctx, key);
    connect_to(&t);
    assert_false(is_let_in(&t));
    hang_up(&t);
    X509_free(cert);
    EVP_PKEY_free(key);
    maker_fini(&stranger);
    talk_fini(&t);
}

static void an_optional_certificate_may_be_missing_but_not_be_wrong(void **state)
{
    (void)state;
    struct talk t;
    struct maker stranger;
    talk_init(&t);
    t.conf.ca = t.ca;
    t.conf.client_cert = TLS_CERT_OPTIONAL;
    connect_to(&t);
    assert_true(is_let_in(&t));
    hang_up(&t);
    maker_init(&stranger);
    EVP_PKEY *key;
    X509 *cert = make(&stranger, "client", -1, NULL, &key);
    SSL_CTX_use_certificate(t.client_ctx, cert);
    SSL_CTX_use_PrivateKey(t.client_ctx, key);
    connect_to(&t);
    assert_false(is_let_in(&t));
    hang_up(&t);
    X509_free(cert);
    EVP_PKEY_free(key);
    maker_fini(&stranger);
    talk_fini(&t);
}

static void the_name_of_a_certificate_is_a_whole_mqtt_string_or_nobodys(void **state)
{
    (void)state;
    static const struct {
        const char *cn;
        int cn_len;
        const char *san;
        enum tls_identity which;
        const char *name;
    } cases[] = {
        { "client 1", -1, NULL, TLS_IDENTITY_CN, "client 1" },
        { "gr\xc3\xbc\xc3\x9f", -1, NULL, TLS_IDENTITY_CN, "gr\xc3\xbc\xc3\x9f" },
        { "admin\0.evil", 11, NULL, TLS_IDENTITY_CN, NULL },
        { "a\nb", -1, NULL, TLS_IDENTITY_CN, NULL },
        { "client 1", -1, NULL, TLS_IDENTITY_SUBJECT, "CN=client 1,O=Pigeon" },
        { "x", -1, "DNS:dev.example,email:a@b.example", TLS_IDENTITY_SAN, "dev.example" },
        { "x", -1, "IP:10.0.0.1,URI:urn:dev:1", TLS_IDENTITY_SAN, "urn:dev:1" },
        { "x", -1, NULL, TLS_IDENTITY_SAN, NULL },
        { "x", -1, NULL, TLS_IDENTITY_NONE, NULL },
    };
    struct talk t;
    talk_init(&t);
    t.conf.ca = t.ca;
    t.conf.client_cert = TLS_CERT_REQUIRED;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char *name = NULL;
        present(&t, cases[i].cn, cases[i].cn_len, cases[i].san);
        connect_to(&t);
        assert_true(is_let_in(&t));
        int r = tls_peer_name(tls_of(t.r.k.s), cases[i].which, &name);
        assert_int_equal(r, cases[i].name ? 0 : -ENOENT);
        if (cases[i].name)
            assert_string_equal(name, cases[i].name);
        free(name);
        hang_up(&t);
    }
    talk_fini(&t);
}

static void goodbye_is_said_and_understood(void **state)
{
    (void)state;
    struct talk t;
    uint8_t buf[8];
    size_t n;
    talk_init(&t);
    connect_to(&t);
    assert_int_equal(shake(&t), 1);
    stream_write(t.r.k.s, "bye", 3);
    stream_close(&t.r.k.s, 0);
    net_turns(t.r.loop, 1);
    assert_int_equal(hear(&t, buf, 3), 3);
    assert_int_equal(SSL_read_ex(t.client, buf, 1, &n), 0);
    assert_int_equal(SSL_get_error(t.client, 0), SSL_ERROR_ZERO_RETURN);
    hang_up(&t);
    for (int clean = 0; clean < 2;
         clean++) { /* a lost close_notify is no error: MQTT has its own end */
        connect_to(&t);
        assert_int_equal(shake(&t), 1);
        SSL_write(t.client, "last", 4);
        if (clean)
            SSL_shutdown(t.client);
        shutdown(t.r.far, SHUT_WR);
        net_turns(t.r.loop, 4);
        got_is(&t.r, "last");
        assert_int_equal(t.r.k.n_eof, 1);
        assert_int_equal(t.r.k.n_closed, 0);
        hang_up(&t);
    }
    talk_fini(&t);
}

static void files_that_are_wrong_are_named(void **state)
{
    (void)state;
    struct talk t;
    char reason[256], bad[FILE_LEN];
    talk_init(&t);
    file_in(&t.m, "bad.pem", bad);
    t.files[0] = (struct tls_files){ bad, t.server };
    assert_int_equal(tls_context_new(&t.conf, reason, sizeof(reason), &t.context), -EINVAL);
    assert_non_null(strstr(reason, "bad.pem: No such file"));
    FILE *f = fopen(bad, "w");
    fputs("-----BEGIN CERTIFICATE-----\ngarbage\n", f);
    fclose(f);
    assert_int_equal(tls_context_new(&t.conf, reason, sizeof(reason), &t.context), -EINVAL);
    assert_non_null(strstr(reason, "certificate "));
    assert_non_null(strstr(reason, "bad.pem: "));
    t.files[0] = (struct tls_files){ t.server, t.other };
    assert_int_equal(tls_context_new(&t.conf, reason, sizeof(reason), &t.context), -EINVAL);
    assert_non_null(strstr(reason, "other.pem: key values mismatch"));
    t.files[0].key = t.server;
    t.conf.client_cert = TLS_CERT_REQUIRED;
    t.conf.ca = bad;
    assert_int_equal(tls_context_new(&t.conf, reason, sizeof(reason), &t.context), -EINVAL);
    assert_non_null(strstr(reason, "CA "));
    t.conf.ca = t.ca;
    t.conf.crl = bad;
    assert_int_equal(tls_context_new(&t.conf, reason, sizeof(reason), &t.context), -EINVAL);
    assert_non_null(strstr(reason, "revocation list "));
    t.conf.crl = NULL;
    t.conf.ciphers = "NO-SUCH";
    assert_int_equal(tls_context_new(&t.conf, reason, sizeof(reason), &t.context), -EINVAL);
    assert_non_null(strstr(reason, "NO-SUCH"));
    talk_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_both_ways_in_every_size),
        cmocka_unit_test(the_handshake_may_come_byte_by_byte),
        cmocka_unit_test(what_is_no_tls_ends_the_connection_with_a_reason),
        cmocka_unit_test(old_versions_and_renegotiation_are_refused),
        cmocka_unit_test(keys_changed_without_end_and_without_data_end_the_connection),
        cmocka_unit_test(the_name_asked_for_chooses_the_certificate),
        cmocka_unit_test(alpn_is_mqtt_or_none_but_nothing_else),
        cmocka_unit_test(a_ticket_resumes_at_the_same_listener_over_a_reload_and_nowhere_else),
        cmocka_unit_test(a_required_certificate_is_of_our_ca_and_not_revoked),
        cmocka_unit_test(an_optional_certificate_may_be_missing_but_not_be_wrong),
        cmocka_unit_test(the_name_of_a_certificate_is_a_whole_mqtt_string_or_nobodys),
        cmocka_unit_test(goodbye_is_said_and_understood),
        cmocka_unit_test(files_that_are_wrong_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
