/* Setters: what a plugin wants of the request it holds, kept in the token's own memory until the
 * loop takes it. */
#include "base/utf8.h"
#include "hooks/chain.h"
#include "hooks/host_priv.h"
#include "hooks/pending.h"
#include "mqtt/topic.h"
#include "wire/property.h"
#include "wire/reason.h"
#include <stdlib.h>

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

static int32_t refuse(struct ask_slot *slot, const char *setter, int32_t error)
{
    if (!slot->failed) {
        slot->failed_setter = setter;
        slot->failed_error = error;
    }
    slot->touched = true;
    slot->failed = true;
    return error;
}

/* May this hook be told so, and is it still asked? A request past its deadline is the plugin's to
 * write to, but nobody will read it. */
static int32_t may_set(struct ask_slot *slot, const char *setter, uint32_t hooks)
{
    uint64_t word = atomic_load_explicit(&slot->word, memory_order_acquire);

    if (slot->req.token != 0 && word_state(word) != SLOT_PENDING)
        return PIGEON_E_GONE;
    if (!(hooks & (UINT32_C(1) << slot->step->hook)))
        return refuse(slot, setter, PIGEON_E_NOTSUP);
    return PIGEON_OK;
}

static char *put(char *at, struct str s, struct str *r_view)
{
    if (s.len)
        memcpy(at, s.ptr, s.len);
    at[s.len] = '\0';
    *r_view = s.ptr ? str_make(at, s.len) : STR_NULL;
    return at + s.len + 1;
}

static int32_t add(struct ask_slot *slot, const char *setter, const struct ask_value *value)
{
    struct ask_value *v = malloc(sizeof(*v) + value->a.len + value->b.len + 2);

    if (!v)
        return refuse(slot, setter, PIGEON_E_NOMEM);
    *v = *value;
    v->next = NULL;
    v->revoked = slot->revoked;
    v->entry = atomic_load_explicit(&slot->inst, memory_order_relaxed)->plugin->index;
    put(put((char *)(v + 1), value->a, &v->a), value->b, &v->b);
    slot->touched = true;
    *slot->last = v;
    slot->last = &v->next;
    return PIGEON_OK;
}

static int32_t set_number(pigeon_req *req, const char *setter, uint32_t hooks,
                          enum ask_value_kind kind, uint32_t sub, uint64_t num, uint64_t max)
{
    struct ask_slot *slot = slot_of(req);
    int32_t r = may_set(slot, setter, hooks);

    if (r != PIGEON_OK)
        return r;
    if (num > max)
        return refuse(slot, setter, PIGEON_E_INVAL);
    return add(slot, setter, &(struct ask_value){ .kind = kind, .sub = sub, .num = num });
}

static int32_t set_text(pigeon_req *req, const char *setter, uint32_t hooks,
                        enum ask_value_kind kind, pigeon_str text)
{
    struct ask_slot *slot = slot_of(req);
    int32_t r = may_set(slot, setter, hooks);

    if (r != PIGEON_OK)
        return r;
    r = host_check_text(text);
    if (r != PIGEON_OK)
        return refuse(slot, setter, r);
    return add(slot, setter, &(struct ask_value){ .kind = kind, .a = host_str(text) });
}

static int32_t set_bytes(pigeon_req *req, const char *setter, uint32_t hooks,
                         enum ask_value_kind kind, pigeon_bytes bytes, uint32_t max)
{
    struct ask_slot *slot = slot_of(req);
    int32_t r = may_set(slot, setter, hooks);

    if (r != PIGEON_OK)
        return r;
    if (bytes.len > max)
        return refuse(slot, setter, PIGEON_E_TOOBIG);
    if (bytes.len && !bytes.ptr)
        return refuse(slot, setter, PIGEON_E_INVAL);
    return add(slot, setter,
               &(struct ask_value){ .kind = kind, .a = str_make(bytes.ptr, bytes.len) });
}

/* As much of the text as fits, cut between characters; nothing of what is not MQTT text. */
static void copy_reason(char *out, size_t size, const char *text)
{
    size_t len = text ? strnlen(text, size) : 0;

    if (len >= size) {
        len = size - 1;
        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
            len--;
    }
    if (!utf8_is_mqtt(text ? text : "", len))
        len = 0;
    if (len)
        memcpy(out, text, len);
    out[len] = '\0';
}

