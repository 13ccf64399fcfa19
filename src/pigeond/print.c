#include "pigeond/print.h"
#include "hooks/hooks.h"

void print_version(FILE *out)
{
    fprintf(out,
            "pigeond %s\n"
            "plugin ABI: %d.%d\n"
            "features: MQTT 3.1, 3.1.1, 5.0; TCP, unix sockets; TLS: yes; WebSocket: yes; PROXY: yes\n",
            PIGEON_VERSION, PIGEON_ABI_MAJOR, PIGEON_ABI_MINOR);
}

int print_plugins(const struct config *config, FILE *out)
{
    return hooks_survey(config, out);
}

static void print_addresses(const struct config_listener *l, FILE *out)
{
    if (l->unix_path) {
        fprintf(out, "%s (mode %04o)", l->unix_path, (unsigned)l->mode);
        return;
    }
    for (uint32_t i = 0; i < l->bind.n; i++)
        fprintf(out, "%s%s", i ? ", " : "", l->bind.items[i]);
    if (l->port)
        fprintf(out, " port %d", (int)l->port);
    else
        fputs(" on any free port", out);
}

static bool is_local(const struct config_listener *l)
{
    bool local = true;
    for (uint32_t i = 0; i < l->bind.n && !l->unix_path; i++)
        local &= config_is_loopback(l->bind.items[i]);
    return local;
}

void print_listeners(const struct config *config, FILE *out)
{
    fputs("listeners:\n", out);
    for (uint32_t i = 0; i < config->n_listeners; i++) {
        const struct config_listener *l = &config->listeners[i];
        fprintf(out, "  %s: ", l->name);
        print_addresses(l, out);
        fprintf(out, ", %s, clients that no plugin decides about %s\n",
                l->protocol == CONFIG_MQTT ? "mqtt" : "websocket",
                config_allows_anonymous(config, l, is_local(l)) ? "come in" : "are refused");
    }
}
