/* One follower's replica: what it does where the disk has no room and where the ledger of rejected writes has
 * reached its bound, what it scrubs, what a clean stop leaves, and the digests that it knows. */
#include "tests/unit/replication/follower.h"

TEST(a_truncation_that_finds_no_room_for_the_ledger_waits_and_loses_nothing) {
    unsigned waited = 0, went_on = 0;
    for (uint64_t room = 0; room < 600; room += 25) {
        struct follower *f = follower_new(0);
        hear_records(f, 2, base, 4, 5, base.index);
        EQUAL(last_of(f), 15);
        sim_disk_set_capacity(f->disk, sim_disk_used(f->disk) + 100 + room);
        struct message term = heartbeat(5, base, base.index);
        hear(f, 3, &term); /* the term takes a file of its own */
        sim_disk_set_capacity(f->disk, sim_disk_used(f->disk) + room);
        for (unsigned tries = 0; tries < 5; tries++, f->now_ms += 700)
            overrule(f);
        OK(replica_failure(f->replica) == NULL);
        if (last_of(f) == 12) {
            EQUAL(rows_of(f), 5);
            EQUAL(f->notices[REPLICA_DISK_FULL], 0);
            went_on++;
        } else {
            EQUAL(last_of(f), 15);
            OK(rows_of(f) < 5);
            EQUAL(f->notices[REPLICA_DISK_FULL], 1);
            OK(strstr(f->text, "no space left") != NULL);
            EQUAL(f->notices[REPLICA_OVERRULED], 0);
            EQUAL(f->sent.append_reply.match, base.index);
            waited++;
        }
        sim_disk_set_capacity(f->disk, 0);
        f->now_ms += 2000;
        overrule(f);
        EQUAL(last_of(f), 12);
        EQUAL(rows_of(f), 5);
        EQUAL(f->notices[REPLICA_OVERRULED], 1);
        EQUAL(f->notices[REPLICA_DISK_HAS_ROOM], f->notices[REPLICA_DISK_FULL]);
        OK(replica_failure(f->replica) == NULL);
        follower_free(f);
    }
    OK(waited > 5);
    OK(went_on > 5);
}

TEST(a_truncation_that_the_log_has_no_room_for_waits_too) {
    struct follower *f = follower_new(0);
    struct message term = heartbeat(5, base, base.index);
    hear_records(f, 2, base, 4, 3, base.index);
    struct version previous = {4, 13};
    sim_disk_inject(
        f->disk, (struct sim_disk_fault){.kinds = SIM_DISK_ALLOCATE, .result = FILE_NO_SPACE, .stays = true});
    while (f->notices[REPLICA_DISK_FULL] == 0) { /* the segment is full, and there is no other */
        hear_records(f, 2, previous, 4, 1, base.index);
        previous = (struct version){4, last_of(f)};
    }
    uint64_t last = last_of(f);
    hear(f, 3, &term);
    for (unsigned tries = 0; tries < 3; tries++, f->now_ms += 700)
        hear_records(f, 3, (struct version){4, 11}, 5, 2, base.index);
    EQUAL(last_of(f), last);
    EQUAL(rows_of(f), 0);
    EQUAL(f->notices[REPLICA_DISK_FULL], 1);
    OK(replica_failure(f->replica) == NULL);
    sim_disk_restart(f->disk);
    f->now_ms += 2000;
    hear_records(f, 3, (struct version){4, 11}, 5, 2, base.index);
    EQUAL(last_of(f), 13);
    EQUAL(rows_of(f), last - 11);
    follower_free(f);
}

TEST(a_leader_whose_log_ends_before_what_is_certain_here_has_lost_it_and_that_is_told) {
    struct follower *f = follower_new(0);
    struct message shorter = heartbeat(5, (struct version){3, base.index - 1}, 0);
    for (unsigned i = 0; i < 3; i++) /* a leader that has more goes on at the hint then */
        hear(f, 3, &shorter);
    EQUAL(f->notices[REPLICA_DIVERGED], 0);
    for (unsigned i = 0; i < 10; i++, f->now_ms += 50)
        hear(f, 3, &shorter);
    EQUAL(f->notices[REPLICA_DIVERGED], 1);
    follower_free(f);
}

