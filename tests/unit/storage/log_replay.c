/* Opening a log that was cut or damaged. */
#include "tests/unit/storage/log_helper.h"

#define RECORDS 12
#define FIRST   "log-0000000000000001"

/* Batches of three records, each synced; the last batch attests those before it. */
static struct sim_disk *disk_with_records(struct tap *tap, unsigned records) {
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

static void cut_file(struct sim_disk *disk, const char *name, uint64_t size) {
    struct file *file;
    file_open(sim_disk_file_system(disk), name, false, &file);
    file_truncate(file, size);
    file_sync(file);
    file_close(file);
}

/* The bytes of a segment that are in use: where its last byte that is not zero stands, and the zeros behind
 * it. */
static uint32_t used_bytes(struct sim_disk *disk, const char *name) {
    static uint8_t content[SMALL_SEGMENT];
    struct file *file;
    size_t got;
    file_open(sim_disk_file_system(disk), name, false, &file);
    file_read(file, 0, content, sizeof content, &got);
    file_close(file);
    while (got > 0 && content[got - 1] == 0)
        got--;
    return (uint32_t)got;
}

/* Opens, checks that the log holds a beginning of the records, appends, and opens again. Returns how many it
 * held. */
static uint64_t goes_on(struct tap *tap, struct sim_disk *disk, uint64_t most) {
    struct log *log;
    struct log_report report;
    if (!EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK))
        return 0;
    uint64_t held = log_last(log);
    OK(held <= most);
    OK(holds(log, 1, 1, held));
    EQUAL(append_many(log, 2, 2), LOG_OK);
    EQUAL(flush(log, 0), LOG_OK);
    log_close(log);
    if (!EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK))
        return 0;
    EQUAL(report.cut_bytes, 0);
    EQUAL(log_last(log), held + 2);
    OK(holds(log, 1, 1, held));
    OK(holds(log, 2, held + 1, held + 2));
    log_close(log);
    return held;
}

TEST(a_log_cut_at_any_byte_starts_with_the_whole_records_before_the_cut_and_goes_on) {
    struct sim_disk *disk = disk_with_records(tap, RECORDS);
    uint32_t used = used_bytes(disk, FIRST);
    uint64_t held = 0;
    for (uint32_t size = 0; size <= used + 20; size++) {
        struct sim_disk *copy = sim_disk_copy(disk);
        cut_file(copy, FIRST, size);
        uint64_t now = goes_on(tap, copy, RECORDS);
        OK(now >= held);
        held = now;
        sim_disk_free(copy);
    }
    EQUAL(held, RECORDS);
    sim_disk_free(disk);
}

TEST(a_flipped_byte_is_refused_before_the_attested_point_and_cut_behind_it_and_never_read) {
    struct sim_disk *disk = disk_with_records(tap, RECORDS);
    uint32_t used = used_bytes(disk, FIRST);
    unsigned refused = 0, cut = 0, whole = 0;
    bool past_attested = false;
    for (uint32_t at = 0; at < used; at++) {
        struct sim_disk *copy = sim_disk_copy(disk);
        struct log *log;
        struct log_report report;
        OK(sim_disk_flip(copy, FIRST, at, (uint8_t)(1u << at % 8)));
        enum log_result result = open_on(copy, (struct version){0}, &log, &report);
        if (result == LOG_CORRUPT) {
            OK(!past_attested);
            TEXT_EQUAL(report.file, FIRST);
            OK(report.offset <= at);
            OK(strstr(report.detail, FIRST) != NULL);
            refused++;
        } else if (OK(result == LOG_OK)) {
            OK(holds(log, 1, 1, log_last(log)));
            OK(log_last(log) >= RECORDS - 3);
            if (log_last(log) < RECORDS) {
                OK(report.cut_bytes > 0 && report.detail[0] != '\0');
                past_attested = true;
                cut++;
            } else {
                whole++;
            }
            log_close(log);
        }
        sim_disk_free(copy);
    }
    OK(refused > 200 && cut > 100);
    OK(whole < 1024 + 8 * (RECORDS + 1));
    sim_disk_free(disk);
}

