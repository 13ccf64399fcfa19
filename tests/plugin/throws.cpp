// throws.cpp - a C++ plugin that lets an exception out of its hook, for test_blame.py.
#include <pigeon/plugin.h>
#include <stdexcept>

static int32_t authorize_publish(void *, pigeon_req *, const pigeon_msg *msg)
{
    if (msg->payload.len == 5)
        throw std::runtime_error("let out");
    return PIGEON_ALLOW;
}

static const pigeon_auth auth = { .size = sizeof(auth), .authorize_publish = authorize_publish };

static int32_t create(const pigeon_host *, const pigeon_conf *, void **)
{
    return PIGEON_OK;
}

PIGEON_PLUGIN("org.pigeon-mqtt.test.throws", "1.0", "throws", "MIT", PIGEON_F_ON_DEMAND,
              (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)), .create = create);
