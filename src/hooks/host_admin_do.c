/* What changes something: bans, the end of a session, retained messages. */
#include "hooks/chain.h"
#include "hooks/host_admin.h"
#include "hooks/host_priv.h"
#include "mqtt/topic.h"
#include <stdlib.h>

#define DELETES 64u /* retained messages in one go */

struct deed {
    struct job job;
    struct mail mail;
    pigeon_done_fn done;
    struct retained_scan scan;
    bool scanning;
    int32_t status;
    uint32_t what_len;
    char what[]; /* client id, or filter */
};

static void deed_free(struct job *job)
{
    struct deed *d = container_of(job, struct deed, job);

    if (d->scanning)
        retained_scan_fini(&d->scan);
    free(d);
}

static void on_done(struct loop *here, struct mail *m)
{
    struct deed *d = container_of(m, struct deed, mail);
    bool may_tell = job_may_tell(&d->job);

    (void)here;
    job_end(&d->job);
    if (may_tell && d->done) {
        admin_call_begin(d->job.inst);
        d->done(d->job.inst->self, d->job.arg, d->status);
        admin_call_end();
    }
    job_unref(&d->job);
}

static void on_session_delete(struct loop *here, struct mail *m)
{
    struct deed *d = container_of(m, struct deed, mail);
    struct hooks *hooks = d->job.hooks;

    if (!hooks->stopping)
        d->status = hooks->ops->admin->session_delete(hooks->broker, loop_index(here),
                                                      str_make(d->what, d->what_len));
    job_post_home(&d->job, &d->mail, on_done);
    job_unref(&d->job);
}

static void on_retained_delete(struct loop *here, struct mail *m)
{
    struct deed *d = container_of(m, struct deed, mail);
    struct hooks *hooks = d->job.hooks;
    bool more = false;

    if (!hooks->stopping) {
        int32_t n =
            hooks->ops->admin->retained_delete(hooks->broker, loop_index(here), &d->scan, &more);

        d->status = n < 0 ? n : d->status + n;
        more = more && n >= 0;
    }
    if (more)
        job_post(&d->job, loop_index(here), &d->mail, on_retained_delete);
    else
        job_post_home(&d->job, &d->mail, on_done);
    job_unref(&d->job);
}

static int32_t deed_start(void *inst, struct str what, pigeon_done_fn done, void *arg, mail_fn fn,
                          uint32_t loop)
{
    struct deed *d = calloc(1, sizeof(*d) + what.len + 1);
    int32_t r;

    if (!d)
        return PIGEON_E_NOMEM;
    d->job = (struct job){
        .hooks = instance_of(inst)->hooks, .inst = inst, .arg = arg, .free_fn = deed_free
    };
    d->done = done;
    memcpy(d->what, what.ptr, what.len);
    d->what_len = what.len;
    if (fn == on_retained_delete) {
        retained_scan_init(&d->scan, str_make(d->what, d->what_len), UINT64_MAX);
        d->scanning = true;
    }
    r = job_start(&d->job, NULL);
    if (r != PIGEON_OK)
        return r;
    job_post(&d->job, loop, &d->mail, fn);
    job_unref(&d->job);
    return PIGEON_OK;
}

int32_t admin_session_delete(void *inst, pigeon_str client_id, pigeon_done_fn done, void *arg)
{
    struct hooks *hooks = instance_of(inst)->hooks;
    struct str id = admin_str(client_id);

    if (!hooks->ops->admin)
        return PIGEON_E_NOTSUP;
    if (!id.len)
        return PIGEON_E_INVAL;
    return deed_start(inst, id, done, arg, on_session_delete,
                      hooks->ops->admin->home(hooks->broker, id));
}

int32_t admin_retained_delete(void *inst, pigeon_str filter, pigeon_done_fn done, void *arg)
{
    struct hooks *hooks = instance_of(inst)->hooks;
    struct str f = admin_str(filter);

    if (!hooks->ops->admin)
        return PIGEON_E_NOTSUP;
    if (!topic_is_filter(f, TOPIC_MAX_LEVELS) ||
        (str_starts(f, STR("$SYS/")) && topic_has_wildcard(f)))
        return PIGEON_E_INVAL;
    return deed_start(inst, f, done, arg, on_retained_delete, 0);
}

/* ---- bans ---------------------------------------------------------------------------- */

static void on_kick_banned(struct loop *here, struct mail *m)
{
    struct deed *d = container_of(m, struct deed, mail);
    struct hooks *hooks = d->job.hooks;
    uint32_t next = loop_index(here) + 1;

    if (!hooks->stopping)
        hooks->ops->admin->kick_banned(hooks->broker, loop_index(here));
    if (next < hooks->n_loops)
        job_post(&d->job, next, &d->mail, on_kick_banned);
    else
        job_end(&d->job);
    job_unref(&d->job);
}

int32_t admin_ban(void *inst, const pigeon_ban *ban)
{
    struct instance *i = instance_of(inst);
    pigeon_ban copy = { .size = sizeof(copy) };
    int32_t r;

    if (!i->hooks->ops->admin)
        return PIGEON_E_NOTSUP;
    if (!ban || ban->size < offsetof(pigeon_ban, text))
        return PIGEON_E_INVAL;
    memcpy(&copy, ban, ban->size < sizeof(copy) ? ban->size : sizeof(copy));
    if (!copy.value.ptr || !copy.value.len || host_check_text(copy.value) != PIGEON_OK ||
        (copy.text.ptr && host_check_text(copy.text) != PIGEON_OK))
        return PIGEON_E_INVAL;
    r = i->hooks->ops->admin->ban(i->hooks->broker, &copy, i->plugin->name);
    if (r != PIGEON_OK || !(copy.flags & PIGEON_BAN_KICK))
        return r;
    return deed_start(inst, STR("-"), NULL, NULL, on_kick_banned, 0);
}
