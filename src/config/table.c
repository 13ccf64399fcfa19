#include "config/table.h"
#include "config/config.h"
#include "config/suggest.h"
#include "config/tables.h"
#include <errno.h>

pigeon_option table_row(const struct table *t, uint32_t i)
{
    pigeon_option row = { 0 };
    size_t size = t->stride < sizeof(row) ? t->stride : sizeof(row);
    memcpy(&row, (const char *)t->rows + (size_t)i * t->stride, size);
    return row;
}

uint32_t table_core_flags(const struct table *t, uint32_t i)
{
    return t->is_core ? ((const struct core_option *)t->rows)[i].core_flags : 0;
}

bool table_check(const struct table *t, struct diag *d)
{
    struct place nowhere = { 0 };
    uint32_t before = d->n_errors;
    if (t->n && (!t->rows || t->stride < offsetof(pigeon_option, flags)))
        diag_error(d, nowhere, "the option table %s is no table", t->where);
    for (uint32_t i = 0; i < t->n && d->n_errors == before; i++) {
        pigeon_option o = table_row(t, i);
        if (!o.key || !value_is_name(str_from(o.key)))
            diag_error(d, nowhere, "option %u %s has no proper name", i, t->where);
        else if (o.type < PIGEON_T_BOOL || o.type > PIGEON_T_TREE)
            diag_error(d, nowhere, "option '%s' %s has an unknown type %u", o.key, t->where,
                       o.type);
        else if (o.type == PIGEON_T_ENUM && (!o.allowed || !*o.allowed))
            diag_error(d, nowhere, "option '%s' %s allows no word", o.key, t->where);
        else if (o.min > o.max)
            diag_error(d, nowhere, "option '%s' %s has no value in its range", o.key, t->where);
        for (uint32_t k = 0; k < i && d->n_errors == before; k++)
            if (!strcmp(table_row(t, k).key, o.key))
                diag_error(d, nowhere, "option '%s' %s is there twice", o.key, t->where);
    }
    return d->n_errors == before;
}

static bool is_section(const struct table *t, struct str key)
{
    for (const char *const *s = t->sections; s && *s; s++)
        if (str_eq(key, str_from(*s)))
            return true;
    return false;
}

/* Words of other brokers and of other places, too far from ours to be found by their letters. */
static const char *other_word(const struct table *t, struct str key)
{
    static const struct {
        const char *word, *key;
    } words[] = { { "address", "bind" },  { "addresses", "bind" }, { "host", "bind" },
                  { "hostname", "bind" }, { "interface", "bind" }, { "bind_address", "bind" },
                  { "listen", "bind" },   { "socket", "unix" } };

    for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++) {
        if (!str_eq(key, str_from(words[w].word)))
            continue;
        for (uint32_t i = 0; i < t->n; i++)
            if (!strcmp(table_row(t, i).key, words[w].key))
                return words[w].key;
    }
    return NULL;
}

static void unknown_key(const struct table *t, struct diag *d, const struct node *key)
{
    const char *other = other_word(t, key->text);
    struct suggest s;
    char hint[96];
    suggest_init(&s, key->text);
    for (uint32_t i = 0; i < t->n; i++)
        suggest_offer(&s, str_from(table_row(t, i).key), "");
    for (const char *const *section = t->sections; section && *section; section++)
        suggest_offer(&s, str_from(*section), "");
    if (t == &core_top)
        core_offer_nested(&s);
    if (other) {
        s.best = str_from(other);
        s.prefix = "";
    }
    diag_error(d, key->place, "unknown key '%.*s'%s%s%s",
               key->text.len > 60 ? 60 : (int)key->text.len, key->text.ptr, *t->where ? " " : "",
               t->where, suggest_text(&s, hint, sizeof(hint)));
}

static bool read_pair(const struct table *t, struct value_env *env, const struct node_pair *pair,
                      struct value *values)
{
    for (uint32_t i = 0; i < t->n; i++) {
        pigeon_option o = table_row(t, i);
        if (!str_eq(pair->key->text, str_from(o.key)))
            continue;
        values[i].written = true; /* also when wrong: it is not missing */
        return value_read(env, &o, table_core_flags(t, i), pair->value, &values[i]);
    }
    if (is_section(t, pair->key->text))
        return true;
    unknown_key(t, env->diag, pair->key);
    return false;
}

