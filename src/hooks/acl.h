/* acl.h - rules and cached verdicts that plugins have pushed for one client (X3); private to
 * hooks/, but for the question of the deliver path (subject.h).
 *
 * They hang on the client's slots and are touched by the client's loop alone. A rule belongs to a
 * plugin's chain entry: it answers in that entry's place and never skips another one. */
#pragma once
#include "base/str.h"
#include "hooks/hooks.h"

struct acl_rule;
struct acl_cached;

struct acl {
    struct acl_rule *rules, **last; /* in the order they were pushed */
    struct acl_cached *cache;       /* array of ACL_CACHE, NULL: none yet */
    uint32_t next_cache;
    bool armed; /* a deny rule for SUBSCRIBE only intersected a granted filter: look at each
                   delivery */
    uint32_t n_deliver;
};

void acl_init(struct acl *acl);
void acl_fini(struct acl *acl);
/* Everything goes over to `to`, which has nothing yet. */
void acl_move(struct acl *to, struct acl *from);
/* 0 or -ENOMEM. */
int acl_push(struct acl *acl, uint32_t plugin, struct str filter, uint32_t access, int32_t verdict);
/* Drops rules and cached verdicts of one plugin. */
void acl_drop(struct acl *acl, uint32_t plugin);
/* The verdict of the plugin's rules for a message or filter: PIGEON_ALLOW, PIGEON_DENY, or
 * PIGEON_NEXT when none applies. hook: PIGEON_HOOK_AUTHORIZE_*. */
int32_t acl_decide(struct acl *acl, uint32_t plugin, uint32_t hook, struct str topic);
/* Has the plugin pushed any rule for this kind of access? */
bool acl_has(const struct acl *acl, uint32_t plugin, uint32_t access);
/* Has some plugin said what this client may do, so that the rest is refused? */
bool acl_allows_some(const struct acl *acl, uint32_t access);
uint32_t acl_access(uint32_t hook);

struct acl_key {
    uint32_t plugin, hook;
    uint8_t qos, retain;
    struct str topic;
};
void acl_remember(struct acl *acl, const struct acl_key *key, int32_t verdict, uint64_t until_ms);
/* PIGEON_NEXT with *r_hit false: nothing is remembered. */
int32_t acl_recall(struct acl *acl, const struct acl_key *key, uint64_t now_ms, bool *r_hit);
