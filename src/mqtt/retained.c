#include "mqtt/retained.h"
#include "mqtt/retained_tree.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define TABLE_MIN 8u /* children; below half of it a table is given up */

static struct retained_node *node_new(struct retained_node *parent, struct str label, uint32_t hash)
{
    struct retained_node *node = calloc(1, sizeof(*node) + label.len);
    if (!node)
        return NULL;
    node->parent = parent;
    node->hash = hash;
    node->label_len = label.len;
    if (label.len)
        memcpy(node->label, label.ptr, label.len);
    return node;
}

int retained_new(struct epoch *epoch, const struct hash_key *key, struct retained **r_retained)
{
    struct retained *r = calloc(1, sizeof(*r));
    struct retained_node *root = node_new(NULL, STR_NULL, 0);
    if (!r || !root) {
        free(root);
        free(r);
        return -ENOMEM;
    }
    r->epoch = epoch;
    r->key = *key;
    r->root = root;
    *r_retained = r;
    return 0;
}

void retained_free(struct retained **r)
{
    struct retained *old = *r;
    *r = NULL;
    if (!old)
        return;
    struct retained_node *node = old->root;
    while (node) {
        struct retained_node *kid = node_load(&node->kids);
        if (kid) { /* take it off its parent and free it first */
            atomic_store(&node->kids, node_load(&kid->next));
            node = kid;
            continue;
        }
        struct retained_node *parent = node->parent;
        struct retained_entry *entry = atomic_load(&node->entry);
        if (entry)
            message_unref(&entry->message);
        free(entry);
        free(atomic_load(&node->table));
        free(node);
        node = parent;
    }
    free(old);
}

static void free_block(struct epoch_item *item)
{
    free(item);
}

static void free_entry(struct epoch_item *item)
{
    struct retained_entry *entry = (struct retained_entry *)item;
    message_unref(&entry->message);
    free(entry);
}

static int node_compare(const struct retained_node *node, uint32_t hash, struct str label)
{
    if (node->hash != hash)
        return node->hash < hash ? -1 : 1;
    if (node->label_len != label.len)
        return node->label_len < label.len ? -1 : 1;
    return label.len ? memcmp(node->label, label.ptr, label.len) : 0;
}

static struct retained_node *table_at(struct retained_table *table, uint32_t i)
{
    return atomic_load_explicit(&table->first[i], memory_order_acquire);
}

static struct retained_table *node_table(struct retained_node *node)
{
    return atomic_load_explicit(&node->table, memory_order_acquire);
}

struct retained_node *retained_child(const struct retained *r, struct retained_node *parent,
                                     struct str label, struct retained_node **r_behind)
{
    uint32_t hash = retained_hash(r, label);
    struct retained_table *table = node_table(parent);
    struct retained_node *kid;
    if (table) {
        uint32_t i = hash >> table->shift;
        kid = table_at(table, i);
        if (!kid && !r_behind)
            return NULL;
        while (!kid && ++i < table->n)
            kid = table_at(table, i);
    } else {
        kid = node_load(&parent->kids);
    }
    int order = 1;
    while (kid && (order = node_compare(kid, hash, label)) < 0)
        kid = node_load(&kid->next);
    if (kid && order == 0)
        return kid;
    if (r_behind)
        *r_behind = kid;
    return NULL;
}

/* [writer] The last child before the place of (hash, label); NULL: the place is at the front. */
static struct retained_node *child_before(struct retained_node *parent, uint32_t hash,
                                          struct str label)
{
    struct retained_table *table = node_table(parent);
    struct retained_node *kid = NULL, *before = NULL;
    if (table) {
        uint32_t i = hash >> table->shift;
        kid = table_at(table, i);
        while ((!kid || node_compare(kid, hash, label) >= 0) && i > 0)
            kid = table_at(table, --i);
    }
    if (!kid || node_compare(kid, hash, label) >= 0)
        kid = node_load(&parent->kids);
    for (; kid && node_compare(kid, hash, label) < 0; kid = node_load(&kid->next))
        before = kid;
    return before;
}

static void table_note(struct retained_table *table, struct retained_node *node)
{
    struct retained_node *_Atomic *at = &table->first[node->hash >> table->shift];
    struct retained_node *first = node_load(at);
    if (!first || node_compare(first, node->hash, node_label(node)) > 0)
        atomic_store_explicit(at, node, memory_order_release);
}

/* Copies the shortcuts: list by list, so that the loads do not wait for one another. */
static void table_fill(struct retained_table *table, struct retained_node *parent)
{
    struct retained_table *old = node_table(parent);
    if (!old) {
        for (struct retained_node *kid = node_load(&parent->kids); kid; kid = node_load(&kid->next))
            table_note(table, kid);
        return;
    }
    for (uint32_t i = 0; i < old->n; i++) {
        struct retained_node *kid = table_at(old, i);
        for (; kid && kid->hash >> old->shift == i; kid = node_load(&kid->next))
            table_note(table, kid);
    }
}

