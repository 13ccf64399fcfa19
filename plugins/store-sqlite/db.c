#include "db.h"
#include <errno.h>
#include <fcntl.h>
#include <pigeon/util.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECKPOINT_PAGES 1000u

#define MSG_SCHEMA                                                                \
    "topic TEXT NOT NULL, payload BLOB, properties BLOB, publish_qos INTEGER, "   \
    "publish_retain INTEGER, expires_ms INTEGER, publisher TEXT, username TEXT, " \
    "origin INTEGER, node INTEGER, number INTEGER, sum INTEGER, "                 \
    "received_ms INTEGER, flags INTEGER"
#define MSG_NAMES                                                                                \
    "topic, payload, properties, publish_qos, publish_retain, expires_ms, publisher, username, " \
    "origin, node, number, sum, received_ms, flags"
#define MSG_MARKS "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?"
#define SUB_NAMES \
    "key, filter, effective, share, qos, no_local, retain_as_published, retain_handling, id, sum"

static const char schema[] =
    "CREATE TABLE format (number INTEGER NOT NULL);"
    "CREATE TABLE sessions (session INTEGER PRIMARY KEY, client TEXT NOT NULL, due_ms INTEGER, "
    "extra BLOB, sum INTEGER);"
    "CREATE TABLE subscriptions (session INTEGER, key TEXT, filter TEXT, effective TEXT, "
    "share TEXT, qos INTEGER, no_local INTEGER, retain_as_published INTEGER, "
    "retain_handling INTEGER, id INTEGER, sum INTEGER, PRIMARY KEY (session, key)) WITHOUT ROWID;"
    "CREATE TABLE retained (" MSG_SCHEMA ", UNIQUE (topic));"
    "CREATE TABLE queue (pos INTEGER PRIMARY KEY, session INTEGER, qos INTEGER, retain INTEGER, "
    "packet_id INTEGER, state INTEGER, share TEXT, ids BLOB, more INTEGER, " MSG_SCHEMA ");"
    "CREATE TABLE recipients (pos INTEGER, session INTEGER, qos INTEGER, retain INTEGER, "
    "packet_id INTEGER, state INTEGER, share TEXT, ids BLOB, PRIMARY KEY (pos, session)) "
    "WITHOUT ROWID;"
    "CREATE TABLE incoming (session INTEGER, packet_id INTEGER, PRIMARY KEY (session, packet_id)) "
    "WITHOUT ROWID;"
    "CREATE TABLE wills (session INTEGER PRIMARY KEY, due_ms INTEGER, extra BLOB, " MSG_SCHEMA ");";

static const char from_1_to_2[] = "BEGIN IMMEDIATE;"
                                  "ALTER TABLE retained ADD COLUMN received_ms INTEGER;"
                                  "ALTER TABLE retained ADD COLUMN flags INTEGER;"
                                  "ALTER TABLE queue ADD COLUMN received_ms INTEGER;"
                                  "ALTER TABLE queue ADD COLUMN flags INTEGER;"
                                  "ALTER TABLE wills ADD COLUMN received_ms INTEGER;"
                                  "ALTER TABLE wills ADD COLUMN flags INTEGER;"
                                  "UPDATE format SET number = 2;"
                                  "COMMIT;";

#define QUEUE_NAMES                                                                     \
    "q.pos, q.session, q.qos, q.retain, q.packet_id, q.state, q.share, q.ids, q.more, " \
    "q.topic, q.payload, q.properties, q.publish_qos, q.publish_retain, q.expires_ms, " \
    "q.publisher, q.username, q.origin, q.node, q.number, q.sum, q.received_ms, q.flags"
#define RCPT_NAMES "r.session, r.qos, r.retain, r.packet_id, r.state, r.share, r.ids"

#define CLIENT "(SELECT client FROM sessions n WHERE n.session = s.session)"

