#include "bench/process.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STAT_MAX 2048

/* utime, stime and rss are the fields 14, 15 and 24; the name before them may hold anything. */
static int parse_stat(const char *text, uint64_t *r_utime, uint64_t *r_stime, uint64_t *r_pages)
{
    const char *at = strrchr(text, ')');
    uint64_t utime, stime, pages;
    if (!at || sscanf(at + 1,
                      " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64
                      " %*d %*d %*d %*d %*d %*d %*u %*u %" SCNu64,
                      &utime, &stime, &pages) != 3)
        return -EIO;
    *r_utime = utime;
    *r_stime = stime;
    *r_pages = pages;
    return 0;
}

int process_read(pid_t pid, struct usage *r_usage)
{
    char path[64], text[STAT_MAX];
    snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return errno == ENOENT ? -ESRCH : -EIO;
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';

    uint64_t utime, stime, pages;
    int r = parse_stat(text, &utime, &stime, &pages);
    if (r < 0)
        return r;
    uint64_t tick_us = 1000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    *r_usage = (struct usage){
        .cpu_ns = (utime + stime) * tick_us * 1000,
        .user_us = utime * tick_us,
        .system_us = stime * tick_us,
        .rss_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE),
    };
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &t) == 0)
        r_usage->cpu_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    return 0;
}
