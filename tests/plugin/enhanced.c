/* enhanced.c - MQTT 5 enhanced authentication with as many steps as the client asks for.
 *
 * Method "challenge". The first data, in CONNECT or in the AUTH of a re-authentication, is a digit,
 * the number of challenges, with letters before it: w  say a long reason with each challenge     l
 * answer late Challenge n has the data "challenge-n" and wants "answer-n"; after the last one comes
 * "welcome". Anything else is refused with 0x87. Whether every state of an exchange was given back
 * is counted in metrics. */
#include <pigeon/plugin.h>
#include <stdlib.h>

#define LATE_NS 20000000

struct self {
    const pigeon_host *host;
    int32_t made, freed, cancelled;
};

struct exchange {
    unsigned n, at; /* challenges in all, and the one under way */
    int wordy, late;
};

struct late {
    pigeon_token token;
    int32_t verdict;
};

static int32_t refuse(struct self *self, pigeon_req *req, const char *text)
{
    self->host->set_reason(req, 0x87, text);
    return PIGEON_DENY;
}

static int begin(struct exchange *x, pigeon_bytes data)
{
    uint32_t i = 0;

    for (; i < data.len && (data.ptr[i] == 'w' || data.ptr[i] == 'l'); i++) {
        x->wordy |= data.ptr[i] == 'w';
        x->late |= data.ptr[i] == 'l';
    }
    if (i + 1 != data.len || data.ptr[i] < '0' || data.ptr[i] > '9')
        return -1;
    x->n = (unsigned)(data.ptr[i] - '0');
    return 0;
}

static int is_answer(const struct exchange *x, pigeon_bytes data)
{
    char want[32];
    int n = snprintf(want, sizeof(want), "answer-%u", x->at);

    return pigeon_same(pigeon_data(want, (size_t)n), data);
}

static int32_t go_on(struct self *self, pigeon_req *req, struct exchange *x)
{
    static char text[400];
    char data[32];
    int n;

    if (x->at == x->n) {
        self->host->set_auth(req, pigeon_data("welcome", 7));
        return PIGEON_ALLOW;
    }
    if (x->wordy) {
        memset(text, 'x', sizeof(text) - 1);
        self->host->set_reason(req, 0, text);
    }
    n = snprintf(data, sizeof(data), "challenge-%u", ++x->at);
    self->host->set_auth(req, pigeon_data(data, (size_t)n));
    return PIGEON_CONTINUE;
}

static int32_t answer(struct self *self, pigeon_req *req, const pigeon_exchange *exchange)
{
    struct exchange *x = *exchange->slot;

    if (exchange->stage != PIGEON_STAGE_CONTINUE && x)
        return refuse(self, req, "the state of another exchange");
    if (exchange->stage == PIGEON_STAGE_CONTINUE)
        return !x                              ? refuse(self, req, "no state")
               : !is_answer(x, exchange->data) ? refuse(self, req, "a wrong answer")
                                               : go_on(self, req, x);
    x = calloc(1, sizeof(*x));
    if (!x)
        return PIGEON_DENY;
    *exchange->slot = x;
    self->host->metric_add(self->host->inst, self->made, 1);
    return begin(x, exchange->data) ? refuse(self, req, "not understood") : go_on(self, req, x);
}

static void on_late(void *arg, void *late, pigeon_watch *watch, uint32_t events)
{
    struct self *self = arg;
    struct late *l = late;

    (void)events;
    self->host->unwatch(watch);
    self->host->complete(self->host->inst, l->token, l->verdict);
    free(l);
}

static int32_t exchange(void *arg, pigeon_req *req, const pigeon_exchange *exchange)
{
    struct self *self = arg;
    struct late *l;
    int32_t verdict;

    if (!pigeon_eq(exchange->method, pigeon_z("challenge")))
        return PIGEON_NEXT;
    verdict = answer(self, req, exchange);
    if (!*exchange->slot || !((struct exchange *)*exchange->slot)->late)
        return verdict;
    l = malloc(sizeof(*l));
    if (!l)
        return PIGEON_DENY;
    *l = (struct late){ req->token, verdict };
    if (self->host->timer(self->host->inst, LATE_NS, 0, on_late, l))
        return PIGEON_PENDING;
    free(l);
    return PIGEON_DENY;
}

static void exchange_free(void *arg, void *slot)
{
    struct self *self = arg;

    self->host->metric_add(self->host->inst, self->freed, 1);
    free(slot);
}

static void cancel(void *arg, pigeon_token token, int32_t why)
{
    struct self *self = arg;

    (void)token;
    (void)why;
    self->host->metric_add(self->host->inst, self->cancelled, 1);
}

/* Without a method everybody may come in. */
static int32_t authenticate(void *self, pigeon_req *req, const pigeon_connect *connect)
{
    (void)self;
    (void)req;
    (void)connect;
    return PIGEON_ALLOW;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = calloc(1, sizeof(*self));

    (void)conf;
    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    self->made = host->metric(host->inst, "made", "exchanges begun", PIGEON_METRIC_COUNTER);
    self->freed = host->metric(host->inst, "freed", "exchanges given back", PIGEON_METRIC_COUNTER);
    self->cancelled = host->metric(host->inst, "cancelled", "cancel", PIGEON_METRIC_COUNTER);
    *out = self;
    return PIGEON_OK;
}

static const pigeon_auth auth = {
    .size = sizeof(auth),
    .authenticate = authenticate,
    .exchange = exchange,
    .exchange_free = exchange_free,
};

PIGEON_PLUGIN("org.pigeon-mqtt.test.enhanced", "1.0", "challenges", "MIT", 0,
              (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)), .create = create, .destroy = free,
              .cancel = cancel);
