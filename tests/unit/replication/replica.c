/* One follower's replica, fed by hand: what it does where the disk has no room, where the ledger of rejected
 * writes has reached its bound, where a leader forges a snapshot, and what a clean stop leaves.
 *
 * It starts from a snapshot at 3.10 of an async group of three, and is node 1; nodes 2 and 3 lead it in turn.
 */
#include "replication/replica.h"

#include "storage/crc32c.h"
#include "storage/hard_state.h"
#include "storage/snapshot_format.h"
#include "storage/store_parts.h"
#include "storage/wire.h"
#include "tests/sim/disk.h"
#include "tests/tap.h"
#include "tests/unit/replication/begin_log.h"
#include "tests/unit/replication/one.h"
#include "tests/unit/replication/replica_parts.h"

#define GROUP_ID 7

static const struct version base = {3, 10};

struct follower {
    struct sim_disk *disk;
    struct replica *replica;
    uint64_t now_ms;
    struct replica_options options; /* but for what every follower has */
    unsigned notices[REPLICA_FILE_MENDED + 1], applied;
    char text[256];          /* of the last notice */
    struct job *job, *later; /* they run in this order */
    struct message sent;     /* the last one; borrowed bytes are gone */
};

static void keep_sent(void *arg, const struct member_id *to, const struct message *message) {
    struct follower *f = arg;
    (void)to;
    f->sent = *message;
}

static void keep_job(void *arg, struct job *job) {
    struct follower *f = arg;
    assert(f->later == NULL);
    *(f->job == NULL ? &f->job : &f->later) = job;
}

static void count_applied(void *arg, struct version at, const struct store_effect *effect) {
    struct follower *f = arg;
    (void)at;
    (void)effect;
    f->applied++;
}

static void count_notice(void *arg, enum replica_notice notice, const char *text) {
    struct follower *f = arg;
    f->notices[notice]++;
    snprintf(f->text, sizeof f->text, "%s", text);
}

/* The snapshot file of a state at `at` with the key `name`. */
static void make_snapshot_of(struct buffer *out, struct version at, const char *name, struct bytes value) {
    struct store *store = store_new(0);
    struct configuration configuration = group_of(3, 0, ACK_ASYNC);
    struct entry entry = {.key = bytes_of(name), .value = value};
    for (uint64_t index = 1; index < at.index; index++)
        store_apply(store, (struct version){at.term, index}, ENTRY_NOOP, NULL, false);
    store_apply(store, at, ENTRY_PUT, &entry, false);
    write_snapshot(out, store, at, &configuration);
    store_free(store);
}

static void make_snapshot(struct buffer *out, struct version at, const char *name) {
    make_snapshot_of(out, at, name, bytes_of("snapshot"));
}

static bool open_follower(struct follower *f) {
    struct replica_options options = f->options;
    options.fs = sim_disk_file_system(f->disk);
    options.self = id_of(1);
    options.group_id = GROUP_ID;
    options.segment_size = 64 * 1024;
    struct replica_host host = {
        f, keep_sent, keep_job, count_applied, none_unanswered, ignore_overruled, count_notice};
    char why[256] = "";
    bool ok = replica_open(&options, &host, f->now_ms, &f->replica, why, sizeof why);
    if (!ok)
        printf("# %s\n", why);
    return ok;
}

static struct follower *follower_with(const struct replica_options *options, struct bytes value) {
    struct follower *f = calloc(1, sizeof *f);
    struct buffer snapshot = {0};
    struct hard_state state = {.term = 3};
    f->disk = sim_disk_new();
    f->now_ms = 10000;
    f->options = *options;
    make_snapshot_of(&snapshot, base, "old", value);
    save(sim_disk_file_system(f->disk), "snapshot", buffer_bytes(&snapshot));
    buffer_release(&snapshot);
    if (!begin_log(sim_disk_file_system(f->disk)) ||
        hard_state_save(sim_disk_file_system(f->disk), &state) != FILE_OK || !open_follower(f))
        abort();
    return f;
}

static struct follower *follower_new(uint64_t ledger_size_max) {
    struct replica_options options = {.sync = SYNC_ALWAYS, .ledger_size_max = ledger_size_max};
    return follower_with(&options, bytes_of("snapshot"));
}

static void follower_free(struct follower *f) {
    replica_close(f->replica);
    sim_disk_free(f->disk);
    free(f);
}

static void finish_jobs(struct follower *f) {
    while (f->job != NULL) {
        struct job *job = f->job;
        f->job = f->later;
        f->later = NULL;
        job->run(job);
        job->done(job);
        replica_flush(f->replica, f->now_ms);
    }
}

