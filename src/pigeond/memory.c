#include "pigeond/memory.h"
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static uint64_t read_number(const char *path)
{
    unsigned long long n;
    FILE *f = fopen(path, "re");
    if (!f)
        return UINT64_MAX;
    if (fscanf(f, "%llu", &n) != 1) /* "max" */
        n = UINT64_MAX;
    fclose(f);
    return n;
}

/* The smallest limit on the way from this process's control group (version 2) to the root. */
static uint64_t group_limit(void)
{
    char name[PATH_MAX] = "", path[PATH_MAX + 64];
    uint64_t least = UINT64_MAX;
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (!f)
        return least;
    while (fgets(path, PATH_MAX, f))
        if (sscanf(path, "0::%4000[^\n]", name) == 1)
            break;
    fclose(f);
    for (char *end = name + strlen(name); end; end = strrchr(name, '/')) {
        *end = 0;
        snprintf(path, sizeof(path), "/sys/fs/cgroup%s/memory.max", name);
        uint64_t n = read_number(path);
        least = n < least ? n : least;
    }
    return least;
}

static uint64_t machine_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 0;
}

uint64_t memory_limit(const struct config *config)
{
    if (config->limits.memory != CONFIG_AUTO)
        return (uint64_t)config->limits.memory;
    uint64_t all = machine_memory(), group = group_limit();
    return (group < all ? group : all) / 4 * 3;
}

static uint64_t resident(void)
{
    unsigned long long pages;
    long size = sysconf(_SC_PAGESIZE);
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f)
        return 0;
    if (fscanf(f, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(f);
    return size > 0 ? pages * (uint64_t)size : 0;
}

uint64_t memory_used(uint64_t limit)
{
    uint64_t used = resident();
    if (!limit || used <= limit)
        return used;
    malloc_trim(0);
    return resident();
}
