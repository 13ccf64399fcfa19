/* db.h - a LevelDB database as a store. Used by one thread at a time: the one that opens and closes
 * it, in between the journal's.
 *
 * After a failed write LevelDB's log may end in a torn record, behind which nothing is read again:
 * the database is closed and opened anew before anything else is written. */
#pragma once
#include "record.h"
#include "survey.h"
#include <leveldb/c.h>

#define DB_FORMAT 1

struct db {
    struct place *place;
    leveldb_t *ldb;
    leveldb_options_t *options;
    leveldb_readoptions_t *read;
    leveldb_writeoptions_t *write;
    leveldb_cache_t *cache;
    leveldb_filterpolicy_t *filter;
    struct overlay changes; /* of the open transaction */
    struct ledger ledger;
    bool is_torn;        /* to be opened anew */
    bool is_stale;       /* a write has failed since `ledger` was read */
    bool salvage;        /* leave damaged records out */
    struct writer value; /* scratch */
};

/* A copy of the value as the open transaction sees it, *r_owned is where it is: free it.
 * PIGEON_E_GONE: none. */
int32_t db_get(struct db *db, struct bytes key, struct bytes *r_value, char **r_owned);
int32_t db_put(struct db *db, struct bytes key, struct bytes value);
int32_t db_del(struct db *db, struct bytes key);
/* Keys that begin so and exist, by what is committed and what is not, in no order. */
struct keys {
    struct bytes *key;
    size_t n, size;
};
int32_t db_keys(struct db *db, struct bytes prefix, struct keys *r_keys);
void keys_fini(struct keys *keys);
int32_t db_status(struct db *db, char *m_error);

/* apply.c, rows.c */
int32_t db_apply(void *db, const pigeon_op *op, uint32_t *r_gone);
int32_t db_has_target(void *db, const pigeon_op *op, bool *r_has);
int32_t db_rows(void *db, struct journal_cursor *c, struct journal_row *room, journal_row_fn row,
                void *arg);
extern const struct journal_engine db_engine;
