/* store_judge.h - would the broker make sense of a row? Looks at the rows of one store in the order
 * in which the broker reads them at its start, and counts them.
 *
 * Remembers sessions, nothing of messages: memory grows with the number of sessions only. */
#pragma once
#include "base/map.h"
#include "pigeon/store.h"

struct judge {
    struct map by_number, by_client; /* struct known */
    uint64_t last_pos;
    uint64_t n_rows[PIGEON_SCAN_NODES + 1]; /* by kind, the bad ones included */
    uint64_t n_messages;                    /* that the rows of all queues share */
    uint64_t n_sent, n_received;            /* rows of the queues that are in flight */
    uint64_t n_shared;                      /* subscriptions */
    uint64_t n_due;                         /* wills whose client has gone */
    uint64_t n_earlier; /* sessions that a later one of the same client replaces */
    uint64_t n_bad;
    char reason[160];
};

/* 0 or negative. */
int judge_init(struct judge *j);
void judge_fini(struct judge *j);
/* NULL: it is sound; else why not, until the next call. *r_error: 0 or -ENOMEM. */
const char *judge_row(struct judge *j, uint32_t what, const pigeon_op *op, int *r_error);
/* The session has been there; *r_client: whose it is, as long as `j` lives. */
bool judge_knows(const struct judge *j, uint64_t session, struct str *r_client);
