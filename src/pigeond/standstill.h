/* standstill.h - does something while no event loop is doing anything. Each loop comes to rest
 * between two pieces of its work; loop 0 then acts for all. For rare things: a reload. */
#pragma once
#include "net/loop.h"

/* On loop 0, outside of plugins and connections. Calls `fn` on this thread and lets the loops go
 * on. 0; -ETIMEDOUT: some loop did not come to rest within a second, fn was not called; -ENOMEM. */
int standstill_run(struct loop_group *loops, void (*fn)(void *ctx), void *ctx);
