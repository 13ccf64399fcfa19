/* Lists: a job that goes from loop to loop, a portion at a time, and to the instance with each. */
#include "hooks/chain.h"
#include "hooks/control.h"
#include "hooks/explain.h"
#include "hooks/host_admin.h"
#include "hooks/host_priv.h"
#include "mqtt/topic.h"
#include <stdlib.h>

struct list_job {
    struct job job;
    struct mail mail; /* at one place at a time */
    pigeon_rows_fn fn;
    struct arena texts; /* of the query */
    pigeon_query query;
    struct admin_list list;
    struct rows rows;
    uint32_t loop, n_loops; /* of those that the list goes over */
    uint64_t left;          /* rows until the limit */
    bool is_done;
    int32_t status;
    struct buf resume;
};

static void on_portion(struct loop *here, struct mail *m);

static void list_free(struct job *job)
{
    struct list_job *l = container_of(job, struct list_job, job);

    if (l->list.scanning)
        retained_scan_fini(&l->list.scan);
    rows_fini(&l->rows);
    arena_fini(&l->texts);
    buf_fini(&l->resume);
    free(l);
}

/* ---- where it goes on ---------------------------------------------------------------- */

/* "LOOP.SLOT.SESSION.HASH", or "@" and the topic a scan has passed, in hex. */
static int put_resume(struct list_job *l)
{
    const struct admin_list *at = &l->list;
    int r;

    if (!at->scanning)
        r = buf_printf(&l->resume, "%u.%llu.%llu.%llu", l->loop, (unsigned long long)at->slot,
                       (unsigned long long)at->session, (unsigned long long)at->hash);
    else
        r = buf_printf(&l->resume, "@");
    for (size_t i = 0; at->scanning && i < buf_len(&at->scan.position) && !r; i++)
        r = buf_printf(&l->resume, "%02x", (uint8_t)buf_ptr(&at->scan.position)[i]);
    return r ? r : buf_append(&l->resume, "", 1); /* a NUL behind it */
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static struct str first_level(struct str *rest)
{
    const char *slash = rest->len ? memchr(rest->ptr, '/', rest->len) : NULL;
    struct str level = { rest->ptr, slash ? (uint32_t)(slash - rest->ptr) : rest->len };

    *rest = slash ? str_make(slash + 1, rest->len - level.len - 1) : STR_NULL;
    return level;
}

/* Is it a place where a scan with this filter comes by? The scan relies on it. */
static bool is_on_the_way(struct str filter, struct str path)
{
    bool is_first = true;

    do {
        struct str want = first_level(&filter), level = first_level(&path);
        bool is_wild = want.len == 1 && (want.ptr[0] == '#' || want.ptr[0] == '+');

        if (!want.ptr || (!is_wild && !str_eq(want, level)) ||
            (is_first && is_wild && level.len && level.ptr[0] == '$'))
            return false;
        if (is_wild && want.ptr[0] == '#')
            return true;
        is_first = false;
    } while (path.ptr);
    return true;
}

static int32_t take_topic(struct list_job *l, struct str text)
{
    if (l->query.list != PIGEON_LIST_RETAINED || text.len % 2 == 0)
        return PIGEON_E_INVAL;
    for (uint32_t i = 1; i < text.len; i += 2) {
        int high = hex_digit(text.ptr[i]), low = hex_digit(text.ptr[i + 1]);
        char byte;

        if (high < 0 || low < 0)
            return PIGEON_E_INVAL;
        byte = (char)(high << 4 | low);
        if (buf_append(&l->list.scan.position, &byte, 1))
            return PIGEON_E_NOMEM;
    }
    l->list.scan.started = true;
    return is_on_the_way(l->list.scan.filter, buf_str(&l->list.scan.position)) ? PIGEON_OK
                                                                               : PIGEON_E_INVAL;
}

static int32_t take_resume(struct list_job *l)
{
    unsigned long long slot, session, hash;
    struct str text = admin_str(l->query.resume);
    int end = 0;

    if (!text.len)
        return PIGEON_OK;
    if (text.ptr[0] == '@')
        return take_topic(l, text);
    if (l->query.list == PIGEON_LIST_RETAINED ||
        sscanf(text.ptr, "%u.%llu.%llu.%llu%n", &l->loop, &slot, &session, &hash, &end) != 4 ||
        (uint32_t)end != text.len || l->loop >= l->n_loops)
        return PIGEON_E_INVAL;
    l->list.slot = slot;
    l->list.session = session;
    l->list.hash = hash;
    return PIGEON_OK;
}

/* ---- what hooks/ knows itself -------------------------------------------------------- */

static bool is_meant(const struct list_job *l, const char *plugin)
{
    struct str want = admin_str(l->query.plugin);

    return !want.len || str_eq(want, str_from(plugin));
}

static uint32_t plugin_state(enum found_state state)
{
    switch (state) {
    case FOUND_TAKEN: return PIGEON_PLUGIN_TAKEN;
    case FOUND_AVAILABLE: return PIGEON_PLUGIN_AVAILABLE;
    case FOUND_DISABLED: return PIGEON_PLUGIN_DISABLED;
    case FOUND_FOREIGN: return PIGEON_PLUGIN_IGNORED;
    default: return PIGEON_PLUGIN_REFUSED;
    }
}

static void add_plugin(struct list_job *l, const struct found *f)
{
    const struct plugin *p = f->state == FOUND_TAKEN ? hooks_find(l->job.hooks, f->name) : NULL;
    pigeon_plugin_row *row = rows_add(&l->rows);
    struct buf ifaces;

    if (!row)
        return;
    buf_init(&ifaces);
    for (uint32_t i = 0; i < f->file.n_ifaces; i++)
        if (buf_printf(&ifaces, "%s%s", i ? " " : "", f->file.ifaces[i]))
            l->rows.failed = true;
    row->state = plugin_state(f->state);
    row->name = rows_z(&l->rows, f->name);
    row->file = rows_z(&l->rows, f->file.path);
    row->id = rows_z(&l->rows, f->file.id);
    row->version = rows_z(&l->rows, f->file.version);
    row->summary = rows_z(&l->rows, f->file.summary);
    row->license = rows_z(&l->rows, f->file.license);
    row->interfaces = rows_text(&l->rows, buf_str(&ifaces));
    row->fault = rows_z(&l->rows, f->fault);
    row->flags = f->file.manifest.flags;
    row->abi_major = f->file.manifest.abi_major;
    row->abi_minor = f->file.manifest.abi_minor;
    buf_fini(&ifaces);
    if (!p)
        return;
    row->run = p->block->run;
    row->instances = p->n_instances;
    row->pending = p->stats.n_pending;
    row->deadlines = p->stats.n_deadlines;
    row->refused = p->stats.n_refused;
    row->events_lost = p->stats.n_events_lost;
}

static void list_plugins(struct list_job *l)
{
    for (uint32_t i = 0; i < l->job.hooks->n_found; i++)
        if (is_meant(l, l->job.hooks->found[i].name))
            add_plugin(l, &l->job.hooks->found[i]);
}

static void list_commands(struct list_job *l)
{
    const struct hooks *hooks = l->job.hooks;

    for (uint32_t i = 0; i < hooks->n_plugins; i++) {
        const struct plugin *p = &hooks->plugins[i];

        for (uint32_t k = 0; p->control && is_meant(l, p->name) && k < p->control->ncommands; k++) {
            const pigeon_command *c = control_command(p, k);
            pigeon_command_row *row = rows_add(&l->rows);

            if (!row)
                return;
            row->plugin = rows_z(&l->rows, p->name);
            row->name = rows_z(&l->rows, c->name);
            row->args = rows_z(&l->rows, c->args);
            row->help = rows_z(&l->rows, c->help);
        }
    }
}

/* CH3, when nobody has passed a `require`. */
static uint32_t end_of(const struct hooks *hooks, const struct chain *c, uint32_t hook,
                       bool allows_anonymous)
{
    switch (hook) {
    case PIGEON_HOOK_AUTHENTICATE:
        return c->configured || !allows_anonymous ? PIGEON_END_OF_CHAIN_DENY
                                                  : PIGEON_END_OF_CHAIN_ALLOW;
    case PIGEON_HOOK_EXCHANGE: return PIGEON_END_OF_CHAIN_DENY;
    case PIGEON_HOOK_AUTHORIZE_PUBLISH:
    case PIGEON_HOOK_AUTHORIZE_WILL:
    case PIGEON_HOOK_AUTHORIZE_SUBSCRIBE:
        return c->configured || hooks->config->default_access == CONFIG_DENY
                   ? PIGEON_END_OF_CHAIN_DENY
                   : PIGEON_END_OF_CHAIN_ALLOW;
    case PIGEON_HOOK_AUTHORIZE_DELIVER: return PIGEON_END_OF_CHAIN_ALLOW;
    default: return PIGEON_END_OF_CHAIN_GO_ON;
    }
}

static void add_step(struct list_job *l, const struct chain *c, uint32_t i, pigeon_chain_row *row)
{
    const struct step *s = &c->steps[i];
    struct buf only;

    buf_init(&only);
    for (uint32_t k = 0; s->only && k < s->only->n; k++)
        if (buf_printf(&only, "%s" STR_FMT, k ? " " : "", STR_ARG(s->only->filters[k])))
            l->rows.failed = true;
    row->plugin = rows_z(&l->rows, s->inst->plugin->name);
    row->entry = i;
    row->control = explain_control(s->control);
    row->run = s->inst->plugin->block->run;
    row->has_hook = s->fn.any != NULL;
    row->next_on_deadline = s->next_on_deadline;
    row->deadline_ms = s->deadline_ms;
    row->only = rows_text(&l->rows, buf_str(&only));
    buf_fini(&only);
}

static void add_chain(struct list_job *l, const struct hook_loop *hl, uint32_t listener,
                      uint32_t hook)
{
    const struct hooks *hooks = hl->hooks;
    const struct chain *c = hook_loop_chain(hl, listener, hook);
    const char *name = listener ? chains_listener_name(hooks->chains, listener) : "";
    bool anonymous = hooks->ops->admin->allows_anonymous(hooks->broker, str_from(name));

    for (uint32_t i = 0; i < c->n || i == 0; i++) {
        pigeon_chain_row *row;

        if (i < c->n && !is_meant(l, c->steps[i].inst->plugin->name))
            continue;
        if (c->n == 0 && l->query.plugin.len)
            return;
        row = rows_add(&l->rows);
        if (!row)
            return;
        row->hook = hook;
        row->listener = rows_z(&l->rows, name);
        row->entries = c->n;
        row->end = end_of(hooks, c, hook, anonymous);
        if (i < c->n)
            add_step(l, c, i, row);
    }
}

static void list_chains(struct list_job *l, const struct hook_loop *hl)
{
    struct str want = admin_str(l->query.listener);

    for (uint32_t listener = 0; listener < hl->n_listeners; listener++) {
        const char *name = listener ? chains_listener_name(hl->hooks->chains, listener) : "";

        if (want.ptr && !str_eq(want, str_from(name)))
            continue;
        for (uint32_t hook = PIGEON_HOOK_PRE_CONNECT; hook <= PIGEON_HOOK_PUBLISHED; hook++)
            add_chain(l, hl, listener, hook);
    }
}

static uint32_t transport_of(const struct config_listener *l)
{
    if (l->protocol == CONFIG_WEBSOCKET)
        return l->tls.on ? PIGEON_TRANSPORT_WSS : PIGEON_TRANSPORT_WS;
    if (l->tls.on)
        return PIGEON_TRANSPORT_TLS;
    return l->unix_path ? PIGEON_TRANSPORT_UNIX : PIGEON_TRANSPORT_TCP;
}

static void add_listener(struct list_job *l, const struct config_listener *c)
{
    pigeon_listener_row *row = rows_add(&l->rows);
    struct buf bind;

    if (!row)
        return;
    buf_init(&bind);
    for (uint32_t i = 0; !c->unix_path && i < c->bind.n; i++)
        if (buf_printf(&bind, "%s%s", i ? " " : "", c->bind.items[i]))
            l->rows.failed = true;
    row->transport = transport_of(c);
    row->name = rows_z(&l->rows, c->name);
    row->bind = c->unix_path ? rows_z(&l->rows, c->unix_path) : rows_text(&l->rows, buf_str(&bind));
    row->port = c->port > 0 ? (uint32_t)c->port : 0;
    row->proxy_protocol = c->proxy_protocol;
    row->max_connections = (uint64_t)c->max_connections;
    buf_fini(&bind);
}

static void list_listeners(struct list_job *l)
{
    const struct config *config = l->job.hooks->config;
    struct str want = admin_str(l->query.listener);

    for (uint32_t i = 0; i < config->n_listeners; i++)
        if (!want.len || str_eq(want, str_from(config->listeners[i].name)))
            add_listener(l, &config->listeners[i]);
}

/* ---- a portion ----------------------------------------------------------------------- */

static void set_done(struct list_job *l, int32_t status)
{
    l->is_done = true;
    l->status = status;
}

/* These lists are short: made whole each time, and the rows of this portion kept. */
static int slice(struct list_job *l)
{
    struct rows *rows = &l->rows;
    uint32_t from = l->list.slot < rows->n ? (uint32_t)l->list.slot : rows->n;
    bool is_more;

    rows->n -= from;
    if (rows->n)
        memmove(rows->mem, rows->mem + (size_t)from * rows->stride, (size_t)rows->n * rows->stride);
    is_more = rows->n > l->list.room;
    if (is_more)
        rows->n = l->list.room;
    l->list.slot += rows->n;
    return is_more;
}

/* 1: this loop has more. */
static int fill(struct list_job *l, uint32_t loop)
{
    struct hooks *hooks = l->job.hooks;

    switch (l->query.list) {
    case PIGEON_LIST_PLUGINS: list_plugins(l); break;
    case PIGEON_LIST_COMMANDS: list_commands(l); break;
    case PIGEON_LIST_CHAINS: list_chains(l, hooks->loop[loop]); break;
    case PIGEON_LIST_LISTENERS: list_listeners(l); break;
    default: return hooks->ops->admin->list(hooks->broker, loop, &l->list);
    }
    return slice(l);
}

static void fill_portion(struct list_job *l)
{
    int r;

    l->list.query = &l->query;
    l->list.rows = &l->rows;
    l->list.room = l->left < ADMIN_PORTION ? (uint32_t)l->left : ADMIN_PORTION;
    r = fill(l, l->loop);
    l->left -= l->rows.n;
    if (r < 0 || l->rows.failed) {
        set_done(l, PIGEON_E_NOMEM);
    } else if (r == 0 && l->loop + 1 >= l->n_loops) {
        set_done(l, PIGEON_OK);
    } else {
        if (r == 0) {
            l->loop++;
            l->list.slot = l->list.session = l->list.hash = 0;
        }
        if (l->left == 0)
            set_done(l, put_resume(l) ? PIGEON_E_NOMEM : PIGEON_OK);
    }
}

static void on_told(struct loop *here, struct mail *m)
{
    struct list_job *l = container_of(m, struct list_job, mail);
    pigeon_rows rows = { .done = l->is_done, .status = l->status };
    struct str resume = buf_str(&l->resume);

    (void)here;
    rows.resume =
        (pigeon_str){ .ptr = resume.len ? resume.ptr : "", .len = resume.len ? resume.len - 1 : 0 };
    rows.text = (pigeon_str){ .ptr = l->status == PIGEON_OK ? "" : "out of memory" };
    rows.text.len = (uint32_t)strlen(rows.text.ptr);
    job_tell(&l->job, l->fn, &l->rows, &rows);
    rows_fini(&l->rows);
    if (!rows.done && job_may_tell(&l->job))
        job_post(&l->job, l->loop, &l->mail, on_portion);
    job_unref(&l->job);
}

static void on_portion(struct loop *here, struct mail *m)
{
    struct list_job *l = container_of(m, struct list_job, mail);

    (void)here;
    if (job_may_tell(&l->job)) {
        fill_portion(l);
        if (l->rows.n || l->is_done) {
            job_post_home(&l->job, &l->mail, on_told);
        } else {
            job_post(&l->job, l->loop, &l->mail, on_portion);
        }
    }
    job_unref(&l->job);
}

/* ---- the function of the table ------------------------------------------------------- */

static void copy_query(struct list_job *l, const pigeon_query *query, bool *failed)
{
    pigeon_query *q = &l->query;

    memcpy(q, query, query->size < sizeof(*q) ? query->size : sizeof(*q));
    q->size = sizeof(*q);
    pigeon_str *const texts[] = { &q->resume,   &q->client_id, &q->pattern,
                                  &q->username, &q->address,   &q->listener,
                                  &q->topic,    &q->filter,    &q->plugin };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        *texts[i] = admin_dup(&l->texts, *texts[i], failed);
}

static int32_t judge(struct list_job *l)
{
    struct hooks *hooks = l->job.hooks;
    const pigeon_query *q = &l->query;
    struct str filter = admin_str(q->filter), topic = admin_str(q->topic);
    bool per_loop = q->list >= PIGEON_LIST_CLIENTS && q->list <= PIGEON_LIST_SUBSCRIPTIONS;

    if (q->list < PIGEON_LIST_CLIENTS || q->list > PIGEON_LIST_COMMANDS)
        return PIGEON_E_INVAL;
    if (!hooks->ops->admin)
        return PIGEON_E_NOTSUP;
    if (topic.len && !topic_is_name(topic, TOPIC_MAX_LEVELS))
        return PIGEON_E_INVAL;
    l->n_loops = per_loop ? hooks->n_loops : 1;
    if (per_loop && q->client_id.len) { /* at home, and nowhere else */
        l->loop = hooks->ops->admin->home(hooks->broker, admin_str(q->client_id));
        l->n_loops = l->loop + 1;
    }
    if (q->list == PIGEON_LIST_RETAINED) {
        if (filter.len && !topic_is_filter(filter, TOPIC_MAX_LEVELS))
            return PIGEON_E_INVAL;
        retained_scan_init(&l->list.scan, filter.len ? filter : STR("#"), UINT64_MAX);
        l->list.scanning = true;
    }
    return take_resume(l);
}

int32_t admin_list(void *inst, const pigeon_query *query, pigeon_rows_fn fn, void *arg,
                   pigeon_job *job)
{
    struct list_job *l;
    bool failed = false;
    int32_t r;

    if (!query || query->size < offsetof(pigeon_query, resume) || !fn)
        return PIGEON_E_INVAL;
    l = calloc(1, sizeof(*l));
    if (!l)
        return PIGEON_E_NOMEM;
    l->job = (struct job){
        .hooks = instance_of(inst)->hooks, .inst = inst, .arg = arg, .free_fn = list_free
    };
    l->fn = fn;
    arena_init(&l->texts);
    buf_init(&l->resume);
    copy_query(l, query, &failed);
    if (l->query.list > 0 && l->query.list <= PIGEON_LIST_COMMANDS)
        rows_init(&l->rows, l->query.list);
    r = failed ? PIGEON_E_NOMEM : judge(l);
    if (r != PIGEON_OK) {
        list_free(&l->job);
        return r;
    }
    l->left = l->query.limit ? l->query.limit : UINT64_MAX;
    r = job_start(&l->job, job);
    if (r != PIGEON_OK)
        return r;
    job_post(&l->job, l->loop, &l->mail, on_portion);
    job_unref(&l->job);
    return PIGEON_OK;
}
