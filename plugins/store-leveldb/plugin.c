/* store-leveldb: everything in one LevelDB database; batches of many turns in one synchronous write
 * on a thread of its own. */
#include "db.h"

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

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **self)
{
    return journal_create(host, conf, &db_engine, self);
}

PIGEON_PLUGIN("org.pigeon-mqtt.store-leveldb", PIGEON_VERSION,
              "keeps everything in a LevelDB database", "MIT", PIGEON_F_ON_DEMAND,
              (PIGEON_PROVIDES(PIGEON_IF_STORE, &journal_store)), PIGEON_OPTIONS(options),
              .create = create, .destroy = journal_destroy);
