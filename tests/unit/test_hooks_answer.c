/* The rules of late answers (A1-A7, P5), with real threads. */
#include "hooks_support.h"
#include <pthread.h>
#include <stdatomic.h>

#define N_ASKS 200

static void start_with(struct world *w, uint32_t n_loops, const char *file, struct config_plugin *b)
{
    world_init(w, n_loops);
    world_link(w, file, "p.so");
    if (b) {
        struct config_plugin changed = w->config->plugin_preset;

        changed.name = "p";
        changed.deadline_ms = b->deadline_ms;
        changed.on_deadline = b->on_deadline;
        changed.max_pending = b->max_pending ? b->max_pending : changed.max_pending;
        *b = changed;
        w->config->plugins = b;
        w->config->n_plugins = 1;
    }
    assert_int_equal(world_start(w), 0);
}

static void turn_until(struct world *w, const char *metric, int64_t value)
{
    struct loop *loop = loop_group_at(w->loops, 0);
    uint64_t end = (uint64_t)time(NULL) + 10;

    while (metric_value(w, "p", metric) < value && (uint64_t)time(NULL) < end) {
        loop_turn(loop, false);
        sched_yield();
    }
    assert_int_equal(metric_value(w, "p", metric), value);
}

/* Every question has been answered, the cancelled ones too. */
static void turn_until_none_pends(struct world *w)
{
    uint64_t end = (uint64_t)time(NULL) + 10;

    while (metric_value(w, "p", "hook_pending") > 0 && (uint64_t)time(NULL) < end)
        for (uint32_t i = 0; i < loop_group_count(w->loops); i++)
            loop_turn(loop_group_at(w->loops, i), false);
    assert_int_equal(metric_value(w, "p", "hook_pending"), 0);
}

static void an_answer_from_another_thread_arrives_exactly_once(void **state)
{
    static const char *const orders[] = { "A", "D", "N", "E", "T" };
    static const int32_t verdicts[] = { PIGEON_ALLOW, PIGEON_DENY, PIGEON_DENY, PIGEON_ALLOW,
                                        PIGEON_ALLOW };
    struct identity *who = client_new(0);
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", NULL);
    for (int round = 0; round < 100; round++)
        for (size_t i = 0; i < sizeof(orders) / sizeof(orders[0]); i++)
            assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", orders[i]),
                             verdicts[i]);
    /* The second complete() of each 'T' came after the first had won. */
    turn_until(&w, "gone", 100);
    assert_int_equal(metric_value(&w, "p", "hook_pending"), 0);
    identity_unref(&who);
    world_fini(&w);
}

static void many_questions_wait_at_once_and_each_gets_its_own_answer(void **state)
{
    static struct question q[N_ASKS];
    struct identity *who = client_new(0);
    uint32_t n_done = 0;
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", NULL);
    for (int i = 0; i < N_ASKS; i++) {
        question_init(&q[i], PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "a", i % 3 ? "A" : "D");
        assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q[i].ask), ASK_WAIT);
    }
    for (int i = 0; i < N_ASKS; i++) {
        wait_until(&w, &q[i].n_done, 1);
        assert_int_equal(q[i].ask.verdict, i % 3 ? PIGEON_ALLOW : PIGEON_DENY);
        ask_fini(&q[i].ask);
        n_done += q[i].n_done;
    }
    assert_int_equal(n_done, N_ASKS);
    identity_unref(&who);
    world_fini(&w);
}

static void who_answers_by_return_and_complete_is_held_to_the_first(void **state)
{
    struct identity *who = client_new(0);
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", NULL);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "W"), PIGEON_DENY);
    assert_int_equal(metric_value(&w, "p", "hook_answered_twice"), 1);
    /* A delivery has no token: what is returned counts, and waiting is a denial. */
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_DELIVER, who, "a", "W"), PIGEON_ALLOW);
    assert_int_equal(metric_value(&w, "p", "hook_answered_twice"), 1);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_DELIVER, who, "a", "A"), PIGEON_DENY);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_DELIVER, who, "a", "a"), PIGEON_ALLOW);
    turn_until_none_pends(&w);
    identity_unref(&who);
    world_fini(&w);
}

