#include "broker/broker.h"
#include "broker/admin_ban.h"
#include "broker/bus.h"
#include "broker/deliver.h"
#include "broker/local.h"
#include "broker/submit.h"
#include "broker/restore.h"
#include "broker/retain.h"
#include "broker/sweep.h"
#include "base/random.h"
#include "hooks/store.h"
#include "wire/reason.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CREDIT_HIGH 65536u /* receivers posted to one loop and not yet dealt with */
#define CREDIT_LOW  (CREDIT_HIGH / 4)

/* ---- turns --------------------------------------------------------------------------------------
 */

static void on_turn_begin(void *ctx)
{
    struct shard *s = ctx;
    epoch_enter(&s->broker->epoch, s->index);
    if (s->hooks)
        hooks_turn_begin(s->hooks);
    if (s->index == 0)
        atomic_store_explicit(&s->broker->now_ms, loop_now_ms(s->loop), memory_order_relaxed);
}

static bool pump_sessions(struct shard *s)
{
    bool any = false;
    struct list now = LIST_INIT(now);
    list_splice(&now, &s->rows_to_pump);
    for (struct list *l; (l = list_pop(&now)); any = true)
        deliver_pump(container_of(l, struct session, pump));
    return any;
}

/* A receiving loop has too much to do: see credit below. */
static bool is_paused(const struct shard *s)
{
    return s->broker->credit && credit_is_any_paused(s->broker->credit, s->loop);
}

/* As many as there is room for; each asks again for its further ones. */
static void release_held_back(struct shard *s)
{
    int64_t room = s->broker->config->concurrency - counters_get(&s->counters, N_PUBLISHES);
    for (; room > 0 && !list_empty(&s->held_back); room--) {
        struct client *c = container_of(list_pop(&s->held_back), struct client, held_back);
        c->ops->unblock(c);
    }
}

static bool close_clients(struct shard *s)
{
    bool any = false;
    for (struct list *l; (l = list_pop(&s->closing)); any = true) {
        struct client *c = container_of(l, struct client, closing);
        c->ops->close(c, c->close_reason, c->close_text);
    }
    return any;
}

/* Read all, run all, submit once, answer: what this makes to be written leaves behind it. */
static bool on_turn_round(void *ctx)
{
    struct shard *s = ctx;
    bool any = submit_turn(s);
    any |= retain_turn(s);
    any |= pump_sessions(s);
    any |= close_clients(s);
    if (s->index == 0 && s->broker->bus)
        any |= bus_turn(s->broker->bus);
    if (!list_empty(&s->held_back) && !is_paused(s))
        release_held_back(s);
    store_submit(s->hooks);
    any |= store_run_answers(s->hooks);
    return any;
}

static void on_turn_end(void *ctx)
{
    struct shard *s = ctx;
    if (s->hooks)
        hooks_turn_end(s->hooks);
    epoch_leave(&s->broker->epoch, s->index);
    epoch_reclaim(&s->broker->epoch, s->index);
}

/* ---- credit: publishers of this loop wait while a receiving loop has too much to do
 * --------------- */

static void on_credit_pause(void *ctx, struct loop *me, uint32_t receiver)
{
    (void)ctx;
    (void)me;
    (void)receiver; /* client_may_publish asks */
}

static void on_credit_resume(void *ctx, struct loop *me, uint32_t receiver)
{
    struct broker *b = ctx;
    (void)receiver;
    release_held_back(&b->shards[loop_index(me)]);
}

bool client_may_publish(struct client *c)
{
    struct shard *s = c->shard;
    if (s->broker->bus && bus_holds_back(s->broker->bus, c))
        return false;
    bool full =
        counters_get(&s->counters, N_PUBLISHES) >= s->broker->config->concurrency || is_paused(s);
    if (full && !list_linked(&c->held_back))
        list_append(&s->held_back, &c->held_back);
    return !full;
}

void shard_publish_done(struct shard *s)
{
    shard_count(s, N_PUBLISHES, -1); /* the end of the round lets those go on who wait */
}

/* ---- life ---------------------------------------------------------------------------------------
 */

static void on_heartbeat(struct timer *t, uint64_t now_ms)
{
    struct shard *s = container_of(t, struct shard, heartbeat);
    timer_arm(loop_timers(s->loop), t, now_ms + (uint64_t)s->broker->config->heartbeat_interval_ms);
    events_heartbeat(s->hooks);
}

static int make_trees(struct broker *b)
{
    int r = hash_key_init(&b->hash_key);
    if (!r)
        r = index_new(&b->epoch, b->n_loops, &b->hash_key, &b->index);
    if (!r)
        r = retained_new(&b->epoch, &b->hash_key, &b->retained);
    return r;
}

