#include "db.h"
#include <string.h>
#include <zlib.h>

/* ---- checksums ------------------------------------------------------------------------------- */

/* Small pieces are gathered: what a call costs is more than what its bytes cost. */
struct sum {
    uLong crc;
    uint32_t n;
    Bytef gathered[256];
};

static void sum_put(struct sum *s, const void *ptr, uint32_t len)
{
    if (s->n + len > sizeof(s->gathered)) {
        s->crc = crc32_z(s->crc, s->gathered, s->n);
        s->n = 0;
    }
    if (len > sizeof(s->gathered)) {
        s->crc = crc32_z(s->crc, ptr, len);
    } else if (len) {
        memcpy(s->gathered + s->n, ptr, len);
        s->n += len;
    }
}

static void sum_bytes(struct sum *s, const void *ptr, uint32_t len)
{
    sum_put(s, &len, sizeof(len));
    sum_put(s, ptr, len);
}

static void sum_number(struct sum *s, uint64_t n)
{
    sum_put(s, &n, sizeof(n));
}

static void sum_begin(struct sum *s)
{
    s->crc = crc32_z(0, NULL, 0);
    s->n = 0;
}

static int64_t sum_end(const struct sum *s)
{
    return (int64_t)crc32_z(s->crc, s->gathered, s->n);
}

static int64_t sum_of_msg(const pigeon_msg *m)
{
    struct sum s;

    sum_begin(&s);
    sum_bytes(&s, m->topic.ptr, m->topic.len);
    sum_bytes(&s, m->payload.ptr, m->payload.len);
    sum_bytes(&s, m->props.ptr, m->props.len);
    sum_bytes(&s, m->publisher.ptr, m->publisher.len);
    sum_bytes(&s, m->publisher_user.ptr, m->publisher_user.len);
    sum_number(&s, (uint64_t)m->qos << 16 | (uint64_t)m->retain << 8 | m->origin);
    sum_number(&s, (uint64_t)m->expires_ms);
    sum_number(&s, m->id.node);
    sum_number(&s, m->id.n);
    if (m->received_ms || m->flags) { /* rows of format 1 have neither */
        sum_number(&s, (uint64_t)m->received_ms);
        sum_number(&s, m->flags);
    }
    return sum_end(&s);
}

static int64_t sum_of_sub(pigeon_str key, const pigeon_sub *sub)
{
    struct sum s;

    sum_begin(&s);
    sum_bytes(&s, key.ptr, key.len);
    sum_bytes(&s, sub->filter.ptr, sub->filter.len);
    sum_bytes(&s, sub->effective.ptr, sub->effective.len);
    sum_bytes(&s, sub->share.ptr, sub->share.len);
    sum_number(&s, sub->id);
    sum_number(&s, (uint64_t)sub->qos << 24 | (uint64_t)sub->no_local << 16 |
                       (uint64_t)sub->retain_as_published << 8 | sub->retain_handling);
    return sum_end(&s);
}

int64_t sum_of_session(uint64_t number, pigeon_str client, pigeon_bytes extra)
{
    struct sum s;

    sum_begin(&s);
    sum_bytes(&s, client.ptr, client.len);
    sum_bytes(&s, extra.ptr, extra.len);
    sum_number(&s, number);
    return sum_end(&s);
}

/* ---- values ---------------------------------------------------------------------------------- */

/* Borrowed: a statement runs and is reset while its batch is pinned. */
void bind_str(sqlite3_stmt *s, int at, pigeon_str v)
{
    if (v.ptr)
        sqlite3_bind_text64(s, at, v.ptr, v.len, SQLITE_STATIC, SQLITE_UTF8);
    else
        sqlite3_bind_null(s, at);
}

void bind_bytes(sqlite3_stmt *s, int at, pigeon_bytes v)
{
    if (v.len)
        sqlite3_bind_blob64(s, at, v.ptr, v.len, SQLITE_STATIC);
    else
        sqlite3_bind_null(s, at);
}

pigeon_str column_str(sqlite3_stmt *s, int at)
{
    const char *ptr = (const char *)sqlite3_column_text(s, at);

    return (pigeon_str){ .ptr = ptr, .len = (uint32_t)sqlite3_column_bytes(s, at) };
}

