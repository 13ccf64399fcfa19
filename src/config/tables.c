#include "config/tables.h"
#include "config/config.h"
#include "config/suggest.h"

#define N(array)   (sizeof(array) / sizeof((array)[0]))
#define MAX_PACKET INT64_C(268435460) /* 5 bytes of fixed header + 268,435,455 */
#define RELOAD     PIGEON_O_RELOAD

_Static_assert(sizeof(enum config_access) == sizeof(int), "table_store writes enums as int");

#define ROW(S, name, field, t, f, d, words, low, high, core, text) \
    {                                                              \
        .opt = { .key = name,                                      \
                 .preset = d,                                      \
                 .allowed = words,                                 \
                 .doc = text,                                      \
                 .type = PIGEON_T_##t,                             \
                 .flags = f,                                       \
                 .min = low,                                       \
                 .max = high },                                    \
        .offset = offsetof(struct S, field), .core_flags = core    \
    }
#define RANGE(low, high) low, high
#define NO_RANGE         0, 0
#define ANY_COUNT        0, INT64_C(1000000000)
#define ANY_BYTES        0, INT64_C(1) << 50
#define ANY_TIME         0, INT64_C(315360000000) /* ten years */

#define TOP(name, field, ...) ROW(config, name, field, __VA_ARGS__)
static const struct core_option top_rows[] = {
    TOP("id", id, STRING, 0, NULL, NULL, RANGE(1, 64), CORE_NAME,
        "Name of this node, in `$SYS/<id>/...` and in stored wills. Not set: random, made once and "
        "kept in `state_dir/node-id`."),
    TOP("threads", threads, INT, 0, "auto", NULL, RANGE(1, 64), CORE_AUTO,
        "Event loops. `auto`: 1 on up to two cores, else one per core less one."),
    TOP("state_dir", state_dir, PATH, 0, NULL, NULL, NO_RANGE, 0,
        "Directory for stores and the node id. Not set: nothing is kept on disk."),
    TOP("plugins_dir", plugins_dir, LIST, 0, NULL, NULL, NO_RANGE, CORE_PATHS,
        "Directories in which every `*.so` is found (not recursive). Not set: the packaged "
        "directory."),
    TOP("persistence", persistence, STRING, 0, "memory", NULL, RANGE(1, 64), CORE_NAME,
        "The store: `sqlite` means the plugin `store-sqlite`; its options stand under `plugins: { "
        "store-sqlite: { options: ... } }`."),
    TOP("bus", bus, STRING, 0, NULL, NULL, RANGE(1, 64), CORE_NAME,
        "The bus to other nodes: `redis` means the plugin `bus-redis`. Not set: this node is "
        "alone."),
    TOP("bus_hello", bus_hello_ms, TIME, 0, "5s", NULL, RANGE(100, 3600000), 0,
        "Time between two hellos to the other nodes. One that was not heard for three of its own "
        "is gone."),
    TOP("bus_queue", bus_queue, SIZE, 0, "16M", NULL, RANGE(65536, INT64_C(1) << 40), 0,
        "Bytes waiting for one other node. Beyond, QoS 0 is dropped and clients that publish QoS 1 "
        "and 2 for it are not read; beyond twice as much, these are dropped, too."),
    TOP("bus_takeover", bus_takeover, ENUM, RELOAD, "fresh", "fresh|second", NO_RANGE, 0,
        "One client identifier on two nodes. `fresh`: the connection made last stays; `second`: "
        "both stay, with a session each."),
    TOP("on_bus_down", on_bus_down, ENUM, RELOAD, "local", "local|refuse", NO_RANGE, 0,
        "What clients publish while the bus is down: `local`: reaches this node only; `refuse`: is "
        "refused (0x97, not acknowledged in MQTT 3)."),
    TOP("allow_anonymous", allow_anonymous, ENUM, RELOAD, "auto", "auto|true|false", NO_RANGE, 0,
        "Whether clients come in that no plugin decided about. `auto`: over loopback addresses and "
        "unix sockets only. A listener that is open to the network needs `true` or `false` here or "
        "in its own block, or a plugin that authenticates."),
    TOP("default_access", default_access, ENUM, RELOAD, "allow", "allow|deny", NO_RANGE, 0,
        "Publish and subscribe when no plugin authorizes. `allow`: everything but writing to "
        "topics that begin with `$`."),
    TOP("on_denied_publish", on_denied_publish, ENUM, RELOAD, "acknowledge",
        "acknowledge|disconnect", NO_RANGE, 0,
        "A refused PUBLISH of an MQTT 3 client: acknowledged and dropped, or the connection is "
        "closed. `disconnect` turns a wrong rule into a reconnect loop. MQTT 5 clients get reason "
        "code 0x87."),
    TOP("connect_timeout", connect_timeout_ms, TIME, RELOAD, "30s", NULL, RANGE(100, 3600000), 0,
        "From accept to CONNACK: TLS, WebSocket, CONNECT and all plugin answers."),
    TOP("heartbeat_interval", heartbeat_interval_ms, TIME, 0, "60s", NULL, RANGE(1000, 86400000), 0,
        "Time between two `$SYS/<id>/heartbeat`; a node is taken for dead after three."),
    TOP("drain_timeout", drain_timeout_ms, TIME, RELOAD, "60s", NULL, RANGE(0, 86400000), 0,
        "A connection that takes none of the bytes waiting for it for so long is closed. 0: "
        "never."),
    TOP("restart_grace", restart_grace_ms, TIME, 0, "10s", NULL, RANGE(0, 86400000), 0,
        "After a crash, stored wills wait at least so long for their clients to come back."),
    TOP("hook_warn", hook_warn_ms, TIME, RELOAD, "50ms", NULL, RANGE(0, 3600000), 0,
        "A plugin that holds up its thread for longer in one call is logged (`plugin_slow`), an "
        "event "
        "loop that makes no turn for ten times as long, too (`loop_stalled`). 0: never."),
    TOP("concurrency", concurrency, INT, RELOAD, "10000", NULL, RANGE(1, 1000000), 0,
        "Publishes of one event loop between accept and completion; beyond, reading from "
        "publishers pauses."),
    TOP("queue_limit", queue_limit, INT, RELOAD, "42", NULL, RANGE(1, 65535), 0,
        "Packets of a client that may wait for its CONNACK; one more closes the connection."),
    TOP("max_client_id_length", max_client_id_length, INT, RELOAD, "23", NULL, RANGE(1, 65535), 0,
        "Bytes of a client identifier in MQTT 3.1, where longer ones are refused with return code "
        "2. See `limits.client_id_length` for the others."),
    TOP("batch_max_ops", batch_max_ops, INT, RELOAD, "1000", NULL, RANGE(1, 1000000), 0,
        "Operations in one batch to the store."),
    TOP("check_payload_format", check_payload_format, BOOL, RELOAD, "false", NULL, NO_RANGE, 0,
        "Refuse (0x99) payloads that say they are UTF-8 and are not."),
    TOP("queue_qos0", queue_qos0, BOOL, RELOAD, "false", NULL, NO_RANGE, 0,
        "Queue QoS 0 messages, too, for sessions whose client is away."),
    TOP("response_information", response_information, STRING, RELOAD, NULL, NULL, RANGE(1, 1024), 0,
        "What MQTT 5 clients get that ask for response information: the base of their response "
        "topics."),
};

