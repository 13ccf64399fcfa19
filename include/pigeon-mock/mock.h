/* pigeon-mock/mock.h - a broker made of nothing, for tests of plugins. Not part of the plugin ABI.
 *
 * A mock is the host of one plugin instance: it loads the plugin, gives it options, asks it
 * questions, and keeps everything the plugin does. Nothing happens by itself: time passes in
 * pigeon_mock_advance_ms(), what a plugin posted runs in pigeon_mock_run(). It works with any test
 * framework and needs no network.
 *
 *     pigeon_mock *m = pigeon_mock_new();
 *     pigeon_mock_option(m, "users", "[alice:secret]");
 *     assert(pigeon_mock_load(m, "./my_auth.so") == PIGEON_OK && pigeon_mock_create(m) ==
 * PIGEON_OK); pigeon_mock_client *c = pigeon_mock_client_new(m, "bird", "alice");
 *     assert(pigeon_mock_verdict(pigeon_mock_authenticate(c, "secret")) == PIGEON_ALLOW);
 *     assert(pigeon_mock_complaints(m) == 0);
 *     pigeon_mock_free(&m);
 *
 * Threads: all functions here belong to the thread that called pigeon_mock_new(), which is the
 * plugin's loop. The plugin may call [any] functions of its host from any thread; a [loop] function
 * called from another one is refused with PIGEON_E_THREAD and becomes a complaint. Lifetime: what
 * the mock returns is its own and lives until pigeon_mock_free(), unless something else is said.
 * Text is copied. Errors: PIGEON_E_*; pigeon_mock_error() says more. Out of memory ends the
 * process. */
#ifndef PIGEON_MOCK_H
#define PIGEON_MOCK_H
#include <pigeon/plugin.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PIGEON_MOCK_API __attribute__((visibility("default")))

typedef struct pigeon_mock pigeon_mock;
typedef struct pigeon_mock_client pigeon_mock_client;
typedef struct pigeon_mock_ask
    pigeon_mock_ask; /* one question to the plugin, and what came of it */

/* ---- life ---- */

PIGEON_MOCK_API pigeon_mock *pigeon_mock_new(void);
/* Cancels what is pending (PIGEON_CANCEL_STOP), lets all clients go, destroys the instance. NULL is
 * fine. */
PIGEON_MOCK_API void pigeon_mock_free(pigeon_mock **mock);
/* Why the last function failed: a sentence, "" after none. */
PIGEON_MOCK_API const char *pigeon_mock_error(const pigeon_mock *mock);

/* Which release of the ABI the plugin meets. Before pigeon_mock_load(). */
#define PIGEON_MOCK_SAME \
    0 /* that of this header                                                     */
#define PIGEON_MOCK_FIRST \
    1 /* the first release: host and views end where they ended in 1.0           */
#define PIGEON_MOCK_NEXT \
    2 /* a later one: host and views are longer, with rubbish in the new members */
PIGEON_MOCK_API void pigeon_mock_set_release(pigeon_mock *mock, int release);
/* A host of exactly so many bytes; members beyond are not there. Before pigeon_mock_create(). */
PIGEON_MOCK_API void pigeon_mock_set_host_size(pigeon_mock *mock, uint32_t size);
/* Directory for the plugin's own files; default "". */
PIGEON_MOCK_API void pigeon_mock_set_state_dir(pigeon_mock *mock, const char *path);
/* What relative file names in options are relative to; default: the current directory. */
PIGEON_MOCK_API void pigeon_mock_set_option_dir(pigeon_mock *mock, const char *path);

/* The plugin: from a file, or linked into the test. PIGEON_E_INVAL with pigeon_mock_error(). */
PIGEON_MOCK_API int32_t pigeon_mock_load(pigeon_mock *mock, const char *path);
PIGEON_MOCK_API int32_t pigeon_mock_use(pigeon_mock *mock, const pigeon_plugin *plugin);
PIGEON_MOCK_API const pigeon_plugin *pigeon_mock_plugin(const pigeon_mock *mock);

