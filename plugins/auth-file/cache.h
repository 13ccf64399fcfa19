/* cache.h - passwords that were right a moment ago, so that not every reconnect costs a slow hash.
 *
 * Keeps keyed digests of user, hash and password only; the key is random and lives in this process.
 * A changed line has another digest, so what was remembered of the old one is never found again.
 * Bounded; the owner locks. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CACHE_TAG 32

struct cache;

/* size 0: remembers nothing. 0 or -ENOMEM. */
int cache_new(size_t size, struct cache **r_cache);
void cache_free(struct cache **cache);
/* Needs no lock. false: no memory. */
bool cache_tag(const struct cache *cache, const char *user, const char *hash, const void *password,
               size_t len, uint8_t r_tag[CACHE_TAG]);
bool cache_has(const struct cache *cache, const uint8_t tag[CACHE_TAG], int64_t now_ns);
void cache_put(struct cache *cache, const uint8_t tag[CACHE_TAG], int64_t now_ns, int64_t ttl_ns);
