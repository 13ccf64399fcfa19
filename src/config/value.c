#include "config/value.h"
#include "base/network.h"
#include "config/config.h"
#include "config/secret.h"
#include "config/suggest.h"
#include "config/yaml.h"
#include <errno.h>
#include <inttypes.h>

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit size_units[] = { { "T", INT64_C(1) << 40 },
                                          { "G", INT64_C(1) << 30 },
                                          { "M", INT64_C(1) << 20 },
                                          { "k", INT64_C(1) << 10 },
                                          { "", 1 } };
static const struct unit time_units[] = { { "w", 604800000 }, { "d", 86400000 }, { "h", 3600000 },
                                          { "m", 60000 },     { "s", 1000 },     { "ms", 1 } };
#define N(array) (sizeof(array) / sizeof((array)[0]))

enum number { NUMBER_OK, NUMBER_BAD, NUMBER_TOO_LARGE };

static enum number read_digits(const char **text, int64_t *r_number)
{
    const char *p = *text;
    int64_t n = 0;
    bool large = false;
    if (*p < '0' || *p > '9')
        return NUMBER_BAD;
    for (; *p >= '0' && *p <= '9'; p++)
        large =
            __builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n) || large;
    *text = p;
    *r_number = n;
    return large ? NUMBER_TOO_LARGE : NUMBER_OK;
}

static enum number read_int(const char *text, int64_t *r_number)
{
    bool negative = *text == '-';
    text += negative || *text == '+';
    int64_t n;
    enum number result = read_digits(&text, &n);
    if (*text)
        return NUMBER_BAD;
    if (result == NUMBER_OK)
        *r_number = negative ? -n : n;
    return result;
}

/* 4096, 256k, 10M, 1G; also 256kB and 256KiB. */
static enum number read_size(const char *text, int64_t *r_number)
{
    int64_t n;
    enum number result = read_digits(&text, &n);
    if (result == NUMBER_BAD)
        return NUMBER_BAD;
    int64_t factor = 1;
    for (const struct unit *u = size_units; *u->name; u++)
        if ((*text | 0x20) == (*u->name | 0x20))
            factor = u->factor;
    if (factor > 1)
        text++;
    if (factor > 1 && text[0] == 'i' && text[1] == 'B')
        text += 2;
    else if (*text == 'B')
        text++;
    if (*text)
        return NUMBER_BAD;
    if (result != NUMBER_OK || __builtin_mul_overflow(n, factor, r_number))
        return NUMBER_TOO_LARGE;
    return NUMBER_OK;
}

/* 1500ms, 30s, 1h30m; 0 needs no unit, and nothing does when bare numbers are seconds. */
static enum number read_time(const char *text, bool bare_seconds, int64_t *r_number)
{
    int64_t total = 0;
    bool large = false;
    const char *start = text;
    do {
        int64_t n, part;
        enum number result = read_digits(&text, &n);
        if (result == NUMBER_BAD)
            return NUMBER_BAD;
        size_t len = strspn(text, "abcdefghijklmnopqrstuvwxyz");
        const struct unit *unit = NULL;
        for (size_t i = 0; i < N(time_units); i++)
            if (strlen(time_units[i].name) == len && !memcmp(time_units[i].name, text, len))
                unit = &time_units[i];
        bool bare = !len && !*text && (bare_seconds || n == 0) &&
                    (size_t)(text - start) == strspn(start, "0123456789");
        if (!unit && !bare)
            return NUMBER_BAD;
        large = __builtin_mul_overflow(n, unit ? unit->factor : 1000, &part) || large;
        large = __builtin_add_overflow(total, part, &total) || large || result != NUMBER_OK;
        text += len;
    } while (*text);
    *r_number = total;
    return large ? NUMBER_TOO_LARGE : NUMBER_OK;
}

static enum number read_octal(const char *text, int64_t *r_number)
{
    size_t len = strspn(text, "01234567");
    if (len < 3 || len > 4 || text[len])
        return NUMBER_BAD;
    int64_t n = 0;
    for (; *text; text++)
        n = n * 8 + (*text - '0');
    *r_number = n;
    return NUMBER_OK;
}

const char *value_type_word(uint32_t type)
{
    static const char *const words[] = { "",     "bool",   "int",  "size", "time", "string",
                                         "path", "secret", "enum", "list", "tree" };
    return type < N(words) ? words[type] : "?";
}

