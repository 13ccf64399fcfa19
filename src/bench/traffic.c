#include "bench/publisher.h"
#include "bench/subscriber.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define FILTERS_AT_ONCE 200u /* in one SUBSCRIBE */
#define SUBACKS_OPEN    64u
#define TICK_MS_RATE    1u

/* Publishers and subscribers with a steady stream of messages between them. */
struct traffic {
    struct bench *bench;
    struct publisher *publishers;
    struct subscriber *subscribers;
    struct client **clients; /* of both, subscribers first */
    uint32_t n_publishers, n_subscribers;

    /* The part that runs now, measured or warm-up. */
    uint64_t end_ns;                   /* when the publishers stop; UINT64_MAX: at their limits */
    bool is_ending;                    /* limits are final */
    uint32_t n_idle;                   /* the first n_idle publishers are */
    uint64_t start_ns, n_due, n_total; /* by the clock: message i is due at start + i x step */
    double step_ns;                    /* 0: not by the clock */
};

static bool is_every_topic(const struct options *opt)
{
    return opt->shape == SHAPE_FAN_IN || opt->shape == SHAPE_FAN_OUT;
}

/* Filter number f, and a topic that it alone matches: all have as many digits. */
#define FILTER_FORMAT "%s/s/%08u/+/value"
#define TOPIC_FORMAT  "%s/s/%08u/x/value"
#define FILTER_DIGITS 8
#define DIGITS_BEHIND (sizeof("/s/") - 1) /* the prefix */

static void put_digits(char *at, uint32_t width, uint32_t value)
{
    while (width-- > 0) {
        at[width] = (char)('0' + value % 10);
        value /= 10;
    }
}

/* Any of the filters of this publisher's subscriber: a well mixed function of the number. */
static void pick_filter(struct publisher *p, uint64_t number, char *topic)
{
    const struct bench *b = p->client.bench;
    uint32_t n_each = b->opt->filters / b->opt->subscribers;
    uint64_t x = (number + 1) * UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 31;
    uint32_t f = (uint32_t)(x % n_each) * b->opt->subscribers + p->index;
    put_digits(topic + sizeof(b->prefix) - 1 + DIGITS_BEHIND, FILTER_DIGITS, f);
}

static int make_publishers(struct traffic *t)
{
    struct bench *b = t->bench;
    const struct options *opt = b->opt;
    bool is_many = opt->shape == SHAPE_SUBSCRIPTIONS;
    for (uint32_t i = 0; i < opt->publishers; i++) {
        char topic[TOPIC_MAX];
        if (is_many)
            snprintf(topic, sizeof(topic), TOPIC_FORMAT, b->prefix, 0u);
        else
            snprintf(topic, sizeof(topic), "%s/t/%07u", b->prefix, i);
        struct publisher_conf conf = {
            .topic = topic,
            .retopic = is_many ? pick_filter : NULL,
            .payload = opt->payload,
            .window = opt->window,
            .batch = opt->batch,
            .n_receivers = is_every_topic(opt) ? opt->subscribers : 1,
            .qos = opt->qos,
        };
        t->n_publishers++;
        if (publisher_init(&t->publishers[i], b, i, &conf) < 0)
            return -EIO;
        t->clients[opt->subscribers + i] = &t->publishers[i].client;
    }
    return 0;
}

static void on_message(struct subscriber *s, const struct payload *p)
{
    struct traffic *t = s->ctx;
    publisher_delivered(&t->publishers[p->publisher], p->number);
}

static int make_subscribers(struct traffic *t)
{
    const struct options *opt = t->bench->opt;
    for (uint32_t i = 0; i < opt->subscribers; i++) {
        struct subscriber *s = &t->subscribers[i];
        bool all = is_every_topic(opt);
        t->n_subscribers++;
        if (subscriber_init(s, t->bench, i, all ? 0 : i, all ? opt->publishers : 1,
                            2 * (uint64_t)opt->window) < 0)
            return -EIO;
        s->on_message = on_message;
        s->ctx = t;
        s->client.clean = !opt->durable;
        t->clients[i] = &s->client;
    }
    return 0;
}

