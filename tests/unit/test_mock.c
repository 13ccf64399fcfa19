/* libpigeon-mock, with a plugin that does what the payload, password or filter tells it. */
#include "unit.h"
#include <pigeon-mock/mock.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

struct self {
    const pigeon_host *host;
    const pigeon_conf *conf;
    int64_t limit;
    pigeon_token held;
    pigeon_req *held_req;
    const pigeon_msg *kept;
    pigeon_watch *watch;
    pigeon_subscription *subscription;
    int ticks, cancelled, freed, posted, done_status, delivered, from_fd, exchange_freed;
    int32_t why, got;
};

static struct self *the; /* the instance of the case that runs */

static void on_tick(void *self, void *arg, pigeon_watch *watch, uint32_t events)
{
    (void)arg;
    (void)watch;
    (void)events;
    ((struct self *)self)->ticks++;
}

static void on_fd(void *self, void *arg, pigeon_watch *watch, uint32_t events)
{
    char byte;

    (void)watch;
    (void)events;
    ((struct self *)self)->from_fd += (int)read(*(int *)arg, &byte, 1);
}

static void on_post(void *self, void *arg)
{
    (void)arg;
    ((struct self *)self)->posted++;
}

static void on_done(void *self, void *arg, int32_t status)
{
    (void)arg;
    ((struct self *)self)->done_status = status;
}

static int32_t on_deliver(void *self, void *arg, pigeon_token token, const pigeon_msg *msg)
{
    (void)arg;
    (void)token;
    (void)msg;
    ((struct self *)self)->delivered++;
    return PIGEON_OK;
}

static void *call_from_elsewhere(void *arg)
{
    struct self *s = arg;

    s->got =
        s->host->subscribe(s->host->inst, pigeon_z("t"), 0, on_deliver, NULL, &s->subscription);
    return NULL;
}

static void *complete_from_elsewhere(void *arg)
{
    struct self *s = arg;

    s->got = s->host->complete(s->host->inst, s->held, PIGEON_ALLOW);
    return NULL;
}

static void elsewhere(struct self *s, void *(*fn)(void *))
{
    pthread_t thread;

    assert_int_equal(pthread_create(&thread, NULL, fn, s), 0);
    pthread_join(thread, NULL);
}

static int32_t hold(struct self *s, pigeon_req *req)
{
    s->held = req->token;
    s->held_req = req;
    return PIGEON_PENDING;
}

static int32_t obey(struct self *s, pigeon_req *req, pigeon_str order)
{
    const pigeon_host *h = s->host;

    switch (order.len ? order.ptr[0] : 'n') {
    case 'a': return PIGEON_ALLOW;
    case 'd': h->set_reason(req, 0x87, "not you"); return PIGEON_DENY;
    case '9': return 99;
    case 'H': return hold(s, req);
    case 'E': h->complete(h->inst, req->token, PIGEON_ALLOW); return PIGEON_PENDING;
    case 'W': h->complete(h->inst, req->token, PIGEON_DENY); return PIGEON_ALLOW;
    case 's': *req->client_slot = malloc(4); return PIGEON_ALLOW;
    case 'q': h->set_qos(req, 3); return PIGEON_ALLOW;
    case 'r':
        h->set_topic(req, pigeon_z("other"));
        h->set_payload(req, pigeon_data("xyz", 3));
        h->set_qos(req, 2);
        return PIGEON_NEXT;
    case 'g':
        h->acl_add(req, pigeon_z("own/#"), PIGEON_ACL_ALL, PIGEON_ALLOW);
        h->acl_add(req, pigeon_z("#"), PIGEON_ACL_PUBLISH, PIGEON_DENY);
        return PIGEON_ALLOW;
    default: return PIGEON_NEXT;
    }
}

static int32_t authenticate(void *self, pigeon_req *req, const pigeon_connect *connect)
{
    return obey(self, req, pigeon_text((const char *)connect->password.ptr, connect->password.len));
}

static int32_t exchange(void *self, pigeon_req *req, const pigeon_exchange *exchange_)
{
    struct self *s = self;

    if (exchange_->stage == PIGEON_STAGE_CONNECT) {
        *exchange_->slot = malloc(4);
        s->host->set_auth(req, pigeon_data("salt", 4));
        return PIGEON_CONTINUE;
    }
    return *exchange_->slot ? PIGEON_ALLOW : PIGEON_DENY;
}

