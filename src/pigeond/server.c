#include "pigeond/server.h"
#include "hooks/store.h"
#include "broker/broker.h"
#include "conn/conn.h"
#include "hooks/hooks.h"
#include "pigeond/crash.h"
#include "pigeond/doors.h"
#include "pigeond/farewell.h"
#include "pigeond/memory.h"
#include "pigeond/reload.h"
#include "pigeond/settings.h"
#include "wire/reason.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#define MEMORY_LOOK_MS 1000u

/* A stop is over in five seconds, come what may: this long for what clients still wait for, ... */
#define STOP_DRAIN_MS 3000u
/* ... this long when the store is gone and nothing can be answered, ... */
#define STOP_FAILED_MS 500u
/* ... then the loops end, ... */
#define STOP_LOOPS_MS 4500u
/* ... workers of plugins come back, ... */
#define STOP_WORKERS_MS 500u
/* ... then plugins have this long to take themselves down. */
#define STOP_PROCESS_S 3

/* ---- stop ---------------------------------------------------------------------------------- */

static void stop_loops(void *ctx)
{
    struct server *server = ctx;
    timer_stop(loop_timers(loop_group_at(server->loops, 0)), &server->overdue);
    loop_group_stop(server->loops);
}

static void on_broker_stopped(void *ctx)
{
    struct server *server = ctx;
    farewell_begin(server->loops, stop_loops, server);
}

static void on_overdue(struct timer *t, uint64_t now_ms)
{
    struct server *server = container_of(t, struct server, overdue);
    (void)now_ms;
    log_error(server->log, "stop_forced", LU("after_ms", STOP_LOOPS_MS),
              LZ("reason", "plugins or clients have not come to an end"));
    if (!server->exit_code)
        server->exit_code = EXIT_CODE_RUNTIME;
    loop_group_stop(server->loops);
}

static void begin_stop(struct server *server, int exit_code, uint64_t drain_ms)
{
    struct loop *first = loop_group_at(server->loops, 0);
    if (!server->exit_code)
        server->exit_code = exit_code;
    if (server->stopping)
        return;
    server->stopping = true;
    if (!server->broker) /* still starting */
        return;
    timer_arm(loop_timers(first), &server->overdue, loop_now_ms(first) + STOP_LOOPS_MS);
    reload_stop(server);
    doors_close(server->doors);
    broker_stop(server->broker, loop_now_ms(first) + drain_ms, on_broker_stopped, server);
}

static void leave_at_once(int signo)
{
    static const char text[] = "pigeond: told to go twice, or a plugin does not end: leaving now\n";
    ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)n;
    (void)signo;
    _exit(EXIT_CODE_RUNTIME);
}

/* Once no loop turns any more: signals and a clock that need none. */
static void guard_the_end(void)
{
    struct sigaction now = { .sa_handler = leave_at_once };
    struct itimerval limit = { .it_value = { .tv_sec = STOP_PROCESS_S } };
    sigaction(SIGTERM, &now, NULL);
    sigaction(SIGINT, &now, NULL);
    sigaction(SIGALRM, &now, NULL);
    setitimer(ITIMER_REAL, &limit, NULL);
}

/* ---- what happens meanwhile ----------------------------------------------------------------- */

static void on_stop_signal(struct loop *loop, int signo, void *ctx)
{
    struct server *server = ctx;
    (void)loop;
    if (server->stopping)
        leave_at_once(signo);
    log_info(server->log, "stopping", LZ("signal", sigabbrev_np(signo)));
    begin_stop(server, EXIT_CODE_OK, STOP_DRAIN_MS);
}

static void on_reload_signal(struct loop *loop, int signo, void *ctx)
{
    struct server *server = ctx;
    (void)loop;
    (void)signo;
    if (server->broker && !server->stopping)
        reload_run(server, NULL, NULL);
}

