/* bus_priv.h - the insides of the bus; for bus*.c and node*.c only. */
#pragma once
#include "base/buf.h"
#include "broker/broker.h"
#include "broker/bus.h"
#include "broker/bus_wire.h"
#include "broker/deliver.h"
#include "hooks/bus.h"

#define NODES_MAX   63u
#define PLACES      64u /* bits of bus.full; the last one is COMING_BIT */
#define RETIRED_MAX 64u
#define PARCEL_SIZE 65536u /* a body is closed when it has so many bytes */

enum bus_number {
    BUS_N_PARCELS_OUT,
    BUS_N_PARCELS_IN,
    BUS_N_BYTES_OUT,
    BUS_N_BYTES_IN,
    BUS_N_MESSAGES_OUT,
    BUS_N_MESSAGES_IN,
    BUS_N_HOLES,           /* parcels that never came */
    BUS_N_DROPPED_REPEAT,  /* parcels that came again, or after later ones */
    BUS_N_DROPPED_BAD,     /* parcels: hostile, truncated, of another version */
    BUS_N_DROPPED_UNKNOWN, /* parcels from nobody that said hello */
    BUS_N_DROPPED_ECHO,    /* own parcels that came back, not counted as an error */
    BUS_N_DROPPED_QUEUE,   /* messages: too much waits for the node */
    BUS_N_DROPPED_DOWN,    /* messages: the node or the bus went away */
    BUS_N_DROPPED_FAILED,  /* parcels that the plugin refused */
    BUS_N_DROPPED_PLUGIN,  /* parcels that the plugin says it lost */
    BUS_N_DROPPED_MEMORY,
    BUS_N_NODES,     /* gauge */
    BUS_N_QUEUED,    /* gauge: bytes waiting for other nodes */
    BUS_N_INTERESTS, /* gauge: filters of other nodes in the index */
    BUS_N_UP,        /* gauge */
    BUS_NUMBERS
};

/* A parcel on its way out. */
struct outgoing_parcel {
    struct list link;
    struct bus_wait wait;
    struct bus *bus;
    struct node *node; /* NULL: for everybody, or the node is gone */
    pigeon_parcel view;
    struct buf body;
    uint32_t n_messages;
};

struct remote_interest {
    struct str key; /* owned */
    uint32_t round; /* of node.round when it was said last */
    uint32_t flags;
};

struct node {
    struct list link; /* bus.nodes */
    struct bus *bus;
    uint64_t incarnation;
    struct str id;   /* owned */
    uint64_t number; /* in the index, like a session number */
    uint32_t slot, place;
    uint64_t heard_ms, patience_ms; /* three of its hellos */
    uint64_t seq_out;
    uint64_t seq_in, seq_in_all; /* last link numbers; 0: none yet */
    bool welcomed;               /* its welcome has come */
    bool lost;                   /* something of it was lost: it has to be asked */
    uint64_t ask_again_ms;
    uint32_t n_asked;

    struct map interests; /* struct remote_interest */
    uint32_t round;

    struct outgoing_parcel *open; /* still being written */
    struct list ready;
    uint64_t queued; /* bytes of all its parcels, those with the plugin included */
    bool telling;    /* everything is being told: without a limit but that of what there is */
    bool owes;       /* words were left out for want of room: everything has to be told again */
    struct message *last; /* reference: the message written last, in `open` */
    struct bus_place last_place;
    bool syncing; /* the retained messages are being told */
    struct retained_scan scan;
};

struct resume_mail {
    struct mail mail;
    _Atomic bool posted;
    struct bus *bus;
};

struct bus {
    struct broker *broker;
    struct log *log;
    struct list nodes;
    uint32_t n_nodes;
    uint64_t places; /* bits: taken places of `full` */
    uint64_t next_number;
    uint64_t retired[RETIRED_MAX]; /* incarnations that were replaced by a younger one of the same
                                      node */
    uint32_t n_retired;
    uint64_t seq_all;
    struct list ready_all; /* for everybody */
    struct list under_way; /* the plugin has them */
    uint64_t under_way_bytes;
    struct timer tick, again;
    uint32_t n_ticks;
    uint64_t last_tick_ms, eager_ms;
    uint32_t again_ms; /* wait before the next try */
    bool leaving;
    bool woken; /* loop 0: something arrived */