static void exchange_free(void *self, void *slot)
{
    ((struct self *)self)->exchange_freed++;
    free(slot);
}

static int32_t message(void *self, pigeon_req *req, const pigeon_msg *msg)
{
    struct self *s = self;

    if (msg->payload.len && msg->payload.ptr[0] == 'k')
        s->kept = s->host->msg_ref(msg);
    return obey(s, req, pigeon_text((const char *)msg->payload.ptr, msg->payload.len));
}

static int32_t command(void *self, pigeon_req *req, pigeon_str name, pigeon_str args)
{
    struct self *s = self;

    (void)args;
    if (!pigeon_eq(name, pigeon_z("hello")))
        return PIGEON_E_NOTSUP;
    return s->host->reply(req, pigeon_z("{\"hello\":true}"));
}

static void on_client(void *self, const pigeon_client *client)
{
    pigeon_logf(((struct self *)self)->host, PIGEON_LOG_INFO, "came %s", client->id.ptr);
}

static void cancel(void *self, pigeon_token token, int32_t why)
{
    (void)token;
    ((struct self *)self)->cancelled++;
    ((struct self *)self)->why = why;
}

static void client_free(void *self, void *slot)
{
    ((struct self *)self)->freed++;
    free(slot);
}

static int32_t check(const pigeon_host *host, const pigeon_conf *conf)
{
    if (host->conf_int(conf, "limit") == 13)
        return (host->fail)(host->inst, "limit", "brings bad luck");
    return PIGEON_OK;
}

static int32_t create(const pigeon_host *host, const pigeon_conf *conf, void **out)
{
    the = calloc(1, sizeof(*the));
    the->host = host;
    the->conf = conf;
    the->limit = host->conf_int(conf, "limit");
    *out = the;
    return PIGEON_OK;
}

static int32_t prepare(void *self, const pigeon_conf *conf, void **next)
{
    struct self *s = self;
    int64_t limit = s->host->conf_int(conf, "limit");

    if (limit == 14)
        return (s->host->fail)(s->host->inst, "limit", "not now");
    *next = malloc(sizeof(limit));
    memcpy(*next, &limit, sizeof(limit));
    return PIGEON_OK;
}

static void commit(void *self, void *next)
{
    memcpy(&((struct self *)self)->limit, next, sizeof(int64_t));
    free(next);
}

static void drop(void *self, void *next)
{
    (void)self;
    free(next);
}

static const pigeon_option options[] = {
    { .key = "limit",
      .type = PIGEON_T_INT,
      .preset = "7",
      .flags = PIGEON_O_RELOAD,
      .min = 1,
      .max = 20,
      .doc = "a number" },
    { .key = "users", .type = PIGEON_T_LIST, .doc = "who" },
    { .key = "colour", .type = PIGEON_T_ENUM, .allowed = "red|green", .preset = "red", .doc = "x" },
    { .key = "wait", .type = PIGEON_T_TIME, .preset = "2s", .doc = "x" },
};
static const pigeon_auth auth = {
    .size = sizeof(auth),
    .authenticate = authenticate,
    .exchange = exchange,
    .exchange_free = exchange_free,
    .authorize_publish = message,
};
static const pigeon_flow flow = { .size = sizeof(flow), .inbound = message };
static const pigeon_events events = { .size = sizeof(events), .client = on_client };
static const pigeon_command commands[] = { { .name = "hello", .args = "", .help = "greets" } };
static const pigeon_control control = { .size = sizeof(control),
                                        .commands = commands,
                                        .ncommands = 1,
                                        .command_stride = sizeof(commands[0]),
                                        .command = command };
static const pigeon_iface ifaces[] = { { PIGEON_IF_AUTH, &auth },
                                       { PIGEON_IF_FLOW, &flow },
                                       { PIGEON_IF_EVENTS, &events },
                                       { PIGEON_IF_CONTROL, &control } };