TEST(damage_in_an_old_segment_is_refused_with_file_and_offset) {
    struct sim_disk *disk = disk_with_records(tap, 600);
    unsigned segments = segments_on(disk);
    OK(segments > 4);
    for (unsigned number = 1; number < segments; number++)
        for (uint32_t at = 1024 + 4; at < SMALL_SEGMENT - 1000; at += 997) {
            char name[FILE_NAME_MAX];
            struct sim_disk *copy = sim_disk_copy(disk);
            struct log *log;
            struct log_report report;
            snprintf(name, sizeof name, "log-%016x", number);
            OK(sim_disk_flip(copy, name, at, 1));
            enum log_result result = open_on(copy, (struct version){0}, &log, &report);
            if (result == LOG_OK) { /* padding */
                OK(log_last(log) == 600 && holds(log, 1, 1, 600));
                log_close(log);
            } else {
                EQUAL(result, LOG_CORRUPT);
                TEXT_EQUAL(report.file, name);
                OK(report.offset <= at && at - report.offset < 400);
            }
            sim_disk_free(copy);
        }
    sim_disk_free(disk);
}

/* A record whose payload is zeros, in the middle of a log of several segments or at its end. */
static struct sim_disk *disk_with_zeros(struct tap *tap, bool goes_on_behind) {
    static const uint8_t zeros[4000];
    struct sim_disk *disk = sim_disk_new();
    struct log *log;
    struct log_report report;
    EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK);
    EQUAL(append_many(log, 1, 3), LOG_OK);
    EQUAL(flush(log, 1), LOG_OK);
    EQUAL(log_append(log, 1, ENTRY_PUT, (struct bytes){zeros, sizeof zeros}), LOG_OK);
    EQUAL(flush(log, 2), LOG_OK);
    for (unsigned i = 0; goes_on_behind && i < 3; i++) {
        EQUAL(log_append(log, 1, ENTRY_PUT, (struct bytes){zeros + 1, sizeof zeros - 1}), LOG_OK);
        EQUAL(flush(log, 3), LOG_OK);
    }
    for (unsigned i = 0; goes_on_behind && segments_on(disk) < 4; i++) {
        EQUAL(append_many(log, 1, 20), LOG_OK);
        EQUAL(flush(log, 3), LOG_OK);
    }
    log_close(log);
    return disk;
}

TEST(a_record_of_zeros_that_the_file_has_lost_is_damage_and_not_read_as_if_it_were_there) {
    for (unsigned behind = 0; behind < 2; behind++) {
        struct sim_disk *disk = disk_with_zeros(tap, behind == 1);
        uint32_t used = used_bytes(disk, FIRST);
        struct log *log;
        struct log_report report;
        cut_file(disk, FIRST, behind == 1 ? used + 2000 : used + 3000);
        enum log_result result = open_on(disk, (struct version){0}, &log, &report);
        EQUAL(result, behind == 1 ? LOG_CORRUPT : LOG_OK);
        if (result == LOG_OK) {
            EQUAL(log_last(log), 3);
            OK(report.cut_bytes > 0);
            OK(holds(log, 1, 1, 3));
            log_close(log);
        } else {
            TEXT_EQUAL(report.file, FIRST);
        }
        sim_disk_free(disk);
    }
}

TEST(a_missing_segment_that_was_durable_is_refused) {
    struct sim_disk *disk = disk_with_records(tap, 600);
    struct log *log;
    struct log_report report;
    EQUAL(file_system_remove(sim_disk_file_system(disk), "log-0000000000000003"), FILE_OK);
    EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_CORRUPT);
    TEXT_EQUAL(report.file, "log-0000000000000003");
    sim_disk_free(disk);
}

