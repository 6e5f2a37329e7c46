/* The log's verbs, without crashes. */
#include "tests/unit/storage/log_helper.h"

static struct log *new_log(struct tap *tap, struct sim_disk *disk) {
    struct log *log = NULL;
    struct log_report report;
    EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_OK);
    return log;
}

static struct log *reopened(struct tap *tap, struct log *log, struct sim_disk *disk,
                            struct log_report *report) {
    log_close(log);
    sim_disk_restart(disk);
    log = NULL;
    EQUAL(open_on(disk, (struct version){0}, &log, report), LOG_OK);
    return log;
}

TEST(a_new_log_is_empty_and_begins_at_one) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    uint64_t term = 9;
    struct log_record record;
    EQUAL(log_first(log), 1);
    EQUAL(log_last(log), 0);
    OK(log_term_at(log, 0, &term) && term == 0);
    OK(!log_term_at(log, 1, &term));
    EQUAL(log_read(log, 1, &record), LOG_BEYOND);
    EQUAL(log_read(log, 0, &record), LOG_COMPACTED);
    log_close(log);
    sim_disk_free(disk);
}

TEST(appended_written_and_durable_advance_one_after_the_other) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    EQUAL(append_many(log, 1, 3), LOG_OK);
    OK(log_last(log) == 3 && log_written(log) == 0 && log_durable(log) == 0);
    OK(holds(log, 1, 1, 3));
    EQUAL(log_write(log, 0, false), LOG_OK);
    OK(log_written(log) == 3 && log_durable(log) == 0);
    struct job *job = log_sync_begin(log, do_nothing, NULL);
    REQUIRE(job != NULL);
    EQUAL(append_many(log, 1, 2), LOG_OK);
    EQUAL(log_write(log, 0, false), LOG_OK);
    OK(log_sync_pending(log));
    job->run(job);
    EQUAL(log_sync_end(log), LOG_OK);
    OK(log_last(log) == 5 && log_written(log) == 5 && log_durable(log) == 3);
    EQUAL(sync_log(log), LOG_OK);
    EQUAL(log_durable(log), 5);
    OK(log_sync_begin(log, do_nothing, NULL) == NULL);
    log_close(log);
    sim_disk_free(disk);
}

static bool is_brief(struct log *log, size_t value_size) {
    static const uint8_t value[20000];
    struct entry entry = {.key = bytes_of("key"), .value = {value, value_size}};
    if (log_append_entry(log, 1, ENTRY_PUT, &entry) != LOG_OK || log_write(log, 0, false) != LOG_OK)
        return false;
    struct job *job = log_sync_begin(log, do_nothing, NULL);
    if (job == NULL)
        return false;
    bool brief = job->brief;
    job->run(job);
    return log_sync_end(log) == LOG_OK && brief;
}

TEST(only_a_sync_of_little_in_one_file_is_brief) {
    struct file_system *fs = file_system_memory_new();
    struct log_options options = {.fs = fs, .salt = 1};
    struct log_report report;
    struct log *log = NULL;
    REQUIRE(log_open(&options, (struct version){0}, &log, &report) == LOG_OK);
    OK(!is_brief(log, 10)); /* the first one of a segment is recorded in another file */
    OK(is_brief(log, 10));
    OK(!is_brief(log, 20000));
    OK(is_brief(log, 10));
    log_close(log);
    file_system_free(fs);
}

TEST(records_are_read_from_memory_and_from_old_segments_and_after_a_restart) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    struct log_report report;
    for (int i = 0; i < 100; i++) {
        EQUAL(append_many(log, 2, 10), LOG_OK);
        EQUAL(flush(log, (uint64_t)i * 10), LOG_OK);
    }
    OK(segments_on(disk) > 6);
    OK(holds(log, 2, 1, 1000));
    log = reopened(tap, log, disk, &report);
    EQUAL(log_last(log), 1000);
    EQUAL(log_durable(log), 1000);
    EQUAL(report.records, 1000);
    EQUAL(report.commit, 990);
    EQUAL(report.cut_bytes, 0);
    OK(holds(log, 2, 1, 1000));
    struct log_record record;
    for (uint64_t i = 1000; i > 7; i -= 7)
        OK(log_read(log, i, &record) == LOG_OK && record_is_right(&record, 2, i));
    log_close(log);
    sim_disk_free(disk);
}

