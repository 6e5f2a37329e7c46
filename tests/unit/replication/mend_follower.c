/* Files of a follower that rot while it runs: what its stop does where it may take no snapshot. */
#include "storage/log_internal.h"
#include "tests/unit/replication/follower.h"

static const struct replica_options options = {.sync = SYNC_ALWAYS, .scrub_rest_ms = 1000};

static void pass(struct follower *f, unsigned ticks) {
    for (; ticks > 0; ticks--) {
        f->now_ms += 20;
        replica_tick(f->replica, f->now_ms, 0);
        replica_flush(f->replica, f->now_ms);
        finish_jobs(f);
    }
}

static void rot(struct follower *f, const char *name, uint64_t offset) {
    if (!sim_disk_flip(f->disk, name, offset, 4))
        abort();
}

static bool restarts_damaged(struct follower *f) {
    bool damaged = false;
    f->options.damaged = &damaged;
    replica_close(f->replica);
    f->job = f->later = NULL;
    bool ok = open_follower(f);
    if (!ok)
        f->replica = NULL;
    return !ok && damaged;
}

static void note_first(void *arg, const char *name) {
    char *first = arg;
    if (strncmp(name, "log-", 4) == 0 && first[0] == '\0')
        snprintf(first, FILE_NAME_MAX, "%s", name);
}

/* Nobody shall have its state, by a snapshot neither. */
TEST(a_stop_of_one_whose_state_is_not_the_majoritys_takes_no_snapshot_for_a_rotten_one_and_says_so) {
    struct follower *f = follower_with(&options, bytes_of("snapshot"));
    hear_records(f, 2, base, 4, 5, 15);
    rot(f, "snapshot", sim_disk_size(f->disk, "snapshot") / 2);
    sim_disk_set_capacity(f->disk, sim_disk_used(f->disk)); /* none is taken before it is told */
    pass(f, 50);
    EQUAL(f->notices[REPLICA_FILE_DAMAGED], 1);
    struct message odd = heartbeat(4, (struct version){4, 15}, 15);
    odd.append.odd = 1;
    hear(f, 2, &odd);
    sim_disk_set_capacity(f->disk, 0);
    pass(f, 300);
    EQUAL(f->notices[REPLICA_SNAPSHOT_TAKEN], 0);
    OK(replica_damage(f->replica)->snapshot);
    REQUIRE(!replica_shutdown(f->replica));
    OK(strncmp(replica_failure(f->replica), "snapshot is still damaged on disk", 33) == 0);
    OK(strstr(replica_failure(f->replica), "not the majority's") != NULL);
    EQUAL(f->notices[REPLICA_SNAPSHOT_TAKEN], 0);
    OK(restarts_damaged(f));
    follower_free(f);
}

/* Several segments of records, of which the first is rotten. Once the leader commits them, a snapshot can. */
TEST(a_stop_cannot_replace_a_rotten_segment_of_uncommitted_records_and_says_so) {
    for (unsigned committed = 0; committed < 2; committed++) {
        struct follower *f = follower_with(&options, bytes_of("snapshot"));
        char name[FILE_NAME_MAX] = "";
        struct version previous = base;
        for (unsigned i = 0; i < 5; i++) {
            hear_records(f, 2, previous, 4, 500, base.index);
            previous = (struct version){4, previous.index + 500};
        }
        sim_disk_names(f->disk, note_first, name);
        rot(f, name, SEGMENT_HEADS_SIZE + 60);
        pass(f, 100);
        EQUAL(f->notices[REPLICA_FILE_DAMAGED], 1);
        OK(replica_damage(f->replica)->log);
        EQUAL(f->notices[REPLICA_SNAPSHOT_TAKEN], 0);
        if (committed == 1) {
            struct message all = heartbeat(4, previous, previous.index);
            hear(f, 2, &all);
            OK(replica_shutdown(f->replica));
            EQUAL(f->notices[REPLICA_FILE_MENDED], 1);
            EQUAL(sim_disk_size(f->disk, name), 0);
            OK(!restarts_damaged(f));
        } else {
            REQUIRE(!replica_shutdown(f->replica));
            OK(strncmp(replica_failure(f->replica), name, strlen(name)) == 0);
            OK(strstr(replica_failure(f->replica), "holds uncommitted records") != NULL);
            OK(sim_disk_size(f->disk, name) > 0);
            OK(restarts_damaged(f));
        }
        follower_free(f);
    }
}

TESTS(TAP(a_stop_of_one_whose_state_is_not_the_majoritys_takes_no_snapshot_for_a_rotten_one_and_says_so),
      TAP(a_stop_cannot_replace_a_rotten_segment_of_uncommitted_records_and_says_so))
