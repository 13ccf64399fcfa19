/* conn_priv.h - a connection from inside this floor: its state, and what its files do for one
 * another. Only the loop that owns the connection touches it. */
#pragma once
#include "base/buf.h"
#include "base/timer.h"
#include "broker/broker.h"
#include "broker/client.h"
#include "conn/conn.h"
#include "conn/encoded.h"
#include "conn/tally.h"
#include "net/addr.h"
#include "net/stream.h"
#include "wire/frame.h"
#include "wire/reason.h"
#include <assert.h>

enum conn_state {
    CONN_NEW,        /* awaits CONNECT, and nothing else */
    CONN_MOVING,     /* CONNECT is read, the client id's home is another loop */
    CONN_CONNECTING, /* the broker has the CONNECT: hooks, takeover, store */
    CONN_ONLINE,     /* CONNACK was sent */
    CONN_CLOSED,     /* over; freed by the mail that is on its way */
};

/* Why we do not read; each is taken back by who set it. */
enum conn_pause {
    PAUSE_MOVE = 1,   /* going to another loop */
    PAUSE_CREDIT = 2, /* client_may_publish said no */
    PAUSE_RATE = 4,   /* publishes too fast */
    PAUSE_BYTES = 8,  /* enough bytes wait behind a packet that is under way */
    PAUSE_OUT = 16,   /* too much waits for a client that does not read; until the low mark */
};

/* How a connection ends. */
enum conn_how {
    CONN_SAY = 1,   /* tell the client why, where the protocol has a way */
    CONN_FAULT = 2, /* tell the plugins: client_error or connection_error */
    CONN_ABORT = 4, /* throw away what is queued */
    CONN_LOST = 8,  /* the stream is gone already */
};

/* What the connections of one loop share. */
struct conn_loop {
    struct encoder encoder;
    struct buf scratch; /* properties that are filtered */
};

struct conns {
    struct tally_table tallies;
    uint32_t n_loops;
    struct conn_loop loops[];
};

struct conn_rate {
    uint64_t at_ms;                       /* of the last refill */
    int64_t messages_milli, bytes_milli;  /* thousandths left; below 0: a debt */
    uint64_t messages_per_s, bytes_per_s; /* 0: no limit */
};

struct conn {
    struct client client;
    struct broker *broker;
    struct conn_loop *here;
    struct stream *stream;
    struct addr peer;
    struct list link; /* shard.conns */
    struct mail work, move;
    struct connect_info *connect; /* CONN_MOVING: what goes along */
    uint32_t move_to;

    uint8_t state;     /* enum conn_state */
    uint8_t paused;    /* enum conn_pause */
    uint8_t transport; /* PIGEON_TRANSPORT_* */
    bool work_posted;
    bool eof; /* the peer sends no more; comes after what is deferred */
    bool is_counted_pending;
    bool wants_response_info;
    bool is_loopback;
    bool trace_seen; /* the frame that comes again was traced */

    struct buf deferred; /* whole frames, one behind the other */
    uint32_t n_deferred;

    struct timer timer; /* connect timeout; then keep alive and lifetime */
    struct timer rate_timer, drain_timer;
    uint64_t connect_due_ms, lifetime_due_ms; /* 0: none */
    uint64_t last_in_ms;
    uint64_t drained; /* stream_bytes_out when drain_timer was armed */
    uint64_t bytes_in;
    uint32_t keepalive_ms; /* 1.5 times the interval; 0: none */

    uint32_t max_packet_out;   /* the client's Maximum Packet Size, 0: none */
    uint32_t connect_size;     /* bytes of the CONNECT packet, for traces */
    uint8_t *reserved;         /* what conn_reserve gave last */
    uint32_t session_expiry_s; /* as asked for */
    uint16_t keepalive_s;      /* as asked for */
    uint16_t receive_maximum;  /* ours, as announced */
    uint16_t alias_in_max, alias_out_max;
    struct str *alias_in, *alias_out; /* by alias - 1; owned texts; NULL until the first one */
    struct str auth_method;           /* of CONNECT, owned; ptr NULL: none */

    struct conn_rate rate;
    struct tally *by_address, *by_listener;
    const char *fault; /* sentence that goes with a handler's negative reason, or NULL */
};

static inline struct conn *conn_of(const struct client *client)
{
    return container_of(client, struct conn, client);
}

static inline struct shard *conn_shard(const struct conn *c)
{
    return c->client.shard;
}

static inline const struct config *conn_config(const struct conn *c)
{
    return c->broker->config;
}

static inline enum mqtt_version conn_version(const struct conn *c)
{
    return (enum mqtt_version)c->client.version;
}

