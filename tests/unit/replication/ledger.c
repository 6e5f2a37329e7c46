/* The rejected-write ledger: what was put in stays, through restarts and torn tails, until it is settled. */
#include "replication/ledger.h"
#include "tests/sim/disk.h"
#include "tests/tap.h"

#define HEADS 8192u /* bytes before the first row */

static struct ledger_row row_at(uint64_t index, uint64_t term, struct bytes payload) {
    return (struct ledger_row){
        .group_id = 7,
        .at = {term, index},
        .by_term = term + 1,
        .recorded_ms = 1000 + index,
        .answered = index % 2 == 0,
        .type = ENTRY_PUT,
        .payload = payload,
    };
}

static struct ledger *opened(struct file_system *fs) {
    struct ledger *l = NULL;
    char why[160];
    return ledger_open(fs, 0, &l, why, sizeof why) == FILE_OK ? l : NULL;
}

/* Rows 3, 4, 5 of term 2. */
static struct ledger *three_rows(struct file_system *fs) {
    struct ledger *l = opened(fs);
    for (uint64_t index = 3; l != NULL && index <= 5; index++) {
        struct ledger_row row = row_at(index, 2, bytes_of("payload"));
        if (ledger_add(l, &row) != FILE_OK)
            return NULL;
    }
    return l != NULL && ledger_sync(l) == FILE_OK ? l : NULL;
}

TEST(rows_survive_a_restart_with_their_payload) {
    struct file_system *fs = file_system_memory_new();
    struct ledger *l = three_rows(fs);
    REQUIRE(l != NULL);
    ledger_close(l);
    l = opened(fs);
    REQUIRE(l != NULL && ledger_count(l) == 3);
    const struct ledger_row *row = ledger_at(l, 1);
    EQUAL(row->at.index, 4);
    EQUAL(row->at.term, 2);
    EQUAL(row->by_term, 3);
    EQUAL(row->recorded_ms, 1004);
    OK(row->answered && !ledger_at(l, 0)->answered);
    EQUAL(row->state, LEDGER_OVERRULED);
    struct buffer payload = {0};
    EQUAL(ledger_read(l, 1, &payload), FILE_OK);
    OK(bytes_equal(buffer_bytes(&payload), bytes_of("payload")));
    buffer_release(&payload);
    ledger_close(l);
    file_system_free(fs);
}

/* Whichever byte of its record: it was written and acknowledged, and nothing else may be shown for it. */
TEST(a_row_that_rots_while_the_ledger_is_open_is_never_read_as_another) {
    struct sim_disk *disk = sim_disk_new();
    struct ledger *l = three_rows(sim_disk_file_system(disk));
    struct buffer payload = {0};
    uint64_t size = sim_disk_size(disk, "rejected"), unreadable = 0;
    for (uint64_t offset = 8192; offset < size; offset++) {
        OK(sim_disk_flip(disk, "rejected", offset, 0x10));
        for (size_t i = 0; i < 3; i++) {
            buffer_clear(&payload);
            enum file_result result = ledger_read(l, i, &payload);
            unreadable += result == FILE_CORRUPT;
            OK(result == FILE_CORRUPT || bytes_equal(buffer_bytes(&payload), bytes_of("payload")));
        }
        OK(sim_disk_flip(disk, "rejected", offset, 0x10));
    }
    EQUAL(unreadable, size - 8192);
    buffer_release(&payload);
    ledger_close(l);
    sim_disk_free(disk);
}

