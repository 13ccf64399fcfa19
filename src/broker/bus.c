#include "broker/bus.h"
#include "broker/bus_priv.h"
#include <errno.h>
#include <stdlib.h>

#define CLOCK_SHIFT       16 /* so many bits count within a millisecond */
#define PARCELS_PER_ROUND 64u
#define TICKS_PER_HELLO   3u
#define EAGER_MS          50u
#define AGAIN_MIN_MS      5u
#define AGAIN_MAX_MS      100u

/* ---- the clock ----------------------------------------------------------------------------------
 */

void bus_clock_heard(struct bus *bus, uint64_t clock)
{
    uint64_t now = atomic_load(&bus->clock);
    while (clock > now && !atomic_compare_exchange_weak(&bus->clock, &now, clock))
        ;
}

uint64_t bus_clock(struct bus *bus)
{
    struct loop *here = loop_current();
    uint64_t wall = loop_wall_ms(here ? here : bus_shard(bus)->loop) << CLOCK_SHIFT;
    uint64_t now = atomic_load(&bus->clock), next;
    do
        next = wall > now ? wall : now + 1;
    while (!atomic_compare_exchange_weak(&bus->clock, &now, next));
    return next;
}

/* ---- parcels ------------------------------------------------------------------------------------
 */

struct outgoing_parcel *parcel_new(struct bus *bus, struct node *node, uint32_t kind)
{
    struct outgoing_parcel *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    buf_init(&p->body);
    if (bus_body_begin(&p->body)) {
        free(p);
        return NULL;
    }
    list_init(&p->link);
    p->bus = bus;
    p->node = node;
    p->view = (pigeon_parcel){
        .size = sizeof(p->view),
        .kind = kind,
        .from = bus->broker->incarnation,
        .to = node ? node->incarnation : 0,
    };
    return p;
}

void parcel_free(struct outgoing_parcel **r_p)
{
    struct outgoing_parcel *p = *r_p;
    *r_p = NULL;
    if (!p)
        return;
    list_remove(&p->link);
    buf_fini(&p->body);
    free(p);
}

static void parcel_end(struct outgoing_parcel *p, bool taken)
{
    struct node *n = p->node;
    size_t size = buf_len(&p->body);
    if (taken) {
        bus_count(p->bus, BUS_N_PARCELS_OUT, 1);
        bus_count(p->bus, BUS_N_BYTES_OUT, (int64_t)size);
        bus_count(p->bus, BUS_N_MESSAGES_OUT, p->n_messages);
    } else {
        bus_count(p->bus, BUS_N_DROPPED_FAILED, 1);
    }
    parcel_free(&p);
    if (n)
        node_released(n, size);
}

/* The engine has taken it, or will not. */
static void on_taken(struct bus_wait *w, int32_t status)
{
    struct outgoing_parcel *p = container_of(w, struct outgoing_parcel, wait);
    struct bus *bus = p->bus;
    bus->under_way_bytes -= buf_len(&p->body);
    parcel_end(p, status == PIGEON_OK);
}

bool bus_send_parcel(struct bus *bus, struct outgoing_parcel *p)
{
    int32_t error = 0;
    if (!p->view.link_seq)
        p->view.link_seq = p->node ? ++p->node->seq_out : ++bus->seq_all;
    p->view.body = (pigeon_bytes){ .ptr = (const uint8_t *)buf_ptr(&p->body),
                                   .len = (uint32_t)buf_len(&p->body) };
    p->wait.done = on_taken;
    switch (bus_door_send(bus_hooks(bus), &p->view, &p->wait, &error)) {
    case BUS_SENT:
        bus->again_ms = AGAIN_MIN_MS;
        list_remove(&p->link);
        parcel_end(p, true);
        return true;
    case BUS_PENDING:
        bus->again_ms = AGAIN_MIN_MS;
        list_remove(&p->link);
        list_append(&bus->under_way, &p->link);
        bus->under_way_bytes += buf_len(&p->body);
        return true;
    case BUS_BUSY: return false;
    default:
        log_warn(bus->log, "bus_parcel_refused", LI("error", error),
                 LU("bytes", buf_len(&p->body)));
        events_error(bus_shard(bus)->hooks, error, "the bus refused a parcel");
        list_remove(&p->link);
        parcel_end(p, false);
        return true;
    }
}

