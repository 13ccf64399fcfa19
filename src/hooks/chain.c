#include "hooks/chain.h"
#include "mqtt/topic.h"
#include <errno.h>
#include <stdlib.h>

struct entry {
    struct plugin *plugin;
    uint8_t control; /* enum config_control */
};

struct order {
    struct entry *entries;
    uint32_t n;
    bool is_own; /* written in the listener's block */
};

struct chains {
    uint32_t refs;
    struct hooks *hooks;
    struct config *config; /* reference */
    uint32_t n_listeners;  /* with the broker's own, index 0 */
    char **names;          /* of the listeners; NULL for the broker's own */
    struct order *orders;  /* [listener][CONFIG_N_CHAINS] */
    struct only *only;     /* by plugin index; filters are the configuration's */
};

/* ---- hooks --------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum config_chain_family family;
    uint32_t deadline_ms;
} hook_table[PIGEON_HOOK_COUNT] = {
    [PIGEON_HOOK_PRE_CONNECT] = { "pre_connect", CONFIG_PRE_CONNECT, 5000 },
    [PIGEON_HOOK_AUTHENTICATE] = { "authenticate", CONFIG_AUTHENTICATE, 5000 },
    [PIGEON_HOOK_EXCHANGE] = { "exchange", CONFIG_AUTHENTICATE, 5000 },
    [PIGEON_HOOK_AUTHORIZE_PUBLISH] = { "authorize_publish", CONFIG_AUTHORIZE, 2000 },
    [PIGEON_HOOK_AUTHORIZE_WILL] = { "authorize_will", CONFIG_AUTHORIZE, 2000 },
    [PIGEON_HOOK_AUTHORIZE_SUBSCRIBE] = { "authorize_subscribe", CONFIG_AUTHORIZE, 2000 },
    [PIGEON_HOOK_AUTHORIZE_DELIVER] = { "authorize_deliver", CONFIG_AUTHORIZE, 2000 },
    [PIGEON_HOOK_INBOUND] = { "inbound", CONFIG_INBOUND, 2000 },
    [PIGEON_HOOK_PUBLISHED] = { "published", CONFIG_PUBLISHED, 10000 },
    [PIGEON_HOOK_EVENT] = { "event", CONFIG_EVENTS, 0 },
    [PIGEON_HOOK_CONTROL] = { "control", CONFIG_N_CHAINS, 10000 },
    [PIGEON_HOOK_STORE] = { "store", CONFIG_N_CHAINS, 0 },
    [PIGEON_HOOK_BUS] = { "bus", CONFIG_N_CHAINS, 0 },
    [PIGEON_HOOK_LIFE] = { "life", CONFIG_N_CHAINS, 0 },
};

const char *hook_name(uint32_t hook)
{
    return hook < PIGEON_HOOK_COUNT && hook_table[hook].name ? hook_table[hook].name : "?";
}

/* The plugin's function for a hook, with the hook under which it is asked; fn.any NULL: none. */
static struct step member(const struct plugin *p, uint32_t hook)
{
    struct step s = { .hook = hook };

    switch (hook) {
    case PIGEON_HOOK_PRE_CONNECT: s.fn.connect = p->auth.pre_connect; break;
    case PIGEON_HOOK_AUTHENTICATE: s.fn.connect = p->auth.authenticate; break;
    case PIGEON_HOOK_EXCHANGE: s.fn.exchange = p->auth.exchange; break;
    case PIGEON_HOOK_AUTHORIZE_PUBLISH: s.fn.msg = p->auth.authorize_publish; break;
    case PIGEON_HOOK_AUTHORIZE_WILL:
        s.fn.msg = p->auth.authorize_will;
        if (!s.fn.msg) {
            s.fn.msg = p->auth.authorize_publish;
            s.hook = PIGEON_HOOK_AUTHORIZE_PUBLISH;
        }
        break;
    case PIGEON_HOOK_AUTHORIZE_SUBSCRIBE: s.fn.sub = p->auth.authorize_subscribe; break;
    case PIGEON_HOOK_AUTHORIZE_DELIVER: s.fn.msg = p->auth.authorize_deliver; break;
    case PIGEON_HOOK_INBOUND: s.fn.msg = p->flow.inbound; break;
    case PIGEON_HOOK_PUBLISHED: s.fn.msg = p->flow.published; break;
    default: break;
    }
    return s;
}

