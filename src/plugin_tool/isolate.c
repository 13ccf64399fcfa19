#include "plugin_tool/isolate.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* What the child tells the parent. */
struct shared {
    enum outcome outcome;
    int finished; /* fn returned, or said how it ended */
    char reason[1024];
    char at[256];
};

/* A child runs one case; its crash handler and its asserts have no other way to this. */
static struct shared *here;

void isolate_at(const char *format, ...)
{
    va_list args;

    if (!here)
        return;
    va_start(args, format);
    vsnprintf(here->at, sizeof(here->at), format, args);
    va_end(args);
}

static _Noreturn void end(enum outcome outcome, const char *format, va_list args)
{
    char reason[sizeof(here->reason)];

    vsnprintf(reason, sizeof(reason), format, args);
    if (here) {
        memcpy(here->reason, reason, sizeof(reason));
        here->outcome = outcome;
        here->finished = 1;
    }
    fflush(NULL);
    _exit(0);
}

void isolate_fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    end(OUTCOME_FAILED, format, args);
}

void isolate_skip(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    end(OUTCOME_SKIPPED, format, args);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void isolate_remove(const char *dir)
{
    nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static _Noreturn void child(isolate_fn fn, void *arg, const char *dir, pid_t parent)
{
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(0);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        close(null);
    }
    if (chdir(dir) != 0 || mkdir("state", 0700) != 0)
        isolate_fail("cannot use %s: %s", dir, strerror(errno));
    fn(arg);
    here->outcome = OUTCOME_PASSED;
    here->finished = 1;
    fflush(NULL);
    _exit(0);
}

int64_t isolate_clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* False: it had to be killed. The pipe's other end is the child's alone. */
static int await(pid_t pid, int pipe_fd, int64_t timeout_ms, int *r_status)
{
    struct pollfd p = { .fd = pipe_fd, .events = POLLIN };
    int64_t end_ms = isolate_clock_ms() + timeout_ms;
    int in_time = 0;

    for (;;) {
        int64_t left = end_ms - isolate_clock_ms();
        int n = left > 0 ? poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int)left) : 0;

        if (n < 0 && errno == EINTR)
            continue;
        in_time = n > 0;
        break;
    }
    if (!in_time)
        kill(pid, SIGKILL);
    while (waitpid(pid, r_status, 0) < 0 && errno == EINTR)
        ;
    return in_time;
}

static void explain(const struct shared *s, int in_time, int status, int64_t timeout_ms,
                    struct isolate_result *r)
{
    const char *in = s->at[0] ? " in " : "";

    r->outcome = OUTCOME_FAILED;
    if (!in_time)
        snprintf(r->reason, sizeof(r->reason), "did not end within %lld ms%s%s",
                 (long long)timeout_ms, in, s->at);
    else if (WIFSIGNALED(status))
        snprintf(r->reason, sizeof(r->reason), "crashed by signal %d (%s)%s%s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)), in, s->at);
    else if (!s->finished)
        snprintf(r->reason, sizeof(r->reason), "ended the process with status %d%s%s",
                 WEXITSTATUS(status), in, s->at);
    else {
        r->outcome = s->outcome;
        snprintf(r->reason, sizeof(r->reason), "%s", s->reason);
    }
}

/* The child's side never returns. */
static void fork_and_wait(isolate_fn fn, void *arg, int64_t timeout_ms, const char *dir,
                          struct shared *s, struct isolate_result *r)
{
    int ends[2], status = 0, in_time;
    pid_t parent = getpid(), pid;

    if (pipe2(ends, O_CLOEXEC) != 0) {
        snprintf(r->reason, sizeof(r->reason), "pipe: %s", strerror(errno));
        return;
    }
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        here = s;
        close(ends[0]);
        child(fn, arg, dir, parent);
    }
    close(ends[1]);
    if (pid > 0) {
        in_time = await(pid, ends[0], timeout_ms, &status);
        explain(s, in_time, status, timeout_ms, r);
    } else {
        snprintf(r->reason, sizeof(r->reason), "fork: %s", strerror(errno));
    }
    close(ends[0]);
}

void isolate_run(isolate_fn fn, void *arg, int64_t timeout_ms, struct isolate_result *r)
{
    const char *tmp = getenv("TMPDIR");
    char dir[512];
    struct shared *s =
        mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    r->outcome = OUTCOME_FAILED;
    r->reason[0] = '\0';
    snprintf(dir, sizeof(dir), "%s/pigeon-plugin-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (s == MAP_FAILED || !mkdtemp(dir)) {
        snprintf(r->reason, sizeof(r->reason), "%s: %s", dir, strerror(errno));
    } else {
        fork_and_wait(fn, arg, timeout_ms, dir, s, r);
        isolate_remove(dir);
    }
    if (s != MAP_FAILED)
        munmap(s, sizeof(*s));
}
