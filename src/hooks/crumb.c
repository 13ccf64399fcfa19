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

struct crumb *crumb_begin(const struct instance *inst, uint32_t hook)
{
    if (here)
        crumb_enter(here, inst, hook, NULL);
    return here;
}

void crumb_end(struct crumb *c)
{
    if (c)
        crumb_leave(c);
}
