#include "hooks/ask_priv.h"
#include "mqtt/topic.h"
#include <stdlib.h>

/* What the rule that matches, or the mere way past it, comes to under its entry's control word. */
enum flat_what {
    FLAT_ALLOW,      /* the end */
    FLAT_DENY,       /* the end */
    FLAT_PASS,       /* on with the next entry */
    FLAT_REQUIRED,   /* the same, and the entry is one that had to allow it */
    FLAT_GRANTED,    /* deliver: later denials of FLAT_DENY_SUB are meant for others */
    FLAT_DENY_SUB,   /* deliver, armed: the end unless it was granted */
    FLAT_MISS,       /* no filter: whoever comes here is denied */
    FLAT_NEXT_ENTRY, /* no filter: nothing is granted yet */
};

struct flat_op {
    struct str filter; /* the rule's */
    uint32_t step;     /* of the chain */
    uint32_t next;     /* first operation of the next entry */
    uint8_t what;
    bool is_name; /* no wildcard: compared as a whole */
};

/* One client's rules about one kind of access, in the order of the chain. */
struct acl_flat {
    const struct chain *chain; /* it was made of */
    uint32_t version;          /* hook_loop.chains_version */
    uint32_t n;
    bool is_useless; /* some entry's plugin has to be called */
    bool is_partial; /* it has to for topics that begin with '$' */
    struct flat_op ops[];
};

/* ---- made ---------------------------------------------------------------------------- */

static bool is_everything(const struct acl_rule *rule, uint32_t access)
{
    return (rule->access & access) && rule->filter.len == 1 && rule->filter.ptr[0] == '#';
}

/* Does some rule of the entry answer every question but those about '$' topics? When armed, a rule
 * for SUBSCRIBE may stand in the way of it, but only to deny. */
static bool answers_all(const struct acl_entry *e, uint32_t access)
{
    for (const struct acl_rule *rule = e ? e->rules : NULL; rule; rule = rule->next)
        if (is_everything(rule, access))
            return true;
    return false;
}

static uint32_t count_rules(const struct acl_entry *e)
{
    uint32_t n = 0;

    for (const struct acl_rule *rule = e ? e->rules : NULL; rule; rule = rule->next)
        n++;
    return n;
}

static uint8_t what_of(const struct acl_rule *rule, uint32_t access, uint8_t control)
{
    bool is_own = rule->access & access;

    if (rule->verdict == PIGEON_DENY)
        return is_own ? FLAT_DENY : FLAT_DENY_SUB;
    if (!is_own)
        return FLAT_GRANTED;
    return control == CONFIG_REQUIRE ? FLAT_REQUIRED
           : control == CONFIG_VETO  ? FLAT_PASS
                                     : FLAT_ALLOW;
}

static void add_entry(struct acl_flat *flat, const struct acl_entry *e, const struct step *step,
                      uint32_t at, uint32_t access)
{
    uint32_t first = flat->n;
    bool is_deliver = access == PIGEON_ACL_DELIVER;
    uint32_t looks_at = access | (is_deliver && e && acl_is_armed(e) ? PIGEON_ACL_SUBSCRIBE : 0);

    if (e && e->is_revoked) {
        flat->ops[flat->n++] = (struct flat_op){ .step = at, .what = FLAT_MISS };
        return;
    }
    if (is_deliver)
        flat->ops[flat->n++] = (struct flat_op){ .step = at, .what = FLAT_NEXT_ENTRY };
    for (const struct acl_rule *rule = e ? e->rules : NULL; rule; rule = rule->next)
        if (rule->access & looks_at)
            flat->ops[flat->n++] = (struct flat_op){ .filter = rule->filter,
                                                     .step = at,
                                                     .what = what_of(rule, access, step->control),
                                                     .is_name = !topic_has_wildcard(rule->filter) };
    if (step->control == CONFIG_REQUIRE && (!is_deliver || (e && (e->access & access))))
        flat->ops[flat->n++] = (struct flat_op){ .step = at, .what = FLAT_MISS };
    for (uint32_t i = first; i < flat->n; i++)
        flat->ops[i].next = flat->n;
}