/* A file system that copies on write wants room for any write, and may say so only when it syncs. */
TEST(a_row_is_durable_without_room_for_the_head_and_not_where_its_sync_found_none) {
    for (unsigned head = 0; head < 2; head++) {
        struct sim_disk *disk = sim_disk_new();
        struct file_system *fs = sim_disk_file_system(disk);
        struct random random;
        random_seed(&random, 5);
        struct ledger *l = three_rows(fs);
        struct ledger_row row = row_at(6, 2, bytes_of("another"));
        bool mended = false;
        EQUAL(ledger_add(l, &row), FILE_OK);
        sim_disk_inject(disk, (struct sim_disk_fault){0, head != 0 ? SIM_DISK_WRITE : SIM_DISK_SYNC,
                                                      FILE_NO_SPACE, false});
        EQUAL(ledger_sync(l), head != 0 ? FILE_OK : FILE_NO_SPACE);
        EQUAL(ledger_mend_head(l, &mended), FILE_OK);
        OK(mended == (head != 0));
        ledger_close(l);
        sim_disk_crash(disk, &random);
        l = opened(fs);
        REQUIRE(l != NULL);
        OK(head == 0 || ledger_count(l) == 4);
        EQUAL(ledger_damaged(l), 0);
        ledger_close(l);
        sim_disk_free(disk);
    }
}

TEST(a_row_added_twice_is_there_once) {
    struct file_system *fs = file_system_memory_new();
    struct ledger *l = three_rows(fs);
    REQUIRE(l != NULL);
    struct ledger_row again = row_at(4, 2, bytes_of("payload"));
    EQUAL(ledger_add(l, &again), FILE_OK);
    EQUAL(ledger_count(l), 3);
    struct ledger_row other = row_at(4, 3, bytes_of("payload"));
    EQUAL(ledger_add(l, &other), FILE_OK);
    EQUAL(ledger_count(l), 4);
    ledger_close(l);
    file_system_free(fs);
}

TEST(another_entry_committed_at_its_index_rejects_a_row_and_its_own_takes_it_away) {
    struct file_system *fs = file_system_memory_new();
    struct ledger *l = three_rows(fs);
    size_t position = 0;
    REQUIRE(l != NULL);
    EQUAL(ledger_unsettled(l, 7, &position), 3);
    EQUAL(position, 0);
    EQUAL(ledger_settle(l, 7, (struct version){3, 3}), FILE_OK);
    EQUAL(ledger_unsettled(l, 7, &position), 4);
    EQUAL(ledger_settle(l, 7, (struct version){2, 4}), FILE_OK);
    EQUAL(ledger_unsettled(l, 7, &position), 5);
    EQUAL(ledger_unsettled(l, 8, &position), UINT64_MAX);
    for (int restart = 0; restart < 2; restart++) {
        REQUIRE(ledger_count(l) == 2);
        EQUAL(ledger_at(l, 0)->state, LEDGER_REJECTED);
        EQUAL(ledger_at(l, 0)->at.index, 3);
        EQUAL(ledger_at(l, 1)->state, LEDGER_OVERRULED);
        ledger_close(l);
        l = opened(fs);
        REQUIRE(l != NULL);
    }
    ledger_close(l);
    file_system_free(fs);
}

/* Opened twice: the second time tells the same. */
static void opens_with(struct tap *tap, struct file_system *fs, size_t rows, bool damaged) {
    for (unsigned i = 0; i < 2; i++) {
        struct ledger *l = opened(fs);
        REQUIRE(l != NULL);
        EQUAL(ledger_count(l), rows);
        EQUAL(ledger_damaged(l) > 0, damaged);
        ledger_close(l);
    }
}

TEST(a_ledger_cut_or_zeroed_from_any_byte_on_opens_with_the_rows_that_are_whole_and_tells_of_the_others) {
    struct file_system *fs = file_system_memory_new();
    struct ledger *l = three_rows(fs);
    REQUIRE(l != NULL);
    ledger_close(l);
    struct buffer whole = {0};
    static const uint8_t zeros[16384];
    REQUIRE(file_read_all(fs, "rejected", 16384, &whole) == FILE_OK);
    size_t size = buffer_size(&whole), row = (size - HEADS) / 3;
    for (size_t cut = size; cut-- > 0; cut -= cut < HEADS - 40 && cut > 400 ? 97 : 0)
        for (unsigned zeroed = 0; zeroed < 2; zeroed++) {
            struct file *file;
            REQUIRE(file_replace(fs, "rejected", buffer_bytes(&whole)) == FILE_OK);
            REQUIRE(file_open(fs, "rejected", false, &file) == FILE_OK);
            if (zeroed)
                EQUAL(file_write(file, cut, (struct bytes){zeros, size - cut}), FILE_OK);
            else
                EQUAL(file_truncate(file, cut), FILE_OK);
            file_close(file);
            size_t end = cut;
            while (zeroed && end < size && whole.data[whole.start + end] == 0) /* they were zeros before */
                end++;
            opens_with(tap, fs, end < HEADS ? 0 : (end - HEADS) / row, end < size);
        }
    buffer_release(&whole);
    file_system_free(fs);
}

