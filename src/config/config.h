/* config.h - what the operator wrote, checked, with every default filled in.
 *
 * A `struct config` never changes after config_load; it is reference counted (any thread), so a
 * reload swaps the pointer while others still read the old one. All text in it lives as long as it
 * does. It holds no open files, no sockets and no plugin: names of plugins and addresses are only
 * names here.
 *
 * Times are milliseconds (`_ms`), sizes bytes, 0 means "no limit" unless the field says otherwise.
 */
#pragma once
#include "base/log.h"
#include "config/diag.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_AUTO (-1) /* threads, limits.memory: the program decides */

struct config;
struct node;

enum config_tristate { CONFIG_TRI_AUTO, CONFIG_TRI_TRUE, CONFIG_TRI_FALSE };
enum config_access { CONFIG_ALLOW, CONFIG_DENY };
enum config_denied_publish { CONFIG_ACKNOWLEDGE, CONFIG_DISCONNECT };
enum config_bus_takeover { CONFIG_FRESH, CONFIG_SECOND };
enum config_bus_down { CONFIG_LOCAL, CONFIG_REFUSE };
enum config_durability_level { CONFIG_MEMORY, CONFIG_OS, CONFIG_DISK };
enum config_protocol { CONFIG_MQTT, CONFIG_WEBSOCKET };
enum config_proxy { CONFIG_PROXY_NO, CONFIG_PROXY_YES, CONFIG_PROXY_REQUIRED };
enum config_client_cert { CONFIG_CERT_NONE, CONFIG_CERT_OPTIONAL, CONFIG_CERT_REQUIRED };
enum config_identity { CONFIG_ID_NONE, CONFIG_ID_CN, CONFIG_ID_SUBJECT, CONFIG_ID_SAN };
enum config_tls_version { CONFIG_TLS_1_2, CONFIG_TLS_1_3 };
enum config_run { CONFIG_INLINE, CONFIG_WORKER };
enum config_on_deadline { CONFIG_DEADLINE_DENY, CONFIG_DEADLINE_NEXT };
enum config_queue_policy { CONFIG_DROP_NEWEST, CONFIG_DROP_OLDEST, CONFIG_QUEUE_DISCONNECT };
enum config_control { CONFIG_DECIDE, CONFIG_REQUIRE, CONFIG_VETO };
enum config_chain_family {
    CONFIG_PRE_CONNECT,
    CONFIG_AUTHENTICATE,
    CONFIG_AUTHORIZE,
    CONFIG_INBOUND,
    CONFIG_PUBLISHED,
    CONFIG_EVENTS,
    CONFIG_N_CHAINS
};

struct config_list {
    const char **items;
    uint32_t n;
};

struct config_chain_entry {
    const char *plugin;
    enum config_control control;
    struct place place;
};

struct config_chain {
    bool written; /* false: file-name order, or for a listener: the broker's chain */
    struct config_chain_entry *entries;
    uint32_t n_entries;
    struct place place;
};

struct config_chains {
    struct config_chain of[CONFIG_N_CHAINS];
};

struct config_tls_files {
    const char *cert; /* NULL: not set, as in a block that has none */
    const char *key;  /* NULL: in the same file */
};

struct config_tls {
    bool on; /* the listener has a block of this name */
    struct config_tls_files own;
    struct config_tls_files *more; /* for other names of the server */
    uint32_t n_more;
    const char *ca, *crl;
    enum config_client_cert client_cert;
    enum config_identity identity;
    enum config_tls_version min_version;
    const char *ciphers, *suites; /* NULL: OpenSSL's own */
    bool tickets;
};

struct config_listener {
    const char *name; /* written, or "mqtt-1883", "websocket-9001", "mqtt-/run/x.sock" */
    int64_t port;     /* 0: any free port; -1: `unix_path` is set */
    struct config_list bind;
    bool bind_written;     /* false: 127.0.0.1, and ::1 where the machine has it */
    const char *unix_path; /* NULL: TCP */
    int64_t mode;          /* permissions of the socket file */
    const char *owner;     /* of the socket file, names or numbers; NULL: whoever we are */
    const char *group;
    enum config_protocol protocol;
    struct config_tls tls;
    const char *path;           /* of the WebSocket; NULL: any */
    struct config_list origins; /* "*": any; empty: the host that was asked for */
    enum config_proxy proxy_protocol;
    struct config_list trusted_proxies; /* for network_parse */
    int64_t max_connections;
    enum config_tristate allow_anonymous; /* AUTO: as the broker's */
    struct config_chains chains;
    struct place place;
};

struct config_plugin {
    const char *name; /* NULL: a plugin without a block, all defaults */
    const char *file; /* NULL: NAME.so */
    bool enabled;
    bool required;
    enum config_run run;
    int64_t workers;
    int64_t deadline_ms; /* 0: the default of each hook */
    enum config_on_deadline on_deadline;
    int64_t max_pending;
    struct config_list only; /* topic filters; empty: all topics */
    bool allow_unstable;
    const struct node *options;                   /* for plugin_conf_new; NULL: none */
    struct place place, run_place, workers_place; /* the latter two as `place` if not written */
};

struct config_durability_filter {
    const char *filter;
    enum config_durability_level level;
};

struct config_durability {
    enum config_durability_level preset; /* `default` */
    struct config_durability_filter *filters;
    uint32_t n_filters;
};

struct config_log {
    enum log_level level;
    enum log_format format;
    enum config_tristate timestamps; /* AUTO: not under journald */
    int64_t rate;                    /* lines per second and event name */
};

