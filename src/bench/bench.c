#include "bench/bench.h"
#include "base/random.h"
#include "bench/publisher.h"
#include "net/loop.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE (256u * 1024)
#define TICK_MS   20u

uint64_t bench_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t own_cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void bench_fail(struct bench *b, const char *format, ...)
{
    if (b->failed)
        return;
    b->failed = true;
    va_list args;
    va_start(args, format);
    vsnprintf(b->why, sizeof(b->why), format, args);
    va_end(args);
}

static void on_tick(struct timer *t, uint64_t now_ms)
{
    struct bench *b = container_of(t, struct bench, tick);
    timer_arm(loop_timers(b->loop), t, now_ms + b->tick_ms);
}

static bool on_round(void *ctx)
{
    struct bench *b = ctx;
    if (b->on_round)
        b->on_round(b);
    return publisher_pump_all(b);
}

static const struct loop_ops loop_ops = { .turn_round = on_round };

int bench_init(struct bench *b, const struct options *opt)
{
    memset(b, 0, sizeof(*b));
    b->opt = opt;
    b->tick_ms = TICK_MS;
    list_init(&b->pumps);
    histogram_clear(&b->result.latency);
    snprintf(b->run, sizeof(b->run), "%08" PRIx32, (uint32_t)random_u64());
    snprintf(b->prefix, sizeof(b->prefix), "pb/%s", b->run);
    int r = dial_resolve(&b->dial, opt->host, opt->port);
    if (r) {
        bench_fail(b, "cannot find host '%s': %s", opt->host, gai_strerror(r));
        return -EIO;
    }
    struct usage usage;
    if (opt->broker_pid && process_read(opt->broker_pid, &usage) < 0) {
        bench_fail(b, "there is no process %ld", (long)opt->broker_pid);
        return -ESRCH;
    }
    struct loop_conf conf = { .read_buffer = READ_SIZE, .read_budget = READ_SIZE };
    r = loop_group_new(&conf, &b->group);
    if (r < 0) {
        bench_fail(b, "cannot make an event loop: %s", strerror(-r));
        return r;
    }
    b->loop = loop_group_at(b->group, 0);
    loop_set_ops(b->loop, &loop_ops, b);
    timer_init(&b->tick, on_tick);
    loop_turn(b->loop, false);
    timer_arm(loop_timers(b->loop), &b->tick, loop_now_ms(b->loop) + b->tick_ms);
    return 0;
}

void bench_fini(struct bench *b)
{
    if (!b->group)
        return;
    timer_stop(loop_timers(b->loop), &b->tick);
    loop_group_free(&b->group);
}

/* What may be sent at once is not waited with. */
static bool may_wait(const struct bench *b)
{
    return !b->spin && list_empty(&b->pumps);
}

int bench_until(struct bench *b, bench_done_fn done, void *ctx)
{
    uint64_t patience_ns = (uint64_t)(b->opt->timeout_s * 1e9);
    uint64_t seen = b->n_received;
    uint64_t since_ns = bench_clock_ns();

    while (!b->failed) {
        if (done(ctx))
            return 0;
        loop_turn(b->loop, may_wait(b));
        if (b->n_received != seen) {
            seen = b->n_received;
            since_ns = b->now_ns;
        } else if (bench_clock_ns() - since_ns > patience_ns) {
            return -ETIMEDOUT;
        }
    }
    return -EIO;
}

int bench_expect(struct bench *b, const char *what, bench_done_fn done, void *ctx)
{
    int r = bench_until(b, done, ctx);
    if (r == -ETIMEDOUT)
        bench_fail(b, "no answer for %g s while %s", b->opt->timeout_s, what);
    return r < 0 ? -EIO : 0;
}

int bench_sleep(struct bench *b, double seconds)
{
    uint64_t end_ns = bench_clock_ns() + (uint64_t)(seconds * 1e9);
    while (!b->failed && bench_clock_ns() < end_ns)
        loop_turn(b->loop, may_wait(b));
    return b->failed ? -EIO : 0;
}

static int read_broker(struct bench *b, struct usage *r_usage)
{
    if (b->opt->broker_pid == 0)
        return 0;
    int r = process_read(b->opt->broker_pid, r_usage);
    if (r < 0)
        bench_fail(b, "process %ld is gone", (long)b->opt->broker_pid);
    return r < 0 ? -EIO : 0;
}

int bench_phase_begin(struct bench *b, const char *name, const char *unit)
{
    struct phase *p = &b->result.phase[b->result.n_phases];
    *p = (struct phase){ .name = name, .unit = unit };
    int r = read_broker(b, &p->before);
    p->own_cpu_ns = own_cpu_ns();
    p->seconds = (double)bench_clock_ns() / 1e9;
    return r;
}

int bench_phase_end(struct bench *b, uint64_t n)
{
    struct phase *p = &b->result.phase[b->result.n_phases++];
    p->seconds = (double)bench_clock_ns() / 1e9 - p->seconds;
    p->own_cpu_ns = own_cpu_ns() - p->own_cpu_ns;
    p->n = n;
    return read_broker(b, &p->after);
}
