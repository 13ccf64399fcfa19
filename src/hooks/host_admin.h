/* host_admin.h - pigeon.admin/1 from inside: jobs, and rows on their way to the instance that
 * asked.
 *
 * A job is what an instance has begun and is told the end of. The instance knows it by a number and
 * the table of `struct admin` holds a reference until its last callback, a cancel, or the end of
 * the instances; it stays in the table until its last reference, to be stopped. Mail of a job holds
 * one. Rows own everything they point to, so they may go to another loop. The broker
 * fills lists through admin_ops. */
#pragma once
#include "config/arena.h"
#include "hooks/hooks.h"
#include "hooks/subject.h"
#include "mqtt/retained.h"
#include <pthread.h>
#include <stdatomic.h>

struct instance;
struct step;

/* ---- rows ---- */

struct rows {
    struct arena texts;
    char *mem;
    uint32_t n, cap, stride, list;
    bool failed; /* no memory for some row or text */
};

void rows_init(struct rows *rows, uint32_t list);
void rows_fini(struct rows *rows); /* drops the messages of retained rows, too */
/* Zeroed but for its size; good until the next one. NULL: no memory. */
void *rows_add(struct rows *rows);
/* A copy that lives as long as the rows, with a NUL behind it. */
pigeon_str rows_text(struct rows *rows, struct str s);
pigeon_str rows_z(struct rows *rows, const char *z);

/* ---- lists of the broker ---- */

#define ADMIN_PORTION 100u  /* rows at a time */
#define ADMIN_BUDGET  2000u /* places looked at in one go */

struct admin_list {
    const pigeon_query *query;
    struct rows *rows;
    uint32_t room; /* rows that may be added yet */
    /* where it stands on this loop; zeroed at its first portion */
    uint64_t slot;    /* next one in the session table */
    uint64_t session; /* subscriptions: number of the session it stopped in, 0: none */
    uint64_t hash;    /* subscriptions: of the last one that was shown */
    struct retained_scan scan;
    bool scanning;
};

/* Who is banned, or kicked: whatever is set has to fit. */
struct admin_who {
    struct str client_id, username, address;
};

/* What the broker does for pigeon.admin/1. [loop] on the loop that is named, [any] else. */
struct admin_ops {
    /* [loop] A portion: 1: there is more on this loop; 0: that was all; -ENOMEM. */
    int (*list)(void *broker, uint32_t loop, struct admin_list *list);
    /* [any] */
    uint32_t (*home)(void *broker, struct str client_id);
    /* [loop] The connected client, borrowed; NULL: it is not there. */
    struct identity *(*find)(void *broker, uint32_t loop, struct str client_id, bool *r_anonymous,
                             uint32_t *r_chains);
    /* [any] Would a client of a listener be let in if nobody decided? */
    bool (*allows_anonymous)(void *broker, struct str listener);
    /* [any] */
    int32_t (*ban)(void *broker, const pigeon_ban *ban, const char *by);
    int32_t (*unban)(void *broker, uint32_t kind, struct str value);
    /* [any] true: with the reason in `text`. */
    bool (*is_banned)(void *broker, const struct admin_who *who, char *text, size_t size);
    /* [loop] Ends the connections of this loop that are banned now. */
    void (*kick_banned)(void *broker, uint32_t loop);
    /* [loop] */
    int32_t (*session_delete)(void *broker, uint32_t loop, struct str client_id);
    /* [loop] A portion: how many were deleted; *r_more: call again. */
    int32_t (*retained_delete)(void *broker, uint32_t loop, struct retained_scan *scan,
                               bool *r_more);
    int32_t (*reload)(void *broker); /* [any] NULL: not possible */
};

/* Whose a subscription is, by what hooks_ops.subscribe was given as `arg`. */
const char *subscription_plugin(const void *arg);

/* ---- jobs; private to hooks/ ---- */

struct job {
    struct list link; /* in admin.jobs; lock */
    uint64_t id;
    struct hooks *hooks;
    struct instance *inst;
    void *arg;
    _Atomic uint32_t refs;
    _Atomic bool over;               /* nothing more is told; the table's reference is gone */
    void (*cancel)(struct job *job); /* any thread; NULL: nothing to do */
    void (*stop)(struct job *job);   /* loops stand still, instances are about to go; or NULL */
    void (*free_fn)(struct job *job);
};

struct admin {
    pthread_mutex_t lock; /* never held while a plugin runs */
    struct list jobs;
    uint64_t next;
    struct step *control; /* by plugin index, for questions to pigeon.control/1 */
    struct traces *traces;
};

int admin_new(struct hooks *hooks);
/* Gives up what waits for plugins; they are still there. */
void admin_stop(struct hooks *hooks);
void admin_free(struct hooks *hooks);
extern const pigeon_admin host_admin_table;

/* Into the table, with the caller's reference; r_id may be NULL. PIGEON_OK, or PIGEON_E_BUSY: the
 * job is freed. hooks, inst, arg and free_fn are set by the caller. */
int32_t job_start(struct job *m_job, pigeon_job *r_id);
/* It was told its end, or nobody will be. Drops the table's reference. */
void job_end(struct job *job);
void job_ref(struct job *job);
void job_unref(struct job *job);
static inline bool job_is_over(const struct job *job)
{
    return atomic_load_explicit(&job->over, memory_order_acquire);
}
/* Mail that holds a reference: fn ends with job_unref. From any thread. */
void job_post(struct job *job, uint32_t loop, struct mail *m_mail, mail_fn fn);
void job_post_home(struct job *job, struct mail *m_mail, mail_fn fn);
/* On the thread of the instance: may it be told something? Then a call of it may begin. */
bool job_may_tell(const struct job *job);
/* Around a call of the instance on its own thread. */
void admin_call_begin(struct instance *inst);
void admin_call_end(void);
/* Hands rows over, if the job is not over. end: fields beside the rows; done: it is over then. */
void job_tell(struct job *job, pigeon_rows_fn fn, struct rows *rows, pigeon_rows *end);

/* Copies of what a plugin gave. */
pigeon_str admin_dup(struct arena *a, pigeon_str s, bool *failed);
static inline struct str admin_str(pigeon_str s)
{
    return (struct str){ s.ptr, s.ptr ? s.len : 0 };
}
/* * any characters, ? one. */
bool admin_glob(struct str pattern, struct str text);

/* host_admin_list.c */
int32_t admin_list(void *inst, const pigeon_query *query, pigeon_rows_fn fn, void *arg,
                   pigeon_job *job);
/* host_admin_do.c */
int32_t admin_ban(void *inst, const pigeon_ban *ban);
int32_t admin_session_delete(void *inst, pigeon_str client_id, pigeon_done_fn done, void *arg);
int32_t admin_retained_delete(void *inst, pigeon_str filter, pigeon_done_fn done, void *arg);
