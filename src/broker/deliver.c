#include "broker/deliver.h"
#include "broker/backlog.h"
#include "broker/broker.h"
#include "broker/retain.h"
#include "hooks/acl.h"
#include "hooks/ask.h"
#include "wire/reason.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* ---- drops --------------------------------------------------------------------------------------
 */

static void delete_row(struct session *session, uint64_t pos)
{
    struct hook_loop *hl = session->shard->hooks;
    store_unit_begin(hl, PIGEON_DURABILITY_MEMORY, STORE_AGAIN | STORE_TRIM);
    store_queue_del(hl, session->number, pos);
    store_unit_end(hl, NULL);
}

void deliver_dropped(struct session *session, struct message *message, uint64_t pos, uint32_t why)
{
    session->n_dropped++;
    shard_count(session->shard, N_DROPPED + why, 1);
    if (events_wants(session->shard->hooks, EVENT_DROPPED))
        events_dropped(session->shard->hooks, session->client ? session->client->who : NULL,
                       message, why);
    if (pos)
        delete_row(session, pos);
}

/* ---- the queue in memory, with its bounds
 * -------------------------------------------------------- */

static void count_queue(struct session *session, int64_t n, int64_t bytes)
{
    shard_count(session->shard, N_QUEUED, n);
    shard_count(session->shard, N_QUEUED_BYTES, bytes);
}

void deliver_append(struct session *session, struct delivery *m_delivery)
{
    count_queue(session, 1, m_delivery->message->size);
    session->n_queued_qos0 += m_delivery->qos == 0;
    outgoing_append(&session->out, m_delivery);
}

static void take(struct session *session, struct delivery *d)
{
    count_queue(session, -1, -(int64_t)d->message->size);
    session->n_queued_qos0 -= d->qos == 0;
    outgoing_take(&session->out, d);
}

static void drop_queued(struct session *session, struct delivery *d, uint32_t why)
{
    assert(d->state == DELIVERY_QUEUED && !d->packet_id); /* P2.4f */
    take(session, d);
    deliver_dropped(session, d->message, d->pos, why);
    delivery_free(&d);
}

/* The only message of a queue may be larger than limits.queue_bytes. */
static bool is_over_limit(const struct session *session, uint32_t size)
{
    const struct backlog *b = &session->backlog;
    uint64_t stored = b->n_stored > b->debt ? b->n_stored - b->debt : 0;
    uint64_t n = session->out.n_queued + session->n_behind + stored;
    uint64_t bytes = session->out.queued_bytes + b->stored_bytes;
    return (session->max_queued && n >= session->max_queued) ||
           (session->max_queued_bytes && n && bytes + size > session->max_queued_bytes);
}

/* Makes room, or says what becomes of the new message: OFFER_TAKEN means that there is room. */
static enum offer_result make_room(struct session *session, const struct offer *o)
{
    enum config_queue_policy policy = session->shard->broker->config->limits.queue_policy;
    if (!is_over_limit(session, o->message->size))
        return OFFER_TAKEN;
    if (o->share && o->message->view.qos < 2)
        return OFFER_REFUSED;
    if (policy == CONFIG_DROP_OLDEST && session->backlog.state == BACKLOG_NONE) {
        while (is_over_limit(session, o->message->size) && !list_empty(&session->out.queue))
            drop_queued(session, container_of(session->out.queue.next, struct delivery, link),
                        PIGEON_DROP_QUEUE_FULL);
        if (!is_over_limit(session, o->message->size))
            return OFFER_TAKEN;
    }
    if (policy == CONFIG_DROP_OLDEST && o->pos) {
        session->backlog.debt++;
        return OFFER_TAKEN;
    }
    deliver_dropped(session, o->message, o->pos, PIGEON_DROP_QUEUE_FULL);
    if (policy == CONFIG_QUEUE_DISCONNECT && session->client)
        client_close_later(session->client, REASON_QUOTA_EXCEEDED, "the queue is full");
    return OFFER_DROPPED;
}

/* ---- sending ------------------------------------------------------------------------------------
 */

static uint32_t window(const struct session *session)
{
    uint32_t ours = (uint32_t)session->shard->broker->config->limits.inflight_out;
    uint32_t theirs = session->client->receive_maximum;
    return ours && ours < theirs ? ours : theirs;
}

static enum client_send send_publish(struct session *session, const struct delivery *d)
{
    struct client_publish p = { .message = d->message,
                                .ids = d->ids,
                                .n_ids = d->n_ids,
                                .packet_id = d->packet_id,
                                .qos = d->qos,
                                .retain = d->retain,
                                .dup = d->dup };
    return session->client->ops->publish(session->client, &p);
}

