/* acl-file: who may publish, subscribe and read, from a file as Mosquitto has it.
 *
 * The rules of a client are pushed before it authenticates, under the names it has then; the broker
 * refuses a client whose names another plugin changes afterwards. From there on the broker enforces
 * them without calling here; what is asked is what they do not cover: SUBSCRIBE, and topics that
 * begin with '$'. One instance serves all loops: a reload swaps the file under a lock. */
#include "acl.h"
#include <pigeon/plugin.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#define ERR_MAX 512

struct self {
    const pigeon_host *host;
    pthread_rwlock_t lock; /* of file */
    struct acl_file *file;
};

/* ---- rules --------------------------------------------------------------------------- */

struct push {
    const pigeon_host *host;
    pigeon_req *req;
    bool decides_subscribe;
};

static int push(struct push *p, const char *filter, size_t len, uint32_t access, int32_t verdict)
{
    int32_t r = p->host->acl_add(p->req, pigeon_text(filter, len), access, verdict);

    return r == PIGEON_OK ? 0 : 1;
}

static int push_rule(void *arg, const char *filter, size_t len, unsigned access)
{
    struct push *p = arg;
    uint32_t to = 0;

    if (access & ACL_DENY) {
        to = PIGEON_ACL_PUBLISH | PIGEON_ACL_DELIVER;
        if (p->decides_subscribe)
            to |= PIGEON_ACL_SUBSCRIBE;
        return push(p, filter, len, to, PIGEON_DENY);
    }
    if (access & ACL_READ)
        to |= PIGEON_ACL_DELIVER;
    if (access & ACL_WRITE)
        to |= PIGEON_ACL_PUBLISH;
    if (access & ACL_SUBSCRIBE)
        to |= PIGEON_ACL_SUBSCRIBE;
    return push(p, filter, len, to, PIGEON_ALLOW);
}

/* What no rule allows is denied; '#' is not about topics that begin with '$'. */
static int push_rest(struct push *p, const struct acl_file *file)
{
    if (acl_file_each_hidden(file, push_rule, p) != 0)
        return 1;
    return push_rule(p, "#", 1, ACL_DENY);
}

static int32_t pre_connect(void *arg, pigeon_req *req, const pigeon_connect *connect)
{
    struct self *self = arg;
    const pigeon_client *c = req->client;
    struct push p = { .host = self->host, .req = req };
    const char *user;
    int r;

    (void)connect;
    if (!c)
        return PIGEON_DENY;
    user = c->username.ptr;
    pthread_rwlock_rdlock(&self->lock);
    p.decides_subscribe = acl_file_decides_subscribe(self->file);
    r = acl_file_each(self->file, user, c->id.ptr ? c->id.ptr : "", push_rule, &p);
    if (r == 0)
        r = push_rest(&p, self->file);
    pthread_rwlock_unlock(&self->lock);
    if (r == 0)
        return PIGEON_NEXT;
    pigeon_logf(self->host, PIGEON_LOG_WARN, "no rules can be made for client '%.100s'",
                c->id.ptr ? c->id.ptr : "");
    return PIGEON_DENY;
}

/* ---- what no rule covers ------------------------------------------------------------- */

static int32_t authorize_publish(void *arg, pigeon_req *req, const pigeon_msg *msg)
{
    (void)arg;
    (void)req;
    (void)msg;
    return PIGEON_DENY;
}

static int is_hidden(void *arg, const char *filter, size_t len, unsigned access)
{
    const pigeon_str *asked = arg;

    (void)access; /* "$NAME/#": the level, and what is below it */
    return pigeon_starts(*asked, pigeon_text(filter, len - 1)) ||
           pigeon_eq(*asked, pigeon_text(filter, len - 2));
}

/* A file without the word `subscribe` lets everybody subscribe to everything: what may be read is
 * looked at for each delivery. That is so for first levels with '$' only if the file knows them. */
