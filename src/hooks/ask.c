#include "hooks/ask.h"
#include "hooks/ask_priv.h"
#include "hooks/ask_value.h"
#include "hooks/error_name.h"
#include "hooks/trace.h"
#include "wire/reason.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>

/* The request is denied by the host, not by what the plugin said. */
static int32_t refuse(struct ask *ask, const struct step *step, uint8_t reason, const char *why)
{
    struct plugin *p = step->inst->plugin;

    ask->how = ASK_BY_HOST;
    atomic_fetch_add_explicit(&p->stats.n_refused, 1, memory_order_relaxed);
    log_warn(ask->hl->hooks->log, "plugin_request_failed", LZ("plugin", p->name),
             LZ("hook", hook_name(step->hook)), LZ("reason", why));
    ask->reason = reason;
    ask->text[0] = '\0';
    return PIGEON_DENY;
}

/* ---- the question ------------------------------------------------------------------------ */

/* A message that a hook may keep, or that another thread will see, counts its references atomically
 * from now on. authorize_deliver cannot wait: host->msg_ref does it there. */
static inline void share(struct message *m)
{
    if (m && !m->shared)
        message_share(m);
}

static bool prepare_exchange(struct ask *ask, const struct step *step, struct ask_slot *slot)
{
    struct seat seat = ask_seat(ask, step);

    if (ask->exchange && ask->exchange->slot && ask->exchange->inst != seat.inst)
        exchange_unref(&ask->exchange);
    if (!ask->exchange)
        ask->exchange = exchange_new();
    if (!ask->exchange)
        return false;
    ask->exchange->inst = seat.inst;
    ask->exchange->home = seat.loop;
    slot->exchange_view = ((struct exchange_info *)ask->subject)->view;
    slot->exchange_view.slot = &ask->exchange->slot;
    slot->view = &slot->exchange_view;
    return true;
}

/* What the plugin says holds until it takes back what it has said about the client. */
static void note_rights(const struct ask *ask, const struct step *step, struct ask_slot *slot)
{
    const struct identity *who = ask_who(ask);

    slot->revoked =
        who && who->slots && who->slots->slot ? who->slots->revoked[step->inst->plugin->index] : 0;
}

static bool prepare_subject(struct ask *ask, const struct step *step, struct ask_slot *slot)
{
    note_rights(ask, step, slot);
    switch (step->hook) {
    case PIGEON_HOOK_EXCHANGE: return prepare_exchange(ask, step, slot);
    case PIGEON_HOOK_AUTHORIZE_SUBSCRIBE:
        slot->view = &((struct sub_info *)ask->subject)->view;
        return true;
    default:
        share(((struct connect_info *)ask->subject)->will);
        slot->view = &((struct connect_info *)ask->subject)->view;
        return true;
    }
}

static inline bool prepare(struct ask *ask, const struct step *step, struct ask_slot *slot)
{
    struct identity *who = ask_who(ask);

    slot->step = step;
    slot->req.hook = step->hook;
    slot->req.deadline_ns = (int64_t)ask->now_ms * 1000000 + step->deadline_ns;
    slot->req.client = NULL;
    slot->req.client_slot = NULL;
    if (who) {
        struct client_slots *cs = client_slots_of(who, ask->hl->hooks);

        if (!cs)
            return false;
        slot->req.client = &who->view;
        slot->req.client_slot = &cs->slot[step->inst->plugin->index];
    }
    if (!step->is_message)
        return prepare_subject(ask, step, slot);
    if (step->keeps_message)
        share(ask->message);
    slot->view = &ask->message->view;
    return true;
}

static void pin(const struct ask *ask, struct ask_slot *slot)
{
    struct identity *who = ask_who(ask);

    slot->who = who ? identity_ref(who) : NULL;
    slot->subject = ask->subject ? subject_ref(ask->subject) : NULL;
    slot->message = ask->message ? message_ref(ask->message) : NULL;
    slot->exchange = ask->exchange ? exchange_ref(ask->exchange) : NULL;
    note_rights(ask, slot->step, slot);
    slot_count(slot);
}

/* ---- settling one entry -------------------------------------------------------------- */

