/* A plugin that provides everything: compiled as C and C++, by every compiler and for every target.
 */
#include <pigeon/plugin.h>

static int32_t decide(void *self, pigeon_req *req, const pigeon_connect *connect)
{
    (void)self;
    (void)req;
    return connect->has_username ? PIGEON_ALLOW : PIGEON_NEXT;
}

static int32_t message(void *self, pigeon_req *req, const pigeon_msg *msg)
{
    pigeon_bytes rest = msg->props;
    pigeon_prop prop;

    (void)self;
    (void)req;
    while (pigeon_prop_next(&rest, &prop) == 1)
        if (prop.id == PIGEON_PROP_USER_PROPERTY)
            return PIGEON_DENY;
    return pigeon_topic_matches(pigeon_z("a/+/#"), msg->topic) ? PIGEON_ALLOW : PIGEON_NEXT;
}

static void heartbeat(void *self, pigeon_str node_id)
{
    (void)self;
    (void)node_id;
}

static int32_t command(void *self, pigeon_req *req, pigeon_str name, pigeon_str args)
{
    (void)self;
    (void)req;
    (void)args;
    return pigeon_eq(name, pigeon_z("go")) ? PIGEON_OK : PIGEON_E_NOTSUP;
}

static int32_t check(const pigeon_host *host, const pigeon_conf *conf)
{
    if (PIGEON_HAS(host, pigeon_host, metric))
        pigeon_logf(host, PIGEON_LOG_INFO, "%d", (int)host->conf_int(conf, "n"));
    return PIGEON_OK;
}

#ifdef __cplusplus
#define ZERO
#else
#define ZERO 0
#endif

static const pigeon_auth auth = { sizeof(auth), 0,       NULL, decide, NULL,
                                  NULL,         message, NULL, NULL,   NULL };
static const pigeon_flow flow = { sizeof(flow), 0, message, NULL };
static pigeon_events events = { ZERO };
static pigeon_store store = { ZERO };
static pigeon_bus bus = { ZERO };
static const pigeon_command commands[] = { { "go", "", "goes", NULL } };
static const pigeon_control control = {
    sizeof(control), 0, commands, PIGEON_COUNT(commands), (uint32_t)sizeof(commands[0]), command
};
static const pigeon_option options[] = { { "n", "1", NULL, "a number", PIGEON_T_INT, 0, 0, 9 } };

#ifdef __GNUC__
__attribute__((constructor))
#endif
static void
fill(void)
{
    events.size = (uint32_t)sizeof(events);
    events.heartbeat = heartbeat;
    store.size = (uint32_t)sizeof(store);
    bus.size = (uint32_t)sizeof(bus);
}

PIGEON_PLUGIN("org.pigeon-mqtt.test.sample", "1.0", "provides everything", "MIT", PIGEON_F_SINGLE,
              (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth), PIGEON_PROVIDES(PIGEON_IF_FLOW, &flow),
               PIGEON_PROVIDES(PIGEON_IF_EVENTS, &events), PIGEON_PROVIDES(PIGEON_IF_STORE, &store),
               PIGEON_PROVIDES(PIGEON_IF_BUS, &bus), PIGEON_PROVIDES(PIGEON_IF_CONTROL, &control)),
              PIGEON_OPTIONS(options), .check = check);
