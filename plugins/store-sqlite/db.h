/* db.h - one SQLite database as a store: file, schema, statements. Used by one thread at a time:
 * the one that opens and closes it, in between the journal's.
 *
 * Rows are plain columns in order of arrival, so that appending is cheap and `sqlite3 FILE 'select
 * * from queue'` shows what waits. A message stands once, with its first recipient beside it;
 * further recipients have rows of their own. Each row carries a checksum of what never changes in
 * it. */
#pragma once
#include "survey.h"
#include <sqlite3.h>

#define DB_FORMAT 2

enum statement {
    S_BEGIN,
    S_COMMIT,
    S_ROLLBACK,
    S_SAVE,
    S_SAVE_UNDO,
    S_SAVE_END,
    S_SESSION_PUT,
    S_SESSION_OFF,
    S_SESSION_DEL,
    S_SESSION_DEL_SUBS,
    S_SESSION_DEL_IN,
    S_RUN_DEL,
    S_SUB_PUT,
    S_SUB_DEL,
    S_RETAIN_PUT,
    S_RETAIN_DEL,
    S_QUEUE_ADD,
    S_QUEUE_MORE,
    S_QUEUE_UPD,
    S_QUEUE_DEL,
    S_QUEUE_INLINE_DEL,
    S_QUEUE_END,
    S_QUEUE_MOVE,
    S_RCPT_ADD,
    S_RCPT_UPD,
    S_RCPT_DEL,
    S_IN_ADD,
    S_IN_DEL,
    S_IN_HAS,
    S_WILL_PUT,
    S_WILL_DUE,
    S_WILL_DEL,
    S_WILL_HAS,
    S_SUB_HAS,
    S_RETAIN_HAS,
    S_SCAN_SESSIONS,
    S_SCAN_SUBS,
    S_SCAN_RETAINED,
    S_SCAN_QUEUE,
    S_SCAN_RCPTS,
    S_SCAN_QUEUE_OF,
    S_SCAN_IN,
    S_SCAN_WILLS,
    S_COUNT
};

struct db {
    struct place *place;
    sqlite3 *sql;
    sqlite3_stmt *stmt[S_COUNT];
    struct ledger ledger;
    int64_t max_bytes;
    uint32_t wal_pages, checkpoint_at;
    bool salvage;    /* leave damaged rows out */
    bool has_damage; /* the file itself is not what it was: the only reason to make a new one */
};

/* What SQLite's result comes to: PIGEON_OK for OK, ROW and DONE; db->error says more. */
int32_t db_status(struct db *db, int rc);
/* Runs a statement that has its values and returns no rows; resets it. */
int32_t db_run(struct db *db, enum statement s);
/* Does the statement that has its values give a row? Resets it. */
int32_t db_has(struct db *db, enum statement s, bool *r_has);

/* apply.c, rows.c: the engine's functions. */
int32_t db_apply(void *db, const pigeon_op *op, uint32_t *r_gone);
int32_t db_has_target(void *db, const pigeon_op *op, bool *r_has);
int32_t db_rows(void *db, struct journal_cursor *c, struct journal_row *room, journal_row_fn row,
                void *arg);
extern const struct journal_engine db_engine;

/* salvage.c: a database that cannot be trusted gets another name, which is returned (free it; NULL:
 * it could not, and the place has the words), and what can be read of it goes into a new one. */
char *salvage_move_aside(struct db *db);
int32_t salvage_copy(struct db *db, const char *from);
/* Undoes that, and what was made in its place. */
void salvage_put_back(struct db *db, const char *kept);

/* columns.c: values of messages and subscriptions, their checksums. `at` is the first parameter or
 * column. */
void bind_str(sqlite3_stmt *s, int at, pigeon_str v);
void bind_bytes(sqlite3_stmt *s, int at, pigeon_bytes v);
pigeon_str column_str(sqlite3_stmt *s, int at);
pigeon_bytes column_bytes(sqlite3_stmt *s, int at);
void bind_msg(sqlite3_stmt *s, int at, const pigeon_msg *msg);
bool column_msg(sqlite3_stmt *s, int at, pigeon_msg *r_msg); /* false: damaged */
void bind_sub(sqlite3_stmt *s, int at, pigeon_str key, const pigeon_sub *sub);
bool column_sub(sqlite3_stmt *s, int at, pigeon_str *r_key, pigeon_sub *r_sub);
int64_t sum_of_session(uint64_t number, pigeon_str client, pigeon_bytes extra);
#define MSG_COLUMNS 14
#define SUB_COLUMNS 10
