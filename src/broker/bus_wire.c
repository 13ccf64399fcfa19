#include "broker/bus_wire.h"
#include "base/utf8.h"
#include "mqtt/topic.h"
#include "wire/property.h"
#include "wire/writer.h"
#include <errno.h>

#define F_QOS    3u
#define F_RETAIN 4u
#define F_PLAIN  8u
#define F_DATED  16u /* it expires */
#define F_HIDDEN 32u /* by a limit of the broker's, receivers are not told */
#define F_KNOWN  63u

#define NODE_ID_MAX 255u
#define KEY_MAX     (3u * UINT16_MAX) /* a share name and a filter that a plugin has made longer */

/* Bytes of a message beside its texts: flags, id, stamp, expiry, lengths, number of groups. */
#define MESSAGE_HEAD 64u

/* ---- writing ------------------------------------------------------------------------------------
 */

static void put_u64(struct writer *w, uint64_t n)
{
    writer_u32(w, (uint32_t)(n >> 32));
    writer_u32(w, (uint32_t)n);
}

static void put_long(struct writer *w, struct str s)
{
    writer_u32(w, s.len);
    writer_bytes(w, s.ptr, s.len);
}

static int begin(struct buf *body, struct writer *w, size_t room)
{
    if (buf_reserve(body, room))
        return -ENOMEM;
    writer_init(w, buf_tail(body), buf_room(body));
    return 0;
}

static int end(struct buf *body, const struct writer *w)
{
    if (w->failed)
        return -ENOMEM;
    buf_commit(body, w->len);
    return 0;
}

int bus_body_begin(struct buf *body)
{
    uint8_t version = BUS_VERSION;
    return buf_append(body, &version, 1);
}

size_t bus_message_size(const struct message *m)
{
    return MESSAGE_HEAD + m->view.topic.len + m->view.props.len + m->view.payload.len +
           m->view.publisher.len + m->view.publisher_user.len;
}

static struct str view_str(pigeon_str s)
{
    return str_make(s.ptr, s.len);
}

static void put_message(struct writer *w, const struct message *m, int64_t wall_ms, uint64_t node,
                        bool plain)
{
    const pigeon_msg *v = &m->view;
    uint8_t flags = v->qos & F_QOS;
    flags |= v->retain ? F_RETAIN : 0;
    flags |= plain ? F_PLAIN : 0;
    flags |= v->expires_ms ? F_DATED : 0;
    flags |= v->flags & PIGEON_MSG_EXPIRY_HIDDEN ? F_HIDDEN : 0;
    writer_u8(w, flags);
    put_u64(w, v->id.node ? v->id.node : node);
    put_u64(w, v->id.n);
    put_u64(w, (uint64_t)v->received_ms);
    if (v->expires_ms)
        put_u64(w, v->expires_ms > wall_ms ? (uint64_t)(v->expires_ms - wall_ms) : 1);
    writer_string(w, view_str(v->topic));
    writer_string(w, view_str(v->publisher));
    writer_string(w, view_str(v->publisher_user));
    put_long(w, message_props(m));
    put_long(w, message_payload(m));
}

int bus_message_put(struct buf *body, const struct message *m, int64_t wall_ms, uint64_t node,
                    bool plain, struct bus_place *r_place)
{
    struct writer w;
    size_t at = buf_len(body);
    if (begin(body, &w, bus_message_size(m)))
        return -ENOMEM;
    put_message(&w, m, wall_ms, node, plain);
    struct bus_place place = { .flags = at, .n_groups = at + w.len };
    writer_u16(&w, 0);
    if (end(body, &w))
        return -ENOMEM;
    *r_place = place;
    return 0;
}

int bus_group_add(struct buf *body, const struct bus_place *place, struct str group)
{
    struct writer w;
    uint8_t *at = (uint8_t *)buf_ptr(body) + place->n_groups;
    uint32_t n = (uint32_t)(at[0] << 8 | at[1]) + 1;
    if (n > UINT16_MAX || begin(body, &w, 2 + (size_t)group.len))
        return -ENOMEM;
    writer_string(&w, group);
    if (end(body, &w))
        return -ENOMEM;
    at = (uint8_t *)buf_ptr(body) + place->n_groups; /* it may have moved */
    at[0] = (uint8_t)(n >> 8);
    at[1] = (uint8_t)n;
    return 0;
}

