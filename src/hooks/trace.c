#include "hooks/trace.h"
#include "hooks/ask_priv.h"
#include "hooks/explain.h"
#include "hooks/host_admin.h"
#include "hooks/host_priv.h"
#include "mqtt/topic.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define CHUNK_ROWS   256u
#define UNDER_WAY    4096u /* rows of one trace between a loop and its instance */
#define RATE         1000u
#define PAYLOAD_MAX  1024u
#define DURATION_MS  600000u
#define DURATION_MAX UINT64_C(86400000)

_Static_assert(offsetof(struct hook_loop, n_traces) == offsetof(struct hook_loop_front, n_traces),
               "one front");

struct trace_job;

struct trace_chunk {
    struct mail mail;
    struct trace_job *trace;
    struct rows rows;
};

/* A trace on one loop; touched there alone. */
struct trace_here {
    struct list link; /* in trace_loop.traces */
    struct trace_job *trace;
    struct mail add, remove, flush;
    struct trace_chunk *chunk; /* being filled; NULL: none */
    bool gone, flushing;
    uint64_t second; /* of the loop's clock */
    uint32_t n_second;
};

struct trace_job {
    struct job job;
    pigeon_rows_fn fn;
    struct arena texts;
    pigeon_trace spec;
    struct timer timer; /* [loop 0] its duration */
    _Atomic uint32_t under_way;
    _Atomic uint64_t dropped;
    _Atomic bool removing;
    uint32_t n_last; /* [home] loops that will send nothing more */
    uint64_t n_told; /* [home] */
    struct trace_here here[];
};

struct trace_loop {
    struct list traces;
    struct ask_observer observer;
    struct hook_loop *hl;
};

struct traces {
    _Atomic uint32_t n;
    struct trace_loop loops[];
};

static void on_last(struct loop *here, struct mail *m);
static void on_seen(struct ask_observer *observer, const struct ask *ask,
                    const struct ask_seen *seen);

static struct trace_loop *loop_of(const struct hook_loop *hl)
{
    return &hl->hooks->admin->traces->loops[hl->index];
}

/* ---- to the instance ----------------------------------------------------------------- */

static void trace_remove(struct trace_job *t);

static void tell(struct trace_job *t, struct rows *rows, bool done)
{
    pigeon_rows end = { .dropped = t->dropped };

    if (t->spec.rows_max && t->n_told + rows->n >= t->spec.rows_max) {
        rows->n = (uint32_t)(t->spec.rows_max - t->n_told);
        done = true;
    }
    t->n_told += rows->n;
    end.done = done;
    end.resume.ptr = end.text.ptr = "";
    job_tell(&t->job, t->fn, rows, &end);
    if (done)
        trace_remove(t);
}

static void on_chunk(struct loop *here, struct mail *m)
{
    struct trace_chunk *chunk = container_of(m, struct trace_chunk, mail);
    struct trace_job *t = chunk->trace;

    (void)here;
    atomic_fetch_sub(&t->under_way, chunk->rows.n);
    if (job_may_tell(&t->job))
        tell(t, &chunk->rows, false);
    rows_fini(&chunk->rows);
    free(chunk);
    job_unref(&t->job);
}

static void chunk_post(struct trace_here *here)
{
    struct trace_chunk *chunk = here->chunk;

    if (!chunk)
        return;
    here->chunk = NULL;
    job_post_home(&here->trace->job, &chunk->mail, on_chunk);
}

static void on_flush(struct loop *loop, struct mail *m)
{
    struct trace_here *here = container_of(m, struct trace_here, flush);

    (void)loop;
    here->flushing = false;
    chunk_post(here);
    job_unref(&here->trace->job);
}

/* Its loop has sent the last: behind everything else that it has sent. */
static void on_last(struct loop *loop, struct mail *m)
{
    struct trace_here *here = container_of(m, struct trace_here, remove);
    struct trace_job *t = here->trace;
    struct rows none;

    (void)loop;
    if (++t->n_last == t->job.hooks->n_loops && job_may_tell(&t->job)) {
        rows_init(&none, PIGEON_LIST_TRACE);
        tell(t, &none, true);
    }
    job_unref(&t->job);
}

