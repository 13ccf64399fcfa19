/* conn_connect.c - CONNECT: its limits, who it is, what the broker gets; and CONNACK. */
#include "conn/conn_priv.h"
#include "conn/conn_tls.h"
#include "conn/conn_trace.h"
#include "broker/session.h"
#include "mqtt/topic.h"
#include "wire/connack.h"
#include "wire/connect.h"
#include "wire/publish.h"
#include "base/utf8.h"
#include <stdlib.h>

/* ---- the limits of a CONNECT -------------------------------------------------------------------
 */

bool conn_has_too_many_users(const struct conn *c, struct str props)
{
    int64_t max = conn_config(c)->limits.user_properties, n = 0;
    struct property_iter it;
    struct property p;
    if (!max || props.len / 5 <= max) /* the shortest has 5 bytes */
        return false;
    property_iter_init(&it, props, 0);
    while (property_next(&it, &p) > 0)
        n += p.id == PROPERTY_USER;
    return n > max;
}

void conn_guess_version(struct conn *c, const uint8_t *data, size_t len, const struct frame *f)
{
    struct cursor in;
    if (!f->head_len || len < f->head_len)
        return;
    cursor_init(&in, data + f->head_len, len - f->head_len);
    struct str name = cursor_binary(&in);
    uint8_t level = cursor_u8(&in);
    if (!in.failed && str_eq(name, STR("MQTT")) && (level == MQTT_5 || level == MQTT_311))
        c->client.version = level;
}

static int check_client_id(struct conn *c, const struct connect_packet *p)
{
    const struct config *config = conn_config(c);
    uint32_t len = p->client_id.len;
    if (len > config->limits.client_id_length)
        return conn_fault(c, REASON_CLIENT_ID_NOT_VALID, "the client id is too long");
    if (p->version == MQTT_31 && len > config->max_client_id_length)
        return conn_fault(c, REASON_CLIENT_ID_NOT_VALID, "the client id is too long for MQTT 3.1");
    if (len == 0 && (p->version == MQTT_31 || (p->version == MQTT_311 && !p->clean_start)))
        return conn_fault(c, REASON_CLIENT_ID_NOT_VALID,
                          "the client id is empty"); /* [MQTT-3.1.3-8] of 3.1.1 */
    return 0;
}

static int check_will(struct conn *c, const struct connect_will *will)
{
    const struct config *config = conn_config(c);
    if (!will->is_set)
        return 0;
    if (will->topic.len > config->limits.topic_length ||
        !topic_is_name(will->topic, (uint32_t)config->limits.topic_levels))
        return conn_fault(c, REASON_TOPIC_NAME_INVALID, "the will's topic is not valid");
    if (will->response_topic.ptr && topic_has_wildcard(will->response_topic))
        return conn_fault(c, REASON_PROTOCOL_ERROR, "wildcard in the will's response topic");
    if (conn_has_too_many_users(c, will->props))
        return conn_fault(c, REASON_QUOTA_EXCEEDED, "too many user properties in the will");
    if (config->check_payload_format && will->payload_format == 1 &&
        !utf8_is_valid(will->payload.ptr, will->payload.len))
        return conn_fault(c, REASON_PAYLOAD_FORMAT_INVALID, "the will's payload is not UTF-8");
    return 0;
}

static int check_connect(struct conn *c, const struct connect_packet *p)
{
    int r = check_client_id(c, p);
    if (r)
        return r;
    if (p->user_name.len > conn_config(c)->limits.username_length)
        return conn_fault(c, REASON_BAD_USER_NAME_OR_PASSWORD, "the user name is too long");
    if (conn_has_too_many_users(c, p->props))
        return conn_fault(c, REASON_QUOTA_EXCEEDED, "too many user properties");
    return check_will(c, &p->will);
}

/* Within limits.min_keepalive and limits.max_keepalive; 0, which is for ever, is above any maximum.
 */
static uint16_t keepalive_granted(const struct conn *c, uint16_t asked_s)
{
    const struct config_limits *limits = &conn_config(c)->limits;
    int64_t max_s = limits->max_keepalive_ms / 1000, min_s = limits->min_keepalive_ms / 1000;
    int64_t s = asked_s;
    if (s && s < min_s)
        s = min_s;
    if (max_s && (s == 0 || s > max_s))
        s = max_s;
    return (uint16_t)s;
}

/* ---- what the broker gets ----------------------------------------------------------------------
 */

