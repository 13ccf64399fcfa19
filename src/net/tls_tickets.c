#include "net/tls_priv.h"
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LIFE_S   (12 * 3600)
#define NAME_LEN 16
#define N_KEYS   2 /* the one in use, the one before */

struct key {
    unsigned char name[NAME_LEN], cipher[32], mac[32];
    time_t born; /* monotonic; 0: none */
};

struct tls_tickets {
    pthread_mutex_t lock;
    struct key keys[N_KEYS];
};

static time_t now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec + 1;
}

static bool draw(struct key *k)
{
    if (RAND_bytes(k->name, sizeof(k->name)) != 1 ||
        RAND_priv_bytes(k->cipher, sizeof(k->cipher)) != 1 ||
        RAND_priv_bytes(k->mac, sizeof(k->mac)) != 1)
        return false;
    k->born = now_s();
    return true;
}

struct tls_tickets *tls_tickets_new(void)
{
    struct tls_tickets *t = calloc(1, sizeof(*t));

    if (!t || !draw(&t->keys[0])) {
        free(t);
        return NULL;
    }
    pthread_mutex_init(&t->lock, NULL);
    return t;
}

void tls_tickets_free(struct tls_tickets **tickets)
{
    struct tls_tickets *t = *tickets;

    *tickets = NULL;
    if (!t)
        return;
    pthread_mutex_destroy(&t->lock);
    OPENSSL_cleanse(t->keys, sizeof(t->keys));
    free(t);
}

/* A key that cannot be replaced goes on to be used: no randomness is no reason to refuse clients
 * who come back. */
static void rotate(struct tls_tickets *t)
{
    struct key fresh;

    if (now_s() - t->keys[0].born < LIFE_S || !draw(&fresh))
        return;
    t->keys[1] = t->keys[0];
    t->keys[0] = fresh;
    OPENSSL_cleanse(&fresh, sizeof(fresh));
}

static bool find(struct tls_tickets *t, const unsigned char *name, struct key *r_key, bool *r_old)
{
    for (int i = 0; i < N_KEYS; i++) {
        const struct key *k = &t->keys[i];

        if (!k->born || now_s() - k->born >= N_KEYS * LIFE_S ||
            CRYPTO_memcmp(k->name, name, NAME_LEN) != 0)
            continue;
        *r_key = *k;
        *r_old = i > 0;
        return true;
    }
    return false;
}

static bool set_up(const struct key *k, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac,
                   int encrypt)
{
    char digest[] = "SHA256";
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)k->mac,
                                          sizeof(k->mac)),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
        OSSL_PARAM_construct_end(),
    };

    return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, k->cipher, iv, encrypt) == 1 &&
           EVP_MAC_CTX_set_params(mac, params) == 1;
}

/* As SSL_CTX_set_tlsext_ticket_key_evp_cb wants it: -1 an error, 0 unknown, 1 fine, 2 fine but to
 * be renewed. */
int tls_tickets_key(struct tls_tickets *t, unsigned char *name, unsigned char *iv,
                    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
    struct key k;
    bool is_old = false, is_known = true;
    int r = 0;

    pthread_mutex_lock(&t->lock);
    rotate(t);
    if (encrypt)
        k = t->keys[0];
    else
        is_known = find(t, name, &k, &is_old);
    pthread_mutex_unlock(&t->lock);
    if (!is_known)
        return 0;
    if (encrypt) {
        memcpy(name, k.name, NAME_LEN);
        r = RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) == 1 ? 0 : -1;
    }
    if (r == 0)
        r = set_up(&k, iv, cipher, mac, encrypt) ? 1 : -1;
    OPENSSL_cleanse(&k, sizeof(k));
    return r == 1 && is_old ? 2 : r;
}
