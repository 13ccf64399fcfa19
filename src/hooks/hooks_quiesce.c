/* The end of the plugins' work: two rounds, first everybody but the store, then the store. The
 * state lives on loop 0, the plugins are asked on their own loops. */
#include "hooks/chain.h"
#include "hooks/pending.h"
#include "hooks/plugin.h"
#include <errno.h>
#include <stdlib.h>

#define ROUND_MS 2000u /* both together stay within the five seconds of a shutdown */

struct quiesce_call {
    struct mail mail;
    struct instance *inst;
    struct quiesce *q;
    uint32_t round;
};

struct quiesce {
    struct hooks *hooks;
    void (*done)(void *arg);
    void *arg;
    struct quiesce_call *calls; /* one per instance */
    uint32_t n_calls, n_left, round;
    struct timer give_up;
    struct mail mail;
};

static void begin_round(struct quiesce *q);

static struct loop *first_loop(const struct quiesce *q)
{
    return loop_group_at(q->hooks->loops, 0);
}

static void on_done(struct loop *here, struct mail *m)
{
    struct quiesce *q = container_of(m, struct quiesce, mail);

    (void)here;
    if (!q->hooks->stopping)
        q->done(q->arg);
}

static void round_over(struct quiesce *q)
{
    timer_stop(loop_timers(first_loop(q)), &q->give_up);
    q->round++;
    if (q->round == 1)
        begin_round(q);
    else
        loop_post(first_loop(q), 0, &q->mail, on_done);
}

/* Back on loop 0; an answer to a round that was given up changes nothing. */
static void on_call_back(struct loop *here, struct mail *m)
{
    struct quiesce_call *call = container_of(m, struct quiesce_call, mail);
    struct quiesce *q = call->q;

    (void)here;
    if (call->round == q->round && --q->n_left == 0)
        round_over(q);
}

static void on_quiesced(struct ask_slot *slot, int32_t verdict)
{
    struct quiesce_call *call = slot->owner;
    struct loop *here = slot->hl->loop;

    (void)verdict;
    slot_release(slot);
    loop_post(here, 0, &call->mail, on_call_back);
}

static void on_call(struct loop *here, struct mail *m)
{
    struct quiesce_call *call = container_of(m, struct quiesce_call, mail);
    struct instance *inst = call->inst;
    struct ask_slot *slot = inst->created ? slot_get(inst->hooks->loop[loop_index(here)]) : NULL;

    if (slot) {
        slot_open(slot, inst);
        if (inst->plugin->desc.quiesce(inst->self, slot->req.token) == PIGEON_PENDING) {
            slot->owner = call;
            slot->fn = on_quiesced;
            slot_count(slot);
            return;
        }
        if (slot_close(slot))
            slot_put(slot);
    }
    loop_post(here, 0, m, on_call_back);
}

static void on_give_up(struct timer *t, uint64_t now_ms)
{
    struct quiesce *q = container_of(t, struct quiesce, give_up);

    (void)now_ms;
    log_warn(q->hooks->log, "plugin_quiesce_timeout", LU("instances", q->n_left));
    round_over(q);
}

static void begin_round(struct quiesce *q)
{
    struct loop *first = first_loop(q);

    q->n_left = 0;
    for (uint32_t i = 0; i < q->n_calls; i++) {
        struct quiesce_call *call = &q->calls[i];

        if (call->round != q->round)
            continue;
        q->n_left++;
        loop_post(first, call->inst->loop, &call->mail, on_call);
    }
    if (q->n_left == 0)
        round_over(q);
    else
        timer_arm(loop_timers(first), &q->give_up, loop_now_ms(first) + ROUND_MS);
}

static int calls_init(struct quiesce *q)
{
    struct hooks *hooks = q->hooks;
    uint32_t n = 0;

    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        n += hooks->plugins[i].n_instances;
    q->calls = calloc(n ? n : 1, sizeof(*q->calls));
    if (!q->calls)
        return -ENOMEM;
    for (uint32_t i = 0; i < hooks->n_plugins; i++) {
        struct plugin *p = &hooks->plugins[i];

        for (uint32_t k = 0; k < p->n_instances && p->desc.quiesce; k++)
            if (p->instances[k].created)
                q->calls[q->n_calls++] = (struct quiesce_call){ .inst = &p->instances[k],
                                                                .q = q,
                                                                .round = p == hooks->store_plugin };
    }
    return 0;
}

void hooks_quiesce(struct hooks *hooks, void (*done)(void *arg), void *arg)
{
    struct quiesce *q;

    if (hooks->quiesce)
        return;
    q = calloc(1, sizeof(*q));
    if (q) {
        *q = (struct quiesce){ .hooks = hooks, .done = done, .arg = arg };
        timer_init(&q->give_up, on_give_up);
    }
    if (!q || calls_init(q) < 0) { /* they are destroyed without having been asked */
        free(q);
        done(arg);
        return;
    }
    hooks->quiesce = q;
    begin_round(q);
}

void quiesce_free(struct quiesce **q)
{
    if (!*q)
        return;
    timer_stop(loop_timers(first_loop(*q)), &(*q)->give_up);
    free((*q)->calls);
    free(*q);
    *q = NULL;
}
