/* index.h - the subscription index: topic filters to subscribers, shared by all loops.
 *
 * Read without locks (base/epoch.h: a reader is inside an epoch, nothing it sees outlives its
 * turn). Written under the broker's tree lock, the same that guards the retained tree, so that a
 * SUBSCRIBE and a retained PUBLISH cannot miss each other (docs/architecture.md). It owns copies of
 * the filters and knows sessions only by loop, slot and number; whether a session is still what its
 * number says is its home loop's matter. The cost of a match does not depend on the number of
 * loops. */
#pragma once
#include "base/epoch.h"
#include "base/hash.h"
#include "base/str.h"

/* Options of one subscription as one atomic word. */
#define SUB_QOS_MASK            UINT64_C(3)
#define SUB_NO_LOCAL            UINT64_C(4)
#define SUB_RETAIN_AS_PUBLISHED UINT64_C(8)
#define SUB_DURABLE             UINT64_C(16) /* the session outlives its connection: QoS > 0 is stored */
#define SUB_ONLINE              UINT64_C(32) /* kept up to date for shared subscriptions only */
#define SUB_CHECK_DELIVER       UINT64_C(64) /* a deliver rule or hook looks at what this one gets */
#define SUB_REMOTE            UINT64_C(128) /* another node: has no session here, its QoS is 0 */
#define SUB_ID_SHIFT            32           /* subscription identifier, 0: none */
#define SUB_QOS(opts)           ((uint8_t)((opts)&SUB_QOS_MASK))
#define SUB_ID(opts)            ((uint32_t)((opts) >> SUB_ID_SHIFT))

struct index;

struct index_who {
    uint64_t session; /* session number: never reused, so it is the generation too */
    uint32_t slot;    /* place in the home loop's session table */
    uint32_t loop;    /* home loop */
};

/* The shared subscription that chose a receiver; reference counted, outlives the index entry. */
struct share;
struct str share_name(const struct share *s); /* "$share/NAME/filter" */
struct share *share_ref(struct share *s);     /* any thread */
void share_unref(struct share **s);

/* One receiver of a match, overlapping subscriptions merged. */
struct receiver {
    struct index_who who;
    uint64_t flags;      /* SUB_DURABLE, SUB_RETAIN_AS_PUBLISHED (any), SUB_CHECK_DELIVER (any), SUB_REMOTE */
    uint8_t qos;         /* highest granted among the matching subscriptions [MQTT-3.3.4-2] */
    uint8_t n_ids;       /* capped at 255 */
    uint32_t first_id;   /* into match.ids [MQTT-3.3.4-4] */
    struct share *share; /* NULL: not shared. Borrowed for the turn; share_ref to keep */
};

/* Result and scratch of one loop; reused from match to match. */
struct match {
    struct receiver *rcpts; /* grouped by loop: rcpts of loop i are [first[i], first[i + 1]) */
    uint32_t n;
    uint32_t *first; /* n_loops + 1 entries */
    uint32_t *ids;
    uint32_t n_ids;
    bool any_durable; /* some receiver with qos > 0 and SUB_DURABLE */
    /* private */
    struct match_scratch *scratch;
};

int index_new(struct epoch *epoch, uint32_t n_loops, const struct hash_key *key,
              struct index **r_index);
void index_free(struct index **index);
int match_init(struct match *m, const struct index *index);
void match_fini(struct match *m);

/* [tree lock] Inserts or replaces the subscription of `who` to `filter` in share group `share`
 * (empty: not shared). `version`: retained version at this moment; a retained PUBLISH with a
 * version <= it is not delivered live to this subscription; 0 when the subscription gets no
 * retained messages. `loop` is the calling loop. INDEX_NEW / INDEX_REPLACED or -ENOMEM with nothing
 * changed. */
enum { INDEX_NEW = 0, INDEX_REPLACED = 1 };
int index_put(struct index *ix, uint32_t loop, struct str filter, struct str share,
              struct index_who who, uint64_t opts, uint64_t version);
/* [tree lock] Sets and clears option bits of an existing subscription in place. -ENOENT. */
int index_set(struct index *ix, struct str filter, struct str share, uint64_t session, uint64_t set,
              uint64_t clear);
/* [tree lock] 0 or -ENOENT. Never fails for lack of memory. */
int index_remove(struct index *ix, uint32_t loop, struct str filter, struct str share,
                 uint64_t session);

/* [inside an epoch] Finds who gets a message. `from_session`: the publisher, for No Local (0:
 * none). `version`: of a retained PUBLISH, else 0. Each session appears at most once for its
 * ordinary subscriptions, and once more per shared subscription that chose it. 0 or -ENOMEM (then
 * nobody). */
int index_match(struct index *ix, uint32_t loop, struct str topic, uint64_t from_session,
                uint64_t version, struct match *m);
/* [inside an epoch] For a message that came from another node: nobody of SUB_REMOTE gets it. `plain`:
 * ordinary subscriptions get it; of the share groups only those named ("$share/NAME/filter") choose. */
int index_match_from_bus(struct index *ix, uint32_t loop, struct str topic, uint64_t version,
                         bool plain, const struct str *groups, uint32_t n_groups, struct match *m);
/* [inside an epoch] Chooses again within one share group, leaving out `n` session numbers (members
 * that could not take the message). 0, or -ENOENT when nobody is left. */
int index_choose(struct index *ix, uint32_t loop, const struct share *share,
                 const uint64_t *not_these, uint32_t n, struct receiver *r_rcpt);
/* The same without members of SUB_REMOTE. */
int index_choose_here(struct index *ix, uint32_t loop, const struct share *share,
                      const uint64_t *not_these, uint32_t n, struct receiver *r_rcpt);
/* [inside an epoch] Does any subscription match? */
bool index_any(struct index *ix, struct str topic);

uint64_t index_count(const struct index *ix); /* subscriptions, shared ones included; any thread */
uint64_t index_count_shared(const struct index *ix);
