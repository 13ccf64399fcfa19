/* The host of the store contract, and the making of batches. */
#include "plugin_tool/store_contract.h"
#include "plugin_tool/tool.h"
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OPTIONS_MAX 16

/* A child runs one case against one store. */
static struct {
    const char *path, *full_option;
    char *key[OPTIONS_MAX], *value[OPTIONS_MAX];
    uint32_t n;
} opt;

void rig_options(const char *path, char *const *options, int n)
{
    opt.path = path;
    for (int i = 0; i < n && opt.n < OPTIONS_MAX; i++) {
        char *copy = strdup(options[i]), *eq = copy ? strchr(copy, '=') : NULL;

        if (!eq)
            continue;
        *eq = '\0';
        if (strcmp(copy, "full_option") == 0) {
            opt.full_option = eq + 1;
            continue;
        }
        opt.key[opt.n] = copy;
        opt.value[opt.n++] = eq + 1;
    }
}

void store_expect_equal(int64_t is, int64_t wanted, const char *what, const char *file, int line)
{
    if (is != wanted)
        isolate_fail("%s:%d: %s is %lld, not %lld", file, line, what, (long long)is,
                     (long long)wanted);
}

void store_expect_string(const char *is, const char *wanted, const char *what, const char *file,
                         int line)
{
    if (!is || strcmp(is, wanted) != 0)
        isolate_fail("%s:%d: %s is \"%s\", not \"%s\"", file, line, what, is ? is : "(null)",
                     wanted);
}

bool rig_can_be_full(void)
{
    return opt.full_option != NULL;
}

/* ---- messages -------------------------------------------------------------------------------- */

struct counted {
    pigeon_msg view; /* first */
    _Atomic uint32_t refs;
    struct rig *rig;
    size_t len;
    char data[];
};

static pigeon_str put(char **at, const void *ptr, uint32_t len)
{
    pigeon_str s = { .ptr = *at, .len = len };

    if (len)
        memcpy(*at, ptr, len);
    (*at)[len] = '\0';
    *at += len + 1;
    return s;
}

static pigeon_bytes put_bytes(char **at, pigeon_bytes from)
{
    pigeon_str s = put(at, from.ptr, from.len);

    return (pigeon_bytes){ .ptr = (const uint8_t *)s.ptr, .len = s.len };
}

static const pigeon_msg *msg_ref(const pigeon_msg *msg)
{
    atomic_fetch_add(&((struct counted *)msg)->refs, 1);
    return msg;
}

static void msg_unref(const pigeon_msg *msg)
{
    struct counted *c = (struct counted *)msg;

    if (!msg || atomic_fetch_sub(&c->refs, 1) != 1)
        return;
    atomic_fetch_sub(&c->rig->n_messages, 1);
    memset(c->data, 'x', c->len); /* who looks later sees nonsense */
    free(c);
}

const pigeon_msg *message_with(struct rig *r, const pigeon_msg *like)
{
    size_t len = (size_t)like->topic.len + like->payload.len + like->props.len +
                 like->publisher.len + like->publisher_user.len + 5;
    struct counted *c = malloc(sizeof(*c) + len);
    char *at = c->data;

    assert_non_null(c);
    c->view = *like;
    c->view.size = sizeof(c->view);
    c->view.topic = put(&at, like->topic.ptr, like->topic.len);
    c->view.payload = put_bytes(&at, like->payload);
    c->view.props = put_bytes(&at, like->props);
    c->view.publisher = put(&at, like->publisher.ptr, like->publisher.len);
    c->view.publisher_user = put(&at, like->publisher_user.ptr, like->publisher_user.len);
    atomic_init(&c->refs, 1);
    c->rig = r;
    c->len = len;
    atomic_fetch_add(&r->n_messages, 1);
    if (r->n_held == r->messages_size) {
        r->messages_size = r->messages_size ? r->messages_size * 2 : 64;
        r->messages = realloc(r->messages, r->messages_size * sizeof(*r->messages));
        assert_non_null(r->messages);
    }
    r->messages[r->n_held++] = &c->view;
    return &c->view;
}

