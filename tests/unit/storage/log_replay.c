/* Opening a log that was cut or damaged. */
#include "storage/crc32c.h"
#include "storage/wire.h"
#include "tests/unit/storage/log_helper.h"

#define RECORDS 12
#define FIRST   "log-0000000000000001"
#define SECTOR  512u

static void cut_file(struct sim_disk *disk, const char *name, uint64_t size) {
    struct file *file;
    file_open(sim_disk_file_system(disk), name, false, &file);
    file_truncate(file, size);
    file_sync(file);
    file_close(file);
}

static void read_file(struct sim_disk *disk, const char *name, uint8_t content[SMALL_SEGMENT]) {
    struct file *file;
    size_t got = 0;
    file_open(sim_disk_file_system(disk), name, false, &file);
    file_read(file, 0, content, SMALL_SEGMENT, &got);
    memset(content + got, 0, SMALL_SEGMENT - got);
    file_close(file);
}

/* Where the last byte before `until` that is not zero stands. */
static uint32_t used_until(struct sim_disk *disk, const char *name, uint32_t until) {
    static uint8_t content[SMALL_SEGMENT];
    read_file(disk, name, content);
    while (until > 0 && content[until - 1] == 0)
        until--;
    return until;
}

/* Records of term 1, and behind those of a disk's first opening of term 2. */
static bool holds_first(struct log *log, uint64_t count) {
    uint64_t term, old = 0;
    while (old < count && log_term_at(log, old + 1, &term) && term == 1)
        old++;
    return holds(log, 1, 1, old) && holds(log, 2, old + 1, count);
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
    OK(holds_first(log, held));
    EQUAL(append_many(log, 2, 2), LOG_OK);
    EQUAL(flush(log, 0), LOG_OK);
    log_close(log);
    if (!EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK))
        return 0;
    EQUAL(report.cut_bytes, 0);
    EQUAL(log_last(log), held + 2);
    OK(holds_first(log, held));
    OK(holds(log, 2, held + 1, held + 2));
    log_close(log);
    return held;
}

/* What a power cut keeps of two batches that no sync has covered: their bytes up to an offset. */
static struct sim_disk *disk_with_a_torn_tail(struct tap *tap, uint32_t keep_until) {
    struct sim_disk *disk = disk_with_records(tap, RECORDS - 6);
    struct sim_disk *synced = sim_disk_copy(disk);
    struct log *log;
    struct log_report report;
    EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK);
    for (unsigned i = 0; i < 2; i++) {
        EQUAL(append_many(log, 1, 3), LOG_OK);
        EQUAL(log_write(log, 0, false), LOG_OK);
    }
    log_close(log);
    static uint8_t after[SMALL_SEGMENT];
    read_file(disk, FIRST, after);
    struct file *file;
    file_open(sim_disk_file_system(synced), FIRST, false, &file);
    file_write(file, HEADS, (struct bytes){after + HEADS, keep_until - HEADS});
    file_sync(file);
    file_close(file);
    sim_disk_free(disk);
    return synced;
}

TEST(a_torn_tail_cut_at_any_byte_leaves_the_whole_records_before_the_cut_and_the_log_goes_on) {
    uint64_t held = 0;
    struct sim_disk *synced = disk_with_records(tap, RECORDS - 6);
    uint32_t from = used_until(synced, FIRST, SMALL_SEGMENT);
    sim_disk_free(synced);
    for (uint32_t size = from; size <= HEADS + PAGE; size++) {
        struct sim_disk *disk = disk_with_a_torn_tail(tap, size);
        uint64_t now = goes_on(tap, disk, RECORDS);
        OK(now >= RECORDS - 6 && now >= held);
        held = now;
        sim_disk_free(disk);
    }
    EQUAL(held, RECORDS);
}

/* Either refused with the file named and nothing written, or with all its records. */
static enum log_result refused_or_whole(struct tap *tap, struct sim_disk *disk, uint64_t records) {
    struct log *log;
    struct log_report report;
    uint64_t writes = sim_disk_operations(disk, SIM_DISK_ALL & ~(unsigned)(SIM_DISK_READ | SIM_DISK_NAME));
    enum log_result result = open_on(disk, (struct version){0}, &log, &report);
    if (result == LOG_OK) {
        EQUAL(log_last(log), records);
        OK(holds(log, 1, 1, records));
        log_close(log);
        EQUAL(goes_on(tap, disk, records), records);
    } else if (OK(result == LOG_CORRUPT)) {
        OK(report.file[0] != '\0' && strstr(report.detail, report.file) != NULL);
        OK(report.seen == 0 || (report.seen > report.last && report.seen <= records));
        EQUAL(sim_disk_operations(disk, SIM_DISK_ALL & ~(unsigned)(SIM_DISK_READ | SIM_DISK_NAME)), writes);
    }
    return result;
}

