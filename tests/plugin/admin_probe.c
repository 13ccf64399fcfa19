/* admin_probe.c - everything of pigeon.admin/1 in the hands of a test: what is published to
 * probe/do/COMMAND is done, what comes of it is published to aaa/answer as one JSON object per
 * callback, behind "aaa": that is what the puppets (puppet.c) let pass.
 *
 * A payload is lines of KEY=VALUE; `id` comes back in each answer. SINGLE. */
#include <pigeon/plugin.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct self {
    const pigeon_host *h;
    const pigeon_admin *admin;
    pigeon_subscription *sub;
    struct order *orders; /* all of them: a cancelled one is told no end */
};

struct order {
    struct order *next;
    char id[32];
    char cancel_after; /* the first rows */
};

/* ---- JSON -------------------------------------------------------------------------------------
 */

struct json {
    char *at;
    size_t len, cap;
};

static void grow(struct json *j, size_t more)
{
    if (j->len + more + 1 <= j->cap)
        return;
    j->cap = (j->len + more + 1) * 2;
    j->at = realloc(j->at, j->cap);
    if (!j->at)
        abort();
}

static void put(struct json *j, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(struct json *j, const char *format, ...)
{
    va_list args, again;
    int n;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    grow(j, (size_t)n);
    vsnprintf(j->at + j->len, (size_t)n + 1, format, args);
    va_end(args);
    j->len += (size_t)n;
}

static void text(struct json *j, const char *key, const char *ptr, size_t len)
{
    if (!ptr) {
        put(j, "\"%s\":null,", key);
        return;
    }
    put(j, "\"%s\":\"", key);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)ptr[i];

        if (c == '"' || c == '\\' || c < 0x20 || c > 0x7e)
            put(j, "\\u%04x", c);
        else
            put(j, "%c", c);
    }
    put(j, "\",");
}

static void str(struct json *j, const char *key, pigeon_str s)
{
    text(j, key, s.ptr, s.len);
}

static void num(struct json *j, const char *key, int64_t n)
{
    put(j, "\"%s\":%lld,", key, (long long)n);
}

static void end(struct json *j, char c)
{
    if (j->len && j->at[j->len - 1] == ',')
        j->len--;
    put(j, "%c", c);
}

static void answer(struct self *s, struct json *j)
{
    static const char topic[] = "aaa/answer";
    pigeon_msg msg = { .size = sizeof(msg), .qos = 1 };

    msg.topic = (pigeon_str){ .ptr = topic, .len = sizeof(topic) - 1 };
    msg.payload = (pigeon_bytes){ .ptr = (const uint8_t *)j->at, .len = (uint32_t)j->len };
    s->h->publish(s->h->inst, &msg, NULL, NULL);
    free(j->at);
}

static struct json answer_to(const char *id)
{
    struct json j = { 0 };

    put(&j, "aaa{");
    text(&j, "id", id, strlen(id));
    return j;
}

/* ---- rows -------------------------------------------------------------------------------------
 */

static void row_client(struct json *j, const pigeon_client *c)
{
    if (!c)
        return;
    str(j, "username", c->username);
    str(j, "address", c->address);
    str(j, "listener", c->listener);
    num(j, "loop", c->loop);
    num(j, "protocol", c->protocol);
}

static void row_session(struct json *j, const void *at)
{
    const pigeon_session_row *r = at;

    str(j, "client_id", r->client_id);
    num(j, "connected", r->connected);
    num(j, "connected_ms", r->connected_ms);
    num(j, "subscriptions", r->subscriptions);
    num(j, "expiry", r->session_expiry_s);
    num(j, "expires_in_ms", (int64_t)r->expires_in_ms);
    num(j, "queued", (int64_t)r->queued_messages);
    num(j, "inflight", r->inflight);
    num(j, "durable", r->durable);
    num(j, "has_will", r->has_will);
    row_client(j, r->client);
}