static void leave_quota(struct session *session, struct delivery *d)
{
    session->n_in_quota -= d->in_quota;
    d->in_quota = false;
}

static void make_ready(struct session *session, struct delivery *d)
{
    session->n_ready += d->state != DELIVERY_READY;
    d->state = DELIVERY_READY;
}

static void release(struct session *session, struct delivery *d)
{
    leave_quota(session, d);
    session->n_ready -= d->state == DELIVERY_READY;
    session->n_assigned -= d->state == DELIVERY_ASSIGNED;
    outgoing_release(&session->out, d);
    shard_count(session->shard, N_INFLIGHT, -1);
    delivery_free(&d);
}

/* A delivery of the window is sent, or counts as delivered because the client cannot take it
 * [MQTT-3.1.2-25]. */
static void send_ready(struct session *session, struct delivery *d)
{
    assert(d->state == DELIVERY_READY && d->packet_id); /* QoS 2: its UPD is committed [P2.4b] */
    if (send_publish(session, d) == CLIENT_TOO_LARGE) {
        deliver_dropped(session, d->message, d->pos, PIGEON_DROP_TOO_LARGE);
        release(session, d);
        return;
    }
    session->n_ready--;
    session->n_in_quota++;
    d->in_quota = true;
    d->state = DELIVERY_SENT;
    d->dup = true;
}

/* What may be sent and is not: first of all what was sent on an earlier connection. QoS 2 leaves in
 * arrival order: none passes an earlier one that is not committed [P2.4b]. */
static void send_all_ready(struct session *session)
{
    const struct client *c = session->client;
    LIST_FOREACH_SAFE (l, &session->out.inflight) {
        if (!session->n_ready || session->client != c || !c ||
            session->n_in_quota >= window(session))
            return;
        struct delivery *d = container_of(l, struct delivery, link);
        if (d->state == DELIVERY_ASSIGNED)
            return;
        if (d->state == DELIVERY_READY)
            send_ready(session, d);
    }
}

static void on_assigned(struct session *session, uint16_t packet_id, int status)
{
    struct delivery *d = outgoing_find(&session->out, packet_id);
    if (!d || d->state != DELIVERY_ASSIGNED || status)
        return; /* a failed store: nothing that depends on it leaves any more */
    session->n_assigned--;
    make_ready(session, d);
    send_all_ready(session);
}

/* From the queue into the window. */
static void start(struct session *session, struct delivery *d)
{
    struct hook_loop *hl = session->shard->hooks;
    count_queue(session, -1, -(int64_t)d->message->size);
    if (outgoing_assign(&session->out, d)) {
        count_queue(session, 1, d->message->size);
        return;
    }
    shard_count(session->shard, N_INFLIGHT, 1);
    if (d->qos == 2 && d->pos) { /* message and packet identifier are committed first [S2] */
        store_unit_begin(hl, broker_durability(session->shard->broker), STORE_AGAIN);
        store_queue_upd(hl, session->number, d->pos, d->packet_id, PIGEON_QUEUE_SENT);
        if (!session_unit_end(session, on_assigned, d->packet_id)) {
            d->state = DELIVERY_ASSIGNED;
            session->n_assigned++;
            return;
        }
    }
    bool first = !session->n_ready && !session->n_assigned;
    make_ready(session, d);
    if (first && session->client && session->n_in_quota < window(session))
        send_ready(session, d);
    else
        send_all_ready(session);
}

static bool send_queued_qos0(struct session *session, struct delivery *d)
{
    struct message *m = message_ref(d->message);
    enum client_send r = send_publish(session, d);
    if (session->client && r != CLIENT_SENT)
        deliver_dropped(session, m, 0, r == CLIENT_FULL ? PIGEON_DROP_SLOW : PIGEON_DROP_TOO_LARGE);
    message_unref(&m);
    return session->client != NULL;
}

void deliver_pump(struct session *session)
{
    int64_t wall_ms = shard_wall_ms(session->shard);
    struct client *c = session->client;
    send_all_ready(session);
    while (session->client == c && c && !list_empty(&session->out.queue) &&
           !c->ops->is_congested(c)) {
        struct delivery *d = container_of(session->out.queue.next, struct delivery, link);
        if (message_expired(d->message, wall_ms)) { /* [MQTT-3.3.2-5] */
            drop_queued(session, d, PIGEON_DROP_EXPIRED);
        } else if (d->qos == 0) {
            take(session, d);
            bool goes_on = send_queued_qos0(session, d);
            delivery_free(&d);
            if (!goes_on)
                return;
        } else if (session->out.n_inflight < window(session) && !backlog_has_ids(session)) {
            uint32_t before = session->out.n_queued;
            start(session, d);
            if (session->client == c && session->out.n_queued == before)
                break; /* no identifier or no memory: at the next acknowledgement */
        } else {
            break;
        }
    }
    if (!session->client)
        return;
    backlog_read(session);
    if (session->n_reading)
        retain_wake(session);
}

