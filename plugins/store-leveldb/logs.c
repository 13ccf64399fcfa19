#include "logs.h"
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK  32768
#define HEADER 7 /* checksum, length, type */
#define FULL   1 /* types of records that end a write */
#define LAST   4

/* Does the last record end where the file does, and a write with it? */
static bool ends_well(int fd, off_t size)
{
    uint8_t head[HEADER], type = FULL;

    for (off_t at = 0; at < size;) {
        if (BLOCK - at % BLOCK < HEADER) {
            at += BLOCK - at % BLOCK;
            continue;
        }
        if (pread(fd, head, HEADER, at) != HEADER)
            return false;
        type = head[6];
        at += HEADER + (off_t)(head[4] | head[5] << 8);
        if (at > size)
            return false;
    }
    return type == FULL || type == LAST;
}

static bool file_ends_well(int dir, const char *name)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    struct stat st;
    bool is_whole;

    if (fd < 0)
        return true; /* whoever opens it will say so */
    is_whole = fstat(fd, &st) < 0 || ends_well(fd, st.st_size);
    close(fd);
    return is_whole;
}

/* The one that is in use. */
static bool manifest_ends_well(int dir)
{
    int fd = openat(dir, "CURRENT", O_RDONLY | O_CLOEXEC);
    char name[64];
    ssize_t n = fd < 0 ? 0 : pread(fd, name, sizeof(name) - 1, 0);

    if (fd >= 0)
        close(fd);
    name[n > 0 ? n : 0] = '\0';
    name[strcspn(name, "\n")] = '\0';
    return strncmp(name, "MANIFEST-", 9) != 0 || file_ends_well(dir, name);
}

static bool has_ending(const char *name, const char *ending)
{
    const char *dot = strrchr(name, '.');

    return dot && strcmp(dot, ending) == 0;
}

struct logs logs_look(const char *path)
{
    DIR *dir = opendir(path);
    struct logs logs = { 0 };
    unsigned long newest = 0;
    bool newest_ends_well = true;
    struct stat st;

    for (struct dirent *e; dir && (e = readdir(dir));) {
        bool is_log = has_ending(e->d_name, ".log");
        bool is_table = has_ending(e->d_name, ".ldb") || has_ending(e->d_name, ".sst");
        unsigned long number = strtoul(e->d_name, NULL, 10);

        if ((!is_log && !is_table) || fstatat(dirfd(dir), e->d_name, &st, 0) < 0 || !st.st_size)
            continue;
        logs.has_records = true;
        if (!is_log)
            continue;
        bool is_whole = file_ends_well(dirfd(dir), e->d_name);
        if (number < newest) {
            logs.is_cut = logs.is_cut || !is_whole;
            continue;
        }
        logs.is_cut = logs.is_cut || !newest_ends_well;
        newest = number;
        newest_ends_well = is_whole;
    }
    logs.manifest_is_cut = dir && !manifest_ends_well(dirfd(dir));
    if (dir)
        closedir(dir);
    return logs;
}
