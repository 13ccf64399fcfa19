/* client.h - one network client as the broker sees it. conn/ embeds it and fills in the outlet
 * (`ops`).
 *
 * It lives on one loop, the home loop of its client id, from client_connect to client_end. The
 * broker never sees a socket; conn/ never sees a session's inside. All functions on the client's
 * loop; the outlet's functions never call back into the broker before they return, except `close`,
 * which ends in client_end. */
#pragma once
#include "broker/shard.h"
#include "hooks/subject.h"
#include "mqtt/message.h"

struct client;
struct session;

/* The answer to a CONNECT. */
struct client_connack {
    uint8_t reason; /* 0: accepted */
    bool session_present;
    bool assigned_id;     /* identity's id was made by the broker */
    uint16_t keepalive_s; /* as granted; conn/ sends Server Keep Alive when it differs from the
                             request */
    uint32_t session_expiry_s;
    struct str auth_method, auth_data;          /* enhanced authentication; ptr NULL: none */
    struct str response_info, server_reference; /* ptr NULL: none */
    struct str user_props;                      /* encoded user properties, may be empty */
    const char *text;                           /* reason string or NULL */
};

/* One PUBLISH to the client. */
struct client_publish {
    struct message *message; /* borrowed; conn/ takes a reference of its own if it keeps it */
    const uint32_t *ids;
    uint16_t packet_id;
    uint8_t qos, n_ids;
    bool retain, dup;
};

enum client_send {
    CLIENT_SENT,
    CLIENT_TOO_LARGE, /* above the client's Maximum Packet Size: not sent [MQTT-3.1.2-25] */
    CLIENT_FULL,      /* QoS 0 only: the write buffer is at its bound; not sent */
};

struct client_ops {
    void (*connack)(struct client *c,
                    const struct client_connack *answer); /* reason >= 0x80: closes */
    enum client_send (*publish)(struct client *c, const struct client_publish *p);
    bool (*is_congested)(
        const struct client *c); /* above high water: offer QoS > 0 after client_writable */
    void (*ack)(struct client *c, uint8_t packet_type, uint16_t packet_id, uint8_t reason,
                const char *text);
    void (*suback)(struct client *c, uint8_t packet_type, uint16_t packet_id, const uint8_t *codes,
                   uint32_t n, const char *text);
    void (*auth)(struct client *c, uint8_t reason, struct str method, struct str data);
    /* The packet that held the client's later ones back is through. */
    void (*unblock)(struct client *c);
    /* Sends DISCONNECT (5.0) or CONNACK, as the state demands, closes, calls client_end. */
    void (*close)(struct client *c, uint8_t reason, const char *text);
    /* The client id's home is another loop: go there and call client_connect again. `connect` is a
     * reference given away. */
    void (*move)(struct client *c, uint32_t loop, struct connect_info *m_connect);
};

enum client_state {
    CLIENT_NEW,        /* no CONNECT taken yet */
    CLIENT_CONNECTING, /* hooks, takeover, store: before CONNACK */
    CLIENT_EXCHANGING, /* as above, and an AUTH from the client is awaited */
    CLIENT_ONLINE,     /* CONNACK sent, session attached */
    CLIENT_GONE,       /* client_end was called */
};

/* How a connection ended. */
struct client_cause {
    uint8_t reason;  /* MQTT 5 reason code, 0: DISCONNECT from the client */
    bool send_will;  /* false only after DISCONNECT 0x00 [MQTT-3.14.4-3] */
    bool has_expiry; /* DISCONNECT gave a Session Expiry Interval */
    uint32_t expiry_s;
    const char *text;
};

/* Limits of this client; from the configuration, or set by a plugin (set_limit). 0: none. */
struct client_limits {
    uint64_t publish_rate, publish_bytes;
    uint64_t queue_messages, queue_bytes;
    uint64_t subscriptions;
    uint64_t packet_size;
    uint64_t session_expiry_s;
    uint64_t lifetime_s;
};

