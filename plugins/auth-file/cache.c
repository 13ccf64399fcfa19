#include "cache.h"
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>

#define WAYS 4u /* places for a digest */
#define KEY  32u

struct entry {
    uint8_t tag[CACHE_TAG];
    int64_t until_ns; /* 0: empty */
};

struct cache {
    uint8_t key[KEY];
    size_t n_sets;
    struct entry entries[];
};

int cache_new(size_t size, struct cache **r_cache)
{
    size_t n_sets = (size + WAYS - 1) / WAYS;
    struct cache *c = calloc(1, sizeof(*c) + n_sets * WAYS * sizeof(c->entries[0]));

    if (!c)
        return -ENOMEM;
    c->n_sets = n_sets;
    if (RAND_bytes(c->key, KEY) != 1) {
        free(c);
        return -ENOMEM;
    }
    *r_cache = c;
    return 0;
}

void cache_free(struct cache **cache)
{
    if (*cache)
        OPENSSL_cleanse((*cache)->key, KEY);
    free(*cache);
    *cache = NULL;
}

static void put_text(uint8_t **at, const void *text, size_t len)
{
    const uint64_t n = len;

    memcpy(*at, &n, sizeof(n));
    *at += sizeof(n);
    if (len)
        memcpy(*at, text, len);
    *at += len;
}

bool cache_tag(const struct cache *cache, const char *user, const char *hash, const void *password,
               size_t len, uint8_t r_tag[CACHE_TAG])
{
    size_t n_user = strlen(user), n_hash = strlen(hash);
    size_t size = n_user + n_hash + len + 3 * sizeof(uint64_t);
    uint8_t *text = malloc(size), *at = text;
    bool ok;

    if (!text)
        return false;
    put_text(&at, user, n_user);
    put_text(&at, hash, n_hash);
    put_text(&at, password, len);
    ok = HMAC(EVP_sha256(), cache->key, KEY, text, size, r_tag, NULL) != NULL;
    OPENSSL_cleanse(text, size);
    free(text);
    return ok;
}

/* The places of a digest; it is evenly spread, being keyed. */
static size_t set_of(const struct cache *c, const uint8_t *tag)
{
    uint64_t n;

    memcpy(&n, tag, sizeof(n));
    return (size_t)(n % c->n_sets) * WAYS;
}

bool cache_has(const struct cache *c, const uint8_t tag[CACHE_TAG], int64_t now_ns)
{
    const struct entry *set;
    bool found = false;

    if (c->n_sets == 0)
        return false;
    set = &c->entries[set_of(c, tag)];
    for (size_t i = 0; i < WAYS; i++) {
        const struct entry *e = &set[i];

        found = (CRYPTO_memcmp(e->tag, tag, CACHE_TAG) == 0 && e->until_ns > now_ns) || found;
    }
    return found;
}

void cache_put(struct cache *c, const uint8_t tag[CACHE_TAG], int64_t now_ns, int64_t ttl_ns)
{
    struct entry *set, *at;

    if (c->n_sets == 0 || ttl_ns <= 0)
        return;
    at = set = &c->entries[set_of(c, tag)];
    for (size_t i = 0; i < WAYS; i++) {
        struct entry *e = &set[i];

        if (memcmp(e->tag, tag, CACHE_TAG) == 0) {
            at = e;
            break;
        }
        if (e->until_ns < at->until_ns)
            at = e;
    }
    memcpy(at->tag, tag, CACHE_TAG);
    at->until_ns = now_ns + ttl_ns;
}
