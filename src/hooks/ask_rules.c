#include "hooks/ask_priv.h"
#include "hooks/ask_value.h"

struct str ask_topic(const struct ask *ask)
{
    if (ask->hook == PIGEON_HOOK_AUTHORIZE_SUBSCRIBE) {
        pigeon_str f = ((const struct sub_info *)ask->subject)->view.effective;

        return (struct str){ f.ptr, f.len };
    }
    return message_topic(ask->message);
}

struct acl *ask_acl(const struct ask *ask)
{
    const struct identity *who = ask_who(ask);

    return who && who->slots ? &who->slots->acl : NULL;
}

static bool key_of(const struct ask *ask, const struct step *step, struct acl_key *key)
{
    uint32_t plugin = step->inst->plugin->index;

    if (ask->hook == PIGEON_HOOK_AUTHORIZE_SUBSCRIBE)
        return acl_key_of_sub(key, plugin, &((const struct sub_info *)ask->subject)->view);
    return acl_key_of_message(key, plugin, ask->hook, &ask->message->view);
}

/* When the last one runs out; 0: not to be remembered. A verdict that came with more than that is
 * not the whole answer. */
static uint64_t until_ms(const struct ask *ask, const struct ask_slot *slot)
{
    uint64_t ttl_ms = 0;

    for (const struct ask_value *v = slot->values; v; v = v->next) {
        if (v->kind != VALUE_CACHE)
            return 0;
        ttl_ms = v->num;
    }
    return ttl_ms ? loop_now_ms(ask->hl->loop) + ttl_ms : 0;
}

void ask_remember(struct ask *ask, const struct step *step, const struct ask_slot *slot,
                  int32_t verdict)
{
    const struct identity *who = ask_who(ask);
    struct acl_verdict v = { .verdict = verdict, .text = "" };
    uint64_t until = until_ms(ask, slot);
    struct acl_key key;

    if (!until || !who || !who->slots || !who->slots->slot ||
        who->slots->revoked[step->inst->plugin->index] != slot->revoked || !key_of(ask, step, &key))
        return;
    if (verdict == PIGEON_DENY) {
        v.reason = slot->reason;
        v.text = slot->text;
    }
    acl_remember(&who->slots->acl, &key, &v, until);
}

static bool recall(struct ask *ask, const struct step *step, struct acl *acl, int32_t *r_verdict)
{
    struct acl_verdict v;
    struct acl_key key;

    if (!key_of(ask, step, &key) || !acl_recall(acl, &key, loop_now_ms(ask->hl->loop), &v))
        return false;
    *r_verdict = v.verdict;
    if (v.verdict == PIGEON_DENY) {
        ask->reason = v.reason;
        memcpy(ask->text, v.text, strlen(v.text) + 1);
    }
    ask->how = ASK_BY_CACHE;
    return true;
}

bool ask_rules(struct ask *ask, const struct step *step, int32_t *r_verdict)
{
    uint32_t access = acl_access(ask->hook);
    struct acl *acl = ask_acl(ask);
    const struct acl_entry *e =
        acl && acl->entries ? acl_entry_of(acl, step->inst->plugin->index) : NULL;

    *r_verdict =
        access == PIGEON_ACL_DELIVER && !(e && (e->access & access)) ? ENTRY_SKIP : PIGEON_NEXT;
    if (e) {
        int32_t verdict = acl_decide(e, access, ask_topic(ask));

        if (verdict != PIGEON_NEXT) {
            *r_verdict = verdict;
            ask->how = ASK_BY_RULE;
            return true;
        }
    }
    return acl && acl->cached && recall(ask, step, acl, r_verdict);
}

void ask_arm(struct ask *ask)
{
    struct acl *acl = ask_acl(ask);

    for (uint32_t i = 0; acl && acl->entries && i < ask->chain->n && i <= ask->entry; i++)
        acl_arm(acl, ask->chain->steps[i].inst->plugin->index, ask_topic(ask));
}

bool ask_is_configured(const struct ask *ask)
{
    const struct acl *acl = ask_acl(ask);
    uint32_t access = acl_access(ask->hook);

    return ask->chain->configured || (access && acl && acl_allows_some(acl, access));
}
