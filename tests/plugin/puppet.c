/* puppet.c - a plugin that does what the question tells it, for the tests of hooks/.
 *
 * Built several times with another PUPPET_INDEX, PUPPET_ID and PUPPET_FLAGS. Of the question's text
 * (payload, password, filter, data) the character at PUPPET_INDEX is the order: n a d     NEXT,
 * ALLOW, DENY                     x m   the numbers 99 and -7 c         CONTINUE (after set_auth,
 * with a slot left in the exchange) N A D     PENDING, the same answer from another thread X
 * PENDING, then 99 from another thread E         complete(ALLOW) before returning PENDING W
 * complete(DENY), and ALLOW by returning T         PENDING, then ALLOW and DENY from another thread
 *   H         PENDING, held until an order 'r'; r: answers all that is held with ALLOW, then NEXT
 *   R         rewrites what can be rewritten, NEXT       V  rewrites, then VETOes with a reason of
 * its own B         rewrites, PENDING, NEXT from another thread G         pushes rules: ALLOW
 * own/#, DENY #          C K k  set_cache(60 s), then ALLOW, DENY with a reason, NEXT L  the same,
 * PENDING, ALLOW from another thread g  pushes a rule: ALLOW own/#, NEXT F         a setter that
 * fails, ALLOW S  leaves a client slot, NEXT anything else, or no text: NEXT What came of it is
 * counted in metrics of the plugin. */
#include <pigeon/plugin.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#ifndef PUPPET_INDEX
#define PUPPET_INDEX 0
#define PUPPET_ID    "org.pigeon-mqtt.test.puppet"
#define PUPPET_FLAGS 0u
#endif

struct job {
    struct job *next;
    pigeon_token token;
    int32_t verdict[2];
    uint32_t n;
};

struct self {
    const pigeon_host *h;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t more;
    struct job *first, *held;
    int has_thread, stop;
    int32_t asked, gone, ok, cancelled, slots_freed, exchange_freed, events, quiesced;
};

