/* @name@ - a store to begin with: it keeps retained messages in memory and refuses every other
 * record, so that no broker mistakes it for a whole one. `pigeon-plugin check --store @name@.so`
 * says what is missing.
 *
 * What holds already: a unit is applied as a whole or not at all, and the answer comes after it. */
#include <pigeon/plugin.h>
#include <stdlib.h>

struct retained {
    struct retained *next;
    char *topic;
    const pigeon_msg *msg; /* referenced; a store on disk writes its members instead */
};

struct self { /* one instance; submit and scan are serialised by the host */
    const pigeon_host *host;
    const pigeon_store_host *store_host;
    struct retained *first;
};

static const pigeon_op *op_at(const pigeon_batch *batch, uint32_t i)
{
    const void *at = (const char *)batch->ops + (size_t)i * batch->op_stride;

    return at;
}

static void forget(struct self *self, pigeon_str topic)
{
    for (struct retained **at = &self->first; *at; at = &(*at)->next) {
        struct retained *r = *at;

        if (!pigeon_eq(pigeon_z(r->topic), topic))
            continue;
        *at = r->next;
        self->host->msg_unref(r->msg);
        free(r->topic);
        free(r);
        return;
    }
}

static void keep(struct self *self, struct retained *r, const pigeon_op *op)
{
    forget(self, op->key);
    memcpy(r->topic, op->key.ptr, op->key.len);
    r->topic[op->key.len] = '\0';
    r->msg = self->host->msg_ref(op->msg);
    r->next = self->first;
    self->first = r;
}

/* All memory is taken before the first change: afterwards nothing can fail. */
static int32_t apply_unit(struct self *self, const pigeon_batch *batch, const pigeon_unit *unit)
{
    struct retained *ready = NULL;
    int32_t status = PIGEON_OK;

    for (uint32_t i = 0; i < unit->nops && status == PIGEON_OK; i++) {
        const pigeon_op *op = op_at(batch, unit->first_op + i);
        struct retained *r = NULL;

        if (op->kind == PIGEON_OP_RETAIN_DEL)
            continue;
        if (op->kind != PIGEON_OP_RETAIN_PUT) {
            status = PIGEON_E_NOTSUP;
        } else if (!(r = calloc(1, sizeof(*r))) || !(r->topic = malloc((size_t)op->key.len + 1))) {
            free(r);
            status = PIGEON_E_NOMEM;
        } else {
            r->next = ready;
            ready = r;
        }
    }
    for (uint32_t i = 0; i < unit->nops && status == PIGEON_OK; i++) {
        const pigeon_op *op = op_at(batch, unit->first_op + i);
        struct retained **fits = &ready, *r;

        if (op->kind == PIGEON_OP_RETAIN_DEL) {
            forget(self, op->key);
            continue;
        }
        while ((*fits)->next) /* the oldest is last: it was made for this op */
            fits = &(*fits)->next;
        r = *fits;
        *fits = NULL;
        keep(self, r, op);
    }
    while (ready) {
        struct retained *next = ready->next;

        free(ready->topic);
        free(ready);
        ready = next;
    }
    return status;
}

static int32_t submit(void *arg, const pigeon_batch *batch)
{
    struct self *self = arg;
    pigeon_unit_result *results = calloc(batch->nunits ? batch->nunits : 1, sizeof(*results));
    pigeon_batch_result answer = { .size = sizeof(answer), .status = PIGEON_OK };

    if (!results)
        return PIGEON_E_FULL; /* nothing was applied: the host tries again */
    for (uint32_t i = 0; i < batch->nunits; i++) {
        const void *unit = (const char *)batch->units + (size_t)i * batch->unit_stride;

        results[i].status = apply_unit(self, batch, unit);
    }
    answer.units = results;
    self->store_host->batch_done(self->host->inst, batch->token, &answer);
    free(results);
    return PIGEON_PENDING; /* batch_done() may come before the return, or much later */
}

static int32_t scan(void *arg, const pigeon_scan *wanted)
{
    struct self *self = arg;

    if (wanted->what != PIGEON_SCAN_RETAINED)
        return PIGEON_OK; /* no rows */
    for (struct retained *r = self->first; r; r = r->next) {
        pigeon_op op = { .size = sizeof(op), .kind = PIGEON_OP_RETAIN_PUT };
        pigeon_row row = { .size = sizeof(row), .what = wanted->what };

        op.key = pigeon_z(r->topic);
        op.msg = r->msg;
        row.op = &op;
        if (self->store_host->rows(self->host->inst, wanted->token, &row, 1, sizeof(row)) !=
            PIGEON_OK)
            break; /* cancelled */
    }
    return PIGEON_OK;
}

static int32_t info(void *arg, pigeon_store_info *out)
{
    pigeon_store_info full = { .size = sizeof(full), .keeps = PIGEON_KEEPS_MEM };
    uint32_t size = out->size < sizeof(full) ? out->size : (uint32_t)sizeof(full);

    (void)arg;
    memcpy(out, &full, size);
    out->size = size;
    return PIGEON_OK;
}

static void destroy(void *arg)
{
    struct self *self = arg;

    while (self->first)
        forget(self, pigeon_z(self->first->topic));
    free(self);
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self;

    (void)conf;
    self = calloc(1, sizeof(*self));
    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    self->store_host = host->get(host->inst, PIGEON_IF_STORE_HOST, sizeof(pigeon_store_host));
    if (!self->store_host) {
        free(self);
        return host->fail(host->inst, NULL, "this broker has no stores");
    }
    *out = self;
    return PIGEON_OK;
}

static const pigeon_store store = {
    .size = sizeof(store),
    .info = info,
    .submit = submit,
    .scan = scan,
};

PIGEON_PLUGIN("@id@", "0.1", "keeps retained messages in memory", "MIT",
              PIGEON_F_SINGLE | PIGEON_F_ON_DEMAND, (PIGEON_PROVIDES(PIGEON_IF_STORE, &store)),
              .create = create, .destroy = destroy);
