/* survey.h - one walk over all queues when a store opens: fills the ledger, and finds damage before
 * anybody is let in; and what it found, as rows of PIGEON_SCAN_SUMS. One thread. */
#pragma once
#include "journal.h"
#include "ledger.h"

typedef int32_t (*survey_rows_fn)(void *db, struct journal_cursor *c, struct journal_row *room,
                                  journal_row_fn row, void *arg);

/* Outside of a transaction; `rows` is the engine's, which may not look at the ledger for a scan of
 * all queues. PIGEON_E_*: also the engine's own. */
int32_t survey(void *db, struct ledger *l, survey_rows_fn rows);
/* As an engine's `rows`, of a ledger that is surveyed. */
int32_t survey_sums(const struct ledger *l, struct journal_cursor *c, struct journal_row *room,
                    journal_row_fn row, void *arg);
