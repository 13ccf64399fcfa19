#include "record.h"
#include <stdlib.h>
#include <string.h>

void writer_fini(struct writer *w)
{
    free(w->ptr);
    *w = (struct writer){ 0 };
}

struct bytes writer_bytes(const struct writer *w)
{
    return (struct bytes){ .ptr = w->ptr, .len = w->len };
}

static char *room_for(struct writer *w, size_t len)
{
    if (w->failed)
        return NULL;
    if (w->size - w->len < len) {
        size_t size = w->size ? w->size : 256;
        char *ptr;

        while (size - w->len < len)
            size *= 2;
        ptr = realloc(w->ptr, size);
        w->failed = !ptr;
        if (!ptr)
            return NULL;
        w->ptr = ptr;
        w->size = size;
    }
    w->len += len;
    return w->ptr + w->len - len;
}

void put_bytes(struct writer *w, const void *ptr, size_t len)
{
    char *room = room_for(w, len);

    if (room && len)
        memcpy(room, ptr, len);
}

void put_number(struct writer *w, uint64_t n, unsigned width)
{
    char *room = room_for(w, width);

    for (unsigned i = 0; room && i < width; i++)
        room[i] = (char)(n >> 8 * i);
}

/* Longer by one: 0 is text that is not there at all. */
void put_text(struct writer *w, pigeon_str text)
{
    put_number(w, text.ptr ? (uint64_t)text.len + 1 : 0, 4);
    put_bytes(w, text.ptr, text.len);
}

static void put_blob(struct writer *w, pigeon_bytes b)
{
    put_number(w, b.len, 4);
    put_bytes(w, b.ptr, b.len);
}

void put_msg(struct writer *w, const pigeon_msg *m)
{
    put_number(w, (uint64_t)m->qos | (uint64_t)m->retain << 8 | (uint64_t)m->origin << 16, 3);
    put_number(w, (uint64_t)m->expires_ms, 8);
    put_number(w, m->id.node, 8);
    put_number(w, m->id.n, 8);
    put_text(w, m->topic);
    put_text(w, m->publisher);
    put_text(w, m->publisher_user);
    put_blob(w, m->props);
    put_blob(w, m->payload);
    put_number(w, (uint64_t)m->received_ms, 8);
    put_number(w, m->flags, 4);
}

void put_sub(struct writer *w, const pigeon_sub *s)
{
    const uint8_t options[] = { s->qos, s->no_local, s->retain_as_published, s->retain_handling };

    put_bytes(w, options, sizeof(options));
    put_number(w, s->id, 4);
    put_text(w, s->filter);
    put_text(w, s->effective);
    put_text(w, s->share);
}

void put_rcpt(struct writer *w, const pigeon_rcpt *to, uint16_t packet_id, uint8_t state,
              bool is_alone)
{
    put_number(w, packet_id, 2);
    put_number(w, state, 1);
    put_number(w, to->qos, 1);
    put_number(w, to->retain, 1);
    put_number(w, is_alone, 1);
    put_text(w, to->share);
    put_number(w, to->nsub_ids, 2);
    for (uint32_t i = 0; i < to->nsub_ids; i++)
        put_number(w, to->sub_ids[i], 4);
}

/* ---- reading --------------------------------------------------------------------------------- */

struct bytes take_bytes(struct reader *r, size_t len)
{
    struct bytes b = { .ptr = r->at, .len = len };

    if (r->failed || (size_t)(r->end - r->at) < len) {
        r->failed = true;
        return (struct bytes){ .ptr = "", .len = 0 };
    }
    r->at += len;
    return b;
}

uint64_t take_number(struct reader *r, unsigned width)
{
    struct bytes b = take_bytes(r, width);
    uint64_t n = 0;

    for (size_t i = 0; i < b.len; i++)
        n |= (uint64_t)(uint8_t)b.ptr[i] << 8 * i;
    return n;
}

pigeon_str take_text(struct reader *r)
{
    uint64_t len = take_number(r, 4);
    struct bytes b;

    if (len == 0)
        return (pigeon_str){ 0 };
    b = take_bytes(r, len - 1);
    return (pigeon_str){ .ptr = b.ptr, .len = (uint32_t)b.len };
}

static pigeon_bytes take_blob(struct reader *r)
{
    struct bytes b = take_bytes(r, take_number(r, 4));

    return (pigeon_bytes){ .ptr = (const uint8_t *)b.ptr, .len = (uint32_t)b.len };
}

void take_msg(struct reader *r, pigeon_msg *m)
{
    *m = (pigeon_msg){ .size = sizeof(*m) };
    m->qos = (uint8_t)take_number(r, 1);
    m->retain = (uint8_t)take_number(r, 1);
    m->origin = (uint8_t)take_number(r, 1);
    m->expires_ms = (int64_t)take_number(r, 8);
    m->id.node = take_number(r, 8);
    m->id.n = take_number(r, 8);
    m->topic = take_text(r);
    m->publisher = take_text(r);
    m->publisher_user = take_text(r);
    m->props = take_blob(r);
    m->payload = take_blob(r);
    if (r->at == r->end) /* written before there was more to say */
        return;
    m->received_ms = (int64_t)take_number(r, 8);
    m->flags = (uint32_t)take_number(r, 4);
}

void take_sub(struct reader *r, pigeon_sub *s)
{
    *s = (pigeon_sub){ .size = sizeof(*s) };
    s->qos = (uint8_t)take_number(r, 1);
    s->no_local = (uint8_t)take_number(r, 1);
    s->retain_as_published = (uint8_t)take_number(r, 1);
    s->retain_handling = (uint8_t)take_number(r, 1);
    s->id = (uint32_t)take_number(r, 4);
    s->filter = take_text(r);
    s->effective = take_text(r);
    s->share = take_text(r);
}

void take_rcpt(struct reader *r, struct journal_row *room, bool *r_alone)
{
    pigeon_rcpt *to = &room->rcpt;
    uint32_t n;

    *to = (pigeon_rcpt){ .size = sizeof(*to) };
    room->op.packet_id = (uint16_t)take_number(r, 2);
    room->op.state = (uint8_t)take_number(r, 1);
    to->qos = (uint8_t)take_number(r, 1);
    to->retain = (uint8_t)take_number(r, 1);
    *r_alone = take_number(r, 1);
    to->share = take_text(r);
    n = (uint32_t)take_number(r, 2);
    for (uint32_t i = 0; i < n && !r->failed; i++) {
        uint32_t id = (uint32_t)take_number(r, 4);

        if (i < PIGEON_COUNT(room->ids))
            room->ids[to->nsub_ids++] = id;
    }
    to->sub_ids = room->ids;
}

/* ---- keys ------------------------------------------------------------------------------------ */

static void number_put(char *at, uint64_t n)
{
    for (unsigned i = 0; i < 8; i++)
        at[i] = (char)(n >> 8 * (7 - i));
}

struct bytes key1(char room[KEY_NUMBERS_MAX], char kind, uint64_t a)
{
    room[0] = kind;
    number_put(room + 1, a);
    return (struct bytes){ .ptr = room, .len = 9 };
}

struct bytes key2(char room[KEY_NUMBERS_MAX], char kind, uint64_t a, uint64_t b)
{
    key1(room, kind, a);
    number_put(room + 9, b);
    return (struct bytes){ .ptr = room, .len = 17 };
}

uint64_t key_number(struct bytes key, unsigned at)
{
    uint64_t n = 0;

    for (size_t i = 1 + 8 * (size_t)at; i < 9 + 8 * (size_t)at && i < key.len; i++)
        n = n << 8 | (uint8_t)key.ptr[i];
    return n;
}
