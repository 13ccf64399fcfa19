/* pigeon/types.h - values and views that cross between broker and plugins. Included by <pigeon/plugin.h>.
 *
 * Laws of all pigeon headers (the suite checks them):
 *  L1 Structs begin with `size` and only grow at the end; read members beyond the first release through
 *     PIGEON_HAS. Frozen, without size: pigeon_str, pigeon_bytes, pigeon_iface, pigeon_msg_id,
 *     pigeon_unit_result. Arrays of growable structs carry a stride.
 *  L2 Fixed-width integers, pointers and the frozen structs only; no enum, bool, long, time_t, bit-field,
 *     variadic; no hidden padding, on 32-bit targets neither.
 *  L3 Borrowed by default: what the broker passes lives until the callback returns, or, when it returned
 *     PIGEON_PENDING, until complete(). What a plugin passes is copied before the call returns. Nobody
 *     frees the other's memory.
 *  L4 [loop]: only from the thread of the instance. [any]: from any thread, concurrently.
 *  L5 A member that is NULL or beyond `size` means "not implemented" and costs nothing.
 */
#ifndef PIGEON_TYPES_H
#define PIGEON_TYPES_H

#include <stddef.h>
#include <stdint.h>

#define PIGEON_ABI_MAJOR 1u
#define PIGEON_ABI_MINOR 0u
#define PIGEON_MAGIC     0x4e4f4750u /* "PGON" */
#define PIGEON_EXPORT    __attribute__((visibility("default")))
/* At a member that will go, with what takes its place: the author's compiler repeats it, the broker logs it once
 * per plugin that still has it. Defined as nothing beforehand, it is silent. */
#ifndef PIGEON_DEPRECATED
#define PIGEON_DEPRECATED(instead) __attribute__((deprecated(instead)))
#endif

/* Does the other side's struct reach this member? */
#define PIGEON_HAS(p, T, member)                                                                   \
    ((p) != NULL && (p)->size >= offsetof(T, member) + sizeof((p)->member))
#define PIGEON_COUNT(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))

/* A pointer that takes 8 bytes everywhere, so that layouts have no holes on 32-bit targets. */
#define PIGEON_PTR(T, name)                                                                        \
    union {                                                                                        \
        T       *name;                                                                             \
        uint64_t name##_bits;                                                                      \
    }

/* ---- frozen values ---------------------------------------------------------------------------- */

/* Text of known length. What the broker hands over has a NUL behind it, and MQTT text contains none, so
 * the str functions of libc are safe on it. */
typedef struct pigeon_str {
    const char *ptr;
    uint32_t    len;
    uint32_t    rsv;
#if UINTPTR_MAX == 0xffffffffu
    uint32_t rsv32;
#endif
} pigeon_str;

/* Bytes of known length; no NUL is promised. */
typedef struct pigeon_bytes {
    const uint8_t *ptr;
    uint32_t       len;
    uint32_t       rsv;
#if UINTPTR_MAX == 0xffffffffu
    uint32_t rsv32;
#endif
} pigeon_bytes;

/* One question under way: slot and generation. A stale token is harmless. */
typedef uint64_t pigeon_token;

/* A node's life: random bits made by the broker at each start; 0 is nobody. */
typedef uint64_t pigeon_incarnation;

/* Given once, by the node that accepted the message; the same in store and on the bus. */
typedef struct pigeon_msg_id {
    pigeon_incarnation node;
    uint64_t           n;
} pigeon_msg_id;

/* ---- results: negative numbers are errors and fail closed -------------------------------------- */

#define PIGEON_OK        0
#define PIGEON_E_INVAL   (-1)
#define PIGEON_E_NOMEM   (-2)
#define PIGEON_E_GONE    (-3)  /* the token was answered, cancelled or is past its deadline         */
#define PIGEON_E_NOTSUP  (-4)
#define PIGEON_E_IO      (-5)  /* store: failed for good; nothing more is acknowledged              */
#define PIGEON_E_BUSY    (-6)  /* back off, try again                                               */
#define PIGEON_E_FENCED  (-7)  /* another node owns this client now                                 */
#define PIGEON_E_FULL    (-8)  /* no room; worth trying again later                                 */
#define PIGEON_E_TOOBIG  (-9)  /* the value cannot be carried by MQTT                               */
#define PIGEON_E_STALE   (-10) /* store: recipients were matched against an old table               */
#define PIGEON_E_UNKNOWN (-11) /* store: nobody can say whether the batch was applied               */
#define PIGEON_E_THREAD  (-12) /* a [loop] function was called from another thread                  */

