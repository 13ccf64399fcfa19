#include "checker.h"
#include "cache.h"
#include "hash.h"
#include <errno.h>
#include <pigeon/thread.h>

#define REASON_BAD_NAME_OR_PASSWORD 0x86u
#define REASON_NOT_AUTHORIZED       0x87u
#define REASON_BUSY                 0x89u

/* A connection that has said who it is. With the checker's lock. */
struct visitor {
    struct visitor *next, **at;
    unsigned refs; /* the connection, and a job */
    bool in;       /* its password was right */
    bool withdrawn;
    bool gone;
    char *user;
    char id[];
};

struct job {
    struct job *next;
    pigeon_req *req;
    pigeon_bytes password;
    struct users *users;     /* reference */
    const struct user *user; /* of users: whose hash the password is checked against */
    bool known;              /* it is the user's; else the answer is no whatever comes out */
    struct visitor *visitor; /* reference; NULL: an operator only asks */
    uint8_t tag[CACHE_TAG];
};

struct checker {
    const pigeon_host *host;
    struct cache *cache;  /* its entries with the lock */
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t news;
    struct checker_policy policy;
    struct users *users;
    struct visitor *visitors;
    struct job *first, **end;
    unsigned n_jobs, n_jobs_max;
    bool stop;
    int32_t m_checked, m_cached, m_refused, m_busy;
    unsigned n_threads;
    pthread_t threads[];
};

/* ---- visitors: with the lock ------------------------------------------------------------- */

static struct visitor *visitor_new(struct checker *c, const pigeon_client *client)
{
    struct visitor *v = calloc(1, sizeof(*v) + client->id.len + 1);

    if (!v || !(v->user = strdup(client->username.ptr))) {
        free(v);
        return NULL;
    }
    if (client->id.len)
        memcpy(v->id, client->id.ptr, client->id.len);
    v->refs = 1;
    v->next = c->visitors;
    v->at = &c->visitors;
    if (v->next)
        v->next->at = &v->next;
    c->visitors = v;
    return v;
}

static void visitor_unref(struct visitor *v)
{
    if (!v || --v->refs)
        return;
    *v->at = v->next;
    if (v->next)
        v->next->at = v->at;
    free(v->user);
    free(v);
}

void checker_leave(struct checker *c, void *slot)
{
    struct visitor *v = slot;

    pthread_mutex_lock(&c->lock);
    v->in = v->withdrawn = false;
    v->gone = true;
    visitor_unref(v);
    pthread_mutex_unlock(&c->lock);
}

static bool has_same_line(const struct users *users, const struct user *user)
{
    const struct user *found = users_find(users, user->name);

    return found && strcmp(found->hash, user->hash) == 0;
}

static void end_connection(struct checker *c, const struct visitor *v)
{
    c->host->kick(c->host->inst, pigeon_z(v->id), REASON_NOT_AUTHORIZED,
                  "user name and password do not hold any more");
}

unsigned checker_change(struct checker *c, const struct checker_policy *policy,
                        struct users *m_users)
{
    struct users *old;
    unsigned n = 0;

    pthread_mutex_lock(&c->lock);
    old = c->users;
    c->users = m_users;
    c->policy = *policy;
    for (struct visitor *v = c->visitors; v && policy->ends_withdrawn; v = v->next) {
        const struct user *before = v->in && !v->withdrawn ? users_find(old, v->user) : NULL;

        if (!before || has_same_line(m_users, before))
            continue;
        v->withdrawn = true;
        end_connection(c, v);
        n++;
    }
    pthread_mutex_unlock(&c->lock);
    users_unref(&old);
    return n;
}

bool checker_end_withdrawn(struct checker *c)
{
    bool some = false;

    pthread_mutex_lock(&c->lock);
    for (struct visitor *v = c->visitors; v; v = v->next)
        if (v->withdrawn) {
            end_connection(c, v);
            some = true;
        }
    pthread_mutex_unlock(&c->lock);
    return some;
}

/* ---- answers ----------------------------------------------------------------------------- */

/* With the lock: the client comes in. */
static void let_in(struct checker *c, struct job *job)
{
    cache_put(c->cache, job->tag, c->host->now_ns(c->host->inst), c->policy.cache_ns);
    if (job->visitor)
        job->visitor->in = !job->visitor->gone;
}

static int32_t refuse(struct checker *c, pigeon_req *req)
{
    c->host->metric_add(c->host->inst, c->m_refused, 1);
    c->host->set_reason(req, REASON_BAD_NAME_OR_PASSWORD, "bad user name or password");
    return PIGEON_DENY;
}

