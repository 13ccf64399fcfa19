/* The host's side of stores and buses. */
#include "mock/mock_priv.h"

/* ---- store ----------------------------------------------------------------------------------- */

static int32_t batch_done_locked(pigeon_mock *m, pigeon_token token,
                                 const pigeon_batch_result *result)
{
    pigeon_mock_ask *ask = ask_of_token(m, token);

    if (!ask || !ask->is_batch) {
        mock_complain_locked(m, "batch_done() with the token %#llx, which is no batch's",
                             (unsigned long long)token);
        return PIGEON_E_GONE;
    }
    if (++ask->n_completed > 1 || (ask->state != ASK_CALLING && ask->state != ASK_PENDING)) {
        mock_complain_locked(m, "a batch was answered more than once");
        return PIGEON_E_GONE;
    }
    if (result->units && ask->n_units) {
        ask->units = mock_alloc(ask->n_units * sizeof(*ask->units));
        memcpy(ask->units, result->units, ask->n_units * sizeof(*ask->units));
    }
    ask->verdict = result->status;
    ask->state = ask->state == ASK_CALLING ? ASK_EARLY : ASK_DONE;
    pthread_cond_broadcast(&m->news);
    return PIGEON_OK;
}

static int32_t batch_done(void *inst, pigeon_token token, const pigeon_batch_result *result)
{
    pigeon_mock *m = inst;
    int32_t r;

    pthread_mutex_lock(&m->lock);
    r = batch_done_locked(m, token, result);
    pthread_mutex_unlock(&m->lock);
    return r;
}

static int32_t rows(void *inst, pigeon_token token, const pigeon_row *first, uint32_t n,
                    uint32_t stride)
{
    pigeon_mock *m = inst;
    pigeon_mock_ask *ask;
    bool open;

    pthread_mutex_lock(&m->lock);
    ask = ask_of_token(m, token);
    open = ask && ask->is_scan && (ask->state == ASK_CALLING || ask->state == ASK_PENDING);
    if (open)
        ask->n_rows += n;
    else if (!ask || !ask->is_scan || ask->state == ASK_DONE || ask->state == ASK_RETURNED)
        mock_complain_locked(m, "rows() for a scan that is over or never was");
    pthread_mutex_unlock(&m->lock);
    if (!open)
        return PIGEON_E_GONE;
    for (uint32_t i = 0; i < n && ask->on_row; i++)
        ask->on_row(ask->row_arg,
                    (const pigeon_row *)(const void *)((const char *)first + (size_t)i * stride));
    return PIGEON_OK;
}

static void record(pigeon_mock *m, const pigeon_mock_act *act)
{
    pthread_mutex_lock(&m->lock);
    act_add(m, act);
    if (act->kind == PIGEON_MOCK_DID_STATE)
        m->bus_up = act->number;
    pthread_mutex_unlock(&m->lock);
}

static int32_t seen(void *inst, uint32_t what, pigeon_str text)
{
    record(inst, &(pigeon_mock_act){ .kind = PIGEON_MOCK_DID_SEEN, .number = what, .text = text });
    return PIGEON_OK;
}

const pigeon_store_host mock_store_host = {
    .size = sizeof(mock_store_host), .batch_done = batch_done, .rows = rows, .seen = seen
};

pigeon_mock_ask *pigeon_mock_submit(pigeon_mock *m, const pigeon_batch *batch)
{
    pigeon_mock_ask *ask = ask_new(m, NULL, PIGEON_HOOK_STORE);
    pigeon_batch copy = *batch;

    if (!m->store || !PIGEON_HAS(m->store, pigeon_store, submit) || !m->store->submit)
        return ask_unasked(ask);
    ask->is_batch = true;
    ask->deadline_ns = INT64_MAX;
    ask->n_units = batch->nunits;
    copy.token = ask->token;
    copy.size = sizeof(copy);
    pigeon_batch *shown = ask_block(ask, sizeof(copy));
    *shown = copy;
    return ask_returned(ask, m->store->submit(m->self, shown));
}

