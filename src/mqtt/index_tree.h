/* index_tree.h - the tree under the subscription index; private to index*.c.
 *
 * A filter's path is the filter without a final '#', with a '/' behind each level: "a/+" is "a/+/",
 * "a/#" is "a/", "#" is "". Where it ends is one of four places (enum index_end). Branches and
 * leaves carry a label, a run of whole levels of the path, so a filter that shares nothing with
 * others is a single leaf, and every branch but the root has at least two things below it (unless
 * memory was too short to join them).
 *
 * Readers follow atomic words ("refs": a pointer and flag bits) with acquire. A writer changes such
 * a word with release and retires what it has replaced; labels, hashes and capacities never change.
 */
#pragma once
#include "mqtt/index.h"
#include <stdatomic.h>

#define INDEX_DEEP   1u /* the filter ends in '#' */
#define INDEX_SHARED 2u
enum index_end {
    INDEX_END_EXACT = 0,
    INDEX_END_DEEP = INDEX_DEEP,
    INDEX_END_EXACT_SHARED = INDEX_SHARED,
    INDEX_END_DEEP_SHARED = INDEX_SHARED | INDEX_DEEP,
    INDEX_N_ENDS
};

/* Refs. A branch has no flag. A slot of a table also keeps two bits of the hash in its ref. */
#define REF_LEAF ((uintptr_t)1)
#define REF_KIDS ((uintptr_t)2) /* in index_branch.kids only */
#define REF_TAG  ((uintptr_t)6) /* in a table only; with a null pointer: a removed child */
#define REF_BITS ((uintptr_t)7)

struct index_entry {
    _Atomic uint64_t session; /* 0: removed; a place is never used twice */
    uint32_t slot, loop;
    _Atomic uint64_t opts;
    _Atomic uint64_t version; /* written before opts, read after them */
};

/* The subscribers of one path and end, or its share groups. */
struct index_leaf {
    union {
        struct epoch_item retire;
        struct {              /* writer only */
            uint32_t *places; /* session to position + 1, open addressing; NULL: leaf is small */
            uint32_t n_places;
            uint32_t n_dead;
        } own;
    };
    _Atomic uint32_t n; /* positions in use, removed ones included */
    uint32_t cap;
    uint32_t hash; /* of the label's first level */
    uint32_t label_len : 24, end : 8;
    char body[]; /* cap entries (or groups), then the label */
};

struct index_group {
    struct epoch_item retire;
    struct share *share;
    _Atomic uintptr_t members;            /* ref of a leaf with an empty label */
    _Atomic uint32_t n_online, n_durable; /* members with the option; a hint to readers */
    _Atomic uint32_t next[];              /* per loop: position to begin with */
};

struct index_kids {
    union {
        struct epoch_item retire;
        struct {                       /* writer only */
            uint32_t n_live, n_filled; /* filled: live and removed */
        } own;
    };
    uint32_t mask;
    _Atomic uintptr_t slot[];
};

struct index_branch {
    struct epoch_item retire;
    _Atomic uintptr_t ends[INDEX_N_ENDS]; /* leaves with empty labels */
    _Atomic uintptr_t plus;               /* child whose label begins with "+/" */
    _Atomic uintptr_t kids;               /* other children: none, one, or a table */
    uint32_t hash;                        /* of the label's first level */
    uint32_t label_len;
    char label[];
};

struct index {
    struct epoch *epoch;
    struct hash_key key;
    uint32_t n_loops;
    _Atomic uint64_t n, n_shared;
    struct index_branch *root; /* empty label; never replaced */
};

struct share {
    _Atomic uint32_t refs;
    uint32_t len;
    uint32_t group_len; /* NAME within text */
    char text[];
};

