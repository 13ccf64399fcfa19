/* @name@ - commands for `call` of <pigeon/admin.h>, plugin @name@. */
#include <pigeon/plugin.h>
#include <stdlib.h>

struct self { /* commands go to one instance */
    const pigeon_host *host;
    uint32_t n_calls;
};

static int32_t status(struct self *self, pigeon_req *req)
{
    char json[64];

    snprintf(json, sizeof(json), "{\"calls\":%u}", (unsigned)++self->n_calls);
    return self->host->reply(req, pigeon_z(json));
}

/* `args` is a JSON object. An error code instead of PIGEON_OK, or PIGEON_PENDING and complete(). */
static int32_t command(void *arg, pigeon_req *req, pigeon_str name, pigeon_str args)
{
    (void)args;
    if (pigeon_eq(name, pigeon_z("status")))
        return status(arg, req);
    return PIGEON_E_NOTSUP;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = calloc(1, sizeof(*self));

    (void)conf;
    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    *out = self;
    return PIGEON_OK;
}

static const pigeon_command commands[] = {
    { .name = "status", .args = "", .help = "how often it was asked" },
};
static const pigeon_control control = {
    .size = sizeof(control),
    .commands = commands,
    .ncommands = PIGEON_COUNT(commands),
    .command_stride = sizeof(commands[0]),
    .command = command,
};

PIGEON_PLUGIN("@id@", "0.1", "answers commands", "MIT", PIGEON_F_OPTIONAL,
              (PIGEON_PROVIDES(PIGEON_IF_CONTROL, &control)), .create = create, .destroy = free);