const pigeon_msg *message(struct rig *r, const char *topic, const char *payload)
{
    static uint64_t n;
    pigeon_msg like = { .qos = 1, .id = { 77, ++n }, .topic = text(topic) };

    like.payload =
        (pigeon_bytes){ .ptr = (const uint8_t *)payload, .len = (uint32_t)strlen(payload) };
    return message_with(r, &like);
}

/* ---- the host -------------------------------------------------------------------------------- */

static int32_t host_batch_done(void *inst, pigeon_token token, const pigeon_batch_result *result)
{
    struct rig *r = inst;
    int32_t status = PIGEON_OK;

    pthread_mutex_lock(&r->lock);
    if (token != r->token || !token) {
        r->n_strange++;
        status = PIGEON_E_GONE;
    } else {
        r->token = 0;
        r->n_answers++;
        r->status = result->status;
        r->has_results = result->units != NULL;
        if (result->units)
            memcpy(r->results, result->units, r->nunits * sizeof(*r->results));
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return status;
}

static char *dup_text(const void *ptr, uint32_t len)
{
    char *s = malloc((size_t)len + 1);

    assert_non_null(s);
    if (len)
        memcpy(s, ptr, len);
    s[len] = '\0';
    return s;
}

static void see(const pigeon_op *o, struct seen *s)
{
    const pigeon_rcpt *to = o->nrcpts ? o->rcpts : NULL;

    *s = (struct seen){ .kind = o->kind,
                        .session = o->session,
                        .pos = o->pos,
                        .due_in_ms = o->due_in_ms,
                        .packet_id = o->packet_id,
                        .state = o->state };
    s->client = dup_text(o->client.ptr, o->client.len);
    s->key = dup_text(o->key.ptr, o->key.len);
    s->extra = dup_text(o->extra.ptr, o->extra.len);
    s->extra_len = o->extra.len;
    if (o->msg) {
        s->msg_n = o->msg->id.n;
        s->msg_qos = o->msg->qos;
        s->msg_retain = o->msg->retain;
        s->expires_ms = o->msg->expires_ms;
        s->received_ms = o->msg->received_ms;
        s->msg_flags = o->msg->flags;
        s->topic = dup_text(o->msg->topic.ptr, o->msg->topic.len);
        s->payload = dup_text(o->msg->payload.ptr, o->msg->payload.len);
        s->payload_len = o->msg->payload.len;
        s->props = dup_text(o->msg->props.ptr, o->msg->props.len);
    }
    if (o->sub) {
        s->sub_id = o->sub->id;
        s->sub_qos = o->sub->qos;
        s->no_local = o->sub->no_local;
        s->rap = o->sub->retain_as_published;
        s->rh = o->sub->retain_handling;
        s->filter = dup_text(o->sub->filter.ptr, o->sub->filter.len);
        s->effective = dup_text(o->sub->effective.ptr, o->sub->effective.len);
    }
    if (to) {
        s->session = to->session;
        s->qos = to->qos;
        s->retain = to->retain;
        s->n_ids = to->nsub_ids;
        memcpy(s->ids, to->sub_ids, (to->nsub_ids < 4 ? to->nsub_ids : 4) * sizeof(uint32_t));
        s->share = dup_text(to->share.ptr, to->share.len);
    }
}

static void rows_clear(struct rig *r)
{
    for (uint32_t i = 0; i < r->n_rows; i++) {
        struct seen *s = &r->rows[i];
        char *all[] = { s->client, s->key,    s->topic,     s->payload, s->props,
                        s->extra,  s->filter, s->effective, s->share };

        for (uint32_t k = 0; k < PIGEON_COUNT(all); k++)
            free(all[k]);
    }
    r->n_rows = 0;
}

static int32_t host_rows(void *inst, pigeon_token token, const pigeon_row *rows, uint32_t n,
                         uint32_t stride)
{
    struct rig *r = inst;
    int32_t status = PIGEON_OK;

    pthread_mutex_lock(&r->lock);
    if (token != r->scan_token || r->scan_done || r->scan_cancelled) {
        status = PIGEON_E_GONE;
        n = 0;
    }
    for (uint32_t i = 0; i < n; i++) {
        const pigeon_row *row = (const pigeon_row *)((const char *)rows + (size_t)i * stride);

        if (r->n_rows == r->rows_size) {
            r->rows_size = r->rows_size ? r->rows_size * 2 : 64;
            r->rows = realloc(r->rows, r->rows_size * sizeof(*r->rows));
        }
        see(row->op, &r->rows[r->n_rows++]);
        r->n_over_credit += r->credit == 0;
        r->credit -= r->credit > 0;
    }
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return status;
}

static int32_t host_seen(void *inst, uint32_t what, pigeon_str reason)
{
    (void)inst;
    (void)what;
    (void)reason;
    return PIGEON_OK;
}

static const pigeon_store_host store_host = {
    .size = sizeof(store_host), .batch_done = host_batch_done, .rows = host_rows, .seen = host_seen
};

static int32_t host_complete(void *inst, pigeon_token token, int32_t verdict)
{
    struct rig *r = inst;
    int32_t status = PIGEON_E_GONE;

    pthread_mutex_lock(&r->lock);
    if (token == r->scan_token && !r->scan_done) {
        r->scan_done = true;
        r->scan_status = verdict;
        status = r->scan_cancelled ? PIGEON_E_GONE : PIGEON_OK;
    } else {
        r->n_strange++;
    }
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
    return status;
}

static const void *host_get(void *inst, const char *id, uint32_t min_size)
{
    (void)inst;
    return strcmp(id, PIGEON_IF_STORE_HOST) == 0 && min_size <= sizeof(store_host) ? &store_host
                                                                                   : NULL;
}

static void host_log(void *inst, uint32_t level, const char *line)
{
    (void)inst;
    if (level <= PIGEON_LOG_WARN)
        fprintf(stderr, "           store: %s\n", line);
}

static int32_t host_fail(void *inst, const char *key, const char *line)
{
    (void)inst;
    fprintf(stderr, "           %s: %s\n", key ? key : "create", line);
    return PIGEON_E_INVAL;
}

static int64_t host_now_ns(void *inst)
{
    struct timespec ts;

    (void)inst;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- options: the plugin's own table, overlaid by the command line
 * ------------------------------- */

/* `%s` at the beginning is the case's directory. */
static const char *in_dir(struct rig *r, const char *value)
{
    static char path[8192]; /* one option of a store names a place */

    if (strncmp(value, "%s", 2) != 0)
        return value;
    snprintf(path, sizeof(path), "%s%s", r->dir, value + 2);
    return path;
}

static const char *conf_text(const pigeon_conf *conf, const char *key)
{
    struct rig *r = (struct rig *)(uintptr_t)conf;

    if (opt.full_option && r->full_value && strcmp(key, opt.full_option) == 0)
        return r->full_value;
    for (uint32_t i = 0; i < opt.n; i++)
        if (strcmp(opt.key[i], key) == 0)
            return in_dir(r, opt.value[i]);
    for (uint32_t i = 0; i < r->plugin->noptions; i++) {
        const pigeon_option *o = (const pigeon_option *)((const char *)r->plugin->options +
                                                         (size_t)i * r->plugin->option_stride);
        if (strcmp(o->key, key) == 0)
            return o->preset ? o->preset : "";
    }
    return "";
}

static int64_t unit_of(const char *suffix)
{
    static const struct {
        const char *suffix;
        int64_t times;
    } units[] = { { "ms", 1 },   { "s", 1000 },    { "m", 60000 },  { "h", 3600000 },
                  { "k", 1024 }, { "M", 1 << 20 }, { "G", 1 << 30 } };

    for (uint32_t i = 0; i < PIGEON_COUNT(units); i++)
        if (strcmp(suffix, units[i].suffix) == 0)
            return units[i].times;
    return 1;
}

static int64_t conf_int(const pigeon_conf *conf, const char *key)
{
    const char *value = conf_text(conf, key);
    char *end;
    int64_t n = strtoll(value, &end, 10);

    if (strcmp(value, "true") == 0)
        return 1;
    return n * unit_of(end);
}

static pigeon_str conf_str(const pigeon_conf *conf, const char *key)
{
    return text(conf_text(conf, key));
}

static uint32_t conf_count(const pigeon_conf *conf, const char *key)
{
    (void)conf;
    (void)key;
    return 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

void rig_create(struct rig *r)
{
    const pigeon_conf *conf = (const pigeon_conf *)r;

    assert_int_equal(r->plugin->create(&r->host, conf, &r->self), PIGEON_OK);
}

void rig_destroy(struct rig *r)
{
    if (r->plugin->destroy)
        r->plugin->destroy(r->self);
    r->self = NULL;
}

void rig_wipe(struct rig *r)
{
    rig_destroy(r);
    isolate_remove(r->dir);
    assert_int_equal(mkdir(r->dir, 0700), 0);
    rig_create(r);
}

bool rig_is_lasting(struct rig *r)
{
    pigeon_store_info info = { .size = sizeof(info) };

    assert_int_equal(r->store->info(r->self, &info), PIGEON_OK);
    return info.keeps & (PIGEON_KEEPS_OS | PIGEON_KEEPS_DISK);
}

void rig_setup(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));
    char dir[4096];
    void *file = dlopen(opt.path, RTLD_NOW | RTLD_LOCAL);

    assert_non_null(r);
    if (!file)
        isolate_fail("%s", dlerror());
    r->plugin = dlsym(file, "pigeon_plugin_v1");
    assert_non_null(r->plugin);
    r->store = plugin_iface(r->plugin, PIGEON_IF_STORE);
    assert_non_null(r->store);
    assert_non_null(realpath("state", dir));
    r->dir = strdup(dir);
    r->host = (pigeon_host){ .size = sizeof(r->host),
                             .abi_major = PIGEON_ABI_MAJOR,
                             .abi_minor = PIGEON_ABI_MINOR,
                             .version = "contract",
                             .node_id = "node",
                             .name = "store",
                             .state_dir = r->dir,
                             .inst = r,
                             .loops = 1,
                             .get = host_get,
                             .log = host_log,
                             .fail = host_fail,
                             .now_ns = host_now_ns,
                             .conf_int = conf_int,
                             .conf_str = conf_str,
                             .conf_count = conf_count,
                             .complete = host_complete,
                             .msg_ref = msg_ref,
                             .msg_unref = msg_unref };
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    r->ops = calloc(OPS_MAX, sizeof(*r->ops));
    r->rcpts = calloc(OPS_MAX, sizeof(*r->rcpts));
    r->next_token = 1000;
    rig_create(r);
    *state = r;
}

void rig_teardown(void **state)
{
    struct rig *r = *state;

    if (r->self)
        rig_destroy(r);
    rows_clear(r);
    int64_t left = atomic_load(&r->n_messages);
    uint32_t strange = r->n_strange;
    free(r->dir);
    free(r->rows);
    free(r->ops);
    free(r->rcpts);
    free(r->messages);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->changed);
    free(r);
    if (left || strange)
        isolate_fail("%lld messages leaked, %u answers nobody asked for", (long long)left, strange);
}

