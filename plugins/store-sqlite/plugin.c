/* store-sqlite: everything in one SQLite database, readable with sqlite3; batches of many turns in
 * one commit on a thread of its own. */
#include "db.h"

static const pigeon_option options[] = {
    { .key = "path",
      .doc = "the database; not set: store.sqlite in state_dir",
      .type = PIGEON_T_PATH },
    { .key = "cache",
      .preset = "16M",
      .doc = "memory for pages of the database",
      .type = PIGEON_T_SIZE,
      .min = 1 << 20,
      .max = INT64_C(1) << 40 },
    { .key = "reserve",
      .preset = "1M",
      .doc = "disk space that is set aside so that deletions work when the disk is full; 0: none",
      .type = PIGEON_T_SIZE },
    { .key = "max_bytes",
      .preset = "0",
      .doc = "refuse to store more than about this much; 0: no limit but the disk",
      .type = PIGEON_T_SIZE },
    { .key = "salvage",
      .preset = "false",
      .doc =
          "keep a damaged database under another name and go on with what can be read of it, with "
          "lines in the log, instead of refusing to start",
      .type = PIGEON_T_BOOL },
};

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **self)
{
    return journal_create(host, conf, &db_engine, self);
}

PIGEON_PLUGIN("org.pigeon-mqtt.store-sqlite", PIGEON_VERSION,
              "keeps everything in a SQLite database", "MIT", PIGEON_F_ON_DEMAND,
              (PIGEON_PROVIDES(PIGEON_IF_STORE, &journal_store)), PIGEON_OPTIONS(options),
              .create = create, .destroy = journal_destroy);