static void table_replace(struct retained *r, uint32_t loop, struct retained_node *parent,
                          struct retained_table *m_new)
{
    struct retained_table *old = node_table(parent);
    atomic_store_explicit(&parent->table, m_new, memory_order_release);
    if (old)
        epoch_retire(r->epoch, loop, &old->retire, free_block);
}

/* Fits the shortcuts to the number of children. Without memory the old ones go on to serve. */
static void table_fit(struct retained *r, uint32_t loop, struct retained_node *parent)
{
    struct retained_table *old = node_table(parent);
    uint32_t n_kids = parent->n_kids, n_old = old ? old->n : 0;
    if (old && n_kids < TABLE_MIN / 2) {
        table_replace(r, loop, parent, NULL);
        return;
    }
    bool fits =
        old ? n_kids <= n_old && (n_old <= TABLE_MIN || n_kids >= n_old / 8) : n_kids <= TABLE_MIN;
    if (fits || n_kids > UINT32_MAX / 4)
        return;
    uint32_t bits = 3;
    while ((UINT32_C(1) << bits) < n_kids + n_kids / 2)
        bits++;
    uint32_t n = UINT32_C(1) << bits;
    struct retained_table *table = calloc(1, sizeof(*table) + n * sizeof(table->first[0]));
    if (!table)
        return;
    table->shift = 32 - bits;
    table->n = n;
    table_fill(table, parent);
    table_replace(r, loop, parent, table);
}

static void child_link(struct retained *r, uint32_t loop, struct retained_node *node)
{
    struct retained_node *parent = node->parent;
    struct retained_node *before = child_before(parent, node->hash, node_label(node));
    struct retained_node *_Atomic *at = before ? &before->next : &parent->kids;
    atomic_init(&node->next, node_load(at));
    atomic_store_explicit(at, node, memory_order_release);
    struct retained_table *table = node_table(parent);
    if (table)
        table_note(table, node);
    parent->n_kids++;
    table_fit(r, loop, parent);
}

static void child_unlink(struct retained *r, uint32_t loop, struct retained_node *node)
{
    struct retained_node *parent = node->parent;
    struct retained_node *before = child_before(parent, node->hash, node_label(node));
    struct retained_node *next = node_load(&node->next);
    struct retained_table *table = node_table(parent);
    if (table && table_at(table, node->hash >> table->shift) == node) {
        bool same = next && next->hash >> table->shift == node->hash >> table->shift;
        atomic_store_explicit(&table->first[node->hash >> table->shift], same ? next : NULL,
                              memory_order_release);
    }
    atomic_store_explicit(before ? &before->next : &parent->kids, next, memory_order_release);
    parent->n_kids--;
    table_fit(r, loop, parent);
}

/* The deepest node on the way to a topic; *r_pos: where the levels begin that have no node,
 * topic.len + 1 when all have one. */
static struct retained_node *node_find(struct retained *r, struct str topic, uint32_t *r_pos)
{
    struct retained_node *node = r->root;
    uint32_t pos = 0;
    while (pos <= topic.len) {
        struct str level = retained_level(topic, pos);
        struct retained_node *kid = retained_child(r, node, level, NULL);
        if (!kid)
            break;
        node = kid;
        pos += level.len + 1;
    }
    *r_pos = pos;
    return node;
}

/* Frees a chain that is not in the tree yet, from its lowest node up to below `top`. */
static void chain_free(struct retained_node *node, const struct retained_node *top)
{
    while (node != top) {
        struct retained_node *parent = node->parent;
        free(node);
        node = parent;
    }
}

/* Makes the nodes of topic[pos..] under `top`, unseen by readers. The lowest one, and the one to be
 * linked to `top` in *r_highest; NULL when out of memory. */
static struct retained_node *chain_new(struct retained *r, struct retained_node *top,
                                       struct str topic, uint32_t pos,
                                       struct retained_node **r_highest)
{
    struct retained_node *node = top;
    while (pos <= topic.len) {
        struct str level = retained_level(topic, pos);
        struct retained_node *kid = node_new(node, level, retained_hash(r, level));
        if (!kid) {
            chain_free(node, top);
            return NULL;
        }
        if (node == top) {
            *r_highest = kid;
        } else {
            atomic_init(&node->kids, kid);
            node->n_kids = 1;
        }
        node = kid;
        pos += level.len + 1;
    }
    return node;
}

