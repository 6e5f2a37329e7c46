/* Files that rot while a replica runs: what a clean stop does about them. */
#include "storage/log_internal.h"
#include "tests/unit/replication/leader.h"

/* Damaged, found, and on a disk that has no room for a snapshot. */
static void find_damage(struct tap *tap, struct leader *l, const char *name, uint64_t offset) {
    rot(l, name, offset);
    sim_disk_set_capacity(l->disk, sim_disk_used(l->disk) + 100 * 1024);
    pass(l, 200);
    EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
    OK(replica_damage(l->replica)->snapshot || replica_damage(l->replica)->log);
    EQUAL(replica_damage(l->replica)->mended, 0);
}

TEST(a_stop_replaces_a_rotten_snapshot_however_large_the_store_is) {
    static const struct replica_options options = {.scrub_rest_ms = 1000, .stop_size_max = 1};
    struct leader *l = leader_new(&options);
    fill(l);
    find_damage(tap, l, "snapshot", 5000);
    sim_disk_set_capacity(l->disk, 0);
    OK(replica_shutdown(l->replica));
    REQUIRE(reopen(l));
    OK(has_all(l));
    leader_free(l);
}

TEST(a_stop_removes_a_rotten_segment_that_its_snapshot_has_replaced) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    for (unsigned which = 0; which < 2; which++) {
        struct leader *l = leader_new(&options);
        char name[FILE_NAME_MAX] = "";
        fill(l);
        pass(l, 5);
        if (which == 0)
            first_segment(l, name);
        else
            sim_disk_names(l->disk, last_name, name);
        find_damage(tap, l, name, SEGMENT_HEADS_SIZE + 60);
        sim_disk_set_capacity(l->disk, 0);
        OK(replica_shutdown(l->replica));
        EQUAL(sim_disk_size(l->disk, name), 0);
        OK(!replica_damage(l->replica)->log);
        REQUIRE(reopen(l));
        OK(has_all(l));
        leader_free(l);
    }
}

TEST(a_stop_behind_the_snapshot_removes_what_was_left_of_a_rotten_segment) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    struct leader *l = leader_new(&options);
    char name[FILE_NAME_MAX] = "";
    fill(l);
    pass(l, 5);
    sim_disk_names(l->disk, last_name, name);
    rot(l, name, SEGMENT_HEADS_SIZE + 60);
    for (unsigned i = 0; i < 300 && l->notices[REPLICA_SNAPSHOT_TAKEN] == 0; i++)
        pass(l, 1);
    finish_jobs(l); /* as the helper threads do before they end */
    OK(sim_disk_size(l->disk, name) > 0);
    OK(replica_shutdown(l->replica));
    EQUAL(sim_disk_size(l->disk, name), 0);
    REQUIRE(reopen(l));
    OK(has_all(l));
    leader_free(l);
}

/* The records that wait for a write are in that segment, and nothing else makes the log leave it. */
TEST(a_stop_leaves_the_segment_that_was_found_rotten_since_the_last_tick) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    struct leader *l = leader_new(&options);
    const struct log *log = replica_log(l->replica);
    char name[FILE_NAME_MAX] = "", found[FILE_NAME_MAX] = "";
    uint64_t last = 0, proposed = 0;
    fill(l);
    pass(l, 5);
    sim_disk_names(l->disk, last_name, name);
    rot(l, name, SEGMENT_HEADS_SIZE + 60);
    for (unsigned i = 0; i < 200 && !log_damaged(log, &last, found); i++) {
        struct entry entry = {.key = bytes_of("behind"), .value = bytes_of("it")};
        struct version at;
        l->now_ms += 20;
        replica_tick(l->replica, l->now_ms, 0);
        replica_flush(l->replica, l->now_ms);
        REQUIRE(replica_propose(l->replica, ENTRY_PUT, &entry, &at) == RAFT_OK);
        proposed = at.index;
        finish_jobs(l);
    }
    OK(last == UINT64_MAX && strcmp(found, name) == 0);
    OK(log_written(log) < proposed);
    EQUAL(l->notices[REPLICA_FILE_DAMAGED], 0);
    OK(replica_shutdown(l->replica));
    EQUAL(sim_disk_size(l->disk, name), 0);
    REQUIRE(reopen(l));
    EQUAL(store_count(replica_store(l->replica)), base.index + PUTS + 1);
    OK(replica_applied(l->replica) >= proposed);
    leader_free(l);
}

