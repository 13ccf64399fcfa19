/* The loop of the one instance: a clock that is moved by hand, timers, descriptors, posts. */
#include "mock/mock_priv.h"
#include <poll.h>
#include <stdlib.h>

struct pigeon_watch {
    struct list link; /* in pigeon_mock.watches */
    pigeon_mock *mock;
    int64_t due_ns, repeat_ns; /* timer; due_ns -1: has run */
    int32_t fd;                /* -1: a timer */
    uint32_t events;
    pigeon_watch_fn fn;
    void *arg;
};

static struct pigeon_watch *watch_new(pigeon_mock *m, pigeon_watch_fn fn, void *arg)
{
    struct pigeon_watch *w;
    int32_t error;

    pthread_mutex_lock(&m->lock);
    error = mock_fault(m, PIGEON_MOCK_FAIL_WATCH);
    pthread_mutex_unlock(&m->lock);
    if (error || !fn)
        return NULL;
    w = mock_alloc(sizeof(*w));
    w->mock = m;
    w->fd = -1;
    w->fn = fn;
    w->arg = arg;
    list_append(&m->watches, &w->link);
    return w;
}

static pigeon_watch *timer(void *inst, int64_t after_ns, int64_t repeat_ns, pigeon_watch_fn fn,
                           void *arg)
{
    pigeon_mock *m = inst;
    struct pigeon_watch *w;

    if (!mock_must_be_loop(m, "timer") || !(w = watch_new(m, fn, arg)))
        return NULL;
    w->due_ns = m->now_ns + (after_ns > 0 ? after_ns : 0);
    w->repeat_ns = repeat_ns > 0 ? repeat_ns : 0;
    return w;
}

static pigeon_watch *fd(void *inst, int32_t desc, uint32_t events, pigeon_watch_fn fn, void *arg)
{
    pigeon_mock *m = inst;
    struct pigeon_watch *w;

    if (!mock_must_be_loop(m, "fd") || desc < 0 || (events & ~(PIGEON_FD_READ | PIGEON_FD_WRITE)) ||
        !(w = watch_new(m, fn, arg)))
        return NULL;
    w->fd = desc;
    w->events = events;
    return w;
}

static void unwatch(pigeon_watch *w)
{
    if (!w || !mock_must_be_loop(w->mock, "unwatch"))
        return;
    list_remove(&w->link);
    free(w);
}

void watches_drop(pigeon_mock *m, bool complain)
{
    struct list *it;
    uint32_t n = 0;

    while ((it = list_pop(&m->watches)) != NULL) {
        struct pigeon_watch *w = container_of(it, struct pigeon_watch, link);

        n += w->fd >= 0;
        free(w);
    }
    if (n &&
        complain) /* a timer is forgotten by the broker; a descriptor would be closed under it */
        mock_complain(m, "%u descriptors are still watched after the instance is gone", n);
}

/* ---- post ------------------------------------------------------------------------------------ */

static int32_t post(void *inst, pigeon_post_fn fn, void *arg)
{
    pigeon_mock *m = inst;
    struct posted *p;
    int32_t error;

    if (!fn)
        return PIGEON_E_INVAL;
    pthread_mutex_lock(&m->lock);
    error = mock_fault(m, PIGEON_MOCK_FAIL_POST);
    if (!error) {
        p = mock_alloc(sizeof(*p));
        p->fn = fn;
        p->arg = arg;
        list_append(&m->posts, &p->link);
        pthread_cond_broadcast(&m->news);
    }
    pthread_mutex_unlock(&m->lock);
    return error;
}

void post_done(pigeon_mock *m, pigeon_done_fn done, void *arg, int32_t status)
{
    struct posted *p;

    if (!done)
        return;
    p = mock_alloc(sizeof(*p));
    p->done = done;
    p->arg = arg;
    p->status = status;
    list_append(&m->posts, &p->link);
}

static struct posted *posts_take(pigeon_mock *m)
{
    struct list *it;

    pthread_mutex_lock(&m->lock);
    it = list_pop(&m->posts);
    pthread_mutex_unlock(&m->lock);
    return it ? container_of(it, struct posted, link) : NULL;
}

void posts_drop(pigeon_mock *m)
{
    struct posted *p;

    while ((p = posts_take(m)) != NULL)
        free(p);
}