struct client {
    const struct client_ops *ops;
    struct shard *shard;
    struct session *session;       /* NULL unless CLIENT_ONLINE */
    struct identity *who;          /* reference */
    struct connecting *connecting; /* while CONNECT is under way */
    struct reauth *reauth;         /* while a re-authentication is under way */
    uint64_t conn_id;
    uint64_t connected_at_ms;
    uint32_t listener;     /* its number: hooks_listener */
    uint8_t version;       /* enum mqtt_version */
    uint8_t state;         /* enum client_state */
    bool may_be_anonymous; /* by its listener: end of chain for `authenticate` */
    bool assigned_id;
    bool pre_connect_done;
    bool has_early_rules;     /* pushed in pre_connect, for the names the client had then */
    bool problem_info;        /* Request Problem Information */
    uint16_t receive_maximum; /* the client's: our window of QoS > 0 */
    uint16_t keepalive_s;
    uint32_t
        n_blocking; /* > 0: later PUBLISH, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, AUTH wait in conn/ */
    uint32_t n_unacked_in; /* QoS > 0 publishes of the client without PUBACK or PUBCOMP */
    uint32_t n_revoked; /* identity_revocations that have been looked at */
    struct client_limits limits;
    struct list closing; /* in shard.closing: client_close_later */
    const char *close_text;
    uint8_t close_reason;
    struct list held_back;      /* in shard.held_back or held_by_bus while client_may_publish said no */
    uint64_t claimed;        /* bus_claim */
    bool feeds_full_node;       /* bus_look_at */
    struct list publishes;      /* struct publish of this client, oldest first */
    struct list subscribes;     /* struct subscribe */
    struct list retained_reads; /* struct retained_read */
    struct str auth_method;     /* of CONNECT, owned; ptr NULL: none */
};

/* conn_id, listener, version (0 for now), may_be_anonymous, who must be set afterwards by conn/. */
void client_init(struct client *c, struct shard *shard, const struct client_ops *ops);
/* The client goes to another loop before CONNACK; state is CLIENT_NEW again. Plugin slots are
 * freed. */
void client_leave_loop(struct client *c);
void client_enter_loop(struct client *c, struct shard *shard);

/* A well-formed CONNECT, on the home loop of its id. c->version, receive_maximum, problem_info are
 * set and c->who has everything but what hooks may change. The answer comes by ops->connack, or
 * ops->move or ops->close. */
void client_connect(struct client *c, struct connect_info *m_connect);
/* AUTH from the client. 0, or negative reason: protocol error. */
int client_auth(struct client *c, uint8_t reason, struct str method, struct str data,
                struct str props);
/* For message_parts.from_session; 0 when offline. */
uint64_t client_session_number(const struct client *c);
/* A PUBLISH whose topic alias is resolved; takes the message. 0, or negative reason: close with it.
 */
int client_publish(struct client *c, struct message *m_message, uint16_t packet_id, bool dup);
int client_puback(struct client *c, uint16_t packet_id, uint8_t reason);
int client_pubrec(struct client *c, uint16_t packet_id, uint8_t reason);
int client_pubrel(struct client *c, uint16_t packet_id, uint8_t reason);
int client_pubcomp(struct client *c, uint16_t packet_id, uint8_t reason);
struct subscribe_packet;
struct unsubscribe_packet;
int client_subscribe(struct client *c, const struct subscribe_packet *p);
int client_unsubscribe(struct client *c, const struct unsubscribe_packet *p);
/* One QoS > 0 publish of the client has its PUBACK or PUBCOMP. */
static inline void client_acked_in(struct client *c)
{
    if (c->n_unacked_in)
        c->n_unacked_in--;
}
void client_ping(struct client *c);
void client_keepalive_timeout(struct client *c); /* the event; conn/ closes afterwards */
/* The out queue has room again. */
void client_writable(struct client *c);
/* May the loop take one more PUBLISH from clients now? false: stop reading this client until
 * ops->unblock. Puts the client on the list of those who wait. */
bool client_may_publish(struct client *c);
/* ops->close at the end of this round, for whoever is in the middle of something; text is a
 * literal. */
void client_close_later(struct client *c, uint8_t reason, const char *text);
/* The connection is over, whoever ended it; exactly once. Afterwards the broker does not know the
 * client. */
void client_end(struct client *c, const struct client_cause *cause);
