#include "hooks/plugin_reload.h"
#include "config/node.h"
#include "hooks/chain.h"
#include "hooks/error_name.h"
#include "hooks/host_priv.h"
#include "hooks/plugin.h"
#include "hooks/store_priv.h"
#include "hooks/worker.h"
#include <errno.h>
#include <stdlib.h>

#define PATIENCE_MS 10000u

enum phase { PHASE_NEW, PHASE_PREPARING, PHASE_PREPARED, PHASE_ABORTING, PHASE_COMMITTING };
enum part_state { PART_NEW, PART_PREPARED, PART_FAILED, PART_DONE };

/* One instance. Its mail goes to the instance's thread and back to loop 0; who has the mail may
 * touch the part. */
struct part {
    struct mail mail;
    struct plugin_reload *all;
    struct instance *inst;
    const struct plugin_conf *conf;
    void *next;
    enum part_state state;
    int32_t error;
    bool is_out;
};

/* Options of one plugin. */
struct change {
    const struct plugin_conf *old; /* the plugin's */
    struct plugin_conf *written;   /* as the operator wants it; NULL: as before */
    struct plugin_conf *next;      /* without what needs a restart; NULL: nothing for this plugin */
    struct plugin_conf *retired;   /* the one before, until all have committed */
};

struct visit {
    struct mail mail;
    struct plugin_reload *all;
};

struct plugin_reload {
    struct plugin_reload_setup setup;
    struct hooks *hooks;
    struct config *config; /* reference */
    enum phase phase;
    _Atomic bool is_void;   /* prepare need not be called any more */
    struct change *changes; /* by plugin index */
    struct part *parts;
    uint32_t n_parts;
    uint32_t n_out; /* mails on their way, but for `mail` */
    struct chains *chains;
    struct chain_table **tables; /* by loop; NULL: taken over */
    struct visit *visits;        /* by loop */
    struct timer patience;
    struct mail mail; /* to loop 0 itself */
    bool told;        /* `prepared` was called, or need not be */
    bool is_late;     /* it has taken longer than anybody waits */
    char *reason;
};

static struct loop *first_loop(const struct plugin_reload *all)
{
    return loop_group_at(all->hooks->loops, 0);
}

/* ---- made ------------------------------------------------------------------------------------ */

static bool can_reload(const struct plugin *p)
{
    return p->desc.prepare && p->desc.commit;
}

/* Files that an option names may have changed where the option has not. */
static bool reads_files(const struct plugin *p, const struct plugin_conf *conf)
{
    for (uint32_t i = 0; i < p->desc.noptions; i++) {
        const pigeon_option *o =
            (const pigeon_option *)(const void *)((const char *)p->desc.options +
                                                  (size_t)i * p->desc.option_stride);

        if (o->type == PIGEON_T_PATH && (o->flags & PIGEON_O_RELOAD) &&
            plugin_conf_str(conf, o->key).len > 0)
            return true;
    }
    return false;
}

static int change_init(struct plugin_reload *all, const struct plugin *p, struct diag *d)
{
    struct change *c = &all->changes[p->index];
    const struct config_plugin *block = config_plugin(all->config, p->name);
    uint32_t n_restart = 0;
    int n, r;

    c->old = p->conf_now ? p->conf_now : p->conf;
    r = plugin_conf_new(block, p->name, p->desc.options, p->desc.noptions, p->desc.option_stride, d,
                        &c->written);
    if (r < 0)
        return r;
    n = plugin_conf_diff(c->old, c->written, NULL, NULL, &n_restart);
    if (n < 0)
        return n;
    if (!can_reload(p) || (n <= (int)n_restart && !reads_files(p, c->written)))
        return 0;
    r = plugin_conf_new(block, p->name, p->desc.options, p->desc.noptions, p->desc.option_stride, d,
                        &c->next);
    return r < 0 ? r : plugin_conf_keep(c->next, c->old);
}

