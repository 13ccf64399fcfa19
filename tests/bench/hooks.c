/* hooks.c - what the host adds to a call of a plugin: nanoseconds per call of each kind.
 *
 *   hooks [CASE [CALLS]]
 *
 * Without arguments all cases, several rounds each, the fastest one counts. With a case and a
 * number of calls it does just those, so that instructions can be counted from outside: see
 * hooks.py. The plugins (tests/plugin/cost.c) do nothing. */
#include "../unit/hooks_support.h"
#include <inttypes.h>

#define ROUNDS 15u
#define BATCH  256u /* late answers under way at once */

struct bench {
    struct world w;
    struct identity *who;
    struct message *message;
    struct ask ask;
    uint32_t n_done;
};

struct bench_case {
    const char *name;
    uint32_t n_plugins;
    bool is_late;
    void (*run)(struct bench *b, uint32_t n);
};

static void unhooked(struct bench *b, uint32_t n)
{
    const struct hook_loop *hl = hooks_loop(b->w.hooks, 0);

    for (uint32_t i = 0; i < n; i++) {
        __asm__ volatile("" : "+r"(hl) : : "memory");
        if (hooks_wants(hl, PIGEON_HOOK_INBOUND))
            abort();
    }
}

static void ask_message(struct bench *b, uint32_t n, uint32_t hook)
{
    struct hook_loop *hl = hooks_loop(b->w.hooks, 0);

    for (uint32_t i = 0; i < n; i++) {
        b->ask.hook = hook;
        b->ask.who = b->who;
        b->ask.message = b->message;
        if (ask_run(hl, &b->ask) != ASK_DONE || b->ask.verdict == PIGEON_CONTINUE)
            abort();
    }
}

static void publish(struct bench *b, uint32_t n)
{
    ask_message(b, n, PIGEON_HOOK_AUTHORIZE_PUBLISH);
}

static void deliver(struct bench *b, uint32_t n)
{
    ask_message(b, n, PIGEON_HOOK_AUTHORIZE_DELIVER);
}

static void on_late(struct ask *ask)
{
    container_of(ask, struct question, ask)->n_done = 1;
}

/* Many under way at once, one wake-up for all of them: the turns of the loop hardly count. */
static void late(struct bench *b, uint32_t n)
{
    static struct question q[BATCH];
    struct hook_loop *hl = hooks_loop(b->w.hooks, 0);

    for (uint32_t done = 0; done < n; done += BATCH) {
        for (uint32_t i = 0; i < BATCH; i++) {
            q[i].n_done = 0;
            q[i].ask.hook = PIGEON_HOOK_AUTHORIZE_PUBLISH;
            q[i].ask.who = b->who;
            q[i].ask.message = b->message;
            q[i].ask.done = on_late;
            if (ask_run(hl, &q[i].ask) != ASK_WAIT)
                abort();
        }
        while (!q[BATCH - 1].n_done)
            loop_turn(loop_group_at(b->w.loops, 0), false);
    }
}

static void event(struct bench *b, uint32_t n)
{
    struct hook_loop *hl = hooks_loop(b->w.hooks, 0);

    for (uint32_t i = 0; i < n; i++)
        events_publish(hl, b->who, b->message);
}

static void event_unheard(struct bench *b, uint32_t n)
{
    struct hook_loop *hl = hooks_loop(b->w.hooks, 0);

    for (uint32_t i = 0; i < n; i++)
        events_ping(hl, b->who);
}

static const struct bench_case cases[] = {
    { "unhooked", 1, false, unhooked },
    { "publish-1", 1, false, publish },
    { "publish-2", 2, false, publish },
    { "publish-3", 3, false, publish },
    { "publish-4", 4, false, publish },
    { "publish-5", 5, false, publish },
    { "deliver-1", 1, false, deliver },
    { "deliver-2", 2, false, deliver },
    { "deliver-5", 5, false, deliver },
    { "late", 1, true, late },
    { "event-unheard", 1, false, event_unheard },
    { "event-1", 1, false, event },
    { "event-5", 5, false, event },
};

static void bench_init(struct bench *b, const struct bench_case *c)
{
    char file[32];

    memset(b, 0, sizeof(*b));
    world_init(&b->w, 1);
    for (uint32_t i = 0; i < c->n_plugins; i++) {
        snprintf(file, sizeof(file), "cost%" PRIu32 ".so", i);
        world_link(&b->w, c->is_late ? "cost-late.so" : file, file);
    }
    if (world_start(&b->w) != 0)
        abort();
    b->who = client_new(0);
    b->message = message_with("a/b", "payload");
}

static void bench_fini(struct bench *b)
{
    message_unref(&b->message);
    identity_unref(&b->who);
    world_fini(&b->w);
}

static double now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static double measure(const struct bench_case *c)
{
    uint32_t n = c->is_late ? BATCH * 200 : 1000000;
    double best = 0;
    struct bench b;

    bench_init(&b, c);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        double begin = now_ns();

        c->run(&b, n);
        begin = (now_ns() - begin) / n;
        best = best > 0 && best < begin ? best : begin;
    }
    bench_fini(&b);
    return best;
}

static int just(const char *name, uint32_t n)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bench b;

        if (strcmp(cases[i].name, name) != 0)
            continue;
        bench_init(&b, &cases[i]);
        cases[i].run(&b, n);
        bench_fini(&b);
        return 0;
    }
    fprintf(stderr, "hooks: there is no case %s\n", name);
    return 1;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return just(argv[1], argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : BATCH);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
        printf("%-14s %8.2f ns\n", cases[i].name, measure(&cases[i]));
    return 0;
}