TEST(at_its_bound_the_ledger_takes_no_row_for_another_and_the_log_keeps_the_writes) {
    struct follower *f = follower_new(3 * 80);
    hear_records(f, 2, base, 4, 5, base.index);
    for (unsigned tries = 0; tries < 3; tries++, f->now_ms += 2000)
        overrule(f);
    EQUAL(last_of(f), 15);
    EQUAL(rows_of(f), 3);
    OK(ledger_size(replica_ledger(f->replica)) <= 3 * 80);
    OK(strstr(f->text, "bound") != NULL);
    EQUAL(f->notices[REPLICA_LEDGER_FULL], 1);
    EQUAL(f->notices[REPLICA_DISK_FULL], 0);
    OK(replica_failure(f->replica) == NULL);
    while (rows_of(f) > 0)
        EQUAL(replica_rejected_drop(f->replica, 0), FILE_OK);
    EQUAL(ledger_size(replica_ledger(f->replica)), 0);
    f->now_ms += 2000;
    overrule(f);
    EQUAL(last_of(f), 15); /* five do not fit at once */
    follower_free(f);
    f = follower_new(5 * 80);
    hear_records(f, 2, base, 4, 5, base.index);
    overrule(f);
    EQUAL(last_of(f), 12);
    EQUAL(rows_of(f), 5);
    follower_free(f);
}

TEST(rows_that_no_room_can_be_had_for_settling_stay_until_there_is) {
    struct follower *f = follower_new(0);
    hear_records(f, 2, base, 4, 5, base.index);
    overrule(f);
    EQUAL(rows_of(f), 5);
    sim_disk_set_capacity(f->disk, sim_disk_used(f->disk) + 10);
    struct message commit = heartbeat(5, (struct version){5, 12}, 12);
    hear(f, 3, &commit);
    OK(replica_failure(f->replica) == NULL);
    EQUAL(ledger_at(replica_ledger(f->replica), 0)->state, LEDGER_OVERRULED);
    sim_disk_set_capacity(f->disk, 0);
    hear_records(f, 3, (struct version){5, 12}, 5, 1, 12);
    commit = heartbeat(5, (struct version){5, 13}, 13);
    hear(f, 3, &commit);
    EQUAL(replica_applied(f->replica), 13);
    for (size_t i = 0; i < 5; i++)
        EQUAL(ledger_at(replica_ledger(f->replica), i)->state, LEDGER_REJECTED);
    follower_free(f);
}

TEST(a_follower_scrubs_too_and_mends_itself_but_not_while_a_copy_is_on_its_way) {
    static const struct replica_options options = {.sync = SYNC_ALWAYS, .scrub_rest_ms = 1000};
    struct follower *f = follower_with(&options, bytes_of("snapshot"));
    struct buffer file = {0};
    hear_records(f, 2, base, 4, 5, 15);
    sim_disk_flip(f->disk, "snapshot", 60, 1);
    make_snapshot(&file, (struct version){4, 40}, "new");
    struct message chunk = {.type = MESSAGE_SNAPSHOT, .term = 4};
    chunk.snapshot.at = (struct version){4, 40};
    chunk.snapshot.total = buffer_size(&file);
    chunk.snapshot.chunk = (struct bytes){file.data + file.start, 20};
    for (unsigned arriving = 0; arriving < 2; arriving++) {
        if (arriving == 0)
            hear(f, 2, &chunk);
        for (unsigned i = 0; i < 50; i++) {
            f->now_ms += 100;
            replica_tick(f->replica, f->now_ms, 0);
            finish_jobs(f);
        }
        if (arriving == 0) {
            EQUAL(f->notices[REPLICA_FILE_DAMAGED], 0);
            chunk.snapshot.offset = 20;
            chunk.snapshot.chunk = (struct bytes){file.data + file.start + 20, buffer_size(&file) - 20};
            hear(f, 2, &chunk);
            EQUAL(f->notices[REPLICA_SNAPSHOT_INSTALLED], 1);
            sim_disk_flip(f->disk, "snapshot", 60, 1);
        }
    }
    EQUAL(f->notices[REPLICA_FILE_DAMAGED], 1);
    EQUAL(f->notices[REPLICA_FILE_MENDED], 1);
    buffer_release(&file);
    replica_close(f->replica);
    REQUIRE(open_follower(f));
    OK(has_key(f, "new"));
    follower_free(f);
}