static void hear(struct follower *f, unsigned from, const struct message *m) {
    struct member_id id = id_of(from);
    replica_receive(f->replica, f->now_ms, 0, &id, m);
    replica_flush(f->replica, f->now_ms);
    finish_jobs(f);
}

/* `count` puts of `term` behind previous. */
static void hear_records(struct follower *f, unsigned from, struct version previous, uint64_t term,
                         unsigned count, uint64_t commit) {
    struct foreign foreign;
    struct message m = records(&foreign, term, previous, term, count, commit);
    hear(f, from, &m);
    foreign_free(&foreign);
}

static uint64_t last_of(const struct follower *f) {
    return log_last(replica_log(f->replica));
}

static size_t rows_of(const struct follower *f) {
    return ledger_count(replica_ledger(f->replica));
}

/* What a leader of term 4 appended and nobody committed is overruled by the leader of term 5. */
static void overrule(struct follower *f) {
    hear_records(f, 3, base, 5, 2, base.index);
}

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

/* Snapshots. */

static void hear_snapshot(struct follower *f, unsigned from, uint64_t term, struct version at,
                          struct bytes file) {
    struct message m = {.type = MESSAGE_SNAPSHOT, .term = term};
    m.snapshot.at = at;
    m.snapshot.total = file.size;
    m.snapshot.chunk = file;
    hear(f, from, &m);
}

/* A records block more before the end, and an end that fits: every checksum is right. */
static void forge(struct buffer *file, struct version version) {
    struct slab slab;
    slab_init(&slab);
    struct record *record = record_new(
        &slab,
        &(struct store_record){.key = bytes_of("new"), .value = bytes_of("snapshot"), .version = version});
    struct bytes extra = {(uint8_t *)record, record_size(record)};
    size_t kept = buffer_size(file) - SNAPSHOT_BLOCK_HEADER_SIZE - 12;
    struct buffer end = {0};
    uint32_t chain = crc32c(0, (struct bytes){file->data, SNAPSHOT_MAGIC_SIZE});
    file->end = file->start + kept;
    for (size_t at = SNAPSHOT_MAGIC_SIZE; at < kept;) {
        chain = crc32c(chain, (struct bytes){file->data + at, SNAPSHOT_BLOCK_HEADER_SIZE});
        at += SNAPSHOT_BLOCK_HEADER_SIZE + get_u32(file->data + at + 1);
    }
    for (unsigned block = 0; block < 2; block++) {
        uint8_t header[SNAPSHOT_BLOCK_HEADER_SIZE] = {block == 0 ? SNAPSHOT_BLOCK_RECORDS
                                                                 : SNAPSHOT_BLOCK_END};
        struct bytes content = block == 0 ? extra : buffer_bytes(&end);
        put_u32(header + 1, (uint32_t)content.size);
        put_u32(header + 5, crc32c(crc32c(0, (struct bytes){header, 5}), content));
        chain = crc32c(chain, (struct bytes){header, sizeof header});
        buffer_append(file, (struct bytes){header, sizeof header});
        buffer_append(file, content);
        if (block == 0) {
            write_u64(&end, 2);
            write_u32(&end, chain);
        }
    }
    buffer_release(&end);
    slab_clear(&slab);
}

static bool has_key(const struct follower *f, const char *key) {
    struct store_record record;
    return store_get(replica_store(f->replica), bytes_of(key), &record);
}

TEST(a_snapshot_whose_checksums_fit_and_that_cannot_be_loaded_is_refused_before_it_replaces_anything) {
    static const struct version at = {4, 40};
    for (unsigned forged = 0; forged < 2; forged++) {
        struct follower *f = follower_new(0);
        struct buffer file = {0};
        hear_records(f, 2, base, 4, 5, 12);
        make_snapshot(&file, at, "new");
        forge(&file, forged ? (struct version){4, 39} : at);
        hear_snapshot(f, 2, 4, at, buffer_bytes(&file));
        OK(replica_failure(f->replica) == NULL);
        EQUAL(f->notices[REPLICA_SNAPSHOT_FAILED], forged);
        EQUAL(f->sent.snapshot_reply.refused, forged == 1);
        EQUAL(has_key(f, "new"), forged == 0);
        EQUAL(has_key(f, "old"), forged == 1);
        EQUAL(has_key(f, "k"), forged == 1);
        EQUAL(replica_applied(f->replica), forged ? 12 : at.index);
        EQUAL(last_of(f), forged ? 15 : at.index);
        if (forged == 1)
            OK(strstr(f->text, "twice and not alike") != NULL);
        replica_close(f->replica);
        REQUIRE(open_follower(f));
        EQUAL(has_key(f, "old"), forged == 1);
        EQUAL(last_of(f), forged ? 15 : at.index);
        if (forged == 1) { /* and it goes on */
            struct message commit = heartbeat(4, (struct version){4, 15}, 15);
            hear(f, 2, &commit);
            EQUAL(replica_applied(f->replica), 15);
        }
        buffer_release(&file);
        follower_free(f);
    }
}

