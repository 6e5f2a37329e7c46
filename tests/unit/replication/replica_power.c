/* A replica's power cuts: from an operation of the disk on all others fail, and then the power goes. */
#include "tests/unit/replication/follower.h"

/* Term 9 is saved; the process is killed before the sync of what it had written. */
static struct follower *killed_before_a_sync(void) {
    struct follower *f = follower_new(0);
    struct hard_state state = {.term = 9};
    replica_close(f->replica);
    f->replica = NULL;
    sim_disk_inject(f->disk, (struct sim_disk_fault){0, SIM_DISK_SYNC, FILE_IO_ERROR, true});
    hard_state_save(sim_disk_file_system(f->disk), &state);
    sim_disk_restart(f->disk);
    return f;
}

static uint64_t term_on_disk(struct follower *f) {
    struct hard_state state;
    char why[160];
    return hard_state_load(sim_disk_file_system(f->disk), &state, why, sizeof why) == FILE_OK ? state.term
                                                                                              : 0;
}

TEST(a_term_that_a_start_has_read_from_the_page_cache_alone_survives_a_power_cut) {
    struct random random;
    random_seed(&random, 7);
    for (unsigned round = 0; round < 20; round++) {
        struct follower *f = killed_before_a_sync();
        EQUAL(term_on_disk(f), 9);
        if (round % 2 == 0)
            sim_disk_set_capacity(f->disk, sim_disk_used(f->disk) + 2 * 64 * 1024); /* the log's */
        REQUIRE(open_follower(f));
        EQUAL(raft_term(replica_raft(f->replica)), 9);
        replica_close(f->replica);
        f->replica = NULL;
        sim_disk_crash(f->disk, &random);
        EQUAL(term_on_disk(f), 9);
        follower_free(f);
    }
}

TEST(a_start_that_cannot_write_its_term_again_is_refused) {
    struct follower *f = killed_before_a_sync();
    REQUIRE(open_follower(f));
    replica_close(f->replica);
    f->replica = NULL;
    uint64_t from = sim_disk_operations(f->disk, SIM_DISK_SYNC);
    REQUIRE(open_follower(f));
    replica_close(f->replica);
    f->replica = NULL;
    uint64_t syncs = sim_disk_operations(f->disk, SIM_DISK_SYNC) - from;
    OK(syncs >= 2);
    for (uint64_t after = 0; after < syncs; after++) {
        sim_disk_inject(f->disk, (struct sim_disk_fault){after, SIM_DISK_SYNC, FILE_IO_ERROR, true});
        OK(!open_follower(f));
        sim_disk_restart(f->disk);
    }
    OK(open_follower(f));
    follower_free(f);
}

/* The first draws lose one name each, and keep all else. */
#define OUT_OF_ORDER 4
#define DRAWS        (OUT_OF_ORDER + 8)

/* False where it was done with fewer operations. */
static bool cut_within(struct follower *f, uint64_t after, void (*act)(struct follower *f), unsigned draw,
                       struct random *random) {
    sim_disk_inject(f->disk, (struct sim_disk_fault){after, SIM_DISK_ALL, FILE_IO_ERROR, true});
    uint64_t from = sim_disk_operations(f->disk, SIM_DISK_ALL);
    act(f);
    bool reached = sim_disk_operations(f->disk, SIM_DISK_ALL) - from > after;
    replica_close(f->replica);
    f->replica = NULL;
    f->job = f->later = NULL;
    if (draw < OUT_OF_ORDER)
        sim_disk_crash_out_of_order(f->disk, draw);
    else
        sim_disk_crash(f->disk, random);
    return reached;
}

/* Of term 4, in the log or in the ledger. */
static bool is_known(const struct follower *f, uint64_t index) {
    const struct ledger *ledger = replica_ledger(f->replica);
    struct version at = {4, index};
    uint64_t term;
    if (log_term_at(replica_log(f->replica), index, &term) && term == 4)
        return true;
    size_t position = ledger_find(ledger, GROUP_ID, at);
    return position < ledger_count(ledger) && version_equal(ledger_at(ledger, position)->at, at);
}

