#include "hash.h"
#include <crypt.h>
#include <errno.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef HAVE_ARGON2
#include <argon2.h>
#endif

#define BASE64      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
#define CRYPT64     "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define DIGITS      "0123456789"
#define DIGEST_LEN  64u /* of SHA-512 */
#define DIGEST_TEXT 88u /* the same in base64 */
#define SALT_MAX    256u
#define SALT_NEW    16u
#define ITERATIONS  210000u /* OWASP's number for PBKDF2 with SHA-512 */

/* ---- Mosquitto's ----------------------------------------------------------------------- */

struct digest {
    uint8_t salt[SALT_MAX];
    size_t n_salt;
    uint8_t hash[DIGEST_LEN];
    unsigned iterations; /* 0: SHA-512 once */
};

/* Base64 with its padding, `len` characters. Bytes in `out`, 0: malformed or too long. */
static size_t decode(const char *text, size_t len, uint8_t *out, size_t size)
{
    uint8_t bytes[SALT_MAX + 4];
    size_t n = strspn(text, BASE64), pad;

    n = n < len ? n : len;
    pad = len - n;
    if (len == 0 || len % 4 || pad > 2 || len / 4 * 3 > sizeof(bytes) ||
        memcmp(text + n, "==", pad) != 0 ||
        EVP_DecodeBlock(bytes, (const uint8_t *)text, (int)len) < 0)
        return 0;
    n = len / 4 * 3 - pad;
    if (n > size)
        return 0;
    memcpy(out, bytes, n);
    return n;
}

/* "SALT$HASH", to the end. */
static bool take_digest(const char *text, struct digest *r)
{
    const char *hash = strchr(text, '$');

    if (!hash || strlen(hash + 1) != DIGEST_TEXT)
        return false;
    r->n_salt = decode(text, (size_t)(hash - text), r->salt, sizeof(r->salt));
    return r->n_salt && decode(hash + 1, DIGEST_TEXT, r->hash, DIGEST_LEN) == DIGEST_LEN;
}

static bool take_sha512(const char *hash, struct digest *r)
{
    r->iterations = 0;
    return strncmp(hash, "$6$", 3) == 0 && take_digest(hash + 3, r);
}

static bool take_pbkdf2(const char *hash, struct digest *r)
{
    size_t n;
    unsigned long value;

    if (strncmp(hash, "$7$", 3) != 0)
        return false;
    n = strspn(hash + 3, DIGITS);
    if (n == 0 || n > 9 || hash[3 + n] != '$')
        return false;
    value = strtoul(hash + 3, NULL, 10);
    r->iterations = (unsigned)value;
    return value >= 1 && value <= HASH_ITERATIONS_MAX && take_digest(hash + 3 + n + 1, r);
}