TEST(an_entry_encoded_into_the_log_is_the_entry_read) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    struct entry entry = {.key = bytes_of("k\0y"), .value = bytes_of("value"), .expiry_ms = 12}, back;
    struct log_record record;
    EQUAL(log_append_entry(log, 4, ENTRY_PUT, &entry), LOG_OK);
    REQUIRE(log_read(log, 1, &record) == LOG_OK);
    OK(record.term == 4 && record.type == ENTRY_PUT);
    OK(entry_decode(record.payload, &back));
    OK(bytes_equal(back.key, entry.key) && bytes_equal(back.value, entry.value) && back.expiry_ms == 12);
    log_close(log);
    sim_disk_free(disk);
}

TEST(a_record_of_the_largest_size_fits_a_segment_of_the_default_size) {
    struct file_system *fs = file_system_memory_new();
    struct log_options options = {.fs = fs};
    struct log_report report;
    struct log *log;
    REQUIRE(log_open(&options, (struct version){0}, &log, &report) == LOG_OK);
    uint8_t *large = calloc(1, ENTRY_SIZE_MAX);
    for (uint64_t i = 1; i <= 40; i++) {
        large[7] = (uint8_t)i;
        EQUAL(log_append(log, 1, ENTRY_PUT, (struct bytes){large, ENTRY_SIZE_MAX}), LOG_OK);
        EQUAL(flush(log, 0), LOG_OK);
    }
    log_close(log);
    REQUIRE(log_open(&options, (struct version){0}, &log, &report) == LOG_OK);
    struct log_record record;
    for (uint64_t i = 1; i <= 40; i++)
        OK(log_read(log, i, &record) == LOG_OK && record.payload.size == ENTRY_SIZE_MAX &&
           record.payload.data[7] == i);
    free(large);
    log_close(log);
    file_system_free(fs);
}

TEST(terms_and_their_first_indexes_are_known) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    struct log_report report;
    for (uint64_t term = 1; term <= 20; term++)
        EQUAL(append_many(log, term * 2, 5), LOG_OK);
    EQUAL(log_write(log, 0, false), LOG_OK);
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 1; i <= 100; i++) {
            uint64_t term = 0;
            OK(log_term_at(log, i, &term));
            EQUAL(term, ((i - 1) / 5 + 1) * 2);
            EQUAL(log_term_start(log, i), (i - 1) / 5 * 5 + 1);
        }
        EQUAL(log_last_term(log), 40);
        log = reopened(tap, log, disk, &report);
    }
    log_close(log);
    sim_disk_free(disk);
}

TEST(a_truncation_holds_in_memory_and_after_a_restart) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    struct log_report report;
    EQUAL(append_many(log, 1, 300), LOG_OK);
    EQUAL(flush(log, 0), LOG_OK);
    EQUAL(log_truncate(log, 150), LOG_OK);
    OK(log_last(log) == 149 && log_written(log) == 149 && log_durable(log) == 149);
    EQUAL(append_many(log, 2, 20), LOG_OK);
    EQUAL(log_truncate(log, 160), LOG_OK);
    EQUAL(append_many(log, 3, 100), LOG_OK);
    for (int round = 0; round < 2; round++) {
        EQUAL(log_last(log), 259);
        OK(holds(log, 1, 1, 149));
        OK(holds(log, 2, 150, 159));
        OK(holds(log, 3, 160, 259));
        EQUAL(log_term_start(log, 200), 160);
        EQUAL(flush(log, 0), LOG_OK);
        log = reopened(tap, log, disk, &report);
    }
    log_close(log);
    sim_disk_free(disk);
}

static enum log_result append_configuration(struct log *log, uint64_t term) {
    return log_append(log, term, ENTRY_CONFIGURATION, (struct bytes){(const uint8_t *)"members", 7});
}

