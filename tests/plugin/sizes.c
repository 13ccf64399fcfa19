/* sizes.c - plugins of other times, of every kind but store and bus: built with headers whose
 * tables and views are shorter (SIZES_OLD) or longer (SIZES_NEW) than the broker's, made by
 * tests/abi/other.py.
 *
 * Where the broker must not look there is a function that ends the process. */
#include <pigeon/plugin.h>
#include <stdlib.h>

#ifdef SIZES_NEW
#define LATER       .later_1 = abort, .later_2 = abort
#define KNOWS(p, T) PIGEON_HAS(p, T, later_1)
#else
#define LATER       /* `beyond` follows the last member */
#define KNOWS(p, T) 0
#endif
#define TABLE(T)                  \
    struct T##_table {            \
        T now;                    \
        void (*beyond[16])(void); \
    }
#define BEYOND                                                          \
    .beyond = { abort, abort, abort, abort, abort, abort, abort, abort, \
                abort, abort, abort, abort, abort, abort, abort, abort }

struct self {
    const pigeon_host *host;
    const pigeon_conf *conf;
};

#define LOG(self, ...) pigeon_logf(((struct self *)(self))->host, PIGEON_LOG_INFO, __VA_ARGS__)

/* Is the broker's struct as long as it says and no longer than it can be? */
static void see(void *self, const char *what, int is_longer)
{
    if (is_longer)
        LOG(self, "%s is from the future", what);
}

static int32_t authenticate(void *self, pigeon_req *req, const pigeon_connect *connect)
{
    const pigeon_host *host = ((struct self *)self)->host;

    see(self, "connect", KNOWS(connect, pigeon_connect));
    see(self, "client", KNOWS(req->client, pigeon_client));
    see(self, "req", KNOWS(req, pigeon_req));
    if (!connect->has_username)
        return PIGEON_NEXT;
    host->set_limit(req, PIGEON_LIMIT_SUBSCRIPTIONS, 10);
    LOG(self, "authenticate %s", req->client->id.ptr);
    return PIGEON_ALLOW;
}

static int32_t authorize_publish(void *self, pigeon_req *req, const pigeon_msg *msg)
{
    (void)req;
    see(self, "msg", KNOWS(msg, pigeon_msg));
    LOG(self, "authorize_publish %s", msg->topic.ptr);
    return PIGEON_ALLOW;
}

/* One mark more on every payload: what is changed by a setter has passed through both sides. */
static int32_t inbound(void *self, pigeon_req *req, const pigeon_msg *msg)
{
    char payload[64];
    int n = snprintf(payload, sizeof(payload), "%.*s!", (int)msg->payload.len,
                     (const char *)msg->payload.ptr);

    ((struct self *)self)->host->set_payload(req, pigeon_data(payload, (size_t)n));
    return PIGEON_NEXT;
}

static void on_done(void *self, void *arg, int32_t status)
{
    (void)arg;
    LOG(self, "published %d", (int)status);
}

static void on_client(void *self, const pigeon_client *client)
{
    const pigeon_host *host = ((struct self *)self)->host;
    pigeon_msg msg;
    struct {
        pigeon_info info;
        uint64_t guard;
    } is = { .info = { .size = sizeof(is.info) }, .guard = 7 };

    memset(&msg, 0, sizeof(msg));
    msg.size = sizeof(msg);
    msg.qos = 1;
    msg.topic = pigeon_z("from/plugin");
    msg.payload = pigeon_data("hello", 5);
    host->publish(host->inst, &msg, on_done, NULL);
    host->info(host->inst, &is.info);
    LOG(self, "client %s loops %u guard %d future %d", client->id.ptr, (unsigned)is.info.loops,
        (int)is.guard, KNOWS(&is.info, pigeon_info));
}

#ifdef SIZES_NEW
static void on_subscribed(void *self, const pigeon_client *client, const pigeon_sub *subs,
                          uint32_t n, uint32_t stride)
{
    (void)client;
    for (uint32_t i = 0; i < n; i++) {
        const pigeon_sub *sub =
            (const pigeon_sub *)(const void *)((const char *)subs + (size_t)i * stride);

        see(self, "sub", KNOWS(sub, pigeon_sub));
        LOG(self, "subscribed %s", sub->filter.ptr);
    }
}
#endif

