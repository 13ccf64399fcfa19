#include "hooks/explain.h"
#include "hooks/ask_priv.h"
#include "hooks/host_admin.h"
#include "hooks/host_priv.h"
#include "mqtt/topic.h"
#include "wire/reason.h"
#include <stdlib.h>
#include <time.h>

/* ---- observers, for ask.c ------------------------------------------------------------ */

_Static_assert(ASK_BY_RULE == PIGEON_BY_RULE && ASK_BY_CACHE == PIGEON_BY_CACHE &&
                   ASK_BY_HOOK == PIGEON_BY_HOOK && ASK_BY_ONLY == PIGEON_BY_ONLY &&
                   ASK_BY_DEADLINE == PIGEON_BY_DEADLINE && ASK_BY_HOST == PIGEON_BY_HOST,
               "same numbers");

uint64_t ask_clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void ask_tell(const struct ask *ask, const struct step *step, int32_t verdict, bool is_final)
{
    struct ask_seen seen = { .step = step,
                             .verdict = verdict == ENTRY_SKIP ? PIGEON_NEXT : verdict,
                             .how = (enum ask_how)ask->how,
                             .is_final = is_final,
                             .ns = ask_clock_ns() - ask->seen_ns };

    ask->observer->seen(ask->observer, ask, &seen);
}

uint32_t explain_control(uint8_t control)
{
    switch (control) {
    case CONFIG_REQUIRE: return PIGEON_CONTROL_REQUIRE;
    case CONFIG_VETO: return PIGEON_CONTROL_VETO;
    default: return PIGEON_CONTROL_DECIDE;
    }
}

/* ---- the job ------------------------------------------------------------------------- */

struct explain {
    struct job job;
    struct mail mail;
    pigeon_rows_fn fn;
    struct arena texts; /* of the question */
    pigeon_question q;
    struct rows rows;
    int32_t status;
    /* [loop of the client] */
    struct hook_loop *hl;
    struct identity *who; /* reference of that loop */
    struct connect_info *connect;
    struct message *message;
    uint32_t listener;
    bool allows_anonymous, asking;
    struct ask ask;
    struct ask_observer observer;
    const void *last_object; /* message or subject as of the entry before */
};

static void explain_next(struct explain *e, uint32_t hook);

static void explain_free(struct job *job)
{
    struct explain *e = container_of(job, struct explain, job);

    if (e->q.password.ptr) /* a copy in `texts` */
        explicit_bzero((char *)(uintptr_t)e->q.password.ptr, e->q.password.len);
    rows_fini(&e->rows);
    arena_fini(&e->texts);
    free(e);
}

static void on_told(struct loop *here, struct mail *m)
{
    struct explain *e = container_of(m, struct explain, mail);
    pigeon_rows rows = { .done = 1, .status = e->status };

    (void)here;
    rows.resume.ptr = "";
    rows.text.ptr = e->status == PIGEON_OK ? "" : "out of memory";
    rows.text.len = (uint32_t)strlen(rows.text.ptr);
    job_tell(&e->job, e->fn, &e->rows, &rows);
    job_unref(&e->job);
}

/* Everything that belongs to the client's loop goes here. */
static void drop(struct explain *e)
{
    struct subject *info = e->connect ? &e->connect->base : NULL;

    subject_unref(&info);
    e->connect = NULL;
    message_unref(&e->message);
    identity_unref(&e->who);
}

static void finish(struct explain *e, int32_t status)
{
    drop(e);
    e->status = status == PIGEON_OK && e->rows.failed ? PIGEON_E_NOMEM : status;
    job_post_home(&e->job, &e->mail, on_told);
    job_unref(&e->job); /* that of the questions */
}

/* ---- rows ---------------------------------------------------------------------------- */

static struct str topic_of(const struct ask *ask)
{
    if (ask->hook == PIGEON_HOOK_AUTHORIZE_SUBSCRIBE) {
        const pigeon_sub *sub = &((const struct sub_info *)ask->subject)->view;

        return admin_str(sub->effective.len ? sub->effective : sub->filter);
    }
    return ask->message ? message_topic(ask->message) : STR_NULL;
}

