/* event_logger - one log line for each fact; the smallest thing to copy from when facts are what
 * you need. SPDX-License-Identifier: MIT
 *
 * cc -shared -fPIC -Iinclude examples/event_logger.c -o event_logger.so
 *
 * Options: `messages: false` leaves out the lines per message; `heartbeat: false` those that only
 * say that time passes. One instance per event loop, so the lines of one client are in order, and
 * there is no lock. */
#include <inttypes.h>
#include <pigeon/plugin.h>
#include <stdlib.h>

struct self {
    const pigeon_host *host;
    int64_t messages, heartbeat;
};

#define LOG(self, ...) pigeon_logf(((struct self *)(self))->host, PIGEON_LOG_INFO, __VA_ARGS__)

/* NULL: the broker's own, a plugin's, or one whose client has gone. */
static const char *id_of(const pigeon_client *client)
{
    return client && client->id.ptr ? client->id.ptr : "-";
}

static void on_client(void *self, const pigeon_client *client)
{
    LOG(self, "client %s address=%s protocol=%d", id_of(client), client->address.ptr,
        client->protocol);
}

static void on_client_ready(void *self, const pigeon_client *client)
{
    LOG(self, "client_ready %s", id_of(client));
}

static void on_client_disconnect(void *self, const pigeon_client *client, uint32_t reason,
                                 pigeon_str text)
{
    LOG(self, "client_disconnect %s reason=0x%02" PRIx32 " %s", id_of(client), reason,
        text.ptr ? text.ptr : "");
}

static void on_client_error(void *self, const pigeon_client *client, uint32_t reason,
                            pigeon_str text)
{
    LOG(self, "client_error %s reason=0x%02" PRIx32 " %s", id_of(client), reason,
        text.ptr ? text.ptr : "");
}

static void on_connection_error(void *self, const pigeon_client *client, uint32_t reason,
                                pigeon_str text)
{
    LOG(self, "connection_error %s reason=0x%02" PRIx32 " %s",
        client && client->address.ptr ? client->address.ptr : "-", reason,
        text.ptr ? text.ptr : "");
}

static void on_keepalive_timeout(void *self, const pigeon_client *client)
{
    LOG(self, "keepalive_timeout %s", id_of(client));
}

static void on_connack_sent(void *self, const pigeon_client *client, uint32_t reason,
                            uint32_t session_present)
{
    LOG(self, "connack_sent %s reason=0x%02" PRIx32 " session_present=%" PRIu32, id_of(client),
        reason, session_present);
}

static void on_subscribed(void *self, const pigeon_client *client, const pigeon_sub *subs,
                          uint32_t n, uint32_t stride)
{
    for (uint32_t i = 0; i < n; i++) {
        const void *at = (const char *)subs + (size_t)i * stride;
        const pigeon_sub *sub = at;

        LOG(self, "subscribed %s filter=%s granted=0x%02x", id_of(client), sub->filter.ptr,
            sub->granted);
    }
}

static void on_unsubscribed(void *self, const pigeon_client *client, const pigeon_str *filters,
                            uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        LOG(self, "unsubscribed %s filter=%s", id_of(client), filters[i].ptr);
}

static void on_publish(void *self, const pigeon_client *client, const pigeon_msg *msg)
{
    if (((struct self *)self)->messages)
        LOG(self, "publish %s topic=%s qos=%d retain=%d bytes=%" PRIu32, id_of(client),
            msg->topic.ptr, msg->qos, msg->retain, msg->payload.len);
}

static void on_ack(void *self, const pigeon_client *client, const pigeon_msg *msg,
                   uint32_t packet_id)
{
    if (((struct self *)self)->messages)
        LOG(self, "ack %s topic=%s packet_id=%" PRIu32, id_of(client), msg->topic.ptr, packet_id);
}

static void on_ping(void *self, const pigeon_client *client)
{
    if (((struct self *)self)->heartbeat)
        LOG(self, "ping %s", id_of(client));
}

static void on_heartbeat(void *self, pigeon_str node_id)
{
    if (((struct self *)self)->heartbeat)
        LOG(self, "heartbeat %s", node_id.ptr);
}

static void on_dropped(void *self, const pigeon_client *client, const pigeon_msg *msg, uint32_t why)
{
    if (((struct self *)self)->messages)
        LOG(self, "dropped %s topic=%s why=%" PRIu32, id_of(client), msg->topic.ptr, why);
}

static void on_session_end(void *self, pigeon_str client_id, uint32_t why)
{
    LOG(self, "session_end %s why=%" PRIu32, client_id.ptr, why);
}

static void on_will_dropped(void *self, pigeon_str client_id, const pigeon_msg *will,
                            uint32_t reason)
{
    LOG(self, "will_dropped %s topic=%s reason=0x%02" PRIx32, client_id.ptr, will->topic.ptr,
        reason);
}

static void on_error(void *self, int32_t err, pigeon_str text)
{
    LOG(self, "error %" PRId32 " %s", err, text.ptr ? text.ptr : "");
}

static void on_closed(void *self)
{
    LOG(self, "closed");
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = malloc(sizeof(*self));

    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    self->messages = host->conf_int(conf, "messages");
    self->heartbeat = host->conf_int(conf, "heartbeat");
    *out = self;
    return PIGEON_OK;
}

static const pigeon_option options[] = {
    { .key = "messages",
      .type = PIGEON_T_BOOL,
      .preset = "true",
      .doc = "a line per message: publish, ack, dropped" },
    { .key = "heartbeat", .type = PIGEON_T_BOOL, .preset = "true", .doc = "heartbeat and ping" },
};

static const pigeon_events events = {
    .size = sizeof(events),
    .client = on_client,
    .client_ready = on_client_ready,
    .client_disconnect = on_client_disconnect,
    .client_error = on_client_error,
    .connection_error = on_connection_error,
    .keepalive_timeout = on_keepalive_timeout,
    .connack_sent = on_connack_sent,
    .subscribed = on_subscribed,
    .unsubscribed = on_unsubscribed,
    .publish = on_publish,
    .ack = on_ack,
    .ping = on_ping,
    .heartbeat = on_heartbeat,
    .dropped = on_dropped,
    .session_end = on_session_end,
    .will_dropped = on_will_dropped,
    .error = on_error,
    .closed = on_closed,
};

PIGEON_PLUGIN("org.example.event-logger", "1.0", "logs what happens", "MIT", PIGEON_F_OPTIONAL,
              (PIGEON_PROVIDES(PIGEON_IF_EVENTS, &events)), PIGEON_OPTIONS(options),
              .create = create, .destroy = free);
