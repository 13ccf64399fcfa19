#include "hooks/acl.h"
#include "mqtt/topic.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* ---- entries ------------------------------------------------------------------------- */

void acl_init(struct acl *acl)
{
    *acl = (struct acl){ 0 };
}

static void drop_rules(struct acl_entry *e)
{
    while (e->rules) {
        struct acl_rule *rule = e->rules;

        e->rules = rule->next;
        free(rule);
    }
    e->last = &e->rules;
    e->access = e->allows = 0;
}

void acl_unflatten(struct acl *acl)
{
    for (uint32_t i = 0; i < sizeof(acl->flat) / sizeof(acl->flat[0]); i++) {
        free(acl->flat[i]);
        acl->flat[i] = NULL;
    }
}

void acl_fini(struct acl *acl)
{
    while (acl->entries) {
        struct acl_entry *e = acl->entries;

        acl->entries = e->next;
        drop_rules(e);
        free(e);
    }
    for (uint32_t i = 0; acl->cached && i < ACL_CACHE_MAX; i++)
        free(acl->cached[i]);
    free(acl->cached);
    acl_unflatten(acl);
    acl_init(acl);
}

void acl_move(struct acl *to, struct acl *from)
{
    to->entries = from->entries;
    to->checks_deliver = from->checks_deliver;
    to->is_revoked = from->is_revoked;
    from->entries = NULL;
    acl_fini(from);
}

uint32_t acl_access(uint32_t hook)
{
    switch (hook) {
    case PIGEON_HOOK_AUTHORIZE_PUBLISH:
    case PIGEON_HOOK_AUTHORIZE_WILL: return PIGEON_ACL_PUBLISH;
    case PIGEON_HOOK_AUTHORIZE_SUBSCRIBE: return PIGEON_ACL_SUBSCRIBE;
    case PIGEON_HOOK_AUTHORIZE_DELIVER: return PIGEON_ACL_DELIVER;
    default: return 0;
    }
}

static struct acl_entry *find(const struct acl *acl, uint32_t plugin)
{
    struct acl_entry *e = acl->entries;

    while (e && e->plugin != plugin)
        e = e->next;
    return e;
}

const struct acl_entry *acl_entry_of(const struct acl *acl, uint32_t plugin)
{
    return find(acl, plugin);
}

static void changed(struct acl *acl)
{
    acl->checks_deliver = acl->is_revoked = false;
    for (const struct acl_entry *e = acl->entries; e; e = e->next) {
        acl->is_revoked = acl->is_revoked || e->is_revoked;
        acl->checks_deliver = acl->checks_deliver || e->is_revoked || acl_is_armed(e) ||
                              (e->access & PIGEON_ACL_DELIVER);
    }
    acl_unflatten(acl);
}

/* NULL: no memory. */
static struct acl_entry *make(struct acl *acl, uint32_t plugin)
{
    struct acl_entry *e = find(acl, plugin);

    if (e)
        return e;
    e = calloc(1, sizeof(*e));
    if (!e)
        return NULL;
    e->plugin = plugin;
    e->last = &e->rules;
    e->next = acl->entries;
    acl->entries = e;
    return e;
}

int acl_push(struct acl *acl, uint32_t plugin, struct str filter, uint32_t access, int32_t verdict)
{
    struct acl_rule *rule = malloc(sizeof(*rule) + filter.len + 1);
    struct acl_entry *e = rule ? make(acl, plugin) : NULL;

    if (!rule || !e) {
        free(rule);
        return -ENOMEM;
    }
    *rule = (struct acl_rule){ .access = access, .verdict = verdict };
    if (filter.len)
        memcpy(rule->data, filter.ptr, filter.len);
    rule->data[filter.len] = '\0';
    rule->filter = str_make(rule->data, filter.len);
    *e->last = rule;
    e->last = &rule->next;
    e->access |= access;
    if (verdict == PIGEON_ALLOW)
        e->allows |= access;
    changed(acl);
    return 0;
}

int acl_replace(struct acl *acl, uint32_t plugin, uint32_t since)
{
    struct acl_entry *e = make(acl, plugin);

    if (!e)
        return -ENOMEM;
    drop_rules(e);
    e->since = since;
    e->is_revoked = false;
    changed(acl);
    return 0;
}

static bool denies_subscriptions(const struct acl_entry *e)
{
    for (const struct acl_rule *rule = e->rules; rule; rule = rule->next)
        if (rule->verdict == PIGEON_DENY && (rule->access & PIGEON_ACL_SUBSCRIBE))
            return true;
    return false;
}

