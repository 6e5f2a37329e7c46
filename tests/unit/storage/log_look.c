/* Cutting a stopped node's log at damage that nothing else can mend. */
#include "storage/log_look.h"

#include "storage/log_internal.h"
#include "tests/unit/storage/log_helper.h"

#define RECORDS 12
#define FIRST   "log-0000000000000001"

static bool opens_with(struct sim_disk *disk, uint64_t last) {
    struct log *log;
    struct log_report report;
    if (open_on(disk, (struct version){0}, &log, &report) != LOG_OK) {
        printf("# %s\n", report.detail);
        return false;
    }
    bool ok = log_last(log) == last && holds(log, 1, 1, last);
    log_close(log);
    return ok;
}

/* A byte inside the records, so that most of them stay. */
static uint64_t damage_record(struct sim_disk *disk) {
    struct log *log;
    struct log_report report;
    uint64_t at = HEADS + 1200;
    if (!sim_disk_flip(disk, FIRST, at, 4) ||
        open_on(disk, (struct version){0}, &log, &report) != LOG_CORRUPT)
        abort();
    return report.offset;
}

TEST(a_log_end_that_cannot_be_read_is_replaced_and_kept) {
    for (unsigned pages = 1; pages <= 3; pages++) {
        struct sim_disk *disk = disk_with_records(tap, RECORDS);
        for (unsigned copy = 0; copy < 2; copy++)
            if (pages & 1u << copy)
                OK(sim_disk_damage(disk, DAMAGE_UNREADABLE, LOG_END_FILE, copy * PAGE, NULL));
        EQUAL(log_cut(sim_disk_file_system(disk), LOG_END_FILE, 0, 9), FILE_OK);
        OK(sim_disk_size(disk, "aside-0000000000000009-log_end") > 0);
        OK(opens_with(disk, RECORDS));
        sim_disk_free(disk);
    }
}

TEST(a_log_is_cut_also_where_log_end_cannot_be_read) {
    struct sim_disk *disk = disk_with_records(tap, RECORDS);
    uint64_t offset = damage_record(disk);
    OK(sim_disk_damage(disk, DAMAGE_UNREADABLE, LOG_END_FILE, 0, NULL));
    EQUAL(log_cut(sim_disk_file_system(disk), FIRST, offset, 9), FILE_OK);
    struct log *log;
    struct log_report report;
    REQUIRE(open_on(disk, (struct version){0}, &log, &report) == LOG_OK);
    OK(log_last(log) > 0 && log_last(log) < RECORDS);
    OK(holds(log, 1, 1, log_last(log)));
    log_close(log);
    sim_disk_free(disk);
}

static void note_unfinished(void *arg, const char *name) {
    size_t size = strlen(name);
    *(unsigned *)arg += size > 4 && strcmp(name + size - 4, ".new") == 0;
}

/* Killed, or without power, at any operation: it is cut again, and nothing of the first time is left. */
TEST(a_cut_that_was_interrupted_anywhere_is_done_again_and_leaves_no_unfinished_file) {
    struct random random;
    random_seed(&random, 3);
    bool reached = true;
    unsigned times = 0;
    for (uint64_t after = 0; reached; after++, times++) {
        struct sim_disk *disk = disk_with_records(tap, RECORDS);
        uint64_t offset = damage_record(disk);
        sim_disk_inject(disk, (struct sim_disk_fault){after, SIM_DISK_ALL & ~(unsigned)SIM_DISK_READ,
                                                      FILE_IO_ERROR, true});
        reached = log_cut(sim_disk_file_system(disk), FIRST, offset, 9) != FILE_OK;
        if (after % 2 == 0)
            sim_disk_restart(disk);
        else
            sim_disk_crash(disk, &random);
        struct log *log;
        struct log_report report;
        enum log_result result = open_on(disk, (struct version){0}, &log, &report);
        OK(result == LOG_OK || (reached && result == LOG_CORRUPT));
        if (result == LOG_CORRUPT) {
            EQUAL(log_cut(sim_disk_file_system(disk), report.file, report.offset, 10), FILE_OK);
            result = open_on(disk, (struct version){0}, &log, &report);
        }
        REQUIRE(result == LOG_OK);
        OK(log_last(log) < RECORDS && holds(log, 1, 1, log_last(log)));
        log_close(log);
        unsigned unfinished = 0;
        sim_disk_names(disk, note_unfinished, &unfinished);
        EQUAL(unfinished, 0);
        sim_disk_free(disk);
    }
    OK(times > 8);
}

TESTS(TAP(a_log_end_that_cannot_be_read_is_replaced_and_kept),
      TAP(a_log_is_cut_also_where_log_end_cannot_be_read),
      TAP(a_cut_that_was_interrupted_anywhere_is_done_again_and_leaves_no_unfinished_file))
