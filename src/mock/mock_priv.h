/* mock_priv.h - the insides of libpigeon-mock; see <pigeon-mock/mock.h> for what it is.
 *
 * One lock for everything that [any] functions of the host touch; it is never held while a plugin
 * runs. Memory of questions stays until the mock is freed; what a question showed to the plugin is
 * overwritten once it has been answered, so that who looks later sees nonsense. */
#pragma once
#include "base/list.h"
#include "config/arena.h"
#include "config/plugin_conf.h"
#include <pigeon-mock/mock.h>
#include <pthread.h>
#include <stdbool.h>

/* Where a struct ended in the first release of the ABI. */
#define FIRST_END(T, member) ((uint32_t)(offsetof(T, member) + sizeof(((T *)0)->member)))
#define FIRST_HOST           FIRST_END(pigeon_host, metric_observe)
#define FIRST_CLIENT         FIRST_END(pigeon_client, tls_cert)
#define FIRST_MSG            FIRST_END(pigeon_msg, publisher_user)
#define FIRST_CONNECT        FIRST_END(pigeon_connect, will)
#define FIRST_EXCHANGE       FIRST_END(pigeon_exchange, slot)
#define FIRST_SUB            FIRST_END(pigeon_sub, rsv)
#define FIRST_REQ            FIRST_END(pigeon_req, host_data)
#define GROWN_BY             64u /* bytes of rubbish in a later release */

enum ask_state {
    ASK_CALLING, /* the plugin has not returned */
    ASK_EARLY,   /* complete() came before the return */
    ASK_PENDING,
    ASK_DONE,     /* answered by return or complete() */
    ASK_DEAD,     /* cancelled, complete() is owed */
    ASK_RETURNED, /* cancelled and completed */
};

struct block { /* memory that a question shows to the plugin */
    struct block *next;
    size_t len;
    char data[];
};

struct mock_msg {
    struct list link; /* in pigeon_mock.messages */
    uint32_t refs;
    bool of_test; /* one reference is the mock's own */
    pigeon_mock *mock;
    struct arena text;
    pigeon_msg view; /* last: longer or shorter than declared, by the release */
};

struct value_node {
    struct value_node *next;
    pigeon_mock_value value;
};

struct pigeon_mock_ask {
    struct list link; /* in pigeon_mock.asks */
    pigeon_mock *mock;
    pigeon_mock_client *client;
    uint32_t hook;
    bool was_asked, failed, settled, is_batch, is_scan;
    enum ask_state state;
    int32_t verdict;
    uint32_t n_completed, n_rows, n_units;
    int64_t deadline_ns;
    pigeon_token token;
    pigeon_req *req; /* in the blocks */
    struct block *blocks;
    struct mock_msg *messages[2];
    struct value_node *values, **last;
    uint32_t reason;
    char text[128];
    pigeon_unit_result *units; /* NULL: the store gave none */
    pigeon_mock_row_fn on_row;
    void *row_arg;
};

struct pigeon_mock_client {
    struct list link; /* in pigeon_mock.clients */
    pigeon_mock *mock;
    pigeon_client view;
    void *slot, *exchange_slot;
    bool gone;
    uint32_t n_pinned;
};

struct line {
    uint32_t level;
    char *text;
};

struct lines {
    struct line *items;
    uint32_t n, cap;
};

struct metric {
    char *name;
    uint32_t kind;
    int64_t value;
};

struct fault {
    uint32_t nth;
    bool always, armed;
    int32_t error;
};

struct act_node {
    struct act_node *next;
    pigeon_mock_act act;
};

struct posted {
    struct list link;
    pigeon_post_fn fn;
    pigeon_done_fn done; /* instead of fn */
    void *arg;
    int32_t status;
};

struct setting {
    char *key, *value;
};

struct pigeon_mock {
    pthread_t owner;
    pthread_mutex_t lock;
    pthread_cond_t news; /* something was completed or posted */
    char error[1024];
    int release;
    bool created, finished;
    char *state_dir;
    char *option_dir; /* with a slash behind it, NULL: the current one */

    pigeon_plugin desc; /* as much of the plugin's as this header knows */
    const pigeon_plugin *given;
    pigeon_auth auth;
    pigeon_flow flow;
    pigeon_events events;
    bool has_events;
    const pigeon_store *store;
    const pigeon_bus *bus;
    const pigeon_control *control;

    pigeon_host *host;
    uint32_t host_size;
    void *self, *next;
    struct plugin_conf *conf, *next_conf;
    struct setting *settings;
    uint32_t n_settings;
    char *reason; /* what host->fail was told */