/* What a post posts runs in the next turn. */
static void posts_run(pigeon_mock *m)
{
    struct posted *p;
    uint32_t n = 0;

    pthread_mutex_lock(&m->lock);
    LIST_FOREACH (it, &m->posts)
        n++;
    pthread_mutex_unlock(&m->lock);
    while (n-- > 0 && (p = posts_take(m)) != NULL) {
        if (m->created && p->done)
            p->done(m->self, p->arg, p->status);
        else if (m->created)
            p->fn(m->self, p->arg);
        free(p);
    }
}

/* ---- turns ----------------------------------------------------------------------------------- */

/* Descriptors that are ready; a callback may end any watcher, so each is looked up again. */
static void fds_run(pigeon_mock *m)
{
    struct pollfd fds[64];
    struct pigeon_watch *watches[64];
    uint32_t n = 0;

    LIST_FOREACH (it, &m->watches) {
        struct pigeon_watch *w = container_of(it, struct pigeon_watch, link);

        if (w->fd < 0 || n == PIGEON_COUNT(fds))
            continue;
        fds[n] = (struct pollfd){ .fd = w->fd,
                                  .events = (short)((w->events & PIGEON_FD_READ ? POLLIN : 0) |
                                                    (w->events & PIGEON_FD_WRITE ? POLLOUT : 0)) };
        watches[n++] = w;
    }
    if (n == 0 || poll(fds, n, 0) <= 0)
        return;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t events = 0;

        if (fds[i].revents & (POLLIN | POLLHUP | POLLERR))
            events |= PIGEON_FD_READ;
        if (fds[i].revents & (POLLOUT | POLLHUP | POLLERR))
            events |= PIGEON_FD_WRITE;
        LIST_FOREACH (it, &m->watches) {
            struct pigeon_watch *w = container_of(it, struct pigeon_watch, link);

            if (w == watches[i] && (events & w->events)) {
                w->fn(m->self, w->arg, w, events & w->events);
                break;
            }
        }
    }
}

void pigeon_mock_run(pigeon_mock *m)
{
    posts_run(m);
    if (m->created)
        fds_run(m);
    asks_settle(m);
}

static struct pigeon_watch *first_timer(const pigeon_mock *m)
{
    struct pigeon_watch *first = NULL;

    LIST_FOREACH (it, &m->watches) {
        struct pigeon_watch *w = container_of(it, struct pigeon_watch, link);

        if (w->fd < 0 && w->due_ns >= 0 && (!first || w->due_ns < first->due_ns))
            first = w;
    }
    return first;
}

static void clock_set(pigeon_mock *m, int64_t ns)
{
    pthread_mutex_lock(&m->lock);
    if (ns > m->now_ns)
        m->now_ns = ns;
    pthread_mutex_unlock(&m->lock);
}

void pigeon_mock_advance_ms(pigeon_mock *m, int64_t ms)
{
    int64_t target = m->now_ns + ms * 1000000;

    for (;;) {
        struct pigeon_watch *w;
        int64_t deadline;

        pigeon_mock_run(m);
        w = first_timer(m);
        deadline = asks_next_ns(m);
        if (w && w->due_ns <= target && w->due_ns <= deadline) {
            clock_set(m, w->due_ns);
            w->due_ns = w->repeat_ns ? w->due_ns + w->repeat_ns : -1;
            w->fn(m->self, w->arg, w, 0);
        } else if (deadline <= target) {
            clock_set(m, deadline);
            asks_expire(m);
        } else {
            break;
        }
    }
    clock_set(m, target);
    pigeon_mock_run(m);
}

int64_t pigeon_mock_now_ns(const pigeon_mock *m)
{
    return m->now_ns;
}

uint32_t pigeon_mock_timers(const pigeon_mock *m)
{
    uint32_t n = 0;

    LIST_FOREACH (it, &m->watches) {
        const struct pigeon_watch *w = container_of(it, struct pigeon_watch, link);

        n += w->fd < 0 && w->due_ns >= 0;
    }
    return n;
}

void mock_fill_loop(pigeon_host *h)
{
    h->timer = timer;
    h->fd = fd;
    h->unwatch = unwatch;
    h->post = post;
}
