/* stop.c - shutdown, P6 of docs/concurrency.md: nothing new begins, what was submitted is answered,
 * then all clients are sent away together, their wills and the last commits are awaited. Loop 0
 * drives it; every loop keeps turning until the server stops them all. */
#include "broker/broker.h"
#include "broker/bus.h"
#include "broker/connect.h"
#include "hooks/store.h"
#include "wire/reason.h"
#include <errno.h>
#include <stdlib.h>

#define LOOK_MS 5u

enum stop_phase { STOP_DRAIN, STOP_CLOSE, STOP_COMMIT };

struct stop_mail {
    struct mail mail;
    struct stop *stop;
};

struct stop {
    struct broker *broker;
    struct timer look;
    uint64_t drain_ms, deadline_ms;
    uint8_t phase;             /* enum stop_phase */
    _Atomic uint32_t n_begun;  /* loops that take no CONNECT any more */
    _Atomic uint32_t n_closed; /* loops that have sent their clients away */
    void (*done)(void *ctx);
    void *ctx;
    struct stop_mail mails[]; /* one per loop */
};

static struct shard *shard_of(struct stop *st, struct loop *here)
{
    return &st->broker->shards[loop_index(here)];
}

static void on_begin(struct loop *here, struct mail *m)
{
    struct stop *st = container_of(m, struct stop_mail, mail)->stop;
    struct shard *s = shard_of(st, here);
    s->stopping = true;
    hooks_ending(s->hooks);
    connect_refuse_waiting(s, REASON_SERVER_SHUTTING_DOWN);
    atomic_fetch_add(&st->n_begun, 1);
}

static void on_close(struct loop *here, struct mail *m)
{
    struct stop *st = container_of(m, struct stop_mail, mail)->stop;
    st->broker->close_all(shard_of(st, here), REASON_SERVER_SHUTTING_DOWN);
    atomic_fetch_add(&st->n_closed, 1);
}

static void tell_all(struct stop *st, mail_fn fn)
{
    struct broker *b = st->broker;
    for (uint32_t i = 0; i < b->n_loops; i++) {
        st->mails[i].stop = st;
        loop_post(b->shards[0].loop, i, &st->mails[i].mail, fn);
    }
}

static bool is_quiet(const struct stop *st)
{
    const struct broker *b = st->broker;
    return broker_sum(b, N_PUBLISHES) == 0 && broker_sum(b, N_CONNECTINGS) == 0 &&
           store_in_flight(b->hooks) == 0;
}

static void on_look(struct timer *t, uint64_t now_ms)
{
    struct stop *st = container_of(t, struct stop, look);
    struct broker *b = st->broker;
    bool late = now_ms >= (st->phase == STOP_DRAIN ? st->drain_ms : st->deadline_ms);
    bool begun = atomic_load(&st->n_begun) == b->n_loops; /* the mails are free again */
    if (st->phase == STOP_DRAIN && begun && (is_quiet(st) || late)) {
        st->phase = STOP_CLOSE;
        tell_all(st, on_close);
    } else if (st->phase == STOP_CLOSE && atomic_load(&st->n_closed) == b->n_loops) {
        st->phase = STOP_COMMIT; /* the wills and everything the closing has submitted */
    } else if (st->phase == STOP_COMMIT && (is_quiet(st) || late)) {
        void (*done)(void *ctx) = st->done;
        void *ctx = st->ctx;
        if (b->bus)
            bus_leave(b->bus);
        events_closed(b->shards[0].hooks);
        free(st);
        hooks_quiesce(b->hooks, done, ctx);
        return;
    }
    timer_arm(loop_timers(b->shards[0].loop), &st->look, now_ms + LOOK_MS);
}

void broker_stop(struct broker *b, uint64_t deadline_ms, void (*done)(void *ctx), void *ctx)
{
    struct stop *st = calloc(1, sizeof(*st) + b->n_loops * sizeof(st->mails[0]));
    if (!st) {
        done(ctx);
        return;
    }
    uint64_t now_ms = loop_now_ms(b->shards[0].loop);
    st->broker = b;
    st->deadline_ms = deadline_ms;
    st->drain_ms =
        deadline_ms - (deadline_ms - now_ms) / 3; /* the rest is for wills and last commits */
    st->done = done;
    st->ctx = ctx;
    timer_init(&st->look, on_look);
    tell_all(st, on_begin);
    timer_arm(loop_timers(b->shards[0].loop), &st->look, loop_now_ms(b->shards[0].loop) + LOOK_MS);
}
