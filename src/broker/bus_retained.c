/* Retained messages in several nodes: each keeps all of them. The newest wins by (time,
 * incarnation); deletions are remembered for a while, so that an older message does not come back.
 */
#include "broker/bus_priv.h"
#include <errno.h>
#include <stdlib.h>

#define TOMBSTONES_MAX 65536u
#define TOMBSTONE_MS   3600000
#define PORTION        64u

struct tombstone {
    struct list link; /* bus.tombstones, oldest first */
    struct str topic; /* owned */
    int64_t stamp_ms;
    uint64_t node;
    uint64_t made_ms; /* of the loop's clock */
};

/* ---- deletions [tree lock] ----------------------------------------------------------------------
 */

static void tombstone_free(struct bus *bus, struct tombstone *t)
{
    map_remove(&bus->deleted, t->topic);
    list_remove(&t->link);
    str_free(&t->topic);
    free(t);
}

void tombstones_free(struct bus *bus)
{
    while (!list_empty(&bus->tombstones))
        tombstone_free(bus, container_of(bus->tombstones.next, struct tombstone, link));
    map_fini(&bus->deleted);
}

static void remember(struct shard *s, const struct message *m, uint64_t node)
{
    struct bus *bus = s->broker->bus;
    struct tombstone *t = map_get(&bus->deleted, message_topic(m));
    if (t)
        tombstone_free(bus, t);
    while (!list_empty(&bus->tombstones)) {
        struct tombstone *old = container_of(bus->tombstones.next, struct tombstone, link);
        if (map_count(&bus->deleted) < TOMBSTONES_MAX &&
            shard_now_ms(s) < old->made_ms + TOMBSTONE_MS)
            break;
        tombstone_free(bus, old);
    }
    t = calloc(1, sizeof(*t));
    if (!t || str_dup_r(message_topic(m), &t->topic)) {
        free(t);
        return;
    }
    list_init(&t->link);
    t->stamp_ms = m->view.received_ms;
    t->node = node;
    t->made_ms = shard_now_ms(s);
    if (map_put(&bus->deleted, t->topic, t)) {
        str_free(&t->topic);
        free(t);
        return;
    }
    list_append(&bus->tombstones, &t->link);
}

/* ---- which one is newer [tree lock] -------------------------------------------------------------
 */

struct stamp {
    int64_t ms;
    uint64_t node;
};

static struct stamp stamp_of(const struct broker *b, const struct message *m)
{
    return (struct stamp){ m->view.received_ms,
                           m->view.id.node ? m->view.id.node : b->incarnation };
}

static bool is_newer(struct stamp a, struct stamp b)
{
    return a.ms != b.ms ? a.ms > b.ms : a.node > b.node;
}

/* The stamp of what there is, or was. false: nothing is known. */
static bool known_stamp(struct broker *b, struct str topic, struct stamp *r_stamp)
{
    struct tombstone *t = map_get(&b->bus->deleted, topic);
    struct message *now = retained_get(b->retained, topic);
    if (now)
        *r_stamp = stamp_of(b, now);
    if (t && (!now || is_newer((struct stamp){ t->stamp_ms, t->node }, *r_stamp)))
        *r_stamp = (struct stamp){ t->stamp_ms, t->node };
    bool any = now || t;
    message_unref(&now);
    return any;
}

static struct message *dated_later(const struct message *m, int64_t ms)
{
    struct message_parts parts;
    message_parts(m, &parts);
    parts.received_ms = ms;
    return message_new(&parts);
}

int bus_date(struct shard *s, struct message **message)
{
    struct broker *b = s->broker;
    struct message *m = *message;
    struct str topic = message_topic(m);
    struct stamp known, mine = stamp_of(b, m);
    if (topic.ptr[0] == '$')
        return 1;
    if (known_stamp(b, topic, &known) && !is_newer(mine, known)) {
        if (m->view.origin == PIGEON_ORIGIN_BUS)
            return 0;
        /* What is written here comes after what was seen here, whatever the clocks say. */
        struct message *later = dated_later(m, known.ms + 1);
        if (!later)
            return -ENOMEM;
        message_unref(message);
        *message = m = later;
        mine = stamp_of(b, m);
    }
    struct tombstone *t = map_get(&b->bus->deleted, message_topic(m));
    if (m->view.payload.len == 0)
        remember(s, m, mine.node);
    else if (t)
        tombstone_free(b->bus, t);
    return 1;
}

