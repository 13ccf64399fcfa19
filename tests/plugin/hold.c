/* hold.c - keeps questions until a test lets them go: time stands still where the test wants it to.
 *
 * Held: a CONNECT of the user "hold", a PUBLISH to hold/..., a SUBSCRIBE to hold/.... A PUBLISH to
 * let-go answers all that is held, in order, with ALLOW, one to let-go-denied with DENY. One
 * instance for the broker. What became of the answers is counted in metrics. */
#include <pigeon/plugin.h>
#include <stdlib.h>

struct held {
    struct held *next;
    pigeon_token token;
};

struct self {
    const pigeon_host *host;
    struct held *first;
    int32_t asked, ok, gone, cancelled;
};

static int32_t hold(struct self *self, pigeon_req *req)
{
    struct held **at = &self->first;
    struct held *h = malloc(sizeof(*h));

    if (!h)
        return PIGEON_DENY;
    while (*at)
        at = &(*at)->next;
    *h = (struct held){ NULL, req->token };
    *at = h;
    self->host->metric_add(self->host->inst, self->asked, 1);
    return PIGEON_PENDING;
}

static void let_go(struct self *self, int32_t verdict)
{
    struct held *h;

    while ((h = self->first) != NULL) {
        int32_t r = self->host->complete(self->host->inst, h->token, verdict);

        self->host->metric_add(self->host->inst, r == PIGEON_OK ? self->ok : self->gone, 1);
        self->first = h->next;
        free(h);
    }
}

static int32_t authenticate(void *self, pigeon_req *req, const pigeon_connect *connect)
{
    (void)connect;
    if (pigeon_eq(req->client->username, pigeon_z("hold")))
        return hold(self, req);
    return PIGEON_ALLOW;
}

static int32_t authorize_publish(void *self, pigeon_req *req, const pigeon_msg *msg)
{
    if (pigeon_starts(msg->topic, pigeon_z("hold/")))
        return hold(self, req);
    if (pigeon_eq(msg->topic, pigeon_z("let-go")))
        let_go(self, PIGEON_ALLOW);
    if (pigeon_eq(msg->topic, pigeon_z("let-go-denied")))
        let_go(self, PIGEON_DENY);
    return PIGEON_ALLOW;
}

static int32_t authorize_subscribe(void *self, pigeon_req *req, const pigeon_sub *sub)
{
    if (pigeon_starts(sub->filter, pigeon_z("hold/")))
        return hold(self, req);
    return PIGEON_ALLOW;
}

static void cancel(void *arg, pigeon_token token, int32_t why)
{
    struct self *self = arg;

    (void)token;
    (void)why;
    self->host->metric_add(self->host->inst, self->cancelled, 1);
}

static void destroy(void *arg)
{
    struct self *self = arg;

    let_go(self, PIGEON_DENY);
    free(self);
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = calloc(1, sizeof(*self));

    (void)conf;
    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    self->asked = host->metric(host->inst, "held", "held", PIGEON_METRIC_COUNTER);
    self->ok = host->metric(host->inst, "ok", "complete said OK", PIGEON_METRIC_COUNTER);
    self->gone = host->metric(host->inst, "gone", "complete said E_GONE", PIGEON_METRIC_COUNTER);
    self->cancelled = host->metric(host->inst, "cancelled", "cancel", PIGEON_METRIC_COUNTER);
    *out = self;
    return PIGEON_OK;
}

static const pigeon_auth auth = {
    .size = sizeof(auth),
    .authenticate = authenticate,
    .authorize_publish = authorize_publish,
    .authorize_subscribe = authorize_subscribe,
};

PIGEON_PLUGIN("org.pigeon-mqtt.test.hold", "1.0", "holds questions", "MIT", PIGEON_F_SINGLE,
              (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)), .create = create, .destroy = destroy,
              .cancel = cancel);