/* ---- batches --------------------------------------------------------------------------------- */

pigeon_str text(const char *s)
{
    return (pigeon_str){ .ptr = s, .len = (uint32_t)strlen(s) };
}

pigeon_op *op(struct rig *r, uint16_t kind, uint64_t session)
{
    assert_true(r->nops < OPS_MAX);
    pigeon_op *o = &r->ops[r->nops++];
    *o = (pigeon_op){
        .size = sizeof(*o), .kind = kind, .client = text(""), .key = text(""), .session = session
    };
    return o;
}

void session_put(struct rig *r, uint64_t session, const char *client)
{
    op(r, PIGEON_OP_SESSION_PUT, session)->client = text(client);
}

void sub_put(struct rig *r, uint64_t session, const char *key, uint8_t qos)
{
    static pigeon_sub subs[256];
    static uint32_t n;
    pigeon_sub *s = &subs[n++ % 256]; /* lives longer than any batch of fewer */
    pigeon_op *o = op(r, PIGEON_OP_SUB_PUT, session);

    *s = (pigeon_sub){ .size = sizeof(*s),
                       .qos = qos,
                       .filter = text(key),
                       .effective = text(key),
                       .share = text("") };
    o->key = text(key);
    o->sub = s;
}

void key_op(struct rig *r, uint16_t kind, uint64_t session, const char *key)
{
    op(r, kind, session)->key = text(key);
}

