/* pigeon/thread.h - threads of a plugin, as the broker wants them. Not part of <pigeon/plugin.h>:
 * it needs POSIX threads, and nothing here without them.
 *
 * A plugin that only wants to block needs no thread of its own: see `run: worker`. */
#ifndef PIGEON_THREAD_H
#define PIGEON_THREAD_H
#include <pigeon/types.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#if defined(_POSIX_C_SOURCE) && _POSIX_C_SOURCE >= 199506L
typedef void *(*pigeon_thread_fn)(void *arg);

struct pigeon_thread_begin_ {
    pigeon_thread_fn fn;
    void *arg;
    char name[16];
};

static inline void *pigeon_thread_main_(void *arg)
{
    struct pigeon_thread_begin_ begin;

    memcpy(&begin, arg, sizeof(begin));
    free(arg);
    prctl(PR_SET_NAME, begin.name, 0, 0, 0);
    return begin.fn(begin.arg);
}

/* Runs fn(arg) on a new thread that bears the name (15 characters of it) and takes no signals
 * but those of its own faults: the others are the broker's. The thread may call what says [any], and is to be joined in quiesce or
 * destroy. PIGEON_OK or PIGEON_E_NOMEM. */
static inline int32_t pigeon_thread_start(pthread_t *thread, const char *name, pigeon_thread_fn fn,
                                          void *arg)
{
    struct pigeon_thread_begin_ *begin =
        (struct pigeon_thread_begin_ *)calloc(1, sizeof(struct pigeon_thread_begin_));
    sigset_t all, before;
    int r;

    if (begin == NULL)
        return PIGEON_E_NOMEM;
    begin->fn = fn;
    begin->arg = arg;
    strncpy(begin->name, name, sizeof(begin->name) - 1);
    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGBUS);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGABRT);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    r = pthread_create(thread, NULL, pigeon_thread_main_, begin);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (r == 0)
        return PIGEON_OK;
    free(begin);
    return PIGEON_E_NOMEM;
}
#endif

#endif
