/* The log's pace: appends with their writes, replay, and durable batches against a bare pwrite and fdatasync.
 */
#include "storage/log.h"
#include "tests/bench/measure.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RECORDS    1000000
#define BATCH      50
#define SYNCS      1000
#define VALUE_SIZE 84 /* with key and flags 103 bytes of payload, 136 of record */
#define ROUNDS     5

static void nothing(void *arg) {
    (void)arg;
}

static void check(bool ok, const char *what) {
    if (!ok)
        errx(1, "%s failed", what);
}

static void sync_now(struct log *log) {
    struct job *job = log_sync_begin(log, nothing, NULL);
    if (job == NULL)
        return;
    job->run(job);
    check(log_sync_end(log) == LOG_OK, "sync");
}

static void append(struct log *log, uint64_t number) {
    char key[32];
    static const uint8_t value[VALUE_SIZE] = {1};
    snprintf(key, sizeof key, "key:%012llu", (unsigned long long)number);
    struct entry entry = {.key = bytes_of(key), .value = {value, sizeof value}};
    check(log_append_entry(log, 1, ENTRY_PUT, &entry) == LOG_OK, "append");
}

static struct log *open_log(struct file_system *fs, struct log_report *report) {
    struct log *log;
    struct log_options options = {.fs = fs};
    if (log_open(&options, (struct version){0}, &log, report) != LOG_OK)
        errx(1, "open: %s", report->detail);
    return log;
}

static void remove_name(void *arg, const char *name) {
    file_system_remove(arg, name);
}

static void measure_appends(struct file_system *fs) {
    struct log_report report;
    struct log *log = open_log(fs, &report);
    double start = now_s();
    for (uint64_t i = 0; i < RECORDS; i++) {
        append(log, i);
        if (i % BATCH == BATCH - 1)
            check(log_write(log, i, false) == LOG_OK, "write");
    }
    double took = now_s() - start;
    printf("append and write: %.2f million records/s\n", RECORDS / took / 1e6);
    log_close(log);
    start = now_s();
    log = open_log(fs, &report);
    took = now_s() - start;
    printf("open: %.2f million records/s\n", (double)report.records / took / 1e6);
    struct log_record record;
    start = now_s();
    for (uint64_t i = log_first(log); i <= log_last(log); i++)
        check(log_read(log, i, &record) == LOG_OK && record.index == i, "read");
    took = now_s() - start;
    printf("read in order: %.2f million records/s\n", RECORDS / took / 1e6);
    log_close(log);
}

static double measure_syncs(struct file_system *fs) {
    struct log_report report;
    struct log *log = open_log(fs, &report);
    double start = now_s();
    for (uint64_t i = 0; i < SYNCS; i++) {
        for (uint64_t k = 0; k < BATCH; k++)
            append(log, i * BATCH + k);
        check(log_write(log, i, false) == LOG_OK, "write");
        sync_now(log);
    }
    double took = now_s() - start;
    log_close(log);
    return SYNCS * BATCH / took;
}

static double measure_bare(const char *directory) {
    char path[256], block[BATCH * 136 + 56] = {1};
    snprintf(path, sizeof path, "%s/bare", directory);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    size_t size = 16u * 1024 * 1024;
    char *zeros = calloc(1, size);
    check(file >= 0 && zeros != NULL && pwrite(file, zeros, size, 0) == (ssize_t)size, "bare file");
    free(zeros);
    fsync(file);
    double start = now_s();
    for (size_t i = 0; i < SYNCS; i++) {
        check(pwrite(file, block, sizeof block, (off_t)(i * sizeof block)) > 0, "bare write");
        check(fdatasync(file) == 0, "bare sync");
    }
    double took = now_s() - start;
    close(file);
    unlink(path);
    return SYNCS * BATCH / took;
}

int main(void) {
    char directory[] = "kvnode-bench-XXXXXX", why[256];
    if (mkdtemp(directory) == NULL)
        err(1, "a directory for the measurement");
    struct file_system *fs;
    if (file_system_posix_open(directory, &fs, why, sizeof why) != FILE_OK)
        errx(1, "%s", why);
    measure_appends(fs);
    for (int i = 0; i < ROUNDS; i++) {
        file_system_list(fs, remove_name, fs);
        double bare = measure_bare(directory), log = measure_syncs(fs);
        printf("durable, %d a batch: log %.0f records/s, bare pwrite and fdatasync %.0f: %.2f\n", BATCH, log,
               bare, log / bare);
    }
    file_system_list(fs, remove_name, fs);
    file_system_free(fs);
    rmdir(directory);
    return 0;
}
