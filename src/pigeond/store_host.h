/* store_host.h - the configured store, opened without a broker: found, judged and loaded as for a
 * start, but no other plugin takes part. One thread, one loop that turns only while somebody waits.
 *
 * Everything goes through hooks/store.h, so any plugin with pigeon.store/1 will do. */
#pragma once
#include "config/config.h"
#include "hooks/store.h"

#define STORE_N_KINDS 6
/* In the order in which the broker reads them [S5]. */
extern const uint32_t store_kinds[STORE_N_KINDS];

struct store_host {
    struct config *config;
    struct log *log; /* borrowed */
    struct loop_group *loops;
    struct hooks *hooks;
    struct hook_loop *hl;
    const char *name; /* of the store in the configuration */
};

/* An enum exit_code; what is wrong has been said on stderr, then nothing is open. */
int store_host_open(struct config *config, struct log *log, struct store_host *r_host);
void store_host_close(struct store_host *host);
/* Hands out answers of the store; waits for one if there is none yet. */
void store_host_turn(struct store_host *host);
/* *r_has: there is a row. A scan that fails: negative. */
int store_host_has(struct store_host *host, uint32_t what, uint64_t session, bool *r_has);
