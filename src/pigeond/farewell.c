#include "pigeond/farewell.h"
#include <stdbool.h>
#include <stdlib.h>

#define LOOK_MS 10u
#define LOOKS   50u

struct question {
    struct mail mail;
    struct farewell *all;
};

struct farewell {
    struct loop_group *loops;
    void (*done)(void *ctx);
    void *ctx;
    struct timer look;
    uint32_t n_looks;
    uint32_t n_asked; /* answers that are still to come */
    bool any;         /* somebody lingers */
    struct question questions[];
};

static struct loop *first(const struct farewell *all)
{
    return loop_group_at(all->loops, 0);
}

static void end(struct farewell *all)
{
    all->done(all->ctx);
    free(all);
}

static void on_answer(struct loop *here, struct mail *m, bool lingers)
{
    struct farewell *all = container_of(m, struct question, mail)->all;
    all->any |= lingers;
    if (--all->n_asked)
        return;
    if (all->any)
        timer_arm(loop_timers(here), &all->look, loop_now_ms(here) + LOOK_MS);
    else
        end(all);
}

static void on_some(struct loop *here, struct mail *m)
{
    on_answer(here, m, true);
}

static void on_none(struct loop *here, struct mail *m)
{
    on_answer(here, m, false);
}

static void on_question(struct loop *here, struct mail *m)
{
    struct loop_stats stats;
    loop_get_stats(here, &stats);
    loop_post(here, 0, m, stats.n_lingering ? on_some : on_none);
}

static void ask(struct farewell *all)
{
    all->any = false;
    all->n_asked = loop_group_count(all->loops);
    for (uint32_t i = 0; i < loop_group_count(all->loops); i++) {
        all->questions[i].all = all;
        loop_post(first(all), i, &all->questions[i].mail, on_question);
    }
}

static void on_look(struct timer *t, uint64_t now_ms)
{
    struct farewell *all = container_of(t, struct farewell, look);
    (void)now_ms;
    if (++all->n_looks < LOOKS)
        ask(all);
    else
        end(all);
}

void farewell_begin(struct loop_group *loops, void (*done)(void *ctx), void *ctx)
{
    uint32_t n = loop_group_count(loops);
    struct farewell *all = calloc(1, sizeof(*all) + n * sizeof(all->questions[0]));
    if (!all) {
        done(ctx);
        return;
    }
    all->loops = loops;
    all->done = done;
    all->ctx = ctx;
    timer_init(&all->look, on_look);
    ask(all);
}