static struct identity *make_identity(struct conn *c, const struct connect_packet *p, struct str id,
                                      uint16_t keepalive_s, const struct conn_tls *tls)
{
    char address[ADDR_TEXT_MAX];
    struct stream_cred cred = { 0 };
    bool has_cred = c->peer.kind == ADDR_LOCAL && stream_peer_cred(c->stream, &cred) == 0;
    struct identity_parts parts = {
        .id = id,
        .username = p->user_name,
        .has_username = p->user_name.ptr != NULL,
        .address = str_make(address, addr_text(&c->peer, address)),
        .listener = tally_key(c->by_listener), /* its name */
        .protocol = p->version,
        .transport = c->transport,
        .port = c->peer.port,
        .tls_cn = tls->cn ? str_from(tls->cn) : STR_NULL,
        .tls_cert = tls->cert,
        .flags = tls->flags | (p->is_bridge ? PIGEON_CLIENT_BRIDGE : 0) |
                 (c->is_loopback ? PIGEON_CLIENT_LOOPBACK : 0) |
                 (has_cred ? PIGEON_CLIENT_PEER_CRED : 0),
        .peer_pid = cred.pid,
        .peer_uid = cred.uid,
        .peer_gid = cred.gid,
        .loop = conn_shard(c)->index,
        .chains = c->client.listener,
        .keepalive_s = keepalive_s,
        .session_expiry_s = c->session_expiry_s,
        .conn_id = c->client.conn_id,
    };
    return identity_new(&parts, NULL);
}

/* The properties as they will be forwarded, in the loop's scratch buffer. 0 or -ENOMEM. */
static int filter_props(struct conn *c, struct str props, struct str *r_props)
{
    struct buf *scratch = &c->here->scratch;
    uint32_t len = publish_props_filter_size(props);
    *r_props = STR_NULL;
    if (!len)
        return 0;
    buf_clear(scratch);
    int r = buf_reserve(scratch, len);
    if (r)
        return r;
    publish_props_filter(props, len, (uint8_t *)buf_tail(scratch));
    *r_props = str_make(buf_tail(scratch), len);
    return 0;
}

/* NULL: out of memory. */
static struct message *make_will(struct conn *c, const struct connect_packet *p)
{
    const struct identity *who = c->client.who;
    const struct connect_will *will = &p->will;
    int64_t now = shard_wall_ms(conn_shard(c));
    struct message_parts parts = {
        .topic = will->topic,
        .payload = will->payload,
        .publisher = identity_id(who),
        .publisher_user = str_make(who->view.username.ptr, who->view.username.len),
        .qos = will->qos,
        .retain = will->retain,
        .origin = PIGEON_ORIGIN_WILL,
        .expires_ms = will->has_message_expiry ? now + will->message_expiry_s * INT64_C(1000) : 0,
        .received_ms = now,
    };
    if (filter_props(c, will->props, &parts.props))
        return NULL;
    return message_new(&parts);
}

static pigeon_str view_of(struct str s)
{
    return (pigeon_str){ .ptr = s.ptr, .len = s.len };
}

static pigeon_bytes bytes_of(struct str s)
{
    return (pigeon_bytes){ .ptr = (const uint8_t *)s.ptr, .len = s.len };
}

/* NULL: out of memory. */
static struct connect_info *make_info(struct conn *c, const struct connect_packet *p,
                                      uint16_t keepalive_s)
{
    pigeon_connect view = {
        .size = sizeof(view),
        .keepalive_s = keepalive_s,
        .clean_start = p->clean_start,
        .has_username = p->user_name.ptr != NULL,
        .has_password = p->password.ptr != NULL,
        .request_response_info = p->request_response_info,
        .request_problem_info = p->request_problem_info,
        .session_expiry_s = c->session_expiry_s,
        .maximum_packet_size = p->maximum_packet_size,
        .receive_maximum = p->receive_maximum,
        .topic_alias_maximum = p->topic_alias_maximum,
        .will_delay_s = p->will.delay_s,
        .password = bytes_of(p->password),
        .auth_method = view_of(p->auth_method),
        .auth_data = bytes_of(p->auth_data),
        .props = bytes_of(p->props),
    };
    struct message *will = NULL;
    if (p->will.is_set) {
        will = make_will(c, p);
        if (!will)
            return NULL;
    }
    return connect_info_new(&view, identity_id(c->client.who), p->user_name, will);
}

