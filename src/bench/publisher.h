/* publisher.h - sends numbered messages, never more than its window allows.
 *
 * A message is under way until all its receivers have it (publisher_delivered), or, where nobody
 * receives, until the broker has acknowledged it (QoS 0: until it has answered a PINGREQ behind
 * it). Messages leave in batches: only when `batch` of them may be sent, or nothing is under way.
 * Embedded; owned by a shape. */
#pragma once
#include "base/list.h"
#include "bench/client.h"
#include <stdint.h>

struct publisher;
/* Changes the topic, in place and without changing its length, for that message. */
typedef void (*publisher_topic_fn)(struct publisher *p, uint64_t number, char *topic);

struct publisher_conf {
    const char *topic;
    publisher_topic_fn retopic; /* may be NULL */
    uint32_t payload;           /* 0: none at all, also no number */
    uint32_t window, batch;
    uint32_t n_receivers; /* of every message; 0: acknowledgements count */
    uint8_t qos;
    bool retain;
};

struct publisher {
    struct client client;
    struct publisher_conf conf;
    struct list pump; /* in bench.pumps */
    uint32_t index;
    uint64_t n_sent; /* number of the next message */
    uint64_t n_done; /* all below this are no longer under way */
    uint64_t limit;  /* messages from this number on are not sent yet */
    bool is_pinging; /* a PINGREQ is under way: ping_at messages were sent before it */
    uint64_t ping_at;
    uint32_t *left; /* receivers that still wait, by number & left_mask */
    uint64_t left_mask;
    /* By the clock: message n is due at due_ns + (n - due_from) * due_step_ns; step 0: at once. */
    uint64_t due_ns, due_from;
    double due_step_ns;
    uint8_t *frame; /* a whole PUBLISH */
    uint32_t frame_len, topic_at, id_at, payload_at;
};

/* 0 or -EIO, having failed the run. */
int publisher_init(struct publisher *p, struct bench *b, uint32_t index,
                   const struct publisher_conf *conf);
void publisher_fini(struct publisher *p);
/* Messages up to `limit` may go; they do in this or the next turn. */
void publisher_allow(struct publisher *p, uint64_t limit);
/* One receiver has that message. */
void publisher_delivered(struct publisher *p, uint64_t number);
/* Everything up to the limit was sent, has arrived and is acknowledged. */
bool publisher_is_idle(const struct publisher *p);
/* What is still under way is taken for lost. */
void publisher_give_up(struct publisher *p);
/* Lets those in bench.pumps send; false: nobody did. */
bool publisher_pump_all(struct bench *b);
