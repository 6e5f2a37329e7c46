/* Files that rot while a replica runs: found when they are read for a member, and mended from memory. */
#include "storage/log_internal.h"
#include "tests/unit/replication/leader.h"

/* Wherever it is rotten: in the header, in records, in the end. */
TEST(a_rotten_snapshot_is_found_while_it_is_sent_and_a_new_one_is_sent_instead) {
    static const struct replica_options options;
    for (unsigned place = 0; place < 8; place++) {
        struct leader *l = leader_new(&options);
        uint64_t size = sim_disk_size(l->disk, "snapshot");
        const uint64_t offsets[] = {3, 40, size / 2, size - 3};
        spoil(l, "snapshot", offsets[place / 2], place % 2 != 0);
        run(l, 100);
        OK(raft_role(replica_raft(l->replica)) == RAFT_LEADER);
        EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
        OK(strncmp(l->damage, "snapshot: ", 10) == 0);
        OK(strstr(l->damage, "look at the disk") != NULL);
        EQUAL(l->notices[REPLICA_FILE_MENDED], 1);
        EQUAL(replica_damage(l->replica)->found, 1);
        EQUAL(replica_damage(l->replica)->mended, 1);
        OK(!replica_damage(l->replica)->snapshot);
        OK(l->finished > 0);
        OK(copy_loads(l));
        OK(replica_failure(l->replica) == NULL);
        REQUIRE(reopen(l));
        leader_free(l);
    }
}

/* A copy is whole only when its last byte is there: that one does not leave before all have been verified. */
TEST(no_rotten_copy_ever_leaves_whole) {
    static const struct replica_options options;
    struct leader *l = leader_new(&options);
    rot(l, "snapshot", sim_disk_size(l->disk, "snapshot") / 2);
    for (unsigned i = 0, finished = 0; i < 100; i++, finished = l->finished) {
        run(l, 1);
        if (l->finished > finished)
            OK(copy_loads(l));
    }
    OK(l->finished > 0);
    leader_free(l);
}

/* The disk is full: it stays damaged, says so, and is mended when there is room. */
TEST(a_rotten_snapshot_stays_where_it_is_until_another_one_is_durable) {
    static const struct replica_options options;
    struct leader *l = leader_new(&options);
    rot(l, "snapshot", 5000);
    sim_disk_set_capacity(l->disk, sim_disk_used(l->disk) + 200 * 1024);
    run(l, 100);
    EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
    EQUAL(l->finished, 0);
    OK(l->notices[REPLICA_SNAPSHOT_FAILED] > 0);
    OK(replica_damage(l->replica)->snapshot);
    OK(sim_disk_size(l->disk, "snapshot") > 0);
    sim_disk_set_capacity(l->disk, 0);
    run(l, 600);
    OK(!replica_damage(l->replica)->snapshot);
    OK(l->finished > 0);
    OK(copy_loads(l));
    leader_free(l);
}

/* It rots after it was sent once and refused for another reason: each transfer verifies it again. */
TEST(a_snapshot_is_verified_with_every_transfer) {
    static const struct replica_options options;
    struct leader *l = leader_new(&options);
    run(l, 100);
    OK(l->finished > 0);
    EQUAL(l->notices[REPLICA_FILE_DAMAGED], 0);
    rot(l, "snapshot", 5000);
    run(l, 200);
    EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
    EQUAL(l->notices[REPLICA_FILE_MENDED], 1);
    OK(copy_loads(l));
    leader_free(l);
}

/* A member that lags asks for records that only a segment holds. */
static void read_for_a_member(struct tap *tap, bool unreadable) {
    static const struct replica_options options;
    struct leader *l = leader_new(&options);
    char name[FILE_NAME_MAX];
    fill(l);
    REQUIRE(reopen(l)); /* what it wrote before is in its files only */
    first_segment(l, name);
    spoil(l, name, SEGMENT_HEADS_SIZE + BATCH_SIZE + RECORD_HEADER_SIZE + 4, unreadable);
    l->last.type = 0;
    for (unsigned i = 0; i < 200 && l->last.type != MESSAGE_APPEND; i++)
        pass(l, 1);
    REQUIRE(l->last.type == MESSAGE_APPEND);
    struct message has_base = {.type = MESSAGE_APPEND_REPLY, .term = raft_term(replica_raft(l->replica))};
    has_base.append_reply.match = l->last.append.previous.index;
    has_base.append_reply.hint = base;
    has_base.append_reply.last = base.index;
    hear(l, &has_base);
    pass(l, 20);
    OK(replica_failure(l->replica) == NULL);
    EQUAL(l->notices[REPLICA_FILE_DAMAGED], 1);
    EQUAL(l->notices[REPLICA_FILE_MENDED], 1);
    run(l, 100);
    OK(l->finished > 0);
    OK(l->copy_at.index >= base.index + PUTS);
    OK(copy_loads(l));
    leader_free(l);
}

TEST(a_rotten_segment_that_is_read_for_a_member_is_mended_and_the_member_gets_the_snapshot) {
    read_for_a_member(tap, false);
}

TEST(a_segment_that_cannot_be_read_for_a_member_is_mended_too_and_the_node_goes_on) {
    read_for_a_member(tap, true);
}

/* Between what is verified and what is sent: each read of it once. */
TEST(a_snapshot_that_a_read_fails_of_while_it_is_sent_is_written_again) {
    static const struct replica_options options;
    for (unsigned after = 0; after < 20; after++) {
        struct leader *l = leader_new(&options);
        pass(l, 20);
        sim_disk_inject(l->disk, (struct sim_disk_fault){after, SIM_DISK_READ, FILE_IO_ERROR, false});
        run(l, 200);
        OK(replica_failure(l->replica) == NULL);
        EQUAL(replica_damage(l->replica)->found, 1);
        EQUAL(replica_damage(l->replica)->mended, 1);
        OK(l->finished > 0);
        OK(copy_loads(l));
        leader_free(l);
    }
}

TESTS(TAP(a_rotten_snapshot_is_found_while_it_is_sent_and_a_new_one_is_sent_instead),
      TAP(no_rotten_copy_ever_leaves_whole),
      TAP(a_rotten_snapshot_stays_where_it_is_until_another_one_is_durable),
      TAP(a_snapshot_is_verified_with_every_transfer),
      TAP(a_rotten_segment_that_is_read_for_a_member_is_mended_and_the_member_gets_the_snapshot),
      TAP(a_segment_that_cannot_be_read_for_a_member_is_mended_too_and_the_node_goes_on),
      TAP(a_snapshot_that_a_read_fails_of_while_it_is_sent_is_written_again))