static void take_settings(struct conn *c, const struct connect_packet *p)
{
    const struct config_limits *limits = &conn_config(c)->limits;
    c->client.receive_maximum = p->receive_maximum;
    c->client.problem_info = p->request_problem_info;
    c->client.limits = (struct client_limits){
        .publish_rate = (uint64_t)limits->publish_rate,
        .publish_bytes = (uint64_t)limits->publish_bytes,
        .packet_size = (uint64_t)limits->packet_size,
    };
    c->max_packet_out = p->maximum_packet_size;
    c->alias_out_max = p->topic_alias_maximum < limits->topic_alias_out
                           ? p->topic_alias_maximum
                           : (uint16_t)limits->topic_alias_out;
    c->wants_response_info = p->request_response_info;
    c->keepalive_s = p->keep_alive_s;
    if (p->version == MQTT_5)
        c->session_expiry_s = p->session_expiry_s;
    else
        c->session_expiry_s = p->clean_start ? 0 : EXPIRY_NEVER;
}

/* A certificate that is to say who the client is says it instead of CONNECT, and needs no password:
 * it has been checked. */
static int take_tls_name(struct conn *c, struct connect_packet *p, const struct conn_tls *tls)
{
    if (tls->is_nobody &&
        p->user_name.ptr) /* a plugin has to vouch for a name without certificate */
        c->client.may_be_anonymous = false;
    if (tls->has_no_name ||
        (tls->name && strlen(tls->name) > (size_t)conn_config(c)->limits.username_length))
        return conn_fault(c, REASON_NOT_AUTHORIZED,
                          "the certificate has no name that can be a user name");
    if (!tls->name)
        return 0;
    p->user_name = str_from(tls->name);
    c->client.may_be_anonymous = true;
    return 0;
}

static int begin_connect(struct conn *c, const struct connect_packet *packet,
                         const struct conn_tls *tls)
{
    struct shard *s = conn_shard(c);
    struct connect_packet p = *packet;
    char made[CLIENT_ID_MADE_MAX];
    int r = take_tls_name(c, &p, tls);
    if (r)
        return r;
    struct str id = p.client_id;
    if (id.len == 0) {
        broker_make_client_id(c->broker, s->index, made);
        id = str_from(made);
        c->client.assigned_id = true;
    }
    uint16_t keepalive_s = keepalive_granted(c, p.keep_alive_s);
    c->client.who = make_identity(c, &p, id, keepalive_s, tls);
    if (!c->client.who || (p.auth_method.ptr && str_dup_r(p.auth_method, &c->auth_method)))
        return conn_fault(c, REASON_SERVER_BUSY, "out of memory");
    struct connect_info *info = make_info(c, &p, keepalive_s);
    if (!info)
        return conn_fault(c, REASON_SERVER_BUSY, "out of memory");
    uint32_t home = broker_home(c->broker, identity_id(c->client.who));
    if (home != s->index) {
        conn_move(c, home, info);
        return 0;
    }
    c->state = CONN_CONNECTING;
    if (conn_is_traced(c))
        conn_trace_connect(c, info);
    client_connect(&c->client, info);
    return 0;
}

int conn_on_connect(struct conn *c, const struct frame *f)
{
    struct connect_packet p;
    struct conn_tls tls;
    int r = connect_decode(f, &p);
    c->client.version = p.version;
    if (r)
        return r;
    take_settings(c, &p);
    c->connect_size = f->total;
    r = check_connect(c, &p);
    if (r)
        return r;
    if (conn_tls_read(c->stream, &tls))
        r = conn_fault(c, REASON_SERVER_BUSY, "out of memory");
    else
        r = begin_connect(c, &p, &tls);
    conn_tls_fini(&tls);
    return r;
}

/* ---- CONNACK -----------------------------------------------------------------------------------
 */

static uint8_t connack_reason(const struct conn *c, uint8_t reason)
{
    if (!conn_is_v5(c) || reason_is_allowed(reason, PACKET_CONNACK))
        return reason;
    return reason == REASON_SERVER_SHUTTING_DOWN ? REASON_SERVER_UNAVAILABLE
                                                 : REASON_UNSPECIFIED_ERROR;
}

/* false: not sent, it has no encoding or is above the client's maximum. */
static bool send_connack(struct conn *c, struct connack_packet *p)
{
    struct writer w;
    size_t n = connack_fit(p, conn_version(c), c->max_packet_out);
    uint8_t *out = n ? conn_reserve(c, n) : NULL;
    if (!out)
        return false;
    writer_init(&w, out, n);
    connack_encode(p, conn_version(c), &w);
    conn_wrote(c, PACKET_CONNACK, n);
    if (c->client.who && events_wants(conn_shard(c)->hooks, EVENT_CONNACK_SENT))
        events_connack_sent(conn_shard(c)->hooks, c->client.who, p->reason, p->session_present);
    return true;
}

