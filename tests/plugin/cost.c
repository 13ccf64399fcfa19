/* cost.c - a plugin that does nothing, for tests/bench/hooks.c: what is measured is the host.
 *
 * Built with a COST_ID each, so that a chain can be made of several. COST_LATE: answers NEXT by
 * complete(), after it has said PENDING as far as the host can tell. */
#include <pigeon/plugin.h>

struct self {
    const pigeon_host *host;
};

static struct self the_self;

static int32_t answer(void *self, pigeon_req *req)
{
#ifdef COST_LATE
    const pigeon_host *host = ((struct self *)self)->host;

    host->complete(host->inst, req->token, PIGEON_NEXT);
    return PIGEON_PENDING;
#else
    (void)self;
    (void)req;
    return PIGEON_NEXT;
#endif
}

static int32_t on_connect(void *self, pigeon_req *req, const pigeon_connect *connect)
{
    (void)connect;
    return answer(self, req);
}

static int32_t on_message(void *self, pigeon_req *req, const pigeon_msg *msg)
{
    (void)msg;
    return answer(self, req);
}

static int32_t on_delivery(void *self, pigeon_req *req, const pigeon_msg *msg)
{
    (void)self;
    (void)req;
    (void)msg;
    return PIGEON_NEXT;
}

static void on_publish(void *self, const pigeon_client *client, const pigeon_msg *msg)
{
    (void)self;
    (void)client;
    (void)msg;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **self)
{
    (void)conf;
    the_self.host = host;
    *self = &the_self;
    return PIGEON_OK;
}

static const pigeon_auth auth = {
    .size = sizeof(auth),
    .authenticate = on_connect,
    .authorize_publish = on_message,
    .authorize_deliver = on_delivery,
};
static const pigeon_events events = { .size = sizeof(events), .publish = on_publish };

PIGEON_PLUGIN(COST_ID, "1.0", "does nothing", "MIT", 0,
              (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth), PIGEON_PROVIDES(PIGEON_IF_EVENTS, &events)),
              .create = create);