static void on_store_failed_here(struct loop *here, struct mail *m)
{
    struct server *server = container_of(m, struct server, store_failed);
    (void)here;
    log_error(server->log, "stopping", LZ("reason", "the store has failed"));
    begin_stop(server, EXIT_CODE_STORE, STOP_FAILED_MS);
}

static void on_store_failed(void *ctx)
{
    struct server *server = ctx;
    if (!atomic_exchange(&server->store_has_failed, 1))
        loop_post_any(loop_group_at(server->loops, 0), &server->store_failed, on_store_failed_here);
}

static void on_memory_look(struct timer *t, uint64_t now_ms)
{
    struct server *server = container_of(t, struct server, memory_timer);
    struct loop *first = loop_group_at(server->loops, 0);
    uint64_t limit = memory_limit(server->config);
    broker_set_memory(server->broker, memory_used(limit), limit);
    timer_arm(loop_timers(first), t, now_ms + MEMORY_LOOK_MS);
}

/* ---- start --------------------------------------------------------------------------------- */

static void raise_descriptors(struct server *server)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        log_warn(server->log, "descriptor_limit_not_raised", LZ("reason", strerror(errno)));
}

static int fail(struct server *server, int exit_code, const char *what, int err)
{
    log_error(server->log, "start_failed", LZ("step", what), LZ("reason", strerror(-err)));
    return exit_code;
}

static int make_loops(struct server *server)
{
    struct loop_conf conf = { .n_loops = settings_threads(server->config),
                              .thread_begin = crash_thread_begin };
    int r = loop_group_new(&conf, &server->loops);
    if (r)
        return r;
    struct loop *first = loop_group_at(server->loops, 0);
    timer_init(&server->memory_timer, on_memory_look);
    timer_init(&server->overdue, on_overdue);
    r = loop_on_signal(first, SIGTERM, on_stop_signal, server);
    if (!r)
        r = loop_on_signal(first, SIGINT, on_stop_signal, server);
    return r ? r : loop_on_signal(first, SIGHUP, on_reload_signal, server);
}

/* A plugin's wish, from any thread: as if the signal had come. */
static void ask_for_reload(void *ctx)
{
    (void)ctx;
    kill(getpid(), SIGHUP);
}

static int make_broker(struct server *server)
{
    struct broker_setup setup = { .config = server->config,
                                  .log = server->log,
                                  .loops = server->loops,
                                  .node_id = server->node_id,
                                  .on_store_failed = on_store_failed,
                                  .thread_begin = crash_thread_begin,
                                  .close_all = conn_close_all,
                                  .reload = ask_for_reload,
                                  .ctx = server };
    struct broker *broker;
    int r = broker_new(&setup, &broker);
    if (!r) {
        server->broker = broker;
        r = conn_setup(broker);
    }
    if (!r)
        return EXIT_CODE_OK;
    fail(server, 0, "plugins and store", r);
    switch (r) {
    case -EINVAL: return EXIT_CODE_PLUGIN;
    case -EIO: return EXIT_CODE_STORE;
    default: return EXIT_CODE_RUNTIME;
    }
}

static int open_doors(struct server *server)
{
    if (settings_check_open(server->config,
                            hooks_configured(server->broker->hooks, PIGEON_HOOK_AUTHENTICATE)))
        return EXIT_CODE_CONFIG;
    int r = doors_new(server->loops, server->log, &server->doors);
    if (r)
        return fail(server, EXIT_CODE_RUNTIME, "listeners", r);
    if (doors_prepare(server->doors, server->config))
        return EXIT_CODE_LISTEN;
    return EXIT_CODE_OK;
}

