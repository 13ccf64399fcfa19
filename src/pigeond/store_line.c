#include "pigeond/store_line.h"
#include "base/base64.h"
#include "base/utf8.h"
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

enum type {
    T_TEXT,
    T_BYTES,
    T_U8,
    T_U16,
    T_U32,
    T_U64,
    T_BOOL,
    T_TIME, /* int64_t, null: -1 */
    T_MS,   /* int64_t, null: 0 */
    T_ID,
    T_IDS,
    T_STATE,
    T_ORIGIN,
};

/* Kinds that have a member, by PIGEON_SCAN_*. */
#define SES        (1u << PIGEON_SCAN_SESSIONS)
#define SUB        (1u << PIGEON_SCAN_SUBS)
#define RET        (1u << PIGEON_SCAN_RETAINED)
#define QUE        (1u << PIGEON_SCAN_QUEUE)
#define INC        (1u << PIGEON_SCAN_IN)
#define WIL        (1u << PIGEON_SCAN_WILLS)
#define MSG        (RET | QUE | WIL)
#define ALL        (SES | SUB | INC | MSG)
#define AT(member) offsetof(struct store_line, member)

static const struct field {
    const char *name;
    uint8_t type; /* enum type */
    uint16_t kinds;
    bool is_brief; /* not written when it is 0 or empty */
    uint32_t at;
} fields[] = {
    { "session", T_U64, SES | SUB | QUE | INC | WIL, false, AT(session) },
    { "client", T_TEXT, SES | SUB | QUE | INC | WIL, false, AT(client) },
    { "pos", T_U64, QUE, false, AT(pos) },
    { "due_ms", T_TIME, SES | WIL, false, AT(due_ms) },
    { "packet_id", T_U16, QUE | INC, false, AT(packet_id) },
    { "state", T_STATE, QUE, false, AT(state) },
    { "key", T_TEXT, SUB, false, AT(key) },
    { "filter", T_TEXT, SUB, false, AT(filter) },
    { "effective", T_TEXT, SUB, true, AT(effective) },
    { "share", T_TEXT, SUB | QUE, true, AT(share) },
    { "qos", T_U8, SUB | QUE, false, AT(qos) },
    { "retain", T_BOOL, QUE, false, AT(retain) },
    { "no_local", T_BOOL, SUB, false, AT(no_local) },
    { "retain_as_published", T_BOOL, SUB, false, AT(retain_as_published) },
    { "retain_handling", T_U8, SUB, false, AT(retain_handling) },
    { "subscription_id", T_U32, SUB, false, AT(sub_id) },
    { "subscription_ids", T_IDS, QUE, true, AT(ids) },
    { "id", T_ID, MSG, false, AT(id) },
    { "topic", T_TEXT, MSG, false, AT(topic) },
    { "message_qos", T_U8, MSG, false, AT(msg_qos) },
    { "message_retain", T_BOOL, MSG, false, AT(msg_retain) },
    { "dup", T_BOOL, MSG, true, AT(dup) },
    { "origin", T_ORIGIN, MSG, false, AT(origin) },
    { "flags", T_U32, MSG, true, AT(msg_flags) },
    { "received_ms", T_MS, MSG, false, AT(received_ms) },
    { "expires_ms", T_MS, MSG, false, AT(expires_ms) },
    { "publisher", T_TEXT, MSG, true, AT(publisher) },
    { "publisher_user", T_TEXT, MSG, true, AT(publisher_user) },
    { "properties", T_BYTES, MSG, true, AT(props) },
    { "extra", T_BYTES, ALL, true, AT(extra) },
    { "payload", T_TEXT, MSG, false, AT(payload) },
};
#define N_FIELDS (sizeof(fields) / sizeof(fields[0]))

static const char *const kinds[] = {
    [PIGEON_SCAN_SESSIONS] = "session", [PIGEON_SCAN_SUBS] = "subscription",
    [PIGEON_SCAN_INTEREST] = NULL,      [PIGEON_SCAN_RETAINED] = "retained",
    [PIGEON_SCAN_QUEUE] = "queued",     [PIGEON_SCAN_IN] = "incoming",
    [PIGEON_SCAN_WILLS] = "will",
};
#define N_KINDS (sizeof(kinds) / sizeof(kinds[0]))

static const char *const states[] = { "queued", "sent", "received", NULL };
static const char *const origins[] = { "client", "will", "broker", "plugin", "bus", NULL };

const char *store_kind_name(uint32_t what)
{
    return what < N_KINDS && kinds[what] ? kinds[what] : "?";
}