/* What the entry left behind. */
static void put_object(struct explain *e, const struct ask *ask, pigeon_explain_row *row)
{
    const void *object = ask->message ? (const void *)ask->message : ask->subject;
    const struct identity *who = ask_who(ask);

    row->topic = rows_text(&e->rows, topic_of(ask));
    row->rewritten = e->last_object && object != e->last_object;
    e->last_object = object;
    if (ask->message) {
        row->qos = ask->message->view.qos;
        row->retain = ask->message->view.retain;
        row->payload_len = ask->message->view.payload.len;
    } else if (ask->hook == PIGEON_HOOK_AUTHORIZE_SUBSCRIBE) {
        row->qos = ((const struct sub_info *)ask->subject)->view.qos;
    } else if (who) {
        row->client_id = rows_text(&e->rows, admin_str(who->view.id));
        row->username = rows_text(&e->rows, admin_str(who->view.username));
    }
}

static void on_seen(struct ask_observer *observer, const struct ask *ask,
                    const struct ask_seen *seen)
{
    struct explain *e = container_of(observer, struct explain, observer);
    pigeon_explain_row *row = rows_add(&e->rows);

    if (!row)
        return;
    row->hook = ask->hook;
    row->entry = ask->entry;
    row->control = explain_control(seen->step->control);
    row->by = seen->how;
    row->verdict = seen->verdict;
    row->final = seen->is_final;
    row->required = ask->required_passed;
    row->ns = seen->ns;
    row->plugin = rows_z(&e->rows, seen->step->inst->plugin->name);
    /* `require` makes a denial of what abstains. */
    if (seen->verdict == PIGEON_DENY || (seen->is_final && ask->verdict == PIGEON_DENY)) {
        row->reason = ask->reason ? ask->reason : REASON_NOT_AUTHORIZED;
        row->text = rows_z(&e->rows, ask->text);
    }
    put_object(e, ask, row);
}

/* The last row of all: what happens. */
static void set_outcome(struct explain *e, int32_t outcome)
{
    pigeon_explain_row *row;

    if (!e->rows.n)
        return;
    row = (void *)(e->rows.mem + (size_t)(e->rows.n - 1) * e->rows.stride);
    row->final = 1;
    row->outcome = (uint32_t)outcome;
}

/* What no plugin says. */
static void add_core(struct explain *e, uint32_t by, int32_t verdict, uint8_t reason,
                     const char *text)
{
    pigeon_explain_row *row = rows_add(&e->rows);

    if (!row)
        return;
    row->hook = by == PIGEON_BY_END ? e->ask.hook : 0;
    row->by = by;
    row->verdict = verdict;
    row->reason = verdict == PIGEON_DENY ? reason : 0;
    row->final = 1;
    row->text = rows_z(&e->rows, text);
    if (by == PIGEON_BY_END) {
        row->entry = e->ask.entry;
        row->required = e->ask.required_passed;
        put_object(e, &e->ask, row);
    }
}

static void deny(struct explain *e, uint8_t reason, const char *text)
{
    add_core(e, PIGEON_BY_CORE, PIGEON_DENY, reason, text);
    set_outcome(e, PIGEON_DENY);
    finish(e, PIGEON_OK);
}

static void add_end(struct explain *e)
{
    const char *text = "nobody decided";

    if (e->ask.reserved)
        text = "topics that begin with $ need a plugin's consent";
    else if (e->ask.required_passed)
        text = "every `require` has passed";
    else if (e->ask.hook == PIGEON_HOOK_AUTHENTICATE && !e->ask.chain->configured)
        text = "allow_anonymous";
    else if (acl_access(e->ask.hook) && e->ask.hook != PIGEON_HOOK_AUTHORIZE_DELIVER &&
             !ask_is_configured(&e->ask))
        text = "default_access";
    add_core(e, PIGEON_BY_END, e->ask.verdict, e->ask.reason, text);
}

