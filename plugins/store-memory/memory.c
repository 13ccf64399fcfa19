#include "memory.h"
#include "batch.h"
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define MADE_ON_STACK 16

static int32_t unit_make(struct memory *m, const pigeon_batch *batch, const pigeon_unit *unit,
                         struct made *made, uint32_t *r_n)
{
    uint64_t bytes = m->bytes;

    for (*r_n = 0; *r_n < unit->nops; ++*r_n) {
        const pigeon_op *op = batch_op(batch, unit->first_op + *r_n);

        if (op_is_conditional(op) && !op_finds(m, op))
            return PIGEON_E_GONE;
        int32_t r = op_make(m, op, &made[*r_n]);
        bytes += made[*r_n].bytes;
        if (r == PIGEON_OK && m->max_bytes && !(unit->flags & PIGEON_UNIT_TRIM) &&
            made[*r_n].bytes && bytes > m->max_bytes)
            r = PIGEON_E_FULL;
        if (r != PIGEON_OK) {
            op_unmake(m, &made[*r_n]);
            return r;
        }
    }
    return PIGEON_OK;
}

static void unit_run(struct memory *m, const pigeon_batch *batch, const pigeon_unit *unit,
                     pigeon_unit_result *result)
{
    struct made some[MADE_ON_STACK];
    struct made *made = some;
    uint32_t n = 0;

    *result = (pigeon_unit_result){ .status = PIGEON_OK };
    if (unit->nops > MADE_ON_STACK) {
        made = malloc(unit->nops * sizeof(*made));
        if (!made) {
            result->status = PIGEON_E_NOMEM;
            return;
        }
    }
    result->status = unit_make(m, batch, unit, made, &n);
    for (uint32_t i = 0; i < n; i++) {
        if (result->status == PIGEON_OK)
            op_apply(m, batch_op(batch, unit->first_op + i), &made[i], &result->gone);
        op_unmake(m, &made[i]);
    }
    if (made != some)
        free(made);
}

/* Most batches succeed as a whole and need no table of results. */
int32_t memory_submit(void *self, const pigeon_batch *batch)
{
    struct memory *m = self;
    pigeon_unit_result one, *all = NULL;

    if (batch->nunits == 1) {
        unit_run(m, batch, batch_unit(batch, 0), &one);
        if (one.gone == 0)
            return one.status;
        all = &one;
    } else if (batch->nunits) {
        all = malloc(batch->nunits * sizeof(*all));
        if (!all)
            return PIGEON_E_NOMEM;
        bool plain = true;
        for (uint32_t i = 0; i < batch->nunits; i++) {
            unit_run(m, batch, batch_unit(batch, i), &all[i]);
            plain &= all[i].status == PIGEON_OK && !all[i].gone;
        }
        if (plain) {
            free(all);
            return PIGEON_OK;
        }
    }
    pigeon_batch_result result = { .size = sizeof(result), .status = PIGEON_OK };
    result.units = all;
    m->store_host->batch_done(m->host->inst, batch->token, &result);
    if (all != &one)
        free(all);
    return PIGEON_PENDING;
}

void memory_free(struct memory **r_memory)
{
    struct memory *m = *r_memory;

    *r_memory = NULL;
    if (!m)
        return;
    cursors_clear(m);
    memory_clear(m);
    for (uint32_t i = 0; i < REC_KINDS; i++)
        table_fini(&m->table[i]);
    free(m);
}

int32_t memory_new(const pigeon_host *host, uint64_t max_bytes, struct memory **r_memory)
{
    struct memory *m = calloc(1, sizeof(*m));
    int bad = 0;

    if (!m)
        return PIGEON_E_NOMEM;
    m->host = host;
    m->store_host =
        host->get(host->inst, PIGEON_IF_STORE_HOST, offsetof(pigeon_store_host, claimed));
    m->max_bytes = max_bytes;
    link_init(&m->cursors);
    for (uint32_t i = 0; i < REC_KINDS; i++) {
        link_init(&m->all[i]);
        bad |= table_init(&m->table[i]);
    }
    if (getrandom(&m->seed, sizeof(m->seed), 0) != sizeof(m->seed))
        m->seed = (uint64_t)host->now_ns(host->inst) ^ (uintptr_t)m;
    if (bad || !m->store_host) {
        memory_free(&m);
        return bad ? PIGEON_E_NOMEM
                   : host->fail(host->inst, NULL, "the host offers no " PIGEON_IF_STORE_HOST);
    }
    *r_memory = m;
    return PIGEON_OK;
}