void bus_set_plain(struct buf *body, const struct bus_place *place)
{
    buf_ptr(body)[place->flags] |= F_PLAIN;
}

/* Type, and a length to be filled in. */
static int word_begin(struct buf *body, struct writer *w, enum bus_word_type type, size_t room)
{
    if (begin(body, w, 5 + room))
        return -ENOMEM;
    writer_u8(w, (uint8_t)type);
    writer_u32(w, 0);
    return 0;
}

static int word_end(struct buf *body, struct writer *w)
{
    size_t len = w->len - 5;
    if (w->failed)
        return -ENOMEM;
    for (int i = 0; i < 4; i++)
        w->buf[1 + i] = (uint8_t)(len >> (24 - 8 * i));
    buf_commit(body, w->len);
    return 0;
}

int bus_hello_put(struct buf *body, const struct bus_hello *h)
{
    struct writer w;
    if (word_begin(body, &w, BUS_HELLO, 32 + (size_t)h->node_id.len))
        return -ENOMEM;
    writer_string(&w, h->node_id);
    writer_u32(&w, h->period_ms);
    put_u64(&w, h->clock);
    writer_u8(&w, h->welcome);
    return word_end(body, &w);
}

int bus_interest_put(struct buf *body, const struct bus_interest *i)
{
    struct writer w;
    if (word_begin(body, &w, BUS_INTEREST, 8 + (size_t)i->key.len))
        return -ENOMEM;
    writer_u8(&w, (uint8_t)(i->add | i->online << 1 | i->durable << 2));
    put_long(&w, i->key);
    return word_end(body, &w);
}

int bus_retained_put(struct buf *body, const struct message *m, int64_t wall_ms, uint64_t node)
{
    struct writer w;
    if (word_begin(body, &w, BUS_RETAINED, bus_message_size(m)))
        return -ENOMEM;
    put_message(&w, m, wall_ms, node, false);
    writer_u16(&w, 0);
    return word_end(body, &w);
}

int bus_deleted_put(struct buf *body, const struct bus_deleted *d)
{
    struct writer w;
    if (word_begin(body, &w, BUS_RETAINED_DEL, 24 + (size_t)d->topic.len))
        return -ENOMEM;
    writer_string(&w, d->topic);
    put_u64(&w, (uint64_t)d->stamp_ms);
    put_u64(&w, d->node);
    return word_end(body, &w);
}

int bus_client_put(struct buf *body, const struct bus_client *c)
{
    struct writer w;
    if (word_begin(body, &w, BUS_CLIENT, 16 + (size_t)c->id.len))
        return -ENOMEM;
    writer_string(&w, c->id);
    put_u64(&w, c->stamp);
    return word_end(body, &w);
}

int bus_word_put(struct buf *body, enum bus_word_type type)
{
    struct writer w;
    if (word_begin(body, &w, type, 0))
        return -ENOMEM;
    return word_end(body, &w);
}

/* ---- reading ------------------------------------------------------------------------------------
 */

static uint64_t get_u64(struct cursor *c)
{
    uint64_t high = cursor_u32(c);
    return high << 32 | cursor_u32(c);
}

/* A time that can be added to others. */
static int64_t get_time(struct cursor *c)
{
    uint64_t n = get_u64(c);
    if (n > (uint64_t)INT64_MAX / 4)
        cursor_fail(c);
    return c->failed ? 0 : (int64_t)n;
}

static struct str get_long(struct cursor *c)
{
    return cursor_view(c, cursor_u32(c));
}

int bus_body_open(struct cursor *c, struct str body)
{
    cursor_init(c, body.ptr, body.len);
    uint8_t version = cursor_u8(c);
    if (c->failed)
        return -EINVAL;
    return version == BUS_VERSION ? 0 : -ENOTSUP;
}

static bool are_props(struct str props)
{
    struct property_iter it;
    struct property p;
    int r;
    property_iter_init(&it, props, PROPERTY_IN(PACKET_PUBLISH, WIRE_FROM_CLIENT));
    while ((r = property_next(&it, &p)) == 1)
        if (p.id == PROPERTY_TOPIC_ALIAS || p.id == PROPERTY_SUBSCRIPTION_ID ||
            p.id == PROPERTY_MESSAGE_EXPIRY)
            return false;
    return r == 0;
}

static bool is_topic(struct str topic)
{
    return topic_is_name(topic, TOPIC_MAX_LEVELS) && topic.ptr[0] != '$';
}

