#include "pigeond/store_json.h"
#include "base/utf8.h"
#include <errno.h>

static bool fail(struct json *j, const char *error)
{
    if (!j->error)
        j->error = error;
    return false;
}

static void skip_space(struct json *j)
{
    while (j->at < j->end && (*j->at == ' ' || *j->at == '\t' || *j->at == '\r'))
        j->at++;
}

static bool take(struct json *j, char c)
{
    skip_space(j);
    if (j->at == j->end || *j->at != c)
        return false;
    j->at++;
    return true;
}

static bool take_word(struct json *j, struct str word)
{
    if ((size_t)(j->end - j->at) < word.len || memcmp(j->at, word.ptr, word.len) != 0)
        return false;
    j->at += word.len;
    return true;
}

/* ---- strings --------------------------------------------------------------------------------- */

static bool hex4(struct json *j, uint32_t *r_code)
{
    *r_code = 0;
    if (j->end - j->at < 4)
        return fail(j, "a \\u escape is cut off");
    for (int i = 0; i < 4; i++) {
        char c = *j->at++;
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;

        if (d < 0)
            return fail(j, "a \\u escape needs four hexadecimal digits");
        *r_code = *r_code << 4 | (uint32_t)d;
    }
    return true;
}

/* Behind "\u"; never longer than what it is written with. */
static bool put_code(struct json *j, char **out)
{
    uint32_t code, low;

    if (!hex4(j, &code))
        return false;
    if (code >= 0xd800 && code < 0xdc00) {
        if (!take_word(j, STR("\\u")) || !hex4(j, &low) || low < 0xdc00 || low > 0xdfff)
            return fail(j, "half a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    } else if (code >= 0xdc00 && code < 0xe000) {
        return fail(j, "half a surrogate pair");
    }
    if (code < 0x80) {
        *(*out)++ = (char)code;
        return true;
    }
    int more = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    static const uint8_t lead[] = { 0, 0xc0, 0xe0, 0xf0 };
    *(*out)++ = (char)(lead[more] | code >> (6 * more));
    while (more-- > 0)
        *(*out)++ = (char)(0x80 | (code >> (6 * more) & 63));
    return true;
}

static bool put_escape(struct json *j, char **out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    char c = j->at < j->end ? *j->at++ : '\0';
    const char *at = c ? strchr(from, c) : NULL;

    if (c == 'u')
        return put_code(j, out);
    if (!at)
        return fail(j, "an unknown escape in a string");
    *(*out)++ = to[at - from];
    return true;
}

static bool read_string(struct json *j, char **r_text, uint32_t *r_len)
{
    char *out = j->at, *start = out;

    for (;;) {
        if (j->at == j->end)
            return fail(j, "a string does not end");
        char c = *j->at++;
        if (c == '"')
            break;
        if ((uint8_t)c < 0x20)
            return fail(j, "a control character in a string");
        if (c != '\\')
            *out++ = c;
        else if (!put_escape(j, &out))
            return false;
    }
    if (!utf8_is_valid(start, (size_t)(out - start)))
        return fail(j, "a string is not UTF-8");
    *r_text = start;
    *r_len = (uint32_t)(out - start);
    return true;
}

/* ---- values ---------------------------------------------------------------------------------- */

static bool read_number(struct json *j, bool *r_negative, uint64_t *r_number)
{
    const char *first;
    uint64_t n = 0;

    *r_negative = j->at < j->end && *j->at == '-';
    j->at += *r_negative;
    first = j->at;
    for (; j->at < j->end && *j->at >= '0' && *j->at <= '9'; j->at++) {
        uint64_t d = (uint64_t)(*j->at - '0');

        if (n > (UINT64_MAX - d) / 10)
            return fail(j, "a number is too large");
        n = n * 10 + d;
    }
    if (j->at == first)
        return fail(j, "a value is missing");
    if (*first == '0' && j->at - first > 1)
        return fail(j, "a number begins with 0");
    if (j->at < j->end && strchr(".eE", *j->at) && *j->at)
        return fail(j, "a number is not whole");
    *r_number = n;
    return true;
}

static bool read_list(struct json *j, struct json_value *v)
{
    v->type = JSON_LIST;
    if (take(j, ']'))
        return true;
    do {
        bool negative;
        uint64_t n;

        skip_space(j);
        if (!read_number(j, &negative, &n))
            return false;
        if (negative || n > UINT32_MAX)
            return fail(j, "a number in a list is too large or too small");
        if (v->n_list == JSON_LIST_MAX)
            return fail(j, "a list is too long");
        v->list[v->n_list++] = (uint32_t)n;
    } while (take(j, ','));
    return take(j, ']') || fail(j, "a list does not end");
}

static bool read_value(struct json *j, struct json_value *v)
{
    v->n_list = 0;
    skip_space(j);
    if (j->at == j->end)
        return fail(j, "a value is missing");
    if (take(j, '"')) {
        v->type = JSON_STRING;
        return read_string(j, &v->text, &v->len);
    }
    if (take(j, '['))
        return read_list(j, v);
    if (take(j, '{'))
        return fail(j, "an object within the object");
    if (take_word(j, STR("null"))) {
        v->type = JSON_NULL;
        return true;
    }
    if (take_word(j, STR("true"))) {
        v->type = JSON_TRUE;
        return true;
    }
    if (take_word(j, STR("false"))) {
        v->type = JSON_FALSE;
        return true;
    }
    v->type = JSON_NUMBER;
    return read_number(j, &v->negative, &v->number);
}

/* ---- members --------------------------------------------------------------------------------- */

void json_open(struct json *j, char *line, size_t len)
{
    *j = (struct json){ .at = line, .end = len ? line + len : line, .first = true };
    if (!take(j, '{'))
        fail(j, "a line must be one JSON object: '{' is missing");
}

bool json_next(struct json *j, struct str *r_name, struct json_value *r_value)
{
    char *name = NULL;
    uint32_t len = 0;

    if (j->error)
        return false;
    if (take(j, '}')) {
        skip_space(j);
        return j->at == j->end ? false : fail(j, "something stands behind the object");
    }
    if (!j->first && !take(j, ','))
        return fail(j, "',' or '}' is missing");
    j->first = false;
    if (!take(j, '"'))
        return fail(j, "a member's name is missing");
    if (!read_string(j, &name, &len))
        return false;
    if (!take(j, ':'))
        return fail(j, "':' is missing");
    *r_name = str_make(name, len);
    return read_value(j, r_value);
}

/* ---- writing --------------------------------------------------------------------------------- */

static int put_escaped(struct buf *out, uint8_t c)
{
    switch (c) {
    case '"': return buf_append(out, "\\\"", 2);
    case '\\': return buf_append(out, "\\\\", 2);
    case '\n': return buf_append(out, "\\n", 2);
    case '\r': return buf_append(out, "\\r", 2);
    case '\t': return buf_append(out, "\\t", 2);
    default: return buf_printf(out, "\\u%04x", c);
    }
}

int json_put_string(struct buf *out, struct str text)
{
    uint32_t from = 0;
    int r = buf_append(out, "\"", 1);

    for (uint32_t i = 0; i < text.len && !r; i++) {
        uint8_t c = (uint8_t)text.ptr[i];

        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        r = buf_append(out, text.ptr + from, i - from);
        if (!r)
            r = put_escaped(out, c);
        from = i + 1;
    }
    if (!r && from < text.len)
        r = buf_append(out, text.ptr + from, text.len - from);
    return r ? r : buf_append(out, "\"", 1);
}