TEST(the_configurations_among_the_records_are_known_after_truncations_restarts_and_compaction) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    struct log_report report;
    EQUAL(log_configuration_from(log, 1), 1);
    append_configuration(log, 1);
    append_many(log, 1, 8);
    append_configuration(log, 1); /* 10 */
    append_many(log, 1, 4);
    append_configuration(log, 1); /* 15 */
    EQUAL(log_truncate(log, 12), LOG_OK);
    append_many(log, 2, 300);
    append_configuration(log, 2); /* 312 */
    EQUAL(flush(log, 0), LOG_OK);
    for (int start = 0; start < 2; start++) {
        EQUAL(log_configuration_from(log, 0), 1);
        EQUAL(log_configuration_from(log, 2), 10);
        EQUAL(log_configuration_from(log, 11), 312);
        EQUAL(log_configuration_from(log, 313), 313);
        log = reopened(tap, log, disk, &report);
    }
    EQUAL(log_compact(log, (struct version){2, 200}, 1), LOG_OK);
    OK(log_first(log) > 10);
    EQUAL(log_configuration_from(log, 1), 312);
    EQUAL(log_reset(log, (struct version){2, 400}), LOG_OK);
    EQUAL(log_configuration_from(log, 1), 401);
    log_close(log);
    sim_disk_free(disk);
}

TEST(a_truncation_during_a_sync_takes_its_records_out_of_what_becomes_durable) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    EQUAL(append_many(log, 1, 10), LOG_OK);
    EQUAL(log_write(log, 0, false), LOG_OK);
    struct job *job = log_sync_begin(log, do_nothing, NULL);
    REQUIRE(job != NULL);
    EQUAL(log_truncate(log, 5), LOG_OK);
    EQUAL(append_many(log, 2, 6), LOG_OK);
    job->run(job);
    EQUAL(log_sync_end(log), LOG_OK);
    EQUAL(log_durable(log), 4);
    log_close(log);
    sim_disk_free(disk);
}

/* Copies everything from one log to another in slices of at most size bytes. */
static void ship(struct tap *tap, struct log *from, struct log *to, size_t size) {
    struct log_record record;
    while (log_last(to) < log_last(from)) {
        struct bytes slice;
        uint64_t last = 0, before = log_last(to);
        REQUIRE(log_slice(from, before + 1, size, &slice, &last) == LOG_OK);
        uint8_t *wire = malloc(slice.size);
        memcpy(wire, slice.data, slice.size);
        OK(slice.size <= size || last == before + 1);
        slice.data = wire;
        while (log_slice_next(&slice, &record))
            EQUAL(log_append_record(to, &record), LOG_OK);
        EQUAL(slice.size, 0);
        EQUAL(log_last(to), last);
        free(wire);
        REQUIRE(log_last(to) > before);
    }
}

TEST(slices_carry_a_log_to_another_node_whatever_their_size) {
    static const size_t sizes[] = {0, 100, 1000, 5000, 1u << 20};
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    EQUAL(append_many(log, 1, 100), LOG_OK);
    EQUAL(flush(log, 0), LOG_OK);
    EQUAL(log_truncate(log, 60), LOG_OK);
    for (int i = 0; i < 40; i++) {
        EQUAL(append_many(log, 2, 5), LOG_OK);
        EQUAL(log_write(log, 0, false), LOG_OK);
    }
    EQUAL(append_many(log, 3, 5), LOG_OK); /* not written yet */
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct sim_disk *other_disk = sim_disk_new();
        struct log *other = new_log(tap, other_disk);
        ship(tap, log, other, sizes[i]);
        EQUAL(log_last(other), 264);
        OK(holds(other, 1, 1, 59));
        OK(holds(other, 2, 60, 259));
        OK(holds(other, 3, 260, 264));
        log_close(other);
        sim_disk_free(other_disk);
    }
    log_close(log);
    sim_disk_free(disk);
}

