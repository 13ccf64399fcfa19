/* What other nodes say. Loop 0 only. */
#include "broker/bus_priv.h"
#include "wire/reason.h"
#include <errno.h>
#include <stdlib.h>

#define HOLE_MAX (UINT64_C(1) << 20)

/* ---- messages -----------------------------------------------------------------------------------
 */

static struct bus_pick *pick_new(struct bus_message *m)
{
    struct cursor left = m->groups;
    size_t text = 0;
    for (uint32_t i = 0; i < m->n_groups; i++)
        text += bus_group_next(m).len;
    struct bus_pick *pick = malloc(sizeof(*pick) + m->n_groups * sizeof(pick->groups[0]) + text);
    if (!pick)
        return NULL;
    char *at = (char *)&pick->groups[m->n_groups];
    pick->plain = m->plain;
    pick->n_groups = m->n_groups;
    m->groups = left;
    for (uint32_t i = 0; i < m->n_groups; i++) {
        struct str group = bus_group_next(m);
        memcpy(at, group.ptr, group.len);
        pick->groups[i] = str_make(at, group.len);
        at += group.len;
    }
    return pick;
}

static void publish(struct bus *bus, struct bus_message *in)
{
    struct shard *s = bus_shard(bus);
    if (in->expires_in_ms)
        in->parts.expires_ms = shard_wall_ms(s) + in->expires_in_ms;
    in->parts.shared = bus->broker->n_loops > 1;
    struct message *m = message_new(&in->parts);
    struct bus_pick *pick = m ? pick_new(in) : NULL;
    if (!pick) {
        message_unref(&m);
        bus_count(bus, BUS_N_DROPPED_MEMORY, 1);
        return;
    }
    publish_start_from_bus(s, m, pick);
}

/* Nothing of a parcel that is wrong somewhere is believed. */
static int check_messages(struct cursor c)
{
    struct bus_message m;
    int r;
    while ((r = bus_message_next(&c, &m)) == 1)
        ;
    return r;
}

static int take_messages(struct bus *bus, struct cursor c)
{
    struct bus_message m;
    if (check_messages(c))
        return -EINVAL;
    while (bus_message_next(&c, &m) == 1) {
        bus_count(bus, BUS_N_MESSAGES_IN, 1);
        publish(bus, &m);
    }
    return 0;
}

static void take_deleted(struct bus *bus, const struct bus_deleted *d)
{
    struct bus_message m = { .parts = { .topic = d->topic,
                                        .retain = 1,
                                        .origin = PIGEON_ORIGIN_BUS,
                                        .received_ms = d->stamp_ms,
                                        .id = { .node = d->node } } };
    publish(bus, &m);
}

/* ---- claims -------------------------------------------------------------------------------------
 */

struct foreign_claim {
    struct mail mail;
    struct bus *bus;
    uint64_t stamp, node;
    uint32_t len;
    char id[];
};

static void on_foreign_claim(struct loop *here, struct mail *m)
{
    struct foreign_claim *f = container_of(m, struct foreign_claim, mail);
    struct broker *b = f->bus->broker;
    struct shard *s = &b->shards[loop_index(here)];
    struct session *session = session_find(s, str_make(f->id, f->len));
    struct client *c = session ? session->client : NULL;
    bool is_later =
        c && (c->claimed != f->stamp ? f->stamp > c->claimed : f->node > b->incarnation);
    if (is_later && b->config->bus_takeover == CONFIG_FRESH && !s->stopping)
        c->ops->close(c, REASON_SESSION_TAKEN_OVER, "this client id is connected to another node");
    free(f);
}

static void take_client(struct bus *bus, const struct node *n, const struct bus_client *client)
{
    struct foreign_claim *f = malloc(sizeof(*f) + client->id.len);
    bus_clock_heard(bus, client->stamp);
    if (!f)
        return;
    *f = (struct foreign_claim){
        .bus = bus, .stamp = client->stamp, .node = n->incarnation, .len = client->id.len
    };
    memcpy(f->id, client->id.ptr, client->id.len);
    loop_post(bus_shard(bus)->loop, broker_home(bus->broker, client->id), &f->mail,
              on_foreign_claim);
}

/* ---- hello --------------------------------------------------------------------------------------
 */

static bool is_retired(const struct bus *bus, uint64_t incarnation)
{
    for (uint32_t i = 0; i < bus->n_retired && i < RETIRED_MAX; i++)
        if (bus->retired[i] == incarnation)
            return true;
    return false;
}

static void retire(struct bus *bus, const struct bus_hello *h)
{
    LIST_FOREACH_SAFE (l, &bus->nodes) {
        struct node *old = container_of(l, struct node, link);
        if (!str_eq(old->id, h->node_id))
            continue;
        bus->retired[bus->n_retired++ % RETIRED_MAX] = old->incarnation;
        node_gone(&old, "it has started anew");
    }
}

/* A node we have not heard of. NULL: it is not to be known. */
static struct node *meet(struct bus *bus, const pigeon_parcel *parcel, const struct bus_hello *h)
{
    if (str_eq(h->node_id, str_from(bus->broker->node_id)) || is_retired(bus, parcel->from)) {
        log_warn(bus->log, "bus_node_id_twice", LS("node", h->node_id),
                 LU("incarnation", parcel->from),
                 LZ("help", "give each node an id of its own; this one is not listened to"));
        bus_count(bus, BUS_N_DROPPED_UNKNOWN, 1);
        return NULL;
    }
    retire(bus, h);
    struct node *n = node_new(bus, parcel->from, h);
    if (!n) {
        log_warn(bus->log, "bus_too_many_nodes", LS("node", h->node_id));
        return NULL;
    }
    node_tell_all(n, BUS_WELCOME);
    return n;
}

