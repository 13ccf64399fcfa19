/* Options: a pigeon_conf is a struct plugin_conf. */
#include "hooks/host_priv.h"

static const struct plugin_conf *of(const pigeon_conf *conf)
{
    return (const struct plugin_conf *)(const void *)conf;
}

static pigeon_str view(struct str s)
{
    return (pigeon_str){ .ptr = s.ptr, .len = s.len };
}

static int64_t conf_int(const pigeon_conf *conf, const char *key)
{
    return plugin_conf_int(of(conf), key);
}

static pigeon_str conf_str(const pigeon_conf *conf, const char *key)
{
    return view(plugin_conf_str(of(conf), key));
}

static uint32_t conf_count(const pigeon_conf *conf, const char *key)
{
    return plugin_conf_count(of(conf), key);
}

static pigeon_str conf_item(const pigeon_conf *conf, const char *key, uint32_t i)
{
    return view(plugin_conf_item(of(conf), key, i));
}

void host_conf_fill(pigeon_host *host)
{
    host->conf_int = conf_int;
    host->conf_str = conf_str;
    host->conf_count = conf_count;
    host->conf_item = conf_item;
}
