#include "mqtt/incoming.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

void incoming_fini(struct incoming *in)
{
    free(in->ids);
    *in = (struct incoming){ 0 };
}

/* Index of the first identifier >= packet_id; the newest are looked at first, clients count
 * upwards. */
static uint32_t lower_bound(const struct incoming *in, uint16_t packet_id)
{
    if (in->n == 0 || in->ids[in->n - 1].packet_id < packet_id)
        return in->n;
    uint32_t lo = 0, hi = in->n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (in->ids[mid].packet_id < packet_id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct incoming_id *incoming_find(const struct incoming *in, uint16_t packet_id)
{
    uint32_t i = lower_bound(in, packet_id);
    return i < in->n && in->ids[i].packet_id == packet_id ? &in->ids[i] : NULL;
}

int incoming_put(struct incoming *in, uint16_t packet_id, enum incoming_state state, bool stored)
{
    uint32_t i = lower_bound(in, packet_id);
    if (i == in->n || in->ids[i].packet_id != packet_id) {
        if (in->n == in->cap) {
            uint32_t cap = in->cap ? in->cap * 2 : 8;
            struct incoming_id *ids = realloc(in->ids, cap * sizeof(*ids));
            if (!ids)
                return -ENOMEM;
            in->ids = ids;
            in->cap = cap;
        }
        memmove(&in->ids[i + 1], &in->ids[i], (in->n - i) * sizeof(in->ids[0]));
        in->n++;
    }
    in->ids[i] = (struct incoming_id){ packet_id, (uint8_t)state, stored };
    return 0;
}

void incoming_remove(struct incoming *in, uint16_t packet_id)
{
    uint32_t i = lower_bound(in, packet_id);
    if (i == in->n || in->ids[i].packet_id != packet_id)
        return;
    in->n--;
    memmove(&in->ids[i], &in->ids[i + 1], (in->n - i) * sizeof(in->ids[0]));
    if (in->n == 0) {
        free(in->ids);
        in->ids = NULL;
        in->cap = 0;
    }
}
