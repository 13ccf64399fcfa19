/* standstill.h - does something while no event loop is doing anything. Each loop comes to rest
 * between two pieces of its work; loop 0 then acts for all. For rare things: a reload. */
#pragma once
#include "net/loop.h"

/* On loop 0, outside of plugins and connections. Calls `fn` on this thread, which must not
 * call plugins: all wait for it. Then lets the loops go on; each calls `then` on its own thread
 * before it does anything else, loop 0 within this call, so `ctx` must live until all have.
 * 0; -ETIMEDOUT: some loop did not come to rest within a second, nothing was
 * called; -ENOMEM. */
int standstill_run(struct loop_group *loops, void (*fn)(void *ctx),
                   void (*then)(void *ctx, struct loop *here), void *ctx);