/* An option as one would write it in the configuration (YAML: `[a, b]` is a list); it counts at the
 * next check, create or prepare, which judge it by the plugin's own table. value NULL: as if it
 * were not written. */
PIGEON_MOCK_API void pigeon_mock_option(pigeon_mock *mock, const char *key, const char *value);
/* check() alone; check() and create(). What the options or the plugin said against it:
 * pigeon_mock_error(). */
PIGEON_MOCK_API int32_t pigeon_mock_check(pigeon_mock *mock);
PIGEON_MOCK_API int32_t pigeon_mock_create(pigeon_mock *mock);
/* quiesce() (waits up to timeout_ms of real time for its answer; PIGEON_E_BUSY: none came). */
PIGEON_MOCK_API int32_t pigeon_mock_quiesce(pigeon_mock *mock, int64_t timeout_ms);
PIGEON_MOCK_API void pigeon_mock_destroy(pigeon_mock *mock);
/* Reload: prepare() with the options as they are now, then either of the two. */
PIGEON_MOCK_API int32_t pigeon_mock_prepare(pigeon_mock *mock);
PIGEON_MOCK_API void pigeon_mock_commit(pigeon_mock *mock);
PIGEON_MOCK_API void pigeon_mock_abort(pigeon_mock *mock);
/* The instance, for calls that this header does not offer. */
PIGEON_MOCK_API void *pigeon_mock_self(const pigeon_mock *mock);
PIGEON_MOCK_API const pigeon_host *pigeon_mock_host(const pigeon_mock *mock);

/* ---- time ---- */

/* The clock stands until it is moved; it begins at one hour. Timers, deadlines and posts that fall
 * due on the way run at their own time, in order. */
PIGEON_MOCK_API int64_t pigeon_mock_now_ns(const pigeon_mock *mock);
PIGEON_MOCK_API void pigeon_mock_advance_ms(pigeon_mock *mock, int64_t ms);
/* One turn of the loop without moving the clock: posts, descriptors that are ready, answers. */
PIGEON_MOCK_API void pigeon_mock_run(pigeon_mock *mock);
/* Turns until the question is answered, at most timeout_ms of real time: for plugins with threads
 * of their own. Returns the verdict, PIGEON_PENDING when none came. */
PIGEON_MOCK_API int32_t pigeon_mock_wait(pigeon_mock_ask *ask, int64_t timeout_ms);
PIGEON_MOCK_API uint32_t pigeon_mock_timers(const pigeon_mock *mock); /* armed */

/* ---- clients ---- */

/* MQTT 5 over TCP from 127.0.0.1; username NULL: none. */
PIGEON_MOCK_API pigeon_mock_client *pigeon_mock_client_new(pigeon_mock *mock, const char *id,
                                                           const char *username);
/* To be changed at will; questions take a copy. The texts that it points to are the test's. */
PIGEON_MOCK_API pigeon_client *pigeon_mock_client_view(pigeon_mock_client *client);
PIGEON_MOCK_API void *pigeon_mock_client_slot(const pigeon_mock_client *client);
/* The connection ends: its questions are cancelled (PIGEON_CANCEL_GONE), its slot is freed once the
 * last of them has been answered. Do not use it afterwards. */
PIGEON_MOCK_API void pigeon_mock_client_gone(pigeon_mock_client *client);

/* ---- questions ---- */

/* A message that the plugin may keep with msg_ref(); to be changed before it is used. */
PIGEON_MOCK_API pigeon_msg *pigeon_mock_msg(pigeon_mock *mock, const char *topic,
                                            const char *payload);

/* connect NULL: one that fits to the client, without password. */
PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_pre_connect(pigeon_mock_client *client,
                                                         const pigeon_connect *connect);
PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_authenticate(pigeon_mock_client *client,
                                                          const char *password);
PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_authenticate_with(pigeon_mock_client *client,
                                                               const pigeon_connect *connect);
