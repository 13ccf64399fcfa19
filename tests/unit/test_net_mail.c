#include "net/loop.h"
#include "unit.h"
#include "base/list.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SEEN 64

/* ctx of each loop: what was delivered to it, in order. */
struct seen {
    uint32_t n, value[MAX_SEEN];
};

struct item {
    struct mail mail;
    uint32_t value;
};

static struct loop_group *group_of(uint32_t n_loops, struct seen *seen)
{
    struct loop_group *g;
    struct loop_conf conf = { .n_loops = n_loops };
    assert_int_equal(loop_group_new(&conf, &g), 0);
    for (uint32_t i = 0; seen && i < n_loops; i++)
        loop_set_ops(loop_group_at(g, i), NULL, &seen[i]);
    return g;
}

static void on_item(struct loop *here, struct mail *m)
{
    struct seen *seen = loop_ctx(here);
    assert_ptr_equal(loop_current(), here);
    assert_true(seen->n < MAX_SEEN);
    seen->value[seen->n++] = container_of(m, struct item, mail)->value;
}

static void seen_is(const struct seen *seen, uint32_t n, const uint32_t *expected)
{
    assert_int_equal(seen->n, n);
    assert_memory_equal(seen->value, expected, n * sizeof(*expected));
}

static void mail_of_one_pair_arrives_in_the_order_of_posting(void **state)
{
    (void)state;
    struct seen seen[3] = { 0 };
    struct loop_group *g = group_of(3, seen);
    struct item item[6];
    struct loop *a = loop_group_at(g, 0);
    for (uint32_t i = 0; i < 6; i++) {
        item[i].value = i;
        loop_post(a, i % 2 + 1, &item[i].mail, on_item);
        if (i == 2)
            loop_turn(a, false); /* two bursts */
    }
    loop_turn(loop_group_at(g, 1), false);
    seen_is(&seen[1], 2, (uint32_t[]){ 0, 2 });
    loop_turn(a, false);
    loop_turn(loop_group_at(g, 1), false);
    loop_turn(loop_group_at(g, 2), false);
    seen_is(&seen[1], 3, (uint32_t[]){ 0, 2, 4 });
    seen_is(&seen[2], 3, (uint32_t[]){ 1, 3, 5 });
    struct loop_stats stats;
    loop_get_stats(loop_group_at(g, 2), &stats);
    assert_int_equal(stats.n_wakeups, 1); /* two flushes, one burst */
    assert_int_equal(stats.n_mails, 3);
    loop_group_free(&g);
}

static void nothing_leaves_before_the_end_of_the_turn(void **state)
{
    (void)state;
    struct seen seen[2] = { 0 };
    struct loop_group *g = group_of(2, seen);
    struct item item = { .value = 1 };
    loop_post(loop_group_at(g, 0), 1, &item.mail, on_item);
    loop_turn(loop_group_at(g, 1), false);
    assert_int_equal(seen[1].n, 0);
    loop_turn(loop_group_at(g, 0), false);
    loop_turn(loop_group_at(g, 1), false);
    assert_int_equal(seen[1].n, 1);
    loop_group_free(&g);
}

struct chain {
    struct item first, second, last;
    bool inside;
};

static void on_chain_second(struct loop *here, struct mail *m)
{
    assert_false(container_of(m, struct chain, second.mail)->inside);
    on_item(here, m);
}

static void on_chain_first(struct loop *here, struct mail *m)
{
    struct chain *c = container_of(m, struct chain, first.mail);
    on_item(here, m);
    c->inside = true;
    loop_post_last(here, 0, &c->last.mail, on_item);
    loop_post(here, 0, &c->second.mail, on_chain_second);
    c->inside = false;
}

static void mail_to_oneself_is_run_later_in_the_same_turn_and_last_items_last(void **state)
{
    (void)state;
    struct seen seen = { 0 };
    struct loop_group *g = group_of(1, &seen);
    struct chain c = { .first.value = 1, .second.value = 2, .last.value = 3 };
    loop_post(loop_group_at(g, 0), 0, &c.first.mail, on_chain_first);
    loop_turn(loop_group_at(g, 0), false);
    seen_is(&seen, 3, (uint32_t[]){ 1, 2, 3 });
    loop_group_free(&g);
}

