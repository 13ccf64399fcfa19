/* worker_gate.c - a plugin that blocks until a test writes a byte into a FIFO, and uses whatever
 * the host offers from where it is called.
 *
 * The FIFOs lie in the option `dir`. Blocked: a CONNECT of the user block-NAME, a PUBLISH to
 * block/NAME/..., a SUBSCRIBE to block/NAME/..., the fact of a PUBLISH to block-fact/NAME; the byte
 * says what comes of it: a d n, ALLOW, DENY, NEXT. A PUBLISH to do/WHAT does what is said at
 * `orders` below and publishes to did/WHAT when it has come to pass. Every callback checks that it
 * is made on the one thread that owns the instance, and about a client that it comes to the same
 * thread, in order: what is wrong is counted. */
#include <fcntl.h>
#include <pigeon/plugin.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAYBE_UNUSED __attribute__((unused)) /* the variants take a part each */

#ifndef GATE_FLAGS
#define GATE_FLAGS PIGEON_F_MAY_BLOCK
#endif

struct self {
    const pigeon_host *host;
    pigeon_str dir;
    long thread; /* of the first callback after create */
    pigeon_subscription *subscription;
    pigeon_token token; /* a delivery that waits for its answer */
    int pipe[2];
    int32_t blocked, strayed, disorder, freed, facts, done, cancelled, gone;
};

/* What is kept of a client. */
struct client {
    long thread;
    long last; /* number of its last PUBLISH to order/... */
};

static void count(struct self *self, int32_t metric)
{
    self->host->metric_add(self->host->inst, metric, 1);
}

static void check_thread(struct self *self)
{
    long here = syscall(SYS_gettid);

    if (self->thread == 0)
        self->thread = here;
    if (self->thread != here)
        count(self, self->strayed);
}

static void say(struct self *self, const char *topic, pigeon_str payload)
{
    pigeon_msg msg = { .size = sizeof(msg), .qos = 1, .topic = pigeon_z(topic) };

    msg.payload = pigeon_data(payload.ptr, payload.len);
    self->host->publish(self->host->inst, &msg, NULL, NULL);
}

/* ---- blocking -------------------------------------------------------------------------------- */

/* name: up to the next '/' or the end. */
static int32_t block(struct self *self, pigeon_str name)
{
    uint32_t len = (uint32_t)strcspn(name.ptr, "/");
    char path[512], answer = 'n';
    int fd;

    snprintf(path, sizeof(path), "%s/%.*s", self->dir.ptr, (int)len, name.ptr);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    count(self, self->blocked);
    if (fd < 0 || read(fd, &answer, 1) != 1)
        answer = 'd';
    if (fd >= 0)
        close(fd);
    return answer == 'a' ? PIGEON_ALLOW : answer == 'd' ? PIGEON_DENY : PIGEON_NEXT;
}

static pigeon_str behind(pigeon_str s, const char *prefix)
{
    size_t len = strlen(prefix);

    return pigeon_text(s.ptr + len, s.len - len);
}

/* ---- orders ---------------------------------------------------------------------------------- */

static void on_done(void *arg, void *what, int32_t status)
{
    struct self *self = arg;

    (void)what;
    check_thread(self);
    if (status == PIGEON_OK)
        count(self, self->done);
}

static void do_publish(struct self *self)
{
    pigeon_msg msg = { .size = sizeof(msg), .qos = 1, .topic = pigeon_z("did/publish") };

    self->host->publish(self->host->inst, &msg, on_done, NULL);
}

static void on_timer(void *arg, void *topic, pigeon_watch *watch, uint32_t events)
{
    struct self *self = arg;

    (void)events;
    check_thread(self);
    say(self, topic, pigeon_z(""));
    self->host->unwatch(watch);
}

static void do_timer(struct self *self)
{
    self->host->timer(self->host->inst, 1000000, 0, on_timer, (void *)"did/timer");
}

static void on_fd(void *arg, void *what, pigeon_watch *watch, uint32_t events)
{
    struct self *self = arg;
    char c = 0;

    (void)what;
    check_thread(self);
    if (!(events & PIGEON_FD_READ) || read(self->pipe[0], &c, 1) != 1)
        return;
    self->host->unwatch(watch);
    close(self->pipe[0]);
    close(self->pipe[1]);
    say(self, "did/fd", pigeon_text(&c, 1));
}

static void do_fd(struct self *self)
{
    if (pipe2(self->pipe, O_CLOEXEC) != 0)
        return;
    self->host->fd(self->host->inst, self->pipe[0], PIGEON_FD_READ, on_fd, NULL);
    if (write(self->pipe[1], "x", 1) != 1)
        close(self->pipe[1]);
}

static void on_post(void *arg, void *what)
{
    check_thread(arg);
    say(arg, what, pigeon_z(""));
}

static void *poster(void *arg)
{
    struct self *self = arg;

    self->host->post(self->host->inst, on_post, (void *)"did/post");
    return NULL;
}