#define LOG(name, field, ...) ROW(config_log, name, field, __VA_ARGS__)
static const struct core_option log_rows[] = {
    LOG("level", level, ENUM, RELOAD, "info", "error|warn|info|debug", NO_RANGE, 0,
        "`info`: a line per connection; `debug`: per packet."),
    LOG("format", format, ENUM, 0, "text", "text|json", NO_RANGE, 0, "One line per event."),
    LOG("timestamps", timestamps, ENUM, 0, "auto", "auto|true|false", NO_RANGE, 0,
        "ISO 8601 before each line. `auto`: unless journald adds its own."),
    LOG("rate", rate, INT, RELOAD, "100", NULL, ANY_COUNT, 0,
        "Lines per second of one event name."),
};

#define LIM(name, field, ...) ROW(config_limits, name, field, __VA_ARGS__)
static const struct core_option limits_rows[] = {
    LIM("connections", connections, INT, RELOAD, "0", NULL, ANY_COUNT, 0,
        "Connections in all. 0: as many as there are file descriptors."),
    LIM("connections_per_address", connections_per_address, INT, RELOAD, "0", NULL, ANY_COUNT, 0,
        "Connections from one address."),
    LIM("pending_per_address", pending_per_address, INT, RELOAD, "16384", NULL, ANY_COUNT, 0,
        "Connections from one address that have no CONNACK yet."),
    LIM("client_id_length", client_id_length, INT, RELOAD, "65535", NULL, RANGE(23, 65535), 0,
        "Bytes of a client identifier; longer ones are refused (0x85, MQTT 3: 2)."),
    LIM("username_length", username_length, INT, RELOAD, "65535", NULL, RANGE(0, 65535), 0,
        "Bytes of a user name."),
    LIM("connect_size", connect_size, SIZE, RELOAD, "256k", NULL, RANGE(1024, MAX_PACKET), 0,
        "A CONNECT packet with its will; a longer one is refused before it is read."),
    LIM("packet_size", packet_size, SIZE, RELOAD, "100M", NULL, RANGE(1024, MAX_PACKET), 0,
        "Any packet of a client. MQTT 5 clients are told; a larger one is answered with 0x95. "
        "Memory is taken only for bytes that arrived."),
    LIM("topic_length", topic_length, INT, RELOAD, "65535", NULL, RANGE(16, 65535), 0,
        "Bytes of a topic or filter."),
    LIM("topic_levels", topic_levels, INT, RELOAD, "200", NULL, RANGE(2, 32768), 0,
        "Levels of a topic or filter."),
    LIM("subscriptions_per_client", subscriptions_per_client, INT, RELOAD, "1000000", NULL,
        ANY_COUNT, 0, "Subscriptions of one session; a further one gets 0x97 (MQTT 3.1.1: 0x80)."),
    LIM("filters_per_packet", filters_per_packet, INT, RELOAD, "65535", NULL, RANGE(1, 10000000), 0,
        "Filters in one SUBSCRIBE or UNSUBSCRIBE; those beyond get 0x97."),
    LIM("inflight_in", inflight_in, INT, RELOAD, "10000", NULL, RANGE(1, 65535), 0,
        "QoS 1 and 2 messages of one client without our acknowledgement: the receive maximum told "
        "to MQTT 5 clients. More is answered with 0x93."),
    LIM("inflight_qos2_in", inflight_qos2_in, INT, RELOAD, "65535", NULL, RANGE(1, 65535), 0,
        "QoS 2 messages of one MQTT 3 client that wait for its PUBREL; one more closes the "
        "connection."),
    LIM("inflight_out", inflight_out, INT, RELOAD, "1000", NULL, RANGE(1, 65535), 0,
        "QoS 1 and 2 messages on the way to one client; never more than its own receive maximum."),
    LIM("topic_alias_in", topic_alias_in, INT, RELOAD, "100", NULL, RANGE(0, 65535), 0,
        "Topic aliases a client may set. 0: none."),
    LIM("topic_alias_out", topic_alias_out, INT, RELOAD, "100", NULL, RANGE(0, 65535), 0,
        "Topic aliases we set towards a client that allows them. 0: none."),
    LIM("user_properties", user_properties, INT, RELOAD, "10000", NULL, ANY_COUNT, 0,
        "User properties in one packet."),
    LIM("queue_messages", queue_messages, INT, RELOAD, "100000", NULL, RANGE(1, 1000000000), 0,
        "Messages waiting for one session, its client there or away."),
    LIM("queue_bytes", queue_bytes, SIZE, RELOAD, "64M", NULL, RANGE(1024, INT64_C(1) << 50), 0,
        "Bytes waiting for one session. A single message may be larger."),
    LIM("queue_ram", queue_ram, INT, RELOAD, "1000", NULL, RANGE(1, 1000000000), 0,
        "Messages of one session kept in memory; the others stay in the store until they are due."),
    LIM("queue_policy", queue_policy, ENUM, RELOAD, "drop_newest",
        "drop_newest|drop_oldest|disconnect", NO_RANGE, 0,
        "What gives way when a queue is full. Every drop is counted."),
    LIM("write_buffer", write_buffer, SIZE, RELOAD, "4M", NULL, RANGE(4096, INT64_C(1) << 40), 0,
        "Bytes waiting for one connection's socket; beyond, QoS 0 is dropped, the rest stays "
        "queued, and we do not read from who does not read."),
    LIM("retained_messages", retained_messages, INT, RELOAD, "1000000", NULL, ANY_COUNT, 0,
        "Retained messages in all; a further one gets 0x97."),
    LIM("retained_bytes", retained_bytes, SIZE, RELOAD, "1G", NULL, ANY_BYTES, 0,
        "Bytes of all retained messages."),
    LIM("retained_size", retained_size, SIZE, RELOAD, "0", NULL, ANY_BYTES, 0,
        "Bytes of one retained message."),
    LIM("retained_ttl", retained_ttl_ms, TIME, RELOAD, "0", NULL, ANY_TIME, CORE_SECONDS,
        "Retained messages are forgotten after it, also when they carry no expiry."),
    LIM("publish_rate", publish_rate, INT, RELOAD, "0", NULL, ANY_COUNT, 0,
        "Messages per second of one client; beyond, we read it more slowly."),
    LIM("publish_bytes", publish_bytes, SIZE, RELOAD, "0", NULL, ANY_BYTES, 0,
        "Bytes per second of one client; beyond, we read it more slowly."),
    LIM("session_expiry", session_expiry_ms, TIME, RELOAD, "0", NULL, ANY_TIME, CORE_SECONDS,
        "Longest life of a session without its client, also of an MQTT 3 session that would live "
        "for ever. MQTT 5 clients are told."),
    LIM("max_keepalive", max_keepalive_ms, TIME, RELOAD, "0", NULL, RANGE(0, 65535000),
        CORE_SECONDS,
        "Longest keep alive, also for clients that ask for none. MQTT 5 clients are told the "
        "shorter one; an MQTT 3 client is held to it silently."),
    LIM("min_keepalive", min_keepalive_ms, TIME, RELOAD, "0", NULL, RANGE(0, 65535000),
        CORE_SECONDS,
        "Shortest keep alive, for clients that ask for a shorter one but not for none."),
    LIM("sessions", sessions, INT, RELOAD, "1000000", NULL, ANY_COUNT, 0,
        "Sessions, those whose client is away included; a further one is refused with 0x97 (MQTT "
        "3: 3)."),
    LIM("memory", memory, SIZE, RELOAD, "auto", NULL, ANY_BYTES, CORE_AUTO,
        "High-water mark of the broker's memory: above it nothing new is taken in. `auto`: three "
        "quarters of what the machine or the control group has."),
};

