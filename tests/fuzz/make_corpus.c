/* make_corpus.c - writes the seed inputs of the fuzz targets into <target>/ under the directory
 * named on the command line: packets from the encoders in every version, whole and cut. */
#include "fuzz_support.h"
#include "wire/ack.h"
#include "wire/auth.h"
#include "wire/connack.h"
#include "wire/connect.h"
#include "wire/disconnect.h"
#include "wire/ping.h"
#include "wire/publish.h"
#include "wire/reason.h"
#include "wire/suback.h"
#include "wire/subscribe.h"
#include "wire/unsubscribe.h"
#include <string.h>
#include <sys/stat.h>

struct maker {
    const char *root;
    const char *target;
    unsigned n; /* files written for the target */
    enum mqtt_version version;
    enum wire_from from;
    uint8_t user_bytes[64];
    struct str user_props;
    uint8_t packet[1024];
    struct writer w;
};

static void put_file(struct maker *m, const void *head, size_t head_len, const void *bytes,
                     size_t len)
{
    char path[4096];
    snprintf(path, sizeof(path), "%s/%s", m->root, m->target);
    mkdir(path, 0777);
    snprintf(path, sizeof(path), "%s/%s/%02u", m->root, m->target, m->n++);
    FILE *file = fopen(path, "wb");
    FUZZ_CHECK(file);
    FUZZ_CHECK(fwrite(head, 1, head_len, file) == head_len && fwrite(bytes, 1, len, file) == len);
    fclose(file);
}

static void start(struct maker *m, enum mqtt_version version)
{
    m->version = version;
    m->from = WIRE_FROM_CLIENT;
    writer_init(&m->w, m->packet, sizeof(m->packet));
}

/* What the writer holds, as an input of its packet target. */
static void finish(struct maker *m)
{
    struct frame f;
    FUZZ_CHECK(!m->w.failed && frame_next(m->packet, m->w.len, 0, &f) == FRAME_OK);
    uint8_t side = m->from == WIRE_FROM_SERVER ? 128 : 0;
    uint8_t head[2] = { (uint8_t)(side | (m->version - MQTT_31)), m->packet[0] };
    put_file(m, head, 2, f.body, f.len);
    if (m->version == MQTT_5)
        put_file(m, head, 2, f.body, f.len * 2 / 3); /* cut */
}

static void make_connects(struct maker *m, enum mqtt_version version)
{
    struct connect_packet p;
    connect_packet_init(&p, version);
    p.client_id = STR("id");
    p.keep_alive_s = 60;
    p.clean_start = true;
    start(m, version);
    connect_encode(&p, &m->w);
    finish(m);
    p.user_name = STR("user");
    p.password = STR("\0\xff");
    p.present =
        PROPERTY_BIT(PROPERTY_SESSION_EXPIRY) | PROPERTY_BIT(PROPERTY_RECEIVE_MAXIMUM) |
        PROPERTY_BIT(PROPERTY_MAXIMUM_PACKET_SIZE) | PROPERTY_BIT(PROPERTY_TOPIC_ALIAS_MAXIMUM) |
        PROPERTY_BIT(PROPERTY_REQUEST_RESPONSE_INFO) | PROPERTY_BIT(PROPERTY_REQUEST_PROBLEM_INFO);
    p.maximum_packet_size = 4096;
    p.auth_method = STR("SCRAM");
    p.auth_data = STR("data");
    p.props = m->user_props;
    p.will = (struct connect_will){ .is_set = true,
                                    .qos = 2,
                                    .retain = true,
                                    .delay_s = 5,
                                    .has_message_expiry = true,
                                    .payload_format = 1,
                                    .topic = STR("will/topic"),
                                    .payload = STR("bye"),
                                    .response_topic = STR("re"),
                                    .correlation = STR("\0"),
                                    .content_type = STR("text"),
                                    .props = m->user_props };
    start(m, version);
    connect_encode(&p, &m->w);
    finish(m);
}