static void row_subscription(struct json *j, const void *at)
{
    const pigeon_subscription_row *r = at;

    str(j, "client_id", r->client_id);
    str(j, "plugin", r->plugin);
    num(j, "connected", r->connected);
    str(j, "filter", r->sub->filter);
    str(j, "effective", r->sub->effective);
    str(j, "share", r->sub->share);
    num(j, "qos", r->sub->qos);
}

static void row_retained(struct json *j, const void *at)
{
    const pigeon_msg *m = ((const pigeon_retained_row *)at)->msg;

    str(j, "topic", m->topic);
    text(j, "payload", (const char *)m->payload.ptr, m->payload.len);
    num(j, "qos", m->qos);
}

static void row_plugin(struct json *j, const void *at)
{
    const pigeon_plugin_row *r = at;

    str(j, "name", r->name);
    str(j, "file", r->file);
    str(j, "plugin_id", r->id);
    str(j, "version", r->version);
    str(j, "interfaces", r->interfaces);
    str(j, "fault", r->fault);
    num(j, "state", r->state);
    num(j, "instances", r->instances);
    num(j, "run", r->run);
}

static void row_chain(struct json *j, const void *at)
{
    const pigeon_chain_row *r = at;

    num(j, "hook", r->hook);
    str(j, "listener", r->listener);
    str(j, "plugin", r->plugin);
    num(j, "entry", r->entry);
    num(j, "entries", r->entries);
    num(j, "control", r->control);
    num(j, "has_hook", r->has_hook);
    num(j, "deadline_ms", (int64_t)r->deadline_ms);
    num(j, "end", r->end);
    str(j, "only", r->only);
}

static void row_listener(struct json *j, const void *at)
{
    const pigeon_listener_row *r = at;

    str(j, "name", r->name);
    str(j, "bind", r->bind);
    num(j, "port", r->port);
    num(j, "transport", r->transport);
}

static void row_ban(struct json *j, const void *at)
{
    const pigeon_ban *r = at;

    num(j, "kind", r->kind);
    str(j, "value", r->value);
    str(j, "text", r->text);
    str(j, "by", r->by);
    num(j, "duration_ms", (int64_t)r->duration_ms);
    num(j, "hits", (int64_t)r->hits);
}

static void row_command(struct json *j, const void *at)
{
    const pigeon_command_row *r = at;

    str(j, "plugin", r->plugin);
    str(j, "name", r->name);
    str(j, "args", r->args);
    str(j, "help", r->help);
}

static void row_explain(struct json *j, const void *at)
{
    const pigeon_explain_row *r = at;

    num(j, "hook", r->hook);
    num(j, "entry", r->entry);
    num(j, "control", r->control);
    num(j, "by", r->by);
    num(j, "verdict", r->verdict);
    num(j, "reason", r->reason);
    num(j, "final", r->final);
    num(j, "outcome", r->outcome);
    num(j, "required", r->required);
    num(j, "ns", (int64_t)r->ns);
    str(j, "plugin", r->plugin);
    str(j, "text", r->text);
    num(j, "rewritten", r->rewritten);
    num(j, "qos", r->qos);
    num(j, "retain", r->retain);
    num(j, "payload_len", r->payload_len);
    str(j, "topic", r->topic);
    str(j, "client_id", r->client_id);
    str(j, "username", r->username);
}

static void row_trace(struct json *j, const void *at)
{
    const pigeon_trace_row *r = at;

    num(j, "kind", r->kind);
    str(j, "name", r->name);
    str(j, "client_id", r->client_id);
    num(j, "time_us", r->time_us);
    num(j, "type", r->type);
    num(j, "qos", r->qos);
    num(j, "retain", r->retain);
    num(j, "packet_id", r->packet_id);
    num(j, "reason", r->has_reason ? r->reason : -1);
    num(j, "size", r->packet_size);
    num(j, "payload_len", r->payload_len);
    str(j, "topic", r->topic);
    str(j, "text", r->text);
    str(j, "props", r->props);
    text(j, "payload", (const char *)r->payload.ptr, r->payload.len);
    str(j, "plugin", r->plugin);
    num(j, "verdict", r->verdict);
    num(j, "by", r->by);
}

