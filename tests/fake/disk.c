/* A disk that is full, fails, or loses power, put under a broker with LD_PRELOAD.
 *
 *   DISK_DIR      only files below this directory are concerned
 *   DISK_FAULT    full:N     writes fail with ENOSPC from the N-th on, while the file
 * DISK_DIR/../full exists write:N    the N-th write and all later ones fail with EIO sync:N
 * likewise for fsync and fdatasync DISK_SHADOW   a directory that gets what is really on the disk:
 * each file as it was at its last fsync or fdatasync, as after a loss of power. Removals and new
 * names take effect at once.
 *
 * Only what stores use: write, pwrite, ftruncate, fallocate, fsync, fdatasync, unlink, rename. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILES_MAX  256
#define RANGES_MAX 4096

struct range {
    off_t at;
    size_t len;
};

struct file { /* written to since its last sync */
    char name[NAME_MAX + 1];
    struct range ranges[RANGES_MAX];
    unsigned n;
    bool whole; /* too many ranges, or its size was changed */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file *files[FILES_MAX];
static atomic_long n_writes, n_syncs;
static off_t n_freed; /* under the lock */

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

static const char *setting(const char *name)
{
    const char *value = getenv(name);

    return value && value[0] ? value : NULL;
}

/* The name below DISK_DIR of what is open there; false: it is none of ours. */
static bool name_of(int fd, char name[PATH_MAX])
{
    const char *dir = setting("DISK_DIR");
    char link[64], path[PATH_MAX];
    ssize_t n;

    if (!dir)
        return false;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    if (n <= 0)
        return false;
    path[n] = '\0';
    if (strncmp(path, dir, strlen(dir)) != 0 || path[strlen(dir)] != '/')
        return false;
    snprintf(name, PATH_MAX, "%s", path + strlen(dir) + 1);
    return strchr(name, '/') == NULL || strlen(name) <= NAME_MAX;
}

/* ---- faults ---------------------------------------------------------------------------------- */

static bool is_full(void)
{
    char flag[PATH_MAX];

    snprintf(flag, sizeof(flag), "%s/../full", setting("DISK_DIR"));
    return access(flag, F_OK) == 0;
}

/* The number of a fault of this kind, 0: none is set. */
static long fault(const char *kind)
{
    const char *f = setting("DISK_FAULT");
    size_t len = strlen(kind);

    return f && strncmp(f, kind, len) == 0 && f[len] == ':' ? strtol(f + len + 1, NULL, 10) : 0;
}

/* A write that makes a file larger takes from what was freed. */
static bool has_no_room(int fd, off_t end)
{
    struct stat st;
    bool none = false;

    if (!fault("full") || fstat(fd, &st) < 0)
        return false;
    pthread_mutex_lock(&lock);
    if (!is_full())
        n_freed = 0;
    else if (end > st.st_size && end - st.st_size > n_freed)
        none = true;
    else if (end > st.st_size)
        n_freed -= end - st.st_size;
    pthread_mutex_unlock(&lock);
    if (none)
        errno = ENOSPC;
    return none;
}

static void freed(off_t bytes)
{
    pthread_mutex_lock(&lock);
    n_freed += bytes;
    pthread_mutex_unlock(&lock);
}

static bool write_fails(int fd, off_t end)
{
    long n = atomic_fetch_add(&n_writes, 1) + 1;

    if (has_no_room(fd, end))
        return true;
    if (fault("write") && n >= fault("write")) {
        errno = EIO;
        return true;
    }
    return false;
}

static bool sync_fails(void)
{
    if (!fault("sync") || atomic_fetch_add(&n_syncs, 1) + 1 < fault("sync"))
        return false;
    errno = EIO;
    return true;
}

/* ---- the shadow ------------------------------------------------------------------------------ */

static struct file *file_named(const char *name)
{
    unsigned i = 0;

    for (; i < FILES_MAX && files[i]; i++)
        if (strcmp(files[i]->name, name) == 0)
            return files[i];
    if (i == FILES_MAX)
        abort();
    files[i] = calloc(1, sizeof(**files));
    snprintf(files[i]->name, sizeof(files[i]->name), "%s", name);
    return files[i];
}

static void changed(const char *name, off_t at, ssize_t len)
{
    struct file *f;

    if (!setting("DISK_SHADOW") || len <= 0)
        return;
    pthread_mutex_lock(&lock);
    f = file_named(name);
    if (f->n == RANGES_MAX)
        f->whole = true;
    else
        f->ranges[f->n++] = (struct range){ .at = at, .len = (size_t)len };
    pthread_mutex_unlock(&lock);
}

static void resized(const char *name)
{
    if (!setting("DISK_SHADOW"))
        return;
    pthread_mutex_lock(&lock);
    file_named(name)->whole = true;
    pthread_mutex_unlock(&lock);
}

static void copy(int from, int to, off_t at, size_t len)
{
    ssize_t (*write_)(int, const void *, size_t, off_t) = next("pwrite");
    char buf[65536];

    while (len > 0) {
        ssize_t n = pread(from, buf, len < sizeof(buf) ? len : sizeof(buf), at);

        if (n <= 0 || write_(to, buf, (size_t)n, at) != n)
            return;
        at += n;
        len -= (size_t)n;
    }
}

/* Of a file one directory down. */
static void make_parent(char *path)
{
    char *slash = strrchr(path, '/');

    *slash = '\0';
    mkdir(path, 0700);
    *slash = '/';
}