static void try_again(struct bus *bus)
{
    struct loop *loop = bus_shard(bus)->loop;
    timer_arm(loop_timers(loop), &bus->again, loop_now_ms(loop) + bus->again_ms);
}

static void on_again(struct timer *t, uint64_t now_ms)
{
    struct bus *bus = container_of(t, struct bus, again);
    (void)now_ms; /* the round that follows does it */
    bus->again_ms = bus->again_ms * 2 > AGAIN_MAX_MS ? AGAIN_MAX_MS : bus->again_ms * 2;
}

static bool flush_all(struct bus *bus)
{
    bool is_free = true;
    while (is_free && !list_empty(&bus->ready_all))
        is_free =
            bus_send_parcel(bus, container_of(bus->ready_all.next, struct outgoing_parcel, link));
    LIST_FOREACH_SAFE (l, &bus->nodes)
        is_free &= node_flush(container_of(l, struct node, link));
    return is_free;
}

/* ---- hello --------------------------------------------------------------------------------------
 */

static void hello_everybody(struct bus *bus)
{
    struct bus_hello h = { .node_id = str_from(bus->broker->node_id),
                           .period_ms = (uint32_t)bus->broker->config->bus_hello_ms,
                           .clock = atomic_load(&bus->clock) };
    struct outgoing_parcel *p =
        list_empty(&bus->ready_all) ? parcel_new(bus, NULL, BUS_WORDS) : NULL;
    if (p && !bus_hello_put(&p->body, &h))
        list_append(&bus->ready_all, &p->link);
    else
        parcel_free(&p);          /* one that has not left yet says the same */
    LIST_FOREACH (l, &bus->nodes) /* shows it what it has missed at the end */
        node_say(container_of(l, struct node, link), say_hello, &h, 64 + h.node_id.len);
}

static void look_after(struct bus *bus, uint64_t now_ms)
{
    bool slept = now_ms - bus->last_tick_ms >
                 2 * (uint64_t)bus->broker->config->bus_hello_ms / TICKS_PER_HELLO + 1000;
    LIST_FOREACH_SAFE (l, &bus->nodes) {
        struct node *n = container_of(l, struct node, link);
        if (slept)
            n->heard_ms = now_ms; /* nobody could be heard */
        if (now_ms - n->heard_ms > n->patience_ms)
            node_gone(&n, "not heard any more");
        else if (n->lost)
            node_ask(n);
    }
}

/* An engine may be up before the others hear us: at first hellos follow closely. */
static void on_tick(struct timer *t, uint64_t now_ms)
{
    struct bus *bus = container_of(t, struct bus, tick);
    uint64_t every = (uint64_t)bus->broker->config->bus_hello_ms / TICKS_PER_HELLO;
    bool is_eager = bus->eager_ms < every;
    look_after(bus, now_ms);
    bus->n_ticks++;
    if ((is_eager || bus->n_ticks % TICKS_PER_HELLO == 0) && !bus->leaving && atomic_load(&bus->up))
        hello_everybody(bus);
    bus->last_tick_ms = now_ms;
    timer_arm(loop_timers(bus_shard(bus)->loop), t, now_ms + (is_eager ? bus->eager_ms : every));
    if (is_eager)
        bus->eager_ms *= 2;
}

/* ---- up and down --------------------------------------------------------------------------------
 */

static void forget_nodes(struct bus *bus, const char *why)
{
    LIST_FOREACH_SAFE (l, &bus->nodes) {
        struct node *n = container_of(l, struct node, link);
        node_gone(&n, why);
    }
}

static void on_state(void *ctx, bool up, uint64_t dropped, const char *text)
{
    struct bus *bus = ctx;
    bool was = atomic_load(&bus->up);
    bus_count(bus, BUS_N_DROPPED_PLUGIN, (int64_t)dropped);
    if (dropped) {
        log_warn(bus->log, "bus_dropped", LU("parcels", dropped), LZ("reason", text));
        LIST_FOREACH (l, &bus->nodes)
            container_of(l, struct node, link)->lost = true;
    }
    if (was == up)
        return;
    atomic_store(&bus->up, up);
    atomic_store_explicit(&bus->numbers[BUS_N_UP], up, memory_order_relaxed);
    if (up) {
        log_info(bus->log, "bus_up", LZ("reason", text));
        bus->eager_ms = EAGER_MS;
        on_tick(&bus->tick, loop_now_ms(bus_shard(bus)->loop));
        return;
    }
    log_warn(bus->log, "bus_down", LZ("reason", text));
    forget_nodes(bus, "the bus is down");
    for (struct list *l; (l = list_pop(&bus->ready_all));) {
        struct outgoing_parcel *p = container_of(l, struct outgoing_parcel, link);
        parcel_free(&p);
    }
    events_error(bus_shard(bus)->hooks, PIGEON_E_IO, text[0] ? text : "the bus is down");
}