/* ---- beginning and end on each loop --------------------------------------------------- */

static void on_timer(struct timer *timer, uint64_t now_ms)
{
    (void)now_ms;
    trace_remove(container_of(timer, struct trace_job, timer));
}

static void unlink_here(struct trace_here *here, struct hook_loop *hl)
{
    if (!list_linked(&here->link))
        return;
    list_remove(&here->link);
    hl->n_traces--;
    if (hl->index == 0) {
        timer_stop(loop_timers(hl->loop), &here->trace->timer);
        atomic_fetch_sub(&hl->hooks->admin->traces->n, 1);
    }
    job_unref(&here->trace->job);
}

static void on_add(struct loop *loop, struct mail *m)
{
    struct trace_here *here = container_of(m, struct trace_here, add);
    struct trace_job *t = here->trace;
    struct hook_loop *hl = t->job.hooks->loop[loop_index(loop)];

    if (!here->gone && !t->job.hooks->stopping) {
        job_ref(&t->job); /* while it is linked */
        list_append(&loop_of(hl)->traces, &here->link);
        hl->n_traces++;
        if (hl->index == 0)
            timer_arm(loop_timers(loop), &t->timer, loop_now_ms(loop) + t->spec.duration_ms);
    } else if (hl->index == 0) {
        atomic_fetch_sub(&hl->hooks->admin->traces->n, 1);
    }
    job_unref(&t->job);
}

static void on_remove(struct loop *loop, struct mail *m)
{
    struct trace_here *here = container_of(m, struct trace_here, remove);
    struct trace_job *t = here->trace;

    here->gone = true;
    unlink_here(here, t->job.hooks->loop[loop_index(loop)]);
    chunk_post(here);
    job_post_home(&t->job, &here->remove, on_last);
    job_unref(&t->job);
}

static void trace_remove(struct trace_job *t)
{
    if (atomic_exchange(&t->removing, true))
        return;
    for (uint32_t i = 0; i < t->job.hooks->n_loops; i++)
        job_post(&t->job, i, &t->here[i].remove, on_remove);
}

static void trace_cancel(struct job *job)
{
    trace_remove(container_of(job, struct trace_job, job));
}

static void trace_free(struct job *job)
{
    struct trace_job *t = container_of(job, struct trace_job, job);

    arena_fini(&t->texts);
    free(t);
}

/* ---- rows ---------------------------------------------------------------------------- */

static bool fits(const struct trace_job *t, const pigeon_client *client)
{
    struct str id = admin_str(t->spec.client_id), address = admin_str(t->spec.address);

    return (!id.len || str_eq(id, admin_str(client->id))) &&
           (!address.len || str_eq(address, admin_str(client->address)));
}

/* Does the row speak of a message that the filter is for? */
static bool fits_row(const struct trace_job *t, const pigeon_trace_row *row)
{
    struct str filter = admin_str(t->spec.filter), topic = admin_str(row->topic);
    bool is_message = row->kind == PIGEON_TRACE_VERDICT
                          ? row->hook >= PIGEON_HOOK_AUTHORIZE_PUBLISH &&
                                row->hook != PIGEON_HOOK_AUTHORIZE_SUBSCRIBE
                          : row->type == 3; /* PUBLISH */

    return !filter.len || (is_message && topic.len && topic_matches(filter, topic));
}

bool trace_fits(const struct hook_loop *hl, const pigeon_client *client)
{
    LIST_FOREACH (it, &loop_of(hl)->traces)
        if (fits(container_of(it, struct trace_here, link)->trace, client))
            return true;
    return false;
}

/* May one more row be kept now? */
static bool has_room(struct trace_here *here, const struct hook_loop *hl)
{
    struct trace_job *t = here->trace;
    uint64_t second = loop_now_ms(hl->loop) / 1000;

    if (here->second != second) {
        here->second = second;
        here->n_second = 0;
    }
    if (here->n_second >= t->spec.rate_max || t->under_way >= UNDER_WAY)
        return false;
    here->n_second++;
    return true;
}