static void synced(int fd, const char *name)
{
    int (*truncate_)(int, off_t) = next("ftruncate");
    char path[PATH_MAX + NAME_MAX + 2];
    struct stat st;
    struct file *f;
    int from, to;

    if (!setting("DISK_SHADOW") || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    from = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof(path), "%s/%s", setting("DISK_SHADOW"), name);
    make_parent(path);
    to = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    pthread_mutex_lock(&lock);
    f = file_named(name);
    if (f->whole)
        f->ranges[0] = (struct range){ .at = 0, .len = (size_t)st.st_size };
    for (unsigned i = 0; i < (f->whole ? 1 : f->n); i++)
        copy(from, to, f->ranges[i].at, f->ranges[i].len);
    if (truncate_(to, st.st_size) < 0)
        abort();
    f->n = 0;
    f->whole = false;
    pthread_mutex_unlock(&lock);
    close(from);
    close(to);
}

/* ---- what is put in place of libc's ---------------------------------------------------------- */

static ssize_t write_at(int fd, const void *buf, size_t len, off_t at)
{
    ssize_t (*real)(int, const void *, size_t, off_t) = next("pwrite");
    char name[PATH_MAX];
    ssize_t n;

    if (!name_of(fd, name))
        return real(fd, buf, len, at);
    if (write_fails(fd, at + (off_t)len))
        return -1;
    n = real(fd, buf, len, at);
    changed(name, at, n);
    return n;
}

__attribute__((visibility("default"))) ssize_t pwrite(int fd, const void *buf, size_t len, off_t at)
{
    return write_at(fd, buf, len, at);
}

__attribute__((visibility("default"))) ssize_t pwrite64(int fd, const void *buf, size_t len,
                                                        off64_t at)
{
    return write_at(fd, buf, len, at);
}

__attribute__((visibility("default"))) ssize_t write(int fd, const void *buf, size_t len)
{
    ssize_t (*real)(int, const void *, size_t) = next("write");
    char name[PATH_MAX];
    ssize_t n;

    if (!name_of(fd, name))
        return real(fd, buf, len);
    if (write_fails(fd, lseek(fd, 0, SEEK_CUR) + (off_t)len))
        return -1;
    n = real(fd, buf, len);
    if (n > 0)
        changed(name, lseek(fd, 0, SEEK_CUR) - n, n);
    return n;
}

static int set_size(int fd, off_t size)
{
    int (*real)(int, off_t) = next("ftruncate");
    char name[PATH_MAX];
    struct stat st;
    int r;

    if (!name_of(fd, name) || fstat(fd, &st) < 0)
        return real(fd, size);
    r = real(fd, size);
    if (r == 0) {
        resized(name);
        freed(st.st_size > size ? st.st_size - size : 0);
    }
    return r;
}

__attribute__((visibility("default"))) int ftruncate(int fd, off_t size)
{
    return set_size(fd, size);
}

__attribute__((visibility("default"))) int ftruncate64(int fd, off64_t size)
{
    return set_size(fd, size);
}

static int allocate(int fd, off_t at, off_t len)
{
    int (*real)(int, off_t, off_t) = next("posix_fallocate");
    char name[PATH_MAX];
    int r;

    if (!name_of(fd, name))
        return real(fd, at, len);
    if (write_fails(fd, at + len))
        return errno;
    r = real(fd, at, len);
    if (r == 0)
        resized(name);
    return r;
}

__attribute__((visibility("default"))) int posix_fallocate(int fd, off_t at, off_t len)
{
    return allocate(fd, at, len);
}

__attribute__((visibility("default"))) int posix_fallocate64(int fd, off64_t at, off64_t len)
{
    return allocate(fd, at, len);
}

static int sync_with(const char *how, int fd)
{
    int (*real)(int) = next(how);
    char name[PATH_MAX];
    int r;

    if (!name_of(fd, name))
        return real(fd);
    if (sync_fails())
        return -1;
    r = real(fd);
    if (r == 0)
        synced(fd, name);
    return r;
}

__attribute__((visibility("default"))) int fsync(int fd)
{
    return sync_with("fsync", fd);
}

__attribute__((visibility("default"))) int fdatasync(int fd)
{
    return sync_with("fdatasync", fd);
}

/* The same file below the shadow; false: there is none. */
static bool shadow_of(const char *path, char shadow[PATH_MAX])
{
    const char *dir = setting("DISK_DIR"), *to = setting("DISK_SHADOW");

    if (!dir || !to || strncmp(path, dir, strlen(dir)) != 0 || path[strlen(dir)] != '/')
        return false;
    snprintf(shadow, PATH_MAX, "%s/%s", to, path + strlen(dir) + 1);
    return true;
}

__attribute__((visibility("default"))) int unlink(const char *path)
{
    int (*real)(const char *) = next("unlink");
    const char *dir = setting("DISK_DIR");
    char shadow[PATH_MAX];
    struct stat st;
    bool is_ours = dir && strncmp(path, dir, strlen(dir)) == 0 && stat(path, &st) == 0;
    int r = real(path);

    if (r == 0 && is_ours)
        freed(st.st_size);
    if (r == 0 && shadow_of(path, shadow))
        real(shadow);
    return r;
}

__attribute__((visibility("default"))) int rename(const char *from, const char *to)
{
    int (*real)(const char *, const char *) = next("rename");
    char shadow[PATH_MAX], shadow_to[PATH_MAX];
    int r = real(from, to);

    if (r == 0 && shadow_of(from, shadow) && shadow_of(to, shadow_to))
        real(shadow, shadow_to);
    return r;
}