int32_t pigeon_mock_unit_status(const pigeon_mock_ask *ask, uint32_t unit)
{
    if (ask->state != ASK_DONE)
        return PIGEON_PENDING;
    return ask->units && ask->verdict == PIGEON_OK && unit < ask->n_units ? ask->units[unit].status
                                                                          : ask->verdict;
}

uint32_t pigeon_mock_unit_gone(const pigeon_mock_ask *ask, uint32_t unit)
{
    return ask->units && unit < ask->n_units ? ask->units[unit].gone : 0;
}

pigeon_mock_ask *pigeon_mock_scan(pigeon_mock *m, const pigeon_scan *scan,
                                  pigeon_mock_row_fn on_row, void *arg)
{
    pigeon_mock_ask *ask = ask_new(m, NULL, PIGEON_HOOK_STORE);
    pigeon_scan copy = *scan;

    if (!m->store || !PIGEON_HAS(m->store, pigeon_store, scan) || !m->store->scan)
        return ask_unasked(ask);
    ask->is_scan = true;
    ask->deadline_ns = INT64_MAX;
    ask->on_row = on_row;
    ask->row_arg = arg;
    copy.size = sizeof(copy);
    copy.token = ask->token;
    if (copy.credit == 0)
        copy.credit = UINT32_MAX;
    return ask_returned(ask, m->store->scan(m->self, &copy));
}

uint32_t pigeon_mock_rows(const pigeon_mock_ask *ask)
{
    return ask->n_rows;
}

/* ---- bus ------------------------------------------------------------------------------------- */

static int32_t deliver(void *inst, const pigeon_parcel *parcel)
{
    record(inst, &(pigeon_mock_act){
                     .kind = PIGEON_MOCK_DID_DELIVER,
                     .text = parcel->topic,
                     .more = pigeon_text((const char *)parcel->body.ptr, parcel->body.len) });
    return PIGEON_OK;
}

static int32_t state(void *inst, uint32_t up, uint64_t dropped, pigeon_str text)
{
    (void)dropped;
    record(inst, &(pigeon_mock_act){ .kind = PIGEON_MOCK_DID_STATE, .number = up, .text = text });
    return PIGEON_OK;
}

const pigeon_bus_host mock_bus_host = { .size = sizeof(mock_bus_host),
                                        .deliver = deliver,
                                        .state = state };

pigeon_mock_ask *pigeon_mock_bus_open(pigeon_mock *m, pigeon_incarnation me, uint32_t credit_bytes)
{
    pigeon_mock_ask *ask = ask_new(m, NULL, PIGEON_HOOK_BUS);

    if (!m->bus || !PIGEON_HAS(m->bus, pigeon_bus, open) || !m->bus->open)
        return ask_unasked(ask);
    return ask_returned(ask, m->bus->open(m->self, ask->token, me, credit_bytes));
}

pigeon_mock_ask *pigeon_mock_bus_send(pigeon_mock *m, const pigeon_parcel *parcel)
{
    pigeon_mock_ask *ask = ask_new(m, NULL, PIGEON_HOOK_BUS);
    pigeon_parcel copy = *parcel;

    if (!m->bus || !PIGEON_HAS(m->bus, pigeon_bus, send) || !m->bus->send)
        return ask_unasked(ask);
    copy.size = sizeof(copy);
    copy.topic = ask_str(ask, copy.topic);
    copy.body = ask_bytes(ask, copy.body);
    pigeon_parcel *shown = ask_block(ask, sizeof(copy));
    *shown = copy;
    return ask_returned(ask, m->bus->send(m->self, ask->token, shown));
}

int pigeon_mock_bus_is_up(pigeon_mock *m)
{
    int up;

    pthread_mutex_lock(&m->lock);
    up = m->bus_up;
    pthread_mutex_unlock(&m->lock);
    return up;
}