static int32_t set_reason(pigeon_req *req, uint32_t mqtt_reason, const char *text)
{
    struct ask_slot *slot = slot_of(req);
    int32_t r = may_set(slot, __func__, UINT32_MAX);

    if (r != PIGEON_OK)
        return r;
    if (mqtt_reason >= 1 && mqtt_reason <= 5) /* a return code of MQTT 3 */
        mqtt_reason = (uint32_t)reason_from_connack3((uint8_t)mqtt_reason);
    if (mqtt_reason != 0 && (mqtt_reason < 0x80 || mqtt_reason > 0xff))
        return refuse(slot, __func__, PIGEON_E_INVAL);
    slot->touched = true;
    slot->reason = (uint8_t)mqtt_reason;
    copy_reason(slot->text, sizeof(slot->text), text);
    return PIGEON_OK;
}

static int32_t set_clientid(pigeon_req *req, pigeon_str id)
{
    if (id.len == 0)
        return refuse(slot_of(req), __func__, PIGEON_E_INVAL);
    return set_text(req, __func__, ON_CONNECT, VALUE_CLIENTID, id);
}

static int32_t set_username(pigeon_req *req, pigeon_str username)
{
    return set_text(req, __func__, ON_CONNECT, VALUE_USERNAME, username);
}

static int32_t set_password(pigeon_req *req, pigeon_bytes password)
{
    return set_bytes(req, __func__, HOOK(PRE_CONNECT), VALUE_PASSWORD, password, BINARY_MAX);
}

static int32_t set_keepalive(pigeon_req *req, uint32_t seconds)
{
    return set_number(req, __func__, ON_CONNECT, VALUE_KEEPALIVE, 0, seconds, UINT16_MAX);
}

static int32_t set_clean_start(pigeon_req *req, uint32_t clean)
{
    return set_number(req, __func__, HOOK(PRE_CONNECT), VALUE_CLEAN_START, 0, clean, 1);
}

static int32_t set_session_expiry(pigeon_req *req, uint32_t seconds)
{
    return set_number(req, __func__, ON_CONNECT, VALUE_SESSION_EXPIRY, 0, seconds, UINT32_MAX);
}

static int32_t set_will(pigeon_req *req, const pigeon_msg *will, uint32_t delay_s)
{
    struct ask_slot *slot = slot_of(req);
    int32_t r = may_set(slot, __func__, HOOK(PRE_CONNECT));
    struct message *m = NULL;

    if (r != PIGEON_OK)
        return r;
    if (will) {
        m = host_message_new(slot->hl->hooks, will, PIGEON_ORIGIN_WILL, &r);
        if (!m)
            return refuse(slot, __func__, r);
    }
    r = add(slot, __func__,
            &(struct ask_value){ .kind = VALUE_WILL, .num = delay_s, .message = m });
    if (r != PIGEON_OK)
        message_unref(&m);
    return r;
}

static int32_t set_limit(pigeon_req *req, uint32_t limit, uint64_t value)
{
    if (limit < PIGEON_LIMIT_PUBLISH_RATE || limit > PIGEON_LIMIT_LIFETIME)
        return refuse(slot_of(req), __func__, PIGEON_E_NOTSUP);
    return set_number(req, __func__, HOOK(AUTHENTICATE) | HOOK(EXCHANGE), VALUE_LIMIT, limit, value,
                      UINT64_MAX);
}

static int32_t add_property(pigeon_req *req, uint32_t property, pigeon_str name, pigeon_str value)
{
    struct ask_slot *slot = slot_of(req);
    int32_t r = may_set(slot, __func__, ON_AUTH);

    if (r != PIGEON_OK)
        return r;
    if (property != PROPERTY_USER && property != PROPERTY_RESPONSE_INFO &&
        property != PROPERTY_SERVER_REFERENCE)
        return refuse(slot, __func__, PIGEON_E_NOTSUP);
    r = host_check_text(name);
    if (r == PIGEON_OK)
        r = host_check_text(value);
    if (r != PIGEON_OK)
        return refuse(slot, __func__, r);
    return add(
        slot, __func__,
        &(struct ask_value){
            .kind = VALUE_PROPERTY, .sub = property, .a = host_str(name), .b = host_str(value) });
}

static int32_t set_auth(pigeon_req *req, pigeon_bytes data)
{
    return set_bytes(req, __func__, HOOK(EXCHANGE), VALUE_AUTH_DATA, data, BINARY_MAX);
}

