/* worker.h - the threads of plugins with `run: worker`, and where the calls of an instance are
 * made; private to hooks/.
 *
 * A worker is a thread with a small loop of its own, which serves mail, timers and descriptors of
 * one plugin and nothing else: no connection, no session, no part of the broker. Event loops post
 * to it and go on; they never wait for it. It is owned by its plugin, which has one instance per
 * worker, or one for all of them (SHARED). A worker that does not come back from the plugin at the
 * end is given up: the process leaves without taking anything down around it. */
#pragma once
#include "hooks/crumb.h"
#include "hooks/plugin.h"

struct worker {
    struct plugin *plugin;
    struct loop_group *group; /* of this one loop */
    struct loop *loop;
    struct crumb crumb;
    pthread_t thread;
    bool has_thread, is_gone; /* under hooks->worker_lock once threads run */
};

/* Whose function is called, and on which loop. */
struct seat {
    struct instance *inst;
    struct loop *loop;
};

/* Loops for a plugin with `run: worker`. 0, -ENOMEM, -EMFILE. */
int workers_init(struct plugin *p);
/* Their crumbs, once all plugins are loaded. 0 or -ENOMEM. */
int workers_watch(struct hooks *hooks, struct plugin *p);
void workers_fini(struct plugin *p);
/* Runs all mail that is left, whichever loop it waits at; no thread turns any of them. */
void hooks_settle(struct hooks *hooks);

/* For an instance that lives elsewhere: a client always gets the same seat. */
static inline struct seat plugin_seat(const struct plugin *p, uint64_t key)
{
    uint32_t i = p->n_workers ? (uint32_t)(key % p->n_workers) : 0;
    struct instance *inst = &p->instances[p->n_instances == 1 ? 0 : i];

    return (struct seat){ inst, p->n_workers ? p->workers[i].loop : inst->home };
}

/* Of what is not about a client: a topic, a client id without a connection. */
uint64_t hooks_key(const struct hooks *hooks, struct str s);
/* Of a client: its id, or its connection while it has none. */
uint64_t hooks_key_of(const struct hooks *hooks, const pigeon_client *client);

/* [any] To an event loop or a worker, in order for each calling thread. */
void hooks_post(struct loop *to, struct mail *m_mail, mail_fn fn);
/* Would a call that belongs to `home` be made by the wrong thread here? Not while nothing runs:
 * then the caller is all there is. */
bool hooks_is_elsewhere(const struct hooks *hooks, const struct loop *home);
/* Where the thread of the loop leaves its crumbs. */
struct crumb *hooks_crumb(struct hooks *hooks, const struct loop *here);
