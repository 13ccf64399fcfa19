/* memory.h - the insides of store-memory: everything in tables and lists, nothing survives the
 * broker.
 *
 * All calls are serialised by the host. A unit is applied in two steps: `make` allocates whatever
 * its ops need and may fail without a trace; `apply` only links and unlinks. Message bodies are the
 * host's, referenced. */
#pragma once
#include "table.h"
#include <pigeon/plugin.h>
#include <stdbool.h>

struct link {
    struct link *prev, *next;
};
#define OWNER_OF(p, T, member) ((T *)((char *)(p)-offsetof(T, member)))
static inline void link_init(struct link *l)
{
    l->prev = l->next = l;
}
static inline void link_before(struct link *pos, struct link *l)
{
    l->prev = pos->prev;
    l->next = pos;
    pos->prev->next = l;
    pos->prev = l;
}

/* One message and how many records name it. */
struct body {
    const pigeon_msg *msg;
    uint32_t refs;
    bool is_counted; /* in memory.bytes */
    uint64_t bytes;
};

enum rec_kind { REC_SESSION, REC_SUB, REC_ROW, REC_IN, REC_WILL, REC_RETAINED, REC_KINDS };

/* What all records have: a place in the list of its kind, in the session's list, and in the table.
 */
struct rec {
    struct table_node node; /* first */
    struct link all, mine;
    enum rec_kind kind;
    struct session *session;
    uint64_t bytes;
};

struct session {
    struct rec rec; /* first */
    uint64_t number;
    int64_t due_ms; /* CLOCK_MONOTONIC; -1: online, or never */
    struct ident *ident;
    struct link mine[REC_KINDS]; /* heads */
};
struct ident { /* client and extra of a session */
    uint32_t client_len, extra_len;
    char data[];
};

struct sub {
    struct rec rec;
    pigeon_sub view;
    pigeon_str key;
    char data[];
};

struct row { /* of a queue */
    struct rec rec;
    uint64_t pos;
    struct body *body;
    uint16_t packet_id;
    uint8_t state, qos, retain;
    uint32_t n_ids, share_len;
    char data[]; /* ids, share */
};

struct in {
    struct rec rec;
    uint16_t packet_id;
};

struct will {
    struct rec rec;
    struct body *body;
    int64_t due_ms; /* -1: not said */
    uint32_t extra_len;
    char data[];
};

struct retained {
    struct rec rec;
    struct body *body; /* its topic is the key */
};

/* A scan that waits for credit. */
struct cursor {
    struct link link;
    pigeon_token token;
    uint32_t what, left, credit; /* left: of the limit */
    uint64_t after_pos;
    struct link *head, *next; /* of `all`, or of a session's `mine` */
    bool by_session;
};

struct memory {
    const pigeon_host *host;
    const pigeon_store_host *store_host;
    uint64_t max_bytes, bytes, seed;
    struct table table[REC_KINDS];
    struct link all[REC_KINDS];
    struct link cursors;
    uint64_t last_pos;
};

static inline int64_t memory_now_ms(const struct memory *m)
{
    return m->host->now_ns(m->host->inst) / 1000000;
}

/* ---- memory.c ---- */
/* max_bytes: 0: no limit. Errors have been said to the host. */
int32_t memory_new(const pigeon_host *host, uint64_t max_bytes, struct memory **r_memory);
void memory_free(struct memory **memory);
int32_t memory_submit(void *self, const pigeon_batch *batch);

/* ---- apply.c ---- */

/* What an op needs: `make` builds it, `apply` uses what it wants, `unmake` frees the rest. */
struct made {
    struct link recs; /* new records, by rec.all, one per recipient */
    struct body *body;
    struct ident *ident;
    uint64_t bytes;
};
int32_t op_make(struct memory *m, const pigeon_op *op, struct made *r_made);
void op_unmake(struct memory *m, struct made *made);
/* Is there something to change? For PIGEON_OP_IF_EXISTS and WILL_TAKE. */
bool op_finds(struct memory *m, const pigeon_op *op);
/* *r_gone grows by the recipients that do not exist. */
void op_apply(struct memory *m, const pigeon_op *op, struct made *made, uint32_t *r_gone);
struct session *memory_session(const struct memory *m, uint64_t number);
struct row *memory_row(const struct memory *m, uint64_t number, uint64_t pos);
void memory_clear(struct memory *m);

/* ---- scan.c ---- */
int32_t memory_scan(void *self, const pigeon_scan *scan);
int32_t memory_more(void *self, pigeon_token token, uint32_t credit);
/* A record is about to go: scans that stand on it step on. */
void cursors_leave(struct memory *m, const struct rec *rec);
void cursors_clear(struct memory *m);