/* ---- verdicts: 0 abstains, so that a forgotten return lets nobody in ---------------------------- */

#define PIGEON_NEXT     0
#define PIGEON_ALLOW    1
#define PIGEON_DENY     2
#define PIGEON_PENDING  3 /* the answer comes later through host->complete()                        */
#define PIGEON_CONTINUE 4 /* exchange only: send AUTH with the data set, wait for the client        */

/* ---- hooks, as they appear in pigeon_req.hook, logs and metrics -------------------------------- */

#define PIGEON_HOOK_PRE_CONNECT         1u
#define PIGEON_HOOK_AUTHENTICATE        2u
#define PIGEON_HOOK_EXCHANGE            3u
#define PIGEON_HOOK_AUTHORIZE_PUBLISH   4u
#define PIGEON_HOOK_AUTHORIZE_WILL      5u
#define PIGEON_HOOK_AUTHORIZE_SUBSCRIBE 6u
#define PIGEON_HOOK_AUTHORIZE_DELIVER   7u
#define PIGEON_HOOK_INBOUND             8u
#define PIGEON_HOOK_PUBLISHED           9u
#define PIGEON_HOOK_EVENT               10u
#define PIGEON_HOOK_CONTROL             11u
#define PIGEON_HOOK_STORE               12u
#define PIGEON_HOOK_BUS                 13u
#define PIGEON_HOOK_LIFE                14u /* create, prepare, commit, quiesce, destroy, timers, fds */
#define PIGEON_HOOK_COUNT               15u

/* ---- views of the broker's objects ------------------------------------------------------------- */

#define PIGEON_CLIENT_TLS          1u
#define PIGEON_CLIENT_TLS_VERIFIED 2u /* the peer's certificate was checked against the listener's CA */
#define PIGEON_CLIENT_BRIDGE       4u /* 3.x: bridge bit in the protocol level                        */
#define PIGEON_CLIENT_LOOPBACK     8u /* the listener is reachable from this machine only             */
#define PIGEON_CLIENT_ACCEPTED     16u /* CONNACK with success was sent                               */
#define PIGEON_CLIENT_PEER_CRED    32u /* a unix socket: peer_pid, peer_uid, peer_gid are known       */

#define PIGEON_TRANSPORT_TCP  0u
#define PIGEON_TRANSPORT_TLS  1u
#define PIGEON_TRANSPORT_WS   2u
#define PIGEON_TRANSPORT_WSS  3u
#define PIGEON_TRANSPORT_UNIX 4u

typedef struct pigeon_client {
    uint32_t     size;
    uint32_t     flags;     /* PIGEON_CLIENT_*                                                       */
    uint64_t     conn_id;   /* unique per connection in this broker's life                           */
    uint8_t      protocol;  /* 3: MQTT 3.1, 4: 3.1.1, 5: 5.0; 0 before CONNECT was understood         */
    uint8_t      transport; /* PIGEON_TRANSPORT_*                                                    */
    uint16_t     port;      /* of the peer                                                           */
    uint32_t     loop;      /* index of the event loop it lives on                                   */
    uint32_t     keepalive_s;
    uint32_t     session_expiry_s;
    pigeon_str   id;
    pigeon_str   username;  /* ptr NULL: none was sent                                               */
    pigeon_str   address;   /* without port                                                          */
    pigeon_str   listener;
    pigeon_str   tls_cn;
    pigeon_bytes tls_cert;  /* the peer's certificate, DER                                           */
    uint32_t     peer_pid;  /* the process that connected to the unix socket, and whose it was then  */
    uint32_t     peer_uid;
    uint32_t     peer_gid;
    uint32_t     rsv;
} pigeon_client;

#define PIGEON_ORIGIN_CLIENT 0u
#define PIGEON_ORIGIN_WILL   1u
#define PIGEON_ORIGIN_BROKER 2u
#define PIGEON_ORIGIN_PLUGIN 3u
#define PIGEON_ORIGIN_BUS    4u

