/* @name@ - looks at every message before it is authorized, and may change or drop it. */
#include <pigeon/plugin.h>
#include <stdlib.h>

struct self { /* one per event loop: no lock is needed */
    const pigeon_host *host;
    int64_t max_payload;
    int32_t dropped; /* metric */
};

static int32_t inbound(void *arg, pigeon_req *req, const pigeon_msg *msg)
{
    struct self *self = arg;
    const pigeon_host *host = self->host;

    if (msg->payload.len <= (uint64_t)self->max_payload)
        return PIGEON_NEXT; /* host->set_topic(), set_payload(), set_qos() ... change it here */
    host->metric_add(host->inst, self->dropped, 1);
    host->set_reason(req, 0x97, "payload too large");
    return PIGEON_DENY; /* dropped */
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = malloc(sizeof(*self));

    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    self->max_payload = host->conf_int(conf, "max_payload");
    self->dropped = host->metric(host->inst, "dropped", "too large", PIGEON_METRIC_COUNTER);
    *out = self;
    return PIGEON_OK;
}

static const pigeon_option options[] = {
    { .key = "max_payload",
      .type = PIGEON_T_SIZE,
      .preset = "64k",
      .max = 256 * 1024 * 1024,
      .doc = "larger messages are dropped" },
};
static const pigeon_flow flow = { .size = sizeof(flow), .inbound = inbound };

PIGEON_PLUGIN("@id@", "0.1", "drops large messages", "MIT", 0,
              (PIGEON_PROVIDES(PIGEON_IF_FLOW, &flow)), PIGEON_OPTIONS(options),
              .create = create, .destroy = free);