/* Has the plugin something to say in this family? */
static bool takes_part(const struct plugin *p, enum config_chain_family family)
{
    if (family == CONFIG_EVENTS)
        return p->has_events;
    for (uint32_t hook = PIGEON_HOOK_PRE_CONNECT; hook <= PIGEON_HOOK_PUBLISHED; hook++)
        if (hook_table[hook].family == family && member(p, hook).fn.any)
            return true;
    return false;
}

/* Pushed rules need a place in `authorize`, so every auth plugin may stand there. */
static bool may_stand(const struct plugin *p, enum config_chain_family family)
{
    return takes_part(p, family) || (family == CONFIG_AUTHORIZE && p->has_auth);
}

bool only_matches(const struct only *only, struct str topic)
{
    for (uint32_t i = 0; i < only->n; i++)
        if (topic_matches(only->filters[i], topic))
            return true;
    return only->n == 0;
}

/* ---- the operator's order ------------------------------------------------------------ */

static bool order_has(const struct order *o, const struct plugin *p)
{
    for (uint32_t i = 0; i < o->n; i++)
        if (o->entries[i].plugin == p)
            return true;
    return false;
}

static bool chain_mentions(const struct config_chain *c, const char *plugin)
{
    for (uint32_t i = 0; c->written && i < c->n_entries; i++)
        if (strcmp(c->entries[i].plugin, plugin) == 0)
            return true;
    return false;
}

bool chains_mention(const struct config *config, const char *plugin)
{
    for (int f = 0; f < CONFIG_N_CHAINS; f++) {
        if (chain_mentions(&config->chains.of[f], plugin))
            return true;
        for (uint32_t i = 0; i < config->n_listeners; i++)
            if (chain_mentions(&config->listeners[i].chains.of[f], plugin))
                return true;
    }
    return false;
}

static void fault(struct hooks *hooks, const char *chain, const char *plugin, const char *reason,
                  const char *help)
{
    log_error(hooks->log, "chain_refused", LZ("chain", chain), LZ("plugin", plugin),
              LZ("reason", reason), LZ("help", help));
}

static int order_write(struct hooks *hooks, enum config_chain_family family,
                       const struct config_chain *written, struct order *o)
{
    const char *name = config_chain_name(family);
    int r = 0;

    for (uint32_t i = 0; i < written->n_entries; i++) {
        const struct config_chain_entry *e = &written->entries[i];
        struct plugin *p = hooks_find(hooks, e->plugin);

        if (!p) {
            fault(hooks, name, e->plugin, "no such plugin takes part",
                  "install its file in plugins_dir, or take it out of the chain");
            r = -EINVAL;
        } else if (!may_stand(p, family)) {
            fault(hooks, name, e->plugin, "the plugin has no hook of this chain",
                  "take it out of the chain");
            r = -EINVAL;
        } else {
            o->entries[o->n++] = (struct entry){ p, (uint8_t)e->control };
        }
    }
    return r;
}

static void order_default(struct hooks *hooks, enum config_chain_family family, struct order *o)
{
    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        if (may_stand(&hooks->plugins[i], family))
            o->entries[o->n++] = (struct entry){ &hooks->plugins[i], CONFIG_DECIDE };
}

static struct order *order_of(const struct chains *c, uint32_t listener, int family)
{
    return &c->orders[listener * CONFIG_N_CHAINS + (uint32_t)family];
}

