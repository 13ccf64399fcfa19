/* blame.c - a plugin that misbehaves on order, for test_blame.py: the payload of a PUBLISH says
 * how.
 *
 * sleep: holds its thread while the file named by the option `gate` is there; segv, abort, fpe;
 * thread: crashes in a thread of its own; deny, bad: a verdict of that kind. Anything else: ALLOW.
 */
#include <pigeon/plugin.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

struct self {
    const pigeon_host *host;
    pigeon_str gate;
};

static void wait_for_gate(const struct self *self)
{
    while (self->gate.len && access(self->gate.ptr, F_OK) == 0)
        usleep(1000);
}

static void *die_alone(void *arg)
{
    prctl(PR_SET_NAME, "blame-own");
    raise(SIGSEGV);
    return arg;
}

static int is(pigeon_bytes order, const char *word)
{
    return order.len == strlen(word) && memcmp(order.ptr, word, order.len) == 0;
}

static int32_t authorize_publish(void *arg, pigeon_req *req, const pigeon_msg *msg)
{
    struct self *self = arg;
    volatile int *nowhere = NULL;
    pthread_t thread;

    (void)req;
    if (is(msg->payload, "sleep"))
        wait_for_gate(self);
    else if (is(msg->payload, "segv"))
        *nowhere = 1;
    else if (is(msg->payload, "abort"))
        abort();
    else if (is(msg->payload, "fpe"))
        raise(SIGFPE);
    else if (is(msg->payload, "thread") && pthread_create(&thread, NULL, die_alone, NULL) == 0)
        pthread_join(thread, NULL);
    else if (is(msg->payload, "deny"))
        return PIGEON_DENY;
    else if (is(msg->payload, "bad"))
        return 99;
    return PIGEON_ALLOW;
}

static int32_t authorize_subscribe(void *self, pigeon_req *req, const pigeon_sub *sub)
{
    (void)self;
    (void)req;
    (void)sub;
    return PIGEON_ALLOW;
}

static const pigeon_option options[] = {
    { .key = "gate", .type = PIGEON_T_PATH, .doc = "while this file is there, `sleep` lasts" },
};

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = calloc(1, sizeof(*self));

    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    self->gate = host->conf_str(conf, "gate");
    *out = self;
    return PIGEON_OK;
}

static const pigeon_auth auth = { .size = sizeof(auth),
                                  .authorize_publish = authorize_publish,
                                  .authorize_subscribe = authorize_subscribe };

PIGEON_PLUGIN("org.pigeon-mqtt.test.blame", "1.0", "misbehaves on order", "MIT", PIGEON_F_ON_DEMAND,
              (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)), PIGEON_OPTIONS(options), .create = create,
              .destroy = free);