static void never(void *arg, void *what, pigeon_watch *watch, uint32_t events)
{
    (void)what;
    (void)watch;
    (void)events;
    count(arg, ((struct self *)arg)->strayed);
}

static int32_t on_message(void *arg, void *what, pigeon_token token, const pigeon_msg *msg)
{
    struct self *self = arg;

    (void)what;
    check_thread(self);
    say(self, "did/deliver", pigeon_text((const char *)msg->payload.ptr, msg->payload.len));
    if (!pigeon_starts(msg->topic, pigeon_z("sub/wait")))
        return PIGEON_OK;
    self->token = token;
    return PIGEON_PENDING;
}

/* What is [loop] must not be done here. */
static void *stray(void *arg)
{
    struct self *self = arg;
    const pigeon_host *h = self->host;
    pigeon_subscription *sub;
    int ok = h->timer(h->inst, 0, 0, never, NULL) == NULL &&
             h->fd(h->inst, 0, PIGEON_FD_READ, never, NULL) == NULL &&
             h->subscribe(h->inst, pigeon_z("#"), 0, on_message, NULL, &sub) == PIGEON_E_THREAD;

    say(self, "did/stray", pigeon_z(ok ? "refused" : "accepted"));
    return NULL;
}

static void in_thread(struct self *self, void *(*fn)(void *))
{
    pthread_t thread;

    if (pthread_create(&thread, NULL, fn, self) == 0)
        pthread_join(thread, NULL);
}

static void do_subscribe(struct self *self)
{
    if (!self->subscription)
        self->host->subscribe(self->host->inst, pigeon_z("sub/#"), 1, on_message, NULL,
                              &self->subscription);
    say(self, "did/subscribe", pigeon_z(""));
}

static void do_unsubscribe(struct self *self)
{
    self->host->unsubscribe(self->subscription);
    self->subscription = NULL;
    say(self, "did/unsubscribe", pigeon_z(""));
}

/* Ends subscriptions before an event loop has heard of them. */
static void do_flicker(struct self *self)
{
    pigeon_subscription *sub[50];
    void *inst = self->host->inst;

    for (int i = 0; i < 50; i++)
        if (self->host->subscribe(inst, pigeon_z("sub/#"), 1, on_message, NULL, &sub[i]) !=
            PIGEON_OK)
            sub[i] = NULL;
    for (int i = 0; i < 50; i++)
        self->host->unsubscribe(sub[i]);
    say(self, "did/flicker", pigeon_z(""));
}

static void do_answer(struct self *self)
{
    if (self->host->complete(self->host->inst, self->token, PIGEON_OK) == PIGEON_E_GONE)
        count(self, self->gone);
}

static void do_loop(struct self *self)
{
    say(self, "did/loop",
        pigeon_z(self->host->loop == self->host->loops ? "worker" : "event loop"));
}

static void obey(struct self *self, pigeon_str what)
{
    const pigeon_host *h = self->host;

    if (pigeon_eq(what, pigeon_z("publish")))
        do_publish(self);
    else if (pigeon_eq(what, pigeon_z("timer")))
        do_timer(self);
    else if (pigeon_eq(what, pigeon_z("fd")))
        do_fd(self);
    else if (pigeon_eq(what, pigeon_z("post")))
        in_thread(self, poster);
    else if (pigeon_eq(what, pigeon_z("stray")))
        in_thread(self, stray);
    else if (pigeon_eq(what, pigeon_z("subscribe")))
        do_subscribe(self);
    else if (pigeon_eq(what, pigeon_z("unsubscribe")))
        do_unsubscribe(self);
    else if (pigeon_eq(what, pigeon_z("flicker")))
        do_flicker(self);
    else if (pigeon_eq(what, pigeon_z("answer")))
        do_answer(self);
    else if (pigeon_eq(what, pigeon_z("loop")))
        do_loop(self);
    else if (pigeon_starts(what, pigeon_z("kick/")))
        h->kick(h->inst, behind(what, "kick/"), 0, "told so");
}

/* ---- hooks ----------------------------------------------------------------------------------- */

static struct client *client_of(struct self *self, pigeon_req *req)
{
    struct client *client;

    if (!req->client_slot)
        return NULL;
    client = *req->client_slot;
    if (!client) {
        client = calloc(1, sizeof(*client));
        if (!client)
            abort();
        client->thread = syscall(SYS_gettid);
        *req->client_slot = client;
    }
    if (client->thread != syscall(SYS_gettid))
        count(self, self->strayed);
    return client;
}

MAYBE_UNUSED static int32_t authenticate(void *arg, pigeon_req *req, const pigeon_connect *connect)
{
    struct self *self = arg;

    (void)connect;
    check_thread(self);
    client_of(self, req);
    if (pigeon_starts(req->client->username, pigeon_z("block-")))
        return block(self, behind(req->client->username, "block-"));
    return PIGEON_ALLOW;
}

