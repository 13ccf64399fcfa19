/* random.h - random bytes from the kernel. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* 0 or -EIO. */
int random_bytes(void *r_out, size_t len);
/* A random number that is never 0; aborts only if the kernel has no random source at all. */
uint64_t random_u64(void);
