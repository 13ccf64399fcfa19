/* message.h - an application message: immutable, reference counted, one allocation.
 *
 * `view` is what plugins see; all its pointers lead into the same block, texts have a NUL behind
 * them. A message is owned by who holds a reference. References are counted without atomics as long
 * as the message stays on one thread; message_share() must be called before another thread may take
 * or drop one. */
#pragma once
#include "base/str.h"
#include "pigeon/types.h"
#include <stdatomic.h>

struct message {
    pigeon_msg view;
    uint64_t from_session; /* session number of the publisher, 0: none; for No Local */
    _Atomic uint32_t refs;
    uint32_t size; /* bytes of the whole block */
    bool shared;
    char data[];
};

#define MESSAGE_OVERHEAD (sizeof(struct message) + 5) /* of `size`: a NUL behind each text, too */

/* What a message is made from; views that are copied. */
struct message_parts {
    struct str topic, props, payload; /* props: as forwarded, see wire/publish.h */
    struct str publisher, publisher_user;
    uint8_t qos, retain, dup, origin;
    int64_t expires_ms; /* UNIX ms, 0: never */
    bool hide_expiry;   /* expires_ms is the broker's own limit: receivers are not told */
    int64_t received_ms;
    uint64_t from_session;
    pigeon_msg_id id;
    bool shared; /* other threads will hold references from the start */
};

/* One reference for the caller; NULL when out of memory. */
struct message *message_new(const struct message_parts *parts);
/* The parts of an existing message, to make a changed copy. */
void message_parts(const struct message *m, struct message_parts *r_parts);
struct message *message_ref(struct message *m);
void message_unref(struct message **m); /* sets *m to NULL; NULL is fine */
void message_share(struct message *m);
static inline struct message *message_of(const pigeon_msg *view)
{
    return (struct message *)view; /* view is the first member */
}
static inline struct str message_topic(const struct message *m)
{
    return (struct str){ m->view.topic.ptr, m->view.topic.len };
}
static inline struct str message_payload(const struct message *m)
{
    return (struct str){ (const char *)m->view.payload.ptr, m->view.payload.len };
}
static inline struct str message_props(const struct message *m)
{
    return (struct str){ (const char *)m->view.props.ptr, m->view.props.len };
}
static inline bool message_expired(const struct message *m, int64_t wall_ms)
{
    return m->view.expires_ms && m->view.expires_ms <= wall_ms;
}
/* The publisher gave a Message Expiry Interval (MQTT 5): receivers are told what is left of it. */
static inline bool message_tells_expiry(const struct message *m)
{
    return m->view.expires_ms && !(m->view.flags & PIGEON_MSG_EXPIRY_HIDDEN);
}
/* Seconds left for the Message Expiry Interval that goes out [MQTT-3.3.2-6]; at least 1 while not
 * expired. */
uint32_t message_expiry_left_s(const struct message *m, int64_t wall_ms);