void deliver_pump_later(struct session *session)
{
    if (!list_linked(&session->pump))
        list_append(&session->shard->rows_to_pump, &session->pump);
}

/* ---- offers -------------------------------------------------------------------------------------
 */

bool deliver_is_allowed(struct session *session, struct message *message)
{
    struct hook_loop *hl = session->shard->hooks;
    if (!session->client)
        return true; /* asked when it is read from the queue */
    if (!hooks_wants(hl, PIGEON_HOOK_AUTHORIZE_DELIVER) &&
        !acl_checks_deliver(session->client->who))
        return true;
    struct ask ask = { .hook = PIGEON_HOOK_AUTHORIZE_DELIVER,
                       .who = session->client->who,
                       .message = message_ref(message),
                       .listener = session->client->listener };
    bool allowed = ask_run(hl, &ask) == ASK_DONE && ask.verdict == PIGEON_ALLOW;
    ask_fini(&ask);
    return allowed;
}

static enum offer_result offer_qos0(struct session *session, const struct offer *o)
{
    struct client *c = session->client;
    if (!c) {
        if (o->share)
            return OFFER_REFUSED;
        deliver_dropped(session, o->message, 0, PIGEON_DROP_OFFLINE);
        return OFFER_DROPPED;
    }
    struct client_publish p = {
        .message = o->message, .ids = o->ids, .n_ids = o->n_ids, .retain = o->retain
    };
    enum client_send r = c->ops->publish(c, &p);
    if (r == CLIENT_SENT)
        return OFFER_TAKEN;
    if (r == CLIENT_FULL && o->share)
        return OFFER_REFUSED;
    deliver_dropped(session, o->message, 0,
                    r == CLIENT_FULL ? PIGEON_DROP_SLOW : PIGEON_DROP_TOO_LARGE);
    return OFFER_DROPPED;
}

static struct delivery *delivery_of(struct session *session, const struct offer *o)
{
    struct message *m = message_ref(o->message);
    struct delivery *d = delivery_new(m, o->qos, o->ids, o->n_ids);
    if (!d) {
        message_unref(&m);
        deliver_dropped(session, o->message, o->pos, PIGEON_DROP_NO_MEMORY);
        return NULL;
    }
    d->pos = o->pos;
    d->retain = o->retain;
    if (o->share)
        d->share = share_ref(o->share);
    return d;
}

/* Behind the retained messages of a SUBSCRIBE that are still being read [P4.4], or, when the
 * session is not durable any more, behind what its queue in the store still holds. */
static bool waits_behind(const struct session *session, const struct offer *o)
{
    if (session->n_reading)
        return !o->from_retained;
    return o->qos && !o->pos && session->backlog.state != BACKLOG_NONE;
}

static enum offer_result offer_behind(struct session *session, const struct offer *o)
{
    enum offer_result r = make_room(session, o);
    struct delivery *d = r == OFFER_TAKEN ? delivery_of(session, o) : NULL;
    if (!d)
        return r == OFFER_TAKEN ? OFFER_DROPPED : r;
    list_append(&session->behind, &d->link);
    session->n_behind++;
    return OFFER_TAKEN;
}

/* queue_qos0: QoS 0 waits in memory for an absent client with a durable session. */
static bool keeps_qos0(const struct session *session)
{
    return !session->client && session->durable && session->shard->broker->config->queue_qos0;
}

enum offer_result deliver_offer(struct session *session, const struct offer *o)
{
    SHARD_ASSERT(session->shard);
    assert(o->pos <= store_last_pos(session->shard->broker->hooks)); /* POST after submit [P2.1] */
    if (!deliver_is_allowed(session, o->message)) {
        deliver_dropped(session, o->message, o->pos, PIGEON_DROP_DENIED);
        return OFFER_DROPPED;
    }
    if (session->client && waits_behind(session, o))
        return offer_behind(session, o);
    if (o->qos == 0 && !session->n_queued_qos0 && !keeps_qos0(session))
        return offer_qos0(session, o);
    if (!session->client && !o->pos && !keeps_qos0(session)) {
        if (o->share)
            return OFFER_REFUSED;
        deliver_dropped(session, o->message, 0, PIGEON_DROP_OFFLINE);
        return OFFER_DROPPED;
    }
    enum offer_result r = make_room(session, o);
    if (r != OFFER_TAKEN)
        return r;
    if (!session->client && o->pos) {
        backlog_offline(session, o->message, o->pos);
        return OFFER_TAKEN;
    }
    struct delivery *d = delivery_of(session, o);
    if (!d)
        return OFFER_DROPPED;
    if (o->pos && backlog_takes(session, d))
        return OFFER_TAKEN;
    deliver_append(session, d);
    deliver_pump(session);
    return OFFER_TAKEN;
}

