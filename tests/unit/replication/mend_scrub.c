/* Files that rot while a replica runs: found by the scrub, and mended from memory. */
#include "storage/log_internal.h"
#include "storage/wire.h"
#include "tests/unit/replication/leader.h"

/* Where a segment's records end. */
static uint64_t end_of(const struct leader *l, const char *name) {
    uint64_t at = SEGMENT_HEADS_SIZE;
    uint8_t head[RECORD_HEADER_SIZE];
    while (sim_disk_peek(l->disk, name, at, head, sizeof head) == sizeof head && get_u32(head + 8) != 0)
        at += record_size(get_u32(head + 8));
    return at;
}

TEST(the_scrub_finds_a_rotten_segment_and_a_snapshot_takes_its_place) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    for (unsigned place = 0; place < 12; place++) {
        struct leader *l = leader_new(&options);
        char name[FILE_NAME_MAX];
        fill(l);
        first_segment(l, name);
        const uint64_t end = end_of(l, name), offsets[] = {20,    LOG_PAGE_SIZE + 20, SEGMENT_HEADS_SIZE + 8,
                                                           30000, end - 100,          end + 12};
        EQUAL(l->notices[REPLICA_FILE_DAMAGED], 0);
        spoil(l, name, offsets[place / 2], place % 2 != 0);
        pass(l, 200);
        EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
        OK(strstr(l->damage, name) == l->damage);
        EQUAL(l->notices[REPLICA_FILE_MENDED], 1);
        OK(!replica_damage(l->replica)->log);
        EQUAL(replica_damage(l->replica)->mended, 1);
        pass(l, 50);
        EQUAL(sim_disk_size(l->disk, name), 0);
        REQUIRE(reopen(l));
        OK(has_all(l));
        leader_free(l);
    }
}

/* Nothing is written to the group meanwhile: the node leaves the segment by itself. */
TEST(the_scrub_reads_what_is_durable_of_the_segment_that_is_written_too_and_the_log_leaves_it) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    for (unsigned place = 0; place < 10; place++) {
        struct leader *l = leader_new(&options);
        char name[FILE_NAME_MAX] = "";
        fill(l);
        sim_disk_names(l->disk, last_name, name);
        const uint64_t end = end_of(l, name), offsets[] = {20, LOG_PAGE_SIZE + 20, SEGMENT_HEADS_SIZE + 8,
                                                           SEGMENT_HEADS_SIZE + 60, end - 50};
        spoil(l, name, offsets[place / 2], place % 2 != 0);
        pass(l, 200);
        EQUAL(replica_damage(l->replica)->found, 1);
        OK(strstr(l->damage, name) == l->damage);
        EQUAL(replica_damage(l->replica)->mended, 1);
        pass(l, 200);
        EQUAL(replica_damage(l->replica)->found, 1);
        EQUAL(l->notices[REPLICA_SNAPSHOT_TAKEN], 1);
        EQUAL(sim_disk_size(l->disk, name), 0);
        OK(replica_failure(l->replica) == NULL);
        REQUIRE(reopen(l));
        OK(has_all(l));
        leader_free(l);
    }
}

/* As a node has it before it is a member: there is nothing yet that a snapshot could hold. */
TEST(a_segment_that_rots_while_nothing_is_committed_is_replaced_once_something_is) {
    for (unsigned bad = 0; bad < 2; bad++) {
        struct leader *l = calloc(1, sizeof *l);
        struct configuration alone = {.group_id = 7, .voters_max = 5, .count = 1};
        char name[FILE_NAME_MAX] = "";
        REQUIRE(l != NULL);
        l->disk = sim_disk_new();
        l->now_ms = 10000;
        l->options.scrub_rest_ms = 1000;
        REQUIRE(open_leader(l));
        pass(l, 5);
        sim_disk_names(l->disk, last_name, name);
        spoil(l, name, 20, bad != 0);
        pass(l, 400);
        EQUAL(replica_damage(l->replica)->found, 1);
        EQUAL(l->notices[REPLICA_FILE_MENDED], 0);
        EQUAL(sim_disk_size(l->disk, "snapshot"), 0);
        alone.members[0] = (struct member){.id = id_of(1), .role = MEMBER_VOTER};
        EQUAL(raft_found(replica_raft(l->replica), l->now_ms, &alone), RAFT_OK);
        pass(l, 50);
        EQUAL(l->notices[REPLICA_FILE_MENDED], 1);
        OK(sim_disk_size(l->disk, "snapshot") > 0);
        EQUAL(sim_disk_size(l->disk, name), 0);
        OK(reopen(l));
        leader_free(l);
    }
}

