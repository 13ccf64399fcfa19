/* client_slots.h - what plugins keep about one client: a pointer per plugin, and pushed rules;
 * private to hooks/.
 *
 * Shared by an identity and those made from it, counted by their loop. With the last reference
 * client_free() is called for every pointer that is set, on the loop of the instance. A pointer is
 * touched only where its plugin is called: on the client's loop, at home for a SINGLE plugin, on
 * the client's worker; questions under way keep it alive. */
#pragma once
#include "hooks/acl.h"
#include "hooks/hooks.h"
#include "hooks/subject.h"

struct client_slots {
    uint32_t refs;
    uint32_t loop;
    struct hooks *hooks; /* NULL: `slot` is not there yet */
    void **slot;         /* by plugin index */
    uint64_t key; /* says which worker the client has; never changes, as `slot` would be lost */
    struct acl acl;
    struct mail mail;
};

struct client_slots *client_slots_make(struct identity *who, struct hooks *hooks);
/* Made on the first question about the client; NULL: no memory. */
static inline struct client_slots *client_slots_of(struct identity *who, struct hooks *hooks)
{
    return who->slots && who->slots->slot ? who->slots : client_slots_make(who, hooks);
}

/* Which worker answers for the client. */
uint64_t client_key(const struct identity *who, const struct hooks *hooks);