TEST(a_flipped_byte_loses_no_record_that_was_synced) {
    struct sim_disk *disk = disk_with_records(tap, RECORDS);
    uint32_t used = used_until(disk, FIRST, SMALL_SEGMENT);
    unsigned refused = 0, whole = 0;
    for (uint32_t at = 0; at < used; at += at < HEADS ? 7 : 1) {
        struct sim_disk *copy = sim_disk_copy(disk);
        OK(sim_disk_flip(copy, FIRST, at, (uint8_t)(1u << at % 8)));
        if (refused_or_whole(tap, copy, RECORDS) == LOG_OK)
            whole++;
        else
            refused++;
        sim_disk_free(copy);
    }
    OK(refused > 1000 && whole > HEADS / 7 && whole < HEADS / 7 + 8 * (RECORDS + 1));
    sim_disk_free(disk);
}

TEST(a_segment_that_was_synced_and_is_cut_at_any_byte_is_refused) {
    struct sim_disk *disk = disk_with_records(tap, RECORDS);
    for (uint32_t size = 0; size < SMALL_SEGMENT; size += size < HEADS + 3 * PAGE ? 1 : 501) {
        struct sim_disk *copy = sim_disk_copy(disk);
        cut_file(copy, FIRST, size);
        EQUAL(refused_or_whole(tap, copy, RECORDS), LOG_CORRUPT);
        sim_disk_free(copy);
    }
    sim_disk_free(disk);
}

TEST(damage_in_an_old_segment_is_refused_with_file_and_offset) {
    struct sim_disk *disk = disk_with_records(tap, 600);
    unsigned segments = segments_on(disk);
    OK(segments > 4);
    for (unsigned number = 1; number < segments; number++)
        for (uint32_t at = HEADS + 4; at < SMALL_SEGMENT - 2 * PAGE; at += 997) {
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
                OK(report.last < report.seen && report.seen == 600);
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
        struct log *log;
        struct log_report report;
        cut_file(disk, FIRST, HEADS + 3000);
        EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_CORRUPT);
        TEXT_EQUAL(report.file, FIRST);
        sim_disk_free(disk);
    }
}

TEST(segments_that_are_missing_empty_or_swapped_are_refused) {
    struct sim_disk *disk = disk_with_records(tap, 600);
    unsigned segments = segments_on(disk);
    for (unsigned mask = 1; mask < 1u << segments && mask < 256; mask++)
        for (int how = 0; how < 2; how++) {
            struct sim_disk *copy = sim_disk_copy(disk);
            for (unsigned i = 0; i < segments; i++) {
                char name[FILE_NAME_MAX];
                snprintf(name, sizeof name, "log-%016x", i + 1);
                if ((mask >> i & 1) != 0 && how == 0)
                    EQUAL(file_system_remove(sim_disk_file_system(copy), name), FILE_OK);
                else if ((mask >> i & 1) != 0)
                    cut_file(copy, name, 0);
            }
            EQUAL(refused_or_whole(tap, copy, 600), LOG_CORRUPT);
            sim_disk_free(copy);
        }
    for (unsigned i = 1; i <= segments; i++)
        for (unsigned k = i + 1; k <= segments; k++) {
            struct sim_disk *copy = sim_disk_copy(disk);
            struct file_system *fs = sim_disk_file_system(copy);
            char one[FILE_NAME_MAX], other[FILE_NAME_MAX];
            snprintf(one, sizeof one, "log-%016x", i);
            snprintf(other, sizeof other, "log-%016x", k);
            file_system_rename(fs, one, "moved");
            file_system_rename(fs, other, one);
            file_system_rename(fs, "moved", other);
            EQUAL(refused_or_whole(tap, copy, 600), LOG_CORRUPT);
            sim_disk_free(copy);
        }
    sim_disk_free(disk);
}

/* Also what no sync has covered. */
static bool flip_end(struct sim_disk *disk, uint64_t offset) {
    struct file *file;
    uint8_t byte;
    size_t got;
    if (file_open(sim_disk_file_system(disk), "log_end", false, &file) != FILE_OK)
        return false;
    bool ok = file_read(file, offset, &byte, 1, &got) == FILE_OK && got == 1;
    byte ^= 1;
    ok = ok && file_write(file, offset, (struct bytes){&byte, 1}) == FILE_OK && file_sync(file) == FILE_OK;
    file_close(file);
    return ok;
}

