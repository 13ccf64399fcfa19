/* revoke.c - grants, and takes back, for the tests of pushed rules. One instance for the broker.
 *
 * authenticate goes by the client id: ID beginning with plain, key, sub, pub gets no rules; deny a
 * rule against subscriptions to secret/#; rename-ID becomes ID and gets a rule against denied/#;
 * slow gets its rule but the answer is held; everybody else gets a rule for granted/#.
 *
 * The method "rules" of enhanced authentication pushes a rule for the filter in its data; with a
 * '+' before it it goes on, with a '-' the only rule is one against the filter; else a rule against
 * # is the last. A '=' before all of that: the answer is held.
 *
 * The hooks allow everything, cached/... to be remembered for a minute, but for what was ordered by
 * publishing to
 *   revoke, restore        refuse everything, all are told; no more
 *   forbid/T, forget       refuse topic and filter T, all are told; no more
 *   narrow                 make few/# of the filter wide/#, all are told
 *   invalidate, invalidate/ID, invalidate-user/NAME
 *   kick/ID
 *   release                answer with ALLOW what is held: a filter or a will below hold/, slow,
 * '=' release-earlier        the same of what was held before that Whenever something is held,
 * "held" is published. */
#include <pigeon/plugin.h>
#include <stdlib.h>

struct self {
    const pigeon_host *host;
    int revoked, narrowed;
    char forbidden[64];
    pigeon_token held, earlier;
};

static const pigeon_str none = { .ptr = "", .len = 0 };

static pigeon_str after(pigeon_str s, const char *prefix)
{
    uint32_t n = (uint32_t)strlen(prefix);

    return (pigeon_str){ .ptr = s.ptr + n, .len = s.len - n };
}

static int32_t hold(struct self *self, pigeon_req *req)
{
    pigeon_msg held = { .size = sizeof(held), .topic = { .ptr = "held", .len = 4 } };

    self->earlier = self->held;
    self->held = req->token;
    self->host->publish(self->host->inst, &held, NULL, NULL);
    return PIGEON_PENDING;
}

static int32_t pre_connect(void *arg, pigeon_req *req, const pigeon_connect *connect)
{
    const pigeon_host *h = ((struct self *)arg)->host;

    (void)connect;
    if (!pigeon_starts(req->client->id, pigeon_z("rename-")))
        return PIGEON_NEXT;
    h->set_clientid(req, after(req->client->id, "rename-"));
    h->acl_add(req, pigeon_z("denied/#"), PIGEON_ACL_ALL, PIGEON_DENY);
    return PIGEON_NEXT;
}

static int32_t authenticate(void *arg, pigeon_req *req, const pigeon_connect *connect)
{
    static const char *const unruled[] = { "plain", "key", "sub", "pub" };
    struct self *self = arg;
    pigeon_str id = req->client->id;

    (void)connect;
    if (pigeon_starts(id, pigeon_z("known-"))) {
        self->host->set_username(req, after(id, "known-"));
        return PIGEON_ALLOW;
    }
    for (size_t i = 0; i < sizeof(unruled) / sizeof(unruled[0]); i++)
        if (pigeon_starts(id, pigeon_z(unruled[i])))
            return PIGEON_ALLOW;
    if (pigeon_starts(id, pigeon_z("deny")))
        self->host->acl_add(req, pigeon_z("secret/#"), PIGEON_ACL_SUBSCRIBE, PIGEON_DENY);
    else
        self->host->acl_add(req, pigeon_z("granted/#"), PIGEON_ACL_ALL, PIGEON_ALLOW);
    return pigeon_starts(id, pigeon_z("slow")) ? hold(self, req) : PIGEON_ALLOW;
}