static const pigeon_plugin plugin = { .magic = PIGEON_MAGIC,
                                      .size = sizeof(plugin),
                                      .abi_major = PIGEON_ABI_MAJOR,
                                      .id = "test",
                                      .version = "1",
                                      .summary = "obeys",
                                      .license = "MIT",
                                      .provides = ifaces,
                                      .nprovides = PIGEON_COUNT(ifaces),
                                      .options = options,
                                      .noptions = PIGEON_COUNT(options),
                                      .option_stride = sizeof(options[0]),
                                      .check = check,
                                      .create = create,
                                      .destroy = free,
                                      .prepare = prepare,
                                      .commit = commit,
                                      .abort = drop,
                                      .cancel = cancel,
                                      .client_free = client_free };

static int setup(void **state)
{
    pigeon_mock *m = pigeon_mock_new();

    assert_int_equal(pigeon_mock_use(m, &plugin), PIGEON_OK);
    assert_int_equal(pigeon_mock_create(m), PIGEON_OK);
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    pigeon_mock *m = *state;

    pigeon_mock_free(&m);
    return 0;
}

static void complained(pigeon_mock *m, const char *what)
{
    const char *text;

    for (uint32_t i = 0; (text = pigeon_mock_complaint(m, i)) != NULL; i++)
        if (strstr(text, what))
            return;
    fail_msg("nobody complained of \"%s\"", what);
}

static int32_t password(pigeon_mock *m, const char *text)
{
    return pigeon_mock_verdict(
        pigeon_mock_authenticate(pigeon_mock_client_new(m, "bird", "alice"), text));
}

/* ---- answers --------------------------------------------------------------------------------- */

static void verdicts_come_back(void **state)
{
    pigeon_mock *m = *state;
    pigeon_mock_client *c = pigeon_mock_client_new(m, "bird", NULL);
    pigeon_mock_ask *ask = pigeon_mock_authorize_publish(c, "t", "d");

    assert_int_equal(password(m, "a"), PIGEON_ALLOW);
    assert_int_equal(password(m, "n"), PIGEON_NEXT);
    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_DENY);
    assert_int_equal(pigeon_mock_reason(ask), 0x87);
    assert_string_equal(pigeon_mock_reason_text(ask), "not you");
    assert_int_equal(pigeon_mock_complaints(m), 0);
}

static void a_hook_that_is_not_there_is_not_asked(void **state)
{
    pigeon_mock *m = *state;
    pigeon_mock_client *c = pigeon_mock_client_new(m, "bird", NULL);
    pigeon_mock_ask *ask = pigeon_mock_authorize_subscribe(c, "a/#", 1);
    pigeon_msg *will = pigeon_mock_msg(m, "w", "d");

    assert_false(pigeon_mock_was_asked(ask));
    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_NEXT);
    ask = pigeon_mock_message(m, PIGEON_HOOK_AUTHORIZE_WILL, NULL, will);
    assert_true(pigeon_mock_was_asked(ask)); /* through authorize_publish */
    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_DENY);
}

static void a_number_that_is_no_verdict_denies(void **state)
{
    pigeon_mock *m = *state;

    assert_int_equal(password(m, "9"), PIGEON_DENY);
    complained(m, "99");
}

static void setters_can_be_read_back(void **state)
{
    pigeon_mock *m = *state;
    pigeon_mock_client *c = pigeon_mock_client_new(m, "bird", NULL);
    pigeon_mock_ask *ask = pigeon_mock_inbound(c, "t", "r");

    assert_string_equal(pigeon_mock_text(ask, PIGEON_MOCK_TOPIC), "other");
    assert_string_equal(pigeon_mock_text(ask, PIGEON_MOCK_PAYLOAD), "xyz");
    assert_int_equal(pigeon_mock_number(ask, PIGEON_MOCK_QOS), 2);
    assert_null(pigeon_mock_text(ask, PIGEON_MOCK_FILTER));
    assert_int_equal(pigeon_mock_set(ask, PIGEON_MOCK_PAYLOAD, 0)->text.len, 3);
    assert_null(pigeon_mock_set(ask, PIGEON_MOCK_PAYLOAD, 1));
}

static void pushed_rules_answer_for_topics(void **state)
{
    pigeon_mock *m = *state;
    pigeon_mock_client *c = pigeon_mock_client_new(m, "bird", "alice");
    pigeon_mock_ask *ask = pigeon_mock_authenticate(c, "g");

    assert_int_equal(pigeon_mock_acl(ask, PIGEON_ACL_PUBLISH, "own/x"), PIGEON_ALLOW);
    assert_int_equal(pigeon_mock_acl(ask, PIGEON_ACL_PUBLISH, "x"), PIGEON_DENY);
    assert_int_equal(pigeon_mock_acl(ask, PIGEON_ACL_DELIVER, "x"), PIGEON_NEXT);
}

