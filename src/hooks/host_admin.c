/* pigeon.admin/1: its table, jobs and rows. */
#include "hooks/host_admin.h"
#include "hooks/chain.h"
#include "hooks/control.h"
#include "hooks/explain.h"
#include "hooks/host_priv.h"
#include "hooks/trace.h"
#include <errno.h>
#include <stdlib.h>

/* ---- rows ---------------------------------------------------------------------------- */

static const uint32_t strides[] = {
    [PIGEON_LIST_CLIENTS] = sizeof(pigeon_session_row),
    [PIGEON_LIST_SESSIONS] = sizeof(pigeon_session_row),
    [PIGEON_LIST_SUBSCRIPTIONS] = sizeof(pigeon_subscription_row),
    [PIGEON_LIST_RETAINED] = sizeof(pigeon_retained_row),
    [PIGEON_LIST_PLUGINS] = sizeof(pigeon_plugin_row),
    [PIGEON_LIST_CHAINS] = sizeof(pigeon_chain_row),
    [PIGEON_LIST_LISTENERS] = sizeof(pigeon_listener_row),
    [PIGEON_LIST_BANS] = sizeof(pigeon_ban),
    [PIGEON_LIST_COMMANDS] = sizeof(pigeon_command_row),
    [PIGEON_LIST_EXPLAIN] = sizeof(pigeon_explain_row),
    [PIGEON_LIST_TRACE] = sizeof(pigeon_trace_row),
};

void rows_init(struct rows *rows, uint32_t list)
{
    *rows = (struct rows){ .list = list, .stride = strides[list] };
    arena_init(&rows->texts);
}

void rows_fini(struct rows *rows)
{
    for (uint32_t i = 0; rows->list == PIGEON_LIST_RETAINED && i < rows->n; i++) {
        const pigeon_retained_row *row =
            (const void *)(rows->mem + (size_t)i * sizeof(pigeon_retained_row));
        struct message *m = row->msg ? message_of(row->msg) : NULL;

        message_unref(&m);
    }
    arena_fini(&rows->texts);
    free(rows->mem);
    *rows = (struct rows){ .list = rows->list, .stride = rows->stride };
}

void *rows_add(struct rows *rows)
{
    char *row;

    if (rows->n == rows->cap) {
        uint32_t cap = rows->cap ? rows->cap * 2 : 8;
        char *mem = realloc(rows->mem, (size_t)cap * rows->stride);

        if (!mem) {
            rows->failed = true;
            return NULL;
        }
        rows->mem = mem;
        rows->cap = cap;
    }
    row = rows->mem + (size_t)rows->n++ * rows->stride;
    memset(row, 0, rows->stride);
    memcpy(row, &rows->stride, sizeof(uint32_t));
    return row;
}

pigeon_str rows_text(struct rows *rows, struct str s)
{
    char *copy;

    if (!s.ptr)
        return (pigeon_str){ .ptr = NULL };
    copy = arena_dup(&rows->texts, s);
    if (!copy)
        rows->failed = true;
    return (pigeon_str){ .ptr = copy, .len = copy ? s.len : 0 };
}

pigeon_str rows_z(struct rows *rows, const char *z)
{
    return rows_text(rows, str_from(z));
}

/* ---- jobs ---------------------------------------------------------------------------- */

void job_ref(struct job *job)
{
    atomic_fetch_add_explicit(&job->refs, 1, memory_order_relaxed);
}

static void job_unlink(struct job *job)
{
    struct admin *admin = job->hooks->admin;

    if (!admin) /* it has let go of all of them */
        return;
    pthread_mutex_lock(&admin->lock);
    if (list_linked(&job->link))
        list_remove(&job->link);
    pthread_mutex_unlock(&admin->lock);
}

void job_unref(struct job *job)
{
    if (atomic_fetch_sub_explicit(&job->refs, 1, memory_order_acq_rel) != 1)
        return;
    job_unlink(job);
    job->free_fn(job);
}

/* true: by this call, so the table's reference is the caller's to drop. */
static bool job_set_over(struct job *job)
{
    return !atomic_exchange_explicit(&job->over, true, memory_order_acq_rel);
}

int32_t job_start(struct job *m_job, pigeon_job *r_id)
{
    struct admin *admin = m_job->hooks->admin;
    uint32_t n = 0;

    atomic_init(&m_job->refs, 1);
    atomic_init(&m_job->over, false);
    pthread_mutex_lock(&admin->lock);
    LIST_FOREACH (it, &admin->jobs)
        n += container_of(it, struct job, link)->inst == m_job->inst &&
             !job_is_over(container_of(it, struct job, link));
    if (n < PIGEON_JOBS_MAX) {
        job_ref(m_job); /* the table's */
        m_job->id = ++admin->next;
        list_append(&admin->jobs, &m_job->link);
        if (r_id)
            *r_id = m_job->id;
    }
    pthread_mutex_unlock(&admin->lock);
    if (n < PIGEON_JOBS_MAX)
        return PIGEON_OK;
    job_unref(m_job);
    return PIGEON_E_BUSY;
}

void job_end(struct job *job)
{
    if (job_set_over(job))
        job_unref(job);
}

