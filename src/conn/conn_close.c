/* conn_close.c - how a connection ends, whoever ends it. */
#include "conn/conn_priv.h"
#include "conn/conn_trace.h"
#include "wire/disconnect.h"

/* ---- saying it ---------------------------------------------------------------------------------
 */

static void send_disconnect(struct conn *c, uint8_t reason, const char *text)
{
    struct disconnect_packet p = { .reason = reason };
    struct writer w;
    if (!conn_is_v5(c))
        return;
    if (!reason_is_allowed(reason, PACKET_DISCONNECT))
        p.reason = REASON_UNSPECIFIED_ERROR;
    p.reason_string = conn_reason_string(c, PACKET_DISCONNECT, text);
    size_t n = disconnect_fit(&p, MQTT_5, c->max_packet_out);
    uint8_t *out = conn_reserve(c, n);
    if (!out)
        return;
    writer_init(&w, out, n);
    disconnect_encode(&p, MQTT_5, &w);
    conn_wrote(c, PACKET_DISCONNECT, n);
}

static void say(struct conn *c, const struct client_cause *cause)
{
    if (c->state == CONN_ONLINE)
        send_disconnect(c, cause->reason, cause->text);
    else if (c->client.version) /* CONNECT was understood [MQTT-3.14.0-1] */
        conn_send_refusal(c, cause->reason, cause->text);
}

/* ---- telling it --------------------------------------------------------------------------------
 */

static struct identity *stranger(struct conn *c)
{
    char address[ADDR_TEXT_MAX];
    struct identity_parts parts = { .address = str_make(address, addr_text(&c->peer, address)),
                                    .port = c->peer.port,
                                    .protocol = c->client.version,
                                    .loop = conn_shard(c)->index,
                                    .chains = c->client.listener,
                                    .conn_id = c->client.conn_id };
    return identity_new(&parts, NULL);
}

static void tell_fault(struct conn *c, const struct client_cause *cause)
{
    struct hook_loop *hooks = conn_shard(c)->hooks;
    if (c->client.who) {
        events_client_error(hooks, c->client.who, cause->reason, cause->text);
        return;
    }
    if (!events_wants(hooks, EVENT_CONNECTION_ERROR))
        return;
    struct identity *who = stranger(c);
    if (who)
        events_connection_error(hooks, who, cause->reason, cause->text);
    identity_unref(&who);
}

static void log_end(struct conn *c, const struct client_cause *cause, bool was_online)
{
    struct log *log = conn_shard(c)->log;
    const char *text = cause->text ? cause->text : reason_name(cause->reason);
    char address[ADDR_TEXT_MAX];
    if (!log_wants(log, LOG_INFO))
        return;
    if (was_online) {
        log_info(log, "client_disconnected", LS("client", identity_id(c->client.who)),
                 LU("reason", cause->reason), LZ("text", text));
        return;
    }
    addr_text(&c->peer, address);
    log_info(log, "connection_refused",
             LS("client", c->client.who ? identity_id(c->client.who) : STR("-")),
             LZ("address", address), LU("reason", cause->reason), LZ("text", text));
}

/* ---- the one end -------------------------------------------------------------------------------
 */

void conn_end(struct conn *c, const struct client_cause *cause, unsigned how)
{
    struct shard *s = conn_shard(c);
    if (c->state == CONN_CLOSED)
        return;
    SHARD_ASSERT(s);
    if (how & CONN_SAY)
        say(c, cause);
    log_end(c, cause, c->state == CONN_ONLINE);
    if (conn_is_traced(c))
        conn_trace_close(c, cause);
    if (how & CONN_FAULT)
        tell_fault(c, cause);
    c->state = CONN_CLOSED;
    conn_stop_timers(c);
    list_remove(&c->link);
    shard_count(s, N_CONNECTIONS, -1);
    if (how & CONN_LOST)
        c->stream = NULL;
    else if (how & CONN_ABORT)
        stream_abort(&c->stream);
    else
        stream_close(&c->stream, 0);
    client_end(&c->client, cause);
    conn_post_work(c);
}

void conn_fail(struct conn *c, uint8_t reason, const char *text)
{
    struct client_cause cause = { .reason = reason, .send_will = true, .text = text };
    if (c->state == CONN_CLOSED)
        return;
    shard_count(conn_shard(c), N_PROTOCOL_ERRORS, 1);
    if (c->state != CONN_ONLINE)
        shard_count(conn_shard(c), N_REFUSED, 1);
    conn_end(c, &cause, CONN_SAY | CONN_FAULT);
}

int conn_on_disconnect(struct conn *c, const struct frame *f)
{
    struct disconnect_packet p;
    int r = disconnect_decode(f, conn_version(c), WIRE_FROM_CLIENT, &p);
    if (r)
        return r;
    if (p.has_session_expiry && p.session_expiry_s && !c->session_expiry_s) /* 3.14.2.2.2 */
        return conn_fault(c, REASON_PROTOCOL_ERROR, "the session expiry interval was 0");
    struct client_cause cause = {
        .reason = p.reason,
        .send_will = p.reason != REASON_SUCCESS, /* [MQTT-3.14.4-3] */
        .has_expiry = p.has_session_expiry,
        .expiry_s = p.session_expiry_s,
        .text = p.reason == REASON_SUCCESS ? "disconnected by the client" : NULL,
    };
    conn_end(c, &cause, 0);
    return 0;
}

void conn_end_of_input(struct conn *c)
{
    bool waits =
        c->state == CONN_ONLINE && (c->client.n_blocking || buf_len(&c->deferred) || c->paused);
    /* A CONNECT that is looked at runs to its answer; one that awaits AUTH gets none any more. */
    if (c->state == CONN_CONNECTING && c->client.state != CLIENT_EXCHANGING)
        waits = true;
    if (waits) {
        c->eof = true;
        return;
    }
    struct client_cause cause = { .reason = REASON_UNSPECIFIED_ERROR,
                                  .send_will = true,
                                  .text = "closed by the client without DISCONNECT" };
    conn_end(c, &cause, 0);
}
