#include "lockfile.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

static int64_t owner_of(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return strtoll(text, NULL, 10);
}

/* The number in the file only helps whoever reads it; a full disk must not keep the broker from
 * starting. */
static void say_who(int fd)
{
    char text[32];
    int n = snprintf(text, sizeof(text), "%lld\n", (long long)getpid());

    if (ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)n, 0) != n)
        (void)ftruncate(fd, 0);
}

int lockfile_take(const char *path, int64_t *r_pid)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    *r_pid = 0;
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int error = errno;

        *r_pid = owner_of(fd);
        close(fd);
        return -error;
    }
    say_who(fd);
    return fd;
}