/* stage: PIGEON_STAGE_*; the slot lives from CONNECT or REAUTH until a verdict other than CONTINUE.
 */
PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_exchange(pigeon_mock_client *client, uint32_t stage,
                                                      const char *method, pigeon_bytes data);
/* hook: one of PIGEON_HOOK_AUTHORIZE_PUBLISH, _WILL, _DELIVER, _INBOUND, _PUBLISHED. client may be
 * NULL. */
PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_message(pigeon_mock *mock, uint32_t hook,
                                                     pigeon_mock_client *client,
                                                     const pigeon_msg *msg);
PIGEON_MOCK_API pigeon_mock_ask *
pigeon_mock_authorize_publish(pigeon_mock_client *client, const char *topic, const char *payload);
PIGEON_MOCK_API pigeon_mock_ask *
pigeon_mock_authorize_deliver(pigeon_mock_client *client, const char *topic, const char *payload);
PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_inbound(pigeon_mock_client *client, const char *topic,
                                                     const char *payload);
PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_published(pigeon_mock_client *client,
                                                       const char *topic, const char *payload);
PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_authorize_subscribe(pigeon_mock_client *client,
                                                                 const char *filter, uint32_t qos);
PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_authorize_subscribe_with(pigeon_mock *mock,
                                                                      pigeon_mock_client *client,
                                                                      const pigeon_sub *sub);
PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_command(pigeon_mock *mock, const char *name,
                                                     const char *json);

/* Did the plugin have this hook? */
PIGEON_MOCK_API int pigeon_mock_was_asked(const pigeon_mock_ask *ask);
/* PIGEON_PENDING: not answered yet. Numbers that are no verdict, and verdicts after a setter that
 * failed, are PIGEON_DENY, as in the broker. Of a cancelled question: PIGEON_DENY. */
PIGEON_MOCK_API int32_t pigeon_mock_verdict(pigeon_mock_ask *ask);
PIGEON_MOCK_API int pigeon_mock_setter_failed(const pigeon_mock_ask *ask);
/* How often the plugin called complete() for it. */
PIGEON_MOCK_API uint32_t pigeon_mock_completed(const pigeon_mock_ask *ask);
/* Of set_reason(): the number as given, 0: none; the text, "": none. */
PIGEON_MOCK_API uint32_t pigeon_mock_reason(const pigeon_mock_ask *ask);
PIGEON_MOCK_API const char *pigeon_mock_reason_text(const pigeon_mock_ask *ask);
/* Voids a pending question as the broker does; why: PIGEON_CANCEL_*. 0: it was not pending. */
PIGEON_MOCK_API int pigeon_mock_cancel(pigeon_mock_ask *ask, int32_t why);
/* Milliseconds from the question to its deadline; default 5000. Of questions asked from now on. */
PIGEON_MOCK_API void pigeon_mock_set_deadline_ms(pigeon_mock *mock, int64_t ms);
/* Questions that were answered PENDING and not completed yet, the cancelled ones included. */
PIGEON_MOCK_API uint32_t pigeon_mock_pending(pigeon_mock *mock);

/* What setters left with a question. */
#define PIGEON_MOCK_CLIENTID       1u
#define PIGEON_MOCK_USERNAME       2u
#define PIGEON_MOCK_PASSWORD       3u
#define PIGEON_MOCK_KEEPALIVE      4u /* number: seconds                                */
#define PIGEON_MOCK_CLEAN_START    5u /* number                                         */
#define PIGEON_MOCK_SESSION_EXPIRY 6u /* number: seconds                                */
#define PIGEON_MOCK_WILL           7u /* text: topic, more: payload, number: delay in s; id 0: no will */
#define PIGEON_MOCK_LIMIT          8u /* id: PIGEON_LIMIT_*, number                     */
#define PIGEON_MOCK_PROPERTY       9u /* id: property, text: name, more: value          */
#define PIGEON_MOCK_AUTH           10u
#define PIGEON_MOCK_TOPIC          11u
#define PIGEON_MOCK_PAYLOAD        12u
#define PIGEON_MOCK_PROPS          13u
#define PIGEON_MOCK_QOS            14u
#define PIGEON_MOCK_RETAIN         15u
#define PIGEON_MOCK_FILTER         16u /* text, number: QoS                              */
#define PIGEON_MOCK_CACHE          17u /* number: milliseconds                           */
#define PIGEON_MOCK_ACL            18u /* text: filter, id: access, number: verdict      */
#define PIGEON_MOCK_REPLY          19u /* text: JSON                                     */

