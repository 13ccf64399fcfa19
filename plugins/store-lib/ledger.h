/* ledger.h - what an engine keeps in memory of its sessions: which exist, where in the queue the
 * messages of each one stand, how many still wait for a message that several share. With it a scan
 * or a deletion touches its own rows only, without an index on the disk.
 *
 * Neighbouring numbers are one run of 16 bytes, so a million messages for one absent client take
 * next to nothing, and a million of sessions in turns 16 MB. Every change is noted until
 * ledger_commit, and can be taken back without memory. One thread. */
#pragma once
#include "numbers.h"
#include <stddef.h>

struct run {
    uint64_t first, n;
};

struct queue {
    uint64_t session;
    struct run *runs; /* at, at + 1, ... at + n - 1; in order, never touching one another */
    uint32_t at, n, size;
    uint64_t rows;
    uint64_t bytes, last_id; /* as ledger_survey_row found them: of the messages' texts; the last
                                number with a packet identifier */
};

struct ledger_change;
struct ledger {
    struct numbers queues; /* session -> struct queue * */
    struct numbers bodies; /* number of a shared message -> how many wait for it */
    struct ledger_change *changes;
    uint32_t n_changes, size, mark;
    uint64_t last_pos; /* the largest number that stands, or stood, in the queue */
    bool is_surveyed;  /* bytes and last_id of all queues are as it is now */
};

/* Where no function says otherwise: 0 or -1, no memory and nothing has changed. */

void ledger_fini(struct ledger *l);
/* NULL: there is no such session. Good until the session is dropped and that is committed. */
struct queue *ledger_find(const struct ledger *l, uint64_t session);
/* One queue after another; *at is 0 at first. NULL: no more. */
struct queue *ledger_each(const struct ledger *l, uint32_t *at);
int ledger_add_session(struct ledger *l, uint64_t session); /* fine when it is there */
int ledger_drop_session(struct ledger *l, uint64_t session);
int ledger_add(struct ledger *l, struct queue *q, uint64_t pos);
int ledger_del(struct ledger *l, struct queue *q, uint64_t pos);
bool ledger_has(const struct queue *q, uint64_t pos);
/* The session's queue if `pos` stands in it, else NULL. */
struct queue *ledger_find_with(const struct ledger *l, uint64_t session, uint64_t pos);
/* The first numbers behind `after` that follow one another. false: there are none. */
bool ledger_next(const struct queue *q, uint64_t after, uint64_t *r_first, uint64_t *r_last);

uint64_t ledger_waiting(const struct ledger *l, uint64_t pos); /* 0: not a shared message */
int ledger_set_waiting(struct ledger *l, uint64_t pos, uint64_t n);

void ledger_commit(struct ledger *l);
void ledger_rollback(struct ledger *l);
/* From here on ledger_undo takes back, until the commit or another mark. */
void ledger_mark(struct ledger *l);
void ledger_undo(struct ledger *l);

/* Outside of a transaction: all queues are empty, their rows follow one by one. Rows of unknown
 * sessions count for last_pos only. Of a shared message survey_shared follows for each row. */
void ledger_survey_begin(struct ledger *l);
int ledger_survey_row(struct ledger *l, uint64_t session, uint64_t pos, uint16_t packet_id,
                      uint64_t bytes);
int ledger_survey_shared(struct ledger *l, uint64_t session, uint64_t pos);
