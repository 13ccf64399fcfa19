/* tls_priv.h - what the two halves of TLS share: reading of files, and the bytes. */
#pragma once
#include "net/tls.h"
#include <openssl/ssl.h>
#include <stdatomic.h>

struct tls_context {
    atomic_uint refs;
    SSL_CTX **contexts; /* one per certificate; the first is the default */
    uint32_t n_contexts;
    BIO_METHOD *bio;
    struct tls_tickets *tickets;
    bool websocket;
    enum tls_identity identity;
};

/* How OpenSSL reaches the layer below. NULL: no memory. */
BIO_METHOD *tls_bio_new(void);
int tls_tickets_key(struct tls_tickets *t, unsigned char *name, unsigned char *iv,
                    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt);
