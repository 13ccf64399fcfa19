/* overlay.h - what the open transaction has changed, by key: the last word on each. Reads look here
 * first, a commit writes it as one batch, a rollback forgets it. A unit can be taken back alone.
 * One thread. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bytes {
    const char *ptr;
    size_t len;
};

struct overlay_entry {
    struct overlay_entry *next;  /* in its bucket */
    struct overlay_entry *later; /* in order of first change */
    uint64_t hash;
    char *value; /* NULL: deleted */
    size_t value_len, key_len;
    char key[];
};

struct overlay_undo;
struct overlay {
    struct overlay_entry **buckets;
    uint32_t mask, n;
    struct overlay_entry *first, **last;
    struct overlay_undo *undo; /* what has changed since the mark, newest first */
    bool is_marked;
};

int overlay_init(struct overlay *o); /* 0 or -1: no memory */
void overlay_fini(struct overlay *o);
/* Forgets everything. */
void overlay_clear(struct overlay *o);
/* false: what was said was taken back. */
bool overlay_is_said(const struct overlay_entry *e);
/* NULL: nothing was said about this key. */
const struct overlay_entry *overlay_find(const struct overlay *o, struct bytes key);
/* value.ptr NULL: deleted. Copies both. 0 or -1: no memory, nothing has changed. */
int overlay_set(struct overlay *o, struct bytes key, struct bytes value);
/* From here on changes can be taken back. */
void overlay_mark(struct overlay *o);
/* As it was at the mark, which stays. */
void overlay_undo(struct overlay *o);
/* What has changed since the mark stays; the mark is gone. */
void overlay_settle(struct overlay *o);