/* Bytes that the nodes of topic[pos..] take. */
static uint64_t chain_bytes(struct str topic, uint32_t pos)
{
    uint64_t bytes = 0;
    while (pos <= topic.len) {
        struct str level = retained_level(topic, pos);
        bytes += sizeof(struct retained_node) + level.len;
        pos += level.len + 1;
    }
    return bytes;
}

static uint64_t entry_bytes(const struct retained_entry *entry)
{
    return entry ? sizeof(*entry) + entry->message->size : 0;
}

static uint64_t load(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_acquire);
}

static void add(_Atomic uint64_t *at, uint64_t by)
{
    atomic_fetch_add_explicit(at, by, memory_order_relaxed);
}

static uint64_t next_version(struct retained *r)
{
    uint64_t version = load(&r->version) + 1;
    atomic_store_explicit(&r->version, version, memory_order_release);
    return version;
}

static struct retained_entry *node_entry(struct retained_node *node)
{
    return atomic_load_explicit(&node->entry, memory_order_acquire);
}

static void entry_retire(struct retained *r, uint32_t loop, struct retained_entry *entry)
{
    if (entry)
        epoch_retire(r->epoch, loop, &entry->retire, free_entry);
}

/* Takes a node's message out, and the nodes that are there for nothing then. */
static void node_empty(struct retained *r, uint32_t loop, struct retained_node *node)
{
    struct retained_entry *entry = node_entry(node);
    atomic_store_explicit(&node->entry, NULL, memory_order_release);
    add(&r->n, UINT64_MAX);
    uint64_t bytes = entry_bytes(entry);
    while (node->parent && !node_entry(node) && !node_load(&node->kids)) {
        struct retained_node *parent = node->parent;
        bytes += sizeof(*node) + node->label_len;
        child_unlink(r, loop, node);
        epoch_retire(r->epoch, loop, &node->retire, free_block);
        node = parent;
    }
    add(&r->bytes, -bytes);
    entry_retire(r, loop, entry);
}

/* Would a change of the totals pass a limit? What does not grow a total is always allowed. */
static bool is_over(const struct retained *r, const struct retained_limits *limits, uint64_t more_n,
                    uint64_t more_bytes, uint64_t less_bytes)
{
    if (limits->max_messages && more_n && load(&r->n) + more_n > limits->max_messages)
        return true;
    return limits->max_bytes && more_bytes > less_bytes &&
           load(&r->bytes) + more_bytes - less_bytes > limits->max_bytes;
}

int retained_put(struct retained *r, uint32_t loop, struct message *m,
                 const struct retained_limits *limits, uint64_t *r_version)
{
    struct str topic = message_topic(m);
    uint32_t pos;
    struct retained_node *node = node_find(r, topic, &pos);
    struct retained_entry *old = pos > topic.len ? node_entry(node) : NULL;
    if (message_payload(m).len == 0) {
        *r_version = next_version(r);
        if (old)
            node_empty(r, loop, node);
        return 0;
    }
    uint64_t more = chain_bytes(topic, pos) + sizeof(*old) + m->size, less = entry_bytes(old);
    if (is_over(r, limits, !old, more, less))
        return -ENOSPC;
    struct retained_node *lowest = node, *highest = NULL;
    struct retained_entry *entry = calloc(1, sizeof(*entry));
    if (entry && pos <= topic.len)
        lowest = chain_new(r, node, topic, pos, &highest);
    if (!entry || !lowest) {
        free(entry);
        return -ENOMEM;
    }
    message_share(m);
    entry->message = message_ref(m);
    entry->version = *r_version = next_version(r);
    assert(!old || old->version < entry->version);
    atomic_store_explicit(&lowest->entry, entry, memory_order_release);
    if (highest)
        child_link(r, loop, highest);
    entry_retire(r, loop, old);
    add(&r->n, !old);
    add(&r->bytes, more - less);
    return 0;
}

bool retained_delete(struct retained *r, uint32_t loop, struct str topic, uint64_t version)
{
    uint32_t pos;
    struct retained_node *node = node_find(r, topic, &pos);
    struct retained_entry *entry = pos > topic.len ? node_entry(node) : NULL;
    if (!entry || (version && entry->version != version))
        return false;
    (void)next_version(r);
    node_empty(r, loop, node);
    return true;
}

struct message *retained_get(struct retained *r, struct str topic)
{
    uint32_t pos;
    struct retained_node *node = node_find(r, topic, &pos);
    struct retained_entry *entry = pos > topic.len ? node_entry(node) : NULL;
    return entry ? message_ref(entry->message) : NULL;
}

uint64_t retained_version(const struct retained *r)
{
    return load(&r->version);
}

uint64_t retained_count(const struct retained *r)
{
    return load(&r->n);
}

uint64_t retained_bytes(const struct retained *r)
{
    return load(&r->bytes);
}
