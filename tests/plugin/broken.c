/* broken.c - plugins that must not be loaded; BROKEN_WHAT chooses the fault. */
#include <pigeon/plugin.h>
#include <stdlib.h>

__attribute__((unused)) static const pigeon_auth auth = { .size = sizeof(auth) };

#if defined(BROKEN_NO_NOTE)
int pigeon_unrelated(void);
PIGEON_EXPORT int pigeon_unrelated(void)
{
    return 0;
}
const pigeon_auth *pigeon_unused(void);
const pigeon_auth *pigeon_unused(void)
{
    return &auth;
}
#else

#if defined(BROKEN_CHECK)
static int32_t check(const pigeon_host *host, const pigeon_conf *conf)
{
    (void)conf;
    return host->fail(host->inst, "colour", "there is none");
}
#define MEMBERS .check = check
#elif defined(BROKEN_CRASH)
static int32_t check(const pigeon_host *host, const pigeon_conf *conf)
{
    (void)host;
    (void)conf;
    abort();
}
#define MEMBERS .check = check
#elif defined(BROKEN_HANG)
static int32_t check(const pigeon_host *host, const pigeon_conf *conf)
{
    volatile int for_ever = 1;
    (void)host;
    (void)conf;
    while (for_ever)
        ;
    return PIGEON_OK;
}
#define MEMBERS .check = check
#elif defined(BROKEN_CREATE)
static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **self)
{
    (void)host;
    (void)conf;
    (void)self;
    return PIGEON_E_NOMEM;
}
#define MEMBERS .create = create
#elif defined(BROKEN_OPTIONS)
static const pigeon_option options[] = {
    { .key = "needed", .type = PIGEON_T_STRING, .flags = PIGEON_O_REQUIRED, .doc = "no default" }
};
#define MEMBERS PIGEON_OPTIONS(options)
#else
#define MEMBERS .check = 0
#endif

#if defined(BROKEN_MAY_BLOCK)
#define FLAGS PIGEON_F_MAY_BLOCK
#elif defined(BROKEN_SINGLE_SHARED)
#define FLAGS (PIGEON_F_SINGLE | PIGEON_F_SHARED)
#elif defined(BROKEN_ON_DEMAND)
#define FLAGS PIGEON_F_ON_DEMAND
#else
#define FLAGS 0u
#endif

#if defined(BROKEN_UNSTABLE)
#define IFACE "x.test.thing/1"
#elif defined(BROKEN_UNKNOWN)
#define IFACE "org.example.thing/1"
#else
#define IFACE PIGEON_IF_AUTH
#endif

#if defined(BROKEN_DESCRIPTOR) /* a note as it should be, a descriptor that is not */
PIGEON_NOTE_("org.pigeon-mqtt.test.broken\0"
             "1.0\0"
             "broken\0"
             "MIT\0" PIGEON_IF_AUTH "\0",
             0u, 1u);
__attribute__((unused)) static const pigeon_iface ifaces[] = { { PIGEON_IF_AUTH,
#if defined(BROKEN_NULL_TABLE)
                                                                 0
#else
                                                                 &auth
#endif
} };
const pigeon_plugin pigeon_plugin_v1 = {
#if defined(BROKEN_MAGIC)
    .magic = 0x12345678,
#else
    .magic = PIGEON_MAGIC,
#endif
#if defined(BROKEN_SIZE)
    .size = 24,
#else
    .size = sizeof(pigeon_plugin),
#endif
    .abi_major = PIGEON_ABI_MAJOR,
    .abi_minor = PIGEON_ABI_MINOR,
#if defined(BROKEN_ID)
    .id = "org.pigeon-mqtt.test.other",
#else
    .id = "org.pigeon-mqtt.test.broken",
#endif
    .version = "1.0",
    .summary = "broken",
    .license = "MIT",
#if defined(BROKEN_NO_PROVIDES)
    .provides = 0,
#else
    .provides = ifaces,
#endif
    .nprovides = 1,
};
#else
PIGEON_PLUGIN("org.pigeon-mqtt.test.broken", "1.0", "broken", "MIT", FLAGS,
              (PIGEON_PROVIDES(IFACE, &auth)), MEMBERS);
#endif
#endif