static int32_t refuse_failed(struct ask *ask, const struct step *step, const struct ask_slot *slot)
{
    char why[80];

    snprintf(why, sizeof(why), "a value could not be set: %s answered %s", slot->failed_setter,
             error_name(slot->failed_error));
    return refuse(ask, step, REASON_UNSPECIFIED_ERROR, why);
}

/* What the answer in the slot comes to. The slot's values go over to the ask. */
static int32_t settle(struct ask *ask, const struct step *step, struct ask_slot *slot,
                      int32_t verdict)
{
    struct plugin *p = step->inst->plugin;
    struct ask_value *added = slot->values, **last = slot->last;
    bool is_bad = slot->failed;
    int r = 0;

    if (slot->failed)
        verdict = refuse_failed(ask, step, slot);
    if (verdict < PIGEON_NEXT || verdict > PIGEON_CONTINUE || verdict == PIGEON_PENDING ||
        (verdict == PIGEON_CONTINUE && ask->hook != PIGEON_HOOK_EXCHANGE)) {
        atomic_fetch_add_explicit(&p->stats.n_bad_verdicts, 1, memory_order_relaxed);
        log_error(ask->hl->hooks->log, "plugin_bad_verdict", LZ("plugin", p->name),
                  LZ("hook", hook_name(step->hook)), LI("verdict", verdict));
        verdict = PIGEON_DENY;
        is_bad = true;
    }
    if (added) {
        if (acl_access(ask->hook) && !is_bad && !ask_is_dry(ask))
            ask_remember(ask, step, slot, verdict);
        slot->values = NULL;
        slot->last = &slot->values;
        if (verdict == PIGEON_DENY)
            ask_values_keep(ask, added, last);
        else
            r = ask_values_apply(ask, added, last);
    }
    if (r < 0)
        return refuse(ask, step, REASON_QUOTA_EXCEEDED, "out of memory");
    if (verdict == PIGEON_DENY)
        timing_grow(&step->timing->n_denials, 1);
    if (verdict == PIGEON_DENY && !slot->failed) {
        ask->reason = slot->reason;
        memcpy(ask->text, slot->text, sizeof(ask->text));
    }
    if (ask->exchange && verdict != PIGEON_CONTINUE && ask->exchange->slot)
        exchange_unref(&ask->exchange);
    return verdict;
}

/* The usual answer: a verdict, and nothing set beside it. */
static inline bool is_plain(const struct ask *ask, const struct ask_slot *slot, int32_t verdict)
{
    return (uint32_t)verdict <= PIGEON_DENY && !slot->values && !slot->failed && !slot->reason &&
           slot->text[0] == '\0' && !ask->exchange;
}

/* CH2. true: the chain has ended. */
static inline bool is_final(struct ask *ask, const struct step *step, int32_t verdict)
{
    bool deny = verdict == PIGEON_DENY;

    switch (step->control) {
    case CONFIG_REQUIRE:
        if (verdict == PIGEON_ALLOW) {
            ask->required_passed = true;
            return false;
        }
        deny = verdict != PIGEON_CONTINUE;
        break;
    case CONFIG_VETO:
        if (!deny)
            return false;
        break;
    default:
        if (verdict == PIGEON_NEXT)
            return false;
        break;
    }
    ask->verdict = deny ? PIGEON_DENY : verdict;
    ask->decided = true;
    ask->plugin = deny ? step->inst->plugin->name : NULL;
    return true;
}

/* ---- waiting ------------------------------------------------------------------------- */

static int go_on(struct ask *ask);
static int finish(struct ask *ask);

static void resume(struct ask *ask, const struct step *step, int32_t verdict)
{
    bool ends = is_final(ask, step, verdict);
    int r;

    ask->now_ms = loop_now_ms(ask->hl->loop);

    ask->waiting = false;
    if (ask->observer)
        ask_tell(ask, step, verdict, ends);
    if (ends) {
        r = finish(ask);
    } else {
        ask->entry++;
        r = go_on(ask);
    }
    if (r == ASK_DONE)
        ask->done(ask);
}

static void on_answer(struct ask_slot *slot, int32_t verdict)
{
    struct ask *ask = slot->owner;
    const struct step *step = slot->step;

    ask->slot = NULL;
    verdict = settle(ask, step, slot, verdict);
    slot_release(slot);
    resume(ask, step, verdict);
}