struct twice {
    struct instance *inst;
    _Atomic pigeon_token token; /* 0: none yet; all bits: that was all */
    _Atomic uint32_t n_ok;
};

static void *complete_each(void *arg)
{
    struct twice *t = arg;
    pigeon_token last = 0, token;

    while ((token = atomic_load(&t->token)) != UINT64_MAX) {
        if (token != last && t->inst->host.complete(t->inst, token, PIGEON_ALLOW) == PIGEON_OK)
            atomic_fetch_add(&t->n_ok, 1);
        last = token;
    }
    return NULL;
}

static void of_two_threads_that_complete_one_token_one_wins(void **state)
{
    struct identity *who = client_new(0);
    struct twice t = { 0 };
    struct question q;
    pthread_t thread;
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", NULL);
    t.inst = &w.hooks->plugins[0].instances[0];
    assert_int_equal(pthread_create(&thread, NULL, complete_each, &t), 0);
    for (uint32_t i = 0; i < 2000; i++) {
        pigeon_token token;
        uint32_t n_ok;

        question_init(&q, PIGEON_HOOK_AUTHENTICATE, who, "", "H");
        assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_WAIT);
        token = q.ask.slot->req.token;
        atomic_store(&t.token, token);
        n_ok = t.inst->host.complete(t.inst, token, PIGEON_ALLOW) == PIGEON_OK;
        wait_until(&w, &q.n_done, 1);
        assert_int_equal(q.ask.verdict, PIGEON_ALLOW);
        ask_fini(&q.ask);
        atomic_fetch_add(&t.n_ok, n_ok);
    }
    atomic_store(&t.token, UINT64_MAX);
    pthread_join(thread, NULL);
    assert_int_equal(t.n_ok, 2000);
    identity_unref(&who);
    world_fini(&w);
}

/* ---- the plain store of slot_close, against plugins that return and complete at once ---- */

struct closing {
    struct twice t;
    struct ask_slot *slot; /* of the round */
    uint32_t n_answers;    /* that have come through the queue, in this round */
};

static void on_closing_answer(struct ask_slot *slot, int32_t verdict)
{
    struct closing *c = slot->owner;

    assert_ptr_equal(slot, c->slot);
    assert_int_equal(verdict, PIGEON_ALLOW);
    c->n_answers++;
    slot_release(slot);
}

/* Whatever the other thread does with this token and with earlier ones, of the same slot, too. */
static void *complete_old_and_new(void *arg)
{
    struct twice *t = arg;
    pigeon_token last[4] = { 0 }, token;

    for (uint32_t i = 0; (token = atomic_load(&t->token)) != UINT64_MAX; i++) {
        if (token == last[0]) {
            assert_int_equal(t->inst->host.complete(t->inst, last[1 + i % 3], PIGEON_DENY),
                             PIGEON_E_GONE);
            continue;
        }
        if (t->inst->host.complete(t->inst, token, PIGEON_ALLOW) == PIGEON_OK)
            atomic_fetch_add(&t->n_ok, 1);
        memmove(&last[1], &last[0], 3 * sizeof(last[0]));
        last[0] = token;
    }
    return NULL;
}

static uint32_t count_free(const struct hook_loop *hl)
{
    uint32_t n = 0;

    for (const struct ask_slot *slot = hl->slots.free; slot; slot = slot->next) {
        assert_int_equal(word_state(atomic_load(&slot->word)), SLOT_FREE);
        assert_false(atomic_load(&slot->queued));
        n++;
    }
    return n;
}

/* A round ends by the return, unless complete() was there first, or, every other one, waits for
 * complete(), while what was overtaken in earlier rounds may still be queued. */
static void closing_round(struct world *w, struct closing *c, uint32_t round)
{
    struct hook_loop *hl = hooks_loop(w->hooks, 0);
    uint32_t n_ok = atomic_load(&c->t.n_ok);
    uint64_t end = (uint64_t)time(NULL) + 10;

    c->slot = slot_get(hl);
    c->n_answers = 0;
    slot_open(c->slot, c->t.inst);
    c->slot->owner = c;
    c->slot->fn = on_closing_answer;
    atomic_store(&c->t.token, c->slot->req.token);
    for (uint32_t i = 0; i < round % 64; i++) /* to meet it at any place */
        atomic_load(&c->t.token);
    if (round % 2 && slot_close(c->slot)) {
        c->slot->owner = NULL;
        slot_put(c->slot);
        return;
    }
    while (!c->n_answers && (uint64_t)time(NULL) < end)
        loop_turn(loop_group_at(w->loops, 0), false);
    assert_int_equal(c->n_answers, 1);
    while (atomic_load(&c->t.n_ok) == n_ok && (uint64_t)time(NULL) < end)
        sched_yield();
    assert_true(atomic_load(&c->t.n_ok) > n_ok);
}