TEST(a_damaged_slice_gives_no_wrong_record) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    struct bytes whole;
    uint64_t last;
    EQUAL(append_many(log, 1, 5), LOG_OK);
    EQUAL(flush(log, 0), LOG_OK);
    EQUAL(append_many(log, 1, 5), LOG_OK);
    REQUIRE(log_slice(log, 1, 1u << 20, &whole, &last) == LOG_OK);
    EQUAL(last, 10);
    for (size_t i = 0; i < whole.size; i++) {
        uint8_t *wire = malloc(whole.size);
        memcpy(wire, whole.data, whole.size);
        wire[i] ^= (uint8_t)(1u << i % 8);
        struct bytes slice = {wire, whole.size};
        struct log_record record;
        uint64_t index = 0;
        while (log_slice_next(&slice, &record))
            if (!OK(record_is_right(&record, 1, ++index)))
                break;
        free(wire);
    }
    for (size_t size = 0; size < whole.size; size++) {
        uint8_t *wire = malloc(size == 0 ? 1 : size);
        memcpy(wire, whole.data, size);
        struct bytes slice = {wire, size};
        struct log_record record;
        uint64_t index = 0;
        while (log_slice_next(&slice, &record))
            OK(record_is_right(&record, 1, ++index));
        OK(index < 10);
        free(wire);
    }
    log_close(log);
    sim_disk_free(disk);
}

TEST(bit_rot_in_an_old_segment_is_neither_read_nor_sent) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    struct log_record record;
    struct bytes slice;
    uint64_t last;
    EQUAL(append_many(log, 1, 1000), LOG_OK);
    EQUAL(flush(log, 0), LOG_OK);
    OK(sim_disk_flip(disk, "log-0000000000000001", HEADS + 40 + 16 + 20, 4)); /* in the payload of record 1 */
    EQUAL(log_read(log, 1, &record), LOG_CORRUPT);
    EQUAL(log_slice(log, 1, 5000, &slice, &last), LOG_CORRUPT);
    EQUAL(log_read(log, 2, &record), LOG_OK);
    log_close(log);
    sim_disk_free(disk);
}

TEST(compaction_lets_go_of_whole_segments_and_recycles_their_files) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    struct log_report report;
    struct log_record record;
    uint64_t used = 0;
    for (int i = 0; i < 200; i++) {
        EQUAL(append_many(log, 1, 20), LOG_OK);
        EQUAL(flush(log, log_last(log)), LOG_OK);
        EQUAL(log_compact(log, (struct version){1, log_last(log)}, SMALL_SEGMENT), LOG_OK);
        OK(log_size(log) <= 4 * SMALL_SEGMENT);
        if (sim_disk_used(disk) > used)
            used = sim_disk_used(disk);
    }
    OK(used <= 7 * SMALL_SEGMENT);
    uint64_t first = log_first(log), term;
    OK(first > 3500 && first <= log_last(log));
    OK(log_term_at(log, first - 1, &term) && term == 1);
    OK(!log_term_at(log, first - 2, &term));
    EQUAL(log_read(log, first - 1, &record), LOG_COMPACTED);
    OK(holds(log, 1, first, 4000));
    log_close(log);
    EQUAL(open_on(disk, (struct version){1, 3990}, &log, &report), LOG_OK);
    OK(log_first(log) <= first);
    OK(holds(log, 1, first, 4000));
    EQUAL(report.cut_bytes, 0);
    log_close(log);
    sim_disk_free(disk);
}

TEST(compaction_keeps_what_lagging_followers_may_need_and_what_the_snapshot_does_not_hold) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    EQUAL(append_many(log, 1, 1000), LOG_OK);
    EQUAL(flush(log, 1000), LOG_OK);
    EQUAL(log_compact(log, (struct version){1, 1000}, 5 * SMALL_SEGMENT), LOG_OK);
    OK(log_size(log) >= 4 * SMALL_SEGMENT);
    EQUAL(log_compact(log, (struct version){1, 500}, 0), LOG_OK);
    OK(log_first(log) <= 501);
    OK(holds(log, 1, log_first(log), 1000));
    log_close(log);
    sim_disk_free(disk);
}

