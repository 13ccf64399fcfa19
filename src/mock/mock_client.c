/* Clients and messages as a test makes them, and the questions about them. */
#include "mock/mock_priv.h"
#include <stdlib.h>

/* ---- messages -------------------------------------------------------------------------------- */

static pigeon_str dup_str(struct arena *a, pigeon_str s)
{
    char *copy;

    if (!s.ptr)
        return (pigeon_str){ 0 };
    copy = arena_dup(a, str_make(s.ptr, s.len));
    if (!copy)
        abort();
    return (pigeon_str){ .ptr = copy, .len = s.len };
}

static pigeon_bytes dup_bytes(struct arena *a, pigeon_bytes b)
{
    pigeon_str s = dup_str(a, (pigeon_str){ .ptr = (const char *)b.ptr, .len = b.len });

    return (pigeon_bytes){ .ptr = (const uint8_t *)s.ptr, .len = s.len };
}

struct mock_msg *msg_new(pigeon_mock *m, const pigeon_msg *like)
{
    struct mock_msg *msg = mock_alloc(sizeof(*msg) + GROWN_BY);
    pigeon_msg view = *like;

    arena_init(&msg->text);
    view.size = mock_size(m, sizeof(view), FIRST_MSG);
    view.topic = dup_str(&msg->text, view.topic);
    view.payload = dup_bytes(&msg->text, view.payload);
    view.props = dup_bytes(&msg->text, view.props);
    view.publisher = dup_str(&msg->text, view.publisher);
    view.publisher_user = dup_str(&msg->text, view.publisher_user);
    memset((char *)&msg->view + sizeof(view), 0xa5, GROWN_BY);
    msg->view = view;
    msg->mock = m;
    msg->refs = 1;
    pthread_mutex_lock(&m->lock);
    list_append(&m->messages, &msg->link);
    pthread_mutex_unlock(&m->lock);
    return msg;
}

void msg_drop(struct mock_msg *msg)
{
    pigeon_mock *m;
    bool last;

    if (!msg)
        return;
    m = msg->mock;
    pthread_mutex_lock(&m->lock);
    last = --msg->refs == 0;
    if (last)
        list_remove(&msg->link);
    pthread_mutex_unlock(&m->lock);
    if (!last)
        return;
    arena_fini(&msg->text);
    memset(&msg->view, 0xdd, sizeof(msg->view));
    free(msg);
}

static struct mock_msg *msg_of(const pigeon_msg *view)
{
    return container_of((pigeon_msg *)(uintptr_t)view, struct mock_msg, view);
}

const pigeon_msg *mock_msg_ref(const pigeon_msg *view)
{
    struct mock_msg *msg = msg_of(view);

    pthread_mutex_lock(&msg->mock->lock);
    msg->refs++;
    pthread_mutex_unlock(&msg->mock->lock);
    return view;
}

void mock_msg_unref(const pigeon_msg *view)
{
    if (view)
        msg_drop(msg_of(view));
}

void messages_free(pigeon_mock *m)
{
    struct list *it;

    while ((it = list_pop(&m->messages)) != NULL) {
        struct mock_msg *msg = container_of(it, struct mock_msg, link);

        if (msg->refs > msg->of_test)
            mock_complain(m, "a message on %.*s was never given back (msg_unref)",
                          (int)msg->view.topic.len, msg->view.topic.ptr);
        arena_fini(&msg->text);
        free(msg);
    }
}

pigeon_msg *pigeon_mock_msg(pigeon_mock *m, const char *topic, const char *payload)
{
    pigeon_msg like = { .topic = pigeon_z(topic),
                        .payload = pigeon_data(payload, payload ? strlen(payload) : 0),
                        .publisher = pigeon_z("mock-publisher") };

    struct mock_msg *msg = msg_new(m, &like);
    msg->of_test = true;
    return &msg->view;
}

/* A copy for one question, unreferenced when that is over. */
static const pigeon_msg *ask_msg(pigeon_mock_ask *ask, uint32_t i, const pigeon_msg *like)
{
    ask->messages[i] = msg_new(ask->mock, like);
    return &ask->messages[i]->view;
}

/* ---- life of clients ------------------------------------------------------------------------- */

pigeon_mock_client *pigeon_mock_client_new(pigeon_mock *m, const char *id, const char *username)
{
    pigeon_mock_client *c = mock_alloc(sizeof(*c));
    static _Atomic uint64_t last_id;

    c->mock = m;
    c->view = (pigeon_client){ .size = sizeof(c->view),
                               .flags = PIGEON_CLIENT_LOOPBACK,
                               .conn_id = ++last_id,
                               .protocol = 5,
                               .transport = PIGEON_TRANSPORT_TCP,
                               .port = 50000,
                               .keepalive_s = 60,
                               .id = pigeon_z(id),
                               .address = pigeon_z("127.0.0.1"),
                               .listener = pigeon_z("mock") };
    if (username)
        c->view.username = pigeon_z(username);
    list_append(&m->clients, &c->link);
    return c;
}

pigeon_client *pigeon_mock_client_view(pigeon_mock_client *client)
{
    return &client->view;
}