static bool make_digest(const struct digest *d, const void *password, size_t len, uint8_t *out)
{
    EVP_MD_CTX *ctx;
    bool ok;

    if (d->iterations)
        return len <= INT_MAX &&
               PKCS5_PBKDF2_HMAC(password, (int)len, d->salt, (int)d->n_salt, (int)d->iterations,
                                 EVP_sha512(), DIGEST_LEN, out) == 1;
    ctx = EVP_MD_CTX_new();
    ok = ctx && EVP_DigestInit_ex(ctx, EVP_sha512(), NULL) == 1 &&
         EVP_DigestUpdate(ctx, password, len) == 1 &&
         EVP_DigestUpdate(ctx, d->salt, d->n_salt) == 1 && EVP_DigestFinal_ex(ctx, out, NULL) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

static bool verify_digest(const struct digest *d, const void *password, size_t len)
{
    uint8_t made[DIGEST_LEN];
    bool same =
        make_digest(d, password, len, made) && CRYPTO_memcmp(made, d->hash, DIGEST_LEN) == 0;

    OPENSSL_cleanse(made, sizeof(made));
    return same;
}

static int text_of_digest(unsigned iterations, const void *password, size_t len, char *r_hash)
{
    struct digest d = { .n_salt = SALT_NEW, .iterations = iterations };
    char salt[SALT_NEW * 2], hash[DIGEST_TEXT + 1];

    if (RAND_bytes(d.salt, SALT_NEW) != 1 || !make_digest(&d, password, len, d.hash))
        return -ENOMEM;
    EVP_EncodeBlock((uint8_t *)salt, d.salt, SALT_NEW);
    EVP_EncodeBlock((uint8_t *)hash, d.hash, DIGEST_LEN);
    if (iterations)
        snprintf(r_hash, HASH_MAX, "$7$%u$%s$%s", iterations, salt, hash);
    else
        snprintf(r_hash, HASH_MAX, "$6$%s$%s", salt, hash);
    return 0;
}

/* ---- Argon2id -------------------------------------------------------------------------- */

static bool is_argon2(const char *hash)
{
    return strncmp(hash, "$argon2", 7) == 0;
}

#ifdef HAVE_ARGON2
#define ARGON2_SALT   16u
#define ARGON2_HASH   32u
#define ARGON2_TIME   3u
#define ARGON2_MEMORY 65536u /* KiB; RFC 9106's second choice, with fewer lanes */
#define ARGON2_LANES  1u

/* `NAME=NUMBER` and what ends it; the rest, NULL: something else. */
static const char *take_number(const char *s, const char *name, char end, unsigned long max)
{
    size_t n;

    if (!s || strncmp(s, name, strlen(name)) != 0)
        return NULL;
    s += strlen(name);
    n = strspn(s, DIGITS);
    if (n == 0 || n > 10 || s[n] != end || strtoul(s, NULL, 10) > max || strtoul(s, NULL, 10) == 0)
        return NULL;
    return s + n + 1;
}

static const char *argon2_fault(const char *hash)
{
    const char *s = hash;
    size_t n;

    if (strncmp(hash, "$argon2id$", 10) != 0)
        return "of Argon2 only argon2id is known";
    s = take_number(s, "$argon2id$v=", '$', 19);
    s = take_number(s, "m=", ',', 4u << 20); /* KiB: 4 GiB */
    s = take_number(s, "t=", ',', 1000000);
    s = take_number(s, "p=", '$', 255);
    if (!s)
        return "the parameters of the argon2id hash are malformed";
    n = strspn(s, BASE64);
    if (n < 11 || n > 86 || s[n] != '$')
        return "the salt of the argon2id hash is malformed";
    s += n + 1;
    n = strspn(s, BASE64);
    return n < 16 || n > 171 || s[n] ? "the argon2id hash is cut off or malformed" : NULL;
}

static bool argon2_verify_text(const char *hash, const void *password, size_t len)
{
    return argon2id_verify(hash, password, len) == ARGON2_OK;
}

static int argon2_make(const void *password, size_t len, char *r_hash)
{
    uint8_t salt[ARGON2_SALT];

    if (RAND_bytes(salt, sizeof(salt)) != 1 ||
        argon2id_hash_encoded(ARGON2_TIME, ARGON2_MEMORY, ARGON2_LANES, password, len, salt,
                              sizeof(salt), ARGON2_HASH, r_hash, HASH_MAX) != ARGON2_OK)
        return -ENOMEM;
    return 0;
}
#else
static const char *argon2_fault(const char *hash)
{
    (void)hash;
    return "an Argon2 hash, and this build is without libargon2";
}

static bool argon2_verify_text(const char *hash, const void *password, size_t len)
{
    (void)hash, (void)password, (void)len;
    return false;
}

static int argon2_make(const void *password, size_t len, char *r_hash)
{
    (void)password, (void)len, (void)r_hash;
    return -ENOTSUP;
}
#endif

/* ---- crypt(3) -------------------------------------------------------------------------- */

/* The end of what crypt(3) makes is the hash; its length tells a whole one from one cut off. */
static const struct {
    const char *prefix;
    size_t n_hash;
} crypts[] = {
    { "$y$", 43 },  { "$gy$", 43 }, { "$2a$", 53 }, { "$2b$", 53 },
    { "$2y$", 53 }, { "$6$", 86 },  { "$5$", 43 },
};

static const char *crypt_fault(const char *hash)
{
    const char *last = strrchr(hash, '$');

    for (size_t i = 0; i < sizeof(crypts) / sizeof(crypts[0]); i++) {
        if (strncmp(hash, crypts[i].prefix, strlen(crypts[i].prefix)) != 0)
            continue;
        if (strlen(last + 1) != crypts[i].n_hash || strspn(last + 1, CRYPT64) != crypts[i].n_hash ||
            crypt_checksalt(hash) != CRYPT_SALT_OK)
            return "the hash is cut off or malformed";
        return NULL;
    }
    return "not a hash that is known";
}

/* crypt(3) takes text: a password with a NUL in it would be cut there. NULL: it cannot be hashed.
 */
static char *text_of(const void *password, size_t len)
{
    char *text;

    if (len >= CRYPT_MAX_PASSPHRASE_SIZE || (len && memchr(password, '\0', len)))
        return NULL;
    text = malloc(len + 1);
    if (!text)
        return NULL;
    if (len)
        memcpy(text, password, len);
    text[len] = '\0';
    return text;
}

static int crypt_make(const char *setting, const void *password, size_t len, char *r_hash)
{
    char *text = text_of(password, len);
    struct crypt_data *data = calloc(1, sizeof(*data));
    const char *made = text && data ? crypt_rn(text, setting, data, (int)sizeof(*data)) : NULL;
    int r = !text ? -EINVAL : !data ? -ENOMEM : made && made[0] == '$' ? 0 : -ENOTSUP;

    if (r == 0)
        snprintf(r_hash, HASH_MAX, "%s", made);
    if (text)
        OPENSSL_cleanse(text, len);
    if (data)
        OPENSSL_cleanse(data, sizeof(*data));
    free(data);
    free(text);
    return r;
}

static bool crypt_verify(const char *hash, const void *password, size_t len)
{
    char made[HASH_MAX];

    return crypt_make(hash, password, len, made) == 0 && strlen(made) == strlen(hash) &&
           CRYPTO_memcmp(made, hash, strlen(hash)) == 0;
}

static int crypt_new(const char *prefix, unsigned long cost, const void *password, size_t len,
                     char *r_hash)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];

    if (!crypt_gensalt_rn(prefix, cost, NULL, 0, setting, sizeof(setting)))
        return -ENOTSUP;
    return crypt_make(setting, password, len, r_hash);
}

