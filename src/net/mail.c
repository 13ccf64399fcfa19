#include "net/mail.h"
#include "net/loop_priv.h"

void mail_init(struct loop *loop)
{
    loop->own_first = NULL;
    loop->own_last = &loop->own_first;
    atomic_init(&loop->mailbox, NULL);
}

static void own_append(struct loop *loop, struct mail *m)
{
    m->next = NULL;
    *loop->own_last = m;
    loop->own_last = &m->next;
}

static void outbox_put(struct outbox *box, struct mail *m)
{
    m->next = box->newest;
    if (!box->newest)
        box->oldest = m;
    box->newest = m;
}

void loop_post(struct loop *from, uint32_t to, struct mail *m_mail, mail_fn fn)
{
    assert(loop_current() == from || !from->in_turn);
    assert(to < from->group->n_loops);
    m_mail->fn = fn;
    if (to == from->index) {
        own_append(from, m_mail);
        return;
    }
    outbox_put(&from->out[to], m_mail);
    from->out_mask |= UINT64_C(1) << to;
}

void loop_post_last(struct loop *from, uint32_t to, struct mail *m_mail, mail_fn fn)
{
    assert(loop_current() == from || !from->in_turn);
    assert(to < from->group->n_loops);
    m_mail->fn = fn;
    outbox_put(&from->last[to], m_mail);
    from->last_mask |= UINT64_C(1) << to;
}

/* The chain runs newest -> oldest, like the stack itself, so that one reversal at the receiver
 * restores the order of every poster. Only the push that finds the mailbox empty wakes the
 * receiver. */
static void mailbox_push(struct loop *to, struct mail *newest, struct mail *oldest)
{
    struct mail *top = atomic_load_explicit(&to->mailbox, memory_order_relaxed);

    do {
        oldest->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&to->mailbox, &top, newest,
                                                    memory_order_acq_rel, memory_order_relaxed));
    if (!top)
        ev_async_send(to->ev, &to->wake);
}

void loop_post_any(struct loop *to, struct mail *m_mail, mail_fn fn)
{
    m_mail->fn = fn;
    mailbox_push(to, m_mail, m_mail);
}

static struct mail *reverse(struct mail *m)
{
    struct mail *reversed = NULL;

    while (m) {
        struct mail *next = m->next;

        m->next = reversed;
        reversed = m;
        m = next;
    }
    return reversed;
}

static void run_chain(struct loop *loop, struct mail *m)
{
    while (m) {
        struct mail *next = m->next; /* fn may free or post the mail */

        loop->stats.n_mails++;
        m->fn(loop, m);
        m = next;
    }
}

void mail_run_mailbox(struct loop *loop)
{
    run_chain(loop, reverse(atomic_exchange_explicit(&loop->mailbox, NULL, memory_order_acq_rel)));
}

void mail_run_own(struct loop *loop)
{
    struct mail *first = loop->own_first;

    loop->own_first = NULL;
    loop->own_last = &loop->own_first;
    run_chain(loop, first);
}

void mail_flush(struct loop *loop)
{
    while (loop->out_mask) {
        uint32_t to = (uint32_t)__builtin_ctzll(loop->out_mask);
        struct outbox box = loop->out[to];

        loop->out_mask &= loop->out_mask - 1;
        loop->out[to] = (struct outbox){ 0 };
        mailbox_push(&loop->group->loops[to], box.newest, box.oldest);
    }
}

void mail_flush_last(struct loop *loop)
{
    assert(loop->out_mask == 0);
    while (loop->last_mask) {
        uint32_t to = (uint32_t)__builtin_ctzll(loop->last_mask);
        struct outbox box = loop->last[to];

        loop->last_mask &= loop->last_mask - 1;
        loop->last[to] = (struct outbox){ 0 };
        if (to != loop->index) {
            mailbox_push(&loop->group->loops[to], box.newest, box.oldest);
            continue;
        }
        for (struct mail *m = reverse(box.newest), *next; m; m = next) {
            next = m->next;
            own_append(loop, m);
        }
    }
}

bool mail_is_waiting(struct loop *loop)
{
    return loop->own_first || loop->out_mask || loop->last_mask ||
           atomic_load_explicit(&loop->mailbox, memory_order_relaxed);
}
