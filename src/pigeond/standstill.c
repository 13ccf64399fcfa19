#include "pigeond/standstill.h"
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#define PATIENCE_S 1

struct call {
    struct mail mail;
    struct standstill *all;
};

struct standstill {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t n_resting; /* loops that have come */
    uint32_t n_refs;    /* of loop 0 and of each mail */
    bool is_over;       /* loops may go on, late ones need not stop */
    bool is_done;       /* fn was called */
    void (*then)(void *ctx, struct loop *here);
    void *ctx;
    struct call calls[];
};

/* With the lock held; gives it up. */
static void leave(struct standstill *all)
{
    bool is_last = --all->n_refs == 0;
    pthread_mutex_unlock(&all->lock);
    if (!is_last)
        return;
    pthread_cond_destroy(&all->changed);
    pthread_mutex_destroy(&all->lock);
    free(all);
}

static void on_call(struct loop *here, struct mail *m)
{
    struct standstill *all = ((struct call *)m)->all;
    void (*then)(void *ctx, struct loop *here) = all->then;
    void *ctx = all->ctx;
    pthread_mutex_lock(&all->lock);
    all->n_resting++;
    pthread_cond_broadcast(&all->changed);
    while (!all->is_over)
        pthread_cond_wait(&all->changed, &all->lock);
    bool is_done = all->is_done;
    leave(all);
    if (is_done)
        then(ctx, here);
}

static struct standstill *standstill_new(uint32_t n_others)
{
    struct standstill *all = calloc(1, sizeof(*all) + n_others * sizeof(all->calls[0]));
    pthread_condattr_t attr;
    if (!all)
        return NULL;
    pthread_mutex_init(&all->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&all->changed, &attr);
    pthread_condattr_destroy(&attr);
    all->n_refs = 1 + n_others;
    return all;
}

int standstill_run(struct loop_group *loops, void (*fn)(void *ctx),
                   void (*then)(void *ctx, struct loop *here), void *ctx)
{
    uint32_t n_others = loop_group_count(loops) - 1;
    struct standstill *all = standstill_new(n_others);
    struct timespec until;
    bool is_done;
    int r = 0;
    if (!all)
        return -ENOMEM;
    all->then = then;
    all->ctx = ctx;
    for (uint32_t i = 0; i < n_others; i++) {
        all->calls[i].all = all;
        loop_post_any(loop_group_at(loops, i + 1), &all->calls[i].mail, on_call);
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += PATIENCE_S;
    pthread_mutex_lock(&all->lock);
    while (all->n_resting < n_others && !r)
        r = -pthread_cond_timedwait(&all->changed, &all->lock, &until);
    if (all->n_resting == n_others) {
        fn(ctx);
        all->is_done = true;
        r = 0;
    }
    is_done = all->is_done;
    all->is_over = true;
    pthread_cond_broadcast(&all->changed);
    leave(all);
    if (is_done)
        then(ctx, loop_group_at(loops, 0));
    return r;
}