static void a_token_that_is_returned_and_completed_at_once_harms_no_other(void **state)
{
    struct closing c = { 0 };
    uint32_t n_free;
    pthread_t thread;
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", NULL);
    n_free = count_free(hooks_loop(w.hooks, 0));
    c.t.inst = &w.hooks->plugins[0].instances[0];
    assert_int_equal(pthread_create(&thread, NULL, complete_old_and_new, &c.t), 0);
    for (uint32_t i = 0; i < 5000; i++)
        closing_round(&w, &c, i);
    atomic_store(&c.t.token, UINT64_MAX);
    pthread_join(thread, NULL);
    while (atomic_load(&hooks_loop(w.hooks, 0)->slots.results))
        loop_turn(loop_group_at(w.loops, 0), false);
    assert_int_equal(count_free(hooks_loop(w.hooks, 0)), n_free);
    world_fini(&w);
}

static void the_deadline_denies_and_the_late_answer_is_told_so(void **state)
{
    struct config_plugin b = { .deadline_ms = 15 };
    struct identity *who = client_new(0);
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", &b);
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "H"), PIGEON_DENY);
    assert_int_equal(metric_value(&w, "p", "hook_deadlines"), 1);
    assert_int_equal(metric_value(&w, "p", "cancelled"), 1);
    assert_int_equal(metric_value(&w, "p", "hook_pending"), 1);
    ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "r");
    turn_until(&w, "gone", 1);
    turn_until(&w, "hook_late", 1);
    turn_until_none_pends(&w);
    assert_int_equal(metric_value(&w, "p", "ok"), 0);
    identity_unref(&who);
    world_fini(&w);
}

static void the_deadline_may_ask_the_next_plugin_instead(void **state)
{
    struct config_plugin b = { 0 };
    struct identity *who = client_new(0);
    struct question q;
    struct world w;

    (void)state;
    world_init(&w, 1);
    world_link(&w, "p0.so", "10-p.so");
    world_link(&w, "p1.so", "20-p1.so");
    b = w.config->plugin_preset;
    b.name = "p";
    b.deadline_ms = 15;
    b.on_deadline = CONFIG_DEADLINE_NEXT;
    w.config->plugins = &b;
    w.config->n_plugins = 1;
    assert_int_equal(world_start(&w), 0);
    question_init(&q, PIGEON_HOOK_INBOUND, who, "a", "HR");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_WAIT);
    wait_until(&w, &q.n_done, 1);
    assert_int_equal(q.ask.verdict, PIGEON_ALLOW);
    assert_true(str_eq(message_topic(q.ask.message), STR("rewritten")));
    ask_fini(&q.ask);
    ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "ra");
    turn_until(&w, "gone", 1);
    identity_unref(&who);
    world_fini(&w);
}

static void an_abandoned_question_is_cancelled_and_its_views_stay_until_the_answer(void **state)
{
    struct identity *who = client_new(0);
    struct question q;
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", NULL);
    question_init(&q, PIGEON_HOOK_AUTHENTICATE, who, "", "H");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_WAIT);
    ask_abandon(hooks_loop(w.hooks, 0), &q.ask);
    identity_unref(&who);
    memset(&q, 0xa5, sizeof(q));
    assert_int_equal(metric_value(&w, "p", "cancelled"), 1);
    assert_int_equal(metric_value(&w, "p", "hook_pending"), 1);
    who = client_new(0);
    ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "r");
    turn_until(&w, "gone", 1);
    identity_unref(&who);
    world_fini(&w);
}

