/* Timers and descriptors of an instance, on its own loop. */
#include "hooks/chain.h"
#include "hooks/host_priv.h"
#include "net/watch.h"
#include <stdlib.h>

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
    struct hook_loop *hl = inst->hooks->loop[inst->loop];

    (void)w;
    if (!inst->created)
        return;
    crumb_enter(&hl->crumb, inst, PIGEON_HOOK_LIFE, NULL);
    pw->fn(inst->self, pw->arg, pw, events);
    crumb_leave(&hl->crumb);
}

static struct pigeon_watch *watch_make(struct instance *inst, pigeon_watch_fn fn, void *arg)
{
    struct pigeon_watch *pw;

#ifndef NDEBUG
    if (!host_on_loop(inst))
        return NULL;
#endif
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
    if (!pw)
        return;
#ifndef NDEBUG
    if (!host_on_loop(pw->inst))
        return;
#endif
    list_remove(&pw->link);
    watch_free(&pw->watch);
    free(pw);
}

static uint64_t to_ms(int64_t ns)
{
    return ns <= 0 ? 0 : ((uint64_t)ns + 999999) / 1000000;
}

static pigeon_watch *timer(void *inst, int64_t after_ns, int64_t repeat_ns, pigeon_watch_fn fn,
                           void *arg)
{
    struct instance *i = instance_of(inst);
    struct pigeon_watch *pw = watch_make(i, fn, arg);

    if (!pw)
        return NULL;
    if (watch_timer(loop_group_at(i->hooks->loops, i->loop), to_ms(after_ns), to_ms(repeat_ns),
                    on_watch, pw, &pw->watch) < 0) {
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
    pw = watch_make(i, fn, arg);
    if (!pw)
        return NULL;
    if (watch_fd(loop_group_at(i->hooks->loops, i->loop), desc, events, on_watch, pw, &pw->watch) <
        0) {
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