struct config_limits {
    int64_t connections, connections_per_address, pending_per_address;
    int64_t client_id_length, username_length, connect_size, packet_size;
    int64_t topic_length, topic_levels;
    int64_t subscriptions_per_client, filters_per_packet;
    int64_t inflight_in; /* the receive maximum we announce */
    int64_t inflight_qos2_in, inflight_out;
    int64_t topic_alias_in, topic_alias_out; /* 0: none are used */
    int64_t user_properties;                 /* in one packet */
    int64_t queue_messages, queue_bytes, queue_ram;
    enum config_queue_policy queue_policy;
    int64_t write_buffer;
    int64_t retained_messages, retained_bytes, retained_size, retained_ttl_ms;
    int64_t publish_rate, publish_bytes; /* per client and second */
    int64_t session_expiry_ms, max_keepalive_ms, min_keepalive_ms;
    int64_t sessions;
    int64_t memory; /* bytes, CONFIG_AUTO: from the machine or its control group, 0: no limit */
};

struct config {
    const char *id;                 /* NULL: random, kept in state_dir/node-id */
    int64_t threads;                /* see config_threads */
    const char *state_dir;          /* NULL: nothing is kept */
    struct config_list plugins_dir; /* empty: the packaged directory */
    const char *persistence;        /* "memory": the plugin store-memory */
    const char *bus;                /* NULL: none; "redis": the plugin bus-redis */
    int64_t bus_hello_ms;
    int64_t bus_queue; /* bytes per other node */
    enum config_bus_takeover bus_takeover;
    enum config_bus_down on_bus_down;
    struct config_durability durability;
    enum config_tristate allow_anonymous; /* AUTO: loopback listeners only */
    enum config_access default_access;
    enum config_denied_publish on_denied_publish;
    int64_t connect_timeout_ms, heartbeat_interval_ms, drain_timeout_ms;
    int64_t hook_warn_ms; /* 0: off */
    int64_t restart_grace_ms;
    int64_t concurrency;          /* publishes of one loop between accept and completion */
    int64_t queue_limit;          /* packets of a client held before its CONNACK */
    int64_t max_client_id_length; /* MQTT 3.1 only */
    int64_t batch_max_ops;        /* of a loop; it leaves at the end of the turn at the latest */
    bool check_payload_format;
    bool queue_qos0;
    const char *response_information; /* NULL: not sent */
    struct config_log log;
    struct config_limits limits;
    struct config_listener *listeners; /* never empty */
    uint32_t n_listeners;
    struct config_plugin *plugins; /* in the order written */
    uint32_t n_plugins;
    struct config_plugin plugin_preset; /* for plugins without a block */
    struct config_chains chains;
};

/* What config_load reads. Zeroed: the built-in defaults. Nothing is kept of it. */
struct config_input {
    const char *const *files; /* read in this order, merged */
    uint32_t n_files;
    const char *const *overrides; /* "key.key=value", applied in this order after the files */
    uint32_t n_overrides;
    bool has_port; /* `port` takes the place of the one of the first TCP listener */
    uint16_t port; /* 0: any free one */
};

/* Reads, merges, checks. 0; -EINVAL: something is wrong, all of it is in `d`; -ENOMEM. Reads files,
 * and
 * `!file` and `!env`, at once; blocks on the disk. */
int config_load(const struct config_input *input, struct diag *d, struct config **r_config);
struct config *config_ref(struct config *config);
/* Frees with the last reference; sets *config to NULL. Accepts NULL in it. */
void config_unref(struct config **config);

/* Number of event loops on a machine with `n_cores`. */
uint32_t config_threads(const struct config *config, uint32_t n_cores);
/* The plugin's block, or the defaults (name NULL) when it has none. */
const struct config_plugin *config_plugin(const struct config *config, const char *name);
/* The chain that holds for a listener; listener NULL: the broker's. */
const struct config_chain *config_chain(const struct config *config,
                                        const struct config_listener *listener,
                                        enum config_chain_family family);
/* "authenticate", ...; the key under `chains`. */
const char *config_chain_name(enum config_chain_family family);
/* Whether clients that no plugin decided about may come in over this address of the listener; a
 * unix socket is loopback, a client behind a proxy is not. */
bool config_allows_anonymous(const struct config *config, const struct config_listener *listener,
                             bool is_loopback);
/* 127.0.0.0/8, ::1, ::ffff:127.0.0.0/104 and "localhost". Text only, no look-up. */
bool config_is_loopback(const char *address);
/* Level for a message on `topic`: the filters are tried by `match`, the first that fits in the
 * order written wins, else the default. */
enum config_durability_level config_durability_of(const struct config *config, struct str topic,
                                                  bool (*match)(struct str filter,
                                                                struct str topic));
/* The strictest level that any message has: for state that is about no message in particular. */
enum config_durability_level config_durability_most(const struct config *config);
/* The safe first run: a listener that is open to the network while nobody decided who may connect
 * is an error, one per listener. has_auth: some loaded plugin takes part in `authenticate`. 0 or
 * -EINVAL. */
int config_check_open(const struct config *config, bool has_auth, struct diag *d);

/* One difference between two configurations. old_text/new_text: as one would write it; NULL: was
 * not there / is gone. `reloadable`: takes effect without a restart. */
typedef void (*config_diff_fn)(void *arg, const char *key, const char *old_text,
                               const char *new_text, bool reloadable);
/* Everything but plugin options (plugin_conf_diff knows those). 0 or -ENOMEM. */
int config_diff(const struct config *old_config, const struct config *new_config, config_diff_fn fn,
                void *arg);

/* The reference of every option as Markdown, from the tables (docs/config.md). 0 or -EIO. */
int config_write_doc(FILE *out);