/* ---- one chain ----------------------------------------------------------------------- */

static void on_answer(struct ask *ask);

/* Takes subject and message; the answer comes to explain_next. */
static void put_question(struct explain *e, uint32_t hook, struct subject *m_subject,
                         struct message *m_message)
{
    e->last_object = m_message ? (const void *)m_message : m_subject;
    e->ask = (struct ask){ .hook = hook,
                           .who = e->who,
                           .subject = m_subject,
                           .message = m_message,
                           .listener = e->listener,
                           .denied_by_default = !e->allows_anonymous,
                           .observer = &e->observer,
                           .done = on_answer };
    e->asking = ask_run(e->hl, &e->ask) == ASK_WAIT;
    if (!e->asking)
        on_answer(&e->ask);
}

static void take_message(struct explain *e)
{
    struct message *m = ask_take_message(&e->ask);

    message_unref(&e->message);
    e->message = m;
}

/* As the broker does it after each of the connect hooks. */
static int32_t take_identity(struct explain *e)
{
    const struct ask_value *id = ask_value_last(&e->ask, VALUE_CLIENTID);
    const struct ask_value *user = ask_value_last(&e->ask, VALUE_USERNAME);
    struct identity_parts parts;
    struct identity *who;

    if (!id && !user)
        return PIGEON_OK;
    identity_parts(e->who, &parts);
    parts.id = id ? id->a : parts.id;
    parts.username = user ? user->a : parts.username;
    parts.has_username = parts.has_username || user;
    who = identity_new(&parts, e->who);
    if (!who)
        return PIGEON_E_NOMEM;
    identity_unref(&e->who);
    e->who = who;
    return PIGEON_OK;
}

static void on_answer(struct ask *ask)
{
    struct explain *e = container_of(ask, struct explain, ask);
    bool denied = ask->verdict != PIGEON_ALLOW;
    uint32_t hook = ask->hook;
    int32_t r = PIGEON_OK;

    e->asking = false;
    if (!ask->decided)
        add_end(e);
    if (ask->message)
        take_message(e);
    if (hook == PIGEON_HOOK_PRE_CONNECT || hook == PIGEON_HOOK_AUTHENTICATE) {
        struct subject *now = ask_take_subject(&e->ask);
        struct subject *old = e->connect ? &e->connect->base : NULL;

        subject_unref(&old);
        e->connect = (struct connect_info *)now;
        r = take_identity(e);
    }
    if (hook == PIGEON_HOOK_AUTHORIZE_SUBSCRIBE && !denied) {
        const struct ask_value *v = ask_value_last(&e->ask, VALUE_FILTER);

        denied = v && !topic_is_filter(v->a, (uint32_t)e->job.hooks->config->limits.topic_levels);
        if (denied) {
            ask_fini(&e->ask);
            deny(e, REASON_UNSPECIFIED_ERROR, "the filter set by a plugin is not valid");
            return;
        }
    }
    ask_fini(&e->ask);
    if (r != PIGEON_OK) {
        finish(e, r);
    } else if (denied) {
        set_outcome(e, PIGEON_DENY);
        finish(e, PIGEON_OK);
    } else {
        explain_next(e, hook);
    }
}

/* ---- PUBLISH, SUBSCRIBE, delivery ---------------------------------------------------- */

static struct message *make_message(struct explain *e)
{
    struct message_parts parts = {
        .topic = admin_str(e->q.topic),
        .payload = str_make(e->q.payload.ptr, e->q.payload.len),
        .publisher = identity_id(e->who),
        .publisher_user = admin_str(e->who->view.username),
        .qos = (uint8_t)e->q.qos,
        .retain = e->q.retain != 0,
        .origin = PIGEON_ORIGIN_CLIENT,
        .received_ms = (int64_t)loop_wall_ms(e->hl->loop),
    };

    return message_new(&parts);
}

