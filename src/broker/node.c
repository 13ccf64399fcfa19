/* A remote node: its interests in our index, and the parcels that wait for it. Loop 0 only. */
#include "broker/bus_priv.h"
#include "mqtt/topic.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define PATIENCE     3u
#define ASK_MS       500u /* at least, between two requests to say everything */
#define PATIENCE_MAX (3u * 3600000u)

struct node *node_find(struct bus *bus, uint64_t incarnation)
{
    LIST_FOREACH (l, &bus->nodes) {
        struct node *n = container_of(l, struct node, link);
        if (n->incarnation == incarnation)
            return n;
    }
    return NULL;
}

/* ---- words --------------------------------------------------------------------------------------
 */

int say_hello(struct buf *body, const void *what)
{
    return bus_hello_put(body, what);
}

int say_interest(struct buf *body, const void *what)
{
    return bus_interest_put(body, what);
}

static int say_type(struct buf *body, const void *what)
{
    const enum bus_word_type *type = what;
    return bus_word_put(body, *type);
}

static uint64_t limit_of(const struct node *n)
{
    return (uint64_t)n->bus->broker->config->bus_queue;
}

static void add_queued(struct node *n, int64_t bytes)
{
    n->queued += (uint64_t)bytes;
    bus_count(n->bus, BUS_N_QUEUED, bytes);
    if (n->queued > limit_of(n))
        atomic_fetch_or(&n->bus->full, NODE_BIT(n->number));
}

static void close_open(struct node *n)
{
    message_unref(&n->last);
    if (!n->open)
        return;
    list_append(&n->ready, &n->open->link);
    n->open = NULL;
}

/* The body to write into. */
static struct outgoing_parcel *open_parcel(struct node *n, uint32_t kind)
{
    if (n->open && (n->open->view.kind != kind || buf_len(&n->open->body) >= PARCEL_SIZE))
        close_open(n);
    if (!n->open) {
        n->open = parcel_new(n->bus, n, kind);
        if (n->open)
            add_queued(n, 1);
    }
    return n->open;
}

void node_say(struct node *n, word_fn put, const void *what, size_t room)
{
    if (!n->telling && n->queued + room > 2 * limit_of(n)) {
        n->owes = true;
        return;
    }
    struct outgoing_parcel *p = open_parcel(n, BUS_WORDS);
    size_t before = p ? buf_len(&p->body) : 0;
    if (!p || put(&p->body, what)) {
        n->owes = true;
        return;
    }
    add_queued(n, (int64_t)(buf_len(&p->body) - before));
}

void node_say_only(struct node *n, enum bus_word_type type)
{
    node_say(n, say_type, &type, 8);
}

static void tell_interest(void *ctx, const struct bus_interest *i)
{
    node_say(ctx, say_interest, i, 16 + i->key.len);
}

void node_tell_all(struct node *n, enum bus_welcome welcome)
{
    struct broker *b = n->bus->broker;
    struct bus_hello h = { .node_id = str_from(b->node_id),
                           .period_ms = (uint32_t)b->config->bus_hello_ms,
                           .clock = atomic_load(&n->bus->clock),
                           .welcome = (uint8_t)welcome };
    n->owes = n->queued > limit_of(n); /* later, then */
    if (n->owes)
        return;
    n->telling = true;
    if (welcome)
        close_open(n); /* it comes first in its parcel */
    node_say(n, say_hello, &h, 64 + h.node_id.len);
    node_say_only(n, BUS_INTERESTS_BEGIN);
    pthread_mutex_lock(&b->tree_lock);
    interests_each(n->bus, tell_interest, n);
    pthread_mutex_unlock(&b->tree_lock);
    node_say_only(n, BUS_INTERESTS_END);
    retained_begin(n);
    n->telling = false;
}

void node_ask(struct node *n)
{
    uint64_t now_ms = loop_now_ms(bus_shard(n->bus)->loop);
    if (now_ms < n->ask_again_ms)
        return;
    /* Not in step with whatever loses every n-th parcel. */
    n->ask_again_ms = now_ms + ASK_MS + n->n_asked++ * 211 % ASK_MS;
    node_say_only(n, BUS_ASK);
}

/* ---- messages -----------------------------------------------------------------------------------
 */

static enum offer_result too_much(struct node *n, struct message *m, struct str group)
{
    if (group.len) /* another member may take it */
        return OFFER_REFUSED;
    bus_count(n->bus, BUS_N_DROPPED_QUEUE, 1);
    shard_count(bus_shard(n->bus), N_DROPPED + PIGEON_DROP_QUEUE_FULL, 1);
    events_dropped(bus_shard(n->bus)->hooks, NULL, m, PIGEON_DROP_QUEUE_FULL);
    return OFFER_DROPPED;
}

static enum offer_result no_memory(struct node *n)
{
    bus_count(n->bus, BUS_N_DROPPED_MEMORY, 1);
    return OFFER_DROPPED;
}

static bool is_over(const struct node *n, const struct message *m, size_t size)
{
    uint64_t limit = limit_of(n) * (m->view.qos ? 2 : 1);
    return n->queued > 1 && n->queued + size > limit;
}