    int64_t now_ns, deadline_ms; /* lock */
    struct list watches, subscriptions, clients, asks, messages, posts;
    pigeon_token last_token;
    struct lines log, complaints;
    struct metric *metrics;
    uint32_t n_metrics;
    struct act_node *acts, **last_act;
    struct fault faults[PIGEON_MOCK_FAIL_COUNT];
    int32_t publish_status;
    bool bus_up;
};

/* Out of memory ends the process: a test has no use for it. */
void *mock_alloc(size_t size);
void *mock_realloc(void *old, size_t size);
char *mock_dup(const void *ptr, size_t len);

static inline bool mock_on_loop(const pigeon_mock *m)
{
    return pthread_equal(pthread_self(), m->owner);
}

__attribute__((format(printf, 2, 3))) void mock_error(pigeon_mock *m, const char *format, ...);
/* mock_complain_locked: the lock is held. */
__attribute__((format(printf, 2, 3))) void mock_complain(pigeon_mock *m, const char *format, ...);
__attribute__((format(printf, 2, 3))) void mock_complain_locked(pigeon_mock *m, const char *format,
                                                                ...);
/* False, with a complaint, on any thread but the loop's. */
bool mock_must_be_loop(pigeon_mock *m, const char *function);
/* The error that a call of this sort must return, 0: none. [lock] */
int32_t mock_fault(pigeon_mock *m, uint32_t sort);
void lines_add(struct lines *lines, uint32_t level, const char *text);
const char *mock_hook_name(uint32_t hook);
/* Bytes of a struct in the mock's release: full in this one, first in the first. */
uint32_t mock_size(const pigeon_mock *m, size_t full, uint32_t first);

/* mock_host.c: fills in a host of m->host_size bytes. */
void mock_host_make(pigeon_mock *m);
void mock_host_drop(pigeon_mock *m);
void mock_fill_set(pigeon_host *h);
void mock_fill_loop(pigeon_host *h);
void mock_fill_acts(pigeon_host *h);
int32_t mock_complete(void *inst, pigeon_token token, int32_t verdict);
extern const pigeon_store_host mock_store_host;
extern const pigeon_bus_host mock_bus_host;

/* mock_set.c: a copy of s at `at`, a NUL behind it; returns what follows that. */
char *mock_put(char *at, pigeon_str s, pigeon_str *r_copy);
/* PIGEON_OK: s may stand in a packet as a string. */
int32_t mock_check_text(pigeon_str s);

/* mock_ask.c */
pigeon_mock_ask *ask_new(pigeon_mock *m, pigeon_mock_client *client, uint32_t hook);
/* Memory that the plugin sees until the answer. */
void *ask_block(pigeon_mock_ask *ask, size_t size);
pigeon_str ask_str(pigeon_mock_ask *ask, pigeon_str s);
pigeon_bytes ask_bytes(pigeon_mock_ask *ask, pigeon_bytes b);
/* A copy of a view in the size of the release; `size` goes to its first member. */
void *ask_view(pigeon_mock_ask *ask, const void *view, size_t size, uint32_t first);
/* The req, with the client's view. */
pigeon_req *ask_req(pigeon_mock_ask *ask);
/* What the call returned. */
pigeon_mock_ask *ask_returned(pigeon_mock_ask *ask, int32_t verdict);
/* The hook is not there: NEXT. */
pigeon_mock_ask *ask_unasked(pigeon_mock_ask *ask);
/* After an answer, on the loop: what it showed is overwritten, the client may go. */
void asks_settle(pigeon_mock *m);
/* Deadlines that have passed. */
void asks_expire(pigeon_mock *m);
/* The earliest deadline of a pending question, INT64_MAX: none. */
int64_t asks_next_ns(pigeon_mock *m);
void asks_free(pigeon_mock *m);
pigeon_mock_ask *ask_of_token(pigeon_mock *m, pigeon_token token);  /* [lock] */
pigeon_mock_ask *ask_of_req(pigeon_mock *m, const pigeon_req *req); /* [lock] */

/* mock_client.c */
void client_unpin(pigeon_mock_client *client);
void exchange_end(pigeon_mock_client *client);
void clients_go(pigeon_mock *m);
void clients_free(pigeon_mock *m);
struct mock_msg *msg_new(pigeon_mock *m, const pigeon_msg *like);
void msg_drop(struct mock_msg *msg);
const pigeon_msg *mock_msg_ref(const pigeon_msg *msg);
void mock_msg_unref(const pigeon_msg *msg);
void messages_free(pigeon_mock *m);

/* mock_loop.c, mock_acts.c */
void watches_drop(pigeon_mock *m, bool complain);
void posts_drop(pigeon_mock *m);
void post_done(pigeon_mock *m, pigeon_done_fn done, void *arg, int32_t status); /* [lock] */
void subscriptions_drop(pigeon_mock *m);
void act_add(pigeon_mock *m, const pigeon_mock_act *act); /* [lock] */
void acts_free(pigeon_mock *m);