static int traffic_init(struct traffic *t, struct bench *b)
{
    const struct options *opt = b->opt;
    *t = (struct traffic){ .bench = b };
    t->publishers = calloc(opt->publishers, sizeof(*t->publishers));
    t->subscribers = calloc(opt->subscribers, sizeof(*t->subscribers));
    t->clients = calloc((size_t)opt->publishers + opt->subscribers, sizeof(struct client *));
    if (!t->publishers || !t->subscribers || !t->clients) {
        bench_fail(b, "out of memory");
        return -EIO;
    }
    int r = make_subscribers(t);
    return r < 0 ? r : make_publishers(t);
}

static void traffic_fini(struct traffic *t)
{
    for (uint32_t i = 0; i < t->n_publishers; i++)
        publisher_fini(&t->publishers[i]);
    for (uint32_t i = 0; i < t->n_subscribers; i++)
        subscriber_fini(&t->subscribers[i]);
    free(t->publishers);
    free(t->subscribers);
    free(t->clients);
}

static bool is_room_to_subscribe(void *ctx)
{
    return ((struct bench *)ctx)->n_subscribing < SUBACKS_OPEN;
}

/* The filters first, first + S, first + 2 S ... of subscriber `first` of S. */
static int subscribe_many(struct traffic *t, struct client *c, uint32_t first)
{
    struct bench *b = t->bench;
    char text[FILTERS_AT_ONCE][TOPIC_MAX];
    struct str filters[FILTERS_AT_ONCE];
    uint32_t n_each = b->opt->filters / t->n_subscribers;
    for (uint32_t k = 0; k < n_each;) {
        uint32_t n = 0;
        for (; n < FILTERS_AT_ONCE && k < n_each; n++, k++) {
            uint32_t f = k * t->n_subscribers + first;
            snprintf(text[n], TOPIC_MAX, FILTER_FORMAT, b->prefix, f);
            filters[n] = str_from(text[n]);
        }
        if (bench_expect(b, "subscribing", is_room_to_subscribe, b) < 0)
            return -EIO;
        client_subscribe(c, filters, n, b->opt->qos);
    }
    return 0;
}

static void subscribe_one(struct traffic *t, struct client *c, uint32_t nth)
{
    struct bench *b = t->bench;
    char text[TOPIC_MAX];
    if (!is_every_topic(b->opt))
        snprintf(text, sizeof(text), "%s/t/%07u", b->prefix, nth);
    else if (b->opt->publishers == 1)
        snprintf(text, sizeof(text), "%s/t/%07u", b->prefix, 0u);
    else
        snprintf(text, sizeof(text), "%s/t/+", b->prefix);
    struct str filter = str_from(text);
    client_subscribe(c, &filter, 1, b->opt->qos);
}

static int subscribe_all(struct traffic *t)
{
    struct bench *b = t->bench;
    bool is_many = b->opt->shape == SHAPE_SUBSCRIPTIONS;
    if (is_many && bench_phase_begin(b, "subscribe", "subscription") < 0)
        return -EIO;
    for (uint32_t i = 0; i < t->n_subscribers; i++) {
        if (!is_many)
            subscribe_one(t, t->clients[i], i);
        else if (subscribe_many(t, t->clients[i], i) < 0)
            return -EIO;
    }
    if (clients_await_subacks(b) < 0)
        return -EIO;
    if (!is_many)
        return 0;
    b->result.phase[b->result.n_phases].shows_memory = true;
    return bench_phase_end(b, b->opt->filters / t->n_subscribers * t->n_subscribers);
}

/* Lets go what is due by now. */
static void on_round(struct bench *b)
{
    struct traffic *t = b->round_ctx;
    double elapsed_ns = (double)(bench_clock_ns() - t->start_ns);
    while (t->n_due < t->n_total && (double)t->n_due * t->step_ns <= elapsed_ns) {
        struct publisher *p = &t->publishers[t->n_due++ % t->n_publishers];
        publisher_allow(p, p->limit + 1);
    }
    t->is_ending = t->n_due == t->n_total;
}

static void begin_by_clock(struct traffic *t, double seconds, uint64_t count)
{
    struct bench *b = t->bench;
    double rate = b->opt->rate;
    t->step_ns = 1e9 / rate;
    t->n_due = 0;
    t->n_total = count ? count : (uint64_t)(rate * seconds) + 1;
    for (uint32_t i = 0; i < t->n_publishers; i++) {
        struct publisher *p = &t->publishers[i];
        p->due_ns = t->start_ns + (uint64_t)(i * t->step_ns);
        p->due_from = p->n_sent;
        p->due_step_ns = t->step_ns * t->n_publishers;
    }
    b->on_round = on_round;
    b->round_ctx = t;
    b->spin = !b->opt->no_spin;
    b->tick_ms = TICK_MS_RATE;
}