static int parts_init(struct plugin_reload *all)
{
    const struct hooks *hooks = all->hooks;
    uint32_t n = 0;

    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        n += hooks->plugins[i].n_instances;
    all->parts = calloc(n ? n : 1, sizeof(*all->parts));
    if (!all->parts)
        return -ENOMEM;
    for (uint32_t i = 0; i < hooks->n_plugins; i++) {
        const struct plugin *p = &hooks->plugins[i];

        for (uint32_t k = 0; k < p->n_instances && all->changes[i].next; k++)
            all->parts[all->n_parts++] =
                (struct part){ .all = all, .inst = &p->instances[k], .conf = all->changes[i].next };
    }
    return 0;
}

static int tables_init(struct plugin_reload *all)
{
    const struct hooks *hooks = all->hooks;
    int r = chains_new(all->hooks, all->config, hooks->chains, &all->chains);

    all->tables = calloc(hooks->n_loops, sizeof(*all->tables));
    all->visits = calloc(hooks->n_loops, sizeof(*all->visits));
    if (r == 0 && (!all->tables || !all->visits))
        r = -ENOMEM;
    for (uint32_t i = 0; i < hooks->n_loops && r == 0; i++) {
        all->visits[i].all = all;
        r = chain_table_new(all->chains, hooks->loop[i], &all->tables[i]);
    }
    return r;
}

static void reload_free(struct plugin_reload *all)
{
    struct hooks *hooks = all->hooks;

    timer_stop(loop_timers(first_loop(all)), &all->patience);
    for (uint32_t i = 0; i < hooks->n_plugins && all->changes; i++) {
        plugin_conf_free(&all->changes[i].written);
        plugin_conf_free(&all->changes[i].next);
        plugin_conf_free(&all->changes[i].retired);
    }
    for (uint32_t i = 0; i < hooks->n_loops && all->tables; i++)
        chain_table_free(&all->tables[i]);
    chains_unref(&all->chains);
    config_unref(&all->config);
    if (hooks->reload == all)
        hooks->reload = NULL;
    free(all->changes);
    free(all->parts);
    free(all->tables);
    free(all->visits);
    free(all->reason);
    free(all);
}

static void on_patience(struct timer *t, uint64_t now_ms);

int plugin_reload_new(const struct plugin_reload_setup *setup, struct diag *d,
                      struct plugin_reload **r_reload)
{
    struct hooks *hooks = setup->hooks;
    struct plugin_reload *all;
    int r = 0;

    if (hooks->reload)
        return -EBUSY;
    all = calloc(1, sizeof(*all));
    if (!all)
        return -ENOMEM;
    all->setup = *setup;
    all->hooks = hooks;
    all->config = config_ref(setup->config);
    timer_init(&all->patience, on_patience);
    all->changes = calloc(hooks->n_plugins ? hooks->n_plugins : 1, sizeof(*all->changes));
    if (!all->changes)
        r = -ENOMEM;
    for (uint32_t i = 0; i < hooks->n_plugins && r != -ENOMEM; i++) {
        int e = change_init(all, &hooks->plugins[i], d);

        r = e ? e : r;
    }
    if (r == 0)
        r = parts_init(all);
    if (r == 0)
        r = tables_init(all);
    if (r < 0) {
        reload_free(all);
        return r;
    }
    hooks->reload = all;
    *r_reload = all;
    return 0;
}

/* ---- asked about ----------------------------------------------------------------------------- */

bool plugin_reload_configured(const struct plugin_reload *all, uint32_t hook)
{
    return chains_configured(all->chains, hook);
}

struct teller {
    config_diff_fn fn;
    void *arg;
    const struct plugin *plugin;
};

static void tell(void *arg, const char *key, const char *old_text, const char *new_text,
                 bool reloadable)
{
    const struct teller *t = arg;
    char whole[200];

    snprintf(whole, sizeof(whole), "plugins.%.64s.options.%.100s", t->plugin->name, key);
    t->fn(t->arg, whole, old_text, new_text, reloadable && can_reload(t->plugin));
}

int plugin_reload_diff(const struct plugin_reload *all, config_diff_fn fn, void *arg)
{
    int r = 0;

    for (uint32_t i = 0; i < all->hooks->n_plugins && r >= 0; i++) {
        struct teller t = { fn, arg, &all->hooks->plugins[i] };
        const struct change *c = &all->changes[i];

        r = plugin_conf_diff(c->old, c->written, tell, &t, NULL);
    }
    return r < 0 ? r : 0;
}