void deliver_unbehind(struct session *session)
{
    for (struct list *l; (l = list_pop(&session->behind));) {
        struct delivery *d = container_of(l, struct delivery, link);
        session->n_behind--;
        if (!session->client && !d->pos) {
            deliver_dropped(session, d->message, 0, PIGEON_DROP_OFFLINE);
            delivery_free(&d);
        } else if (!d->pos || !backlog_takes(session, d)) {
            deliver_append(session, d);
        }
    }
    deliver_pump_later(session);
}

static void count_lost(struct session *session, const struct list *head)
{
    LIST_FOREACH (l, (struct list *)head) {
        const struct delivery *d = container_of(l, struct delivery, link);
        if (d->state == DELIVERY_DONE)
            continue;
        if (d->qos && d->message && !(d->share && (d->qos == 1 || d->state == DELIVERY_QUEUED)))
            deliver_dropped(session, d->message, 0, PIGEON_DROP_SESSION_END);
    }
}

void deliver_count_lost(struct session *session)
{
    count_lost(session, &session->out.inflight);
    count_lost(session, &session->out.queue);
    count_lost(session, &session->behind);
}

void deliver_forget_behind(struct session *session)
{
    for (struct list *l; (l = list_pop(&session->behind));) {
        struct delivery *d = container_of(l, struct delivery, link);
        delivery_free(&d);
    }
    session->n_behind = 0;
}

/* ---- connection and session ---------------------------------------------------------------------
 */

void deliver_resume(struct session *session)
{
    struct client *c = session->client;
    session->n_in_quota = 0;
    LIST_FOREACH_SAFE (l, &session->out.inflight) {
        struct delivery *d = container_of(l, struct delivery, link);
        d->in_quota = false;
        if (d->state == DELIVERY_SENT)
            make_ready(session, d);
        else if (d->state == DELIVERY_RELEASED && session->client == c)
            c->ops->ack(c, PACKET_PUBREL, d->packet_id, 0, NULL);
    }
    if (session->client == c)
        send_all_ready(session);
    deliver_pump_later(session);
}

/* The next life of the broker sends the window again under the identifiers that the client has seen
 * [MQTT-4.4.0-1]; QoS 2 has them in the store since before it was sent. docs/decisions/0010. */
static void store_ids(struct session *session)
{
    struct hook_loop *hl = session->shard->hooks;
    bool any = false;
    LIST_FOREACH (l, &session->out.inflight) {
        struct delivery *d = container_of(l, struct delivery, link);
        if (d->qos != 1 || !d->pos || !d->dup || d->id_stored || d->state == DELIVERY_DONE)
            continue;
        if (!any)
            store_unit_begin(hl, PIGEON_DURABILITY_OS, STORE_AGAIN);
        any = d->id_stored = true;
        store_queue_upd(hl, session->number, d->pos, d->packet_id, PIGEON_QUEUE_SENT);
    }
    if (any)
        store_unit_end(hl, NULL); /* without memory: they come under new identifiers */
}

void deliver_park(struct session *session)
{
    store_ids(session);
    LIST_FOREACH_SAFE (l, &session->out.queue) {
        struct delivery *d = container_of(l, struct delivery, link);
        if (!d->pos && !(d->qos == 0 && keeps_qos0(session)))
            drop_queued(session, d, PIGEON_DROP_OFFLINE);
    }
    backlog_park(session);
}

void deliver_restore(struct session *session, struct delivery *d, uint16_t packet_id, uint8_t state)
{
    if (outgoing_restore(&session->out, d, packet_id)) {
        deliver_append(session, d);
        return;
    }
    shard_count(session->shard, N_INFLIGHT, 1);
    d->dup = d->id_stored = true;
    if (d->qos == 1 || state != PIGEON_QUEUE_RECEIVED) {
        make_ready(session, d);
        return; /* the pump sends it */
    }
    d->state = DELIVERY_RELEASED;
    if (session->client)
        session->client->ops->ack(session->client, PACKET_PUBREL, packet_id, 0, NULL);
}

/* ---- acknowledgements ---------------------------------------------------------------------------
 */

