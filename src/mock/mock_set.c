/* Setters: the rules are the broker's, the values are kept for the test to read. */
#include "mock/mock_priv.h"
#include "base/utf8.h"
#include "mqtt/topic.h"
#include "wire/property.h"

#define HOOK(name) (UINT32_C(1) << PIGEON_HOOK_##name)
#define ON_CONNECT (HOOK(PRE_CONNECT) | HOOK(AUTHENTICATE))
#define ON_AUTH    (HOOK(PRE_CONNECT) | HOOK(AUTHENTICATE) | HOOK(EXCHANGE))
#define ON_IN      HOOK(INBOUND)
#define ON_MESSAGE (HOOK(INBOUND) | HOOK(AUTHORIZE_PUBLISH) | HOOK(AUTHORIZE_WILL))
#define ON_VERDICT                                                                \
    (HOOK(AUTHORIZE_PUBLISH) | HOOK(AUTHORIZE_WILL) | HOOK(AUTHORIZE_SUBSCRIBE) | \
     HOOK(AUTHORIZE_DELIVER))
#define BINARY_MAX  65535u
#define PAYLOAD_MAX 268435455u

/* One call of a setter. */
struct setting_call {
    pigeon_req *req;
    const char *name;
    uint32_t hooks; /* where it is allowed */
    int32_t error;  /* of the value; PIGEON_OK */
    pigeon_mock_value value;
};

static pigeon_str text_of(pigeon_bytes b)
{
    return (pigeon_str){ .ptr = (const char *)b.ptr, .len = b.len };
}

char *mock_put(char *at, pigeon_str s, pigeon_str *r_copy)
{
    if (s.ptr && s.len)
        memcpy(at, s.ptr, s.len);
    at[s.len] = '\0';
    *r_copy = (pigeon_str){ .ptr = at, .len = s.len };
    return at + s.len + 1;
}

static void keep(pigeon_mock_ask *ask, const pigeon_mock_value *value)
{
    struct value_node *v = mock_alloc(sizeof(*v) + value->text.len + value->more.len + 2);

    v->value = *value;
    mock_put(mock_put((char *)(v + 1), value->text, &v->value.text), value->more, &v->value.more);
    *ask->last = v;
    ask->last = &v->next;
}

static int32_t refuse(pigeon_mock_ask *ask, int32_t error)
{
    ask->failed = true;
    return error;
}

static int32_t set_locked(pigeon_mock *m, pigeon_mock_ask *ask, const struct setting_call *call)
{
    int32_t error;

    if (ask->state == ASK_DEAD)
        return PIGEON_E_GONE;
    if (ask->state != ASK_CALLING && ask->state != ASK_PENDING) {
        mock_complain_locked(m, "host->%s was called after the answer to %s", call->name,
                             mock_hook_name(ask->hook));
        return PIGEON_E_GONE;
    }
    if (!(call->hooks & (UINT32_C(1) << ask->hook))) {
        mock_complain_locked(m, "host->%s does not go with %s", call->name,
                             mock_hook_name(ask->hook));
        return refuse(ask, PIGEON_E_NOTSUP);
    }
    error = mock_fault(m, PIGEON_MOCK_FAIL_SETTER);
    if (error || call->error)
        return refuse(ask, error ? error : call->error);
    keep(ask, &call->value);
    return PIGEON_OK;
}

/* host_data is the one member that is not overwritten after the answer. */
static pigeon_mock *mock_of(const pigeon_req *req)
{
    const pigeon_mock_ask *ask = req->host_data;

    return ask->mock;
}

static int32_t set(const struct setting_call *call)
{
    pigeon_mock *m = mock_of(call->req);
    pigeon_mock_ask *ask;
    int32_t r;

    pthread_mutex_lock(&m->lock);
    ask = ask_of_req(m, call->req);
    r = ask ? set_locked(m, ask, call) : PIGEON_E_GONE;
    if (!ask)
        mock_complain_locked(m, "host->%s was called with a request that nobody gave", call->name);
    pthread_mutex_unlock(&m->lock);
    return r;
}

int32_t mock_check_text(pigeon_str s)
{
    if (s.len > UINT16_MAX)
        return PIGEON_E_TOOBIG;
    if (s.len && !s.ptr)
        return PIGEON_E_INVAL;
    return utf8_is_mqtt(s.ptr ? s.ptr : "", s.len) ? PIGEON_OK : PIGEON_E_INVAL;
}

