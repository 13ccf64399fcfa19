/* memory.h - what this process may use and what it uses, for limits.memory. Reads /proc and the
 * control group; never blocks on more than that. */
#pragma once
#include "config/config.h"

/* Bytes; 0: no limit. `auto` is three quarters of the machine's memory or of the control group's
 * limit, whichever is less. */
uint64_t memory_limit(const struct config *config);
/* Resident bytes; 0: unknown. If that is above `limit` (0: none), what the allocator only keeps for
 * later goes back to the system first: it must not count, and takes a while. */
uint64_t memory_used(uint64_t limit);
