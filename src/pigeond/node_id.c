#include "pigeond/node_id.h"
#include "base/random.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int refuse(struct log *log, const char *path, const char *what, int err)
{
    log_error(log, "state_dir_refused", LZ("path", path), LZ("step", what),
              LZ("reason", strerror(-err)));
    return err;
}

static void make_id(char r_id[NODE_ID_MAX + 1])
{
    snprintf(r_id, NODE_ID_MAX + 1, "%016llx", (unsigned long long)random_u64());
}

static bool is_name(const char *text)
{
    if (!*text)
        return false;
    for (; *text; text++)
        if ((unsigned char)*text <= ' ' || *text == 127 || strchr("/+#", *text))
            return false;
    return true;
}

/* 0, -ENOENT, -EINVAL: not a name; another negative errno. */
static int read_file(const char *path, char r_id[NODE_ID_MAX + 1])
{
    char text[NODE_ID_MAX + 2];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    ssize_t len = read(fd, text, sizeof(text));
    int err = len < 0 ? -errno : 0;
    close(fd);
    if (err)
        return err;
    if (len > 0 && text[len - 1] == '\n')
        len--;
    if (len < 0 || len > NODE_ID_MAX)
        return -EINVAL;
    text[len] = 0;
    if (strlen(text) != (size_t)len || !is_name(text))
        return -EINVAL;
    memcpy(r_id, text, (size_t)len + 1);
    return 0;
}

static int write_all(int fd, const char *id)
{
    char line[NODE_ID_MAX + 2];
    int len = snprintf(line, sizeof(line), "%s\n", id);
    ssize_t n = write(fd, line, (size_t)len);
    if (n < 0)
        return -errno;
    if (n < len)
        return -ENOSPC;
    return fsync(fd) < 0 ? -errno : 0;
}

/* Whole or not at all: a crash in between leaves no half a name. */
static int write_file(const char *path, const char *id)
{
    char draft[PATH_MAX];
    if (snprintf(draft, sizeof(draft), "%s.new", path) >= (int)sizeof(draft))
        return -ENAMETOOLONG;
    int fd = open(draft, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    int err = write_all(fd, id);
    close(fd);
    if (!err && rename(draft, path) < 0)
        err = -errno;
    if (err)
        unlink(draft);
    return err;
}

static int read_or_make(const char *path, struct log *log, char r_id[NODE_ID_MAX + 1])
{
    int r = read_file(path, r_id);
    if (r == -EINVAL) {
        log_error(log, "node_id_damaged", LZ("path", path),
                  LZ("help", "write the node's name into it, or remove the file for a new one"));
        return r;
    }
    if (r != -ENOENT)
        return r ? refuse(log, path, "read", r) : 0;
    make_id(r_id);
    r = write_file(path, r_id);
    if (r == -ENOSPC || r == -EDQUOT) {
        log_warn(log, "node_id_not_kept", LZ("path", path), LZ("reason", strerror(-r)));
        return 0;
    }
    return r ? refuse(log, path, "write", r) : 0;
}

int node_id_read(const struct config *config, struct log *log, char r_id[NODE_ID_MAX + 1])
{
    const char *dir = config->state_dir;
    struct stat st;
    char path[PATH_MAX];
    if (dir && mkdir(dir, 0700) < 0 && errno != EEXIST)
        return refuse(log, dir, "make", -errno);
    if (dir && stat(dir, &st) < 0)
        return refuse(log, dir, "look at", -errno);
    if (dir && !S_ISDIR(st.st_mode))
        return refuse(log, dir, "look at", -ENOTDIR);
    if (config->id) {
        snprintf(r_id, NODE_ID_MAX + 1, "%s", config->id);
        return 0;
    }
    if (!dir) {
        make_id(r_id);
        return 0;
    }
    if (snprintf(path, sizeof(path), "%s/node-id", dir) >= (int)sizeof(path))
        return refuse(log, dir, "look at", -ENAMETOOLONG);
    return read_or_make(path, log, r_id);
}
