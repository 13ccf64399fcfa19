/* broker.h - the whole broker: what all loops share, and its life from start to stop.
 *
 * Owned by the server (pigeond/). Everything that clients do goes through broker/client.h. */
#pragma once
#include "base/epoch.h"
#include "broker/shard.h"
#include "config/config.h"
#include "mqtt/retained.h"
#include "net/credit.h"
#include <pthread.h>

struct bus;
struct bans;
struct conns;

struct broker {
    struct config *config; /* reference; swapped by a reload while every loop stands still */
    struct log *log;
    struct loop_group *loops;
    struct hooks *hooks;
    struct epoch epoch;
    struct hash_key hash_key; /* of this process: tables and home loops */
    struct index *index;
    struct retained *retained;
    pthread_mutex_t tree_lock; /* writers of index and retained tree, see docs/architecture.md */
    struct credit *credit;
    struct bus *bus; /* NULL: this node is alone */
    uint32_t n_loops;
    struct shard *shards; /* n_loops */
    struct conns *conns;  /* conn/'s own, see conn_setup */
    const char *node_id;
    uint64_t incarnation;
    _Atomic uint64_t next_session; /* session numbers */
    _Atomic uint64_t next_conn;
    _Atomic uint64_t next_message;
    _Atomic int64_t max_connected;
    _Atomic int64_t n_connections; /* for limits.connections */
    _Atomic int store_failed;
    _Atomic int short_of_memory; /* above limits.memory: CONNECT, PUBLISH get 0x97 */
    struct sweep *sweep;
    struct bans *bans;
    int64_t started_wall_ms;
    uint64_t started_ms;
    _Atomic uint64_t now_ms;            /* of loop 0's last turn */
    void (*on_store_failed)(void *ctx); /* any thread */
    void (*close_all)(struct shard *s, uint8_t reason);
    void (*reload)(void *ctx); /* any thread; NULL: not possible */
    void *ctx;
};

struct broker_setup {
    struct config *config; /* a reference is taken */
    struct log *log;
    struct loop_group *loops;
    const char *node_id; /* lives as long as the broker */
    void (*thread_begin)(void); /* as in hooks_setup */
    void (*on_store_failed)(void *ctx);
    /* Ends every connection of a loop with a reason code, on that loop: conn/'s conn_close_all. */
    void (*close_all)(struct shard *s, uint8_t reason);
    /* A plugin wants the configuration to be read again; any thread. NULL: not possible. */
    void (*reload)(void *ctx);
    void *ctx;
};

/* Loads and creates the plugins, restores sessions, retained messages and wills from the store; the
 * loops do not run yet. Every fault has been logged. 0; -ENOMEM; -EINVAL (plugin or chain); -EIO
 * (store). */
int broker_new(const struct broker_setup *setup, struct broker **r_broker);
/* The loops have stopped. */
void broker_free(struct broker **broker);

/* Shutdown, on loop 0: no new CONNECT; when what was submitted is answered or `deadline_ms` has
 * passed, all clients get DISCONNECT 0x8B, wills are published, last commits are awaited; then
 * `done` on loop 0. Loops go on turning all the time. P6 of docs/concurrency.md. */
void broker_stop(struct broker *b, uint64_t deadline_ms, void (*done)(void *ctx), void *ctx);

/* What the process uses, from time to time; above `limit` (0: none) the broker takes nothing more
 * in. Any thread. */
void broker_set_memory(struct broker *b, uint64_t used, uint64_t limit);
/* The home loop of a client id. */
uint32_t broker_home(const struct broker *b, struct str client_id);
/* A new client id whose home is `loop`, NUL-terminated. */
#define CLIENT_ID_MADE_MAX 32
void broker_make_client_id(struct broker *b, uint32_t loop, char r_id[CLIENT_ID_MADE_MAX]);
/* Sum of all loops. Any thread. */
int64_t broker_sum(const struct broker *b, enum counter which);
void broker_info(struct broker *b, pigeon_info *info);
/* For pigeon.metrics/1, what pigeon_info does not have. [any] */
void broker_metrics(struct broker *b, pigeon_metric_fn fn, void *arg);
/* One more client is online: keeps the highest number. */
void broker_note_connected(struct broker *b);
/* Ends the connection of a client id, if it is at home on this loop. hooks/ tells every loop, so
 * each looks for itself only: a second order that arrives later would hit the next connection. */
void broker_kick(struct shard *s, struct str client_id, uint8_t reason, const char *text);
/* PIGEON_DURABILITY_* of state that is about no message in particular. */
uint32_t broker_durability(const struct broker *b);