/* ---- all ------------------------------------------------------------------------------- */

const char *hash_fault(const char *hash)
{
    struct digest d;

    if (hash[0] == '\0')
        return "the hash is missing";
    if (hash[0] != '$')
        return "not a hash: passwords are not kept as they are";
    if (strlen(hash) >= HASH_MAX)
        return "the hash is too long";
    if (is_argon2(hash))
        return argon2_fault(hash);
    if (take_sha512(hash, &d) || take_pbkdf2(hash, &d))
        return NULL;
    if (strncmp(hash, "$7$", 3) == 0)
        return "the hash is cut off or malformed";
    return crypt_fault(hash);
}

bool hash_verify(const char *hash, const void *password, size_t len)
{
    struct digest d;

    if (!password)
        password = "";
    /* What made the file took text. HMAC, and so PBKDF2, takes "x" and "x\0" for the same key. */
    if (len && memchr(password, '\0', len))
        return false;
    if (is_argon2(hash))
        return argon2_verify_text(hash, password, len);
    if (take_sha512(hash, &d) || take_pbkdf2(hash, &d))
        return verify_digest(&d, password, len);
    return crypt_verify(hash, password, len);
}

static const struct {
    const char *word;
    enum hash_kind kind;
} kinds[] = {
    { "pbkdf2", HASH_PBKDF2 },     { "sha512", HASH_SHA512 }, { "argon2id", HASH_ARGON2ID },
    { "yescrypt", HASH_YESCRYPT }, { "bcrypt", HASH_BCRYPT },
};

bool hash_kind_of(const char *word, enum hash_kind *r_kind)
{
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kinds[i].word, word) == 0) {
            *r_kind = kinds[i].kind;
            return true;
        }
    return false;
}

enum hash_kind hash_kind_preset(void)
{
#ifdef HAVE_ARGON2
    return HASH_ARGON2ID;
#else
    return HASH_PBKDF2;
#endif
}

int hash_make(enum hash_kind kind, unsigned iterations, const void *password, size_t len,
              char r_hash[HASH_MAX])
{
    switch (kind) {
    case HASH_PBKDF2:
        if (iterations > HASH_ITERATIONS_MAX)
            return -EINVAL;
        return text_of_digest(iterations ? iterations : ITERATIONS, password, len, r_hash);
    case HASH_SHA512: return text_of_digest(0, password, len, r_hash);
    case HASH_ARGON2ID: return argon2_make(password, len, r_hash);
    case HASH_YESCRYPT: return crypt_new("$y$", 0, password, len, r_hash);
    case HASH_BCRYPT:
        if (len > 72)
            return -EINVAL;
        return crypt_new("$2b$", 12, password, len, r_hash);
    }
    return -EINVAL;
}
