#include "bench/options.h"
#include "bench/payload.h"
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* When --window is not given: deliveries under way and their bytes, and messages of a publisher. */
#define OUTSTANDING       20000u
#define OUTSTANDING_BYTES (4u << 20)
#define WINDOW_MAX        1000u
#define WINDOW_MAX_FAN_IN 20u /* so many publishers write little at a time */
/* Before MQTT 5 a broker cannot say how many unfinished QoS 2 publishes it takes; Mosquitto's
 * default is to close the connection above 20. */
#define WINDOW_MAX_QOS2 20u

enum key {
    KEY_HOST = 256,
    KEY_PORT,
    KEY_USER,
    KEY_PASSWORD,
    KEY_MQTT,
    KEY_QOS,
    KEY_PAYLOAD,
    KEY_PAIRS,
    KEY_PUBLISHERS,
    KEY_SUBSCRIBERS,
    KEY_CONNECTIONS,
    KEY_FILTERS,
    KEY_TOPICS,
    KEY_COUNT,
    KEY_DURATION,
    KEY_WARMUP,
    KEY_HOLD,
    KEY_RATE,
    KEY_NO_SPIN,
    KEY_WINDOW,
    KEY_BATCH,
    KEY_TIMEOUT,
    KEY_DURABLE,
    KEY_BROKER_PID,
    KEY_JSON,
    KEY_HELP,
    KEY_ABOUT,
};

#define IN(shape)  (1u << (shape))
#define IN_TRAFFIC (IN(SHAPE_PAIR) | IN(SHAPE_FAN_IN) | IN(SHAPE_FAN_OUT) | IN(SHAPE_SUBSCRIPTIONS))
#define IN_ALL     ((1u << N_SHAPES) - 1)
#define IN_PAIRS   (IN(SHAPE_PAIR) | IN(SHAPE_PING_PONG))
#define IN_MESSAGE (IN_ALL & ~(IN(SHAPE_IDLE) | IN(SHAPE_CHURN)))