TEST(a_snapshot_that_the_disk_has_no_room_to_install_is_refused_and_taken_later) {
    static const struct version at = {5, 40};
    struct follower *f = follower_new(0);
    struct buffer file = {0};
    hear_records(f, 2, base, 4, 5, base.index);
    make_snapshot(&file, at, "new");
    struct message term = heartbeat(5, base, base.index);
    hear(f, 3, &term);
    sim_disk_set_capacity(f->disk, sim_disk_used(f->disk) + buffer_size(&file) + 130 * 1024);
    hear_snapshot(f, 3, 5, at, buffer_bytes(&file));
    EQUAL(replica_applied(f->replica), at.index);
    EQUAL(rows_of(f), 5);
    follower_free(f);
    for (uint64_t room = 0; room < 300; room += 50) {
        f = follower_new(0);
        hear_records(f, 2, base, 4, 5, base.index);
        hear(f, 3, &term);
        if (room % 100 == 0)
            sim_disk_set_capacity(f->disk, sim_disk_used(f->disk) + buffer_size(&file) + room * 400);
        else /* somebody else took it meanwhile */
            sim_disk_inject(f->disk,
                            (struct sim_disk_fault){.kinds = SIM_DISK_ALLOCATE, .result = FILE_NO_SPACE});
        hear_snapshot(f, 3, 5, at, buffer_bytes(&file));
        OK(replica_failure(f->replica) == NULL);
        EQUAL(f->notices[REPLICA_SNAPSHOT_FAILED], 1);
        EQUAL(f->notices[REPLICA_OVERRULED], 0);
        EQUAL(last_of(f), 15);
        OK(has_key(f, "old"));
        sim_disk_set_capacity(f->disk, 0);
        f->now_ms += 2000;
        hear_snapshot(f, 3, 5, at, buffer_bytes(&file));
        EQUAL(replica_applied(f->replica), at.index);
        EQUAL(rows_of(f), 5);
        OK(!has_key(f, "old"));
        follower_free(f);
    }
    buffer_release(&file);
}

