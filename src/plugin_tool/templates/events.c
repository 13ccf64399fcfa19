/* @name@ - is told what happened; it cannot change anything. */
#include <pigeon/plugin.h>
#include <stdlib.h>

struct self { /* one per event loop: no lock is needed; lines about one client are in order */
    const pigeon_host *host;
    int32_t seen; /* metric */
};

static void on_client(void *arg, const pigeon_client *client)
{
    struct self *self = arg;
    const pigeon_host *host = self->host;

    host->metric_add(host->inst, self->seen, 1);
    pigeon_logf(host, PIGEON_LOG_INFO, "%s came from %s", client->id.ptr, client->address.ptr);
}

static void on_client_disconnect(void *arg, const pigeon_client *client, uint32_t reason,
                                 pigeon_str text)
{
    struct self *self = arg;

    (void)text;
    pigeon_logf(self->host, PIGEON_LOG_INFO, "%s went, reason 0x%02x", client->id.ptr,
                (unsigned)reason);
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = malloc(sizeof(*self));

    (void)conf;
    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    self->seen = host->metric(host->inst, "seen", "clients that came", PIGEON_METRIC_COUNTER);
    *out = self;
    return PIGEON_OK;
}

static const pigeon_events events = {
    .size = sizeof(events),
    .client = on_client,
    .client_disconnect = on_client_disconnect,
};

PIGEON_PLUGIN("@id@", "0.1", "notes who comes and goes", "MIT", PIGEON_F_OPTIONAL,
              (PIGEON_PROVIDES(PIGEON_IF_EVENTS, &events)), .create = create, .destroy = free);