static void make_connacks(struct maker *m, enum mqtt_version version)
{
    struct connack_packet p = { .reason = REASON_NOT_AUTHORIZED };
    start(m, version);
    connack_encode(&p, version, &m->w);
    finish(m);
    p = (struct connack_packet){
        .session_present = true,
        .present = PROPERTY_BIT(PROPERTY_MAXIMUM_QOS) | PROPERTY_BIT(PROPERTY_RETAIN_AVAILABLE) |
                   PROPERTY_BIT(PROPERTY_SERVER_KEEP_ALIVE) |
                   PROPERTY_BIT(PROPERTY_WILDCARD_AVAILABLE) |
                   PROPERTY_BIT(PROPERTY_SUBSCRIPTION_ID_AVAILABLE) |
                   PROPERTY_BIT(PROPERTY_SHARED_AVAILABLE) | PROPERTY_BIT(PROPERTY_SESSION_EXPIRY) |
                   PROPERTY_BIT(PROPERTY_TOPIC_ALIAS_MAXIMUM),
        .assigned_client_id = STR("auto-1"),
        .response_info = STR("re"),
        .server_reference = STR("other:1883"),
        .auth_method = STR("SCRAM"),
        .auth_data = STR("data"),
        .reason_string = STR("why"),
        .props = m->user_props,
    };
    start(m, version);
    connack_encode(&p, version, &m->w);
    finish(m);
}

static void make_publishes(struct maker *m, enum mqtt_version version)
{
    static const uint32_t ids[] = { 1, 300 };
    for (uint8_t qos = 0; qos < 3; qos++) {
        struct publish_head h = {
            .topic = STR("a/b"), .payload_len = 3, .qos = qos, .dup = qos > 0, .packet_id = 258
        };
        start(m, version);
        if (qos == 1) {
            h.props = m->user_props;
            h.topic_alias = 7;
            h.has_message_expiry = true;
            h.message_expiry_s = 60;
        } else if (qos == 2) {
            m->from = WIRE_FROM_SERVER;
            h.subscription_ids = ids;
            h.n_subscription_ids = 2;
            h.retain = true;
        }
        publish_encode(&h, STR("pay"), version, &m->w);
        finish(m);
    }
}

static void make_acks(struct maker *m, enum mqtt_version version)
{
    for (uint8_t type = PACKET_PUBACK; type <= PACKET_PUBCOMP; type++) {
        struct ack_packet p = { .type = type, .packet_id = 258 };
        start(m, version);
        ack_encode(&p, version, &m->w);
        finish(m);
        if (version != MQTT_5)
            continue;
        p.reason_string = STR("why");
        p.props = m->user_props;
        start(m, version);
        ack_encode(&p, version, &m->w);
        finish(m);
    }
}

static void make_subscribes(struct maker *m, enum mqtt_version version)
{
    static const struct subscribe_filter filters[] = {
        { .filter = { "a/+/#", 5 }, .qos = 2, .retain_handling = 2, .no_local = true },
        { .filter = { "$share/g/t", 10 }, .qos = 1, .retain_as_published = true },
    };
    for (uint32_t n = 1; n <= 2; n++) {
        struct subscribe_packet p = { .packet_id = 258, .subscription_id = n - 1, .n_filters = n };
        if (n == 2)
            p.props = m->user_props;
        start(m, version);
        subscribe_encode(&p, filters, version, &m->w);
        finish(m);
    }
}

static void make_unsubscribes(struct maker *m, enum mqtt_version version)
{
    static const struct str filters[] = { { "a/+/#", 5 }, { "$share/g/t", 10 } };
    for (uint32_t n = 1; n <= 2; n++) {
        struct unsubscribe_packet p = { .packet_id = 258, .n_filters = n };
        if (n == 2)
            p.props = m->user_props;
        start(m, version);
        unsubscribe_encode(&p, filters, version, &m->w);
        finish(m);
    }
}

static void make_subacks(struct maker *m, enum mqtt_version version)
{
    for (int i = 0; i < 2; i++) {
        struct suback_packet p = { .type = i ? PACKET_UNSUBACK : PACKET_SUBACK,
                                   .packet_id = 258,
                                   .codes = i ? STR("\0\x11\x87") : STR("\0\1\2\x80"),
                                   .reason_string = STR("why"),
                                   .props = m->user_props };
        start(m, version);
        suback_encode(&p, version, &m->w);
        finish(m);
    }
}

static void make_disconnects(struct maker *m, enum mqtt_version version)
{
    struct disconnect_packet p = { .reason = REASON_SUCCESS };
    start(m, version);
    disconnect_encode(&p, version, &m->w);
    finish(m);
    p.reason = REASON_SERVER_MOVED;
    p.reason_string = STR("why");
    p.props = m->user_props;
    p.has_session_expiry = true;
    start(m, version);
    disconnect_encode(&p, version, &m->w);
    finish(m);
    p.has_session_expiry = false;
    p.server_reference = STR("other:1883");
    start(m, version);
    m->from = WIRE_FROM_SERVER;
    disconnect_encode(&p, version, &m->w);
    finish(m);
}