/* It may have forgotten us and everything it was told. */
static void take_welcome(struct node *n, const struct bus_hello *h)
{
    bool again = n->welcomed && h->welcome == BUS_WELCOME;
    n->welcomed = true;
    if (again)
        node_tell_all(n, BUS_WELCOME_BACK);
}

/* ---- words --------------------------------------------------------------------------------------
 */

static int take_word(struct bus *bus, struct node *n, uint32_t type, struct cursor *c)
{
    struct bus_interest interest;
    struct bus_message message;
    struct bus_deleted deleted;
    struct bus_client client;
    struct bus_hello hello;
    int r = 0;
    switch (type) {
    case BUS_HELLO:
        if (!(r = bus_hello_get(c, &hello)))
            bus_clock_heard(bus, hello.clock);
        if (!r && hello.welcome)
            take_welcome(n, &hello);
        break;
    case BUS_INTERESTS_BEGIN: node_interests_begin(n); break;
    case BUS_INTEREST:
        if (!(r = bus_interest_get(c, &interest)))
            node_interest(n, &interest);
        break;
    case BUS_INTERESTS_END: node_interests_end(n); break;
    case BUS_RETAINED:
        if (!(r = bus_retained_get(c, &message))) {
            message.parts.retain = 1;
            publish(bus, &message);
        }
        break;
    case BUS_RETAINED_DEL:
        if (!(r = bus_deleted_get(c, &deleted)))
            take_deleted(bus, &deleted);
        break;
    case BUS_ASK: node_tell_all(n, BUS_NO_WELCOME); break;
    case BUS_CLIENT:
        if (!(r = bus_client_get(c, &client)))
            take_client(bus, n, &client);
        break;
    default: break; /* RETAINED_END, and what newer nodes say */
    }
    return r;
}

static int take_words(struct bus *bus, struct node *n, struct cursor c)
{
    struct cursor content;
    uint32_t type;
    int r;
    while ((r = bus_word_next(&c, &type, &content)) == 1) {
        if (type == BUS_BYE) {
            node_gone(&n, "it has stopped");
            return 0;
        }
        r = take_word(bus, n, type, &content);
        if (r < 0)
            return r;
    }
    return r;
}

/* The hello at the beginning of a parcel of words; false: there is none. */
static bool first_hello(const pigeon_parcel *parcel, struct cursor c, struct bus_hello *r_hello)
{
    struct cursor content;
    uint32_t type;
    return parcel->kind == BUS_WORDS && bus_word_next(&c, &type, &content) == 1 &&
           type == BUS_HELLO && bus_hello_get(&content, r_hello) == 0;
}

/* ---- parcels ------------------------------------------------------------------------------------
 */

/* The numbers of a link: false if this parcel has been here, or came after a later one. */
static bool is_next(struct bus *bus, struct node *n, const pigeon_parcel *parcel, bool is_welcome)
{
    uint64_t *last = parcel->to ? &n->seq_in : &n->seq_in_all;
    uint64_t before = *last;
    if (before && parcel->link_seq <= before) {
        bus_count(bus, BUS_N_DROPPED_REPEAT, 1);
        return false;
    }
    *last = parcel->link_seq;
    bool hole = before && parcel->link_seq != before + 1 && !is_welcome;
    if (hole) {
        uint64_t missing = parcel->link_seq - before - 1;
        if (missing > HOLE_MAX) /* the link began anew, and its welcome was lost */
            missing = 1;
        bus_count(bus, BUS_N_HOLES, (int64_t)missing);
        log_info(bus->log, "bus_hole", LS("node", n->id), LU("parcels", missing),
                 LU("directed", parcel->to != 0));
    }
    if (parcel->to && (hole || (!n->welcomed && !is_welcome))) {
        n->lost = true;
        node_ask(n);
    }
    return true;
}

static void bad(struct bus *bus, const pigeon_parcel *parcel, const char *why)
{
    bus_count(bus, BUS_N_DROPPED_BAD, 1);
    log_warn(bus->log, "bus_parcel_bad", LU("incarnation", parcel->from), LU("kind", parcel->kind),
             LU("bytes", parcel->body.len), LZ("reason", why));
}

void bus_parcel(void *ctx, const pigeon_parcel *parcel)
{
    struct bus *bus = ctx;
    uint64_t me = bus->broker->incarnation;
    struct bus_hello hello = { 0 };
    struct cursor c;
    if (parcel->from == me) {
        bus_count(bus, BUS_N_DROPPED_ECHO, 1);
        return;
    }
    if (bus->leaving || (parcel->to && parcel->to != me) || parcel->kind == BUS_ECHO)
        return;
    bus_count(bus, BUS_N_PARCELS_IN, 1);
    bus_count(bus, BUS_N_BYTES_IN, parcel->body.len);
    int r = bus_body_open(&c, str_make(parcel->body.ptr, parcel->body.len));
    if (r || parcel->kind > BUS_ECHO || !parcel->from || !parcel->link_seq) {
        bad(bus, parcel, r == -ENOTSUP ? "a version that is not known here" : "damaged head");
        return;
    }
    bool has_hello = first_hello(parcel, c, &hello);
    struct node *n = node_find(bus, parcel->from);
    if (!n && has_hello)
        n = meet(bus, parcel, &hello);
    else if (!n)
        bus_count(bus, BUS_N_DROPPED_UNKNOWN, 1); /* its next hello makes it known */
    if (!n || !is_next(bus, n, parcel, has_hello && hello.welcome))
        return;
    n->heard_ms = shard_now_ms(bus_shard(bus));
    r = parcel->kind == BUS_WORDS ? take_words(bus, n, c) : take_messages(bus, c);
    if (r < 0)
        bad(bus, parcel, "damaged body");
}
