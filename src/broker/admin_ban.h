/* admin_ban.h - who may not connect: client ids, user names, addresses and networks; in memory, any
 * thread.
 *
 * Asked at each CONNECT before any plugin. While nobody is banned that is one atomic load. */
#pragma once
#include "broker/broker.h"
#include "hooks/host_admin.h"

struct bans;

int bans_new(struct broker *b, struct bans **r_bans);
void bans_free(struct bans **bans);
/* PIGEON_OK, PIGEON_E_INVAL (address), PIGEON_E_NOMEM, PIGEON_E_FULL. */
int32_t bans_put(struct bans *bans, const pigeon_ban *ban, const char *by);
/* PIGEON_OK, PIGEON_E_INVAL, PIGEON_E_UNKNOWN. */
int32_t bans_remove(struct bans *bans, uint32_t kind, struct str value);
/* true: with the reason in `text`. is_hit: count it. */
bool bans_apply(struct bans *bans, const struct admin_who *who, bool is_hit, char *text,
                size_t size);
/* Rows of pigeon_ban from number *at on; 1: there are more. */
int bans_list(struct bans *bans, uint64_t *at, uint32_t max, struct rows *rows);