/* The values of an entry that is too late are not taken over, and its exchange is its own. */
static void on_deadline(struct ask_slot *slot)
{
    struct ask *ask = slot->owner;
    const struct step *step = slot->step;

    slot->owner = NULL;
    ask->slot = NULL;
    exchange_unref(&ask->exchange);
    ask_values_drop(ask, step->inst->plugin->index);
    log_warn(ask->hl->hooks->log, "plugin_deadline", LZ("plugin", step->inst->plugin->name),
             LZ("hook", hook_name(step->hook)), LU("deadline_ms", step->deadline_ms),
             LZ("outcome", step->next_on_deadline ? "next" : "deny"));
    ask->reason = 0;
    ask->text[0] = '\0';
    ask->how = ASK_BY_DEADLINE;
    resume(ask, step, step->next_on_deadline ? PIGEON_NEXT : PIGEON_DENY);
}

static void wait_for(struct ask *ask, struct ask_slot *slot)
{
    slot->owner = ask;
    slot->fn = on_answer;
    ask->waiting = true;
    slot_arm(slot, loop_now_ms(ask->hl->loop) + slot->step->deadline_ms, on_deadline);
}

/* ---- one entry ----------------------------------------------------------------------- */

static uint8_t busy_reason(uint32_t hook)
{
    return hook <= PIGEON_HOOK_EXCHANGE ? REASON_SERVER_BUSY : REASON_QUOTA_EXCEEDED;
}

/* The hook has answered by returning, and complete() was not there before it. */
static inline int32_t settle_now(struct ask *ask, const struct step *step, struct ask_slot *slot,
                                 int32_t verdict)
{
    if (is_plain(ask, slot, verdict)) {
        if (verdict == PIGEON_DENY) {
            timing_grow(&step->timing->n_denials, 1);
            ask->reason = 0;
        }
        return verdict;
    }
    note_rights(ask, step, slot);
    verdict = settle(ask, step, slot, verdict);
    slot_forget(slot);
    return verdict;
}

/* authorize_deliver is asked for each receiver and has no token: nobody can answer it later. */
static int32_t conclude_deliver(struct ask *ask, const struct step *step, struct ask_slot *slot,
                                int32_t verdict)
{
    if (verdict == PIGEON_PENDING)
        return refuse(ask, step, 0, "authorize_deliver must answer at once");
    return settle_now(ask, step, slot, verdict);
}

/* Why the question cannot be put to the plugin; NULL: it can, with ask->slot. */
static inline const char *obstacle(struct ask *ask, const struct step *step)
{
    if (step->hook != PIGEON_HOOK_AUTHORIZE_DELIVER && /* which never waits */
        atomic_load_explicit(&step->inst->plugin->stats.n_pending, memory_order_relaxed) >=
            step->max_pending)
        return "max_pending is reached";
    if (!ask->slot)
        ask->slot = slot_get(ask->hl);
    return ask->slot && prepare(ask, step, ask->slot) ? NULL : "out of memory";
}

/* The hook has returned this verdict, for the token of the open slot. */
static int32_t conclude(struct ask *ask, const struct step *step, struct ask_slot *slot,
                        int32_t verdict)
{
    if (verdict != PIGEON_PENDING) {
        if (slot_close(slot))
            return settle_now(ask, step, slot, verdict);
        /* complete() was there first: its answer counts. */
        atomic_fetch_add_explicit(&step->inst->plugin->stats.n_twice, 1, memory_order_relaxed);
        log_error(ask->hl->hooks->log, "plugin_answered_twice",
                  LZ("plugin", step->inst->plugin->name), LZ("hook", hook_name(step->hook)));
    }
    pin(ask, slot);
    wait_for(ask, slot);
    return PIGEON_PENDING;
}

static int32_t ask_away(struct ask *ask, const struct step *step, struct ask_slot *slot)
{
    struct seat seat = ask_seat(ask, step);

    slot_open(slot, seat.inst);
    pin(ask, slot);
    wait_for(ask, slot);
    ask_call_away(slot, seat.loop);
    return PIGEON_PENDING;
}

