/* journal.h - the thread of a store whose library blocks: batches and scans in the order of their
 * calls, many batches in one commit.
 *
 * `submit` and `scan` only queue. The journal's thread takes what is there, applies batch after
 * batch within one transaction of the engine, commits once, answers all, and begins again; while it
 * commits the next ones gather. An engine never sees a thread or a token: it applies ops,
 * commits, reads rows. What a full or failed disk means is decided here, once for all engines. */
#pragma once
#include "place.h"

struct ledger;

/* Where a scan stands. The engine's part is what it needs to go on in a later call. */
struct journal_cursor {
    uint32_t what;      /* PIGEON_SCAN_* */
    uint64_t session;   /* 0: all */
    uint64_t after_pos; /* queue: rows with a larger number */
    uint64_t at, at2;   /* the engine's own, 0 at the beginning */
    char *key;          /* the engine's own, freed by the journal */
    uint32_t key_len;
};

/* A place for one row: the row and what it points to. */
struct journal_row {
    pigeon_op op;
    pigeon_msg msg;
    pigeon_sub sub;
    pigeon_rcpt rcpt;
    uint32_t ids[256];
    bool is_shared; /* of a queue: the message may have other recipients */
};

/* Takes one row, copied before the return; false: no more are wanted now. */
typedef bool (*journal_row_fn)(void *arg, const pigeon_op *op);

/* What an engine does, all on the journal's thread but for open and close. Errors are PIGEON_E_*:
 * _FULL and _NOMEM leave the engine usable, _IO ends it; the place has the words. */
struct journal_engine {
    const char *file; /* its name in state_dir */
    const char *help; /* when there is neither state_dir nor the option `path` */
    /* The place is named and locked, and outlives the database. Errors have been said to the host.
     */
    int32_t (*open)(struct place *place, const pigeon_conf *conf, void **r_db);
    void (*close)(void *db);
    int32_t (*begin)(void *db);
    /* One op, which is sound. *r_gone grows by the recipients that do not exist. */
    int32_t (*op)(void *db, const pigeon_op *op, uint32_t *r_gone);
    /* Is there something to change? */
    int32_t (*has)(void *db, const pigeon_op *op, bool *r_has);
    /* Around a unit that may have to be taken back: undo makes it as it was at save; settle always
     * follows. */
    int32_t (*save)(void *db);
    int32_t (*undo)(void *db);
    int32_t (*settle)(void *db);
    /* durability: PIGEON_DURABILITY_* */
    int32_t (*commit)(void *db, uint32_t durability);
    void (*rollback)(void *db);
    /* Rows in order from the cursor on, until `row` returns false (PIGEON_PENDING) or there are no
     * more (PIGEON_OK). */
    int32_t (*rows)(void *db, struct journal_cursor *c, struct journal_row *room,
                    journal_row_fn row, void *arg);
    /* What it keeps in memory, surveyed by `open`. */
    struct ledger *(*ledger)(void *db);
    /* Everybody is answered: housekeeping; NULL: none. An error is that of a commit: _IO ends the
     * store. */
    int32_t (*tidy)(void *db);
    /* The disk was full: is there room again, place_has_room included? */
    bool (*has_room)(void *db);
};

/* pigeon_plugin's create and destroy, and the interface, of a store that is an engine; `self` is
 * the journal. destroy answers what was submitted and ends the thread. */
int32_t journal_create(const pigeon_host *host, const pigeon_conf *conf,
                       const struct journal_engine *engine, void **self);
void journal_destroy(void *self);
extern const pigeon_store journal_store;