/* Between `inbound` and authorization; publish.c does the same. */
static void after_inbound(struct explain *e)
{
    const struct config_limits *limits = &e->job.hooks->config->limits;
    struct str topic = message_topic(e->message);

    if (!topic_is_name(topic, (uint32_t)limits->topic_levels))
        deny(e, REASON_TOPIC_NAME_INVALID, "the topic is not valid");
    else if (str_starts(topic, STR("$SYS/")))
        deny(e, REASON_NOT_AUTHORIZED, "$SYS belongs to the broker");
    else
        put_question(e, PIGEON_HOOK_AUTHORIZE_PUBLISH, NULL, message_ref(e->message));
}

static void after_authorize(struct explain *e)
{
    const struct config_limits *limits = &e->job.hooks->config->limits;
    const pigeon_msg *m = &e->message->view;

    if (m->retain && limits->retained_size && m->payload.len > limits->retained_size) {
        deny(e, REASON_QUOTA_EXCEEDED, "above limits.retained_size");
        return;
    }
    set_outcome(e, PIGEON_ALLOW);
    finish(e, PIGEON_OK);
}

static void begin_message(struct explain *e)
{
    const struct config_limits *limits = &e->job.hooks->config->limits;
    struct str topic = admin_str(e->q.topic);

    if (topic.len > limits->topic_length || !topic_is_name(topic, (uint32_t)limits->topic_levels)) {
        deny(e, REASON_TOPIC_NAME_INVALID, "the topic is not valid");
        return;
    }
    e->message = make_message(e);
    if (!e->message)
        finish(e, PIGEON_E_NOMEM);
    else
        put_question(e,
                     e->q.action == PIGEON_EXPLAIN_DELIVER ? PIGEON_HOOK_AUTHORIZE_DELIVER
                                                           : PIGEON_HOOK_INBOUND,
                     NULL, message_ref(e->message));
}

static void begin_subscribe(struct explain *e)
{
    const struct config_limits *limits = &e->job.hooks->config->limits;
    struct str name = STR_NULL, filter = STR_NULL, text = admin_str(e->q.topic);
    enum topic_share shared = topic_split_share(text, &name, &filter);
    pigeon_str share = { .ptr = "" };
    pigeon_sub view = { .size = sizeof(view), .qos = (uint8_t)e->q.qos };
    struct sub_info *info;

    if (shared == TOPIC_SHARE_BAD || text.len > limits->topic_length ||
        !topic_is_filter(filter, (uint32_t)limits->topic_levels)) {
        deny(e, REASON_TOPIC_FILTER_INVALID, "the topic filter is not valid");
        return;
    }
    if (shared == TOPIC_SHARED)
        share = rows_text(&e->rows, name);
    view.share = share;
    view.filter = view.effective = (pigeon_str){ .ptr = filter.ptr, .len = filter.len };
    info = sub_info_new(&view);
    if (!info)
        finish(e, PIGEON_E_NOMEM);
    else
        put_question(e, PIGEON_HOOK_AUTHORIZE_SUBSCRIBE, &info->base, NULL);
}

/* ---- CONNECT ------------------------------------------------------------------------- */

static bool is_banned(struct explain *e)
{
    const struct admin_ops *ops = e->job.hooks->ops->admin;
    struct admin_who who = { .client_id = identity_id(e->who),
                             .username = admin_str(e->who->view.username),
                             .address = admin_str(e->who->view.address) };
    char text[128];

    if (!ops->is_banned(e->job.hooks->broker, &who, text, sizeof(text)))
        return false;
    deny(e, REASON_BANNED, text);
    return true;
}

/* Without a password an answer would say nothing: the entries are shown, not asked. */
static void list_chain(struct explain *e, uint32_t hook)
{
    const struct chain *c = hook_loop_chain(e->hl, e->listener, hook);

    for (uint32_t i = 0; i < c->n; i++) {
        pigeon_explain_row *row = rows_add(&e->rows);

        if (!row)
            return;
        row->hook = hook;
        row->entry = i;
        row->control = explain_control(c->steps[i].control);
        row->by = PIGEON_BY_UNASKED;
        row->plugin = rows_z(&e->rows, c->steps[i].inst->plugin->name);
    }
}

