/* loop.h - event loops. One loop = one thread = one ev_loop; a group owns all of them.
 *
 * A turn: turn_begin, I/O and mail callbacks, due timers, then rounds { mail to oneself, resumed
 * streams, turn_round, flush outboxes, flush touched streams } until nothing is left, turn_end,
 * wait. After `rounds_max` rounds the loop polls instead of waiting and goes on in the next turn.
 * Nothing here blocks but the wait itself, and nothing outlives the group. Functions marked [loop]
 * are called on the loop's own thread (or while no thread runs it), [any] from everywhere. */
#pragma once
#include "base/timer.h"
#include "net/mail.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOOP_MAX 64

struct loop;
struct loop_group;

/* Set by the upper floor; every member may be NULL. */
struct loop_ops {
    void (*turn_begin)(void *ctx); /* before anything else in the turn (epoch_enter) */
    bool (*turn_round)(void *ctx); /* submit, route; true: made progress, call me again */
    void (*turn_end)(void *ctx);   /* last act before the loop waits (epoch_leave, epoch_reclaim) */
};

struct loop_conf {       /* 0 = default */
    uint32_t n_loops;    /* 1 */
    size_t read_buffer;  /* 256 KiB, one per loop, shared by its streams */
    size_t read_budget;  /* 64 KiB, per stream and turn */
    uint32_t rounds_max; /* 16 */
    void (*thread_begin)(void); /* first thing on each thread that loop_start_threads makes */
};

struct loop_stats {
    uint64_t n_turns;
    uint64_t n_mails;     /* run here */
    uint64_t n_wakeups;   /* bursts that arrived from other threads */
    uint64_t turn_max_us; /* longest turn so far, without the wait */
    uint32_t n_streams;   /* attached, lingering ones included */
    uint32_t n_lingering; /* closed by their owner, last bytes under way */
};

/* 0, -ENOMEM, -EINVAL (more than LOOP_MAX loops), -EMFILE. */
int loop_group_new(const struct loop_conf *conf, struct loop_group **r_group);
/* No loop may be running. Runs what mail is left (loop_group_settle), closes the streams that are
 * left without telling their owners. */
void loop_group_free(struct loop_group **group);
uint32_t loop_group_count(const struct loop_group *group);
struct loop *loop_group_at(struct loop_group *group, uint32_t index);
/* Starts a thread for every loop but loop 0, all signals blocked in them. 0 or negative errno, with
 * none of them left running. */
int loop_start_threads(struct loop_group *group);
/* Waits for the threads; the loops must have been stopped. */
void loop_join(struct loop_group *group);
/* [any] Stops every loop. */
void loop_group_stop(struct loop_group *group);
/* After loop_join: turns every loop on the calling thread, without waiting, until no mail is left,
 * so that objects under way between loops reach somebody who frees them. Was there any? Groups that
 * post to one another are settled in turn until all say no. */
bool loop_group_settle(struct loop_group *group);

/* Before the loop runs. */
void loop_set_ops(struct loop *loop, const struct loop_ops *ops, void *ctx);
void *loop_ctx(const struct loop *loop); /* what loop_set_ops was given */
struct loop_group *loop_get_group(const struct loop *loop);
uint32_t loop_index(const struct loop *loop);

/* Turns until loop_stop; returns after the turn in which it was noticed. */
void loop_run(struct loop *loop);
/* One turn; waits for events only if `wait`. For tests and for draining. */
void loop_turn(struct loop *loop, bool wait);
/* [any] Also before loop_run: it then returns after one turn. */
void loop_stop(struct loop *loop);
/* The loop whose turn this thread is in, or NULL. */
struct loop *loop_current(void);

/* [loop] Both are read once, at the start of the turn. */
uint64_t loop_now_ms(const struct loop *loop);  /* CLOCK_MONOTONIC */
uint64_t loop_wall_ms(const struct loop *loop); /* UNIX time */
/* [loop] The loop's timer wheel, run by the loop. */
struct timers *loop_timers(struct loop *loop);
/* [loop] The loop does not wait after this turn. */
void loop_again(struct loop *loop);
/* [loop] */
void loop_get_stats(const struct loop *loop, struct loop_stats *r_stats);
/* [any] Grows with every turn; for watchdogs. */
uint64_t loop_turns(const struct loop *loop);

/* [loop] Calls fn inside a turn for every delivery of `signo`; at most one loop per signal. Lasts
 * as long as the loop. 0, -ENOMEM, -EBUSY. */
typedef void (*loop_signal_fn)(struct loop *loop, int signo, void *ctx);
int loop_on_signal(struct loop *loop, int signo, loop_signal_fn fn, void *ctx);
