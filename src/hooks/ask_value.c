#include "hooks/ask_value.h"
#include "hooks/chain.h"
#include "hooks/client_slots.h"
#include <errno.h>
#include <stdlib.h>

void ask_values_free(struct ask_value **values)
{
    while (*values) {
        struct ask_value *v = *values;

        *values = v->next;
        message_unref(&v->message);
        if (v->kind == VALUE_PASSWORD && v->a.len)
            explicit_bzero((char *)v->a.ptr, v->a.len);
        free(v);
    }
}

void ask_values_keep(struct ask *ask, struct ask_value *added, struct ask_value **last)
{
    if (!added)
        return;
    *ask->last = added;
    ask->last = last;
}

const struct ask_value *ask_value_last(const struct ask *ask, enum ask_value_kind kind)
{
    const struct ask_value *found = NULL;

    for (const struct ask_value *v = ask->values; v; v = v->next)
        if (v->kind == kind)
            found = v;
    return found;
}

static int rewrite_message(struct ask *ask, const struct ask_value *added)
{
    struct message_parts parts;
    struct message *m;
    bool is_changed = false;

    message_parts(ask->message, &parts);
    for (const struct ask_value *v = added; v; v = v->next) {
        is_changed = is_changed || (v->kind >= VALUE_TOPIC && v->kind <= VALUE_RETAIN);
        switch (v->kind) {
        case VALUE_TOPIC: parts.topic = v->a; break;
        case VALUE_PAYLOAD: parts.payload = v->a; break;
        case VALUE_PROPS: parts.props = v->a; break;
        case VALUE_QOS: parts.qos = (uint8_t)v->num; break;
        case VALUE_RETAIN: parts.retain = (uint8_t)v->num; break;
        default: break;
        }
    }
    if (!is_changed)
        return 0;
    m = message_new(&parts);
    if (!m)
        return -ENOMEM;
    message_unref(&ask->message);
    ask->message = m;
    return 0;
}

static int rewrite_sub(struct ask *ask, const struct ask_value *added)
{
    const struct ask_value *set = NULL;
    const struct sub_info *old = (const struct sub_info *)ask->subject;
    struct sub_info *sub;
    pigeon_sub view;

    for (const struct ask_value *v = added; v; v = v->next)
        if (v->kind == VALUE_FILTER)
            set = v;
    if (!set)
        return 0;
    view = old->view;
    view.effective = (pigeon_str){ .ptr = set->a.ptr, .len = set->a.len };
    view.qos = (uint8_t)set->num;
    sub = sub_info_new(&view);
    if (!sub)
        return -ENOMEM;
    subject_unref(&ask->subject);
    ask->subject = &sub->base;
    return 0;
}

struct connect_parts {
    pigeon_connect view;
    struct identity_parts who;
    struct str id, username;
    struct message *will;
    bool of_connect, of_who;
};

static void rewrite_connect_part(struct connect_parts *p, const struct ask_value *v)
{
    switch (v->kind) {
    case VALUE_CLIENTID:
        p->id = p->who.id = v->a;
        p->of_connect = p->of_who = true;
        break;
    case VALUE_USERNAME:
        p->username = p->who.username = v->a;
        p->view.has_username = p->who.has_username = v->a.ptr != NULL;
        p->of_connect = p->of_who = true;
        break;
    case VALUE_PASSWORD:
        p->view.password = (pigeon_bytes){ .ptr = (const uint8_t *)v->a.ptr, .len = v->a.len };
        p->view.has_password = v->a.ptr != NULL;
        p->of_connect = true;
        break;
    case VALUE_KEEPALIVE:
        p->view.keepalive_s = (uint16_t)v->num;
        p->who.keepalive_s = (uint32_t)v->num;
        p->of_connect = p->of_who = true;
        break;
    case VALUE_CLEAN_START:
        p->view.clean_start = (uint8_t)v->num;
        p->of_connect = true;
        break;
    case VALUE_SESSION_EXPIRY:
        p->view.session_expiry_s = p->who.session_expiry_s = (uint32_t)v->num;
        p->of_connect = p->of_who = true;
        break;
    case VALUE_WILL:
        p->will = v->message;
        p->view.will_delay_s = (uint32_t)v->num;
        p->of_connect = true;
        break;
    default: break;
    }
}