/* NULL for the broker's own, and for one that the configuration has no more. */
static const struct config_listener *listener_of(const struct chains *c, uint32_t listener)
{
    for (uint32_t i = 0; i < c->config->n_listeners && listener; i++)
        if (strcmp(c->config->listeners[i].name, c->names[listener]) == 0)
            return &c->config->listeners[i];
    return NULL;
}

static int order_copy(const struct order *from, struct order *o)
{
    o->entries = calloc(from->n ? from->n : 1, sizeof(*o->entries));
    if (!o->entries)
        return -ENOMEM;
    if (from->n)
        memcpy(o->entries, from->entries, from->n * sizeof(*o->entries));
    o->n = from->n;
    o->is_own = from->is_own;
    return 0;
}

static int order_build(struct chains *c, const struct chains *old, uint32_t listener,
                       enum config_chain_family family)
{
    struct hooks *hooks = c->hooks;
    const struct config_listener *l = listener_of(c, listener);
    const struct config_chain *written = config_chain(c->config, l, family);
    struct order *o = order_of(c, listener, family);
    uint32_t cap = written->written ? written->n_entries : hooks->n_plugins;

    if (listener && !l && order_of(old, listener, family)->is_own)
        return order_copy(order_of(old, listener, family), o);
    o->is_own = l && l->chains.of[family].written;
    o->entries = calloc(cap ? cap : 1, sizeof(*o->entries));
    if (!o->entries)
        return -ENOMEM;
    if (written->written)
        return order_write(hooks, family, written, o);
    order_default(hooks, family, o);
    return 0;
}

/* A plugin that decides and that no chain of its family asks would be a hole: nobody would notice.
 * A listener that the configuration has no more asks it for the clients it still has only. */
static int check_missing(const struct chains *c, enum config_chain_family family)
{
    struct hooks *hooks = c->hooks;
    int r = 0;

    for (uint32_t i = 0; i < hooks->n_plugins; i++) {
        struct plugin *p = &hooks->plugins[i];
        bool has_place = !takes_part(p, family);

        for (uint32_t l = 0; l < c->n_listeners && !has_place; l++)
            has_place = (l == 0 || listener_of(c, l)) && order_has(order_of(c, l, family), p);
        if (has_place)
            continue;
        fault(hooks, config_chain_name(family), p->name,
              "the plugin is loaded but not in the chain",
              "add it to the chain, or set enabled: false in its block under plugins");
        r = -EINVAL;
    }
    return r;
}

/* authorize_deliver is asked for each receiver and cannot wait for another loop or for
 * a worker. */
static int check_deliver(const struct chains *c)
{
    struct hooks *hooks = c->hooks;
    int r = 0;

    for (uint32_t i = 0; i < hooks->n_plugins; i++) {
        struct plugin *p = &hooks->plugins[i];

        if (!p->auth.authorize_deliver)
            continue;
        if (p->n_workers) {
            fault(hooks, "authorize", p->name,
                  "authorize_deliver must answer at once and cannot be asked of a worker",
                  "let it push rules with acl_add() at connect and leave the hook out, or set run: "
                  "inline in its block under plugins");
            r = -EINVAL;
        }
        if (p->n_workers || !plugin_is_single(p) || hooks->n_loops < 2)
            continue;
        fault(hooks, "authorize", p->name,
              "authorize_deliver of a plugin with one instance cannot be asked from several loops",
              "set threads: 1, or enabled: false in its block under plugins");
        r = -EINVAL;
    }
    return r;
}

/* ---- all of them --------------------------------------------------------------------- */

static bool names_have(const struct chains *c, const char *name)
{
    return chains_listener(c, name) > 0;
}

static int name_add(struct chains *c, const char *name)
{
    c->names[c->n_listeners] = strdup(name);
    return c->names[c->n_listeners++] ? 0 : -ENOMEM;
}

