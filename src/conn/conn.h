/* conn.h - network clients: from an accepted stream to the end of the connection.
 *
 * What the server and the broker need to know of this floor. A connection belongs to the loop that
 * accepted it until its CONNECT is read, then to the home loop of its client id; it frees itself at
 * the end of the turn in which it ended. Nobody above holds a pointer to one. */
#pragma once
#include "net/loop.h"
#include "net/stream.h"
#include <stdint.h>

struct broker;
struct shard;

/* What the loops' connections share: counts by address and listener, buffers of delivery. After
 * broker_new, before the first conn_accept. 0 or -ENOMEM. */
int conn_setup(struct broker *b);
/* Before broker_free; no loop is running and no connection is left. Harmless without conn_setup. */
void conn_teardown(struct broker *b);

/* [loop] A listener has a new stream; `listener` is its index in the configuration, `chains` its
 * number for the plugins (hooks_listener). */
void conn_accept(struct broker *b, struct loop *loop, uint32_t listener, uint32_t chains,
                 struct stream *m_stream);
/* [loop] Logs and counts a stream that does not become a connection, and aborts it. */
void conn_refuse(struct shard *s, struct stream *m_stream, const char *why);
/* [loop] Ends every connection of this loop, those without CONNECT too. MQTT 5 clients are told
 * the reason; wills are sent as the broker decides. For broker_setup.close_all. */
void conn_close_all(struct shard *s, uint8_t reason);
