#include "net/credit.h"
#include "net/loop.h"
#include "unit.h"
#include "base/list.h"
#include <errno.h>
#include <stdlib.h>

#define MAX_LOOPS 4u
#define N_ITEMS   5000u /* per pair */

struct item {
    struct mail mail;
};

/* One loop: sends N_ITEMS to each other loop as fast as its credit lets it. */
struct flood {
    struct loop *loop;
    struct world *world;
    struct item *item[MAX_LOOPS];
    uint32_t n_sent[MAX_LOOPS];
    uint32_t n_received, n_pauses, n_resumes;
    bool paused[MAX_LOOPS];
};

struct world {
    struct loop_group *group;
    struct credit *credit;
    uint32_t n_loops;
    uint32_t load_max;
    struct flood flood[MAX_LOOPS];
    _Atomic uint32_t n_finished;
    _Atomic uint32_t n_over;
};

#define BURST 3u /* per receiver and round */

static void on_pause(void *ctx, struct loop *me, uint32_t receiver)
{
    struct flood *f = &((struct world *)ctx)->flood[loop_index(me)];
    assert_ptr_equal(loop_current(), me);
    assert_false(f->paused[receiver]);
    f->paused[receiver] = true;
    f->n_pauses++;
}

static void on_resume(void *ctx, struct loop *me, uint32_t receiver)
{
    struct flood *f = &((struct world *)ctx)->flood[loop_index(me)];
    assert_ptr_equal(loop_current(), me);
    assert_true(f->paused[receiver]);
    f->paused[receiver] = false;
    f->n_resumes++;
}

static const struct credit_ops credit_ops = { on_pause, on_resume, NULL };

static void on_flood_item(struct loop *here, struct mail *m)
{
    struct flood *f = loop_ctx(here);
    struct world *w = f->world;
    (void)m;
    /* high + (loops - 1) x one turn */
    if (credit_load(w->credit, loop_index(here)) > w->load_max)
        w->n_over++;
    credit_sub(w->credit, here, 1);
    if (++f->n_received == N_ITEMS * (w->n_loops - 1) && ++w->n_finished == w->n_loops)
        loop_group_stop(w->group);
}

static bool on_flood_round(void *ctx)
{
    struct flood *f = ctx;
    struct world *w = f->world;
    for (uint32_t to = 0; to < w->n_loops; to++) {
        if (to == loop_index(f->loop))
            continue;
        for (uint32_t i = 0; i < BURST && !f->paused[to] && f->n_sent[to] < N_ITEMS; i++) {
            struct item *item = &f->item[to][f->n_sent[to]++];
            credit_add(w->credit, f->loop, to, 1);
            loop_post(f->loop, to, &item->mail, on_flood_item);
        }
        if (f->n_sent[to] < N_ITEMS && !f->paused[to])
            loop_again(f->loop);
    }
    return false;
}

static const struct loop_ops flood_ops = { NULL, on_flood_round, NULL };

static void flood(uint32_t n_loops, uint32_t high, uint32_t low)
{
    struct world *w = calloc(1, sizeof(*w));
    struct loop_conf conf = { .n_loops = n_loops, .rounds_max = 1 };
    w->n_loops = n_loops;
    w->load_max = high + (n_loops - 1) * BURST;
    assert_int_equal(loop_group_new(&conf, &w->group), 0);
    assert_int_equal(credit_new(w->group, high, low, &credit_ops, w, &w->credit), 0);
    for (uint32_t i = 0; i < n_loops; i++) {
        struct flood *f = &w->flood[i];
        f->loop = loop_group_at(w->group, i);
        f->world = w;
        for (uint32_t j = 0; j < n_loops; j++)
            f->item[j] = calloc(N_ITEMS, sizeof(struct item));
        loop_set_ops(f->loop, &flood_ops, f);
    }
    assert_int_equal(loop_start_threads(w->group), 0);
    loop_run(loop_group_at(w->group, 0)); /* sticks, and the test runs into its timeout */
    loop_join(w->group);
    loop_group_settle(w->group);
    assert_int_equal(w->n_over, 0);
    uint32_t n_pauses = 0;
    for (uint32_t i = 0; i < n_loops; i++) {
        assert_int_equal(w->flood[i].n_received, N_ITEMS * (n_loops - 1));
        assert_int_equal(w->flood[i].n_pauses, w->flood[i].n_resumes);
        assert_int_equal(credit_load(w->credit, i), 0);
        assert_false(credit_is_any_paused(w->credit, w->flood[i].loop));
        n_pauses += w->flood[i].n_pauses;
        for (uint32_t j = 0; j < n_loops; j++)
            free(w->flood[i].item[j]);
    }
    assert_true(n_pauses > 0);
    credit_free(&w->credit);
    loop_group_free(&w->group);
    free(w);
}

