/* store_priv.h - the store door as the loader of plugins sees it; for the files of hooks/ only.
 *
 * `struct store` belongs to `struct hooks`: made when the store plugin's instance was created,
 * freed after that instance was destroyed, before the loop group. It knows the plugin by its table
 * and `self` alone. */
#pragma once
#include "hooks/hooks.h"
#include "hooks/store.h"

struct store;      /* shared by all loops */
struct store_loop; /* one loop's part */

struct store_setup {
    const pigeon_store *table; /* of the plugin; constant */
    void *self;                /* its instance; NULL until store_attach */
    struct loop_group *loops;
    struct log *log;
    const struct hooks_ops *ops; /* store_failed and store_room are used; both may be NULL */
    void *broker;
    uint32_t batch_max_ops; /* 0: default */
    const struct instance *inst; /* who is blamed for what its calls do; NULL: nobody */
};

/* 0, -ENOMEM, -EINVAL (a table that is too short, without info, submit or scan). The plugin is not
 * called. */
int store_new(const struct store_setup *setup, struct store **r_store);
/* The instance exists: asks it for info. Before the first unit. 0 or -EINVAL. Split from store_new
 * because a plugin may call the host's store table from within its create(). */
int store_attach(struct store *store, void *self);
/* The instance is about to be destroyed: the plugin is not called any more, units end with -EIO. No loop runs. */
void store_detach(struct store *store);
/* Drops what was never answered, without calling `done`. */
void store_free(struct store **store);
/* Another batch_max_ops, 0: default. Every loop stands still. */
void store_set_batch(struct store *store, uint32_t max_ops);
struct store_loop *store_loop_of(struct store *store, uint32_t loop);
const pigeon_store_info *store_get_info(const struct store *store);

/* Does this token belong to a batch or a scan? Tokens of questions have this bit clear. */
#define STORE_TOKEN_BIT (UINT64_C(1) << 63)
static inline bool store_owns_token(pigeon_token token)
{
    return token & STORE_TOKEN_BIT;
}
/* host->complete() with such a token. [any] */
int32_t store_complete(struct store *store, pigeon_token token, int32_t status);

/* What host->get(PIGEON_IF_STORE_HOST) gives to the store plugin. `inst` goes to instance_store().
 */
extern const pigeon_store_host store_host_table;

/* By the loader: how to get from its structs to ours. instance_store: NULL for other plugins'
 * instances. */
struct store *hooks_store(const struct hooks *hooks);
struct store_loop *hook_loop_store(const struct hook_loop *hl);
struct store *instance_store(void *inst);