/* Those there were, then new ones. */
static int names_init(struct chains *c, const struct chains *old)
{
    const struct config *config = c->config;
    int r = 0;

    c->names = calloc((old ? old->n_listeners : 1) + config->n_listeners, sizeof(*c->names));
    if (!c->names)
        return -ENOMEM;
    c->n_listeners = 1;
    for (uint32_t i = 1; old && i < old->n_listeners && r == 0; i++)
        r = name_add(c, old->names[i]);
    for (uint32_t i = 0; i < config->n_listeners && r == 0; i++)
        if (!names_have(c, config->listeners[i].name))
            r = name_add(c, config->listeners[i].name);
    return r;
}

static const struct config_plugin *block_of(const struct chains *c, const struct plugin *p)
{
    return config_plugin(c->config, p->name);
}

static int only_init(struct chains *c)
{
    uint32_t n = c->hooks->n_plugins;

    c->only = calloc(n ? n : 1, sizeof(*c->only));
    for (uint32_t i = 0; i < n && c->only; i++) {
        const struct config_list *list = &block_of(c, &c->hooks->plugins[i])->only;
        struct only *only = &c->only[i];

        only->filters = calloc(list->n ? list->n : 1, sizeof(*only->filters));
        if (!only->filters)
            return -ENOMEM;
        for (; only->n < list->n; only->n++)
            only->filters[only->n] = str_from(list->items[only->n]);
    }
    return c->only ? 0 : -ENOMEM;
}

static int orders_init(struct chains *c, const struct chains *old)
{
    int r = 0;

    c->orders = calloc((size_t)c->n_listeners * CONFIG_N_CHAINS, sizeof(*c->orders));
    if (!c->orders)
        return -ENOMEM;
    if (c->hooks->store_only)
        return 0;
    for (uint32_t l = 0; l < c->n_listeners && r != -ENOMEM; l++)
        for (int f = 0; f < CONFIG_N_CHAINS && r != -ENOMEM; f++) {
            int e = order_build(c, old, l, (enum config_chain_family)f);

            r = e ? e : r;
        }
    for (int f = 0; f < CONFIG_EVENTS && r != -ENOMEM; f++)
        if (check_missing(c, (enum config_chain_family)f) < 0)
            r = -EINVAL;
    if (r != -ENOMEM && check_deliver(c) < 0)
        r = -EINVAL;
    return r;
}

int chains_new(struct hooks *hooks, struct config *config, const struct chains *old,
               struct chains **r_chains)
{
    struct chains *c = calloc(1, sizeof(*c));
    int r;

    if (!c)
        return -ENOMEM;
    c->refs = 1;
    c->hooks = hooks;
    c->config = config_ref(config);
    r = names_init(c, old);
    if (r == 0)
        r = only_init(c);
    if (r == 0)
        r = orders_init(c, old);
    if (r < 0) {
        chains_unref(&c);
        return r;
    }
    *r_chains = c;
    return 0;
}

struct chains *chains_ref(struct chains *chains)
{
    chains->refs++;
    return chains;
}

void chains_unref(struct chains **chains)
{
    struct chains *c = *chains;

    *chains = NULL;
    if (!c || --c->refs > 0)
        return;
    for (uint32_t i = 0; c->orders && i < c->n_listeners * CONFIG_N_CHAINS; i++)
        free(c->orders[i].entries);
    for (uint32_t i = 0; c->only && i < c->hooks->n_plugins; i++)
        free(c->only[i].filters);
    for (uint32_t i = 1; i < c->n_listeners; i++)
        free(c->names[i]);
    free(c->orders);
    free(c->only);
    free(c->names);
    config_unref(&c->config);
    free(c);
}

const char *chains_listener_name(const struct chains *c, uint32_t listener)
{
    return listener && listener < c->n_listeners ? c->names[listener] : "";
}

uint32_t chains_listener(const struct chains *c, const char *name)
{
    for (uint32_t i = 1; i < c->n_listeners; i++)
        if (strcmp(c->names[i], name) == 0)
            return i;
    return 0;
}

/* ---- flattened ----------------------------------------------------------------------- */