static void on_wake(void *ctx)
{
    struct bus *bus = ctx;
    bus->woken = true;
}

bool bus_refuses(const struct bus *bus)
{
    return bus->broker->config->on_bus_down == CONFIG_REFUSE &&
           !atomic_load_explicit(&bus->up, memory_order_relaxed);
}

/* ---- turns --------------------------------------------------------------------------------------
 */

/* What comes from others waits while this loop's publishes may not go on, either. */
static bool may_take(const struct bus *bus)
{
    struct shard *s = bus_shard(bus);
    struct broker *b = bus->broker;
    return counters_get(&s->counters, N_PUBLISHES) < b->config->concurrency &&
           !(b->credit && credit_is_any_paused(b->credit, s->loop));
}

static bool take_in(struct bus *bus)
{
    bool any = false;
    for (uint32_t i = 0; bus->woken && i < PARCELS_PER_ROUND && may_take(bus); i++) {
        bus->woken = bus_door_run(bus_hooks(bus));
        any |= bus->woken;
    }
    return any;
}

bool bus_turn(struct bus *bus)
{
    bool any = take_in(bus);
    if (!list_empty(&bus->nodes) || !list_empty(&bus->ready_all)) {
        LIST_FOREACH (l, &bus->nodes) {
            struct node *n = container_of(l, struct node, link);
            if (n->syncing)
                any |= retained_portion(n);
        }
        if (!flush_all(bus) && !timer_armed(&bus->again))
            try_again(bus);
    }
    return any;
}

void bus_leave(struct bus *bus)
{
    struct outgoing_parcel *p = parcel_new(bus, NULL, BUS_WORDS);
    bus->leaving = true;
    if (p && !bus_word_put(&p->body, BUS_BYE))
        list_append(&bus->ready_all, &p->link);
    else
        parcel_free(&p);
    LIST_FOREACH_SAFE (l, &bus->nodes) /* what it gets comes before the farewell */
        node_flush(container_of(l, struct node, link));
    flush_all(bus);
}

/* ---- those who wait -----------------------------------------------------------------------------
 */

static void on_resume(struct loop *here, struct mail *m)
{
    struct resume_mail *rm = container_of(m, struct resume_mail, mail);
    struct shard *s = &rm->bus->broker->shards[loop_index(here)];
    struct list now = LIST_INIT(now);
    atomic_store(&rm->posted, false);
    list_splice(&now, &s->held_by_bus);
    for (struct list *l; (l = list_pop(&now));) {
        struct client *c = container_of(l, struct client, held_back);
        c->feeds_full_node = false;
        c->ops->unblock(c);
    }
}

void bus_resume(struct bus *bus)
{
    struct broker *b = bus->broker;
    for (uint32_t i = 0; i < b->n_loops; i++)
        if (!atomic_exchange(&bus->resume[i].posted, true))
            loop_post(bus_shard(bus)->loop, i, &bus->resume[i].mail, on_resume);
}

bool bus_holds_back(struct bus *bus, struct client *c)
{
    if (!c->feeds_full_node)
        return false;
    if (!atomic_load(&bus->full)) {
        c->feeds_full_node = false;
        return false;
    }
    if (!list_linked(&c->held_back))
        list_append(&c->shard->held_by_bus, &c->held_back);
    return true;
}

void bus_look_at(struct bus *bus, struct client *c, const struct message *message,
                 const struct match *m)
{
    uint64_t full = atomic_load_explicit(&bus->full, memory_order_relaxed);
    if (!full || !message->view.qos)
        return;
    if (message->view.retain)
        c->feeds_full_node = true;
    for (uint32_t i = m->first[0]; i < m->first[1] && !c->feeds_full_node; i++)
        if (m->rcpts[i].flags & SUB_REMOTE &&
            full & (NODE_BIT(m->rcpts[i].who.session) | COMING_BIT))
            c->feeds_full_node = true;
}