static void a_last_item_leaves_behind_data_posted_after_it(void **state)
{
    (void)state;
    struct seen seen[2] = { 0 };
    struct loop_group *g = group_of(2, seen);
    struct item item[3] = { { .value = 0 }, { .value = 1 }, { .value = 2 } };
    struct loop *a = loop_group_at(g, 0);
    loop_post_last(a, 1, &item[0].mail, on_item);
    loop_post(a, 1, &item[1].mail, on_item);
    loop_post(a, 1, &item[2].mail, on_item);
    loop_turn(a, false);
    loop_turn(loop_group_at(g, 1), false);
    seen_is(&seen[1], 3, (uint32_t[]){ 1, 2, 0 });
    loop_group_free(&g);
}

/* A turn in which the mail of the first round makes the upper floor post data in the second. */
struct late {
    struct item moved, data;
    struct loop *loop;
    bool posted;
};

static bool on_late_round(void *ctx)
{
    struct late *late = ctx;
    if (late->posted)
        return false;
    late->posted = true;
    loop_post(late->loop, 1, &late->data.mail, on_item);
    return true;
}

static void a_last_item_waits_for_what_later_rounds_of_its_turn_post(void **state)
{
    (void)state;
    static const struct loop_ops ops = { NULL, on_late_round, NULL };
    struct seen seen[2] = { 0 };
    struct loop_group *g = group_of(2, seen);
    struct late late = { .moved.value = 9, .data.value = 1, .loop = loop_group_at(g, 0) };
    loop_set_ops(late.loop, &ops, &late);
    loop_post_last(late.loop, 1, &late.moved.mail, on_item);
    loop_turn(late.loop, false);
    loop_turn(loop_group_at(g, 1), false);
    seen_is(&seen[1], 2, (uint32_t[]){ 1, 9 });
    loop_group_free(&g);
}

static void on_count_down(struct loop *here, struct mail *m)
{
    struct item *item = container_of(m, struct item, mail);
    if (item->value-- > 0)
        loop_post(here, loop_index(here) ^ 1u, m, on_count_down);
    else
        free(item);
}

static void what_is_under_way_when_the_loops_have_ended_is_delivered_by_settle(void **state)
{
    (void)state;
    struct loop_group *g = group_of(2, NULL);
    int64_t n_live = failalloc_n_live();
    struct item *item = malloc(sizeof(*item));
    item->value = 100; /* hops, each posted by the receiver's callback */
    loop_post_any(loop_group_at(g, 0), &item->mail, on_count_down);
    loop_group_settle(g);
    assert_int_equal(failalloc_n_live(), n_live);
    loop_group_free(&g);
}

/* Threads: loop 0 sends, per number, data to loop 2 and then a last-item to loop 1, which sends on
 * to loop 2: there the data must have come first. */
#define N_RACES  20000u
#define N_WINDOW 64u

struct race_item {
    struct mail data, moved;
    uint32_t number;
    struct race *race;
};

struct race {
    struct loop_group *group;
    struct loop_ops ops;
    struct race_item item[N_WINDOW];
    uint32_t n_sent;   /* loop 0 */
    uint32_t data_max; /* loop 2 */
    uint32_t n_wrong;
    _Atomic uint32_t n_done;
};

static void on_race_data(struct loop *here, struct mail *m)
{
    struct race_item *item = container_of(m, struct race_item, data);
    (void)here;
    if (item->number != item->race->data_max + 1)
        item->race->n_wrong++;
    item->race->data_max = item->number;
}

static void on_race_free(struct loop *here, struct mail *m);

static void on_race_arrived(struct loop *here, struct mail *m)
{
    struct race_item *item = container_of(m, struct race_item, moved);
    struct race *race = item->race;
    if (item->number > race->data_max)
        race->n_wrong++;
    if (++race->n_done == N_RACES)
        loop_group_stop(race->group);
    loop_post(here, 0, m, on_race_free);
}

