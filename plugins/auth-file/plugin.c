/* auth-file: user names and passwords from a file, Mosquitto's or one with hashes of crypt(3). */
#include "checker.h"
#include <errno.h>
#include <stdlib.h>

#define ERR_MAX 512
#define END_AGAIN_NS                                                             \
    500000000 /* a client that was coming in when its user went is there by then \
               */

struct self {
    const pigeon_host *host;
    struct checker *checker;
    pigeon_watch *timer; /* while withdrawn connections are there */
};

/* What prepare makes. */
struct next {
    struct users *users;
    struct checker_policy policy;
};

static int32_t authenticate(void *arg, pigeon_req *req, const pigeon_connect *connect)
{
    struct self *self = arg;

    return checker_ask(self->checker, req, connect);
}

static void cancel(void *arg, pigeon_token token, int32_t why)
{
    struct self *self = arg;

    (void)why;
    checker_cancel(self->checker, token);
}

static void client_free(void *arg, void *slot)
{
    struct self *self = arg;

    checker_leave(self->checker, slot);
}

/* ---- options ----------------------------------------------------------------------------- */

static int32_t verdict_of(pigeon_str word)
{
    return pigeon_eq(word, pigeon_z("allow"))  ? PIGEON_ALLOW
           : pigeon_eq(word, pigeon_z("next")) ? PIGEON_NEXT
                                               : PIGEON_DENY;
}

static int32_t read_conf(const pigeon_host *host, const pigeon_conf *conf, struct next *r)
{
    char err[ERR_MAX] = "";

    if (users_load(host->conf_str(conf, "file").ptr, err, sizeof(err), &r->users) < 0)
        return host->fail(host->inst, "file", err);
    r->policy = (struct checker_policy){
        .anonymous = verdict_of(host->conf_str(conf, "anonymous")),
        .unknown = verdict_of(host->conf_str(conf, "unknown_users")),
        .cache_ns = host->conf_int(conf, "cache_time") * 1000000,
        .ends_withdrawn = host->conf_int(conf, "disconnect_withdrawn") != 0,
    };
    return PIGEON_OK;
}

static const pigeon_option options[] = {
    { .key = "file",
      .type = PIGEON_T_PATH,
      .flags = PIGEON_O_REQUIRED | PIGEON_O_RELOAD,
      .doc = "the password file; read again at each reload" },
    { .key = "anonymous",
      .type = PIGEON_T_ENUM,
      .allowed = "next|allow|deny",
      .preset = "next",
      .flags = PIGEON_O_RELOAD,
      .doc = "clients without a user name; next: another plugin decides, else they are refused" },
    { .key = "unknown_users",
      .type = PIGEON_T_ENUM,
      .allowed = "deny|next",
      .preset = "deny",
      .flags = PIGEON_O_RELOAD,
      .doc = "users who are not in the file; next: another plugin decides" },
    { .key = "disconnect_withdrawn",
      .type = PIGEON_T_BOOL,
      .preset = "true",
      .flags = PIGEON_O_RELOAD,
      .doc = "a reload ends connections of users who are gone or have another password" },
    { .key = "cache_time",
      .type = PIGEON_T_TIME,
      .preset = "5m",
      .max = 86400000,
      .flags = PIGEON_O_RELOAD,
      .doc = "how long a password that was right needs no hash; 0s: each time" },
    { .key = "cache_size",
      .type = PIGEON_T_INT,
      .preset = "1000",
      .max = 1000000,
      .doc = "passwords that are remembered at once" },
    { .key = "threads",
      .type = PIGEON_T_INT,
      .preset = "2",
      .min = 1,
      .max = 64,
      .doc = "threads that compute hashes" },
    { .key = "queue",
      .type = PIGEON_T_INT,
      .preset = "100",
      .min = 1,
      .max = 100000,
      .doc = "passwords that wait for them; further clients are refused with 0x89, server busy" },
};

/* ---- life -------------------------------------------------------------------------------- */

static int32_t check(const pigeon_host *host, const pigeon_conf *conf)
{
    struct next next;
    int32_t r = read_conf(host, conf, &next);

    if (r == PIGEON_OK)
        users_unref(&next.users);
    return r;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    const struct checker_setup setup = {
        .host = host,
        .n_threads = (unsigned)host->conf_int(conf, "threads"),
        .queue = (unsigned)host->conf_int(conf, "queue"),
        .cache_size = (size_t)host->conf_int(conf, "cache_size"),
    };
    struct self *self = calloc(1, sizeof(*self));
    struct next first;
    int32_t r;

    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    r = read_conf(host, conf, &first);
    if (r != PIGEON_OK) {
        free(self);
        return r;
    }
    pigeon_logf(host, PIGEON_LOG_INFO, "%zu users", users_count(first.users));
    r = checker_new(&setup, &first.policy, first.users, &self->checker);
    if (r == 0) {
        *out = self;
        return PIGEON_OK;
    }
    users_unref(&first.users);
    free(self);
    return r == -ENOMEM ? PIGEON_E_NOMEM : host->fail(host->inst, "threads", "cannot start them");
}

/* As long as one hash takes. */
static int32_t quiesce(void *arg, pigeon_token token)
{
    struct self *self = arg;

    (void)token;
    checker_stop(self->checker);
    return PIGEON_OK;
}

static void destroy(void *arg)
{
    struct self *self = arg;

    checker_free(&self->checker);
    free(self);
}

static int32_t prepare(void *arg, const pigeon_conf *conf, void **out)
{
    struct self *self = arg;
    struct next *next = calloc(1, sizeof(*next));
    int32_t r;

    if (!next)
        return PIGEON_E_NOMEM;
    r = read_conf(self->host, conf, next);
    if (r != PIGEON_OK)
        free(next);
    else
        *out = next;
    return r;
}

static void on_end_again(void *arg, void *none, pigeon_watch *watch, uint32_t events)
{
    struct self *self = arg;

    (void)none;
    (void)events;
    if (checker_end_withdrawn(self->checker))
        return;
    self->host->unwatch(watch);
    self->timer = NULL;
}

static void commit(void *arg, void *m_next)
{
    struct self *self = arg;
    struct next *next = m_next;
    size_t n_users = users_count(next->users);
    unsigned n = checker_change(self->checker, &next->policy, next->users);

    free(next);
    pigeon_logf(self->host, PIGEON_LOG_INFO, "%zu users, %u connections end", n_users, n);
    if (n && !self->timer)
        self->timer =
            self->host->timer(self->host->inst, END_AGAIN_NS, END_AGAIN_NS, on_end_again, NULL);
}

static void abort_next(void *self, void *m_next)
{
    struct next *next = m_next;

    (void)self;
    users_unref(&next->users);
    free(next);
}

static const pigeon_auth auth = { .size = sizeof(auth), .authenticate = authenticate };

PIGEON_PLUGIN("org.pigeon-mqtt.auth-file", PIGEON_VERSION,
              "user names and passwords from Mosquitto's password file, or with hashes of crypt(3)",
              "MIT", PIGEON_F_SHARED | PIGEON_F_ON_DEMAND, (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)),
              PIGEON_OPTIONS(options), .check = check, .create = create, .destroy = destroy,
              .prepare = prepare, .commit = commit, .abort = abort_next, .quiesce = quiesce,
              .cancel = cancel, .client_free = client_free);
