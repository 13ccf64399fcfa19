#include "hooks/exchange.h"
#include <stdlib.h>

struct exchange *exchange_new(uint32_t loop)
{
    struct exchange *x = calloc(1, sizeof(*x));

    if (x) {
        x->refs = 1;
        x->loop = loop;
    }
    return x;
}

struct exchange *exchange_ref(struct exchange *x)
{
    x->refs++;
    return x;
}

static void exchange_destroy(struct exchange *x)
{
    const struct plugin *p = x->slot ? x->inst->plugin : NULL;

    if (p && x->inst->created && p->auth.exchange_free)
        p->auth.exchange_free(x->inst->self, x->slot);
    free(x);
}

static void on_exchange_mail(struct loop *here, struct mail *m)
{
    (void)here;
    exchange_destroy(container_of(m, struct exchange, mail));
}

void exchange_unref(struct exchange **x)
{
    struct exchange *ex = *x;

    *x = NULL;
    if (!ex || --ex->refs > 0)
        return;
    if (ex->slot && loop_current() && instance_is_away(ex->inst, ex->loop))
        loop_post(loop_group_at(ex->inst->hooks->loops, ex->loop), ex->inst->loop, &ex->mail,
                  on_exchange_mail);
    else
        exchange_destroy(ex);
}
