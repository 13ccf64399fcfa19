#include "place.h"
#include "lockfile.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PROBE_NS    INT64_C(1000000000)
#define PROBE_BYTES 65536

char *place_joined(const char *path, const char *ending)
{
    size_t n = strlen(path) + strlen(ending) + 1;
    char *name = malloc(n);

    if (name)
        snprintf(name, n, "%s%s", path, ending);
    return name;
}

void place_warn(const struct place *p, const char *text)
{
    p->host->log(p->host->inst, PIGEON_LOG_WARN, text);
}

int32_t place_refuse(const struct place *p, const char *what)
{
    char text[700];

    snprintf(text, sizeof(text), "%s: %s", what, p->error);
    return p->host->fail(p->host->inst, "path", text);
}

static int32_t name(struct place *p, const pigeon_conf *conf, const char *file, const char *help)
{
    pigeon_str path = p->host->conf_str(conf, "path");
    char *dir;

    if (path.len) {
        p->path = place_joined(path.ptr, "");
    } else if (p->host->state_dir && p->host->state_dir[0]) {
        dir = place_joined(p->host->state_dir, "/");
        p->path = dir ? place_joined(dir, file) : NULL;
        free(dir);
    } else {
        return p->host->fail(p->host->inst, "path", help);
    }
    p->reserve_path = p->path ? place_joined(p->path, "-reserve") : NULL;
    return p->reserve_path ? PIGEON_OK : PIGEON_E_NOMEM;
}

static int32_t lock(struct place *p)
{
    char *path = place_joined(p->path, "-lock"), who[64] = "";
    int64_t pid;

    if (!path)
        return PIGEON_E_NOMEM;
    p->lock_fd = lockfile_take(path, &pid);
    if (pid)
        snprintf(who, sizeof(who), " (process %lld)", (long long)pid);
    if (p->lock_fd == -EWOULDBLOCK)
        snprintf(
            p->error, sizeof(p->error),
            "another broker%s uses this store; stop it, or give this one a state_dir of its own",
            who);
    else if (p->lock_fd < 0)
        snprintf(p->error, sizeof(p->error), "%.400s: %s", path, strerror(-p->lock_fd));
    free(path);
    return p->lock_fd >= 0 ? PIGEON_OK : place_refuse(p, "the store cannot be locked");
}

int32_t place_init(struct place *p, const pigeon_host *host, const pigeon_conf *conf,
                   const char *file, const char *help)
{
    int32_t r;

    *p = (struct place){ .host = host, .lock_fd = -1, .reserve_fd = -1 };
    p->reserve_bytes = host->conf_int(conf, "reserve");
    r = name(p, conf, file, help);
    return r == PIGEON_OK ? lock(p) : r;
}

void place_fini(struct place *p)
{
    if (p->reserve_fd >= 0)
        close(p->reserve_fd);
    if (p->lock_fd >= 0)
        close(p->lock_fd);
    free(p->path);
    free(p->reserve_path);
}

/* ---- the reserve ----------------------------------------------------------------------------- */

static bool take_reserve(struct place *p)
{
    return posix_fallocate(p->reserve_fd, 0, p->reserve_bytes) == 0;
}

bool place_open_reserve(struct place *p)
{
    if (!p->reserve_bytes)
        return true;
    p->reserve_fd = open(p->reserve_path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return p->reserve_fd < 0 || take_reserve(p);
}

bool place_give_up_reserve(struct place *p)
{
    if (p->reserve_fd < 0 || p->reserve_is_used || ftruncate(p->reserve_fd, 0) < 0)
        return false;
    p->reserve_is_used = true;
    return true;
}

bool place_may_probe(struct place *p)
{
    int64_t now = p->host->now_ns(p->host->inst);

    if (now - p->probe_at_ns < PROBE_NS)
        return false;
    p->probe_at_ns = now;
    return true;
}

bool place_has_room(struct place *p)
{
    bool has_more;

    if (p->reserve_fd < 0)
        return true;
    has_more = posix_fallocate(p->reserve_fd, 0, p->reserve_bytes + PROBE_BYTES) == 0;
    return take_reserve(p) && ftruncate(p->reserve_fd, p->reserve_bytes) == 0 && has_more;
}

/* ---- time ------------------------------------------------------------------------------------ */

int64_t place_now_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t place_left_ms(int64_t due_ms)
{
    int64_t left = due_ms - place_now_ms();

    return due_ms < 0 ? -1 : left > 0 ? left : 0;
}
