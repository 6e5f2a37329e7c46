/* What the log's tests share: records whose content follows from their position, and a log opened on a disk.
 */
#ifndef TESTS_UNIT_STORAGE_LOG_HELPER_H
#define TESTS_UNIT_STORAGE_LOG_HELPER_H

#include "storage/log.h"
#include "tests/sim/disk.h"
#include "tests/tap.h"

#define SMALL_SEGMENT (32u * 1024)
#define HEADS         8192u /* bytes of a segment before its first batch */
#define PAGE          4096u

/* The payload of the record (term, index): 1 to 300 bytes. */
static inline struct bytes payload_of(uint64_t term, uint64_t index, uint8_t *room) {
    struct random r;
    random_seed(&r, term * 1000003 + index);
    size_t size = 1 + (size_t)random_below(&r, 300);
    for (size_t i = 0; i < size; i++)
        room[i] = (uint8_t)(random_next(&r) >> 13);
    return (struct bytes){room, size};
}

static inline bool record_is_right(const struct log_record *record, uint64_t term, uint64_t index) {
    uint8_t room[300];
    return record->term == term && record->index == index && record->type == ENTRY_PUT &&
           bytes_equal(record->payload, payload_of(term, index, room));
}

static inline enum log_result append_one(struct log *log, uint64_t term) {
    uint8_t room[300];
    return log_append(log, term, ENTRY_PUT, payload_of(term, log_last(log) + 1, room));
}

static inline enum log_result append_many(struct log *log, uint64_t term, unsigned count) {
    enum log_result result = LOG_OK;
    while (count-- > 0 && result == LOG_OK)
        result = append_one(log, term);
    return result;
}

static inline void do_nothing(void *arg __attribute__((unused))) {
}

static inline enum log_result sync_log(struct log *log) {
    struct job *job = log_sync_begin(log, do_nothing, NULL);
    if (job == NULL)
        return LOG_OK;
    job->run(job);
    job->done(job);
    return log_sync_end(log);
}

static inline enum log_result flush(struct log *log, uint64_t commit) {
    enum log_result result = log_write(log, commit, false);
    return result == LOG_OK ? sync_log(log) : result;
}

static inline enum log_result open_on(struct sim_disk *disk, struct version base, struct log **out,
                                      struct log_report *report) {
    struct log_options options = {
        .fs = sim_disk_file_system(disk), .segment_size = SMALL_SEGMENT, .cache_size = SMALL_SEGMENT};
    return log_open(&options, base, out, report);
}

/* Batches of three records, each synced; the last batch attests those before it. */
static inline struct sim_disk *disk_with_records(struct tap *tap, unsigned records) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log;
    struct log_report report;
    EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK);
    for (unsigned i = 0; i < records; i += 3) {
        EQUAL(append_many(log, 1, 3), LOG_OK);
        EQUAL(flush(log, i), LOG_OK);
    }
    log_close(log);
    return disk;
}

/* The records from..to are those of the term. */
static inline bool holds(struct log *log, uint64_t term, uint64_t from, uint64_t to) {
    struct log_record record;
    for (uint64_t i = from; i <= to; i++)
        if (log_read(log, i, &record) != LOG_OK || !record_is_right(&record, term, i))
            return false;
    return true;
}

static inline void count_name(void *arg, const char *name) {
    *(unsigned *)arg += strncmp(name, "log-", 4) == 0;
}

static inline unsigned segments_on(struct sim_disk *disk) {
    unsigned count = 0;
    file_system_list(sim_disk_file_system(disk), count_name, &count);
    return count;
}

#endif