static int32_t authorize_subscribe(void *arg, pigeon_req *req, const pigeon_sub *sub)
{
    struct self *self = arg;
    pigeon_str asked = sub->effective.len ? sub->effective : sub->filter;
    bool allowed;

    (void)req;
    pthread_rwlock_rdlock(&self->lock);
    allowed = !acl_file_decides_subscribe(self->file) &&
              (asked.len == 0 || asked.ptr[0] != '$' ||
               acl_file_each_hidden(self->file, is_hidden, &asked) != 0);
    pthread_rwlock_unlock(&self->lock);
    return allowed ? PIGEON_ALLOW : PIGEON_DENY;
}

/* ---- life ---------------------------------------------------------------------------- */

static int32_t load(const pigeon_host *host, const pigeon_conf *conf, struct acl_file **r_file)
{
    char err[ERR_MAX] = "";

    if (acl_file_load(host->conf_str(conf, "file").ptr, err, sizeof(err), r_file) < 0)
        return host->fail(host->inst, "file", err);
    return PIGEON_OK;
}

static void tell(const pigeon_host *host, const struct acl_file *file)
{
    pigeon_logf(host, PIGEON_LOG_INFO, "%zu rules", acl_file_n_rules(file));
    if (acl_file_n_unsubscribe(file))
        pigeon_logf(host, PIGEON_LOG_WARN,
                    "%u lines with 'unsubscribe' have no effect: UNSUBSCRIBE is always accepted",
                    acl_file_n_unsubscribe(file));
}

static int32_t check(const pigeon_host *host, const pigeon_conf *conf)
{
    struct acl_file *file;
    int32_t r = load(host, conf, &file);

    if (r == PIGEON_OK)
        acl_file_free(&file);
    return r;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = calloc(1, sizeof(*self));
    int32_t r;

    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    r = load(host, conf, &self->file);
    if (r != PIGEON_OK) {
        free(self);
        return r;
    }
    pthread_rwlock_init(&self->lock, NULL);
    tell(host, self->file);
    *out = self;
    return PIGEON_OK;
}

static void destroy(void *arg)
{
    struct self *self = arg;

    pthread_rwlock_destroy(&self->lock);
    acl_file_free(&self->file);
    free(self);
}

static int32_t prepare(void *arg, const pigeon_conf *conf, void **out)
{
    struct self *self = arg;
    struct acl_file *next;
    int32_t r = load(self->host, conf, &next);

    if (r == PIGEON_OK)
        *out = next;
    return r;
}

static int invalidate(void *arg, const char *user)
{
    struct self *self = arg;

    self->host->invalidate(self->host->inst, pigeon_z(""), pigeon_z(user));
    return user && *user ? 0 : 1;
}

/* Who has other rules now must authenticate again; the others stay connected. */
static void commit(void *arg, void *m_next)
{
    struct self *self = arg;
    struct acl_file *next = m_next, *old;

    pthread_rwlock_wrlock(&self->lock);
    old = self->file;
    self->file = next;
    pthread_rwlock_unlock(&self->lock);
    tell(self->host, next);
    if (acl_file_diff(old, next, invalidate, self) < 0)
        invalidate(self, NULL);
    acl_file_free(&old);
}

static void abort_next(void *self, void *m_next)
{
    struct acl_file *next = m_next;

    (void)self;
    acl_file_free(&next);
}

static const pigeon_option options[] = {
    { .key = "file",
      .type = PIGEON_T_PATH,
      .flags = PIGEON_O_REQUIRED | PIGEON_O_RELOAD,
      .doc = "the ACL file; read again at each reload" },
};
static const pigeon_auth auth = {
    .size = sizeof(auth),
    .pre_connect = pre_connect,
    .authorize_publish = authorize_publish,
    .authorize_subscribe = authorize_subscribe,
};

PIGEON_PLUGIN("org.pigeon-mqtt.acl-file", PIGEON_VERSION,
              "who may publish, subscribe and read, from Mosquitto's ACL file", "MIT",
              PIGEON_F_SHARED | PIGEON_F_ON_DEMAND, (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)),
              PIGEON_OPTIONS(options), .check = check, .create = create, .destroy = destroy,
              .prepare = prepare, .commit = commit, .abort = abort_next);