const char *value_type_name(uint32_t type, uint32_t core_flags)
{
    if (core_flags & CORE_OCTAL)
        return "permissions such as '0660'";
    switch (type) {
    case PIGEON_T_BOOL: return "true or false";
    case PIGEON_T_INT: return core_flags & CORE_AUTO ? "a whole number or auto" : "a whole number";
    case PIGEON_T_SIZE:
        return core_flags & CORE_AUTO ? "a size such as 256k or 10M, or auto"
                                      : "a size such as 4096, 256k or 10M";
    case PIGEON_T_TIME:
        return core_flags & CORE_SECONDS ? "a time such as 90 (seconds), 30s or 5m"
                                         : "a time with unit such as 500ms, 30s or 5m";
    case PIGEON_T_STRING: return "text";
    case PIGEON_T_PATH: return "a file name";
    case PIGEON_T_SECRET: return "text, !file PATH or !env NAME";
    case PIGEON_T_LIST: return "a list";
    case PIGEON_T_TREE: return "a block";
    default: return "a value";
    }
}

static const char *print_number(uint32_t type, int64_t n, char *out, size_t room)
{
    const struct unit *units = type == PIGEON_T_TIME ? time_units : size_units;
    size_t n_units = type == PIGEON_T_TIME ? N(time_units) : N(size_units);
    if (type == PIGEON_T_TIME && n == 0)
        return snprintf(out, room, "0s"), out;
    if (type == PIGEON_T_TIME || type == PIGEON_T_SIZE)
        for (size_t i = type == PIGEON_T_TIME ? 1 : 0; i < n_units && n > 0; i++)
            if (n % units[i].factor == 0) {
                snprintf(out, room, "%" PRId64 "%s", n / units[i].factor, units[i].name);
                return out;
            }
    snprintf(out, room, "%" PRId64, n);
    return out;
}

const char *value_range(const pigeon_option *o, uint32_t core_flags, char *out, size_t room)
{
    char low[32], high[32];
    out[0] = '\0';
    if ((o->min == 0 && o->max == 0) || core_flags & CORE_OCTAL)
        return out;
    const char *what = o->type == PIGEON_T_LIST                                   ? " items"
                       : o->type == PIGEON_T_STRING || o->type == PIGEON_T_SECRET ? " bytes"
                                                                                  : "";
    print_number(o->type, o->min, low, sizeof(low));
    print_number(o->type, o->max, high, sizeof(high));
    if (o->max == INT64_MAX)
        snprintf(out, room, "at least %s%s", low, what);
    else
        snprintf(out, room, "%s to %s%s", low, high, what);
    return out;
}

struct reader {
    struct value_env *env;
    const pigeon_option *o;
    uint32_t core_flags;
    struct place at; /* without width for a secret: its line is not shown */
};

static bool out_of_range(struct reader *r, const char *found)
{
    char range[80];
    diag_error(r->env->diag, r->at, "'%s' must be %s, found %s", r->o->key,
               value_range(r->o, r->core_flags, range, sizeof(range)), found);
    return false;
}

static bool wrong_type(struct reader *r, const struct node *node)
{
    char what[80];
    bool hide = r->o->type == PIGEON_T_SECRET && node->kind == NODE_SCALAR;
    diag_error(r->env->diag, r->at, "'%s' must be %s, found %s", r->o->key,
               value_type_name(r->o->type, r->core_flags),
               hide ? "something else" : node_describe(node, what, sizeof(what)));
    return false;
}

static bool no_memory(struct reader *r)
{
    r->env->diag->no_memory = true;
    return false;
}

static bool in_range(const pigeon_option *o, int64_t n)
{
    return (o->min == 0 && o->max == 0) || (n >= o->min && n <= o->max);
}

