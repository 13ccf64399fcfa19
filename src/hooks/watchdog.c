#include "hooks/watchdog.h"
#include "hooks/chain.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

#define NS_PER_MS    UINT64_C(1000000)
#define SAY_AGAIN_NS (1000 * NS_PER_MS)
/* Looks per `hook_warn`: a call is missed only if it is less than this part too long. */
#define LOOKS      5u
#define PERIOD_MIN NS_PER_MS
#define PERIOD_MAX (200 * NS_PER_MS)
/* A turn may do much work; it is a stall when it lasts so many times hook_warn. */
#define TURN_FACTOR 10u
/* Idle for so many looks: sleep. */
#define IDLE_LOOKS 20u

struct watchdog {
    struct watchdog_head head;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop, woken;
    _Atomic uint64_t warn_ns;
    struct log *log;
    uint32_t n_watched;
    struct watched watched[];
};

/* ---- one crumb ----------------------------------------------------------------------- */

static uint64_t ms(uint64_t ns)
{
    return (ns + NS_PER_MS / 2) / NS_PER_MS;
}

static void say_slow(const struct watched *w, const struct timing *t, const char *state,
                     uint64_t ns, struct log *log)
{
    log_warn(log, "plugin_slow", LZ("plugin", t->plugin->name), LZ("hook", hook_name(t->hook)),
             LU("connection", w->conn_id), LZ("thread", w->crumb->name),
             LU("index", w->crumb->index), LZ("state", state), LU("ms", ms(ns)));
}

static void say_stalled(const struct watched *w, const char *state, uint64_t ns, struct log *log)
{
    const struct timing *t = w->call;

    log_warn(log, "loop_stalled", LZ("thread", w->crumb->name), LU("index", w->crumb->index),
             LZ("state", state), LU("ms", ms(ns)), LZ("plugin", t ? t->plugin->name : ""),
             LZ("hook", t ? hook_name(t->hook) : ""));
}

static void look_at_call(struct watched *w, uint64_t now_ns, uint64_t warn_ns, struct log *log)
{
    const struct timing *t = atomic_load_explicit(&w->crumb->call, memory_order_acquire);
    uint64_t n = t ? atomic_load_explicit(&t->n_calls, memory_order_relaxed) : 0;

    if (t != w->call || n != w->n_calls) {
        if (w->call && w->said_ns)
            say_slow(w, w->call, "returned", now_ns - w->since_ns, log);
        w->call = t;
        w->n_calls = n;
        w->since_ns = now_ns;
        w->said_ns = 0;
        return;
    }
    if (!t || now_ns - w->since_ns < warn_ns || (w->said_ns && now_ns - w->said_ns < SAY_AGAIN_NS))
        return;
    w->conn_id = atomic_load_explicit(&w->crumb->conn_id, memory_order_relaxed);
    w->said_ns = now_ns;
    say_slow(w, t, "running", now_ns - w->since_ns, log);
}

static void look_at_turn(struct watched *w, uint64_t now_ns, uint64_t warn_ns, struct log *log)
{
    uint64_t turn = atomic_load_explicit(&w->crumb->turn, memory_order_acquire);

    if (turn != w->turn) {
        if (w->turn_said_ns)
            say_stalled(w, "over", now_ns - w->turn_since_ns, log);
        w->turn = turn;
        w->turn_since_ns = now_ns;
        w->turn_said_ns = 0;
        return;
    }
    /* A call that is slow has been blamed already. */
    if (turn % 2 == 0 || w->said_ns || now_ns - w->turn_since_ns < warn_ns * TURN_FACTOR ||
        (w->turn_said_ns && now_ns - w->turn_said_ns < SAY_AGAIN_NS))
        return;
    w->turn_said_ns = now_ns;
    say_stalled(w, "running", now_ns - w->turn_since_ns, log);
}

bool watched_look(struct watched *w, uint64_t now_ns, uint64_t warn_ns, struct log *log)
{
    uint64_t before = w->turn;

    look_at_call(w, now_ns, warn_ns, log);
    look_at_turn(w, now_ns, warn_ns, log);
    return w->call || w->turn != before || w->turn % 2;
}

/* ---- the thread ---------------------------------------------------------------------- */

static uint64_t period_of(uint64_t warn_ns)
{
    uint64_t period = warn_ns / LOOKS;

    return period < PERIOD_MIN ? PERIOD_MIN : period > PERIOD_MAX ? PERIOD_MAX : period;
}

static void wait_until_woken(struct watchdog *dog)
{
    while (!dog->stop && !dog->woken)
        pthread_cond_wait(&dog->wake, &dog->lock);
}

static void wait_for(struct watchdog *dog, uint64_t ns)
{
    uint64_t due = timing_clock() + ns;
    struct timespec at = { .tv_sec = (time_t)(due / 1000000000),
                           .tv_nsec = (long)(due % 1000000000) };

    while (!dog->stop && !dog->woken &&
           pthread_cond_timedwait(&dog->wake, &dog->lock, &at) != ETIMEDOUT)
        ;
}

