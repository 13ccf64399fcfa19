#include "sys.h"
#include <inttypes.h>
#include <stdlib.h>

void sys_publish(struct sys *s, const char *topic, pigeon_bytes payload, bool retain)
{
    pigeon_msg msg = {
        .size = sizeof(msg), .retain = retain, .topic = pigeon_z(topic), .payload = payload
    };
    int32_t r = s->host->publish(s->host->inst, &msg, NULL, NULL);

    if (r == PIGEON_OK || s->has_warned)
        return;
    s->has_warned = true;
    pigeon_logf(s->host, PIGEON_LOG_WARN, "cannot publish on %s: error %" PRId32, topic, r);
}

void sys_leaf_set(struct sys *s, struct sys_leaf *leaf, const char *text)
{
    size_t len = strlen(text);

    if (len >= sizeof(leaf->last))
        len = sizeof(leaf->last) - 1;
    if (leaf->last[0] && strlen(leaf->last) == len && memcmp(leaf->last, text, len) == 0)
        return;
    memcpy(leaf->last, text, len);
    leaf->last[len] = '\0';
    sys_publish(s, leaf->topic, pigeon_data(leaf->last, len), true);
}

static void on_interval(void *self, void *arg, pigeon_watch *watch, uint32_t events)
{
    struct sys *s = self;

    (void)arg;
    (void)watch;
    (void)events;
    sys_numbers_read(s);
    if (s->aedes)
        sys_aedes_update(s);
    if (s->mosquitto)
        sys_mosquitto_update(s);
    if (s->plugins)
        sys_plugins_update(s);
}

/* The first turn of the loop: from now on there are numbers. */
static void on_start(void *self, void *arg)
{
    struct sys *s = self;

    if (s->aedes)
        sys_aedes_start(s);
    on_interval(s, arg, NULL, 0);
}

/* ---- facts ---- */

static void on_client(void *self, const pigeon_client *client)
{
    struct sys *s = self;

    s->n_connects++;
    if (s->aedes)
        sys_aedes_client(s, "new/clients", client->id);
}

static void on_client_disconnect(void *self, const pigeon_client *client, uint32_t reason,
                                 pigeon_str text)
{
    struct sys *s = self;

    (void)reason;
    (void)text;
    if (s->aedes)
        sys_aedes_client(s, "disconnect/clients", client->id);
}

static void on_subscribed(void *self, const pigeon_client *client, const pigeon_sub *subs,
                          uint32_t n, uint32_t stride)
{
    struct sys *s = self;

    if (s->aedes)
        sys_aedes_subscribed(s, client->id, subs, n, stride);
}

static void on_unsubscribed(void *self, const pigeon_client *client, const pigeon_str *filters,
                            uint32_t n)
{
    struct sys *s = self;

    if (s->aedes && client)
        sys_aedes_unsubscribed(s, client->id, filters, n);
}

static void on_heartbeat(void *self, pigeon_str node_id)
{
    struct sys *s = self;

    if (s->aedes)
        sys_aedes_client(s, "heartbeat", node_id);
}

/* ---- life ---- */

static const pigeon_option options[] = {
    { .key = "aedes",
      .type = PIGEON_T_BOOL,
      .preset = "true",
      .doc = "$SYS/<id>/...: heartbeat, new/clients, and the topics of aedes-stats" },
    { .key = "mosquitto",
      .type = PIGEON_T_BOOL,
      .preset = "true",
      .doc = "$SYS/broker/...: the topics of Mosquitto" },
    { .key = "plugins",
      .type = PIGEON_T_BOOL,
      .preset = "true",
      .doc = "$SYS/broker/plugins/<name>/<metric>: the numbers of plugins" },
    { .key = "interval",
      .type = PIGEON_T_TIME,
      .preset = "10s",
      .min = 100,
      .max = 86400000,
      .doc = "time between two updates of the numbers" },
};

static void destroy(void *self)
{
    struct sys *s = self;

    sys_plugins_free(&s->plugin_tree);
    sys_mosquitto_free(&s->tree);
    free(s->prefix);
    free(s);
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **self)
{
    int64_t interval_ns = host->conf_int(conf, "interval") * 1000000;
    struct sys *s = calloc(1, sizeof(*s));
    size_t size = sizeof("$SYS//") + strlen(host->node_id);
    int32_t r = PIGEON_E_NOMEM;

    if (!s)
        return PIGEON_E_NOMEM;
    s->host = host;
    s->aedes = host->conf_int(conf, "aedes") != 0;
    s->mosquitto = host->conf_int(conf, "mosquitto") != 0;
    s->plugins = host->conf_int(conf, "plugins") != 0;
    s->prefix = malloc(size);
    if (!s->prefix)
        goto out;
    snprintf(s->prefix, size, "$SYS/%s/", host->node_id);
    sys_cpu_read(&s->cpu_at_start);
    if (s->mosquitto && (r = sys_mosquitto_new(&s->tree)) != PIGEON_OK)
        goto out;
    if (s->plugins && (r = sys_plugins_new(host, &s->plugin_tree)) != PIGEON_OK)
        goto out;
    r = host->post(host->inst, on_start, NULL);
    if (r != PIGEON_OK)
        goto out;
    s->timer = host->timer(host->inst, interval_ns, interval_ns, on_interval, NULL);
    r = s->timer ? PIGEON_OK : PIGEON_E_NOMEM;
out:
    if (r == PIGEON_OK)
        *self = s;
    else
        destroy(s);
    return r;
}

static const pigeon_events events = {
    .size = sizeof(events),
    .client = on_client,
    .client_disconnect = on_client_disconnect,
    .subscribed = on_subscribed,
    .unsubscribed = on_unsubscribed,
    .heartbeat = on_heartbeat,
};

PIGEON_PLUGIN("org.pigeon-mqtt.sys", PIGEON_VERSION,
              "the broker's numbers and events as $SYS topics", "MIT",
              PIGEON_F_SINGLE | PIGEON_F_ON_DEMAND | PIGEON_F_OPTIONAL,
              (PIGEON_PROVIDES(PIGEON_IF_EVENTS, &events)), PIGEON_OPTIONS(options),
              .create = create, .destroy = destroy);
