/* The end of the plugins' work: questions that still wait are cancelled, then two rounds, first
 * everybody but the store, then the store. The state lives on loop 0, the plugins are asked on
 * their own loops. */
#include "hooks/chain.h"
#include "hooks/pending.h"
#include "hooks/plugin.h"
#include "hooks/worker.h"
#include <errno.h>
#include <stdlib.h>

#define SWEEP_MS 500u
#define ROUND_MS 2000u /* both together stay within the five seconds of a shutdown */

struct quiesce_call {
    struct mail mail;
    struct instance *inst;
    struct loop *home;
    bool is_silent; /* nobody to ask: only waits until the worker has come so far */
    struct quiesce *q;
    uint32_t round;
};

struct sweep {
    struct mail mail;
    struct quiesce *q;
};

struct quiesce {
    struct hooks *hooks;
    void (*done)(void *arg);
    void *arg;
    struct sweep *sweeps; /* by loop */
    uint32_t n_sweeps;    /* not back */
    bool is_swept;
    struct quiesce_call *calls;
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

static void on_call_worker_back(struct loop *here, struct mail *m)
{
    (void)here;
    slot_mail_back(container_of(m, struct ask_slot, hop_mail));
}

static void on_quiesced(struct ask_slot *slot, int32_t verdict)
{
    struct quiesce_call *call = slot->owner;
    struct loop *here = slot->hl->loop;

    (void)verdict;
    slot_release(slot);
    loop_post(here, 0, &call->mail, on_call_back);
}

/* On a worker, which has no slots: the question is one of loop 0, as for any other hook. */
static void on_call_worker(struct loop *here, struct mail *m)
{
    struct ask_slot *slot = container_of(m, struct ask_slot, hop_mail);
    const struct quiesce_call *call = slot->view;
    struct instance *inst = call->inst;
    int32_t r = PIGEON_OK;

    (void)here;
    if (inst->created && !inst->hooks->stopping && !call->is_silent) {
        struct crumb_call crumb = crumb_begin(inst, PIGEON_HOOK_LIFE);

        r = inst->plugin->desc.quiesce(inst->self, slot->req.token);
        crumb_end(crumb);
    }
    if (r != PIGEON_PENDING)
        pending_complete(inst, slot->req.token, PIGEON_OK);
    hooks_post(slot->hl->loop, m, on_call_worker_back);
}

/* false: no memory, it is not asked. */
static bool call_worker(struct quiesce_call *call)
{
    struct ask_slot *slot = slot_get(call->inst->hooks->loop[0]);

    if (!slot)
        return false;
    slot_open(slot, call->inst);
    slot->owner = call;
    slot->fn = on_quiesced;
    slot->view = call;
    slot->home = call->home;
    slot->mails_out++;
    slot_count(slot);
    hooks_post(call->home, &slot->hop_mail, on_call_worker);
    return true;
}

static void on_call(struct loop *here, struct mail *m)
{
    struct quiesce_call *call = container_of(m, struct quiesce_call, mail);
    struct instance *inst = call->inst;
    struct ask_slot *slot = inst->created ? slot_get(inst->hooks->loop[loop_index(here)]) : NULL;

    if (slot) {
        struct crumb_call crumb = crumb_begin(inst, PIGEON_HOOK_LIFE);
        int32_t r;

        slot_open(slot, inst);
        r = inst->plugin->desc.quiesce(inst->self, slot->req.token);
        crumb_end(crumb);
        if (r == PIGEON_PENDING) {
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

/* ---- questions that still wait: PIGEON_CANCEL_STOP, once, before the plugin is quiesced ---- */

static void sweep_over(struct quiesce *q)
{
    timer_stop(loop_timers(first_loop(q)), &q->give_up);
    q->is_swept = true;
    begin_round(q);
}

static void on_swept(struct loop *here, struct mail *m)
{
    struct quiesce *q = container_of(m, struct sweep, mail)->q;

    (void)here;
    if (--q->n_sweeps == 0 && !q->is_swept)
        sweep_over(q);
}

/* The answer leaves behind the cancels that go to other loops. */
static void on_sweep(struct loop *here, struct mail *m)
{
    struct quiesce *q = container_of(m, struct sweep, mail)->q;

    slots_cancel(q->hooks->loop[loop_index(here)], PIGEON_CANCEL_STOP);
    loop_post_last(here, 0, m, on_swept);
}

static void sweep(struct quiesce *q)
{
    struct loop *first = first_loop(q);

    timer_arm(loop_timers(first), &q->give_up, loop_now_ms(first) + SWEEP_MS);
    q->n_sweeps = q->hooks->n_loops;
    for (uint32_t i = 0; i < q->hooks->n_loops; i++) {
        q->sweeps[i].q = q;
        loop_post(first, i, &q->sweeps[i].mail, on_sweep);
    }
}

/* ---- two rounds ---- */

static void on_give_up(struct timer *t, uint64_t now_ms)
{
    struct quiesce *q = container_of(t, struct quiesce, give_up);

    (void)now_ms;
    if (!q->is_swept) {
        sweep_over(q);
        return;
    }
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
        if (!call->inst->plugin->n_workers)
            loop_post(first, call->inst->loop, &call->mail, on_call);
        else if (!call_worker(call))
            loop_post(first, 0, &call->mail, on_call_back);
    }
    if (q->n_left == 0)
        round_over(q);
    else
        timer_arm(loop_timers(first), &q->give_up, loop_now_ms(first) + ROUND_MS);
}

/* One per instance that wants to know; one per worker, for what it is at has to end first. */
static void calls_add(struct quiesce *q, struct plugin *p)
{
    uint32_t n = p->n_workers ? p->n_workers : p->n_instances;

    for (uint32_t k = 0; k < n; k++) {
        struct seat seat = plugin_seat(p, k);
        bool asks = p->desc.quiesce && k < p->n_instances;

        if (!p->n_workers)
            seat.inst = &p->instances[k];
        if (seat.inst->created && (asks || p->n_workers))
            q->calls[q->n_calls++] = (struct quiesce_call){ .inst = seat.inst,
                                                            .home = seat.loop,
                                                            .is_silent = !asks,
                                                            .q = q,
                                                            .round = p == q->hooks->store_plugin };
    }
}

static int calls_init(struct quiesce *q)
{
    struct hooks *hooks = q->hooks;
    uint32_t n = 0;

    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        n += hooks->plugins[i].n_instances + hooks->plugins[i].n_workers;
    q->calls = calloc(n ? n : 1, sizeof(*q->calls));
    q->sweeps = calloc(hooks->n_loops, sizeof(*q->sweeps));
    if (!q->calls || !q->sweeps)
        return -ENOMEM;
    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        calls_add(q, &hooks->plugins[i]);
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
        if (q) {
            free(q->calls);
            free(q->sweeps);
        }
        free(q);
        done(arg);
        return;
    }
    hooks->quiesce = q;
    sweep(q);
}

void hooks_ending(struct hook_loop *hl)
{
    hl->ends = true;
}

void quiesce_free(struct quiesce **q)
{
    if (!*q)
        return;
    timer_stop(loop_timers(first_loop(*q)), &(*q)->give_up);
    free((*q)->calls);
    free((*q)->sweeps);
    free(*q);
    *q = NULL;
}
