/* The topics of Aedes and aedes-stats. Its code and its documentation disagree on two names; both
 * are published. */
#include "sys.h"
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

static void publish(struct sys *s, const char *what, pigeon_bytes payload, bool retain)
{
    char topic[SYS_TOPIC_MAX];
    int n = snprintf(topic, sizeof(topic), "%s%s", s->prefix, what);

    if (n > 0 && (size_t)n < sizeof(topic))
        sys_publish(s, topic, payload, retain);
}

__attribute__((format(printf, 3, 4))) static void stat_set(struct sys *s, const char *what,
                                                           const char *format, ...)
{
    char text[SYS_TEXT_MAX];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof(text))
        publish(s, what, pigeon_data(text, (size_t)n), true);
}

void sys_aedes_start(struct sys *s)
{
    publish(s, "birth", pigeon_data(s->host->node_id, strlen(s->host->node_id)), false);
}

void sys_aedes_client(struct sys *s, const char *what, pigeon_str client_id)
{
    publish(s, what, pigeon_data(client_id.ptr, client_id.len), false);
}

/* As Date.toISOString(). */
static void set_time(struct sys *s)
{
    struct timespec now;
    struct tm tm;
    char text[SYS_TEXT_MAX];

    clock_gettime(CLOCK_REALTIME, &now);
    if (!gmtime_r(&now.tv_sec, &tm) || !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm))
        return;
    stat_set(s, "time", "%s.%03ldZ", text, now.tv_nsec / 1000000);
}

void sys_aedes_update(struct sys *s)
{
    static const char *const averages[] = { "cpu/avg/last/1", "cpu/avg/last/5", "cpu/avg/last/15" };
    const struct sys_numbers *n = &s->numbers;
    const pigeon_info *info = &n->info;

    stat_set(s, "uptime", "%" PRId64, (info->uptime_ms + 500) / 1000);
    set_time(s);
    stat_set(s, "clients/total", "%" PRIu64, info->clients_connected);
    stat_set(s, "clients/maximum", "%" PRIu64, info->clients_maximum);
    stat_set(s, "messages/publish/sent", "%" PRIu64, info->messages_received);
    stat_set(s, "memory/heap/current", "%" PRIu64, n->heap);
    stat_set(s, "memory/heap/maximum", "%" PRIu64, n->heap_maximum);
    stat_set(s, "cpu/usage", "%" PRIu32, n->cpu_percent);
    for (uint32_t i = 0; i < n->n_load_average && i < 3; i++)
        stat_set(s, averages[i], "%.2f", n->load_average[i]);
}

/* ---- JSON ---- */

struct json {
    char *text;
    size_t len, room;
    bool failed; /* no memory */
};

static void json_add(struct json *j, const char *text, size_t len)
{
    if (j->failed)
        return;
    if (len > j->room - j->len) {
        size_t room = (j->len + len) * 2 + 256;
        char *more = realloc(j->text, room);

        if (!more) {
            j->failed = true;
            return;
        }
        j->text = more;
        j->room = room;
    }
    memcpy(j->text + j->len, text, len);
    j->len += len;
}

static void json_z(struct json *j, const char *z)
{
    json_add(j, z, strlen(z));
}

/* One character inside of quotes, as JSON.stringify() writes it. */
static void json_char(struct json *j, unsigned char c)
{
    static const char shorts[] = "\b\f\n\r\t\"\\";
    static const char letters[] = "bfnrt\"\\";
    const char *found = c ? strchr(shorts, c) : NULL;
    char escape[8];

    if (found) {
        escape[0] = '\\';
        escape[1] = letters[found - shorts];
        json_add(j, escape, 2);
    } else if (c < 0x20) {
        snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)c);
        json_add(j, escape, 6);
    } else {
        json_add(j, (const char *)&c, 1);
    }
}

static void json_quoted(struct json *j, pigeon_str s)
{
    for (uint32_t i = 0; i < s.len; i++)
        json_char(j, (unsigned char)s.ptr[i]);
}

static void json_begin(struct json *j, pigeon_str client_id)
{
    *j = (struct json){ 0 };
    json_z(j, "{\"clientId\":\"");
    json_quoted(j, client_id);
    json_z(j, "\",\"subs\":[");
}

static void json_publish(struct json *j, struct sys *s, const char *name, const char *other_name)
{
    json_z(j, "]}");
    if (!j->failed && j->len <= UINT32_MAX) {
        publish(s, name, pigeon_data(j->text, j->len), false);
        publish(s, other_name, pigeon_data(j->text, j->len), false);
    }
    free(j->text);
}

static void json_sub(struct json *j, const pigeon_sub *sub)
{
    uint32_t qos = sub->granted > 2 ? 128 : sub->granted;
    char tail[32];

    json_z(j, "{\"topic\":\"");
    if (sub->share.len) {
        json_z(j, "$share/");
        json_quoted(j, sub->share);
        json_z(j, "/");
    }
    json_quoted(j, sub->filter);
    snprintf(tail, sizeof(tail), "\",\"qos\":%" PRIu32 "}", qos);
    json_z(j, tail);
}

void sys_aedes_subscribed(struct sys *s, pigeon_str client_id, const pigeon_sub *subs, uint32_t n,
                          uint32_t stride)
{
    const char *at = (const char *)subs;
    struct json j;

    json_begin(&j, client_id);
    for (uint32_t i = 0; i < n; i++, at += stride) {
        if (i)
            json_z(&j, ",");
        json_sub(&j, (const pigeon_sub *)(const void *)at);
    }
    json_publish(&j, s, "new/subscribes", "new/subscribers");
}

void sys_aedes_unsubscribed(struct sys *s, pigeon_str client_id, const pigeon_str *filters,
                            uint32_t n)
{
    struct json j;

    json_begin(&j, client_id);
    for (uint32_t i = 0; i < n; i++) {
        json_z(&j, i ? ",\"" : "\"");
        json_quoted(&j, filters[i]);
        json_z(&j, "\"");
    }
    json_publish(&j, s, "new/unsubscribes", "new/unsubscribers");
}
