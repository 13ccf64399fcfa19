#include "hooks/bus_priv.h"
#include "hooks/chain.h"
#include "hooks/host_admin.h"
#include "hooks/host_priv.h"
#include "hooks/pending.h"
#include "hooks/store_priv.h"
#include "hooks/worker.h"
#include "base/utf8.h"
#include "wire/property.h"
#include "wire/reason.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define VERSION PIGEON_VERSION

struct str host_str(pigeon_str s)
{
    return (struct str){ s.ptr, s.ptr ? s.len : 0 };
}

int32_t host_check_text(pigeon_str s)
{
    if (s.len > UINT16_MAX)
        return PIGEON_E_TOOBIG;
    if (s.len && !s.ptr)
        return PIGEON_E_INVAL;
    return utf8_is_mqtt(s.ptr ? s.ptr : "", s.len) ? PIGEON_OK : PIGEON_E_INVAL;
}

/* Properties as a PUBLISH carries them on: no alias, no subscription identifier, no expiry. */
int32_t host_check_props(pigeon_bytes props)
{
    struct property_iter it;
    struct property p;
    int r;

    if (props.len && !props.ptr)
        return PIGEON_E_INVAL;
    property_iter_init(&it, str_make(props.ptr, props.len),
                       PROPERTY_IN(PACKET_PUBLISH, WIRE_FROM_CLIENT));
    while ((r = property_next(&it, &p)) == 1)
        if (p.id == PROPERTY_TOPIC_ALIAS || p.id == PROPERTY_SUBSCRIPTION_ID ||
            p.id == PROPERTY_MESSAGE_EXPIRY)
            return PIGEON_E_INVAL;
    return r < 0 ? PIGEON_E_INVAL : PIGEON_OK;
}

/* Outside of turns only the thread that made the instances, and destroys them, counts as the
 * loop's. */
bool host_on_loop(const struct instance *inst)
{
    struct loop *current = loop_current();

    if (!current)
        return pthread_equal(pthread_self(), inst->hooks->main_thread);
    return current == inst->home;
}

bool host_check_thread(const struct instance *inst, const char *function)
{
#ifndef NDEBUG
    if (!host_on_loop(inst)) {
        log_error(inst->hooks->log, "plugin_wrong_thread", LZ("plugin", inst->plugin->name),
                  LZ("function", function),
                  LZ("help", "call it from the thread of the instance, see host->post"));
        return false;
    }
#else
    (void)inst;
    (void)function;
#endif
    return true;
}

void host_post_mail(struct instance *inst, struct mail *m_mail, mail_fn fn)
{
    hooks_post(loop_group_at(inst->hooks->loops, inst->loop), m_mail, fn);
}

void host_post_home(struct instance *inst, struct mail *m_mail, mail_fn fn)
{
    hooks_post(inst->home, m_mail, fn);
}

static const void *get(void *inst, const char *id, uint32_t min_size)
{
    (void)inst;
    if (!id)
        return NULL;
    if (strcmp(id, PIGEON_IF_METRICS) == 0 && host_metrics_table.size >= min_size)
        return &host_metrics_table;
    if (strcmp(id, PIGEON_IF_ADMIN) == 0 && host_admin_table.size >= min_size)
        return &host_admin_table;
    if (strcmp(id, PIGEON_IF_STORE_HOST) == 0 && store_host_table.size >= min_size)
        return &store_host_table;
    if (strcmp(id, PIGEON_IF_BUS_HOST) == 0 && bus_host_table.size >= min_size)
        return &bus_host_table;
    return NULL;
}

static void log_line(void *inst, uint32_t level, const char *text)
{
    static const enum log_level levels[] = { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };
    struct instance *i = instance_of(inst);
    enum log_level at = level <= PIGEON_LOG_DEBUG ? levels[level] : LOG_DEBUG;

    LOG_AT(i->hooks->log, at, "plugin", LZ("plugin", i->plugin->name),
           LZ("text", text ? text : ""));
}

void host_forget_reason(struct instance *inst)
{
    free(inst->reason);
    free(inst->reason_key);
    inst->reason = inst->reason_key = NULL;
}