/* Its payload is in the file alone: it cannot be mended, and is told of once. */
TEST(rows_of_the_ledger_that_rot_are_told_of_while_the_node_runs_and_count_as_one_file) {
    static const struct replica_options options = {.sync = SYNC_ALWAYS, .scrub_rest_ms = 1000};
    struct follower *f = follower_with(&options, bytes_of("snapshot"));
    hear_records(f, 2, base, 4, 5, base.index);
    hear_records(f, 3, base, 5, 1, base.index);
    REQUIRE(rows_of(f) == 5);
    sim_disk_flip(f->disk, "rejected", 8192 + 40, 1);
    sim_disk_flip(f->disk, "rejected", sim_disk_size(f->disk, "rejected") - 2, 1);
    unsigned before = f->notices[REPLICA_LEDGER_DAMAGED];
    for (unsigned i = 0; i < 60; i++) {
        f->now_ms += 100;
        replica_tick(f->replica, f->now_ms, 0);
        finish_jobs(f);
    }
    OK(replica_damage(f->replica)->passes > 2);
    EQUAL(f->notices[REPLICA_LEDGER_DAMAGED], before + 1);
    OK(strncmp(f->text, "2 rows ", 7) == 0);
    EQUAL(replica_damage(f->replica)->found, 1);
    EQUAL(replica_damage(f->replica)->mended, 0);
    follower_free(f);
}

/* Stopping. */

static void stop_at(struct tap *tap, struct follower *f, uint64_t commit) {
    char want[64];
    unsigned applied = f->applied;
    OK(replica_applied(f->replica) < commit);
    OK(replica_shutdown(f->replica));
    snprintf(want, sizeof want, "snapshot at index %llu:", (unsigned long long)commit);
    EQUAL(f->notices[REPLICA_SNAPSHOT_TAKEN], 1);
    if (!OK(strstr(f->text, want) != NULL))
        printf("# %s\n", f->text);
    EQUAL(f->applied, applied);
    replica_close(f->replica);
    REQUIRE(open_follower(f));
    EQUAL(replica_applied(f->replica), commit);
}

TEST(a_stop_leaves_a_snapshot_of_what_its_last_sync_or_message_committed_and_answers_nobody) {
    struct follower *f = follower_new(0);
    hear_records(f, 2, base, 4, 5, base.index);
    struct message commit = heartbeat(4, (struct version){4, 15}, 14);
    struct member_id leader = id_of(2);
    replica_receive(f->replica, f->now_ms, 0, &leader, &commit);
    stop_at(tap, f, 14);
    follower_free(f);
    f = calloc(1, sizeof *f);
    f->disk = sim_disk_new();
    REQUIRE(open_follower(f));
    struct configuration alone = group_of(1, 0, ACK_QUORUM);
    struct entry entry = {.key = bytes_of("k"), .value = bytes_of("v")};
    struct version at;
    EQUAL(raft_found(replica_raft(f->replica), f->now_ms, &alone), RAFT_OK);
    replica_flush(f->replica, f->now_ms);
    finish_jobs(f);
    EQUAL(replica_propose(f->replica, ENTRY_PUT, &entry, &at), RAFT_OK);
    replica_flush(f->replica, f->now_ms);
    REQUIRE(f->job != NULL);
    f->job->run(f->job); /* as the helper threads end: its result comes when the shells have gone */
    f->job->done(f->job);
    f->job = f->later = NULL;
    EQUAL(raft_commit(replica_raft(f->replica)), at.index);
    stop_at(tap, f, at.index);
    follower_free(f);
}