static uint64_t deadline_of(const struct chains *c, const struct plugin *p, uint32_t hook)
{
    int64_t ms = block_of(c, p)->deadline_ms;

    return ms > 0 ? (uint64_t)ms : hook_table[hook].deadline_ms;
}

static bool goes_on_at_deadline(const struct chains *c, const struct entry *e)
{
    return e->control == CONFIG_DECIDE &&
           block_of(c, e->plugin)->on_deadline == CONFIG_DEADLINE_NEXT;
}

static const struct only *only_of(const struct chains *c, const struct plugin *p)
{
    return c->only[p->index].n ? &c->only[p->index] : NULL;
}

static bool is_message(uint32_t hook)
{
    switch (hook) {
    case PIGEON_HOOK_PRE_CONNECT:
    case PIGEON_HOOK_AUTHENTICATE:
    case PIGEON_HOOK_EXCHANGE:
    case PIGEON_HOOK_AUTHORIZE_SUBSCRIBE: return false;
    default: return true;
    }
}

static void join_quick(struct chain *chain)
{
    for (uint32_t i = 0; i + 1 < chain->n; i++) {
        struct step *s = &chain->steps[i], *next = s + 1;

        s->goes_on = s->is_quick && next->is_quick && s->hook == next->hook &&
                     s->keeps_message == next->keeps_message && s->control != CONFIG_REQUIRE;
    }
}

static int flatten(const struct chains *c, const struct order *o, uint32_t hook,
                   const struct hook_loop *hl, struct chain *r_chain)
{
    bool is_authorize = hook_table[hook].family == CONFIG_AUTHORIZE;
    bool is_flow = hook == PIGEON_HOOK_INBOUND || hook == PIGEON_HOOK_PUBLISHED;

    r_chain->steps = calloc(o->n ? o->n : 1, sizeof(*r_chain->steps));
    if (!r_chain->steps)
        return -ENOMEM;
    for (uint32_t i = 0; i < o->n; i++) {
        const struct entry *e = &o->entries[i];
        struct plugin *p = e->plugin;
        struct step s = member(p, hook);

        if (!s.fn.any && !is_authorize)
            continue;
        s.inst = plugin_instance(p, hl->index);
        s.control = e->control;
        s.has_rules = is_authorize;
        s.next_on_deadline = goes_on_at_deadline(c, e);
        s.away = instance_is_away(s.inst, hl->index);
        s.only = is_flow ? only_of(c, p) : NULL;
        s.deadline_ms = deadline_of(c, p, hook);
        s.max_pending = (uint32_t)block_of(c, p)->max_pending;
        s.is_message = is_message(s.hook);
        s.keeps_message = hook != PIGEON_HOOK_AUTHORIZE_DELIVER || plugin_is_shared(p);
        s.deadline_ns = (int64_t)s.deadline_ms * 1000000;
        s.plugin = p->index;
        s.n_pending = &p->stats.n_pending;
        s.timing = crumb_timing(&hl->crumb, p->index, s.hook);
        s.is_quick = s.fn.any && s.is_message && !s.away && !s.only;
        r_chain->configured = r_chain->configured || s.fn.any;
        r_chain->steps[r_chain->n++] = s;
    }
    join_quick(r_chain);
    return 0;
}

/* The members of pigeon_events stand in the order of enum hook_event. */
_Static_assert(offsetof(pigeon_events, closed) ==
                   offsetof(pigeon_events, client) + EVENT_CLOSED * sizeof(void (*)(void)),
               "an event without a number");

static bool has_event(const struct plugin *p, enum hook_event event)
{
    void (*fn)(void);

    memcpy(&fn, (const char *)&p->events + offsetof(pigeon_events, client) + event * sizeof(fn),
           sizeof(fn));
    return p->has_events && fn;
}