enum offer_result node_offer(struct node *n, struct message *m, struct str group, bool plain)
{
    size_t size = bus_message_size(m);
    if (m->view.topic.ptr[0] == '$')
        return OFFER_DROPPED;
    if (n->last != m) {
        if (is_over(n, m, size))
            return too_much(n, m, group);
        struct outgoing_parcel *p = open_parcel(n, BUS_MESSAGES);
        size_t before = p ? buf_len(&p->body) : 0;
        if (!p || bus_message_put(&p->body, m, shard_wall_ms(bus_shard(n->bus)),
                                  n->bus->broker->incarnation, plain, &n->last_place))
            return no_memory(n);
        message_unref(&n->last);
        n->last = message_ref(m);
        p->n_messages++;
        add_queued(n, (int64_t)(buf_len(&p->body) - before));
    } else if (plain) {
        bus_set_plain(&n->open->body, &n->last_place);
    }
    if (!group.len)
        return OFFER_TAKEN;
    if (bus_group_add(&n->open->body, &n->last_place, group))
        return OFFER_REFUSED;
    add_queued(n, 2 + (int64_t)group.len);
    return OFFER_TAKEN;
}

enum offer_result bus_offer(struct shard *s, const struct routed *r, const struct receiver *rcpt)
{
    struct node *n = rcpt->who.slot < s->n_slots ? s->slots[rcpt->who.slot].node : NULL;
    if (r->retract)
        return OFFER_TAKEN; /* it is under way */
    if (!n || n->number != rcpt->who.session) {
        shard_count(s, N_STALE, 1);
        return OFFER_REFUSED;
    }
    return node_offer(n, r->message, rcpt->share ? share_name(rcpt->share) : STR_NULL,
                      !rcpt->share);
}

/* ---- out ----------------------------------------------------------------------------------------
 */

void node_released(struct node *n, size_t bytes)
{
    assert(n->queued >= bytes);
    add_queued(n, -(int64_t)bytes);
    if (n->queued > limit_of(n) / 2)
        return;
    if (atomic_load(&n->bus->full) & NODE_BIT(n->number)) {
        atomic_fetch_and(&n->bus->full, ~NODE_BIT(n->number));
        bus_resume(n->bus);
    }
    if (n->owes)
        node_tell_all(n, BUS_NO_WELCOME);
}

bool node_flush(struct node *n)
{
    struct bus *bus = n->bus;
    close_open(n);
    while (!list_empty(&n->ready))
        if (!bus_send_parcel(bus, container_of(n->ready.next, struct outgoing_parcel, link)))
            return false;
    return true;
}

/* ---- interests ----------------------------------------------------------------------------------
 */

static struct index_who who_of(const struct node *n)
{
    return (struct index_who){ n->number, n->slot, 0 };
}

static void split(struct str key, struct str *r_share, struct str *r_filter)
{
    if (topic_split_share(key, r_share, r_filter) == TOPIC_NOT_SHARED)
        *r_share = STR_NULL;
}

static void forget_interest(struct node *n, struct remote_interest *i)
{
    struct broker *b = n->bus->broker;
    struct str share, filter;
    split(i->key, &share, &filter);
    pthread_mutex_lock(&b->tree_lock);
    index_remove(b->index, 0, filter, share, n->number);
    pthread_mutex_unlock(&b->tree_lock);
    bus_count(n->bus, BUS_N_INTERESTS, -1);
    map_remove(&n->interests, i->key);
    str_free(&i->key);
    free(i);
}

static struct remote_interest *new_interest(struct node *n, struct str key)
{
    struct remote_interest *i = calloc(1, sizeof(*i));
    if (!i || str_dup_r(key, &i->key)) {
        free(i);
        return NULL;
    }
    if (map_put(&n->interests, i->key, i)) {
        str_free(&i->key);
        free(i);
        return NULL;
    }
    bus_count(n->bus, BUS_N_INTERESTS, 1);
    return i;
}

void node_interest(struct node *n, const struct bus_interest *said)
{
    struct broker *b = n->bus->broker;
    struct remote_interest *i = map_get(&n->interests, said->key);
    uint64_t opts = SUB_REMOTE | (said->online ? SUB_ONLINE : 0);
    struct str share, filter;
    if (!said->add) {
        if (i)
            forget_interest(n, i);
        return;
    }
    split(said->key, &share, &filter);
    if (share.len && said->durable)
        opts |=
            SUB_DURABLE; /* chosen when nobody is connected; its QoS is 0, so nothing is stored */
    bool is_known = i && i->flags == (uint32_t)opts;
    if (!i)
        i = new_interest(n, said->key);
    if (!i) {
        bus_count(n->bus, BUS_N_DROPPED_MEMORY, 1);
        n->lost = true;
        return;
    }
    i->round = n->round;
    i->flags = (uint32_t)opts;
    if (is_known)
        return;
    pthread_mutex_lock(&b->tree_lock);
    int r = index_put(b->index, 0, filter, share, who_of(n), opts, 0);
    pthread_mutex_unlock(&b->tree_lock);
    if (r >= 0)
        return;
    i->flags = 0; /* the next time it is said */
    n->lost = true;
}