static void job_free(struct checker *c, struct job *job)
{
    pthread_mutex_lock(&c->lock);
    visitor_unref(job->visitor);
    pthread_mutex_unlock(&c->lock);
    users_unref(&job->users);
    free(job);
}

/* ---- threads ----------------------------------------------------------------------------- */

/* With the lock. NULL: stop, and nothing is left. */
static struct job *take(struct checker *c)
{
    struct job *job;

    while (!c->first && !c->stop)
        pthread_cond_wait(&c->news, &c->lock);
    job = c->first;
    if (!job)
        return NULL;
    c->first = job->next;
    if (!c->first)
        c->end = &c->first;
    c->n_jobs--;
    return job;
}

/* The file has changed while the password was checked: true, and it is to be checked against the
 * new line. With the lock. */
static bool is_outdated(struct checker *c, struct job *job, bool *ok)
{
    const struct user *now;

    if (!*ok || job->users == c->users)
        return false;
    now = users_find(c->users, job->user->name);
    *ok = now != NULL;
    if (!now || strcmp(now->hash, job->user->hash) == 0)
        return false;
    users_unref(&job->users);
    job->users = users_ref(c->users);
    job->user = now;
    return true;
}

static bool job_tag(struct checker *c, struct job *job, const char *name)
{
    return cache_tag(c->cache, name, job->user->hash, job->password.ptr, job->password.len,
                     job->tag);
}

static int32_t judge(struct checker *c, struct job *job)
{
    bool ok, again;
    int32_t unknown;

    do {
        ok = hash_verify(job->user->hash, job->password.ptr, job->password.len) && job->known;
        c->host->metric_add(c->host->inst, c->m_checked, 1);
        pthread_mutex_lock(&c->lock);
        unknown = c->policy.unknown;
        again = is_outdated(c, job, &ok);
        if (ok && !again)
            let_in(c, job);
        pthread_mutex_unlock(&c->lock);
        if (again)
            job_tag(c, job, job->user->name);
    } while (again);
    if (ok)
        return PIGEON_ALLOW;
    if (!job->known && unknown == PIGEON_NEXT)
        return PIGEON_NEXT;
    return refuse(c, job->req);
}

static void *work(void *arg)
{
    struct checker *c = arg;
    struct job *job;

    pthread_mutex_lock(&c->lock);
    while ((job = take(c)) != NULL) {
        int32_t verdict = PIGEON_DENY;
        pigeon_token token = job->req->token;
        bool stop = c->stop;

        pthread_mutex_unlock(&c->lock);
        if (!stop)
            verdict = judge(c, job);
        job_free(c, job);
        c->host->complete(c->host->inst, token, verdict);
        pthread_mutex_lock(&c->lock);
    }
    pthread_mutex_unlock(&c->lock);
    return NULL;
}

/* ---- questions --------------------------------------------------------------------------- */

/* For somebody who is not there: the line of somebody who is, always the same one for a name, so
 * that the answer takes as long as for a user. */
static const struct user *stand_in(const struct checker *c, const struct users *users,
                                   const char *name)
{
    uint8_t tag[CACHE_TAG] = { 0 };
    uint64_t n;

    cache_tag(c->cache, name, "", "", 0, tag);
    memcpy(&n, tag, sizeof(n));
    return users_at(users, n % users_count(users));
}

/* NULL: no memory. */
static struct job *job_new(struct checker *c, pigeon_req *req, const pigeon_connect *connect)
{
    struct job *job = calloc(1, sizeof(*job));
    const char *name = req->client->username.ptr;
    const struct user *other, *user;

    if (!job)
        return NULL;
    pthread_mutex_lock(&c->lock);
    job->users = users_ref(c->users);
    pthread_mutex_unlock(&c->lock);
    other = stand_in(c, job->users, name);
    user = users_find(job->users, name);
    job->req = req;
    job->password = connect->password;
    job->known = user != NULL;
    job->user = user ? user : other;
    if (job_tag(c, job, name))
        return job;
    users_unref(&job->users);
    free(job);
    return NULL;
}

/* With the lock. 0: it waits for a thread; a verdict. */
static int32_t admit(struct checker *c, struct job *job)
{
    pigeon_req *req = job->req;

    if (job->known && job->users == c->users && c->policy.cache_ns > 0 &&
        cache_has(c->cache, job->tag, c->host->now_ns(c->host->inst))) {
        c->host->metric_add(c->host->inst, c->m_cached, 1);
        if (job->visitor)
            job->visitor->in = true;
        return PIGEON_ALLOW;
    }
    if (c->n_jobs >= c->n_jobs_max || c->stop) {
        c->host->metric_add(c->host->inst, c->m_busy, 1);
        c->host->set_reason(req, REASON_BUSY, "too many passwords wait to be checked");
        return PIGEON_DENY;
    }
    *c->end = job;
    c->end = &job->next;
    c->n_jobs++;
    pthread_cond_signal(&c->news);
    return PIGEON_PENDING;
}

