/* hooks_support.h - a broker's worth of hooks for tests: a directory of plugin files, a
 * configuration made by hand, loops, and a floor above that only notes what it was asked. */
#pragma once
#include "hooks/ask.h"
#include "hooks/chain.h"
#include "hooks/events.h"
#include "hooks/host_priv.h"
#include "hooks/pending.h"
#include "unit.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct world {
    char dir[PATH_MAX];
    struct config *config;
    struct loop_group *loops;
    struct hooks *hooks;
    struct log *log;
    FILE *log_file;
    struct hooks_ops ops;
    const struct deprecated_member *deprecated;
};

/* Where meson puts tests/plugin, seen from the test's own file. */
static inline void built_plugin(char *out, size_t size, const char *file)
{
    char exe[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

    assert_true(n > 0);
    exe[n] = '\0';
    assert_true((size_t)snprintf(out, size, "%s/../plugin/%s", dirname(exe), file) < size);
}

/* A copy of the built plugin `file` under the name `as`, with these permissions. */
static inline void world_copy(struct world *w, const char *file, const char *as, mode_t mode)
{
    char from[PATH_MAX], to[PATH_MAX + 256], block[65536];
    size_t n;
    FILE *in, *out;

    built_plugin(from, sizeof(from), file);
    snprintf(to, sizeof(to), "%s/%s", w->dir, as);
    in = fopen(from, "rb");
    out = fopen(to, "wb");
    assert_non_null(in);
    assert_non_null(out);
    while ((n = fread(block, 1, sizeof(block), in)) > 0)
        assert_int_equal(fwrite(block, 1, n, out), n);
    fclose(in);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(to, mode), 0);
}

static inline void world_link(struct world *w, const char *file, const char *as)
{
    char from[PATH_MAX], to[PATH_MAX + 256];

    built_plugin(from, sizeof(from), file);
    snprintf(to, sizeof(to), "%s/%s", w->dir, as);
    assert_int_equal(symlink(from, to), 0);
}

static inline void world_init(struct world *w, uint32_t n_loops)
{
    struct config_input input = { 0 };
    struct diag d;
    const char **dirs = malloc(sizeof(*dirs));

    *w = (struct world){ 0 };
    snprintf(w->dir, sizeof(w->dir), "%s/pigeon-hooks-XXXXXX",
             getenv("TMPDIR") ? getenv("TMPDIR") : P_tmpdir);
    assert_non_null(mkdtemp(w->dir));
    diag_init(&d);
    assert_int_equal(config_load(&input, &d, &w->config), 0);
    diag_fini(&d);
    /* What would be written in the file; the tests below need no parser for it. */
    w->config->persistence = NULL;
    dirs[0] = w->dir;
    w->config->plugins_dir = (struct config_list){ dirs, 1 };
    assert_int_equal(loop_group_new(&(struct loop_conf){ .n_loops = n_loops }, &w->loops), 0);
    w->log_file = tmpfile();
    assert_non_null(w->log_file);
    assert_int_equal(log_new(fileno(w->log_file), LOG_INFO, LOG_TEXT, false, &w->log), 0);
}

static inline int world_start(struct world *w)
{
    struct hooks_setup setup = { .config = w->config,
                                 .loops = w->loops,
                                 .log = w->log,
                                 .node_id = "node",
                                 .ops = &w->ops,
                                 .deprecated = w->deprecated,
                                 .broker = w };
    int r = hooks_new(&setup, &w->hooks);

    return r < 0 ? r : hooks_create(w->hooks);
}

static inline void world_clear_dir(struct world *w)
{
    DIR *d = opendir(w->dir);
    struct dirent *e;

    assert_non_null(d);
    while ((e = readdir(d)) != NULL)
        if (e->d_name[0] != '.')
            unlinkat(dirfd(d), e->d_name, 0);
    closedir(d);
}

static inline void world_fini(struct world *w)
{
    const char **dirs = w->config->plugins_dir.items;

    hooks_free(&w->hooks);
    loop_group_free(&w->loops);
    log_free(&w->log);
    fclose(w->log_file);
    config_unref(&w->config);
    free(dirs);
    world_clear_dir(w);
    rmdir(w->dir);
}

/* Was this said in the log? */
static inline bool world_logged(struct world *w, const char *text)
{
    char line[8192];
    bool found = false;

    rewind(w->log_file);
    while (!found && fgets(line, sizeof(line), w->log_file))
        found = strstr(line, text) != NULL;
    fseek(w->log_file, 0, SEEK_END);
    return found;
}