static void begin(struct traffic *t, double seconds, uint64_t count)
{
    t->start_ns = bench_clock_ns();
    t->end_ns = UINT64_MAX;
    t->is_ending = false;
    t->n_idle = 0;
    if (t->bench->opt->rate > 0) {
        begin_by_clock(t, seconds, count);
        return;
    }
    if (count == 0)
        t->end_ns = t->start_ns + (uint64_t)(seconds * 1e9);
    else
        t->is_ending = true;
    for (uint32_t i = 0; i < t->n_publishers; i++) {
        struct publisher *p = &t->publishers[i];
        uint64_t share = count / t->n_publishers + (i < count % t->n_publishers);
        publisher_allow(p, count ? p->n_sent + share : UINT64_MAX);
    }
}

static bool is_over(void *ctx)
{
    struct traffic *t = ctx;
    if (t->end_ns != UINT64_MAX && !t->is_ending && bench_clock_ns() >= t->end_ns) {
        t->is_ending = true;
        for (uint32_t i = 0; i < t->n_publishers; i++)
            t->publishers[i].limit = t->publishers[i].n_sent;
    }
    if (!t->is_ending)
        return false;
    while (t->n_idle < t->n_publishers && publisher_is_idle(&t->publishers[t->n_idle]))
        t->n_idle++;
    return t->n_idle == t->n_publishers;
}

/* Nothing has come for long: what is under way is lost, the others go on. */
static int give_up(struct traffic *t)
{
    bool any = false;
    for (uint32_t i = 0; i < t->n_publishers; i++) {
        struct publisher *p = &t->publishers[i];
        bool is_waiting = p->n_done < p->n_sent;
        if (!is_waiting && p->client.n_unacked > 0) {
            bench_fail(t->bench, "no acknowledgement of %u messages of %s for %g s",
                       p->client.n_unacked, p->client.id, t->bench->opt->timeout_s);
            return -EIO;
        }
        if (is_waiting)
            publisher_give_up(p);
        any |= is_waiting;
    }
    return any || t->bench->opt->rate > 0 ? 0 : -EIO;
}

static int run(struct traffic *t, double seconds, uint64_t count)
{
    int r;
    begin(t, seconds, count);
    while ((r = bench_until(t->bench, is_over, t)) == -ETIMEDOUT)
        if (give_up(t) < 0)
            return -EIO;
    return r;
}

static int measure(struct traffic *t)
{
    struct bench *b = t->bench;
    const struct options *opt = b->opt;
    if (opt->warmup_s > 0 && run(t, opt->warmup_s, 0) < 0)
        return -EIO;
    histogram_clear(&b->result.latency);
    b->result.has_latency = true;
    uint64_t before = b->n_delivered;
    if (bench_phase_begin(b, "publish", "delivery") < 0 || run(t, opt->duration_s, opt->count) < 0)
        return -EIO;
    return bench_phase_end(b, b->n_delivered - before);
}

static void tell(struct traffic *t)
{
    struct result *result = &t->bench->result;
    for (uint32_t i = 0; i < t->n_publishers; i++) {
        const struct publisher *p = &t->publishers[i];
        result->n_published += p->n_sent;
        result->n_expected += p->n_sent * p->conf.n_receivers;
    }
    for (uint32_t i = 0; i < t->n_subscribers; i++)
        subscriber_tell(&t->subscribers[i], true);
}

static int play(struct traffic *t)
{
    struct bench *b = t->bench;
    uint32_t n = t->n_subscribers + t->n_publishers;
    if (clients_connect(b, t->clients, n) < 0 || subscribe_all(t) < 0 || measure(t) < 0)
        return -EIO;
    tell(t);
    b->on_round = NULL;
    b->spin = false;
    if (clients_disconnect(b, t->clients, n) < 0)
        return -EIO;
    return b->opt->durable ? clients_discard_sessions(b, t->clients, t->n_subscribers) : 0;
}

int shape_traffic(struct bench *b)
{
    struct traffic t;
    int r = traffic_init(&t, b);
    if (r == 0)
        r = play(&t);
    traffic_fini(&t);
    return r;
}
