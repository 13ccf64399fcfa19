/* What this node wants from others: its own filters, each counted. All under the tree lock, but for
 * the mail to loop 0. */
#include "broker/bus_priv.h"
#include <errno.h>
#include <stdlib.h>

struct interest {
    struct list dirty; /* bus.dirty */
    struct str key;    /* owned; the filter, or $share/NAME/filter */
    uint32_t n, n_online;
};

static void on_dirty(struct loop *here, struct mail *m)
{
    struct bus *bus = container_of(m, struct bus, interest_mail);
    (void)here;
    interests_flush(bus);
}

static void mark(struct bus *bus, struct interest *i)
{
    if (!list_linked(&i->dirty))
        list_append(&bus->dirty, &i->dirty);
    if (bus->told)
        return;
    bus->told = true;
    loop_post_any(bus_shard(bus)->loop, &bus->interest_mail, on_dirty);
}

static int make_key(struct str filter, struct str share, struct str *r_key)
{
    struct buf text;
    if (!share.len)
        return str_dup_r(filter, r_key);
    buf_init(&text);
    int r = buf_append_str(&text, STR("$share/"));
    if (!r)
        r = buf_append_str(&text, share);
    if (!r)
        r = buf_append_str(&text, STR("/"));
    if (!r)
        r = buf_append_str(&text, filter);
    if (!r)
        r = str_dup_r(buf_str(&text), r_key);
    buf_fini(&text);
    return r;
}

static struct interest *interest_of(struct bus *bus, struct str filter, struct str share)
{
    struct interest *i = share.len ? NULL : map_get(&bus->interests, filter);
    struct str key;
    if (i || make_key(filter, share, &key))
        return i;
    i = map_get(&bus->interests, key);
    if (i || !(i = calloc(1, sizeof(*i)))) {
        str_free(&key);
        return i;
    }
    i->key = key;
    list_init(&i->dirty);
    if (map_put(&bus->interests, i->key, i)) {
        str_free(&i->key);
        free(i);
        return NULL;
    }
    return i;
}

static bool is_told_as(const struct interest *i, uint32_t n, uint32_t n_online)
{
    return (i->n > 0) == (n > 0) && (i->n_online > 0) == (n_online > 0) &&
           (i->n > i->n_online) == (n > n_online);
}

static void count(struct broker *b, struct str filter, struct str share, int by, int online_by)
{
    struct bus *bus = b->bus;
    if (filter.ptr[0] == '$')
        return;
    struct interest *i = interest_of(bus, filter, share);
    if (!i) { /* no memory: others do not hear of it */
        log_warn(bus->log, "bus_interest_lost", LS("filter", filter));
        return;
    }
    uint32_t n = i->n, n_online = i->n_online;
    i->n += (uint32_t)by;
    i->n_online += share.len ? (uint32_t)online_by : 0;
    if (share.len ? !is_told_as(i, n, n_online) : (i->n > 0) != (n > 0))
        mark(bus, i);
}

int interest_put(struct broker *b, uint32_t loop, struct str filter, struct str share,
                 struct index_who who, uint64_t opts, uint64_t version)
{
    int r = index_put(b->index, loop, filter, share, who, opts, version);
    if (b->bus && r == INDEX_NEW)
        count(b, filter, share, 1, opts & SUB_ONLINE ? 1 : 0);
    return r;
}

int interest_remove(struct broker *b, uint32_t loop, struct str filter, struct str share,
                    uint64_t session, uint64_t was)
{
    int r = index_remove(b->index, loop, filter, share, session);
    if (b->bus && r == 0)
        count(b, filter, share, -1, was & SUB_ONLINE ? -1 : 0);
    return r;
}

void interest_set(struct broker *b, struct str filter, struct str share, uint64_t session,
                  uint64_t was, uint64_t set, uint64_t clear)
{
    int r = index_set(b->index, filter, share, session, set, clear);
    uint64_t now = (was & ~clear) | set;
    if (b->bus && r == 0 && share.len && (was ^ now) & SUB_ONLINE)
        count(b, filter, share, 0, now & SUB_ONLINE ? 1 : -1);
}

static struct bus_interest view_of(const struct interest *i)
{
    return (struct bus_interest){
        .key = i->key, .add = i->n > 0, .online = i->n_online > 0, .durable = i->n > i->n_online
    };
}

void interests_each(struct bus *bus, void (*fn)(void *ctx, const struct bus_interest *i), void *ctx)
{
    uint32_t it = 0;
    for (struct interest *i; (i = map_next(&bus->interests, &it));) {
        struct bus_interest view = view_of(i);
        if (view.add)
            fn(ctx, &view);
    }
}

static void interest_free(struct interest *i)
{
    str_free(&i->key);
    free(i);
}

void interests_flush(struct bus *bus)
{
    struct broker *b = bus->broker;
    pthread_mutex_lock(&b->tree_lock);
    bus->told = false;
    for (struct list *l; (l = list_pop(&bus->dirty));) {
        struct interest *i = container_of(l, struct interest, dirty);
        struct bus_interest view = view_of(i);
        LIST_FOREACH (k, &bus->nodes)
            node_say(container_of(k, struct node, link), say_interest, &view, 16 + view.key.len);
        if (i->n)
            continue;
        map_remove(&bus->interests, i->key);
        interest_free(i);
    }
    pthread_mutex_unlock(&b->tree_lock);
}

void interests_free(struct bus *bus)
{
    uint32_t it = 0;
    for (struct interest *i; (i = map_next(&bus->interests, &it));)
        interest_free(i);
    map_fini(&bus->interests);
}