static int make_shards(struct broker *b)
{
    static const struct loop_ops ops = { on_turn_begin, on_turn_round, on_turn_end };
    static const struct credit_ops credit_ops = { on_credit_pause, on_credit_resume };
    int r = 0;
    b->shards = calloc(b->n_loops, sizeof(*b->shards));
    if (!b->shards)
        return -ENOMEM;
    for (uint32_t i = 0; i < b->n_loops && !r; i++)
        r = shard_init(&b->shards[i], b, i);
    if (!r && b->n_loops > 1)
        r = credit_new(b->loops, CREDIT_HIGH, CREDIT_LOW, &credit_ops, b, &b->credit);
    for (uint32_t i = 0; i < b->n_loops && !r; i++)
        loop_set_ops(b->shards[i].loop, &ops, &b->shards[i]);
    return r;
}

static int make_hooks(struct broker *b, const struct broker_setup *from)
{
    struct hooks_setup setup = { .config = b->config,
                                 .loops = b->loops,
                                 .log = b->log,
                                 .node_id = b->node_id,
                                 .ops = &local_hooks_ops,
                                 .broker = b,
                                 .thread_begin = from->thread_begin };
    int r = hooks_new(&setup, &b->hooks);
    for (uint32_t i = 0; i < b->n_loops && !r; i++)
        b->shards[i].hooks = hooks_loop(b->hooks, i);
    return r ? r : hooks_create(b->hooks);
}

int broker_new(const struct broker_setup *setup, struct broker **r_broker)
{
    struct broker *b = aligned_alloc(64, (sizeof(*b) + 63) & ~(size_t)63);
    if (!b)
        return -ENOMEM;
    memset(b, 0, sizeof(*b));
    b->config = config_ref(setup->config);
    b->log = setup->log;
    b->loops = setup->loops;
    b->n_loops = loop_group_count(setup->loops);
    b->node_id = setup->node_id;
    b->incarnation = random_u64() >> 1;
    b->on_store_failed = setup->on_store_failed;
    b->close_all = setup->close_all;
    b->reload = setup->reload;
    b->ctx = setup->ctx;
    b->started_ms = loop_now_ms(loop_group_at(b->loops, 0));
    atomic_store(&b->now_ms, b->started_ms);
    b->started_wall_ms = (int64_t)loop_wall_ms(loop_group_at(b->loops, 0));
    atomic_store(&b->next_session, 1);
    atomic_store(&b->next_conn, 1);
    atomic_store(&b->next_message, 1);
    pthread_mutex_init(&b->tree_lock, NULL);
    epoch_init(&b->epoch, b->n_loops);
    int r = make_trees(b);
    if (!r)
        r = bans_new(b, &b->bans);
    if (!r)
        r = make_shards(b);
    if (!r)
        r = make_hooks(b, setup);
    if (!r)
        r = bus_new(b, &b->bus);
    if (!r)
        r = broker_restore(b);
    if (!r)
        r = sweep_new(b, &b->sweep);
    if (!r && b->bus)
        r = bus_start(b->bus);
    if (r) {
        broker_free(&b);
        return r;
    }
    struct shard *first = &b->shards[0];
    timer_init(&first->heartbeat, on_heartbeat);
    if (b->config->heartbeat_interval_ms > 0)
        timer_arm(loop_timers(first->loop), &first->heartbeat,
                  b->started_ms + (uint64_t)b->config->heartbeat_interval_ms);
    *r_broker = b;
    return 0;
}

void broker_free(struct broker **p)
{
    struct broker *b = *p;
    if (!b)
        return;
    sweep_free(&b->sweep);
    if (b->shards && b->config->heartbeat_interval_ms > 0)
        timer_stop(loop_timers(b->shards[0].loop), &b->shards[0].heartbeat);
    for (uint32_t i = 0; b->shards && i < b->n_loops; i++)
        shard_drop_sessions(&b->shards[i]);
    if (b->hooks)
        hooks_free(&b->hooks);
    bus_free(&b->bus);
    for (uint32_t i = 0; b->shards && i < b->n_loops; i++)
        b->shards[i].hooks = NULL;
    for (uint32_t i = 0; b->shards && i < b->n_loops; i++)
        shard_fini(&b->shards[i]);
    bans_free(&b->bans);
    if (b->credit)
        credit_free(&b->credit);
    if (b->index)
        index_free(&b->index);
    if (b->retained)
        retained_free(&b->retained);
    epoch_fini(&b->epoch);
    free(b->shards);
    pthread_mutex_destroy(&b->tree_lock);
    config_unref(&b->config);
    free(b);
    *p = NULL;
}

void broker_set_memory(struct broker *b, uint64_t used, uint64_t limit)
{
    int is_short = limit && used > limit;
    if (atomic_exchange(&b->short_of_memory, is_short) == is_short)
        return;
    if (is_short)
        log_warn(b->log, "memory_high", LU("used", used), LU("limit", limit),
                 LZ("outcome", "new connections and messages are refused"));
    else
        log_info(b->log, "memory_normal", LU("used", used), LU("limit", limit));
}

/* ---- client ids ---------------------------------------------------------------------------------
 */

uint32_t broker_home(const struct broker *b, struct str client_id)
{
    return b->n_loops == 1
               ? 0
               : (uint32_t)(hash_bytes(&b->hash_key, client_id.ptr, client_id.len) % b->n_loops);
}