/* A verdict, or PIGEON_PENDING: the ask waits. */
static inline int32_t ask_hook(struct ask *ask, const struct step *step)
{
    const char *why = obstacle(ask, step);
    struct ask_slot *slot = ask->slot;

    if (why)
        return refuse(ask, step, busy_reason(step->hook), why);
    if (step->hook == PIGEON_HOOK_AUTHORIZE_DELIVER) {
        slot->req.token = 0;
        atomic_store_explicit(&slot->inst, step->inst, memory_order_relaxed);
        return conclude_deliver(ask, step, slot,
                                ask_call(step, slot, &ask->hl->crumb, step->timing));
    }
    if (step->away)
        return ask_away(ask, step, slot);
    slot_open(slot, step->inst);
    return conclude(ask, step, slot, ask_call(step, slot, &ask->hl->crumb, step->timing));
}

static inline int32_t ask_entry(struct ask *ask, const struct step *step)
{
    int32_t verdict = ENTRY_SKIP;

    if (step->only && !only_matches(step->only, message_topic(ask->message)))
        return ENTRY_SKIP;
    if (step->has_rules && ask_rules(ask, step, &verdict))
        return verdict;
    return step->fn.any ? ask_hook(ask, step) : verdict;
}

/* As ask_entry, and the observer learns who answered. */
static int32_t ask_entry_seen(struct ask *ask, const struct step *step)
{
    int32_t verdict = ENTRY_SKIP;

    ask->seen_ns = ask_clock_ns();
    ask->how = ASK_BY_NOBODY;
    if (step->only && !only_matches(step->only, message_topic(ask->message))) {
        ask->how = ASK_BY_ONLY;
        return ENTRY_SKIP;
    }
    if (step->has_rules && ask_rules(ask, step, &verdict))
        return verdict;
    if (!step->fn.any)
        return verdict;
    ask->how = ASK_BY_HOOK;
    if (ask_is_dry(ask)) {
        ask->slot = ask->slot ? ask->slot : slot_get(ask->hl);
        if (ask->slot)
            ask->slot->req.flags = PIGEON_REQ_EXPLAIN;
    }
    return ask_hook(ask, step);
}

/* ---- the chain ----------------------------------------------------------------------- */

static void commit_rules(struct ask *ask)
{
    uint32_t plugin = 0;
    int r = ask_values_commit_rules(ask, &plugin);
    const char *name;

    if (r == 0)
        return;
    name = ask->hl->hooks->plugins[plugin].name;
    if (r == -ESTALE)
        log_info(ask->hl->hooks->log, "plugin_rules_outdated", LZ("plugin", name));
    else
        log_error(ask->hl->hooks->log, "plugin_rules_refused", LZ("plugin", name),
                  LZ("reason", r == -EPERM ? "it pushes rules but is not in chains.authorize; "
                                             "name it there, or stop it from pushing rules"
                                           : "out of memory"));
    ask->verdict = PIGEON_DENY;
    ask->plugin = name;
    ask->reason = r == -EPERM    ? 0
                  : r == -ESTALE ? REASON_SERVER_BUSY /* it may come again */
                                 : REASON_QUOTA_EXCEEDED;
}

static int finish(struct ask *ask)
{
    if (ask->slot) {
        ask->slot->req.flags = 0;
        slot_put(ask->slot);
        ask->slot = NULL;
    }
    if (ask->verdict == PIGEON_ALLOW && ask->values && ask->hook <= PIGEON_HOOK_EXCHANGE &&
        !ask_is_dry(ask))
        commit_rules(ask);
    if (ask->verdict == PIGEON_ALLOW && ask->hook == PIGEON_HOOK_AUTHORIZE_SUBSCRIBE &&
        !ask_is_dry(ask))
        ask_arm(ask);
    if (ask->verdict != PIGEON_DENY) {
        ask->reason = 0;
        ask->text[0] = '\0';
    } else if (ask->reason == 0) {
        ask->reason = ask->hook == PIGEON_HOOK_EXCHANGE && !ask->decided
                          ? REASON_BAD_AUTHENTICATION_METHOD
                          : REASON_NOT_AUTHORIZED;
    }
    if (ask->exchange && ask->verdict == PIGEON_CONTINUE) {
        ask->exchange->entry = ask->entry;
        ask->exchange->required_passed = ask->required_passed;
        ask->exchange->is_reauth = ask->is_reauth;
        ask_values_save(ask, ask->exchange);
        *ask->exchange_slot = ask->exchange;
        ask->exchange = NULL;
    }
    if (ask->exchange)
        exchange_unref(&ask->exchange);
    if (ask->who_now)
        identity_unref(&ask->who_now);
    return ASK_DONE;
}

