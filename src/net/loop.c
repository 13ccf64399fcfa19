#include "net/loop.h"
#include "net/loop_priv.h"
#include "net/stream.h"
#include "net/stream_priv.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_READ_BUFFER (256u * 1024)
#define DEFAULT_READ_BUDGET (64u * 1024)
#define DEFAULT_ROUNDS      16

static _Thread_local struct loop *current_loop;

struct loop_signal {
    struct list link;
    ev_signal watcher;
    struct loop *loop;
    loop_signal_fn fn;
    void *ctx;
};

static uint64_t clock_us(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static void turn_begin(struct loop *loop)
{
    assert(!loop->in_turn);
    loop->in_turn = true;
    loop->again = false;
    loop->outer = current_loop;
    current_loop = loop;
    loop->begin_us = clock_us(CLOCK_MONOTONIC);
    loop->now_ms = loop->begin_us / 1000;
    loop->wall_ms = clock_us(CLOCK_REALTIME) / 1000;
    if (ev_is_active(&loop->idle))
        ev_idle_stop(loop->ev, &loop->idle);
    if (loop->ops && loop->ops->turn_begin)
        loop->ops->turn_begin(loop->ctx);
    loop->n_costly = 0;
    stream_begin_turn(loop);
}

static bool has_work(const struct loop *loop)
{
    return loop->own_first || loop->out_mask || loop->last_mask || !list_empty(&loop->ready) ||
           !list_empty(&loop->dirty);
}

static bool run_round(struct loop *loop)
{
    bool progress = false;

    mail_run_own(loop);
    stream_run_ready(loop);
    if (loop->ops && loop->ops->turn_round)
        progress = loop->ops->turn_round(loop->ctx);
    mail_flush(loop);
    stream_flush_dirty(loop);
    return progress || loop->own_first || loop->out_mask || !list_empty(&loop->ready) ||
           !list_empty(&loop->dirty);
}

/* The last-items wait until the rounds have come to rest, then leave behind everything else; those
 * to the loop itself start new rounds. */
static bool run_rounds(struct loop *loop)
{
    uint32_t n = 0;

    for (;;) {
        bool more = run_round(loop);

        if (++n >= loop->group->conf.rounds_max) {
            mail_flush(loop);
            mail_flush_last(loop);
            return true;
        }
        if (more)
            continue;
        mail_flush_last(loop);
        if (!has_work(loop))
            return false;
    }
}

static void arm_timer(struct loop *loop)
{
    uint64_t due_ms = timers_next_ms(&loop->timers);
    uint64_t wait_ms;

    if (due_ms == loop->timer_due_ms)
        return;
    ev_timer_stop(loop->ev, &loop->timer);
    loop->timer_due_ms = due_ms;
    if (due_ms == UINT64_MAX)
        return;
    wait_ms = due_ms > loop->now_ms ? due_ms - loop->now_ms : 0;
    ev_timer_set(&loop->timer, (double)wait_ms / 1000.0, 0.0);
    ev_timer_start(loop->ev, &loop->timer);
}

static void turn_end(struct loop *loop)
{
    uint64_t took_us;

    /* After the I/O: data that has come in time is seen before the deadline that waits for it. */
    timers_run(&loop->timers, loop->now_ms);
    if (run_rounds(loop))
        loop->again = true;
    if (loop->ops && loop->ops->turn_end)
        loop->ops->turn_end(loop->ctx);
    stream_reap(loop);
    if (has_work(loop) || !list_empty(&loop->later))
        loop->again = true;
    if (loop->again)
        ev_idle_start(loop->ev, &loop->idle);
    arm_timer(loop);
    took_us = clock_us(CLOCK_MONOTONIC) - loop->begin_us;
    if (took_us > loop->stats.turn_max_us)
        loop->stats.turn_max_us = took_us;
    loop->stats.n_turns++;
    atomic_store_explicit(&loop->turns, loop->stats.n_turns, memory_order_relaxed);
    loop->in_turn = false;
    current_loop = loop->outer;
}

/* Queued by libev in front of all other events of the round, and of the highest priority. */
static void on_check(struct ev_loop *ev, ev_check *w, int revents)
{
    struct loop *loop = w->data;

    (void)ev;
    (void)revents;
    if (!loop->in_turn)
        turn_begin(loop);
}

static void on_prepare(struct ev_loop *ev, ev_prepare *w, int revents)
{
    struct loop *loop = w->data;

    (void)revents;
    if (loop->in_turn)
        turn_end(loop);
    if (atomic_load_explicit(&loop->stop, memory_order_acquire))
        ev_break(ev, EVBREAK_ALL);
}

static void on_idle(struct ev_loop *ev, ev_idle *w, int revents)
{
    (void)ev;
    (void)w;
    (void)revents;
}

static void on_timer(struct ev_loop *ev, ev_timer *w, int revents)
{
    struct loop *loop = w->data;

    (void)ev;
    (void)revents;
    loop->timer_due_ms = UINT64_MAX; /* timers_run comes at the end of the turn */
}

static void on_wake(struct ev_loop *ev, ev_async *w, int revents)
{
    struct loop *loop = w->data;

    (void)ev;
    (void)revents;
    loop->stats.n_wakeups++;
    mail_run_mailbox(loop);
}

static void start_watchers(struct loop *loop)
{
    ev_prepare_init(&loop->prepare, on_prepare);
    ev_check_init(&loop->check, on_check);
    ev_set_priority(&loop->check, EV_MAXPRI);
    ev_idle_init(&loop->idle, on_idle);
    ev_timer_init(&loop->timer, on_timer, 0.0, 0.0);
    ev_async_init(&loop->wake, on_wake);
    loop->prepare.data = loop->check.data = loop->timer.data = loop->wake.data = loop;
    ev_prepare_start(loop->ev, &loop->prepare);
    ev_check_start(loop->ev, &loop->check);
    ev_async_start(loop->ev, &loop->wake);
}

static int loop_init(struct loop *loop, struct loop_group *group, uint32_t index)
{
    loop->group = group;
    loop->index = index;
    loop->reserve_fd = -1;
    list_init(&loop->streams);
    list_init(&loop->ready);
    list_init(&loop->later);
    list_init(&loop->dirty);
    list_init(&loop->dead);
    list_init(&loop->signals);
    outq_pools_init(&loop->pools);
    mail_init(loop);
    loop->now_ms = clock_us(CLOCK_MONOTONIC) / 1000;
    loop->wall_ms = clock_us(CLOCK_REALTIME) / 1000;
    timers_init(&loop->timers, loop->now_ms);
    loop->timer_due_ms = UINT64_MAX;
    loop->out = calloc(group->n_loops, sizeof(*loop->out));
    loop->last = calloc(group->n_loops, sizeof(*loop->last));
    loop->read_buffer = malloc(group->conf.read_buffer);
    if (!loop->out || !loop->last || !loop->read_buffer)
        return -ENOMEM;
    loop->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (loop->reserve_fd < 0)
        return -errno;
    loop->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV | EVFLAG_NOINOTIFY | EVFLAG_NOTIMERFD);
    if (!loop->ev)
        return errno == EMFILE || errno == ENFILE ? -errno : -ENOMEM;
    start_watchers(loop);
    return 0;
}

