/* conn_trace.h - packets of a connection for those who trace it (hooks/trace.h): decoded once more,
 * from the bytes as they are on the wire, and never kept. Passwords and authentication data are
 * left out. Only called where hooks_is_traced() says so. */
#pragma once
#include "conn/conn_priv.h"
#include "hooks/hook_loop.h"

static inline bool conn_is_traced(const struct conn *c)
{
    return hooks_is_traced(conn_shard(c)->hooks);
}

/* A packet of the client but CONNECT; before it is dealt with. */
void conn_trace_in(struct conn *c, const struct frame *f);
/* At the client's home, before the broker sees it. */
void conn_trace_connect(struct conn *c, const struct connect_info *info);
/* `len` bytes of a packet to the client; a message's payload may be missing behind them. */
void conn_trace_out(struct conn *c, const uint8_t *bytes, size_t len,
                    const struct message *message);
void conn_trace_close(struct conn *c, const struct client_cause *cause);