typedef struct pigeon_mock_value {
    uint32_t kind; /* PIGEON_MOCK_* */
    uint32_t id;
    uint64_t number;
    pigeon_str text; /* or bytes; a NUL stands behind */
    pigeon_str more;
} pigeon_mock_value;

/* The i-th of its kind, counted from 0; NULL: there is none. The last one is what the broker takes.
 */
PIGEON_MOCK_API const pigeon_mock_value *pigeon_mock_set(const pigeon_mock_ask *ask, uint32_t kind,
                                                         uint32_t i);
/* The last text of its kind, NULL: none. */
PIGEON_MOCK_API const char *pigeon_mock_text(const pigeon_mock_ask *ask, uint32_t kind);
PIGEON_MOCK_API uint64_t pigeon_mock_number(const pigeon_mock_ask *ask, uint32_t kind);
/* What the pushed rules say about a topic: the first that matches, PIGEON_NEXT when none does. */
PIGEON_MOCK_API int32_t pigeon_mock_acl(const pigeon_mock_ask *ask, uint32_t access,
                                        const char *topic);

/* ---- facts ---- */

/* The plugin's events, NULL members for those it does not have; NULL: it has none.
 *     PIGEON_MOCK_TELL(m, client_ready, pigeon_mock_client_view(c)); */
PIGEON_MOCK_API const pigeon_events *pigeon_mock_events(const pigeon_mock *mock);
#define PIGEON_MOCK_TELL(mock, member, ...)                     \
    do {                                                        \
        const pigeon_events *tell_ = pigeon_mock_events(mock);  \
        if (tell_ && tell_->member)                             \
            tell_->member(pigeon_mock_self(mock), __VA_ARGS__); \
    } while (0)

/* ---- what the plugin did ---- */

#define PIGEON_MOCK_DID_PUBLISH     1u
#define PIGEON_MOCK_DID_SUBSCRIBE   2u
#define PIGEON_MOCK_DID_UNSUBSCRIBE 3u
#define PIGEON_MOCK_DID_KICK        4u
#define PIGEON_MOCK_DID_INVALIDATE  5u
#define PIGEON_MOCK_DID_DELIVER     6u /* bus: a parcel; payload is its body             */
#define PIGEON_MOCK_DID_STATE       7u /* bus: number is up, text the reason             */
#define PIGEON_MOCK_DID_SEEN        8u /* store: number is PIGEON_SEEN_*, text           */

typedef struct pigeon_mock_act {
    uint32_t kind;
    uint32_t number;     /* kick: reason code; subscribe: QoS     */
    pigeon_str text;     /* publish: topic; subscribe: filter; kick, invalidate: client id     */
    pigeon_str more;     /* publish: payload; kick: text; invalidate: user name; deliver: body     */
    uint8_t qos, retain; /* publish */
    uint8_t rsv[6];
} pigeon_mock_act;

/* The i-th of its kind, counted from 0, NULL: so often it did not happen. */
PIGEON_MOCK_API const pigeon_mock_act *pigeon_mock_did(pigeon_mock *mock, uint32_t kind,
                                                       uint32_t i);
PIGEON_MOCK_API uint32_t pigeon_mock_did_count(pigeon_mock *mock, uint32_t kind);
/* As if the plugin had done and logged nothing so far. What pigeon_mock_did() and
 * pigeon_mock_log() returned is gone. */