static void tell_acked(struct session *session, struct delivery *d)
{
    if (d->message && events_wants(session->shard->hooks, EVENT_ACK))
        events_ack(session->shard->hooks, session->client->who, d->message, d->packet_id);
}

static void on_completed(struct session *session, uint16_t packet_id, int status)
{
    struct delivery *d = outgoing_find(&session->out, packet_id);
    if (!d || d->state != DELIVERY_DONE || status)
        return;
    release(session, d);
    deliver_pump(session);
}

/* The identifier is free after the row's deletion is committed, not before [P2.4d]. */
static void complete(struct session *session, struct delivery *d)
{
    tell_acked(session, d);
    leave_quota(session, d);
    d->state = DELIVERY_DONE;
    if (d->pos) {
        store_unit_begin(session->shard->hooks, PIGEON_DURABILITY_OS, STORE_AGAIN | STORE_TRIM);
        store_queue_del(session->shard->hooks, session->number, d->pos);
        if (!session_unit_end(session, on_completed, d->packet_id))
            return;
    }
    on_completed(session, d->packet_id, 0);
}

int client_puback(struct client *c, uint16_t packet_id, uint8_t reason)
{
    struct session *session = c->session;
    struct delivery *d = outgoing_find(&session->out, packet_id);
    if (!d)
        return 0; /* of an earlier life of the session, or twice */
    if (d->qos == 1 && d->state == DELIVERY_DONE)
        return 0;
    if (d->qos != 1 || d->state != DELIVERY_SENT)
        return -REASON_PROTOCOL_ERROR;
    if (reason_is_error(reason)) /* [MQTT-4.4.0-2] [MQTT-4.8.2-6] */
        deliver_dropped(session, d->message, 0, PIGEON_DROP_REFUSED);
    if (backlog_may_show(session, d->pos)) { /* it stays, to be recognized */
        complete(session, d);
        return 0;
    }
    tell_acked(session, d);
    if (d->pos)
        delete_row(session, d->pos);
    release(session, d);
    deliver_pump(session);
    return 0;
}

static void on_received(struct session *session, uint16_t packet_id, int status)
{
    struct delivery *d = outgoing_find(&session->out, packet_id);
    if (!d || d->state != DELIVERY_RECEIVED || status)
        return;
    d->state = DELIVERY_RELEASED;
    if (session->client)
        session->client->ops->ack(session->client, PACKET_PUBREL, packet_id, 0, NULL);
}

static void received(struct session *session, struct delivery *d)
{
    struct hook_loop *hl = session->shard->hooks;
    d->state = DELIVERY_RECEIVED;
    if (d->pos) { /* the step is committed before PUBREL [S2] */
        store_unit_begin(hl, broker_durability(session->shard->broker), STORE_AGAIN);
        store_queue_upd(hl, session->number, d->pos, d->packet_id, PIGEON_QUEUE_RECEIVED);
        if (!session_unit_end(session, on_received, d->packet_id))
            return;
    }
    on_received(session, d->packet_id, 0);
}

int client_pubrec(struct client *c, uint16_t packet_id, uint8_t reason)
{
    struct session *session = c->session;
    struct delivery *d = outgoing_find(&session->out, packet_id);
    if (!d) {
        if (!reason_is_error(reason))
            c->ops->ack(c, PACKET_PUBREL, packet_id,
                        c->version == 5 ? REASON_PACKET_ID_NOT_FOUND : 0, NULL);
        return 0;
    }
    if (d->qos != 2 || d->state < DELIVERY_SENT)
        return -REASON_PROTOCOL_ERROR;
    if (d->state == DELIVERY_DONE)
        return 0;
    if (reason_is_error(reason)) {
        if (d->message)
            deliver_dropped(session, d->message, 0, PIGEON_DROP_REFUSED);
        complete(session, d);
    } else if (d->state == DELIVERY_SENT) {
        received(session, d);
    } else if (d->state == DELIVERY_RELEASED) {
        c->ops->ack(c, PACKET_PUBREL, packet_id, 0, NULL);
    }
    return 0;
}

int client_pubcomp(struct client *c, uint16_t packet_id, uint8_t reason)
{
    struct session *session = c->session;
    struct delivery *d = outgoing_find(&session->out, packet_id);
    (void)reason;
    if (!d || d->state == DELIVERY_DONE)
        return 0;
    if (d->qos != 2 || d->state != DELIVERY_RELEASED)
        return -REASON_PROTOCOL_ERROR;
    complete(session, d);
    return 0;
}

void client_writable(struct client *c)
{
    if (c->session)
        deliver_pump(c->session);
}