TEST(a_reset_log_goes_on_behind_the_snapshot_of_a_leader) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    struct log_report report;
    uint64_t term;
    EQUAL(append_many(log, 1, 100), LOG_OK);
    EQUAL(flush(log, 0), LOG_OK);
    EQUAL(log_reset(log, (struct version){7, 5000}), LOG_OK);
    OK(log_first(log) == 5001 && log_last(log) == 5000 && log_durable(log) == 5000);
    OK(log_term_at(log, 5000, &term) && term == 7);
    EQUAL(append_many(log, 8, 10), LOG_OK);
    for (int i = 0; i < 5; i++)
        EQUAL(flush(log, 0), LOG_OK);
    EQUAL(segments_on(disk), 1);
    log_close(log);
    EQUAL(open_on(disk, (struct version){7, 5000}, &log, &report), LOG_OK);
    OK(log_first(log) == 5001 && holds(log, 8, 5001, 5010));
    log_close(log);
    sim_disk_free(disk);
}

TEST(a_log_and_a_snapshot_that_do_not_meet_are_refused_or_begun_anew) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    struct log_report report;
    EQUAL(log_reset(log, (struct version){2, 100}), LOG_OK);
    EQUAL(append_many(log, 2, 10), LOG_OK);
    EQUAL(flush(log, 0), LOG_OK);
    log_close(log);
    EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_CORRUPT);
    OK(report.gap && strstr(report.detail, "gap") != NULL);
    EQUAL(open_on(disk, (struct version){2, 99}, &log, &report), LOG_CORRUPT);
    EQUAL(open_on(disk, (struct version){2, 105}, &log, &report), LOG_OK);
    EQUAL(log_last(log), 110);
    log_close(log);
    EQUAL(open_on(disk, (struct version){3, 200}, &log, &report), LOG_OK);
    OK(log_first(log) == 201 && log_last(log) == 200 && log_last_term(log) == 3);
    log_close(log);
    sim_disk_free(disk);
}

TEST(a_full_disk_refuses_an_append_and_takes_it_when_there_is_room_again) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    struct log_report report;
    sim_disk_set_capacity(disk, 3 * SMALL_SEGMENT + 10000);
    enum log_result result = LOG_OK;
    unsigned appended = 0;
    while (appended < 1000 && (result = append_one(log, 1)) == LOG_OK) {
        appended++;
        EQUAL(flush(log, 0), LOG_OK);
    }
    EQUAL(result, LOG_NO_SPACE);
    OK(appended > 200 && log_last(log) == appended);
    EQUAL(append_one(log, 1), LOG_NO_SPACE);
    EQUAL(flush(log, 0), LOG_OK);
    EQUAL(segments_on(disk), 3);
    struct sim_disk *copy = sim_disk_copy(disk);
    sim_disk_set_capacity(disk, 0);
    EQUAL(append_many(log, 1, 100), LOG_OK);
    EQUAL(flush(log, 0), LOG_OK);
    log = reopened(tap, log, disk, &report);
    EQUAL(log_last(log), appended + 100);
    OK(holds(log, 1, 1, appended + 100));
    log_close(log);
    /* And a snapshot frees files for reuse while the disk stays full. */
    REQUIRE(open_on(copy, (struct version){0}, &log, &report) == LOG_OK);
    EQUAL(append_many(log, 1, 100), LOG_NO_SPACE);
    EQUAL(flush(log, 0), LOG_OK);
    EQUAL(log_compact(log, (struct version){1, log_last(log)}, 0), LOG_OK);
    EQUAL(log_write(log, 0, true), LOG_OK);
    EQUAL(sync_log(log), LOG_OK);
    EQUAL(sync_log(log), LOG_OK);
    EQUAL(append_many(log, 1, 100), LOG_OK);
    EQUAL(flush(log, 0), LOG_OK);
    log_close(log);
    sim_disk_free(copy);
    sim_disk_free(disk);
}