/* Loop 0 sees too late how fast others post: what is on the way counts, too. Called before the
 * post, so that whoever set the bit is followed by a bus_came. */
static size_t add_coming(struct bus *bus, size_t bytes)
{
    uint64_t high = (uint64_t)bus->broker->config->bus_queue / 4;
    if (atomic_fetch_add(&bus->coming, bytes) + bytes > high)
        atomic_fetch_or(&bus->full, COMING_BIT);
    return bytes;
}

size_t bus_coming(struct bus *bus, const struct message *message, const struct receiver *rcpts,
                  uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (rcpts[i].flags & SUB_REMOTE)
            return add_coming(bus, bus_message_size(message));
    return 0;
}

size_t bus_coming_retained(struct bus *bus, const struct message *message)
{
    return add_coming(bus, bus_message_size(message));
}

void bus_came(struct bus *bus, size_t bytes)
{
    uint64_t low = (uint64_t)bus->broker->config->bus_queue / 8;
    uint64_t left = atomic_fetch_sub(&bus->coming, bytes) - bytes;
    if (left > low || !(atomic_load(&bus->full) & COMING_BIT))
        return;
    atomic_fetch_and(&bus->full, ~COMING_BIT);
    bus_resume(bus);
}

/* ---- claims: a client identifier on two nodes ---------------------------------------------------
 */

struct claim {
    struct mail mail;
    struct bus *bus;
    struct bus_client client;
    char id[];
};

static int say_client(struct buf *body, const void *what)
{
    return bus_client_put(body, what);
}

static void on_claim(struct loop *here, struct mail *m)
{
    struct claim *claim = container_of(m, struct claim, mail);
    (void)here;
    LIST_FOREACH (l, &claim->bus->nodes)
        node_say(container_of(l, struct node, link), say_client, &claim->client,
                 32 + claim->client.id.len);
    free(claim);
}

void bus_claim(struct shard *s, struct client *c, struct str id)
{
    struct bus *bus = s->broker->bus;
    if (s->broker->config->bus_takeover != CONFIG_FRESH)
        return;
    c->claimed = bus_clock(bus);
    struct claim *claim = malloc(sizeof(*claim) + id.len);
    if (!claim)
        return;
    memcpy(claim->id, id.ptr, id.len);
    claim->bus = bus;
    claim->client = (struct bus_client){ str_make(claim->id, id.len), c->claimed };
    loop_post(s->loop, 0, &claim->mail, on_claim);
}

/* ---- numbers ------------------------------------------------------------------------------------
 */

uint64_t bus_count_remote(const struct bus *bus)
{
    return atomic_load_explicit(&bus->numbers[BUS_N_INTERESTS], memory_order_relaxed);
}