static void (*const row_of[])(struct json *j, const void *row) = {
    [PIGEON_LIST_CLIENTS] = row_session,
    [PIGEON_LIST_SESSIONS] = row_session,
    [PIGEON_LIST_SUBSCRIPTIONS] = row_subscription,
    [PIGEON_LIST_RETAINED] = row_retained,
    [PIGEON_LIST_PLUGINS] = row_plugin,
    [PIGEON_LIST_CHAINS] = row_chain,
    [PIGEON_LIST_LISTENERS] = row_listener,
    [PIGEON_LIST_BANS] = row_ban,
    [PIGEON_LIST_COMMANDS] = row_command,
    [PIGEON_LIST_EXPLAIN] = row_explain,
    [PIGEON_LIST_TRACE] = row_trace,
};

static void on_rows(void *self, void *arg, pigeon_job job, const pigeon_rows *rows)
{
    struct self *s = self;
    struct order *o = arg;
    struct json j = answer_to(o->id);
    int is_last = rows->done || o->cancel_after;

    num(&j, "job", (int64_t)job);
    put(&j, "\"rows\":[");
    for (uint32_t i = 0; i < rows->n; i++) {
        put(&j, "{");
        row_of[rows->list](&j, pigeon_rows_at(rows, i));
        end(&j, '}');
        put(&j, ",");
    }
    end(&j, ']');
    put(&j, ",");
    num(&j, "done", rows->done);
    num(&j, "status", rows->status);
    num(&j, "dropped", (int64_t)rows->dropped);
    str(&j, "resume", rows->resume);
    str(&j, "text", rows->text);
    end(&j, '}');
    if (o->cancel_after && s->admin->cancel(s->h->inst, job) != PIGEON_OK && !rows->done)
        abort();
    answer(s, &j);
    if (is_last && s->admin->cancel(s->h->inst, job) != PIGEON_E_GONE)
        abort(); /* over is over */
}

static void on_reply(void *self, void *arg, pigeon_job job, int32_t status, pigeon_str json,
                     pigeon_str why)
{
    struct order *o = arg;
    struct json j = answer_to(o->id);

    num(&j, "job", (int64_t)job);
    num(&j, "status", status);
    num(&j, "len", json.len);
    if (json.len && json.len < 1000)
        put(&j, "\"reply\":%.*s,", (int)json.len, json.ptr);
    str(&j, "text", why);
    put(&j, "\"done\":1}");
    answer(self, &j);
}

static void on_done(void *self, void *arg, int32_t status)
{
    struct order *o = arg;
    struct json j = answer_to(o->id);

    num(&j, "status", status);
    put(&j, "\"done\":1}");
    answer(self, &j);
}

/* ---- orders -----------------------------------------------------------------------------------
 */

static pigeon_str value(const pigeon_msg *msg, const char *key)
{
    const char *at = (const char *)msg->payload.ptr, *stop = at + msg->payload.len;
    size_t len = strlen(key);

    while (at < stop) {
        const char *line = memchr(at, '\n', (size_t)(stop - at));

        line = line ? line : stop;
        if ((size_t)(line - at) > len && memcmp(at, key, len) == 0 && at[len] == '=')
            return (pigeon_str){ .ptr = at + len + 1,
                                 .len = (uint32_t)(line - at - (long)len - 1) };
        at = line + 1;
    }
    return (pigeon_str){ .ptr = NULL };
}

static uint64_t number(const pigeon_msg *msg, const char *key)
{
    pigeon_str s = value(msg, key);

    return s.ptr ? strtoull(s.ptr, NULL, 10) : 0;
}

