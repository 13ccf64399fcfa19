/* process.h - what a process has used so far: CPU time of all its threads, and resident memory. */
#pragma once
#include <stdint.h>
#include <sys/types.h>

struct usage {
    uint64_t cpu_ns;             /* all threads, also those that have ended */
    uint64_t user_us, system_us; /* in clock ticks of the system, usually 10 ms */
    uint64_t rss_bytes;
};

/* Reads /proc/PID/stat and the process's CPU clock. 0, -ESRCH (no such process), -EIO. */
int process_read(pid_t pid, struct usage *r_usage);
