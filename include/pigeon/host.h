/* pigeon/host.h - what the broker offers to a plugin. Included by <pigeon/plugin.h>.
 *
 * A host belongs to one instance; host->inst goes back as first argument. Functions copy what they are given.
 * Any of them may be called from any callback: nothing is run recursively, effects follow after the return. */
#ifndef PIGEON_HOST_H
#define PIGEON_HOST_H
#include <pigeon/types.h>

#define PIGEON_LOG_ERROR 0u
#define PIGEON_LOG_WARN  1u
#define PIGEON_LOG_INFO  2u
#define PIGEON_LOG_DEBUG 3u

#define PIGEON_ACL_PUBLISH   1u
#define PIGEON_ACL_SUBSCRIBE 2u
#define PIGEON_ACL_DELIVER   4u
#define PIGEON_ACL_ALL       7u

#define PIGEON_FD_READ  1u
#define PIGEON_FD_WRITE 2u

#define PIGEON_METRIC_COUNTER   0u
#define PIGEON_METRIC_GAUGE     1u
#define PIGEON_METRIC_HISTOGRAM 2u /* in seconds, observed in nanoseconds */

/* set_limit: for this client, instead of the configured one. */
#define PIGEON_LIMIT_PUBLISH_RATE    1u /* messages per second          */
#define PIGEON_LIMIT_PUBLISH_BYTES   2u /* bytes per second             */
#define PIGEON_LIMIT_QUEUE_MESSAGES  3u
#define PIGEON_LIMIT_QUEUE_BYTES     4u
#define PIGEON_LIMIT_SUBSCRIPTIONS   5u
#define PIGEON_LIMIT_INFLIGHT        6u
#define PIGEON_LIMIT_PACKET_SIZE     7u
#define PIGEON_LIMIT_SESSION_EXPIRY  8u /* seconds                      */
#define PIGEON_LIMIT_LIFETIME        9u /* seconds until the connection must authenticate again or end */

typedef struct pigeon_conf  pigeon_conf;  /* this plugin's validated options, from create() or prepare() */
typedef struct pigeon_watch pigeon_watch; /* a timer or fd watcher                                       */
typedef struct pigeon_subscription pigeon_subscription;

typedef void (*pigeon_watch_fn)(void *self, void *arg, pigeon_watch *watch, uint32_t events);
typedef void (*pigeon_post_fn)(void *self, void *arg);
typedef void (*pigeon_done_fn)(void *self, void *arg, int32_t status);
/* A message for host->subscribe: PIGEON_OK, or PIGEON_PENDING and complete(token, PIGEON_OK) later: the
 * next message waits for it. */
typedef int32_t (*pigeon_deliver_fn)(void *self, void *arg, pigeon_token token, const pigeon_msg *msg);

typedef struct pigeon_info {
    uint32_t   size; /* set by the caller: sizeof(pigeon_info) */
    uint32_t   loops;
    pigeon_str version;
    pigeon_str node_id;
    pigeon_incarnation incarnation;
    int64_t    started_ms; /* UNIX time */
    int64_t    uptime_ms;
    uint64_t   connections;          /* open sockets                          */
    uint64_t   clients_connected;
    uint64_t   clients_disconnected; /* durable sessions without a connection */
    uint64_t   clients_maximum;      /* highest clients_connected             */
    uint64_t   sessions;
    uint64_t   subscriptions;
    uint64_t   subscriptions_shared;
    uint64_t   retained_messages;
    uint64_t   retained_bytes;
    uint64_t   queued_messages;      /* waiting or in flight, in memory */
    uint64_t   queued_bytes;
    uint64_t   messages_received;    /* PUBLISH from clients */
    uint64_t   messages_sent;        /* PUBLISH to clients   */
    uint64_t   messages_dropped;
    uint64_t   bytes_received;
    uint64_t   bytes_sent;
    uint64_t   packets_received;
    uint64_t   packets_sent;
    uint64_t   publish_bytes_received;
    uint64_t   publish_bytes_sent;
    uint64_t   sockets_accepted;
    uint64_t   connects_refused;
    uint64_t   clients_expired;
    uint64_t   messages_inflight;
    uint64_t   dropped_by_reason[14]; /* PIGEON_DROP_* */
} pigeon_info;

