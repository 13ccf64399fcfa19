/* chain.h - the order of plugins per hook, as the operator wrote it or by file name; private to
 * hooks/.
 *
 * Built once from the configuration, then flattened per loop and listener into arrays of steps, so
 * that asking costs no look-up. A step without a function exists for the rules that its plugin
 * pushes (X3). */
#pragma once
#include "hooks/crumb.h"
#include "hooks/events.h"
#include "hooks/pending.h"
#include "hooks/plugin.h"

struct step {
    union {
        int32_t (*connect)(void *self, pigeon_req *req, const pigeon_connect *connect);
        int32_t (*exchange)(void *self, pigeon_req *req, const pigeon_exchange *exchange);
        int32_t (*msg)(void *self, pigeon_req *req, const pigeon_msg *msg);
        int32_t (*sub)(void *self, pigeon_req *req, const pigeon_sub *sub);
        void (*any)(void); /* NULL: only rules */
    } fn;
    struct instance *inst;
    uint32_t hook;           /* as the plugin sees it */
    uint8_t control;         /* enum config_control */
    bool has_rules;          /* an authorize hook: pushed rules answer first */
    bool next_on_deadline;   /* else: deny */
    bool away;               /* the call travels to another loop */
    const struct only *only; /* NULL: every topic */
    uint64_t deadline_ms;
    uint32_t max_pending;
};
    bool is_message;         /* fn.msg is the one */
    bool keeps_message;      /* the hook, or another thread, may hold a reference to it */
    struct timing *timing;   /* of calls from this loop */

struct chain {
    struct step *steps;
    uint32_t n;
    bool configured; /* CH3: some step has a function */
};

struct event_step {
    struct instance *inst;
    const struct only *only;
    bool away;
};

struct event_chain {
    struct event_step *steps;
    uint32_t n;
};

struct hook_loop {
    struct hook_loop_head head;
    uint32_t index;
    struct hooks *hooks;
    struct loop *loop;
    struct store_loop *store; /* NULL: no store */
    struct chain *chains;     /* [listener][PIGEON_HOOK_COUNT] */
    uint32_t n_listeners;     /* the broker's own included: index 0 */
    struct event_chain events[EVENT_COUNT];
    _Alignas(64) struct crumb crumb;
    struct slots slots;
};

static inline const struct chain *hook_loop_chain(const struct hook_loop *hl, uint32_t listener,
                                                  uint32_t hook)
{
    return &hl->chains[(listener < hl->n_listeners ? listener : 0) * PIGEON_HOOK_COUNT + hook];
}

/* Checks every written chain against the plugins that take part, logging each fault. 0, -EINVAL,
 * -ENOMEM. */
int chains_new(struct hooks *hooks, struct chains **r_chains);
void chains_free(struct chains **chains);
/* Flattens for one loop; instances must be laid out. 0 or -ENOMEM. */
int chains_flatten(const struct chains *chains, struct hook_loop *hl);
void chains_unflatten(struct hook_loop *hl);
bool chains_configured(const struct chains *chains, uint32_t hook);
void chains_print(const struct chains *chains, FILE *out);
/* Does a written chain name this plugin? */
bool chains_mention(const struct config *config, const char *plugin);
/* "authenticate", ...; for logs. */
const char *hook_name(uint32_t hook);
bool only_matches(const struct only *only, struct str topic);