static bool read_number(struct reader *r, const struct node *node, struct value *v)
{
    const char *text = node->text.ptr;
    uint32_t type = r->o->type;
    if (r->core_flags & CORE_AUTO && !strcmp(text, "auto")) {
        v->num = CONFIG_AUTO;
        return true;
    }
    enum number result = NUMBER_BAD;
    if (strlen(text) != node->text.len)
        return wrong_type(r, node);
    if (type == PIGEON_T_INT && node->plain)
        result = read_int(text, &v->num);
    else if (type == PIGEON_T_SIZE)
        result = read_size(text, &v->num);
    else if (type == PIGEON_T_TIME)
        result = read_time(text, r->core_flags & CORE_SECONDS, &v->num);
    else if (type == PIGEON_T_STRING)
        result = read_octal(text, &v->num);
    if (result == NUMBER_BAD)
        return wrong_type(r, node);
    if (result == NUMBER_TOO_LARGE && r->o->max == 0) {
        diag_error(r->env->diag, r->at, "'%s': %s is too large", r->o->key, text);
        return false;
    }
    if (result == NUMBER_TOO_LARGE || !in_range(r->o, v->num))
        return out_of_range(r, text);
    return true;
}

static bool read_bool(struct reader *r, const struct node *node, struct value *v)
{
    bool yes = node->plain && str_eq(node->text, STR("true"));
    if (!yes && !(node->plain && str_eq(node->text, STR("false"))))
        return wrong_type(r, node);
    v->num = yes;
    return true;
}

static bool read_enum(struct reader *r, const struct node *node, struct value *v)
{
    int64_t index = 0;
    const char *words = r->o->allowed ? r->o->allowed : "";
    for (const char *p = words; *p; index++) {
        size_t len = strcspn(p, "|");
        if (str_eq(node->text, str_make(p, len))) {
            v->num = index;
            v->text = node->text;
            return true;
        }
        p += len + (p[len] == '|');
    }
    struct suggest s;
    char hint[80], what[80], list[200];
    suggest_init(&s, node->text);
    suggest_offer_words(&s, words);
    size_t at = 0;
    for (const char *p = words; *p && at + 40 < sizeof(list);) {
        int len = (int)strcspn(p, "|");
        bool last = !p[len] || !strchr(p + len + 1, '|');
        at += (size_t)snprintf(list + at, sizeof(list) - at, "%.*s%s", len > 30 ? 30 : len, p,
                               !p[len] ? ""
                               : last  ? " or "
                                       : ", ");
        p += len + (p[len] == '|');
    }
    diag_error(r->env->diag, r->at, "'%s' must be %s, found %s%s", r->o->key, at ? list : "nothing",
               node_describe(node, what, sizeof(what)), suggest_text(&s, hint, sizeof(hint)));
    return false;
}

bool value_is_name(struct str name)
{
    for (uint32_t i = 0; i < name.len; i++) {
        char c = name.ptr[i];
        bool letter = ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= '0' && c <= '9');
        if (!letter && (c == '\0' || !strchr("._-", c)))
            return false;
    }
    return name.len > 0;
}

bool value_is_filter(struct str filter)
{
    for (uint32_t i = 0; i < filter.len; i++) {
        char c = filter.ptr[i];
        if (c == '\0')
            return false;
        if (c != '+' && c != '#')
            continue;
        if (i && filter.ptr[i - 1] != '/')
            return false;
        if (i + 1 < filter.len && (c == '#' || filter.ptr[i + 1] != '/'))
            return false;
    }
    return filter.len > 0 && filter.len <= UINT16_MAX;
}

bool value_is_origin(struct str origin)
{
    const char *host = memmem(origin.ptr, origin.len, "://", 3);
    if (str_eq(origin, STR("*")))
        return true;
    if (!host || host == origin.ptr)
        return false;
    for (uint32_t i = 0; i < origin.len; i++)
        if (origin.ptr[i] <= ' ' || origin.ptr[i] > '~' || strchr("\\?#@*,\"", origin.ptr[i]))
            return false;
    host += 3;
    size_t len = origin.len - (size_t)(host - origin.ptr);
    return len > 0 && !memchr(host, '/', len);
}

/* What a text must be besides text; `at` of the item for one in a list. */
static bool check_text(struct reader *r, struct str text, struct place at)
{
    const char *wrong = NULL;
    struct network network;
    if (memchr(text.ptr, '\0', text.len))
        wrong = "a NUL cannot be in it";
    else if (r->core_flags & CORE_NAME && !value_is_name(text))
        wrong = "only letters, digits, '.', '-' and '_' can be in a name";
    else if (r->core_flags & CORE_FILTERS && !value_is_filter(text))
        wrong = "not a topic filter";
    else if (r->core_flags & CORE_NETWORKS && !network_parse(text.ptr, &network))
        wrong = "not a network such as 10.0.0.0/8, an address, or local";
    else if (r->core_flags & CORE_ORIGINS && !value_is_origin(text))
        wrong = "not an origin such as https://app.example:8443, or *";
    else if (r->o->type == PIGEON_T_PATH && !text.len)
        wrong = "a file name cannot be empty";
    if (wrong)
        diag_error(r->env->diag, at, "'%s': %s", r->o->key, wrong);
    return !wrong;
}