static int rewrite_connect(struct ask *ask, const struct ask_value *added)
{
    const struct connect_info *old = (const struct connect_info *)ask->subject;
    struct identity *who = ask->who_now ? ask->who_now : ask->who;
    struct connect_parts p = {
        .view = old->view, .id = old->id, .username = old->username, .will = old->will
    };

    if (who)
        identity_parts(who, &p.who);
    for (const struct ask_value *v = added; v; v = v->next)
        rewrite_connect_part(&p, v);
    if (p.of_connect) {
        struct connect_info *c =
            connect_info_new(&p.view, p.id, p.username, p.will ? message_ref(p.will) : NULL);

        if (!c)
            return -ENOMEM;
        subject_unref(&ask->subject);
        ask->subject = &c->base;
    }
    if (p.of_who && who) {
        struct identity *now = identity_new(&p.who, who);

        if (!now)
            return -ENOMEM;
        identity_unref(&ask->who_now);
        ask->who_now = now;
    }
    return 0;
}

int ask_values_apply(struct ask *ask, struct ask_value *added, struct ask_value **last)
{
    if (!added)
        return 0;
    ask_values_keep(ask, added, last);
    switch (ask->hook) {
    case PIGEON_HOOK_PRE_CONNECT:
    case PIGEON_HOOK_AUTHENTICATE: return rewrite_connect(ask, added);
    case PIGEON_HOOK_AUTHORIZE_SUBSCRIBE: return rewrite_sub(ask, added);
    case PIGEON_HOOK_INBOUND:
    case PIGEON_HOOK_AUTHORIZE_PUBLISH:
    case PIGEON_HOOK_AUTHORIZE_WILL: return rewrite_message(ask, added);
    default: return 0;
    }
}

static bool has_place(const struct ask *ask, uint32_t plugin)
{
    const struct chain *chain =
        hook_loop_chain(ask->hl, ask->listener, PIGEON_HOOK_AUTHORIZE_PUBLISH);

    for (uint32_t i = 0; i < chain->n; i++)
        if (chain->steps[i].inst->plugin->index == plugin)
            return true;
    return false;
}

void ask_values_save(struct ask *ask, struct exchange *x)
{
    struct ask_value **at = &ask->values, **last = &x->values;

    while (*at) {
        struct ask_value *v = *at;

        if (v->kind == VALUE_AUTH_DATA) {
            at = &v->next;
            continue;
        }
        *at = v->next;
        v->next = NULL;
        *last = v;
        last = &v->next;
    }
    ask->last = at;
}

void ask_values_restore(struct ask *ask, struct exchange *x)
{
    ask->values = x->values;
    x->values = NULL;
    ask->last = &ask->values;
    while (*ask->last)
        ask->last = &(*ask->last)->next;
}

void ask_values_drop(struct ask *ask, uint32_t plugin)
{
    struct ask_value **at = &ask->values;

    while (*at) {
        struct ask_value *v = *at;

        if (v->entry != plugin) {
            at = &v->next;
            continue;
        }
        *at = v->next;
        v->next = NULL;
        ask_values_free(&v);
    }
    ask->last = at;
}

/* Is this the first rule of its plugin among the values? */
static bool is_first_rule(const struct ask *ask, const struct ask_value *rule)
{
    for (const struct ask_value *v = ask->values; v != rule; v = v->next)
        if (v->kind == VALUE_ACL && v->entry == rule->entry)
            return false;
    return true;
}

int ask_values_commit_rules(struct ask *ask, uint32_t *r_plugin)
{
    struct client_slots *cs = NULL;

    for (const struct ask_value *v = ask->values; v; v = v->next) {
        if (v->kind != VALUE_ACL || !ask->who)
            continue;
        *r_plugin = v->entry;
        if (!has_place(ask, v->entry))
            return -EPERM;
        cs = client_slots_of(ask->who, ask->hl->hooks);
        if (!cs)
            return -ENOMEM;
        if (cs->revoked[v->entry] != v->revoked)
            return -ESTALE;
        if (ask->is_reauth && is_first_rule(ask, v) &&
            acl_replace(&cs->acl, v->entry, ++cs->n_revoked) < 0)
            return -ENOMEM;
        if (acl_push(&cs->acl, v->entry, v->a, v->sub, (int32_t)v->num) < 0)
            return -ENOMEM;
    }
    return 0;
}