TEST(a_ledger_that_is_missing_is_made_and_that_is_told) {
    struct file_system *fs = file_system_memory_new();
    struct ledger *l = three_rows(fs);
    REQUIRE(l != NULL);
    OK(ledger_created(l));
    ledger_close(l);
    l = opened(fs);
    OK(!ledger_created(l));
    ledger_close(l);
    EQUAL(file_system_remove(fs, "rejected"), FILE_OK);
    l = opened(fs);
    OK(ledger_created(l) && ledger_count(l) == 0);
    ledger_close(l);
    file_system_free(fs);
}

TEST(no_damage_to_a_page_of_the_head_takes_a_row) {
    struct file_system *fs = file_system_memory_new();
    static const uint8_t zeros[4096];
    for (unsigned page = 0; page < 2; page++) {
        file_system_remove(fs, "rejected");
        struct ledger *l = three_rows(fs);
        struct file *file;
        REQUIRE(l != NULL);
        ledger_close(l);
        REQUIRE(file_open(fs, "rejected", false, &file) == FILE_OK);
        EQUAL(file_write(file, page * 4096, (struct bytes){zeros, sizeof zeros}), FILE_OK);
        file_close(file);
        opens_with(tap, fs, 3, false);
    }
    file_system_free(fs);
}

TEST(what_a_power_cut_leaves_is_no_damage) {
    struct random random;
    random_seed(&random, 9);
    for (unsigned round = 0; round < 600; round++) {
        struct sim_disk *disk = sim_disk_new();
        struct file_system *fs = sim_disk_file_system(disk);
        struct ledger *l = opened(fs);
        REQUIRE(l != NULL);
        uint64_t synced = 0;
        sim_disk_inject(disk, (struct sim_disk_fault){round % 40, SIM_DISK_ALL, FILE_IO_ERROR, true});
        for (uint64_t index = 1; index < 9; index++) {
            struct ledger_row row = row_at(index, 2, bytes_of("payload"));
            if (ledger_add(l, &row) != FILE_OK || (index % 2 == 0 && ledger_sync(l) != FILE_OK))
                break;
            synced = index % 2 == 0 ? index : synced;
        }
        ledger_close(l);
        sim_disk_crash(disk, &random);
        l = opened(fs);
        REQUIRE(l != NULL);
        OK(ledger_count(l) >= synced);
        EQUAL(ledger_damaged(l), 0);
        ledger_close(l);
        l = opened(fs);
        size_t rows = ledger_count(l);
        ledger_close(l);
        opens_with(tap, fs, rows, false);
        sim_disk_free(disk);
    }
}

TEST(a_row_that_was_dropped_stays_gone_through_a_power_cut) {
    struct random random;
    random_seed(&random, 10);
    for (unsigned round = 0; round < 600; round++) {
        struct sim_disk *disk = sim_disk_new();
        struct file_system *fs = sim_disk_file_system(disk);
        struct ledger *l = three_rows(fs);
        unsigned dropped = 0;
        REQUIRE(l != NULL);
        EQUAL(ledger_sync(l), FILE_OK);
        sim_disk_inject(disk, (struct sim_disk_fault){round % 20, SIM_DISK_ALL, FILE_IO_ERROR, true});
        while (dropped < 3 && ledger_drop(l, 0) == FILE_OK)
            dropped++;
        ledger_close(l);
        sim_disk_crash(disk, &random);
        l = opened(fs);
        REQUIRE(l != NULL);
        OK(ledger_count(l) <= 3 - dropped);
        EQUAL(ledger_damaged(l), 0);
        ledger_close(l);
        sim_disk_free(disk);
    }
}

