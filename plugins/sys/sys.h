/* sys.h - what the files of the plugin share: its instance, publishing, numbers of the process.
 *
 * One instance for the broker (SINGLE), everything on its loop. Publishes through host->publish
 * only and never asks a client anything. */
#pragma once
#include <pigeon/plugin.h>
#include <stdbool.h>
#include <stddef.h>

#define SYS_TOPIC_MAX 384
#define SYS_TEXT_MAX  64

/* A retained topic and what it said last. */
struct sys_leaf {
    char *topic;
    char last[SYS_TEXT_MAX];
};

struct sys_cpu {
    uint64_t busy, total;
};

/* What is read once per interval. */
struct sys_numbers {
    pigeon_info info;
    int64_t now_ns;
    uint64_t heap, heap_maximum; /* bytes */
    double load_average[3];
    uint32_t n_load_average;
    uint32_t cpu_percent; /* of the machine, since the plugin began */
};

struct sys_mosquitto;
struct sys_plugins;

struct sys {
    const pigeon_host *host;
    bool aedes, mosquitto, plugins;
    bool has_warned; /* of a publish that failed */
    char *prefix;    /* "$SYS/<id>/" */
    struct sys_numbers numbers;
    struct sys_cpu cpu_at_start;
    uint64_t n_connects; /* CONNECTs that were let in */
    struct sys_mosquitto *tree;
    struct sys_plugins *plugin_tree;
    pigeon_watch *timer;
};

/* ---- sys.c */

void sys_publish(struct sys *s, const char *topic, pigeon_bytes payload, bool retain);
/* Retained, if it is news. */
void sys_leaf_set(struct sys *s, struct sys_leaf *leaf, const char *text);

/* ---- sys_numbers.c */

/* Zeros where the system does not say. */
void sys_cpu_read(struct sys_cpu *r_cpu);
void sys_numbers_read(struct sys *s);

/* ---- sys_aedes.c: $SYS/<id>/... */

void sys_aedes_start(struct sys *s);
void sys_aedes_update(struct sys *s);
void sys_aedes_client(struct sys *s, const char *what, pigeon_str client_id);
void sys_aedes_subscribed(struct sys *s, pigeon_str client_id, const pigeon_sub *subs, uint32_t n,
                          uint32_t stride);
void sys_aedes_unsubscribed(struct sys *s, pigeon_str client_id, const pigeon_str *filters,
                            uint32_t n);

/* ---- sys_mosquitto.c: $SYS/broker/... */

int32_t sys_mosquitto_new(struct sys_mosquitto **r_tree);
void sys_mosquitto_free(struct sys_mosquitto **tree);
void sys_mosquitto_update(struct sys *s);

/* ---- sys_plugins.c: $SYS/broker/plugins/<name>/<metric> */

int32_t sys_plugins_new(const pigeon_host *host, struct sys_plugins **r_tree);
void sys_plugins_free(struct sys_plugins **tree);
void sys_plugins_update(struct sys *s);
