/* journal.h - the thread of a store whose library blocks: batches and scans in the order of their
 * calls, many batches in one commit.
 *
 * `submit` and `scan` only queue. The journal's thread takes what is there, applies batch after
 * batch within one transaction of the engine, commits once, answers all, and begins again; while it
 * commits the next ones gather. An engine never sees a thread or a token: it applies units,
 * commits, reads rows. What a full or failed disk means is decided here, once for all engines. */
#pragma once
#include <pigeon/plugin.h>
#include <stdbool.h>

struct journal;

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
};

/* Takes one row, copied before the return; false: no more are wanted now. */
typedef bool (*journal_row_fn)(void *arg, const pigeon_op *op);

/* What an engine does, all on the journal's thread. Errors are PIGEON_E_*: _FULL and _NOMEM leave
 * the engine usable, _IO ends it. `why` of a failure is asked for with error(). */
struct journal_engine {
    int32_t (*begin)(void *db);
    /* One unit, whole or not at all. An error other than _FULL, _NOMEM, _IO concerns this unit
     * only; after those rollback follows. *r_gone grows by the recipients that do not exist. */
    int32_t (*unit)(void *db, const pigeon_batch *batch, const pigeon_unit *unit, uint32_t *r_gone);
    /* durability: PIGEON_DURABILITY_* */
    int32_t (*commit)(void *db, uint32_t durability);
    void (*rollback)(void *db);
    /* Rows in order from the cursor on, until `row` returns false (PIGEON_PENDING) or there are no
     * more (PIGEON_OK). */
    int32_t (*rows)(void *db, struct journal_cursor *c, struct journal_row *room,
                    journal_row_fn row, void *arg);
    /* The disk is full: gives up what was set aside, so that deletions can be committed. false:
     * there is nothing. */
    bool (*make_room)(void *db);
    /* Everybody is answered: housekeeping. *r_again: to be called again after a second. An error is
     * that of a commit: _IO ends the store. */
    int32_t (*idle)(void *db, bool *r_again);
    const char *(*error)(void *db);
};

/* engine and db live until journal_free has returned. 0, PIGEON_E_NOMEM. */
int32_t journal_new(const pigeon_host *host, const struct journal_engine *engine, void *db,
                    struct journal **r_journal);
/* Answers what was submitted, ends the thread. */
void journal_free(struct journal **journal);

/* pigeon_store's functions. [any] */
int32_t journal_submit(struct journal *j, const pigeon_batch *batch);
int32_t journal_scan(struct journal *j, const pigeon_scan *scan);
int32_t journal_more(struct journal *j, pigeon_token token, uint32_t credit);

/* Members of a batch, by its strides. */
static inline const pigeon_unit *batch_unit(const pigeon_batch *b, uint32_t i)
{
    return (const pigeon_unit *)(const void *)((const char *)b->units + (size_t)i * b->unit_stride);
}

static inline const pigeon_op *batch_op(const pigeon_batch *b, uint32_t i)
{
    return (const pigeon_op *)(const void *)((const char *)b->ops + (size_t)i * b->op_stride);
}

static inline const pigeon_rcpt *op_rcpt(const pigeon_op *op, uint32_t i)
{
    return (const pigeon_rcpt *)(const void *)((const char *)op->rcpts +
                                               (size_t)i * op->rcpt_stride);
}

/* Has the op what its kind needs? PIGEON_OK, PIGEON_E_INVAL, PIGEON_E_NOTSUP for a kind that
 * single-node stores do not have. */
int32_t op_judge(const pigeon_op *op);