TEST(a_flipped_byte_loses_its_own_row_alone) {
    struct file_system *fs = file_system_memory_new();
    struct ledger *l = three_rows(fs);
    REQUIRE(l != NULL);
    ledger_close(l);
    struct buffer whole = {0};
    REQUIRE(file_read_all(fs, "rejected", 16384, &whole) == FILE_OK);
    for (size_t i = HEADS; i < buffer_size(&whole); i++) {
        struct file *file;
        uint8_t flipped = whole.data[whole.start + i] ^ 0x41;
        REQUIRE(file_open(fs, "rejected", false, &file) == FILE_OK);
        EQUAL(file_write(file, i, (struct bytes){&flipped, 1}), FILE_OK);
        l = opened(fs);
        REQUIRE(l != NULL);
        EQUAL(ledger_count(l), 2);
        OK(ledger_damaged(l) > 0);
        ledger_close(l);
        EQUAL(file_write(file, 0, buffer_bytes(&whole)), FILE_OK);
        file_close(file);
    }
    buffer_release(&whole);
    file_system_free(fs);
}

TEST(a_row_that_stays_undecided_hides_none_behind_it_and_is_looked_at_again_after_a_restart) {
    struct file_system *fs = file_system_memory_new();
    struct ledger *l = three_rows(fs);
    size_t position = 0;
    REQUIRE(l != NULL);
    EQUAL(ledger_unsettled(l, 7, &position), 3);
    EQUAL(ledger_judge(l, position, LEDGER_UNDECIDED), FILE_OK);
    EQUAL(ledger_unsettled(l, 7, &position), 4);
    EQUAL(ledger_judge(l, position, LEDGER_ANOTHER), FILE_OK);
    EQUAL(ledger_unsettled(l, 7, &position), 5);
    EQUAL(ledger_judge(l, position, LEDGER_ITS_OWN), FILE_OK);
    EQUAL(ledger_unsettled(l, 7, &position), UINT64_MAX);
    ledger_close(l);
    l = opened(fs);
    REQUIRE(l != NULL && ledger_count(l) == 2);
    EQUAL(ledger_at(l, 0)->state, LEDGER_OVERRULED);
    EQUAL(ledger_at(l, 1)->state, LEDGER_REJECTED);
    position = 0;
    EQUAL(ledger_unsettled(l, 7, &position), 3);
    ledger_close(l);
    file_system_free(fs);
}

static uint64_t file_length(struct file_system *fs) {
    struct file *file;
    uint64_t size = UINT64_MAX;
    if (file_open(fs, "rejected", false, &file) != FILE_OK)
        return size;
    file_size(file, &size);
    file_close(file);
    return size;
}

TEST(a_dropped_row_stays_away_and_the_last_one_takes_the_files_space_with_it) {
    struct file_system *fs = file_system_memory_new();
    struct ledger *l = three_rows(fs);
    REQUIRE(l != NULL);
    EQUAL(ledger_find(l, 7, (struct version){2, 4}), 1);
    EQUAL(ledger_find(l, 7, (struct version){3, 5}), 3);
    EQUAL(ledger_drop(l, 1), FILE_OK);
    ledger_close(l);
    l = opened(fs);
    REQUIRE(l != NULL && ledger_count(l) == 2);
    EQUAL(ledger_at(l, 0)->at.index, 3);
    EQUAL(ledger_at(l, 1)->at.index, 5);
    EQUAL(ledger_drop(l, 1), FILE_OK);
    EQUAL(ledger_drop(l, 0), FILE_OK);
    EQUAL(file_length(fs), HEADS);
    struct ledger_row row = row_at(9, 2, bytes_of("payload"));
    EQUAL(ledger_add(l, &row), FILE_OK);
    ledger_close(l);
    l = opened(fs);
    REQUIRE(l != NULL && ledger_count(l) == 1);
    EQUAL(ledger_at(l, 0)->at.index, 9);
    ledger_close(l);
    file_system_free(fs);
}

