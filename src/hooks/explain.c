#include "hooks/ask_priv.h"
#include <time.h>

uint64_t ask_clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void ask_tell(const struct ask *ask, const struct step *step, int32_t verdict, bool is_final)
{
    struct ask_seen seen = { .step = step,
                             .verdict = verdict == ENTRY_SKIP ? PIGEON_NEXT : verdict,
                             .how = (enum ask_how)ask->how,
                             .is_final = is_final,
                             .ns = ask_clock_ns() - ask->seen_ns };

    ask->observer->seen(ask->observer, ask, &seen);
}
