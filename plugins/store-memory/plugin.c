/* store-memory: the store for trying things out and for tests. Nothing survives the end of the
 * broker; every call is answered at once. */
#include "memory.h"
#include <string.h>

static const pigeon_option options[] = {
    { .key = "max_bytes",
      .preset = "0",
      .doc = "refuse to store more than about this much; 0: no limit",
      .type = PIGEON_T_SIZE },
};

static int32_t info(void *self, pigeon_store_info *out)
{
    pigeon_store_info mine = { .size = out->size, .keeps = PIGEON_KEEPS_MEM };

    (void)self;
    memcpy(out, &mine, out->size < sizeof(mine) ? out->size : sizeof(mine));
    return PIGEON_OK;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **self)
{
    struct memory *m;
    int32_t r = memory_new(host, (uint64_t)host->conf_int(conf, "max_bytes"), &m);

    if (r == PIGEON_OK)
        *self = m;
    return r;
}

static void destroy(void *self)
{
    struct memory *m = self;

    memory_free(&m);
}

static const pigeon_store store = {
    .size = sizeof(store),
    .info = info,
    .submit = memory_submit,
    .scan = memory_scan,
    .more = memory_more,
};

PIGEON_PLUGIN("org.pigeon-mqtt.store-memory", PIGEON_VERSION,
              "keeps everything in memory, nothing after the end", "MIT", PIGEON_F_ON_DEMAND,
              (PIGEON_PROVIDES(PIGEON_IF_STORE, &store)), PIGEON_OPTIONS(options), .create = create,
              .destroy = destroy);
