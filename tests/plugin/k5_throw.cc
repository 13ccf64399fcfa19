// k5_throw.cc - C++ that lets an exception out of a hook. There is C on the other side: nobody can
// catch it, so the runtime ends the process (std::terminate, SIGABRT).
#include <new>
#include <pigeon/plugin.h>
#include <stdexcept>

namespace {

struct self {
    const pigeon_host *host;
};

int32_t authenticate(void *, pigeon_req *req, const pigeon_connect *)
{
    if (!req->client || !pigeon_eq(req->client->username, pigeon_z("good")))
        throw std::runtime_error("nobody is there to catch it");
    return PIGEON_ALLOW;
}

int32_t create(const pigeon_host *host, const pigeon_conf *, void **out)
{
    *out = new (std::nothrow) self{ host };
    return *out ? PIGEON_OK : PIGEON_E_NOMEM;
}

void destroy(void *s)
{
    delete static_cast<self *>(s);
}

const pigeon_auth auth = { sizeof(auth), 0, nullptr, authenticate, nullptr,
                           nullptr,      nullptr, nullptr, nullptr, nullptr };

} // namespace

PIGEON_PLUGIN("org.pigeon-mqtt.test.k5-throw", "1.0", "throws", "MIT", 0,
              (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)), .create = create, .destroy = destroy);
