/* hook_loop.h - one loop's part of the plugins. Private to hooks/, but for the bit test. */
#pragma once
#include "hooks/hooks.h"

struct hook_loop_head { /* first member of struct hook_loop */
    uint32_t wanted_hooks;  /* bit per PIGEON_HOOK_* */
    uint32_t wanted_events; /* bit per enum hook_event */
};

struct hook_loop_front { /* how struct hook_loop begins */
    struct hook_loop_head head;
    uint32_t n_traces;
};

/* Does anybody trace clients here? Then see hooks/trace.h. */
static inline bool hooks_is_traced(const struct hook_loop *hl)
{
    return ((const struct hook_loop_front *)hl)->n_traces > 0;
}

static inline bool hooks_wants(const struct hook_loop *hl, uint32_t hook)
{
    return ((const struct hook_loop_head *)hl)->wanted_hooks & (UINT32_C(1) << hook);
}