void retain_put(struct rig *r, const char *topic, const char *payload)
{
    pigeon_op *o = op(r, PIGEON_OP_RETAIN_PUT, 0);

    o->key = text(topic);
    o->msg = message(r, topic, payload);
}

pigeon_rcpt *rcpt(struct rig *r, uint64_t session, uint8_t qos)
{
    pigeon_op *o = &r->ops[r->nops - 1];

    assert_true(r->nrcpts < OPS_MAX);
    pigeon_rcpt *to = &r->rcpts[r->nrcpts++];
    *to = (pigeon_rcpt){
        .size = sizeof(*to), .client = text(""), .session = session, .qos = qos, .share = text("")
    };
    if (!o->nrcpts)
        o->rcpts = to;
    o->nrcpts++;
    o->rcpt_stride = sizeof(*to);
    return to;
}

void queue_add(struct rig *r, uint64_t pos, const char *payload)
{
    pigeon_op *o = op(r, PIGEON_OP_QUEUE_ADD, 0);

    o->pos = pos;
    o->msg = message(r, "queue/topic", payload);
}

void queue_op(struct rig *r, uint16_t kind, uint64_t session, uint64_t pos)
{
    op(r, kind, session)->pos = pos;
}

void queue_upd(struct rig *r, uint64_t session, uint64_t pos, uint16_t id, uint8_t state)
{
    pigeon_op *o = op(r, PIGEON_OP_QUEUE_UPD, session);

    o->pos = pos;
    o->packet_id = id;
    o->state = state;
}