#define DUR(name, field, ...) ROW(config_durability, name, field, __VA_ARGS__)
static const struct core_option durability_rows[] = {
    DUR("default", preset, ENUM, 0, "disk", "memory|os|disk", NO_RANGE, 0,
        "When a change counts as stored: in the store's `memory`, written to the `os` (survives a "
        "crash of the broker), or on `disk` (survives loss of power)."),
};

#define LIS(name, field, ...) ROW(config_listener, name, field, __VA_ARGS__)
static const struct core_option listener_rows[] = {
    LIS("name", name, STRING, 0, NULL, NULL, RANGE(1, 64), 0,
        "For logs and metrics. Not set: made of protocol and port."),
    LIS("port", port, INT, RELOAD, NULL, NULL, RANGE(0, 65535), 0,
        "TCP port. 0: any free one. A listener has a `port` or a `unix` path."),
    LIS("bind", bind, LIST, RELOAD, "[127.0.0.1, \"::1\"]", NULL, RANGE(1, 64), 0,
        "Addresses. Not set: loopback only (`::1` where there is IPv6). Every address: `\"*\"`."),
    LIS("unix", unix_path, PATH, RELOAD, NULL, NULL, NO_RANGE, 0,
        "Path of a unix socket instead of a port."),
    LIS("mode", mode, STRING, RELOAD, "0660", NULL, NO_RANGE, CORE_OCTAL,
        "Permissions of the unix socket."),
    LIS("owner", owner, STRING, RELOAD, NULL, NULL, RANGE(1, 64), CORE_NAME,
        "User who owns the unix socket, a name or a number. Not set: who runs the broker."),
    LIS("group", group, STRING, RELOAD, NULL, NULL, RANGE(1, 64), CORE_NAME,
        "Group of the unix socket, a name or a number."),
    LIS("protocol", protocol, ENUM, RELOAD, "mqtt", "mqtt|websocket", NO_RANGE, 0,
        "What is spoken on it."),
    LIS("path", path, STRING, RELOAD, NULL, NULL, RANGE(1, 1024), 0,
        "Path of the WebSocket, such as `/mqtt`; any other gets 404. Not set: every path."),
    LIS("origins", origins, LIST, RELOAD, NULL, NULL, RANGE(1, 1000), CORE_ORIGINS,
        "Web sites whose pages may open a WebSocket, such as `https://app.example`; others get "
        "403. `\"*\"`: all. Not set: pages of the host that the request is for, on any port. "
        "Clients that are no browser send no origin and are not asked."),
    LIS("proxy_protocol", proxy_protocol, ENUM, RELOAD, "false", "false|true|required", NO_RANGE, 0,
        "A connection from one of the `trusted_proxies` begins with a PROXY header, version 1 or "
        "2, that names the client. `true`: others are clients; `required`: others are closed."),
    LIS("trusted_proxies", trusted_proxies, LIST, RELOAD, NULL, NULL, RANGE(1, 1000), CORE_NETWORKS,
        "Networks such as `10.0.0.0/8`, addresses, or `local` for peers on a unix socket, whose "
        "PROXY header or, on a WebSocket, `X-Forwarded-For` is believed. Their clients are never "
        "local to `allow_anonymous: auto`."),
    LIS("max_connections", max_connections, INT, RELOAD, "0", NULL, ANY_COUNT, 0,
        "Connections of this listener."),
    LIS("allow_anonymous", allow_anonymous, ENUM, RELOAD, "auto", "auto|true|false", NO_RANGE, 0,
        "As the option of the same name at the top, which `auto` refers to."),
};

