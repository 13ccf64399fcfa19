#include "hooks/blame.h"
#include "hooks/chain.h"

bool blame_here(struct blame *r_blame)
{
    const struct crumb *here = crumb_here();
    const struct timing *t;

    if (!here)
        return false;
    t = atomic_load_explicit(&here->call, memory_order_relaxed);
    *r_blame = (struct blame){ 0 };
    if (t)
        *r_blame = (struct blame){
            .plugin = t->plugin->name,
            .hook = hook_name(t->hook),
            .conn_id = atomic_load_explicit(&here->conn_id, memory_order_relaxed),
        };
    return true;
}
