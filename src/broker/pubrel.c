/* pubrel.c - the second half of an incoming QoS 2 exchange [MQTT-4.3.3-11]. */
#include "broker/broker.h"
#include "broker/session.h"
#include "wire/reason.h"

static void send_pubcomp(struct session *session, uint16_t packet_id)
{
    struct client *c = session->client;
    if (!c)
        return;
    client_acked_in(c);
    c->ops->ack(c, PACKET_PUBCOMP, packet_id, 0, NULL);
}

static void on_deleted(struct session *session, uint16_t packet_id, int status)
{
    if (status) /* a failed store; nothing is acknowledged any more */
        return;
    incoming_remove(&session->in, packet_id);
    send_pubcomp(session, packet_id);
}

int client_pubrel(struct client *c, uint16_t packet_id, uint8_t reason)
{
    struct session *session = c->session;
    struct hook_loop *hl = c->shard->hooks;
    struct incoming_id *in = incoming_find(&session->in, packet_id);
    (void)reason;
    if (!in) {
        c->ops->ack(c, PACKET_PUBCOMP, packet_id, c->version == 5 ? REASON_PACKET_ID_NOT_FOUND : 0,
                    NULL);
        return 0;
    }
    if (in->state == INCOMING_RELEASING)
        return 0; /* its PUBCOMP is under way */
    if (in->state == INCOMING_PENDING)
        return -REASON_PROTOCOL_ERROR; /* before PUBREC */
    in->state = INCOMING_RELEASING;
    if (in->stored) {
        /* The client may use the identifier anew after PUBCOMP: it must not rise again. */
        store_unit_begin(hl, broker_durability(c->shard->broker), STORE_AGAIN | STORE_TRIM);
        store_in_del(hl, session->number, packet_id);
        if (!session_unit_end(session, on_deleted, packet_id))
            return 0;
    }
    on_deleted(session, packet_id, 0);
    return 0;
}
