/* store_contract.h - what every store plugin must do: cases that drive a store through
 * pigeon.store/1 alone, with a host of their own (store_rig.c). Each runs in a child process.
 *
 * `full_option=KEY` names an option that bounds the store's bytes: the cases about a full store
 * then run. `%s` as a value becomes the name of an empty directory, made anew for each case. */
#pragma once
#include "plugin_tool/isolate.h"
#include <pigeon/plugin.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* What a case says; the first that does not hold ends it. */
#define HOLDS(what, condition)                                                 \
    do {                                                                       \
        if (!(condition))                                                      \
            isolate_fail("%s:%d: %s does not hold", __FILE__, __LINE__, what); \
    } while (0)
#define assert_true(x)     HOLDS(#x, x)
#define assert_false(x)    HOLDS("!(" #x ")", !(x))
#define assert_non_null(x) HOLDS(#x " != NULL", (x) != NULL)
#define assert_int_equal(x, y) \
    store_expect_equal((int64_t)(x), (int64_t)(y), #x, __FILE__, __LINE__)
#define assert_string_equal(x, y)    store_expect_string((x), (y), #x, __FILE__, __LINE__)
#define assert_memory_equal(x, y, n) HOLDS(#x " is " #y, memcmp((x), (y), (n)) == 0)
#define assert_in_range(x, least, most) \
    HOLDS(#x " in " #least " to " #most, (x) >= (least) && (x) <= (most))
void store_expect_equal(int64_t is, int64_t wanted, const char *what, const char *file, int line);
void store_expect_string(const char *is, const char *wanted, const char *what, const char *file,
                         int line);

struct store_case {
    const char *name; /* words joined by '_' */
    void (*fn)(void **state);
};

#define OPS_MAX   70000
#define UNITS_MAX 1024

/* A row as it was handed over, in memory of its own. */
struct seen {
    uint32_t kind, sub_id, n_ids, payload_len, extra_len, msg_flags;
    uint64_t session, pos, msg_n;
    int64_t due_in_ms, expires_ms, received_ms;
    uint16_t packet_id;
    uint8_t state, qos, retain, msg_qos, msg_retain, sub_qos, no_local, rap, rh;
    uint32_t ids[4];
    char *client, *key, *topic, *payload, *props, *extra, *filter, *effective, *share;
};

struct rig {
    const pigeon_plugin *plugin;
    const pigeon_store *store;
    void *self;
    pigeon_host host;
    char *dir;
    const char *full_value;     /* of the option that bounds the store; NULL: its own default */
    _Atomic int64_t n_messages; /* alive */
    /* the batch being made, or under way */
    pigeon_op *ops;
    pigeon_rcpt *rcpts;
    pigeon_unit units[UNITS_MAX];
    uint32_t nops, nunits, nrcpts;
    const pigeon_msg **messages;
    uint32_t n_held, messages_size;
    uint32_t flags; /* of the next unit_end */
    /* answers, under the lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pigeon_token token, next_token;
    uint32_t n_answers, n_strange; /* strange: not asked for */
    int32_t status;
    pigeon_unit_result results[UNITS_MAX];
    bool has_results;
    /* scan */
    pigeon_token scan_token;
    bool scan_done, scan_cancelled;
    int32_t scan_status;
    struct seen *rows;
    uint32_t n_rows, rows_size, credit, n_over_credit, credit_step;
    void (*on_row)(struct rig *r, const struct seen *row);
};

/* Setup and teardown of a case; a rig stands in *state. */
void rig_setup(void **state);
void rig_teardown(void **state);
/* In the child, before rig_setup: path of the plugin, KEY=VALUE. */
void rig_options(const char *path, char *const *options, int n);
bool rig_can_be_full(void);
void rig_create(struct rig *r);
void rig_destroy(struct rig *r);
void rig_wipe(struct rig *r);       /* begins anew, with nothing */
bool rig_is_lasting(struct rig *r); /* survives the end of the process */

/* A message with one reference, dropped when the batch under way has been answered. */
const pigeon_msg *message(struct rig *r, const char *topic, const char *payload);
const pigeon_msg *message_with(struct rig *r, const pigeon_msg *like);

pigeon_str text(const char *s);
pigeon_op *op(struct rig *r, uint16_t kind, uint64_t session);
void session_put(struct rig *r, uint64_t session, const char *client);
void sub_put(struct rig *r, uint64_t session, const char *key, uint8_t qos);
void key_op(struct rig *r, uint16_t kind, uint64_t session, const char *key);
void retain_put(struct rig *r, const char *topic, const char *payload);
/* Recipients of the last QUEUE_ADD or QUEUE_MOVE. */
pigeon_rcpt *rcpt(struct rig *r, uint64_t session, uint8_t qos);
void queue_add(struct rig *r, uint64_t pos, const char *payload); /* then rcpt() */
void queue_op(struct rig *r, uint16_t kind, uint64_t session, uint64_t pos);
void queue_upd(struct rig *r, uint64_t session, uint64_t pos, uint16_t id, uint8_t state);
void in_op(struct rig *r, uint16_t kind, uint64_t session, uint16_t id);
void will_put(struct rig *r, uint64_t session, const char *topic, const char *payload);
void due_op(struct rig *r, uint16_t kind, uint64_t session, int64_t due_in_ms);
void unit_end(struct rig *r);

/* Submits what was made (an open unit is ended) and waits for the answer: the batch's status. */
int32_t commit(struct rig *r);
int32_t unit_status(const struct rig *r, uint32_t unit);
uint32_t unit_gone(const struct rig *r, uint32_t unit);
void commit_ok(struct rig *r);

/* Rows to r->rows; credit_step rows are asked for at a time (0: all). The scan's status. */
int32_t scan_with(struct rig *r, const pigeon_scan *scan);
uint32_t scan(struct rig *r, uint32_t what, uint64_t session); /* number of rows; asserts success */
const struct seen *row_with_key(const struct rig *r, const char *key);

extern const struct store_case records_cases[], queue_cases[], batch_cases[];
extern const size_t n_records_cases, n_queue_cases, n_batch_cases;
#define CASE(f) \
    {           \
#f, f   \
    }