/* ---- live changes -------------------------------------------------------------------------------
 */

struct retained_mail {
    struct mail mail;
    struct bus *bus;
    struct message *message; /* reference */
    size_t bytes;
};

static void offer_all(struct bus *bus, struct message *m)
{
    LIST_FOREACH (l, &bus->nodes)
        node_offer(container_of(l, struct node, link), m, STR_NULL, true);
}

static void on_retained(struct loop *here, struct mail *m)
{
    struct retained_mail *rm = container_of(m, struct retained_mail, mail);
    offer_all(rm->bus, rm->message);
    bus_came(rm->bus, rm->bytes);
    if (rm->bus->broker->credit)
        credit_sub(rm->bus->broker->credit, here, 1);
    message_unref(&rm->message);
    free(rm);
}

void bus_retained(struct shard *s, struct message *message)
{
    struct broker *b = s->broker;
    if (message->view.origin == PIGEON_ORIGIN_BUS || message->view.topic.ptr[0] == '$')
        return;
    if (s->index == 0) {
        offer_all(b->bus, message);
        return;
    }
    struct retained_mail *rm = malloc(sizeof(*rm));
    if (!rm) {
        bus_count(b->bus, BUS_N_DROPPED_MEMORY, 1);
        return;
    }
    message_share(message);
    rm->bus = b->bus;
    rm->message = message_ref(message);
    rm->bytes = bus_coming_retained(b->bus, message);
    credit_add(b->credit, s->loop, 0, 1);
    loop_post(s->loop, 0, &rm->mail, on_retained);
}

/* ---- telling all of them ------------------------------------------------------------------------
 */

struct retained_word {
    struct node *n;
    const struct message *m;
};

static int say_retained(struct buf *body, const void *what)
{
    const struct retained_word *w = what;
    const struct bus *bus = w->n->bus;
    return bus_retained_put(body, w->m, shard_wall_ms(bus_shard(bus)), bus->broker->incarnation);
}

static int say_deleted(struct buf *body, const void *what)
{
    return bus_deleted_put(body, what);
}

void retained_begin(struct node *n)
{
    struct broker *b = n->bus->broker;
    if (n->syncing)
        retained_scan_fini(&n->scan);
    n->syncing = true;
    retained_scan_init(&n->scan, STR("#"), retained_version(b->retained));
    pthread_mutex_lock(&b->tree_lock);
    LIST_FOREACH (l, &n->bus->tombstones) {
        struct tombstone *t = container_of(l, struct tombstone, link);
        struct bus_deleted d = { t->topic, t->stamp_ms, t->node };
        node_say(n, say_deleted, &d, 32 + d.topic.len);
    }
    pthread_mutex_unlock(&b->tree_lock);
}

static bool has_room(const struct node *n)
{
    return n->queued <= (uint64_t)n->bus->broker->config->bus_queue / 2;
}

static bool on_message(void *ctx, struct message *m, uint64_t version)
{
    struct node *n = ctx;
    (void)version;
    if (!has_room(n))
        return false;
    struct retained_word w = { n, m };
    if (!message_expired(m, shard_wall_ms(bus_shard(n->bus))))
        node_say(n, say_retained, &w, bus_message_size(m));
    return true;
}

bool retained_portion(struct node *n)
{
    if (!has_room(n))
        return false;
    if (retained_scan_run(n->bus->broker->retained, &n->scan, PORTION, on_message, n))
        return false; /* no memory: in another turn */
    if (!n->scan.done)
        return has_room(n);
    retained_scan_fini(&n->scan);
    n->syncing = false;
    node_say_only(n, BUS_RETAINED_END);
    return true;
}