TEST(the_scrub_of_a_segment_that_is_written_to_all_the_while_finds_nothing) {
    static const uint8_t value[5000];
    static const struct replica_options options = {.scrub_rest_ms = 1};
    struct leader *l = leader_new(&options);
    for (unsigned i = 0; i < 30; i++) {
        struct version at;
        struct entry entry = {.key = bytes_of("k"), .value = {value, 4000 + 13 * i}};
        pass(l, 10);
        if (raft_role(replica_raft(l->replica)) == RAFT_LEADER)
            replica_propose(l->replica, ENTRY_PUT, &entry, &at);
    }
    OK(replica_damage(l->replica)->passes > 5);
    EQUAL(replica_damage(l->replica)->found, 0);
    leader_free(l);
}

/* A byte of each copy that means something, one copy or both, or pages that cannot be read. */
TEST(the_scrub_finds_rotten_small_files_and_writes_them_again) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    static const char *const names[] = {"log_end", "hard_state", "rejected"};
    for (unsigned i = 0; i < 18; i++) {
        struct leader *l = leader_new(&options);
        const char *name = names[i % 3];
        fill(l);
        REQUIRE(reopen(l));
        l->notices[REPLICA_LEDGER_DAMAGED] = 0;
        pass(l, 100);
        for (unsigned copy = 0; copy < 2; copy++)
            if (i / 6 == 2 || i / 6 == copy)
                spoil(l, name, copy * LOG_PAGE_SIZE + 20, i % 6 >= 3);
        pass(l, 200);
        uint64_t found = replica_damage(l->replica)->found;
        /* one copy of log_end is written with every sync, and so perhaps before it is read */
        OK(found == 1 || (found == 0 && i % 3 == 0 && i / 6 < 2));
        EQUAL(replica_damage(l->replica)->mended, found);
        if (!OK(found == 0 || strncmp(l->damage, name, strlen(name)) == 0))
            printf("# %s: %s\n", name, l->damage);
        pass(l, 200);
        EQUAL(replica_damage(l->replica)->found, found);
        REQUIRE(reopen(l));
        EQUAL(l->notices[REPLICA_LEDGER_DAMAGED], 0);
        OK(has_all(l));
        leader_free(l);
    }
}

TEST(the_scrub_finds_a_rotten_snapshot_and_writes_another) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    struct leader *l = leader_new(&options);
    pass(l, 10);
    rot(l, "snapshot", sim_disk_size(l->disk, "snapshot") - 2);
    pass(l, 200);
    EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
    EQUAL(l->notices[REPLICA_FILE_MENDED], 1);
    REQUIRE(reopen(l));
    leader_free(l);
}

TEST(the_scrub_goes_over_sound_files_again_and_again_and_says_nothing) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    struct leader *l = leader_new(&options);
    fill(l);
    pass(l, 1000);
    OK(replica_damage(l->replica)->passes >= 3);
    OK(replica_damage(l->replica)->bytes > 3 * sim_disk_size(l->disk, "snapshot"));
    EQUAL(replica_damage(l->replica)->found, 0);
    leader_free(l);
}

/* From an operation of the disk on all others fail, and then the power goes. What it leaves has all, or is
 * refused as damaged: never opened with less. */
static void cut_while_mending(struct tap *tap, const char *which, unsigned *whole, unsigned *refused) {
    static const struct replica_options options = {.scrub_rest_ms = 200};
    struct random random;
    random_seed(&random, 12);
    bool reached = true;
    for (uint64_t after = 0; reached; after++) {
        struct leader *l = leader_new(&options);
        char name[FILE_NAME_MAX] = "";
        fill(l);
        pass(l, 5); /* the last one is durable too */
        if (strcmp(which, "first") == 0)
            first_segment(l, name);
        else if (strcmp(which, "last") == 0)
            sim_disk_names(l->disk, last_name, name);
        else
            snprintf(name, sizeof name, "%s", which);
        rot(l, name, strncmp(name, "log-", 4) == 0 ? SEGMENT_HEADS_SIZE + 60 : 20);
        uint64_t from = sim_disk_operations(l->disk, SIM_DISK_ALL);
        sim_disk_inject(l->disk, (struct sim_disk_fault){after, SIM_DISK_ALL & ~(unsigned)SIM_DISK_READ,
                                                         FILE_IO_ERROR, true});
        for (unsigned i = 0; i < 150 && replica_failure(l->replica) == NULL; i++)
            pass(l, 1);
        reached = replica_failure(l->replica) != NULL;
        OK(reached || replica_damage(l->replica)->mended == 1);
        OK(sim_disk_operations(l->disk, SIM_DISK_ALL) > from);
        l->job_count = 0;
        replica_close(l->replica);
        l->replica = NULL;
        sim_disk_crash(l->disk, &random);
        bool damaged = false;
        l->options.damaged = &damaged;
        if (open_leader(l)) {
            pass(l, 100); /* it leads, and commits what is in its log */
            OK(has_all(l));
            ++*whole;
        } else {
            OK(damaged && reached);
            ++*refused;
        }
        leader_free(l);
    }
}

