/* tally.h - how many connections there are by client address and by listener. One table for all
 * loops under one lock, taken when a connection comes, is accepted by CONNACK, and goes. */
#pragma once
#include "base/hash.h"
#include "base/map.h"
#include "base/str.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct tally; /* one key; lives as long as a connection is counted in it */

struct tally_table {
    pthread_mutex_t lock;
    struct map map;
};

void tally_init(struct tally_table *t, const struct hash_key *key);
void tally_fini(struct tally_table *t);
/* [any] Counts one more connection, as pending. 0: no limit. 0 and *r_tally; -EDQUOT: a limit is
 * reached; -ENOMEM. */
int tally_enter(struct tally_table *t, struct str key, uint64_t max, uint64_t max_pending,
                struct tally **r_tally);
/* The key, as long as the caller is counted in it. */
struct str tally_key(const struct tally *tally);
/* [any] It is no longer pending. */
void tally_settle(struct tally_table *t, struct tally *tally);
/* [any] It is gone. Sets *tally to NULL; NULL in it is fine. */
void tally_leave(struct tally_table *t, struct tally **tally, bool is_pending);
