#include "hooks/ask_priv.h"

int32_t ask_call(const struct step *step, struct ask_slot *slot, struct hook_loop *here)
{
    void *self = step->inst->self;
    int32_t verdict = PIGEON_DENY;

    crumb_enter(&here->crumb, step->inst, step->hook, slot->req.client);
    switch (step->hook) {
    case PIGEON_HOOK_PRE_CONNECT:
    case PIGEON_HOOK_AUTHENTICATE: verdict = step->fn.connect(self, &slot->req, slot->view); break;
    case PIGEON_HOOK_EXCHANGE: verdict = step->fn.exchange(self, &slot->req, slot->view); break;
    case PIGEON_HOOK_AUTHORIZE_SUBSCRIBE:
        verdict = step->fn.sub(self, &slot->req, slot->view);
        break;
    default: verdict = step->fn.msg(self, &slot->req, slot->view); break;
    }
    crumb_leave(&here->crumb);
    return verdict;
}

static void on_hop_back(struct loop *here, struct mail *m)
{
    (void)here;
    slot_mail_back(container_of(m, struct ask_slot, hop_mail));
}

/* At home of a SINGLE instance. The views stay pinned until the mail is back, even if another
 * thread answers while the hook still runs. */
static void on_hop(struct loop *here, struct mail *m)
{
    struct ask_slot *slot = container_of(m, struct ask_slot, hop_mail);
    struct instance *inst = slot->step->inst;
    int32_t verdict = PIGEON_DENY;

    if (word_state(atomic_load_explicit(&slot->word, memory_order_acquire)) == SLOT_PENDING &&
        inst->created) {
        slot->unseen = false;
        verdict = ask_call(slot->step, slot, inst->hooks->loop[inst->loop]);
    }
    if (verdict != PIGEON_PENDING)
        pending_complete(inst, slot->req.token, verdict);
    loop_post(here, slot->hl->index, m, on_hop_back);
}

void ask_call_away(struct ask *ask, struct ask_slot *slot)
{
    slot->unseen = true;
    slot->mails_out++;
    loop_post(ask->hl->loop, slot->step->inst->loop, &slot->hop_mail, on_hop);
}