TEST(a_power_cut_at_any_operation_of_mending_a_file_loses_nothing_without_a_word) {
    static const char *const names[] = {"first", "last", "snapshot", "log_end", "hard_state", "rejected"};
    for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
        unsigned whole = 0, refused = 0;
        cut_while_mending(tap, names[i], &whole, &refused);
        OK(whole > 0 && whole + refused > 4);
        OK(refused > 0 || i >= 3); /* two copies: one is always whole */
    }
}

/* Until there is room for the snapshot. */
TEST(a_rotten_segment_stays_until_a_snapshot_that_holds_it_is_durable) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    struct leader *l = leader_new(&options);
    char name[FILE_NAME_MAX];
    fill(l);
    first_segment(l, name);
    rot(l, name, 30000);
    sim_disk_set_capacity(l->disk, sim_disk_used(l->disk) + 100 * 1024);
    pass(l, 200);
    OK(replica_damage(l->replica)->log);
    OK(sim_disk_size(l->disk, name) > 0);
    sim_disk_set_capacity(l->disk, 0);
    pass(l, 600);
    OK(!replica_damage(l->replica)->log);
    EQUAL(sim_disk_size(l->disk, name), 0);
    REQUIRE(reopen(l));
    OK(has_all(l));
    leader_free(l);
}

/* One copy is rotten, and its first write fails. */
static struct leader *with_failing_write(const char *name, enum file_result result) {
    static const struct replica_options options = {.scrub_rest_ms = 1000};
    struct leader *l = leader_new(&options);
    fill(l);
    pass(l, 20);
    rot(l, name, 20);
    sim_disk_inject(l->disk, (struct sim_disk_fault){0, SIM_DISK_WRITE, result, false});
    return l;
}

TEST(what_could_not_be_written_again_is_not_said_to_have_been) {
    static const char *const names[] = {"hard_state", "rejected"};
    for (unsigned i = 0; i < 2; i++) {
        struct leader *l = with_failing_write(names[i], FILE_IO_ERROR);
        pass(l, 300);
        OK(replica_failure(l->replica) != NULL);
        EQUAL(l->notices[REPLICA_FILE_DAMAGED], 0);
        EQUAL(replica_damage(l->replica)->mended, 0);
        leader_free(l);
    }
}

TEST(a_full_disk_ends_no_node_that_could_write_a_copy_of_the_ledgers_head_again) {
    struct leader *l = with_failing_write("rejected", FILE_NO_SPACE);
    pass(l, 500);
    OK(replica_failure(l->replica) == NULL);
    OK(replica_damage(l->replica)->passes > 1);
    EQUAL(replica_damage(l->replica)->mended, 1);
    OK(strncmp(l->damage, "rejected ", 9) == 0);
    l->notices[REPLICA_LEDGER_DAMAGED] = 0;
    REQUIRE(reopen(l));
    EQUAL(l->notices[REPLICA_LEDGER_DAMAGED], 0);
    leader_free(l);
}

TESTS(TAP(a_segment_that_rots_while_nothing_is_committed_is_replaced_once_something_is),
      TAP(the_scrub_finds_a_rotten_segment_and_a_snapshot_takes_its_place),
      TAP(the_scrub_reads_what_is_durable_of_the_segment_that_is_written_too_and_the_log_leaves_it),
      TAP(the_scrub_of_a_segment_that_is_written_to_all_the_while_finds_nothing),
      TAP(the_scrub_finds_rotten_small_files_and_writes_them_again),
      TAP(the_scrub_finds_a_rotten_snapshot_and_writes_another),
      TAP(the_scrub_goes_over_sound_files_again_and_again_and_says_nothing),
      TAP(a_power_cut_at_any_operation_of_mending_a_file_loses_nothing_without_a_word),
      TAP(a_rotten_segment_stays_until_a_snapshot_that_holds_it_is_durable),
      TAP(what_could_not_be_written_again_is_not_said_to_have_been),
      TAP(a_full_disk_ends_no_node_that_could_write_a_copy_of_the_ledgers_head_again))
