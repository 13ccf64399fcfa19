/* acl.h - what plugins have said about one client beforehand: rules and remembered verdicts (X3);
 * private to hooks/.
 *
 * They hang on the client's slots and are touched by the client's loop alone. Both belong to a
 * plugin's chain entry: they answer in that entry's place and never skip another one. Nothing here
 * knows a chain; ask_rules.c asks entry by entry, ask_flat.c makes one table of all. */
#pragma once
#include "base/str.h"
#include "hooks/hooks.h"

struct acl_flat;
struct acl_cached;

struct acl_rule {
    struct acl_rule *next;
    uint32_t access; /* PIGEON_ACL_* */
    int32_t verdict; /* PIGEON_ALLOW, PIGEON_DENY */
    struct str filter;
    char data[];
};

/* The rules of one plugin, in the order in which they were pushed. */
struct acl_entry {
    struct acl_entry *next;
    uint32_t plugin;
    uint32_t invalidated; /* while it changes loops: see identity_arrive */
    struct acl_rule *rules, **last;
    uint32_t access; /* what some rule is about */
    uint32_t allows; /* what some rule allows */
    uint32_t since;  /* client_slots.n_revoked when a re-authentication replaced them; 0: never */
    bool is_armed;   /* a deny rule meets a granted filter without covering it: its rules for
                        SUBSCRIBE are looked at for each delivery, too */
    bool is_fresh;   /* the same, while live filters have not been asked about since it has them */
    bool is_revoked; /* there were rules, and they were taken back: denied until there are new ones
                      */
};

struct acl {
    struct acl_entry *entries;  /* NULL: nobody has pushed anything */
    struct acl_cached **cached; /* array of ACL_CACHE_MAX; NULL: none yet */
    uint32_t next_cached;
    uint32_t n_holds;         /* acl_hold without its acl_unhold */
    bool checks_deliver;      /* some entry has something to say about deliveries */
    bool is_revoked;          /* some entry is */
    struct acl_flat *flat[3]; /* ask_flat.c: publish, subscribe, deliver */
};

#define ACL_CACHE_MAX 32u   /* remembered verdicts per client */
#define ACL_KEY_MAX   1024u /* what is longer is asked again */

void acl_init(struct acl *acl);
void acl_fini(struct acl *acl);
/* Everything but the cache goes over to `to`, which has nothing yet. */
void acl_move(struct acl *to, struct acl *from);
/* PIGEON_ACL_* of PIGEON_HOOK_AUTHORIZE_*; 0 of another hook. */
uint32_t acl_access(uint32_t hook);

/* 0 or -ENOMEM. */
int acl_push(struct acl *acl, uint32_t plugin, struct str filter, uint32_t access, int32_t verdict);
/* The plugin's rules make room for new ones, which count from `since` on; also ends a revocation.
 * 0 or -ENOMEM. */
int acl_replace(struct acl *acl, uint32_t plugin, uint32_t since);
/* The plugin does not stand by it any more: remembered verdicts go, and where there were rules the
 * entry denies everything from now on. Without rules that forbade something the client could do
 * more than before, so nothing is not enough. */
void acl_revoke(struct acl *acl, uint32_t plugin);
/* NULL: the plugin has pushed nothing. */
const struct acl_entry *acl_entry_of(const struct acl *acl, uint32_t plugin);
/* The verdict of the entry's rules for a topic or, SUBSCRIBE, a filter; PIGEON_NEXT: none applies.
 */
int32_t acl_decide(const struct acl_entry *entry, uint32_t access, struct str topic);
/* This filter was granted although the entry was asked. */
void acl_arm(struct acl *acl, uint32_t plugin, struct str filter);
/* Live filters are asked about again. Until they are, deny rules that replaced others after `since`
 * hold for deliveries whatever filter they meet. Each hold ends by its acl_unhold. */
void acl_hold(struct acl *acl, uint32_t since);
void acl_unhold(struct acl *acl);
/* Do the entry's rules for SUBSCRIBE take part in deliveries? */
static inline bool acl_is_armed(const struct acl_entry *e)
{
    return e->is_armed || e->is_fresh;
}
/* Has some plugin said what this client may do, so that the rest is refused? */
bool acl_allows_some(const struct acl *acl, uint32_t access);
/* Rules have changed: the tables made of them go. */
void acl_unflatten(struct acl *acl);

/* ---- remembered verdicts ---- */

/* Everything a plugin is shown that may differ from one question about the client to the next, but
 * for payload, properties and expiry: who decides by those must not let be remembered. */
struct acl_key {
    uint32_t len;
    uint8_t bytes[ACL_KEY_MAX];
};
/* false: too long. */
bool acl_key_of_message(struct acl_key *key, uint32_t plugin, uint32_t hook, const pigeon_msg *msg);
bool acl_key_of_sub(struct acl_key *key, uint32_t plugin, const pigeon_sub *sub);

struct acl_verdict {
    int32_t verdict;
    uint8_t reason;   /* of a denial; 0: none was given */
    const char *text; /* never NULL */
};
void acl_remember(struct acl *acl, const struct acl_key *key, const struct acl_verdict *verdict,
                  uint64_t until_ms);
/* false: nothing is remembered. The text is valid until the next change. */
bool acl_recall(struct acl *acl, const struct acl_key *key, uint64_t now_ms,
                struct acl_verdict *r_verdict);