void conn_send_refusal(struct conn *c, uint8_t reason, const char *text)
{
    struct connack_packet p = { .reason = connack_reason(c, reason),
                                .reason_string = conn_reason_string(c, PACKET_CONNACK, text) };
    send_connack(c, &p);
}

static void refuse(struct conn *c, const struct client_connack *answer)
{
    struct connack_packet p = {
        .reason = connack_reason(c, answer->reason),
        .server_reference = answer->server_reference,
        .reason_string = conn_reason_string(c, PACKET_CONNACK, answer->text),
        .props = answer->user_props,
    };
    struct client_cause cause = { .reason = answer->reason,
                                  .send_will = true,
                                  .text = answer->text };
    send_connack(c, &p);
    conn_end(c, &cause, CONN_FAULT);
}

static void set_number(struct connack_packet *p, uint8_t id, bool is_sent)
{
    if (is_sent)
        p->present |= PROPERTY_BIT(id);
}

static void fill_accepted(struct conn *c, const struct client_connack *a, struct connack_packet *p)
{
    const struct config *config = conn_config(c);
    p->receive_maximum = c->receive_maximum;
    p->maximum_packet_size = (uint32_t)c->client.limits.packet_size;
    p->topic_alias_maximum = c->alias_in_max;
    p->session_expiry_s = a->session_expiry_s;
    p->server_keep_alive_s = a->keepalive_s;
    set_number(p, PROPERTY_RECEIVE_MAXIMUM, true);
    set_number(p, PROPERTY_MAXIMUM_PACKET_SIZE, c->client.limits.packet_size > 0);
    set_number(p, PROPERTY_TOPIC_ALIAS_MAXIMUM, c->alias_in_max > 0);
    set_number(p, PROPERTY_SESSION_EXPIRY, a->session_expiry_s != c->session_expiry_s);
    set_number(p, PROPERTY_SERVER_KEEP_ALIVE, a->keepalive_s != c->keepalive_s);
    if (a->assigned_id)
        p->assigned_client_id = identity_id(c->client.who); /* [MQTT-3.2.2-16] */
    p->auth_method = a->auth_method;
    p->auth_data = a->auth_data;
    if (!c->wants_response_info) /* [MQTT-3.1.2-28] */
        return;
    p->response_info = a->response_info;
    if (!p->response_info.ptr)
        p->response_info = str_from(config->response_information);
}

static void log_connected(struct conn *c, const struct client_connack *a)
{
    char address[ADDR_TEXT_MAX];
    struct log *log = conn_shard(c)->log;
    const struct identity *who = c->client.who;
    if (!log_wants(log, LOG_INFO))
        return;
    addr_text(&c->peer, address);
    log_info(log, "client_connected", LS("client", identity_id(who)), LZ("address", address),
             LU("version", c->client.version),
             LS("user", str_make(who->view.username.ptr, who->view.username.len)),
             LU("keepalive", a->keepalive_s), LU("session_expiry", a->session_expiry_s),
             LU("session_present", a->session_present));
}

static void accept_client(struct conn *c, const struct client_connack *a)
{
    const struct config_limits *limits = &conn_config(c)->limits;
    struct tally_table *tallies = &c->broker->conns->tallies;
    struct connack_packet p = { .session_present = a->session_present, .props = a->user_props };
    struct client_cause cause = { .reason = REASON_PACKET_TOO_LARGE,
                                  .send_will = true,
                                  .text = "CONNACK is above the client's maximum packet size" };
    c->receive_maximum = conn_is_v5(c) ? (uint16_t)limits->inflight_in : UINT16_MAX;
    c->alias_in_max = conn_is_v5(c) ? (uint16_t)limits->topic_alias_in : 0;
    p.reason_string = conn_reason_string(c, PACKET_CONNACK, a->text);
    fill_accepted(c, a, &p);
    if (!send_connack(c, &p)) {
        conn_end(c, &cause, CONN_FAULT);
        return;
    }
    c->state = CONN_ONLINE;
    c->is_counted_pending = false;
    tally_settle(tallies, c->by_address);
    tally_settle(tallies, c->by_listener);
    conn_start_limits(c, a->keepalive_s);
    log_connected(c, a);
    if (c->eof || c->paused || buf_len(&c->deferred))
        conn_post_work(c);
}

void conn_send_connack(struct conn *c, const struct client_connack *answer)
{
    if (reason_is_error(answer->reason))
        refuse(c, answer);
    else
        accept_client(c, answer);
}