const char *plugin_reload_reason(const struct plugin_reload *all)
{
    return all->reason;
}

bool plugin_reload_needs_no_block(const struct hooks *hooks, const char *plugin)
{
    const struct plugin *p = hooks_find(hooks, plugin);

    return p && !(p->desc.flags & PIGEON_F_ON_DEMAND);
}

/* ---- the end --------------------------------------------------------------------------------- */

static void on_over(struct loop *here, struct mail *m)
{
    struct plugin_reload *all = container_of(m, struct plugin_reload, mail);
    void (*over)(void *arg) = all->setup.over;
    void *arg = all->setup.arg;

    (void)here;
    reload_free(all);
    over(arg);
}

static void part_over(struct plugin_reload *all)
{
    if (all->n_out > 0)
        return;
    timer_stop(loop_timers(first_loop(all)), &all->patience);
    loop_post(first_loop(all), 0, &all->mail, on_over);
}

static void post_part(struct part *part, mail_fn fn)
{
    part->all->n_out++;
    part->is_out = true;
    host_post_home(part->inst, &part->mail, fn);
}

/* From the instance's thread. */
static void part_back(struct part *part, mail_fn fn)
{
    loop_post_any(first_loop(part->all), &part->mail, fn);
}

/* From here to leave() the instance's thread is in the plugin. */
static struct crumb *enter(const struct instance *inst, struct loop *here)
{
    struct crumb *crumb = hooks_crumb(inst->hooks, here);

    crumb_enter(crumb, inst, PIGEON_HOOK_LIFE, NULL);
    return crumb;
}

/* ---- abort ----------------------------------------------------------------------------------- */

static void abort_call(struct part *part)
{
    struct instance *inst = part->inst;

    if (part->state == PART_PREPARED && inst->created && inst->plugin->desc.abort)
        inst->plugin->desc.abort(inst->self, part->next);
    part->state = PART_DONE;
}

static void on_part_over(struct loop *here, struct mail *m)
{
    struct part *part = container_of(m, struct part, mail);

    (void)here;
    part->is_out = false;
    part->all->n_out--;
    part_over(part->all);
}

static void on_abort(struct loop *here, struct mail *m)
{
    struct part *part = container_of(m, struct part, mail);
    struct crumb *crumb = enter(part->inst, here);

    abort_call(part);
    crumb_leave(crumb);
    part_back(part, on_part_over);
}

/* Those still within prepare follow when they come back. */
static void abort_all(struct plugin_reload *all)
{
    all->phase = PHASE_ABORTING;
    atomic_store(&all->is_void, true);
    for (uint32_t i = 0; i < all->n_parts; i++)
        if (!all->parts[i].is_out && all->parts[i].state == PART_PREPARED)
            post_part(&all->parts[i], on_abort);
    part_over(all);
}

void plugin_reload_abort(struct plugin_reload *all)
{
    all->told = true;
    if (all->phase != PHASE_ABORTING)
        abort_all(all);
}

/* ---- prepare --------------------------------------------------------------------------------- */

static struct place place_of(const struct plugin_reload *all, const struct plugin *p,
                             const char *key)
{
    const struct config_plugin *block = config_plugin(all->config, p->name);
    const struct node_pair *pair =
        key && block->options ? node_get_pair(block->options, str_from(key)) : NULL;
    struct place at = pair ? pair->value->place : block->place;

    for (uint32_t i = 0; key && i < p->desc.noptions; i++) {
        const char *row = (const char *)p->desc.options + (size_t)i * p->desc.option_stride;
        const pigeon_option *option = (const pigeon_option *)(const void *)row;

        if (strcmp(option->key, key) == 0 && option->type == PIGEON_T_SECRET)
            at.width = 0; /* its line is not shown */
    }
    return at;
}