    _Atomic bool up;
    _Atomic uint64_t coming; /* bytes that other loops have posted to loop 0 for nodes */
    _Atomic uint64_t full;   /* bits by place: nodes that have too much waiting */
    _Atomic uint64_t clock;  /* see bus_clock */
    _Atomic uint64_t numbers[BUS_NUMBERS];
    struct resume_mail *resume; /* one per loop */

    /* [tree lock] */
    struct map interests; /* struct interest */
    struct list dirty;    /* of those, not yet told */
    bool told;            /* loop 0 knows that there are dirty ones */
    struct map deleted;   /* struct tombstone by topic */
    struct list tombstones;
    struct mail interest_mail;
};

/* A node's number in the index: neither a session's nor a plugin's subscription's; its place is in
 * the low bits. */
#define NODE_NUMBER      (UINT64_C(1) << 62)
#define NODE_BIT(number) (UINT64_C(1) << ((number) % PLACES))
#define COMING_BIT       (UINT64_C(1) << (PLACES - 1))

static inline void bus_count(struct bus *bus, enum bus_number which, int64_t n)
{
    atomic_fetch_add_explicit(&bus->numbers[which], (uint64_t)n, memory_order_relaxed);
}
static inline struct shard *bus_shard(const struct bus *bus)
{
    return &bus->broker->shards[0];
}
static inline struct hooks *bus_hooks(const struct bus *bus)
{
    return bus->broker->hooks;
}

/* bus.c. [any] The next moment of a clock that all nodes share as far as they have heard of one
 * another: later than anything this node has heard of, close to real time (milliseconds and 16 bits
 * to count within one). */
uint64_t bus_clock(struct bus *bus);
void bus_clock_heard(struct bus *bus, uint64_t clock);
size_t bus_coming_retained(struct bus *bus, const struct message *message);
/* Those who wait because a node was full may go on. */
void bus_resume(struct bus *bus);
/* Sends one parcel. false: keep it, not now. */
bool bus_send_parcel(struct bus *bus, struct outgoing_parcel *p);
struct outgoing_parcel *parcel_new(struct bus *bus, struct node *node, uint32_t kind);
void parcel_free(struct outgoing_parcel **p);

/* node.c */
struct node *node_find(struct bus *bus, uint64_t incarnation);
/* A node said hello for the first time; NULL: no. */
struct node *node_new(struct bus *bus, uint64_t incarnation, const struct bus_hello *hello);
/* Its interests go, what waits for it is dropped. */
void node_gone(struct node **node, const char *why);
/* Frees it alone: at the broker's end. */
void node_free(struct node *n);
/* Something of it was lost: it is to say everything again. Not more often than it makes sense. */
void node_ask(struct node *n);
/* Writes a word into its queue; *ctx as `put` wants it. */
typedef int (*word_fn)(struct buf *body, const void *what);
void node_say(struct node *n, word_fn put, const void *what, size_t room);
void node_say_only(struct node *n, enum bus_word_type type);
/* Welcome, interests, retained messages: everything it has to know. */
void node_tell_all(struct node *n, enum bus_welcome welcome);
/* false: not taken, too much waits. group: STR_NULL, or the share group that chose it. */
enum offer_result node_offer(struct node *n, struct message *m, struct str group, bool plain);
/* true: something was sent. */
bool node_flush(struct node *n);
/* A parcel of its was taken or dropped. */
void node_released(struct node *n, size_t bytes);
void node_interest(struct node *n, const struct bus_interest *i);
void node_interests_begin(struct node *n);
void node_interests_end(struct node *n);
int say_hello(struct buf *body, const void *hello);
int say_interest(struct buf *body, const void *interest);

/* bus_interest.c [tree lock] */
void interests_each(struct bus *bus, void (*fn)(void *ctx, const struct bus_interest *i),
                    void *ctx);
/* Those that have changed; tells each node. */
void interests_flush(struct bus *bus);
void interests_free(struct bus *bus);

/* bus_retained.c */
void retained_begin(struct node *n);
/* true: there is more to do now. */
bool retained_portion(struct node *n);
void bus_deleted_arrived(struct bus *bus, const struct bus_deleted *d);
void tombstones_free(struct bus *bus);

/* bus_in.c */
void bus_parcel(void *ctx, const pigeon_parcel *parcel);
