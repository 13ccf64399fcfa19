#include "mqtt/outgoing.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define SLOTS_MIN 16u

void outgoing_init(struct outgoing *o)
{
    *o = (struct outgoing){ 0 };
    list_init(&o->queue);
    list_init(&o->inflight);
}

static void free_all(struct list *head)
{
    struct list *l;
    while ((l = list_pop(head))) {
        struct delivery *d = container_of(l, struct delivery, link);
        delivery_free(&d);
    }
}

void outgoing_fini(struct outgoing *o)
{
    free_all(&o->queue);
    free_all(&o->inflight);
    free(o->by_id);
    outgoing_init(o);
}

struct delivery *delivery_new(struct message *m_message, uint8_t qos, const uint32_t *ids,
                              uint8_t n_ids)
{
    struct delivery *d = malloc(sizeof(*d) + n_ids * sizeof(d->ids[0]));
    if (!d)
        return NULL;
    *d = (struct delivery){ .message = m_message, .qos = qos, .n_ids = n_ids };
    list_init(&d->link);
    if (n_ids)
        memcpy(d->ids, ids, n_ids * sizeof(d->ids[0]));
    return d;
}

void delivery_free(struct delivery **d)
{
    if (!*d)
        return;
    message_unref(&(*d)->message);
    if ((*d)->share)
        share_unref(&(*d)->share);
    free(*d);
    *d = NULL;
}

void outgoing_append(struct outgoing *o, struct delivery *d)
{
    d->state = DELIVERY_QUEUED;
    list_append(&o->queue, &d->link);
    o->n_queued++;
    o->queued_bytes += d->message->size;
}

void outgoing_take(struct outgoing *o, struct delivery *d)
{
    list_remove(&d->link);
    o->n_queued--;
    o->queued_bytes -= d->message->size;
}

static uint32_t slot_of(const struct outgoing *o, uint16_t packet_id)
{
    return (packet_id * 40503u) & (o->n_slots - 1);
}

struct delivery *outgoing_find(const struct outgoing *o, uint16_t packet_id)
{
    if (!o->n_slots)
        return NULL;
    for (uint32_t i = slot_of(o, packet_id); o->by_id[i]; i = (i + 1) & (o->n_slots - 1))
        if (o->by_id[i]->packet_id == packet_id)
            return o->by_id[i];
    return NULL;
}

static void table_insert(struct outgoing *o, struct delivery *d)
{
    uint32_t i = slot_of(o, d->packet_id);
    while (o->by_id[i])
        i = (i + 1) & (o->n_slots - 1);
    o->by_id[i] = d;
}

/* Room for one more at a load of at most one half. */
static int table_reserve(struct outgoing *o)
{
    if ((o->n_inflight + 1) * 2 <= o->n_slots)
        return 0;
    uint32_t n_old = o->n_slots, n = n_old ? n_old * 2 : SLOTS_MIN;
    struct delivery **old = o->by_id, **table = calloc(n, sizeof(*table));
    if (!table)
        return -ENOMEM;
    o->by_id = table;
    o->n_slots = n;
    for (uint32_t i = 0; i < n_old; i++)
        if (old[i])
            table_insert(o, old[i]);
    free(old);
    return 0;
}

static void table_remove(struct outgoing *o, const struct delivery *d)
{
    uint32_t mask = o->n_slots - 1, i = slot_of(o, d->packet_id);
    while (o->by_id[i] != d)
        i = (i + 1) & mask;
    for (uint32_t j = (i + 1) & mask; o->by_id[j]; j = (j + 1) & mask) {
        uint32_t home = slot_of(o, o->by_id[j]->packet_id);
        if (((j - home) & mask) >= ((j - i) & mask)) { /* may move back into the hole */
            o->by_id[i] = o->by_id[j];
            i = j;
        }
    }
    o->by_id[i] = NULL;
}

static void window_append(struct outgoing *o, struct delivery *d)
{
    table_insert(o, d);
    list_append(&o->inflight, &d->link);
    o->n_inflight++;
}

int outgoing_assign(struct outgoing *o, struct delivery *d)
{
    assert(!d->packet_id);
    if (o->n_inflight >= UINT16_MAX)
        return -EBUSY;
    if (table_reserve(o))
        return -ENOMEM;
    uint16_t id = o->last_id;
    do
        id = id == UINT16_MAX ? 1 : (uint16_t)(id + 1);
    while (outgoing_find(o, id));
    if (list_linked(&d->link))
        outgoing_take(o, d);
    o->last_id = d->packet_id = id;
    window_append(o, d);
    return 0;
}

int outgoing_restore(struct outgoing *o, struct delivery *d, uint16_t packet_id)
{
    if (outgoing_find(o, packet_id))
        return -EEXIST;
    if (table_reserve(o))
        return -ENOMEM;
    d->packet_id = packet_id;
    o->last_id = packet_id;
    window_append(o, d);
    return 0;
}

void outgoing_release(struct outgoing *o, struct delivery *d)
{
    assert(outgoing_find(o, d->packet_id) == d);
    table_remove(o, d);
    list_remove(&d->link);
    o->n_inflight--;
    if (o->n_inflight == 0 && o->n_slots > 4 * SLOTS_MIN) { /* an idle session keeps no big table */
        free(o->by_id);
        o->by_id = NULL;
        o->n_slots = 0;
    }
}