void node_interests_begin(struct node *n)
{
    n->lost = false; /* it says everything from here on */
    n->welcomed = true;
    n->round++;
}

void node_interests_end(struct node *n)
{
    struct remote_interest **old = NULL;
    uint32_t it = 0, n_old = 0;
    for (struct remote_interest *i; (i = map_next(&n->interests, &it));)
        n_old += i->round != n->round;
    if (n_old)
        old = calloc(n_old, sizeof(*old));
    if (!old)
        return;
    it = n_old = 0;
    for (struct remote_interest *i; (i = map_next(&n->interests, &it));)
        if (i->round != n->round)
            old[n_old++] = i;
    while (n_old)
        forget_interest(n, old[--n_old]);
    free(old);
}

/* ---- life ---------------------------------------------------------------------------------------
 */

struct node *node_new(struct bus *bus, uint64_t incarnation, const struct bus_hello *hello)
{
    struct shard *s = bus_shard(bus);
    uint64_t now_ms = shard_now_ms(s);
    struct node *n = bus->n_nodes < NODES_MAX ? calloc(1, sizeof(*n)) : NULL;
    if (!n)
        return NULL;
    if (str_dup_r(hello->node_id, &n->id) || shard_take_slot(s, &n->slot)) {
        str_free(&n->id);
        free(n);
        return NULL;
    }
    while (bus->places & UINT64_C(1) << n->place)
        n->place++;
    bus->places |= UINT64_C(1) << n->place;
    s->slots[n->slot].node = n;
    n->bus = bus;
    n->incarnation = incarnation;
    n->number = NODE_NUMBER | bus->next_number++ * PLACES | n->place;
    n->heard_ms = now_ms;
    n->patience_ms = hello->period_ms < PATIENCE_MAX / PATIENCE
                         ? (uint64_t)hello->period_ms * PATIENCE
                         : PATIENCE_MAX;
    n->seq_out = now_ms << 20; /* above all that an earlier life of this link has used */
    list_init(&n->ready);
    map_init(&n->interests, &bus->broker->hash_key);
    list_append(&bus->nodes, &n->link);
    bus->n_nodes++;
    bus_count(bus, BUS_N_NODES, 1);
    log_info(bus->log, "node_up", LS("node", n->id), LU("incarnation", incarnation));
    return n;
}

static uint64_t drop_parcels(struct node *n)
{
    struct bus *bus = n->bus;
    uint64_t lost = 0;
    close_open(n);
    for (struct list *l; (l = list_pop(&n->ready));) {
        struct outgoing_parcel *p = container_of(l, struct outgoing_parcel, link);
        lost += p->n_messages;
        parcel_free(&p);
    }
    LIST_FOREACH (l, &bus->under_way) {
        struct outgoing_parcel *p = container_of(l, struct outgoing_parcel, link);
        if (p->node == n)
            p->node = NULL;
    }
    bus_count(bus, BUS_N_DROPPED_DOWN, (int64_t)lost);
    return lost;
}

void node_free(struct node *n)
{
    uint32_t it = 0;
    drop_parcels(n);
    for (struct remote_interest *i; (i = map_next(&n->interests, &it));) {
        str_free(&i->key);
        free(i);
    }
    map_fini(&n->interests);
    if (n->syncing)
        retained_scan_fini(&n->scan);
    str_free(&n->id);
    free(n);
}

/* All interests leave the index in one go. */
static void forget_all(struct node *n)
{
    struct broker *b = n->bus->broker;
    uint32_t it = 0;
    pthread_mutex_lock(&b->tree_lock);
    for (struct remote_interest *i; (i = map_next(&n->interests, &it));) {
        struct str share, filter;
        split(i->key, &share, &filter);
        index_remove(b->index, 0, filter, share, n->number);
    }
    pthread_mutex_unlock(&b->tree_lock);
    bus_count(n->bus, BUS_N_INTERESTS, -(int64_t)map_count(&n->interests));
}

void node_gone(struct node **r_n, const char *why)
{
    struct node *n = *r_n;
    struct bus *bus = n->bus;
    *r_n = NULL;
    forget_all(n);
    shard_give_slot(bus_shard(bus), n->slot);
    list_remove(&n->link);
    bus->n_nodes--;
    bus->places &= ~(UINT64_C(1) << n->place);
    bus_count(bus, BUS_N_NODES, -1);
    bus_count(bus, BUS_N_QUEUED, -(int64_t)n->queued);
    uint64_t lost = drop_parcels(n);
    log_warn(bus->log, "node_gone", LS("node", n->id), LU("incarnation", n->incarnation),
             LZ("reason", why), LU("messages_lost", lost));
    if (atomic_fetch_and(&bus->full, ~NODE_BIT(n->number)) & NODE_BIT(n->number))
        bus_resume(bus);
    node_free(n);
}