static int32_t check_bytes(pigeon_bytes b, uint32_t max)
{
    if (b.len > max)
        return PIGEON_E_TOOBIG;
    return b.len && !b.ptr ? PIGEON_E_INVAL : PIGEON_OK;
}

static int32_t check_props(pigeon_bytes props)
{
    struct property_iter it;
    struct property p;
    int r = check_bytes(props, PAYLOAD_MAX);

    if (r != PIGEON_OK)
        return r;
    property_iter_init(&it, str_make(props.ptr, props.len),
                       PROPERTY_IN(PACKET_PUBLISH, WIRE_FROM_CLIENT));
    while ((r = property_next(&it, &p)) == 1)
        if (p.id == PROPERTY_TOPIC_ALIAS || p.id == PROPERTY_SUBSCRIPTION_ID ||
            p.id == PROPERTY_MESSAGE_EXPIRY)
            return PIGEON_E_INVAL;
    return r < 0 ? PIGEON_E_INVAL : PIGEON_OK;
}

static int32_t check_filter(pigeon_str s)
{
    int32_t r = mock_check_text(s);

    if (r == PIGEON_OK && !topic_is_filter(str_make(s.ptr, s.len), TOPIC_MAX_LEVELS))
        r = PIGEON_E_INVAL;
    return r;
}

static int32_t set_number(pigeon_req *req, const char *name, uint32_t hooks, uint32_t kind,
                          uint64_t number, uint64_t max)
{
    return set(&(struct setting_call){ .req = req,
                                       .name = name,
                                       .hooks = hooks,
                                       .error = number > max ? PIGEON_E_INVAL : PIGEON_OK,
                                       .value = { .kind = kind, .number = number } });
}

static int32_t set_text(pigeon_req *req, const char *name, uint32_t hooks, uint32_t kind,
                        pigeon_str text, int32_t error)
{
    return set(&(struct setting_call){ .req = req,
                                       .name = name,
                                       .hooks = hooks,
                                       .error = error,
                                       .value = { .kind = kind, .text = text } });
}

static int32_t set_reason(pigeon_req *req, uint32_t mqtt_reason, const char *text)
{
    bool is_wrong = mqtt_reason > 5 && (mqtt_reason < 0x80 || mqtt_reason > 0xff);
    struct setting_call call = { .req = req,
                                 .name = "set_reason",
                                 .hooks = UINT32_MAX,
                                 .error = is_wrong ? PIGEON_E_INVAL : PIGEON_OK };
    int32_t r = set(&call);
    pigeon_mock_ask *ask;
    pigeon_mock *m;

    if (r != PIGEON_OK)
        return r;
    m = mock_of(req);
    pthread_mutex_lock(&m->lock);
    ask = ask_of_req(m, req);
    ask->reason = mqtt_reason;
    pigeon_str s = pigeon_z(text);
    uint32_t len = s.len < sizeof(ask->text) ? s.len : (uint32_t)sizeof(ask->text) - 1;
    if (len)
        memcpy(ask->text, s.ptr, len);
    ask->text[len] = '\0';
    pthread_mutex_unlock(&m->lock);
    return PIGEON_OK;
}

static int32_t set_clientid(pigeon_req *req, pigeon_str id)
{
    return set_text(req, "set_clientid", ON_CONNECT, PIGEON_MOCK_CLIENTID, id,
                    id.len ? mock_check_text(id) : PIGEON_E_INVAL);
}

static int32_t set_username(pigeon_req *req, pigeon_str username)
{
    return set_text(req, "set_username", ON_CONNECT, PIGEON_MOCK_USERNAME, username,
                    mock_check_text(username));
}

static int32_t set_password(pigeon_req *req, pigeon_bytes password)
{
    return set_text(req, "set_password", HOOK(PRE_CONNECT), PIGEON_MOCK_PASSWORD, text_of(password),
                    check_bytes(password, BINARY_MAX));
}

static int32_t set_keepalive(pigeon_req *req, uint32_t seconds)
{
    return set_number(req, "set_keepalive", ON_CONNECT, PIGEON_MOCK_KEEPALIVE, seconds, UINT16_MAX);
}