TEST(a_snapshot_that_no_memory_could_hold_is_refused_at_its_first_chunk) {
    struct buffer file = {0};
    make_snapshot(&file, (struct version){5, 13}, "new");
    for (unsigned fits = 0; fits < 2; fits++) {
        struct replica_options options = {.sync = SYNC_ALWAYS, .snapshot_max = buffer_size(&file) - 1 + fits};
        struct follower *f = follower_with(&options, bytes_of("snapshot"));
        struct message m = {.type = MESSAGE_SNAPSHOT, .term = 5};
        m.snapshot.at = (struct version){5, 13};
        m.snapshot.total = buffer_size(&file);
        m.snapshot.chunk = (struct bytes){file.data + file.start, 20};
        hear(f, 3, &m);
        EQUAL(f->sent.snapshot_reply.refused, fits == 0);
        EQUAL(f->notices[REPLICA_SNAPSHOT_FAILED], fits == 0);
        follower_free(f);
    }
    buffer_release(&file);
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
TEST(a_row_of_the_ledger_that_rots_is_told_of_while_the_node_runs) {
    static const struct replica_options options = {.sync = SYNC_ALWAYS, .scrub_rest_ms = 1000};
    struct follower *f = follower_with(&options, bytes_of("snapshot"));
    hear_records(f, 2, base, 4, 5, base.index);
    hear_records(f, 3, base, 5, 1, base.index);
    REQUIRE(rows_of(f) == 5);
    sim_disk_flip(f->disk, "rejected", 8192 + 40, 1);
    unsigned before = f->notices[REPLICA_LEDGER_DAMAGED];
    for (unsigned i = 0; i < 60; i++) {
        f->now_ms += 100;
        replica_tick(f->replica, f->now_ms, 0);
        finish_jobs(f);
    }
    OK(replica_damage(f->replica)->passes > 2);
    EQUAL(f->notices[REPLICA_LEDGER_DAMAGED], before + 1);
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

/* A commit may be taken back where the group syncs at times only. */
static void hear_commit(struct follower *f) {
    struct message commit = heartbeat(4, (struct version){4, 15}, 15);
    hear_records(f, 2, base, 4, 5, base.index);
    hear(f, 2, &commit);
}

TEST(a_commit_that_is_taken_back_ends_the_snapshot_that_is_being_taken_of_it) {
    static const uint8_t large[600000];
    struct replica_options options = {.sync = SYNC_NEVER, .snapshot_log_size = 1};
    struct follower *f = follower_with(&options, (struct bytes){large, sizeof large});
    hear_commit(f);
    EQUAL(replica_tick(f->replica, f->now_ms, 0), f->now_ms); /* a slice of it, and more to come */
    hear_records(f, 3, (struct version){4, 12}, 5, 2, 12);
    EQUAL(last_of(f), 14);
    EQUAL(replica_applied(f->replica), 12);
    OK(replica_failure(f->replica) == NULL);
    follower_free(f);
}

TEST(a_snapshot_that_takes_the_place_of_committed_records_is_told) {
    struct replica_options options = {.sync = SYNC_NEVER};
    struct follower *f = follower_with(&options, bytes_of("snapshot"));
    struct buffer file = {0};
    hear_commit(f);
    make_snapshot(&file, (struct version){5, 13}, "new");
    hear_snapshot(f, 3, 5, (struct version){5, 13}, buffer_bytes(&file));
    EQUAL(last_of(f), 13);
    EQUAL(f->notices[REPLICA_COMMITS_LOST], 1);
    buffer_release(&file);
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
        uint64_t digest = digest_at(tap, f, committed);
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

/* Power cuts: from an operation of the disk on all others fail, and then the power goes. */

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

TEST(a_chunk_of_a_snapshot_that_comes_twice_is_taken_once) {
    struct follower *f = follower_new(0);
    struct buffer file = {0};
    make_snapshot(&file, (struct version){5, 13}, "new");
    struct bytes whole = buffer_bytes(&file);
    const uint64_t sizes[] = {100, 100, whole.size - 100}, offsets[] = {0, 0, 100};
    for (size_t i = 0; i < 3; i++) {
        struct message m = {.type = MESSAGE_SNAPSHOT, .term = 5};
        m.snapshot.at = (struct version){5, 13};
        m.snapshot.total = whole.size;
        m.snapshot.offset = offsets[i];
        m.snapshot.chunk = (struct bytes){whole.data + offsets[i], sizes[i]};
        hear(f, 3, &m);
    }
    EQUAL(f->notices[REPLICA_SNAPSHOT_FAILED], 0);
    EQUAL(replica_applied(f->replica), 13);
    buffer_release(&file);
    follower_free(f);
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

TESTS(TAP(a_row_of_the_ledger_that_rots_is_told_of_while_the_node_runs),
      TAP(a_start_refuses_what_no_group_reaches),
      TAP(an_async_leader_applies_what_is_its_own_but_no_record_of_the_ring_before_it_is_committed),
      TAP(a_commit_that_is_taken_back_ends_the_snapshot_that_is_being_taken_of_it),
      TAP(a_snapshot_that_takes_the_place_of_committed_records_is_told),
      TAP(a_follower_scrubs_too_and_mends_itself_but_not_while_a_copy_is_on_its_way),
      TAP(a_stop_leaves_a_snapshot_of_what_its_last_sync_or_message_committed_and_answers_nobody),
      TAP(a_truncation_that_finds_no_room_for_the_ledger_waits_and_loses_nothing),
      TAP(a_truncation_that_the_log_has_no_room_for_waits_too),
      TAP(a_leader_whose_log_ends_before_what_is_certain_here_has_lost_it_and_that_is_told),
      TAP(at_its_bound_the_ledger_takes_no_row_for_another_and_the_log_keeps_the_writes),
      TAP(rows_that_no_room_can_be_had_for_settling_stay_until_there_is),
      TAP(a_snapshot_whose_checksums_fit_and_that_cannot_be_loaded_is_refused_before_it_replaces_anything),
      TAP(a_snapshot_that_no_memory_could_hold_is_refused_at_its_first_chunk),
      TAP(a_snapshot_that_the_disk_has_no_room_to_install_is_refused_and_taken_later),
      TAP(a_term_that_a_start_has_read_from_the_page_cache_alone_survives_a_power_cut),
      TAP(a_start_that_cannot_write_its_term_again_is_refused),
      TAP(a_chunk_of_a_snapshot_that_comes_twice_is_taken_once),
      TAP(a_power_cut_at_any_operation_of_a_truncation_leaves_each_write_in_the_log_or_in_the_ledger),
      TAP(a_power_cut_at_any_operation_of_an_installation_leaves_the_one_state_or_the_other),
      TAP(a_power_cut_at_any_operation_of_a_snapshot_and_the_compaction_after_it_loses_nothing),
      TAP(the_digest_after_each_of_the_last_entries_is_known_also_after_a_restart_and_not_behind_a_snapshot),
      TAP(a_leader_far_ahead_of_its_commit_knows_the_digest_at_its_commit_and_has_it_again_when_overruled))