#define FIL(name, field, ...) ROW(config_tls_files, name, field, __VA_ARGS__)
static const struct core_option tls_files_rows[] = {
    FIL("cert", cert, PATH, RELOAD | PIGEON_O_REQUIRED, NULL, NULL, NO_RANGE, 0,
        "PEM file of the certificate, followed by those that lead to its CA."),
    FIL("key", key, PATH, RELOAD, NULL, NULL, NO_RANGE, 0,
        "PEM file of its key, without a password. Not set: it is in the same file."),
};

#define TLS(name, field, ...) ROW(config_tls, name, field, __VA_ARGS__)
static const struct core_option tls_rows[] = {
    TLS("cert", own.cert, PATH, RELOAD | PIGEON_O_REQUIRED, NULL, NULL, NO_RANGE, 0,
        "PEM file of the server's certificate, followed by those that lead to its CA. Read again "
        "at every reload, as all files here; connections that are there stay."),
    TLS("key", own.key, PATH, RELOAD, NULL, NULL, NO_RANGE, 0,
        "PEM file of its key, without a password. Not set: it is in the same file."),
    TLS("ca", ca, PATH, RELOAD, NULL, NULL, NO_RANGE, 0,
        "PEM file, or directory made by `openssl rehash`, of who signs the clients' certificates."),
    TLS("crl", crl, PATH, RELOAD, NULL, NULL, NO_RANGE, 0,
        "PEM file with what they have revoked: a list of each CA in a client's chain."),
    TLS("client_cert", client_cert, ENUM, RELOAD, "none", "none|optional|required", NO_RANGE, 0,
        "Whether clients show a certificate. One that is not of `ca`, has expired or is revoked "
        "ends the connection in any case."),
    TLS("identity", identity, ENUM, RELOAD, "none", "none|cn|subject|san", NO_RANGE, 0,
        "What in the client's certificate is its user name, in place of what CONNECT says: the "
        "common name, the whole subject, or the first e-mail address, DNS name or URI. Who has "
        "none in it, or one with control characters in it, is refused."),
    TLS("min_version", min_version, ENUM, RELOAD, "1.2", "1.2|1.3", NO_RANGE, 0,
        "Oldest version of TLS that is spoken."),
    TLS("ciphers", ciphers, STRING, RELOAD, NULL, NULL, RANGE(1, 4096), 0,
        "OpenSSL's list of ciphers for TLS 1.2. Not set: its own."),
    TLS("suites", suites, STRING, RELOAD, NULL, NULL, RANGE(1, 4096), 0,
        "Its list of cipher suites for TLS 1.3. Not set: its own."),
    TLS("tickets", tickets, BOOL, RELOAD, "true", NULL, NO_RANGE, 0,
        "Let clients that come back skip most of the handshake; never where they show a "
        "certificate. Keys change every 12 hours and outlive a reload."),
};