static bool scrub_finds_damage(struct log *log) {
    struct job *job;
    uint64_t last;
    char name[FILE_NAME_MAX];
    while ((job = log_scrub_begin(log, do_nothing, NULL)) != NULL) {
        job->run(job);
        log_scrub_end(log);
    }
    return log_damaged(log, &last, name);
}

/* What is appended, and what is written, are not yet what the disk has to hold. */
TEST(the_scrub_reads_what_is_durable_and_nothing_behind_it) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    for (unsigned i = 0; i < 300; i++) {
        EQUAL(append_many(log, 1, 5), LOG_OK);
        OK(!scrub_finds_damage(log));
        EQUAL(log_write(log, 0, false), LOG_OK);
        OK(!scrub_finds_damage(log));
        if (i % 3 == 0)
            EQUAL(sync_log(log), LOG_OK);
    }
    OK(segments_on(disk) > 2);
    log_close(log);
    sim_disk_free(disk);
}

TEST(a_failed_write_is_final) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    struct log_record record;
    EQUAL(append_many(log, 1, 3), LOG_OK);
    sim_disk_inject(disk, (struct sim_disk_fault){0, SIM_DISK_WRITE, FILE_IO_ERROR, false});
    EQUAL(log_write(log, 0, false), LOG_IO_ERROR);
    EQUAL(log_write(log, 0, false), LOG_IO_ERROR);
    EQUAL(append_one(log, 1), LOG_IO_ERROR);
    EQUAL(log_read(log, 1, &record), LOG_IO_ERROR);
    EQUAL(log_compact(log, (struct version){1, 1}, 0), LOG_IO_ERROR);
    EQUAL(log_reset(log, (struct version){1, 1}), LOG_IO_ERROR);
    OK(log_sync_begin(log, do_nothing, NULL) == NULL);
    EQUAL(log_written(log), 0);
    log_close(log);
    sim_disk_free(disk);
}

TEST(a_write_without_space_may_be_tried_again) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    struct log_report report;
    EQUAL(append_many(log, 1, 300), LOG_OK);
    sim_disk_inject(disk, (struct sim_disk_fault){1, SIM_DISK_WRITE, FILE_NO_SPACE, false});
    EQUAL(log_write(log, 0, false), LOG_NO_SPACE);
    EQUAL(log_written(log), 0);
    EQUAL(append_many(log, 1, 10), LOG_OK);
    EQUAL(flush(log, 0), LOG_OK);
    log = reopened(tap, log, disk, &report);
    OK(log_last(log) == 310 && holds(log, 1, 1, 310));
    log_close(log);
    sim_disk_free(disk);
}

TEST(a_failed_sync_is_final_and_advances_nothing) {
    for (uint64_t nth = 0; nth < 4; nth++) {
        struct sim_disk *disk = sim_disk_new();
        struct log *log = new_log(tap, disk);
        EQUAL(append_many(log, 1, 3), LOG_OK);
        EQUAL(flush(log, 0), LOG_OK);
        unsigned kinds = SIM_DISK_SYNC | SIM_DISK_SYNC_NAMES;
        sim_disk_inject(disk, (struct sim_disk_fault){nth, kinds, FILE_IO_ERROR, false});
        enum log_result result = LOG_OK;
        uint64_t durable = log_durable(log);
        for (int i = 0; i < 50 && result == LOG_OK; i++) {
            durable = log_durable(log);
            EQUAL(append_many(log, 1, 10), LOG_OK);
            result = flush(log, 0);
        }
        EQUAL(result, LOG_IO_ERROR);
        EQUAL(log_durable(log), durable);
        EQUAL(append_one(log, 1), LOG_IO_ERROR);
        EQUAL(log_write(log, 0, false), LOG_IO_ERROR);
        log_close(log);
        sim_disk_free(disk);
    }
}