#define PIGEON_MSG_EXPIRY_HIDDEN 1u /* expires_ms is the broker's own limit: receivers are not told it */

/* A message; immutable, reference counted (host->msg_ref). */
typedef struct pigeon_msg {
    uint32_t      size;
    uint8_t       qos;
    uint8_t       retain;
    uint8_t       dup;
    uint8_t       origin;         /* PIGEON_ORIGIN_*                                                 */
    pigeon_msg_id id;
    pigeon_str    topic;
    pigeon_bytes  payload;
    pigeon_bytes  props;          /* MQTT 5 properties as on the wire, without topic alias, subscription
                                     identifiers and expiry; see pigeon_prop_next()                  */
    int64_t       expires_ms;     /* UNIX time in ms, 0: never                                       */
    pigeon_str    publisher;      /* client id, empty for the broker's and plugins' own              */
    pigeon_str    publisher_user;
    int64_t       received_ms;    /* UNIX time in ms; of a will: of its CONNECT until it is published,
                                     so that its expiry counts from then; 0: not known              */
    uint32_t      flags;          /* PIGEON_MSG_*                                                    */
    uint32_t      rsv;
} pigeon_msg;

typedef struct pigeon_connect {
    uint32_t     size;
    uint16_t     keepalive_s;
    uint8_t      clean_start;
    uint8_t      has_username;
    uint8_t      has_password;
    uint8_t      request_response_info;
    uint8_t      request_problem_info;
    uint8_t      rsv;
    uint32_t     session_expiry_s;
    uint32_t     maximum_packet_size; /* 0: none given                                               */
    uint16_t     receive_maximum;
    uint16_t     topic_alias_maximum;
    uint32_t     will_delay_s;
    uint32_t     rsv2;
    pigeon_bytes password;            /* wiped when the chain has ended                              */
    pigeon_str   auth_method;         /* ptr NULL: no enhanced authentication                        */
    pigeon_bytes auth_data;
    pigeon_bytes props;
    PIGEON_PTR(const pigeon_msg, will); /* NULL: none                                                */
} pigeon_connect;

#define PIGEON_STAGE_CONNECT  0u
#define PIGEON_STAGE_CONTINUE 1u
#define PIGEON_STAGE_REAUTH   2u

/* One step of MQTT 5 enhanced authentication [MQTT-4.12]. */
typedef struct pigeon_exchange {
    uint32_t     size;
    uint32_t     stage;        /* PIGEON_STAGE_*                                                     */
    pigeon_str   method;
    pigeon_bytes data;
    pigeon_bytes props;
    PIGEON_PTR(void *, slot);  /* your state of this exchange; freed by exchange_free                */
} pigeon_exchange;

typedef struct pigeon_sub {
    uint32_t   size;
    uint32_t   id;             /* subscription identifier, 0: none                                   */
    pigeon_str filter;         /* as the client asked for it, without $share/NAME/                   */
    pigeon_str effective;      /* what is matched, after set_filter                                  */
    pigeon_str share;          /* share name, empty: not shared                                      */
    uint8_t    qos;
    uint8_t    no_local;
    uint8_t    retain_as_published;
    uint8_t    retain_handling;
    uint8_t    restored;       /* from a stored session, not from a SUBSCRIBE                        */
    uint8_t    granted;        /* events: the reason code of SUBACK                                  */
    uint8_t    rsv[2];
} pigeon_sub;

#define PIGEON_REQ_EXPLAIN 1u /* an operator asks what you would say; nothing of it happens           */

/* One question to a plugin. Pinned from PIGEON_PENDING to complete(), even if the client goes. */
typedef struct pigeon_req {
    uint32_t     size;
    uint32_t     hook;         /* PIGEON_HOOK_*                                                      */
    pigeon_token token;
    int64_t      deadline_ns;  /* CLOCK_MONOTONIC; what happens then is the operator's choice        */
    PIGEON_PTR(const pigeon_client, client); /* NULL: no client, e.g. the will of a lost session     */
    PIGEON_PTR(void *, client_slot); /* one pointer per client and instance [loop]; freed by client_free */
    PIGEON_PTR(void, host_data);     /* the broker's                                                 */
    uint32_t     flags;        /* PIGEON_REQ_*                                                       */
    uint32_t     rsv;
} pigeon_req;

#endif
