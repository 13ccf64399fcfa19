#include "config/config.h"
#include "config/config_priv.h"
#include "config/tables.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>

struct config_box *config_box_new(void)
{
    struct config_box *box = calloc(1, sizeof(*box));
    if (!box)
        return NULL;
    atomic_init(&box->n_refs, 1);
    arena_init(&box->arena);
    return box;
}

int config_load(const struct config_input *input, struct diag *d, struct config **r_config)
{
    uint32_t before = d->n_errors;
    struct config_box *box = config_box_new();
    if (!box) {
        d->no_memory = true;
        return -ENOMEM;
    }
    const struct node *root = config_read(box, input, d);
    if (!d->no_memory)
        config_build(box, root, input, d);
    if (!d->no_memory && d->n_errors == before) {
        *r_config = &box->config;
        return 0;
    }
    struct config *config = &box->config;
    config_unref(&config);
    return d->no_memory ? -ENOMEM : -EINVAL;
}

struct config *config_ref(struct config *config)
{
    struct config_box *box = (struct config_box *)config;
    atomic_fetch_add_explicit(&box->n_refs, 1, memory_order_relaxed);
    return config;
}

void config_unref(struct config **config)
{
    struct config_box *box = (struct config_box *)*config;
    *config = NULL;
    if (!box || atomic_fetch_sub_explicit(&box->n_refs, 1, memory_order_acq_rel) > 1)
        return;
    arena_fini(&box->arena);
    free(box);
}

uint32_t config_threads(const struct config *config, uint32_t n_cores)
{
    if (config->threads != CONFIG_AUTO)
        return (uint32_t)config->threads;
    if (n_cores <= 2)
        return 1;
    return n_cores - 1 > 64 ? 64 : n_cores - 1;
}

const struct config_plugin *config_plugin(const struct config *config, const char *name)
{
    for (uint32_t i = 0; i < config->n_plugins; i++)
        if (!strcmp(config->plugins[i].name, name))
            return &config->plugins[i];
    return &config->plugin_preset;
}

const struct config_chain *config_chain(const struct config *config,
                                        const struct config_listener *listener,
                                        enum config_chain_family family)
{
    if (listener && listener->chains.of[family].written)
        return &listener->chains.of[family];
    return &config->chains.of[family];
}

const char *config_chain_name(enum config_chain_family family)
{
    return core_chains[family].key;
}

bool config_is_loopback(const char *address)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, address, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, address, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6) || (IN6_IS_ADDR_V4MAPPED(&v6) && v6.s6_addr[12] == 127);
    return !strcmp(address, "localhost");
}

bool config_allows_anonymous(const struct config *config, const struct config_listener *listener,
                             bool is_loopback)
{
    if (listener->allow_anonymous != CONFIG_TRI_AUTO)
        return listener->allow_anonymous == CONFIG_TRI_TRUE;
    if (config->allow_anonymous != CONFIG_TRI_AUTO)
        return config->allow_anonymous == CONFIG_TRI_TRUE;
    return is_loopback;
}

enum config_durability_level config_durability_of(const struct config *config, struct str topic,
                                                  bool (*match)(struct str filter,
                                                                struct str topic))
{
    const struct config_durability *d = &config->durability;
    for (uint32_t i = 0; i < d->n_filters; i++)
        if (match(str_from(d->filters[i].filter), topic))
            return d->filters[i].level;
    return d->preset;
}

enum config_durability_level config_durability_most(const struct config *config)
{
    const struct config_durability *d = &config->durability;
    enum config_durability_level most = d->preset;
    for (uint32_t i = 0; i < d->n_filters; i++)
        if (d->filters[i].level > most)
            most = d->filters[i].level;
    return most;
}

int config_check_open(const struct config *config, bool has_auth, struct diag *d)
{
    int result = 0;
    for (uint32_t i = 0; i < config->n_listeners; i++) {
        const struct config_listener *l = &config->listeners[i];
        const struct config_chain *chain = config_chain(config, l, CONFIG_AUTHENTICATE);
        bool decided =
            l->allow_anonymous != CONFIG_TRI_AUTO || config->allow_anonymous != CONFIG_TRI_AUTO ||
            chain->n_entries || (has_auth && !chain->written) ||
            (l->tls.client_cert == CONFIG_CERT_REQUIRED && l->tls.identity != CONFIG_ID_NONE);
        for (uint32_t k = 0; k < l->bind.n && !decided; k++) {
            if (config_is_loopback(l->bind.items[k]))
                continue;
            diag_error(d, l->place,
                       "'%s' is open to the network on %s, but nobody decides who may come in: "
                       "configure a plugin that authenticates, or write 'allow_anonymous: true' "
                       "to let everybody in",
                       l->name, l->bind.items[k]);
            result = -EINVAL;
            break;
        }
    }
    return result;
}
