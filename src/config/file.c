#include "config/file.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int read_all(int fd, size_t max, struct buf *out)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISDIR(st.st_mode))
        return -EISDIR;
    for (size_t start = buf_len(out);;) {
        int err = buf_reserve(out, 4096);
        if (err)
            return err;
        ssize_t n = read(fd, buf_tail(out), buf_room(out));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        buf_commit(out, (size_t)n);
        if (buf_len(out) - start > max)
            return -EFBIG;
    }
}

int file_read(const char *path, size_t max, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0)
        return -errno;
    int err = read_all(fd, max, out);
    close(fd);
    return err;
}