TEST(a_clean_shutdown_records_the_commit_and_attests_everything) {
    struct sim_disk *disk = sim_disk_new();
    struct log *log = new_log(tap, disk);
    struct log_report report;
    EQUAL(append_many(log, 1, 5), LOG_OK);
    EQUAL(flush(log, 2), LOG_OK);
    EQUAL(log_write(log, 5, false), LOG_OK);
    EQUAL(log_write(log, 5, true), LOG_OK);
    EQUAL(sync_log(log), LOG_OK);
    log = reopened(tap, log, disk, &report);
    EQUAL(report.commit, 5);
    log_close(log);
    OK(sim_disk_flip(disk, "log-0000000000000001", HEADS + 40 + 16, 1));
    EQUAL(open_on(disk, (struct version){0}, &log, &report), LOG_CORRUPT);
    TEXT_EQUAL(report.file, "log-0000000000000001");
    EQUAL(report.offset, HEADS + 40);
    sim_disk_free(disk);
}

TEST(the_same_log_runs_on_a_real_directory) {
    char directory[128], why[256];
    const char *above = getenv("TMPDIR");
    snprintf(directory, sizeof directory, "%s/kvnode-log-XXXXXX", above != NULL ? above : "/tmp");
    REQUIRE(mkdtemp(directory) != NULL);
    struct file_system *fs;
    REQUIRE(file_system_posix_open(directory, &fs, why, sizeof why) == FILE_OK);
    struct log_options options = {.fs = fs, .segment_size = 64 * 1024, .cache_size = 64 * 1024, .salt = 99};
    struct log *log;
    struct log_report report;
    REQUIRE(log_open(&options, (struct version){0}, &log, &report) == LOG_OK);
    for (int i = 0; i < 60; i++) {
        EQUAL(append_many(log, 1, 50), LOG_OK);
        EQUAL(flush(log, 0), LOG_OK);
        EQUAL(log_compact(log, (struct version){1, log_last(log)}, 128 * 1024), LOG_OK);
    }
    uint64_t first = log_first(log);
    OK(first > 1000 && holds(log, 1, first, 3000));
    log_close(log);
    options.salt = 100;
    REQUIRE(log_open(&options, (struct version){1, 2999}, &log, &report) == LOG_OK);
    OK(log_last(log) == 3000 && holds(log, 1, first, 3000));
    log_close(log);
    char command[200];
    file_system_free(fs);
    snprintf(command, sizeof command, "rm -r '%s'", directory);
    EQUAL(system(command), 0);
}

TESTS(TAP(a_new_log_is_empty_and_begins_at_one), TAP(only_a_sync_of_little_in_one_file_is_brief),
      TAP(appended_written_and_durable_advance_one_after_the_other),
      TAP(records_are_read_from_memory_and_from_old_segments_and_after_a_restart),
      TAP(an_entry_encoded_into_the_log_is_the_entry_read),
      TAP(a_record_of_the_largest_size_fits_a_segment_of_the_default_size),
      TAP(terms_and_their_first_indexes_are_known), TAP(a_truncation_holds_in_memory_and_after_a_restart),
      TAP(the_configurations_among_the_records_are_known_after_truncations_restarts_and_compaction),
      TAP(a_truncation_during_a_sync_takes_its_records_out_of_what_becomes_durable),
      TAP(slices_carry_a_log_to_another_node_whatever_their_size), TAP(a_damaged_slice_gives_no_wrong_record),
      TAP(bit_rot_in_an_old_segment_is_neither_read_nor_sent),
      TAP(compaction_lets_go_of_whole_segments_and_recycles_their_files),
      TAP(compaction_keeps_what_lagging_followers_may_need_and_what_the_snapshot_does_not_hold),
      TAP(a_reset_log_goes_on_behind_the_snapshot_of_a_leader),
      TAP(a_log_and_a_snapshot_that_do_not_meet_are_refused_or_begun_anew),
      TAP(a_full_disk_refuses_an_append_and_takes_it_when_there_is_room_again),
      TAP(the_scrub_reads_what_is_durable_and_nothing_behind_it), TAP(a_failed_write_is_final),
      TAP(a_write_without_space_may_be_tried_again), TAP(a_failed_sync_is_final_and_advances_nothing),
      TAP(a_clean_shutdown_records_the_commit_and_attests_everything),
      TAP(the_same_log_runs_on_a_real_directory))