static const char *const texts[S_COUNT] = {
    [S_BEGIN] = "BEGIN IMMEDIATE",
    [S_COMMIT] = "COMMIT",
    [S_ROLLBACK] = "ROLLBACK",
    [S_SAVE] = "SAVEPOINT unit",
    [S_SAVE_UNDO] = "ROLLBACK TO unit",
    [S_SAVE_END] = "RELEASE unit",
    [S_SESSION_PUT] = "INSERT INTO sessions (session, client, due_ms, extra, sum) "
                      "VALUES (?1, ?2, NULL, ?3, ?4) ON CONFLICT (session) DO UPDATE SET "
                      "client = ?2, due_ms = NULL, extra = ?3, sum = ?4",
    [S_SESSION_OFF] = "UPDATE sessions SET due_ms = ?2 WHERE session = ?1",
    [S_SESSION_DEL] = "DELETE FROM sessions WHERE session = ?1",
    [S_SESSION_DEL_SUBS] = "DELETE FROM subscriptions WHERE session = ?1",
    [S_SESSION_DEL_IN] = "DELETE FROM incoming WHERE session = ?1",
    [S_RUN_DEL] = "DELETE FROM queue WHERE pos BETWEEN ?2 AND ?3 AND session = ?1",
    [S_SUB_PUT] = "REPLACE INTO subscriptions (session, " SUB_NAMES ") "
                  "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    [S_SUB_DEL] = "DELETE FROM subscriptions WHERE session = ?1 AND key = ?2",
    [S_SUB_HAS] = "SELECT 1 FROM subscriptions WHERE session = ?1 AND key = ?2",
    [S_RETAIN_PUT] = "REPLACE INTO retained (" MSG_NAMES ") VALUES (" MSG_MARKS ")",
    [S_RETAIN_DEL] = "DELETE FROM retained WHERE topic = ?1",
    [S_RETAIN_HAS] = "SELECT 1 FROM retained WHERE topic = ?1",
    [S_QUEUE_ADD] = "INSERT INTO queue (pos, session, qos, retain, packet_id, state, share, ids, "
                    "more, " MSG_NAMES ") VALUES (?, ?, ?, ?, 0, 0, ?, ?, ?, " MSG_MARKS ") "
                    "ON CONFLICT (pos) DO NOTHING",
    [S_QUEUE_MORE] = "UPDATE queue SET more = more + ?2 WHERE pos = ?1",
    [S_QUEUE_UPD] = "UPDATE queue SET packet_id = ?3, state = ?4 WHERE pos = ?1 AND session = ?2",
    [S_QUEUE_DEL] = "DELETE FROM queue WHERE pos = ?1 AND session = ?2",
    [S_QUEUE_INLINE_DEL] = "UPDATE queue SET session = NULL WHERE pos = ?1 AND session = ?2",
    [S_QUEUE_END] = "DELETE FROM queue WHERE pos = ?1",
    [S_QUEUE_MOVE] = "UPDATE queue SET session = ?3, qos = ?4, retain = ?5, packet_id = 0, "
                     "state = 0, share = ?6, ids = ?7 WHERE pos = ?1 AND session = ?2",
    [S_RCPT_ADD] = "INSERT OR IGNORE INTO recipients (pos, session, qos, retain, packet_id, state, "
                   "share, ids) VALUES (?1, ?2, ?3, ?4, 0, 0, ?5, ?6)",
    [S_RCPT_UPD] = "UPDATE recipients SET packet_id = ?3, state = ?4 "
                   "WHERE pos = ?1 AND session = ?2",
    [S_RCPT_DEL] = "DELETE FROM recipients WHERE pos = ?1 AND session = ?2",
    [S_IN_ADD] = "INSERT OR IGNORE INTO incoming (session, packet_id) VALUES (?1, ?2)",
    [S_IN_DEL] = "DELETE FROM incoming WHERE session = ?1 AND packet_id = ?2",
    [S_IN_HAS] = "SELECT 1 FROM incoming WHERE session = ?1 AND packet_id = ?2",
    [S_WILL_PUT] =
        "REPLACE INTO wills (session, extra, " MSG_NAMES ") VALUES (?, ?, " MSG_MARKS ")",
    [S_WILL_DUE] = "UPDATE wills SET due_ms = ?2 WHERE session = ?1",
    [S_WILL_DEL] = "DELETE FROM wills WHERE session = ?1",
    [S_WILL_HAS] = "SELECT 1 FROM wills WHERE session = ?1",
    [S_SCAN_SESSIONS] = "SELECT session, client, due_ms, extra, sum FROM sessions "
                        "WHERE session > ?1 ORDER BY session",
    [S_SCAN_SUBS] = "SELECT session, " CLIENT ", " SUB_NAMES " FROM subscriptions s "
                    "WHERE (session, key) > (?1, ?2) ORDER BY session, key",
    [S_SCAN_RETAINED] = "SELECT rowid, " MSG_NAMES " FROM retained WHERE rowid > ?1 ORDER BY rowid",
    [S_SCAN_QUEUE] = "SELECT " QUEUE_NAMES " FROM queue q WHERE q.pos >= ?1 ORDER BY q.pos",
    [S_SCAN_RCPTS] = "SELECT " RCPT_NAMES " FROM recipients r WHERE r.pos = ?1 AND r.session > ?2 "
                     "ORDER BY r.session",
    [S_SCAN_QUEUE_OF] =
        "SELECT " QUEUE_NAMES ", " RCPT_NAMES " FROM queue q LEFT JOIN recipients r "
        "ON q.more > 0 AND r.pos = q.pos AND r.session = ?1 "
        "WHERE q.pos BETWEEN ?2 AND ?3 AND (q.session = ?1 OR r.session IS NOT NULL) "
        "ORDER BY q.pos",
    [S_SCAN_IN] = "SELECT session, packet_id, " CLIENT " FROM incoming s "
                  "WHERE (session, packet_id) > (?1, ?2) ORDER BY session, packet_id",
    [S_SCAN_WILLS] = "SELECT session, " CLIENT ", due_ms, extra, " MSG_NAMES " FROM wills s "
                     "WHERE session > ?1 ORDER BY session",
};