TEST(a_start_refuses_what_no_group_reaches) {
    struct follower *f = follower_new(0);
    struct file_system *fs = sim_disk_file_system(f->disk);
    struct hard_state forged = {.term = MESSAGE_TERM_MAX + 1}, state = {.term = 3};
    struct buffer snapshot = {0};
    bool damaged = false;
    replica_close(f->replica);
    f->replica = NULL;
    f->options.damaged = &damaged;
    EQUAL(hard_state_save(fs, &forged), FILE_OK);
    OK(!open_follower(f));
    OK(!damaged); /* where every member has such a term, none may go */
    EQUAL(hard_state_save(fs, &state), FILE_OK);
    make_snapshot(&snapshot, (struct version){MESSAGE_TERM_MAX + 1, 3}, "forged");
    save(fs, "snapshot", buffer_bytes(&snapshot));
    OK(!open_follower(f));
    OK(damaged);
    buffer_release(&snapshot);
    follower_free(f);
}

/* Digests. */

static uint64_t digest_at(struct tap *tap, const struct follower *f, uint64_t index) {
    uint64_t digest = 0;
    OK(replica_digest_at(f->replica, index, &digest));
    OK(digest != 0);
    return digest;
}

TEST(the_digest_after_each_of_the_last_entries_is_known_also_after_a_restart_and_not_behind_a_snapshot) {
    static const struct version at = {5, 40};
    struct follower *f = follower_new(0);
    struct buffer file = {0};
    uint64_t digests[21] = {0}, unknown;
    hear_records(f, 2, base, 4, 10, base.index);
    for (uint64_t commit = base.index; commit <= 20; commit++) {
        struct message m = heartbeat(4, (struct version){4, 20}, commit);
        hear(f, 2, &m);
        digests[commit] = digest_at(tap, f, commit);
        OK(commit == base.index || digests[commit] != digests[commit - 1]);
        OK(!replica_digest_at(f->replica, commit + 1, &unknown));
    }
    for (unsigned restart = 0; restart < 2; restart++) {
        for (uint64_t index = base.index; index <= 20; index++)
            EQUAL(digest_at(tap, f, index), digests[index]);
        OK(!replica_digest_at(f->replica, base.index - 1, &unknown));
        if (restart == 1)
            break;
        struct message tell = heartbeat(4, (struct version){4, 20}, 20);
        replica_tick(f->replica, f->now_ms += 1000, 0); /* the log records the commit */
        replica_close(f->replica);
        REQUIRE(open_follower(f));
        hear(f, 2, &tell);
    }
    make_snapshot(&file, at, "new");
    hear_snapshot(f, 3, 5, at, buffer_bytes(&file));
    EQUAL(replica_applied(f->replica), at.index);
    OK(digest_at(tap, f, at.index) != digests[20]);
    hear_records(f, 3, at, 5, 1, at.index + 1);
    OK(digest_at(tap, f, at.index + 1) != digest_at(tap, f, at.index));
    OK(!replica_digest_at(f->replica, at.index - 1, &unknown));
    buffer_release(&file);
    follower_free(f);
}

static void lead(struct follower *f) {
    uint64_t term = raft_term(replica_raft(f->replica));
    f->now_ms += 2000;
    replica_tick(f->replica, f->now_ms, 0);
    struct message pre = vote_reply(term + 1, true), vote = vote_reply(term + 1, false);
    hear(f, 2, &pre);
    hear(f, 2, &vote);
}

