#include "net/credit.h"
#include "base/list.h"
#include "net/loop.h"
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

/* One (poster, receiver) pair. `paused` belongs to the poster's loop, `bit` is shared. */
struct credit_pair {
    struct mail resume;
    struct credit *credit;
    uint32_t poster, receiver;
    bool paused;
    _Atomic uint32_t bit; /* 1: the poster waits for a RESUME that nobody has sent yet */
};

struct credit_load {
    _Alignas(64) _Atomic int64_t units;
    uint32_t n_paused; /* receivers that this loop, as a poster, is paused for */
};

struct credit {
    struct loop_group *group;
    uint32_t n_loops, high, low;
    const struct credit_ops *ops;
    void *ctx;
    struct credit_load *load;  /* by loop */
    struct credit_pair *pairs; /* [receiver * n_loops + poster] */
};

int credit_new(struct loop_group *group, uint32_t high, uint32_t low, const struct credit_ops *ops,
               void *ctx, struct credit **r_credit)
{
    struct credit *c;
    uint32_t n = loop_group_count(group);

    if (low >= high)
        return -EINVAL;
    c = calloc(1, sizeof(*c));
    if (!c)
        return -ENOMEM;
    c->load = aligned_alloc(_Alignof(struct credit_load), n * sizeof(*c->load));
    c->pairs = calloc((size_t)n * n, sizeof(*c->pairs));
    if (!c->load || !c->pairs) {
        credit_free(&c);
        return -ENOMEM;
    }
    c->group = group;
    c->n_loops = n;
    c->high = high;
    c->low = low;
    c->ops = ops;
    c->ctx = ctx;
    for (uint32_t i = 0; i < n; i++) {
        atomic_init(&c->load[i].units, 0);
        c->load[i].n_paused = 0;
        for (uint32_t j = 0; j < n; j++) {
            struct credit_pair *p = &c->pairs[i * n + j];

            p->credit = c;
            p->receiver = i;
            p->poster = j;
            atomic_init(&p->bit, 0);
        }
    }
    *r_credit = c;
    return 0;
}

void credit_free(struct credit **credit)
{
    struct credit *c = *credit;

    if (!c)
        return;
    *credit = NULL;
    free(c->load);
    free(c->pairs);
    free(c);
}

static struct credit_pair *pair_of(const struct credit *c, uint32_t receiver, uint32_t poster)
{
    return &c->pairs[receiver * c->n_loops + poster];
}

/* Runs on the poster's loop. */
static void on_resume_mail(struct loop *here, struct mail *m)
{
    struct credit_pair *p = container_of(m, struct credit_pair, resume);
    struct credit *c = p->credit;

    assert(loop_index(here) == p->poster);
    assert(p->paused && atomic_load(&p->bit) == 0);
    p->paused = false;
    c->load[p->poster].n_paused--;
    c->ops->on_resume(c->ctx, here, p->receiver);
}

static void gap(const struct credit *c, enum credit_gap where)
{
    if (c->ops->in_gap)
        c->ops->in_gap(c->ctx, where);
}

/* The receiver may have drained everything between the addition and the bit, and then has not seen
 * the bit: look again. If the bit is gone by now, its RESUME is on the way and ends the pause. */
static bool must_pause(struct credit *c, struct credit_pair *p)
{
    gap(c, CREDIT_BEFORE_BIT);
    atomic_store(&p->bit, 1);
    gap(c, CREDIT_AFTER_BIT);
    if (atomic_load(&c->load[p->receiver].units) > c->low)
        return true;
    gap(c, CREDIT_BEFORE_EXCHANGE);
    return atomic_exchange(&p->bit, 0) == 0;
}

void credit_add(struct credit *c, struct loop *me, uint32_t receiver, uint32_t n)
{
    uint32_t poster = loop_index(me);
    struct credit_pair *p;
    int64_t before;

    if (receiver == poster || n == 0)
        return;
    before = atomic_fetch_add(&c->load[receiver].units, n);
    assert(before >= 0);
    p = pair_of(c, receiver, poster);
    if (before + n < c->high || p->paused || !must_pause(c, p))
        return;
    p->paused = true;
    c->load[poster].n_paused++;
    c->ops->on_pause(c->ctx, me, receiver);
}

void credit_sub(struct credit *c, struct loop *me, uint32_t n)
{
    uint32_t receiver = loop_index(me);
    int64_t left;

    if (c->n_loops == 1 || n == 0)
        return;
    left = atomic_fetch_sub(&c->load[receiver].units, n) - n;
    assert(left >= 0);
    if (left > c->low)
        return;
    for (uint32_t i = 0; i < c->n_loops; i++) {
        struct credit_pair *p = pair_of(c, receiver, i);

        /* The plain look is enough: a poster that sets its bit later reads the load after that. */
        if (i != receiver && atomic_load(&p->bit) && atomic_exchange(&p->bit, 0) == 1)
            loop_post(me, i, &p->resume, on_resume_mail);
    }
}

bool credit_is_paused(const struct credit *c, const struct loop *me, uint32_t receiver)
{
    return pair_of(c, receiver, loop_index(me))->paused;
}

bool credit_is_any_paused(const struct credit *c, const struct loop *me)
{
    return c->load[loop_index(me)].n_paused > 0;
}

uint32_t credit_load(const struct credit *c, uint32_t receiver)
{
    return (uint32_t)atomic_load(&c->load[receiver].units);
}
