#include "pigeond/check.h"
#include "hooks/hooks.h"
#include "pigeond/door_tls.h"
#include "pigeond/no_broker.h"
#include "pigeond/print.h"
#include "pigeond/settings.h"
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK_LIMIT_S 10 /* for all plugins together */
#define FRAMES_MAX    32

/* ---- the child ------------------------------------------------------------------------------ */

static bool is_plugin(const char *path)
{
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    return strstr(base, ".so") && strncmp(base, "lib", 3) != 0 && strncmp(base, "ld-", 3) != 0;
}

/* Looks who is on the stack; a crashing child may do what a signal handler should not. */
static void on_crash(int signo)
{
    void *frames[FRAMES_MAX];
    const char *path = "unknown";
    int n = backtrace(frames, FRAMES_MAX);
    for (int i = n - 1; i >= 0; i--) {
        Dl_info info;
        if (dladdr(frames[i], &info) && info.dli_fname && is_plugin(info.dli_fname))
            path = info.dli_fname;
    }
    fflush(stdout);
    fprintf(stderr, "pigeond: the check %s (SIG%s) in plugin file: %s\n",
            signo == SIGALRM ? "took too long" : "crashed", sigabbrev_np(signo), path);
    _exit(EXIT_CODE_PLUGIN);
}

static void watch_crashes(void)
{
    static const int signals[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGALRM };
    struct sigaction action = { .sa_handler = on_crash, .sa_flags = SA_RESETHAND | SA_NODEFER };
    void *frame;
    backtrace(&frame, 1); /* loads what it needs now, not in a crash */
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &action, NULL);
    alarm(CHECK_LIMIT_S);
}

static int check_plugins(const struct config *config, struct log *log, struct loop_group *loops)
{
    struct hooks_setup setup = { .config = config,
                                 .loops = loops,
                                 .log = log,
                                 .node_id = config->id ? config->id : "test",
                                 .ops = &no_broker_ops,
                                 .report = stdout };
    struct hooks *hooks;
    int r = hooks_new(&setup, &hooks);
    fflush(stdout);
    if (r)
        return r == -ENOMEM ? EXIT_CODE_RUNTIME : EXIT_CODE_PLUGIN;
    int code = hooks_check(hooks) ? EXIT_CODE_PLUGIN : EXIT_CODE_OK;
    if (settings_check_open(config, hooks_configured(hooks, PIGEON_HOOK_AUTHENTICATE)) && !code)
        code = EXIT_CODE_CONFIG;
    hooks_free(&hooks);
    return code;
}

static int check_in_child(const struct config *config, struct log *log)
{
    struct loop_conf conf = { .n_loops = settings_threads(config) };
    struct loop_group *loops;
    watch_crashes();
    if (loop_group_new(&conf, &loops))
        return EXIT_CODE_RUNTIME;
    int code = check_plugins(config, log, loops);
    loop_group_free(&loops);
    return code;
}

/* ---- the parent ----------------------------------------------------------------------------- */

/* The child has a clock of its own; this one is for a child that does not even hear that. */
static int wait_for(pid_t pid)
{
    int fd = pidfd_open(pid, 0), status;
    struct pollfd event = { .fd = fd, .events = POLLIN };
    int n = fd < 0 ? 1 : poll(&event, 1, (CHECK_LIMIT_S + 2) * 1000);
    if (n <= 0)
        kill(pid, SIGKILL);
    if (fd >= 0)
        close(fd);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    fprintf(stderr, "pigeond: the check of the plugins was ended by SIG%s\n",
            sigabbrev_np(WTERMSIG(status)));
    return EXIT_CODE_PLUGIN;
}

static int check_files(const struct config *config)
{
    struct diag d;
    diag_init(&d);
    int r = door_tls_check(config, &d);
    diag_print(&d, stderr);
    diag_fini(&d);
    return r ? EXIT_CODE_CONFIG : EXIT_CODE_OK;
}

static int check_config(const struct config *config)
{
    struct log *log;
    if (settings_open_log(config, &log))
        return EXIT_CODE_RUNTIME;
    printf("threads: %u\n", settings_threads(config));
    printf("state directory: %s\n", config->state_dir ? config->state_dir : "none");
    print_listeners(config, stdout);
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        exit(check_in_child(config, log));
    int code = pid < 0 ? EXIT_CODE_RUNTIME : wait_for(pid);
    int files = check_files(config);
    if (!code)
        code = files;
    if (pid < 0)
        fprintf(stderr, "pigeond: cannot fork: %s\n", strerror(errno));
    log_free(&log);
    return code;
}

int check_run(const struct args *args)
{
    struct config *config = NULL;
    int r = settings_load(args, &config);
    int code = r == -ENOMEM ? EXIT_CODE_RUNTIME : EXIT_CODE_CONFIG;
    if (!r)
        code = check_config(config);
    config_unref(&config);
    printf("test %s\n", code ? "failed" : "passed");
    return code;
}