void *pigeon_mock_client_slot(const pigeon_mock_client *client)
{
    return client->slot;
}

void exchange_end(pigeon_mock_client *c)
{
    pigeon_mock *m = c->mock;
    void *slot = c->exchange_slot;

    if (!slot)
        return;
    c->exchange_slot = NULL;
    if (m->auth.exchange_free)
        m->auth.exchange_free(m->self, slot);
    else
        mock_complain(m, "it leaves something in the slot of an exchange and has no exchange_free");
}

/* Nothing speaks of the client any more. */
static void client_end(pigeon_mock_client *c)
{
    pigeon_mock *m = c->mock;
    void *slot = c->slot;

    exchange_end(c);
    if (!slot)
        return;
    c->slot = NULL;
    if (m->desc.client_free && m->created)
        m->desc.client_free(m->self, slot);
    else
        mock_complain(m, m->created
                             ? "it leaves something in the slot of a client and has no client_free"
                             : "the slot of a client whose question was never completed is lost");
}

void client_unpin(pigeon_mock_client *c)
{
    if (--c->n_pinned == 0 && c->gone)
        client_end(c);
}

void pigeon_mock_client_gone(pigeon_mock_client *c)
{
    pigeon_mock *m = c->mock;

    if (c->gone)
        return;
    c->gone = true;
    c->n_pinned++; /* until all are cancelled */
    LIST_FOREACH (it, &m->asks) {
        pigeon_mock_ask *ask = container_of(it, struct pigeon_mock_ask, link);

        if (ask->client == c)
            pigeon_mock_cancel(ask, PIGEON_CANCEL_GONE);
    }
    client_unpin(c);
}

void clients_go(pigeon_mock *m)
{
    LIST_FOREACH (it, &m->clients)
        pigeon_mock_client_gone(container_of(it, struct pigeon_mock_client, link));
}

void clients_free(pigeon_mock *m)
{
    struct list *it;

    while ((it = list_pop(&m->clients)) != NULL) {
        pigeon_mock_client *c = container_of(it, struct pigeon_mock_client, link);

        if (c->slot || c->exchange_slot)
            mock_complain(m, "the slot of a client whose question was never completed is lost");
        free(c);
    }
}

/* ---- questions about a connection ------------------------------------------------------------ */

static const pigeon_connect *view_connect(pigeon_mock_ask *ask, const pigeon_connect *from)
{
    pigeon_connect copy = *from;

    copy.password = ask_bytes(ask, copy.password);
    copy.auth_method = ask_str(ask, copy.auth_method);
    copy.auth_data = ask_bytes(ask, copy.auth_data);
    copy.props = ask_bytes(ask, copy.props);
    if (copy.will)
        copy.will = ask_msg(ask, 1, copy.will);
    return ask_view(ask, &copy, sizeof(copy), FIRST_CONNECT);
}

static pigeon_connect plain_connect(const pigeon_mock_client *c)
{
    return (pigeon_connect){ .size = sizeof(pigeon_connect),
                             .keepalive_s = (uint16_t)c->view.keepalive_s,
                             .clean_start = 1,
                             .has_username = c->view.username.ptr != NULL,
                             .request_problem_info = 1,
                             .session_expiry_s = c->view.session_expiry_s,
                             .receive_maximum = 65535 };
}

static pigeon_mock_ask *ask_connect(pigeon_mock_client *c, uint32_t hook,
                                    int32_t (*fn)(void *, pigeon_req *, const pigeon_connect *),
                                    const pigeon_connect *connect)
{
    pigeon_mock_ask *ask = ask_new(c->mock, c, hook);
    pigeon_connect plain = plain_connect(c);

    if (!fn)
        return ask_unasked(ask);
    connect = view_connect(ask, connect ? connect : &plain);
    return ask_returned(ask, fn(c->mock->self, ask_req(ask), connect));
}

pigeon_mock_ask *pigeon_mock_pre_connect(pigeon_mock_client *c, const pigeon_connect *connect)
{
    return ask_connect(c, PIGEON_HOOK_PRE_CONNECT, c->mock->auth.pre_connect, connect);
}

pigeon_mock_ask *pigeon_mock_authenticate_with(pigeon_mock_client *c, const pigeon_connect *connect)
{
    return ask_connect(c, PIGEON_HOOK_AUTHENTICATE, c->mock->auth.authenticate, connect);
}

pigeon_mock_ask *pigeon_mock_authenticate(pigeon_mock_client *c, const char *password)
{
    pigeon_connect connect = plain_connect(c);

    connect.has_password = password != NULL;
    connect.password = pigeon_data(password, password ? strlen(password) : 0);
    return pigeon_mock_authenticate_with(c, &connect);
}

