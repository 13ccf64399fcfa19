/* ask_priv.h - the parts of one question to a chain; private to hooks/ask*.c.
 *
 *   ask.c        the walk along the chain: control words, waiting, end of chain
 *   ask_call.c   one entry's plugin is called, here or on the loop it lives on
 *   ask_rules.c  what an entry answers without a call: pushed rules and remembered verdicts (X3)
 *   ask_end.c    what nobody decided is decided, by the configuration
 *   ask_flat.c   the rules of all entries as one table, where nobody needs to be called */
#pragma once
#include "hooks/ask.h"
#include "hooks/chain.h"
#include "hooks/client_slots.h"
#include "hooks/pending.h"
#include "hooks/worker.h"

/* Outcomes of one entry beside the verdicts. */
#define ENTRY_SKIP (-1000) /* the entry has nothing to do with this question */

static inline struct identity *ask_who(const struct ask *ask)
{
    return ask->who_now ? ask->who_now : ask->who;
}

/* ---- explain.c ---- */

static inline bool ask_is_dry(const struct ask *ask)
{
    return ask->observer && ask->observer->is_dry;
}
/* Tells the observer what an entry came to. */
void ask_tell(const struct ask *ask, const struct step *step, int32_t verdict, bool is_final);
uint64_t ask_clock_ns(void);

/* ---- ask_call.c ---- */

int32_t ask_call_other(const struct step *step, struct ask_slot *slot);
/* Calls fn.msg and notes how long it took. */
int32_t ask_call_timed(const struct step *step, struct ask_slot *slot);
/* Calls the hook on the thread of the crumb, with the timing of that crumb; whatever number it
 * returns. */
static inline int32_t ask_call(const struct step *step, struct ask_slot *slot, struct crumb *crumb,
                               struct timing *timing)
{
    int32_t verdict;

    crumb_enter_at(crumb, timing, slot->req.client);
    verdict = __builtin_expect(step->is_message, 1)
                  ? step->fn.msg(step->inst->self, &slot->req, slot->view)
                  : ask_call_other(step, slot);
    crumb_leave_at(crumb, timing);
    return verdict;
}
/* Who is asked, and where. For a question about a client after its client_slots are there. */
struct seat ask_seat(const struct ask *ask, const struct step *step);
/* Puts the question to an instance that lives elsewhere. The slot is open for it, pinned and
 * awaited. */
void ask_call_away(struct ask_slot *slot, struct loop *home);

/* ---- ask_rules.c ---- */

/* The topic, or the filter as it is now. */
struct str ask_topic(const struct ask *ask);
/* NULL: nothing is known about the client. */
struct acl *ask_acl(const struct ask *ask);
/* The entry's rules, then what it said before. true: one of them is the answer, with ask->how, and
 * reason and text of a remembered denial. Else *r_verdict says what the entry comes to if it has no
 * hook to ask: NEXT, which `require` denies; but deliveries are filtered only by who has something
 * to say about this client's: ENTRY_SKIP. */
bool ask_rules(struct ask *ask, const struct step *step, int32_t *r_verdict);
/* set_cache keeps a verdict only when it was the whole answer: a rewritten message is asked for
 * again. */
void ask_remember(struct ask *ask, const struct step *step, const struct ask_slot *slot,
                  int32_t verdict);
/* A SUBSCRIBE is allowed: deny rules of the entries asked that meet its filter without covering it
 * are looked at for each delivery from now on. */
void ask_arm(struct ask *ask);
/* CH3. Rules that allow a client something say that the rest is not meant for it, as a hook would.
 */
bool ask_is_configured(const struct ask *ask);

/* ---- ask_end.c ---- */

/* CH3: the chain has come to its end. */
void ask_end(struct ask *ask);

/* ---- ask_flat.c ---- */

static inline bool ask_has_rules(const struct ask *ask)
{
    const struct identity *who = ask_who(ask);

    return who && who->slots && who->slots->acl.entries;
}

/* Rules alone answer, whatever entry it would have come to: true. ask->verdict and its company are
 * set if ask->decided, else it is the end of the chain's turn. Never with an observer. */
bool ask_flat(struct ask *ask);
