/* What the operating system says about this process and machine. */
#include "sys.h"
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define CPU_IDLE   3u /* columns of the first line of /proc/stat */
#define CPU_IOWAIT 4u
#define CPU_FIELDS 8u

void sys_cpu_read(struct sys_cpu *r_cpu)
{
    uint64_t t[CPU_FIELDS] = { 0 };
    FILE *f = fopen("/proc/stat", "re");

    *r_cpu = (struct sys_cpu){ 0 };
    if (!f)
        return;
    if (fscanf(f,
               "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
               " %" SCNu64 " %" SCNu64,
               &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]) == (int)CPU_FIELDS)
        for (uint32_t i = 0; i < CPU_FIELDS; i++) {
            r_cpu->total += t[i];
            if (i != CPU_IDLE && i != CPU_IOWAIT)
                r_cpu->busy += t[i];
        }
    fclose(f);
}

static uint32_t cpu_percent(const struct sys_cpu *from, const struct sys_cpu *to)
{
    uint64_t total = to->total - from->total;

    if (to->total <= from->total || to->busy < from->busy)
        return 0;
    return (uint32_t)(((to->busy - from->busy) * 100 + total / 2) / total);
}

/* Memory of the process's own that is resident: what malloc gave out and keeps, and the stacks.
 * Reading it costs the same however large it is, which mallinfo2() does not promise. */
static uint64_t heap_bytes(void)
{
    uint64_t size = 0, resident = 0, shared = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (!f)
        return 0;
    if (fscanf(f, "%" SCNu64 " %" SCNu64 " %" SCNu64, &size, &resident, &shared) != 3 ||
        resident < shared)
        resident = shared = 0;
    fclose(f);
    return (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

void sys_numbers_read(struct sys *s)
{
    struct sys_numbers *n = &s->numbers;
    struct sys_cpu cpu;
    int loads = getloadavg(n->load_average, 3);

    n->info = (pigeon_info){ .size = sizeof(n->info) };
    s->host->info(s->host->inst, &n->info);
    n->now_ns = s->host->now_ns(s->host->inst);
    n->heap = heap_bytes();
    if (n->heap > n->heap_maximum)
        n->heap_maximum = n->heap;
    n->n_load_average = loads > 0 ? (uint32_t)loads : 0;
    sys_cpu_read(&cpu);
    n->cpu_percent = cpu_percent(&s->cpu_at_start, &cpu);
}
