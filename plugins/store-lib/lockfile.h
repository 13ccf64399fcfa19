/* lockfile.h - one process per store. The lock is the kernel's, so it goes with the process; the
 * file stays. */
#pragma once
#include <stdint.h>

/* A descriptor to be closed at the end. -EWOULDBLOCK: another process has it, *r_pid says which (0:
 * unknown); any other negative errno. */
int lockfile_take(const char *path, int64_t *r_pid);
