/* revoke.c - grants, and takes back, for the tests of pushed rules.
 *
 * Whoever connects gets a rule for granted/#; rename-ID becomes ID before that, and gets one
 * against denied/#. The hooks allow cached/..., to be remembered for a minute, and what the topic
 * orders: revoke (from then on everything is refused, and all are told), kick/ID. One instance for
 * the broker. */
#include <pigeon/plugin.h>
#include <stdlib.h>

struct self {
    const pigeon_host *host;
    int revoked;
};

static int32_t pre_connect(void *arg, pigeon_req *req, const pigeon_connect *connect)
{
    const pigeon_host *h = ((struct self *)arg)->host;
    const uint32_t rename = sizeof("rename-") - 1;
    pigeon_str id = req->client->id;

    (void)connect;
    if (!pigeon_starts(id, pigeon_z("rename-")))
        return PIGEON_NEXT;
    h->set_clientid(req, (pigeon_str){ .ptr = id.ptr + rename, .len = id.len - rename });
    h->acl_add(req, pigeon_z("denied/#"), PIGEON_ACL_ALL, PIGEON_DENY);
    return PIGEON_NEXT;
}

static int32_t authenticate(void *arg, pigeon_req *req, const pigeon_connect *connect)
{
    struct self *self = arg;

    (void)connect;
    self->host->acl_add(req, pigeon_z("granted/#"), PIGEON_ACL_ALL, PIGEON_ALLOW);
    return PIGEON_ALLOW;
}

static int32_t judge(struct self *self, pigeon_req *req, pigeon_str topic)
{
    if (self->revoked)
        return PIGEON_DENY;
    if (pigeon_starts(topic, pigeon_z("cached/")))
        self->host->set_cache(req, 60000);
    return PIGEON_ALLOW;
}

static int32_t authorize_publish(void *arg, pigeon_req *req, const pigeon_msg *msg)
{
    struct self *self = arg;
    const pigeon_host *h = self->host;
    const uint32_t kick = sizeof("kick/") - 1;

    if (pigeon_eq(msg->topic, pigeon_z("revoke"))) {
        self->revoked = 1;
        h->invalidate(h->inst, pigeon_z(""), pigeon_z(""));
        return PIGEON_ALLOW;
    }
    if (pigeon_starts(msg->topic, pigeon_z("kick/"))) {
        pigeon_str id = { .ptr = msg->topic.ptr + kick, .len = msg->topic.len - kick };

        h->kick(h->inst, id, 0, NULL);
        return PIGEON_ALLOW;
    }
    return judge(self, req, msg->topic);
}

static int32_t authorize_subscribe(void *arg, pigeon_req *req, const pigeon_sub *sub)
{
    return judge(arg, req, sub->filter);
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

static const pigeon_auth auth = {
    .size = sizeof(auth),
    .pre_connect = pre_connect,
    .authenticate = authenticate,
    .authorize_publish = authorize_publish,
    .authorize_subscribe = authorize_subscribe,
};

PIGEON_PLUGIN("org.pigeon-mqtt.test.revoke", "1.0", "grants and takes back", "MIT", PIGEON_F_SINGLE,
              (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)), .create = create, .destroy = free);