static pigeon_trace_row *row_new(struct trace_here *here, struct hook_loop *hl)
{
    struct trace_job *t = here->trace;

    if (here->chunk && here->chunk->rows.n == CHUNK_ROWS)
        chunk_post(here);
    if (!here->chunk) {
        here->chunk = calloc(1, sizeof(*here->chunk));
        if (!here->chunk)
            return NULL;
        here->chunk->trace = t;
        rows_init(&here->chunk->rows, PIGEON_LIST_TRACE);
        if (!here->flushing) {
            here->flushing = true;
            job_post(&t->job, hl->index, &here->flush, on_flush);
        }
    }
    return rows_add(&here->chunk->rows);
}

static void copy_row(struct trace_here *here, pigeon_trace_row *row, const pigeon_trace_row *from)
{
    struct rows *rows = &here->chunk->rows;
    uint32_t max = here->trace->spec.payload_max;
    uint32_t n = from->payload.len < max ? from->payload.len : max;

    *row = *from;
    row->size = sizeof(*row);
    pigeon_str *const texts[] = { &row->client_id, &row->address, &row->name,  &row->topic,
                                  &row->text,      &row->props,   &row->plugin };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        *texts[i] = rows_text(rows, admin_str(*texts[i]));
    row->payload = (pigeon_bytes){ .ptr = NULL };
    if (n) {
        pigeon_str copy = rows_text(rows, str_make(from->payload.ptr, n));

        row->payload = (pigeon_bytes){ .ptr = (const uint8_t *)copy.ptr, .len = copy.len };
    }
}

void trace_emit(struct hook_loop *hl, const pigeon_client *client, pigeon_trace_row *row)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    row->time_us = (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
    row->conn_id = client->conn_id;
    row->client_id = client->id;
    row->address = client->address;
    LIST_FOREACH (it, &loop_of(hl)->traces) {
        struct trace_here *here = container_of(it, struct trace_here, link);
        pigeon_trace_row *copy = NULL;

        if (!fits(here->trace, client) || !fits_row(here->trace, row))
            continue;
        if (has_room(here, hl))
            copy = row_new(here, hl);
        if (!copy) {
            atomic_fetch_add(&here->trace->dropped, 1);
            continue;
        }
        copy_row(here, copy, row);
        atomic_fetch_add(&here->trace->under_way, 1);
    }
}

/* ---- verdicts ------------------------------------------------------------------------ */

struct ask_observer *trace_observer(struct hook_loop *hl, const struct ask *ask)
{
    const struct identity *who = ask->who;

    return who && trace_fits(hl, &who->view) ? &loop_of(hl)->observer : NULL;
}

static void on_seen(struct ask_observer *observer, const struct ask *ask,
                    const struct ask_seen *seen)
{
    struct trace_loop *tl = container_of(observer, struct trace_loop, observer);
    const struct identity *who = ask_who(ask);
    const char *name = hook_name(ask->hook), *plugin = seen->step->inst->plugin->name;
    pigeon_trace_row row = {
        .kind = PIGEON_TRACE_VERDICT,
        .hook = ask->hook,
        .entry = ask->entry,
        .control = explain_control(seen->step->control),
        .by = seen->how,
        .verdict = seen->verdict,
        .ns = seen->ns,
        .name = { .ptr = name, .len = (uint32_t)strlen(name) },
        .plugin = { .ptr = plugin, .len = (uint32_t)strlen(plugin) },
    };

    if (!who)
        return;
    if (seen->verdict == PIGEON_DENY) {
        row.reason = ask->reason;
        row.has_reason = ask->reason != 0;
        row.text = (pigeon_str){ .ptr = ask->text, .len = (uint32_t)strlen(ask->text) };
    }
    if (ask->message) {
        row.topic = ask->message->view.topic;
        row.qos = ask->message->view.qos;
        row.retain = ask->message->view.retain;
        row.payload_len = ask->message->view.payload.len;
    } else if (ask->hook == PIGEON_HOOK_AUTHORIZE_SUBSCRIBE) {
        row.topic = ((const struct sub_info *)ask->subject)->view.effective;
        row.qos = ((const struct sub_info *)ask->subject)->view.qos;
    }
    trace_emit(tl->hl, &who->view, &row);
}

/* ---- the function of the table ------------------------------------------------------- */

