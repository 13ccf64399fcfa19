/* bus.h - other nodes: what they want, what they get, what came from them. docs/architecture.md,
 * "Several nodes".
 *
 * `broker.bus` is NULL where no bus is configured, and nothing here is called then. Remote nodes
 * are receivers in the subscription index, at home on loop 0, with a slot there like a session's;
 * everything that is sent or read happens on loop 0. What other loops do is said at each function.
 */
#pragma once
#include "broker/publish.h"
#include "broker/route.h"

struct bus;
struct node;

/* What a message that came from another node is for. Owned by its publish. */
struct bus_pick {
    bool plain; /* for ordinary subscriptions */
    uint32_t n_groups;
    struct str groups[]; /* share groups that were chosen; the texts follow */
};

/* NULL in *r_bus when none is configured. Before the store is read: its subscriptions are counted.
 * 0 or -ENOMEM. */
int bus_new(struct broker *b, struct bus **r_bus);
/* Opens the plugin; before the loops run. 0 or -EINVAL. */
int bus_start(struct bus *bus);
/* The plugins are gone. */
void bus_free(struct bus **bus);
/* [loop 0] Reads and writes what there is to be. true: there was something. */
bool bus_turn(struct bus *bus);
/* [loop 0] The broker stops: what waits is sent, the other nodes are told. */
void bus_leave(struct bus *bus);

/* ---- what this node wants [tree lock] ---- */

/* As index_put, index_remove, index_set, for subscriptions that other nodes are told of. `was`:
 * options as they are. */
int interest_put(struct broker *b, uint32_t loop, struct str filter, struct str share,
                 struct index_who who, uint64_t opts, uint64_t version);
int interest_remove(struct broker *b, uint32_t loop, struct str filter, struct str share,
                    uint64_t session, uint64_t was);
void interest_set(struct broker *b, struct str filter, struct str share, uint64_t session,
                  uint64_t was, uint64_t set, uint64_t clear);

/* ---- messages ---- */

/* [any loop] Are clients' publishes to be refused because the bus is down? */
bool bus_refuses(const struct bus *bus);
/* [any loop] The message of `c` goes to nodes that have too much waiting: `c` is not to be read
 * while that is so. */
void bus_look_at(struct bus *bus, struct client *c, const struct message *message,
                 const struct match *m);
/* [any loop] Must `c` wait? It is then on the shard's list of those that do. */
bool bus_holds_back(struct bus *bus, struct client *c);
/* [loop 0] A receiver of SUB_REMOTE. */
enum offer_result bus_offer(struct shard *s, const struct routed *r, const struct receiver *rcpt);
/* [any loop] What the receivers on loop 0 take of a message that is about to be posted there, in
 * bytes for other nodes; [loop 0] bus_came when it has been dealt with. */
size_t bus_coming(struct bus *bus, const struct message *message, const struct receiver *rcpts,
                  uint32_t n);
void bus_came(struct bus *bus, size_t bytes);
/* [any loop] A retained message (or deletion) was routed: every node gets it. */
void bus_retained(struct shard *s, struct message *message);
/* [any loop, tree lock] A retained message is about to be written. 1: write it (*message may be
 * another one now, dated later than what it replaces); 0: what is there is newer; -ENOMEM. */
int bus_date(struct shard *s, struct message **message);
/* [any loop] How many interests of other nodes are in the index. */
uint64_t bus_count_remote(const struct bus *bus);
/* [home loop] A client is online here now. */
void bus_claim(struct shard *s, struct client *c, struct str id);

/* For pigeon.metrics/1. [any] */
void bus_metrics(const struct bus *bus, pigeon_metric_fn fn, void *arg);