static int flatten_events(const struct chains *c, const struct order *o, const struct hook_loop *hl,
                          struct event_chain *events, uint32_t *wanted)
{
    for (enum hook_event ev = 0; ev < EVENT_COUNT; ev++) {
        struct event_chain *chain = &events[ev];

        chain->steps = calloc(o->n ? o->n : 1, sizeof(*chain->steps));
        if (!chain->steps)
            return -ENOMEM;
        for (uint32_t i = 0; i < o->n; i++) {
            struct plugin *p = o->entries[i].plugin;
            struct instance *inst = plugin_instance(p, hl->index);

            if (has_event(p, ev))
                chain->steps[chain->n++] =
                    (struct event_step){ inst, only_of(c, p), instance_is_away(inst, hl->index) };
        }
        if (chain->n)
            *wanted |= UINT32_C(1) << ev;
    }
    return 0;
}

static int flatten_listener(struct chain_table *t, uint32_t l, const struct hook_loop *hl)
{
    for (uint32_t hook = PIGEON_HOOK_PRE_CONNECT; hook <= PIGEON_HOOK_PUBLISHED; hook++) {
        struct chain *c = &t->hooks[l * PIGEON_HOOK_COUNT + hook];
        const struct order *o = order_of(t->chains, l, hook_table[hook].family);

        if (flatten(t->chains, o, hook, hl, c) < 0)
            return -ENOMEM;
        /* Rules alone do not make deliveries be asked for: acl_checks_deliver() does. */
        if (c->configured || (c->n && hook != PIGEON_HOOK_AUTHORIZE_DELIVER))
            t->head.wanted_hooks |= UINT32_C(1) << hook;
    }
    return flatten_events(t->chains, order_of(t->chains, l, CONFIG_EVENTS), hl,
                          &t->events[l * EVENT_COUNT], &t->head.wanted_events);
}

int chain_table_new(struct chains *chains, const struct hook_loop *hl, struct chain_table **r_table)
{
    struct chain_table *t = calloc(1, sizeof(*t));
    int r = 0;

    if (!t)
        return -ENOMEM;
    t->chains = chains_ref(chains);
    t->n_listeners = chains->n_listeners;
    t->hooks = calloc((size_t)t->n_listeners * PIGEON_HOOK_COUNT, sizeof(*t->hooks));
    t->events = calloc((size_t)t->n_listeners * EVENT_COUNT, sizeof(*t->events));
    if (!t->hooks || !t->events)
        r = -ENOMEM;
    for (uint32_t l = 0; l < t->n_listeners && r == 0; l++)
        r = flatten_listener(t, l, hl);
    if (r < 0)
        chain_table_free(&t);
    else
        *r_table = t;
    return r;
}

void chain_table_free(struct chain_table **table)
{
    struct chain_table *t = *table;

    *table = NULL;
    if (!t)
        return;
    for (uint32_t i = 0; t->hooks && i < t->n_listeners * PIGEON_HOOK_COUNT; i++)
        free(t->hooks[i].steps);
    for (uint32_t i = 0; t->events && i < t->n_listeners * EVENT_COUNT; i++)
        free(t->events[i].steps);
    free(t->hooks);
    free(t->events);
    chains_unref(&t->chains);
    free(t);
}

/* A question that waits has a slot, and the slot its step, until the late answer has come, too. */
static bool is_asked(const struct chain_table *t, const struct hook_loop *hl)
{
    for (uint32_t i = 0; i < t->n_listeners * PIGEON_HOOK_COUNT; i++)
        if (t->hooks[i].n && slots_ask(hl, t->hooks[i].steps, t->hooks[i].n))
            return true;
    return false;
}

static void drop_replaced(struct hook_loop *hl, bool all)
{
    for (struct chain_table **at = &hl->replaced, *t; (t = *at);) {
        if (!all && is_asked(t, hl)) {
            at = &t->next;
            continue;
        }
        *at = t->next;
        chain_table_free(&t);
    }
}

void hook_loop_take_table(struct hook_loop *hl, struct chain_table *m_table)
{
    hl->chains_version++;
    if (hl->table) {
        hl->table->next = hl->replaced;
        hl->replaced = hl->table;
    }
    hl->table = m_table;
    hl->head = m_table->head;
    hl->chains = m_table->hooks;
    hl->events = m_table->events;
    hl->n_listeners = m_table->n_listeners;
    if (hl->replaced)
        clients_take_chains(hl);
    drop_replaced(hl, false);
}

