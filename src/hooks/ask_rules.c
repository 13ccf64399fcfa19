#include "hooks/ask_priv.h"
#include "hooks/ask_value.h"

static struct str topic_of(const struct ask *ask)
{
    if (ask->hook == PIGEON_HOOK_AUTHORIZE_SUBSCRIBE) {
        pigeon_str f = ((const struct sub_info *)ask->subject)->view.effective;

        return (struct str){ f.ptr, f.len };
    }
    return message_topic(ask->message);
}

static struct acl_key key_of(const struct ask *ask, const struct step *step)
{
    bool is_message = ask->hook != PIGEON_HOOK_AUTHORIZE_SUBSCRIBE;

    return (struct acl_key){
        .plugin = step->inst->plugin->index,
        .hook = ask->hook,
        .qos =
            is_message ? ask->message->view.qos : ((const struct sub_info *)ask->subject)->view.qos,
        .retain = is_message ? ask->message->view.retain : 0,
        .topic = topic_of(ask),
    };
}

void ask_remember(struct ask *ask, const struct step *step, const struct ask_slot *slot,
                  int32_t verdict)
{
    const struct ask_value *v = slot->values;
    struct identity *who = ask_who(ask);
    struct acl_key key;

    if (!who || !v || v->kind != VALUE_CACHE || v->next || v->num == 0)
        return;
    key = key_of(ask, step);
    acl_remember(&who->slots->acl, &key, verdict, loop_now_ms(ask->hl->loop) + v->num);
}

bool ask_rules(const struct ask *ask, const struct step *step, int32_t *r_verdict)
{
    const struct identity *who = ask_who(ask);
    struct acl *acl = who && who->slots ? &who->slots->acl : NULL;
    uint32_t plugin = step->inst->plugin->index;
    bool is_hit = false;

    if (!acl)
        return false;
    if (acl->rules) {
        *r_verdict = acl_decide(acl, plugin, ask->hook, topic_of(ask));
        if (*r_verdict != PIGEON_NEXT)
            return true;
        if (!acl_has(acl, plugin, acl_access(ask->hook)))
            *r_verdict = ENTRY_SKIP;
    }
    if (acl->cache) {
        struct acl_key key = key_of(ask, step);
        int32_t verdict = acl_recall(acl, &key, loop_now_ms(ask->hl->loop), &is_hit);

        *r_verdict = is_hit ? verdict : *r_verdict;
    }
    return is_hit;
}

bool ask_rules_seen(struct ask *ask, const struct step *step, int32_t *r_verdict)
{
    const struct identity *who = ask_who(ask);
    struct acl *acl = who && who->slots ? &who->slots->acl : NULL;
    bool was_armed = acl && acl->armed;
    bool by_rule = acl && acl->rules &&
                   acl_decide(acl, step->inst->plugin->index, ask->hook, topic_of(ask)) !=
                       PIGEON_NEXT;
    bool is_hit = ask_rules(ask, step, r_verdict);

    if (is_hit)
        ask->how = by_rule ? ASK_BY_RULE : ASK_BY_CACHE;
    if (acl && ask_is_dry(ask))
        acl->armed = was_armed;
    return is_hit;
}

bool ask_is_configured(const struct ask *ask)
{
    uint32_t access = acl_access(ask->hook);
    const struct identity *who = ask_who(ask);

    return ask->chain->configured ||
           (access && who && who->slots && acl_allows_some(&who->slots->acl, access));
}
