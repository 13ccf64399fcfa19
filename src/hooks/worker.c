#include "hooks/worker.h"
#include "hooks/chain.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define THREAD_NAME 16           /* of the kernel, with the NUL */
#define READ_BUFFER (64u * 1024) /* there are no streams; never touched */

/* ---- where calls are made ------------------------------------------------------------------ */

uint64_t hooks_key(const struct hooks *hooks, struct str s)
{
    return hash_bytes(&hooks->hash_key, s.ptr, s.len);
}

uint64_t hooks_key_of(const struct hooks *hooks, const pigeon_client *client)
{
    if (client->id.len)
        return hooks_key(hooks, str_make(client->id.ptr, client->id.len));
    return hash_bytes(&hooks->hash_key, &client->conn_id, sizeof(client->conn_id));
}

void hooks_post(struct loop *to, struct mail *m_mail, mail_fn fn)
{
    struct loop *current = loop_current();

    if (current && loop_get_group(current) == loop_get_group(to))
        loop_post(current, loop_index(to), m_mail, fn);
    else
        loop_post_any(to, m_mail, fn);
}

bool hooks_is_elsewhere(const struct hooks *hooks, const struct loop *home)
{
    const struct loop *current = loop_current();

    return current ? current != home : hooks->workers_run && loop_get_group(home) != hooks->loops;
}

struct crumb *hooks_crumb(struct hooks *hooks, const struct loop *here)
{
    struct worker *w;

    if (loop_get_group(here) == hooks->loops)
        return &hooks->loop[loop_index(here)]->crumb;
    w = loop_ctx(here);
    return &w->crumb;
}

void hooks_settle(struct hooks *hooks)
{
    bool any = true;

    while (any) {
        any = loop_group_settle(hooks->loops);
        for (uint32_t i = 0; i < hooks->n_plugins; i++)
            for (uint32_t k = 0; k < hooks->plugins[i].n_workers; k++)
                any = loop_group_settle(hooks->plugins[i].workers[k].group) || any;
    }
}

/* ---- their life ------------------------------------------------------------------------------ */

static const struct loop_ops no_ops;

int workers_init(struct plugin *p)
{
    const struct loop_conf conf = { .n_loops = 1, .read_buffer = READ_BUFFER };
    uint32_t n = (uint32_t)p->block->workers;

    p->workers = aligned_alloc(_Alignof(struct worker), n * sizeof(*p->workers));
    if (!p->workers)
        return -ENOMEM;
    memset(p->workers, 0, n * sizeof(*p->workers));
    for (; p->n_workers < n; p->n_workers++) {
        struct worker *w = &p->workers[p->n_workers];
        int r = loop_group_new(&conf, &w->group);

        if (r < 0)
            return r;
        w->plugin = p;
        w->loop = loop_group_at(w->group, 0);
        loop_set_ops(w->loop, &no_ops, w);
    }
    return 0;
}

void workers_fini(struct plugin *p)
{
    for (uint32_t i = 0; i < p->n_workers; i++) {
        crumb_fini(&p->workers[i].crumb);
        loop_group_free(&p->workers[i].group);
    }
    free(p->workers);
    p->workers = NULL;
    p->n_workers = 0;
}

int workers_watch(struct hooks *hooks, struct plugin *p)
{
    int r = 0;

    for (uint32_t i = 0; i < p->n_workers && r == 0; i++) {
        p->workers[i].crumb.may_block = true;
        r = crumb_init(&p->workers[i].crumb, hooks, "worker", i);
    }
    return r;
}

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    struct hooks *hooks = w->plugin->instances[0].hooks;
    char name[THREAD_NAME];

    snprintf(name, sizeof(name), "pg-%s", w->plugin->name);
    pthread_setname_np(pthread_self(), name);
    if (hooks->thread_begin)
        hooks->thread_begin();
    crumb_set_here(&w->crumb);
    loop_run(w->loop);
    pthread_mutex_lock(&hooks->worker_lock);
    w->is_gone = true;
    pthread_cond_broadcast(&hooks->worker_gone);
    pthread_mutex_unlock(&hooks->worker_lock);
    return NULL;
}

static int plugin_start(struct plugin *p)
{
    int r = 0;

    for (uint32_t i = 0; i < p->n_workers && r == 0; i++) {
        struct worker *w = &p->workers[i];

        w->is_gone = false;
        r = -pthread_create(&w->thread, NULL, worker_main, w);
        w->has_thread = r == 0;
    }
    return r;
}

int hooks_start(struct hooks *hooks)
{
    sigset_t all, before;
    int r = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    hooks->workers_run = true;
    for (uint32_t i = 0; i < hooks->n_plugins && r == 0; i++)
        r = plugin_start(&hooks->plugins[i]);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return r;
}

/* The next one that still runs; NULL: none. */
static struct worker *running(const struct hooks *hooks)
{
    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        for (uint32_t k = 0; k < hooks->plugins[i].n_workers; k++) {
            struct worker *w = &hooks->plugins[i].workers[k];

            if (w->has_thread && !w->is_gone)
                return w;
        }
    return NULL;
}

static void wait_for_all(struct hooks *hooks, uint64_t patience_ms)
{
    struct timespec until;
    int r = 0;

    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(patience_ms / 1000);
    until.tv_nsec += (long)(patience_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&hooks->worker_lock);
    while (running(hooks) && r == 0)
        r = patience_ms ? pthread_cond_timedwait(&hooks->worker_gone, &hooks->worker_lock, &until)
                        : pthread_cond_wait(&hooks->worker_gone, &hooks->worker_lock);
    pthread_mutex_unlock(&hooks->worker_lock);
}

/* true: it is stuck. */
static bool join(struct hooks *hooks, struct worker *w)
{
    bool is_gone;

    if (!w->has_thread)
        return false;
    pthread_mutex_lock(&hooks->worker_lock);
    is_gone = w->is_gone;
    pthread_mutex_unlock(&hooks->worker_lock);
    if (!is_gone) {
        log_error(hooks->log, "plugin_stuck", LZ("plugin", w->plugin->name),
                  LZ("reason", "a worker of it does not come back from the plugin"));
        return true;
    }
    pthread_join(w->thread, NULL);
    w->has_thread = false;
    return false;
}

uint32_t hooks_stop_workers(struct hooks *hooks, uint64_t patience_ms)
{
    uint32_t n_stuck = 0;

    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        for (uint32_t k = 0; k < hooks->plugins[i].n_workers; k++)
            if (hooks->plugins[i].workers[k].has_thread)
                loop_stop(hooks->plugins[i].workers[k].loop);
    wait_for_all(hooks, patience_ms);
    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        for (uint32_t k = 0; k < hooks->plugins[i].n_workers; k++)
            n_stuck += join(hooks, &hooks->plugins[i].workers[k]);
    hooks->workers_run = n_stuck > 0;
    return n_stuck;
}