static void a_setter_that_fails_denies(void **state)
{
    pigeon_mock *m = *state;
    pigeon_mock_client *c = pigeon_mock_client_new(m, "bird", NULL);
    pigeon_mock_ask *ask = pigeon_mock_inbound(c, "t", "q");

    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_DENY);
    assert_true(pigeon_mock_setter_failed(ask));
    pigeon_mock_fail(m, PIGEON_MOCK_FAIL_SETTER, 2, PIGEON_E_NOMEM);
    ask = pigeon_mock_inbound(c, "t", "r");
    assert_non_null(pigeon_mock_text(ask, PIGEON_MOCK_TOPIC));
    assert_null(pigeon_mock_text(ask, PIGEON_MOCK_PAYLOAD));
    assert_int_equal(pigeon_mock_number(ask, PIGEON_MOCK_QOS), 2);
    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_DENY);
    assert_int_equal(pigeon_mock_complaints(m), 0); /* the value is at fault, not the contract */
}

static void a_setter_that_does_not_go_with_the_hook_is_a_complaint(void **state)
{
    pigeon_mock *m = *state;
    pigeon_mock_client *c = pigeon_mock_client_new(m, "bird", NULL);

    assert_int_equal(pigeon_mock_verdict(pigeon_mock_authorize_publish(c, "t", "r")), PIGEON_DENY);
    complained(m, "set_topic does not go with authorize_publish");
}

static void facts_are_told(void **state)
{
    pigeon_mock *m = *state;
    uint32_t level = 99;

    PIGEON_MOCK_TELL(m, client, pigeon_mock_client_view(pigeon_mock_client_new(m, "bird", NULL)));
    PIGEON_MOCK_TELL(m, ping, pigeon_mock_client_view(pigeon_mock_client_new(m, "b", NULL)));
    assert_true(pigeon_mock_logged(m, "came bird"));
    assert_string_equal(pigeon_mock_log(m, 0, &level), "came bird");
    assert_int_equal(level, PIGEON_LOG_INFO);
    assert_null(pigeon_mock_log(m, 1, NULL));
}

static void commands_reply(void **state)
{
    pigeon_mock *m = *state;
    pigeon_mock_ask *ask = pigeon_mock_command(m, "hello", "{}");

    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_OK);
    assert_string_equal(pigeon_mock_text(ask, PIGEON_MOCK_REPLY), "{\"hello\":true}");
    assert_int_equal(pigeon_mock_verdict(pigeon_mock_command(m, "bye", "{}")), PIGEON_E_NOTSUP);
}

static void an_exchange_has_a_slot_until_it_ends(void **state)
{
    pigeon_mock *m = *state;
    pigeon_mock_client *c = pigeon_mock_client_new(m, "bird", NULL);
    pigeon_mock_ask *ask =
        pigeon_mock_exchange(c, PIGEON_STAGE_CONNECT, "SCRAM", pigeon_data("x", 1));

    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_CONTINUE);
    assert_string_equal(pigeon_mock_text(ask, PIGEON_MOCK_AUTH), "salt");
    assert_int_equal(the->exchange_freed, 0);
    ask = pigeon_mock_exchange(c, PIGEON_STAGE_CONTINUE, "SCRAM", pigeon_data("y", 1));
    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_ALLOW);
    assert_int_equal(the->exchange_freed, 1);
    pigeon_mock_exchange(c, PIGEON_STAGE_CONNECT, "SCRAM", pigeon_data("x", 1));
    pigeon_mock_client_gone(c);
    assert_int_equal(the->exchange_freed, 2);
}

/* ---- late answers ---------------------------------------------------------------------------- */

static pigeon_mock_ask *held(pigeon_mock *m, pigeon_mock_client **r_client)
{
    pigeon_mock_client *c = pigeon_mock_client_new(m, "bird", NULL);
    pigeon_mock_ask *ask = pigeon_mock_authorize_publish(c, "t", "H");

    if (r_client)
        *r_client = c;
    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_PENDING);
    return ask;
}