void acl_hold(struct acl *acl, uint32_t since)
{
    bool any = false;

    acl->n_holds++;
    for (struct acl_entry *e = acl->entries; e; e = e->next)
        if (!e->is_fresh && e->since > since && denies_subscriptions(e))
            any = e->is_fresh = true;
    if (any)
        changed(acl);
}

void acl_unhold(struct acl *acl)
{
    bool any = false;

    assert(acl->n_holds > 0);
    if (--acl->n_holds)
        return;
    for (struct acl_entry *e = acl->entries; e; e = e->next) {
        any = any || e->is_fresh;
        e->is_fresh = false;
    }
    if (any)
        changed(acl);
}

static void forget_verdicts(struct acl *acl, uint32_t plugin);

void acl_revoke(struct acl *acl, uint32_t plugin)
{
    struct acl_entry *e = find(acl, plugin);

    forget_verdicts(acl, plugin);
    if (!e || !e->rules)
        return;
    drop_rules(e);
    e->is_revoked = true;
    changed(acl);
}

/* ---- deciding ------------------------------------------------------------------------ */

/* The first rule that covers the filter answers. A deny rule that covers only a part of it is no
 * answer: what it forbids is caught at delivery (acl_arm). */
static int32_t decide_subscribe(const struct acl_entry *e, struct str filter)
{
    for (const struct acl_rule *rule = e->rules; rule; rule = rule->next)
        if ((rule->access & PIGEON_ACL_SUBSCRIBE) && topic_covers(rule->filter, filter))
            return rule->verdict;
    return PIGEON_NEXT;
}

/* When armed, rules for SUBSCRIBE take part in their order: a deny rule refuses the message, an
 * allow rule that comes first only keeps later ones of them from doing so. */
static int32_t decide_deliver(const struct acl_entry *e, struct str topic)
{
    uint32_t access = PIGEON_ACL_DELIVER | (acl_is_armed(e) ? PIGEON_ACL_SUBSCRIBE : 0);
    bool is_granted = false;

    for (const struct acl_rule *rule = e->rules; rule; rule = rule->next) {
        bool is_own = rule->access & PIGEON_ACL_DELIVER;

        if (!(rule->access & access) || (!is_own && is_granted) ||
            !topic_matches(rule->filter, topic))
            continue;
        if (is_own || rule->verdict == PIGEON_DENY)
            return rule->verdict;
        is_granted = true;
    }
    return PIGEON_NEXT;
}

int32_t acl_decide(const struct acl_entry *e, uint32_t access, struct str topic)
{
    if (e->is_revoked)
        return PIGEON_DENY;
    if (access == PIGEON_ACL_SUBSCRIBE)
        return decide_subscribe(e, topic);
    if (access == PIGEON_ACL_DELIVER)
        return decide_deliver(e, topic);
    for (const struct acl_rule *rule = e->rules; rule; rule = rule->next)
        if ((rule->access & access) && topic_matches(rule->filter, topic))
            return rule->verdict;
    return PIGEON_NEXT;
}

void acl_arm(struct acl *acl, uint32_t plugin, struct str filter)
{
    struct acl_entry *e = find(acl, plugin);

    for (const struct acl_rule *rule = e ? e->rules : NULL; rule && !e->is_armed;
         rule = rule->next) {
        if (!(rule->access & PIGEON_ACL_SUBSCRIBE))
            continue;
        if (topic_covers(rule->filter, filter))
            return;
        if (rule->verdict == PIGEON_DENY && topic_intersects(rule->filter, filter)) {
            e->is_armed = true;
            changed(acl);
        }
    }
}

bool acl_allows_some(const struct acl *acl, uint32_t access)
{
    for (const struct acl_entry *e = acl->entries; e; e = e->next)
        if (e->allows & access)
            return true;
    return false;
}

/* ---- remembered verdicts ------------------------------------------------------------- */

struct acl_cached {
    struct acl_verdict verdict; /* the text is behind the key */
    uint64_t until_ms;
    uint32_t plugin, hash, len;
    uint8_t key[];
};

static bool put(struct acl_key *key, const void *bytes, uint32_t len)
{
    if (len > ACL_KEY_MAX - key->len)
        return false;
    if (len)
        memcpy(key->bytes + key->len, bytes, len);
    key->len += len;
    return true;
}

