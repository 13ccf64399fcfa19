/* rules.c - a plugin whose only part in `authorize` is the rules that it pushes, for the tests of
 * them: it has no hook there. Whoever authenticates with a password that begins with "rules" gets
 * allow own/# and deny own/secret/#. */
#include <pigeon/plugin.h>
#include <stdlib.h>

static int32_t authenticate(void *arg, pigeon_req *req, const pigeon_connect *connect)
{
    const pigeon_host *h = arg;

    if (connect->password.len < 5 || memcmp(connect->password.ptr, "rules", 5) != 0)
        return PIGEON_NEXT;
    h->acl_add(req, pigeon_z("own/secret/#"), PIGEON_ACL_ALL, PIGEON_DENY);
    h->acl_add(req, pigeon_z("own/#"), PIGEON_ACL_ALL, PIGEON_ALLOW);
    return PIGEON_NEXT;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    (void)conf;
    *out = (void *)(uintptr_t)host;
    return PIGEON_OK;
}

static const pigeon_auth auth = { .size = sizeof(auth), .authenticate = authenticate };

PIGEON_PLUGIN(RULES_ID, "1.0", "pushes rules", "MIT", 0, (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)),
              .create = create);
