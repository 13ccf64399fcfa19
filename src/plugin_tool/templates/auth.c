/* @name@ - decides who may connect. */
#include <pigeon/plugin.h>
#include <stdlib.h>

struct self { /* one per event loop: no lock is needed */
    const pigeon_host *host;
    pigeon_str password; /* lives as long as the instance */
};

static int32_t authenticate(void *arg, pigeon_req *req, const pigeon_connect *connect)
{
    struct self *self = arg;

    if (!connect->has_username || !self->password.len)
        return PIGEON_NEXT; /* no opinion: the next plugin decides, at the end it is no */
    if (pigeon_same(pigeon_data(self->password.ptr, self->password.len), connect->password))
        return PIGEON_ALLOW;
    self->host->set_reason(req, 0x86, "bad user name or password");
    return PIGEON_DENY;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = malloc(sizeof(*self));

    if (!self)
        return PIGEON_E_NOMEM;
    self->host = host;
    self->password = host->conf_str(conf, "password");
    *out = self;
    return PIGEON_OK;
}

static const pigeon_option options[] = {
    { .key = "password", .type = PIGEON_T_SECRET, .doc = "what everybody has to know" },
};
static const pigeon_auth auth = { .size = sizeof(auth), .authenticate = authenticate };

PIGEON_PLUGIN("@id@", "0.1", "asks for a password", "MIT", 0,
              (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)), PIGEON_OPTIONS(options),
              .create = create, .destroy = free);
