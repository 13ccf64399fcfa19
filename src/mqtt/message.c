#include "mqtt/message.h"
#include <stdlib.h>

/* Appends `s` and a NUL; the view of the copy. */
static struct str put(char **at, struct str s)
{
    struct str copy = str_make(*at, s.len);
    if (s.len)
        memcpy(*at, s.ptr, s.len);
    (*at)[s.len] = '\0';
    *at += s.len + 1;
    return copy;
}

static pigeon_str view_of(struct str s)
{
    return (pigeon_str){ .ptr = s.ptr, .len = s.len };
}

static pigeon_bytes bytes_of(struct str s)
{
    return (pigeon_bytes){ .ptr = (const uint8_t *)s.ptr, .len = s.len };
}

static struct str str_of(pigeon_str s)
{
    return str_make(s.ptr, s.len);
}

struct message *message_new(const struct message_parts *parts)
{
    uint64_t size = MESSAGE_OVERHEAD;
    size += (uint64_t)parts->topic.len + parts->props.len + parts->payload.len;
    size += (uint64_t)parts->publisher.len + parts->publisher_user.len;
    if (size > UINT32_MAX)
        return NULL;
    struct message *m = malloc((size_t)size);
    if (!m)
        return NULL;
    char *at = m->data;
    m->view = (pigeon_msg){
        .size = sizeof(m->view),
        .qos = parts->qos,
        .retain = parts->retain,
        .dup = parts->dup,
        .origin = parts->origin,
        .id = parts->id,
        .expires_ms = parts->expires_ms,
        .received_ms = parts->received_ms,
        .flags = parts->expires_ms && parts->hide_expiry ? PIGEON_MSG_EXPIRY_HIDDEN : 0,
        .topic = view_of(put(&at, parts->topic)),
        .props = bytes_of(put(&at, parts->props)),
        .publisher = view_of(put(&at, parts->publisher)),
        .publisher_user = view_of(put(&at, parts->publisher_user)),
        .payload = bytes_of(put(&at, parts->payload)),
    };
    m->from_session = parts->from_session;
    atomic_init(&m->refs, 1);
    m->size = (uint32_t)size;
    m->shared = parts->shared;
    return m;
}

void message_parts(const struct message *m, struct message_parts *r_parts)
{
    *r_parts = (struct message_parts){
        .topic = message_topic(m),
        .props = message_props(m),
        .payload = message_payload(m),
        .publisher = str_of(m->view.publisher),
        .publisher_user = str_of(m->view.publisher_user),
        .qos = m->view.qos,
        .retain = m->view.retain,
        .dup = m->view.dup,
        .origin = m->view.origin,
        .expires_ms = m->view.expires_ms,
        .hide_expiry = m->view.flags & PIGEON_MSG_EXPIRY_HIDDEN,
        .received_ms = m->view.received_ms,
        .from_session = m->from_session,
        .id = m->view.id,
        .shared = m->shared,
    };
}

struct message *message_ref(struct message *m)
{
    if (m->shared) {
        atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
    } else {
        uint32_t refs = atomic_load_explicit(&m->refs, memory_order_relaxed);
        atomic_store_explicit(&m->refs, refs + 1, memory_order_relaxed);
    }
    return m;
}

void message_unref(struct message **m)
{
    struct message *old = *m;
    *m = NULL;
    if (!old)
        return;
    if (old->shared) {
        if (atomic_fetch_sub_explicit(&old->refs, 1, memory_order_acq_rel) != 1)
            return;
    } else {
        uint32_t refs = atomic_load_explicit(&old->refs, memory_order_relaxed);
        if (refs != 1) {
            atomic_store_explicit(&old->refs, refs - 1, memory_order_relaxed);
            return;
        }
    }
    free(old);
}

void message_share(struct message *m)
{
    /* Other threads may read the flag of a message that is shared already. */
    if (!m->shared)
        m->shared = true;
}

uint32_t message_expiry_left_s(const struct message *m, int64_t wall_ms)
{
    if (!m->view.expires_ms)
        return 0;
    /* Rounded up: what waited less than a second goes out with the value it came with. */
    int64_t left_s = (m->view.expires_ms - wall_ms + 999) / 1000;
    if (left_s < 1)
        return 1;
    return left_s > UINT32_MAX ? UINT32_MAX : (uint32_t)left_s;
}
