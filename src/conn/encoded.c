#include "conn/encoded.h"
#include <stdlib.h>

#define N_VARIANTS 6

void encoder_init(struct encoder *e)
{
    e->variants = calloc(N_VARIANTS, sizeof(*e->variants));
}

void encoder_fini(struct encoder *e)
{
    for (int i = 0; e->variants && i < N_VARIANTS; i++)
        message_unref(&e->variants[i].message);
    free(e->variants);
    e->variants = NULL;
}

static bool encode(struct encoded *v, struct message *m, enum mqtt_version version, uint8_t qos,
                   bool retain)
{
    struct publish_head h = {
        .topic = message_topic(m),
        .props = message_props(m),
        .payload_len = m->view.payload.len,
        .qos = qos,
        .retain = retain,
    };
    if (publish_head_measure(&h, version, &v->size) || v->size.total > ENCODED_MAX)
        return false;
    uint8_t *at = publish_head_write(&h, version, &v->size, v->bytes);
    if (h.payload_len)
        memcpy(at, m->view.payload.ptr, h.payload_len);
    return true;
}

const struct encoded *encoder_get(struct encoder *e, struct message *m, enum mqtt_version version,
                                  uint8_t qos, bool retain)
{
    if (!e->variants)
        return NULL;
    struct encoded *v = &e->variants[(version == MQTT_5 ? 3 : 0) + qos];
    if (v->message == m && v->retain == retain)
        return v;
    if (v->asked != m || v->asked_retain != retain) {
        v->asked = m;
        v->asked_retain = retain;
        return NULL;
    }
    message_unref(&v->message);
    if (!encode(v, m, version, qos, retain))
        return NULL;
    v->message = message_ref(m);
    v->retain = retain;
    return v;
}
