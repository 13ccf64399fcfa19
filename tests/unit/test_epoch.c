#include "base/epoch.h"
#include "unit.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define N_LOOPS 4
#define N_CELLS 8
#define N_TURNS 20000

struct thing {
    struct epoch_item item; /* first: a thing is its item */
    unsigned *n_freed;
    struct epoch *epoch;
    struct thing *also; /* retired when this one is freed */
};

static void thing_free(struct epoch_item *item)
{
    struct thing *t = (struct thing *)item;
    ++*t->n_freed;
    if (t->also)
        epoch_retire(t->epoch, 0, &t->also->item, thing_free);
    free(t);
}

static struct thing *thing_new(unsigned *n_freed)
{
    struct thing *t = calloc(1, sizeof(*t));
    assert_non_null(t);
    t->n_freed = n_freed;
    return t;
}

static struct epoch *epoch_make(uint32_t n_loops)
{
    struct epoch *e = malloc(sizeof(*e));
    assert_non_null(e);
    epoch_init(e, n_loops);
    return e;
}

static void with_everybody_outside_a_retired_item_is_freed_at_once(void **state)
{
    (void)state;
    unsigned n_freed = 0;
    struct epoch *e = epoch_make(2);
    epoch_retire(e, 0, &thing_new(&n_freed)->item, thing_free);
    assert_int_equal(n_freed, 0);
    epoch_reclaim(e, 1);
    assert_int_equal(n_freed, 0);
    epoch_reclaim(e, 0);
    assert_int_equal(n_freed, 1);
    epoch_fini(e);
    free(e);
}

static void a_loop_that_was_inside_at_the_retirement_holds_the_item(void **state)
{
    (void)state;
    unsigned n_freed = 0;
    struct epoch *e = epoch_make(2);
    epoch_enter(e, 1);
    epoch_retire(e, 0, &thing_new(&n_freed)->item, thing_free);
    epoch_reclaim(e, 0);
    assert_int_equal(n_freed, 0);
    epoch_leave(e, 1);
    epoch_reclaim(e, 0);
    assert_int_equal(n_freed, 1);
    epoch_fini(e);
    free(e);
}

static void a_loop_that_entered_after_the_retirement_does_not_hold_the_item(void **state)
{
    (void)state;
    unsigned n_freed = 0;
    struct epoch *e = epoch_make(2);
    epoch_retire(e, 0, &thing_new(&n_freed)->item, thing_free);
    epoch_enter(e, 1);
    epoch_reclaim(e, 0);
    assert_int_equal(n_freed, 1);
    /* Held now by the same loop: what is retired from here on. */
    epoch_retire(e, 0, &thing_new(&n_freed)->item, thing_free);
    epoch_reclaim(e, 0);
    assert_int_equal(n_freed, 1);
    epoch_leave(e, 1);
    epoch_enter(e, 1);
    epoch_reclaim(e, 0);
    assert_int_equal(n_freed, 2);
    epoch_leave(e, 1);
    epoch_fini(e);
    free(e);
}

static void the_retiring_loop_itself_holds_the_item_until_its_turn_ends(void **state)
{
    (void)state;
    unsigned n_freed = 0;
    struct epoch *e = epoch_make(1);
    for (unsigned turn = 0; turn < 3; turn++) {
        epoch_enter(e, 0);
        epoch_retire(e, 0, &thing_new(&n_freed)->item, thing_free);
        epoch_reclaim(e, 0);
        assert_int_equal(n_freed, turn);
        epoch_leave(e, 0);
        epoch_reclaim(e, 0);
        assert_int_equal(n_freed, turn + 1);
    }
    epoch_fini(e);
    free(e);
}

static void items_are_freed_as_far_as_the_oldest_reader_allows(void **state)
{
    (void)state;
    unsigned n_freed = 0;
    struct epoch *e = epoch_make(3);
    epoch_retire(e, 0, &thing_new(&n_freed)->item, thing_free);
    epoch_enter(e, 1);
    epoch_retire(e, 0, &thing_new(&n_freed)->item, thing_free);
    epoch_enter(e, 2);
    epoch_retire(e, 0, &thing_new(&n_freed)->item, thing_free);
    epoch_reclaim(e, 0);
    assert_int_equal(n_freed, 1);
    epoch_leave(e, 1);
    epoch_reclaim(e, 0);
    assert_int_equal(n_freed, 2);
    epoch_leave(e, 2);
    epoch_reclaim(e, 0);
    assert_int_equal(n_freed, 3);
    epoch_fini(e);
    free(e);
}