static int32_t set_clean_start(pigeon_req *req, uint32_t clean)
{
    return set_number(req, "set_clean_start", HOOK(PRE_CONNECT), PIGEON_MOCK_CLEAN_START, clean, 1);
}

static int32_t set_session_expiry(pigeon_req *req, uint32_t seconds)
{
    return set_number(req, "set_session_expiry", ON_CONNECT, PIGEON_MOCK_SESSION_EXPIRY, seconds,
                      UINT32_MAX);
}

static int32_t set_will(pigeon_req *req, const pigeon_msg *will, uint32_t delay_s)
{
    struct setting_call call = { .req = req, .name = "set_will", .hooks = HOOK(PRE_CONNECT) };

    call.value = (pigeon_mock_value){ .kind = PIGEON_MOCK_WILL, .number = delay_s };
    if (will) {
        call.value.id = 1;
        call.value.text = will->topic;
        call.value.more = text_of(will->payload);
        call.error = mock_check_text(will->topic);
        if (call.error == PIGEON_OK &&
            (will->qos > 2 ||
             !topic_is_name(str_make(will->topic.ptr, will->topic.len), TOPIC_MAX_LEVELS)))
            call.error = PIGEON_E_INVAL;
        if (call.error == PIGEON_OK)
            call.error = check_props(will->props);
    }
    return set(&call);
}

static int32_t set_limit(pigeon_req *req, uint32_t limit, uint64_t value)
{
    bool known = limit >= PIGEON_LIMIT_PUBLISH_RATE && limit <= PIGEON_LIMIT_LIFETIME;

    return set(&(struct setting_call){
        .req = req,
        .name = "set_limit",
        .hooks = HOOK(AUTHENTICATE) | HOOK(EXCHANGE),
        .error = known ? PIGEON_OK : PIGEON_E_NOTSUP,
        .value = { .kind = PIGEON_MOCK_LIMIT, .id = limit, .number = value } });
}

static int32_t add_property(pigeon_req *req, uint32_t property, pigeon_str name, pigeon_str value)
{
    int32_t error = mock_check_text(name);

    if (error == PIGEON_OK)
        error = mock_check_text(value);
    if (property != PROPERTY_USER && property != PROPERTY_RESPONSE_INFO &&
        property != PROPERTY_SERVER_REFERENCE)
        error = PIGEON_E_NOTSUP;
    return set(&(struct setting_call){
        .req = req,
        .name = "add_property",
        .hooks = ON_AUTH,
        .error = error,
        .value = { .kind = PIGEON_MOCK_PROPERTY, .id = property, .text = name, .more = value } });
}

static int32_t set_auth(pigeon_req *req, pigeon_bytes data)
{
    return set_text(req, "set_auth", HOOK(EXCHANGE), PIGEON_MOCK_AUTH, text_of(data),
                    check_bytes(data, BINARY_MAX));
}

static int32_t set_topic(pigeon_req *req, pigeon_str topic)
{
    int32_t error = mock_check_text(topic);

    if (error == PIGEON_OK && !topic_is_name(str_make(topic.ptr, topic.len), TOPIC_MAX_LEVELS))
        error = PIGEON_E_INVAL;
    return set_text(req, "set_topic", ON_IN, PIGEON_MOCK_TOPIC, topic, error);
}

static int32_t set_payload(pigeon_req *req, pigeon_bytes payload)
{
    return set_text(req, "set_payload", ON_MESSAGE, PIGEON_MOCK_PAYLOAD, text_of(payload),
                    check_bytes(payload, PAYLOAD_MAX));
}

static int32_t set_props(pigeon_req *req, pigeon_bytes props)
{
    return set_text(req, "set_props", ON_MESSAGE, PIGEON_MOCK_PROPS, text_of(props),
                    check_props(props));
}

static int32_t set_qos(pigeon_req *req, uint32_t qos)
{
    return set_number(req, "set_qos", ON_IN, PIGEON_MOCK_QOS, qos, 2);
}

static int32_t set_retain(pigeon_req *req, uint32_t retain)
{
    return set_number(req, "set_retain", ON_IN, PIGEON_MOCK_RETAIN, retain, 1);
}