static bool join_visitors(struct checker *c, pigeon_req *req, struct job *job)
{
    bool explains = PIGEON_HAS(req, pigeon_req, flags) && (req->flags & PIGEON_REQ_EXPLAIN);

    if (explains || !req->client_slot)
        return true;
    if (!*req->client_slot)
        *req->client_slot = visitor_new(c, req->client);
    job->visitor = *req->client_slot;
    if (job->visitor)
        job->visitor->refs++;
    return job->visitor != NULL;
}

int32_t checker_ask(struct checker *c, pigeon_req *req, const pigeon_connect *connect)
{
    struct job *job;
    int32_t verdict;

    if (!req->client)
        return PIGEON_DENY;
    if (!connect->has_username || !req->client->username.ptr) {
        pthread_mutex_lock(&c->lock);
        verdict = c->policy.anonymous;
        pthread_mutex_unlock(&c->lock);
        return verdict;
    }
    job = job_new(c, req, connect);
    if (!job)
        return PIGEON_DENY;
    pthread_mutex_lock(&c->lock);
    verdict = join_visitors(c, req, job) ? admit(c, job) : PIGEON_DENY;
    pthread_mutex_unlock(&c->lock);
    if (verdict != PIGEON_PENDING)
        job_free(c, job);
    return verdict;
}

void checker_cancel(struct checker *c, pigeon_token token)
{
    struct job **at, *job;

    pthread_mutex_lock(&c->lock);
    for (at = &c->first; *at && (*at)->req->token != token; at = &(*at)->next)
        ;
    job = *at;
    if (job) {
        *at = job->next;
        if (c->end == &job->next)
            c->end = at;
        c->n_jobs--;
    }
    pthread_mutex_unlock(&c->lock);
    if (!job)
        return;
    job_free(c, job);
    c->host->complete(c->host->inst, token, PIGEON_DENY);
}

/* ---- life -------------------------------------------------------------------------------- */

void checker_stop(struct checker *c)
{
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_broadcast(&c->news);
    pthread_mutex_unlock(&c->lock);
    while (c->n_threads)
        pthread_join(c->threads[--c->n_threads], NULL);
}

void checker_free(struct checker **checker)
{
    struct checker *c = *checker;

    if (!c)
        return;
    checker_stop(c);
    while (c->visitors) {
        c->visitors->refs = 1;
        visitor_unref(c->visitors);
    }
    pthread_cond_destroy(&c->news);
    pthread_mutex_destroy(&c->lock);
    users_unref(&c->users);
    cache_free(&c->cache);
    free(c);
    *checker = NULL;
}

static void register_metrics(struct checker *c)
{
    const pigeon_host *h = c->host;

    c->m_checked = h->metric(h->inst, "checked", "password hashes computed", PIGEON_METRIC_COUNTER);
    c->m_cached = h->metric(h->inst, "cached", "passwords found remembered", PIGEON_METRIC_COUNTER);
    c->m_refused =
        h->metric(h->inst, "refused", "wrong passwords and users", PIGEON_METRIC_COUNTER);
    c->m_busy = h->metric(h->inst, "busy", "refused, too many waited", PIGEON_METRIC_COUNTER);
}

int checker_new(const struct checker_setup *setup, const struct checker_policy *policy,
                struct users *m_users, struct checker **r_checker)
{
    struct checker *c = calloc(1, sizeof(*c) + setup->n_threads * sizeof(c->threads[0]));

    if (!c || cache_new(setup->cache_size, &c->cache) < 0) {
        free(c);
        return -ENOMEM;
    }
    c->host = setup->host;
    c->policy = *policy;
    c->n_jobs_max = setup->queue;
    c->end = &c->first;
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->news, NULL);
    register_metrics(c);
    c->users = m_users;
    for (unsigned i = 0; i < setup->n_threads; i++, c->n_threads++)
        if (pigeon_thread_start(&c->threads[i], "auth-file", work, c) != PIGEON_OK) {
            c->users = NULL; /* the caller's, still */
            checker_free(&c);
            return -EAGAIN;
        }
    *r_checker = c;
    return 0;
}
