#include "hooks/acl.h"
#include "mqtt/topic.h"
#include <errno.h>
#include <stdlib.h>

#define ACL_CACHE 32u /* remembered verdicts per client */

struct acl_rule {
    struct acl_rule *next;
    uint32_t plugin;
    uint32_t access;
    int32_t verdict;
    struct str filter;
    char data[];
};

struct acl_cached {
    uint32_t plugin, hook;
    int32_t verdict;
    uint8_t qos, retain;
    uint64_t until_ms;
    char *topic; /* NULL: unused */
    uint32_t topic_len;
};

void acl_init(struct acl *acl)
{
    *acl = (struct acl){ 0 };
    acl->last = &acl->rules;
}

void acl_fini(struct acl *acl)
{
    while (acl->rules) {
        struct acl_rule *rule = acl->rules;

        acl->rules = rule->next;
        free(rule);
    }
    for (uint32_t i = 0; acl->cache && i < ACL_CACHE; i++)
        free(acl->cache[i].topic);
    free(acl->cache);
    acl_init(acl);
}

void acl_move(struct acl *to, struct acl *from)
{
    *to = *from;
    if (!to->rules)
        to->last = &to->rules;
    acl_init(from);
}

int acl_push(struct acl *acl, uint32_t plugin, struct str filter, uint32_t access, int32_t verdict)
{
    struct acl_rule *rule = malloc(sizeof(*rule) + filter.len + 1);

    if (!rule)
        return -ENOMEM;
    *rule = (struct acl_rule){ .plugin = plugin, .access = access, .verdict = verdict };
    if (filter.len)
        memcpy(rule->data, filter.ptr, filter.len);
    rule->data[filter.len] = '\0';
    rule->filter = str_make(rule->data, filter.len);
    *acl->last = rule;
    acl->last = &rule->next;
    if (access & PIGEON_ACL_DELIVER)
        acl->n_deliver++;
    return 0;
}

void acl_drop(struct acl *acl, uint32_t plugin)
{
    struct acl_rule **at = &acl->rules;

    while (*at) {
        struct acl_rule *rule = *at;

        if (rule->plugin != plugin) {
            at = &rule->next;
            continue;
        }
        *at = rule->next;
        if (rule->access & PIGEON_ACL_DELIVER)
            acl->n_deliver--;
        free(rule);
    }
    acl->last = at;
    for (uint32_t i = 0; acl->cache && i < ACL_CACHE; i++)
        if (acl->cache[i].topic && acl->cache[i].plugin == plugin) {
            free(acl->cache[i].topic);
            acl->cache[i].topic = NULL;
        }
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

/* The first rule that covers the filter answers. A deny rule that covers only a part of it is no
 * answer: what it forbids is caught at delivery. */
static int32_t decide_subscribe(struct acl *acl, uint32_t plugin, struct str filter)
{
    for (struct acl_rule *rule = acl->rules; rule; rule = rule->next) {
        if (rule->plugin != plugin || !(rule->access & PIGEON_ACL_SUBSCRIBE))
            continue;
        if (topic_covers(rule->filter, filter))
            return rule->verdict;
        if (rule->verdict == PIGEON_DENY && topic_intersects(rule->filter, filter))
            acl->armed = true;
    }
    return PIGEON_NEXT;
}

/* When armed, rules for SUBSCRIBE take part in their order: a deny rule refuses the message, an
 * allow rule that comes before it only keeps it from doing so. */
static int32_t decide_deliver(const struct acl *acl, uint32_t plugin, struct str topic)
{
    uint32_t access = PIGEON_ACL_DELIVER | (acl->armed ? PIGEON_ACL_SUBSCRIBE : 0);

    for (struct acl_rule *rule = acl->rules; rule; rule = rule->next) {
        if (rule->plugin != plugin || !(rule->access & access) ||
            !topic_matches(rule->filter, topic))
            continue;
        if (rule->verdict == PIGEON_ALLOW && !(rule->access & PIGEON_ACL_DELIVER))
            return PIGEON_NEXT;
        return rule->verdict;
    }
    return PIGEON_NEXT;
}

int32_t acl_decide(struct acl *acl, uint32_t plugin, uint32_t hook, struct str topic)
{
    uint32_t access = acl_access(hook);

    if (access == PIGEON_ACL_SUBSCRIBE)
        return decide_subscribe(acl, plugin, topic);
    if (access == PIGEON_ACL_DELIVER)
        return decide_deliver(acl, plugin, topic);
    for (struct acl_rule *rule = acl->rules; rule; rule = rule->next)
        if (rule->plugin == plugin && (rule->access & access) && topic_matches(rule->filter, topic))
            return rule->verdict;
    return PIGEON_NEXT;
}

bool acl_has(const struct acl *acl, uint32_t plugin, uint32_t access)
{
    for (const struct acl_rule *rule = acl->rules; rule; rule = rule->next)
        if (rule->plugin == plugin && (rule->access & access))
            return true;
    return false;
}

bool acl_allows_some(const struct acl *acl, uint32_t access)
{
    for (const struct acl_rule *rule = acl->rules; rule; rule = rule->next)
        if ((rule->access & access) && rule->verdict == PIGEON_ALLOW)
            return true;
    return false;
}

static bool cached_is(const struct acl_cached *c, const struct acl_key *key)
{
    return c->topic && c->plugin == key->plugin && c->hook == key->hook && c->qos == key->qos &&
           c->retain == key->retain && str_eq(str_make(c->topic, c->topic_len), key->topic);
}

void acl_remember(struct acl *acl, const struct acl_key *key, int32_t verdict, uint64_t until_ms)
{
    struct acl_cached *c = NULL;
    char *topic = str_dup(key->topic);

    if (!acl->cache)
        acl->cache = calloc(ACL_CACHE, sizeof(*acl->cache));
    if (!acl->cache || !topic) { /* it is asked again: nothing is lost */
        free(topic);
        return;
    }
    for (uint32_t i = 0; i < ACL_CACHE && !c; i++)
        if (cached_is(&acl->cache[i], key))
            c = &acl->cache[i];
    if (!c)
        c = &acl->cache[acl->next_cache++ % ACL_CACHE];
    free(c->topic);
    *c = (struct acl_cached){ .plugin = key->plugin,
                              .hook = key->hook,
                              .verdict = verdict,
                              .qos = key->qos,
                              .retain = key->retain,
                              .until_ms = until_ms,
                              .topic = topic,
                              .topic_len = key->topic.len };
}

int32_t acl_recall(struct acl *acl, const struct acl_key *key, uint64_t now_ms, bool *r_hit)
{
    *r_hit = false;
    for (uint32_t i = 0; acl->cache && i < ACL_CACHE; i++) {
        struct acl_cached *c = &acl->cache[i];

        if (!cached_is(c, key))
            continue;
        if (c->until_ms <= now_ms)
            return PIGEON_NEXT;
        *r_hit = true;
        return c->verdict;
    }
    return PIGEON_NEXT;
}