static int32_t set_topic(pigeon_req *req, pigeon_str topic)
{
    if (!topic_is_name(host_str(topic), TOPIC_MAX_LEVELS))
        return refuse(slot_of(req), __func__, PIGEON_E_INVAL);
    return set_text(req, __func__, ON_IN, VALUE_TOPIC, topic);
}

static int32_t set_payload(pigeon_req *req, pigeon_bytes payload)
{
    return set_bytes(req, __func__, ON_MESSAGE, VALUE_PAYLOAD, payload, PAYLOAD_MAX);
}

static int32_t set_props(pigeon_req *req, pigeon_bytes props)
{
    int32_t r = host_check_props(props);

    if (r != PIGEON_OK)
        return refuse(slot_of(req), __func__, r);
    return set_bytes(req, __func__, ON_MESSAGE, VALUE_PROPS, props, PAYLOAD_MAX);
}

static int32_t set_qos(pigeon_req *req, uint32_t qos)
{
    return set_number(req, __func__, ON_IN, VALUE_QOS, 0, qos, 2);
}

static int32_t set_retain(pigeon_req *req, uint32_t retain)
{
    return set_number(req, __func__, ON_IN, VALUE_RETAIN, 0, retain, 1);
}

static int32_t set_filter(pigeon_req *req, pigeon_str filter, uint32_t qos)
{
    struct ask_slot *slot = slot_of(req);
    int32_t r = may_set(slot, __func__, HOOK(AUTHORIZE_SUBSCRIBE));

    if (r != PIGEON_OK)
        return r;
    r = host_check_text(filter);
    if (r == PIGEON_OK && (qos > 2 || !topic_is_filter(host_str(filter), TOPIC_MAX_LEVELS)))
        r = PIGEON_E_INVAL;
    if (r != PIGEON_OK)
        return refuse(slot, __func__, r);
    return add(slot, __func__,
               &(struct ask_value){ .kind = VALUE_FILTER, .a = host_str(filter), .num = qos });
}

static int32_t set_cache(pigeon_req *req, uint32_t ttl_ms)
{
    return set_number(req, __func__, ON_VERDICT, VALUE_CACHE, 0, ttl_ms, UINT32_MAX);
}

static int32_t acl_add(pigeon_req *req, pigeon_str filter, uint32_t access, int32_t verdict)
{
    struct ask_slot *slot = slot_of(req);
    int32_t r = may_set(slot, __func__, ON_AUTH);

    if (r != PIGEON_OK)
        return r;
    r = host_check_text(filter);
    if (r == PIGEON_OK && (access == 0 || (access & ~PIGEON_ACL_ALL) ||
                           (verdict != PIGEON_ALLOW && verdict != PIGEON_DENY) ||
                           !topic_is_filter(host_str(filter), TOPIC_MAX_LEVELS)))
        r = PIGEON_E_INVAL;
    if (r != PIGEON_OK)
        return refuse(slot, __func__, r);
    return add(
        slot, __func__,
        &(struct ask_value){
            .kind = VALUE_ACL, .a = host_str(filter), .sub = access, .num = (uint64_t)verdict });
}

static int32_t reply(pigeon_req *req, pigeon_str json)
{
    struct ask_slot *slot = slot_of(req);
    int32_t r = may_set(slot, __func__, HOOK(CONTROL));

    if (r != PIGEON_OK)
        return r;
    if (json.len > PIGEON_REPLY_MAX)
        return refuse(slot, __func__, PIGEON_E_TOOBIG);
    if (json.len && !json.ptr)
        return refuse(slot, __func__, PIGEON_E_INVAL);
    return add(slot, __func__, &(struct ask_value){ .kind = VALUE_REPLY, .a = host_str(json) });
}

void host_set_fill(pigeon_host *host)
{
    host->set_reason = set_reason;
    host->set_clientid = set_clientid;
    host->set_username = set_username;
    host->set_password = set_password;
    host->set_keepalive = set_keepalive;
    host->set_clean_start = set_clean_start;
    host->set_session_expiry = set_session_expiry;
    host->set_will = set_will;
    host->set_limit = set_limit;
    host->add_property = add_property;
    host->set_auth = set_auth;
    host->set_topic = set_topic;
    host->set_payload = set_payload;
    host->set_props = set_props;
    host->set_qos = set_qos;
    host->set_retain = set_retain;
    host->set_filter = set_filter;
    host->set_cache = set_cache;
    host->acl_add = acl_add;
    host->reply = reply;
}
