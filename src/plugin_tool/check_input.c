/* What hooks are asked with. All of it is what MQTT allows, or what a later broker may say: names
 * and filters are well-formed, texts are UTF-8 without NUL, numbers may be unknown. */
#include "plugin_tool/check.h"
#include "plugin_tool/tool.h"
#include "base/utf8.h"
#include <stdlib.h>
#include <string.h>

#define LONG_TEXT    65535u
#define HUGE_PAYLOAD (256u * 1024)
#define N_PROPS      200u

const char *const input_names[N_INPUTS] = { "plain input",      "empty input",
                                            "huge input",       "binary input",
                                            "without a client", "unknown numbers",
                                            "an older broker",  "a newer broker" };

struct check_input {
    pigeon_mock *mock;
    enum input input;
    char *text, *topic; /* NUL-terminated */
    uint8_t *bytes;
    uint32_t n_bytes;
    uint8_t props[8192];
    uint32_t n_props;
    uint32_t number; /* for reasons, kinds, whys */
    pigeon_msg *msg;
    pigeon_sub sub;
    pigeon_connect connect;
    pigeon_client *view; /* of facts; NULL: no client */
};

int input_release(enum input input)
{
    return input == INPUT_OLD_HOST   ? PIGEON_MOCK_FIRST
           : input == INPUT_NEW_HOST ? PIGEON_MOCK_NEXT
                                     : PIGEON_MOCK_SAME;
}

static char *repeat(const char *what, size_t len)
{
    size_t n = strlen(what);
    char *s = malloc(len + 1);

    if (!s)
        isolate_fail("out of memory");
    for (size_t i = 0; i < len; i++)
        s[i] = what[i % n];
    s[len] = '\0';
    return s;
}

static void add_prop(struct check_input *in, const char *name, const char *value)
{
    uint32_t n = (uint32_t)strlen(name), v = (uint32_t)strlen(value);
    uint8_t *at = in->props + in->n_props;

    if (in->n_props + n + v + 5 > sizeof(in->props))
        return;
    *at++ = PIGEON_PROP_USER_PROPERTY;
    *at++ = (uint8_t)(n >> 8);
    *at++ = (uint8_t)n;
    memcpy(at, name, n);
    at += n;
    *at++ = (uint8_t)(v >> 8);
    *at++ = (uint8_t)v;
    memcpy(at, value, v);
    in->n_props += n + v + 5;
}

static void fill_text(struct check_input *in)
{
    switch (in->input) {
    case INPUT_EMPTY:
        in->text = repeat("x", 0);
        in->topic = repeat("a", 1);
        in->bytes = (uint8_t *)repeat("x", 0);
        break;
    case INPUT_HUGE:
        in->text = repeat("long", LONG_TEXT);
        in->topic = repeat("ab/", LONG_TEXT - 1);
        in->bytes = (uint8_t *)repeat("{\"x\":1}", HUGE_PAYLOAD);
        in->n_bytes = HUGE_PAYLOAD;
        for (uint32_t i = 0; i < N_PROPS; i++)
            add_prop(in, "name", "some value");
        break;
    case INPUT_BINARY:
        in->text = repeat("\xc3\xa4\xf0\x9f\x95\x8a%s%n'\"\\<&>", 60);
        in->topic = repeat("\xc3\xa4/\xf0\x9f\x95\x8a/%s%n/'\"\\;", 21);
        in->bytes = (uint8_t *)repeat("x", 4096);
        in->n_bytes = 4096;
        for (uint32_t i = 0; i < in->n_bytes; i++)
            in->bytes[i] = (uint8_t)i;
        add_prop(in, "", "");
        break;
    default:
        in->text = repeat("alice", 5);
        in->topic = repeat("room/1/t", 8);
        in->bytes = (uint8_t *)repeat("{\"t\":21}", 8);
        in->n_bytes = 8;
        add_prop(in, "name", "value");
        break;
    }
}

/* Cuts a character of several bytes at the end: MQTT text is whole. */
static void trim_utf8(char *text)
{
    for (size_t n = strlen(text); n && !utf8_is_mqtt(text, n);)
        text[--n] = '\0';
}

static pigeon_bytes bytes_of(const struct check_input *in, uint32_t max)
{
    return pigeon_data(in->bytes, in->n_bytes < max ? in->n_bytes : max);
}

