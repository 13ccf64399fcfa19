/* Timers and descriptors of an instance, on its own loop. */
#include "hooks/chain.h"
#include "hooks/host_priv.h"
#include "hooks/worker.h"
#include "net/watch.h"
#include <stdlib.h>
#include <time.h>

struct pigeon_watch {
    struct list link; /* in instance.watches */
    struct instance *inst;
    struct watch *watch;
    pigeon_watch_fn fn;
    void *arg;
};

_Static_assert(PIGEON_FD_READ == WATCH_READ && PIGEON_FD_WRITE == WATCH_WRITE, "same bits");

static void on_watch(struct watch *w, uint32_t events, void *arg)
{
    struct pigeon_watch *pw = arg;
    struct instance *inst = pw->inst;
    struct crumb *crumb = hooks_crumb(inst->hooks, inst->home);

    (void)w;
    if (!inst->created)
        return;
    crumb_enter(crumb, inst, PIGEON_HOOK_LIFE, NULL);
    pw->fn(inst->self, pw->arg, pw, events);
    crumb_leave(crumb);
}

static struct pigeon_watch *watch_make(struct instance *inst, const char *function,
                                       pigeon_watch_fn fn, void *arg)
{
    struct pigeon_watch *pw;

    if (!host_check_thread(inst, function))
        return NULL;
    pw = fn ? calloc(1, sizeof(*pw)) : NULL;
    if (pw) {
        pw->inst = inst;
        pw->fn = fn;
        pw->arg = arg;
        list_append(&inst->watches, &pw->link);
    }
    return pw;
}

static void unwatch(pigeon_watch *pw)
{
    if (!pw || !host_check_thread(pw->inst, "unwatch"))
        return;
    list_remove(&pw->link);
    watch_free(&pw->watch);
    free(pw);
}

static uint64_t to_ms(int64_t ns)
{
    return ns <= 0 ? 0 : ((uint64_t)ns + 999999) / 1000000;
}

/* How long ago the loop looked at the clock: a turn of a worker lasts while its plugin blocks. */
static uint64_t lag_ms(const struct instance *inst)
{
    struct timespec now;

    if (!inst->plugin->n_workers)
        return 0;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000 - loop_now_ms(inst->home);
}

static pigeon_watch *timer(void *inst, int64_t after_ns, int64_t repeat_ns, pigeon_watch_fn fn,
                           void *arg)
{
    struct instance *i = instance_of(inst);
    struct pigeon_watch *pw = watch_make(i, "timer", fn, arg);

    if (!pw)
        return NULL;
    if (watch_timer(i->home, to_ms(after_ns) + lag_ms(i), to_ms(repeat_ns), on_watch, pw,
                    &pw->watch) < 0) {
        list_remove(&pw->link);
        free(pw);
        return NULL;
    }
    return pw;
}

static pigeon_watch *fd(void *inst, int32_t desc, uint32_t events, pigeon_watch_fn fn, void *arg)
{
    struct instance *i = instance_of(inst);
    struct pigeon_watch *pw;

    if (desc < 0 || (events & ~(PIGEON_FD_READ | PIGEON_FD_WRITE)))
        return NULL;
    pw = watch_make(i, "fd", fn, arg);
    if (!pw)
        return NULL;
    if (watch_fd(i->home, desc, events, on_watch, pw, &pw->watch) < 0) {
        list_remove(&pw->link);
        free(pw);
        return NULL;
    }
    return pw;
}

void host_watch_drop(struct instance *inst)
{
    struct list *it;

    while ((it = list_pop(&inst->watches)) != NULL) {
        struct pigeon_watch *pw = container_of(it, struct pigeon_watch, link);

        watch_free(&pw->watch);
        free(pw);
    }
}

void host_watch_fill(pigeon_host *host)
{
    host->timer = timer;
    host->fd = fd;
    host->unwatch = unwatch;
}