TEST(a_leader_far_ahead_of_its_commit_knows_the_digest_at_its_commit_and_has_it_again_when_overruled) {
    for (unsigned first_write = 0; first_write < 2; first_write++) {
        struct follower *f = follower_new(0);
        struct version at;
        uint64_t committed = base.index;
        if (first_write == 0) /* else the ring's state notes one that is undone */
            hear_records(f, 2, base, 4, 5, committed = base.index + 5);
        uint64_t digest = digest_at(tap, f, committed), before = 0, told;
        OK(first_write > 0 || replica_digest_at(f->replica, committed - 1, &before));
        lead(f);
        REQUIRE(raft_role(replica_raft(f->replica)) == RAFT_LEADER);
        for (unsigned i = 0; i < REPLICA_DIGESTS + 1000; i++) {
            struct entry entry = {.key = bytes_of("k"), .value = bytes_of("uncommitted")};
            REQUIRE(replica_propose(f->replica, ENTRY_PUT, &entry, &at) == RAFT_OK);
            if (i % 100 == 0) {
                replica_flush(f->replica, f->now_ms);
                finish_jobs(f);
            }
        }
        replica_flush(f->replica, f->now_ms);
        finish_jobs(f);
        EQUAL(raft_commit(replica_raft(f->replica)), committed);
        OK(replica_applied(f->replica) > committed + REPLICA_DIGESTS);
        OK(digest_at(tap, f, replica_applied(f->replica)) != digest);
        EQUAL(digest_at(tap, f, committed), digest);
        struct version previous = {committed > base.index ? 4 : base.term, committed};
        hear_records(f, 3, previous, at.term + 1, 1, committed);
        EQUAL(replica_applied(f->replica), committed);
        EQUAL(digest_at(tap, f, committed), digest);
        OK(!replica_digest_at(f->replica, committed - 1, &told) || told == before);
        OK(store_digest_holds(replica_store(f->replica)));
        follower_free(f);
    }
}

/* A ring that is undone could not be taken back: other groups may have acted upon it. */
TEST(an_async_leader_applies_what_is_its_own_but_no_record_of_the_ring_before_it_is_committed) {
    struct follower *f = follower_new(0);
    struct version at;
    struct groups_record ring = {.step = GROUPS_IN_FORCE, .groups = {.ring_id = 5, .epoch = 1, .count = 1}};
    ring.groups.list[0].founding = GROUP_ID;
    lead(f);
    REQUIRE(raft_role(replica_raft(f->replica)) == RAFT_LEADER);
    struct entry entry = {.key = bytes_of("k"), .value = bytes_of("v")};
    REQUIRE(replica_propose(f->replica, ENTRY_PUT, &entry, &at) == RAFT_OK);
    replica_flush(f->replica, f->now_ms);
    finish_jobs(f);
    replica_flush(f->replica, f->now_ms);
    EQUAL(replica_applied(f->replica), at.index);
    REQUIRE(replica_propose_ring(f->replica, &ring) == RAFT_OK);
    f->now_ms += 10;
    replica_flush(f->replica, f->now_ms);
    finish_jobs(f);
    replica_flush(f->replica, f->now_ms);
    EQUAL(replica_applied(f->replica), at.index);
    EQUAL(replica_groups(f->replica)->current.epoch, 0);
    OK(!replica_ring_idle(f->replica));
    struct message m = ack(raft_term(replica_raft(f->replica)), at.index + 1, at.index + 1, 0);
    hear(f, 2, &m);
    replica_flush(f->replica, f->now_ms);
    EQUAL(replica_applied(f->replica), at.index + 1);
    OK(replica_ring_idle(f->replica));
    follower_free(f);
}

TESTS(TAP(rows_of_the_ledger_that_rot_are_told_of_while_the_node_runs_and_count_as_one_file),
      TAP(a_start_refuses_what_no_group_reaches),
      TAP(an_async_leader_applies_what_is_its_own_but_no_record_of_the_ring_before_it_is_committed),
      TAP(a_follower_scrubs_too_and_mends_itself_but_not_while_a_copy_is_on_its_way),
      TAP(a_stop_leaves_a_snapshot_of_what_its_last_sync_or_message_committed_and_answers_nobody),
      TAP(a_truncation_that_finds_no_room_for_the_ledger_waits_and_loses_nothing),
      TAP(a_truncation_that_the_log_has_no_room_for_waits_too),
      TAP(a_leader_whose_log_ends_before_what_is_certain_here_has_lost_it_and_that_is_told),
      TAP(at_its_bound_the_ledger_takes_no_row_for_another_and_the_log_keeps_the_writes),
      TAP(rows_that_no_room_can_be_had_for_settling_stay_until_there_is),
      TAP(the_digest_after_each_of_the_last_entries_is_known_also_after_a_restart_and_not_behind_a_snapshot),
      TAP(a_leader_far_ahead_of_its_commit_knows_the_digest_at_its_commit_and_has_it_again_when_overruled))