MAYBE_UNUSED static int32_t authorize_publish(void *arg, pigeon_req *req, const pigeon_msg *msg)
{
    struct self *self = arg;
    struct client *client = client_of(self, req);

    check_thread(self);
    if (pigeon_starts(msg->topic, pigeon_z("block/")))
        return block(self, behind(msg->topic, "block/"));
    if (pigeon_starts(msg->topic, pigeon_z("do/")))
        obey(self, behind(msg->topic, "do/"));
    if (client && pigeon_starts(msg->topic, pigeon_z("order/"))) {
        char number[16];

        snprintf(number, sizeof(number), "%.*s", (int)msg->payload.len,
                 (const char *)msg->payload.ptr);
        if (strtol(number, NULL, 10) != ++client->last)
            count(self, self->disorder);
    }
    return PIGEON_ALLOW;
}

MAYBE_UNUSED static int32_t authorize_subscribe(void *arg, pigeon_req *req, const pigeon_sub *sub)
{
    struct self *self = arg;

    check_thread(self);
    client_of(self, req);
    if (pigeon_starts(sub->filter, pigeon_z("block/")))
        return block(self, behind(sub->filter, "block/"));
    return PIGEON_ALLOW;
}

MAYBE_UNUSED static void on_publish(void *arg, const pigeon_client *client, const pigeon_msg *msg)
{
    struct self *self = arg;

    (void)client;
    check_thread(self);
    if (pigeon_starts(msg->topic, pigeon_z("fact/")))
        count(self, self->facts);
    if (pigeon_starts(msg->topic, pigeon_z("block-fact/")))
        block(self, behind(msg->topic, "block-fact/"));
}

MAYBE_UNUSED static void on_heartbeat(void *arg, pigeon_str node_id)
{
    (void)node_id;
    check_thread(arg);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void cancel(void *arg, pigeon_token token, int32_t why)
{
    struct self *self = arg;

    (void)why;
    check_thread(self);
    count(self, self->cancelled);
    self->host->complete(self->host->inst, token, PIGEON_OK);
}

static void client_free(void *arg, void *slot)
{
    struct self *self = arg;
    struct client *client = slot;

    if (client->thread != syscall(SYS_gettid))
        count(self, self->strayed);
    count(self, self->freed);
    free(client);
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = calloc(1, sizeof(*self));
    void *inst = host->inst;

    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    self->dir = host->conf_str(conf, "dir");
    self->blocked = host->metric(inst, "blocked", "calls that blocked", PIGEON_METRIC_COUNTER);
    self->strayed = host->metric(inst, "strayed", "on the wrong thread", PIGEON_METRIC_COUNTER);
    self->disorder = host->metric(inst, "disorder", "out of order", PIGEON_METRIC_COUNTER);
    self->freed = host->metric(inst, "freed", "client_free", PIGEON_METRIC_COUNTER);
    self->facts = host->metric(inst, "facts", "facts", PIGEON_METRIC_COUNTER);
    self->done = host->metric(inst, "done", "publish done", PIGEON_METRIC_COUNTER);
    self->cancelled = host->metric(inst, "cancelled", "cancel", PIGEON_METRIC_COUNTER);
    self->gone = host->metric(inst, "gone", "complete said E_GONE", PIGEON_METRIC_COUNTER);
    *out = self;
    return PIGEON_OK;
}

static const pigeon_option options[] = {
    { .key = "dir", .type = PIGEON_T_STRING, .preset = ".", .doc = "where the FIFOs are" }
};
#ifndef GATE_FACTS_ONLY
static const pigeon_auth auth = {
    .size = sizeof(auth),
    .authenticate = authenticate,
#ifndef GATE_AUTH_ONLY
    .authorize_publish = authorize_publish,
    .authorize_subscribe = authorize_subscribe,
#endif
#ifdef GATE_DELIVER
    .authorize_deliver = authorize_publish,
#endif
};
#define AUTH PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)
#endif
#ifndef GATE_AUTH_ONLY
static const pigeon_events events = { .size = sizeof(events),
                                      .publish = on_publish,
                                      .heartbeat = on_heartbeat };
#define FACTS PIGEON_PROVIDES(PIGEON_IF_EVENTS, &events)
#endif
#if defined(GATE_AUTH_ONLY)
#define GATE_PROVIDES AUTH
#elif defined(GATE_FACTS_ONLY)
#define GATE_PROVIDES FACTS
#else
#define GATE_PROVIDES AUTH, FACTS
#endif

PIGEON_PLUGIN("org.pigeon-mqtt.test." GATE_NAME, "1.0", "blocks until told", "MIT", GATE_FLAGS,
              (GATE_PROVIDES), PIGEON_OPTIONS(options), .create = create, .destroy = free,
              .cancel = cancel, .client_free = client_free);