TEST(a_damaged_copy_of_log_end_does_no_harm_and_both_or_none_are_refused) {
    struct sim_disk *disk = disk_with_records(tap, 60);
    for (unsigned how = 0; how < 4; how++) {
        struct sim_disk *copy = sim_disk_copy(disk);
        struct file_system *fs = sim_disk_file_system(copy);
        if (how < 2)
            OK(flip_end(copy, how * PAGE + 9));
        else if (how == 2)
            OK(flip_end(copy, 9) && flip_end(copy, PAGE + 9));
        else
            EQUAL(file_system_remove(fs, "log_end"), FILE_OK);
        EQUAL(refused_or_whole(tap, copy, 60), how < 2 ? LOG_OK : LOG_CORRUPT);
        if (how < 2) { /* the start has written it again */
            OK(flip_end(copy, (1 - how) * PAGE + 9));
            EQUAL(goes_on(tap, copy, 60 + 2), 62);
        }
        sim_disk_free(copy);
    }
    sim_disk_free(disk);
}

TEST(a_log_end_that_was_cut_is_refused) {
    struct sim_disk *disk = disk_with_records(tap, 60);
    for (unsigned size = 0; size < 2 * PAGE; size += size < PAGE + 40 ? 7 : 500) {
        struct sim_disk *copy = sim_disk_copy(disk);
        cut_file(copy, "log_end", size);
        EQUAL(refused_or_whole(tap, copy, 60), LOG_CORRUPT);
        sim_disk_free(copy);
    }
    sim_disk_free(disk);
}

TEST(where_a_copy_of_log_end_is_damaged_no_segment_is_removed) {
    for (unsigned records = 30; records < 900; records += 30)
        for (unsigned which = 0; which < 2; which++) {
            struct sim_disk *disk = disk_with_records(tap, records);
            char last[FILE_NAME_MAX];
            snprintf(last, sizeof last, "log-%016x", segments_on(disk));
            OK(flip_end(disk, which * PAGE + 9));
            cut_file(disk, last, 0);
            EQUAL(refused_or_whole(tap, disk, records), LOG_CORRUPT);
            sim_disk_free(disk);
        }
}

TEST(a_page_that_cannot_be_read_is_damage_or_does_no_harm) {
    struct sim_disk *disk = disk_with_records(tap, RECORDS);
    for (unsigned nth = 0; nth < 40; nth++) {
        struct sim_disk *copy = sim_disk_copy(disk);
        struct log *log;
        struct log_report report;
        sim_disk_inject(copy, (struct sim_disk_fault){nth, SIM_DISK_READ, FILE_IO_ERROR, false});
        enum log_result result = open_on(copy, (struct version){0}, &log, &report);
        OK(result == LOG_OK || result == LOG_CORRUPT);
        if (result == LOG_OK) {
            EQUAL(log_last(log), RECORDS);
            log_close(log);
        }
        sim_disk_restart(copy);
        EQUAL(refused_or_whole(tap, copy, RECORDS), LOG_OK);
        sim_disk_free(copy);
    }
    sim_disk_free(disk);
}

TEST(a_torn_batch_tells_no_superseded_record_as_committed) {
    struct sim_disk *disk = disk_with_records(tap, RECORDS);
    struct log *log;
    struct log_report report;
    static uint8_t after[SMALL_SEGMENT];
    EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK);
    uint32_t from = used_until(disk, FIRST, HEADS + PAGE);
    struct sim_disk *synced = sim_disk_copy(disk);
    EQUAL(log_truncate(log, RECORDS - 2), LOG_OK);
    EQUAL(append_many(log, 2, 3), LOG_OK);
    EQUAL(log_write(log, RECORDS, false), LOG_OK);
    log_close(log);
    read_file(disk, FIRST, after);
    for (uint32_t until = from; until < HEADS + PAGE; until++) {
        struct sim_disk *copy = sim_disk_copy(synced);
        struct file *file;
        file_open(sim_disk_file_system(copy), FIRST, false, &file);
        file_write(file, from, (struct bytes){after + from, until - from});
        file_close(file);
        REQUIRE(open_on(copy, (struct version){0}, &log, &report) == LOG_OK);
        uint64_t told = report.commit < log_last(log) ? report.commit : log_last(log), term;
        OK(told < RECORDS - 2 || (log_term_at(log, told, &term) && term == 2));
        log_close(log);
        sim_disk_free(copy);
    }
    sim_disk_free(synced);
    sim_disk_free(disk);
}