static int32_t set_filter(pigeon_req *req, pigeon_str filter, uint32_t qos)
{
    int32_t error = check_filter(filter);

    return set(&(struct setting_call){
        .req = req,
        .name = "set_filter",
        .hooks = HOOK(AUTHORIZE_SUBSCRIBE),
        .error = error == PIGEON_OK && qos > 2 ? PIGEON_E_INVAL : error,
        .value = { .kind = PIGEON_MOCK_FILTER, .text = filter, .number = qos } });
}

static int32_t set_cache(pigeon_req *req, uint32_t ttl_ms)
{
    return set_number(req, "set_cache", ON_VERDICT, PIGEON_MOCK_CACHE, ttl_ms, UINT32_MAX);
}

static int32_t acl_add(pigeon_req *req, pigeon_str filter, uint32_t access, int32_t verdict)
{
    int32_t error = check_filter(filter);

    if (access == 0 || (access & ~PIGEON_ACL_ALL) ||
        (verdict != PIGEON_ALLOW && verdict != PIGEON_DENY))
        error = PIGEON_E_INVAL;
    return set(&(struct setting_call){
        .req = req,
        .name = "acl_add",
        .hooks = ON_AUTH,
        .error = error,
        .value = {
            .kind = PIGEON_MOCK_ACL, .id = access, .number = (uint64_t)verdict, .text = filter } });
}

static int32_t reply(pigeon_req *req, pigeon_str json)
{
    return set_text(req, "reply", HOOK(CONTROL), PIGEON_MOCK_REPLY, json,
                    json.len && !json.ptr ? PIGEON_E_INVAL : PIGEON_OK);
}

void mock_fill_set(pigeon_host *h)
{
    h->set_reason = set_reason;
    h->set_clientid = set_clientid;
    h->set_username = set_username;
    h->set_password = set_password;
    h->set_keepalive = set_keepalive;
    h->set_clean_start = set_clean_start;
    h->set_session_expiry = set_session_expiry;
    h->set_will = set_will;
    h->set_limit = set_limit;
    h->add_property = add_property;
    h->set_auth = set_auth;
    h->set_topic = set_topic;
    h->set_payload = set_payload;
    h->set_props = set_props;
    h->set_qos = set_qos;
    h->set_retain = set_retain;
    h->set_filter = set_filter;
    h->set_cache = set_cache;
    h->acl_add = acl_add;
    h->reply = reply;
}

/* ---- what a test asks ------------------------------------------------------------------------ */

uint32_t pigeon_mock_reason(const pigeon_mock_ask *ask)
{
    return ask->reason;
}

const char *pigeon_mock_reason_text(const pigeon_mock_ask *ask)
{
    return ask->text;
}

const pigeon_mock_value *pigeon_mock_set(const pigeon_mock_ask *ask, uint32_t kind, uint32_t i)
{
    const pigeon_mock_value *found = NULL;

    pthread_mutex_lock(&ask->mock->lock);
    for (const struct value_node *v = ask->values; v && !found; v = v->next)
        if (v->value.kind == kind && i-- == 0)
            found = &v->value;
    pthread_mutex_unlock(&ask->mock->lock);
    return found;
}

static const pigeon_mock_value *last_of(const pigeon_mock_ask *ask, uint32_t kind)
{
    const pigeon_mock_value *found = NULL;

    pthread_mutex_lock(&ask->mock->lock);
    for (const struct value_node *v = ask->values; v; v = v->next)
        if (v->value.kind == kind)
            found = &v->value;
    pthread_mutex_unlock(&ask->mock->lock);
    return found;
}

const char *pigeon_mock_text(const pigeon_mock_ask *ask, uint32_t kind)
{
    const pigeon_mock_value *v = last_of(ask, kind);

    return v ? v->text.ptr : NULL;
}

uint64_t pigeon_mock_number(const pigeon_mock_ask *ask, uint32_t kind)
{
    const pigeon_mock_value *v = last_of(ask, kind);

    return v ? v->number : 0;
}

int32_t pigeon_mock_acl(const pigeon_mock_ask *ask, uint32_t access, const char *topic)
{
    const pigeon_mock_value *v;

    for (uint32_t i = 0; (v = pigeon_mock_set(ask, PIGEON_MOCK_ACL, i)) != NULL; i++)
        if ((v->id & access) && topic_matches(str_make(v->text.ptr, v->text.len), str_from(topic)))
            return (int32_t)v->number;
    return PIGEON_NEXT;
}