static void what_a_free_function_retires_waits_for_the_next_reclaim(void **state)
{
    (void)state;
    unsigned n_freed = 0;
    struct epoch *e = epoch_make(1);
    struct thing *parent = thing_new(&n_freed);
    parent->epoch = e;
    parent->also = thing_new(&n_freed);
    epoch_retire(e, 0, &parent->item, thing_free);
    epoch_reclaim(e, 0);
    assert_int_equal(n_freed, 1);
    epoch_reclaim(e, 0);
    assert_int_equal(n_freed, 2);
    epoch_fini(e);
    free(e);
}

static void epoch_fini_frees_all_that_is_left(void **state)
{
    (void)state;
    unsigned n_freed = 0;
    struct epoch *e = epoch_make(3);
    for (uint32_t loop = 0; loop < 3; loop++)
        epoch_retire(e, loop, &thing_new(&n_freed)->item, thing_free);
    struct thing *parent = thing_new(&n_freed);
    parent->epoch = e;
    parent->also = thing_new(&n_freed);
    epoch_retire(e, 2, &parent->item, thing_free);
    epoch_fini(e);
    assert_int_equal(n_freed, 5);
    free(e);
}

/* Stress: every loop reads all cells and now and then replaces one; a sanitizer sees any use after
 * free, and so does the check of the value where there is none. */
struct value {
    struct epoch_item item;
    uint64_t number, complement;
};

struct stress {
    struct epoch epoch;
    _Atomic(struct value *) cell[N_CELLS];
    pthread_mutex_t writers;
    _Atomic unsigned n_made, n_freed, n_bad;
};

struct stress_value { /* carries the way back to the counters */
    struct value value;
    struct stress *stress;
};

struct stress_loop {
    struct stress *stress;
    uint32_t loop;
};

static void value_free(struct epoch_item *item)
{
    struct stress_value *v = (struct stress_value *)item;
    v->value.number = v->value.complement = 0;
    atomic_fetch_add(&v->stress->n_freed, 1);
    free(v);
}

static struct value *value_new(struct stress *s, uint64_t number)
{
    struct stress_value *v = malloc(sizeof(*v));
    if (!v)
        abort();
    v->value.number = number;
    v->value.complement = ~number;
    v->stress = s;
    atomic_fetch_add(&s->n_made, 1);
    return &v->value;
}

static void stress_read(struct stress *s)
{
    struct value *seen[N_CELLS];
    for (unsigned i = 0; i < N_CELLS; i++)
        seen[i] = atomic_load_explicit(&s->cell[i], memory_order_acquire);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < N_CELLS; i++)
            if (seen[i]->number != ~seen[i]->complement)
                atomic_fetch_add(&s->n_bad, 1);
}

static void stress_write(struct stress *s, uint32_t loop, uint64_t number)
{
    struct value *fresh = value_new(s, number);
    pthread_mutex_lock(&s->writers);
    struct value *old = atomic_load_explicit(&s->cell[number % N_CELLS], memory_order_relaxed);
    atomic_store_explicit(&s->cell[number % N_CELLS], fresh, memory_order_release);
    pthread_mutex_unlock(&s->writers);
    epoch_retire(&s->epoch, loop, &old->item, value_free);
}

static void *stress_loop_run(void *arg)
{
    struct stress_loop *l = arg;
    uint64_t seed = l->loop + 1;
    for (unsigned turn = 0; turn < N_TURNS; turn++) {
        epoch_enter(&l->stress->epoch, l->loop);
        stress_read(l->stress);
        if (unit_random(&seed) % 2)
            stress_write(l->stress, l->loop, unit_random(&seed) | 1u << 20);
        if (turn % 3 == 0)
            epoch_reclaim(&l->stress->epoch, l->loop);
        epoch_leave(&l->stress->epoch, l->loop);
        if (unit_random(&seed) % 4 == 0)
            stress_write(l->stress, l->loop, unit_random(&seed));
        if (turn % 3)
            epoch_reclaim(&l->stress->epoch, l->loop);
        if (turn % 64 == 0)
            sched_yield();
    }
    return NULL;
}

