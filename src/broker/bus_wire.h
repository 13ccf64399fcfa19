/* bus_wire.h - the bytes of parcels between nodes: what the core writes into a bus and reads from
 * it.
 *
 * A body is a version byte and records. In a parcel of kind 0 each record is a message; of kind 1,
 * a word: type, length, content; words of an unknown type are skipped, so that a newer node may say
 * more. Reading is for hostile bytes: views into the parcel, no allocation, one sticky error. */
#pragma once
#include "base/buf.h"
#include "mqtt/message.h"
#include "wire/cursor.h"

#define BUS_VERSION  1u
#define BUS_MESSAGES 0u /* pigeon_parcel.kind */
#define BUS_WORDS    1u
#define BUS_ECHO     2u

enum bus_word_type {
    BUS_HELLO = 1,
    BUS_BYE = 2,             /* the node stops */
    BUS_INTERESTS_BEGIN = 3, /* all that a node wants follows; what it does not name is over */
    BUS_INTEREST = 4,
    BUS_INTERESTS_END = 5,
    BUS_RETAINED = 6,     /* a message as in kind 0, to be kept only */
    BUS_RETAINED_DEL = 7, /* a topic whose message was deleted */
    BUS_RETAINED_END = 8, /* all retained messages have been told */
    BUS_ASK = 9,          /* something was lost: say it all again */
    BUS_CLIENT = 10,      /* a client is connected here now */
};

enum bus_welcome {
    BUS_NO_WELCOME,
    BUS_WELCOME,      /* if the other one thinks that it is known already, it answers */
    BUS_WELCOME_BACK, /* that answer; there is none to it */
};

struct bus_hello {
    struct str node_id;
    uint32_t period_ms;                 /* of its hellos */
    uint64_t clock; /* see bus_clock */ /* see bus_clock */
    uint8_t welcome; /* BUS_WELCOME: first parcel to a node it did not know, which tells all */
};

struct bus_interest {
    struct str key; /* filter, or $share/NAME/filter */
    bool add;
    bool online, durable; /* shared: has members that are connected, that are not */
};

struct bus_deleted {
    struct str topic;
    int64_t stamp_ms;
    uint64_t node;
};

struct bus_client {
    struct str id;
    uint64_t stamp; /* of the shared clock */
};

/* A message as it was read. `parts` has views; its dates are on this node's clock once the reader
 * has added them up: expires_in_ms counts from the arrival. */
struct bus_message {
    struct message_parts parts;
    bool plain;            /* for ordinary subscriptions */
    int64_t expires_in_ms; /* 0: never */
    uint32_t n_groups;     /* share groups that were chosen */
    struct cursor groups;  /* bus_group_next */
};

/* ---- writing: into a body that bus_body_begin has begun; 0 or -ENOMEM, the body as before ---- */

int bus_body_begin(struct buf *body);
/* Where the parts of a message stand that can still change. */
struct bus_place {
    size_t flags, n_groups; /* offsets in the body; the groups end with it */
};
int bus_message_put(struct buf *body, const struct message *m, int64_t wall_ms, uint64_t node,
                    bool plain, struct bus_place *r_place);
size_t bus_message_size(const struct message *m);
/* On the body's last message. */
int bus_group_add(struct buf *body, const struct bus_place *place, struct str group);
void bus_set_plain(struct buf *body, const struct bus_place *place);

int bus_hello_put(struct buf *body, const struct bus_hello *h);
int bus_interest_put(struct buf *body, const struct bus_interest *i);
int bus_retained_put(struct buf *body, const struct message *m, int64_t wall_ms, uint64_t node);
int bus_deleted_put(struct buf *body, const struct bus_deleted *d);
int bus_client_put(struct buf *body, const struct bus_client *c);
int bus_word_put(struct buf *body, enum bus_word_type type); /* without content */

/* ---- reading: 1 and the next one, 0 at the end, -EINVAL ---- */

/* 0; -EINVAL: empty; -ENOTSUP: another version. */
int bus_body_open(struct cursor *c, struct str body);
/* The topic is a name that does not begin with '$', properties are those of a PUBLISH on its way.
 */
int bus_message_next(struct cursor *c, struct bus_message *r_message);
/* "$share/NAME/filter"; once per group that n_groups counts. */
struct str bus_group_next(struct bus_message *m);
int bus_word_next(struct cursor *c, uint32_t *r_type, struct cursor *r_content);
int bus_hello_get(struct cursor *c, struct bus_hello *r_hello);
/* The filter is valid and does not begin with '$'. */
int bus_interest_get(struct cursor *c, struct bus_interest *r_interest);
int bus_retained_get(struct cursor *c, struct bus_message *r_message);
int bus_deleted_get(struct cursor *c, struct bus_deleted *r_deleted);
int bus_client_get(struct cursor *c, struct bus_client *r_client);