void hook_loop_drop_tables(struct hook_loop *hl)
{
    drop_replaced(hl, true);
    chain_table_free(&hl->table);
}

bool chains_configured(const struct chains *chains, uint32_t hook)
{
    if (hook < PIGEON_HOOK_PRE_CONNECT || hook > PIGEON_HOOK_PUBLISHED)
        return false;
    for (uint32_t l = 0; l < chains->n_listeners; l++) {
        const struct order *o = order_of(chains, l, hook_table[hook].family);

        for (uint32_t i = 0; i < o->n; i++)
            if (member(o->entries[i].plugin, hook).fn.any)
                return true;
    }
    return false;
}

/* ---- printed ------------------------------------------------------------------------- */

static const char *control_name(uint8_t control)
{
    switch (control) {
    case CONFIG_REQUIRE: return "require";
    case CONFIG_VETO: return "veto";
    default: return "decide";
    }
}

static void print_time(FILE *out, uint64_t ms)
{
    if (ms % 1000)
        fprintf(out, "%llums", (unsigned long long)ms);
    else
        fprintf(out, "%llus", (unsigned long long)(ms / 1000));
}

static const char *end_name(const struct chains *c, const struct order *o, int family)
{
    bool is_configured = false;

    for (uint32_t i = 0; i < o->n; i++)
        is_configured =
            is_configured || takes_part(o->entries[i].plugin, (enum config_chain_family)family);
    switch (family) {
    case CONFIG_AUTHENTICATE: return is_configured ? "DENY" : "allow_anonymous";
    case CONFIG_AUTHORIZE:
        if (is_configured || c->config->default_access == CONFIG_DENY)
            return "DENY";
        return "ALLOW (default_access)";
    default: return "GO ON";
    }
}

/* First hook of a family, for its deadline. */
static uint32_t hook_of_family(int family)
{
    for (uint32_t hook = PIGEON_HOOK_PRE_CONNECT; hook <= PIGEON_HOOK_PUBLISHED; hook++)
        if ((int)hook_table[hook].family == family)
            return hook;
    return PIGEON_HOOK_EVENT;
}

static void print_order(const struct chains *c, uint32_t listener, int family, FILE *out)
{
    const struct order *o = order_of(c, listener, family);

    fprintf(out, "  %s: ", config_chain_name((enum config_chain_family)family));
    for (uint32_t i = 0; i < o->n; i++) {
        const struct entry *e = &o->entries[i];

        if (family == CONFIG_EVENTS) {
            fprintf(out, "%s%s", i ? ", " : "", e->plugin->name);
            continue;
        }
        fprintf(out, "%s(%s, ", e->plugin->name, control_name(e->control));
        if (e->plugin->n_workers)
            fprintf(out, "worker x%u, ", e->plugin->n_workers);
        else
            fputs("inline, ", out);
        print_time(out, deadline_of(c, e->plugin, hook_of_family(family)));
        fprintf(out, ", %s) -> ", goes_on_at_deadline(c, e) ? "next" : "deny");
    }
    if (family != CONFIG_EVENTS)
        fputs(end_name(c, o, family), out);
    else if (o->n == 0)
        fputs("nobody", out);
    fputc('\n', out);
}

void chains_print(const struct chains *chains, FILE *out)
{
    fputs("chains:\n", out);
    for (int f = 0; f < CONFIG_N_CHAINS; f++)
        print_order(chains, 0, f, out);
    for (uint32_t l = 1; l < chains->n_listeners; l++)
        for (int f = 0; f < CONFIG_N_CHAINS; f++)
            if (order_of(chains, l, f)->is_own) {
                fprintf(out, "  listener %s:", chains->names[l]);
                print_order(chains, l, f, out);
            }
}