static void abandoning_races_with_the_answer_and_nothing_is_lost(void **state)
{
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", NULL);
    for (int round = 0; round < 300; round++) {
        struct identity *who = client_new(0);
        struct question *q = malloc(sizeof(*q));

        question_init(q, PIGEON_HOOK_AUTHENTICATE, who, "", round % 2 ? "A" : "B");
        if (ask_run(hooks_loop(w.hooks, 0), &q->ask) == ASK_WAIT) {
            for (int k = 0; k < round % 5; k++)
                loop_turn(loop_group_at(w.loops, 0), false);
            if (q->n_done == 0)
                ask_abandon(hooks_loop(w.hooks, 0), &q->ask);
            else
                ask_fini(&q->ask);
        }
        identity_unref(&who);
        free(q);
    }
    turn_until_none_pends(&w);
    assert_int_equal(metric_value(&w, "p", "ok") + metric_value(&w, "p", "gone"), 300);
    world_fini(&w);
}

static void answers_race_with_a_short_deadline_and_each_question_ends_once(void **state)
{
    static struct question q[N_ASKS];
    struct config_plugin b = { .deadline_ms = 1 };
    struct identity *who = client_new(0);
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", &b);
    for (int i = 0; i < N_ASKS; i++) {
        question_init(&q[i], PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "a", i % 2 ? "A" : "B");
        assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q[i].ask), ASK_WAIT);
        if (i % 7 == 0)
            loop_turn(loop_group_at(w.loops, 0), false);
    }
    for (int i = 0; i < N_ASKS; i++) {
        wait_until(&w, &q[i].n_done, 1);
        ask_fini(&q[i].ask);
    }
    turn_until_none_pends(&w);
    for (int i = 0; i < N_ASKS; i++)
        assert_int_equal(q[i].n_done, 1);
    identity_unref(&who);
    world_fini(&w);
}

static void a_stale_token_does_nothing_after_its_slot_was_used_again(void **state)
{
    struct identity *who = client_new(0);
    struct instance *inst;
    struct question q;
    pigeon_token stale;
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", NULL);
    inst = &w.hooks->plugins[0].instances[0];
    question_init(&q, PIGEON_HOOK_AUTHENTICATE, who, "", "H");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_WAIT);
    stale = q.ask.slot->req.token;
    assert_int_equal(inst->host.complete(inst, stale, PIGEON_ALLOW), PIGEON_OK);
    assert_int_equal(inst->host.complete(inst, stale, PIGEON_DENY), PIGEON_E_GONE);
    wait_until(&w, &q.n_done, 1);
    assert_int_equal(q.ask.verdict, PIGEON_ALLOW);
    ask_fini(&q.ask);
    question_init(&q, PIGEON_HOOK_AUTHENTICATE, who, "", "H");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_WAIT);
    assert_int_equal((uint32_t)(q.ask.slot->req.token >> 32), (uint32_t)(stale >> 32));
    assert_true(q.ask.slot->req.token != stale);
    assert_int_equal(inst->host.complete(inst, stale, PIGEON_ALLOW), PIGEON_E_GONE);
    assert_int_equal(inst->host.complete(inst, 0, PIGEON_ALLOW), PIGEON_E_GONE);
    assert_int_equal(inst->host.complete(inst, UINT64_MAX >> 1, PIGEON_ALLOW), PIGEON_E_GONE);
    assert_int_equal(inst->host.complete(inst, UINT64_MAX, PIGEON_ALLOW), PIGEON_E_GONE);
    ask_abandon(hooks_loop(w.hooks, 0), &q.ask);
    identity_unref(&who);
    world_fini(&w);
}

static void beyond_max_pending_questions_are_denied_as_busy(void **state)
{
    struct config_plugin b = { .max_pending = 3 };
    struct identity *who = client_new(0);
    struct question q[5];
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", &b);
    for (int i = 0; i < 3; i++) {
        question_init(&q[i], PIGEON_HOOK_AUTHENTICATE, who, "", "H");
        assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q[i].ask), ASK_WAIT);
    }
    question_init(&q[3], PIGEON_HOOK_AUTHENTICATE, who, "", "a");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q[3].ask), ASK_DONE);
    assert_int_equal(q[3].ask.verdict, PIGEON_DENY);
    assert_int_equal(q[3].ask.reason, 0x89);
    question_init(&q[4], PIGEON_HOOK_AUTHORIZE_PUBLISH, who, "a", "a");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q[4].ask), ASK_DONE);
    assert_int_equal(q[4].ask.reason, 0x97);
    /* A delivery waits for nobody, so it is asked. */
    assert_int_equal(ask_now(&w, PIGEON_HOOK_AUTHORIZE_DELIVER, who, "a", "a"), PIGEON_ALLOW);
    for (int i = 0; i < 3; i++)
        ask_abandon(hooks_loop(w.hooks, 0), &q[i].ask);
    ask_fini(&q[3].ask);
    ask_fini(&q[4].ask);
    identity_unref(&who);
    world_fini(&w);
}