#define PLU(name, field, ...) ROW(config_plugin, name, field, __VA_ARGS__)
static const struct core_option plugin_rows[] = {
    PLU("file", file, PATH, 0, NULL, NULL, NO_RANGE, CORE_PATHS,
        "File name, looked for in `plugins_dir` unless it has a slash. Not set: NAME.so."),
    PLU("enabled", enabled, BOOL, 0, "true", NULL, NO_RANGE, 0, "`false` keeps a plugin out."),
    PLU("required", required, BOOL, 0, "true", NULL, NO_RANGE, 0,
        "`false`: one that fails is only warned about. For plugins of events, metrics and "
        "control."),
    PLU("run", run, ENUM, 0, "inline", "inline|worker", NO_RANGE, 0,
        "On the event loops, or on threads of its own where it may block."),
    PLU("workers", workers, INT, 0, "1", NULL, RANGE(1, 64), 0, "Threads with `run: worker`."),
    PLU("deadline", deadline_ms, TIME, RELOAD, "0", NULL, RANGE(0, 3600000), 0,
        "For a late answer. 0: that of the hook (authenticate 5s, authorize 2s, published 10s)."),
    PLU("on_deadline", on_deadline, ENUM, RELOAD, "deny", "deny|next", NO_RANGE, 0,
        "What a missed deadline means. `next` only where it stands as `decide` in its chain."),
    PLU("max_pending", max_pending, INT, RELOAD, "1000", NULL, RANGE(1, 1000000), 0,
        "Questions without answer; further ones are denied."),
    PLU("only", only, LIST, RELOAD, NULL, NULL, NO_RANGE, CORE_FILTERS,
        "Topic filters: publish hooks and events are called for these topics only."),
    PLU("allow_unstable", allow_unstable, BOOL, 0, "false", NULL, NO_RANGE, 0,
        "Let it use interfaces that may still change (`x.` ...)."),
};