/* ---- results --------------------------------------------------------------------------------- */

/* A disk without room and one that takes no writes are a matter of waiting; a failed fsync is none.
 */
static int32_t status_of_io(struct db *db, int rc)
{
    int error = sqlite3_system_errno(db->sql);

    if (rc == SQLITE_IOERR_FSYNC || rc == SQLITE_IOERR_DIR_FSYNC)
        return PIGEON_E_IO;
    return error == ENOSPC || error == EDQUOT || error == EROFS ? PIGEON_E_FULL : PIGEON_E_IO;
}

int32_t db_status(struct db *db, int rc)
{
    int32_t status;

    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE: return PIGEON_OK;
    case SQLITE_TOOBIG: /* the transaction has to end */
    case SQLITE_NOMEM: status = PIGEON_E_NOMEM; break;
    case SQLITE_FULL:
    case SQLITE_READONLY: status = PIGEON_E_FULL; break;
    case SQLITE_IOERR: status = status_of_io(db, rc); break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB: db->has_damage = true; /* fall through */
    default: status = PIGEON_E_IO; break;
    }
    if (status == PIGEON_E_FULL)
        db->place->is_full = true;
    snprintf(db->place->error, sizeof(db->place->error), "%s: %s (SQLite %d, errno %d)",
             db->place->path, sqlite3_errmsg(db->sql), rc, sqlite3_system_errno(db->sql));
    return status;
}

int32_t db_run(struct db *db, enum statement s)
{
    int rc = sqlite3_step(db->stmt[s]);
    int32_t status = db_status(db, rc);

    sqlite3_reset(db->stmt[s]);
    return status;
}

int32_t db_has(struct db *db, enum statement s, bool *r_has)
{
    int rc = sqlite3_step(db->stmt[s]);
    int32_t status = db_status(db, rc);

    *r_has = rc == SQLITE_ROW;
    sqlite3_reset(db->stmt[s]);
    return status;
}