static int32_t do_list(struct self *s, const pigeon_msg *m, struct order *o, pigeon_job *job)
{
    pigeon_query q = { .size = sizeof(q),
                       .list = (uint32_t)number(m, "list"),
                       .limit = (uint32_t)number(m, "limit"),
                       .resume = value(m, "resume"),
                       .client_id = value(m, "client_id"),
                       .pattern = value(m, "pattern"),
                       .username = value(m, "username"),
                       .address = value(m, "address"),
                       .listener = value(m, "listener"),
                       .topic = value(m, "topic"),
                       .filter = value(m, "filter"),
                       .plugin = value(m, "plugin") };

    return s->admin->list(s->h->inst, &q, on_rows, o, job);
}

static int32_t do_explain(struct self *s, const pigeon_msg *m, struct order *o, pigeon_job *job)
{
    pigeon_str payload = value(m, "payload"), password = value(m, "password");
    pigeon_question q = { .size = sizeof(q),
                          .action = (uint32_t)number(m, "action"),
                          .client_id = value(m, "client_id"),
                          .username = value(m, "username"),
                          .address = value(m, "address"),
                          .listener = value(m, "listener"),
                          .made_up = (uint32_t)number(m, "made_up"),
                          .qos = (uint32_t)number(m, "qos"),
                          .retain = (uint32_t)number(m, "retain"),
                          .topic = value(m, "topic") };

    q.payload = (pigeon_bytes){ .ptr = (const uint8_t *)payload.ptr, .len = payload.len };
    q.password = (pigeon_bytes){ .ptr = (const uint8_t *)password.ptr, .len = password.len };
    return s->admin->explain(s->h->inst, &q, on_rows, o, job);
}

static int32_t do_trace(struct self *s, const pigeon_msg *m, struct order *o, pigeon_job *job)
{
    pigeon_trace t = { .size = sizeof(t),
                       .payload_max = (uint32_t)number(m, "payload_max"),
                       .client_id = value(m, "client_id"),
                       .address = value(m, "address"),
                       .filter = value(m, "filter"),
                       .duration_ms = number(m, "duration_ms"),
                       .rate_max = (uint32_t)number(m, "rate_max"),
                       .rows_max = (uint32_t)number(m, "rows_max") };

    return s->admin->trace(s->h->inst, &t, on_rows, o, job);
}

static int32_t do_call(struct self *s, const pigeon_msg *m, struct order *o, pigeon_job *job)
{
    pigeon_call c = { .size = sizeof(c),
                      .timeout_ms = (uint32_t)number(m, "timeout_ms"),
                      .plugin = value(m, "plugin"),
                      .command = value(m, "command"),
                      .args = value(m, "args") };

    return s->admin->call(s->h->inst, &c, on_reply, o, job);
}

static int32_t do_ban(struct self *s, const pigeon_msg *m)
{
    pigeon_ban b = { .size = sizeof(b),
                     .kind = (uint32_t)number(m, "kind"),
                     .flags = (uint32_t)number(m, "kick"),
                     .duration_ms = number(m, "duration_ms"),
                     .value = value(m, "value"),
                     .text = value(m, "text") };

    return s->admin->ban(s->h->inst, &b);
}

/* 1: the answer comes from a callback. */
static int32_t obey(struct self *s, const char *what, const pigeon_msg *m, struct order *o,
                    pigeon_job *job)
{
    void *inst = s->h->inst;

    o->cancel_after = (char)number(m, "cancel_after");
    if (strcmp(what, "list") == 0)
        return do_list(s, m, o, job);
    if (strcmp(what, "explain") == 0)
        return do_explain(s, m, o, job);
    if (strcmp(what, "trace") == 0)
        return do_trace(s, m, o, job);
    if (strcmp(what, "call") == 0)
        return do_call(s, m, o, job);
    if (strcmp(what, "session_delete") == 0)
        return s->admin->session_delete(inst, value(m, "client_id"), on_done, o);
    if (strcmp(what, "retained_delete") == 0)
        return s->admin->retained_delete(inst, value(m, "filter"), on_done, o);
    if (strcmp(what, "cancel") == 0)
        return s->admin->cancel(inst, number(m, "job"));
    if (strcmp(what, "ban") == 0)
        return do_ban(s, m);
    if (strcmp(what, "unban") == 0)
        return s->admin->unban(inst, (uint32_t)number(m, "kind"), value(m, "value"));
    if (strcmp(what, "log_level") == 0)
        return s->admin->log_level(inst, (uint32_t)number(m, "level"));
    if (strcmp(what, "reload") == 0)
        return s->admin->reload(inst);
    return PIGEON_E_NOTSUP;
}

