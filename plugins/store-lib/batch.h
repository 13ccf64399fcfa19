/* batch.h - what every store has to know of batches: members by their strides, which ops are sound,
 * which depend on what is there. Reads only. */
#pragma once
#include <pigeon/plugin.h>
#include <stdbool.h>

static inline const pigeon_unit *batch_unit(const pigeon_batch *b, uint32_t i)
{
    return (const pigeon_unit *)(const void *)((const char *)b->units + (size_t)i * b->unit_stride);
}

static inline const pigeon_op *batch_op(const pigeon_batch *b, uint32_t i)
{
    return (const pigeon_op *)(const void *)((const char *)b->ops + (size_t)i * b->op_stride);
}

static inline const pigeon_rcpt *op_rcpt(const pigeon_op *op, uint32_t i)
{
    return (const pigeon_rcpt *)(const void *)((const char *)op->rcpts +
                                               (size_t)i * op->rcpt_stride);
}

/* Does its unit end with PIGEON_E_GONE when there is nothing to change? */
static inline bool op_is_conditional(const pigeon_op *op)
{
    return op->flags & PIGEON_OP_IF_EXISTS || op->kind == PIGEON_OP_WILL_TAKE;
}

/* Has the op what its kind needs? PIGEON_OK, PIGEON_E_INVAL, PIGEON_E_NOTSUP for a kind that
 * single-node stores do not have. */
int32_t op_judge(const pigeon_op *op);