TEST(a_power_cut_at_any_operation_of_a_truncation_leaves_each_write_in_the_log_or_in_the_ledger) {
    struct random random;
    random_seed(&random, 8);
    for (unsigned draw = 0; draw < DRAWS; draw++) {
        bool reached = true;
        uint64_t after = 0;
        for (; reached; after++) {
            struct follower *f = follower_new(0);
            hear_records(f, 2, base, 4, 5, base.index);
            reached = cut_within(f, after, overrule, draw, &random);
            REQUIRE(open_follower(f));
            for (uint64_t index = 11; index <= 15; index++)
                OK(is_known(f, index));
            follower_free(f);
        }
        OK(after > 5);
    }
}

static void hear_newer(struct follower *f) {
    struct buffer file = {0};
    make_snapshot(&file, (struct version){5, 13}, "new");
    hear_snapshot(f, 3, 5, (struct version){5, 13}, buffer_bytes(&file));
    buffer_release(&file);
}

TEST(a_power_cut_at_any_operation_of_an_installation_leaves_the_one_state_or_the_other) {
    struct random random;
    random_seed(&random, 9);
    for (unsigned draw = 0; draw < DRAWS; draw++) {
        bool reached = true, old = false, new = false;
        for (uint64_t after = 0; reached; after++) {
            struct follower *f = follower_new(0);
            hear_records(f, 2, base, 4, 5, 12);
            reached = cut_within(f, after, hear_newer, draw, &random);
            REQUIRE(open_follower(f));
            EQUAL(last_of(f), has_key(f, "new") ? 13 : 15);
            EQUAL(has_key(f, "old"), !has_key(f, "new"));
            for (uint64_t index = 13; index <= 15; index++)
                OK(is_known(f, index));
            old = old || has_key(f, "old");
            new = new || has_key(f, "new");
            follower_free(f);
        }
        OK(old && new);
    }
}

/* Takes the snapshot that is due, and lets the segments before it go, each by a sync of its own. */
static void compact(struct follower *f) {
    uint64_t last = last_of(f);
    struct message again = heartbeat(4, (struct version){4, last}, last);
    for (unsigned i = 0; i < 12 && replica_failure(f->replica) == NULL; i++) {
        replica_tick(f->replica, f->now_ms += 10, 0);
        finish_jobs(f);
        hear(f, 2, &again);
    }
}

TEST(a_power_cut_at_any_operation_of_a_snapshot_and_the_compaction_after_it_loses_nothing) {
    static const struct replica_options options = {.sync = SYNC_ALWAYS, .snapshot_log_size = 64 * 1024};
    const uint64_t last = base.index + 5000;
    struct random random;
    random_seed(&random, 10);
    for (unsigned draw = 0; draw < OUT_OF_ORDER + 2; draw++) {
        bool reached = true;
        uint64_t first = 0;
        for (uint64_t after = 0; reached; after++) {
            struct follower *f = follower_with(&options, bytes_of("snapshot"));
            hear_records(f, 2, base, 4, 5000, last);
            REQUIRE(last_of(f) == last);
            reached = cut_within(f, after, compact, draw, &random);
            REQUIRE(open_follower(f));
            EQUAL(last_of(f), last);
            OK(has_key(f, "old") && has_key(f, "k"));
            first = log_first(replica_log(f->replica));
            follower_free(f);
        }
        OK(first > base.index + 1);
    }
}

TESTS(TAP(a_term_that_a_start_has_read_from_the_page_cache_alone_survives_a_power_cut),
      TAP(a_start_that_cannot_write_its_term_again_is_refused),
      TAP(a_power_cut_at_any_operation_of_a_truncation_leaves_each_write_in_the_log_or_in_the_ledger),
      TAP(a_power_cut_at_any_operation_of_an_installation_leaves_the_one_state_or_the_other),
      TAP(a_power_cut_at_any_operation_of_a_snapshot_and_the_compaction_after_it_loses_nothing))