static void an_answer_may_come_later(void **state)
{
    pigeon_mock *m = *state;
    pigeon_mock_ask *ask = held(m, NULL);

    assert_int_equal(pigeon_mock_pending(m), 1);
    assert_int_equal(the->host->complete(the->host->inst, the->held, PIGEON_ALLOW), PIGEON_OK);
    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_ALLOW);
    assert_int_equal(pigeon_mock_completed(ask), 1);
    assert_int_equal(pigeon_mock_pending(m), 0);
}

static void an_answer_may_come_from_another_thread(void **state)
{
    pigeon_mock *m = *state;
    pigeon_mock_ask *ask = held(m, NULL);

    elsewhere(the, complete_from_elsewhere);
    assert_int_equal(pigeon_mock_wait(ask, 1000), PIGEON_ALLOW);
    assert_int_equal(pigeon_mock_complaints(m), 0);
}

static void an_answer_may_come_before_the_return(void **state)
{
    pigeon_mock *m = *state;

    assert_int_equal(password(m, "E"), PIGEON_ALLOW);
    assert_int_equal(pigeon_mock_complaints(m), 0);
    assert_int_equal(password(m, "W"), PIGEON_DENY);
    complained(m, "by return");
}

static void a_second_answer_is_a_complaint(void **state)
{
    pigeon_mock *m = *state;
    pigeon_mock_ask *ask = held(m, NULL);

    the->host->complete(the->host->inst, the->held, PIGEON_ALLOW);
    assert_int_equal(the->host->complete(the->host->inst, the->held, PIGEON_DENY), PIGEON_E_GONE);
    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_ALLOW);
    complained(m, "completed 2 times");
    assert_int_equal(the->host->complete(the->host->inst, 4711, PIGEON_DENY), PIGEON_E_GONE);
    complained(m, "nobody gave");
}

static void a_deadline_cancels(void **state)
{
    pigeon_mock *m = *state;
    pigeon_mock_ask *ask = held(m, NULL);

    pigeon_mock_advance_ms(m, 4999);
    assert_int_equal(the->cancelled, 0);
    pigeon_mock_advance_ms(m, 1);
    assert_int_equal(the->cancelled, 1);
    assert_int_equal(the->why, PIGEON_CANCEL_DEADLINE);
    assert_int_equal(pigeon_mock_verdict(ask), PIGEON_DENY);
    assert_int_equal(pigeon_mock_pending(m), 1); /* complete() is owed */
    assert_int_equal(the->host->complete(the->host->inst, the->held, PIGEON_ALLOW), PIGEON_E_GONE);
    assert_int_equal(pigeon_mock_pending(m), 0);
    assert_int_equal(pigeon_mock_complaints(m), 0);
}

static void a_client_that_goes_is_freed_after_its_last_answer(void **state)
{
    pigeon_mock *m = *state;
    pigeon_mock_client *c;

    held(m, &c);
    pigeon_mock_authenticate(c, "s");
    assert_non_null(pigeon_mock_client_slot(c));
    pigeon_mock_client_gone(c);
    assert_int_equal(the->why, PIGEON_CANCEL_GONE);
    assert_int_equal(the->freed, 0);
    the->host->complete(the->host->inst, the->held, PIGEON_ALLOW);
    pigeon_mock_run(m);
    assert_int_equal(the->freed, 1);
    assert_int_equal(pigeon_mock_complaints(m), 0);
}

static void what_is_never_answered_is_a_complaint(void **state)
{
    pigeon_mock *m = pigeon_mock_new();

    (void)state;
    pigeon_mock_use(m, &plugin);
    pigeon_mock_create(m);
    held(m, NULL);
    pigeon_mock_finish(m);
    assert_int_equal(pigeon_mock_pending(m), 1);
    pigeon_mock_free(&m);
    assert_null(m);
}

static void a_request_is_nonsense_after_its_answer(void **state)
{
    pigeon_mock *m = *state;

    held(m, NULL);
    the->host->complete(the->host->inst, the->held, PIGEON_ALLOW);
    pigeon_mock_run(m);
    assert_int_equal(the->held_req->token, UINT64_C(0xdddddddddddddddd));
    assert_int_equal(the->host->set_reason(the->held_req, 0x87, "late"), PIGEON_E_GONE);
    complained(m, "after the answer");
}

