#include "db.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COPIES_MAX 1000

/* By primary key, from both ends: between them lies what cannot be read. */
static const struct {
    const char *name, *marks, *order[2];
} tables[] = {
    { "sessions", "?, ?, ?, ?, ?", { "session", "session DESC" } },
    { "subscriptions",
      "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?",
      { "session, key", "session DESC, key DESC" } },
    { "retained", "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?", { "rowid", "rowid DESC" } },
    { "queue",
      "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?",
      { "pos", "pos DESC" } },
    { "recipients", "?, ?, ?, ?, ?, ?, ?, ?", { "pos, session", "pos DESC, session DESC" } },
    { "incoming", "?, ?", { "session, packet_id", "session DESC, packet_id DESC" } },
    { "wills", "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?", { "session", "session DESC" } },
};

/* A name that is free, for the database and for its log. */
static char *free_name(const char *path)
{
    size_t size = strlen(path) + 32;
    char *name = malloc(size);

    for (int i = 1; name && i < COPIES_MAX; i++) {
        snprintf(name, size, "%s-damaged-%d", path, i);
        if (access(name, F_OK) < 0 && errno == ENOENT)
            return name;
    }
    free(name);
    return NULL;
}

static bool move_aside(const char *path, const char *to, const char *ending)
{
    char *old = place_joined(path, ending), *new = place_joined(to, ending);
    bool ok = old && new && (rename(old, new) == 0 || errno == ENOENT);

    free(old);
    free(new);
    return ok;
}

char *salvage_move_aside(struct db *db)
{
    char *to = free_name(db->place->path);

    if (to && move_aside(db->place->path, to, "-wal") && move_aside(db->place->path, to, ""))
        return to;
    snprintf(db->place->error, sizeof(db->place->error),
             "%.400s: salvage: it cannot be moved aside: %s", db->place->path, strerror(errno));
    free(to);
    return NULL;
}

/* What was begun in its place goes. */
void salvage_put_back(struct db *db, const char *kept)
{
    static const char *const endings[] = { "-wal", "-shm", "" };

    for (size_t i = 0; i < PIGEON_COUNT(endings); i++) {
        char *name = place_joined(db->place->path, endings[i]);

        if (name)
            unlink(name);
        free(name);
    }
    if (!move_aside(kept, db->place->path, "-wal") || !move_aside(kept, db->place->path, ""))
        place_warn(db->place, "salvage: the damaged database stays where it was moved to");
}

/* One row of `from` into `into`; PIGEON_E_*: the new database takes no rows. */
static int32_t copy_row(struct db *db, sqlite3_stmt *from, sqlite3_stmt *into, uint64_t *r_rows)
{
    int n = sqlite3_bind_parameter_count(into), rc;

    if (sqlite3_column_count(from) < n && sqlite3_column_count(from) + 2 != n)
        return PIGEON_OK; /* format 1 has two columns less */
    sqlite3_clear_bindings(into);
    for (int i = 0; i < n && i < sqlite3_column_count(from); i++)
        sqlite3_bind_value(into, i + 1, sqlite3_column_value(from, i));
    rc = sqlite3_step(into);
    if (rc == SQLITE_DONE)
        *r_rows += (uint64_t)sqlite3_changes(db->sql);
    sqlite3_reset(into);
    switch (rc & 0xff) {
    case SQLITE_FULL:
    case SQLITE_IOERR:
    case SQLITE_NOMEM:
    case SQLITE_READONLY: return db_status(db, rc);
    default: return PIGEON_OK; /* what is no good as a row is left out */
    }
}

/* *r_broken: it did not come to the end. */
static int32_t copy_table(struct db *db, sqlite3 *old, size_t t, const char *order,
                          uint64_t *r_rows, bool *r_broken)
{
    sqlite3_stmt *from = NULL, *into = NULL;
    char text[256];
    int32_t r = PIGEON_OK;
    int rc;

    snprintf(text, sizeof(text), "INSERT OR IGNORE INTO main.%s VALUES (%s)", tables[t].name,
             tables[t].marks);
    *r_broken = true;
    if (sqlite3_prepare_v2(db->sql, text, -1, &into, NULL) != SQLITE_OK)
        return PIGEON_OK;
    snprintf(text, sizeof(text), "SELECT * FROM %s ORDER BY %s", tables[t].name, order);
    rc = sqlite3_prepare_v2(old, text, -1, &from, NULL);
    if (rc == SQLITE_OK)
        while (r == PIGEON_OK && (rc = sqlite3_step(from)) == SQLITE_ROW)
            r = copy_row(db, from, into, r_rows);
    *r_broken = rc != SQLITE_DONE;
    if (r == PIGEON_OK &&
        ((rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED || (rc & 0xff) == SQLITE_NOMEM))
        r = PIGEON_E_IO; /* nothing is wrong with the rows */
    sqlite3_finalize(from);
    sqlite3_finalize(into);
    return r;
}

static int32_t copy_all(struct db *db, sqlite3 *old)
{
    char text[160];
    int32_t r = PIGEON_OK;

    for (size_t t = 0; t < PIGEON_COUNT(tables) && r == PIGEON_OK; t++) {
        uint64_t rows = 0;
        bool is_broken = false;

        r = copy_table(db, old, t, tables[t].order[0], &rows, &is_broken);
        if (r == PIGEON_OK && is_broken)
            r = copy_table(db, old, t, tables[t].order[1], &rows, &is_broken);
        snprintf(text, sizeof(text), "salvage: %" PRIu64 " rows of %s kept%s", rows, tables[t].name,
                 is_broken ? ", others could not be read" : "");
        place_warn(db->place, text);
    }
    return r;
}

/* A connection of its own, so that what is wrong there does not touch the new one. */
static sqlite3 *open_damaged(const char *path)
{
    sqlite3 *old = NULL;

    if (sqlite3_open_v2(path, &old, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) ==
            SQLITE_OK &&
        sqlite3_exec(old, "PRAGMA locking_mode = EXCLUSIVE", NULL, NULL, NULL) == SQLITE_OK) {
        sqlite3_db_config(old, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL); /* it stays as it is */
        return old;
    }
    sqlite3_close(old);
    return NULL;
}

int32_t salvage_copy(struct db *db, const char *from)
{
    sqlite3 *old = open_damaged(from);
    char text[600];
    int32_t r;

    snprintf(text, sizeof(text), "salvage: the damaged database is kept as %.500s", from);
    place_warn(db->place, text);
    if (!old) {
        place_warn(db->place, "salvage: nothing of it can be read");
        return PIGEON_OK;
    }
    r = db_status(db, sqlite3_exec(db->sql, "BEGIN", NULL, NULL, NULL));
    if (r == PIGEON_OK)
        r = copy_all(db, old);
    if (r == PIGEON_OK)
        r = db_status(db, sqlite3_exec(db->sql, "COMMIT", NULL, NULL, NULL));
    sqlite3_close(old);
    return r;
}