static bool put_text(struct acl_key *key, pigeon_str s)
{
    return put(key, &s.len, sizeof(s.len)) && put(key, s.ptr, s.len);
}

bool acl_key_of_message(struct acl_key *key, uint32_t plugin, uint32_t hook, const pigeon_msg *msg)
{
    const uint8_t bits[] = { msg->qos, msg->retain, msg->dup, msg->origin };

    key->len = 0;
    return put(key, &plugin, sizeof(plugin)) && put(key, &hook, sizeof(hook)) &&
           put(key, bits, sizeof(bits)) && put_text(key, msg->topic) &&
           put_text(key, msg->publisher) && put_text(key, msg->publisher_user);
}

bool acl_key_of_sub(struct acl_key *key, uint32_t plugin, const pigeon_sub *sub)
{
    const uint32_t hook = PIGEON_HOOK_AUTHORIZE_SUBSCRIBE;
    const uint8_t bits[] = { sub->qos, sub->no_local, sub->retain_as_published,
                             sub->retain_handling, sub->restored };

    key->len = 0;
    return put(key, &plugin, sizeof(plugin)) && put(key, &hook, sizeof(hook)) &&
           put(key, bits, sizeof(bits)) && put(key, &sub->id, sizeof(sub->id)) &&
           put_text(key, sub->filter) && put_text(key, sub->effective) && put_text(key, sub->share);
}

static uint32_t plugin_of(const struct acl_key *key)
{
    uint32_t plugin;

    memcpy(&plugin, key->bytes, sizeof(plugin));
    return plugin;
}

/* FNV-1a. Only saves comparing: nothing is worse than a linear search whatever a client sends. */
static uint32_t hash_of(const struct acl_key *key)
{
    uint32_t h = 2166136261u;

    for (uint32_t i = 0; i < key->len; i++)
        h = (h ^ key->bytes[i]) * 16777619u;
    return h;
}

static struct acl_cached *recall(const struct acl *acl, const struct acl_key *key, uint32_t *r_at)
{
    uint32_t hash = hash_of(key);

    for (uint32_t i = 0; acl->cached && i < ACL_CACHE_MAX; i++) {
        struct acl_cached *c = acl->cached[i];

        if (!c || c->hash != hash || c->len != key->len || memcmp(c->key, key->bytes, c->len) != 0)
            continue;
        *r_at = i;
        return c;
    }
    return NULL;
}

/* An unused place, else the one that was filled longest ago. */
static uint32_t place(struct acl *acl)
{
    for (uint32_t i = 0; i < ACL_CACHE_MAX; i++)
        if (!acl->cached[i])
            return i;
    return acl->next_cached++ % ACL_CACHE_MAX;
}

void acl_remember(struct acl *acl, const struct acl_key *key, const struct acl_verdict *verdict,
                  uint64_t until_ms)
{
    size_t text_len = strlen(verdict->text);
    struct acl_cached *c = malloc(sizeof(*c) + key->len + text_len + 1);
    uint32_t at;

    if (!acl->cached)
        acl->cached = calloc(ACL_CACHE_MAX, sizeof(struct acl_cached *));
    if (!acl->cached || !c) { /* it is asked again: nothing is lost */
        free(c);
        return;
    }
    *c = (struct acl_cached){ .verdict = *verdict,
                              .until_ms = until_ms,
                              .plugin = plugin_of(key),
                              .hash = hash_of(key),
                              .len = key->len };
    memcpy(c->key, key->bytes, key->len);
    memcpy(c->key + key->len, verdict->text, text_len + 1);
    c->verdict.text = (const char *)c->key + key->len;
    if (!recall(acl, key, &at))
        at = place(acl);
    free(acl->cached[at]);
    acl->cached[at] = c;
}

bool acl_recall(struct acl *acl, const struct acl_key *key, uint64_t now_ms,
                struct acl_verdict *r_verdict)
{
    uint32_t at;
    const struct acl_cached *c = recall(acl, key, &at);

    if (!c)
        return false;
    if (c->until_ms <= now_ms) {
        free(acl->cached[at]);
        acl->cached[at] = NULL;
        return false;
    }
    *r_verdict = c->verdict;
    return true;
}

static void forget_verdicts(struct acl *acl, uint32_t plugin)
{
    for (uint32_t i = 0; acl->cached && i < ACL_CACHE_MAX; i++)
        if (acl->cached[i] && acl->cached[i]->plugin == plugin) {
            free(acl->cached[i]);
            acl->cached[i] = NULL;
        }
}
