/* retained.h - the retained messages, shared by all loops.
 *
 * Read without locks inside an epoch, written under the broker's tree lock. Holds one reference to
 * each message. Every write takes the next version; a topic's version only grows. */
#pragma once
#include "base/buf.h"
#include "base/epoch.h"
#include "base/hash.h"
#include "mqtt/message.h"

struct retained;

int retained_new(struct epoch *epoch, const struct hash_key *key, struct retained **r_retained);
void retained_free(struct retained **r);

/* [tree lock] Stores a reference to `m` under its topic, or deletes the topic when its payload is
 * empty [MQTT-3.3.1-6] [MQTT-3.3.1-7]. 0 and the new version (also for a deletion), -ENOMEM, or
 * -ENOSPC when max_messages or max_bytes (0: no limit) would be exceeded; nothing has changed then.
 */
struct retained_limits {
    uint64_t max_messages, max_bytes;
};
int retained_put(struct retained *r, uint32_t loop, struct message *m,
                 const struct retained_limits *limits, uint64_t *r_version);
/* [tree lock] Deletes a topic if it still holds version `version` (0: any); for expiry. true:
 * deleted. */
bool retained_delete(struct retained *r, uint32_t loop, struct str topic, uint64_t version);
/* The last version given. Under the tree lock it is exact. */
uint64_t retained_version(const struct retained *r);

/* [inside an epoch] The message of a topic, with a reference for the caller; NULL if there is none.
 */
struct message *retained_get(struct retained *r, struct str topic);

/* A scan that may take many turns. It keeps no pointer into the tree between calls, only a
 * position. Every topic that exists throughout the scan is reported exactly once; one written or
 * deleted meanwhile may be reported or not. */
struct retained_scan {
    struct buf position; /* private */
    struct str filter;   /* borrowed from the caller for the whole scan */
    uint64_t version;    /* report versions <= this */
    bool started, done;
};
/* The message is borrowed (message_ref to keep it). Return false to stop here (the message is
 * not consumed and comes again). */
typedef bool (*retained_fn)(void *ctx, struct message *m, uint64_t version);
void retained_scan_init(struct retained_scan *s, struct str filter, uint64_t version);
void retained_scan_fini(struct retained_scan *s);
/* [inside an epoch] Reports at most `max` messages; sets s->done at the end. It may return before
 * either, without a message even, so that no turn gets long: call it again until s->done. 0 or
 * -ENOMEM (what was reported is consumed; calling again goes on). */
int retained_scan_run(struct retained *r, struct retained_scan *s, uint32_t max, retained_fn fn,
                      void *ctx);

uint64_t retained_count(const struct retained *r); /* any thread */
uint64_t retained_bytes(const struct retained *r);
