/* watch.h - descriptors and timers of plugins on a loop. The one who makes a watch owns it; it must
 * be freed before its loop is. All [loop]. */
#pragma once
#include <stdint.h>

#define WATCH_READ  1u
#define WATCH_WRITE 2u

struct loop;
struct watch;

/* events: what is ready (WATCH_READ | WATCH_WRITE), 0 for a timer. */
typedef void (*watch_fn)(struct watch *w, uint32_t events, void *arg);

/* The descriptor stays the caller's and must be open until watch_free. 0 or -ENOMEM. */
int watch_fd(struct loop *loop, int fd, uint32_t events, watch_fn fn, void *arg,
             struct watch **r_watch);
/* Other events for a watch_fd; 0: none for now. */
void watch_set_events(struct watch *w, uint32_t events);
/* repeat_ms 0: once; the watch stays and may be armed again. */
int watch_timer(struct loop *loop, uint64_t after_ms, uint64_t repeat_ms, watch_fn fn, void *arg,
                struct watch **r_watch);
void watch_rearm(struct watch *w, uint64_t after_ms, uint64_t repeat_ms);
/* NULL is ignored; also inside its own callback. */
void watch_free(struct watch **w);
