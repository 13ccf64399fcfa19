/* The topics of Mosquitto 2.0, and two it had before: messages/inflight and clients/expired. */
#include "sys.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define BROKER   "$SYS/broker/"
#define MINUTE_S 60.0

/* ---- numbers ---- */

static uint64_t clients_total(const struct sys *s)
{
    return s->numbers.info.clients_connected + s->numbers.info.clients_disconnected;
}

static uint64_t clients_connected(const struct sys *s)
{
    return s->numbers.info.clients_connected;
}

static uint64_t clients_disconnected(const struct sys *s)
{
    return s->numbers.info.clients_disconnected;
}

static uint64_t clients_maximum(const struct sys *s)
{
    return s->numbers.info.clients_maximum;
}

static uint64_t clients_expired(const struct sys *s)
{
    return s->numbers.info.clients_expired;
}

static uint64_t messages_received(const struct sys *s)
{
    return s->numbers.info.packets_received;
}

static uint64_t messages_sent(const struct sys *s)
{
    return s->numbers.info.packets_sent;
}

static uint64_t messages_inflight(const struct sys *s)
{
    return s->numbers.info.messages_inflight;
}

static uint64_t messages_stored(const struct sys *s)
{
    return s->numbers.info.retained_messages + s->numbers.info.queued_messages;
}

static uint64_t bytes_stored(const struct sys *s)
{
    return s->numbers.info.retained_bytes + s->numbers.info.queued_bytes;
}

static uint64_t subscriptions(const struct sys *s)
{
    return s->numbers.info.subscriptions;
}

static uint64_t subscriptions_shared(const struct sys *s)
{
    return s->numbers.info.subscriptions_shared;
}

static uint64_t retained_messages(const struct sys *s)
{
    return s->numbers.info.retained_messages;
}

static uint64_t heap_current(const struct sys *s)
{
    return s->numbers.heap;
}

static uint64_t heap_maximum(const struct sys *s)
{
    return s->numbers.heap_maximum;
}

static uint64_t publish_dropped(const struct sys *s)
{
    return s->numbers.info.messages_dropped;
}

static uint64_t publish_received(const struct sys *s)
{
    return s->numbers.info.messages_received;
}

static uint64_t publish_sent(const struct sys *s)
{
    return s->numbers.info.messages_sent;
}

static uint64_t publish_bytes_received(const struct sys *s)
{
    return s->numbers.info.publish_bytes_received;
}

static uint64_t publish_bytes_sent(const struct sys *s)
{
    return s->numbers.info.publish_bytes_sent;
}

static uint64_t bytes_received(const struct sys *s)
{
    return s->numbers.info.bytes_received;
}

static uint64_t bytes_sent(const struct sys *s)
{
    return s->numbers.info.bytes_sent;
}

static uint64_t sockets(const struct sys *s)
{
    return s->numbers.info.sockets_accepted;
}

static uint64_t connections(const struct sys *s)
{
    return s->n_connects + s->numbers.info.connects_refused;
}

struct row {
    const char *topic;
    uint64_t (*get)(const struct sys *s);
};

static const struct row gauges[] = {
    { "clients/total", clients_total },
    { "clients/connected", clients_connected },
    { "clients/active", clients_connected },
    { "clients/disconnected", clients_disconnected },
    { "clients/inactive", clients_disconnected },
    { "clients/maximum", clients_maximum },
    { "clients/expired", clients_expired },
    { "messages/received", messages_received },
    { "messages/sent", messages_sent },
    { "messages/inflight", messages_inflight },
    { "messages/stored", messages_stored },
    { "store/messages/count", messages_stored },
    { "store/messages/bytes", bytes_stored },
    { "subscriptions/count", subscriptions },
    { "shared_subscriptions/count", subscriptions_shared },
    { "retained messages/count", retained_messages },
    { "heap/current", heap_current },
    { "heap/maximum", heap_maximum },
    { "publish/messages/dropped", publish_dropped },
    { "publish/messages/received", publish_received },
    { "publish/messages/sent", publish_sent },
    { "publish/bytes/received", publish_bytes_received },
    { "publish/bytes/sent", publish_bytes_sent },
    { "bytes/received", bytes_received },
    { "bytes/sent", bytes_sent },
};

/* Per minute, as moving averages. */
static const struct row loads[] = {
    { "load/messages/received", messages_received },
    { "load/messages/sent", messages_sent },
    { "load/publish/dropped", publish_dropped },
    { "load/publish/received", publish_received },
    { "load/publish/sent", publish_sent },
    { "load/bytes/received", bytes_received },
    { "load/bytes/sent", bytes_sent },
    { "load/sockets", sockets },
    { "load/connections", connections },
};