static void note_reason(struct plugin_reload *all, const struct instance *inst, const char *key,
                        const char *text)
{
    const struct plugin *p = inst->plugin;
    struct diag d;

    if (all->reason)
        return;
    diag_init(&d);
    diag_error(&d, place_of(all, p, key), "the plugin '%s' does not take its new options: %s",
               p->name, text);
    if (diag_text(&d, &all->reason) < 0)
        all->reason = NULL;
    diag_fini(&d);
}

static void note_failure(struct plugin_reload *all, const struct part *part)
{
    char text[80];

    snprintf(text, sizeof(text), "it gives no reason (%s)", error_name(part->error));
    note_reason(all, part->inst, part->inst->reason_key,
                part->inst->reason ? part->inst->reason : text);
}

static void answer(struct plugin_reload *all, int status)
{
    if (all->told)
        return;
    all->told = true;
    all->setup.prepared(all->setup.arg, status);
}

static void prepare_over(struct plugin_reload *all)
{
    timer_stop(loop_timers(first_loop(all)), &all->patience);
    if (atomic_load(&all->is_void)) {
        answer(all, -EINVAL);
        abort_all(all);
        return;
    }
    all->phase = PHASE_PREPARED;
    answer(all, 0);
}

static void on_prepared(struct loop *here, struct mail *m)
{
    struct part *part = container_of(m, struct part, mail);
    struct plugin_reload *all = part->all;

    (void)here;
    part->is_out = false;
    all->n_out--;
    if (part->state == PART_FAILED) {
        note_failure(all, part);
        atomic_store(&all->is_void, true);
    }
    if (all->phase == PHASE_ABORTING) {
        if (part->state == PART_PREPARED)
            post_part(part, on_abort);
        part_over(all);
    } else if (all->n_out == 0) {
        prepare_over(all);
    }
}

static void on_prepare(struct loop *here, struct mail *m)
{
    struct part *part = container_of(m, struct part, mail);
    struct instance *inst = part->inst;

    if (inst->created && !inst->hooks->stopping && !atomic_load(&part->all->is_void)) {
        struct crumb *crumb = enter(inst, here);

        host_forget_reason(inst);
        part->error = inst->plugin->desc.prepare(
            inst->self, (const pigeon_conf *)(const void *)part->conf, &part->next);
        crumb_leave(crumb);
        part->state = part->error == PIGEON_OK ? PART_PREPARED : PART_FAILED;
    }
    part_back(part, on_prepared);
}

static void on_nothing_to_prepare(struct loop *here, struct mail *m)
{
    struct plugin_reload *all = container_of(m, struct visit, mail)->all;

    (void)here;
    all->n_out--;
    if (all->phase == PHASE_PREPARING)
        prepare_over(all);
    else
        part_over(all);
}

void plugin_reload_prepare(struct plugin_reload *all)
{
    struct loop *first = first_loop(all);

    all->phase = PHASE_PREPARING;
    for (uint32_t i = 0; i < all->n_parts; i++)
        post_part(&all->parts[i], on_prepare);
    if (all->n_parts == 0) {
        all->n_out++;
        loop_post(first, 0, &all->visits[0].mail, on_nothing_to_prepare);
        return;
    }
    timer_arm(loop_timers(first), &all->patience, loop_now_ms(first) + PATIENCE_MS);
}

/* ---- commit ---------------------------------------------------------------------------------- */

static void commit_call(struct part *part, struct loop *here)
{
    struct instance *inst = part->inst;
    struct crumb *crumb = enter(inst, here);

    inst->plugin->desc.commit(inst->self, part->next);
    crumb_leave(crumb);
    part->state = PART_DONE;
}

/* Workers are not stopped: each takes over when it comes to it. */
static void on_commit(struct loop *here, struct mail *m)
{
    struct part *part = container_of(m, struct part, mail);

    commit_call(part, here);
    part_back(part, on_part_over);
}

static void commit_at(struct plugin_reload *all, struct loop *here)
{
    for (uint32_t i = 0; i < all->n_parts; i++)
        if (all->parts[i].inst->home == here)
            commit_call(&all->parts[i], here);
}