PIGEON_MOCK_API void pigeon_mock_forget(pigeon_mock *mock);
/* What `done` of later publishes will be told, at the next turn; default PIGEON_OK. */
PIGEON_MOCK_API void pigeon_mock_set_publish_status(pigeon_mock *mock, int32_t status);
/* Hands a message to the plugin's subscriptions that match; the i-th question, NULL: fewer match.
 */
PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_deliver(pigeon_mock *mock, const pigeon_msg *msg,
                                                     uint32_t i);

/* Log lines, oldest first; NULL beyond. */
PIGEON_MOCK_API const char *pigeon_mock_log(pigeon_mock *mock, uint32_t i, uint32_t *level);
/* Does a line contain this text? */
PIGEON_MOCK_API int pigeon_mock_logged(pigeon_mock *mock, const char *text);
/* Value of a metric (a histogram: how often observed), 0 when there is none. */
PIGEON_MOCK_API int64_t pigeon_mock_metric(pigeon_mock *mock, const char *name);
PIGEON_MOCK_API int pigeon_mock_has_metric(pigeon_mock *mock, const char *name);

/* Breaches of the contract: a second answer, a setter after the answer, a [loop] function on
 * another thread, a slot left without a destructor ... Those found by pigeon_mock_free() are
 * printed to stderr. */
PIGEON_MOCK_API uint32_t pigeon_mock_complaints(pigeon_mock *mock);
PIGEON_MOCK_API const char *pigeon_mock_complaint(pigeon_mock *mock, uint32_t i);
/* Lets clients and instance go, as pigeon_mock_free() does, so that what it finds can be asked for.
 */
PIGEON_MOCK_API void pigeon_mock_finish(pigeon_mock *mock);

/* ---- faults ---- */

#define PIGEON_MOCK_FAIL_SETTER    0u
#define PIGEON_MOCK_FAIL_PUBLISH   1u
#define PIGEON_MOCK_FAIL_SUBSCRIBE 2u
#define PIGEON_MOCK_FAIL_WATCH     3u /* timer and fd: NULL */
#define PIGEON_MOCK_FAIL_POST      4u
#define PIGEON_MOCK_FAIL_METRIC    5u
#define PIGEON_MOCK_FAIL_KICK      6u /* and invalidate     */
#define PIGEON_MOCK_FAIL_COUNT     7u
/* The nth call from now of this sort (1: the next) fails with `error`; nth 0: every one from now
 * on. */
PIGEON_MOCK_API void pigeon_mock_fail(pigeon_mock *mock, uint32_t sort, uint32_t nth,
                                      int32_t error);

/* ---- store and bus ---- */

/* The store's contract has a suite of its own: `pigeon-plugin check --store`. */
PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_submit(pigeon_mock *mock, const pigeon_batch *batch);
/* Of an answered batch: status of one unit, recipients skipped. */
PIGEON_MOCK_API int32_t pigeon_mock_unit_status(const pigeon_mock_ask *ask, uint32_t unit);
PIGEON_MOCK_API uint32_t pigeon_mock_unit_gone(const pigeon_mock_ask *ask, uint32_t unit);
/* Rows are counted and handed to `on_row` (may be NULL) on whatever thread the store gives them. */
typedef void (*pigeon_mock_row_fn)(void *arg, const pigeon_row *row);
PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_scan(pigeon_mock *mock, const pigeon_scan *scan,
                                                  pigeon_mock_row_fn on_row, void *arg);
PIGEON_MOCK_API uint32_t pigeon_mock_rows(const pigeon_mock_ask *ask);

PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_bus_open(pigeon_mock *mock, pigeon_incarnation me,
                                                      uint32_t credit_bytes);
PIGEON_MOCK_API pigeon_mock_ask *pigeon_mock_bus_send(pigeon_mock *mock,
                                                      const pigeon_parcel *parcel);
/* The last that the plugin said of itself with pigeon_bus_host.state. */
PIGEON_MOCK_API int pigeon_mock_bus_is_up(pigeon_mock *mock);

#ifdef __cplusplus
}
#endif
#endif