TEST(one_damaged_head_of_a_segment_does_no_harm) {
    for (int copy = 0; copy < 2; copy++) {
        struct sim_disk *disk = disk_with_records(tap, 600);
        struct log *log;
        struct log_report report;
        for (unsigned number = 1; number <= 3; number++) {
            char name[FILE_NAME_MAX];
            snprintf(name, sizeof name, "log-%016x", number);
            OK(sim_disk_flip(disk, name, (uint64_t)copy * 512 + 17, 1));
        }
        EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK);
        OK(log_last(log) == 600 && holds(log, 1, 1, 600));
        log_close(log);
        sim_disk_free(disk);
    }
}

TEST(bytes_behind_a_cut_never_come_back) {
    /* Two unsynced batches; the first is lost, the second survives; the same records are then written again
     * so that they would end exactly where the survivor begins. */
    struct sim_disk *disk = sim_disk_new();
    struct log *log;
    struct log_report report;
    EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK);
    EQUAL(append_many(log, 1, 3), LOG_OK);
    EQUAL(flush(log, 0), LOG_OK);
    uint32_t lost = used_bytes(disk, FIRST) / 8 * 8;
    EQUAL(append_many(log, 1, 3), LOG_OK);
    EQUAL(log_write(log, 0, false), LOG_OK);
    EQUAL(append_many(log, 1, 3), LOG_OK);
    EQUAL(log_write(log, 0, false), LOG_OK);
    EQUAL(file_system_sync(sim_disk_file_system(disk)), FILE_OK);
    log_close(log);
    struct file *file;
    uint8_t zeros[100] = {0};
    EQUAL(file_open(sim_disk_file_system(disk), FIRST, false, &file), FILE_OK);
    EQUAL(file_write(file, lost + 8, (struct bytes){zeros, sizeof zeros}), FILE_OK);
    file_close(file);
    EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK);
    EQUAL(log_last(log), 3);
    OK(report.cut_bytes > 0);
    EQUAL(append_many(log, 1, 3), LOG_OK);
    EQUAL(flush(log, 0), LOG_OK);
    log_close(log);
    EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK);
    EQUAL(log_last(log), 6);
    EQUAL(report.cut_bytes, 0);
    log_close(log);
    sim_disk_free(disk);
}

/* What opening told of. */
struct told {
    uint64_t next;
    uint64_t new_from; /* the records from here on are of term 2, those before of term 1 */
    bool wrong;
};

static void told(void *arg, const struct log_record *records, size_t count) {
    struct told *t = arg;
    t->wrong |= count == 0 || count > LOG_TOLD_MAX;
    for (size_t i = 0; i < count; i++, t->next++)
        t->wrong |= !record_is_right(&records[i], t->next < t->new_from ? 1 : 2, t->next);
}

static enum log_result open_told(struct sim_disk *disk, struct version base, struct told *t,
                                 struct log_report *report) {
    struct log *log;
    struct log_options options = {.fs = sim_disk_file_system(disk),
                                  .segment_size = SMALL_SEGMENT,
                                  .committed = told,
                                  .committed_arg = t};
    t->next = base.index + 1;
    enum log_result result = log_open(&options, base, &log, report);
    if (result == LOG_OK)
        log_close(log);
    return result;
}

/* 500 records of term 1 and, in the place of 200 more, 100 of term 2, over several segments; the commit lags
 * by more than one of them and reaches `commit` at the end. */
static struct sim_disk *disk_with_commits(struct tap *tap, uint64_t commit) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log;
    struct log_report report;
    EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK);
    for (uint64_t i = 0; i < 70; i++) {
        EQUAL(append_many(log, 1, 10), LOG_OK);
        EQUAL(flush(log, i < 30 ? 0 : (i - 30) * 10), LOG_OK);
    }
    EQUAL(log_truncate(log, 501), LOG_OK);
    EQUAL(append_many(log, 2, 100), LOG_OK);
    EQUAL(flush(log, 500), LOG_OK);
    EQUAL(log_write(log, commit, true), LOG_OK);
    EQUAL(sync_log(log), LOG_OK);
    log_close(log);
    OK(segments_on(disk) > 3);
    return disk;
}

