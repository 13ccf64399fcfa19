/* The table the plugin is given: log, options, answers, numbers. */
#include "mock/mock_priv.h"
#include <stdio.h>
#include <stdlib.h>

#define VERSION "mock"

const char *mock_hook_name(uint32_t hook)
{
    static const char *const names[PIGEON_HOOK_COUNT] = {
        "?",
        "pre_connect",
        "authenticate",
        "exchange",
        "authorize_publish",
        "authorize_will",
        "authorize_subscribe",
        "authorize_deliver",
        "inbound",
        "published",
        "event",
        "command",
        "store",
        "bus",
        "quiesce",
    };

    return hook < PIGEON_HOOK_COUNT ? names[hook] : "?";
}

static const void *get(void *inst, const char *id, uint32_t min_size)
{
    (void)inst;
    if (id && strcmp(id, PIGEON_IF_STORE_HOST) == 0 && mock_store_host.size >= min_size)
        return &mock_store_host;
    if (id && strcmp(id, PIGEON_IF_BUS_HOST) == 0 && mock_bus_host.size >= min_size)
        return &mock_bus_host;
    return NULL;
}

static void log_line(void *inst, uint32_t level, const char *text)
{
    pigeon_mock *m = inst;

    pthread_mutex_lock(&m->lock);
    lines_add(&m->log, level, text ? text : "");
    pthread_mutex_unlock(&m->lock);
}

static int32_t fail(void *inst, const char *key, const char *text)
{
    pigeon_mock *m = inst;
    size_t size = (key ? strlen(key) + 2 : 0) + (text ? strlen(text) : 0) + 1;

    if (!mock_must_be_loop(m, "fail"))
        return PIGEON_E_THREAD;
    free(m->reason);
    m->reason = mock_alloc(size);
    snprintf(m->reason, size, "%s%s%s", key ? key : "", key ? ": " : "", text ? text : "");
    return PIGEON_E_INVAL;
}

static int64_t now_ns(void *inst)
{
    pigeon_mock *m = inst;
    int64_t now;

    pthread_mutex_lock(&m->lock);
    now = m->now_ns;
    pthread_mutex_unlock(&m->lock);
    return now;
}

static int32_t info(void *inst, pigeon_info *out)
{
    pigeon_info full = { .size = sizeof(full), .loops = 1 };
    uint32_t size = out ? out->size : 0;

    if (size < sizeof(uint32_t))
        return PIGEON_E_INVAL;
    full.version = pigeon_z(VERSION);
    full.node_id = pigeon_z("mock-node");
    full.started_ms = INT64_C(1000000000000);
    full.uptime_ms = now_ns(inst) / 1000000;
    memcpy(out, &full, size < sizeof(full) ? size : sizeof(full));
    out->size = size < sizeof(full) ? size : (uint32_t)sizeof(full);
    return PIGEON_OK;
}

/* ---- options --------------------------------------------------------------------------------- */

static const struct plugin_conf *conf_of(const pigeon_conf *conf)
{
    return (const struct plugin_conf *)(const void *)conf;
}

static int64_t conf_int(const pigeon_conf *conf, const char *key)
{
    return plugin_conf_int(conf_of(conf), key);
}

static pigeon_str view(struct str s)
{
    return (pigeon_str){ .ptr = s.ptr, .len = s.len };
}

static pigeon_str conf_str(const pigeon_conf *conf, const char *key)
{
    return view(plugin_conf_str(conf_of(conf), key));
}

static uint32_t conf_count(const pigeon_conf *conf, const char *key)
{
    return plugin_conf_count(conf_of(conf), key);
}

static pigeon_str conf_item(const pigeon_conf *conf, const char *key, uint32_t i)
{
    return view(plugin_conf_item(conf_of(conf), key, i));
}

/* ---- answers --------------------------------------------------------------------------------- */

static int32_t complete_locked(pigeon_mock *m, pigeon_token token, int32_t verdict)
{
    pigeon_mock_ask *ask = ask_of_token(m, token);

    if (!ask) {
        mock_complain_locked(m, "complete() with the token %#llx, which nobody gave",
                             (unsigned long long)token);
        return PIGEON_E_GONE;
    }
    if (++ask->n_completed > 1) {
        mock_complain_locked(m, "%s was completed %u times", mock_hook_name(ask->hook),
                             ask->n_completed);
        return PIGEON_E_GONE;
    }
    pthread_cond_broadcast(&m->news);
    switch (ask->state) {
    case ASK_CALLING:
        ask->state = ASK_EARLY;
        ask->verdict = verdict;
        return PIGEON_OK;
    case ASK_PENDING:
        ask->state = ASK_DONE;
        ask->verdict = verdict;
        return PIGEON_OK;
    case ASK_DEAD: ask->state = ASK_RETURNED; return PIGEON_E_GONE;
    default:
        mock_complain_locked(m, "%s was answered by return and completed as well",
                             mock_hook_name(ask->hook));
        return PIGEON_E_GONE;
    }
}

int32_t mock_complete(void *inst, pigeon_token token, int32_t verdict)
{
    pigeon_mock *m = inst;
    int32_t r;

    pthread_mutex_lock(&m->lock);
    r = complete_locked(m, token, verdict);
    pthread_mutex_unlock(&m->lock);
    return r;
}

/* ---- numbers --------------------------------------------------------------------------------- */