static const struct {
    const char *name;
    double seconds;
} spans[] = { { "1min", MINUTE_S }, { "5min", 5 * MINUTE_S }, { "15min", 15 * MINUTE_S } };

#define N_GAUGES PIGEON_COUNT(gauges)
#define N_LOADS  PIGEON_COUNT(loads)
#define N_SPANS  PIGEON_COUNT(spans)

struct load {
    uint64_t last; /* of the counter */
    double average[N_SPANS];
    struct sys_leaf leaf[N_SPANS];
};

struct sys_mosquitto {
    struct sys_leaf version, uptime;
    struct sys_leaf gauge[N_GAUGES];
    struct load load[N_LOADS];
    int64_t last_ns; /* of the last update, 0: there was none */
};

/* ---- life ---- */

static int leaf_name(struct sys_leaf *leaf, const char *topic, const char *last_level)
{
    size_t size = sizeof(BROKER "/") + strlen(topic) + strlen(last_level);

    leaf->topic = malloc(size);
    if (!leaf->topic)
        return PIGEON_E_NOMEM;
    snprintf(leaf->topic, size, "%s%s%s%s", BROKER, topic, last_level[0] ? "/" : "", last_level);
    return PIGEON_OK;
}

int32_t sys_mosquitto_new(struct sys_mosquitto **r_tree)
{
    struct sys_mosquitto *t = calloc(1, sizeof(*t));
    int failed;

    if (!t)
        return PIGEON_E_NOMEM;
    failed = leaf_name(&t->version, "version", "") || leaf_name(&t->uptime, "uptime", "");
    for (uint32_t i = 0; i < N_GAUGES; i++)
        failed |= leaf_name(&t->gauge[i], gauges[i].topic, "");
    for (uint32_t i = 0; i < N_LOADS; i++)
        for (uint32_t k = 0; k < N_SPANS; k++)
            failed |= leaf_name(&t->load[i].leaf[k], loads[i].topic, spans[k].name);
    if (failed) {
        sys_mosquitto_free(&t);
        return PIGEON_E_NOMEM;
    }
    *r_tree = t;
    return PIGEON_OK;
}

void sys_mosquitto_free(struct sys_mosquitto **tree)
{
    struct sys_mosquitto *t = *tree;

    if (!t)
        return;
    free(t->version.topic);
    free(t->uptime.topic);
    for (uint32_t i = 0; i < N_GAUGES; i++)
        free(t->gauge[i].topic);
    for (uint32_t i = 0; i < N_LOADS; i++)
        for (uint32_t k = 0; k < N_SPANS; k++)
            free(t->load[i].leaf[k].topic);
    free(t);
    *tree = NULL;
}

/* ---- updates ---- */

/* `seconds` since the last update, 0: this is the first. */
static void update_load(struct sys *s, struct load *load, const struct row *row, double seconds)
{
    uint64_t value = row->get(s);
    char text[SYS_TEXT_MAX];

    for (uint32_t k = 0; k < N_SPANS; k++) {
        if (seconds > 0) {
            double per_minute = (double)(value - load->last) * MINUTE_S / seconds;
            double weight = exp(-seconds / spans[k].seconds);

            load->average[k] = per_minute + weight * (load->average[k] - per_minute);
        }
        snprintf(text, sizeof(text), "%.2f", load->average[k]);
        sys_leaf_set(s, &load->leaf[k], text);
    }
    load->last = value;
}

void sys_mosquitto_update(struct sys *s)
{
    struct sys_mosquitto *t = s->tree;
    const struct sys_numbers *n = &s->numbers;
    double seconds = t->last_ns ? (double)(n->now_ns - t->last_ns) / 1e9 : 0;
    char text[SYS_TEXT_MAX];

    snprintf(text, sizeof(text), "pigeon version %s", s->host->version);
    sys_leaf_set(s, &t->version, text);
    snprintf(text, sizeof(text), "%" PRId64 " seconds", n->info.uptime_ms / 1000);
    sys_leaf_set(s, &t->uptime, text);
    for (uint32_t i = 0; i < N_GAUGES; i++) {
        snprintf(text, sizeof(text), "%" PRIu64, gauges[i].get(s));
        sys_leaf_set(s, &t->gauge[i], text);
    }
    if (t->last_ns && seconds <= 0)
        return;
    for (uint32_t i = 0; i < N_LOADS; i++)
        update_load(s, &t->load[i], &loads[i], seconds);
    t->last_ns = n->now_ns;
}
