/* auth_static - users from the configuration; each may use dev/NAME/# and read public/#.
 * SPDX-License-Identifier: MIT
 * cc -shared -fPIC -Iinclude examples/auth_static.c -o auth_static.so */
#include <pigeon/plugin.h>
#include <stdlib.h>

struct self {
    const pigeon_host *host;
    const pigeon_conf *conf;
};

static int32_t authenticate(void *self, pigeon_req *req, const pigeon_connect *connect)
{
    const pigeon_host *host = ((struct self *)self)->host;
    const pigeon_conf *conf = ((struct self *)self)->conf;
    pigeon_str name = req->client->username;
    char own[300];

    if (!connect->has_username || name.len > 255 || strpbrk(name.ptr, "+#/:"))
        return PIGEON_NEXT; /* not ours: the next plugin decides, at the end it is no */
    for (uint32_t i = 0; i < host->conf_count(conf, "users"); i++) {
        pigeon_str user = host->conf_item(conf, "users", i); /* "name:password" */

        if (!pigeon_starts(user, name) || user.ptr[name.len] != ':')
            continue;
        if (!pigeon_same(pigeon_data(user.ptr + name.len + 1, user.len - name.len - 1),
                         connect->password))
            break;
        snprintf(own, sizeof(own), "dev/%s/#", name.ptr);
        host->acl_add(req, pigeon_z(own), PIGEON_ACL_ALL, PIGEON_ALLOW);
        host->acl_add(req, pigeon_z("public/#"), PIGEON_ACL_SUBSCRIBE | PIGEON_ACL_DELIVER,
                      PIGEON_ALLOW);
        host->acl_add(req, pigeon_z("#"), PIGEON_ACL_ALL, PIGEON_DENY);
        return PIGEON_ALLOW; /* the broker enforces the rules without asking again */
    }
    host->set_reason(req, 0x86, "bad user name or password");
    return PIGEON_DENY;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *self = malloc(sizeof(*self));

    if (!self)
        return PIGEON_E_NOMEM;
    *self = (struct self){ host, conf };
    *out = self;
    return PIGEON_OK;
}

static const pigeon_option options[] = { { .key = "users",
                                           .type = PIGEON_T_LIST,
                                           .flags = PIGEON_O_REQUIRED,
                                           .doc = "name:password, one per item" } };
static const pigeon_auth auth = { .size = sizeof(auth), .authenticate = authenticate };

PIGEON_PLUGIN("org.example.auth-static", "1.0", "users from the configuration", "MIT", 0,
              (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)), PIGEON_OPTIONS(options), .create = create,
              .destroy = free);