static void a_message_that_is_kept_outlives_the_question(void **state)
{
    pigeon_mock *m = *state;
    pigeon_mock_client *c = pigeon_mock_client_new(m, "bird", NULL);

    pigeon_mock_authorize_publish(c, "topic/x", "k");
    assert_string_equal(the->kept->topic.ptr, "topic/x");
    the->host->msg_unref(the->kept);
}

/* ---- the loop -------------------------------------------------------------------------------- */

static void timers_run_at_their_time(void **state)
{
    pigeon_mock *m = *state;
    const pigeon_host *h = the->host;
    pigeon_watch *w = h->timer(h->inst, 1000000000, 500000000, on_tick, NULL);
    int64_t begin = h->now_ns(h->inst);

    pigeon_mock_advance_ms(m, 999);
    assert_int_equal(the->ticks, 0);
    pigeon_mock_advance_ms(m, 1);
    assert_int_equal(the->ticks, 1);
    pigeon_mock_advance_ms(m, 1000);
    assert_int_equal(the->ticks, 3);
    assert_int_equal(pigeon_mock_timers(m), 1);
    h->unwatch(w);
    pigeon_mock_advance_ms(m, 1000);
    assert_int_equal(the->ticks, 3);
    assert_int_equal(h->now_ns(h->inst) - begin, INT64_C(3000000000));
}

static void descriptors_are_watched(void **state)
{
    pigeon_mock *m = *state;
    const pigeon_host *h = the->host;
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    pigeon_watch *w = h->fd(h->inst, ends[0], PIGEON_FD_READ, on_fd, &ends[0]);
    pigeon_mock_run(m);
    assert_int_equal(the->from_fd, 0);
    assert_int_equal(write(ends[1], "x", 1), 1);
    pigeon_mock_run(m);
    assert_int_equal(the->from_fd, 1);
    h->unwatch(w);
    close(ends[0]);
    close(ends[1]);
}

static void posts_run_in_the_next_turn(void **state)
{
    pigeon_mock *m = *state;
    const pigeon_host *h = the->host;

    assert_int_equal(h->post(h->inst, on_post, NULL), PIGEON_OK);
    assert_int_equal(the->posted, 0);
    pigeon_mock_run(m);
    assert_int_equal(the->posted, 1);
    pigeon_mock_fail(m, PIGEON_MOCK_FAIL_POST, 1, PIGEON_E_NOMEM);
    assert_int_equal(h->post(h->inst, on_post, NULL), PIGEON_E_NOMEM);
    assert_int_equal(h->post(h->inst, on_post, NULL), PIGEON_OK);
}

static void loop_functions_on_other_threads_are_refused(void **state)
{
    pigeon_mock *m = *state;

    elsewhere(the, call_from_elsewhere);
    assert_int_equal(the->got, PIGEON_E_THREAD);
    complained(m, "host->subscribe was called from another thread");
}

