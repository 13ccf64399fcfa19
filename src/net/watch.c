#include "net/watch.h"
#include "net/loop_priv.h"
#include <errno.h>
#include <stdlib.h>

struct watch {
    struct loop *loop;
    watch_fn fn;
    void *arg;
    bool is_timer;
    uint64_t repeat_ms;
    union {
        ev_io io;
        struct timer timer;
    };
};

static int to_ev(uint32_t events)
{
    return (events & WATCH_READ ? EV_READ : 0) | (events & WATCH_WRITE ? EV_WRITE : 0);
}

static void on_fd(struct ev_loop *ev, ev_io *io, int revents)
{
    struct watch *w = io->data;

    (void)ev;
    w->fn(w, (revents & EV_READ ? WATCH_READ : 0) | (revents & EV_WRITE ? WATCH_WRITE : 0), w->arg);
}

static void on_timer(struct timer *t, uint64_t now_ms)
{
    struct watch *w = container_of(t, struct watch, timer);

    if (w->repeat_ms)
        timer_arm(&w->loop->timers, t, now_ms + w->repeat_ms);
    w->fn(w, 0, w->arg); /* may free w */
}

static int watch_new(struct loop *loop, watch_fn fn, void *arg, bool is_timer,
                     struct watch **r_watch)
{
    struct watch *w = calloc(1, sizeof(*w));

    if (!w)
        return -ENOMEM;
    w->loop = loop;
    w->fn = fn;
    w->arg = arg;
    w->is_timer = is_timer;
    *r_watch = w;
    return 0;
}

int watch_fd(struct loop *loop, int fd, uint32_t events, watch_fn fn, void *arg,
             struct watch **r_watch)
{
    struct watch *w;
    int r = watch_new(loop, fn, arg, false, &w);

    if (r < 0)
        return r;
    ev_io_init(&w->io, on_fd, fd, 0);
    w->io.data = w;
    *r_watch = w;
    watch_set_events(w, events);
    return 0;
}

void watch_set_events(struct watch *w, uint32_t events)
{
    assert(!w->is_timer);
    ev_io_stop(w->loop->ev, &w->io);
    ev_io_set(&w->io, w->io.fd, to_ev(events));
    if (to_ev(events))
        ev_io_start(w->loop->ev, &w->io);
}

int watch_timer(struct loop *loop, uint64_t after_ms, uint64_t repeat_ms, watch_fn fn, void *arg,
                struct watch **r_watch)
{
    struct watch *w;
    int r = watch_new(loop, fn, arg, true, &w);

    if (r < 0)
        return r;
    timer_init(&w->timer, on_timer);
    *r_watch = w;
    watch_rearm(w, after_ms, repeat_ms);
    return 0;
}

void watch_rearm(struct watch *w, uint64_t after_ms, uint64_t repeat_ms)
{
    assert(w->is_timer);
    w->repeat_ms = repeat_ms;
    timer_arm(&w->loop->timers, &w->timer, w->loop->now_ms + after_ms);
}

void watch_free(struct watch **watch)
{
    struct watch *w = *watch;

    if (!w)
        return;
    *watch = NULL;
    if (w->is_timer)
        timer_stop(&w->loop->timers, &w->timer);
    else
        ev_io_stop(w->loop->ev, &w->io);
    free(w);
}