/* One row per option: parser and help come from here. `arg` NULL: a switch. */
static const struct row {
    int key;
    char letter;
    const char *name, *arg, *help;
    uint32_t shapes; /* where it means something */
} rows[] = {
    { KEY_HOST, 'H', "host", "NAME", "broker's host (127.0.0.1)", IN_ALL },
    { KEY_PORT, 'p', "port", "N", "broker's port (1883)", IN_ALL },
    { KEY_USER, 'u', "user", "NAME", "user name of every client", IN_ALL },
    { KEY_PASSWORD, 'P', "password", "TEXT", "password of every client", IN_ALL },
    { KEY_MQTT, 'm', "mqtt", "VERSION", "3.1, 3.1.1 or 5 (3.1.1)", IN_ALL },
    { KEY_QOS, 'q', "qos", "N", "0, 1 or 2 of publishers and subscribers (0; offline: 1)",
      IN_ALL & ~IN(SHAPE_CHURN) },
    { KEY_PAYLOAD, 'l', "payload", "BYTES", "payload of a message, at least 16 (64)", IN_MESSAGE },
    { KEY_PAIRS, 0, "pairs", "N", "pairs of one publisher and one subscriber (50)", IN_PAIRS },
    { KEY_PUBLISHERS, 0, "publishers", "N", "fan-in: 100, fan-out: 1",
      IN(SHAPE_FAN_IN) | IN(SHAPE_FAN_OUT) },
    { KEY_SUBSCRIBERS, 0, "subscribers", "N",
      "fan-in: 1, fan-out: 500, subscriptions: 10, retained: 1 after the other, offline: 1",
      IN(SHAPE_FAN_IN) | IN(SHAPE_FAN_OUT) | IN(SHAPE_SUBSCRIPTIONS) | IN(SHAPE_RETAINED) |
          IN(SHAPE_OFFLINE) },
    { KEY_CONNECTIONS, 0, "connections", "N", "idle: 1000, churn: 50 at a time",
      IN(SHAPE_IDLE) | IN(SHAPE_CHURN) },
    { KEY_FILTERS, 0, "filters", "N", "subscriptions: wildcard filters of all subscribers (100000)",
      IN(SHAPE_SUBSCRIPTIONS) },
    { KEY_TOPICS, 0, "topics", "N", "retained: topics (10000)", IN(SHAPE_RETAINED) },
    { KEY_COUNT, 'n', "count", "N",
      "messages of all publishers (offline: 10000), or cycles of churn, instead of a duration",
      IN_TRAFFIC | IN(SHAPE_PING_PONG) | IN(SHAPE_CHURN) | IN(SHAPE_OFFLINE) },
    { KEY_DURATION, 'd', "duration", "S", "seconds that are measured (5)",
      IN_TRAFFIC | IN(SHAPE_PING_PONG) | IN(SHAPE_CHURN) },
    { KEY_WARMUP, 0, "warmup", "S", "seconds of the same before (0.5; with --count: 0)",
      IN_TRAFFIC | IN(SHAPE_PING_PONG) },
    { KEY_HOLD, 0, "hold", "S", "idle: seconds to watch the connections (1)", IN(SHAPE_IDLE) },
    { KEY_RATE, 'r', "rate", "N",
      "messages per second of all publishers; latency is then counted from the moment at which\n"
      "a message was due, so that a stalled broker does not hide its stall",
      IN_TRAFFIC },
    { KEY_NO_SPIN, 0, "no-spin", NULL,
      "with --rate: sleep between messages, at most 1 ms late, instead of polling", IN_TRAFFIC },
    { KEY_WINDOW, 'w', "window", "N",
      "messages of one publisher that are published but not received by everybody (20000\n"
      "deliveries or 4 MiB in all, at most 1000 per publisher; fan-in, and QoS 2 before\n"
      "MQTT 5: at most 20)",
      IN_TRAFFIC | IN(SHAPE_RETAINED) | IN(SHAPE_OFFLINE) },
    { KEY_BATCH, 'b', "batch", "N", "messages that are written together, at least (window / 2)",
      IN_TRAFFIC },
    { KEY_TIMEOUT, 0, "timeout", "S",
      "seconds without any progress after which a message is lost,\n"
      "or the run has failed (5)",
      IN_ALL },
    { KEY_DURABLE, 0, "durable", NULL, "subscribers have sessions that outlive their connection",
      IN_TRAFFIC | IN(SHAPE_PING_PONG) },
    { KEY_BROKER_PID, 0, "broker-pid", "PID", "count the CPU time and memory of this process",
      IN_ALL },
    { KEY_JSON, 'j', "json", NULL, "print one JSON object", IN_ALL },
    { KEY_HELP, 'h', "help", NULL, "this text", IN_ALL },
    { KEY_ABOUT, 'V', "version", NULL, "print the version", IN_ALL },
};
#define N_ROWS (sizeof(rows) / sizeof(rows[0]))

static const struct shape_row {
    const char *name, *help;
    uint32_t publishers, subscribers;
} shapes[N_SHAPES] = {
    [SHAPE_PAIR] = { "pair", "pairs of a publisher and a subscriber, each with a topic", 50, 0 },
    [SHAPE_PING_PONG] = { "ping-pong", "as pair, one message in flight in each pair", 50, 0 },
    [SHAPE_FAN_IN] = { "fan-in", "many publishers, all topics to every subscriber", 100, 1 },
    [SHAPE_FAN_OUT] = { "fan-out", "one topic, many subscribers", 1, 500 },
    [SHAPE_SUBSCRIPTIONS] = { "subscriptions",
                              "many wildcard filters on few connections, then "
                              "publishes that each match one",
                              0, 10 },
    [SHAPE_IDLE] = { "idle", "connections with one subscription each that do nothing", 0, 0 },
    [SHAPE_RETAINED] = { "retained", "retained messages, then new subscribers to all of them", 1,
                         1 },
    [SHAPE_CHURN] = { "churn", "connect, disconnect, and again", 0, 0 },
    [SHAPE_OFFLINE] = { "offline", "publish to absent durable subscribers, which then return", 1,
                        1 },
};