void in_op(struct rig *r, uint16_t kind, uint64_t session, uint16_t id)
{
    op(r, kind, session)->packet_id = id;
}

void will_put(struct rig *r, uint64_t session, const char *topic, const char *payload)
{
    op(r, PIGEON_OP_WILL_PUT, session)->msg = message(r, topic, payload);
}

void due_op(struct rig *r, uint16_t kind, uint64_t session, int64_t due_in_ms)
{
    op(r, kind, session)->due_in_ms = due_in_ms;
}

void unit_end(struct rig *r)
{
    pigeon_unit *last = r->nunits ? &r->units[r->nunits - 1] : NULL;
    uint32_t first = last ? last->first_op + last->nops : 0;

    assert_true(r->nunits < UNITS_MAX);
    r->units[r->nunits++] = (pigeon_unit){ .size = sizeof(pigeon_unit),
                                           .flags = r->flags,
                                           .fence_client = text(""),
                                           .first_op = first,
                                           .nops = r->nops - first };
    r->flags = 0;
}

static void batch_end(struct rig *r)
{
    memset(r->ops, 0x55, r->nops * sizeof(*r->ops)); /* the store must not look any more */
    memset(r->rcpts, 0x55, r->nrcpts * sizeof(*r->rcpts));
    for (uint32_t i = 0; i < r->n_held; i++)
        msg_unref(r->messages[i]);
    r->n_held = r->nops = r->nrcpts = 0;
}