/* Lines of the log with this text in them. */
static inline uint32_t world_count(struct world *w, const char *text)
{
    char line[8192];
    uint32_t n = 0;

    rewind(w->log_file);
    while (fgets(line, sizeof(line), w->log_file))
        n += strstr(line, text) != NULL;
    fseek(w->log_file, 0, SEEK_END);
    return n;
}

/* ---- what the plugins counted -------------------------------------------------------- */

struct wanted_metric {
    const char *plugin, *name;
    int64_t value;
};

static inline void find_metric(void *arg, const pigeon_metric *m)
{
    struct wanted_metric *want = arg;

    if (strcmp(m->plugin, want->plugin) == 0 && strcmp(m->name, want->name) == 0)
        want->value = m->value;
}

static inline int64_t metric_value(struct world *w, const char *plugin, const char *name)
{
    struct wanted_metric want = { plugin, name, -1 };

    host_metrics_table.each(&w->hooks->plugins[0].instances[0], find_metric, &want);
    return want.value;
}

/* ---- asking -------------------------------------------------------------------------- */

struct question {
    struct ask ask;
    uint32_t n_done;
    void *exchange;
};

static inline void on_question_done(struct ask *ask)
{
    container_of(ask, struct question, ask)->n_done++;
}

static inline struct identity *client_new(uint32_t loop)
{
    struct identity *who = identity_new(&(struct identity_parts){ .id = STR("client"),
                                                                  .address = STR("192.0.2.1"),
                                                                  .protocol = 5,
                                                                  .loop = loop,
                                                                  .conn_id = 1 },
                                        NULL);

    assert_non_null(who);
    return who;
}

static inline struct message *message_with(const char *topic, const char *orders)
{
    struct message *m = message_new(&(struct message_parts){
        .topic = str_from(topic), .payload = str_from(orders), .publisher = STR("client") });

    assert_non_null(m);
    return m;
}

/* The orders travel in the payload, the password, the filter or the data; see
 * tests/plugin/puppet.c. */
static inline void question_init(struct question *q, uint32_t hook, struct identity *who,
                                 const char *topic, const char *orders)
{
    pigeon_connect connect = { .size = sizeof(connect),
                               .has_password = 1,
                               .password = { .ptr = (const uint8_t *)orders,
                                             .len = (uint32_t)strlen(orders) } };
    pigeon_sub sub = { .size = sizeof(sub),
                       .filter = { .ptr = orders, .len = (uint32_t)strlen(orders) },
                       .effective = { .ptr = topic, .len = (uint32_t)strlen(topic) },
                       .qos = 1 };

    *q = (struct question){ .ask = { .hook = hook, .who = who, .done = on_question_done } };
    q->ask.exchange_slot = &q->exchange;
    switch (hook) {
    case PIGEON_HOOK_PRE_CONNECT:
    case PIGEON_HOOK_AUTHENTICATE:
        q->ask.subject = &connect_info_new(&connect, STR("client"), STR_NULL, NULL)->base;
        break;
    case PIGEON_HOOK_AUTHORIZE_SUBSCRIBE: q->ask.subject = &sub_info_new(&sub)->base; break;
    case PIGEON_HOOK_EXCHANGE:
        q->ask.subject =
            &exchange_info_new(PIGEON_STAGE_CONNECT, STR("TEST"), str_from(orders), STR_NULL)->base;
        break;
    default: q->ask.message = message_with(topic, orders); break;
    }
}

/* Turns loop 0 until the question has its answer, or for about ten seconds. */
static inline void wait_until(struct world *w, const uint32_t *counter, uint32_t value)
{
    struct loop *loop = loop_group_at(w->loops, 0);
    uint64_t end = (uint64_t)time(NULL) + 10;

    while (*counter < value && (uint64_t)time(NULL) < end) {
        loop_turn(loop, false);
        sched_yield();
    }
    assert_int_equal(*counter, value);
}

/* Asks on loop 0 and waits. Returns the verdict; the question is finished. */
static inline int32_t ask_now(struct world *w, uint32_t hook, struct identity *who,
                              const char *topic, const char *orders)
{
    struct question q;
    int32_t verdict;

    question_init(&q, hook, who, topic, orders);
    if (ask_run(hooks_loop(w->hooks, 0), &q.ask) == ASK_WAIT)
        wait_until(w, &q.n_done, 1);
    else
        assert_int_equal(q.n_done, 0);
    verdict = q.ask.verdict;
    ask_fini(&q.ask);
    ask_exchange_end(&q.exchange);
    return verdict;
}
