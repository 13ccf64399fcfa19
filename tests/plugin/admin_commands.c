/* admin_commands.c - control commands that answer in every way there is. */
#include <pigeon/plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef COMMANDS_FLAGS
#define COMMANDS_FLAGS 0u
#define COMMANDS_ID    "org.pigeon-mqtt.test.commands"
#endif

struct self {
    const pigeon_host *h;
    pigeon_req *late; /* of `later` */
    pigeon_watch *timer;
    uint32_t n;
};

static pigeon_str text(const char *z)
{
    return (pigeon_str){ .ptr = z, .len = (uint32_t)strlen(z) };
}

static void on_timer(void *self, void *arg, pigeon_watch *watch, uint32_t events)
{
    struct self *s = self;
    pigeon_req *req = s->late;

    (void)arg;
    (void)events;
    s->h->unwatch(watch);
    s->late = NULL;
    s->h->reply(req, text("{\"late\":true}"));
    s->h->complete(s->h->inst, req->token, PIGEON_OK);
}

static int32_t later(struct self *s, pigeon_req *req)
{
    if (s->late)
        return PIGEON_E_BUSY;
    s->late = req;
    s->timer = s->h->timer(s->h->inst, 20000000, 0, on_timer, NULL);
    return s->timer ? PIGEON_PENDING : PIGEON_E_NOMEM;
}

static int32_t big(struct self *s, pigeon_req *req, uint32_t len)
{
    char *json = malloc(len + 1);
    int32_t r;

    if (!json)
        return PIGEON_E_NOMEM;
    memset(json, 'x', len);
    json[0] = json[len - 1] = '"';
    r = s->h->reply(req, (pigeon_str){ .ptr = json, .len = len });
    free(json);
    return r == PIGEON_OK ? r : PIGEON_OK;
}

static int32_t command(void *self, pigeon_req *req, pigeon_str name, pigeon_str args)
{
    struct self *s = self;
    char json[64];

    if (strcmp(name.ptr, "echo") == 0)
        return s->h->reply(req, args);
    if (strcmp(name.ptr, "count") == 0) {
        snprintf(json, sizeof(json), "{\"n\":%u,\"loop\":%u}", ++s->n, s->h->loop);
        return s->h->reply(req, text(json));
    }
    if (strcmp(name.ptr, "nothing") == 0)
        return PIGEON_OK;
    if (strcmp(name.ptr, "later") == 0)
        return later(s, req);
    if (strcmp(name.ptr, "never") == 0)
        return PIGEON_PENDING;
    if (strcmp(name.ptr, "both") == 0) {
        s->h->complete(s->h->inst, req->token, PIGEON_E_FULL);
        return PIGEON_OK;
    }
    if (strcmp(name.ptr, "full") == 0)
        return big(s, req, PIGEON_REPLY_MAX);
    if (strcmp(name.ptr, "toobig") == 0)
        return big(s, req, PIGEON_REPLY_MAX + 1);
    if (strcmp(name.ptr, "bad") == 0)
        return s->h->reply(req, text("{ no json"));
    if (strcmp(name.ptr, "error") == 0) {
        s->h->set_reason(req, 0, "there is nothing like that");
        return PIGEON_E_UNKNOWN;
    }
    return 77;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *s = calloc(1, sizeof(*s));

    (void)conf;
    if (!s)
        return PIGEON_E_NOMEM;
    s->h = host;
    *out = s;
    return PIGEON_OK;
}

static void destroy(void *self)
{
    free(self);
}

static const pigeon_command commands[] = {
    { "echo", "ANYTHING", "gives its arguments back", NULL },
    { "count", "", "counts its calls", NULL },
    { "nothing", "", "says nothing", NULL },
    { "later", "", "answers after a while", NULL },
    { "never", "", "does not answer", NULL },
    { "both", "", "answers twice", NULL },
    { "full", "", "answers with all that is allowed", NULL },
    { "toobig", "", "answers with one byte more", NULL },
    { "bad", "", "answers with what is not JSON", NULL },
    { "error", "", "fails", NULL },
    { "odd", "", "returns a number of its own", NULL },
};
static const pigeon_control control = { .size = sizeof(control),
                                        .commands = commands,
                                        .ncommands = PIGEON_COUNT(commands),
                                        .command_stride = sizeof(commands[0]),
                                        .command = command };

PIGEON_PLUGIN(COMMANDS_ID, "1.0", "answers in every way", "MIT", COMMANDS_FLAGS,
              (PIGEON_PROVIDES(PIGEON_IF_CONTROL, &control)), .create = create, .destroy = destroy);
