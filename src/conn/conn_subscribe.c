/* conn_subscribe.c - SUBSCRIBE, UNSUBSCRIBE and PINGREQ, and their answers. */
#include "conn/conn_priv.h"
#include "wire/ping.h"
#include "wire/suback.h"
#include "wire/subscribe.h"
#include "wire/unsubscribe.h"

int conn_on_subscribe(struct conn *c, const struct frame *f)
{
    struct subscribe_packet p;
    if (stream_is_above_high(c->stream)) { /* the retained messages it releases would pile up */
        conn_pause(c, PAUSE_OUT);
        return CONN_LATER;
    }
    int r = subscribe_decode(f, conn_version(c), &p);
    if (r)
        return r;
    if (conn_has_too_many_users(c, p.props))
        return conn_fault(c, REASON_QUOTA_EXCEEDED, "too many user properties");
    return client_subscribe(&c->client, &p);
}

int conn_on_unsubscribe(struct conn *c, const struct frame *f)
{
    struct unsubscribe_packet p;
    int r = unsubscribe_decode(f, conn_version(c), &p);
    if (r)
        return r;
    if (conn_has_too_many_users(c, p.props))
        return conn_fault(c, REASON_QUOTA_EXCEEDED, "too many user properties");
    return client_unsubscribe(&c->client, &p);
}

void conn_send_suback(struct client *client, uint8_t type, uint16_t packet_id, const uint8_t *codes,
                      uint32_t n, const char *text)
{
    struct conn *c = conn_of(client);
    struct suback_packet p = { .type = type, .packet_id = packet_id, .codes = str_make(codes, n) };
    struct writer w;
    if (c->state != CONN_ONLINE)
        return;
    p.reason_string = conn_reason_string(c, (enum packet_type)type, text);
    size_t size = suback_fit(&p, conn_version(c), c->max_packet_out);
    uint8_t *out = conn_reserve(c, size);
    if (!out)
        return;
    writer_init(&w, out, size);
    suback_encode(&p, conn_version(c), &w);
    conn_wrote(c, (enum packet_type)type, size);
}

int conn_on_pingreq(struct conn *c, const struct frame *f)
{
    struct writer w;
    int r = ping_decode(f, conn_version(c));
    if (r)
        return r;
    client_ping(&c->client);
    uint8_t *out = c->state == CONN_ONLINE ? conn_reserve(c, PING_SIZE) : NULL;
    if (!out)
        return 0;
    writer_init(&w, out, PING_SIZE);
    ping_encode(PACKET_PINGRESP, &w);
    conn_wrote(c, PACKET_PINGRESP, PING_SIZE);
    return 0;
}