int32_t commit(struct rig *r)
{
    pigeon_unit *last = r->nunits ? &r->units[r->nunits - 1] : NULL;

    if (r->nops > (last ? last->first_op + last->nops : 0) || !last)
        unit_end(r);
    pigeon_batch batch = { .size = sizeof(batch),
                           .durability = PIGEON_DURABILITY_OS,
                           .token = ++r->next_token,
                           .nunits = r->nunits,
                           .unit_stride = sizeof(pigeon_unit),
                           .nops = r->nops,
                           .op_stride = sizeof(pigeon_op) };
    batch.units = r->units;
    batch.ops = r->ops;
    pthread_mutex_lock(&r->lock);
    r->token = batch.token;
    r->has_results = false;
    pthread_mutex_unlock(&r->lock);
    int32_t status = r->store->submit(r->self, &batch);
    pthread_mutex_lock(&r->lock);
    if (status != PIGEON_PENDING) {
        assert_int_equal(r->token, batch.token); /* one answer, not two */
        r->token = 0;
        r->status = status;
    }
    while (r->token)
        pthread_cond_wait(&r->changed, &r->lock);
    pthread_mutex_unlock(&r->lock);
    r->nunits = 0;
    batch_end(r);
    return r->status;
}

int32_t unit_status(const struct rig *r, uint32_t unit)
{
    return r->has_results && r->status == PIGEON_OK ? r->results[unit].status : r->status;
}

uint32_t unit_gone(const struct rig *r, uint32_t unit)
{
    return r->has_results ? r->results[unit].gone : 0;
}

void commit_ok(struct rig *r)
{
    uint32_t n = r->nunits + 1;

    assert_int_equal(commit(r), PIGEON_OK);
    for (uint32_t i = 0; r->has_results && i < n - 1; i++)
        assert_int_equal(r->results[i].status, PIGEON_OK);
}

/* ---- scans ----------------------------------------------------------------------------------- */

int32_t scan_with(struct rig *r, const pigeon_scan *like)
{
    pigeon_scan scan = *like;
    uint32_t n_seen = 0;

    rows_clear(r);
    scan.size = sizeof(scan);
    scan.token = ++r->next_token;
    scan.credit = r->credit_step ? r->credit_step : UINT32_MAX;
    pthread_mutex_lock(&r->lock);
    r->scan_token = scan.token;
    r->scan_done = r->scan_cancelled = false;
    r->credit = scan.credit;
    pthread_mutex_unlock(&r->lock);
    int32_t status = r->store->scan(r->self, &scan);
    pthread_mutex_lock(&r->lock);
    if (status != PIGEON_PENDING) {
        r->scan_done = true;
        r->scan_status = status;
    }
    while (!r->scan_done || n_seen < r->n_rows) {
        if (n_seen < r->n_rows) {
            struct seen row = r->rows[n_seen++];

            pthread_mutex_unlock(&r->lock);
            if (r->on_row)
                r->on_row(r, &row);
            pthread_mutex_lock(&r->lock);
        } else if (r->credit_step && !r->credit) {
            r->credit = r->credit_step;
            pthread_mutex_unlock(&r->lock);
            r->store->more(r->self, scan.token, r->credit_step);
            pthread_mutex_lock(&r->lock);
        } else {
            pthread_cond_wait(&r->changed, &r->lock);
        }
    }
    pthread_mutex_unlock(&r->lock);
    assert_int_equal(r->n_over_credit, 0);
    return r->scan_status;
}

uint32_t scan(struct rig *r, uint32_t what, uint64_t session)
{
    pigeon_scan like = { .what = what, .session = session };

    assert_int_equal(scan_with(r, &like), PIGEON_OK);
    return r->n_rows;
}

const struct seen *row_with_key(const struct rig *r, const char *key)
{
    for (uint32_t i = 0; i < r->n_rows; i++)
        if (strcmp(r->rows[i].key, key) == 0)
            return &r->rows[i];
    isolate_fail("no row with key %s", key);
    return NULL;
}