static void fill_views(struct check_input *in)
{
    bool unknown = in->input == INPUT_UNKNOWN;

    in->number = unknown ? 4711 : 1;
    in->msg = pigeon_mock_msg(in->mock, in->topic, "");
    in->msg->payload = bytes_of(in, UINT32_MAX);
    in->msg->props = pigeon_data(in->props, in->n_props);
    in->msg->publisher = pigeon_z(in->text);
    in->msg->publisher_user = pigeon_z(in->text);
    in->msg->qos = 1;
    in->msg->origin = unknown ? 250 : PIGEON_ORIGIN_CLIENT;
    in->sub = (pigeon_sub){ .size = sizeof(in->sub),
                            .filter = pigeon_z(in->topic),
                            .effective = pigeon_z(in->topic),
                            .share = pigeon_z(""),
                            .qos = 1,
                            .retain_handling = unknown ? 200 : 0,
                            .granted = unknown ? 250 : 1 };
    in->connect = (pigeon_connect){ .size = sizeof(in->connect),
                                    .keepalive_s = 60,
                                    .clean_start = 1,
                                    .has_username = in->input != INPUT_NO_CLIENT,
                                    .has_password = in->input != INPUT_NO_CLIENT,
                                    .receive_maximum = unknown ? 0 : 65535,
                                    .maximum_packet_size = unknown ? UINT32_MAX : 0,
                                    .session_expiry_s = unknown ? UINT32_MAX : 0,
                                    .props = pigeon_data(in->props, in->n_props) };
    if (in->connect.has_password)
        in->connect.password = bytes_of(in, LONG_TEXT);
    if (unknown) {
        in->connect.auth_method = pigeon_z("x-unknown");
        in->connect.auth_data = bytes_of(in, LONG_TEXT);
    }
    in->connect.will = in->msg;
}

struct check_input *check_input_new(pigeon_mock *m, enum input input)
{
    struct check_input *in = calloc(1, sizeof(*in));

    if (!in)
        isolate_fail("out of memory");
    in->mock = m;
    in->input = input;
    fill_text(in);
    trim_utf8(in->text);
    trim_utf8(in->topic);
    fill_views(in);
    if (input != INPUT_NO_CLIENT)
        in->view = pigeon_mock_client_view(check_input_client(in));
    return in;
}

/* After the mock is finished or before it is freed: views point into this. */
void check_input_free(struct check_input **in)
{
    free((*in)->text);
    free((*in)->topic);
    free((*in)->bytes);
    free(*in);
    *in = NULL;
}

pigeon_mock_client *check_input_client(struct check_input *in)
{
    bool has_text =
        in->input == INPUT_HUGE || in->input == INPUT_BINARY || in->input == INPUT_EMPTY;
    const char *username = in->input == INPUT_NO_CLIENT ? NULL : in->text;
    pigeon_mock_client *c =
        pigeon_mock_client_new(in->mock, has_text ? in->text : "bird", username);
    pigeon_client *view = pigeon_mock_client_view(c);

    if (in->input == INPUT_UNKNOWN) {
        view->protocol = 77;
        view->transport = 200;
        view->flags = UINT32_MAX;
        view->listener = pigeon_z("");
    }
    if (in->input == INPUT_BINARY) {
        view->tls_cn = pigeon_z(in->text);
        view->tls_cert = pigeon_data(in->bytes, in->n_bytes);
        view->flags |= PIGEON_CLIENT_TLS;
    }
    return c;
}

/* ---- decision hooks -------------------------------------------------------------------------- */

static const struct {
    const char *name;
    uint32_t hook;
    size_t offset; /* in pigeon_auth, or in pigeon_flow */
    bool is_flow;
} decisions[N_DECISIONS] = {
    { "pre_connect", PIGEON_HOOK_PRE_CONNECT, offsetof(pigeon_auth, pre_connect), false },
    { "authenticate", PIGEON_HOOK_AUTHENTICATE, offsetof(pigeon_auth, authenticate), false },
    { "exchange", PIGEON_HOOK_EXCHANGE, offsetof(pigeon_auth, exchange), false },
    { "authorize_publish", PIGEON_HOOK_AUTHORIZE_PUBLISH, offsetof(pigeon_auth, authorize_publish),
      false },
    { "authorize_will", PIGEON_HOOK_AUTHORIZE_WILL, offsetof(pigeon_auth, authorize_will), false },
    { "authorize_subscribe", PIGEON_HOOK_AUTHORIZE_SUBSCRIBE,
      offsetof(pigeon_auth, authorize_subscribe), false },
    { "authorize_deliver", PIGEON_HOOK_AUTHORIZE_DELIVER, offsetof(pigeon_auth, authorize_deliver),
      false },
    { "inbound", PIGEON_HOOK_INBOUND, offsetof(pigeon_flow, inbound), true },
    { "published", PIGEON_HOOK_PUBLISHED, offsetof(pigeon_flow, published), true },
};