static void two_loops_that_flood_each_other_never_stick(void **state)
{
    (void)state;
    flood(2, 2, 1);
    flood(2, 2, 0);
}

static void three_loops_that_flood_each_other_never_stick(void **state)
{
    (void)state;
    flood(3, 2, 1);
}

/* Two loops on one thread: a posts, b counts out what it is told to. */
struct pair {
    struct loop_group *group;
    struct credit *credit;
    struct loop *a, *b;
    uint32_t n_pauses, n_resumes;
    enum credit_gap gap; /* b counts out gap_units there */
    uint32_t gap_units;
};

static void on_pair_pause(void *ctx, struct loop *me, uint32_t receiver)
{
    struct pair *p = ctx;
    assert_ptr_equal(me, p->a);
    assert_int_equal(receiver, 1);
    p->n_pauses++;
}

static void on_pair_resume(void *ctx, struct loop *me, uint32_t receiver)
{
    struct pair *p = ctx;
    assert_ptr_equal(me, p->a);
    assert_int_equal(receiver, 1);
    p->n_resumes++;
}

static void in_pair_gap(void *ctx, enum credit_gap gap)
{
    struct pair *p = ctx;
    if (p->gap_units > 0 && gap == p->gap)
        credit_sub(p->credit, p->b, p->gap_units);
}

static const struct credit_ops pair_ops = { on_pair_pause, on_pair_resume, in_pair_gap };

static void pair_init(struct pair *p, uint32_t n_loops, uint32_t high, uint32_t low)
{
    struct loop_conf conf = { .n_loops = n_loops };
    *p = (struct pair){ 0 };
    assert_int_equal(loop_group_new(&conf, &p->group), 0);
    assert_int_equal(credit_new(p->group, high, low, &pair_ops, p, &p->credit), 0);
    p->a = loop_group_at(p->group, 0);
    p->b = loop_group_at(p->group, n_loops - 1);
}

static void pair_fini(struct pair *p)
{
    loop_group_settle(p->group);
    credit_free(&p->credit);
    loop_group_free(&p->group);
}

static void a_poster_is_paused_at_high_and_resumed_once_at_low(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 2, 4, 1);
    credit_add(p.credit, p.a, 1, 3);
    assert_int_equal(p.n_pauses, 0);
    credit_add(p.credit, p.a, 1, 1);
    assert_int_equal(p.n_pauses, 1);
    assert_true(credit_is_paused(p.credit, p.a, 1));
    credit_add(p.credit, p.a, 1, 2); /* the rest of that turn */
    assert_int_equal(p.n_pauses, 1);
    credit_sub(p.credit, p.b, 4);
    loop_group_settle(p.group);
    assert_int_equal(p.n_resumes, 0); /* 2 is above low */
    credit_sub(p.credit, p.b, 1);
    credit_sub(p.credit, p.b, 1);
    assert_true(credit_is_paused(p.credit, p.a, 1)); /* RESUME is still under way */
    loop_group_settle(p.group);
    assert_int_equal(p.n_resumes, 1);
    assert_false(credit_is_any_paused(p.credit, p.a));
    credit_add(p.credit, p.a, 1, 4);
    assert_int_equal(p.n_pauses, 2);
    credit_sub(p.credit, p.b, 4);
    pair_fini(&p);
    assert_int_equal(p.n_resumes, 2);
}

