/* place.h - where a store keeps its files: the name, the lock that makes it one process's, disk
 * space set aside for the time when there is none, and the words of what went wrong. One thread at
 * a time.
 *
 *   NAME           the database, a file or a directory; the engine's
 *   NAME-lock      says which process has it
 *   NAME-reserve   given up on a full disk, so that deletions can be written */
#pragma once
#include <pigeon/plugin.h>
#include <stdbool.h>

struct place {
    const pigeon_host *host;
    char *path, *reserve_path;
    int lock_fd, reserve_fd;
    int64_t reserve_bytes, probe_at_ns;
    bool is_full; /* set by the engine: something could not be written; cleared when there is room
                     again */
    bool reserve_is_used; /* given up, or not to be had */
    char error[512];
};

/* Names it by the option `path` or as `file` in state_dir, and locks it. Errors have been said to
 * the host; place_fini is due either way. */
int32_t place_init(struct place *p, const pigeon_host *host, const pigeon_conf *conf,
                   const char *file, const char *help);
void place_fini(struct place *p);
/* Tells the host why the store does not open: `what`, and p->error. Returns what host->fail
 * returns. */
int32_t place_refuse(const struct place *p, const char *what);

void place_warn(const struct place *p, const char *text);
/* A new text, `path` and `ending` behind it; free it. NULL: no memory. */
char *place_joined(const char *path, const char *ending);

/* Sets aside what the option `reserve` says. false: the disk has not so much. */
bool place_open_reserve(struct place *p);
/* false: there is nothing to give up. */
bool place_give_up_reserve(struct place *p);
/* Has a second passed since it last said so? */
bool place_may_probe(struct place *p);
/* Is there room for the reserve, and for a little more? The reserve is set aside again. */
bool place_has_room(struct place *p);

/* Times that are stored are UNIX milliseconds, for they must outlive a boot; -1: never. */
int64_t place_now_ms(void);
int64_t place_left_ms(int64_t due_ms);