static int32_t exec(struct db *db, const char *text)
{
    return db_status(db, sqlite3_exec(db->sql, text, NULL, NULL, NULL));
}

/* ---- transactions ---------------------------------------------------------------------------- */

static int32_t db_begin(void *self)
{
    return db_run(self, S_BEGIN);
}

/* With `synchronous = NORMAL` a commit is written to the log and survives the process; whether it
 * survives the machine is up to the log's fsync, which is ours: that way each commit can choose.
 * Checkpoints sync by themselves. */
static int32_t sync_log(struct db *db)
{
    sqlite3_file *log = NULL;
    int rc = sqlite3_file_control(db->sql, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);

    if (rc == SQLITE_OK && log && log->pMethods)
        rc = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
    if (rc == SQLITE_OK)
        return PIGEON_OK;
    snprintf(db->place->error, sizeof(db->place->error), "%s-wal: fsync: %s (errno %d)",
             db->place->path, sqlite3_errstr(rc), errno);
    return PIGEON_E_IO;
}

static int32_t db_commit(void *self, uint32_t durability)
{
    struct db *db = self;
    int32_t r = db_run(db, S_COMMIT);

    if (r != PIGEON_OK)
        return r;
    ledger_commit(&db->ledger);
    return durability >= PIGEON_DURABILITY_DISK ? sync_log(db) : PIGEON_OK;
}

static int32_t db_save(void *self)
{
    ledger_mark(&((struct db *)self)->ledger);
    return db_run(self, S_SAVE);
}

static int32_t db_undo(void *self)
{
    int32_t r = db_run(self, S_SAVE_UNDO);

    if (r == PIGEON_OK)
        ledger_undo(&((struct db *)self)->ledger);
    return r;
}

static int32_t db_settle(void *self)
{
    return db_run(self, S_SAVE_END);
}

static void db_rollback(void *self)
{
    struct db *db = self;

    if (!sqlite3_get_autocommit(db->sql))
        db_run(db, S_ROLLBACK);
    ledger_rollback(&db->ledger);
}

static struct ledger *db_ledger(void *self)
{
    return &((struct db *)self)->ledger;
}

static int32_t load(struct db *db)
{
    sqlite3_stmt *s = db->stmt[S_SCAN_SESSIONS];
    int rc;
    int32_t status;

    sqlite3_bind_int64(s, 1, 0);
    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        if (ledger_add_session(&db->ledger, (uint64_t)sqlite3_column_int64(s, 0)))
            break;
    status = rc == SQLITE_ROW ? PIGEON_E_NOMEM : db_status(db, rc);
    sqlite3_reset(s);
    ledger_commit(&db->ledger);
    return status == PIGEON_OK ? survey(db, &db->ledger, db_rows) : status;
}

/* ---- room and housekeeping ------------------------------------------------------------------- */

static int64_t pragma_number(struct db *db, const char *text)
{
    sqlite3_stmt *s = NULL;
    int64_t n = -1;

    if (sqlite3_prepare_v2(db->sql, text, -1, &s, NULL) == SQLITE_OK &&
        sqlite3_step(s) == SQLITE_ROW)
        n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    return n;
}

/* Below its own bound, and room on the disk. */
static bool db_has_room(void *self)
{
    struct db *db = self;

    if (db->max_bytes) {
        int64_t used =
            pragma_number(db, "PRAGMA page_count") - pragma_number(db, "PRAGMA freelist_count");

        if (used * pragma_number(db, "PRAGMA page_size") > db->max_bytes / 20 * 19)
            return false;
    }
    return place_has_room(db->place);
}

/* One that has no room goes on in the log and is tried again later. After a failed fsync nobody
 * knows what the disk has. */
