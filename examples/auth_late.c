/* auth_late - asks somebody slow, on a thread of its own, and answers later.
 * SPDX-License-Identifier: MIT
 *
 * cc -shared -fPIC -pthread -Iinclude examples/auth_late.c -o auth_late.so
 *
 * The thread stands for a directory server or a database: each question takes `delay`. Names in
 * `users`
 * ("name:password") may come in; nobody may publish to or subscribe to what begins with
 * `forbidden`.
 *
 * What it shows: the loop goes on while the thread works; a question stays in memory until
 * complete(), so the thread may read what it points to; cancel() only hastens the answer, which
 * must still be given. */
#include <pigeon/plugin.h>
#include <pigeon/thread.h>
#include <time.h>

struct job {
    struct job *next;
    pigeon_req *req;
    const pigeon_connect *connect; /* of authenticate */
    pigeon_str topic;              /* of the others */
    int64_t due_ns;                /* 0: cancelled, answer at once */
};

struct self {
    const pigeon_host *host;
    const pigeon_conf *conf;
    int64_t delay_ns;
    pthread_t thread;
    pthread_mutex_t lock; /* all below */
    pthread_cond_t news;
    struct job *first, **end;
    int stop;
};

/* ---- the slow one ---- */

static int64_t clock_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int32_t judge_user(const struct self *self, const struct job *job)
{
    const pigeon_host *host = self->host;
    pigeon_str name = job->req->client->username;

    for (uint32_t i = 0;
         name.len && !strchr(name.ptr, ':') && i < host->conf_count(self->conf, "users"); i++) {
        pigeon_str user = host->conf_item(self->conf, "users", i);

        if (pigeon_starts(user, name) && user.ptr[name.len] == ':')
            return pigeon_same(pigeon_data(user.ptr + name.len + 1, user.len - name.len - 1),
                               job->connect->password)
                       ? PIGEON_ALLOW
                       : PIGEON_DENY;
    }
    host->set_reason(job->req, 0x86, "no such user");
    return PIGEON_DENY;
}

static int32_t judge(const struct self *self, const struct job *job)
{
    pigeon_str forbidden = self->host->conf_str(self->conf, "forbidden");

    if (job->due_ns == 0)
        return PIGEON_DENY; /* cancelled: nobody listens */
    if (job->connect)
        return judge_user(self, job);
    return forbidden.len && pigeon_starts(job->topic, forbidden) ? PIGEON_DENY : PIGEON_ALLOW;
}

/* Until there is a job that is due; NULL: stop. With the lock held. */
static struct job *take(struct self *self)
{
    for (;;) {
        struct job *job = self->first;
        struct timespec until;

        if (!job && self->stop)
            return NULL;
        if (!job) {
            pthread_cond_wait(&self->news, &self->lock);
            continue;
        }
        if (self->stop || job->due_ns <= clock_ns()) {
            self->first = job->next;
            if (!self->first)
                self->end = &self->first;
            return job;
        }
        until.tv_sec = (time_t)(job->due_ns / 1000000000);
        until.tv_nsec = (long)(job->due_ns % 1000000000);
        pthread_cond_timedwait(&self->news, &self->lock, &until);
    }
}

static void *work(void *arg)
{
    struct self *self = arg;
    struct job *job;

    pthread_mutex_lock(&self->lock);
    while ((job = take(self)) != NULL) {
        pthread_mutex_unlock(&self->lock);
        /* From here on the request is gone: it may be freed before complete() returns. */
        self->host->complete(self->host->inst, job->req->token, judge(self, job));
        free(job);
        pthread_mutex_lock(&self->lock);
    }
    pthread_mutex_unlock(&self->lock);
    return NULL;
}

/* ---- on the loop ---- */

static int32_t later(struct self *self, pigeon_req *req, const pigeon_connect *connect,
                     pigeon_str topic)
{
    struct job *job = malloc(sizeof(*job));

    if (!job)
        return PIGEON_DENY;
    *job = (struct job){ NULL, req, connect, topic, clock_ns() + self->delay_ns };
    pthread_mutex_lock(&self->lock);
    *self->end = job;
    self->end = &job->next;
    pthread_cond_signal(&self->news);
    pthread_mutex_unlock(&self->lock);
    return PIGEON_PENDING;
}

static int32_t authenticate(void *self, pigeon_req *req, const pigeon_connect *connect)
{
    return later(self, req, connect, pigeon_z(NULL));
}

static int32_t authorize_publish(void *self, pigeon_req *req, const pigeon_msg *msg)
{
    return later(self, req, NULL, msg->topic);
}

static int32_t authorize_subscribe(void *self, pigeon_req *req, const pigeon_sub *sub)
{
    return later(self, req, NULL, sub->filter);
}

/* Client gone, deadline, or the broker stops: to the head of the queue with it. A job that is not
 * there is being answered at this moment. */
static void cancel(void *arg, pigeon_token token, int32_t why)
{
    struct self *self = arg;
    struct job **at;

    (void)why;
    pthread_mutex_lock(&self->lock);
    for (at = &self->first; *at && (*at)->req->token != token; at = &(*at)->next)
        ;
    if (*at) {
        struct job *job = *at;

        *at = job->next;
        if (self->end == &job->next)
            self->end = at;
        job->due_ns = 0;
        job->next = self->first;
        self->first = job;
        if (!job->next)
            self->end = &job->next;
        pthread_cond_signal(&self->news);
    }
    pthread_mutex_unlock(&self->lock);
}

/* ---- life ---- */

static void destroy(void *arg)
{
    struct self *self = arg;

    pthread_mutex_lock(&self->lock);
    self->stop = 1; /* what is left is answered without waiting */
    pthread_cond_signal(&self->news);
    pthread_mutex_unlock(&self->lock);
    pthread_join(self->thread, NULL);
    pthread_cond_destroy(&self->news);
    pthread_mutex_destroy(&self->lock);
    free(self);
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = calloc(1, sizeof(*self));
    pthread_condattr_t monotonic;

    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    self->conf = conf;
    self->delay_ns = host->conf_int(conf, "delay") * 1000000;
    self->end = &self->first;
    pthread_mutex_init(&self->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&self->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pigeon_thread_start(&self->thread, "auth_late", work, self) != PIGEON_OK) {
        pthread_cond_destroy(&self->news);
        pthread_mutex_destroy(&self->lock);
        free(self);
        return host->fail(host->inst, NULL, "cannot start a thread");
    }
    *out = self;
    return PIGEON_OK;
}

static const pigeon_option options[] = {
    { .key = "delay", .type = PIGEON_T_TIME, .preset = "50ms", .doc = "how slow it is" },
    { .key = "users", .type = PIGEON_T_LIST, .doc = "name:password, one per item" },
    { .key = "forbidden", .type = PIGEON_T_STRING, .doc = "beginning of topics nobody may use" },
};
static const pigeon_auth auth = {
    .size = sizeof(auth),
    .authenticate = authenticate,
    .authorize_publish = authorize_publish,
    .authorize_subscribe = authorize_subscribe,
};

PIGEON_PLUGIN("org.example.auth-late", "1.0", "answers late, from its own thread", "MIT", 0,
              (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)), PIGEON_OPTIONS(options), .create = create,
              .destroy = destroy, .cancel = cancel);
