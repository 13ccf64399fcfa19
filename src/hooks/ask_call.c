#include "hooks/ask_priv.h"

int32_t ask_call_other(const struct step *step, struct ask_slot *slot)
{
    void *self = step->inst->self;

    switch (step->hook) {
    case PIGEON_HOOK_PRE_CONNECT:
    case PIGEON_HOOK_AUTHENTICATE: return step->fn.connect(self, &slot->req, slot->view);
    case PIGEON_HOOK_EXCHANGE: return step->fn.exchange(self, &slot->req, slot->view);
    default: return step->fn.sub(self, &slot->req, slot->view);
    }
}

int32_t ask_call_timed(const struct step *step, struct ask_slot *slot)
{
    uint64_t began_ns = timing_clock();
    int32_t verdict = step->fn.msg(step->inst->self, &slot->req, slot->view);

    timing_note(step->timing, timing_clock() - began_ns);
    return verdict;
}

static void on_hop_back(struct loop *here, struct mail *m)
{
    (void)here;
    slot_mail_back(container_of(m, struct ask_slot, hop_mail));
}

/* The hook has returned a verdict. After complete() it is the second one: the slot says DONE until
 * its hop mail is back. */
static void answer(struct ask_slot *slot, struct instance *inst, int32_t verdict)
{
    if (pending_complete(inst, slot->req.token, verdict) == PIGEON_OK ||
        word_state(atomic_load_explicit(&slot->word, memory_order_acquire)) != SLOT_DONE)
        return;
    atomic_fetch_add_explicit(&inst->plugin->stats.n_twice, 1, memory_order_relaxed);
    log_error(inst->hooks->log, "plugin_answered_twice", LZ("plugin", inst->plugin->name),
              LZ("hook", hook_name(slot->step->hook)));
}

/* At home: a SINGLE instance's loop, or a worker. The views stay pinned until the mail is back,
 * even if another thread answers while the hook still runs. */
static void on_hop(struct loop *here, struct mail *m)
{
    struct ask_slot *slot = container_of(m, struct ask_slot, hop_mail);
    struct instance *inst = atomic_load_explicit(&slot->inst, memory_order_relaxed);
    int32_t verdict = PIGEON_DENY;

    if (word_state(atomic_load_explicit(&slot->word, memory_order_acquire)) == SLOT_PENDING &&
        inst->created && !inst->hooks->stopping) {
        struct crumb *crumb = hooks_crumb(inst->hooks, here);
        struct step step = *slot->step; /* of any instance of the plugin */

        step.inst = inst;
        slot->unseen = false;
        verdict =
            ask_call(&step, slot, crumb, crumb_timing(crumb, inst->plugin->index, step.hook));
        slot->unseen = verdict != PIGEON_PENDING;
    }
    if (verdict != PIGEON_PENDING)
        answer(slot, inst, verdict);
    hooks_post(slot->hl->loop, m, on_hop_back);
}

struct seat ask_seat(const struct ask *ask, const struct step *step)
{
    const struct plugin *p = step->inst->plugin;
    const struct identity *who = ask_who(ask);

    if (!step->away)
        return (struct seat){ step->inst, ask->hl->loop };
    if (p->n_workers <= 1)
        return plugin_seat(p, 0);
    if (who)
        return plugin_seat(p, client_key(who, ask->hl->hooks));
    return plugin_seat(p,
                       ask->message ? hooks_key(ask->hl->hooks, message_topic(ask->message)) : 0);
}

void ask_call_away(struct ask_slot *slot, struct loop *home)
{
    slot->unseen = true;
    slot->home = home;
    slot->mails_out++;
    hooks_post(home, &slot->hop_mail, on_hop);
}