static inline bool conn_is_v5(const struct conn *c)
{
    return c->client.version == MQTT_5;
}

/* For `return conn_fault(...)` in a handler: the reason, negative, and a sentence (a literal). */
static inline int conn_fault(struct conn *c, uint8_t reason, const char *text)
{
    c->fault = text;
    return -(int)reason;
}

/* ---- conn.c: life ---- */
extern const struct client_ops conn_client_ops;
/* Who is behind the proxy is known. */
void conn_on_peer(void *ctx);
/* The work mail comes in the next round of this turn: goes on with what waits, moves, or frees. */
void conn_post_work(struct conn *c);
void conn_pause(struct conn *c, enum conn_pause why);
void conn_resume(struct conn *c, enum conn_pause why);
/* Gives the connection and m_connect to another loop, soon. */
void conn_move(struct conn *c, uint32_t loop, struct connect_info *m_connect);

/* ---- conn_close.c: ends ---- */
/* Exactly one end per connection: says it, closes the stream, tells the broker. Safe anywhere on
 * the loop; the memory stays until the end of the turn. */
void conn_end(struct conn *c, const struct client_cause *cause, unsigned how);
/* A fault of the client's: reason >= 0x80. */
void conn_fail(struct conn *c, uint8_t reason, const char *text);
int conn_on_disconnect(struct conn *c, const struct frame *f);
/* The peer has sent its last byte, and everything before it has been dealt with. */
void conn_end_of_input(struct conn *c);

/* ---- conn_frame.c: bytes in ---- */
extern const struct stream_ops conn_stream_ops;
/* Not consumed, reading is paused: comes again. */
#define CONN_LATER 1
/* Frames that waited, as far as they may go now. */
void conn_run_deferred(struct conn *c);

/* ---- conn_connect.c ---- */
int conn_on_connect(struct conn *c, const struct frame *f);
/* The first packet is too large: finds out which version would understand an answer. */
void conn_guess_version(struct conn *c, const uint8_t *data, size_t len, const struct frame *f);
void conn_send_connack(struct conn *c, const struct client_connack *answer);
void conn_send_refusal(struct conn *c, uint8_t reason, const char *text);
/* Is the number of user properties above limits.user_properties? */
bool conn_has_too_many_users(const struct conn *c, struct str props);

/* ---- conn_publish.c ---- */
int conn_on_publish(struct conn *c, const struct frame *f);
int conn_on_ack(struct conn *c, const struct frame *f);

/* ---- conn_subscribe.c ---- */
int conn_on_subscribe(struct conn *c, const struct frame *f);
int conn_on_unsubscribe(struct conn *c, const struct frame *f);
int conn_on_pingreq(struct conn *c, const struct frame *f);
void conn_send_suback(struct client *client, uint8_t type, uint16_t packet_id, const uint8_t *codes,
                      uint32_t n, const char *text);

/* ---- conn_auth.c ---- */
int conn_on_auth(struct conn *c, const struct frame *f);
void conn_send_auth(struct client *client, uint8_t reason, struct str method, struct str data);

/* ---- conn_deliver.c: packets out ---- */
enum client_send conn_send_publish(struct client *client, const struct client_publish *p);
bool conn_is_congested(const struct client *client);
void conn_send_ack(struct client *client, uint8_t type, uint16_t packet_id, uint8_t reason,
                   const char *text);
/* Room for a packet of `n` bytes; NULL: it is above the client's maximum, or the connection is
 * lost. Then conn_wrote(c, type, n). */
uint8_t *conn_reserve(struct conn *c, size_t n);
void conn_wrote(struct conn *c, enum packet_type type, size_t n);
/* A plugin may give any reason; what MQTT has not got for that acknowledgement becomes 0x87. */
uint8_t conn_reason(uint8_t reason, enum packet_type type);
/* Reason String that may go into a packet of that type [MQTT-3.1.2-29]. */
struct str conn_reason_string(const struct conn *c, enum packet_type type, const char *text);

/* ---- conn_limits.c: clocks and rates ---- */
void conn_limits_init(struct conn *c);
/* Arms what the state asks for. */
void conn_arm_timers(struct conn *c);
void conn_stop_timers(struct conn *c);
/* Keep alive, lifetime and rates as of CONNACK. */
void conn_start_limits(struct conn *c, uint16_t keepalive_s);
/* May one more PUBLISH be taken now? Pauses reading when not. */
bool conn_rate_allows(struct conn *c);
void conn_rate_charge(struct conn *c, uint32_t bytes);
/* The out queue is above its high mark: it has drain_timeout to shrink. */
void conn_watch_drain(struct conn *c);