void broker_make_client_id(struct broker *b, uint32_t loop, char r_id[CLIENT_ID_MADE_MAX])
{
    char id[CLIENT_ID_MADE_MAX];
    do
        snprintf(id, sizeof(id), "pigeon-%016llx", (unsigned long long)random_u64());
    while (broker_home(b, str_from(id)) != loop);
    memcpy(r_id, id, sizeof(id));
}

/* ---- kick ---------------------------------------------------------------------------------------
 */

void broker_kick(struct shard *s, struct str client_id, uint8_t reason, const char *text)
{
    struct session *session = session_find(s, client_id);
    if (session && session->client)
        session->client->ops->close(session->client, reason ? reason : REASON_ADMINISTRATIVE_ACTION,
                                    text && text[0] ? text : NULL);
}

/* ---- numbers ------------------------------------------------------------------------------------
 */

int64_t broker_sum(const struct broker *b, enum counter which)
{
    int64_t n = 0;
    for (uint32_t i = 0; i < b->n_loops; i++)
        n += counters_get(&b->shards[i].counters, which);
    return n;
}

void broker_note_connected(struct broker *b)
{
    int64_t n = broker_sum(b, N_CONNECTED), max = atomic_load(&b->max_connected);
    while (n > max && !atomic_compare_exchange_weak(&b->max_connected, &max, n))
        ;
}

static uint64_t sum(const struct broker *b, enum counter which)
{
    int64_t n = broker_sum(b, which);
    return n > 0 ? (uint64_t)n : 0;
}

void broker_info(struct broker *b, pigeon_info *info)
{
    pigeon_info all = {
        .size = sizeof(all),
        .loops = b->n_loops,
        .version = { .ptr = PIGEON_VERSION, .len = sizeof(PIGEON_VERSION) - 1 },
        .node_id = { .ptr = b->node_id, .len = (uint32_t)strlen(b->node_id) },
        .incarnation = b->incarnation,
        .started_ms = b->started_wall_ms,
        .uptime_ms = (int64_t)(atomic_load(&b->now_ms) - b->started_ms),
        .connections = sum(b, N_CONNECTIONS),
        .clients_connected = sum(b, N_CONNECTED),
        .clients_maximum = (uint64_t)atomic_load(&b->max_connected),
        .sessions = sum(b, N_SESSIONS),
        .subscriptions = index_count(b->index),
        .subscriptions_shared = index_count_shared(b->index),
        .retained_messages = retained_count(b->retained),
        .retained_bytes = retained_bytes(b->retained),
        .queued_messages = sum(b, N_QUEUED),
        .queued_bytes = sum(b, N_QUEUED_BYTES),
        .messages_received = sum(b, N_MESSAGES_IN),
        .messages_sent = sum(b, N_MESSAGES_OUT),
        .bytes_received = sum(b, N_BYTES_IN),
        .bytes_sent = sum(b, N_BYTES_OUT),
        .packets_received = sum(b, N_PACKETS_IN),
        .packets_sent = sum(b, N_PACKETS_OUT),
        .publish_bytes_received = sum(b, N_PAYLOAD_IN),
        .publish_bytes_sent = sum(b, N_PAYLOAD_OUT),
        .sockets_accepted = sum(b, N_ACCEPTED),
        .connects_refused = sum(b, N_REFUSED),
        .clients_expired = sum(b, N_EXPIRED),
        .messages_inflight = sum(b, N_INFLIGHT),
    };
    if (b->bus)
        all.subscriptions -= bus_count_remote(b->bus);
    all.clients_disconnected =
        all.sessions > all.clients_connected ? all.sessions - all.clients_connected : 0;
    for (uint32_t why = 1; why < PIGEON_DROP_COUNT; why++) {
        all.dropped_by_reason[why] = sum(b, (enum counter)(N_DROPPED + why));
        all.messages_dropped += all.dropped_by_reason[why];
    }
    uint32_t size = info->size < sizeof(all) ? info->size : (uint32_t)sizeof(all);
    memcpy(info, &all, size);
    info->size = size;
}

uint32_t broker_durability(const struct broker *b)
{
    return (uint32_t)config_durability_most(b->config);
}

void broker_metrics(struct broker *b, pigeon_metric_fn fn, void *arg)
{
    static const struct {
        enum counter which;
        const char *name, *help;
    } rows[] = {
        { N_QUEUED, "queue/memory/messages", "messages in queues, in memory" },
        { N_QUEUED_BYTES, "queue/memory/bytes", "their bytes" },
        { N_STORED, "queue/store/messages", "messages in queues that are in the store only" },
        { N_STORED_BYTES, "queue/store/bytes", "their bytes, once they are in memory" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        pigeon_metric m = { .size = sizeof(m),
                            .kind = PIGEON_METRIC_GAUGE,
                            .plugin = "",
                            .name = rows[i].name,
                            .help = rows[i].help,
                            .value = (int64_t)sum(b, rows[i].which) };
        fn(arg, &m);
    }
}