static int32_t cancel(void *inst, pigeon_job id)
{
    struct admin *admin = instance_of(inst)->hooks->admin;
    struct job *job = NULL;

    pthread_mutex_lock(&admin->lock);
    LIST_FOREACH (it, &admin->jobs) {
        struct job *j = container_of(it, struct job, link);

        if (j->id == id && j->inst == inst && job_set_over(j))
            job = j; /* with the table's reference; what it waits for is given up at its `stop` */
    }
    pthread_mutex_unlock(&admin->lock);
    if (!job)
        return PIGEON_E_GONE;
    if (job->cancel)
        job->cancel(job);
    job_unref(job);
    return PIGEON_OK;
}

void job_post(struct job *job, uint32_t loop, struct mail *m_mail, mail_fn fn)
{
    struct loop *current = loop_current();

    job_ref(job);
    if (current && loop_get_group(current) == job->hooks->loops)
        loop_post(current, loop, m_mail, fn);
    else
        loop_post_any(loop_group_at(job->hooks->loops, loop), m_mail, fn);
}

void job_post_home(struct job *job, struct mail *m_mail, mail_fn fn)
{
    job_ref(job);
    host_post_home(job->inst, m_mail, fn);
}

bool job_may_tell(const struct job *job)
{
    return !job_is_over(job) && job->inst->created && !job->hooks->stopping;
}

void admin_call_begin(struct instance *inst)
{
    struct crumb *c = crumb_here();

    if (c)
        crumb_enter(c, inst, PIGEON_HOOK_LIFE, NULL);
}

void admin_call_end(void)
{
    struct crumb *c = crumb_here();

    if (c)
        crumb_leave(c);
}

void job_tell(struct job *job, pigeon_rows_fn fn, struct rows *rows, pigeon_rows *end)
{
    bool may_tell = job_may_tell(job);

    end->size = sizeof(*end);
    end->list = rows->list;
    end->rows = rows->mem;
    end->n = rows->n;
    end->stride = rows->stride;
    if (end->done)
        job_end(job);
    if (!may_tell)
        return;
    admin_call_begin(job->inst);
    fn(job->inst->self, job->arg, job->id, end);
    admin_call_end();
}

pigeon_str admin_dup(struct arena *a, pigeon_str s, bool *failed)
{
    char *copy;

    if (!s.ptr)
        return (pigeon_str){ .ptr = NULL };
    copy = arena_dup(a, admin_str(s));
    *failed = *failed || !copy;
    return (pigeon_str){ .ptr = copy, .len = copy ? s.len : 0 };
}

bool admin_glob(struct str pattern, struct str text)
{
    uint32_t p = 0, t = 0, star = UINT32_MAX, mark = 0;

    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            mark = t;
        } else if (p < pattern.len && (pattern.ptr[p] == '?' || pattern.ptr[p] == text.ptr[t])) {
            p++;
            t++;
        } else if (star != UINT32_MAX) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

/* ---- what needs no job --------------------------------------------------------------- */

static int32_t unban(void *inst, uint32_t kind, pigeon_str value)
{
    struct hooks *hooks = instance_of(inst)->hooks;

    if (!hooks->ops->admin)
        return PIGEON_E_NOTSUP;
    return hooks->ops->admin->unban(hooks->broker, kind, admin_str(value));
}

static int32_t log_level(void *inst, uint32_t level)
{
    static const enum log_level levels[] = { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
    struct hooks *hooks = instance_of(inst)->hooks;

    if (level > PIGEON_LOG_DEBUG)
        return PIGEON_E_INVAL;
    log_set_level(hooks->log, levels[level]);
    return PIGEON_OK;
}

static int32_t reload(void *inst)
{
    struct hooks *hooks = instance_of(inst)->hooks;

    if (!hooks->ops->admin || !hooks->ops->admin->reload)
        return PIGEON_E_NOTSUP;
    return hooks->ops->admin->reload(hooks->broker);
}

const pigeon_admin host_admin_table = {
    .size = sizeof(pigeon_admin),
    .list = admin_list,
    .explain = admin_explain,
    .trace = admin_trace,
    .call = admin_call,
    .cancel = cancel,
    .ban = admin_ban,
    .unban = unban,
    .session_delete = admin_session_delete,
    .retained_delete = admin_retained_delete,
    .log_level = log_level,
    .reload = reload,
};

/* ---- life ---------------------------------------------------------------------------- */

int admin_new(struct hooks *hooks)
{
    struct admin *admin = calloc(1, sizeof(*admin));

    if (!admin)
        return -ENOMEM;
    pthread_mutex_init(&admin->lock, NULL);
    list_init(&admin->jobs);
    hooks->admin = admin;
    return control_init(hooks) || traces_new(hooks) ? -ENOMEM : 0;
}

void admin_stop(struct hooks *hooks)
{
    if (!hooks->admin)
        return;
    LIST_FOREACH_SAFE (it, &hooks->admin->jobs) {
        struct job *job = container_of(it, struct job, link);

        if (job->stop)
            job->stop(job);
    }
}

void admin_free(struct hooks *hooks)
{
    struct admin *admin = hooks->admin;

    if (!admin)
        return;
    if (admin->traces)
        traces_free(hooks);
    for (struct list *it; (it = list_pop(&admin->jobs));)
        job_end(container_of(it, struct job, link));
    free(admin->control);
    pthread_mutex_destroy(&admin->lock);
    free(admin);
    hooks->admin = NULL;
}