const char *shape_name(enum shape shape)
{
    return shapes[shape].name;
}

const char *version_name(enum mqtt_version version)
{
    return version == MQTT_5 ? "5" : version == MQTT_31 ? "3.1" : "3.1.1";
}

/* Text after the first line of a help is indented as the first. */
static void print_row(FILE *out, const struct row *row)
{
    char left[40];
    snprintf(left, sizeof(left), "%c%c%s --%s %s", row->letter ? '-' : ' ',
             row->letter ? row->letter : ' ', row->letter ? "," : " ", row->name,
             row->arg ? row->arg : "");
    fprintf(out, "  %-24s ", left);
    for (const char *c = row->help; *c; c++) {
        fputc(*c, out);
        if (*c == '\n')
            fprintf(out, "  %-24s ", "");
    }
    fputc('\n', out);
}

void options_print_help(FILE *out)
{
    fputs("Usage: pigeon-bench [OPTION]... SHAPE\n"
          "Loads an MQTT broker and says what it costs, what is lost and how long it takes.\n\n"
          "Shapes:\n",
          out);
    for (int i = 0; i < N_SHAPES; i++)
        fprintf(out, "  %-24s %s\n", shapes[i].name, shapes[i].help);
    fputs("\nOptions (defaults in parentheses):\n", out);
    for (size_t i = 0; i < N_ROWS; i++)
        print_row(out, &rows[i]);
    fputs("\nNo more messages than the window allows are under way, so no broker has to drop any.\n"
          "Exit status: 0 done, 1 failed (no broker, refused, no answer), 2 bad usage,\n"
          "3 done, but messages were lost, refused, duplicated or out of order.\n",
          out);
}

static int complain(FILE *err, const char *what, const char *about)
{
    fprintf(err, "pigeon-bench: %s%s%s%s\nTry 'pigeon-bench --help'.\n", what, *about ? " '" : "",
            about, *about ? "'" : "");
    return -EINVAL;
}

static const struct row *row_of(int key)
{
    for (size_t i = 0; i < N_ROWS; i++)
        if (rows[i].key == key || (rows[i].letter && rows[i].letter == key))
            return &rows[i];
    return NULL;
}

static int read_whole(FILE *err, const struct row *row, uint64_t min, uint64_t max,
                      uint64_t *r_value)
{
    size_t len = strspn(optarg, "0123456789");
    uint64_t value = len && len < 20 && !optarg[len] ? strtoull(optarg, NULL, 10) : UINT64_MAX;
    if (value >= min && value <= max) {
        *r_value = value;
        return 0;
    }
    fprintf(err, "pigeon-bench: --%s needs a number from %llu to %llu, not '%s'\n", row->name,
            (unsigned long long)min, (unsigned long long)max, optarg);
    return -EINVAL;
}

static int read_u32(FILE *err, const struct row *row, uint32_t min, uint32_t max, uint32_t *r_value)
{
    uint64_t value;
    int r = read_whole(err, row, min, max, &value);
    if (r == 0)
        *r_value = (uint32_t)value;
    return r;
}

static int read_real(FILE *err, const struct row *row, double max, double *r_value)
{
    char *end;
    double value = strtod(optarg, &end);
    if (end != optarg && !*end && isfinite(value) && value >= 0 && value <= max) {
        *r_value = value;
        return 0;
    }
    fprintf(err, "pigeon-bench: --%s needs a number from 0 to %.0f, not '%s'\n", row->name, max,
            optarg);
    return -EINVAL;
}

static int read_version(FILE *err, enum mqtt_version *r_version)
{
    for (int v = MQTT_31; v <= MQTT_5; v++) {
        if (strcmp(optarg, version_name((enum mqtt_version)v)) == 0) {
            *r_version = (enum mqtt_version)v;
            return 0;
        }
    }
    return complain(err, "--mqtt needs 3.1, 3.1.1 or 5, not", optarg);
}