TEST(a_drop_cut_at_any_byte_leaves_the_row_or_takes_it_and_never_another) {
    struct file_system *fs = file_system_memory_new();
    struct ledger *l = three_rows(fs);
    REQUIRE(l != NULL);
    uint64_t before = file_length(fs);
    EQUAL(ledger_drop(l, 1), FILE_OK);
    ledger_close(l);
    uint64_t after = file_length(fs);
    OK(after > before);
    for (uint64_t cut = after + 1; cut-- > before;) {
        struct file *file;
        REQUIRE(file_open(fs, "rejected", false, &file) == FILE_OK);
        EQUAL(file_truncate(file, cut), FILE_OK);
        file_close(file);
        l = opened(fs);
        REQUIRE(l != NULL);
        EQUAL(ledger_count(l), cut == after ? 2 : 3);
        EQUAL(ledger_at(l, 0)->at.index, 3);
        EQUAL(ledger_at(l, ledger_count(l) - 1)->at.index, 5);
        ledger_close(l);
    }
    file_system_free(fs);
}

TEST(a_row_written_after_damage_joins_the_rows_that_are_whole) {
    struct file_system *fs = file_system_memory_new();
    struct ledger *l = three_rows(fs);
    REQUIRE(l != NULL);
    ledger_close(l);
    struct file *file;
    uint8_t torn = 0xff;
    uint64_t size;
    REQUIRE(file_open(fs, "rejected", false, &file) == FILE_OK);
    EQUAL(file_size(file, &size), FILE_OK);
    EQUAL(file_write(file, HEADS + (size - HEADS) / 3 + 20, (struct bytes){&torn, 1}), FILE_OK);
    file_close(file);
    l = opened(fs);
    REQUIRE(l != NULL);
    EQUAL(ledger_count(l), 2);
    struct ledger_row row = row_at(9, 2, bytes_of("payload"));
    EQUAL(ledger_add(l, &row), FILE_OK);
    ledger_close(l);
    l = opened(fs);
    REQUIRE(l != NULL);
    EQUAL(ledger_count(l), 3);
    EQUAL(ledger_at(l, 1)->at.index, 5);
    EQUAL(ledger_at(l, 2)->at.index, 9);
    ledger_close(l);
    file_system_free(fs);
}

TESTS(TAP(a_row_is_durable_without_room_for_the_head_and_not_where_its_sync_found_none),
      TAP(a_drop_cut_at_any_byte_leaves_the_row_or_takes_it_and_never_another),
      TAP(a_row_that_stays_undecided_hides_none_behind_it_and_is_looked_at_again_after_a_restart),
      TAP(a_dropped_row_stays_away_and_the_last_one_takes_the_files_space_with_it),
      TAP(rows_survive_a_restart_with_their_payload),
      TAP(a_row_that_rots_while_the_ledger_is_open_is_never_read_as_another),
      TAP(a_row_added_twice_is_there_once),
      TAP(another_entry_committed_at_its_index_rejects_a_row_and_its_own_takes_it_away),
      TAP(a_ledger_cut_or_zeroed_from_any_byte_on_opens_with_the_rows_that_are_whole_and_tells_of_the_others),
      TAP(a_ledger_that_is_missing_is_made_and_that_is_told),
      TAP(no_damage_to_a_page_of_the_head_takes_a_row), TAP(what_a_power_cut_leaves_is_no_damage),
      TAP(a_row_that_was_dropped_stays_gone_through_a_power_cut), TAP(a_flipped_byte_loses_its_own_row_alone),
      TAP(a_row_written_after_damage_joins_the_rows_that_are_whole))