pigeon_mock_ask *subject_ask(struct check_input *in, uint32_t subject, pigeon_mock_client *client)
{
    pigeon_mock_client *maybe = in->input == INPUT_NO_CLIENT ? NULL : client;

    switch (decisions[subject].hook) {
    case PIGEON_HOOK_PRE_CONNECT: return pigeon_mock_pre_connect(client, &in->connect);
    case PIGEON_HOOK_AUTHENTICATE: return pigeon_mock_authenticate_with(client, &in->connect);
    case PIGEON_HOOK_EXCHANGE:
        return pigeon_mock_exchange(client, in->input == INPUT_UNKNOWN ? 99 : PIGEON_STAGE_CONNECT,
                                    in->input == INPUT_NORMAL ? "SCRAM-SHA-256" : in->text,
                                    bytes_of(in, LONG_TEXT));
    case PIGEON_HOOK_AUTHORIZE_SUBSCRIBE:
        return pigeon_mock_authorize_subscribe_with(in->mock, maybe, &in->sub);
    default: return pigeon_mock_message(in->mock, decisions[subject].hook, maybe, in->msg);
    }
}

/* ---- facts ----------------------------------------------------------------------------------- */

typedef void (*fact_fn)(const pigeon_events *e, void *self, const struct check_input *in);

#define FACT(member, ...)                                                                       \
    static void tell_##member(const pigeon_events *e, void *self, const struct check_input *in) \
    {                                                                                           \
        (void)in;                                                                               \
        e->member(__VA_ARGS__);                                                                 \
    }

FACT(client, self, in->view)
FACT(client_ready, self, in->view)
FACT(client_disconnect, self, in->view, in->number, pigeon_z(in->text))
FACT(client_error, self, in->view, in->number, pigeon_z(in->text))
FACT(connection_error, self, in->view, in->number, pigeon_z(in->text))
FACT(keepalive_timeout, self, in->view)
FACT(connack_sent, self, in->view, in->number, in->number)
FACT(publish, self, in->view, in->msg)
FACT(ack, self, in->view, in->msg, 7)
FACT(ping, self, in->view)
FACT(heartbeat, self, pigeon_z("node"))
FACT(dropped, self, in->view, in->msg, in->number)
FACT(session_end, self, pigeon_z(in->text), in->number)
FACT(will_dropped, self, pigeon_z(in->text), in->msg, in->number)
FACT(error, self, -(int32_t)in->number, pigeon_z(in->text))
FACT(closed, self)

static void tell_subscribed(const pigeon_events *e, void *self, const struct check_input *in)
{
    struct {
        pigeon_sub sub;
        uint64_t newer; /* rows may be longer than ours */
    } rows[2] = { { in->sub, 0 }, { in->sub, 0 } };

    if (in->input == INPUT_NEW_HOST)
        rows[0].sub.size = rows[1].sub.size = sizeof(rows[0]);
    e->subscribed(self, in->view, &rows[0].sub, 2, sizeof(rows[0]));
}

static void tell_unsubscribed(const pigeon_events *e, void *self, const struct check_input *in)
{
    pigeon_str filters[2] = { in->sub.filter, pigeon_z("a/+/#") };

    e->unsubscribed(self, in->view, filters, 2);
}