bool store_line_has_message(const struct store_line *line)
{
    return line->what < N_KINDS && (1u << line->what & MSG);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static struct str text_of(pigeon_str s)
{
    return str_make(s.ptr, s.len);
}

static pigeon_str view_of(struct str s)
{
    return (pigeon_str){ .ptr = s.len ? s.ptr : "", .len = s.len };
}

static struct str str_of(pigeon_bytes b)
{
    return str_make(b.ptr, b.len);
}

static void take_message(struct store_line *l, const pigeon_msg *m)
{
    l->topic = text_of(m->topic);
    l->payload = str_of(m->payload);
    l->props = str_of(m->props);
    l->publisher = text_of(m->publisher);
    l->publisher_user = text_of(m->publisher_user);
    l->msg_qos = m->qos;
    l->msg_retain = m->retain;
    l->dup = m->dup;
    l->origin = m->origin;
    l->msg_flags = m->flags;
    l->id = m->id;
    l->expires_ms = m->expires_ms;
    l->received_ms = m->received_ms;
}

static void take_sub(struct store_line *l, const pigeon_sub *s)
{
    l->filter = text_of(s->filter);
    l->effective = text_of(s->effective);
    l->share = text_of(s->share);
    l->sub_id = s->id;
    l->qos = s->qos;
    l->no_local = s->no_local;
    l->retain_as_published = s->retain_as_published;
    l->retain_handling = s->retain_handling;
}

static void take_rcpt(struct store_line *l, const pigeon_rcpt *r)
{
    l->session = r->session;
    l->share = text_of(r->share);
    l->qos = r->qos;
    l->retain = r->retain;
    l->n_ids = r->nsub_ids < JSON_LIST_MAX ? r->nsub_ids : JSON_LIST_MAX;
    if (l->n_ids)
        memcpy(l->ids, r->sub_ids, l->n_ids * sizeof(l->ids[0]));
    if (!l->client.len)
        l->client = text_of(r->client);
}

void store_line_of(struct store_line *l, uint32_t what, const pigeon_op *op, int64_t wall_ms)
{
    memset(l, 0, offsetof(struct store_line, ids));
    memset(&l->n_ids, 0, sizeof(*l) - offsetof(struct store_line, n_ids));
    l->what = what;
    l->session = op->session;
    l->pos = op->pos;
    l->client = text_of(op->client);
    l->key = text_of(op->key);
    l->extra = str_of(op->extra);
    l->due_ms = op->due_in_ms < 0 ? -1 : wall_ms + op->due_in_ms;
    l->packet_id = op->packet_id;
    l->state = op->state;
    if (op->msg)
        take_message(l, op->msg);
    if (op->sub)
        take_sub(l, op->sub);
    if (op->nrcpts && op->rcpts)
        take_rcpt(l, op->rcpts);
}

void store_line_row(const struct store_line *l, int64_t wall_ms, struct store_row *row)
{
    static const uint16_t op_kinds[N_KINDS] = {
        [PIGEON_SCAN_SESSIONS] = PIGEON_OP_SESSION_PUT,
        [PIGEON_SCAN_SUBS] = PIGEON_OP_SUB_PUT,
        [PIGEON_SCAN_RETAINED] = PIGEON_OP_RETAIN_PUT,
        [PIGEON_SCAN_QUEUE] = PIGEON_OP_QUEUE_ADD,
        [PIGEON_SCAN_IN] = PIGEON_OP_IN_ADD,
        [PIGEON_SCAN_WILLS] = PIGEON_OP_WILL_PUT,
    };
    int64_t left = l->due_ms > wall_ms ? l->due_ms - wall_ms : 0;

    row->op = (pigeon_op){ .size = sizeof(row->op),
                           .kind = op_kinds[l->what],
                           .client = view_of(l->client),
                           .key = view_of(l->what == PIGEON_SCAN_RETAINED ? l->topic : l->key),
                           .session = l->session,
                           .pos = l->pos,
                           .due_in_ms = l->due_ms < 0 ? -1 : left,
                           .packet_id = l->packet_id,
                           .state = l->state };
    row->op.extra = (pigeon_bytes){ .ptr = (const uint8_t *)l->extra.ptr, .len = l->extra.len };
    row->sub = (pigeon_sub){ .size = sizeof(row->sub),
                             .id = l->sub_id,
                             .filter = view_of(l->filter),
                             .effective = view_of(l->effective),
                             .share = view_of(l->share),
                             .qos = l->qos,
                             .no_local = l->no_local,
                             .retain_as_published = l->retain_as_published,
                             .retain_handling = l->retain_handling };
    row->rcpt = (pigeon_rcpt){ .size = sizeof(row->rcpt),
                               .client = { .ptr = "" },
                               .session = l->session,
                               .qos = l->qos,
                               .retain = l->retain,
                               .nsub_ids = l->n_ids,
                               .share = view_of(l->share) };
    row->rcpt.sub_ids = l->ids;
    if (l->what == PIGEON_SCAN_SUBS)
        row->op.sub = &row->sub;
    if (l->what == PIGEON_SCAN_QUEUE) {
        row->op.rcpts = &row->rcpt;
        row->op.nrcpts = 1;
        row->op.rcpt_stride = sizeof(row->rcpt);
    }
}

/* ---- writing --------------------------------------------------------------------------------- */

static const void *const_place(const struct store_line *l, const struct field *f)
{
    return (const char *)l + f->at;
}

static uint64_t number_at(const void *at, enum type type)
{
    uint64_t u64;
    uint32_t u32;
    uint16_t u16;

    switch (type) {
    case T_U64:
    case T_TIME:
    case T_MS: memcpy(&u64, at, sizeof(u64)); return u64;
    case T_U32: memcpy(&u32, at, sizeof(u32)); return u32;
    case T_U16: memcpy(&u16, at, sizeof(u16)); return u16;
    default: return *(const uint8_t *)at;
    }
}

static bool is_empty(const struct store_line *l, const struct field *f)
{
    switch (f->type) {
    case T_TEXT:
    case T_BYTES: return ((const struct str *)const_place(l, f))->len == 0;
    case T_IDS: return l->n_ids == 0;
    case T_ID: return l->id.node == 0 && l->id.n == 0;
    default: return number_at(const_place(l, f), f->type) == 0;
    }
}

static int put_base64(struct buf *out, struct str bytes)
{
    int r = buf_append(out, "\"", 1);

    if (!r)
        r = base64_encode(out, bytes);
    return r ? r : buf_append(out, "\"", 1);
}

static int put_named(struct buf *out, const char *const *names, uint8_t n)
{
    uint8_t i = 0;

    while (names[i] && i < n)
        i++;
    return names[i] ? buf_printf(out, "\"%s\"", names[i]) : buf_printf(out, "%u", n);
}

static int put_ids(struct buf *out, const struct store_line *l)
{
    int r = buf_append(out, "[", 1);

    for (uint32_t i = 0; i < l->n_ids && !r; i++)
        r = buf_printf(out, "%s%" PRIu32, i ? "," : "", l->ids[i]);
    return r ? r : buf_append(out, "]", 1);
}

static int put_value(const struct store_line *l, const struct field *f, bool as_base64,
                     struct buf *out)
{
    const void *at = const_place(l, f);
    uint64_t n;

    switch (f->type) {
    case T_TEXT:
    case T_BYTES:
        return as_base64 ? put_base64(out, *(const struct str *)at)
                         : json_put_string(out, *(const struct str *)at);
    case T_IDS: return put_ids(out, l);
    case T_ID: return buf_printf(out, "\"%016" PRIx64 "-%" PRIu64 "\"", l->id.node, l->id.n);
    case T_STATE: return put_named(out, states, l->state);
    case T_ORIGIN: return put_named(out, origins, l->origin);
    case T_TIME:
    case T_MS:
        n = number_at(at, f->type);
        if (n == (f->type == T_TIME ? UINT64_MAX : 0))
            return buf_append(out, "null", 4);
        return buf_printf(out, "%" PRId64, (int64_t)n);
    case T_BOOL:
        n = number_at(at, f->type);
        if (n < 2)
            return buf_printf(out, "%s", n ? "true" : "false");
        return buf_printf(out, "%" PRIu64, n);
    default: return buf_printf(out, "%" PRIu64, number_at(at, f->type));
    }
}

static int put_field(const struct store_line *l, const struct field *f, struct buf *out)
{
    bool as_base64 = f->type == T_BYTES;

    if (f->type == T_TEXT) {
        const struct str *s = const_place(l, f);
        as_base64 = !utf8_is_valid(s->ptr, s->len);
    }
    int r = buf_printf(out, ",\"%s%s\":", f->name, as_base64 ? "_base64" : "");
    return r ? r : put_value(l, f, as_base64, out);
}

int store_line_write(const struct store_line *l, struct buf *out)
{
    int r = buf_printf(out, "{\"kind\":\"%s\"", store_kind_name(l->what));

    for (size_t i = 0; i < N_FIELDS && !r; i++)
        if ((fields[i].kinds & 1u << l->what) && !(fields[i].is_brief && is_empty(l, &fields[i])))
            r = put_field(l, &fields[i], out);
    return r ? r : buf_append(out, "}\n", 2);
}

int store_line_write_head(struct buf *out, const char *store, int64_t wall_ms)
{
    int r =
        buf_printf(out, "{\"pigeon_store_dump\":%d,\"pigeon\":\"%s\",\"store\":", STORE_DUMP_FORMAT,
                   PIGEON_VERSION);

    if (!r)
        r = json_put_string(out, str_from(store));
    return r ? r : buf_printf(out, ",\"time_ms\":%" PRId64 "}\n", wall_ms);
}

int store_line_write_end(struct buf *out)
{
    return buf_append_str(out, STR("{\"kind\":\"end\"}\n"));
}

/* ---- reading --------------------------------------------------------------------------------- */

struct reading {
    struct store_line *line;
    uint64_t seen; /* members, by their index in `fields` */
    char *error;
};

__attribute__((format(printf, 2, 3))) static bool refuse(char error[128], const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error, 128, format, args);
    va_end(args);
    for (char *c = error; *c; c++)
        if (*c < ' ' || *c > '~') /* goes to somebody's terminal */
            *c = '?';
    return false;
}