static void loop_fini(struct loop *loop)
{
    struct list *it;

    stream_abort_all(loop);
    while ((it = list_pop(&loop->signals)) != NULL) {
        struct loop_signal *sig = container_of(it, struct loop_signal, link);

        ev_signal_stop(loop->ev, &sig->watcher);
        free(sig);
    }
    if (loop->ev)
        ev_loop_destroy(loop->ev);
    if (loop->reserve_fd >= 0)
        close(loop->reserve_fd);
    outq_pools_fini(&loop->pools);
    free(loop->read_buffer);
    free(loop->out);
    free(loop->last);
}

int loop_group_new(const struct loop_conf *conf, struct loop_group **r_group)
{
    struct loop_group *group;
    struct loop_conf c = *conf;

    c.n_loops = c.n_loops ? c.n_loops : 1;
    c.read_buffer = c.read_buffer ? c.read_buffer : DEFAULT_READ_BUFFER;
    c.read_budget = c.read_budget ? c.read_budget : DEFAULT_READ_BUDGET;
    c.rounds_max = c.rounds_max ? c.rounds_max : DEFAULT_ROUNDS;
    if (c.n_loops > LOOP_MAX || c.read_buffer < STREAM_READ_BUFFER_MIN)
        return -EINVAL;
    group = calloc(1, sizeof(*group));
    if (!group)
        return -ENOMEM;
    group->conf = c;
    group->loops = aligned_alloc(_Alignof(struct loop), c.n_loops * sizeof(struct loop));
    if (!group->loops) {
        free(group);
        return -ENOMEM;
    }
    memset(group->loops, 0, c.n_loops * sizeof(struct loop));
    group->n_loops = c.n_loops;
    for (uint32_t i = 0; i < c.n_loops; i++) {
        int r = loop_init(&group->loops[i], group, i);

        if (r < 0) {
            group->n_loops = i + 1;
            loop_group_free(&group);
            return r;
        }
    }
    *r_group = group;
    return 0;
}

void loop_group_free(struct loop_group **group)
{
    struct loop_group *g = *group;

    if (!g)
        return;
    *group = NULL;
    if (g->loops[g->n_loops - 1].ev)
        loop_group_settle(g);
    for (uint32_t i = 0; i < g->n_loops; i++)
        loop_fini(&g->loops[i]);
    free(g->loops);
    free(g);
}