TEST(a_stop_fails_and_names_the_file_where_damage_stays) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    static const char *const names[] = {"snapshot", "first segment"};
    for (unsigned i = 0; i < 2; i++) {
        struct leader *l = leader_new(&options);
        char name[FILE_NAME_MAX];
        fill(l);
        first_segment(l, name);
        find_damage(tap, l, i == 0 ? names[i] : name, 5000 + i * SEGMENT_HEADS_SIZE);
        REQUIRE(!replica_shutdown(l->replica));
        OK(strstr(replica_failure(l->replica), i == 0 ? names[i] : name) != NULL);
        OK(strstr(replica_failure(l->replica), file_result_text(FILE_NO_SPACE)) != NULL);
        bool damaged = false;
        l->options.damaged = &damaged;
        OK(!reopen(l) && damaged);
        l->replica = NULL;
        leader_free(l);
    }
}

/* The snapshot is there, and the file that it replaces stays. */
TEST(a_stop_fails_and_says_so_where_a_rotten_segment_that_was_replaced_cannot_be_removed) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    struct leader *l = leader_new(&options);
    char name[FILE_NAME_MAX] = "";
    bool damaged = false;
    fill(l);
    pass(l, 5);
    sim_disk_names(l->disk, last_name, name);
    rot(l, name, SEGMENT_HEADS_SIZE + 60);
    for (unsigned i = 0; i < 300 && l->notices[REPLICA_SNAPSHOT_TAKEN] == 0; i++)
        pass(l, 1);
    finish_jobs(l);
    EQUAL(l->notices[REPLICA_SNAPSHOT_TAKEN], 1);
    sim_disk_inject(l->disk, (struct sim_disk_fault){0, SIM_DISK_NAME, FILE_IO_ERROR, true});
    REQUIRE(!replica_shutdown(l->replica));
    OK(strstr(replica_failure(l->replica), "could not be removed") != NULL);
    OK(sim_disk_size(l->disk, name) > 0);
    EQUAL(replica_damage(l->replica)->mended, 0);
    sim_disk_restart(l->disk);
    l->options.damaged = &damaged;
    OK(!reopen(l) && damaged);
    l->replica = NULL;
    leader_free(l);
}

/* Whichever file it is, the disk is to be looked at. */
TEST(a_stop_that_replaces_what_was_found_rotten_since_the_last_tick_says_so) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    for (unsigned which = 0; which < 3; which++) {
        struct leader *l = leader_new(&options);
        const struct log *log = replica_log(l->replica);
        char name[FILE_NAME_MAX] = "snapshot", found[FILE_NAME_MAX] = "";
        uint64_t last = 0;
        fill(l);
        pass(l, 5);
        if (which == 0)
            first_segment(l, name);
        else if (which == 1)
            sim_disk_names(l->disk, last_name, name);
        rot(l, name, SEGMENT_HEADS_SIZE + 60);
        for (unsigned i = 0;
             i < 200 && !log_damaged(log, &last, found) && !replica_damage(l->replica)->snapshot; i++) {
            l->now_ms += 20;
            replica_tick(l->replica, l->now_ms, 0);
            replica_flush(l->replica, l->now_ms);
            finish_jobs(l);
        }
        OK(replica_shutdown(l->replica));
        EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
        EQUAL(l->notices[REPLICA_FILE_MENDED], 1);
        leader_free(l);
    }
}

TESTS(TAP(a_stop_replaces_a_rotten_snapshot_however_large_the_store_is),
      TAP(a_stop_removes_a_rotten_segment_that_its_snapshot_has_replaced),
      TAP(a_stop_behind_the_snapshot_removes_what_was_left_of_a_rotten_segment),
      TAP(a_stop_leaves_the_segment_that_was_found_rotten_since_the_last_tick),
      TAP(a_stop_fails_and_names_the_file_where_damage_stays),
      TAP(a_stop_fails_and_says_so_where_a_rotten_segment_that_was_replaced_cannot_be_removed),
      TAP(a_stop_that_replaces_what_was_found_rotten_since_the_last_tick_says_so))
