/* sizes.c - plugins of other times: SIZES_OLD was built with headers whose structs were shorter,
 * SIZES_NEW with headers whose structs are longer; SIZES_NEED cannot do without a newer broker.
 *
 * Where the broker must not look there is a function that ends the process. */
#include <pigeon/plugin.h>
#include <stdlib.h>

static int32_t check(const pigeon_host *host, const pigeon_conf *conf)
{
    (void)conf;
    return PIGEON_HAS(host, pigeon_host, metric_observe) ? PIGEON_OK : PIGEON_E_INVAL;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **self)
{
    (void)conf;
    *self = (void *)(uintptr_t)host;
    return PIGEON_OK;
}

static void destroy(void *self)
{
    pigeon_logf(self, PIGEON_LOG_INFO, "destroyed");
}

static void client(void *self, const pigeon_client *client)
{
    pigeon_logf(self, PIGEON_LOG_INFO, "client %s", client->id.ptr);
}

#ifdef SIZES_OLD
#define PLUGIN_SIZE offsetof(pigeon_plugin, prepare)
#define EVENTS_SIZE offsetof(pigeon_events, subscribed)
#define MINOR       PIGEON_ABI_MINOR
#define NEED        0
#else
#define PLUGIN_SIZE sizeof(struct plugin_now)
#define EVENTS_SIZE sizeof(struct events_now)
#define MINOR       (PIGEON_ABI_MINOR + 9)
#ifdef SIZES_NEED
#define NEED (PIGEON_ABI_MINOR + 1)
#else
#define NEED 0
#endif
#endif

struct events_now {
    pigeon_events now;
    void (*later[4])(void);
};

struct plugin_now {
    pigeon_plugin now;
    void (*later[4])(void);
};

#ifdef SIZES_OLD
static void subscribed(void *self, const pigeon_client *client, const pigeon_sub *subs, uint32_t n,
                       uint32_t stride)
{
    (void)self;
    (void)client;
    (void)subs;
    (void)n;
    (void)stride;
    abort();
}

static int32_t quiesce(void *self, pigeon_token token)
{
    (void)self;
    (void)token;
    abort();
}
#endif

static const struct events_now events = {
    .now = {
        .size = EVENTS_SIZE,
        .client = client,
#ifdef SIZES_OLD
        .subscribed = subscribed,
#endif
    },
    .later = { abort, abort, abort, abort },
};

static const pigeon_iface ifaces[] = { { PIGEON_IF_EVENTS, &events } };

__attribute__((used, section(".note.pigeon"), aligned(4))) static const struct {
    uint32_t namesz, descsz, type;
    char owner[8];
    pigeon_manifest manifest;
    char text[56];
} note = {
    7,
    sizeof(pigeon_manifest) + 56,
    PIGEON_NOTE_TYPE,
    "Pigeon",
    { PIGEON_MAGIC, PIGEON_ABI_MAJOR, MINOR, NEED, 1, 0 },
    "org.test.sizes\0"
    "1.0\0"
    "of another time\0"
    "MIT\0" PIGEON_IF_EVENTS,
};

extern const struct plugin_now descriptor __asm__("pigeon_plugin_v1") PIGEON_EXPORT;
const struct plugin_now descriptor = {
    .now = {
        .magic = PIGEON_MAGIC,
        .size = PLUGIN_SIZE,
        .abi_major = PIGEON_ABI_MAJOR,
        .abi_minor = MINOR,
        .need_minor = NEED,
        .id = "org.test.sizes",
        .version = "1.0",
        .summary = "of another time",
        .license = "MIT",
        .provides = ifaces,
        .nprovides = 1,
        .check = check,
        .create = create,
        .destroy = destroy,
#ifdef SIZES_OLD
        .quiesce = quiesce,
#endif
    },
    .later = { abort, abort, abort, abort },
};