static void a_poster_that_comes_to_high_while_resume_is_under_way_waits_for_it(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 2, 2, 1);
    credit_add(p.credit, p.a, 1, 2);
    credit_sub(p.credit, p.b, 2); /* bit taken, RESUME in b's outbox */
    credit_add(p.credit, p.a, 1, 5);
    assert_int_equal(p.n_pauses, 1);
    loop_group_settle(p.group);
    assert_int_equal(p.n_resumes, 1);
    credit_add(p.credit, p.a, 1, 1); /* the load is still over high */
    assert_int_equal(p.n_pauses, 2);
    credit_sub(p.credit, p.b, 6);
    pair_fini(&p);
    assert_int_equal(p.n_resumes, 2);
}

static void a_receiver_that_drains_inside_the_posters_test_leaves_nobody_paused(void **state)
{
    (void)state;
    const enum credit_gap gaps[] = { CREDIT_BEFORE_BIT, CREDIT_AFTER_BIT, CREDIT_BEFORE_EXCHANGE };
    for (size_t i = 0; i < sizeof(gaps) / sizeof(gaps[0]); i++) {
        for (uint32_t n = 1; n <= 4; n++) { /* down to 3 ... 0 units */
            struct pair p;
            pair_init(&p, 2, 4, 1);
            p.gap = gaps[i];
            p.gap_units = n;
            credit_add(p.credit, p.a, 1, 4);
            p.gap_units = 0;
            loop_group_settle(p.group);
            if (credit_load(p.credit, 1) <= 1)
                assert_false(credit_is_paused(p.credit, p.a, 1));
            else
                assert_true(credit_is_paused(p.credit, p.a, 1));
            credit_sub(p.credit, p.b, credit_load(p.credit, 1));
            loop_group_settle(p.group);
            assert_false(credit_is_paused(p.credit, p.a, 1));
            assert_int_equal(p.n_pauses, p.n_resumes);
            credit_add(p.credit, p.a, 1, 4); /* and the next pause works */
            assert_true(credit_is_paused(p.credit, p.a, 1));
            credit_sub(p.credit, p.b, 4);
            pair_fini(&p);
            assert_int_equal(p.n_pauses, p.n_resumes);
        }
    }
}

static void a_resume_under_way_is_waited_for_inside_the_test_too(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 2, 2, 1);
    p.gap = CREDIT_AFTER_BIT;
    p.gap_units = 2;
    credit_add(p.credit, p.a, 1, 2);
    assert_int_equal(p.n_pauses, 1);
    assert_true(credit_is_paused(p.credit, p.a, 1));
    p.gap_units = 0;
    pair_fini(&p);
    assert_int_equal(p.n_resumes, 1);
}

static void a_single_loop_needs_no_credit(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 1, 2, 1);
    credit_add(p.credit, p.a, 0, 100);
    assert_int_equal(p.n_pauses, 0);
    assert_int_equal(credit_load(p.credit, 0), 0);
    credit_sub(p.credit, p.a, 100);
    pair_fini(&p);
}

static void low_must_be_below_high(void **state)
{
    (void)state;
    struct pair p;
    struct credit *credit = NULL;
    pair_init(&p, 2, 2, 1);
    assert_int_equal(credit_new(p.group, 2, 2, &pair_ops, &p, &credit), -EINVAL);
    assert_null(credit);
    pair_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_loops_that_flood_each_other_never_stick),
        cmocka_unit_test(three_loops_that_flood_each_other_never_stick),
        cmocka_unit_test(a_poster_is_paused_at_high_and_resumed_once_at_low),
        cmocka_unit_test(a_poster_that_comes_to_high_while_resume_is_under_way_waits_for_it),
        cmocka_unit_test(a_receiver_that_drains_inside_the_posters_test_leaves_nobody_paused),
        cmocka_unit_test(a_resume_under_way_is_waited_for_inside_the_test_too),
        cmocka_unit_test(a_single_loop_needs_no_credit),
        cmocka_unit_test(low_must_be_below_high),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
