#include "db.h"
#include "logs.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SALVAGE_HELP "; the option `salvage` keeps what can be read"

/* LevelDB tells what happened in words only. */
int32_t db_status(struct db *db, char *m_error)
{
    int32_t status = PIGEON_E_IO;

    if (!m_error)
        return PIGEON_OK;
    if (strstr(m_error, strerror(ENOSPC)) || strstr(m_error, strerror(EDQUOT)) ||
        strstr(m_error, strerror(EROFS)))
        status = PIGEON_E_FULL;
    snprintf(db->place->error, sizeof(db->place->error), "%.200s: %.200s%s", db->place->path,
             m_error, strstr(m_error, "Corruption") && !db->salvage ? SALVAGE_HELP : "");
    db->place->is_full = db->place->is_full || status == PIGEON_E_FULL;
    leveldb_free(m_error);
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

int32_t db_get(struct db *db, struct bytes key, struct bytes *r_value, char **r_owned)
{
    const struct overlay_entry *e = overlay_find(&db->changes, key);
    char *error = NULL, *value;
    size_t len;

    *r_owned = NULL;
    if (e && !e->value)
        return PIGEON_E_GONE;
    if (e) { /* of its own, too: what is done with it may change the overlay */
        value = malloc(e->value_len + 1);
        if (!value)
            return PIGEON_E_NOMEM;
        memcpy(value, e->value, e->value_len);
        *r_value = (struct bytes){ .ptr = value, .len = e->value_len };
        *r_owned = value;
        return PIGEON_OK;
    }
    value = leveldb_get(db->ldb, db->read, key.ptr, key.len, &len, &error);
    if (error)
        return db_status(db, error);
    if (!value)
        return PIGEON_E_GONE;
    *r_value = (struct bytes){ .ptr = value, .len = len };
    *r_owned = value; /* leveldb_free is free */
    return PIGEON_OK;
}

int32_t db_put(struct db *db, struct bytes key, struct bytes value)
{
    return overlay_set(&db->changes, key, value) ? PIGEON_E_NOMEM : PIGEON_OK;
}

int32_t db_del(struct db *db, struct bytes key)
{
    return overlay_set(&db->changes, key, (struct bytes){ 0 }) ? PIGEON_E_NOMEM : PIGEON_OK;
}

void keys_fini(struct keys *keys)
{
    for (size_t i = 0; i < keys->n; i++)
        free((char *)keys->key[i].ptr);
    free(keys->key);
    *keys = (struct keys){ 0 };
}

static int32_t keys_add(struct keys *keys, struct bytes key)
{
    char *copy;

    if (keys->n == keys->size) {
        size_t size = keys->size ? keys->size * 2 : 16;
        struct bytes *more = realloc(keys->key, size * sizeof(*more));

        if (!more)
            return PIGEON_E_NOMEM;
        keys->key = more;
        keys->size = size;
    }
    copy = malloc(key.len + 1);
    if (!copy)
        return PIGEON_E_NOMEM;
    memcpy(copy, key.ptr, key.len);
    keys->key[keys->n++] = (struct bytes){ .ptr = copy, .len = key.len };
    return PIGEON_OK;
}

static bool begins_with(struct bytes key, struct bytes prefix)
{
    return key.len >= prefix.len && memcmp(key.ptr, prefix.ptr, prefix.len) == 0;
}

static int32_t committed_keys(struct db *db, struct bytes prefix, struct keys *keys)
{
    leveldb_iterator_t *it = leveldb_create_iterator(db->ldb, db->read);
    char *error = NULL;
    int32_t r = PIGEON_OK;

    leveldb_iter_seek(it, prefix.ptr, prefix.len);
    for (; r == PIGEON_OK && leveldb_iter_valid(it); leveldb_iter_next(it)) {
        struct bytes key;

        key.ptr = leveldb_iter_key(it, &key.len);
        if (!begins_with(key, prefix))
            break;
        if (!overlay_find(&db->changes, key))
            r = keys_add(keys, key);
    }
    leveldb_iter_get_error(it, &error);
    leveldb_iter_destroy(it);
    return error ? db_status(db, error) : r;
}

int32_t db_keys(struct db *db, struct bytes prefix, struct keys *r_keys)
{
    int32_t r;

    *r_keys = (struct keys){ 0 };
    r = committed_keys(db, prefix, r_keys);
    for (const struct overlay_entry *e = db->changes.first; e && r == PIGEON_OK; e = e->later) {
        struct bytes key = { .ptr = e->key, .len = e->key_len };

        if (begins_with(key, prefix) && overlay_is_said(e) && e->value)
            r = keys_add(r_keys, key);
    }
    return r;
}

/* ---- what is in memory ----------------------------------------------------------------------- */

static int32_t load(struct db *db)
{
    struct keys keys;
    int32_t r = db_keys(db, (struct bytes){ .ptr = "s", .len = 1 }, &keys);

    for (size_t i = 0; i < keys.n && r == PIGEON_OK; i++)
        if (ledger_add_session(&db->ledger, key_number(keys.key[i], 0)))
            r = PIGEON_E_NOMEM;
    keys_fini(&keys);
    ledger_commit(&db->ledger);
    return r == PIGEON_OK ? survey(db, &db->ledger, db_rows) : r;
}

/* ---- transactions ---------------------------------------------------------------------------- */

static int32_t open_ldb(struct db *db)
{
    char *error = NULL;

    db->ldb = leveldb_open(db->options, db->place->path, &error);
    return db_status(db, error);
}

static void close_ldb(struct db *db)
{
    if (db->ldb)
        leveldb_close(db->ldb);
    db->ldb = NULL;
}

/* After a failed write: see the top of db.h. A new log needs room. */
static int32_t mend(struct db *db)
{
    int32_t r;

    if (!db->is_torn)
        return PIGEON_OK;
    close_ldb(db);
    r = open_ldb(db);
    if (r == PIGEON_E_FULL && place_give_up_reserve(db->place))
        r = open_ldb(db);
    db->is_torn = r != PIGEON_OK;
    return r;
}

static int32_t db_begin(void *self)
{
    struct db *db = self;
    int32_t r = mend(db);

    overlay_clear(&db->changes);
    return r;
}

static int32_t db_commit(void *self, uint32_t durability)
{
    struct db *db = self;
    leveldb_writebatch_t *batch = leveldb_writebatch_create();
    char *error = NULL;
    int32_t r;

    for (const struct overlay_entry *e = db->changes.first; e; e = e->later) {
        if (!overlay_is_said(e))
            continue;
        if (e->value)
            leveldb_writebatch_put(batch, e->key, e->key_len, e->value, e->value_len);
        else
            leveldb_writebatch_delete(batch, e->key, e->key_len);
    }
    leveldb_writeoptions_set_sync(db->write, durability >= PIGEON_DURABILITY_DISK);
    leveldb_write(db->ldb, db->write, batch, &error);
    leveldb_writebatch_destroy(batch);
    r = db_status(db, error);
    if (r != PIGEON_OK) {
        db->is_torn = db->is_stale = true;
        return r;
    }
    overlay_clear(&db->changes);
    ledger_commit(&db->ledger);
    return PIGEON_OK;
}

static int32_t db_save(void *self)
{
    struct db *db = self;

    overlay_mark(&db->changes);
    ledger_mark(&db->ledger);
    return PIGEON_OK;
}

static int32_t db_undo(void *self)
{
    struct db *db = self;

    overlay_undo(&db->changes);
    ledger_undo(&db->ledger);
    return PIGEON_OK;
}

static int32_t db_settle(void *self)
{
    overlay_settle(&((struct db *)self)->changes);
    return PIGEON_OK;
}

static void db_rollback(void *self)
{
    struct db *db = self;

    overlay_clear(&db->changes);
    ledger_rollback(&db->ledger);
    mend(db);
}

static struct ledger *db_ledger(void *self)
{
    return &((struct db *)self)->ledger;
}

static int32_t db_read(void *self, struct journal_cursor *c, struct journal_row *room,
                       journal_row_fn row, void *arg)
{
    int32_t r = mend(self);

    return r == PIGEON_OK ? db_rows(self, c, room, row, arg) : r;
}

/* A write that failed may be on the disk all the same: what is in memory is read again. */
static int32_t load_if_stale(struct db *db)
{
    struct ledger was = db->ledger;
    int32_t r;

    if (!db->is_stale)
        return PIGEON_OK;
    db->ledger = (struct ledger){ 0 };
    r = load(db);
    db->is_stale = r != PIGEON_OK;
    if (db->is_stale) {
        ledger_fini(&db->ledger);
        db->ledger = was;
    } else {
        ledger_fini(&was);
    }
    return r;
}

static bool db_has_room(void *self)
{
    struct db *db = self;

    return place_has_room(db->place) && mend(db) == PIGEON_OK && load_if_stale(db) == PIGEON_OK;
}

/* ---- opening --------------------------------------------------------------------------------- */

static void settings(struct db *db, const pigeon_conf *conf)
{
    db->options = leveldb_options_create();
    db->read = leveldb_readoptions_create();
    db->write = leveldb_writeoptions_create();
    db->cache = leveldb_cache_create_lru((size_t)db->place->host->conf_int(conf, "cache"));
    db->filter = leveldb_filterpolicy_create_bloom(10);
    leveldb_options_set_create_if_missing(db->options, 1);
    leveldb_options_set_paranoid_checks(db->options, 1);
    leveldb_options_set_cache(db->options, db->cache);
    leveldb_options_set_filter_policy(db->options, db->filter);
    leveldb_options_set_write_buffer_size(db->options,
                                          (size_t)db->place->host->conf_int(conf, "write_buffer"));
    leveldb_readoptions_set_verify_checksums(db->read, 1);
}

static int32_t is_damaged(struct db *db, const char *what)
{
    snprintf(db->place->error, sizeof(db->place->error), "%.300s: damaged: %s%s", db->place->path,
             what, db->salvage ? "; salvage goes on without it" : SALVAGE_HELP);
    if (!db->salvage)
        return PIGEON_E_IO;
    place_warn(db->place, db->place->error);
    return PIGEON_OK;
}

/* had_content: there were records before it was opened. */
static int32_t check_format(struct db *db, bool had_content)
{
    struct bytes value, key = { .ptr = "f", .len = 1 };
    struct reader in;
    char *owned;
    uint64_t format;
    int32_t r = db_get(db, key, &value, &owned);

    if (r == PIGEON_E_GONE && had_content && is_damaged(db, "its first record is missing"))
        return PIGEON_E_IO;
    if (r == PIGEON_E_GONE) {
        db->value.len = 0;
        put_number(&db->value, DB_FORMAT, 4);
        r = db_put(db, key, writer_bytes(&db->value));
        return r == PIGEON_OK ? db_commit(db, PIGEON_DURABILITY_DISK) : r;
    }
    if (r != PIGEON_OK)
        return r;
    in = (struct reader){ .at = value.ptr, .end = value.ptr + value.len };
    format = take_number(&in, 4);
    free(owned);
    if (format == DB_FORMAT)
        return PIGEON_OK;
    snprintf(db->place->error, sizeof(db->place->error),
             "%s: its format is %llu, this version knows %d; use the version that wrote it, or a "
             "newer one",
             db->place->path, (unsigned long long)format, DB_FORMAT);
    return PIGEON_E_NOTSUP;
}

/* Opens it, reads all there is, closes it. */
static int32_t try_all(struct db *db, bool strict)
{
    leveldb_iterator_t *it;
    char *error = NULL;
    int32_t r;

    leveldb_options_set_paranoid_checks(db->options, strict);
    r = open_ldb(db);
    leveldb_options_set_paranoid_checks(db->options, 1);
    if (r != PIGEON_OK)
        return r;
    it = leveldb_create_iterator(db->ldb, db->read);
    for (leveldb_iter_seek_to_first(it); leveldb_iter_valid(it);)
        leveldb_iter_next(it);
    leveldb_iter_get_error(it, &error);
    leveldb_iter_destroy(it);
    close_ldb(db);
    return db_status(db, error);
}

/* No room, no permission, no descriptor is no damage: a repair would throw away what is whole. A
 * table that was cut is read beyond its end. */
static bool tells_damage(const char *error)
{
    return strstr(error, "Corruption") || strstr(error, "Invalid argument") ||
           strstr(error, "No such file");
}

/* What is broken is left out, what can be read is kept. A log is first read as LevelDB does when it
 * is not strict, without the commits whose checksums are wrong: its repair would take them as they
 * are. */
static int32_t salvage(struct db *db, bool tables_are_unknown)
{
    char *error = NULL;

    if (!tables_are_unknown && try_all(db, true) == PIGEON_OK)
        return PIGEON_OK;
    place_warn(db->place, db->place->error);
    if (!tables_are_unknown && try_all(db, false) == PIGEON_OK) {
        place_warn(db->place, "salvage: damaged commits of the log were left out");
        return PIGEON_OK;
    }
    if (!tables_are_unknown && !tells_damage(db->place->error))
        return PIGEON_OK; /* nothing to be repaired; opening it says what it is */
    leveldb_repair_db(db->options, db->place->path, &error);
    place_warn(db->place,
               "salvage: what could be read was kept, the rest lies in lost/ of the database");
    return db_status(db, error);
}

static int32_t refuse(struct db *db, int32_t status)
{
    size_t len = strlen(db->place->error);

    if (status == PIGEON_E_IO && !db->salvage && !strstr(db->place->error, "salvage"))
        snprintf(db->place->error + len, sizeof(db->place->error) - len, SALVAGE_HELP);
    return place_refuse(db->place, "the store cannot be opened");
}

static int32_t open_all(struct db *db, const pigeon_conf *conf)
{
    struct logs logs = logs_look(db->place->path);
    int32_t r;

    if (mkdir(db->place->path, 0700) < 0 && errno != EEXIST) {
        snprintf(db->place->error, sizeof(db->place->error), "%.400s: %s", db->place->path,
                 strerror(errno));
        return place_refuse(db->place, "the store cannot be opened");
    }
    if (!place_open_reserve(db->place))
        db->place->is_full = true;
    settings(db, conf);
    db->salvage = db->place->host->conf_int(conf, "salvage");
    r = logs.is_cut ? is_damaged(db, "a log ends early, and another one follows") : PIGEON_OK;
    if (r == PIGEON_OK && logs.manifest_is_cut)
        r = is_damaged(db, "the list of its tables ends early");
    if (r == PIGEON_OK && db->salvage && logs.has_records)
        r = salvage(db, logs.manifest_is_cut);
    db->is_torn = true; /* to be opened */
    if (r == PIGEON_OK)
        r = mend(db);
    if (r == PIGEON_OK)
        r = check_format(db, logs.has_records);
    if (r == PIGEON_OK)
        r = load(db);
    return r == PIGEON_OK ? PIGEON_OK : refuse(db, r);
}

static void db_close(void *self)
{
    struct db *db = self;

    close_ldb(db);
    if (db->options) {
        leveldb_options_destroy(db->options);
        leveldb_readoptions_destroy(db->read);
        leveldb_writeoptions_destroy(db->write);
        leveldb_cache_destroy(db->cache);
        leveldb_filterpolicy_destroy(db->filter);
    }
    overlay_fini(&db->changes);
    ledger_fini(&db->ledger);
    writer_fini(&db->value);
    free(db);
}

static int32_t db_open(struct place *place, const pigeon_conf *conf, void **r_db)
{
    struct db *db = calloc(1, sizeof(*db));
    int32_t r;

    if (!db)
        return PIGEON_E_NOMEM;
    db->place = place;
    r = overlay_init(&db->changes) ? PIGEON_E_NOMEM : open_all(db, conf);
    if (r != PIGEON_OK)
        db_close(db);
    else
        *r_db = db;
    return r;
}

const struct journal_engine db_engine = {
    .file = "store.leveldb",
    .help = "set state_dir, or path to the directory of the store",
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
    .rows = db_read,
    .ledger = db_ledger,
    .has_room = db_has_room,
};