TEST(a_segment_of_an_older_version_is_refused_as_such_and_nothing_is_written) {
    struct sim_disk *disk = sim_disk_new();
    struct file_system *fs = sim_disk_file_system(disk);
    struct log *log;
    struct log_report report;
    struct file *file;
    uint8_t head[1024] = "KVNLOG01";
    put_u64(head + 8, 1);
    put_u32(head + 44, SMALL_SEGMENT);
    put_u32(head + 48, crc32c(0, (struct bytes){head, 48}));
    memcpy(head + 512, head, 52);
    EQUAL(file_open(fs, FIRST, true, &file), FILE_OK);
    EQUAL(file_allocate(file, SMALL_SEGMENT), FILE_OK);
    EQUAL(file_write(file, 0, (struct bytes){head, sizeof head}), FILE_OK);
    file_close(file);
    uint64_t writes = sim_disk_operations(disk, SIM_DISK_WRITE | SIM_DISK_SYNC | SIM_DISK_ALLOCATE);
    EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OLD);
    OK(strstr(report.detail, FIRST ": written by an older version") != NULL);
    EQUAL(sim_disk_operations(disk, SIM_DISK_WRITE | SIM_DISK_SYNC | SIM_DISK_ALLOCATE), writes);
    sim_disk_free(disk);
}

TEST(a_directory_that_has_held_a_log_and_holds_nothing_of_it_is_refused) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log;
    struct log_report report;
    struct log_options options = {
        .fs = sim_disk_file_system(disk), .segment_size = SMALL_SEGMENT, .exists = true};
    EQUAL(log_open(&options, (struct version){0}, &log, &report), LOG_CORRUPT);
    TEXT_EQUAL(report.file, "log_end");
    options.exists = false;
    EQUAL(log_open(&options, (struct version){1, 5}, &log, &report), LOG_CORRUPT);
    TEXT_EQUAL(report.file, "log_end");
    sim_disk_free(disk);
}

static void zero_page(struct sim_disk *disk, const char *name, uint64_t page) {
    static const uint8_t zeros[PAGE];
    struct file *file;
    file_open(sim_disk_file_system(disk), name, false, &file);
    file_write(file, page * PAGE, (struct bytes){zeros, sizeof zeros});
    file_close(file);
}

TEST(one_damaged_head_of_a_segment_does_no_harm_and_is_written_again) {
    for (int copy = 0; copy < 2; copy++) {
        struct sim_disk *disk = disk_with_records(tap, 600);
        struct log *log;
        struct log_report report;
        for (unsigned number = 1; number <= 3; number++) {
            char name[FILE_NAME_MAX];
            snprintf(name, sizeof name, "log-%016x", number);
            if (number == 2)
                zero_page(disk, name, (uint64_t)copy);
            else
                OK(sim_disk_flip(disk, name, (uint64_t)copy * PAGE + 17, 1));
        }
        EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK);
        OK(log_last(log) == 600 && holds(log, 1, 1, 600));
        log_close(log);
        /* The start has written it again, so that the other may be damaged next. */
        for (unsigned number = 1; number <= 3; number++) {
            char name[FILE_NAME_MAX];
            snprintf(name, sizeof name, "log-%016x", number);
            OK(sim_disk_flip(disk, name, (uint64_t)(1 - copy) * PAGE + 17, 1));
        }
        EQUAL(refused_or_whole(tap, disk, 600), LOG_OK);
        sim_disk_free(disk);
    }
}

/* Of a segment that no sync attests yet: the start writes all of it again, from what it has read. */
TEST(a_head_of_which_a_power_cut_took_one_copy_is_whole_after_the_start) {
    for (unsigned copy = 0; copy < 2; copy++) {
        struct sim_disk *disk = sim_disk_new();
        struct log *log;
        struct log_report report;
        EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK);
        EQUAL(append_many(log, 1, 20), LOG_OK);
        EQUAL(log_write(log, 0, false), LOG_OK);
        log_close(log);
        zero_page(disk, FIRST, copy);
        REQUIRE(open_on(disk, (struct version){0}, &log, &report) == LOG_OK);
        EQUAL(report.restored, 1);
        log_close(log);
        OK(sim_disk_flip(disk, FIRST, (uint64_t)(1 - copy) * PAGE + 17, 1));
        EQUAL(refused_or_whole(tap, disk, 20), LOG_OK);
        sim_disk_free(disk);
    }
}