static bool read_text(struct reader *r, const struct node *node, struct value *v)
{
    bool secret = r->o->type == PIGEON_T_SECRET;
    v->text = node->text;
    if (node->tag && !secret) {
        diag_error(r->env->diag, r->at, "%s is only for secrets; '%s' is not one", node->tag,
                   r->o->key);
        return false;
    }
    if (node->tag) {
        int err = secret_resolve(node, r->env->arena, r->env->diag, &v->text);
        if (err == -ENOMEM)
            return no_memory(r);
        if (err)
            return false;
    }
    if (!check_text(r, v->text, r->at))
        return false;
    bool bare = r->core_flags & CORE_PATHS && !memchr(v->text.ptr, '/', v->text.len);
    if (r->o->type == PIGEON_T_PATH && !bare) {
        char *path = secret_path(node->place.source, v->text, r->env->arena);
        if (!path)
            return no_memory(r);
        v->text = str_from(path);
        return true;
    }
    if (!in_range(r->o, v->text.len)) {
        char found[32];
        snprintf(found, sizeof(found), "%u", v->text.len);
        return out_of_range(r, found);
    }
    return true;
}

static bool read_item(struct reader *r, const struct node *item, struct str *r_text)
{
    if (item->kind != NODE_SCALAR || item->tag || node_is_null(item)) {
        char what[80];
        diag_error(r->env->diag, item->place, "'%s' must be a list of text, found %s in it",
                   r->o->key, item->tag ? item->tag : node_describe(item, what, sizeof(what)));
        return false;
    }
    if (!check_text(r, item->text, item->place))
        return false;
    *r_text = item->text;
    if (r->core_flags & CORE_PATHS) {
        char *path = secret_path(item->place.source, item->text, r->env->arena);
        if (!path)
            return no_memory(r);
        *r_text = str_from(path);
    }
    return true;
}

/* A single text is a list of one; nothing is an empty list. */
static bool read_list(struct reader *r, const struct node *node, struct value *v)
{
    if (node->kind == NODE_MAP)
        return wrong_type(r, node);
    bool single = node->kind == NODE_SCALAR;
    uint32_t n = single ? !node_is_null(node) : node->n;
    v->items = arena_array(r->env->arena, n, sizeof(*v->items));
    if (!v->items)
        return no_memory(r);
    bool ok = true;
    for (uint32_t i = 0; i < n; i++)
        ok = read_item(r, single ? node : node->items[i], &v->items[i]) && ok;
    v->n_items = n;
    if (ok && !in_range(r->o, n)) {
        char found[32];
        snprintf(found, sizeof(found), "%u", n);
        return out_of_range(r, found);
    }
    return ok;
}

static bool read_tree(struct reader *r, const struct node *node, struct value *v)
{
    struct buf json;
    buf_init(&json);
    int err = node_to_json(node, r->env->arena, r->env->diag, &json);
    if (!err) {
        char *copy = arena_dup(r->env->arena, buf_str(&json));
        v->text = str_from(copy);
        err = copy ? 0 : -ENOMEM;
    }
    buf_fini(&json);
    return err == -ENOMEM ? no_memory(r) : !err;
}

