#include "config/config_priv.h"
#include "config/suggest.h"
#include "config/tables.h"
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define DEFAULT_PORT 1883

struct builder {
    struct config_box *box;
    struct value_env env;
    struct diag *d;
    const struct config_input *input;
};

static void no_memory(struct builder *b)
{
    b->d->no_memory = true;
}

static void *new_array(struct builder *b, size_t n, size_t size)
{
    void *p = arena_array(&b->box->arena, n, size);
    if (!p)
        no_memory(b);
    return p;
}

/* What the tables know of a block, into the struct at `base`. *r_written (may be NULL): whether
 * `key` was written. */
static void read_block(struct builder *b, const struct table *t, const struct node *map,
                       struct place at, void *base, const char *key, bool *r_written)
{
    struct value *values = calloc(t->n, sizeof(*values));
    if (!values) {
        no_memory(b);
        return;
    }
    table_read(t, &b->env, map, at, values);
    table_store(t, &b->env, values, base);
    for (uint32_t i = 0; r_written && i < t->n; i++)
        if (!strcmp(table_row(t, i).key, key))
            *r_written = values[i].written;
    free(values);
}

/* A block with keys of the operator's choice, or NULL when there is none to walk. */
static const struct node *free_block(struct builder *b, const struct node *map, const char *name)
{
    char what[80];
    if (!map || node_is_null(map))
        return NULL;
    if (map->kind == NODE_MAP)
        return map;
    diag_error(b->d, map->place, "'%s' must be a block, found %s", name,
               node_describe(map, what, sizeof(what)));
    return NULL;
}

static bool control_of(struct str word, enum config_control *r_control)
{
    static const char *const words[] = { "decide", "require", "veto" };
    for (int i = 0; i < 3; i++)
        if (str_eq(word, str_from(words[i]))) {
            *r_control = (enum config_control)i;
            return true;
        }
    return false;
}

/* `name`, or { veto: name }, { require: name }, { decide: name }. */
static void read_entry(struct builder *b, const struct node *node, struct config_chain_entry *entry)
{
    const struct node *name = node;
    entry->control = CONFIG_DECIDE;
    if (node->kind == NODE_MAP && node->n == 1) {
        const struct node *word = node->pairs[0].key;
        name = node->pairs[0].value;
        if (!control_of(word->text, &entry->control)) {
            struct suggest s;
            char hint[64];
            suggest_init(&s, word->text);
            suggest_offer_words(&s, "decide|require|veto");
            diag_error(b->d, word->place, "'" STR_FMT "' is no control word%s", STR_ARG(word->text),
                       suggest_text(&s, hint, sizeof(hint)));
        }
    }
    entry->place = name->place;
    entry->plugin = name->text.ptr;
    if (name->kind == NODE_SCALAR && value_is_name(name->text))
        return;
    entry->plugin = "";
    char what[80];
    diag_error(b->d, name->place, "expected the name of a plugin or { veto: NAME }, found %s",
               node_describe(name, what, sizeof(what)));
}

static void read_chain(struct builder *b, const struct node *value, struct config_chain *chain)
{
    char what[80];
    bool list = value->kind == NODE_LIST;
    if (!list && !node_is_null(value)) {
        diag_error(b->d, value->place, "a chain must be a list of plugins, found %s",
                   node_describe(value, what, sizeof(what)));
        return;
    }
    uint32_t n = list ? value->n : 0;
    chain->written = true;
    chain->place = value->place;
    if (!(chain->entries = new_array(b, n, sizeof(*chain->entries))))
        return;
    for (uint32_t i = 0; i < n; i++)
        read_entry(b, value->items[i], &chain->entries[i]);
    chain->n_entries = n;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k < i; k++)
            if (*chain->entries[i].plugin &&
                !strcmp(chain->entries[i].plugin, chain->entries[k].plugin)) {
                diag_error(b->d, chain->entries[i].place, "'%s' is in this chain twice",
                           chain->entries[i].plugin);
                break;
            }
}

static void read_chains(struct builder *b, const struct node *map, struct config_chains *chains)
{
    map = free_block(b, map, "chains");
    for (uint32_t i = 0; map && i < map->n; i++) {
        const struct node *key = map->pairs[i].key;
        int family = 0;
        struct suggest s;
        suggest_init(&s, key->text);
        for (; core_chains[family].key; family++) {
            if (str_eq(key->text, str_from(core_chains[family].key)))
                break;
            suggest_offer(&s, str_from(core_chains[family].key), "");
        }
        char hint[64];
        if (core_chains[family].key)
            read_chain(b, map->pairs[i].value, &chains->of[family]);
        else
            diag_error(b->d, key->place, "unknown chain '" STR_FMT "'%s", STR_ARG(key->text),
                       suggest_text(&s, hint, sizeof(hint)));
    }
}