static inline struct index_leaf *ref_leaf(uintptr_t ref)
{
    return (struct index_leaf *)(ref & ~REF_BITS);
}
static inline struct index_branch *ref_branch(uintptr_t ref)
{
    return (struct index_branch *)(ref & ~REF_BITS);
}
static inline uintptr_t leaf_ref(const struct index_leaf *leaf)
{
    return (uintptr_t)leaf | REF_LEAF;
}
static inline uintptr_t ref_load(_Atomic uintptr_t *at)
{
    return atomic_load_explicit(at, memory_order_acquire);
}
/* [writer] Replaces what a slot refers to; the hash bits of a table stay. */
static inline void ref_store(_Atomic uintptr_t *at, uintptr_t ref)
{
    uintptr_t tag = atomic_load_explicit(at, memory_order_relaxed) & REF_TAG;
    atomic_store_explicit(at, ref | tag, memory_order_release);
}

static inline struct index_entry *leaf_entries(const struct index_leaf *leaf)
{
    return (struct index_entry *)(uintptr_t)leaf->body;
}
static inline struct index_group *_Atomic *leaf_groups(const struct index_leaf *leaf)
{
    return (struct index_group * _Atomic *)(uintptr_t)leaf->body;
}
static inline size_t leaf_unit(unsigned end)
{
    return end & INDEX_SHARED ? sizeof(struct index_group *) : sizeof(struct index_entry);
}
/* Room for the label: to be written before the leaf is published. */
static inline char *leaf_label_at(struct index_leaf *leaf)
{
    return leaf->body + (size_t)leaf->cap * leaf_unit(leaf->end);
}
static inline const char *leaf_label(const struct index_leaf *leaf)
{
    return leaf->body + (size_t)leaf->cap * leaf_unit(leaf->end);
}
static inline const char *ref_label(uintptr_t ref, uint32_t *r_len)
{
    if (ref & REF_LEAF) {
        *r_len = ref_leaf(ref)->label_len;
        return leaf_label(ref_leaf(ref));
    }
    *r_len = ref_branch(ref)->label_len;
    return ref_branch(ref)->label;
}
/* Is `level` the first level of a label? */
static inline bool label_starts(const char *label, uint32_t label_len, struct str level)
{
    return label_len > level.len && label[level.len] == '/' &&
           (level.len == 0 || memcmp(label, level.ptr, level.len) == 0);
}
static inline uint32_t index_hash(const struct index *ix, struct str level)
{
    return (uint32_t)hash_bytes(&ix->key, level.ptr, level.len);
}

/* index_tree.c */

struct index_path {
    struct str text; /* the '/' behind the last level of a path without '#' is not in the text */
    uint32_t len;    /* with that '/' */
    enum index_end end;
};
struct index_path index_path_of(struct str filter, bool shared);

/* Where a path leads in the tree. */
struct index_spot {
    struct index_branch *branch; /* the last branch that the path passes entirely */
    uint32_t pos;                /* path bytes up to there */
    _Atomic uintptr_t *slot;     /* where the path goes on in it; NULL: a child that is not there */
    uintptr_t ref;               /* content of the slot without tag, 0: none */
    uint32_t common;             /* bytes of the label of `ref` that the path shares */
    struct index_leaf *leaf;     /* the leaf of this very path and end, or NULL */
    /* The nearest branch that still holds something when the leaf is gone, the slot in it that
     * leads to the leaf, and the slot that holds the branch itself. */
    struct index_branch *anchor;
    _Atomic uintptr_t *anchor_slot, *anchor_home;
};
/* Any thread inside an epoch; only the writer may use what is behind slot and anchor. */
void index_find(const struct index *ix, const struct index_path *p, struct index_spot *r_spot);
/* Makes an empty leaf to be attached at a spot where none is; NULL when out of memory. */
struct index_leaf *index_make_leaf(const struct index *ix, const struct index_path *p,
                                   const struct index_spot *spot);
/* [writer] 0, or -ENOMEM with the tree unchanged and the leaf still the caller's. */
int index_attach(struct index *ix, uint32_t loop, const struct index_spot *spot,
                 struct index_leaf *leaf);
