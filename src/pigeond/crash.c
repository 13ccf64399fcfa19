#include "pigeond/crash.h"
#include "hooks/blame.h"
#include <execinfo.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define STACK_SIZE (64u * 1024)
#define FRAMES_MAX 64
#define PATIENCE_S 1

/* ---- text without stdio ----------------------------------------------------------------- */

struct text {
    char buf[512];
    size_t len;
};

static void put(struct text *t, const char *s)
{
    while (*s && t->len < sizeof(t->buf))
        t->buf[t->len++] = *s++;
}

static void put_number(struct text *t, uint64_t n)
{
    char digits[21];
    size_t at = sizeof(digits) - 1;

    digits[at] = '\0';
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    put(t, &digits[at]);
}

static void write_all(const struct text *t)
{
    ssize_t n = write(STDERR_FILENO, t->buf, t->len);

    (void)n;
}

/* ---- the handler -------------------------------------------------------------------------- */

static const char *name_of(int signo)
{
    switch (signo) {
    case SIGSEGV: return "SEGV";
    case SIGBUS: return "BUS";
    case SIGFPE: return "FPE";
    case SIGILL: return "ILL";
    case SIGABRT: return "ABRT";
    default: return "?";
    }
}

static void put_thread_name(struct text *t)
{
    char name[17] = "";

    prctl(PR_GET_NAME, name, 0, 0, 0);
    put(t, name);
}

static void put_blame(struct text *t)
{
    struct blame b;

    if (!blame_here(&b)) {
        put(t, " in thread ");
        put_thread_name(t);
        put(t, ", which is not one of the broker's loops");
        return;
    }
    if (!b.plugin) {
        put(t, " not in a plugin");
        return;
    }
    put(t, " in plugin ");
    put(t, b.plugin);
    put(t, ", hook ");
    put(t, b.hook);
    if (b.conn_id) {
        put(t, ", client connection ");
        put_number(t, b.conn_id);
    }
}

/* The walk of the stack waits for a lock that the dead thread may hold. */
static void on_impatient(int signo)
{
    (void)signo;
    signal(SIGABRT, SIG_DFL);
    raise(SIGABRT);
}

static void put_stack(void)
{
    struct sigaction action = { .sa_handler = on_impatient };
    sigset_t alarms;
    void *frames[FRAMES_MAX];

    sigaction(SIGALRM, &action, NULL);
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    sigaddset(&alarms, SIGABRT);
    pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
    alarm(PATIENCE_S);
    backtrace_symbols_fd(frames, backtrace(frames, FRAMES_MAX), STDERR_FILENO);
    alarm(0);
}

/* SA_RESETHAND has put the default action back; the signal that is raised here comes when this
 * handler has returned. */
static void on_fatal(int signo)
{
    struct text t = { .len = 0 };

    put(&t, "pigeond: fatal signal ");
    put(&t, name_of(signo));
    put_blame(&t);
    put(&t, "\npigeond: version " PIGEON_VERSION "\n");
    write_all(&t);
    put_stack();
    raise(signo);
}

static const int fatal[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT };
#define N_FATAL (sizeof(fatal) / sizeof(fatal[0]))

/* A fault that is blocked kills without a word, and raise() of it does nothing at all. */
static void unblock(void)
{
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < N_FATAL; i++)
        sigaddset(&set, fatal[i]);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void crash_thread_begin(void)
{
    stack_t old, mine = { .ss_size = STACK_SIZE };

    unblock();
    /* A sanitizer takes down the one that it has put up. */
    if (sigaltstack(NULL, &old) < 0 || !(old.ss_flags & SS_DISABLE))
        return;
    /* For the life of the process, as that of the threads. */
    mine.ss_sp = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mine.ss_sp != MAP_FAILED)
        sigaltstack(&mine, NULL);
}

void crash_watch(void)
{
    struct sigaction action = { .sa_handler = on_fatal, .sa_flags = SA_ONSTACK | SA_RESETHAND };
    void *frame;

    backtrace(&frame, 1); /* loads what it needs now, not in a crash */
    crash_thread_begin();
    for (size_t i = 0; i < N_FATAL; i++)
        sigaction(fatal[i], &action, NULL);
}
