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
        struct crumb *crumb = &inst->hooks->loop[inst->loop]->crumb;

        slot->unseen = false;
        verdict = ask_call(slot->step, slot, crumb,
                           crumb_timing(crumb, inst->plugin->index, slot->step->hook));
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
