/* backlog.h - the part of a session's queue that is in the store only, and how it is read back: P3
 * of docs/concurrency.md. Rows come in chunks; while a chunk is read, routed messages are held;
 * only a chunk that is not full ends the reading. */
#pragma once
#include "broker/session.h"

void backlog_init(struct session *session);
/* Stops a scan, frees what is held. */
void backlog_cancel(struct session *session);
/* A stored message of arrival number d->pos was routed here. true: the backlog has taken care of it
 * (d is taken); false: d goes to the queue as usual. */
bool backlog_takes(struct session *session, struct delivery *d);
/* A stored message was routed to a session without a client: it is in the store, count it; limits
 * may drop. */
void backlog_offline(struct session *session, struct message *message, uint64_t pos);
/* What is in the store only, for limits and numbers: so much, or one more. */
void backlog_set_stored(struct session *session, uint64_t n, uint64_t bytes);
void backlog_add_stored(struct session *session, const struct message *message);
/* What was counted as stored by backlog_offline could not be stored. */
void backlog_retract(struct session *session, const struct message *message, uint64_t pos);
/* Everything behind the window is in the store: forget the queue in memory. */
void backlog_park(struct session *session);
/* A scan that is under way may still show that row, even if its deletion is submitted now. */
bool backlog_may_show(const struct session *session, uint64_t pos);
/* Do rows that are still to be read have packet identifiers? Then none may be given to another
 * message. */
bool backlog_has_ids(const struct session *session);
/* Starts the next chunk if there is something to read, a client, and room in memory. */
void backlog_read(struct session *session);
/* Drops the oldest `debt` rows of an offline session: policy drop_oldest. */
void backlog_pay(struct session *session);