pigeon_bytes column_bytes(sqlite3_stmt *s, int at)
{
    const uint8_t *ptr = sqlite3_column_blob(s, at);

    return (pigeon_bytes){ .ptr = ptr, .len = (uint32_t)sqlite3_column_bytes(s, at) };
}

void bind_msg(sqlite3_stmt *s, int at, const pigeon_msg *m)
{
    bind_str(s, at, m->topic);
    bind_bytes(s, at + 1, m->payload);
    bind_bytes(s, at + 2, m->props);
    sqlite3_bind_int(s, at + 3, m->qos);
    sqlite3_bind_int(s, at + 4, m->retain);
    sqlite3_bind_int64(s, at + 5, m->expires_ms);
    bind_str(s, at + 6, m->publisher);
    bind_str(s, at + 7, m->publisher_user);
    sqlite3_bind_int(s, at + 8, m->origin);
    sqlite3_bind_int64(s, at + 9, (int64_t)m->id.node);
    sqlite3_bind_int64(s, at + 10, (int64_t)m->id.n);
    sqlite3_bind_int64(s, at + 11, sum_of_msg(m));
    sqlite3_bind_int64(s, at + 12, m->received_ms);
    sqlite3_bind_int64(s, at + 13, m->flags);
}

bool column_msg(sqlite3_stmt *s, int at, pigeon_msg *r_msg)
{
    *r_msg = (pigeon_msg){
        .size = sizeof(*r_msg),
        .topic = column_str(s, at),
        .payload = column_bytes(s, at + 1),
        .props = column_bytes(s, at + 2),
        .qos = (uint8_t)sqlite3_column_int(s, at + 3),
        .retain = (uint8_t)sqlite3_column_int(s, at + 4),
        .expires_ms = sqlite3_column_int64(s, at + 5),
        .publisher = column_str(s, at + 6),
        .publisher_user = column_str(s, at + 7),
        .origin = (uint8_t)sqlite3_column_int(s, at + 8),
        .id = { (uint64_t)sqlite3_column_int64(s, at + 9),
                (uint64_t)sqlite3_column_int64(s, at + 10) },
        .received_ms = sqlite3_column_int64(s, at + 12),
        .flags = (uint32_t)sqlite3_column_int64(s, at + 13),
    };
    return sqlite3_column_int64(s, at + 11) == sum_of_msg(r_msg);
}

void bind_sub(sqlite3_stmt *s, int at, pigeon_str key, const pigeon_sub *sub)
{
    bind_str(s, at, key);
    bind_str(s, at + 1, sub->filter);
    bind_str(s, at + 2, sub->effective);
    bind_str(s, at + 3, sub->share);
    sqlite3_bind_int(s, at + 4, sub->qos);
    sqlite3_bind_int(s, at + 5, sub->no_local);
    sqlite3_bind_int(s, at + 6, sub->retain_as_published);
    sqlite3_bind_int(s, at + 7, sub->retain_handling);
    sqlite3_bind_int64(s, at + 8, sub->id);
    sqlite3_bind_int64(s, at + 9, sum_of_sub(key, sub));
}

bool column_sub(sqlite3_stmt *s, int at, pigeon_str *r_key, pigeon_sub *r_sub)
{
    *r_key = column_str(s, at);
    *r_sub = (pigeon_sub){
        .size = sizeof(*r_sub),
        .filter = column_str(s, at + 1),
        .effective = column_str(s, at + 2),
        .share = column_str(s, at + 3),
        .qos = (uint8_t)sqlite3_column_int(s, at + 4),
        .no_local = (uint8_t)sqlite3_column_int(s, at + 5),
        .retain_as_published = (uint8_t)sqlite3_column_int(s, at + 6),
        .retain_handling = (uint8_t)sqlite3_column_int(s, at + 7),
        .id = (uint32_t)sqlite3_column_int64(s, at + 8),
    };
    return sqlite3_column_int64(s, at + 9) == sum_of_sub(*r_key, r_sub);
}
