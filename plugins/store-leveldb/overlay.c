#include "overlay.h"
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 256u

struct overlay_undo {
    struct overlay_undo *next;
    struct overlay_entry *entry;
    char *value; /* as it was */
    size_t value_len;
};

/* A value that says: nothing was said. Distinguishes an entry that was taken back from a deletion.
 */
static char nothing[1];

static uint64_t hash_of(struct bytes key)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);

    for (size_t i = 0; i < key.len; i++)
        h = (h ^ (uint8_t)key.ptr[i]) * UINT64_C(0x100000001b3);
    return h ^ h >> 29;
}

static void value_free(char *value)
{
    if (value != nothing)
        free(value);
}

int overlay_init(struct overlay *o)
{
    *o = (struct overlay){ .mask = BUCKETS_MIN - 1 };
    o->buckets = calloc(BUCKETS_MIN, sizeof(*o->buckets));
    o->last = &o->first;
    return o->buckets ? 0 : -1;
}

void overlay_mark(struct overlay *o)
{
    o->is_marked = true;
}

void overlay_settle(struct overlay *o)
{
    for (struct overlay_undo *u = o->undo, *next; u; u = next) {
        next = u->next;
        value_free(u->value);
        free(u);
    }
    o->undo = NULL;
    o->is_marked = false;
}

void overlay_clear(struct overlay *o)
{
    overlay_settle(o);
    for (struct overlay_entry *e = o->first, *later; e; e = later) {
        later = e->later;
        value_free(e->value);
        free(e);
    }
    o->first = NULL;
    o->last = &o->first;
    o->n = 0;
    memset(o->buckets, 0, ((size_t)o->mask + 1) * sizeof(*o->buckets));
}

void overlay_fini(struct overlay *o)
{
    if (!o->buckets)
        return;
    overlay_clear(o);
    free(o->buckets);
    o->buckets = NULL;
}

static struct overlay_entry *find(const struct overlay *o, struct bytes key, uint64_t hash)
{
    struct overlay_entry *e = o->buckets[hash & o->mask];

    while (e && (e->hash != hash || e->key_len != key.len || memcmp(e->key, key.ptr, key.len) != 0))
        e = e->next;
    return e;
}

bool overlay_is_said(const struct overlay_entry *e)
{
    return e->value != nothing;
}

const struct overlay_entry *overlay_find(const struct overlay *o, struct bytes key)
{
    const struct overlay_entry *e = o->n ? find(o, key, hash_of(key)) : NULL;

    return e && overlay_is_said(e) ? e : NULL;
}

static void grow(struct overlay *o)
{
    uint32_t n = (o->mask + 1) * 2;
    struct overlay_entry **buckets = calloc(n, sizeof(*buckets));

    if (!buckets)
        return; /* only slower */
    for (struct overlay_entry *e = o->first; e; e = e->later) {
        e->next = buckets[e->hash & (n - 1)];
        buckets[e->hash & (n - 1)] = e;
    }
    free(o->buckets);
    o->buckets = buckets;
    o->mask = n - 1;
}

static struct overlay_entry *add(struct overlay *o, struct bytes key, uint64_t hash)
{
    struct overlay_entry *e = malloc(sizeof(*e) + key.len);

    if (!e)
        return NULL;
    *e = (struct overlay_entry){ .hash = hash, .key_len = key.len, .value = nothing };
    memcpy(e->key, key.ptr, key.len);
    if (o->n > o->mask)
        grow(o);
    e->next = o->buckets[hash & o->mask];
    o->buckets[hash & o->mask] = e;
    *o->last = e;
    o->last = &e->later;
    o->n++;
    return e;
}

/* Keeps what the entry says now; 0 or -1: no memory. */
static int remember(struct overlay *o, struct overlay_entry *e)
{
    struct overlay_undo *u = malloc(sizeof(*u));

    if (!u)
        return -1;
    *u = (struct overlay_undo){
        .next = o->undo, .entry = e, .value = e->value, .value_len = e->value_len
    };
    o->undo = u;
    return 0;
}

int overlay_set(struct overlay *o, struct bytes key, struct bytes value)
{
    uint64_t hash = hash_of(key);
    struct overlay_entry *e = find(o, key, hash);
    char *copy = value.ptr ? malloc(value.len + 1) : NULL;

    if (!e)
        e = add(o, key, hash);
    if (!e || (value.ptr && !copy) || (o->is_marked && remember(o, e))) {
        free(copy);
        return -1;
    }
    if (copy)
        memcpy(copy, value.ptr, value.len);
    if (!o->is_marked)
        value_free(e->value);
    e->value = copy;
    e->value_len = value.len;
    return 0;
}

void overlay_undo(struct overlay *o)
{
    for (struct overlay_undo *u = o->undo, *next; u; u = next) {
        next = u->next;
        value_free(u->entry->value);
        u->entry->value = u->value;
        u->entry->value_len = u->value_len;
        free(u);
    }
    o->undo = NULL;
}
