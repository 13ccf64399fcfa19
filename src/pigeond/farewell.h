/* farewell.h - waits a moment until the last bytes of closed connections have left, so that clients
 * read why they were sent away. */
#pragma once
#include "net/loop.h"

struct farewell;

/* On loop 0. `done` on loop 0, when no loop has a lingering stream or half a second has passed; at
 * once when out of memory. */
void farewell_begin(struct loop_group *loops, void (*done)(void *ctx), void *ctx);