TEST(who_opens_a_log_is_told_of_each_committed_record_behind_the_snapshot_once_and_in_order) {
    for (uint64_t commit = 500; commit <= 700; commit += 50) {
        struct sim_disk *disk = disk_with_commits(tap, commit);
        struct log_report report;
        struct told t = {.new_from = 501};
        uint64_t until = commit < 600 ? commit : 600;
        for (uint64_t base = 0; base <= until; base += 45) {
            struct version at = {base == 0 ? 0 : base > 500 ? 2 : 1, base};
            EQUAL(open_told(disk, at, &t, &report), LOG_OK);
            EQUAL(t.next, until + 1);
        }
        OK(!t.wrong);
        sim_disk_free(disk);
    }
}

TEST(nothing_is_told_of_a_log_that_does_not_meet_the_snapshot) {
    struct sim_disk *disk = disk_with_commits(tap, 600);
    struct log_report report;
    struct told t = {.new_from = 501};
    EQUAL(open_told(disk, (struct version){3, 550}, &t, &report), LOG_OK); /* that index was of term 2 */
    EQUAL(t.next, 551);
    EQUAL(open_told(disk, (struct version){3, 700}, &t, &report), LOG_OK);
    EQUAL(t.next, 701);
    sim_disk_free(disk);
}

TEST(what_was_told_is_void_where_a_committed_record_is_taken_back_and_the_commit_with_it) {
    struct sim_disk *disk = disk_with_commits(tap, 600);
    struct log *log;
    struct log_report report;
    struct told t = {.new_from = 501};
    REQUIRE(open_on(disk, (struct version){0}, &log, &report) == LOG_OK);
    EQUAL(log_truncate(log, 590), LOG_OK);
    EQUAL(flush(log, 0), LOG_OK);
    log_close(log);
    EQUAL(open_told(disk, (struct version){0}, &t, &report), LOG_OK);
    OK(report.took_back);
    EQUAL(report.commit, 589);
    EQUAL(open_told(disk, (struct version){2, 589}, &t, &report), LOG_OK);
    OK(report.took_back);
    EQUAL(open_told(disk, (struct version){2, 600}, &t, &report), LOG_OK); /* begun anew behind that */
    OK(!report.took_back);
    EQUAL(t.next, 601);
    sim_disk_free(disk);
}

TEST(an_error_while_opening_is_reported_and_leaves_the_log_openable) {
    for (uint64_t nth = 0;; nth++) {
        struct sim_disk *disk = disk_with_records(tap, 60);
        struct log *log;
        struct log_report report;
        cut_file(disk, FIRST, SMALL_SEGMENT / 2);
        sim_disk_inject(disk, (struct sim_disk_fault){nth, SIM_DISK_ALL, FILE_IO_ERROR, false});
        enum log_result result = open_on(disk, (struct version){0}, &log, &report);
        if (result == LOG_OK)
            log_close(log);
        else
            OK(result == LOG_IO_ERROR && report.detail[0] != '\0');
        sim_disk_restart(disk);
        goes_on(tap, disk, 60);
        sim_disk_free(disk);
        if (result == LOG_OK) {
            OK(nth > 5);
            break;
        }
    }
}

TESTS(TAP(a_log_cut_at_any_byte_starts_with_the_whole_records_before_the_cut_and_goes_on),
      TAP(a_flipped_byte_is_refused_before_the_attested_point_and_cut_behind_it_and_never_read),
      TAP(damage_in_an_old_segment_is_refused_with_file_and_offset),
      TAP(a_record_of_zeros_that_the_file_has_lost_is_damage_and_not_read_as_if_it_were_there),
      TAP(a_missing_segment_that_was_durable_is_refused), TAP(one_damaged_head_of_a_segment_does_no_harm),
      TAP(bytes_behind_a_cut_never_come_back),
      TAP(who_opens_a_log_is_told_of_each_committed_record_behind_the_snapshot_once_and_in_order),
      TAP(nothing_is_told_of_a_log_that_does_not_meet_the_snapshot),
      TAP(what_was_told_is_void_where_a_committed_record_is_taken_back_and_the_commit_with_it),
      TAP(an_error_while_opening_is_reported_and_leaves_the_log_openable))