/* may_lack_client: the fact names a client, which may be gone or never have been one. */
static const struct {
    const char *name;
    size_t offset;
    fact_fn tell;
    bool may_lack_client;
} facts[] = {
#define ROW(member, may_lack_client)                                             \
    {                                                                            \
#member, offsetof(pigeon_events, member), tell_##member, may_lack_client \
    }
    ROW(client, false),
    ROW(client_ready, false),
    ROW(client_disconnect, false),
    ROW(client_error, false),
    ROW(connection_error, false),
    ROW(keepalive_timeout, false),
    ROW(connack_sent, false),
    ROW(subscribed, false),
    ROW(unsubscribed, true),
    ROW(publish, true),
    ROW(ack, false),
    ROW(ping, false),
    ROW(heartbeat, false),
    ROW(dropped, true),
    ROW(session_end, false),
    ROW(will_dropped, false),
    ROW(error, false),
    ROW(closed, false),
#undef ROW
};
#define N_FACTS  ((uint32_t)(sizeof(facts) / sizeof(facts[0])))
#define COMMANDS (N_DECISIONS + N_FACTS)
#define BUS      (COMMANDS + 1)

static const void *iface(const pigeon_mock *m, const char *id)
{
    return plugin_iface(pigeon_mock_plugin(m), id);
}

/* A table in the plugin's size may end before the member. */
static bool reaches(const void *table, size_t offset)
{
    void (*fn)(void);
    uint32_t size;

    if (!table)
        return false;
    memcpy(&size, table, sizeof(size));
    if (size < offset + sizeof(fn))
        return false;
    memcpy(&fn, (const char *)table + offset, sizeof(fn));
    return fn != NULL;
}

uint32_t subject_count(void)
{
    return BUS + 1;
}

const char *subject_name(uint32_t subject)
{
    if (subject < N_DECISIONS)
        return decisions[subject].name;
    if (subject < COMMANDS)
        return facts[subject - N_DECISIONS].name;
    return subject == COMMANDS ? "commands" : "bus";
}

bool subject_is_there(const pigeon_mock *m, uint32_t subject)
{
    if (subject < N_DECISIONS)
        return reaches(iface(m, decisions[subject].is_flow ? PIGEON_IF_FLOW : PIGEON_IF_AUTH),
                       decisions[subject].offset);
    if (subject < COMMANDS)
        return reaches(iface(m, PIGEON_IF_EVENTS), facts[subject - N_DECISIONS].offset);
    return iface(m, subject == COMMANDS ? PIGEON_IF_CONTROL : PIGEON_IF_BUS) != NULL;
}

bool subject_may_lack_client(uint32_t subject)
{
    return subject >= N_DECISIONS && subject < COMMANDS &&
           facts[subject - N_DECISIONS].may_lack_client;
}

static void wait_for(pigeon_mock_ask *ask, const char *what)
{
    if (pigeon_mock_wait(ask, CHECK_ANSWER_MS) == PIGEON_PENDING)
        isolate_fail("%s was not answered within %d ms", what, CHECK_ANSWER_MS);
}

static void tell_commands(struct check_input *in)
{
    const pigeon_control *control = iface(in->mock, PIGEON_IF_CONTROL);
    static const char *const args[] = { "{}", "[]", "", "{\"name\":\"x\",\"n\":1}" };

    for (uint32_t i = 0; i <= control->ncommands; i++) {
        const char *name = i < control->ncommands ? plugin_command(control, i)->name : in->text;

        for (size_t k = 0; k < sizeof(args) / sizeof(args[0]); k++) {
            isolate_at("command %.60s with '%s'", name, args[k]);
            wait_for(pigeon_mock_command(in->mock, name, args[k]), "a command");
        }
    }
}

static void tell_bus(struct check_input *in)
{
    pigeon_parcel parcel = { .size = sizeof(parcel), .from = 1, .link_seq = 1 };

    isolate_at("bus open");
    wait_for(pigeon_mock_bus_open(in->mock, 1, 1 << 20), "open");
    parcel.kind = in->input == INPUT_UNKNOWN ? 99 : 0;
    parcel.topic = pigeon_z(in->topic);
    parcel.body = bytes_of(in, UINT32_MAX);
    isolate_at("bus send");
    wait_for(pigeon_mock_bus_send(in->mock, &parcel), "send");
}

void subject_tell(struct check_input *in, uint32_t subject)
{
    if (subject < COMMANDS)
        facts[subject - N_DECISIONS].tell(pigeon_mock_events(in->mock), pigeon_mock_self(in->mock),
                                          in);
    else if (subject == COMMANDS)
        tell_commands(in);
    else
        tell_bus(in);
}