static int32_t command(void *self, pigeon_req *req, pigeon_str name, pigeon_str args)
{
    see(self, "req", KNOWS(req, pigeon_req));
    LOG(self, "command %s %s", name.ptr, args.ptr);
    ((struct self *)self)->host->reply(req, pigeon_z("{}"));
    return PIGEON_OK;
}

static int32_t check(const pigeon_host *host, const pigeon_conf *conf)
{
    (void)conf;
    if (!PIGEON_HAS(host, pigeon_host, post))
        return host->fail(host->inst, NULL, "the host is too short");
    if (KNOWS(host, pigeon_host))
        return host->fail(host->inst, NULL, "the host is from the future");
    if (host->get(host->inst, PIGEON_IF_METRICS, 4096))
        return host->fail(host->inst, NULL, "the host claims to have a longer table");
    if (host->get(host->inst, "org.test.nothing/1", 8))
        return host->fail(host->inst, NULL, "the host claims to know an interface");
    return PIGEON_OK;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = malloc(sizeof(*self));
    const pigeon_metrics *metrics =
        host->get(host->inst, PIGEON_IF_METRICS,
                  (uint32_t)(offsetof(pigeon_metrics, each) + sizeof(metrics->each)));

    if (!self || !metrics)
        return PIGEON_E_INVAL;
    *self = (struct self){ host, conf };
    *out = self;
    LOG(self, "created first=%s second=%d", host->conf_str(conf, "first").ptr,
        (int)host->conf_int(conf, "second"));
    return PIGEON_OK;
}

static void destroy(void *self)
{
    LOG(self, "destroyed");
    free(self);
}

static const TABLE(pigeon_auth) auth = {
    .now = { .size = sizeof(pigeon_auth),
             .authenticate = authenticate,
             .authorize_publish = authorize_publish,
             LATER },
    BEYOND,
};
static const TABLE(pigeon_flow) flow = {
    .now = { .size = sizeof(pigeon_flow), .inbound = inbound, LATER },
    BEYOND,
};
static const TABLE(pigeon_events) events = {
    .now = { .size = sizeof(pigeon_events),
             .client = on_client,
#ifdef SIZES_NEW
             .subscribed = on_subscribed,
#endif
             LATER },
    BEYOND,
};
static const pigeon_command commands[] = { { .name = "one", .args = "", .help = "the first" },
                                           { .name = "two", .args = "", .help = "the second" } };
static const TABLE(pigeon_control) control = {
    .now = { .size = sizeof(pigeon_control),
             .commands = commands,
             .ncommands = PIGEON_COUNT(commands),
             .command_stride = sizeof(commands[0]),
             .command = command,
             LATER },
    BEYOND,
};
static const pigeon_option options[] = {
    { .key = "first", .preset = "1st", .type = PIGEON_T_STRING, .doc = "a text" },
    { .key = "second", .preset = "2", .type = PIGEON_T_INT, .doc = "a number" },
};

#define ID "org.pigeon-mqtt.test.sizes"
PIGEON_NOTE_(ID "\0"
                "1.0\0"
                "of another time\0"
                "MIT\0" PIGEON_IF_AUTH "\0" PIGEON_IF_FLOW "\0" PIGEON_IF_EVENTS
                "\0" PIGEON_IF_CONTROL "\0",
             0u, 4u);
static const pigeon_iface ifaces[] = { { PIGEON_IF_AUTH, &auth },
                                       { PIGEON_IF_FLOW, &flow },
                                       { PIGEON_IF_EVENTS, &events },
                                       { PIGEON_IF_CONTROL, &control } };

TABLE(pigeon_plugin);
extern const struct pigeon_plugin_table descriptor __asm__("pigeon_plugin_v1") PIGEON_EXPORT;
const struct pigeon_plugin_table descriptor = {
    .now = { .magic = PIGEON_MAGIC,
             .size = sizeof(pigeon_plugin),
             .abi_major = PIGEON_ABI_MAJOR,
             .abi_minor = PIGEON_ABI_MINOR,
             .need_minor = PIGEON_NEED_MINOR,
             .id = ID,
             .version = "1.0",
             .summary = "of another time",
             .license = "MIT",
             .provides = ifaces,
             .nprovides = PIGEON_COUNT(ifaces),
             .options = options,
             .noptions = PIGEON_COUNT(options),
             .option_stride = sizeof(options[0]),
             .check = check,
             .create = create,
             .destroy = destroy,
             LATER },
    BEYOND,
};
