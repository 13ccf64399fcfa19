/* conn_auth.c - AUTH in both directions; what it means is the broker's and the plugins' matter. */
#include "conn/conn_priv.h"
#include "wire/auth.h"

int conn_on_auth(struct conn *c, const struct frame *f)
{
    struct auth_packet p;
    int r = auth_decode(f, conn_version(c), WIRE_FROM_CLIENT, &p);
    if (r)
        return r;
    if (!c->auth_method.ptr) /* [MQTT-4.12.0-7] */
        return conn_fault(c, REASON_PROTOCOL_ERROR, "CONNECT had no authentication method");
    if (!str_eq(p.method, c->auth_method)) /* [MQTT-4.12.0-5] [MQTT-4.12.1-1] */
        return conn_fault(c, REASON_PROTOCOL_ERROR, "not the authentication method of CONNECT");
    if (p.reason == REASON_SUCCESS) /* the server's word */
        return conn_fault(c, REASON_PROTOCOL_ERROR, "AUTH with success from a client");
    return client_auth(&c->client, p.reason, p.method, p.data, p.props);
}

void conn_send_auth(struct client *client, uint8_t reason, struct str method, struct str data)
{
    struct conn *c = conn_of(client);
    struct auth_packet p = { .reason = reason, .method = method, .data = data };
    struct writer w;
    if (c->state != CONN_ONLINE && c->state != CONN_CONNECTING)
        return;
    size_t n = auth_fit(&p, c->max_packet_out);
    uint8_t *out = conn_reserve(c, n);
    if (!out)
        return;
    writer_init(&w, out, n);
    auth_encode(&p, &w);
    conn_wrote(c, PACKET_AUTH, n);
    if (c->eof)
        conn_post_work(c); /* nobody is there to answer */
}
