/* client_slots.h - what plugins keep about one client: a pointer per plugin, and pushed rules;
 * private to hooks/.
 *
 * Shared by an identity and those made from it, counted by their loop, which knows all of them.
 * With the last reference client_free() is called for every pointer that is set, on the loop of the
 * instance. A pointer is touched only where its plugin is called: on the client's loop, at home for
 * a SINGLE plugin, on the client's worker; questions under way keep it alive. */
#pragma once
#include "base/list.h"
#include "hooks/acl.h"
#include "hooks/hooks.h"
#include "hooks/subject.h"

struct plugin;

struct client_slots {
    uint32_t refs;
    uint32_t loop;
    struct hooks *hooks; /* NULL: `slot` is not there yet */
    void **slot;         /* by plugin index */
    uint64_t key;        /* says which worker the client has; never changes, as `slot` would be lost */
    uint32_t *revoked;   /* by plugin index: how often it has taken back what it had said */
    uint32_t n_revoked;  /* sum of them, and of rules that replaced others */
    struct list link;    /* clients.all of its loop */
    struct list names;   /* identity.same: those that share this */
    struct acl acl;
    struct mail mail;
};

/* One loop's clients; part of struct hook_loop. */
struct clients {
    struct list all;       /* client_slots */
    uint32_t *invalidated; /* by plugin index: orders that have been carried out here */
};

/* 0 or -ENOMEM. */
int clients_init(struct hook_loop *hl);
/* Its first question is put: from now on the loop knows it. */
void clients_add(struct client_slots *cs);
/* What is left stays with whoever has references to it. */
void clients_fini(struct hook_loop *hl);
/* hooks_ops.invalidate comes after it: what the plugin has said about the clients of this loop that
 * are meant (empty: whatever it is) does not hold any more. */
void clients_revoke(struct hook_loop *hl, struct plugin *plugin, struct str id,
                    struct str username);
/* The loop has other chains, and stands still: rules of a plugin without a place among them forbid
 * nothing any more, so they are taken back. hooks_ops.invalidate comes after it, too. */
void clients_take_chains(struct hook_loop *hl);

struct client_slots *client_slots_new(uint32_t loop);
struct client_slots *client_slots_make(struct identity *who, struct hooks *hooks);
/* Made on the first question about the client; NULL: no memory. */
static inline struct client_slots *client_slots_of(struct identity *who, struct hooks *hooks)
{
    return who->slots && who->slots->slot ? who->slots : client_slots_make(who, hooks);
}

/* Which worker answers for the client. */
uint64_t client_key(const struct identity *who, const struct hooks *hooks);
