/* ask.h - one question to a chain of plugins, answered at once or later.
 *
 * The caller embeds a `struct ask` in the object that needs the answer, fills in the first block and calls
 * ask_run on its loop. ASK_DONE: the result is there. ASK_WAIT: `done` is called later, on the same loop,
 * exactly once, unless ask_abandon comes first. While it waits, the ask must stay where it is; client, subject
 * and message are pinned by the token itself, so the owner may be freed after ask_abandon.
 * Rules: P5 of docs/concurrency.md, CH and A of docs/plugin-abi.md. */
#pragma once
#include "hooks/hooks.h"
#include "hooks/hook_loop.h"
#include "hooks/subject.h"

enum { ASK_DONE = 0, ASK_WAIT = 1 };

/* What plugins set with the host's setters, in the order of the calls. */
enum ask_value_kind {
    VALUE_CLIENTID = 1,
    VALUE_USERNAME,
    VALUE_PASSWORD,
    VALUE_KEEPALIVE,
    VALUE_CLEAN_START,
    VALUE_SESSION_EXPIRY,
    VALUE_WILL,      /* `message` (reference) or NULL: none; num: delay in s */
    VALUE_LIMIT,     /* sub: PIGEON_LIMIT_*, num */
    VALUE_PROPERTY,  /* sub: property id; a, b */
    VALUE_AUTH_DATA, /* a */
    VALUE_TOPIC,
    VALUE_PAYLOAD,
    VALUE_PROPS,
    VALUE_QOS,
    VALUE_RETAIN,
    VALUE_FILTER,    /* a, num: QoS */
    VALUE_ACL,       /* a: filter, sub: access, num: verdict; kept by hooks/ with the identity */
    VALUE_CACHE,     /* num: ttl in ms; kept by hooks/ */
    VALUE_REPLY,
};

struct ask_value {
    struct ask_value *next;
    enum ask_value_kind kind;
    uint32_t sub;
    uint32_t entry; /* index of the plugin that set it */
    uint32_t revoked; /* what client_slots.revoked of it was when it was asked */
    uint64_t num;
    struct str a, b; /* in the memory behind this struct */
    struct message *message;
};

/* Who answered for an entry: PIGEON_BY_* of <pigeon/admin.h>. */
enum ask_how { ASK_BY_NOBODY, ASK_BY_RULE, ASK_BY_CACHE, ASK_BY_HOOK, ASK_BY_ONLY, ASK_BY_DEADLINE, ASK_BY_HOST };

struct ask;
struct step;
struct ask_seen {
    const struct step *step;
    int32_t verdict;      /* PIGEON_NEXT where the entry was left out */
    enum ask_how how;
    bool is_final;        /* the chain has ended with it */
    uint64_t ns;          /* until the answer was there */
};
/* Somebody looks on: `explain`, or a trace. Told of every entry in order, on the loop of the ask; with an
 * observer each entry is evaluated, no shortcut is taken. dry: nothing is kept (no remembered verdict, no
 * pushed rule) and the plugins see PIGEON_REQ_EXPLAIN. */
struct ask_observer {
    bool is_dry;
    void (*seen)(struct ask_observer *observer, const struct ask *ask, const struct ask_seen *seen);
};

struct ask {
    /* by the caller */
    uint32_t hook;              /* PIGEON_HOOK_* */
    struct identity *who;       /* NULL: no client. Borrowed; must live until done or ask_abandon */
    struct subject *subject;    /* connect_info, sub_info, exchange_info: reference given to the ask; NULL for messages */
    struct message *message;    /* for message hooks: reference given to the ask */
    void **exchange_slot;       /* EXCHANGE: the connection's handle of this exchange; NULL in it before the first
                                   step, see ask_exchange_end */
    uint32_t listener;          /* whose chains apply: 0 the broker's, else hooks_listener */
    bool denied_by_default;     /* CH3 for `authenticate`: nobody configured and anonymous is not allowed */
    struct ask_observer *observer; /* NULL: nobody, or whoever traces the client. Outlives the ask */
    void (*done)(struct ask *ask);

    /* result */
    int32_t verdict;            /* PIGEON_ALLOW, PIGEON_DENY, PIGEON_CONTINUE (exchange); what nobody decided is
                                   decided by the end of the chain */
    uint8_t reason;             /* MQTT 5 reason code of a denial, never below 0x80; 0 otherwise */
    bool decided;               /* some entry decided, not the end of the chain */
    bool reserved;              /* the end of the chain: nobody writes there whom no plugin allows it */
    char text[128];             /* reason string, or empty */
    const char *plugin;         /* who denied, for the log; NULL: end of chain */
    struct ask_value *values;   /* in order; owned by the ask */
    /* subject and message are the last ones: rewritten by inbound, authorize_publish, pre_connect,
     * authorize_subscribe. The caller takes over the references with ask_take_*. */

    /* private */
    struct ask_slot *slot;
    const struct chain *chain;
    struct hook_loop *hl;
    struct identity *who_now;    /* reference: `who` as rewritten; NULL: as it was */
    struct exchange *exchange;
    struct ask_value **last;     /* end of `values` */
    uint32_t entry;
    bool required_passed, waiting;
    bool is_reauth;              /* EXCHANGE: of a client that is online */
    uint8_t how;                 /* enum ask_how; kept for an observer only */
    uint64_t seen_ns;            /* when the entry was begun */
    uint64_t now_ms;             /* of the loop, when the walk began or went on */
};


int ask_run(struct hook_loop *hl, struct ask *ask);
/* The answer is not wanted any more (client gone): cancel() is called, done is not. Then as ask_fini. */
void ask_abandon(struct hook_loop *hl, struct ask *ask);
/* Drops values and references that the ask still holds. */
void ask_fini(struct ask *ask);
/* What the end of a chain that asks nobody says about an authorize_* hook, for who does not want to ask. Reading
 * $SYS is allowed (X1), writing to topics that begin with $ is not. */
bool ask_default(const struct hook_loop *hl, uint32_t hook, struct str topic);
/* For the log, right after the answer: why it is a denial. The plugin's text, or that no plugin decided and which
 * ones abstained; empty where a plugin denied without a word. */
struct ask_text {
    char z[256];
};
const char *ask_why(const struct ask *ask, struct ask_text *text);
struct message *ask_take_message(struct ask *ask);
struct subject *ask_take_subject(struct ask *ask);
const struct ask_value *ask_value_last(const struct ask *ask, enum ask_value_kind kind);
/* An exchange of enhanced authentication is over, or its connection is: drops the handle, NULL in it is fine.
 * After a final verdict the handle is empty already. On the loop of the asks. */
void ask_exchange_end(void **exchange_slot);