static void what_a_plugin_does_is_kept(void **state)
{
    pigeon_mock *m = *state;
    const pigeon_host *h = the->host;
    pigeon_msg *msg = pigeon_mock_msg(m, "a/b", "hello");

    msg->retain = 1;
    the->done_status = 99;
    pigeon_mock_set_publish_status(m, PIGEON_E_FULL);
    assert_int_equal(h->publish(h->inst, msg, on_done, NULL), PIGEON_OK);
    assert_int_equal(the->done_status, 99);
    pigeon_mock_run(m);
    assert_int_equal(the->done_status, PIGEON_E_FULL);
    const pigeon_mock_act *act = pigeon_mock_did(m, PIGEON_MOCK_DID_PUBLISH, 0);
    assert_string_equal(act->text.ptr, "a/b");
    assert_string_equal(act->more.ptr, "hello");
    assert_int_equal(act->retain, 1);
    assert_int_equal(h->publish(h->inst, pigeon_mock_msg(m, "a/#", ""), NULL, NULL),
                     PIGEON_E_INVAL);
    pigeon_mock_fail(m, PIGEON_MOCK_FAIL_PUBLISH, 0, PIGEON_E_NOMEM);
    assert_int_equal(h->publish(h->inst, msg, NULL, NULL), PIGEON_E_NOMEM);
    assert_int_equal(pigeon_mock_did_count(m, PIGEON_MOCK_DID_PUBLISH), 1);
    assert_int_equal(h->kick(h->inst, pigeon_z("bird"), 0, "go"), PIGEON_OK);
    assert_int_equal(pigeon_mock_did(m, PIGEON_MOCK_DID_KICK, 0)->number, 0x98);
    assert_int_equal(h->invalidate(h->inst, pigeon_z(""), pigeon_z("alice")), PIGEON_OK);
    assert_string_equal(pigeon_mock_did(m, PIGEON_MOCK_DID_INVALIDATE, 0)->more.ptr, "alice");
    h->log(h->inst, PIGEON_LOG_INFO, "one");
    pigeon_mock_forget(m);
    assert_null(pigeon_mock_did(m, PIGEON_MOCK_DID_INVALIDATE, 0));
    assert_null(pigeon_mock_log(m, 0, NULL));
    assert_int_equal(h->kick(h->inst, pigeon_z("tit"), 0, "go"), PIGEON_OK);
    h->log(h->inst, PIGEON_LOG_INFO, "two");
    assert_string_equal(pigeon_mock_did(m, PIGEON_MOCK_DID_KICK, 0)->text.ptr, "tit");
    assert_string_equal(pigeon_mock_log(m, 0, NULL), "two");
}

static void subscriptions_are_fed_by_hand(void **state)
{
    pigeon_mock *m = *state;
    const pigeon_host *h = the->host;

    assert_int_equal(
        h->subscribe(h->inst, pigeon_z("a/+"), 1, on_deliver, NULL, &the->subscription), PIGEON_OK);
    assert_non_null(pigeon_mock_deliver(m, pigeon_mock_msg(m, "a/b", "x"), 0));
    assert_null(pigeon_mock_deliver(m, pigeon_mock_msg(m, "b/b", "x"), 0));
    assert_int_equal(the->delivered, 1);
    h->unsubscribe(the->subscription);
    assert_null(pigeon_mock_deliver(m, pigeon_mock_msg(m, "a/b", "x"), 0));
}

static void metrics_can_be_read(void **state)
{
    pigeon_mock *m = *state;
    const pigeon_host *h = the->host;
    int32_t metric = h->metric(h->inst, "seen", "x", PIGEON_METRIC_COUNTER);

    h->metric_add(h->inst, metric, 3);
    h->metric_add(h->inst, h->metric(h->inst, "seen", "x", PIGEON_METRIC_COUNTER), 4);
    assert_int_equal(pigeon_mock_metric(m, "seen"), 7);
    assert_true(pigeon_mock_has_metric(m, "seen"));
    assert_false(pigeon_mock_has_metric(m, "other"));
    h->metric_observe(h->inst, metric, 5);
    complained(m, "another kind");
}

/* ---- options and reload ---------------------------------------------------------------------- */

static void options_are_judged_by_the_plugins_table(void **state)
{
    pigeon_mock *m = pigeon_mock_new();

    (void)state;
    assert_int_equal(pigeon_mock_use(m, &plugin), PIGEON_OK);
    pigeon_mock_option(m, "limit", "21");
    assert_int_equal(pigeon_mock_check(m), PIGEON_E_INVAL);
    assert_non_null(strstr(pigeon_mock_error(m), "limit"));
    pigeon_mock_option(m, "limit", NULL);
    pigeon_mock_option(m, "colour", "blue");
    assert_int_equal(pigeon_mock_check(m), PIGEON_E_INVAL);
    pigeon_mock_option(m, "colour", "green");
    pigeon_mock_option(m, "usres", "[a]");
    assert_int_equal(pigeon_mock_check(m), PIGEON_E_INVAL);
    assert_non_null(strstr(pigeon_mock_error(m), "did you mean 'users'"));
    pigeon_mock_option(m, "usres", NULL);
    pigeon_mock_option(m, "users", "[a, b]");
    assert_int_equal(pigeon_mock_create(m), PIGEON_OK);
    assert_int_equal(the->limit, 7);
    assert_int_equal(the->host->conf_count(the->conf, "users"), 2);
    assert_int_equal(the->host->conf_int(the->conf, "wait"), 2000);
    assert_string_equal(the->host->conf_str(the->conf, "colour").ptr, "green");
    pigeon_mock_free(&m);
}

