/* payload.h - the first bytes of every payload: who sent it, its number, when it was due. */
#pragma once
#include <stdint.h>
#include <string.h>

#define PAYLOAD_MIN 16u

struct payload {
    uint32_t publisher;
    uint32_t number;
    uint64_t due_ns; /* CLOCK_MONOTONIC */
};
_Static_assert(sizeof(struct payload) == PAYLOAD_MIN, "no padding");

/* Only this process reads what it has written: host byte order. */
static inline void payload_put(uint8_t *at, const struct payload *p)
{
    memcpy(at, p, sizeof(*p));
}

static inline struct payload payload_get(const uint8_t *at)
{
    struct payload p;
    memcpy(&p, at, sizeof(p));
    return p;
}