static void an_answer_that_never_comes_is_a_counted_leak_and_no_more(void **state)
{
    struct identity *who = client_new(0);
    struct question q;
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", NULL);
    question_init(&q, PIGEON_HOOK_INBOUND, who, "a", "H");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_WAIT);
    ask_abandon(hooks_loop(w.hooks, 0), &q.ask);
    identity_unref(&who);
    hooks_free(&w.hooks);
    assert_true(world_logged(&w, "plugin_answers_missing"));
    world_fini(&w);
}

static void who_asked_hears_nothing_once_the_instances_are_going(void **state)
{
    struct identity *who = client_new(0);
    uint64_t end = (uint64_t)time(NULL) + 10;
    struct question q;
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", NULL);
    question_init(&q, PIGEON_HOOK_AUTHORIZE_WILL, who, "a", "A");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_WAIT);
    while (metric_value(&w, "p", "ok") < 1 && (uint64_t)time(NULL) < end)
        sched_yield();
    identity_unref(&who);
    hooks_free(&w.hooks);
    assert_int_equal(q.n_done, 0);
    q.ask.waiting = false;
    ask_fini(&q.ask);
    world_fini(&w);
}

static void client_slots_are_freed_once_with_the_last_reference(void **state)
{
    struct identity *who = client_new(0), *second;
    struct identity_parts parts;
    struct question q;
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", NULL);
    ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "S");
    ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "S");
    identity_parts(who, &parts);
    second = identity_new(&parts, who);
    identity_unref(&who);
    assert_int_equal(metric_value(&w, "p", "slots_freed"), 0);
    question_init(&q, PIGEON_HOOK_AUTHENTICATE, second, "", "H");
    assert_int_equal(ask_run(hooks_loop(w.hooks, 0), &q.ask), ASK_WAIT);
    ask_abandon(hooks_loop(w.hooks, 0), &q.ask);
    identity_unref(&second);
    assert_int_equal(metric_value(&w, "p", "slots_freed"), 0);
    who = client_new(0);
    ask_now(&w, PIGEON_HOOK_AUTHENTICATE, who, "", "r");
    identity_unref(&who);
    turn_until(&w, "slots_freed", 1);
    world_fini(&w);
}

/* ---- several loops ------------------------------------------------------------------- */

struct client {
    struct mail mail;
    struct world *w;
    uint32_t loop;
    struct identity *who;
    struct question q;
    uint32_t n_left, n_allowed;
    const char *orders; /* in turn */
    char order[2];
    _Atomic uint32_t *n_ended;
};

static void client_step(struct client *c);

static void client_settled(struct client *c)
{
    c->n_allowed += c->q.ask.verdict == PIGEON_ALLOW;
    ask_fini(&c->q.ask);
}

static void on_client_answer(struct ask *ask)
{
    struct client *c = container_of(container_of(ask, struct question, ask), struct client, q);

    assert_ptr_equal(loop_current(), loop_group_at(c->w->loops, c->loop));
    client_settled(c);
    client_step(c);
}

static void client_step(struct client *c)
{
    struct hook_loop *hl = hooks_loop(c->w->hooks, c->loop);

    while (c->n_left > 0) {
        int r;

        c->order[0] = c->orders[c->n_left % strlen(c->orders)];
        c->n_left--;
        question_init(&c->q, c->n_left % 2 ? PIGEON_HOOK_AUTHENTICATE : PIGEON_HOOK_INBOUND, c->who,
                      "a/b", c->order);
        c->q.ask.done = on_client_answer;
        r = ask_run(hl, &c->q.ask);
        if (r == ASK_WAIT) {
            if (c->n_left % 11 == 0) { /* gone in the middle of it */
                ask_abandon(hl, &c->q.ask);
                continue;
            }
            return;
        }
        client_settled(c);
    }
    identity_unref(&c->who);
    if (atomic_fetch_add(c->n_ended, 1) + 1 == 9)
        loop_group_stop(c->w->loops);
}