typedef struct pigeon_host {
    uint32_t    size;
    uint16_t    abi_major;
    uint16_t    abi_minor;
    const char *version;
    const char *node_id;
    const char *name;    /* of this plugin in the configuration                      */
    const char *state_dir;
    void       *inst;
    uint32_t    loop;    /* index of the loop; == loops: not on an event loop        */
    uint32_t    loops;

    /* [any] Further interfaces by id, NULL if unknown or shorter than min_size. */
    const void *(*get)(void *inst, const char *id, uint32_t min_size);
    /* [any] One line of text under this plugin's name. */
    void (*log)(void *inst, uint32_t level, const char *text);
    /* [loop] Reason for a failing check, create or prepare; key: the option at fault or NULL.
     * Returns PIGEON_E_INVAL, so that one can `return host->fail(...)`. */
    int32_t (*fail)(void *inst, const char *key, const char *text);
    /* [any] CLOCK_MONOTONIC in ns; on the loop the time of the turn, without a system call. */
    int64_t (*now_ns)(void *inst);
    /* [any] */
    int32_t (*info)(void *inst, pigeon_info *info);

    /* Options, typed by the plugin's own table. [loop], during create and prepare. Strings live as long as
     * the configuration: until commit or abort of the next one, or destroy. */
    int64_t (*conf_int)(const pigeon_conf *conf, const char *key); /* bool, int, size, time (ms) */
    pigeon_str (*conf_str)(const pigeon_conf *conf, const char *key); /* string, path, secret, enum, tree */
    uint32_t (*conf_count)(const pigeon_conf *conf, const char *key);
    pigeon_str (*conf_item)(const pigeon_conf *conf, const char *key, uint32_t i);

    /* [any] The answer to a PIGEON_PENDING, exactly once: a verdict, or PIGEON_OK / PIGEON_E_* for store and
     * bus. PIGEON_E_GONE: too late, nothing happened. */
    int32_t (*complete)(void *inst, pigeon_token token, int32_t verdict);

    /* Setters on a request: before its verdict, by the one thread that holds it. PIGEON_E_* when the value
     * cannot be kept; the request then fails, whatever the verdict says. */
    int32_t (*set_reason)(pigeon_req *req, uint32_t mqtt_reason, const char *text);
    int32_t (*set_clientid)(pigeon_req *req, pigeon_str id);       /* pre_connect, authenticate      */
    int32_t (*set_username)(pigeon_req *req, pigeon_str username); /* pre_connect, authenticate      */
    int32_t (*set_password)(pigeon_req *req, pigeon_bytes password); /* pre_connect                  */
    int32_t (*set_keepalive)(pigeon_req *req, uint32_t seconds);   /* pre_connect, authenticate      */
    int32_t (*set_clean_start)(pigeon_req *req, uint32_t clean);   /* pre_connect                    */
    int32_t (*set_session_expiry)(pigeon_req *req, uint32_t seconds); /* pre_connect, authenticate   */
    int32_t (*set_will)(pigeon_req *req, const pigeon_msg *will, uint32_t delay_s); /* pre_connect; NULL: none */
    int32_t (*set_limit)(pigeon_req *req, uint32_t limit, uint64_t value); /* authenticate, exchange */
    /* CONNACK: user property (38, name and value), response information (26), server reference (28). */
    int32_t (*add_property)(pigeon_req *req, uint32_t property, pigeon_str name, pigeon_str value);
    int32_t (*set_auth)(pigeon_req *req, pigeon_bytes data);       /* exchange: AUTH or CONNACK      */
    int32_t (*set_topic)(pigeon_req *req, pigeon_str topic);       /* inbound                        */
    int32_t (*set_payload)(pigeon_req *req, pigeon_bytes payload); /* inbound, authorize_publish     */
    int32_t (*set_props)(pigeon_req *req, pigeon_bytes props);     /* inbound, authorize_publish     */
    int32_t (*set_qos)(pigeon_req *req, uint32_t qos);             /* inbound                        */
    int32_t (*set_retain)(pigeon_req *req, uint32_t retain);       /* inbound                        */
    int32_t (*set_filter)(pigeon_req *req, pigeon_str filter, uint32_t qos); /* authorize_subscribe  */
    /* authorize_*: remember this verdict, for this client and everything in the question but payload, properties
     * and expiry: who decides by those must not. A denial keeps its reason. Not if the hook has set anything else. */
    int32_t (*set_cache)(pigeon_req *req, uint32_t ttl_ms);
    /* From pre_connect, authenticate or exchange: a rule of this chain entry for this client, first match
     * wins, enforced by the core without calling the plugin. verdict: PIGEON_ALLOW or PIGEON_DENY. A filter of
     * SUBSCRIBE must be covered by the rule; a denied part of it is left out of what is delivered. Rules pushed
     * in a re-authentication replace the earlier ones of the plugin. Those of pre_connect hold for the names of then:
     * when another plugin sets other ones afterwards, the client is refused. */
    int32_t (*acl_add)(pigeon_req *req, pigeon_str filter, uint32_t access, int32_t verdict);
    int32_t (*reply)(pigeon_req *req, pigeon_str json);            /* control                        */

    /* [any] Messages. */
    const pigeon_msg *(*msg_ref)(const pigeon_msg *msg);
    void (*msg_unref)(const pigeon_msg *msg);
    /* [any] Publishes without asking for authorization; origin is set by the broker. done (may be NULL) runs
     * on the instance's loop after routing and, QoS > 0, after the commit. */
    int32_t (*publish)(void *inst, const pigeon_msg *msg, pigeon_done_fn done, void *arg);
    /* [loop] Messages matching the filter, handed to `deliver` on this loop until unsubscribe. */
    int32_t (*subscribe)(void *inst, pigeon_str filter, uint32_t qos, pigeon_deliver_fn deliver, void *arg,
                         pigeon_subscription **out);
    void (*unsubscribe)(pigeon_subscription *subscription);
    /* [any] Ends the connection of a client id with a reason code; mqtt_reason 0x98 if 0. */
    int32_t (*kick)(void *inst, pigeon_str client_id, uint32_t mqtt_reason, const char *text);
    /* [any] What this plugin has said about a client id, a user name, or all (both empty) does not hold any
     * more: cached verdicts go. Clients it has pushed rules for are denied everything from then on and
     * disconnected (0x87): they get new rules by authenticating again. About the live subscriptions of the
     * others the chain is asked again; those now denied end. Questions under way count as asked before. To
     * end a connection in any case: kick. */
    int32_t (*invalidate)(void *inst, pigeon_str client_id, pigeon_str username);

    /* The instance's own loop [loop]; post is [any]. NULL: no memory. */
    pigeon_watch *(*timer)(void *inst, int64_t after_ns, int64_t repeat_ns, pigeon_watch_fn fn, void *arg);
    pigeon_watch *(*fd)(void *inst, int32_t fd, uint32_t events, pigeon_watch_fn fn, void *arg);
    void (*unwatch)(pigeon_watch *watch);
    int32_t (*post)(void *inst, pigeon_post_fn fn, void *arg);

    /* [any] Numbers: $SYS/broker/plugins/<name>/<metric>, pigeon.metrics/1. metric() returns a handle or an
     * error; the same name gives the same handle on every loop. Gauges are set, counters added to,
     * histograms observed. */
    int32_t (*metric)(void *inst, const char *metric, const char *help, uint32_t kind);
    void (*metric_add)(void *inst, int32_t metric, int64_t delta);
    void (*metric_set)(void *inst, int32_t metric, int64_t value);
    void (*metric_observe)(void *inst, int32_t metric, int64_t ns);
} pigeon_host;

/* Reads all numbers: host->get(PIGEON_IF_METRICS, ...). [any] */
#define PIGEON_IF_METRICS "pigeon.metrics/1"
typedef struct pigeon_metric {
    uint32_t    size;
    uint32_t    kind;
    const char *plugin; /* name of the plugin, "" for the broker's own */
    const char *name;
    const char *help;
#if UINTPTR_MAX == 0xffffffffu
    uint32_t    rsv32;
#endif
    int64_t     value;  /* histogram: count */
    int64_t     sum_ns;
    PIGEON_PTR(const uint64_t, buckets); /* histogram: 24 buckets, bound of bucket i is 2^(i+8) ns */
} pigeon_metric;
typedef void (*pigeon_metric_fn)(void *arg, const pigeon_metric *metric);
typedef struct pigeon_metrics {
    uint32_t size;
    uint32_t flags;
    int32_t (*each)(void *inst, pigeon_metric_fn fn, void *arg);
} pigeon_metrics;

#endif