static int32_t metric_locked(pigeon_mock *m, const char *name, uint32_t kind)
{
    int32_t error = mock_fault(m, PIGEON_MOCK_FAIL_METRIC);

    if (error)
        return error;
    if (!name || !*name || kind > PIGEON_METRIC_HISTOGRAM)
        return PIGEON_E_INVAL;
    for (uint32_t i = 0; i < m->n_metrics; i++)
        if (strcmp(m->metrics[i].name, name) == 0)
            return m->metrics[i].kind == kind ? (int32_t)i : PIGEON_E_INVAL;
    m->metrics = mock_realloc(m->metrics, (m->n_metrics + 1) * sizeof(*m->metrics));
    m->metrics[m->n_metrics] =
        (struct metric){ .name = mock_dup(name, strlen(name)), .kind = kind };
    return (int32_t)m->n_metrics++;
}

static int32_t metric(void *inst, const char *name, const char *help, uint32_t kind)
{
    pigeon_mock *m = inst;
    int32_t r;

    (void)help;
    pthread_mutex_lock(&m->lock);
    r = metric_locked(m, name, kind);
    pthread_mutex_unlock(&m->lock);
    return r;
}

/* kinds: bits of those that may be moved so. */
static void metric_move(pigeon_mock *m, int32_t handle, uint32_t kinds, int64_t value, bool add)
{
    pthread_mutex_lock(&m->lock);
    if (handle < 0 || (uint32_t)handle >= m->n_metrics) {
        if (handle >= 0) /* an error of metric() may be passed on */
            mock_complain_locked(m, "there is no metric with the handle %d", handle);
    } else if (!(kinds & 1u << m->metrics[handle].kind)) {
        mock_complain_locked(m, "the metric %s is of another kind", m->metrics[handle].name);
    } else {
        m->metrics[handle].value = add ? m->metrics[handle].value + value : value;
    }
    pthread_mutex_unlock(&m->lock);
}

static void metric_add(void *inst, int32_t handle, int64_t delta)
{
    metric_move(inst, handle, 1u << PIGEON_METRIC_COUNTER | 1u << PIGEON_METRIC_GAUGE, delta, true);
}

static void metric_set(void *inst, int32_t handle, int64_t value)
{
    metric_move(inst, handle, 1u << PIGEON_METRIC_GAUGE, value, false);
}

static void metric_observe(void *inst, int32_t handle, int64_t ns)
{
    (void)ns;
    metric_move(inst, handle, 1u << PIGEON_METRIC_HISTOGRAM, 1, true);
}

/* ---- the table ------------------------------------------------------------------------------- */

void mock_host_make(pigeon_mock *m)
{
    uint32_t full = (uint32_t)sizeof(pigeon_host);
    uint32_t size = m->host_size ? m->host_size : mock_size(m, full, FIRST_HOST);
    pigeon_host h = { .size = size,
                      .abi_major = PIGEON_ABI_MAJOR,
                      .abi_minor = PIGEON_ABI_MINOR,
                      .version = VERSION,
                      .node_id = "mock-node",
                      .name = "mock",
                      .state_dir = m->state_dir,
                      .inst = m,
                      .loops = 1 };

    if (m->release == PIGEON_MOCK_FIRST)
        h.abi_minor = 0;
    else if (m->release == PIGEON_MOCK_NEXT)
        h.abi_minor++;
    h.get = get;
    h.log = log_line;
    h.fail = fail;
    h.now_ns = now_ns;
    h.info = info;
    h.conf_int = conf_int;
    h.conf_str = conf_str;
    h.conf_count = conf_count;
    h.conf_item = conf_item;
    h.complete = mock_complete;
    h.metric = metric;
    h.metric_add = metric_add;
    h.metric_set = metric_set;
    h.metric_observe = metric_observe;
    mock_fill_set(&h);
    mock_fill_loop(&h);
    mock_fill_acts(&h);
    m->host = mock_alloc(size);
    memset(m->host, 0xa5, size);
    memcpy(m->host, &h, size < full ? size : full);
}

void mock_host_drop(pigeon_mock *m)
{
    free(m->host);
    m->host = NULL;
}

/* ---- what a test asks ------------------------------------------------------------------------ */

const char *pigeon_mock_log(pigeon_mock *m, uint32_t i, uint32_t *level)
{
    const char *text = NULL;

    pthread_mutex_lock(&m->lock);
    if (i < m->log.n) {
        text = m->log.items[i].text;
        if (level)
            *level = m->log.items[i].level;
    }
    pthread_mutex_unlock(&m->lock);
    return text;
}

int pigeon_mock_logged(pigeon_mock *m, const char *text)
{
    const char *line;

    for (uint32_t i = 0; (line = pigeon_mock_log(m, i, NULL)) != NULL; i++)
        if (strstr(line, text))
            return 1;
    return 0;
}

static const struct metric *metric_find(const pigeon_mock *m, const char *name)
{
    for (uint32_t i = 0; i < m->n_metrics; i++)
        if (strcmp(m->metrics[i].name, name) == 0)
            return &m->metrics[i];
    return NULL;
}

int64_t pigeon_mock_metric(pigeon_mock *m, const char *name)
{
    const struct metric *found;
    int64_t value;

    pthread_mutex_lock(&m->lock);
    found = metric_find(m, name);
    value = found ? found->value : 0;
    pthread_mutex_unlock(&m->lock);
    return value;
}

int pigeon_mock_has_metric(pigeon_mock *m, const char *name)
{
    int has;

    pthread_mutex_lock(&m->lock);
    has = metric_find(m, name) != NULL;
    pthread_mutex_unlock(&m->lock);
    return has;
}

uint32_t pigeon_mock_complaints(pigeon_mock *m)
{
    uint32_t n;

    pthread_mutex_lock(&m->lock);
    n = m->complaints.n;
    pthread_mutex_unlock(&m->lock);
    return n;
}

const char *pigeon_mock_complaint(pigeon_mock *m, uint32_t i)
{
    const char *text;

    pthread_mutex_lock(&m->lock);
    text = i < m->complaints.n ? m->complaints.items[i].text : NULL;
    pthread_mutex_unlock(&m->lock);
    return text;
}