static void make_auths(struct maker *m, enum mqtt_version version)
{
    struct auth_packet p = { .reason = REASON_SUCCESS };
    start(m, version);
    auth_encode(&p, &m->w);
    finish(m);
    p.reason = REASON_CONTINUE_AUTHENTICATION;
    p.method = STR("SCRAM");
    p.data = STR("\0data");
    p.reason_string = STR("why");
    p.props = m->user_props;
    start(m, version);
    auth_encode(&p, &m->w);
    finish(m);
}

/* Streams of several packets behind a limit. */
static void make_frames(struct maker *m, enum mqtt_version version)
{
    struct publish_head h = { .topic = STR("a/b"), .payload_len = 3, .qos = 1, .packet_id = 1 };
    static const uint8_t limits[][2] = { { 0, 0 }, { 0, 12 }, { 0, 3 } };
    start(m, version);
    ping_encode(PACKET_PINGREQ, &m->w);
    publish_encode(&h, STR("pay"), version, &m->w);
    ping_encode(PACKET_PINGRESP, &m->w);
    for (size_t i = 0; i < 3; i++)
        put_file(m, limits[i], 2, m->packet, m->w.len);
    put_file(m, limits[0], 2, "\x30\xff\xff\xff\x7f", 5);
    put_file(m, limits[0], 2, "\x30\x80\x80\x80\x80\x01", 6);
}

/* The property blocks of a few packets, and one property of each type. */
static void make_properties(struct maker *m, enum mqtt_version version)
{
    static const uint8_t client_publish = PACKET_PUBLISH, server_publish = PACKET_PUBLISH | 128,
                         connack = PACKET_CONNACK | 128, will = 0;
    if (version != MQTT_5)
        return;
    start(m, version);
    property_write_number(&m->w, PROPERTY_PAYLOAD_FORMAT, 1);
    property_write_number(&m->w, PROPERTY_MESSAGE_EXPIRY, 60);
    property_write_string(&m->w, PROPERTY_RESPONSE_TOPIC, STR("re"));
    property_write_string(&m->w, PROPERTY_CORRELATION_DATA, STR("\0\xff"));
    property_write_users(&m->w, m->user_props);
    put_file(m, &client_publish, 1, m->packet, m->w.len);
    put_file(m, &client_publish, 1, m->packet, m->w.len * 2 / 3);
    put_file(m, &will, 1, m->packet, m->w.len);
    property_write_number(&m->w, PROPERTY_SUBSCRIPTION_ID, 300);
    property_write_number(&m->w, PROPERTY_TOPIC_ALIAS, 7);
    put_file(m, &server_publish, 1, m->packet, m->w.len);
    put_file(m, &client_publish, 1, m->packet, m->w.len);
    start(m, version);
    property_write_number(&m->w, PROPERTY_RECEIVE_MAXIMUM, 20);
    property_write_number(&m->w, PROPERTY_MAXIMUM_QOS, 1);
    property_write_string(&m->w, PROPERTY_REASON_STRING, STR("why"));
    put_file(m, &connack, 1, m->packet, m->w.len);
    property_write_number(&m->w, PROPERTY_MAXIMUM_QOS, 1);
    put_file(m, &connack, 1, m->packet, m->w.len);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*make)(struct maker *m, enum mqtt_version version);
    } targets[] = {
        { "ack", make_acks },
        { "auth", make_auths },
        { "connack", make_connacks },
        { "connect", make_connects },
        { "disconnect", make_disconnects },
        { "frame", make_frames },
        { "property", make_properties },
        { "publish", make_publishes },
        { "suback", make_subacks },
        { "subscribe", make_subscribes },
        { "unsubscribe", make_unsubscribes },
    };
    struct maker m = { .root = argc == 2 ? argv[1] : "." };
    writer_init(&m.w, m.user_bytes, sizeof(m.user_bytes));
    property_write_user(&m.w, STR("k"), STR("v"));
    property_write_user(&m.w, STR("k"), STR(""));
    m.user_props = str_make(m.user_bytes, m.w.len);
    for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
        m.target = targets[i].name;
        m.n = 0;
        for (int version = MQTT_31; version <= MQTT_5; version++)
            targets[i].make(&m, version);
    }
    return 0;
}
