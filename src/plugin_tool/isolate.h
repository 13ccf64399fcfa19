/* isolate.h - one case in a child of its own: whatever a plugin does, the parent goes on and says
 * what happened. A child knows one case, so the functions below it take no handle. */
#pragma once
#include <stdint.h>

enum outcome { OUTCOME_PASSED, OUTCOME_FAILED, OUTCOME_SKIPPED };

struct isolate_result {
    enum outcome outcome;
    char reason[1024]; /* of FAILED and SKIPPED */
};

typedef void (*isolate_fn)(void *arg);

/* Forks, runs fn(arg), waits at most timeout_ms for it; then the child is killed. A child that does
 * not return has FAILED: "crashed by signal 11 (Segmentation fault) in authenticate". The child's
 * working directory and `state` below it are new and empty, its standard output is stderr. */
void isolate_run(isolate_fn fn, void *arg, int64_t timeout_ms, struct isolate_result *r_result);

/* Removes a directory with all that is in it. */
void isolate_remove(const char *dir);
/* Of a clock that only goes forward. */
int64_t isolate_clock_ms(void);

/* In the child: where it is, for who has to explain a crash. */
__attribute__((format(printf, 1, 2))) void isolate_at(const char *format, ...);
__attribute__((format(printf, 1, 2), noreturn)) void isolate_fail(const char *format, ...);
__attribute__((format(printf, 1, 2), noreturn)) void isolate_skip(const char *format, ...);