bool table_read(const struct table *t, struct value_env *env, const struct node *map,
                struct place at, struct value *values)
{
    bool ok = true;
    if (t->n)
        memset(values, 0, t->n * sizeof(*values));
    if (map && map->kind != NODE_MAP && !node_is_null(map)) {
        char what[80];
        diag_error(env->diag, map->place, "expected a block of options%s%s, found %s",
                   *t->where ? " " : "", t->where, node_describe(map, what, sizeof(what)));
        ok = false;
    }
    for (uint32_t i = 0; map && map->kind == NODE_MAP && i < map->n; i++)
        ok = read_pair(t, env, &map->pairs[i], values) && ok;
    for (uint32_t i = 0; i < t->n; i++) {
        if (values[i].written)
            continue;
        pigeon_option o = table_row(t, i);
        if (o.flags & PIGEON_O_REQUIRED && !o.preset) {
            diag_error(env->diag, at, "'%s' is missing%s%s", o.key, *t->where ? " " : "", t->where);
            ok = false;
        } else {
            ok = value_preset(env, &o, table_core_flags(t, i), at, &values[i]) && ok;
        }
    }
    return ok;
}

static bool store_list(struct value_env *env, const struct value *v, struct config_list *list)
{
    list->items = arena_array(env->arena, v->n_items, sizeof(*list->items));
    if (!list->items) {
        env->diag->no_memory = true;
        return false;
    }
    list->n = v->n_items;
    for (uint32_t i = 0; i < v->n_items; i++)
        list->items[i] = v->items[i].ptr;
    return true;
}

bool table_store(const struct table *t, struct value_env *env, const struct value *values,
                 void *base)
{
    const struct core_option *rows = t->rows;
    for (uint32_t i = 0; i < t->n; i++) {
        const struct value *v = &values[i];
        void *field = (char *)base + rows[i].offset;
        if (!v->present)
            continue;
        if (rows[i].opt.type == PIGEON_T_BOOL)
            *(bool *)field = v->num != 0;
        else if (rows[i].opt.type == PIGEON_T_ENUM)
            *(int *)field = (int)v->num;
        else if (rows[i].opt.type == PIGEON_T_LIST) {
            if (!store_list(env, v, field))
                return false;
        } else if (v->text.ptr)
            *(const char **)field = v->text.ptr;
        else
            *(int64_t *)field = v->num;
    }
    return true;
}

static bool is_text(const struct core_option *row)
{
    uint32_t type = row->opt.type;
    return (type == PIGEON_T_STRING && !(row->core_flags & CORE_OCTAL)) || type == PIGEON_T_PATH ||
           type == PIGEON_T_SECRET || type == PIGEON_T_TREE;
}

static int print_words(const struct core_option *row, int64_t index, struct buf *out)
{
    const char *p = row->opt.allowed;
    while (index-- > 0)
        p += strcspn(p, "|") + 1;
    return buf_append(out, p, strcspn(p, "|"));
}

int table_print(const struct core_option *row, const void *base, struct buf *out)
{
    const void *field = (const char *)base + row->offset;
    struct value v = { .present = true };
    if (row->opt.type == PIGEON_T_ENUM)
        return print_words(row, *(const int *)field, out);
    if (row->opt.type == PIGEON_T_LIST) {
        const struct config_list *list = field;
        int err = buf_append(out, "[", 1);
        for (uint32_t i = 0; i < list->n && !err; i++)
            err = buf_printf(out, "%s%s", i ? ", " : "", list->items[i]);
        return err ? err : buf_append(out, "]", 1);
    }
    if (row->opt.type == PIGEON_T_BOOL)
        v.num = *(const bool *)field;
    else if (is_text(row))
        v.text = str_from(*(const char *const *)field);
    else
        v.num = *(const int64_t *)field;
    v.present = !is_text(row) || v.text.ptr;
    return value_print(&row->opt, row->core_flags, &v, out);
}

bool table_same(const struct core_option *row, const void *a, const void *b)
{
    const void *x = (const char *)a + row->offset, *y = (const char *)b + row->offset;
    if (row->opt.type == PIGEON_T_BOOL)
        return *(const bool *)x == *(const bool *)y;
    if (row->opt.type == PIGEON_T_ENUM)
        return *(const int *)x == *(const int *)y;
    if (is_text(row)) {
        const char *s = *(const char *const *)x, *t = *(const char *const *)y;
        return s == t || (s && t && !strcmp(s, t));
    }
    if (row->opt.type != PIGEON_T_LIST)
        return *(const int64_t *)x == *(const int64_t *)y;
    const struct config_list *s = x, *t = y;
    for (uint32_t i = 0; s->n == t->n && i < s->n; i++)
        if (strcmp(s->items[i], t->items[i]))
            return false;
    return s->n == t->n;
}