const struct core_section core_sections[] = {
    { "include",
      "More files: one name or a list, relative to the file, with `*` and `?`. Blocks are merged, "
      "`listeners` joined; anything else that is set twice is an error.",
      0 },
    { "listeners", "A list of blocks: where clients come in. Default: one on loopback, port 1883.",
      RELOAD },
    { "plugins", "A block of blocks: one per plugin, by name.", 0 },
    { "chains", "A block of lists: which plugins are asked, in which order.", RELOAD },
    { "durability", "A block: when something counts as stored.", 0 },
    { "limits", "A block: bounds.", RELOAD },
    { "log", "A block: what is logged and how.", RELOAD },
    { NULL, NULL, 0 },
};

const struct core_section core_chains[] = {
    { "pre_connect", "before anything is known of a client", 0 },
    { "authenticate", "who may come in, and MQTT 5's AUTH", 0 },
    { "authorize", "what may be published, subscribed and delivered", 0 },
    { "inbound", "rewriting of messages before they are authorized", 0 },
    { "published", "after a message was routed, before its acknowledgement", 0 },
    { "events", "facts; nobody decides here", 0 },
    { NULL, NULL, 0 },
};

uint32_t core_section_flags(const char *key)
{
    for (const struct core_section *s = core_sections; s->key; s++)
        if (!strcmp(s->key, key))
            return s->flags;
    return 0;
}

static const char *const top_sections[] = { "include",    "listeners", "plugins", "chains",
                                            "durability", "limits",    "log",     NULL };
static const char *const durability_sections[] = { "filters", NULL };
static const char *const listener_sections[] = { "chains", "tls", NULL };
static const char *const tls_sections[] = { "certificates", NULL };
static const char *const plugin_sections[] = { "options", NULL };

#define TABLE(r, w, s)                                                                 \
    {                                                                                  \
        .rows = (r), .n = N(r), .stride = sizeof(struct core_option), .is_core = true, \
        .where = (w), .sections = (s)                                                  \
    }
const struct table core_top = TABLE(top_rows, "", top_sections);
const struct table core_log = TABLE(log_rows, "in 'log'", NULL);
const struct table core_limits = TABLE(limits_rows, "in 'limits'", NULL);
const struct table core_durability = TABLE(durability_rows, "in 'durability'", durability_sections);
const struct table core_listener = TABLE(listener_rows, "in a listener", listener_sections);
const struct table core_tls = TABLE(tls_rows, "in 'tls'", tls_sections);
const struct table core_tls_files = TABLE(tls_files_rows, "in 'certificates'", NULL);
const struct table core_plugin = TABLE(plugin_rows, "in a plugin's block", plugin_sections);

void core_offer_nested(struct suggest *s)
{
    for (size_t i = 0; i < N(limits_rows); i++)
        suggest_offer(s, str_from(limits_rows[i].opt.key), "limits.");
    for (size_t i = 0; i < N(log_rows); i++)
        suggest_offer(s, str_from(log_rows[i].opt.key), "log.");
}