uint32_t loop_group_count(const struct loop_group *group)
{
    return group->n_loops;
}

struct loop *loop_group_at(struct loop_group *group, uint32_t index)
{
    assert(index < group->n_loops);
    return &group->loops[index];
}

static void *thread_main(void *arg)
{
    struct loop *loop = arg;

    if (loop->group->conf.thread_begin)
        loop->group->conf.thread_begin();
    loop_run(loop);
    return NULL;
}

int loop_start_threads(struct loop_group *group)
{
    sigset_t all, before;
    int r = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (uint32_t i = 1; i < group->n_loops && r == 0; i++) {
        struct loop *loop = &group->loops[i];

        r = -pthread_create(&loop->thread, NULL, thread_main, loop);
        loop->has_thread = r == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r < 0) {
        for (uint32_t i = 1; i < group->n_loops; i++)
            if (group->loops[i].has_thread)
                loop_stop(&group->loops[i]);
        loop_join(group);
    }
    return r;
}

void loop_join(struct loop_group *group)
{
    for (uint32_t i = 1; i < group->n_loops; i++) {
        struct loop *loop = &group->loops[i];

        if (loop->has_thread)
            pthread_join(loop->thread, NULL);
        loop->has_thread = false;
    }
}

void loop_group_stop(struct loop_group *group)
{
    for (uint32_t i = 0; i < group->n_loops; i++)
        loop_stop(&group->loops[i]);
}

bool loop_group_settle(struct loop_group *group)
{
    bool waiting = true, any = false;

    while (waiting) {
        waiting = false;
        for (uint32_t i = 0; i < group->n_loops; i++) {
            struct loop *loop = &group->loops[i];

            if (!mail_is_waiting(loop))
                continue;
            waiting = any = true;
            turn_begin(loop);
            mail_run_mailbox(loop);
            turn_end(loop);
        }
    }
    return any;
}

void loop_set_ops(struct loop *loop, const struct loop_ops *ops, void *ctx)
{
    loop->ops = ops;
    loop->ctx = ctx;
}

void *loop_ctx(const struct loop *loop)
{
    return loop->ctx;
}

struct loop_group *loop_get_group(const struct loop *loop)
{
    return loop->group;
}

uint32_t loop_index(const struct loop *loop)
{
    return loop->index;
}

void loop_run(struct loop *loop)
{
    turn_begin(loop); /* what was prepared before the start is this turn's work */
    ev_run(loop->ev, 0);
    atomic_store_explicit(&loop->stop, false, memory_order_relaxed);
}

void loop_turn(struct loop *loop, bool wait)
{
    bool work = has_work(loop) || !list_empty(&loop->later);

    arm_timer(loop); /* what was armed between the turns */
    ev_run(loop->ev, wait && !work ? EVRUN_ONCE : EVRUN_NOWAIT);
    if (loop->in_turn)
        turn_end(loop);
}

void loop_stop(struct loop *loop)
{
    atomic_store_explicit(&loop->stop, true, memory_order_release);
    ev_async_send(loop->ev, &loop->wake);
}

struct loop *loop_current(void)
{
    return current_loop;
}

uint64_t loop_now_ms(const struct loop *loop)
{
    return loop->now_ms;
}

uint64_t loop_wall_ms(const struct loop *loop)
{
    return loop->wall_ms;
}

struct timers *loop_timers(struct loop *loop)
{
    return &loop->timers;
}

void loop_again(struct loop *loop)
{
    loop->again = true;
}

void loop_get_stats(const struct loop *loop, struct loop_stats *r_stats)
{
    *r_stats = loop->stats;
}

uint64_t loop_turns(const struct loop *loop)
{
    return atomic_load_explicit(&loop->turns, memory_order_relaxed);
}

static void on_signal(struct ev_loop *ev, ev_signal *w, int revents)
{
    struct loop_signal *sig = w->data;

    (void)ev;
    (void)revents;
    sig->fn(sig->loop, w->signum, sig->ctx);
}

int loop_on_signal(struct loop *loop, int signo, loop_signal_fn fn, void *ctx)
{
    struct loop_signal *sig;

    if (loop->group->signal_loop[signo])
        return -EBUSY;
    sig = calloc(1, sizeof(*sig));
    if (!sig)
        return -ENOMEM;
    loop->group->signal_loop[signo] = loop;
    sig->loop = loop;
    sig->fn = fn;
    sig->ctx = ctx;
    ev_signal_init(&sig->watcher, on_signal, signo);
    sig->watcher.data = sig;
    ev_signal_start(loop->ev, &sig->watcher);
    list_append(&loop->signals, &sig->link);
    return 0;
}