pigeon_mock_ask *pigeon_mock_exchange(pigeon_mock_client *c, uint32_t stage, const char *method,
                                      pigeon_bytes data)
{
    pigeon_mock *m = c->mock;
    pigeon_mock_ask *ask = ask_new(m, c, PIGEON_HOOK_EXCHANGE);
    pigeon_exchange view = { .stage = stage };

    if (!m->auth.exchange)
        return ask_unasked(ask);
    if (stage != PIGEON_STAGE_CONTINUE)
        exchange_end(c);
    view.method = ask_str(ask, pigeon_z(method));
    view.data = ask_bytes(ask, data);
    view.slot = &c->exchange_slot;
    const pigeon_exchange *shown = ask_view(ask, &view, sizeof(view), FIRST_EXCHANGE);
    return ask_returned(ask, m->auth.exchange(m->self, ask_req(ask), shown));
}

/* ---- questions about messages and filters ---------------------------------------------------- */

typedef int32_t (*message_fn)(void *self, pigeon_req *req, const pigeon_msg *msg);

static message_fn message_hook(const pigeon_mock *m, uint32_t hook)
{
    switch (hook) {
    case PIGEON_HOOK_AUTHORIZE_PUBLISH: return m->auth.authorize_publish;
    case PIGEON_HOOK_AUTHORIZE_WILL:
        return m->auth.authorize_will ? m->auth.authorize_will : m->auth.authorize_publish;
    case PIGEON_HOOK_AUTHORIZE_DELIVER: return m->auth.authorize_deliver;
    case PIGEON_HOOK_INBOUND: return m->flow.inbound;
    case PIGEON_HOOK_PUBLISHED: return m->flow.published;
    default: return NULL;
    }
}

pigeon_mock_ask *pigeon_mock_message(pigeon_mock *m, uint32_t hook, pigeon_mock_client *client,
                                     const pigeon_msg *msg)
{
    pigeon_mock_ask *ask = ask_new(m, client, hook);
    message_fn fn = message_hook(m, hook);
    pigeon_msg like = *msg;

    if (!fn)
        return ask_unasked(ask);
    if (hook == PIGEON_HOOK_AUTHORIZE_WILL)
        like.origin = PIGEON_ORIGIN_WILL;
    msg = ask_msg(ask, 0, &like);
    return ask_returned(ask, fn(m->self, ask_req(ask), msg));
}

static pigeon_mock_ask *message_z(pigeon_mock_client *c, uint32_t hook, const char *topic,
                                  const char *payload)
{
    pigeon_msg like = { .topic = pigeon_z(topic),
                        .payload = pigeon_data(payload, payload ? strlen(payload) : 0),
                        .publisher = c->view.id,
                        .publisher_user = c->view.username };

    return pigeon_mock_message(c->mock, hook, c, &like);
}

pigeon_mock_ask *pigeon_mock_authorize_publish(pigeon_mock_client *c, const char *topic,
                                               const char *payload)
{
    return message_z(c, PIGEON_HOOK_AUTHORIZE_PUBLISH, topic, payload);
}

pigeon_mock_ask *pigeon_mock_authorize_deliver(pigeon_mock_client *c, const char *topic,
                                               const char *payload)
{
    return message_z(c, PIGEON_HOOK_AUTHORIZE_DELIVER, topic, payload);
}

pigeon_mock_ask *pigeon_mock_inbound(pigeon_mock_client *c, const char *topic, const char *payload)
{
    return message_z(c, PIGEON_HOOK_INBOUND, topic, payload);
}

pigeon_mock_ask *pigeon_mock_published(pigeon_mock_client *c, const char *topic,
                                       const char *payload)
{
    return message_z(c, PIGEON_HOOK_PUBLISHED, topic, payload);
}

pigeon_mock_ask *pigeon_mock_authorize_subscribe_with(pigeon_mock *m, pigeon_mock_client *client,
                                                      const pigeon_sub *sub)
{
    pigeon_mock_ask *ask = ask_new(m, client, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE);
    pigeon_sub copy = *sub;

    if (!m->auth.authorize_subscribe)
        return ask_unasked(ask);
    copy.filter = ask_str(ask, copy.filter);
    copy.effective = ask_str(ask, copy.effective);
    copy.share = ask_str(ask, copy.share);
    const pigeon_sub *shown = ask_view(ask, &copy, sizeof(copy), FIRST_SUB);
    return ask_returned(ask, m->auth.authorize_subscribe(m->self, ask_req(ask), shown));
}

pigeon_mock_ask *pigeon_mock_authorize_subscribe(pigeon_mock_client *c, const char *filter,
                                                 uint32_t qos)
{
    pigeon_sub sub = { .filter = pigeon_z(filter),
                       .effective = pigeon_z(filter),
                       .share = pigeon_z(""),
                       .qos = (uint8_t)qos };

    return pigeon_mock_authorize_subscribe_with(c->mock, c, &sub);
}

pigeon_mock_ask *pigeon_mock_command(pigeon_mock *m, const char *name, const char *json)
{
    pigeon_mock_ask *ask = ask_new(m, NULL, PIGEON_HOOK_CONTROL);

    if (!m->control || !PIGEON_HAS(m->control, pigeon_control, command) || !m->control->command)
        return ask_unasked(ask);
    pigeon_str command = ask_str(ask, pigeon_z(name)), args = ask_str(ask, pigeon_z(json));
    return ask_returned(ask, m->control->command(m->self, ask_req(ask), command, args));
}
