#include "hooks/crumb.h"
#include "hooks/chain.h"
#include <errno.h>
#include <stdlib.h>

static _Thread_local struct crumb *here __attribute__((tls_model("initial-exec")));

int crumb_init(struct crumb *c, struct hooks *hooks, const char *name, uint32_t index)
{
    c->timing = timing_new(hooks);
    if (!c->timing)
        return -ENOMEM;
    c->name = name;
    c->index = index;
    c->next = hooks->crumbs;
    hooks->crumbs = c;
    return 0;
}

void crumb_fini(struct crumb *c)
{
    if (here == c)
        here = NULL;
    free(c->timing);
    c->timing = NULL;
}

struct crumb *crumb_here(void)
{
    return here;
}

void crumb_set_here(struct crumb *c)
{
    here = c;
}

void crumb_enter(struct crumb *c, const struct instance *inst, uint32_t hook,
                 const pigeon_client *client)
{
    crumb_enter_at(c, crumb_timing(c, inst->plugin->index, hook), client);
}

struct crumb_call crumb_begin(const struct instance *inst, uint32_t hook)
{
    struct crumb_call call = { .crumb = here };

    if (!here)
        return call;
    call.outer = atomic_load_explicit(&here->call, memory_order_relaxed);
    call.conn_id = atomic_load_explicit(&here->conn_id, memory_order_relaxed);
    call.began_ns = here->began_ns;
    here->began_ns = 0;
    crumb_enter(here, inst, hook, NULL);
    return call;
}

void crumb_end(struct crumb_call call)
{
    struct crumb *c = call.crumb;

    if (!c)
        return;
    crumb_leave(c);
    c->began_ns = call.began_ns;
    atomic_store_explicit(&c->conn_id, call.conn_id, memory_order_relaxed);
    atomic_store_explicit(&c->call, call.outer, memory_order_relaxed);
}