static void no_loop_ever_sees_a_freed_item_and_all_are_freed_in_the_end(void **state)
{
    (void)state;
    struct stress *s = calloc(1, sizeof(*s));
    struct stress_loop loop[N_LOOPS];
    pthread_t thread[N_LOOPS];
    assert_non_null(s);
    epoch_init(&s->epoch, N_LOOPS);
    pthread_mutex_init(&s->writers, NULL);
    for (unsigned i = 0; i < N_CELLS; i++)
        atomic_init(&s->cell[i], value_new(s, i));
    for (uint32_t i = 0; i < N_LOOPS; i++) {
        loop[i] = (struct stress_loop){ s, i };
        assert_int_equal(pthread_create(&thread[i], NULL, stress_loop_run, &loop[i]), 0);
    }
    for (unsigned i = 0; i < N_LOOPS; i++)
        pthread_join(thread[i], NULL);
    /* Memory comes back while the loops run, not only at the end. */
    assert_true(atomic_load(&s->n_freed) > 100);
    for (unsigned i = 0; i < N_CELLS; i++)
        value_free(&atomic_load(&s->cell[i])->item);
    epoch_fini(&s->epoch);
    assert_int_equal(atomic_load(&s->n_bad), 0);
    assert_int_equal(atomic_load(&s->n_made), atomic_load(&s->n_freed));
    pthread_mutex_destroy(&s->writers);
    free(s);
}

/* The narrow race: one loop enters and loads while another unlinks, retires and reclaims. Were
 * entering not ordered before the load, the reclaimer would now and then see the reader still
 * outside. */
#define N_RACES  1000000
#define N_SPARES 64

struct spare {
    struct epoch_item item;
    uint64_t number, complement;
    bool is_free;
};

struct race {
    struct epoch epoch;
    _Atomic(struct spare *) cell;
    _Atomic bool is_over;
    struct spare spare[N_SPARES];
    unsigned n_bad;
};

static void spare_free(struct epoch_item *item)
{
    struct spare *s = (struct spare *)item;
    s->number = s->complement = 0;
    s->is_free = true;
}

static void *race_read(void *arg)
{
    struct race *r = arg;
    while (!atomic_load_explicit(&r->is_over, memory_order_relaxed)) {
        epoch_enter(&r->epoch, 1);
        struct spare *seen = atomic_load_explicit(&r->cell, memory_order_acquire);
        for (unsigned i = 0; i < 60; i++) {
            r->n_bad +=
                *(volatile uint64_t *)&seen->number != ~*(volatile uint64_t *)&seen->complement;
        }
        epoch_leave(&r->epoch, 1);
    }
    return NULL;
}

static void entering_is_ordered_before_the_loads_that_follow(void **state)
{
    (void)state;
    struct race *r = calloc(1, sizeof(*r));
    pthread_t reader;
    assert_non_null(r);
    epoch_init(&r->epoch, 2);
    for (unsigned i = 0; i < N_SPARES; i++)
        r->spare[i].is_free = true;
    r->spare[0] = (struct spare){ .number = 1, .complement = ~UINT64_C(1) };
    atomic_init(&r->cell, &r->spare[0]);
    assert_int_equal(pthread_create(&reader, NULL, race_read, r), 0);
    for (uint64_t number = 2, at = 1; number < N_RACES; at = (at + 1) % N_SPARES) {
        struct spare *fresh = &r->spare[at];
        if (fresh->is_free) {
            struct spare *old = atomic_load_explicit(&r->cell, memory_order_relaxed);
            *fresh = (struct spare){ .number = number, .complement = ~number };
            atomic_store_explicit(&r->cell, fresh, memory_order_release);
            epoch_retire(&r->epoch, 0, &old->item, spare_free);
            number++;
        }
        epoch_reclaim(&r->epoch, 0);
    }
    atomic_store(&r->is_over, true);
    pthread_join(reader, NULL);
    assert_int_equal(r->n_bad, 0);
    epoch_fini(&r->epoch);
    free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(with_everybody_outside_a_retired_item_is_freed_at_once),
        cmocka_unit_test(a_loop_that_was_inside_at_the_retirement_holds_the_item),
        cmocka_unit_test(a_loop_that_entered_after_the_retirement_does_not_hold_the_item),
        cmocka_unit_test(the_retiring_loop_itself_holds_the_item_until_its_turn_ends),
        cmocka_unit_test(items_are_freed_as_far_as_the_oldest_reader_allows),
        cmocka_unit_test(what_a_free_function_retires_waits_for_the_next_reclaim),
        cmocka_unit_test(epoch_fini_frees_all_that_is_left),
        cmocka_unit_test(no_loop_ever_sees_a_freed_item_and_all_are_freed_in_the_end),
        cmocka_unit_test(entering_is_ordered_before_the_loads_that_follow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