static bool read_any(struct reader *r, const struct node *node, struct value *v)
{
    uint32_t type = r->o->type;
    if (type == PIGEON_T_LIST)
        return read_list(r, node, v);
    if (type == PIGEON_T_TREE)
        return read_tree(r, node, v);
    if (node->kind != NODE_SCALAR)
        return wrong_type(r, node);
    if (node_is_null(node) && !node->tag) {
        diag_error(r->env->diag, r->at, "'%s' has no value: it must be %s", r->o->key,
                   type == PIGEON_T_ENUM ? r->o->allowed : value_type_name(type, r->core_flags));
        return false;
    }
    if (type == PIGEON_T_STRING && r->core_flags & CORE_OCTAL)
        return read_number(r, node, v);
    if (type == PIGEON_T_STRING || type == PIGEON_T_PATH || type == PIGEON_T_SECRET)
        return read_text(r, node, v);
    if (node->tag) {
        diag_error(r->env->diag, r->at, "%s is only for secrets; '%s' is not one", node->tag,
                   r->o->key);
        return false;
    }
    if (type == PIGEON_T_BOOL)
        return read_bool(r, node, v);
    return type == PIGEON_T_ENUM ? read_enum(r, node, v) : read_number(r, node, v);
}

bool value_read(struct value_env *env, const pigeon_option *option, uint32_t core_flags,
                const struct node *node, struct value *r_value)
{
    struct reader r = { .env = env, .o = option, .core_flags = core_flags, .at = node->place };
    if (option->type == PIGEON_T_SECRET)
        r.at.width = 0;
    struct value v = { .present = true, .written = true };
    if (!read_any(&r, node, &v))
        return false;
    *r_value = v;
    return true;
}

bool value_preset(struct value_env *env, const pigeon_option *option, uint32_t core_flags,
                  struct place at, struct value *r_value)
{
    if (!option->preset) {
        *r_value = (struct value){ 0 };
        return true;
    }
    const struct node *node = NULL;
    struct source *source = arena_alloc(env->arena, sizeof(*source));
    const char *name = source ? arena_printf(env->arena, "default of '%s'", option->key) : NULL;
    char *text = arena_dup(env->arena, str_from(option->preset));
    if (!name || !text) {
        env->diag->no_memory = true;
        return false;
    }
    *source = (struct source){ .name = name,
                               .text = str_from(text),
                               .dir = "",
                               .order = at.source ? at.source->order : 0,
                               .is_override = true };
    struct place place = { .source = source };
    uint32_t before = env->diag->n_errors;
    if (option->type == PIGEON_T_LIST || option->type == PIGEON_T_TREE)
        yaml_parse(env->arena, source, env->diag, &node);
    if (env->diag->n_errors != before)
        return false;
    /* An empty text is a value as a preset; only a written one has to be in quotes. */
    bool plain = source->text.len || option->type == PIGEON_T_LIST;
    if (!node && !(node = node_new_scalar(env->arena, source->text, plain, place))) {
        env->diag->no_memory = true;
        return false;
    }
    struct value v;
    if (!value_read(env, option, core_flags, node, &v))
        return false;
    v.written = false;
    *r_value = v;
    return true;
}

bool value_equal(const struct value *a, const struct value *b)
{
    if (a->present != b->present || a->num != b->num || !str_eq(a->text, b->text) ||
        a->n_items != b->n_items)
        return false;
    for (uint32_t i = 0; i < a->n_items; i++)
        if (!str_eq(a->items[i], b->items[i]))
            return false;
    return true;
}

static int print_list(const struct value *value, struct buf *out)
{
    int err = buf_append(out, "[", 1);
    for (uint32_t i = 0; i < value->n_items && !err; i++) {
        err = i ? buf_append(out, ", ", 2) : 0;
        if (!err)
            err = buf_append_str(out, value->items[i]);
    }
    return err ? err : buf_append(out, "]", 1);
}

int value_print(const pigeon_option *option, uint32_t core_flags, const struct value *value,
                struct buf *out)
{
    char number[32];
    if (!value->present)
        return buf_append_str(out, STR("(none)"));
    if (core_flags & CORE_AUTO && value->num == CONFIG_AUTO)
        return buf_append_str(out, STR("auto"));
    if (core_flags & CORE_OCTAL)
        return buf_printf(out, "0%03" PRIo64, (uint64_t)value->num);
    switch (option->type) {
    case PIGEON_T_BOOL: return buf_append_str(out, value->num ? STR("true") : STR("false"));
    case PIGEON_T_SECRET: return buf_append_str(out, STR("(secret)"));
    case PIGEON_T_LIST: return print_list(value, out);
    case PIGEON_T_INT:
    case PIGEON_T_SIZE:
    case PIGEON_T_TIME:
        return buf_append_str(
            out, str_from(print_number(option->type, value->num, number, sizeof(number))));
    default: return buf_append_str(out, value->text);
    }
}
