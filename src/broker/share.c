#include "broker/share.h"
#include "broker/broker.h"
#include "broker/deliver.h"
#include "hooks/store.h"

/* The row of a stored message goes to the member that gets it now, if that one has rows. */
static void move_row(struct shard *s, uint64_t from, uint64_t pos, const struct receiver *to,
                     uint8_t qos)
{
    struct store_rcpt rcpt = { .session = to->who.session,
                               .qos = qos,
                               .share = share_name(to->share) };
    store_unit_begin(s->hooks, PIGEON_DURABILITY_OS, STORE_AGAIN);
    if (qos && (to->flags & SUB_DURABLE))
        store_queue_move(s->hooks, from, pos, &rcpt);
    else
        store_queue_del(s->hooks, from, pos);
    store_unit_end(s->hooks, NULL);
    store_submit(s->hooks);
}

static void on_row(struct store_wait *w, int status)
{
    (void)w;
    (void)status; /* QoS 1 may be delivered before its row is committed, or without one */
}

/* A message without a row for a member that has rows. Its arrival number, or 0. */
static uint64_t add_row(struct shard *s, struct message *message, const struct receiver *to,
                        uint8_t qos)
{
    struct store_rcpt rcpt = { .session = to->who.session,
                               .qos = qos,
                               .share = share_name(to->share) };
    struct store_wait wait;
    store_wait_init(&wait, on_row);
    store_unit_begin(s->hooks, PIGEON_DURABILITY_OS, 0);
    store_queue_add(s->hooks, message, &rcpt, 1);
    if (store_unit_end(s->hooks, &wait))
        return 0;
    store_submit(s->hooks);
    uint64_t pos = wait.pos;
    store_wait_cancel(&wait);
    return pos;
}

static void give_up(struct shard *s, const struct routed *r, uint64_t session, bool stored)
{
    shard_count(s, N_DROPPED + PIGEON_DROP_HOPS, 1);
    events_dropped(s->hooks, NULL, r->message, PIGEON_DROP_HOPS);
    if (!stored)
        return;
    store_unit_begin(s->hooks, PIGEON_DURABILITY_MEMORY, STORE_AGAIN | STORE_TRIM);
    store_queue_del(s->hooks, session, r->pos);
    store_unit_end(s->hooks, NULL);
}

/* What came from another node stays here. */
static int choose(struct shard *s, const struct routed *again, const struct share *share,
                  struct receiver *r_next)
{
    struct index *ix = s->broker->index;
    if (again->message->view.origin == PIGEON_ORIGIN_BUS)
        return index_choose_here(ix, s->index, share, again->not_these, again->n_not_these, r_next);
    return index_choose(ix, s->index, share, again->not_these, again->n_not_these, r_next);
}

void share_bounce(struct shard *s, const struct routed *r, const struct receiver *refused)
{
    struct routed again = *r;
    struct receiver next;
    bool stored = r->pos && (refused->flags & SUB_DURABLE) && refused->qos;
    if (again.n_not_these < SHARE_HOPS_MAX)
        again.not_these[again.n_not_these++] = refused->who.session;
    if (r->n_not_these >= SHARE_HOPS_MAX || choose(s, &again, refused->share, &next)) {
        give_up(s, r, refused->who.session, stored);
        return;
    }
    uint8_t qos = next.qos < r->message->view.qos ? next.qos : r->message->view.qos;
    bool has_rows = qos && (next.flags & SUB_DURABLE);
    if (stored)
        move_row(s, refused->who.session, r->pos, &next, qos);
    else if (has_rows)
        again.pos = add_row(s, r->message, &next, qos);
    if (!has_rows)
        again.pos = 0;
    again.ids = NULL; /* identifiers of the new member's subscription are not at hand here */
    next.n_ids = 0;
    next.first_id = 0;
    route_to_loop(s, next.who.loop, &again, &next, 1);
}

static void hand_over(struct session *session, struct delivery *d)
{
    struct shard *s = session->shard;
    struct receiver gone = { .who = session_who(session),
                             .share = d->share,
                             .qos = d->qos,
                             .flags = session->durable ? SUB_DURABLE : 0 };
    struct routed r = { .message = d->message, .pos = d->pos };
    share_bounce(s, &r, &gone);
}

void share_hand_over(struct session *session)
{
    LIST_FOREACH_SAFE (l, &session->out.inflight) {
        struct delivery *d = container_of(l, struct delivery, link);
        if (d->share && d->qos == 1 && d->state != DELIVERY_DONE)
            hand_over(session, d);
    }
    LIST_FOREACH_SAFE (m, &session->out.queue) {
        struct delivery *d = container_of(m, struct delivery, link);
        if (d->share && d->qos > 0)
            hand_over(session, d);
    }
}
