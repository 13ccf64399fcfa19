/* hash.h - keyed SipHash-1-3 for tables whose keys clients choose. The key is random per process,
 * made once by hash_key_init() before threads start. */
#pragma once
#include <stddef.h>
#include <stdint.h>

struct hash_key {
    uint64_t k0, k1;
};

/* Fills the key from the kernel's random source; 0 or -EIO. */
int hash_key_init(struct hash_key *r_key);
uint64_t hash_bytes(const struct hash_key *key, const void *data, size_t len);