static void on_race_moved(struct loop *here, struct mail *m)
{
    loop_post(here, 2, m, on_race_arrived);
}

static void send_one(struct loop *here, struct race_item *item)
{
    if (item->race->n_sent == N_RACES)
        return;
    item->number = ++item->race->n_sent;
    loop_post_last(here, 1, &item->moved, on_race_moved);
    loop_post(here, 2, &item->data, on_race_data);
}

static void on_race_free(struct loop *here, struct mail *m)
{
    send_one(here, container_of(m, struct race_item, moved));
}

static void data_is_there_before_a_moved_connection_can_send_more(void **state)
{
    (void)state;
    struct race *race = calloc(1, sizeof(*race));
    race->group = group_of(3, NULL);
    for (uint32_t i = 0; i < N_WINDOW; i++) {
        race->item[i].race = race;
        send_one(loop_group_at(race->group, 0), &race->item[i]);
    }
    assert_int_equal(loop_start_threads(race->group), 0);
    loop_run(loop_group_at(race->group, 0));
    loop_join(race->group);
    assert_int_equal(race->n_done, N_RACES);
    assert_int_equal(race->n_wrong, 0);
    loop_group_free(&race->group);
    free(race);
}

#define N_POSTERS 3u
#define N_POSTS   5000u

struct poster {
    pthread_t thread;
    struct loop *to;
    struct item item[N_POSTS];
    uint32_t expected, n_wrong;
};

static void on_posted(struct loop *here, struct mail *m)
{
    struct poster *posters = loop_ctx(here);
    struct item *item = container_of(m, struct item, mail);
    struct poster *p = &posters[item->value / N_POSTS];
    if (item->value % N_POSTS != p->expected++)
        p->n_wrong++;
    uint32_t n = 0;
    for (uint32_t i = 0; i < N_POSTERS; i++)
        n += posters[i].expected;
    if (n == N_POSTERS * N_POSTS)
        loop_stop(here);
}

static void *poster_main(void *arg)
{
    struct poster *p = arg;
    for (uint32_t i = 0; i < N_POSTS; i++)
        loop_post_any(p->to, &p->item[i].mail, on_posted);
    return NULL;
}

static void any_thread_may_post_and_wakes_the_loop(void **state)
{
    (void)state;
    struct loop_group *g = group_of(1, NULL);
    struct poster *posters = calloc(N_POSTERS, sizeof(*posters));
    loop_set_ops(loop_group_at(g, 0), NULL, posters);
    for (uint32_t i = 0; i < N_POSTERS; i++) {
        posters[i].to = loop_group_at(g, 0);
        for (uint32_t j = 0; j < N_POSTS; j++)
            posters[i].item[j].value = i * N_POSTS + j;
    }
    for (uint32_t i = 0; i < N_POSTERS; i++)
        pthread_create(&posters[i].thread, NULL, poster_main, &posters[i]);
    loop_run(loop_group_at(g, 0));
    for (uint32_t i = 0; i < N_POSTERS; i++) {
        pthread_join(posters[i].thread, NULL);
        assert_int_equal(posters[i].n_wrong, 0);
    }
    loop_group_free(&g);
    free(posters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mail_of_one_pair_arrives_in_the_order_of_posting),
        cmocka_unit_test(nothing_leaves_before_the_end_of_the_turn),
        cmocka_unit_test(mail_to_oneself_is_run_later_in_the_same_turn_and_last_items_last),
        cmocka_unit_test(a_last_item_leaves_behind_data_posted_after_it),
        cmocka_unit_test(a_last_item_waits_for_what_later_rounds_of_its_turn_post),
        cmocka_unit_test(what_is_under_way_when_the_loops_have_ended_is_delivered_by_settle),
        cmocka_unit_test(data_is_there_before_a_moved_connection_can_send_more),
        cmocka_unit_test(any_thread_may_post_and_wakes_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
