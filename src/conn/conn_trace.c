#include "conn/conn_trace.h"
#include "hooks/trace.h"
#include "wire/property.h"
#include <stdio.h>

#define TEXT_MAX 4096u /* bytes of one text in a row */

/* A row on its way, and the memory that its texts lie in. */
struct shown {
    pigeon_trace_row row;
    struct buf text, props;
};

static pigeon_str view_of(struct str s)
{
    return (pigeon_str){ .ptr = s.ptr, .len = s.len };
}

/* ---- text ------------------------------------------------------------------------------------ */

static void say(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(struct buf *b, const char *format, ...)
{
    va_list args;
    if (buf_len(b) >= TEXT_MAX)
        return;
    va_start(args, format);
    (void)buf_vprintf(b, format, args); /* without memory the text ends here */
    va_end(args);
}

static const char *gap(const struct buf *b)
{
    return buf_len(b) ? " " : "";
}

static void say_property(struct buf *b, const struct property *p)
{
    const struct property_info *info = property_info(p->id);
    char name[48];
    snprintf(name, sizeof(name), "%s", info ? info->name : "?");
    for (char *at = name; (at = strchr(at, ' '));)
        *at = '-';
    say(b, "%s%s=", gap(b), name);
    switch ((enum property_type)p->type) {
    case PROPERTY_TYPE_STRING: say(b, "\"" STR_FMT "\"", STR_ARG(p->value)); break;
    case PROPERTY_TYPE_PAIR:
        say(b, "\"" STR_FMT "\":\"" STR_FMT "\"", STR_ARG(p->key), STR_ARG(p->value));
        break;
    case PROPERTY_TYPE_BINARY: say(b, "(%u bytes)", p->value.len); break;
    default: say(b, "%u", p->number); break;
    }
}

static void say_props(struct buf *b, struct str props)
{
    struct property_iter it;
    struct property p;
    property_iter_init(&it, props, 0);
    while (property_next(&it, &p) == 1)
        say_property(b, &p);
}

/* ---- the parts of packets -------------------------------------------------------------------- */

static void take_props(struct shown *s, struct cursor *in, const struct conn *c)
{
    if (conn_is_v5(c) && cursor_left(in))
        say_props(&s->props, cursor_props(in));
}

static void set_reason(struct shown *s, uint8_t reason)
{
    s->row.reason = reason;
    s->row.has_reason = 1;
    say(&s->text, "%s%s", gap(&s->text), reason_name(reason));
}

/* The topic that an alias stands for; what is not known stays empty. */
static struct str alias_topic(const struct conn *c, struct str props, bool is_in)
{
    struct str *table = is_in ? c->alias_in : c->alias_out;
    uint32_t max = is_in ? c->alias_in_max : c->alias_out_max;
    struct property p;
    if (!table || !property_find(props, PROPERTY_TOPIC_ALIAS, &p) || !p.number || p.number > max)
        return STR("");
    return table[p.number - 1];
}

static void show_publish(struct conn *c, struct shown *s, struct cursor *in, uint8_t flags,
                         bool is_in)
{
    struct str topic = cursor_string(in);
    s->row.dup = (flags >> 3) & 1;
    s->row.qos = (flags >> 1) & 3;
    s->row.retain = flags & 1;
    if (s->row.qos)
        s->row.packet_id = cursor_u16(in);
    if (conn_is_v5(c)) {
        struct str props = cursor_props(in);
        say_props(&s->props, props);
        if (!topic.len)
            topic = alias_topic(c, props, is_in);
    }
    s->row.topic = view_of(topic);
    if (!in->failed)
        s->row.payload = (pigeon_bytes){ .ptr = in->at, .len = (uint32_t)cursor_left(in) };
    s->row.payload_len = s->row.payload.len;
}

static void show_ack(const struct conn *c, struct shown *s, struct cursor *in)
{
    s->row.packet_id = cursor_u16(in);
    if (!conn_is_v5(c))
        return;
    set_reason(s, cursor_left(in) ? cursor_u8(in) : 0);
    take_props(s, in, c);
}

static void show_subscribe(const struct conn *c, struct shown *s, struct cursor *in)
{
    s->row.packet_id = cursor_u16(in);
    take_props(s, in, c);
    while (cursor_left(in) && !in->failed) {
        struct str filter = cursor_string(in);
        uint8_t options = cursor_u8(in);
        if (in->failed)
            break;
        if (!s->row.topic.ptr)
            s->row.topic = view_of(filter);
        say(&s->text, "%s" STR_FMT " qos=%u", gap(&s->text), STR_ARG(filter), options & 3u);
        if (conn_is_v5(c))
            say(&s->text, "%s%s rh=%u", options & 4 ? " nl" : "", options & 8 ? " rap" : "",
                (options >> 4) & 3u);
    }
}

static void show_unsubscribe(const struct conn *c, struct shown *s, struct cursor *in)
{
    s->row.packet_id = cursor_u16(in);
    take_props(s, in, c);
    while (cursor_left(in) && !in->failed) {
        struct str filter = cursor_string(in);
        if (!s->row.topic.ptr)
            s->row.topic = view_of(filter);
        say(&s->text, "%s" STR_FMT, gap(&s->text), STR_ARG(filter));
    }
}

static void show_suback(const struct conn *c, struct shown *s, struct cursor *in)
{
    s->row.packet_id = cursor_u16(in);
    take_props(s, in, c);
    for (bool is_first = true; cursor_left(in); is_first = false) {
        uint8_t code = cursor_u8(in);
        if (is_first) {
            s->row.reason = code;
            s->row.has_reason = 1;
        }
        say(&s->text, "%s0x%02x", gap(&s->text), code);
    }
}

static void show_connack(const struct conn *c, struct shown *s, struct cursor *in)
{
    bool present = cursor_u8(in) & 1;
    uint8_t code = cursor_u8(in);
    say(&s->text, "session_present=%d", present);
    if (conn_is_v5(c)) {
        set_reason(s, code);
        take_props(s, in, c);
        return;
    }
    s->row.reason = code;
    s->row.has_reason = 1;
    say(&s->text, " return code %u", code);
}

static void show_end(const struct conn *c, struct shown *s, struct cursor *in)
{
    if (!conn_is_v5(c))
        return;
    set_reason(s, cursor_left(in) ? cursor_u8(in) : 0);
    take_props(s, in, c);
}

static void show_body(struct conn *c, struct shown *s, const struct frame *f, bool is_in)
{
    struct cursor in;
    cursor_init(&in, f->body, f->len);
    switch ((enum packet_type)f->type) {
    case PACKET_PUBLISH: show_publish(c, s, &in, f->flags, is_in); break;
    case PACKET_PUBACK:
    case PACKET_PUBREC:
    case PACKET_PUBREL:
    case PACKET_PUBCOMP: show_ack(c, s, &in); break;
    case PACKET_SUBSCRIBE: show_subscribe(c, s, &in); break;
    case PACKET_UNSUBSCRIBE: show_unsubscribe(c, s, &in); break;
    case PACKET_SUBACK:
    case PACKET_UNSUBACK:
        if (conn_is_v5(c) || f->type == PACKET_SUBACK)
            show_suback(c, s, &in);
        else
            s->row.packet_id = cursor_u16(&in);
        break;
    case PACKET_CONNACK: show_connack(c, s, &in); break;
    case PACKET_DISCONNECT:
    case PACKET_AUTH: show_end(c, s, &in); break;
    default: break;
    }
    if (in.failed)
        say(&s->text, "%smalformed", gap(&s->text));
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void shown_init(struct shown *s, uint32_t kind, uint8_t type)
{
    const char *name = type ? packet_type_name(type) : "CLOSE";
    *s = (struct shown){ .row = { .kind = kind, .type = type } };
    s->row.name = (pigeon_str){ .ptr = name, .len = (uint32_t)strlen(name) };
    buf_init(&s->text);
    buf_init(&s->props);
}

static void shown_emit(struct conn *c, struct shown *s)
{
    s->row.text = view_of(buf_str(&s->text));
    s->row.props = view_of(buf_str(&s->props));
    trace_emit(conn_shard(c)->hooks, &c->client.who->view, &s->row);
    buf_fini(&s->text);
    buf_fini(&s->props);
}

static bool is_meant(const struct conn *c)
{
    return c->client.who && trace_fits(conn_shard(c)->hooks, &c->client.who->view);
}

void conn_trace_in(struct conn *c, const struct frame *f)
{
    struct shown s;
    if (!is_meant(c))
        return;
    shown_init(&s, PIGEON_TRACE_IN, f->type);
    s.row.packet_size = f->total;
    show_body(c, &s, f, true);
    shown_emit(c, &s);
}

void conn_trace_out(struct conn *c, const uint8_t *bytes, size_t len, const struct message *message)
{
    struct shown s;
    struct frame f;
    if (!is_meant(c) || frame_next(bytes, len, 0, &f) < 0 || !f.total)
        return;
    if (!f.body) { /* the payload comes by reference */
        f.body = bytes + f.head_len;
        f.len = (uint32_t)(len - f.head_len);
    }
    shown_init(&s, PIGEON_TRACE_OUT, f.type);
    s.row.packet_size = f.total;
    show_body(c, &s, &f, false);
    if (message) {
        s.row.payload = message->view.payload;
        s.row.payload_len = message->view.payload.len;
    }
    shown_emit(c, &s);
}

void conn_trace_connect(struct conn *c, const struct connect_info *info)
{
    const pigeon_connect *p = &info->view;
    struct shown s;
    if (!is_meant(c))
        return;
    shown_init(&s, PIGEON_TRACE_IN, PACKET_CONNECT);
    s.row.packet_size = c->connect_size;
    say(&s.text, "protocol=%u clean_start=%u keepalive=%u", c->client.version, p->clean_start,
        c->keepalive_s);
    if (info->username.ptr)
        say(&s.text, " user=\"" STR_FMT "\"", STR_ARG(info->username));
    say(&s.text, "%s", p->has_password ? " password=(not shown)" : "");
    if (info->will) {
        const pigeon_msg *m = &info->will->view;
        s.row.topic = m->topic;
        s.row.payload_len = m->payload.len;
        s.row.qos = m->qos;
        s.row.retain = m->retain;
        say(&s.text, " will=\"" STR_FMT "\" will_qos=%u will_retain=%u will_delay=%u",
            STR_ARG(message_topic(info->will)), m->qos, m->retain, p->will_delay_s);
    }
    say_props(&s.props, str_make(p->props.ptr, p->props.len));
    shown_emit(c, &s);
}

void conn_trace_close(struct conn *c, const struct client_cause *cause)
{
    struct shown s;
    if (!is_meant(c))
        return;
    shown_init(&s, PIGEON_TRACE_CLOSE, 0);
    s.row.reason = cause->reason;
    s.row.has_reason = 1;
    say(&s.text, "%s", cause->text ? cause->text : reason_name(cause->reason));
    shown_emit(c, &s);
}