static int start(struct server *server)
{
    raise_descriptors(server);
    int r = node_id_read(server->config, server->log, server->node_id);
    if (r)
        return r == -ENOMEM ? EXIT_CODE_RUNTIME : EXIT_CODE_STORE;
    r = make_loops(server);
    if (r)
        return fail(server, EXIT_CODE_RUNTIME, "event loops", r);
    log_info(server->log, "starting", LZ("version", PIGEON_VERSION), LZ("node", server->node_id),
             LU("threads", loop_group_count(server->loops)),
             LZ("persistence", server->config->persistence));
    int code = make_broker(server);
    if (!code)
        code = open_doors(server);
    if (code || server->stopping)
        return code;
    r = hooks_watch(server->broker->hooks);
    if (!r)
        r = hooks_start(server->broker->hooks);
    if (!r)
        r = loop_start_threads(server->loops);
    return r ? fail(server, EXIT_CODE_RUNTIME, "threads", r) : EXIT_CODE_OK;
}

/* A thread that is still in a plugin needs everything that would be taken down: the process ends as
 * it would by a crash, which loses nothing that was acknowledged. */
static void leave_stuck(struct server *server)
{
    if (!server->exit_code)
        server->exit_code = EXIT_CODE_RUNTIME;
    log_error(server->log, "stop_forced", LU("after_ms", STOP_LOOPS_MS + STOP_WORKERS_MS),
              LZ("reason", "a plugin does not come back"));
    log_warn(server->log, "stopped", LI("exit", server->exit_code));
    _exit(server->exit_code);
}

static void run(struct server *server)
{
    struct loop *first = loop_group_at(server->loops, 0);
    doors_commit(server->doors, server->broker);
    timer_arm(loop_timers(first), &server->memory_timer, loop_now_ms(first));
    log_info(server->log, "running");
    loop_run(first);
    loop_group_stop(server->loops);
    guard_the_end();
    loop_join(server->loops);
    if (hooks_stop_workers(server->broker->hooks, STOP_WORKERS_MS))
        leave_stuck(server);
}

/* What a store has never answered belongs to it still: nothing can be taken down around it. The process ends as
 * it would by a crash, which loses nothing that was acknowledged. */
static void leave_unanswered(const struct server *server)
{
    if (!server->broker || !server->broker->hooks || !store_in_flight(server->broker->hooks))
        return;
    log_warn(server->log, "stopped", LI("exit", server->exit_code),
             LU("unanswered", store_in_flight(server->broker->hooks)));
    _exit(server->exit_code);
}

/* In the order in which things lean on each other; also of a start that failed half-way. */
static void take_down(struct server *server)
{
    if (server->doors)
        doors_close(server->doors);
    if (server->broker) {
        for (uint32_t i = 0; i < server->broker->n_loops; i++)
            conn_close_all(&server->broker->shards[i], REASON_SERVER_SHUTTING_DOWN);
        timer_stop(loop_timers(loop_group_at(server->loops, 0)), &server->memory_timer);
    }
    if (server->loops)
        loop_group_settle(server->loops);
    doors_free(&server->doors);
    if (server->broker)
        conn_teardown(server->broker);
    broker_free(&server->broker);
    reload_free(server);
    if (server->loops)
        loop_group_free(&server->loops);
    config_unref(&server->first);
    config_unref(&server->config);
}

int server_run(const struct args *args)
{
    struct server server = { .args = args };
    int r = settings_load(args, &server.config);
    if (r)
        return r == -EINVAL ? EXIT_CODE_CONFIG : EXIT_CODE_RUNTIME;
    server.first = config_ref(server.config);
    signal(SIGPIPE, SIG_IGN);
    crash_watch();
    if (settings_open_log(server.config, &server.log)) {
        config_unref(&server.first);
        config_unref(&server.config);
        return EXIT_CODE_RUNTIME;
    }
    int code = start(&server);
    if (!code && !server.stopping)
        run(&server);
    else
        server.exit_code = code;
    leave_unanswered(&server);
    take_down(&server);
    log_info(server.log, "stopped", LI("exit", server.exit_code));
    setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL); /* guard_the_end has seen the end */
    log_free(&server.log);
    return server.exit_code;
}