static int go_on(struct ask *ask)
{
    const struct chain *chain = ask->chain;

    for (; ask->entry < chain->n; ask->entry++) {
        const struct step *step = &chain->steps[ask->entry];
        int32_t verdict = ask->observer ? ask_entry_seen(ask, step) : ask_entry(ask, step);
        bool ends;

        if (verdict == PIGEON_PENDING)
            return ASK_WAIT;
        ends = verdict != ENTRY_SKIP && is_final(ask, step, verdict);
        if (ask->observer)
            ask_tell(ask, step, verdict, ends);
        if (ends)
            return finish(ask);
    }
    ask_end(ask);
    return finish(ask);
}

/* Where the exchange stopped. A reload in between may have moved the plugin; without a place in the
 * chain it has no say any more, and what was passed before does not let the client in. Steps name
 * the first instance of a plugin with workers, the exchange the one that serves the client. */
static void find_entry(struct ask *ask, const struct exchange *x)
{
    const struct chain *chain = ask->chain;
    const struct plugin *p = x->inst->plugin;

    ask->entry = x->entry;
    ask->required_passed = x->required_passed;
    if (x->entry < chain->n && chain->steps[x->entry].inst->plugin == p)
        return;
    for (ask->entry = 0; ask->entry < chain->n; ask->entry++)
        if (chain->steps[ask->entry].inst->plugin == p)
            return;
    ask->required_passed = false;
}

/* ---- the usual case: plugins that are asked here and have nothing to say ---------------- */

static inline bool has_no_rules(const struct identity *who)
{
    return !who || !who->slots || (!who->slots->acl.entries && !who->slots->acl.cached);
}

/* ask_entry for the first steps of a chain, as long as they are quick and say NEXT. Does what
 * ask_hook does, and once what is the same for all of them. `step`: the one it came to; a verdict
 * that is not plain NEXT has been settled. */
__attribute__((always_inline)) static inline int32_t
walk_row(struct ask *ask, struct ask_slot *slot, const struct step **r_step, bool has_token)
{
    const struct step *step = ask->chain->steps;
    struct client_slots *cs = ask->who ? ask->who->slots : NULL;
    void **client_slots = cs ? cs->slot : NULL;
    struct crumb *crumb = &ask->hl->crumb;
    int64_t now_ns = (int64_t)ask->now_ms * 1000000;
    int32_t verdict;

    atomic_store_explicit(&crumb->conn_id, ask->who ? ask->who->view.conn_id : 0,
                          memory_order_relaxed);
    slot->view = &ask->message->view;
    slot->req.hook = step->hook;
    slot->req.client = ask->who ? &ask->who->view : NULL;
    slot->req.client_slot = NULL;
    slot->req.token = 0;
    for (;; step++) {
        struct timing *timing = step->timing;

        slot->step = step;
        if (client_slots)
            slot->req.client_slot = client_slots + step->plugin;
        if (has_token) {
            if (atomic_load_explicit(step->n_pending, memory_order_relaxed) >= step->max_pending) {
                verdict = refuse(ask, step, busy_reason(step->hook), "max_pending is reached");
                break;
            }
            slot->req.deadline_ns = now_ns + step->deadline_ns;
            slot_open(slot, step->inst);
        } else {
            atomic_store_explicit(&slot->inst, step->inst, memory_order_relaxed);
        }
        atomic_store_explicit(&crumb->call, timing, memory_order_relaxed);
        verdict = __builtin_expect(timing_count(timing), 0)
                      ? ask_call_timed(step, slot)
                      : step->fn.msg(step->inst->self, &slot->req, slot->view);
        atomic_store_explicit(&crumb->call, NULL, memory_order_relaxed);
        if (verdict != PIGEON_NEXT || slot->touched || (has_token && !slot_close(slot))) {
            verdict = has_token ? conclude(ask, step, slot, verdict)
                                : conclude_deliver(ask, step, slot, verdict);
            break;
        }
        if (!step->goes_on)
            break;
    }
    *r_step = step;
    return verdict;
}