static bool look_at_all(struct watchdog *dog, uint64_t warn_ns)
{
    uint64_t now_ns = timing_clock();
    bool any = false;

    for (uint32_t i = 0; i < dog->n_watched; i++)
        any |= watched_look(&dog->watched[i], now_ns, warn_ns, dog->log);
    return any;
}

/* Either the loop that begins a turn sees that the monitor sleeps, or the monitor sees the turn:
 * both write before they read, sequentially consistent. */
static bool may_sleep(struct watchdog *dog, uint64_t warn_ns)
{
    atomic_store_explicit(&dog->head.sleeps, true, memory_order_seq_cst);
    for (uint32_t i = 0; i < dog->n_watched; i++) {
        const struct watched *w = &dog->watched[i];

        if (atomic_load_explicit(&w->crumb->turn, memory_order_seq_cst) != w->turn)
            return false;
    }
    return !look_at_all(dog, warn_ns);
}

static void *thread_main(void *arg)
{
    struct watchdog *dog = arg;
    uint32_t n_idle = 0;

    pthread_mutex_lock(&dog->lock);
    while (!dog->stop) {
        uint64_t warn_ns = atomic_load_explicit(&dog->warn_ns, memory_order_relaxed);
        bool is_idle;

        dog->woken = false;
        if (warn_ns == 0) {
            wait_until_woken(dog);
            continue;
        }
        pthread_mutex_unlock(&dog->lock);
        is_idle = !look_at_all(dog, warn_ns);
        n_idle = is_idle ? n_idle + 1 : 0;
        is_idle = n_idle >= IDLE_LOOKS && may_sleep(dog, warn_ns);
        pthread_mutex_lock(&dog->lock);
        if (is_idle) {
            wait_until_woken(dog);
            n_idle = 0;
        } else {
            wait_for(dog, period_of(warn_ns));
        }
        atomic_store_explicit(&dog->head.sleeps, false, memory_order_relaxed);
    }
    pthread_mutex_unlock(&dog->lock);
    return NULL;
}

void watchdog_wake_up(struct watchdog *dog)
{
    /* One of the loops that begin a turn is enough. */
    if (!atomic_exchange_explicit(&dog->head.sleeps, false, memory_order_acq_rel))
        return;
    pthread_mutex_lock(&dog->lock);
    dog->woken = true;
    pthread_cond_signal(&dog->wake);
    pthread_mutex_unlock(&dog->lock);
}

void crumb_turn_begin(struct crumb *c)
{
    crumb_set_here(c);
    /* Before the look at who sleeps: see may_sleep(). */
    atomic_store_explicit(&c->turn, atomic_load_explicit(&c->turn, memory_order_relaxed) | 1,
                          memory_order_seq_cst);
    if (c->watchdog)
        watchdog_wake(c->watchdog);
}

void crumb_turn_end(struct crumb *c)
{
    atomic_store_explicit(&c->turn, (atomic_load_explicit(&c->turn, memory_order_relaxed) | 1) + 1,
                          memory_order_release);
}

void watchdog_set_warn(struct watchdog *dog, uint64_t warn_ms)
{
    if (!dog)
        return;
    atomic_store_explicit(&dog->warn_ns, warn_ms * NS_PER_MS, memory_order_relaxed);
    pthread_mutex_lock(&dog->lock);
    dog->woken = true;
    pthread_cond_signal(&dog->wake);
    pthread_mutex_unlock(&dog->lock);
}

static int thread_start(struct watchdog *dog)
{
    sigset_t all, before;
    int r;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = -pthread_create(&dog->thread, NULL, thread_main, dog);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0)
        pthread_setname_np(dog->thread, "pg-watchdog");
    return r;
}

static void dog_free(struct watchdog *dog)
{
    pthread_cond_destroy(&dog->wake);
    pthread_mutex_destroy(&dog->lock);
    free(dog);
}

int watchdog_new(struct hooks *hooks, uint64_t warn_ms, struct watchdog **r_dog)
{
    struct watchdog *dog;
    pthread_condattr_t attr;
    uint32_t n = 0;
    int r;

    for (const struct crumb *c = hooks->crumbs; c; c = c->next)
        n++;
    dog = calloc(1, sizeof(*dog) + n * sizeof(dog->watched[0]));
    if (!dog)
        return -ENOMEM;
    dog->log = hooks->log;
    atomic_init(&dog->warn_ns, warn_ms * NS_PER_MS);
    for (struct crumb *c = hooks->crumbs; c; c = c->next)
        if (!c->may_block)
            dog->watched[dog->n_watched++].crumb = c;
    pthread_mutex_init(&dog->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&dog->wake, &attr);
    pthread_condattr_destroy(&attr);
    r = thread_start(dog);
    if (r < 0) {
        dog_free(dog);
        return r;
    }
    for (struct crumb *c = hooks->crumbs; c; c = c->next)
        c->watchdog = dog;
    *r_dog = dog;
    return 0;
}

void watchdog_free(struct watchdog **dog)
{
    struct watchdog *d = *dog;

    *dog = NULL;
    if (!d)
        return;
    for (uint32_t i = 0; i < d->n_watched; i++)
        d->watched[i].crumb->watchdog = NULL;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    dog_free(d);
}
