#include "mqtt/topic.h"

/* Walks the levels of a topic or filter. Every text has one level more than it has slashes. */
struct levels {
    const char *at, *end;
    struct str level;
    bool first, over;
};

static struct levels levels_of(struct str text)
{
    return (struct levels){ .at = text.ptr, .end = text.ptr + text.len, .first = true };
}

/* false: there is no further level, l->level is empty. */
static bool levels_next(struct levels *l)
{
    if (l->over) {
        l->level = STR_NULL;
        return false;
    }
    l->first = l->level.ptr == NULL;
    size_t left = (size_t)(l->end - l->at);
    const char *slash = left ? memchr(l->at, '/', left) : NULL;
    const char *stop = slash ? slash : l->end;
    l->level = str_make(l->at, (size_t)(stop - l->at));
    l->over = !slash;
    l->at = slash ? slash + 1 : l->end;
    return true;
}

static bool is_plus(struct str level)
{
    return level.len == 1 && level.ptr[0] == '+';
}

static bool is_hash(struct str level)
{
    return level.len == 1 && level.ptr[0] == '#';
}

static bool is_wild(struct str level)
{
    return is_plus(level) || is_hash(level);
}

/* A wildcard at the front does not match a first level that starts with '$' [MQTT-4.7.2-1]. */
static bool is_hidden(struct str wild, struct str level)
{
    return is_wild(wild) && level.len > 0 && level.ptr[0] == '$';
}

bool topic_has_wildcard(struct str filter)
{
    return filter.len > 0 &&
           (memchr(filter.ptr, '+', filter.len) || memchr(filter.ptr, '#', filter.len));
}

uint32_t topic_levels(struct str topic)
{
    uint32_t n = 1;
    for (uint32_t i = 0; i < topic.len; i++)
        n += topic.ptr[i] == '/';
    return n;
}

bool topic_is_name(struct str topic, uint32_t max_levels)
{
    return topic.len > 0 && !topic_has_wildcard(topic) && topic_levels(topic) <= max_levels;
}

bool topic_is_filter(struct str filter, uint32_t max_levels)
{
    if (filter.len == 0 || topic_levels(filter) > max_levels)
        return false;
    struct levels l = levels_of(filter);
    while (levels_next(&l)) {
        if (is_hash(l.level) && !l.over)
            return false;
        if (topic_has_wildcard(l.level) && l.level.len > 1)
            return false;
    }
    return true;
}

bool topic_matches(struct str filter, struct str topic)
{
    struct levels f = levels_of(filter), t = levels_of(topic);
    while (levels_next(&f)) {
        bool more = levels_next(&t);
        if (more && t.first && is_hidden(f.level, t.level))
            return false;
        if (is_hash(f.level))
            return true; /* stands for its parent too, so `more` does not matter */
        if (!more || (!is_plus(f.level) && !str_eq(f.level, t.level)))
            return false;
    }
    return t.over;
}

bool topic_covers(struct str outer, struct str inner)
{
    struct levels o = levels_of(outer), i = levels_of(inner);
    while (levels_next(&o)) {
        bool more = levels_next(&i);
        if (more && i.first && is_hidden(o.level, i.level))
            return false;
        if (is_hash(o.level))
            return true;
        if (!more)
            return false;
        if (is_hash(i.level)) /* every topic has a level, so "+/#" is as wide as "#" */
            return i.first && is_plus(o.level) && levels_next(&o) && is_hash(o.level);
        if (!is_plus(o.level) && !str_eq(o.level, i.level))
            return false;
    }
    return i.over;
}

bool topic_intersects(struct str a, struct str b)
{
    struct levels la = levels_of(a), lb = levels_of(b);
    for (;;) {
        bool more_a = levels_next(&la), more_b = levels_next(&lb);
        if (!more_a || !more_b)
            return more_a == more_b || is_hash(la.level) || is_hash(lb.level);
        if (la.first && (is_hidden(la.level, lb.level) || is_hidden(lb.level, la.level)))
            return false;
        if (is_hash(la.level) || is_hash(lb.level))
            return true;
        if (!is_plus(la.level) && !is_plus(lb.level) && !str_eq(la.level, lb.level))
            return false;
    }
}

enum topic_share topic_split_share(struct str text, struct str *r_name, struct str *r_filter)
{
    const struct str prefix = STR("$share/");
    if (!str_starts(text, prefix)) {
        *r_name = STR_NULL;
        *r_filter = text;
        return TOPIC_NOT_SHARED;
    }
    struct str rest = str_make(text.ptr + prefix.len, text.len - prefix.len);
    const char *slash = rest.len ? memchr(rest.ptr, '/', rest.len) : NULL;
    if (!slash)
        return TOPIC_SHARE_BAD;
    struct str name = str_make(rest.ptr, (size_t)(slash - rest.ptr));
    struct str filter = str_make(slash + 1, rest.len - name.len - 1);
    if (name.len == 0 || filter.len == 0 || topic_has_wildcard(name))
        return TOPIC_SHARE_BAD;
    *r_name = name;
    *r_filter = filter;
    return TOPIC_SHARED;
}