/* The first step is quick, nobody looks on, and there are no rules. */
static int ask_row(struct ask *ask)
{
    struct hook_loop *hl = ask->hl;
    const struct step *step = ask->chain->steps;
    struct ask_slot *slot = hl->slots.free;
    int32_t verdict;

    if (!slot)
        return go_on(ask);
    hl->slots.free = slot->next;
    ask->slot = slot;
    if (step->keeps_message)
        share(ask->message);
    if (ask->who && !client_slots_of(ask->who, hl->hooks))
        verdict = refuse(ask, step, busy_reason(step->hook), "out of memory");
    else if (ask->hook == PIGEON_HOOK_AUTHORIZE_DELIVER)
        verdict = walk_row(ask, slot, &step, false);
    else
        verdict = walk_row(ask, slot, &step, true);
    ask->entry = (uint32_t)(step - ask->chain->steps);
    if (verdict == PIGEON_PENDING)
        return ASK_WAIT;
    if (is_final(ask, step, verdict))
        return finish(ask);
    ask->entry++;
    return go_on(ask);
}

/* The step after CONTINUE goes on where the first one stopped; any other begins a new exchange. */
static void begin_exchange(struct ask *ask)
{
    struct exchange *x = *ask->exchange_slot;
    uint32_t stage = ((struct exchange_info *)ask->subject)->view.stage;

    *ask->exchange_slot = NULL;
    ask->is_reauth = stage == PIGEON_STAGE_REAUTH;
    if (x && stage == PIGEON_STAGE_CONTINUE) {
        ask->exchange = x;
        ask->is_reauth = x->is_reauth;
        ask_values_restore(ask, x);
        find_entry(ask, x);
        return;
    }
    exchange_unref(&x);
}

int ask_run(struct hook_loop *hl, struct ask *ask)
{
    ask->hl = hl;
    ask->now_ms = loop_now_ms(hl->loop);
    ask->chain = hook_loop_chain(hl, ask->listener, ask->hook);
    ask->verdict = PIGEON_DENY;
    ask->reason = 0;
    ask->decided = ask->reserved = false;
    ask->text[0] = '\0';
    ask->plugin = NULL;
    ask->values = NULL;
    ask->last = &ask->values;
    ask->slot = NULL;
    ask->who_now = NULL;
    ask->exchange = NULL;
    ask->entry = 0;
    ask->required_passed = ask->waiting = ask->is_reauth = false;
    if (hl->n_traces && !ask->observer)
        ask->observer = trace_observer(hl, ask);
    if (ask->hook == PIGEON_HOOK_EXCHANGE)
        begin_exchange(ask);
    if (ask->chain->n && ask->chain->steps->is_quick && !ask->observer &&
        (!ask->chain->steps->has_rules || has_no_rules(ask->who)))
        return ask_row(ask);
    if (ask_has_rules(ask) && ask_flat(ask)) {
        if (!ask->decided)
            ask_end(ask);
        return finish(ask);
    }
    return go_on(ask);
}

void ask_fini(struct ask *ask)
{
    assert(!ask->waiting);
    ask_values_free(&ask->values);
    subject_unref(&ask->subject);
    message_unref(&ask->message);
    exchange_unref(&ask->exchange);
    identity_unref(&ask->who_now);
}

void ask_abandon(struct hook_loop *hl, struct ask *ask)
{
    struct ask_slot *slot = ask->slot;

    if (ask->waiting && slot) {
        slot->owner = NULL;
        slot_kill(slot, hl->ends ? PIGEON_CANCEL_STOP : PIGEON_CANCEL_GONE);
        ask->slot = NULL;
    }
    ask->waiting = false;
    ask_fini(ask);
}

struct message *ask_take_message(struct ask *ask)
{
    struct message *m = ask->message;

    ask->message = NULL;
    return m;
}

struct subject *ask_take_subject(struct ask *ask)
{
    struct subject *s = ask->subject;

    ask->subject = NULL;
    return s;
}

void ask_exchange_end(void **exchange_slot)
{
    struct exchange *x = *exchange_slot;

    *exchange_slot = NULL;
    exchange_unref(&x);
}