static void list_connect(struct explain *e)
{
    bool configured = hook_loop_chain(e->hl, e->listener, PIGEON_HOOK_AUTHENTICATE)->configured;
    pigeon_explain_row *row;

    list_chain(e, PIGEON_HOOK_PRE_CONNECT);
    list_chain(e, PIGEON_HOOK_AUTHENTICATE);
    row = rows_add(&e->rows);
    if (row) {
        row->hook = PIGEON_HOOK_AUTHENTICATE;
        row->by = PIGEON_BY_END;
        row->final = 1;
        row->verdict = configured || !e->allows_anonymous ? PIGEON_DENY : PIGEON_ALLOW;
        row->reason = row->verdict == PIGEON_DENY ? REASON_NOT_AUTHORIZED : 0;
        row->text = rows_z(&e->rows, configured ? "if nobody decides" : "allow_anonymous");
        row->outcome = configured ? 0 : (uint32_t)row->verdict;
    }
    finish(e, PIGEON_OK);
}

static void begin_connect(struct explain *e)
{
    const pigeon_question *q = &e->q;
    pigeon_connect view = { .size = sizeof(view),
                            .keepalive_s = 60,
                            .clean_start = 1,
                            .has_username = e->who->view.username.ptr != NULL,
                            .has_password = 1,
                            .request_problem_info = 1,
                            .receive_maximum = UINT16_MAX,
                            .password = q->password };

    if (is_banned(e))
        return;
    if (!q->password.ptr) {
        list_connect(e);
        return;
    }
    e->connect =
        connect_info_new(&view, identity_id(e->who), admin_str(e->who->view.username), NULL);
    if (!e->connect)
        finish(e, PIGEON_E_NOMEM);
    else
        put_question(e, PIGEON_HOOK_PRE_CONNECT, subject_ref(&e->connect->base), NULL);
}

/* ---- from one chain to the next ------------------------------------------------------ */

static void explain_next(struct explain *e, uint32_t hook)
{
    switch (hook) {
    case PIGEON_HOOK_PRE_CONNECT:
        if (!is_banned(e))
            put_question(e, PIGEON_HOOK_AUTHENTICATE, subject_ref(&e->connect->base), NULL);
        return;
    case PIGEON_HOOK_AUTHENTICATE:
        if (is_banned(e))
            return;
        break;
    case PIGEON_HOOK_INBOUND: after_inbound(e); return;
    case PIGEON_HOOK_AUTHORIZE_PUBLISH: after_authorize(e); return;
    default: break;
    }
    set_outcome(e, PIGEON_ALLOW);
    finish(e, PIGEON_OK);
}

/* ---- on the client's loop ------------------------------------------------------------ */

static struct identity *make_up(struct explain *e)
{
    struct hooks *hooks = e->job.hooks;
    const char *listener = e->q.listener.len ? e->q.listener.ptr : hooks->config->listeners[0].name;
    struct identity_parts parts = {
        .id = admin_str(e->q.client_id),
        .username = admin_str(e->q.username),
        .has_username = e->q.username.ptr != NULL,
        .address = e->q.address.len ? admin_str(e->q.address) : STR("127.0.0.1"),
        .listener = str_from(listener),
        .protocol = (uint8_t)(e->q.protocol ? e->q.protocol : 5),
        .flags = e->q.action == PIGEON_EXPLAIN_CONNECT ? 0 : PIGEON_CLIENT_ACCEPTED,
        .loop = e->hl->index,
        .keepalive_s = 60,
        .chains = hooks_listener(hooks, listener),
    };

    e->listener = parts.chains;
    e->allows_anonymous = hooks->ops->admin->allows_anonymous(hooks->broker, parts.listener);
    return identity_new(&parts, NULL);
}

