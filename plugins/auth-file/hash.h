/* hash.h - password hashes as text: Mosquitto's (`$6$`, `$7$`), Argon2id, and those of crypt(3).
 *
 * No state. Verifying takes as long as the hash was made to take, up to seconds: never on an event
 * loop. Compares in constant time; copies of passwords are wiped. */
#pragma once
#include <stdbool.h>
#include <stddef.h>

#define HASH_ITERATIONS_MAX 100000000u /* of PBKDF2 */

#define HASH_MAX 512 /* longest hash, with the NUL */

enum hash_kind {
    HASH_PBKDF2,   /* $7$ITERATIONS$SALT$HASH, of Mosquitto 2 */
    HASH_SHA512,   /* $6$SALT$HASH in base64, of Mosquitto 1: one round, kept for old files */
    HASH_ARGON2ID, /* $argon2id$v=19$m=...,t=...,p=...$SALT$HASH */
    HASH_YESCRYPT, /* $y$, as in /etc/shadow */
    HASH_BCRYPT,   /* $2b$; passwords end after 72 bytes */
};

/* NULL: a hash that hash_verify knows, complete; else why not. */
const char *hash_fault(const char *hash);
/* Is this the password? false also when there is no memory. */
bool hash_verify(const char *hash, const void *password, size_t len);
/* false: no such word, or not in this build. */
bool hash_kind_of(const char *word, enum hash_kind *r_kind);
enum hash_kind hash_kind_preset(void);
/* Of a new salt. iterations: of PBKDF2, 0: the default. 0; -EINVAL: the password cannot be hashed
 * this way (a NUL, or too long); -ENOMEM; -ENOTSUP. */
int hash_make(enum hash_kind kind, unsigned iterations, const void *password, size_t len,
              char r_hash[HASH_MAX]);