static int take(FILE *err, const struct row *row, struct options *o)
{
    uint64_t value = 0;
    int r = 0;
    switch (row->key) {
    case KEY_HOST: o->host = optarg; return 0;
    case KEY_USER: o->user = optarg; return 0;
    case KEY_PASSWORD: o->password = optarg; return 0;
    case KEY_MQTT: return read_version(err, &o->version);
    case KEY_PAYLOAD: return read_u32(err, row, PAYLOAD_MIN, 256000000, &o->payload);
    case KEY_PAIRS:
    case KEY_PUBLISHERS: return read_u32(err, row, 1, 1000000, &o->publishers);
    case KEY_SUBSCRIBERS: return read_u32(err, row, 1, 1000000, &o->subscribers);
    case KEY_CONNECTIONS: return read_u32(err, row, 1, 4000000, &o->connections);
    case KEY_FILTERS: return read_u32(err, row, 1, 90000000, &o->filters);
    case KEY_TOPICS: return read_u32(err, row, 1, 90000000, &o->topics);
    case KEY_COUNT: return read_whole(err, row, 1, 4000000000, &o->count);
    case KEY_DURATION: return read_real(err, row, 1e6, &o->duration_s);
    case KEY_WARMUP: return read_real(err, row, 1e6, &o->warmup_s);
    case KEY_HOLD: return read_real(err, row, 1e6, &o->hold_s);
    case KEY_RATE: return read_real(err, row, 1e9, &o->rate);
    case KEY_TIMEOUT: return read_real(err, row, 1e6, &o->timeout_s);
    case KEY_WINDOW: return read_u32(err, row, 1, 1000000, &o->window);
    case KEY_BATCH: return read_u32(err, row, 1, 1000000, &o->batch);
    case KEY_NO_SPIN: o->no_spin = true; return 0;
    case KEY_DURABLE: o->durable = true; return 0;
    case KEY_JSON: o->json = true; return 0;
    case KEY_HELP: o->help = true; return 0;
    case KEY_ABOUT: o->about = true; return 0;
    case KEY_PORT:
        r = read_whole(err, row, 1, 65535, &value);
        o->port = (uint16_t)value;
        return r;
    case KEY_QOS:
        r = read_whole(err, row, 0, 2, &value);
        o->qos = (uint8_t)value;
        return r;
    default:
        r = read_whole(err, row, 1, INT32_MAX, &value);
        o->broker_pid = (pid_t)value;
        return r;
    }
}

static int read_shape(FILE *err, int n, char *const *words, enum shape *r_shape)
{
    if (n == 0)
        return complain(err, "a shape is missing", "");
    if (n > 1)
        return complain(err, "one shape at a time, not also", words[1]);
    for (int i = 0; i < N_SHAPES; i++) {
        if (strcmp(words[0], shapes[i].name) == 0) {
            *r_shape = (enum shape)i;
            return 0;
        }
    }
    return complain(err, "unknown shape", words[0]);
}

/* Deliveries that one message leads to. */
static uint32_t receivers_of(const struct options *o)
{
    return o->shape == SHAPE_FAN_IN || o->shape == SHAPE_FAN_OUT ? o->subscribers : 1;
}

static uint32_t default_window(const struct options *o)
{
    uint64_t n = OUTSTANDING_BYTES / o->payload;
    n = (n < OUTSTANDING ? n : OUTSTANDING) / ((uint64_t)o->publishers * receivers_of(o));
    uint32_t max = o->qos == 2 && o->version != MQTT_5 ? WINDOW_MAX_QOS2
                   : o->shape == SHAPE_FAN_IN          ? WINDOW_MAX_FAN_IN
                                                       : WINDOW_MAX;
    return n > max ? max : n ? (uint32_t)n : 1;
}

static void set_window(struct options *o)
{
    if (o->shape == SHAPE_PING_PONG)
        o->window = 1;
    if (o->window == 0)
        o->window = default_window(o);
    if (o->batch == 0)
        o->batch = o->rate > 0 ? 1 : (o->window + 1) / 2;
    if (o->batch > o->window)
        o->batch = o->window;
}

