#include "hooks/exchange.h"
#include "hooks/ask_value.h"
#include "hooks/worker.h"
#include <stdlib.h>

struct exchange *exchange_new(void)
{
    struct exchange *x = calloc(1, sizeof(*x));

    if (x)
        x->refs = 1;
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

    if (p && x->inst->created && p->auth.exchange_free) {
        struct crumb_call crumb = crumb_begin(x->inst, PIGEON_HOOK_LIFE);

        p->auth.exchange_free(x->inst->self, x->slot);
        crumb_end(crumb);
    }
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
    ask_values_free(&ex->values);
    if (ex->slot && hooks_is_elsewhere(ex->inst->hooks, ex->home))
        hooks_post(ex->home, &ex->mail, on_exchange_mail);
    else
        exchange_destroy(ex);
}