static bool get_number(const struct json_value *v, uint64_t max, uint64_t *r_n)
{
    *r_n = v->number;
    return v->type == JSON_NUMBER && !v->negative && v->number <= max;
}

static bool get_named(const struct json_value *v, const char *const *names, uint8_t *r_n)
{
    uint64_t n;

    if (get_number(v, UINT8_MAX, &n)) {
        *r_n = (uint8_t)n;
        return true;
    }
    for (uint8_t i = 0; v->type == JSON_STRING && names[i]; i++)
        if (str_eq(str_make(v->text, v->len), str_from(names[i]))) {
            *r_n = i;
            return true;
        }
    return false;
}

static bool get_bool(const struct json_value *v, uint8_t *r_n)
{
    uint64_t n;

    if (v->type == JSON_TRUE || v->type == JSON_FALSE) {
        *r_n = v->type == JSON_TRUE;
        return true;
    }
    if (!get_number(v, UINT8_MAX, &n))
        return false;
    *r_n = (uint8_t)n;
    return true;
}

/* "0123456789abcdef-42" */
static bool get_id(const struct json_value *v, pigeon_msg_id *r_id)
{
    pigeon_msg_id id = { 0, 0 };
    uint32_t i = 0;

    if (v->type != JSON_STRING || v->len < 18 || v->text[16] != '-')
        return false;
    for (; i < 16; i++) {
        char c = v->text[i];

        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
            return false;
        id.node = id.node << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    for (i = 17; i < v->len; i++) {
        uint64_t d = (uint64_t)(v->text[i] - '0');

        if (d > 9 || id.n > (UINT64_MAX - d) / 10)
            return false;
        id.n = id.n * 10 + d;
    }
    *r_id = id;
    return true;
}

static bool get_text(const struct json_value *v, bool is_base64, struct str *r_text)
{
    if (v->type != JSON_STRING)
        return false;
    int64_t n = is_base64 ? base64_decode(v->text, v->len, v->text) : v->len;
    if (n >= 0)
        *r_text = str_make(v->text, (size_t)n);
    return n >= 0;
}

static bool get_time(const struct json_value *v, int64_t never, void *r_ms)
{
    uint64_t n;
    int64_t ms = never;

    if (v->type != JSON_NULL) {
        if (!get_number(v, INT64_MAX, &n))
            return false;
        ms = (int64_t)n;
    }
    memcpy(r_ms, &ms, sizeof(ms));
    return true;
}

static bool get_whole(const struct json_value *v, enum type type, void *r_n)
{
    uint64_t max = type == T_U64   ? UINT64_MAX
                   : type == T_U32 ? UINT32_MAX
                   : type == T_U16 ? UINT16_MAX
                                   : UINT8_MAX;
    uint64_t n;

    if (!get_number(v, max, &n))
        return false;
    uint32_t u32 = (uint32_t)n;
    uint16_t u16 = (uint16_t)n;
    uint8_t u8 = (uint8_t)n;
    switch (type) {
    case T_U64: memcpy(r_n, &n, sizeof(n)); return true;
    case T_U32: memcpy(r_n, &u32, sizeof(u32)); return true;
    case T_U16: memcpy(r_n, &u16, sizeof(u16)); return true;
    default: memcpy(r_n, &u8, sizeof(u8)); return true;
    }
}

static bool get_value(struct store_line *l, const struct field *f, const struct json_value *v,
                      bool is_base64)
{
    void *at = (char *)l + f->at;

    switch (f->type) {
    case T_TEXT:
    case T_BYTES: return get_text(v, is_base64, at);
    case T_IDS:
        if (v->type != JSON_LIST)
            return false;
        l->n_ids = v->n_list;
        memcpy(l->ids, v->list, v->n_list * sizeof(l->ids[0]));
        return true;
    case T_ID: return get_id(v, &l->id);
    case T_STATE: return get_named(v, states, &l->state);
    case T_ORIGIN: return get_named(v, origins, &l->origin);
    case T_TIME: return get_time(v, -1, at);
    case T_MS: return get_time(v, 0, at);
    case T_BOOL: return get_bool(v, at);
    default: return get_whole(v, f->type, at);
    }
}

static bool is_name(const struct field *f, struct str name, bool *r_base64)
{
    struct str own = str_from(f->name);

    *r_base64 = false;
    if (str_eq(name, own))
        return f->type != T_BYTES;
    *r_base64 = true;
    return (f->type == T_TEXT || f->type == T_BYTES) && str_starts(name, own) &&
           str_eq(str_make(name.ptr + own.len, name.len - own.len), STR("_base64"));
}

static bool get_member(struct reading *in, struct str name, const struct json_value *v)
{
    uint32_t kind = 1u << in->line->what;
    bool is_base64;

    for (size_t i = 0; i < N_FIELDS; i++) {
        if (!(fields[i].kinds & kind) || !is_name(&fields[i], name, &is_base64))
            continue;
        if (in->seen & UINT64_C(1) << i)
            return refuse(in->error, "'%s' stands there twice", fields[i].name);
        in->seen |= UINT64_C(1) << i;
        if (!get_value(in->line, &fields[i], v, is_base64))
            return refuse(in->error, "the value of '%s' is no good", fields[i].name);
        return true;
    }
    return refuse(in->error, "a row of kind '%s' has no member '%.*s'",
                  store_kind_name(in->line->what), (int)(name.len < 40 ? name.len : 40), name.ptr);
}

/* By the first member. */
static enum store_line_kind begin(struct store_line *l, struct str name, const struct json_value *v,
                                  char error[128])
{
    if (str_eq(name, STR("pigeon_store_dump"))) {
        if (v->type == JSON_NUMBER && !v->negative && v->number == STORE_DUMP_FORMAT)
            return STORE_LINE_HEAD;
        refuse(error, "a dump of format %" PRIu64 "; this version reads format %d",
               v->type == JSON_NUMBER ? v->number : 0, STORE_DUMP_FORMAT);
        return STORE_LINE_BAD;
    }
    if (!str_eq(name, STR("kind")) || v->type != JSON_STRING) {
        refuse(error, "the first member must be 'kind'");
        return STORE_LINE_BAD;
    }
    struct str text = str_make(v->text, v->len);
    if (str_eq(text, STR("end")))
        return STORE_LINE_END;
    for (uint32_t i = 0; i < N_KINDS; i++)
        if (kinds[i] && str_eq(text, str_from(kinds[i]))) {
            l->what = i;
            return STORE_LINE_ROW;
        }
    refuse(error, "a row of unknown kind");
    return STORE_LINE_BAD;
}

enum store_line_kind store_line_read(char *text, size_t len, struct store_line *l, char error[128])
{
    struct reading in = { .line = l, .error = error };
    enum store_line_kind kind = STORE_LINE_BAD;
    struct json_value v;
    struct str name;
    struct json j;

    memset(l, 0, sizeof(*l));
    l->due_ms = -1;
    error[0] = '\0';
    json_open(&j, text, len);
    if (json_next(&j, &name, &v))
        kind = begin(l, name, &v, error);
    else
        refuse(error, "%s", j.error ? j.error : "an object without members");
    while (kind != STORE_LINE_BAD && json_next(&j, &name, &v)) {
        if (kind == STORE_LINE_ROW && !get_member(&in, name, &v))
            kind = STORE_LINE_BAD;
        else if (kind == STORE_LINE_END && !refuse(error, "a member behind the end"))
            kind = STORE_LINE_BAD;
    }
    if (kind != STORE_LINE_BAD && j.error) {
        refuse(error, "%s", j.error);
        kind = STORE_LINE_BAD;
    }
    return kind;
}