/* NULL: no memory, then the chain is walked. */
static struct acl_flat *flatten(const struct ask *ask, const struct acl *acl, uint32_t access)
{
    const struct chain *chain = ask->chain;
    struct acl_flat *flat;
    size_t n = 0;

    for (uint32_t i = 0; i < chain->n; i++)
        n += count_rules(acl_entry_of(acl, chain->steps[i].inst->plugin->index)) + 2;
    flat = malloc(sizeof(*flat) + n * sizeof(flat->ops[0]));
    if (!flat)
        return NULL;
    *flat = (struct acl_flat){ .chain = chain, .version = ask->hl->chains_version };
    for (uint32_t i = 0; i < chain->n && !flat->is_useless; i++) {
        const struct step *step = &chain->steps[i];
        const struct acl_entry *e = acl_entry_of(acl, step->inst->plugin->index);

        if (step->fn.any && !(e && e->is_revoked)) {
            flat->is_partial = answers_all(e, access);
            flat->is_useless = !flat->is_partial;
        }
        if (step->only)
            flat->is_useless = true;
        add_entry(flat, e, step, i, access);
        /* Nothing passes an entry that decides everything: what is behind it may be anything. */
        if (step->control == CONFIG_DECIDE && answers_all(e, access)) {
            flat->is_partial = true;
            break;
        }
    }
    return flat;
}

/* ---- used ---------------------------------------------------------------------------- */

static bool applies(const struct flat_op *op, uint32_t access, struct str topic)
{
    if (access == PIGEON_ACL_SUBSCRIBE)
        return topic_covers(op->filter, topic);
    return op->is_name ? str_eq(op->filter, topic) : topic_matches(op->filter, topic);
}

static void decide(struct ask *ask, const struct flat_op *op, bool allow)
{
    ask->entry = op->step;
    ask->decided = true;
    ask->verdict = allow ? PIGEON_ALLOW : PIGEON_DENY;
    ask->plugin = allow ? NULL : ask->chain->steps[op->step].inst->plugin->name;
}

static void run(struct ask *ask, const struct acl_flat *flat, uint32_t access, struct str topic)
{
    bool is_granted = false;

    for (uint32_t i = 0; i < flat->n; i++) {
        const struct flat_op *op = &flat->ops[i];

        if (op->what < FLAT_MISS && !applies(op, access, topic))
            continue;
        switch (op->what) {
        case FLAT_ALLOW: decide(ask, op, true); return;
        case FLAT_DENY:
        case FLAT_MISS: decide(ask, op, false); return;
        case FLAT_DENY_SUB:
            if (is_granted)
                break;
            decide(ask, op, false);
            return;
        case FLAT_REQUIRED:
            ask->required_passed = true;
            i = op->next - 1;
            break;
        case FLAT_PASS: i = op->next - 1; break;
        case FLAT_GRANTED: is_granted = true; break;
        default: is_granted = false; break;
        }
    }
    ask->entry = ask->chain->n;
}

static uint32_t kind_of(uint32_t access)
{
    return access == PIGEON_ACL_PUBLISH ? 0 : access == PIGEON_ACL_SUBSCRIBE ? 1 : 2;
}

bool ask_flat(struct ask *ask)
{
    uint32_t access = acl_access(ask->hook);
    struct acl *acl = ask_acl(ask);
    struct acl_flat **flat;
    struct str topic;

    if (!access || ask->observer)
        return false;
    flat = &acl->flat[kind_of(access)];
    if (*flat && ((*flat)->chain != ask->chain || (*flat)->version != ask->hl->chains_version)) {
        free(*flat);
        *flat = NULL;
    }
    if (!*flat)
        *flat = flatten(ask, acl, access);
    topic = ask_topic(ask);
    if (!*flat || (*flat)->is_useless ||
        ((*flat)->is_partial && (topic.len == 0 || topic.ptr[0] == '$')))
        return false;
    run(ask, *flat, access, topic);
    return true;
}