/* hook_loop_take_table has taken back what has no place in the chains any more. */
static void look_at_rights(const struct hooks *hooks, struct loop *here)
{
    if (hooks->ops->invalidate)
        hooks->ops->invalidate(hooks->broker, loop_index(here), "", STR_NULL, STR_NULL);
}

static void on_visited(struct loop *here, struct mail *m)
{
    struct plugin_reload *all = container_of(m, struct visit, mail)->all;

    (void)here;
    all->n_out--;
    part_over(all);
}

static void conf_swap(struct plugin_reload *all, struct plugin *p)
{
    struct change *c = &all->changes[p->index];

    if (!c->next)
        return;
    c->retired = p->conf_now;
    p->conf_now = c->next;
    c->next = NULL;
}

static void core_swap(struct plugin_reload *all)
{
    struct hooks *hooks = all->hooks;

    chains_unref(&hooks->chains);
    hooks->chains = all->chains;
    all->chains = NULL;
    for (uint32_t i = 0; i < hooks->n_loops; i++) {
        hook_loop_take_table(hooks->loop[i], all->tables[i]);
        all->tables[i] = NULL;
    }
    config_unref(&hooks->config);
    hooks->config = config_ref(all->config);
    atomic_store_explicit(&hooks->topic_levels, hooks->config->limits.topic_levels,
                          memory_order_relaxed);
    if (hooks->store)
        store_set_batch(hooks->store, (uint32_t)hooks->config->batch_max_ops);
    if (hooks->watchdog)
        hooks_set_warn(hooks, hooks->config->hook_warn_ms);
}

void plugin_reload_swap(struct plugin_reload *all)
{
    struct hooks *hooks = all->hooks;
    struct loop *first = first_loop(all);

    all->phase = PHASE_COMMITTING;
    all->n_out = hooks->n_loops;
    core_swap(all);
    for (uint32_t i = 0; i < hooks->n_plugins; i++)
        conf_swap(all, &hooks->plugins[i]);
    for (uint32_t i = 0; i < all->n_parts; i++)
        if (all->parts[i].inst->plugin->n_workers)
            post_part(&all->parts[i], on_commit);
    timer_arm(loop_timers(first), &all->patience, loop_now_ms(first) + PATIENCE_MS);
}

void plugin_reload_commit_here(struct plugin_reload *all, struct loop *here)
{
    commit_at(all, here);
    look_at_rights(all->hooks, here);
    loop_post_any(first_loop(all), &all->visits[loop_index(here)].mail, on_visited);
}

/* ---- patience -------------------------------------------------------------------------------- */

/* Who still has to come back from its plugin; NULL: nobody in particular. */
static const struct part *slowest(const struct plugin_reload *all)
{
    for (uint32_t i = 0; i < all->n_parts; i++)
        if (all->parts[i].is_out)
            return &all->parts[i];
    return NULL;
}

static void on_patience(struct timer *t, uint64_t now_ms)
{
    struct plugin_reload *all = container_of(t, struct plugin_reload, patience);
    const struct part *part = slowest(all);
    const char *name = part ? part->inst->plugin->name : "";

    (void)now_ms;
    all->is_late = true;
    if (all->phase == PHASE_COMMITTING) {
        log_warn(all->hooks->log, "plugin_commit_late", LZ("plugin", name),
                 LU("after_ms", PATIENCE_MS));
        return;
    }
    if (all->phase != PHASE_PREPARING)
        return;
    if (part)
        note_reason(all, part->inst, NULL, "prepare does not come to an end");
    answer(all, -ETIMEDOUT);
    abort_all(all);
}

const char *plugin_reload_late(const struct plugin_reload *all)
{
    const struct part *part = all->is_late ? slowest(all) : NULL;

    return part ? part->inst->plugin->name : NULL;
}

/* ---- with the instances gone ----------------------------------------------------------------- */

void plugin_reload_end(struct hooks *hooks)
{
    struct plugin_reload *all = hooks->reload;

    for (uint32_t i = 0; all && i < all->n_parts; i++)
        abort_call(&all->parts[i]);
}

void plugin_reload_drop(struct hooks *hooks)
{
    if (hooks->reload)
        reload_free(hooks->reload);
}
