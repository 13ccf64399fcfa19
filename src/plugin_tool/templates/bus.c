/* @name@ - carries parcels between nodes. This one has no wire yet: what is sent comes back as if
 * another node had said it. Replace wire_send(), and call bus_host->deliver() for what arrives. */
#include <pigeon/plugin.h>
#include <stdlib.h>

struct self { /* one instance; [any] thread may send, the host serialises */
    const pigeon_host *host;
    const pigeon_bus_host *bus_host;
    pigeon_incarnation me;
};

/* PIGEON_OK: the wire has it. PIGEON_E_BUSY: not now, the host waits and tries again.
 * PIGEON_PENDING: host->complete(inst, token, PIGEON_OK) follows. */
static int32_t wire_send(struct self *self, const pigeon_parcel *parcel)
{
    return self->bus_host->deliver(self->host->inst, parcel);
}

static int32_t bus_open(void *arg, pigeon_token token, pigeon_incarnation me, uint32_t credit_bytes)
{
    struct self *self = arg;

    (void)token;
    (void)credit_bytes; /* so much may be delivered before more() is called */
    self->me = me;
    return self->bus_host->state(self->host->inst, 1, 0, pigeon_z("connected"));
}

static int32_t bus_send(void *arg, pigeon_token token, const pigeon_parcel *parcel)
{
    (void)token;
    return wire_send(arg, parcel);
}

static int32_t bus_more(void *arg, uint32_t credit_bytes)
{
    (void)arg;
    (void)credit_bytes;
    return PIGEON_OK;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    const pigeon_bus_host *bus_host =
        host->get(host->inst, PIGEON_IF_BUS_HOST, sizeof(pigeon_bus_host));
    struct self *self;

    (void)conf;
    if (!bus_host)
        return host->fail(host->inst, NULL, "this broker has no bus");
    self = calloc(1, sizeof(*self));
    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    self->bus_host = bus_host;
    *out = self;
    return PIGEON_OK;
}

static const pigeon_bus bus = {
    .size = sizeof(bus),
    .caps = PIGEON_BUS_ORDERED,
    .open = bus_open,
    .send = bus_send,
    .more = bus_more,
};

PIGEON_PLUGIN("@id@", "0.1", "a bus without a wire", "MIT", PIGEON_F_SINGLE | PIGEON_F_ON_DEMAND,
              (PIGEON_PROVIDES(PIGEON_IF_BUS, &bus)), .create = create, .destroy = free);
