#include "broker/broker.h"
#include "broker/publish.h"
#include "broker/session.h"
#include <errno.h>
#include <stdlib.h>

#define PUBLISHES_KEPT 256u

int shard_init(struct shard *s, struct broker *b, uint32_t index)
{
    s->broker = b;
    s->index = index;
    s->loop = loop_group_at(b->loops, index);
    s->log = b->log;
    s->free_slot = UINT32_MAX;
    map_init(&s->sessions, &b->hash_key);
    list_init(&s->submitting);
    list_init(&s->held_back);
    list_init(&s->held_by_bus);
    list_init(&s->closing);
    list_init(&s->qos2_line);
    list_init(&s->reads);
    list_init(&s->rows_to_pump);
    list_init(&s->conns);
    pool_init(&s->publish_pool, sizeof(struct publish), PUBLISHES_KEPT);
    return match_init(&s->match, b->index);
}

void shard_drop_sessions(struct shard *s)
{
    uint32_t it = 0;
    for (struct session *session; (session = map_next(&s->sessions, &it)); it = 0)
        session_free(&session);
}

void shard_fini(struct shard *s)
{
    map_fini(&s->sessions);
    pool_fini(&s->publish_pool);
    match_fini(&s->match);
    free(s->slots);
    s->slots = NULL;
}

int shard_take_slot(struct shard *s, uint32_t *r_slot)
{
    if (s->free_slot == UINT32_MAX) {
        uint32_t n = s->n_slots ? s->n_slots * 2 : 64;
        struct slot *slots = realloc(s->slots, n * sizeof(*slots));
        if (!slots)
            return -ENOMEM;
        s->slots = slots;
        for (uint32_t i = n; i-- > s->n_slots;) {
            slots[i] = (struct slot){ .next_free = s->free_slot };
            s->free_slot = i;
        }
        s->n_slots = n;
    }
    *r_slot = s->free_slot;
    s->free_slot = s->slots[*r_slot].next_free;
    return 0;
}

void shard_give_slot(struct shard *s, uint32_t slot)
{
    s->slots[slot] = (struct slot){ .next_free = s->free_slot };
    s->free_slot = slot;
}