static bool is_key(struct str key)
{
    struct str name, filter;
    if (topic_split_share(key, &name, &filter) == TOPIC_SHARE_BAD)
        return false;
    return topic_is_filter(filter, TOPIC_MAX_LEVELS) && filter.ptr[0] != '$';
}

static void get_message(struct cursor *c, struct bus_message *m)
{
    uint8_t flags = cursor_u8(c);
    struct message_parts *p = &m->parts;
    p->qos = flags & F_QOS;
    p->retain = !!(flags & F_RETAIN);
    p->hide_expiry = !!(flags & F_HIDDEN);
    p->origin = PIGEON_ORIGIN_BUS;
    m->plain = !!(flags & F_PLAIN);
    p->id.node = get_u64(c);
    p->id.n = get_u64(c);
    p->received_ms = get_time(c);
    m->expires_in_ms = flags & F_DATED ? get_time(c) : 0;
    p->topic = cursor_string(c);
    p->publisher = cursor_string(c);
    p->publisher_user = cursor_string(c);
    p->props = get_long(c);
    p->payload = get_long(c);
    m->n_groups = cursor_u16(c);
    m->groups = *c;
    if (flags & ~F_KNOWN || p->qos > 2 || (flags & F_DATED && m->expires_in_ms == 0))
        cursor_fail(c);
    for (uint32_t i = 0; i < m->n_groups && !c->failed; i++) {
        struct str group = cursor_string(c);
        if (!str_starts(group, STR("$share/")) || !is_key(group))
            cursor_fail(c);
    }
    if (!c->failed && (!is_topic(p->topic) || !are_props(p->props)))
        cursor_fail(c);
}

int bus_message_next(struct cursor *c, struct bus_message *r_message)
{
    struct bus_message m = { 0 };
    if (!c->failed && !cursor_left(c))
        return 0;
    get_message(c, &m);
    if (c->failed)
        return -EINVAL;
    *r_message = m;
    return 1;
}

struct str bus_group_next(struct bus_message *m)
{
    return cursor_string(&m->groups);
}

int bus_word_next(struct cursor *c, uint32_t *r_type, struct cursor *r_content)
{
    if (!c->failed && !cursor_left(c))
        return 0;
    uint8_t type = cursor_u8(c);
    struct str content = get_long(c);
    if (c->failed)
        return -EINVAL;
    *r_type = type;
    cursor_init(r_content, content.ptr, content.len);
    return 1;
}

int bus_hello_get(struct cursor *c, struct bus_hello *r_hello)
{
    struct bus_hello h = { 0 };
    h.node_id = cursor_string(c);
    h.period_ms = cursor_u32(c);
    h.clock = (uint64_t)get_time(c);
    h.welcome = cursor_u8(c);
    if (c->failed || h.welcome > BUS_WELCOME_BACK || !h.node_id.len ||
        h.node_id.len > NODE_ID_MAX || !h.period_ms)
        return -EINVAL;
    *r_hello = h;
    return 0;
}

int bus_interest_get(struct cursor *c, struct bus_interest *r_interest)
{
    uint8_t flags = cursor_u8(c);
    struct bus_interest i = { .add = flags & 1, .online = flags & 2, .durable = flags & 4 };
    i.key = get_long(c);
    if (c->failed || i.key.len > KEY_MAX || !utf8_is_mqtt(i.key.ptr, i.key.len) || !is_key(i.key))
        return -EINVAL;
    *r_interest = i;
    return 0;
}

int bus_retained_get(struct cursor *c, struct bus_message *r_message)
{
    int r = bus_message_next(c, r_message);
    return r == 1 && cursor_is_done(c) && r_message->parts.payload.len ? 0 : -EINVAL;
}

int bus_deleted_get(struct cursor *c, struct bus_deleted *r_deleted)
{
    struct bus_deleted d = { .topic = cursor_string(c) };
    d.stamp_ms = get_time(c);
    d.node = get_u64(c);
    if (c->failed || !is_topic(d.topic))
        return -EINVAL;
    *r_deleted = d;
    return 0;
}

int bus_client_get(struct cursor *c, struct bus_client *r_client)
{
    struct bus_client client = { .id = cursor_string(c) };
    client.stamp = (uint64_t)get_time(c);
    if (c->failed || !client.id.len)
        return -EINVAL;
    *r_client = client;
    return 0;
}
