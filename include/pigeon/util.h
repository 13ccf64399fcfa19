/* pigeon/util.h - small helpers for plugins, all inline. Included by <pigeon/plugin.h>.
 *
 * Nothing here crosses between broker and plugin; a plugin may use its own instead. Filters and
 * properties that the broker hands over are well-formed. */
#ifndef PIGEON_UTIL_H
#define PIGEON_UTIL_H
#include <pigeon/host.h>
#include <pigeon/types.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- text and bytes ----------------------------------------------------------------------------
 */

static inline pigeon_str pigeon_text(const char *ptr, size_t len)
{
    pigeon_str s;

    memset(&s, 0, sizeof(s));
    s.ptr = ptr;
    s.len = (uint32_t)len;
    return s;
}

/* Of a NUL-terminated string; NULL gives the empty text. */
static inline pigeon_str pigeon_z(const char *z)
{
    return pigeon_text(z, z ? strlen(z) : 0);
}

static inline pigeon_bytes pigeon_data(const void *ptr, size_t len)
{
    pigeon_bytes b;

    memset(&b, 0, sizeof(b));
    b.ptr = (const uint8_t *)ptr;
    b.len = (uint32_t)len;
    return b;
}

static inline int pigeon_eq(pigeon_str a, pigeon_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline int pigeon_starts(pigeon_str s, pigeon_str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

/* Is `given` the secret? Takes the same time wherever they differ; it tells the length of `given`
 * only. */
static inline int pigeon_same(pigeon_bytes secret, pigeon_bytes given)
{
    volatile uint32_t diff = secret.len ^ given.len;

    for (uint32_t i = 0; i < given.len; i++) {
        uint32_t want = secret.len ? secret.ptr[i % secret.len] : 0u;

        diff = diff | (want ^ given.ptr[i]);
    }
    return diff == 0;
}

/* ---- topics ------------------------------------------------------------------------------------
 */

/* Does the topic filter (valid, without $share/NAME/) match the topic name? [MQTT-4.7] */
static inline int pigeon_topic_matches(pigeon_str filter, pigeon_str topic)
{
    uint32_t f = 0, t = 0;

    if (filter.len == 0 || topic.len == 0)
        return 0;
    if (topic.ptr[0] == '$' && (filter.ptr[0] == '+' || filter.ptr[0] == '#'))
        return 0;
    while (f < filter.len) {
        if (filter.ptr[f] == '#')
            return 1;
        if (filter.ptr[f] == '+') {
            while (t < topic.len && topic.ptr[t] != '/')
                t++;
            f++;
        } else if (t < topic.len && topic.ptr[t] == filter.ptr[f]) {
            t++;
            f++;
        } else { /* "a/#" matches "a", too */
            return t == topic.len && filter.len - f == 2 && filter.ptr[f] == '/' &&
                   filter.ptr[f + 1] == '#';
        }
    }
    return t == topic.len;
}

/* ---- MQTT 5 properties -------------------------------------------------------------------------
 */

#define PIGEON_PROP_PAYLOAD_FORMAT      0x01u /* number */
#define PIGEON_PROP_CONTENT_TYPE        0x03u
#define PIGEON_PROP_RESPONSE_TOPIC      0x08u
#define PIGEON_PROP_CORRELATION_DATA    0x09u
#define PIGEON_PROP_SESSION_EXPIRY      0x11u /* number */
#define PIGEON_PROP_AUTH_METHOD         0x15u
#define PIGEON_PROP_AUTH_DATA           0x16u
#define PIGEON_PROP_REQUEST_PROBLEM     0x17u /* number */
#define PIGEON_PROP_REQUEST_RESPONSE    0x19u /* number */
#define PIGEON_PROP_RESPONSE_INFO       0x1au
#define PIGEON_PROP_SERVER_REFERENCE    0x1cu
#define PIGEON_PROP_REASON_STRING       0x1fu
#define PIGEON_PROP_RECEIVE_MAXIMUM     0x21u /* number */
#define PIGEON_PROP_TOPIC_ALIAS_MAXIMUM 0x22u /* number */
#define PIGEON_PROP_USER_PROPERTY       0x26u /* name and value */
#define PIGEON_PROP_MAXIMUM_PACKET_SIZE 0x27u /* number */

typedef struct pigeon_prop {
    uint32_t id;
    uint32_t number;    /* value of those that are numbers                          */
    pigeon_str name;    /* user property only; a view, no NUL behind it             */
    pigeon_bytes value; /* text or binary; a view                                   */
} pigeon_prop;

static inline uint32_t pigeon_prop_number_(const uint8_t *at, uint32_t n)
{
    uint32_t v = 0;

    for (uint32_t i = 0; i < n; i++)
        v = v << 8 | at[i];
    return v;
}

/* Bytes of a variable byte integer at the head of `b`, 0: malformed. */
static inline uint32_t pigeon_prop_varint_(pigeon_bytes b, uint32_t *value)
{
    uint32_t v = 0;

    for (uint32_t i = 0; i < 4 && i < b.len; i++) {
        v |= (uint32_t)(b.ptr[i] & 0x7fu) << (7u * i);
        if (!(b.ptr[i] & 0x80u)) {
            *value = v;
            return i + 1;
        }
    }
    return 0;
}

/* Takes a two-byte length and as many bytes off the head of `rest`; 0: malformed. */
static inline int pigeon_prop_field_(pigeon_bytes *rest, pigeon_bytes *field)
{
    uint32_t len;

    if (rest->len < 2)
        return 0;
    len = pigeon_prop_number_(rest->ptr, 2);
    if (rest->len - 2 < len)
        return 0;
    *field = pigeon_data(rest->ptr + 2, len);
    *rest = pigeon_data(rest->ptr + 2 + len, rest->len - 2 - len);
    return 1;
}

/* Bytes of a property's number; 0: it is text or binary. */
static inline uint32_t pigeon_prop_width_(uint32_t id)
{
    switch (id) {
    case 0x01u:
    case 0x17u:
    case 0x19u:
    case 0x24u:
    case 0x25u:
    case 0x28u:
    case 0x29u:
    case 0x2au: return 1;
    case 0x13u:
    case 0x21u:
    case 0x22u:
    case 0x23u: return 2;
    case 0x02u:
    case 0x11u:
    case 0x18u:
    case 0x27u: return 4;
    default: return 0;
    }
}

/* Walks properties as they are on the wire (without their length in front):
 *
 *     pigeon_bytes rest = msg->props;
 *     pigeon_prop p;
 *     while (pigeon_prop_next(&rest, &p) == 1)
 *         ...
 *
 * 1: one more in `out`; 0: that was all; PIGEON_E_INVAL: malformed or unknown, stop. */
static inline int32_t pigeon_prop_next(pigeon_bytes *rest, pigeon_prop *out)
{
    uint32_t n, width;

    if (rest->len == 0)
        return 0;
    memset(out, 0, sizeof(*out));
    n = pigeon_prop_varint_(*rest, &out->id);
    if (n == 0 || out->id == 0 || out->id > 0x2au)
        return PIGEON_E_INVAL;
    *rest = pigeon_data(rest->ptr + n, rest->len - n);
    width =
        out->id == 0x0bu ? pigeon_prop_varint_(*rest, &out->number) : pigeon_prop_width_(out->id);
    if (width > rest->len || (out->id == 0x0bu && width == 0))
        return PIGEON_E_INVAL;
    if (width) {
        if (out->id != 0x0bu)
            out->number = pigeon_prop_number_(rest->ptr, width);
        *rest = pigeon_data(rest->ptr + width, rest->len - width);
        return 1;
    }
    if (!pigeon_prop_field_(rest, &out->value))
        return PIGEON_E_INVAL;
    if (out->id == PIGEON_PROP_USER_PROPERTY) {
        out->name = pigeon_text((const char *)out->value.ptr, out->value.len);
        if (!pigeon_prop_field_(rest, &out->value))
            return PIGEON_E_INVAL;
    }
    return 1;
}

/* ---- log ---------------------------------------------------------------------------------------
 */

/* host->log with printf's formats; lines are cut after a kilobyte. [any] */
__attribute__((format(printf, 3, 4))) static inline void
pigeon_logf(const pigeon_host *host, uint32_t level, const char *format, ...)
{
    char line[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    host->log(host->inst, level, line);
}

#endif
