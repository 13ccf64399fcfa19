/* trace.h - who watches a client's packets and verdicts (pigeon.admin/1).
 *
 * Each loop has its list of traces; while it is empty, hooks_is_traced() is all that a packet
 * costs. conn/ hands in rows whose texts are borrowed; they are copied for each trace that fits,
 * gathered for a round, and posted to the instance. Rows beyond the rate, or beyond what is under
 * way, are dropped and counted. */
#pragma once
#include "hooks/hook_loop.h"

struct ask;
struct ask_observer;

/* Does some trace of this loop fit the client, whatever it is about? Ask before decoding anything.
 */
bool trace_fits(const struct hook_loop *hl, const pigeon_client *client);
/* row: everything but client id, address, connection and time. */
void trace_emit(struct hook_loop *hl, const pigeon_client *client, pigeon_trace_row *row);

/* private to hooks/ */
int traces_new(struct hooks *hooks);
void traces_free(struct hooks *hooks);
int32_t admin_trace(void *inst, const pigeon_trace *trace, pigeon_rows_fn fn, void *arg,
                    pigeon_job *job);
/* The observer of a question about a client that is traced, else NULL. */
struct ask_observer *trace_observer(struct hook_loop *hl, const struct ask *ask);