static int32_t on_order(void *self, void *arg, pigeon_token token, const pigeon_msg *msg)
{
    struct self *s = self;
    struct order *o = calloc(1, sizeof(*o));
    const char *what = msg->topic.ptr + strlen("probe/do/");
    pigeon_str id = value(msg, "id");
    char of[sizeof(o->id)];
    struct json j;
    pigeon_job job = 0;
    int32_t r;

    (void)arg;
    (void)token;
    if (!o)
        abort();
    o->next = s->orders;
    s->orders = o;
    snprintf(o->id, sizeof(o->id), "%.*s", (int)id.len, id.ptr ? id.ptr : "");
    snprintf(of, sizeof(of), "%s", o->id);
    r = obey(s, what, msg, o, &job);
    j = answer_to(of);
    num(&j, "began", r);
    num(&j, "job", (int64_t)job);
    end(&j, '}');
    answer(s, &j);
    return PIGEON_OK;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    static const char filter[] = "probe/do/+";
    struct self *s = calloc(1, sizeof(*s));
    pigeon_str f = { .ptr = filter, .len = sizeof(filter) - 1 };

    (void)conf;
    if (!s)
        return PIGEON_E_NOMEM;
    s->h = host;
    s->admin = host->get(host->inst, PIGEON_IF_ADMIN, PIGEON_ADMIN_SIZE_1);
    *out = s;
    if (!s->admin)
        return host->fail(host->inst, NULL, "no " PIGEON_IF_ADMIN);
    return host->subscribe(host->inst, f, 1, on_order, NULL, &s->sub);
}

static void destroy(void *self)
{
    struct self *s = self;

    while (s->orders) {
        struct order *o = s->orders;

        s->orders = o->next;
        free(o);
    }
    free(s);
}

/* Passwords are orders, too: R another client id, V no. */
static int32_t pre_connect(void *self, pigeon_req *req, const pigeon_connect *connect)
{
    struct self *s = self;
    static const pigeon_str other = { .ptr = "p0", .len = 2 };

    if (connect->password.len == 1 && connect->password.ptr[0] == 'R')
        s->h->set_clientid(req, other);
    if (connect->password.len != 1 || connect->password.ptr[0] != 'V')
        return PIGEON_NEXT;
    s->h->set_reason(req, 0x8a, "because I say so");
    return PIGEON_DENY;
}

static const pigeon_auth auth = { .size = sizeof(auth), .pre_connect = pre_connect };

static int32_t command(void *self, pigeon_req *req, pigeon_str name, pigeon_str args)
{
    struct self *s = self;

    (void)name;
    return s->h->reply(req, args);
}

static const pigeon_command commands[] = { { "echo", "ANYTHING", "gives its arguments back",
                                             NULL } };
static const pigeon_control control = { .size = sizeof(control),
                                        .commands = commands,
                                        .ncommands = PIGEON_COUNT(commands),
                                        .command_stride = sizeof(commands[0]),
                                        .command = command };

PIGEON_PLUGIN("org.pigeon-mqtt.test.probe", "1.0", "does what it is told", "MIT", PIGEON_F_SINGLE,
              (PIGEON_PROVIDES(PIGEON_IF_CONTROL, &control),
               PIGEON_PROVIDES(PIGEON_IF_AUTH, &auth)),
              .create = create, .destroy = destroy);
