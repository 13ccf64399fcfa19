/* reload_options.c - a plugin with options that change while it runs, for test_reload.py.
 *
 * A message to stamp/... gets "|value|number" of the options behind its payload; both are kept as
 * `prepare` left them, the text as a pointer into the options. `refuse` says on which loop prepare
 * fails (-1: none, 99: all), `slow` how long it takes. wait/... is never answered. What was called
 * is logged at the end, instance by instance. */
#include <pigeon/plugin.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef RELOAD_FLAGS
#define RELOAD_FLAGS 0u
#define RELOAD_ID    "org.pigeon-mqtt.test.reload"
#endif

static const pigeon_option options[] = {
    { .key = "value", .type = PIGEON_T_STRING, .preset = "0", .flags = PIGEON_O_RELOAD },
    { .key = "number", .type = PIGEON_T_INT, .preset = "0", .flags = PIGEON_O_RELOAD },
    { .key = "refuse", .type = PIGEON_T_INT, .preset = "-1", .flags = PIGEON_O_RELOAD },
    { .key = "slow", .type = PIGEON_T_TIME, .preset = "0", .flags = PIGEON_O_RELOAD },
    { .key = "password", .type = PIGEON_T_SECRET, .flags = PIGEON_O_RELOAD },
    { .key = "deny", .type = PIGEON_T_STRING, .preset = "none/", .flags = PIGEON_O_RELOAD },
    { .key = "users", .type = PIGEON_T_PATH, .flags = PIGEON_O_RELOAD },
    { .key = "fixed", .type = PIGEON_T_STRING, .preset = "old" },
};

struct values {
    pigeon_str value, fixed, deny;
    int64_t number;
};

struct self {
    const pigeon_host *host;
    struct values now;
    uint32_t prepared, committed, aborted;
};

static void read_values(const pigeon_host *h, const pigeon_conf *conf, struct values *v)
{
    v->value = h->conf_str(conf, "value");
    v->fixed = h->conf_str(conf, "fixed");
    v->deny = h->conf_str(conf, "deny");
    v->number = h->conf_int(conf, "number");
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = calloc(1, sizeof(*self));

    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    read_values(host, conf, &self->now);
    *out = self;
    return PIGEON_OK;
}

static void destroy(void *arg)
{
    struct self *self = arg;

    pigeon_logf(self->host, PIGEON_LOG_INFO, "calls prepared=%u committed=%u aborted=%u",
                self->prepared, self->committed, self->aborted);
    free(self);
}

#ifndef RELOAD_NOT
static int32_t prepare(void *arg, const pigeon_conf *conf, void **next)
{
    struct self *self = arg;
    const pigeon_host *h = self->host;
    int64_t refuse = h->conf_int(conf, "refuse"), slow_ms = h->conf_int(conf, "slow");
    struct timespec slow = { slow_ms / 1000, slow_ms % 1000 * 1000000 };
    struct values *v;

    if (slow_ms)
        nanosleep(&slow, NULL);
    if (refuse == 99 || refuse == (int64_t)h->loop)
        return h->fail(h->inst, "refuse", "told to");
    v = malloc(sizeof(*v));
    if (!v)
        return PIGEON_E_NOMEM;
    read_values(h, conf, v);
    *next = v;
    self->prepared++;
    return PIGEON_OK;
}

static void commit(void *arg, void *next)
{
    struct self *self = arg;

    memcpy(&self->now, next, sizeof(self->now));
    free(next);
    self->committed++;
}

static void abort_next(void *arg, void *next)
{
    struct self *self = arg;

    free(next);
    self->aborted++;
}
#endif

static void cancel(void *arg, pigeon_token token, int32_t why)
{
    struct self *self = arg;

    pigeon_logf(self->host, PIGEON_LOG_INFO, "cancelled why=%d", (int)why);
    self->host->complete(self->host->inst, token, PIGEON_DENY);
}

static int32_t inbound(void *arg, pigeon_req *req, const pigeon_msg *msg)
{
    struct self *self = arg;
    char text[300];
    int n;

    if (!pigeon_starts(msg->topic, pigeon_z("stamp/")))
        return PIGEON_NEXT;
    n = snprintf(text, sizeof(text), "%.*s|%.*s|%lld", (int)(msg->payload.len % 100),
                 (const char *)msg->payload.ptr, (int)self->now.value.len, self->now.value.ptr,
                 (long long)self->now.number);
    self->host->set_payload(req,
                            (pigeon_bytes){ .ptr = (const uint8_t *)text, .len = (uint32_t)n });
    return PIGEON_NEXT;
}

#ifdef RELOAD_AUTHORIZES
static int32_t authorize_publish(void *arg, pigeon_req *req, const pigeon_msg *msg)
{
    struct self *self = arg;

    (void)req;
    if (pigeon_starts(msg->topic, pigeon_z("wait/")))
        return PIGEON_PENDING;
    return pigeon_starts(msg->topic, self->now.deny) ? PIGEON_DENY : PIGEON_ALLOW;
}
#endif

static void client_ready(void *arg, const pigeon_client *client)
{
    struct self *self = arg;

    pigeon_logf(self->host, PIGEON_LOG_INFO, "ready client=%.*s", (int)client->id.len,
                client->id.ptr);
}

#ifdef RELOAD_AUTHORIZES
static const pigeon_auth auth = { .size = sizeof(auth), .authorize_publish = authorize_publish };
#define PROVIDES                                                                     \
    (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth), PIGEON_PROVIDES(PIGEON_IF_FLOW, &flow), \
     PIGEON_PROVIDES(PIGEON_IF_EVENTS, &events))
#else
#define PROVIDES \
    (PIGEON_PROVIDES(PIGEON_IF_FLOW, &flow), PIGEON_PROVIDES(PIGEON_IF_EVENTS, &events))
#endif
static const pigeon_flow flow = { .size = sizeof(flow), .inbound = inbound };
static const pigeon_events events = { .size = sizeof(events), .client_ready = client_ready };

PIGEON_PLUGIN(RELOAD_ID, "1.0", "options that change", "MIT", RELOAD_FLAGS, PROVIDES,
              PIGEON_OPTIONS(options), .create = create, .destroy = destroy,
#ifndef RELOAD_NOT
              .prepare = prepare, .commit = commit, .abort = abort_next,
#endif
              .cancel = cancel);
