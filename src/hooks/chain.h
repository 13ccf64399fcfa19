/* chain.h - the order of plugins per hook, as the operator wrote it or by file name; private to
 * hooks/.
 *
 * Built from a configuration, then flattened per loop and listener into arrays of steps, so that
 * asking costs no look-up. A reload builds new ones beside the old and swaps them while every loop
 * stands still; the old arrays live on until no question is under way in them. A step without a
 * function exists for the rules that its plugin pushes (X3). */
#pragma once
#include "hooks/client_slots.h"
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
    int64_t deadline_ns; /* the same */
    uint32_t max_pending;
    uint32_t plugin; /* index */
    _Atomic uint32_t *n_pending;
    struct timing *timing; /* of calls from this loop */
    bool is_message;       /* fn.msg is the one */
    bool keeps_message;    /* the hook, or another thread, may hold a reference to it */
    bool is_quick;         /* asked here about every message: see ask_row */
    bool goes_on;          /* after NEXT the next step is asked, a quick one like this */
};

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

/* The chains of one loop, flattened; immutable. */
struct chain_table {
    struct chain_table *next; /* replaced, but still asked */
    struct chains *chains;    /* reference */
    struct hook_loop_head head;
    uint32_t n_listeners;
    struct chain *hooks;        /* [listener][PIGEON_HOOK_COUNT] */
    struct event_chain *events; /* [listener][EVENT_COUNT] */
};

struct hook_loop {
    struct hook_loop_head head; /* begins as struct hook_loop_front does */
    uint32_t n_traces;          /* pigeon.admin/1: who watches clients of this loop */
    uint32_t index;
    struct hooks *hooks;
    struct loop *loop;
    struct store_loop *store; /* NULL: no store */
    /* of `table`, here to save a step */
    struct chain *chains;
    struct event_chain *events;
    uint32_t n_listeners; /* the broker's own included: index 0 */
    struct chain_table *table, *replaced;
    bool ends; /* the broker stops */
    _Alignas(64) struct crumb crumb;
    struct slots slots;
    uint32_t chains_version; /* another one: the chains have been replaced */
    struct clients clients;
};

static inline const struct chain *hook_loop_chain(const struct hook_loop *hl, uint32_t listener,
                                                  uint32_t hook)
{
    return &hl->chains[(listener < hl->n_listeners ? listener : 0) * PIGEON_HOOK_COUNT + hook];
}

static inline const struct event_chain *hook_loop_events(const struct hook_loop *hl,
                                                         uint32_t listener, enum hook_event event)
{
    return &hl->events[(listener < hl->n_listeners ? listener : 0) * EVENT_COUNT + event];
}

/* Checks every written chain against the plugins that take part, logging each fault. Listeners that
 * `old` (or NULL) knows keep their numbers, also those that `config` has no more: their clients may
 * still be there. Counted on loop 0. 0, -EINVAL, -ENOMEM. */
int chains_new(struct hooks *hooks, struct config *config, const struct chains *old,
               struct chains **r_chains);
struct chains *chains_ref(struct chains *chains);
void chains_unref(struct chains **chains);
/* Flattens for one loop; instances must be laid out. 0 or -ENOMEM. */
int chain_table_new(struct chains *chains, const struct hook_loop *hl,
                    struct chain_table **r_table);
void chain_table_free(struct chain_table **table);
/* From now on the loop asks by this table; the one before is kept while it is in use. The loop
 * stands still, or has not begun. */
void hook_loop_take_table(struct hook_loop *hl, struct chain_table *m_table);
/* Frees all of them; nobody asks any more. */
void hook_loop_drop_tables(struct hook_loop *hl);
bool chains_configured(const struct chains *chains, uint32_t hook);
/* The number of a listener, for ask.listener and identity_parts.chains; 0, the broker's, when there
 * is none of this name. */
uint32_t chains_listener(const struct chains *chains, const char *name);
void chains_print(const struct chains *chains, FILE *out);
/* Does a written chain name this plugin? */
bool chains_mention(const struct config *config, const char *plugin);
/* Of a listener's number; "" for 0. */
const char *chains_listener_name(const struct chains *chains, uint32_t listener);
/* "authenticate", ...; for logs. */
const char *hook_name(uint32_t hook);
bool only_matches(const struct only *only, struct str topic);
