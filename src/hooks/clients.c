#include "hooks/client_slots.h"
#include "hooks/chain.h"
#include "hooks/plugin.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* ---- rights ------------------------------------------------------------------------------ */

bool acl_checks_deliver(const struct identity *who)
{
    return who && who->slots && who->slots->acl.checks_deliver;
}

bool identity_is_revoked(const struct identity *who)
{
    return who && who->slots && who->slots->acl.is_revoked;
}

uint32_t identity_revocations(const struct identity *who)
{
    return who && who->slots ? who->slots->n_revoked : 0;
}

void identity_hold_rules(struct identity *who, uint32_t since)
{
    if (who->slots)
        acl_hold(&who->slots->acl, since);
}

void identity_unhold_rules(struct identity *who)
{
    if (who->slots)
        acl_unhold(&who->slots->acl);
}

int identity_move_rules(struct identity *to, struct identity *from)
{
    struct client_slots *cs = from->slots;
    const struct hook_loop *hl;

    if (!cs || !cs->acl.entries)
        return 0;
    assert(!to->slots);
    to->slots = client_slots_new(to->view.loop);
    if (!to->slots)
        return -ENOMEM;
    list_append(&to->slots->names, &to->same);
    hl = cs->hooks->loop[cs->loop];
    for (struct acl_entry *e = cs->acl.entries; e; e = e->next)
        e->invalidated = hl->clients.invalidated[e->plugin];
    acl_move(&to->slots->acl, &cs->acl);
    return 0;
}

static bool has_place(const struct hook_loop *hl, uint32_t listener, uint32_t plugin)
{
    const struct chain *chain = hook_loop_chain(hl, listener, PIGEON_HOOK_AUTHORIZE_PUBLISH);

    for (uint32_t i = 0; i < chain->n; i++)
        if (chain->steps[i].plugin == plugin)
            return true;
    return false;
}

/* An order to invalidate finds nothing of a client that is between two loops. So what was ordered
 * and was not carried out on the old one before it left counts here, whoever was meant. Nor does a
 * reload find it. */
int identity_arrive(struct identity *who, struct hook_loop *hl)
{
    struct client_slots *cs;

    if (!who->slots || who->slots->slot)
        return 0;
    cs = client_slots_make(who, hl->hooks);
    if (!cs)
        return -ENOMEM;
    for (const struct acl_entry *e = cs->acl.entries; e; e = e->next) {
        const struct plugin *p = &hl->hooks->plugins[e->plugin];

        if (atomic_load(&p->n_invalidated) != e->invalidated ||
            !has_place(hl, who->chains, e->plugin))
            acl_revoke(&cs->acl, e->plugin);
    }
    return 0;
}

/* ---- all clients of a loop --------------------------------------------------------------- */

int clients_init(struct hook_loop *hl)
{
    uint32_t n = hl->hooks->n_plugins;

    list_init(&hl->clients.all);
    hl->clients.invalidated = calloc(n ? n : 1, sizeof(*hl->clients.invalidated));
    return hl->clients.invalidated ? 0 : -ENOMEM;
}

void clients_add(struct client_slots *cs)
{
    list_append(&cs->hooks->loop[cs->loop]->clients.all, &cs->link);
}

void clients_fini(struct hook_loop *hl)
{
    while (hl->clients.all.next && list_pop(&hl->clients.all))
        ;
    free(hl->clients.invalidated);
}

static bool is_meant(const struct client_slots *cs, struct str id, struct str username)
{
    if (!id.len && !username.len)
        return true;
    LIST_FOREACH (it, &cs->names) {
        const pigeon_client *v = &container_of(it, struct identity, same)->view;

        if ((!id.len || str_eq(id, str_make(v->id.ptr, v->id.len))) &&
            (!username.len || str_eq(username, str_make(v->username.ptr, v->username.len))))
            return true;
    }
    return false;
}

void clients_revoke(struct hook_loop *hl, struct plugin *plugin, struct str id, struct str username)
{
    LIST_FOREACH (it, &hl->clients.all) {
        struct client_slots *cs = container_of(it, struct client_slots, link);

        if (!is_meant(cs, id, username))
            continue;
        acl_revoke(&cs->acl, plugin->index);
        cs->revoked[plugin->index]++;
        cs->n_revoked++;
    }
    hl->clients.invalidated[plugin->index]++;
}

void clients_take_chains(struct hook_loop *hl)
{
    LIST_FOREACH (it, &hl->clients.all) {
        struct client_slots *cs = container_of(it, struct client_slots, link);

        if (list_empty(&cs->names))
            continue;
        uint32_t listener = container_of(cs->names.next, struct identity, same)->chains;
        for (const struct acl_entry *e = cs->acl.entries; e; e = e->next) {
            if (!e->rules || has_place(hl, listener, e->plugin))
                continue;
            acl_revoke(&cs->acl, e->plugin);
            cs->revoked[e->plugin]++;
            cs->n_revoked++;
        }
    }
}
