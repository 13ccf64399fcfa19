/* subject.h - what a question to a plugin is about: the client, a CONNECT, one filter, one AUTH step.
 *
 * Each is reference counted and never changes after it was made, so that a plugin which answers late keeps a
 * valid view although connection and session are gone. References are counted by the loop that made them.
 * Messages have their own count (mqtt/message.h). */
#pragma once
#include "base/list.h"
#include "base/str.h"
#include "mqtt/message.h"
#include "pigeon/types.h"

struct hook_loop;

/* The client as plugins see it. The plugins' per-client slots hang on it; when the last reference goes,
 * client_free is called for every slot that is set. */
struct identity {
    pigeon_client view;
    uint32_t refs;
    uint32_t chains;            /* whose are told of it: as ask.listener */
    struct client_slots *slots; /* private to hooks/; shared by an identity and those made from it */
    struct list same;           /* with these slots */
    char data[];
};

struct identity_parts {
    struct str id, username, address, listener, tls_cn, tls_cert;
    bool has_username;
    uint8_t protocol, transport;
    uint16_t port;
    uint32_t flags; /* PIGEON_CLIENT_* */
    uint32_t loop, keepalive_s, session_expiry_s;
    uint32_t peer_pid, peer_uid, peer_gid; /* with PIGEON_CLIENT_PEER_CRED */
    uint32_t chains; /* as ask.listener: whose events chain is told */
    uint64_t conn_id;
};

/* from: NULL, or the identity whose plugin slots go on in the new one. NULL when out of memory. */
struct identity *identity_new(const struct identity_parts *parts, struct identity *from);
void identity_parts(const struct identity *who, struct identity_parts *r_parts);
struct identity *identity_ref(struct identity *who);
void identity_unref(struct identity **who);
static inline struct str identity_id(const struct identity *who)
{
    return (struct str){ who->view.id.ptr, who->view.id.len };
}

/* Do rules that were pushed for this client have to be looked at for each delivery? Then ask AUTHORIZE_DELIVER
 * even if no plugin has that hook. */
bool acl_checks_deliver(const struct identity *who);
/* A plugin has taken its rules for this client back (host->invalidate): the entry denies everything until the
 * client has authenticated again. */
bool identity_is_revoked(const struct identity *who);
/* How often some plugin has taken back what it had said about this client, whether or not it had pushed rules,
 * or has replaced its rules in a re-authentication: an answer that was given before a change does not hold
 * any more. */
uint32_t identity_revocations(const struct identity *who);
/* Live subscriptions are asked about again, for which plugins may take their time. Deny rules that have come
 * after the first `since` revocations hold for deliveries until the unhold that belongs to it. */
void identity_hold_rules(struct identity *who, uint32_t since);
void identity_unhold_rules(struct identity *who);
/* The client goes to another loop: the rules follow it, the plugins' slots do not. On the loop of `from`.
 * 0 or -ENOMEM. */
int identity_move_rules(struct identity *to, struct identity *from);
/* It is there: before anything is asked about it. 0 or -ENOMEM. */
int identity_arrive(struct identity *who, struct hook_loop *hl);

struct subject {
    uint32_t refs;
    void (*free_fn)(struct subject *s);
};
struct subject *subject_ref(struct subject *s);
void subject_unref(struct subject **s);

/* A CONNECT in memory of its own. The password is wiped when the object is freed. */
struct connect_info {
    struct subject base; /* first */
    pigeon_connect view;
    struct message *will; /* reference, or NULL; view.will points to its view */
    struct str id, username; /* as asked for */
    char *data;
    size_t data_len;
};
/* connect->will is not looked at: `m_will` (NULL: none) is taken. Copies everything; NULL: out of memory
 * (the will's reference is dropped). */
struct connect_info *connect_info_new(const pigeon_connect *connect, struct str id, struct str username,
                                      struct message *m_will);

/* The chain has ended: the password goes, unless a late plugin still has the view (then with the object). */
void connect_info_wipe(struct connect_info *info);

struct sub_info {
    struct subject base; /* first */
    pigeon_sub view;
    char data[];
};
struct sub_info *sub_info_new(const pigeon_sub *sub);

struct exchange_info {
    struct subject base; /* first */
    pigeon_exchange view;
    void *slot; /* the plugin's, freed by the exchange it belongs to, not by this object */
    char data[];
};
struct exchange_info *exchange_info_new(uint32_t stage, struct str method, struct str data, struct str props);