void bus_metrics(const struct bus *bus, pigeon_metric_fn fn, void *arg)
{
    static const struct {
        const char *name, *help;
        uint32_t kind;
    } rows[BUS_NUMBERS] = {
        [BUS_N_PARCELS_OUT] = { "bus/parcels/sent", "parcels that the bus has taken", 0 },
        [BUS_N_PARCELS_IN] = { "bus/parcels/received", "parcels from other nodes", 0 },
        [BUS_N_BYTES_OUT] = { "bus/bytes/sent", "bytes of parcels sent", 0 },
        [BUS_N_BYTES_IN] = { "bus/bytes/received", "bytes of parcels received", 0 },
        [BUS_N_MESSAGES_OUT] = { "bus/messages/sent", "messages to other nodes", 0 },
        [BUS_N_MESSAGES_IN] = { "bus/messages/received", "messages from other nodes", 0 },
        [BUS_N_HOLES] = { "bus/holes", "parcels that never came", 0 },
        [BUS_N_DROPPED_REPEAT] = { "bus/dropped/repeat", "parcels that came again or too late", 0 },
        [BUS_N_DROPPED_BAD] = { "bus/dropped/bad", "parcels that made no sense", 0 },
        [BUS_N_DROPPED_UNKNOWN] = { "bus/dropped/unknown", "parcels of unknown nodes", 0 },
        [BUS_N_DROPPED_ECHO] = { "bus/dropped/echo", "own parcels that came back", 0 },
        [BUS_N_DROPPED_QUEUE] = { "bus/dropped/queue", "messages for a node with too many waiting",
                                  0 },
        [BUS_N_DROPPED_DOWN] = { "bus/dropped/down", "messages that waited for a node that went",
                                 0 },
        [BUS_N_DROPPED_FAILED] = { "bus/dropped/failed", "parcels that the bus refused", 0 },
        [BUS_N_DROPPED_PLUGIN] = { "bus/dropped/plugin", "parcels that the bus lost", 0 },
        [BUS_N_DROPPED_MEMORY] = { "bus/dropped/memory", "messages for want of memory", 0 },
        [BUS_N_NODES] = { "bus/nodes", "other nodes that are up", PIGEON_METRIC_GAUGE },
        [BUS_N_QUEUED] = { "bus/queued", "bytes waiting for other nodes", PIGEON_METRIC_GAUGE },
        [BUS_N_INTERESTS] = { "bus/interests", "filters of other nodes", PIGEON_METRIC_GAUGE },
        [BUS_N_UP] = { "bus/up", "1: the bus is up", PIGEON_METRIC_GAUGE },
    };
    for (uint32_t i = 0; i < BUS_NUMBERS; i++) {
        pigeon_metric m = { .size = sizeof(m),
                            .kind = rows[i].kind,
                            .plugin = "",
                            .name = rows[i].name,
                            .help = rows[i].help };
        m.value = (int64_t)atomic_load_explicit(&bus->numbers[i], memory_order_relaxed);
        fn(arg, &m);
    }
}

/* ---- life ---------------------------------------------------------------------------------------
 */

int bus_new(struct broker *b, struct bus **r_bus)
{
    *r_bus = NULL;
    if (!bus_door_is_there(b->hooks))
        return 0;
    struct bus *bus = calloc(1, sizeof(*bus));
    if (!bus)
        return -ENOMEM;
    bus->resume = calloc(b->n_loops, sizeof(*bus->resume));
    if (!bus->resume) {
        free(bus);
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < b->n_loops; i++)
        bus->resume[i].bus = bus;
    bus->broker = b;
    bus->log = b->log;
    bus->next_number = 1;
    bus->again_ms = AGAIN_MIN_MS;
    bus->eager_ms = EAGER_MS;
    list_init(&bus->nodes);
    list_init(&bus->ready_all);
    list_init(&bus->under_way);
    list_init(&bus->dirty);
    list_init(&bus->tombstones);
    map_init(&bus->interests, &b->hash_key);
    map_init(&bus->deleted, &b->hash_key);
    timer_init(&bus->tick, on_tick);
    timer_init(&bus->again, on_again);
    *r_bus = bus;
    return 0;
}

int bus_start(struct bus *bus)
{
    static const struct bus_door_ops ops = { bus_parcel, on_state, on_wake };
    struct loop *loop = bus_shard(bus)->loop;
    bus->seq_all = loop_now_ms(loop) << 20;
    bus->last_tick_ms = loop_now_ms(loop);
    bus->woken = true; /* for what arrives while it is being opened */
    timer_arm(loop_timers(loop), &bus->tick,
              bus->last_tick_ms + (uint64_t)bus->broker->config->bus_hello_ms / TICKS_PER_HELLO);
    return bus_door_open(bus_hooks(bus), bus->broker->incarnation, &ops, bus);
}

static void parcels_free(struct list *parcels)
{
    for (struct list *l; (l = list_pop(parcels));) {
        struct outgoing_parcel *p = container_of(l, struct outgoing_parcel, link);
        parcel_free(&p);
    }
}

void bus_free(struct bus **r_bus)
{
    struct bus *bus = *r_bus;
    if (!bus)
        return;
    *r_bus = NULL;
    timer_stop(loop_timers(bus_shard(bus)->loop), &bus->tick);
    timer_stop(loop_timers(bus_shard(bus)->loop), &bus->again);
    for (struct list *l; (l = list_pop(&bus->nodes));)
        node_free(container_of(l, struct node, link));
    parcels_free(&bus->ready_all);
    parcels_free(&bus->under_way);
    interests_free(bus);
    tombstones_free(bus);
    free(bus->resume);
    free(bus);
}
