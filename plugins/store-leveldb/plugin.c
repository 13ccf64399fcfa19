/* store-leveldb: everything in one LevelDB database; batches of many turns in one synchronous write
 * on a thread of its own. */
#include "db.h"
#include <stdlib.h>
#include <string.h>

struct store {
    struct db *db;
    struct journal *journal;
};

static const pigeon_option options[] = {
    { .key = "path",
      .doc = "the directory of the database; not set: store.leveldb in state_dir",
      .type = PIGEON_T_PATH },
    { .key = "cache",
      .preset = "16M",
      .doc = "memory for blocks that were read",
      .type = PIGEON_T_SIZE,
      .min = 1 << 16,
      .max = INT64_C(1) << 40 },
    { .key = "write_buffer",
      .preset = "16M",
      .doc = "memory for what is not yet sorted; up to two of them",
      .type = PIGEON_T_SIZE,
      .min = 1 << 16,
      .max = INT64_C(1) << 30 },
    { .key = "reserve",
      .preset = "8M",
      .doc = "disk space that is set aside so that deletions work when the disk is full; 0: none",
      .type = PIGEON_T_SIZE },
    { .key = "salvage",
      .preset = "false",
      .doc = "before the start, keep what can be read of a damaged database and leave out the rest",
      .type = PIGEON_T_BOOL },
};

static int32_t info(void *self, pigeon_store_info *out)
{
    pigeon_store_info mine = { .size = out->size,
                               .keeps = PIGEON_KEEPS_MEM | PIGEON_KEEPS_OS | PIGEON_KEEPS_DISK };

    (void)self;
    memcpy(out, &mine, out->size < sizeof(mine) ? out->size : sizeof(mine));
    return PIGEON_OK;
}

static int32_t submit(void *self, const pigeon_batch *batch)
{
    return journal_submit(((struct store *)self)->journal, batch);
}

static int32_t scan(void *self, const pigeon_scan *scan)
{
    return journal_scan(((struct store *)self)->journal, scan);
}

static int32_t more(void *self, pigeon_token token, uint32_t credit)
{
    return journal_more(((struct store *)self)->journal, token, credit);
}

static void destroy(void *self)
{
    struct store *s = self;

    journal_free(&s->journal);
    db_close(&s->db);
    free(s);
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **self)
{
    struct store *s = calloc(1, sizeof(*s));
    int32_t r = s ? db_open(host, conf, &s->db) : PIGEON_E_NOMEM;

    if (r == PIGEON_OK)
        r = journal_new(host, &db_engine, s->db, &s->journal);
    if (r == PIGEON_OK) {
        *self = s;
        return r;
    }
    if (s)
        destroy(s);
    return r;
}

static const pigeon_store store = {
    .size = sizeof(store),
    .info = info,
    .submit = submit,
    .scan = scan,
    .more = more,
};

PIGEON_PLUGIN("org.pigeon-mqtt.store-leveldb", PIGEON_VERSION,
              "keeps everything in a LevelDB database", "MIT", PIGEON_F_ON_DEMAND,
              (PIGEON_PROVIDES(PIGEON_IF_STORE, &store)), PIGEON_OPTIONS(options), .create = create,
              .destroy = destroy);