static void read_filters(struct builder *b, const struct node *map, struct config_durability *dur)
{
    const struct core_option *rows = core_durability.rows;
    map = free_block(b, map, "filters");
    if (!map || !(dur->filters = new_array(b, map->n, sizeof(*dur->filters))))
        return;
    for (uint32_t i = 0; i < map->n; i++) {
        const struct node_pair *pair = &map->pairs[i];
        pigeon_option row = rows[0].opt; /* the words of `default`, under this key */
        row.key = pair->key->text.ptr;
        struct value v = { 0 };
        if (!value_is_filter(pair->key->text))
            diag_error(b->d, pair->key->place, "'" STR_FMT "' is no topic filter",
                       STR_ARG(pair->key->text));
        value_read(&b->env, &row, 0, pair->value, &v);
        dur->filters[i].filter = pair->key->text.ptr;
        dur->filters[i].level = (enum config_durability_level)v.num;
    }
    dur->n_filters = map->n;
}

/* Numbers, with or without zone, "*", or a host name. A name without any letter is a mistyped
 * number. */
static bool is_address(const char *address)
{
    struct in6_addr bin;
    char plain[64];
    size_t len = strcspn(address, "%");
    if (len >= sizeof(plain))
        return false;
    memcpy(plain, address, len);
    plain[len] = '\0';
    if (inet_pton(AF_INET6, plain, &bin) == 1)
        return address[len] == '\0' || address[len + 1] != '\0';
    if (inet_pton(AF_INET, address, &bin) == 1 || !strcmp(address, "*"))
        return true;
    bool letter = strpbrk(address, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ");
    return letter && value_is_name(str_from(address));
}

static void check_address(struct builder *b, const char *address, struct place at)
{
    if (!is_address(address))
        diag_error(b->d, at, "'%s' is no address; every address is '*'", address);
}

/* A key that says nothing without another one. */
static void check_needs(struct builder *b, const struct node *map, const char *key, bool has,
                        const char *what)
{
    const struct node_pair *pair = node_get_pair(map, str_from(key));
    if (pair && !has)
        diag_error(b->d, pair->key->place, "'%s' needs %s", key, what);
}

static bool is_path(const char *path)
{
    for (const char *p = path; *p; p++)
        if (*p <= ' ' || *p > '~' || *p == '?' || *p == '#')
            return false;
    return *path == '/';
}

static void check_transport(struct builder *b, const struct node *map, struct config_listener *l)
{
    const struct node *path = node_get(map, "path");
    const struct node_pair *proxy = node_get_pair(map, STR("proxy_protocol"));
    bool websocket = l->protocol == CONFIG_WEBSOCKET;
    check_needs(b, map, "owner", l->unix_path, "a 'unix' path");
    check_needs(b, map, "group", l->unix_path, "a 'unix' path");
    check_needs(b, map, "path", websocket, "'protocol: websocket'");
    check_needs(b, map, "origins", websocket, "'protocol: websocket'");
    check_needs(b, map, "trusted_proxies", websocket || l->proxy_protocol,
                "'proxy_protocol' or 'protocol: websocket'");
    if (l->path && !is_path(l->path))
        diag_error(b->d, path->place, "'path' must be like /mqtt, found '%s'", l->path);
    if (proxy && l->proxy_protocol && !node_get(map, "trusted_proxies"))
        diag_error(b->d, proxy->key->place,
                   "'proxy_protocol' needs 'trusted_proxies': who may say who the client is");
}

static void check_listener(struct builder *b, const struct node *map, struct config_listener *l)
{
    check_transport(b, map, l);
    const struct node *bind = node_get(map, "bind");
    const struct node_pair *port = node_get_pair(map, STR("port"));
    bool has_port = port || (b->input->has_port && l->port >= 0);
    if (!has_port && !node_get(map, "unix"))
        diag_error(b->d, l->place, "a listener needs a 'port' or a 'unix' path");
    if (l->unix_path && port)
        diag_error(b->d, port->key->place, "a listener has either a 'port' or a 'unix' path");
    if (l->unix_path && bind)
        diag_error(b->d, bind->place, "a unix socket has no addresses");
    for (uint32_t i = 0; bind && i < l->bind.n; i++)
        check_address(b, l->bind.items[i],
                      bind->kind == NODE_LIST && i < bind->n ? bind->items[i]->place : bind->place);
}

static void read_certificates(struct builder *b, const struct node *list, struct config_tls *tls)
{
    char what[80];
    if (!list || node_is_null(list))
        return;
    if (list->kind != NODE_LIST) {
        diag_error(b->d, list->place, "'certificates' must be a list of blocks, found %s",
                   node_describe(list, what, sizeof(what)));
        return;
    }
    if (!(tls->more = new_array(b, list->n, sizeof(tls->more[0]))))
        return;
    for (uint32_t i = 0; i < list->n; i++)
        read_block(b, &core_tls_files, list->items[i], list->items[i]->place, &tls->more[i], NULL,
                   NULL);
    tls->n_more = list->n;
}

static void check_tls(struct builder *b, const struct node *map, const struct config_tls *tls)
{
    bool asks = tls->client_cert != CONFIG_CERT_NONE;
    check_needs(b, map, "crl", tls->ca, "a 'ca'");
    check_needs(b, map, "identity", asks || tls->identity == CONFIG_ID_NONE,
                "'client_cert: required' or 'optional'");
    check_needs(b, map, "client_cert", !asks || tls->ca,
                "a 'ca': who signs the certificates of clients");
    check_needs(b, map, "ca", !tls->ca || asks, "'client_cert: required' or 'optional'");
}

static void read_tls(struct builder *b, const struct node_pair *pair, struct config_tls *tls)
{
    const struct node *map = pair ? pair->value : NULL;
    if (!map || node_is_null(map))
        return;
    tls->on = true;
    read_block(b, &core_tls, map, pair->key->place, tls, NULL, NULL);
    if (map->kind != NODE_MAP)
        return;
    read_certificates(b, node_get(map, "certificates"), tls);
    check_tls(b, map, tls);
}

static void read_listener(struct builder *b, const struct node *map, struct config_listener *l)
{
    l->port = -1;
    l->place = map->place;
    read_block(b, &core_listener, map, map->place, l, "bind", &l->bind_written);
    read_chains(b, node_get(map, "chains"), &l->chains);
    read_tls(b, node_get_pair(map, STR("tls")), &l->tls);
    if (map->kind == NODE_MAP)
        check_listener(b, map, l);
    if (l->unix_path)
        l->bind = (struct config_list){ 0 };
}

static void name_listener(struct builder *b, struct config_listener *l)
{
    const char *protocol = l->protocol == CONFIG_WEBSOCKET ? "websocket" : "mqtt";
    if (l->name)
        return;
    if (l->unix_path)
        l->name = arena_printf(&b->box->arena, "%s-%s", protocol, l->unix_path);
    else
        l->name = arena_printf(&b->box->arena, "%s-%" PRId64, protocol, l->port);
    if (!l->name) {
        l->name = "";
        no_memory(b);
    }
}

static bool same_socket(const struct config_listener *a, const struct config_listener *b)
{
    if (a->unix_path && b->unix_path)
        return !strcmp(a->unix_path, b->unix_path);
    if (a->unix_path || b->unix_path || a->port <= 0 || a->port != b->port)
        return false;
    for (uint32_t i = 0; i < a->bind.n; i++)
        for (uint32_t k = 0; k < b->bind.n; k++)
            if (!strcmp(a->bind.items[i], b->bind.items[k]))
                return true;
    return false;
}

static bool name_is_taken(const struct config_listener *all, uint32_t n, const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (!strcmp(all[i].name, name))
            return true;
    return false;
}

/* Generated names that clash get a number; written ones must differ, and addresses always. */
static void separate_listener(struct builder *b, struct config_listener *all, uint32_t i,
                              bool written)
{
    for (uint32_t k = 0; k < i; k++)
        if (same_socket(&all[k], &all[i])) {
            diag_error(b->d, all[i].place, "the listener '%s' has the same address", all[k].name);
            break;
        }
    if (written && name_is_taken(all, i, all[i].name)) {
        diag_error(b->d, all[i].place, "another listener has the name '%s'", all[i].name);
        return;
    }
    const char *base = all[i].name;
    for (uint32_t n = 2; name_is_taken(all, i, all[i].name); n++) {
        char *name = arena_printf(&b->box->arena, "%s-%u", base, n);
        if (!name) {
            no_memory(b);
            return;
        }
        all[i].name = name;
    }
}

static void override_port(struct builder *b)
{
    struct config *c = &b->box->config;
    for (uint32_t i = 0; b->input->has_port && i < c->n_listeners; i++)
        if (!c->listeners[i].unix_path) {
            c->listeners[i].port = b->input->port;
            return;
        }
}

static void read_listeners(struct builder *b, const struct node *list)
{
    struct config *c = &b->box->config;
    char what[80];
    if (list && list->kind != NODE_LIST && !node_is_null(list)) {
        diag_error(b->d, list->place, "'listeners' must be a list of blocks, found %s",
                   node_describe(list, what, sizeof(what)));
        list = NULL;
    }
    bool none = !list || list->kind != NODE_LIST;
    if (!none && !list->n)
        diag_error(b->d, list->place, "'listeners' is empty; without it there is one on loopback");
    uint32_t n = none ? 1 : list->n;
    if (!(c->listeners = new_array(b, n, sizeof(*c->listeners))))
        return;
    c->n_listeners = n;
    for (uint32_t i = 0; i < n && !none; i++)
        read_listener(b, list->items[i], &c->listeners[i]);
    if (none) {
        struct config_listener *l = &c->listeners[0];
        read_block(b, &core_listener, NULL, b->box->place, l, "bind", &l->bind_written);
        l->port = DEFAULT_PORT;
    }
    override_port(b);
    for (uint32_t i = 0; i < n; i++) {
        bool written = c->listeners[i].name;
        name_listener(b, &c->listeners[i]);
        separate_listener(b, c->listeners, i, written);
    }
}

static void read_plugin(struct builder *b, const struct node_pair *pair, struct config_plugin *p)
{
    p->name = pair->key->text.ptr;
    p->place = pair->key->place;
    if (!value_is_name(pair->key->text))
        diag_error(b->d, pair->key->place, "'" STR_FMT "' cannot be the name of a plugin",
                   STR_ARG(pair->key->text));
    read_block(b, &core_plugin, pair->value, pair->key->place, p, NULL, NULL);
    p->options = node_get(pair->value, "options");
    const struct node_pair *run = node_get_pair(pair->value, STR("run"));
    const struct node_pair *workers = node_get_pair(pair->value, STR("workers"));
    p->run_place = run ? run->value->place : p->place;
    p->workers_place = workers ? workers->value->place : p->place;
    if (workers && p->run == CONFIG_INLINE)
        diag_error(b->d, workers->key->place, "'workers' needs 'run: worker'");
}

static void read_plugins(struct builder *b, const struct node *map)
{
    struct config *c = &b->box->config;
    read_block(b, &core_plugin, NULL, b->box->place, &c->plugin_preset, NULL, NULL);
    c->plugin_preset.place = b->box->place;
    map = free_block(b, map, "plugins");
    if (!map || !(c->plugins = new_array(b, map->n, sizeof(*c->plugins))))
        return;
    c->n_plugins = map->n;
    for (uint32_t i = 0; i < map->n; i++)
        read_plugin(b, &map->pairs[i], &c->plugins[i]);
}

static void check_limits(struct builder *b, const struct node *map)
{
    const struct config_limits *l = &b->box->config.limits;
    const struct node *min = node_get(map, "min_keepalive"), *max = node_get(map, "max_keepalive");
    if (l->max_keepalive_ms && l->min_keepalive_ms > l->max_keepalive_ms && (min || max))
        diag_error(b->d, (min ? min : max)->place, "'min_keepalive' is above 'max_keepalive'");
    const struct node *connect = node_get(map, "connect_size");
    if (connect && l->connect_size > l->packet_size)
        diag_error(b->d, connect->place, "'connect_size' is above 'packet_size'");
}

/* `on_deadline: next` would let a missed veto or a missed requirement pass. */
static void check_deadlines(struct builder *b, const struct config_chains *chains)
{
    for (int family = 0; family < CONFIG_N_CHAINS; family++) {
        const struct config_chain *chain = &chains->of[family];
        for (uint32_t i = 0; i < chain->n_entries; i++) {
            const struct config_chain_entry *e = &chain->entries[i];
            const struct config_plugin *p = config_plugin(&b->box->config, e->plugin);
            if (e->control != CONFIG_DECIDE && p->on_deadline == CONFIG_DEADLINE_NEXT)
                diag_error(b->d, e->place, "'%s' has 'on_deadline: next', so it can only decide",
                           e->plugin);
        }
    }
}

void config_build(struct config_box *box, const struct node *root, const struct config_input *input,
                  struct diag *d)
{
    struct builder b = {
        .box = box, .env = { .arena = &box->arena, .diag = d }, .d = d, .input = input
    };
    struct config *c = &box->config;
    const struct node *durability = node_get(root, "durability"),
                      *limits = node_get(root, "limits");
    read_block(&b, &core_top, root, box->place, c, NULL, NULL);
    read_block(&b, &core_log, node_get(root, "log"), box->place, &c->log, NULL, NULL);
    read_block(&b, &core_limits, limits, box->place, &c->limits, NULL, NULL);
    read_block(&b, &core_durability, durability, box->place, &c->durability, NULL, NULL);
    read_filters(&b, node_get(durability, "filters"), &c->durability);
    read_listeners(&b, node_get(root, "listeners"));
    read_plugins(&b, node_get(root, "plugins"));
    read_chains(&b, node_get(root, "chains"), &c->chains);
    check_limits(&b, limits);
    check_deadlines(&b, &c->chains);
    for (uint32_t i = 0; i < c->n_listeners; i++)
        check_deadlines(&b, &c->listeners[i].chains);
}