static void *work(void *arg)
{
    struct self *s = arg;

    pthread_mutex_lock(&s->lock);
    for (;;) {
        struct job *j = s->first;

        if (!j) {
            if (s->stop)
                break;
            pthread_cond_wait(&s->more, &s->lock);
            continue;
        }
        s->first = j->next;
        pthread_mutex_unlock(&s->lock);
        for (uint32_t i = 0; i < j->n; i++) {
            int32_t r = s->h->complete(s->h->inst, j->token, j->verdict[i]);

            s->h->metric_add(s->h->inst, r == PIGEON_OK ? s->ok : s->gone, 1);
        }
        free(j);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static struct job *job_new(pigeon_token token, int32_t first, int32_t second, uint32_t n)
{
    struct job *j = calloc(1, sizeof(*j));

    if (!j)
        abort();
    j->token = token;
    j->verdict[0] = first;
    j->verdict[1] = second;
    j->n = n;
    return j;
}

static int32_t later(struct self *s, struct job *j)
{
    struct job **at;

    pthread_mutex_lock(&s->lock);
    for (at = &s->first; *at; at = &(*at)->next)
        ;
    *at = j;
    if (!s->has_thread) {
        if (pthread_create(&s->thread, NULL, work, s) != 0)
            abort();
        s->has_thread = 1;
    }
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
    return PIGEON_PENDING;
}

static int32_t hold(struct self *s, pigeon_token token)
{
    struct job *j = job_new(token, PIGEON_ALLOW, 0, 1);

    pthread_mutex_lock(&s->lock);
    j->next = s->held;
    s->held = j;
    pthread_mutex_unlock(&s->lock);
    return PIGEON_PENDING;
}

static int32_t let_go(struct self *s)
{
    struct job *held;

    pthread_mutex_lock(&s->lock);
    held = s->held;
    s->held = NULL;
    pthread_mutex_unlock(&s->lock);
    while (held) {
        struct job *next = held->next;

        held->next = NULL;
        later(s, held);
        held = next;
    }
    return PIGEON_NEXT;
}

static pigeon_str text(const char *z)
{
    return (pigeon_str){ .ptr = z, .len = (uint32_t)strlen(z) };
}

static void rewrite(struct self *s, pigeon_req *req)
{
    const pigeon_host *h = s->h;
    static const char id[] = { 'p', (char)('0' + PUPPET_INDEX), '\0' };
    pigeon_bytes bytes = { .ptr = (const uint8_t *)id, .len = 2 };

    switch (req->hook) {
    case PIGEON_HOOK_PRE_CONNECT:
        h->set_clientid(req, text(id));
        h->set_username(req, text("user"));
        h->set_keepalive(req, 7);
        break;
    case PIGEON_HOOK_INBOUND:
        h->set_topic(req, text("rewritten"));
        h->set_qos(req, 2);
        h->set_retain(req, 1);
        break;
    case PIGEON_HOOK_AUTHORIZE_PUBLISH: h->set_payload(req, bytes); break;
    case PIGEON_HOOK_AUTHORIZE_SUBSCRIBE: h->set_filter(req, text("rewritten/+"), 0); break;
    default: break;
    }
}

static void *client_slot_new(void)
{
    void *slot = malloc(16);

    if (!slot)
        abort();
    return slot;
}

static int32_t obey(struct self *s, pigeon_req *req, char order)
{
    const pigeon_host *h = s->h;

    h->metric_add(h->inst, s->asked, 1);
    switch (order) {
    case 'a': return PIGEON_ALLOW;
    case 'd': return PIGEON_DENY;
    case 'x': return 99;
    case 'm': return -7;
    case 'N': return later(s, job_new(req->token, PIGEON_NEXT, 0, 1));
    case 'A': return later(s, job_new(req->token, PIGEON_ALLOW, 0, 1));
    case 'D': return later(s, job_new(req->token, PIGEON_DENY, 0, 1));
    case 'X': return later(s, job_new(req->token, 99, 0, 1));
    case 'T': return later(s, job_new(req->token, PIGEON_ALLOW, PIGEON_DENY, 2));
    case 'E': h->complete(h->inst, req->token, PIGEON_ALLOW); return PIGEON_PENDING;
    case 'W': h->complete(h->inst, req->token, PIGEON_DENY); return PIGEON_ALLOW;
    case 'H': return hold(s, req->token);
    case 'r': return let_go(s);
    case 'R': rewrite(s, req); return PIGEON_NEXT;
    case 'V':
        rewrite(s, req);
        h->set_reason(req, 0x8a, "because I say so");
        return PIGEON_DENY;
    case 'B': rewrite(s, req); return later(s, job_new(req->token, PIGEON_NEXT, 0, 1));
    case 'G':
        h->acl_add(req, text("own/#"), PIGEON_ACL_ALL, PIGEON_ALLOW);
        h->acl_add(req, text("#"), PIGEON_ACL_ALL, PIGEON_DENY);
        return PIGEON_ALLOW;
    case 'C': h->set_cache(req, 60000); return PIGEON_ALLOW;
    case 'K':
        h->set_cache(req, 60000);
        h->set_reason(req, 0x8a, "for a while");
        return PIGEON_DENY;
    case 'k': h->set_cache(req, 60000); return PIGEON_NEXT;
    case 'g': h->acl_add(req, text("own/#"), PIGEON_ACL_ALL, PIGEON_ALLOW); return PIGEON_NEXT;
    case 'L': h->set_cache(req, 60000); return later(s, job_new(req->token, PIGEON_ALLOW, 0, 1));
    case 'F': h->set_qos(req, 3); return PIGEON_ALLOW;
    case 'S':
        if (req->client_slot && !*req->client_slot)
            *req->client_slot = client_slot_new();
        return PIGEON_NEXT;
    default: return PIGEON_NEXT;
    }
}

static int32_t obey_bytes(struct self *s, pigeon_req *req, pigeon_bytes orders)
{
    return obey(s, req, orders.len > PUPPET_INDEX ? (char)orders.ptr[PUPPET_INDEX] : 'n');
}

static int32_t on_connect(void *self, pigeon_req *req, const pigeon_connect *connect)
{
    return obey_bytes(self, req, connect->password);
}

static int32_t on_exchange(void *self, pigeon_req *req, const pigeon_exchange *exchange)
{
    struct self *s = self;

    if (exchange->data.len > PUPPET_INDEX && exchange->data.ptr[PUPPET_INDEX] == 'c') {
        if (!*exchange->slot)
            *exchange->slot = client_slot_new();
        s->h->set_auth(req, (pigeon_bytes){ .ptr = (const uint8_t *)"more", .len = 4 });
        return PIGEON_CONTINUE;
    }
    return obey_bytes(self, req, exchange->data);
}

static void exchange_free(void *self, void *slot)
{
    struct self *s = self;

    s->h->metric_add(s->h->inst, s->exchange_freed, 1);
    free(slot);
}

static int32_t on_message(void *self, pigeon_req *req, const pigeon_msg *msg)
{
    return obey_bytes(self, req, msg->payload);
}

static int32_t on_subscribe(void *self, pigeon_req *req, const pigeon_sub *sub)
{
    return obey_bytes(
        self, req,
        (pigeon_bytes){ .ptr = (const uint8_t *)sub->filter.ptr, .len = sub->filter.len });
}

static void on_client(void *self, const pigeon_client *client)
{
    struct self *s = self;

    (void)client;
    s->h->metric_add(s->h->inst, s->events, 1);
}

static void on_publish_event(void *self, const pigeon_client *client, const pigeon_msg *msg)
{
    struct self *s = self;

    (void)client;
    if (msg->topic.ptr[msg->topic.len] == '\0')
        s->h->metric_add(s->h->inst, s->events, 1);
}

static void on_subscribed(void *self, const pigeon_client *client, const pigeon_sub *subs,
                          uint32_t n, uint32_t stride)
{
    struct self *s = self;

    (void)client;
    for (uint32_t i = 0; i < n; i++) {
        const pigeon_sub *sub = (const pigeon_sub *)(const void *)((const char *)subs + i * stride);

        if (strcmp(sub->filter.ptr, "a/+") == 0)
            s->h->metric_add(s->h->inst, s->events, 1);
    }
}

static void on_heartbeat(void *self, pigeon_str node_id)
{
    struct self *s = self;

    (void)node_id;
    s->h->metric_add(s->h->inst, s->events, 1);
}

static void cancel(void *self, pigeon_token token, int32_t why)
{
    struct self *s = self;

    (void)token;
    (void)why;
    s->h->metric_add(s->h->inst, s->cancelled, 1);
}

static void client_free(void *self, void *slot)
{
    struct self *s = self;

    s->h->metric_add(s->h->inst, s->slots_freed, 1);
    free(slot);
}

static void destroy(void *self)
{
    struct self *s = self;

    pthread_mutex_lock(&s->lock);
    s->stop = 1;
    pthread_cond_signal(&s->more);
    pthread_mutex_unlock(&s->lock);
    if (s->has_thread)
        pthread_join(s->thread, NULL);
    while (s->held) {
        struct job *j = s->held;

        s->held = j->next;
        free(j);
    }
    pthread_cond_destroy(&s->more);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    struct self *s = calloc(1, sizeof(*s));
    void *inst = host->inst;

    (void)conf;
    if (!s)
        return PIGEON_E_NOMEM;
    s->h = host;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->more, NULL);
    s->asked = host->metric(inst, "asked", "questions", PIGEON_METRIC_COUNTER);
    s->gone = host->metric(inst, "gone", "complete said E_GONE", PIGEON_METRIC_COUNTER);
    s->ok = host->metric(inst, "ok", "complete said OK", PIGEON_METRIC_COUNTER);
    s->cancelled = host->metric(inst, "cancelled", "cancel", PIGEON_METRIC_COUNTER);
    s->slots_freed = host->metric(inst, "slots_freed", "client_free", PIGEON_METRIC_COUNTER);
    s->exchange_freed =
        host->metric(inst, "exchange_freed", "exchange_free", PIGEON_METRIC_COUNTER);
    s->events = host->metric(inst, "events", "facts", PIGEON_METRIC_COUNTER);
    s->quiesced = host->metric(inst, "quiesced", "quiesce", PIGEON_METRIC_COUNTER);
    *out = s;
    return PIGEON_OK;
}

static int32_t quiesce(void *self, pigeon_token token)
{
    struct self *s = self;

    s->h->metric_add(s->h->inst, s->quiesced, 1);
    return later(s, job_new(token, PIGEON_OK, 0, 1));
}

static const pigeon_auth auth = {
    .size = sizeof(auth),
    .pre_connect = on_connect,
    .authenticate = on_connect,
    .exchange = on_exchange,
    .exchange_free = exchange_free,
    .authorize_publish = on_message,
    .authorize_subscribe = on_subscribe,
#if !(PUPPET_FLAGS & 5) /* SINGLE and workers cannot answer for deliveries of other loops */
    .authorize_deliver = on_message,
#endif
};
static const pigeon_flow flow = { .size = sizeof(flow),
                                  .inbound = on_message,
                                  .published = on_message };
static const pigeon_events events = {
    .size = sizeof(events),
    .client = on_client,
    .subscribed = on_subscribed,
    .publish = on_publish_event,
    .heartbeat = on_heartbeat,
};

PIGEON_PLUGIN(PUPPET_ID, "1.0", "does as it is told", "MIT", PUPPET_FLAGS,
              (PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth), PIGEON_PROVIDES(PIGEON_IF_FLOW, &flow),
               PIGEON_PROVIDES(PIGEON_IF_EVENTS, &events)),
              .create = create, .destroy = destroy, .quiesce = quiesce, .cancel = cancel,
              .client_free = client_free);