static int32_t fail(void *inst, const char *key, const char *text)
{
    struct instance *i = instance_of(inst);
    size_t size = (key ? strlen(key) + 2 : 0) + (text ? strlen(text) : 0) + 1;
    char *reason;

    if (!host_check_thread(i, "fail"))
        return PIGEON_E_THREAD;
    reason = malloc(size);
    if (!reason)
        return PIGEON_E_INVAL;
    snprintf(reason, size, "%s%s%s", key ? key : "", key ? ": " : "", text ? text : "");
    host_forget_reason(i);
    i->reason = reason;
    i->reason_key = key ? strdup(key) : NULL;
    return PIGEON_E_INVAL;
}

static int64_t now_ns(void *inst)
{
    struct loop *current = loop_current();
    struct timespec ts;

    /* A turn of a worker may take as long as the plugin blocks. */
    if (current && loop_get_group(current) == instance_of(inst)->hooks->loops)
        return (int64_t)loop_now_ms(current) * 1000000;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

static int32_t info(void *inst, pigeon_info *out)
{
    struct hooks *hooks = instance_of(inst)->hooks;
    pigeon_info full = { .size = sizeof(full) };
    uint32_t size = out ? out->size : 0;

    if (size < sizeof(uint32_t))
        return PIGEON_E_INVAL;
    full.loops = hooks->n_loops;
    full.version = (pigeon_str){ .ptr = VERSION, .len = sizeof(VERSION) - 1 };
    full.node_id = (pigeon_str){ .ptr = hooks->node_id, .len = (uint32_t)strlen(hooks->node_id) };
    if (hooks->ops->info)
        hooks->ops->info(hooks->broker, &full);
    memcpy(out, &full, size < sizeof(full) ? size : sizeof(full));
    out->size = size < sizeof(full) ? size : (uint32_t)sizeof(full);
    return PIGEON_OK;
}

static int32_t complete(void *inst, pigeon_token token, int32_t verdict)
{
    struct instance *i = instance_of(inst);

    if (!store_owns_token(token))
        return pending_complete(i, token, verdict);
    return instance_store(i) ? store_complete(instance_store(i), token, verdict) : PIGEON_E_GONE;
}

/* ---- what takes effect later, on the loops
 * ------------------------------------------------------- */

struct order { /* kick or invalidate, for one loop */
    struct mail mail;
    struct hooks *hooks;
    struct str id, username;
    struct plugin *plugin;
    char *text;
    uint8_t reason;
    char data[];
};

static struct order *order_new(struct instance *inst, struct str id, struct str username,
                               const char *text)
{
    size_t text_len = text ? strlen(text) : 0;
    struct order *o = malloc(sizeof(*o) + id.len + username.len + text_len + 3);
    char *at;

    if (!o)
        return NULL;
    *o = (struct order){ .hooks = inst->hooks, .plugin = inst->plugin };
    at = o->data;
    if (id.len)
        memcpy(at, id.ptr, id.len);
    at[id.len] = '\0';
    o->id = str_make(at, id.len);
    at += id.len + 1;
    if (username.len)
        memcpy(at, username.ptr, username.len);
    at[username.len] = '\0';
    o->username = str_make(at, username.len);
    at += username.len + 1;
    if (text_len)
        memcpy(at, text, text_len);
    at[text_len] = '\0';
    o->text = at;
    return o;
}

static void on_kick(struct loop *here, struct mail *m)
{
    struct order *o = container_of(m, struct order, mail);

    if (!o->hooks->stopping && o->hooks->ops->kick)
        o->hooks->ops->kick(o->hooks->broker, loop_index(here), o->id, o->reason, o->text);
    free(o);
}

static void on_invalidate(struct loop *here, struct mail *m)
{
    struct order *o = container_of(m, struct order, mail);

    if (!o->hooks->stopping) {
        clients_revoke(o->hooks->loop[loop_index(here)], o->plugin, o->id, o->username);
        if (o->hooks->ops->invalidate)
            o->hooks->ops->invalidate(o->hooks->broker, loop_index(here), o->plugin->name, o->id,
                                      o->username);
    }
    free(o);
}

static void order_post(struct hooks *hooks, uint32_t loop, struct order *m_order, mail_fn fn)
{
    hooks_post(loop_group_at(hooks->loops, loop), &m_order->mail, fn);
}

/* One order per loop: where a client lives is the broker's business. All or none are posted. */
static int32_t order_all(struct instance *inst, struct str id, struct str username,
                         const char *text, uint8_t reason, mail_fn fn)
{
    struct hooks *hooks = inst->hooks;
    struct order *orders[LOOP_MAX];

    for (uint32_t i = 0; i < hooks->n_loops; i++) {
        orders[i] = order_new(inst, id, username, text);
        if (!orders[i]) {
            while (i-- > 0)
                free(orders[i]);
            return PIGEON_E_NOMEM;
        }
        orders[i]->reason = reason;
    }
    for (uint32_t i = 0; i < hooks->n_loops; i++)
        order_post(hooks, i, orders[i], fn);
    return PIGEON_OK;
}

static int32_t kick(void *inst, pigeon_str client_id, uint32_t mqtt_reason, const char *text)
{
    int32_t r = host_check_text(client_id);

    if (r != PIGEON_OK || client_id.len == 0)
        return r != PIGEON_OK ? r : PIGEON_E_INVAL;
    if (mqtt_reason == 0)
        mqtt_reason = REASON_ADMINISTRATIVE_ACTION;
    if (mqtt_reason < 0x80 || mqtt_reason > 0xff)
        return PIGEON_E_INVAL;
    return order_all(instance_of(inst), host_str(client_id), STR_NULL, text, (uint8_t)mqtt_reason,
                     on_kick);
}

static int32_t invalidate(void *inst, pigeon_str client_id, pigeon_str username)
{
    _Atomic uint32_t *n = &instance_of(inst)->plugin->n_invalidated;
    int32_t r;

    atomic_fetch_add(n, 1);
    r = order_all(instance_of(inst), host_str(client_id), host_str(username), NULL, 0,
                  on_invalidate);
    if (r != PIGEON_OK)
        atomic_fetch_sub(n, 1);
    return r;
}

struct posted {
    struct mail mail;
    struct instance *inst;
    pigeon_post_fn fn;
    void *arg;
};

static void on_post(struct loop *here, struct mail *m)
{
    struct posted *p = container_of(m, struct posted, mail);

    (void)here;
    if (p->inst->created) {
        struct crumb_call crumb = crumb_begin(p->inst, PIGEON_HOOK_LIFE);

        p->fn(p->inst->self, p->arg);
        crumb_end(crumb);
    }
    free(p);
}

static int32_t post(void *inst, pigeon_post_fn fn, void *arg)
{
    struct posted *p;

    if (!fn)
        return PIGEON_E_INVAL;
    p = malloc(sizeof(*p));
    if (!p)
        return PIGEON_E_NOMEM;
    *p = (struct posted){ .inst = instance_of(inst), .fn = fn, .arg = arg };
    host_post_home(instance_of(inst), &p->mail, on_post);
    return PIGEON_OK;
}

void host_init(struct hooks *hooks, struct instance *inst)
{
    pigeon_host *h = &inst->host;
    const char *state_dir = hooks->config->state_dir;

    *h = (pigeon_host){ .size = sizeof(*h),
                        .abi_major = PIGEON_ABI_MAJOR,
                        .abi_minor = PIGEON_ABI_MINOR,
                        .version = VERSION,
                        .node_id = hooks->node_id,
                        .name = inst->plugin->name,
                        .state_dir = state_dir ? state_dir : "",
                        .inst = inst,
                        .loop = inst->plugin->n_workers ? hooks->n_loops : inst->loop,
                        .loops = hooks->n_loops };
    h->get = get;
    h->log = log_line;
    h->fail = fail;
    h->now_ns = now_ns;
    h->info = info;
    h->complete = complete;
    h->kick = kick;
    h->invalidate = invalidate;
    h->post = post;
    host_conf_fill(h);
    host_set_fill(h);
    host_msg_fill(h);
    host_watch_fill(h);
    host_metric_fill(h);
}