/* [writer] Takes the leaf of a spot out of the tree, with the branches that were there for it. */
void index_detach(struct index *ix, uint32_t loop, const struct index_spot *spot);
/* A branch whose label has two parts; NULL when out of memory. */
struct index_branch *index_branch_new(const char *label, uint32_t label_len, const char *more,
                                      uint32_t more_len, uint32_t hash);
/* Frees when readers are done. The epoch item is the first member of whatever is retired so. */
void index_retire(struct index *ix, uint32_t loop, struct epoch_item *item);

/* index_kids.c */

/* The child whose label begins with `level`: its slot, and its ref without tag; NULL: none. */
_Atomic uintptr_t *index_kids_find(struct index_branch *b, uint32_t hash, struct str level,
                                   uintptr_t *r_ref);
/* The same in the value `kids` of a branch, for readers: ref without tag, 0: none. The hash is not
 * looked at unless the value is a table. */
uintptr_t index_kids_get(uintptr_t kids, uint32_t hash, struct str level);
/* [writer] Adds a child that is not there. 0 or -ENOMEM. */
int index_kids_add(struct index *ix, uint32_t loop, struct index_branch *b, uintptr_t ref);
/* [writer] */
void index_kids_remove(struct index *ix, uint32_t loop, struct index_branch *b,
                       _Atomic uintptr_t *slot);

/* index_list.c: leaves and their entries */

struct index_leaf *index_leaf_new(enum index_end end, uint32_t cap, uint32_t label_len,
                                  uint32_t hash);
/* For leaves that no reader has seen. */
void index_leaf_free(struct index_leaf *leaf);
void index_leaf_retire(struct index *ix, uint32_t loop, struct index_leaf *leaf);
/* A copy, position by position, under another label (two parts). It lacks what only the writer
 * needs: index_leaf_succeed moves that once the copy is in the tree, and retires the old one. */
struct index_leaf *index_leaf_relabel(const struct index_leaf *old, const char *label,
                                      uint32_t label_len, const char *more, uint32_t more_len,
                                      uint32_t hash);
void index_leaf_succeed(struct index *ix, uint32_t loop, struct index_leaf *copy,
                        struct index_leaf *old);
static inline uint32_t index_leaf_live(const struct index_leaf *leaf)
{
    return atomic_load_explicit(&leaf->n, memory_order_relaxed) - leaf->own.n_dead;
}
/* Writers; `slot` is what holds the leaf, which is replaced when it must grow or shrink. */
struct index_entry *index_list_find(const struct index_leaf *leaf, uint64_t session);
int index_list_add(struct index *ix, uint32_t loop, _Atomic uintptr_t *slot, struct index_who who,
                   uint64_t opts, uint64_t version);
void index_list_remove(struct index *ix, uint32_t loop, _Atomic uintptr_t *slot,
                       struct index_entry *entry);

/* index_share.c */

int index_share_put(struct index *ix, uint32_t loop, const struct index_path *p, struct str share,
                    struct index_who who, uint64_t opts);
int index_share_set(struct index *ix, const struct index_path *p, struct str share,
                    uint64_t session, uint64_t set, uint64_t clear);
int index_share_remove(struct index *ix, uint32_t loop, const struct index_path *p,
                       struct str share, uint64_t session);
/* Chooses a member with none of the options `without`: fills all but the ids of *r_rcpt. 0 or
 * -ENOENT. */
int index_group_choose(struct index_group *group, uint32_t loop, const uint64_t *not_these,
                       uint32_t n, uint64_t without, struct receiver *r_rcpt, uint64_t *r_opts);
/* For a group that no reader can see. */
void index_group_free(struct index_group *group);

#define RECEIVER_FLAGS (SUB_DURABLE | SUB_RETAIN_AS_PUBLISHED | SUB_CHECK_DELIVER | SUB_REMOTE)