static void on_explain(struct loop *here, struct mail *m)
{
    struct explain *e = container_of(m, struct explain, mail);
    struct hooks *hooks = e->job.hooks;
    struct identity *live = NULL;

    if (!job_may_tell(&e->job)) {
        job_unref(&e->job);
        return;
    }
    e->hl = hooks->loop[loop_index(here)];
    e->observer = (struct ask_observer){ .is_dry = true, .seen = on_seen };
    if (!e->q.made_up && e->q.client_id.len)
        live = hooks->ops->admin->find(hooks->broker, loop_index(here), admin_str(e->q.client_id),
                                       &e->allows_anonymous, &e->listener);
    e->who = live ? identity_ref(live) : make_up(e);
    if (!e->who) {
        finish(e, PIGEON_E_NOMEM);
        return;
    }
    switch (e->q.action) {
    case PIGEON_EXPLAIN_CONNECT: begin_connect(e); break;
    case PIGEON_EXPLAIN_SUBSCRIBE: begin_subscribe(e); break;
    default: begin_message(e); break;
    }
}

/* The plugins are still there: they learn that nobody waits. */
static void explain_stop(struct job *job)
{
    struct explain *e = container_of(job, struct explain, job);

    if (!e->asking)
        return;
    e->asking = false;
    ask_abandon(e->hl, &e->ask);
    drop(e);
    job_unref(job);
}

/* ---- the function of the table ------------------------------------------------------- */

static void copy_question(struct explain *e, const pigeon_question *question, bool *failed)
{
    pigeon_question *q = &e->q;
    pigeon_bytes *const bytes[] = { &q->payload, &q->password };

    memcpy(q, question, question->size < sizeof(*q) ? question->size : sizeof(*q));
    pigeon_str *const texts[] = { &q->client_id, &q->username, &q->address, &q->listener,
                                  &q->topic };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        *texts[i] = admin_dup(&e->texts, *texts[i], failed);
    for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
        pigeon_str copy = { .ptr = (const char *)bytes[i]->ptr, .len = bytes[i]->len };

        copy = admin_dup(&e->texts, copy, failed);
        bytes[i]->ptr = (const uint8_t *)copy.ptr;
    }
}

static int32_t judge(const struct explain *e)
{
    const pigeon_question *q = &e->q;
    const pigeon_str texts[] = { q->client_id, q->username, q->address, q->listener, q->topic };

    if (!e->job.hooks->ops->admin)
        return PIGEON_E_NOTSUP;
    if (q->action < PIGEON_EXPLAIN_CONNECT || q->action > PIGEON_EXPLAIN_DELIVER || q->qos > 2 ||
        (q->protocol && (q->protocol < 3 || q->protocol > 5)))
        return PIGEON_E_INVAL;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        int32_t r = texts[i].ptr ? host_check_text(texts[i]) : PIGEON_OK;

        if (r != PIGEON_OK)
            return r;
    }
    return PIGEON_OK;
}

int32_t admin_explain(void *inst, const pigeon_question *question, pigeon_rows_fn fn, void *arg,
                      pigeon_job *job)
{
    struct hooks *hooks = instance_of(inst)->hooks;
    struct explain *e;
    bool failed = false;
    int32_t r;

    if (!question || question->size < offsetof(pigeon_question, payload) || !fn)
        return PIGEON_E_INVAL;
    e = calloc(1, sizeof(*e));
    if (!e)
        return PIGEON_E_NOMEM;
    e->job = (struct job){
        .hooks = hooks, .inst = inst, .arg = arg, .stop = explain_stop, .free_fn = explain_free
    };
    e->fn = fn;
    arena_init(&e->texts);
    rows_init(&e->rows, PIGEON_LIST_EXPLAIN);
    copy_question(e, question, &failed);
    r = failed ? PIGEON_E_NOMEM : judge(e);
    if (r != PIGEON_OK) {
        explain_free(&e->job);
        return r;
    }
    r = job_start(&e->job, job);
    if (r != PIGEON_OK)
        return r;
    /* Its reference is that of the questions: finish drops it. */
    job_post(&e->job, hooks->ops->admin->home(hooks->broker, admin_str(e->q.client_id)), &e->mail,
             on_explain);
    job_unref(&e->job);
    return PIGEON_OK;
}
