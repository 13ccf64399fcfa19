#include "broker/route.h"
#include "broker/backlog.h"
#include "broker/broker.h"
#include "broker/bus.h"
#include "broker/deliver.h"
#include "broker/local.h"
#include "broker/share.h"
#include <stdlib.h>

/* One message for several receivers of one other loop. */
struct route_mail {
    struct mail mail;
    struct shard *from;
    struct shard *to;
    struct message *message; /* reference */
    size_t for_nodes;        /* bus_coming */
    struct routed routed;
    uint32_t n_rcpts, n_ids;
    struct receiver rcpts[]; /* with their shares; then the ids */
};

static void deliver_to(struct shard *s, const struct routed *r, const struct receiver *rcpt)
{
    if (rcpt->flags & SUB_REMOTE) {
        if (bus_offer(s, r, rcpt) == OFFER_REFUSED && rcpt->share)
            share_bounce(s, r, rcpt);
        return;
    }
    struct slot *slot = rcpt->who.slot < s->n_slots ? &s->slots[rcpt->who.slot] : NULL;
    if (slot && slot->local) {
        local_deliver(slot->local, rcpt->who.session, r->message);
        return;
    }
    struct session *session = session_at(s, rcpt->who.slot, rcpt->who.session);
    if (r->retract) {
        if (session && (rcpt->flags & SUB_DURABLE) && rcpt->qos)
            backlog_retract(session, r->message, r->pos);
        return;
    }
    enum offer_result result = OFFER_REFUSED;
    if (session) {
        const struct message *m = r->message;
        struct offer offer = {
            .message = r->message,
            .ids = r->ids + rcpt->first_id,
            .n_ids = rcpt->n_ids,
            .share = rcpt->share,
            .flags = rcpt->flags,
            .qos = rcpt->qos < m->view.qos ? rcpt->qos : m->view.qos,
            .retain = m->view.retain && (rcpt->flags & SUB_RETAIN_AS_PUBLISHED),
        };
        offer.pos = offer.qos && (rcpt->flags & SUB_DURABLE) ? r->pos : 0;
        result = deliver_offer(session, &offer);
    } else {
        shard_count(s, N_STALE, 1);
    }
    if (result == OFFER_REFUSED && rcpt->share)
        share_bounce(s, r, rcpt);
}

static void on_route_mail(struct loop *here, struct mail *m)
{
    (void)here;
    struct route_mail *rm = container_of(m, struct route_mail, mail);
    for (uint32_t i = 0; i < rm->n_rcpts; i++) {
        deliver_to(rm->to, &rm->routed, &rm->rcpts[i]);
        if (rm->rcpts[i].share)
            share_unref(&rm->rcpts[i].share);
    }
    credit_sub(rm->to->broker->credit, rm->to->loop, rm->n_rcpts);
    if (rm->for_nodes)
        bus_came(rm->to->broker->bus, rm->for_nodes);
    message_unref(&rm->message);
    free(rm);
}

static uint32_t ids_needed(const struct receiver *rcpts, uint32_t n)
{
    uint32_t n_ids = 0;
    for (uint32_t i = 0; i < n; i++)
        n_ids += rcpts[i].n_ids;
    return n_ids;
}

static void post(struct shard *s, uint32_t loop, const struct routed *r,
                 const struct receiver *rcpts, uint32_t n)
{
    uint32_t n_ids = ids_needed(rcpts, n), at = 0;
    struct route_mail *rm = malloc(sizeof(*rm) + n * sizeof(rcpts[0]) + n_ids * sizeof(uint32_t));
    if (!rm) {
        for (uint32_t i = 0; i < n; i++)
            shard_count(s, N_DROPPED + PIGEON_DROP_NO_MEMORY, 1);
        events_dropped(s->hooks, NULL, r->message, PIGEON_DROP_NO_MEMORY);
        return;
    }
    uint32_t *ids = (uint32_t *)(rm->rcpts + n);
    message_share(r->message);
    rm->from = s;
    rm->to = &s->broker->shards[loop];
    rm->message = message_ref(r->message);
    rm->routed = *r;
    rm->routed.ids = ids;
    rm->n_rcpts = n;
    rm->n_ids = n_ids;
    rm->for_nodes =
        loop == 0 && s->broker->bus ? bus_coming(s->broker->bus, r->message, rcpts, n) : 0;
    memcpy(rm->rcpts, rcpts, n * sizeof(rcpts[0]));
    for (uint32_t i = 0; i < n; i++) {
        if (rcpts[i].n_ids)
            memcpy(ids + at, r->ids + rcpts[i].first_id, rcpts[i].n_ids * sizeof(uint32_t));
        rm->rcpts[i].first_id = at;
        at += rcpts[i].n_ids;
        if (rm->rcpts[i].share)
            share_ref(rm->rcpts[i].share);
    }
    credit_add(s->broker->credit, s->loop, loop, n);
    loop_post(s->loop, loop, &rm->mail, on_route_mail);
}

void route_to_loop(struct shard *s, uint32_t loop, const struct routed *r,
                   const struct receiver *rcpts, uint32_t n)
{
    if (loop != s->index) {
        post(s, loop, r, rcpts, n);
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        deliver_to(s, r, &rcpts[i]);
}

void route_all(struct shard *s, const struct routed *r, const struct receiver *rcpts,
               const uint32_t *first)
{
    for (uint32_t loop = 0; loop < s->broker->n_loops; loop++)
        if (first[loop + 1] > first[loop])
            route_to_loop(s, loop, r, rcpts + first[loop], first[loop + 1] - first[loop]);
}