/* What was not given, by shape. */
static void set_defaults(struct options *o, bool has_qos)
{
    const struct shape_row *s = &shapes[o->shape];
    if (o->publishers == 0)
        o->publishers = s->publishers;
    if (o->subscribers == 0)
        o->subscribers = s->subscribers;
    if (o->filters == 0)
        o->filters = 100000;
    if (o->shape == SHAPE_SUBSCRIPTIONS) {
        o->subscribers = o->subscribers < o->filters ? o->subscribers : o->filters;
        o->publishers = o->subscribers;
    }
    if (o->shape == SHAPE_PAIR || o->shape == SHAPE_PING_PONG)
        o->subscribers = o->publishers;
    if (o->publishers == 0)
        o->publishers = 1;
    if (o->connections == 0)
        o->connections = o->shape == SHAPE_IDLE ? 1000 : 50;
    if (o->topics == 0)
        o->topics = 10000;
    if (o->shape == SHAPE_OFFLINE && o->count == 0)
        o->count = 10000;
    if (o->shape == SHAPE_OFFLINE && !has_qos)
        o->qos = 1;
    if (o->warmup_s < 0)
        o->warmup_s = o->count ? 0 : 0.5;
    set_window(o);
}

static int check(FILE *err, const struct options *o, uint64_t given)
{
    for (size_t i = 0; i < N_ROWS; i++) {
        if ((given >> i & 1) && !(rows[i].shapes & IN(o->shape))) {
            fprintf(err, "pigeon-bench: --%s means nothing to %s\nTry 'pigeon-bench --help'.\n",
                    rows[i].name, shapes[o->shape].name);
            return -EINVAL;
        }
    }
    if (o->shape == SHAPE_OFFLINE && o->qos == 0)
        return complain(err, "offline needs --qos 1 or 2: brokers need not store QoS 0", "");
    if (o->password && !o->user && o->version != MQTT_5)
        return complain(err, "before MQTT 5 a --password needs a --user", "");
    return 0;
}

static void make_getopt(struct option *r_long, char *r_short)
{
    char *at = r_short;
    *at++ = ':';
    for (size_t i = 0; i < N_ROWS; i++) {
        int has_arg = rows[i].arg ? required_argument : no_argument;
        r_long[i] = (struct option){ rows[i].name, has_arg, NULL, rows[i].key };
        if (rows[i].letter) {
            *at++ = rows[i].letter;
            if (rows[i].arg)
                *at++ = ':';
        }
    }
    r_long[N_ROWS] = (struct option){ 0 };
    *at = '\0';
}

int options_parse(int argc, char *const *argv, FILE *err, struct options *r_options)
{
    struct options o = { .host = "127.0.0.1",
                         .port = 1883,
                         .version = MQTT_311,
                         .payload = 64,
                         .duration_s = 5,
                         .warmup_s = -1,
                         .hold_s = 1,
                         .timeout_s = 5 };
    struct option long_options[N_ROWS + 1];
    char short_options[2 * N_ROWS + 2];
    uint64_t given = 0;
    bool has_qos = false;
    int key;

    make_getopt(long_options, short_options);
    opterr = 0;
    while ((key = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
        if (key == ':')
            return complain(err, "a value is missing after", argv[optind - 1]);
        const struct row *row = row_of(key);
        if (!row)
            return complain(err, "unknown option", argv[optind - 1]);
        int r = take(err, row, &o);
        if (r < 0)
            return r;
        given |= UINT64_C(1) << (row - rows);
        has_qos = has_qos || row->key == KEY_QOS;
    }
    if (!o.help && !o.about) {
        int r = read_shape(err, argc - optind, argv + optind, &o.shape);
        if (r < 0)
            return r;
        set_defaults(&o, has_qos);
        r = check(err, &o, given);
        if (r < 0)
            return r;
    }
    *r_options = o;
    return 0;
}
