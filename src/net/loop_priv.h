/* loop_priv.h - the insides of a loop; for the files of net/ only, the only ones that see <ev.h>.
 */
#pragma once
#include "base/list.h"
#include "base/timer.h"
#include "net/loop.h"
#include "net/outq.h"
#include <assert.h>
#include <ev.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

/* Chain of mails in reverse order, as the mailbox stack wants it. */
struct outbox {
    struct mail *newest, *oldest;
};

struct loop {
    struct loop_group *group;
    struct ev_loop *ev;
    uint32_t index;
    const struct loop_ops *ops;
    void *ctx;

    struct timers timers;
    uint64_t now_ms, wall_ms, begin_us;
    uint64_t timer_due_ms; /* what ev_timer is set for; UINT64_MAX: not active */
    bool in_turn, again;
    uint32_t n_costly; /* layer_take_budget, in this turn */
    struct loop *outer; /* loop_current() before this turn began */

    struct mail *own_first, **own_last; /* mail to oneself, oldest first */
    uint64_t out_mask, last_mask;       /* bit per destination with mail in `out`, `last` */
    struct outbox *out, *last;          /* by destination */

    struct list streams; /* attached */
    struct list ready;   /* to be looked at in the next round */
    struct list later;   /* ... in the next turn */
    struct list dirty;   /* written to since the last flush */
    struct list dead;    /* freed at the end of the turn */
    struct outq_pools pools;
    uint8_t *read_buffer;
    int reserve_fd; /* given up for a moment when descriptors run out; -1: lost */

    struct list signals;
    struct loop_stats stats;
    ev_prepare prepare;
    ev_check check;
    ev_idle idle;
    ev_timer timer;
    ev_async wake;
    pthread_t thread;
    bool has_thread;

    _Alignas(64) _Atomic(struct mail *) mailbox; /* stack, newest first */
    _Atomic bool stop;
    _Alignas(64) _Atomic uint64_t turns;
};

struct loop_group {
    uint32_t n_loops;
    struct loop_conf conf;
    struct loop *signal_loop[NSIG];
    struct loop *loops; /* array */
};

/* mail.c */
void mail_init(struct loop *loop);
/* Takes what other threads have posted and runs it. */
void mail_run_mailbox(struct loop *loop);
/* Runs the mail that the loop has posted to itself up to now. */
void mail_run_own(struct loop *loop);
void mail_flush(struct loop *loop);
void mail_flush_last(struct loop *loop);
/* Is there mail in the mailbox, or on the way out? */
bool mail_is_waiting(struct loop *loop);

/* stream.c, stream_in.c, stream_out.c */
void stream_begin_turn(struct loop *loop);
void stream_run_ready(struct loop *loop);
void stream_flush_dirty(struct loop *loop);
void stream_reap(struct loop *loop);
