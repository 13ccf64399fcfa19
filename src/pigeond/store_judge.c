#include "pigeond/store_judge.h"
#include "base/utf8.h"
#include "hooks/store.h"
#include "mqtt/topic.h"
#include "wire/frame.h"
#include "wire/property.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct known {
    uint64_t number;
    struct str client;
    char text[];
};

int judge_init(struct judge *j)
{
    struct hash_key key;

    memset(j, 0, sizeof(*j));
    int r = hash_key_init(&key);
    map_init(&j->by_number, &key);
    map_init(&j->by_client, &key);
    return r;
}

void judge_fini(struct judge *j)
{
    uint32_t it = 0;

    for (struct known *k; (k = map_next(&j->by_number, &it));)
        free(k);
    map_fini(&j->by_number);
    map_fini(&j->by_client);
}

static struct known *known(const struct judge *j, uint64_t number)
{
    return map_get(&j->by_number, str_make(&number, sizeof(number)));
}

bool judge_knows(const struct judge *j, uint64_t session, struct str *r_client)
{
    const struct known *k = known(j, session);

    if (k)
        *r_client = k->client;
    return k != NULL;
}

/* ---- parts ----------------------------------------------------------------------------------- */

static struct str str_of(pigeon_str s)
{
    return str_make(s.ptr, s.len);
}

static bool is_text(pigeon_str s)
{
    return s.len <= WIRE_STRING_MAX && utf8_is_mqtt(s.ptr, s.len);
}

static bool is_filter(pigeon_str s)
{
    return is_text(s) && topic_is_filter(str_of(s), TOPIC_MAX_LEVELS);
}

static const char *message_fault(const pigeon_msg *m)
{
    if (!m)
        return "it has no message";
    if (!is_text(m->topic) || !topic_is_name(str_of(m->topic), TOPIC_MAX_LEVELS))
        return "its topic is none";
    if (m->qos > 2)
        return "its message has a QoS above 2";
    if (property_check(str_make(m->props.ptr, m->props.len),
                       PROPERTY_IN(PACKET_PUBLISH, WIRE_FROM_SERVER)))
        return "its properties cannot be read";
    return NULL;
}

/* ---- kinds ----------------------------------------------------------------------------------- */

static int remember(struct judge *j, const pigeon_op *op)
{
    struct known *k = malloc(sizeof(*k) + op->client.len);

    if (!k)
        return -ENOMEM;
    k->number = op->session;
    memcpy(k->text, op->client.ptr, op->client.len);
    k->client = str_make(k->text, op->client.len);
    int r = map_put(&j->by_number, str_make(&k->number, sizeof(k->number)), k);
    if (r) {
        free(k);
        return r;
    }
    if (map_put(&j->by_client, k->client, k) == -EEXIST)
        j->n_earlier++;
    return 0;
}

static const char *session_fault(struct judge *j, const pigeon_op *op, int *r_error)
{
    if (!op->session || op->session >= STORE_UNFINISHED_SESSION)
        return "its number is none that the broker gives";
    if (!op->client.len || !is_text(op->client))
        return "its client identifier is none";
    if (known(j, op->session))
        return "there is another session of this number";
    *r_error = remember(j, op);
    return NULL;
}

static const char *sub_fault(struct judge *j, const pigeon_op *op)
{
    const pigeon_sub *s = op->sub;
    struct str share = STR_NULL, filter = STR_NULL;

    if (!s)
        return "it says nothing of the subscription";
    if (!is_text(op->key) || topic_split_share(str_of(op->key), &share, &filter) == TOPIC_SHARE_BAD)
        return "its key is no filter";
    if (!is_filter(s->filter) || !str_eq(filter, str_of(s->filter)))
        return "its filter is none, or not that of its key";
    if (!str_eq(share, str_of(s->share)))
        return "its share name is not that of its key";
    if (s->effective.len && !is_filter(s->effective))
        return "its effective filter is none";
    if (s->qos > 2 || s->retain_handling > 2 || s->id > WIRE_VARINT_MAX)
        return "its options are out of range";
    j->n_shared += share.len > 0;
    return NULL;
}

static const char *queue_fault(struct judge *j, const pigeon_op *op)
{
    const pigeon_rcpt *to = op->rcpts;

    if (op->nrcpts != 1 || !to)
        return "it has no recipient, or more than one";
    if (!op->pos || op->pos >= INT64_MAX)
        return "it has no position that can be";
    if (op->pos < j->last_pos)
        return "it does not stand in the order of positions";
    j->n_messages += op->pos > j->last_pos;
    j->last_pos = op->pos;
    if (to->qos > 2 || op->state > PIGEON_QUEUE_RECEIVED)
        return "its QoS or state is out of range";
    if (op->state != PIGEON_QUEUE_QUEUED && !op->packet_id)
        return "it was sent without a packet identifier";
    j->n_sent += op->state == PIGEON_QUEUE_SENT;
    j->n_received += op->state == PIGEON_QUEUE_RECEIVED;
    return message_fault(op->msg);
}

static const char *fault(struct judge *j, uint32_t what, const pigeon_op *op, int *r_error)
{
    switch (what) {
    case PIGEON_SCAN_SESSIONS: return session_fault(j, op, r_error);
    case PIGEON_SCAN_SUBS: return sub_fault(j, op);
    case PIGEON_SCAN_QUEUE: return queue_fault(j, op);
    case PIGEON_SCAN_IN: return op->packet_id ? NULL : "it has no packet identifier";
    case PIGEON_SCAN_WILLS: j->n_due += op->due_in_ms >= 0; return message_fault(op->msg);
    case PIGEON_SCAN_RETAINED:
        if (op->msg && !str_eq(str_of(op->key), str_of(op->msg->topic)))
            return "its key is not its topic";
        return message_fault(op->msg);
    default: return "rows of this kind are not for a single node";
    }
}

static uint64_t session_of(uint32_t what, const pigeon_op *op)
{
    return what == PIGEON_SCAN_QUEUE && op->nrcpts == 1 && op->rcpts ? op->rcpts->session
                                                                     : op->session;
}

const char *judge_row(struct judge *j, uint32_t what, const pigeon_op *op, int *r_error)
{
    const char *why;

    *r_error = 0;
    if (what < sizeof(j->n_rows) / sizeof(j->n_rows[0]))
        j->n_rows[what]++;
    why = fault(j, what, op, r_error);
    if (!why && what != PIGEON_SCAN_SESSIONS && what != PIGEON_SCAN_RETAINED &&
        !known(j, session_of(what, op))) {
        snprintf(j->reason, sizeof(j->reason), "its session, number %" PRIu64 ", is not there",
                 session_of(what, op));
        why = j->reason;
    }
    j->n_bad += why != NULL;
    return why;
}
