/* What the measuring programs share: the clock, resident memory, and a process of its own for each
 * measurement. */
#ifndef TESTS_BENCH_MEASURE_H
#define TESTS_BENCH_MEASURE_H

#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static inline double now_s(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

/* Bytes of this process in memory. */
static inline uint64_t resident(void) {
    unsigned long size, pages;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu %lu", &size, &pages) != 2)
        err(1, "/proc/self/statm");
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* Runs it in a child, so that resident memory is that of this run alone. */
static inline void run_apart(void (*run)(void *arg), void *arg) {
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        run(arg);
        fflush(stdout);
        _exit(0);
    }
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0)
        errx(1, "a run failed");
}

#endif