static void on_client_start(struct loop *here, struct mail *m)
{
    struct client *c = container_of(m, struct client, mail);

    c->loop = loop_index(here);
    c->who = client_new(c->loop);
    client_step(c);
}

static void run_clients(const char *file, const char *orders, uint32_t n_asks)
{
    struct client clients[9] = { 0 };
    _Atomic uint32_t n_ended = 0;
    struct world w;

    start_with(&w, 3, file, NULL);
    for (uint32_t i = 0; i < 9; i++) {
        clients[i] =
            (struct client){ .w = &w, .n_left = n_asks, .orders = orders, .n_ended = &n_ended };
        loop_post_any(loop_group_at(w.loops, i % 3), &clients[i].mail, on_client_start);
    }
    assert_int_equal(loop_start_threads(w.loops), 0);
    loop_run(loop_group_at(w.loops, 0));
    loop_join(w.loops);
    assert_int_equal(n_ended, 9);
    turn_until_none_pends(&w);
    for (uint32_t i = 0; i < 9; i++)
        assert_true(clients[i].n_allowed > 0);
    world_fini(&w);
}

static void one_instance_per_loop_answers_from_its_threads(void **state)
{
    (void)state;
    run_clients("p0.so", "aANdETSWAB", 500);
}

static void questions_hop_to_the_single_instance_and_back(void **state)
{
    (void)state;
    run_clients("single.so", "aANdETSWAB", 500);
}

static void a_shared_instance_is_asked_from_all_loops_at_once(void **state)
{
    (void)state;
    run_clients("shared.so", "aANdETSWAB", 500);
}

static void on_all_quiet(void *arg)
{
    ++*(uint32_t *)arg;
}

static void quiesce_waits_for_every_instance(void **state)
{
    uint32_t n_done = 0;
    struct world w;

    (void)state;
    start_with(&w, 1, "p0.so", NULL);
    hooks_quiesce(w.hooks, on_all_quiet, &n_done);
    wait_until(&w, &n_done, 1);
    assert_int_equal(metric_value(&w, "p", "quiesced"), 1);
    assert_int_equal(metric_value(&w, "p", "hook_pending"), 0);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_from_another_thread_arrives_exactly_once),
        cmocka_unit_test(many_questions_wait_at_once_and_each_gets_its_own_answer),
        cmocka_unit_test(who_answers_by_return_and_complete_is_held_to_the_first),
        cmocka_unit_test(of_two_threads_that_complete_one_token_one_wins),
        cmocka_unit_test(a_token_that_is_returned_and_completed_at_once_harms_no_other),
        cmocka_unit_test(the_deadline_denies_and_the_late_answer_is_told_so),
        cmocka_unit_test(the_deadline_may_ask_the_next_plugin_instead),
        cmocka_unit_test(an_abandoned_question_is_cancelled_and_its_views_stay_until_the_answer),
        cmocka_unit_test(abandoning_races_with_the_answer_and_nothing_is_lost),
        cmocka_unit_test(answers_race_with_a_short_deadline_and_each_question_ends_once),
        cmocka_unit_test(a_stale_token_does_nothing_after_its_slot_was_used_again),
        cmocka_unit_test(beyond_max_pending_questions_are_denied_as_busy),
        cmocka_unit_test(an_answer_that_never_comes_is_a_counted_leak_and_no_more),
        cmocka_unit_test(who_asked_hears_nothing_once_the_instances_are_going),
        cmocka_unit_test(client_slots_are_freed_once_with_the_last_reference),
        cmocka_unit_test(one_instance_per_loop_answers_from_its_threads),
        cmocka_unit_test(questions_hop_to_the_single_instance_and_back),
        cmocka_unit_test(a_shared_instance_is_asked_from_all_loops_at_once),
        cmocka_unit_test(quiesce_waits_for_every_instance),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
