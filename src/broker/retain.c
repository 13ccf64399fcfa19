#include "broker/retain.h"
#include "broker/broker.h"
#include "broker/deliver.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define PORTION         64u /* messages of one read and turn round */
#define QUEUE_HIGH      64u /* wait while the session has so many queued */
#define READS_PER_ROUND 16u

/* The retained messages of one new subscription, on their way. */
struct retained_read {
    struct list link;        /* client.retained_reads */
    struct list turn;        /* shard.reads */
    struct session *session; /* lives as long as its client, and so does this */
    struct client *client;
    struct retained_scan scan;
    struct str filter; /* owned; what the scan borrows */
    uint32_t id;       /* subscription identifier, 0: none */
    uint8_t qos;
    struct store_wait wait; /* rows of the portion at hand */
    struct delivery *portion[PORTION];
    uint32_t n;
};

static void read_free(struct retained_read *r)
{
    store_wait_cancel(&r->wait);
    for (uint32_t i = 0; i < r->n; i++)
        delivery_free(&r->portion[i]);
    list_remove(&r->link);
    list_remove(&r->turn);
    retained_scan_fini(&r->scan);
    str_free(&r->filter);
    free(r);
}

static void read_end(struct retained_read *r)
{
    struct session *session = r->session;
    read_free(r);
    if (--session->n_reading == 0)
        deliver_unbehind(session);
}

static void on_rows(struct store_wait *w, int status)
{
    (void)w;
    (void)status; /* not stored: it lives in memory until it is acknowledged */
}

int retain_read_start(struct session *session, const struct sub *sub, uint64_t version)
{
    struct retained_read *r = sub ? calloc(1, sizeof(*r)) : NULL;
    if (!r || str_dup_r(sub->effective, &r->filter)) {
        free(r);
        return -ENOMEM;
    }
    r->session = session;
    r->client = session->client;
    r->id = SUB_ID(sub->opts);
    r->qos = SUB_QOS(sub->opts);
    store_wait_init(&r->wait, on_rows);
    retained_scan_init(&r->scan, r->filter, version);
    list_append(&session->client->retained_reads, &r->link);
    list_init(&r->turn);
    session->n_reading++;
    retain_wake(session);
    return 0;
}

static bool on_message(void *ctx, struct message *m, uint64_t version)
{
    struct retained_read *r = ctx;
    struct session *session = r->session;
    assert(version <= r->scan.version); /* what came later comes live [P4.2, P4.3] */
    (void)version;
    if (message_expired(m, shard_wall_ms(session->shard)) || !deliver_is_allowed(session, m))
        return true;
    uint8_t qos = r->qos < m->view.qos ? r->qos : m->view.qos;
    struct message *ref = message_ref(m);
    struct delivery *d = delivery_new(ref, qos, &r->id, r->id ? 1 : 0);
    if (!d) {
        message_unref(&ref);
        return true;
    }
    d->retain = true; /* [MQTT-3.3.1-8 of 3.1.1] */
    r->portion[r->n++] = d;
    return true;
}

/* What goes to a durable session with QoS > 0 is a message of that session: it has its rows like
 * any other. */
static void store_portion(struct retained_read *r)
{
    struct session *session = r->session;
    struct hook_loop *hl = session->shard->hooks;
    uint32_t n = 0;
    if (!session->durable)
        return;
    for (uint32_t i = 0; i < r->n; i++)
        n += r->portion[i]->qos > 0;
    if (!n)
        return;
    store_unit_begin(hl, PIGEON_DURABILITY_OS, 0);
    for (uint32_t i = 0; i < r->n; i++) {
        struct delivery *d = r->portion[i];
        struct store_rcpt rcpt = {
            .session = session->number, .qos = d->qos, .retain = 1, .n_ids = d->n_ids, .ids = d->ids
        };
        if (d->qos)
            store_queue_add(hl, d->message, &rcpt, 1);
    }
    if (store_unit_end(hl, &r->wait))
        return;
    store_submit(hl);
    uint64_t pos = r->wait.pos;
    for (uint32_t i = 0; i < r->n; i++)
        if (r->portion[i]->qos)
            session->backlog.max_in_memory = r->portion[i]->pos = pos++;
    store_wait_cancel(&r->wait);
}

static bool is_stopped(const struct retained_read *r)
{
    const struct client *c = r->client;
    return r->session->out.n_queued >= QUEUE_HIGH || c->ops->is_congested(c);
}

/* Goes on in the next round, unless it has ended or waits for its client. */
static void read_portion(struct retained_read *r)
{
    struct session *session = r->session;
    struct shard *s = session->shard;
    r->n = 0;
    if (retained_scan_run(s->broker->retained, &r->scan, PORTION, on_message, r))
        r->scan.done = true;
    store_portion(r);
    uint32_t n = r->n;
    r->n = 0;
    for (uint32_t i = 0; i < n; i++)
        deliver_append(session, r->portion[i]);
    if (r->scan.done)
        read_end(r);
    deliver_pump(session); /* wakes what may go on: retain_wake */
}

void retain_wake(struct session *session)
{
    struct client *c = session->client;
    if (!c || list_empty(&c->retained_reads))
        return;
    /* One after the other, so that the messages of several filters do not mix up their order. */
    struct retained_read *r = container_of(c->retained_reads.next, struct retained_read, link);
    if (!list_linked(&r->turn) && !is_stopped(r))
        list_append(&session->shard->reads, &r->turn);
}

bool retain_turn(struct shard *s)
{
    bool any = false;
    for (uint32_t i = 0; i < READS_PER_ROUND && !list_empty(&s->reads); i++) {
        struct retained_read *r = container_of(list_pop(&s->reads), struct retained_read, turn);
        read_portion(r);
        any = true;
    }
    return any;
}

void retain_stop(struct client *c, const struct sub *sub)
{
    LIST_FOREACH_SAFE (l, &c->retained_reads) {
        struct retained_read *r = container_of(l, struct retained_read, link);
        if (str_eq(r->filter, sub->effective))
            read_end(r);
    }
}

void retain_client_gone(struct client *c)
{
    struct session *session = c->session;
    for (struct list *l; (l = list_pop(&c->retained_reads));) {
        struct retained_read *r = container_of(l, struct retained_read, link);
        read_free(r);
        session->n_reading--;
    }
    if (session && !list_empty(&session->behind))
        deliver_unbehind(session);
}