static int32_t db_tidy(void *self)
{
    struct db *db = self;
    int32_t r;
    int rc;

    if (db->wal_pages < db->checkpoint_at)
        return PIGEON_OK;
    rc = sqlite3_wal_checkpoint_v2(db->sql, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
    r = db_status(db, rc);
    db->checkpoint_at = (rc == SQLITE_OK ? 0 : db->wal_pages) + CHECKPOINT_PAGES;
    db->wal_pages = rc == SQLITE_OK ? 0 : db->wal_pages;
    return r == PIGEON_E_IO ? r : PIGEON_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static int on_wal(void *arg, sqlite3 *sql, const char *name, int pages)
{
    (void)sql;
    (void)name;
    ((struct db *)arg)->wal_pages = (uint32_t)pages;
    return SQLITE_OK;
}

static int32_t settings(struct db *db, int64_t cache_bytes)
{
    char text[160];
    int64_t page = db->max_bytes && db->max_bytes < (1 << 20) ? 4096 : 8192;
    int32_t r;

    snprintf(text, sizeof(text), "PRAGMA page_size = %lld; PRAGMA locking_mode = EXCLUSIVE;",
             (long long)page);
    r = exec(db, text);
    if (r == PIGEON_OK)
        r = exec(db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                     "PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY;"
                     "PRAGMA cell_size_check = ON;");
    if (r != PIGEON_OK)
        return r;
    page = pragma_number(db, "PRAGMA page_size");
    snprintf(text, sizeof(text), "PRAGMA cache_size = -%lld;", (long long)(cache_bytes / 1024));
    r = exec(db, text);
    if (r == PIGEON_OK && db->max_bytes) {
        snprintf(text, sizeof(text), "PRAGMA max_page_count = %lld;",
                 (long long)(db->max_bytes / page));
        r = exec(db, text);
    }
    sqlite3_wal_hook(db->sql, on_wal, db);
    return r;
}

static int32_t is_damaged(struct db *db, const char *what)
{
    snprintf(db->place->error, sizeof(db->place->error), "%.300s: damaged: %.150s", db->place->path,
             what);
    db->has_damage = true;
    return PIGEON_E_IO;
}

/* Structure and order of all pages; what rows say is up to their checksums. */
static int32_t check_pages(struct db *db)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(db->sql, "PRAGMA quick_check(1)", -1, &s, NULL);
    int32_t r = PIGEON_OK;

    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    if (rc != SQLITE_ROW)
        r = rc == SQLITE_DONE ? PIGEON_OK : db_status(db, rc);
    else if (sqlite3_stricmp((const char *)sqlite3_column_text(s, 0), "ok") != 0)
        r = is_damaged(db, (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return r;
}

static int32_t check_format(struct db *db, off_t bytes)
{
    char text[96];
    int64_t format, n_tables = pragma_number(db, "SELECT count(*) FROM sqlite_master");

    if (n_tables < 0)
        return db_status(db, sqlite3_extended_errcode(db->sql));
    if (n_tables == 0) {
        /* A first start that was cut short leaves a page at most. */
        if (bytes % 512 || pragma_number(db, "PRAGMA page_count") > 1)
            return is_damaged(db, "it has no tables");
        snprintf(text, sizeof(text), "INSERT INTO format VALUES (%d); COMMIT;", DB_FORMAT);
        int32_t r = exec(db, "BEGIN IMMEDIATE;");

        if (r == PIGEON_OK)
            r = exec(db, schema);
        return r == PIGEON_OK ? exec(db, text) : r;
    }
    format = pragma_number(db, "SELECT number FROM format");
    if (format == 1)
        return exec(db, from_1_to_2);
    if (format == DB_FORMAT)
        return PIGEON_OK;
    snprintf(db->place->error, sizeof(db->place->error),
             format < 0 ? "%s: this is not a store of Pigeon"
                        : "%s: its format is %lld, this version knows %d; use the version that "
                          "wrote it, or a newer one",
             db->place->path, (long long)format, DB_FORMAT);
    return PIGEON_E_NOTSUP;
}

static int32_t prepare(struct db *db)
{
    for (uint32_t i = 0; i < S_COUNT; i++) {
        int rc = sqlite3_prepare_v3(db->sql, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &db->stmt[i],
                                    NULL);

        if (rc != SQLITE_OK)
            return db_status(db, rc);
    }
    return PIGEON_OK;
}

static int32_t open_file(struct db *db, int64_t cache_bytes)
{
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX |
                SQLITE_OPEN_PRIVATECACHE | SQLITE_OPEN_EXRESCODE;
    struct stat st = { 0 };
    int rc, fd;
    int32_t r;

    fd =
        open(db->place->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600); /* its log takes the same mode */
    if (fd >= 0) {
        (void)fstat(fd, &st);
        close(fd);
    }
    rc = sqlite3_open_v2(db->place->path, &db->sql, flags, NULL);
    r = db_status(db, rc);
    if (r == PIGEON_OK)
        r = settings(db, cache_bytes);
    if (r == PIGEON_OK)
        r = check_pages(db);
    if (r == PIGEON_OK)
        r = check_format(db, st.st_size);
    return r == PIGEON_OK ? prepare(db) : r;
}

static void close_file(struct db *db)
{
    for (uint32_t i = 0; i < S_COUNT; i++) {
        sqlite3_finalize(db->stmt[i]);
        db->stmt[i] = NULL;
    }
    sqlite3_close(db->sql);
    db->sql = NULL;
}

/* A new database with what can be read of this one. */
static int32_t salvage(struct db *db, int64_t cache_bytes)
{
    char *kept;
    int32_t r;

    place_warn(db->place, db->place->error);
    close_file(db);
    kept = salvage_move_aside(db);
    if (!kept)
        return PIGEON_E_IO;
    r = open_file(db, cache_bytes);
    if (r == PIGEON_OK)
        r = salvage_copy(db, kept);
    if (r != PIGEON_OK) { /* no room, say: the next start tries again with all of it */
        close_file(db);
        salvage_put_back(db, kept);
    }
    free(kept);
    return r;
}

static int32_t refuse(struct db *db, int32_t status)
{
    size_t len = strlen(db->place->error);

    if (status == PIGEON_E_IO && !db->salvage && !strstr(db->place->error, "salvage"))
        snprintf(db->place->error + len, sizeof(db->place->error) - len,
                 "; the option `salvage` keeps what can be read");
    return place_refuse(db->place, "the store cannot be opened");
}

static int32_t open_all(struct db *db, int64_t cache_bytes)
{
    int32_t r = open_file(db, cache_bytes);

    if (r == PIGEON_E_IO && db->salvage && db->has_damage)
        r = salvage(db, cache_bytes);
    if (r == PIGEON_OK)
        r = load(db);
    if (r != PIGEON_OK)
        return refuse(db, r);
    if (!place_open_reserve(db->place)) /* it is full, and says so when somebody wants to write */
        db->place->is_full = db->place->reserve_is_used = true;
    return PIGEON_OK;
}

static void db_close(void *self)
{
    struct db *db = self;

    close_file(db);
    ledger_fini(&db->ledger);
    free(db);
}

static int32_t db_open(struct place *place, const pigeon_conf *conf, void **r_db)
{
    const pigeon_host *host = place->host;
    struct db *db = calloc(1, sizeof(*db));
    int32_t r;

    if (!db)
        return PIGEON_E_NOMEM;
    db->place = place;
    db->checkpoint_at = CHECKPOINT_PAGES;
    db->max_bytes = host->conf_int(conf, "max_bytes");
    db->salvage = host->conf_int(conf, "salvage");
    r = open_all(db, host->conf_int(conf, "cache"));
    if (r != PIGEON_OK)
        db_close(db);
    else
        *r_db = db;
    return r;
}

const struct journal_engine db_engine = {
    .file = "store.sqlite",
    .help = "set state_dir, or path to the file of the store",
    .open = db_open,
    .close = db_close,
    .begin = db_begin,
    .op = db_apply,
    .has = db_has_target,
    .save = db_save,
    .undo = db_undo,
    .settle = db_settle,
    .commit = db_commit,
    .rollback = db_rollback,
    .rows = db_rows,
    .ledger = db_ledger,
    .tidy = db_tidy,
    .has_room = db_has_room,
};