static int32_t exchange(void *arg, pigeon_req *req, const pigeon_exchange *exchange)
{
    const pigeon_host *h = ((struct self *)arg)->host;
    pigeon_str filter = { .ptr = (const char *)exchange->data.ptr, .len = exchange->data.len };
    int is_held = pigeon_starts(filter, pigeon_z("="));
    int goes_on;

    if (!pigeon_eq(exchange->method, pigeon_z("rules")))
        return PIGEON_NEXT;
    if (is_held)
        filter = after(filter, "=");
    if (pigeon_starts(filter, pigeon_z("-"))) {
        h->acl_add(req, after(filter, "-"), PIGEON_ACL_SUBSCRIBE, PIGEON_DENY);
        return is_held ? hold(arg, req) : PIGEON_ALLOW;
    }
    goes_on = pigeon_starts(filter, pigeon_z("+"));
    h->acl_add(req, goes_on ? after(filter, "+") : filter, PIGEON_ACL_ALL, PIGEON_ALLOW);
    if (goes_on)
        return PIGEON_CONTINUE;
    h->acl_add(req, pigeon_z("#"), PIGEON_ACL_ALL, PIGEON_DENY);
    return PIGEON_ALLOW;
}

static int32_t judge(struct self *self, pigeon_req *req, pigeon_str topic)
{
    if (self->revoked || pigeon_eq(topic, pigeon_z(self->forbidden)))
        return PIGEON_DENY;
    if (pigeon_starts(topic, pigeon_z("cached/")))
        self->host->set_cache(req, 60000);
    return PIGEON_ALLOW;
}

static int obey(struct self *self, pigeon_str topic)
{
    const pigeon_host *h = self->host;

    if (pigeon_eq(topic, pigeon_z("revoke")) || pigeon_eq(topic, pigeon_z("invalidate"))) {
        self->revoked = self->revoked || pigeon_eq(topic, pigeon_z("revoke"));
        h->invalidate(h->inst, none, none);
    } else if (pigeon_eq(topic, pigeon_z("restore")) || pigeon_eq(topic, pigeon_z("forget"))) {
        self->revoked = 0;
        self->forbidden[0] = '\0';
    } else if (pigeon_starts(topic, pigeon_z("forbid/"))) {
        snprintf(self->forbidden, sizeof(self->forbidden), "%s", after(topic, "forbid/").ptr);
        h->invalidate(h->inst, none, none);
    } else if (pigeon_eq(topic, pigeon_z("narrow"))) {
        self->narrowed = 1;
        h->invalidate(h->inst, none, none);
    } else if (pigeon_starts(topic, pigeon_z("invalidate/"))) {
        h->invalidate(h->inst, after(topic, "invalidate/"), none);
    } else if (pigeon_starts(topic, pigeon_z("invalidate-user/"))) {
        h->invalidate(h->inst, none, after(topic, "invalidate-user/"));
    } else if (pigeon_starts(topic, pigeon_z("kick/"))) {
        h->kick(h->inst, after(topic, "kick/"), 0, NULL);
    } else if (pigeon_eq(topic, pigeon_z("release"))) {
        h->complete(h->inst, self->held, PIGEON_ALLOW);
    } else if (pigeon_eq(topic, pigeon_z("release-earlier"))) {
        h->complete(h->inst, self->earlier, PIGEON_ALLOW);
    } else {
        return 0;
    }
    return 1;
}

static int32_t authorize_publish(void *arg, pigeon_req *req, const pigeon_msg *msg)
{
    struct self *self = arg;

    if (msg->origin == PIGEON_ORIGIN_WILL)
        return pigeon_starts(msg->topic, pigeon_z("hold/")) ? hold(self, req)
                                                            : judge(self, req, msg->topic);
    return obey(self, msg->topic) ? PIGEON_ALLOW : judge(self, req, msg->topic);
}

static int32_t authorize_subscribe(void *arg, pigeon_req *req, const pigeon_sub *sub)
{
    struct self *self = arg;
    int32_t verdict = judge(self, req, sub->filter);

    if (self->narrowed && pigeon_eq(sub->filter, pigeon_z("wide/#")))
        self->host->set_filter(req, pigeon_z("wide/few/#"), 1);
    if (verdict == PIGEON_ALLOW && !sub->restored && pigeon_starts(sub->filter, pigeon_z("hold/")))
        return hold(arg, req);
    return verdict;
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
    .exchange = exchange,
    .authorize_publish = authorize_publish,
    .authorize_subscribe = authorize_subscribe,
};

PIGEON_PLUGIN("org.pigeon-mqtt.test.revoke", "1.0", "grants and takes back", "MIT", PIGEON_F_SINGLE,
              (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)), .create = create, .destroy = free);