static int32_t judge(struct trace_job *t, const pigeon_trace *trace)
{
    pigeon_trace *spec = &t->spec;
    bool failed = false;

    memcpy(spec, trace, trace->size < sizeof(*spec) ? trace->size : sizeof(*spec));
    spec->client_id = admin_dup(&t->texts, spec->client_id, &failed);
    spec->address = admin_dup(&t->texts, spec->address, &failed);
    spec->filter = admin_dup(&t->texts, spec->filter, &failed);
    if (failed)
        return PIGEON_E_NOMEM;
    if (spec->filter.len && !topic_is_filter(admin_str(spec->filter), TOPIC_MAX_LEVELS))
        return PIGEON_E_INVAL;
    if (!spec->client_id.len && !spec->address.len && !spec->filter.len)
        return PIGEON_E_INVAL;
    spec->rate_max = spec->rate_max ? spec->rate_max : RATE;
    spec->payload_max = spec->payload_max < PAYLOAD_MAX ? spec->payload_max : PAYLOAD_MAX;
    spec->duration_ms = spec->duration_ms ? spec->duration_ms : DURATION_MS;
    spec->duration_ms = spec->duration_ms < DURATION_MAX ? spec->duration_ms : DURATION_MAX;
    return PIGEON_OK;
}

int32_t admin_trace(void *inst, const pigeon_trace *trace, pigeon_rows_fn fn, void *arg,
                    pigeon_job *job)
{
    struct hooks *hooks = instance_of(inst)->hooks;
    struct traces *traces = hooks->admin->traces;
    struct trace_job *t;
    int32_t r;

    if (!trace || trace->size < offsetof(pigeon_trace, duration_ms) || !fn)
        return PIGEON_E_INVAL;
    t = calloc(1, sizeof(*t) + hooks->n_loops * sizeof(t->here[0]));
    if (!t)
        return PIGEON_E_NOMEM;
    t->job = (struct job){
        .hooks = hooks, .inst = inst, .arg = arg, .cancel = trace_cancel, .free_fn = trace_free
    };
    t->fn = fn;
    arena_init(&t->texts);
    timer_init(&t->timer, on_timer);
    r = judge(t, trace);
    if (r == PIGEON_OK && atomic_fetch_add(&traces->n, 1) >= PIGEON_TRACES_MAX) {
        atomic_fetch_sub(&traces->n, 1);
        r = PIGEON_E_BUSY;
    }
    if (r != PIGEON_OK) {
        trace_free(&t->job);
        return r;
    }
    for (uint32_t i = 0; i < hooks->n_loops; i++) {
        t->here[i].trace = t;
        list_init(&t->here[i].link);
    }
    r = job_start(&t->job, job);
    if (r != PIGEON_OK) {
        atomic_fetch_sub(&traces->n, 1);
        return r;
    }
    for (uint32_t i = 0; i < hooks->n_loops; i++)
        job_post(&t->job, i, &t->here[i].add, on_add);
    job_unref(&t->job);
    return PIGEON_OK;
}

/* ---- life ---------------------------------------------------------------------------- */

int traces_new(struct hooks *hooks)
{
    struct traces *traces = calloc(1, sizeof(*traces) + hooks->n_loops * sizeof(traces->loops[0]));

    if (!traces)
        return -ENOMEM;
    for (uint32_t i = 0; i < hooks->n_loops; i++) {
        list_init(&traces->loops[i].traces);
        traces->loops[i].observer.seen = on_seen;
        traces->loops[i].hl = hooks->loop[i];
    }
    hooks->admin->traces = traces;
    return 0;
}

void traces_free(struct hooks *hooks)
{
    struct traces *traces = hooks->admin->traces;

    for (uint32_t i = 0; traces && i < hooks->n_loops; i++)
        while (!list_empty(&traces->loops[i].traces)) {
            struct trace_here *here =
                container_of(traces->loops[i].traces.next, struct trace_here, link);

            if (here->chunk)
                rows_fini(&here->chunk->rows);
            free(here->chunk);
            here->chunk = NULL;
            unlink_here(here, hooks->loop[i]);
        }
    free(traces);
    hooks->admin->traces = NULL;
}
