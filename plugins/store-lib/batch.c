#include "batch.h"

int32_t op_judge(const pigeon_op *op)
{
    switch (op->kind) {
    case PIGEON_OP_SUB_PUT: return op->sub ? PIGEON_OK : PIGEON_E_INVAL;
    case PIGEON_OP_RETAIN_PUT:
    case PIGEON_OP_WILL_PUT: return op->msg ? PIGEON_OK : PIGEON_E_INVAL;
    case PIGEON_OP_QUEUE_ADD:
        return op->msg && (!op->nrcpts || op->rcpts) ? PIGEON_OK : PIGEON_E_INVAL;
    case PIGEON_OP_QUEUE_MOVE: return op->nrcpts == 1 && op->rcpts ? PIGEON_OK : PIGEON_E_INVAL;
    case PIGEON_OP_SESSION_PUT:
    case PIGEON_OP_SESSION_DEL:
    case PIGEON_OP_SESSION_OFF:
    case PIGEON_OP_SUB_DEL:
    case PIGEON_OP_RETAIN_DEL:
    case PIGEON_OP_QUEUE_UPD:
    case PIGEON_OP_QUEUE_DEL:
    case PIGEON_OP_IN_ADD:
    case PIGEON_OP_IN_DEL:
    case PIGEON_OP_WILL_DUE:
    case PIGEON_OP_WILL_TAKE:
    case PIGEON_OP_WILL_DEL: return PIGEON_OK;
    default: return PIGEON_E_NOTSUP;
    }
}