static void a_check_that_fails_says_why(void **state)
{
    pigeon_mock *m = pigeon_mock_new();

    (void)state;
    pigeon_mock_use(m, &plugin);
    pigeon_mock_option(m, "limit", "13");
    assert_int_equal(pigeon_mock_create(m), PIGEON_E_INVAL);
    assert_non_null(strstr(pigeon_mock_error(m), "limit: brings bad luck"));
    pigeon_mock_free(&m);
}

static void a_reload_is_committed_or_aborted(void **state)
{
    pigeon_mock *m = *state;

    pigeon_mock_option(m, "limit", "8");
    assert_int_equal(pigeon_mock_prepare(m), PIGEON_OK);
    assert_int_equal(the->limit, 7);
    pigeon_mock_abort(m);
    assert_int_equal(the->limit, 7);
    pigeon_mock_option(m, "limit", "14");
    assert_int_equal(pigeon_mock_prepare(m), PIGEON_E_INVAL);
    assert_non_null(strstr(pigeon_mock_error(m), "not now"));
    pigeon_mock_option(m, "limit", "9");
    assert_int_equal(pigeon_mock_prepare(m), PIGEON_OK);
    pigeon_mock_commit(m);
    assert_int_equal(the->limit, 9);
}

static void other_releases_have_other_sizes(void **state)
{
    (void)state;
    for (int release = PIGEON_MOCK_SAME; release <= PIGEON_MOCK_NEXT; release++) {
        pigeon_mock *m = pigeon_mock_new();

        pigeon_mock_set_release(m, release);
        pigeon_mock_use(m, &plugin);
        assert_int_equal(pigeon_mock_create(m), PIGEON_OK);
        if (release == PIGEON_MOCK_FIRST)
            assert_true(the->host->size <= sizeof(pigeon_host));
        if (release == PIGEON_MOCK_NEXT) {
            assert_true(the->host->size > sizeof(pigeon_host));
            assert_int_equal(((const unsigned char *)(the->host + 1))[0], 0xa5);
        }
        assert_int_equal(password(m, "a"), PIGEON_ALLOW);
        pigeon_mock_free(&m);
    }
    pigeon_mock *m = pigeon_mock_new();
    pigeon_mock_set_host_size(m, offsetof(pigeon_host, timer));
    pigeon_mock_use(m, &plugin);
    assert_int_equal(pigeon_mock_create(m), PIGEON_OK);
    assert_false(PIGEON_HAS(the->host, pigeon_host, timer));
    pigeon_mock_free(&m);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(verdicts_come_back),
        CASE(a_hook_that_is_not_there_is_not_asked),
        CASE(a_number_that_is_no_verdict_denies),
        CASE(setters_can_be_read_back),
        CASE(pushed_rules_answer_for_topics),
        CASE(a_setter_that_fails_denies),
        CASE(a_setter_that_does_not_go_with_the_hook_is_a_complaint),
        CASE(facts_are_told),
        CASE(commands_reply),
        CASE(an_exchange_has_a_slot_until_it_ends),
        CASE(an_answer_may_come_later),
        CASE(an_answer_may_come_from_another_thread),
        CASE(an_answer_may_come_before_the_return),
        CASE(a_second_answer_is_a_complaint),
        CASE(a_deadline_cancels),
        CASE(a_client_that_goes_is_freed_after_its_last_answer),
        cmocka_unit_test(what_is_never_answered_is_a_complaint),
        CASE(a_request_is_nonsense_after_its_answer),
        CASE(a_message_that_is_kept_outlives_the_question),
        CASE(timers_run_at_their_time),
        CASE(descriptors_are_watched),
        CASE(posts_run_in_the_next_turn),
        CASE(loop_functions_on_other_threads_are_refused),
        CASE(what_a_plugin_does_is_kept),
        CASE(subscriptions_are_fed_by_hand),
        CASE(metrics_can_be_read),
        cmocka_unit_test(options_are_judged_by_the_plugins_table),
        cmocka_unit_test(a_check_that_fails_says_why),
        CASE(a_reload_is_committed_or_aborted),
        cmocka_unit_test(other_releases_have_other_sizes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