/* Two batches of five, or one, by a process of its own. */
static struct sim_disk *disk_of_process(struct tap *tap, uint64_t salt, unsigned batches) {
    struct sim_disk *disk = sim_disk_new();
    struct log_options options = {
        .fs = sim_disk_file_system(disk), .segment_size = SMALL_SEGMENT, .salt = salt};
    struct log *log;
    struct log_report report;
    EQUAL(log_open(&options, (struct version){0}, &log, &report), LOG_OK);
    while (batches-- > 0) {
        EQUAL(append_many(log, 1, 5), LOG_OK);
        EQUAL(flush(log, 0), LOG_OK);
    }
    log_close(log);
    return disk;
}

/* As in the file of a segment that was used before; at the right place, and right but for whose they are. */
TEST(records_of_another_use_of_a_file_are_not_taken_for_what_follows) {
    struct sim_disk *disk = disk_of_process(tap, 7, 1), *other = disk_of_process(tap, 8, 2);
    uint32_t end = (used_until(disk, FIRST, SMALL_SEGMENT) + 7) / 8 * 8;
    static uint8_t content[SMALL_SEGMENT];
    struct log *log;
    struct log_report report;
    struct file *file;
    read_file(other, FIRST, content);
    EQUAL(file_open(sim_disk_file_system(disk), FIRST, false, &file), FILE_OK);
    EQUAL(file_write(file, end, (struct bytes){content + end, SMALL_SEGMENT - end}), FILE_OK);
    file_close(file);
    EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK);
    EQUAL(log_last(log), 5);
    log_close(log);
    sim_disk_free(other);
    sim_disk_free(disk);
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
    uint32_t lost = used_until(disk, FIRST, HEADS + PAGE) / 8 * 8;
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
    for (uint64_t nth = 0; nth < 60; nth++) {
        struct sim_disk *disk = disk_with_a_torn_tail(tap, HEADS + 1900);
        struct log *log;
        struct log_report report;
        sim_disk_inject(disk, (struct sim_disk_fault){nth, SIM_DISK_ALL, FILE_IO_ERROR, false});
        enum log_result result = open_on(disk, (struct version){0}, &log, &report);
        if (result == LOG_OK)
            log_close(log);
        else
            OK((result == LOG_IO_ERROR || result == LOG_CORRUPT) && report.detail[0] != '\0');
        sim_disk_restart(disk);
        OK(goes_on(tap, disk, RECORDS) >= RECORDS - 6);
        sim_disk_free(disk);
    }
}

TESTS(TAP(a_torn_tail_cut_at_any_byte_leaves_the_whole_records_before_the_cut_and_the_log_goes_on),
      TAP(a_flipped_byte_loses_no_record_that_was_synced),
      TAP(a_segment_that_was_synced_and_is_cut_at_any_byte_is_refused),
      TAP(damage_in_an_old_segment_is_refused_with_file_and_offset),
      TAP(a_record_of_zeros_that_the_file_has_lost_is_damage_and_not_read_as_if_it_were_there),
      TAP(segments_that_are_missing_empty_or_swapped_are_refused),
      TAP(a_damaged_copy_of_log_end_does_no_harm_and_both_or_none_are_refused),
      TAP(a_head_of_which_a_power_cut_took_one_copy_is_whole_after_the_start),
      TAP(a_log_end_that_was_cut_is_refused), TAP(where_a_copy_of_log_end_is_damaged_no_segment_is_removed),
      TAP(a_page_that_cannot_be_read_is_damage_or_does_no_harm),
      TAP(a_torn_batch_tells_no_superseded_record_as_committed),
      TAP(a_segment_of_an_older_version_is_refused_as_such_and_nothing_is_written),
      TAP(a_directory_that_has_held_a_log_and_holds_nothing_of_it_is_refused),
      TAP(records_of_another_use_of_a_file_are_not_taken_for_what_follows),
      TAP(one_damaged_head_of_a_segment_does_no_harm_and_is_written_again),
      TAP(bytes_behind_a_cut_never_come_back),
      TAP(who_opens_a_log_is_told_of_each_committed_record_behind_the_snapshot_once_and_in_order),
      TAP(nothing_is_told_of_a_log_that_does_not_meet_the_snapshot),
      TAP(what_was_told_is_void_where_a_committed_record_is_taken_back_and_the_commit_with_it),
      TAP(an_error_while_opening_is_reported_and_leaves_the_log_openable))
